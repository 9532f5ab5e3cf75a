"""The keep-warm pass: after some ms of silence the forest and the state of the symbols have left the caches, and the first tick pays for
it. The pass predicts a recent row into memory of its own and reads one byte of each line of state. It writes nothing that a decision
depends on, so a session with it and a replay without it are equal."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit.touch import touch
from tickarrow.pipeline.pipeline import Pipeline

ROWS = 64  # recent rows that take turns: each goes other ways through the trees
LARGEST = 1 << 20  # bytes; of a larger array a tick needs a small part
RENEW = 256  # passes after which arrays are looked up again: a swap makes new ones


class Warm:
    """The pass over one pipeline; `passes` counts."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._y = np.zeros((1, 0), np.float32)
        self._kept: list[npt.NDArray[Any]] = []  # the addresses are theirs
        self._address = self._size = np.zeros(0, np.int64)
        self.passes = 0

    def __call__(self) -> None:
        if self.passes % RENEW == 0:
            self._renew()
        rows = self._pipeline.tables.features.segment
        row = (rows.rows - 1 - self.passes % ROWS) % rows.capacity  # what was never written is a row of zeros
        self.passes += 1
        self._engine.predict(rows.columns["x"], row, row + 1, self._y)
        touch(self._address, self._size)

    def _renew(self) -> None:
        p = self._pipeline
        self._engine, n_models = p.engine, p.model_set.n_models
        if self._y.shape[1] != n_models:
            self._y = np.zeros((1, n_models), np.float32)
        arrays = chain(p.features.lines(), vars(p.ensemble).values(), vars(p.act).values())
        self._kept = [a for a in arrays if isinstance(a, np.ndarray) and a.flags.c_contiguous and 0 < a.nbytes <= LARGEST]
        self._address = np.array([a.ctypes.data for a in self._kept], np.int64)
        self._size = np.array([a.nbytes for a in self._kept], np.int64)
