"""Looking up what the features are."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from tickarrow.configs.features import FeaturesConf


@dataclass
class FeaturesListConf:
    """tickarrow features list."""

    features: FeaturesConf = field(default_factory=FeaturesConf)  # no family = all


@dataclass
class FeaturesDescribeConf:
    """tickarrow features describe."""

    name: str = MISSING  # column or family
    features: FeaturesConf = field(default_factory=FeaturesConf)  # windows as configured; no family = all with their own windows
