"""FEATURES -> PREDICTIONS: the stage around an engine (predict_engines.py)."""

from __future__ import annotations

from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.predict_engines import Engine
from tickarrow.pipeline.stage import Snapshot


class Predict:
    """FEATURES -> PREDICTIONS, the same rows."""

    def __init__(self, engine: Engine, table: Table) -> None:
        self.engine = engine
        self._out = table

    def step(self, features: Batch) -> Batch:
        """All models for all rows of the batch."""
        n = len(features)
        out = self._out
        if n == 0:
            return out.empty()
        lo = out.reserve(n)
        for name in ("seq", "ts", "symbol"):
            out.segment.columns[name][lo : lo + n] = features.view(name)
        self.engine.predict(features.x, features.lo, features.hi, out.y[lo : lo + n])
        return out.commit(n)

    def flush(self) -> Batch:
        return self._out.empty()

    def snapshot(self) -> Snapshot:
        return {}

    def restore(self, saved: Snapshot) -> None:
        """A prediction depends on its row alone."""
