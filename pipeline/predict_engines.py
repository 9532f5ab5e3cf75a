"""Engines: ways to run a model set. All give the bits of xgboost; they differ in speed and in what they need."""

from __future__ import annotations

import ctypes
from typing import Protocol

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tickarrow.configs.models import ModelsConf
from tickarrow.jit import native, trees
from tickarrow.pipeline import compiler, compiler_native
from tickarrow.pipeline.models import ModelSet

Float32 = npt.NDArray[np.float32]


class Engine(Protocol):
    """Margins of all models for rows of features."""

    @property
    def name(self) -> str: ...

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Rows [lo, hi) of `x` (capacity, n_features) into rows [0, hi - lo) of `y` (rows, n_models); both C-contiguous."""
        ...


class XgboostEngine:
    """xgboost itself, one thread: the oracle of the others and the last resort."""

    name = "xgboost"

    def __init__(self, model_set: ModelSet) -> None:
        self.boosters = model_set.boosters

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        if lo == hi:
            return
        rows = x[lo:hi]
        for m, booster in enumerate(self.boosters):
            y[: hi - lo, m] = booster.inplace_predict(rows, predict_type="margin", validate_features=False)


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


class TreeliteEngine:
    """C code of tl2cgen, compiled on demand and called by address."""

    name = "treelite_c"

    def __init__(self, model_set: ModelSet, conf: ModelsConf) -> None:
        cc = compiler_native.find_compiler(conf.compiler)
        with Progress(
            TextColumn("compiling {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True,
        ) as progress:  # fmt: skip
            bar = progress.add_task(f"{model_set.n_models} models", total=None)
            self.library_path = compiler_native.build(
                lambda: model_set.boosters, lambda: model_set.forests, model_set.model_digests, model_set.names, cc, conf.compile_jobs,
                lambda name, done, total: progress.update(bar, description=name, completed=done, total=total),
            )  # fmt: skip
        self.library = ctypes.CDLL(str(self.library_path))  # held: the addresses point into it
        self.address = compiler_native.addresses(self.library, model_set.model_digests, cc)
        self.entries = np.zeros(len(model_set.columns), np.float32)

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        native.predictors(self.address, x, lo, hi, self.entries, y)
