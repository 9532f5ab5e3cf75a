"""What an order must not exceed, whatever was decided."""

from dataclasses import dataclass, field


@dataclass
class LimitsConf:
    """Amounts are in the currency of the account, which must be that of the symbols: nothing is converted. inf = no limit.

    An order that only reduces a position is held by the restricted list, the restart window, age and collars of its price and the order
    rate; all the others are for orders that open, add or turn a position round."""

    order_shares: float = float("inf")  # largest order, shares
    order_value: float = float("inf")  # largest order at its limit price
    position_shares: float = float("inf")  # largest position after an order, shares
    position_value: float = float("inf")  # largest position after an order, at the mid
    gross_value: float = float("inf")  # largest sum of |positions and working orders|, at the mids
    net_value: float = float("inf")  # largest |sum of signed positions and working orders|, at the mids
    per_second: int = 0  # most orders within any second of market time, a bracket counts as one; 0 = any number
    per_minute: int = 0  # most orders within any minute of market time; 0 = any number
    collar_quote: float = float("inf")  # most that a limit price may be worse than the mid, basis points
    collar_trade: float = float("inf")  # most that it may be worse than the last trade, basis points; not asked before the first
    quote_age_s: float = float("inf")  # oldest quote that is traded on, seconds of market time
    restricted: list[str] = field(default_factory=list)  # symbols with no order at all
    close_only: list[str] = field(default_factory=list)  # symbols whose positions may only be reduced
    calendar: str = ""  # exchange outside whose hours nothing is opened, ISO code such as XNYS; "" = always open, days of UTC
    first_minutes: float = 0.0  # of a session of the calendar in which nothing is opened
    last_minutes: float = 0.0
    restart: list[str] = field(default_factory=list)  # begin and end of the daily time without any order, HH:MM; empty = none
    restart_zone: str = "America/New_York"  # of these times
    daily_loss: float = float("inf")  # loss of a session day after which nothing is opened until the next: realised, at mids, and commissions
    resume_day: str = field(default="", metadata={"digest": False})  # YYYY-MM-DD: a start on this day begins it anew after a daily loss stop
