"""Replay with a stop at some decisions: what stood there before the tick, what came after. The pipeline itself is not told; the steps of
its last two stages are cut around the rows that are watched, which changes no bit (design contract 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit import ensemble_state
from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.decide import Control, Ensemble
from tickarrow.pipeline.explain_limits import Standing
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.schemas import ControlKind, OrderState

Array = npt.NDArray[Any]
TICK = ("seq", "ts", "ts_exch", "chunk", "symbol", "kind", "feed", "flags", "bid", "bid_size", "ask", "ask_size", "price", "size")


@dataclass(slots=True)
class EnsembleCopy:
    """What the ensemble knows of a symbol: copies, without the fill of rows of eight. n configurations, H horizons."""

    symbol: Any  # ENSEMBLE_STATE
    group: Any  # GROUP_STATE
    horizons: Array  # (H,) HORIZON_STATE
    moments: Array  # (3, H n)
    settled: Array  # (H,)
    tracks: Array  # (H, 7, n)
    factors: Array  # (factor_rows(n), 8)
    weights: Array  # (2 n, 8)
    window: Array  # (window_rows, n + 1, 8)
    prior: Array  # (n, H)
    pending: list[list[tuple[int, float, Array]]]  # outcomes that wait, by horizon: due, mid, z


def copy_ensemble(e: Ensemble, symbol: int, until: int) -> EnsembleCopy:
    """State of a symbol; of the outcomes that wait those that are due before `until`, ns."""
    group, n, n_horizons = int(e.symbols["group"][symbol]), e.configurations, e.horizons_ns.size
    pending: list[list[tuple[int, float, Array]]] = []
    for h in range(n_horizons):
        first, room = int(e.start[h]), int(e.start[h + 1] - e.start[h])
        head, count = int(e.horizons["head"][symbol, h]), int(e.horizons["count"][symbol, h])
        waiting = []
        for k in range(count):
            place = first + (head + k) % room
            due, mid = e.pending[symbol, place]
            if due >= until:
                break  # they stand in the order of their times
            waiting.append((int(due), float(mid), e.pending_z[symbol, place].reshape(-1)[:n].copy()))
        pending.append(waiting)
    return EnsembleCopy(
        e.symbols[symbol].copy(), e.groups[group].copy(), e.horizons[symbol].copy(),
        e.moments[symbol].reshape(ensemble_state.MOMENTS, -1)[:, : n * n_horizons].copy(), e.settled[group].copy(),
        e.tracks[group].reshape(n_horizons, ensemble_state.TRACKS, -1)[:, :, :n].copy(), e.factors[group].copy(), e.weights[symbol].copy(),
        e.windows[group].copy(), e.prior[symbol].reshape(n_horizons, -1)[:, :n].T.copy(), pending,
    )  # fmt: skip


@dataclass(slots=True)
class Moment:
    """A row of DECISIONS with what it was made of."""

    seq: int
    symbol: int
    tick: dict[str, Any]  # its row of TICKS
    features: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.float32]
    before: EnsembleCopy  # before the tick
    after: EnsembleCopy  # after the row
    z: Array  # (n_models,)
    forecasts: Array  # (3, n_horizons): alpha, sigma, ic
    refreshed: bool  # weights were computed with this row
    unusual: Array  # (n_features,) deviations of each feature from the symbol's earlier rows; empty = not asked for
    refresh: Moment | None = None  # the earlier row with which they were
    act: Array = field(default_factory=lambda: np.zeros(0))  # (n_symbols,) ACT_STATE before the tick
    act_after: Array = field(default_factory=lambda: np.zeros(0))
    book: Any = None  # BOOK before the tick
    limits: Any = None  # Standing before the tick
    decision: dict[str, Any] = field(default_factory=dict)  # the rebuilt row
    orders: list[dict[str, Any]] = field(default_factory=list)  # rows of ORDERS that it made


def refresh_rows(decisions: dict[str, Array], chunk: Array, rows: Array, events: Sequence[Control], length: int, n_symbols: int) -> Array:
    """Rows of DECISIONS with whose predictions the weights that `rows` use were computed.

    Parameters
    ----------
    decisions : columns ts and symbol of DECISIONS
    chunk : (n,) chunk of each row
    rows : indexes into these
    events : control events of the session
    length : int, ns, interval of refreshes; 0 = each row has its own
    n_symbols : rows of the universe
    """
    out = rows.copy()
    swaps = [(e.symbol, e.chunk) for e in events if e.kind == ControlKind.MODEL_SWAP]
    if length <= 0:
        return out
    for symbol in np.unique(decisions["symbol"][rows]):
        own = np.flatnonzero(decisions["symbol"] == symbol)
        turn = (decisions["ts"][own] + length * int(symbol) // n_symbols) // length  # each symbol's intervals have their own phase
        after = np.zeros(own.size, np.int64)  # swaps before the row
        for of, number in swaps:
            if of in (-1, symbol):
                after += chunk[own].astype(np.int64) > number
        begins = np.concatenate([[True], (turn[1:] != turn[:-1]) | (after[1:] != after[:-1])])
        first = own[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
        mine = decisions["symbol"][rows] == symbol
        out[mine] = first[np.searchsorted(own, rows[mine])]
    return out


class Watch:
    """Cuts the steps of ensemble and act of a pipeline around some ticks.

    Parameters
    ----------
    pipeline : as it was at the session's start
    seqs : ascending, ticks whose decisions are watched; those without one are passed by
    done : told of each as soon as it is decided
    history : symbol whose features are compared with its earlier rows; -1 = none
    """

    def __init__(self, pipeline: Pipeline, seqs: Sequence[int], done: Callable[[Moment], None], history: int = -1) -> None:
        self.pipeline, self.done, self.history = pipeline, done, history
        self._seen = np.zeros((3, len(pipeline.features.columns)))  # rows, mean, sum of squared deviations of each feature
        self.seqs = np.array(seqs, np.int64)
        self._open: dict[int, Moment] = {}
        self._weights: dict[int, Moment] = {}  # by symbol: the last row watched that computed weights
        self._ensemble, self._act = pipeline.ensemble.step, pipeline.act.step
        pipeline.ensemble.step = self._ensemble_step  # type: ignore[method-assign]
        pipeline.act.step = self._act_step  # type: ignore[method-assign]

    def _parts(self, ticks: Batch, rows: Batch) -> Iterator[tuple[int, Batch, Batch]]:
        """(seq or -1, ticks, rows): each watched tick by itself, what lies between them together."""
        if not len(ticks):
            yield -1, ticks, rows
            return
        first, seq = int(ticks.seq[ticks.lo]), rows.view("seq")
        lo, row = ticks.lo, rows.lo
        stops = self.seqs[np.searchsorted(self.seqs, first) : np.searchsorted(self.seqs, first + len(ticks))]
        for q in stops.tolist():
            at = ticks.lo + q - first
            a, b = (rows.lo + int(np.searchsorted(seq, np.uint64(q + k))) for k in range(2))
            if at > lo:
                yield -1, Batch(ticks.segment, lo, at), Batch(rows.segment, row, a)
            yield q, Batch(ticks.segment, at, at + 1), Batch(rows.segment, a, b)
            lo, row = at + 1, b
        if lo < ticks.hi or not len(stops):
            yield -1, Batch(ticks.segment, lo, ticks.hi), Batch(rows.segment, row, rows.hi)

    def _ensemble_step(self, predictions: Batch, ticks: Batch) -> Batch:
        e, table, features = self.pipeline.ensemble, self.pipeline.tables.forecasts, self.pipeline.tables.features
        to = table.reserve(len(predictions))  # the parts stay together
        rows = features.segment.columns["x"][features.size - len(predictions) : features.size]
        for q, t, p in self._parts(ticks, predictions):
            if q < 0 or not len(p):
                self._ensemble(p, t)
                continue
            symbol, ts = int(t.symbol[t.lo]), int(t.ts[t.lo])
            before = copy_ensemble(e, symbol, ts)
            row = self._ensemble(p, t)
            after, x = copy_ensemble(e, symbol, ts), rows[p.lo - predictions.lo]
            forecasts = np.array([row.view(name)[0] for name in ("alpha", "sigma", "ic")])
            refreshed = bool(before.symbol["refreshed"] != after.symbol["refreshed"] or e.params["refresh"][0] == 0)
            y, tick = p.view("y")[0].copy(), {name: t.segment.columns[name][t.lo].item() for name in TICK}
            unusual = self._unusual(x) if symbol == self.history else np.zeros(0)
            now = Moment(q, symbol, tick, x.copy(), y, before, after, e.z[: y.size].copy(), forecasts, refreshed, unusual)
            if now.refreshed:
                self._weights[symbol] = now
            else:
                now.refresh = self._weights.get(symbol)
            self._open[q] = now
        if self.history >= 0:
            for x in rows[predictions.view("symbol") == self.history]:
                self._add(x)
        return Batch(table.segment, to, table.size)

    def _add(self, x: npt.NDArray[np.float32]) -> None:
        """A row joins the means and deviations of the features (Welford 1962); missing values do not."""
        n, mean, squares = self._seen
        there = np.isfinite(x)
        n += there
        d = np.where(there, x, mean) - mean
        mean += d / np.maximum(n, 1.0)
        squares += d * (np.where(there, x, mean) - mean)

    def _unusual(self, x: npt.NDArray[np.float32]) -> Array:
        n, mean, squares = self._seen
        deviation = np.sqrt(squares / np.maximum(n - 1.0, 1.0))
        known = (n > 2.0) & (deviation > 0.0) & np.isfinite(x)
        return np.where(known, (np.where(known, x, mean) - mean) / np.where(known, deviation, 1.0), 0.0)

    def _act_step(self, forecasts: Batch, ticks: Batch) -> Batch:
        a, table = self.pipeline.act, self.pipeline.tables.decisions
        to = table.reserve(len(forecasts))
        for q, t, f in self._parts(ticks, forecasts):
            if q < 0 or not len(f):
                self._act(f, t)
                continue
            now = self._open.pop(q)
            now.act, now.book, now.limits = a.state.copy(), a.book[0].copy(), Standing.of(a, now.symbol)
            row, orders = self._act(f, t), a.intents
            now.act_after = a.state.copy()
            now.decision = {name: row.view(name)[0].item() for name in table.schema.names}
            made = [{name: orders.segment.columns[name][i].item() for name in orders.segment.schema.names} for i in range(orders.lo, orders.hi)]
            now.orders = [o for o in made if o["seq"] == q and o["state"] in (OrderState.INTENT, OrderState.CANCEL_INTENT)]
            self.done(now)
        return Batch(table.segment, to, table.size)


def unpack(factors: Array, n: int, lane: int) -> tuple[Array, Array, Array]:
    """(n, n) sums, counts and (4, n) vectors of one horizon of `factors`."""
    pairs = n * (n + 1) // 2
    i, j = np.tril_indices(n)
    sums = np.zeros((n, n))
    sums[i, j] = sums[j, i] = factors[:pairs, lane]
    counts = factors[pairs : pairs + ensemble_state.COUNT_ROWS, lane].copy()
    return sums, counts, factors[pairs + ensemble_state.COUNT_ROWS :, lane].reshape(-1, n).copy()
