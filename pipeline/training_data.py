"""From a source of market data to training rows: features as the pipeline computes them, labels from the quotes that follow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.configs.costs import CostsConf
from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.training import TrainingConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.jit import labels, labels_barrier, labels_weights
from tickarrow.pipeline.costs import round_trips
from tickarrow.pipeline.features_cache import Told, entry_of
from tickarrow.pipeline.features_input import of_source
from tickarrow.pipeline.training_external import Matrix, Stored, blocks

Array = npt.NDArray[Any]

LABELS = {  # name -> what a model of it forecasts, unit
    "forward_return": ("forward mid return", "bp"),
    "scaled_return": ("forward mid return over the deviation of its horizon", "deviations"),
    "barrier_return": ("mid return at the first barrier or the horizon", "bp"),
    "barrier_first": ("which barrier comes first: 1 the upper, -1 the lower, 0 neither", "1"),
}
SETTLE_NS = 1_000_000_000  # outcomes of a deviation are entered so far apart, as ensemble.settle_every_ns


@dataclass(frozen=True)
class History:
    """Feature rows and every quote of a stretch of market, both in time order.

    Rows: `ts` int64 ns, `symbol` int32, `mid` and `spread` float64, currency (of the row's own tick), `x` float32 (n, n_features).
    Quotes: `quote_ts`, `quote_symbol`, `quote_mid`; a mid is NaN where a side is missing.
    """

    ts: Array
    symbol: Array
    mid: Array
    spread: Array
    x: Matrix
    quote_ts: Array
    quote_symbol: Array
    quote_mid: Array


@dataclass(frozen=True)
class Labels:
    """Labels of rows at each horizon, all (n, n_horizons)."""

    y: npt.NDArray[np.float32]  # unit of the label; NaN = none
    end: npt.NDArray[np.int64]  # ns, when it is known
    side: npt.NDArray[np.int8]  # 1 = up, -1 = down, 0 = neither
    scale: npt.NDArray[np.float64]  # bp of mid per unit of y; NaN = y is not a return


@dataclass(frozen=True)
class Rows:
    """Training rows in time order, each with a label at every horizon."""

    x: Matrix  # (n, n_features) float32
    ts: npt.NDArray[np.int64]
    symbol: npt.NDArray[np.int32]
    labels: Labels
    unique: npt.NDArray[np.float64]  # (n, n_horizons), average uniqueness of the label among those of its symbol
    cost: npt.NDArray[np.float64]  # (n,) bp of mid, in and out: the spread, commissions and fees; NaN = not known
    symbols: Sequence[str] = ()  # names of the symbols, for people

    @property
    def y(self) -> npt.NDArray[np.float32]:
        return self.labels.y

    def digest(self) -> str:
        """Of all that a model learns from."""
        data = hashlib.blake2b(digest_size=16)
        for part in blocks(np.arange(self.ts.size)):
            data.update(np.ascontiguousarray(self.x[part[0] : part[-1] + 1]).tobytes())
        for array in (self.y, self.ts):
            data.update(np.ascontiguousarray(array).tobytes())
        return data.hexdigest()


def stride(n: int, room: int) -> int:
    """Least power of two k for which every k-th of n rows fit the room."""
    k = 1
    while -(-n // k) > max(room, 1):
        k *= 2
    return k


def collect(source: SourceConf, universe: UniverseConf, features: FeaturesConf, training: TrainingConf, progress: Told | None = None) -> History:
    """Rows and quotes of a source as a backtest sees them, from the cache of features or computed now.

    Parameters
    ----------
    training : of `max_rows` every k-th feature row is kept, k a power of two, so that at most twice as many are; from `external_rows`
        kept rows on `x` is not copied
    progress : called with what is being done and the share of it that is done, 0 to 1
    """
    entry = entry_of(of_source(source, universe), features, progress)
    return history_of(entry.features, entry.quotes, 2 * training.max_rows, training.external_rows)


def history_of(features: pa.Table, quotes: pa.Table, room: int, external_rows: int = 0) -> History:
    """The rows that fit the room, and all quotes."""
    k = stride(len(features), room)
    kept = Stored(features, np.arange(0, len(features), k, dtype=np.int64))
    x: Matrix = kept if 0 < external_rows <= len(kept) else kept[:]
    seq, ts, symbol = (np.ascontiguousarray(features[c].to_numpy()[::k]) for c in ("seq", "ts", "symbol"))
    quote_seq, quote_ts, quote_symbol, mid, spread = (quotes[c].to_numpy() for c in ("seq", "ts", "symbol", "mid", "spread"))
    at = np.searchsorted(quote_seq, seq)
    return History(ts, symbol, mid[at], spread[at], x, quote_ts, quote_symbol, mid)


def horizons_ns(conf: TrainingConf) -> npt.NDArray[np.int64]:
    return np.array([round(h * 1e9) for h in conf.horizons_s], np.int64)


def labels_of(conf: TrainingConf, ts: Array, symbol: Array, mid: Array, quote_ts: Array, quote_symbol: Array, quote_mid: Array) -> Labels:
    """Labels of `conf.label`; rows and quotes as in `labels.forward_return`."""
    horizons, gap = horizons_ns(conf), round(conf.gap_s * 1e9)
    n, n_symbols = ts.size, int(max(symbol.max(initial=-1), quote_symbol.max(initial=-1))) + 1
    y = np.empty((n, horizons.size), np.float32)
    labels.forward_return(ts, symbol, mid, quote_ts, quote_symbol, quote_mid, horizons, gap, np.empty(n_symbols), y)
    side, end, scale = np.sign(np.nan_to_num(y)).astype(np.int8), ts[:, None] + horizons, np.ones(y.shape)
    if conf.label == "forward_return":
        return Labels(y, end, side, scale)
    deviation = np.empty(y.shape)
    state = np.zeros(n_symbols, labels_barrier.DEVIATION_STATE)
    labels_barrier.deviation(ts, symbol, y, horizons, conf.deviation_tau_s * 1e9, SETTLE_NS, conf.deviation_least, state, deviation)
    deviation[deviation == 0.0] = np.nan  # a price that has not moved says nothing of how far it may
    if conf.label == "scaled_return":
        return Labels((y / deviation).astype(np.float32), end, side, deviation)
    profit, stop = (k * deviation for k in conf.barriers)
    found = []
    for up, down in ((profit, stop), (stop, profit)):  # of a long position, of a short one
        at, first, when = np.empty_like(y), np.empty(y.shape, np.int8), np.empty(y.shape, np.int64)
        labels_barrier.triple_barrier(
            ts, symbol, mid, quote_ts, quote_symbol, quote_mid, horizons, gap, up, down, np.empty(n_symbols, np.int64),
            np.empty(quote_ts.size, np.int64), at, first, when,
        )  # fmt: skip
        found.append((at, first, when))
    long, short = found
    if conf.barrier_side:
        at, first, when = long if conf.barrier_side > 0 else short
        firsts = first.astype(np.float32)
    else:
        at, when = (0.5 * (long[0].astype(np.float64) + short[0])).astype(np.float32), np.maximum(long[2], short[2])
        firsts = np.float32(0.5) * (long[1] + short[1]).astype(np.float32)
        first = np.where(long[1] == short[1], long[1], np.int8(0))
    if conf.label == "barrier_return":
        return Labels(at, when, first, scale)
    return Labels(np.where(np.isnan(at), np.float32(np.nan), firsts), when, first, np.full(y.shape, np.nan))


def label_function(conf: TrainingConf) -> Callable[..., npt.NDArray[np.float32]]:
    """The label of a configuration, as `features_leaks.label_leaks` calls it."""

    def label(*history: Array | int) -> npt.NDArray[np.float32]:
        return labels_of(conf, *history[:6]).y  # type: ignore[arg-type]  # horizons and gap are those of the configuration

    return label


def build_rows(conf: TrainingConf, history: History, costs: CostsConf | None = None) -> Rows:
    """Rows that have a label at every horizon, thinned evenly to `conf.max_rows`. Costs are those of a round trip of `costs.usual_value`;
    without `costs` the spread alone."""
    h = history
    found = labels_of(conf, h.ts, h.symbol, h.mid, h.quote_ts, h.quote_symbol, h.quote_mid)
    whole = np.flatnonzero(np.isfinite(found.y).all(axis=1))
    if whole.size > conf.max_rows:
        whole = whole[np.linspace(0, whole.size - 1, conf.max_rows).astype(np.int64)]
    x = h.x.select(whole) if isinstance(h.x, Stored) else np.ascontiguousarray(h.x[whole])
    kept = Labels(found.y[whole], found.end[whole], found.side[whole], found.scale[whole])
    mid, spread = h.mid[whole], h.spread[whole]
    cost = round_trips(costs or CostsConf(per_share=0.0, minimum=0.0, max_share=0.0), mid, spread)
    return Rows(x, h.ts[whole], h.symbol[whole], kept, uniqueness(h.ts[whole], h.symbol[whole], kept.end), cost)


def rows_of(conf: TrainingConf, x: Matrix, y: npt.NDArray[np.float32], ts: npt.NDArray[np.int64]) -> Rows:
    """Rows of one symbol whose labels are forward returns, bp, of which no cost is known."""
    end, symbol = ts[:, None] + horizons_ns(conf), np.zeros(ts.size, np.int32)
    found = Labels(y, end, np.sign(y).astype(np.int8), np.ones(y.shape))
    return Rows(x, ts, symbol, found, uniqueness(ts, symbol, end), np.full(ts.size, np.nan))


def uniqueness(ts: Array, symbol: Array, end: Array) -> npt.NDArray[np.float64]:
    """(n, n_horizons) average uniqueness of the labels."""
    out = np.empty(end.shape)
    for h in range(end.shape[1]):
        column, ends = np.empty(ts.size), np.ascontiguousarray(end[:, h])
        state = np.zeros(int(symbol.max(initial=0)) + 1, labels_weights.OPEN_STATE)
        labels_weights.uniqueness(ts, symbol, ends, np.argsort(ends, kind="stable"), state, np.empty(ts.size), column)
        out[:, h] = column
    return out


def split(conf: TrainingConf, ts: npt.NDArray[np.int64]) -> tuple[slice, slice]:
    """Training rows and the untouched tail; between them the purge: no training label reaches into the tail."""
    first = round((1.0 - conf.tail) * ts.size)
    if first >= ts.size:
        return slice(0, ts.size), slice(ts.size, ts.size)
    end = int(np.searchsorted(ts, ts[first] - int(horizons_ns(conf).max()), side="left"))
    return slice(0, end), slice(first, ts.size)
