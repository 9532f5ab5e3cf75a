"""What kind of order an intent becomes."""

from dataclasses import dataclass, field


@dataclass
class OrdersConf:
    """A marketable limit order at the other side's price."""

    limit_offset_ticks: int = 1  # beyond the touch, ticks; room for the quote to move during the latency
    ttl_s: float = 10.0  # a working order older than this is cancelled, seconds of market time
    ledger: str | None = field(default=None, metadata={"digest": False})  # folder of the files of sent orders, kept over runs; none = of the user
    requests: int = 20  # orders and cancels per second; IBKR allows 50 requests of all kinds, gateway.data_requests takes its share; 0 = any number
    reserved: int = 10  # of them that only cancels may use
    wait_s: float = 2.0  # an order that could not be sent within so long is refused, seconds
    acknowledge_s: float = 10.0  # orders and cancels without an answer for so long are asked for, seconds of market time
    compare_s: float = 60.0  # orders and positions are compared with the gateway each so many seconds of market time
