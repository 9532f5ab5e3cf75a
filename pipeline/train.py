"""tickarrow train: a model set from a market, saved under a name that `model_set=NAME` finds."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console

from tickarrow.configs.pipeline import TrainConf
from tickarrow.jit._kernel import cache_home
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.features import feature_columns, feature_digest
from tickarrow.pipeline.models import ModelSet, load_set
from tickarrow.pipeline.prepare import train_in_child
from tickarrow.pipeline.registry import PROMOTED
from tickarrow.pipeline.source import open_source
from tickarrow.pipeline.training_report import REPORT, show

NAMED = 8  # symbols in the name of a set; more are counted


def main(conf: TrainConf) -> ModelSet:
    """Train and save; prints where."""
    name = conf.name or source_name(conf)
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ConfigError(f"name={name!r} cannot name a folder. Use letters, digits, '-', '_' and '.'.")
    if name == PROMOTED:
        raise ConfigError(f"name={name} stands for the promoted set (tickarrow models promote). Choose another name.")
    open_source(conf.source, conf.universe)  # its errors are shown here, before a process starts
    path = cache_home() / "models" / name
    if (path / "manifest.json").exists():
        raise ConfigError(f"model set {name!r} already exists in {path.parent}. Choose another name (name=...) or remove its folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    train_in_child(path, training=conf.training, source=conf.source, universe=conf.universe, features=conf.features, costs=conf.costs)
    trained = load_set(str(path), feature_columns(conf.features), feature_digest(conf.features))
    if (path / REPORT).is_dir():
        show(Console(), path / REPORT)
    Console().print(f"model set {trained.digest} written to {path}; use it with model_set={name}", soft_wrap=True)
    return trained


def source_name(conf: TrainConf) -> str:
    """A name that says what the set was trained on: the file and its day, or the seed."""
    if conf.source.kind == "parquet":
        symbols = conf.source.symbols if len(conf.source.symbols) <= NAMED else [f"{len(conf.source.symbols)}-symbols"]
        parts = [Path(conf.source.path).stem, *symbols, *([conf.source.day] if conf.source.day else [])]
        return re.sub(r"[^\w.-]+", "-", "-".join(parts))
    return f"generated-{conf.source.seed}"
