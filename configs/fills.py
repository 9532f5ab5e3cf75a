"""How a backtest without a gateway fills orders."""

from dataclasses import dataclass


@dataclass
class FillsConf:
    """Fill model: `next_quote` fills a marketable limit order at the touch of the symbol's next quote."""

    kind: str = "next_quote"
