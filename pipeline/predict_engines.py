"""Engines: ways to run a model set. All give the bits of xgboost; they differ in speed and in what they need.

An engine serves only if its certificate holds (certificate.py). Otherwise it is disabled with a warning and the next one serves, xgboost
last."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Protocol

from rich.console import Console

from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline import certificate, compiler_native, forest_file, predict_engines_forest
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict_engines_library import Float32, Predict, TreeliteEngine, XgboostEngine

FOLLOWING = {  # who serves in whose place
    "auto": ("simd", "portable", "treelite_c", "xgboost"), "simd": ("portable", "treelite_c", "xgboost"), "portable": ("treelite_c", "xgboost"),
    "treelite_c": ("portable", "xgboost"), "xgboost": (),
}  # fmt: skip
OURS = ("simd", "portable")
CANDIDATES = (*OURS, "treelite_c")  # of `auto`; the first serves unless another is clearly faster
MARGIN = 1.2
ROWS = 100


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
    for name in ("sample_rows", "threads"):
        if getattr(conf, name) < 1:
            raise ConfigError(f"models.{name} is {getattr(conf, name)}: expected 1 or more. Correct it in conf/models or on the command line.")
    order = (conf.engine, *FOLLOWING[conf.engine])
    if conf.engine == "auto":
        if (fastest := _fastest(model_set, conf)) is not None:
            return fastest
        order = order[1:]
    for name, following in pairwise(order):
        try:
            return open_alone(model_set, conf, name)
        except (ModelError, OSError) as e:
            _disabled(model_set, name, f"{following!r} serves", e)
    return XgboostEngine(model_set)


def _disabled(model_set: ModelSet, name: str, instead: str, why: Exception) -> None:
    warnings.warn(f"engine {name!r} is disabled for model set {model_set.name!r}, {instead}: {why}", EngineWarning, stacklevel=3)


def _fastest(model_set: ModelSet, conf: ModelsConf) -> Engine | None:
    """The engine that is fastest here, of those that this processor can run and whose certificate holds; says on standard error what it chose
    and why. Nothing is compiled to C for it."""
    timed: list[tuple[Engine, float, float]] = []
    passed_over: list[str] = []
    for name in CANDIDATES:
        if reason := predict_engines_forest.eligible(name) or _not_compiled(model_set, name):
            passed_over.append(f"{name}: {reason}")
            continue
        try:
            engine = open_alone(model_set, conf, name)
        except (ModelError, OSError) as e:
            _disabled(model_set, name, "the next serves", e)
            continue
        one, many = (predict_engines_forest.seconds([engine], len(model_set.columns), n, model_set.n_models) for n in (1, ROWS))
        timed.append((engine, one, many))
    if not timed:
        return None
    best = min(timed, key=lambda t: t[1] * t[2] * (1.0 if t is timed[0] else MARGIN))
    said = [f"{e.name} {1e6 * one:.1f} us for one row, {1e6 * many / ROWS:.2f} us a row for {ROWS}" for e, one, many in timed]
    _say(f"engine {best[0].name} serves {model_set.name!r}: {'; '.join(said + passed_over)}")
    return best[0]


def _say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)


def _not_compiled(model_set: ModelSet, name: str) -> str:
    """Why opening an engine would mean minutes of C compiler, if so."""
    if name != "treelite_c":
        return ""
    stored = certificate.stored(model_set, name)
    return "" if stored is not None and (compiler_native.home() / stored["file"]).is_file() else "not compiled"


def open_alone(model_set: ModelSet, conf: ModelsConf, name: str) -> Engine:
    """One of our engines or the compiled C, and no other in its place; ModelError or OSError says why it does not serve."""
    if name == "treelite_c":
        engine = TreeliteEngine(model_set, conf)
        certificate.check(model_set, engine, engine.library_path, conf)
        return engine
    return _forest(model_set, conf, name)


def prepare_engines(model_set: ModelSet) -> None:
    """Make layouts and certificates of our engines that this processor can run. What does not serve is told by the run that loads the set."""
    for name in OURS:
        with warnings.catch_warnings(), suppress(ModelError, OSError):
            warnings.simplefilter("ignore", EngineWarning)
            open_alone(model_set, ModelsConf(), name)


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
        if notes := engine.plan["notes"]:
            _say(f"engine {name}: {notes[0]}{f', and {len(notes) - 1} more like it' if len(notes) > 1 else ''}")
        certificate.certify(model_set, engine, path if written else None)
        return engine
    if stored is None or stored["digest"] != forest_file.file_digest(path):  # whole but not the one that was compared
        certificate.certify(model_set, engine, path)
    else:
        certificate.check(model_set, engine, path, conf)
    return engine
