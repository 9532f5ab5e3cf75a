"""Engines: ways to run a model set. All give the bits of xgboost; they differ in speed and in what they need.

An engine serves only if its certificate holds (certificate.py). Otherwise it is disabled with a warning and the next one serves, xgboost
last."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline import certificate, compiler, forest_file, predict_engines_forest
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict_engines_library import Float32, Predict, TreeliteEngine, XgboostEngine

FOLLOWING = {  # who serves in whose place
    "simd": ("portable", "treelite_c", "xgboost"), "portable": ("treelite_c", "xgboost"), "treelite_c": ("portable", "xgboost"), "xgboost": (),
}  # fmt: skip


class EngineWarning(UserWarning):
    """The engine that was asked for does not serve."""


class Engine(Protocol):
    """Margins of all models for rows of features."""

    @property
    def name(self) -> str: ...

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Rows [lo, hi) of `x` (capacity, n_features) into rows [0, hi - lo) of `y` (rows, n_models); both C-contiguous."""
        ...

    def ways(self) -> Sequence[Predict]:
        """What `predict` chooses from, by the number of rows: each has to give the same bits."""
        ...


def open_engine(model_set: ModelSet, conf: ModelsConf) -> Engine:
    """The engine of the configuration, or with a warning the next one whose certificate holds."""
    if conf.engine not in FOLLOWING:
        raise ConfigError(f"models.engine is {conf.engine!r}: expected one of {', '.join(sorted(FOLLOWING))}.")
    if conf.sample_rows < 1:
        raise ConfigError(f"models.sample_rows is {conf.sample_rows}: expected 1 or more. Correct it in conf/models or on the command line.")
    if conf.threads < 1:
        raise ConfigError(f"models.threads is {conf.threads}: expected 1 or more. Correct it in conf/models or on the command line.")
    order = (conf.engine, *FOLLOWING[conf.engine])
    for name, following in pairwise(order):
        try:
            return open_alone(model_set, conf, name)
        except (ModelError, OSError) as e:
            said = f"engine {name!r} is disabled for model set {model_set.name!r}, {following!r} serves: {e}"
            warnings.warn(said, EngineWarning, stacklevel=2)
    return XgboostEngine(model_set)


def open_alone(model_set: ModelSet, conf: ModelsConf, name: str) -> Engine:
    """One of our engines or the compiled C, and no other in its place; ModelError or OSError says why it does not serve."""
    return _treelite(model_set, conf) if name == "treelite_c" else _forest(model_set, conf, name)


def _forest(model_set: ModelSet, conf: ModelsConf, name: str) -> Engine:
    """An engine of our own kernels, whose layout is made where it is not there or does not serve."""
    if reason := predict_engines_forest.eligible(name):
        raise ModelError(f"{reason}.")
    path = model_set.path / f"{name}.forest"
    stored = certificate.stored(model_set, name)
    try:
        engine = predict_engines_forest.load_engine(name, model_set, conf.threads, path)
    except (ModelError, OSError) as e:
        if not isinstance(e, (FileNotFoundError, forest_file.OutdatedError)):
            warnings.warn(f"model set {model_set.name!r}: {e}", EngineWarning, stacklevel=3)
        engine, written = predict_engines_forest.compile_engine(name, model_set, conf.threads, path)
        certificate.certify(model_set, engine, path if written else None)
        return engine
    if stored is None or stored["digest"] != compiler.file_digest(path):  # whole but not the one that was compared
        certificate.certify(model_set, engine, path)
    else:
        certificate.check(model_set, engine, path, conf)
    return engine


def _treelite(model_set: ModelSet, conf: ModelsConf) -> Engine:
    engine = TreeliteEngine(model_set, conf)
    certificate.check(model_set, engine, engine.library_path, conf)
    return engine
