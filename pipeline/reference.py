"""Stages by their plain reference: the formulas of jit/ as Python and NumPy run them, without numba and LLVM, on the same state.

For who suspects a kernel. A second copy of the modules is imported with the JIT off, so nothing compiled is shared; what a stage decides is
equal bit for bit, a hundred to a thousand times slower. `models.engine=xgboost` is the same for `predict`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import numba
import numpy as np

import tickarrow
from tickarrow.jit.feature import Family
from tickarrow.pipeline import features_driver
from tickarrow.pipeline.errors import ConfigError, near
from tickarrow.pipeline.features import Features
from tickarrow.pipeline.features_registry import choose
from tickarrow.pipeline.pipeline import Pipeline

STAGES = ("decode", "features", "ensemble", "act")
COST = {"decode": "1 ms a message", "features": "3 ms a tick", "ensemble": "3 ms a row of 2 configurations", "act": "0.5 ms a row"}
JIT = "tickarrow.jit"
_plain: dict[str, ModuleType] = {}


def _ours() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name == JIT or name.startswith(f"{JIT}.")}


@contextmanager
def _jit_off() -> Iterator[None]:
    """Imports of jit/ give plain modules; afterwards everything is as it was."""
    compiled, driver = _ours(), vars(features_driver)
    before = numba.config.DISABLE_JIT, driver["DISABLE_JIT"]
    for name in compiled:
        del sys.modules[name]
    sys.modules.update(_plain)
    numba.config.DISABLE_JIT, driver["DISABLE_JIT"] = 1, 1
    try:
        yield
    finally:
        numba.config.DISABLE_JIT, driver["DISABLE_JIT"] = before
        _plain.update(_ours())
        for name in _plain:
            sys.modules.pop(name, None)
        sys.modules.update(compiled)
        tickarrow.jit = compiled[JIT]


def _quiet(function: Any) -> Any:
    """Without NumPy's warnings: a quotient that is not finite is part of the formulas."""

    def call(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments)

    return call


def _family(family: Family) -> Family:
    """A family with the plain forms of its kernels."""
    hooks: dict[str, Any] = {}
    for hook in features_driver.HOOKS:
        if kernel := getattr(family, hook):
            module, name = features_driver._name(kernel)
            if not module.startswith(f"{JIT}."):
                raise ConfigError(f"features: family {family.name!r} is of your own: the reference runs the families of tickarrow only.")
            hooks[hook] = getattr(import_module(module), name)
    return dataclasses.replace(family, **hooks)


def _features(old: Features, pipeline: Pipeline) -> Features:
    """A plain stage that goes on with the state of the compiled one."""
    with _jit_off():
        chosen = [dataclasses.replace(c, family=_family(c.family)) for c in choose(old.conf)]
        new = Features(old.conf, pipeline.universe, pipeline.tables.features, pipeline.tables.depth, chosen)
    new.kernel = _quiet(new.kernel)
    new.restore(old.held())
    new.follow_depth(old)
    return new


def use(pipeline: Pipeline, stages: Sequence[str]) -> str:
    """Let stages of a pipeline run by their reference from the next chunk on; between two chunks, at any time.

    Returns
    -------
    str, what it costs, "" if nothing was asked for
    """
    for stage in stages:
        if stage not in STAGES:
            raise ConfigError(f"reference: {stage!r} is no stage that has one. {near(stage, list(STAGES))}")
    with _jit_off():
        step, book, tables, depth, ensemble, act = (import_module(f"{JIT}.{n}") for n in ("wire_step", "book", "book_tables", "depth", "ensemble", "act"))
    if "decode" in stages:
        pipeline.decode.step_kernel = _quiet(step.step)
        pipeline.decode.side.tables, pipeline.decode.side.books = tables, depth
        pipeline.from_rows.kernel = _quiet(book.rows_update)
    if "features" in stages:
        pipeline.features = _features(pipeline.features, pipeline)
    if "ensemble" in stages:
        pipeline.ensemble.kernel = _quiet(ensemble.ensemble_update)
    if "act" in stages:
        pipeline.act.kernel = _quiet(act.act_update)
    return f"by their plain reference: {', '.join(f'{s} (about {COST[s]})' for s in STAGES if s in stages)}" if stages else ""
