"""The pipeline: `bytes -> TICKS -> FEATURES -> PREDICTIONS -> DECISIONS -> ORDERS`. Read this page first.

Live, replay, backtest and an embedding program push into the same object: `feed` takes received bytes, `push` takes a table of
ticks, `step` takes rows of TICKS. Only `act` looks at positions; everything before it depends on market data alone."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from tickarrow.configs.pipeline import PipelineConf
from tickarrow.pipeline import schemas
from tickarrow.pipeline.adapters import rows_of
from tickarrow.pipeline.batch import Batch, Chunk, Table
from tickarrow.pipeline.costs import volumes
from tickarrow.pipeline.decide import Act, Control, Ensemble, forecasts_schema
from tickarrow.pipeline.decide_act import sectors
from tickarrow.pipeline.decode import Decode, FromRows
from tickarrow.pipeline.features import Features, feature_columns, feature_digest
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict import Predict, Served
from tickarrow.pipeline.predict_engines import Engine
from tickarrow.pipeline.shadow import Shadow
from tickarrow.pipeline.source import Rows
from tickarrow.pipeline.stage import Snapshot, copied
from tickarrow.pipeline.swap import Swaps, kept_places, step_in_parts
from tickarrow.pipeline.universe import Universe

if TYPE_CHECKING:
    from tickarrow.pipeline.runtime_budget import Budget

STAGES = ("decode", "from_rows", "features", "predict", "ensemble", "act")  # what a snapshot holds, by attribute


class MakeTable(Protocol):
    """Makes a table of a session, or one in memory."""

    def __call__(self, schema: pa.Schema, *, lazy: bool = False) -> Table: ...


@dataclass(slots=True)
class Tables:
    """The tables between the stages."""

    ticks: Table
    features: Table
    predictions: Table
    forecasts: Table
    decisions: Table
    orders: Table
    fills: Table
    control: Table
    timing: Table
    depth: Table  # beside TICKS, as bars and greeks
    bars: Table
    greeks: Table

    @classmethod
    def make(cls, conf: PipelineConf, n_models: int, model_digest: str, n_horizons: int, recorded: MakeTable | None = None) -> Tables:
        """Tables in memory, or those of a session where `recorded` makes them; results are kept, streams are recycled."""
        rec = conf.record
        features = schemas.features_schema(feature_columns(conf.features), feature_digest(conf.features))
        predictions = schemas.predictions_schema(n_models, model_digest)
        keep: MakeTable = recorded or partial(Table, keep=True)
        stream: MakeTable = recorded or Table
        return cls(
            ticks=stream(schemas.TICKS),
            features=keep(features) if recorded and rec.features else Table(features),
            predictions=keep(predictions) if recorded and rec.predictions else Table(predictions),
            forecasts=Table(forecasts_schema(n_horizons)),
            decisions=keep(schemas.DECISIONS),
            orders=keep(schemas.ORDERS),
            fills=keep(schemas.FILLS),
            control=keep(schemas.CONTROL),
            timing=keep(schemas.TIMING),
            depth=stream(schemas.DEPTH, lazy=True),
            bars=stream(schemas.BARS, lazy=True),
            greeks=stream(schemas.GREEKS, lazy=True),
        )

    def rows(self) -> dict[str, int]:
        """Committed rows of each table of a session."""
        return {t.name: t.rows for t in (getattr(self, f.name) for f in fields(self)) if t.directory is not None}

    def prepare(self) -> None:
        """Make next segments ahead of need."""
        self.ticks.prepare()
        self.decisions.prepare()
        self.depth.prepare()


class Pipeline:
    """Stages in order, over one universe; the model set can be changed between two chunks (swap.py).

    Parameters
    ----------
    conf : what each stage is told
    universe : symbols; row numbers are the `symbol` column
    model_set, engine : what predicts at the start, and how
    recorded : makes the tables of a session; None = memory only
    simulate_fills : fill intents at the symbol's next quote (backtest without a gateway)
    clock : ns, of latencies; nothing is decided by it here
    """

    def __init__(
        self, conf: PipelineConf, universe: Universe, model_set: ModelSet, engine: Engine, *, recorded: MakeTable | None = None, simulate_fills: bool = False,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:  # fmt: skip
        self.conf, self.universe, self._clock = conf, universe, clock
        self.budget: Budget | None = None  # of a live loop: is told how long each stage took
        n, horizons = len(universe), model_set.horizons_ns
        tick_size = np.array([i.tick_size for i in universe])
        self.tables = t = Tables.make(conf, len(model_set.configurations) * len(horizons), model_set.digest, len(horizons), recorded)
        self.decode = Decode(n, t.ticks, t.depth, t.bars, t.greeks)
        self.from_rows = FromRows(n, t.ticks)
        self.features = Features(conf.features, universe, t.features, t.depth)
        self.predict = Predict(Served(model_set, engine, t.predictions), n)
        self.ensemble = Ensemble(conf.ensemble, n, horizons, model_set.ic, t.forecasts)
        symbols = [i.symbol for i in universe]
        self.act = Act(
            conf.risk, conf.costs, conf.orders, n, horizons, tick_size, t.decisions, t.orders, t.fills, simulate_fills,
            volumes(conf.costs, symbols), sectors(conf.risk, symbols), symbols,
        )  # fmt: skip
        self.swaps = Swaps(self.apply)
        self.shadows: list[Shadow] = []  # sets that predict the same rows and decide nothing
        self.chunk = -1  # number of the last decided chunk
        self.ts = 0  # its time
        self.kinds = np.zeros(len(schemas.Kind), np.int64)  # rows of TICKS by kind
        self._predictions: Any = hashlib.blake2b(digest_size=16)
        self.feed(Chunk(np.zeros(64, np.uint8), 0, 0, 0, -1))  # the first call of a kernel resolves its types: some ms, not in a tick

    def feed(self, chunk: Chunk, arrival_ns: int = 0) -> Batch:
        """Decode a chunk of received bytes and decide on it.

        Parameters
        ----------
        chunk : bytes under one stamp; its `lo` moves behind the last complete frame
        arrival_ns : `time.perf_counter_ns` of its arrival; rows of TIMING are written if given
        """
        started = self._clock() if arrival_ns else 0
        if chunk.ts >= self.swaps.due:
            self.swaps.begin(chunk.ts)
        ticks = self.decode.step(chunk)
        self.chunk, self.ts = chunk.number, chunk.ts
        return self._decide(ticks, arrival_ns, started)

    def push(self, rows: Rows) -> Batch:
        """Decide on a block of source rows; no wire, no bytes between."""
        return self.step(self.from_rows.step(rows))

    def run(self, table: Any) -> Iterator[Batch]:
        """Decisions on a pandas, Polars or Arrow table of ticks (columns as in the guide), block by block."""
        for rows in rows_of(table, self.universe):
            yield self.push(rows)

    def step(self, ticks: Batch) -> Batch:
        """Decide on new rows of TICKS."""
        if len(ticks) and ticks.ts[ticks.hi - 1] >= self.swaps.due:
            return step_in_parts(self, ticks)
        return self.step_part(ticks)

    def step_part(self, ticks: Batch) -> Batch:
        """Decide on new rows of TICKS between which no control event is due."""
        if len(ticks):
            self.chunk, self.ts = int(ticks.chunk[ticks.hi - 1]), int(ticks.ts[ticks.hi - 1])
        return self._decide(ticks, 0, 0)

    def _decide(self, ticks: Batch, arrival_ns: int, started: int) -> Batch:
        clock = self._clock
        t0 = clock() if arrival_ns else 0
        features = self.features.step(ticks)
        t1 = clock() if arrival_ns else 0
        predictions = self.predict.step(features)
        t2 = clock() if arrival_ns else 0
        decisions = self.act.step(self.ensemble.step(predictions, ticks), ticks)
        if len(decisions):
            if arrival_ns:
                self._time(decisions, arrival_ns, started, t0, t1, t2, clock())
            if self._predictions is not None:
                self._predictions.update(predictions.view("y").data)
            for shadow in self.shadows:
                shadow.take(features, predictions)
        self.kinds += np.bincount(ticks.view("kind"), minlength=len(self.kinds))
        return decisions

    def _time(self, decisions: Batch, arrival: int, started: int, t0: int, t1: int, t2: int, t3: int) -> None:
        timing, n = self.tables.timing, len(decisions)
        rows = slice(timing.reserve(n), timing.size + n)
        timing.seq[rows] = decisions.view("seq")
        timing.decode[rows] = t0 - started
        timing.features[rows] = t1 - t0
        timing.predict[rows] = t2 - t1
        timing.decide[rows] = t3 - t2
        timing.tick_to_decision[rows] = t3 - arrival
        timing.commit(n)
        if self.budget is not None:
            self.budget.took(self.ts, n, t0 - started, t1 - t0, t2 - t1, t3 - t2, t3 - arrival)

    def apply(self, event: Control) -> None:
        """Apply a control event between chunks, numbered by the chunk before it, and journal it."""
        event.write(self.tables.control, self.chunk, self.ts)
        self.take(event)

    def take(self, event: Control) -> None:
        """Apply a control event that is in the journal."""
        self.decode.apply(event)
        self.features.apply(event)
        self.act.apply(event)
        if event.kind == schemas.ControlKind.MODEL_SWAP:
            self._swap(int(event.value), event.symbol)

    def _swap(self, index: int, symbol: int) -> None:
        before, after = self.model_set, self.predict.sets[index].model_set
        self.predict.use(index, symbol)
        self.ensemble.adopt(after.ic, kept_places(before.configurations, after.configurations), symbol)
        for shadow in self.shadows:
            shadow.against(self.model_set)

    @property
    def model_set(self) -> ModelSet:
        """The set that decides now; of several that for most symbols."""
        return self.predict.sets[self.predict.present].model_set

    @property
    def engine(self) -> Engine:
        """What runs it."""
        return self.predict.sets[self.predict.present].engine

    @property
    def intents(self) -> Batch:
        """Rows of ORDERS that the last step decided."""
        return self.act.intents

    def quote(self, row: int) -> tuple[float, float]:
        """Bid and ask of a row of the universe, currency; NaN = side missing."""
        return self.act.quote(row)

    def digests(self) -> dict[str, str]:
        """Digests of what was decided so far (design contract 8)."""
        decisions = self.tables.decisions
        found = {"decision_digest": schemas.column_digest([decisions.column(c) for c in schemas.DECISIONS.names])}
        return found if self._predictions is None else found | {"prediction_digest": self._predictions.hexdigest()}

    def held(self) -> dict[str, Snapshot]:
        """All state that a later decision depends on, by stage, and what was counted; not copied: valid until the next step."""
        own = {"at": np.array([self.chunk, self.ts], np.int64), "kinds": self.kinds}
        return {name: getattr(self, name).held() for name in STAGES} | {"pipeline": own}

    def snapshot(self) -> dict[str, Snapshot]:
        """Copies of it."""
        return {name: copied(state) for name, state in self.held().items()}

    def restore(self, saved: dict[str, Snapshot]) -> None:
        """Back to a snapshot. PREDICTIONS before it are not known: their digest is left out from then on."""
        for name in STAGES:
            getattr(self, name).restore(saved[name])
        self.chunk, self.ts = (int(n) for n in saved["pipeline"]["at"])
        self.kinds[:] = saved["pipeline"]["kinds"]
        self._predictions = None
