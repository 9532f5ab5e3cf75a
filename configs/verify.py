"""Comparing the engines with the libraries of a model set."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from tickarrow.configs.models import ModelsConf


@dataclass
class VerifyConf:
    """tickarrow verify."""

    model_set: str = MISSING  # name in the registry, or path
    engine: str | None = None  # none = all that need no compiler, and treelite_c if the set was compiled for it
    rows: str | None = None  # Parquet or Arrow file of recorded rows of features, compared too: a column for each feature, or `x` as in FEATURES
    out: str | None = None  # JSON file of the certificates; none = certificates.json in the folder of the set
    models: ModelsConf = field(default_factory=ModelsConf)  # registry; compiler and jobs of treelite_c
