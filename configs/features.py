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
class FeaturesConf:
    """Columns of FEATURES in order, and the trigger."""

    families: list[FamilyConf] = field(default_factory=list)
    throttle_ns: int = 250_000_000  # ns of event time between two rows of a symbol; 0 = every quote change
