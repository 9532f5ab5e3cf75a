"""The keep-warm pass: after some ms of silence the forest, the state of the symbols and the code itself have left the caches, and the first
tick pays for it. The pass reads one byte of each line of state and lets stages of its own, of one symbol, decide on a tick that nobody has
sent, with the forest of the pipeline. It writes nothing that a decision depends on, so a session with it and a replay without it are equal."""

from __future__ import annotations

import dataclasses
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.jit.touch import touch
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Act, Ensemble, forecasts_schema
from tickarrow.pipeline.features import Features
from tickarrow.pipeline.pipeline import Pipeline

ROWS = 64  # recent rows that take turns: each goes other ways through the trees
LARGEST = 1 << 20  # bytes; of a larger array a tick needs a small part
AT_ONCE = 4  # of them in a pass: more do not make the next tick faster
RENEW = 256  # passes after which arrays are looked up again: a swap makes new ones


class Warm:
    """The pass over one pipeline; `passes` counts."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._kept: list[npt.NDArray[Any]] = []  # the addresses are theirs
        self._address = self._size = np.zeros(0, np.int64)
        self.twin = Twin(pipeline)
        self.passes = 0

    def __call__(self) -> None:
        if self.passes % RENEW == 0:
            self._renew()
        p, twin = self._pipeline, self.twin
        rows = p.tables.features.segment
        i = twin.tick(p.ts) if p.ts else 0
        y = twin.predictions.y[i : i + 1]
        for k in range(AT_ONCE * self.passes, AT_ONCE * (self.passes + 1)):
            row = (rows.rows - 1 - k % ROWS) % rows.capacity  # what was never written is a row of zeros
            self._engine.predict(rows.columns["x"], row, row + 1, y)
        self.passes += 1
        if p.ts:  # before the first tick nobody knows the day
            twin.decide()
        touch(self._address, self._size)

    def _renew(self) -> None:
        p = self._pipeline
        self._engine = p.engine
        if p.model_set.n_models != self.twin.n_models:
            self.twin = Twin(p)
        arrays = chain(p.features.lines(), vars(p.ensemble).values(), vars(p.act).values())
        self._kept = [a for a in arrays if isinstance(a, np.ndarray) and a.flags.c_contiguous and 0 < a.nbytes <= LARGEST]
        self._address = np.array([a.ctypes.data for a in self._kept], np.int64)
        self._size = np.array([a.nbytes for a in self._kept], np.int64)


class Twin:
    """Stages as those of a pipeline, for its first symbol, with state and tables of their own."""

    def __init__(self, p: Pipeline) -> None:
        conf, models = p.conf, p.model_set
        horizons, self.n_models = models.horizons_ns, models.n_models
        self.ticks, self.predictions = small(schemas.TICKS), small(schemas.predictions_schema(self.n_models, models.digest))
        # Each tick is due, and each row makes the weights anew: that is the larger part of the code.
        always, often = dataclasses.replace(conf.features, throttle_ns=0), dataclasses.replace(conf.ensemble, refresh_ns=0)
        self.features = Features(always, p.universe, small(p.tables.features.schema), small(schemas.DEPTH))
        self.ensemble = Ensemble(often, 1, horizons, models.ic, small(forecasts_schema(len(horizons))))
        tables = small(schemas.DECISIONS), small(schemas.ORDERS), small(schemas.FILLS)
        tick_size = np.array([next(iter(p.universe)).tick_size])
        self.act = Act(conf.risk, conf.costs, conf.orders, 1, horizons, tick_size, *tables, False)
        self._n = 0

    def tick(self, ts: int) -> int:
        """Features of another quote at a market time, ns; the row of `predictions` that waits for what the models say of it."""
        t, y = self.ticks, self.predictions
        i, n = t.reserve(1), self._n
        t.seq[i], t.ts[i], t.symbol[i], t.kind[i] = n, ts, 0, schemas.Kind.QUOTE
        t.bid[i], t.ask[i], t.bid_size[i], t.ask_size[i] = 100.0, 100.01 + 0.01 * (n % 2), 100.0 * (1 + n % 7), 100.0
        self._last = t.commit(1)
        self.features.step(self._last)
        i = y.reserve(1)
        y.seq[i], y.ts[i], y.symbol[i] = n, ts, 0
        self._n = n + 1
        return i

    def decide(self) -> None:
        """Decide on it."""
        self.act.step(self.ensemble.step(self.predictions.commit(1), self._last), self._last)


def small(schema: pa.Schema) -> Table:
    """A table that nobody reads."""
    return Table(schema, capacity=ROWS)
