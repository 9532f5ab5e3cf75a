"""What `tickarrow fetch` downloads, from where, and where it puts it."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from tickarrow.configs.gateway import GatewayConf


@dataclass
class FetchConf:
    """tickarrow fetch."""

    gateway: GatewayConf = field(default_factory=GatewayConf)
    symbols: list[str] = MISSING  # US stocks
    first: str = MISSING  # day at the exchange, YYYY-MM-DD
    last: str | None = None  # the last day; none = first
    ticks: list[str] = field(default_factory=lambda: ["TRADES", "BID_ASK"])  # and MIDPOINT; empty = no ticks
    bars: list[str] = field(default_factory=list)  # bar sizes as IBKR writes them, for example "1 min"
    bars_of: str = "TRADES"  # what bars are made of: TRADES, MIDPOINT, BID, ASK, BID_ASK
    regular_hours: bool = True  # false = also before the open and after the close
    timezone: str = "America/New_York"  # of the exchange
    out: str = "history"  # folder; a run that was interrupted goes on where it was
    answer_s: float = 60.0  # longest wait for an answer
