"""Where ticks come from when no market is connected."""

from dataclasses import dataclass, field


@dataclass
class SourceConf:
    """A seeded generated market, or a Parquet file of recorded ticks."""

    kind: str = "generated"  # generated, parquet

    # generated: the symbols are those of the universe
    seed: int = 1
    start: str = "2026-01-05T14:30:00Z"  # ISO 8601, UTC unless it says otherwise; the day shape counts from here
    duration_s: float = 420.0  # seconds of market time
    max_rows: int = 150_000  # the session ends here at the latest; 0 = no limit

    # parquet: the symbols are those of the file
    path: str = field(default="", metadata={"digest": False})  # where the file lies says nothing of what is in it
    symbols: list[str] = field(default_factory=list)  # empty = all of the file
    day: str | None = None  # local date at the exchange, YYYY-MM-DD; none = all days
    timezone: str = "America/New_York"  # of the exchange
    tick_size: float | None = None  # currency; none = that of the universe
