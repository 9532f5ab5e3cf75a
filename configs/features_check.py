"""Looking for look-ahead in features and labels."""

from dataclasses import dataclass, field

from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.training import TrainingConf
from tickarrow.configs.universe import UniverseConf


@dataclass
class FeaturesCheckConf:
    """tickarrow features check."""

    universe: UniverseConf = field(default_factory=UniverseConf)
    source: SourceConf = field(default_factory=SourceConf)
    features: FeaturesConf = field(default_factory=FeaturesConf)  # no family = those of features.files; all if there is no file either
    training: TrainingConf = field(default_factory=TrainingConf)  # horizons and holes of the labels
    path: str | None = None  # Parquet file of ticks: short for source=parquet source.path=PATH
    labels: bool = True  # check the labels too
    rows: int = 20_000  # ticks of the check: the first of recorded ones, spread over all of a generated market
    cuts: int = 24  # places where the later ticks are cut off, and where they are replaced
