"""Which features are computed, and when a symbol is due."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class FamilyConf:
    """One feature family and what it computes."""

    name: str = MISSING  # a registered family
    tau_s: list[float] = field(default_factory=list)  # decay exp(-dt/tau), seconds of event time, rising; empty = the family's own
    columns: list[str] = field(default_factory=list)  # in this order; empty = all of the family


@dataclass
class BarsConf:
    """When a bar closes."""

    rule: str = "time"  # time | ticks (trades) | volume (shares) | dollar (currency)
    every: float = 60.0  # seconds, trades, shares or currency, as the rule says
    price: str = "trade"  # trade | mid (symbols without trades, such as currencies)


@dataclass
class CrossConf:
    """The cross-section of the universe."""

    every_s: float = 1.0  # whole seconds of market time between two passes
    index: str = ""  # symbol that is the market; empty = equal-weighted mean of the universe
    sectors: dict[str, str] = field(default_factory=dict)  # symbol: sector; symbols that are not named are one sector


@dataclass
class FeaturesConf:
    """Columns of FEATURES in order, and the trigger."""

    families: list[FamilyConf] = field(default_factory=list)
    throttle_ns: int = 250_000_000  # ns of event time between two rows of a symbol; 0 = every quote change
    bars: BarsConf = field(default_factory=BarsConf)
    cross: CrossConf = field(default_factory=CrossConf)
    calendar: str = "XNYS"  # exchange whose sessions count, ISO code; empty = always open, UTC days
    files: list[str] = field(default_factory=list, metadata={"digest": False})  # Python files with families of your own, by their content in the digest
