"""The registry of model sets: what is there, what is promoted, how two sets differ."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.models import ModelsConf
from tickarrow.configs.universe import UniverseConf


@dataclass
class ModelsListConf:
    """tickarrow models list."""

    models: ModelsConf = field(default_factory=ModelsConf)  # models.registry: the folder


@dataclass
class ModelsRollbackConf:
    """tickarrow models rollback."""

    models: ModelsConf = field(default_factory=ModelsConf)


@dataclass
class ModelsShowConf:
    """tickarrow models show."""

    name: str = MISSING  # of a set in the registry; promoted = the one that is promoted
    models: ModelsConf = field(default_factory=ModelsConf)


@dataclass
class ModelsPromoteConf:
    """tickarrow models promote."""

    name: str = MISSING  # of a set in the registry
    models: ModelsConf = field(default_factory=ModelsConf)


@dataclass
class ModelsDiffConf:
    """tickarrow models diff."""

    a: str = MISSING  # name or path of a set, or promoted
    b: str = MISSING
    path: str | None = None  # Parquet file or folder of ticks, or a session: both sets predict its rows
    features: FeaturesConf = field(default_factory=FeaturesConf)  # of these rows; those of a session are in it
    universe: UniverseConf = field(default_factory=UniverseConf)
    models: ModelsConf = field(default_factory=ModelsConf)
