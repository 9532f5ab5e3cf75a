"""tickarrow market: the generated market set against recorded ticks."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class MarketReportConf:
    """Which generated classes are described, and what they are compared with."""

    real: str | None = None  # Parquet file of recorded ticks; none = the generated facts alone
    classes: Any = None  # dict: symbol -> class of the generated market; none = {BAC: large, IBM: small, SPY: etf}
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])  # one generated session each
    duration_s: float | None = None  # seconds of a generated session; none = as long as the hours
    day: str | None = None  # the file's local date, YYYY-MM-DD; none = all its days
    hours: list[str] = field(default_factory=lambda: ["09:30", "16:00"])  # local time at the exchange
    timezone: str = "America/New_York"  # of the exchange
    tick_size: float = 0.01  # currency
    out: str = "market.html"  # page to write; the table goes beside it as .parquet and .csv
