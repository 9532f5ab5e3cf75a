"""FEATURES -> PREDICTIONS: the stage around the model sets of a session and their engines (predict_engines.py).

One set decides for all symbols, or another one for some of them (a canary). Which one is changed between two batches only, by a control
event, so that a replay sees the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.certificate_live import LiveCheck
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict_engines import Engine
from tickarrow.pipeline.predict_links import Links
from tickarrow.pipeline.stage import Snapshot, copied

Float32 = npt.NDArray[np.float32]


class Served:
    """A model set and the engine that runs it.

    Parameters
    ----------
    model_set, engine : what predicts, and how
    table : PREDICTIONS of as many models; sets of as many models share it
    """

    def __init__(self, model_set: ModelSet, engine: Engine, table: Table) -> None:
        self.model_set, self.engine, self.table = model_set, engine, table
        self.links = Links(model_set.entries)
        self.check: LiveCheck | None = None  # takes a sample of the margins

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Predictions of rows [lo, hi) of `x` (capacity, n_features) into rows [0, hi - lo) of `y` (rows, n_models)."""
        self.engine.predict(x, lo, hi, y)
        if self.check is not None:
            self.check.offer(x, lo, hi, y)
        self.links.apply(x, lo, hi, y)


class Predict:
    """FEATURES -> PREDICTIONS, the same rows.

    Parameters
    ----------
    served : decides at the start
    n_symbols : rows of the universe
    """

    def __init__(self, served: Served, n_symbols: int) -> None:
        self.sets = [served]
        self.watch: Callable[[Served], None] | None = None  # told of each set that joins
        self.route = np.zeros(n_symbols, np.uint8)  # index into `sets`, by symbol
        self._alone: Served | None = served  # decides for all symbols
        self._out = served.table

    def step(self, features: Batch) -> Batch:
        """All models for all rows of the batch."""
        n = len(features)
        out = self._out
        if n == 0:
            return out.empty()
        lo = out.reserve(n)
        for name in ("seq", "ts", "symbol"):
            out.segment.columns[name][lo : lo + n] = features.view(name)
        y = out.y[lo : lo + n]
        if self._alone is not None:
            self._alone.predict(features.x, features.lo, features.hi, y)
        elif n == 1:
            self.sets[self.route[features.symbol[features.lo]]].predict(features.x, features.lo, features.hi, y)
        else:
            self._by_set(features, y)
        return out.commit(n)

    def _by_set(self, features: Batch, y: Float32) -> None:
        """Rows of symbols that different sets decide for: gathered by set, because a block is cheaper than its rows one by one."""
        which = self.route[features.view("symbol")]
        x = features.view("x")
        for index in np.unique(which):
            rows = np.flatnonzero(which == index)
            part = np.empty((rows.size, y.shape[1]), np.float32)
            self.sets[index].predict(x[rows], 0, rows.size, part)
            y[rows] = part

    def use(self, index: int, symbol: int = -1) -> None:
        """From the next batch on set `index` decides for a symbol, or (-1) for all."""
        self.route[slice(None) if symbol < 0 else symbol] = index
        self._settle()

    def _settle(self) -> None:
        first = self.sets[self.route[0]]
        self._alone = first if (self.route == self.route[0]).all() else None
        self._out = first.table

    @property
    def present(self) -> int:
        """Index of the set that decides for most symbols."""
        return int(np.bincount(self.route).argmax())

    def flush(self) -> Batch:
        return self._out.empty()

    def held(self) -> Snapshot:
        return {"route": self.route}

    def snapshot(self) -> Snapshot:
        return copied(self.held())

    def restore(self, saved: Snapshot) -> None:
        """A prediction depends on its row and on the set that decides for its symbol."""
        self.route[...] = saved["route"]
        self._settle()
