"""Engines that are another library: xgboost itself, and C code of tl2cgen."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tickarrow.configs.models import ModelsConf
from tickarrow.jit import native
from tickarrow.pipeline import compiler_native
from tickarrow.pipeline.models import ModelSet

Float32 = npt.NDArray[np.float32]
Predict = Callable[[Float32, int, int, Float32], None]  # rows [lo, hi) of x into rows [0, hi - lo) of y


class XgboostEngine:
    """The library of each model itself, one thread: the oracle of the others and the last resort."""

    name = "xgboost"

    def __init__(self, model_set: ModelSet) -> None:
        self.models = model_set.models

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        if lo == hi:
            return
        rows = x[lo:hi]
        for m, model in enumerate(self.models):
            y[: hi - lo, m] = model.margins(rows)

    def ways(self) -> Sequence[Predict]:
        return [self.predict]


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
                lambda: model_set.forests, model_set.model_digests, model_set.names, cc, conf.compile_jobs,
                lambda name, done, total: progress.update(bar, description=name, completed=done, total=total),
            )  # fmt: skip
        self.library = ctypes.CDLL(str(self.library_path))  # held: the addresses point into it
        self.address = compiler_native.addresses(self.library, model_set.model_digests, cc)
        self.entries = np.zeros(len(model_set.columns), np.float32)

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        native.predictors(self.address, x, lo, hi, self.entries, y)

    def ways(self) -> Sequence[Predict]:
        return [self.predict]
