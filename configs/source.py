"""Where ticks come from when no market is connected."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class HaltConf:
    """A halt of one symbol of the generated market: no quote, no trade, then an auction."""

    symbol: str = MISSING
    at_s: float = MISSING  # after the open, whole seconds
    for_s: float = 300.0  # whole seconds; it ends before the session does
    day: int = 1  # of source.days


@dataclass
class SourceConf:
    """A seeded generated market, or recorded ticks: Parquet files in our format, Lean's data folder, LOBSTER or Databento files."""

    kind: str = "generated"  # generated, parquet, lean, lobster, dbn

    # generated: the symbols are those of the universe
    seed: int = 1
    start: str = "2026-01-05T14:30:00Z"  # ISO 8601, UTC unless it says otherwise; the day shape counts from here
    duration_s: float = 420.0  # seconds of market time, of each day; a whole session has 23,400 and ends with an auction
    days: int = 1  # sessions, on New York trading days from the start's on, at the same local time; one that closes early ends then, without a busy last hour
    max_rows: int = 150_000  # the market ends here at the latest; 0 = no limit
    halts: list[HaltConf] = field(default_factory=list)
    halt_rate: float = 0.0  # further halts of five minutes, a symbol and hour

    # parquet, lean, lobster, dbn: the symbols are those of the files. A path may be a folder of such files
    path: str = field(default="", metadata={"digest": False})  # where the file lies says nothing of what is in it
    symbols: list[str] = field(default_factory=list)  # empty = all of the file
    day: str | None = None  # local date at the exchange, YYYY-MM-DD; none = all days
    timezone: str = "America/New_York"  # of the exchange
    tick_size: float | None = None  # currency; none = that of the universe

    # lean: path is the folder that holds equity, forex, ...
    asset: str = "equity"  # folder of the security type: equity, forex, cfd, crypto, ...
    market: str = "usa"  # folder of the market: usa, fxcm, oanda, ...
    resolution: str = "tick"  # tick, second, minute; a bar is one row at its end
    quotes: str | None = None  # resolution of the quotes; none = that of the trades


@dataclass
class ImportConf:
    """tickarrow import."""

    source: SourceConf = field(default_factory=SourceConf)
    out: str = MISSING  # Parquet file to write
