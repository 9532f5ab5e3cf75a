"""How large a position may be, and when a forecast is worth a trade."""

from dataclasses import dataclass, field

from tickarrow.configs.limits import LimitsConf


@dataclass
class RiskConf:
    """Limits and targets are fractions of `nav`."""

    nav: float = 1_000_000.0  # net asset value, currency
    vol_target: float = 0.005  # annual volatility of one position, fraction of nav
    name_cap: float = 0.05  # largest position in one symbol, fraction of nav
    gross_cap: float = 1.0  # sum of |positions| and working orders, fraction of nav
    hurdle: float = 0.0  # trade only if the value within the barriers less the round trip's cost > hurdle x that cost; -1 or more
    pool_share: float = 0.5  # how far each horizon's drift moves to the pooled drift, 0 to 1
    resize_band: float = 0.5  # a held position on the right side is resized only if it is off by more than this share of the target
    profit_barrier: float = 1.5  # distance of the barrier in the forecast's direction, standard deviations of the horizon; inf = none
    stop_barrier: float = 1.0  # distance of the barrier against it, standard deviations of the horizon; inf = none
    lot: float = 1.0  # shares; every target is a multiple
    kelly: float = float("inf")  # largest position, share of the full Kelly bet; inf = no limit
    participation: float = 1.0  # largest position, fraction of the average daily volume where it is known
    net_cap: float = float("inf")  # |sum of signed positions and working orders|, fraction of nav
    sector_cap: float = float("inf")  # sum of |positions and working orders| in a sector, fraction of nav
    sectors: dict[str, str] = field(default_factory=dict)  # sector by symbol; a symbol without one has no sector cap
    throttle_from: float = 1.0  # drawdown from which positions are made smaller, fraction of the highest equity
    throttle_to: float = 1.0  # drawdown from which none is opened
    least_value: float = 0.0  # least value of an order that opens or resizes, currency
    limits: LimitsConf = field(default_factory=LimitsConf)  # whatever is decided, an order beyond them does not go out
    allow_delayed: bool = False  # trade on quotes that come 15 to 20 minutes late
