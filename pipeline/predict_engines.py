"""Engines: ways to run a model set. All give the bits of xgboost; they differ in speed and in what they need.

An engine serves only if its certificate holds (certificate.py). Otherwise it is disabled with a warning and the next one serves, xgboost
last."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Protocol

import numpy as np

from tickarrow.configs.models import ModelsConf
from tickarrow.jit import trees
from tickarrow.pipeline import certificate, compiler
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict_engines_library import Float32, TreeliteEngine, XgboostEngine

ORDER = ("treelite_c", "portable", "xgboost")  # who serves after whom
LAYOUT = "portable.forest"


class EngineWarning(UserWarning):
    """The engine that was asked for does not serve."""


class Engine(Protocol):
    """Margins of all models for rows of features."""

    @property
    def name(self) -> str: ...

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Rows [lo, hi) of `x` (capacity, n_features) into rows [0, hi - lo) of `y` (rows, n_models); both C-contiguous."""
        ...


class PortableEngine:
    """Complete trees in lock step (jit/trees.py), on any CPU."""

    name = "portable"

    def __init__(self, layout: compiler.Layout) -> None:
        n_features = int(layout.shape[1])
        self.arrays = (layout.groups, layout.feature, layout.threshold, layout.leaf, layout.model, layout.base)
        self.scratch = (
            np.zeros((trees.BLOCK, 2 * n_features), np.float32),
            np.zeros((trees.BLOCK, trees.LANES), np.float32),
            np.zeros(trees.LANES, np.uint64),
        )

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        trees.forest(x, lo, hi, *self.arrays, *self.scratch, y)


def open_engine(model_set: ModelSet, conf: ModelsConf) -> Engine:
    """The engine of the configuration, or with a warning the next one whose certificate holds."""
    if conf.engine not in ORDER:
        raise ConfigError(f"models.engine is {conf.engine!r}: expected one of {', '.join(sorted(ORDER))}.")
    if conf.sample_rows < 1:
        raise ConfigError(f"models.sample_rows is {conf.sample_rows}: expected 1 or more. Correct it in conf/models or on the command line.")
    for name, following in pairwise(ORDER[ORDER.index(conf.engine) :]):
        try:
            return _portable(model_set, conf) if name == "portable" else _treelite(model_set, conf)
        except (ModelError, OSError) as e:
            said = f"engine {name!r} is disabled for model set {model_set.name!r}, {following!r} serves: {e}"
            warnings.warn(said, EngineWarning, stacklevel=2)
    return XgboostEngine(model_set)


def compile_layout(model_set: ModelSet) -> Engine:
    """Write the layout of the portable engine, compare it with xgboost on all probe rows, and store the certificate."""
    layout, path = compiler.pack(model_set.forests, model_set.names), model_set.path / LAYOUT
    try:
        compiler.write_layout(layout, path)
    except OSError:  # a set in a read-only folder: whole check at each load
        engine = PortableEngine(layout)
        certificate.certify(model_set, engine, None)
        return engine
    engine = PortableEngine(compiler.read_layout(path))
    certificate.certify(model_set, engine, path)
    return engine


def _portable(model_set: ModelSet, conf: ModelsConf) -> Engine:
    path = model_set.path / LAYOUT
    stored = certificate.stored(model_set, "portable")
    if not path.is_file() or stored is None:
        return compile_layout(model_set)
    certificate.check_file(stored, path)
    engine = PortableEngine(compiler.read_layout(path))
    certificate.check(model_set, engine, path, conf)
    return engine


def _treelite(model_set: ModelSet, conf: ModelsConf) -> Engine:
    engine = TreeliteEngine(model_set, conf)
    certificate.check(model_set, engine, engine.library_path, conf)
    return engine
