"""What kind of order an intent becomes."""

from dataclasses import dataclass


@dataclass
class OrdersConf:
    """A marketable limit order at the other side's price."""

    limit_offset_ticks: int = 1  # beyond the touch, ticks; room for the quote to move during the latency
    ttl_s: float = 10.0  # a working order older than this is cancelled, seconds of market time
