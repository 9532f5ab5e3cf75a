"""What a trade costs: commission and fees of a dated table, the effective spread, impact."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class TierConf:
    """Commission of what is traded in a month beyond a volume; marginal, as the broker applies it."""

    above: float = MISSING  # shares or contracts a month
    per_share: float = MISSING  # currency per share or contract


@dataclass
class RateConf:
    """A fee that is set anew from time to time."""

    since: str = MISSING  # ISO date, first day it is charged
    rate: float = MISSING  # as the fee says
    most: float = float("inf")  # currency per order


@dataclass
class CostsConf:
    """Fee table of a broker and a plan. Commission: per_share x shares, at least `minimum`, then at most `max_share` of the value."""

    per_share: float = MISSING  # currency per share or contract, up to the first tier
    minimum: float = MISSING  # currency per order
    max_share: float = MISSING  # fraction of the order's value; has the last word
    tiers: list[TierConf] = field(default_factory=list)  # beyond the first, by volume, at most 4
    month_volume: float = 0.0  # shares or contracts that the account has traded this month, where the tiers begin
    clearing: float = 0.0  # currency per share
    clearing_max_share: float = 1.0  # fraction of the order's value
    remove: float = 0.0  # exchange fee of a marketable order, currency per share or contract
    add: float = 0.0  # exchange fee of a resting order; negative = rebate
    nyse_pass_through: float = 0.0  # fraction of the commission
    finra_pass_through: float = 0.0  # fraction of the commission
    regulatory: list[RateConf] = field(default_factory=list)  # both sides, currency per share (consolidated audit trail) or contract
    taf: list[RateConf] = field(default_factory=list)  # FINRA trading activity fee: sales only, currency per share
    sec: list[RateConf] = field(default_factory=list)  # SEC section 31: sales only, fraction of the value
    as_of: str = ""  # ISO date whose rates are charged; empty = the last of each table
    multiplier: float = 1.0  # currency per point of price of one share or contract
    effective: float = 1.0  # expected effective spread, fraction of the quoted
    impact_eta: float = 0.0  # impact = eta x daily volatility x sqrt(quantity / daily volume); 0 = none
    adv: float = 0.0  # average daily volume of a symbol without one of its own, shares; 0 = not known
    usual_value: float = 20_000.0  # value of an order where none is known, as in the report of a training, currency
    adv_of: dict[str, float] = field(default_factory=dict)  # average daily volume by symbol, shares
