"""What is traded."""

from dataclasses import dataclass, field


@dataclass
class UniverseConf:
    """Symbols in the order of their row numbers."""

    symbols: list[str] = field(default_factory=list)
    tick_size: float = 0.01  # currency
    classes: list[str] = field(default_factory=lambda: ["large", "small", "etf"])  # of the generated market, dealt out in turn
