"""What kind of order an intent becomes, and how orders are sent."""

from dataclasses import dataclass, field


@dataclass
class OrdersConf:
    """Limit orders: marketable at once, or at the own side's price, which they follow; with or without a bracket."""

    style: str = "marketable"  # marketable | passive
    limit_offset_ticks: int = 1  # the worst price an order may have is so far beyond the touch, ticks; room for the quote to move during the latency
    ttl_s: float = 10.0  # a working order older than this is cancelled, seconds of market time
    tif: str = "DAY"  # DAY | GTC | IOC (what is not filled at once is cancelled) | FOK (all at once or nothing)
    outside_rth: bool = False  # orders may be filled outside regular hours too
    improve_ticks: int = 0  # passive: better than the own side's best price, ticks, as far as the spread allows
    reprice_ticks: int = 1  # passive: an order follows its side of the quote when that is so many ticks away,
    reprice_s: float = 0.5  # and no sooner than so many seconds of market time after its last price
    cross_s: float = 0.0  # passive: after so many seconds of market time the rest goes at its worst price; 0 = never
    profit_bp: float = 0.0  # bracket: an order that opens a position takes its profit so far from its worst price, bp of it; 0 = nowhere
    stop_bp: float = 0.0  # bracket: and stops its loss so far from it, bp; 0 = nowhere
    bracket_tif: str = "GTC"  # of profit and stop: DAY | GTC
    margin_share: float = 0.0  # the gateway is asked first: initial margin afterwards at most this share of equity with loan; 0 = it is not asked
    ledger: str | None = field(default=None, metadata={"digest": False})  # folder of the files of sent orders, kept over runs; none = of the user
    requests: int = 20  # orders, changes and cancels per second; IBKR allows 50 requests of all kinds, gateway.data_requests takes its share; 0 = any number
    reserved: int = 10  # of them that only cancels may use
    wait_s: float = 2.0  # an order that could not be sent within so long is refused, seconds; from the end of the bracket that ends for its sake
    acknowledge_s: float = 10.0  # orders and cancels without an answer for so long are asked for, seconds of market time
    compare_s: float = 60.0  # orders and positions are compared with the gateway each so many seconds of market time
