"""From a source of market data to training rows: features as the pipeline computes them, labels from the quotes that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.training import TrainingConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.jit import labels
from tickarrow.pipeline.features_cache import Told, entry_of
from tickarrow.pipeline.features_input import of_source

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class History:
    """Feature rows and every quote of a stretch of market, both in time order.

    Rows: `ts` int64 ns, `symbol` int32, `mid` float64 (of the row's own tick), `x` float32 (n, n_features).
    Quotes: `quote_ts`, `quote_symbol`, `quote_mid`; a mid is NaN where a side is missing.
    """

    ts: Array
    symbol: Array
    mid: Array
    x: Array
    quote_ts: Array
    quote_symbol: Array
    quote_mid: Array


def stride(n: int, room: int) -> int:
    """Least power of two k for which every k-th of n rows fit the room."""
    k = 1
    while -(-n // k) > max(room, 1):
        k *= 2
    return k


def collect(
    source: SourceConf, universe: UniverseConf, features: FeaturesConf, max_rows: int = 150_000, progress: Told | None = None
) -> History:
    """Rows and quotes of a source as a backtest sees them, from the cache of features or computed now.

    Parameters
    ----------
    max_rows : every k-th feature row is kept, k a power of two, so that at most twice as many are
    progress : called with what is being done and the share of it that is done, 0 to 1
    """
    entry = entry_of(of_source(source, universe), features, progress)
    return history_of(entry.features, entry.quotes, 2 * max_rows)


def history_of(features: pa.Table, quotes: pa.Table, room: int) -> History:
    """Copies of the rows that fit the room, and of all quotes."""
    k, n_features = stride(len(features), room), features.schema.field("x").type.list_size
    first, parts = 0, [(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros((0, n_features), np.float32))]
    for batch in features.to_batches():
        pick = slice(-first % k, None, k)
        seq, ts, symbol = (batch.column(c).to_numpy()[pick] for c in ("seq", "ts", "symbol"))
        parts.append((seq, ts, symbol, batch.column("x").flatten().to_numpy().reshape(-1, n_features)[pick]))
        first += len(batch)
    seq, ts, symbol, x = (np.concatenate(c) for c in zip(*parts))
    quote_seq, quote_ts, quote_symbol, mid = (quotes[c].to_numpy() for c in ("seq", "ts", "symbol", "mid"))
    return History(ts, symbol, mid[np.searchsorted(quote_seq, seq)], x, quote_ts, quote_symbol, mid)


def horizons_ns(conf: TrainingConf) -> npt.NDArray[np.int64]:
    return np.array([round(h * 1e9) for h in conf.horizons_s], np.int64)


def build_rows(conf: TrainingConf, history: History) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Rows that have a label at every horizon, thinned evenly to `conf.max_rows`.

    Returns
    -------
    X (n, n_features) float32; Y (n, n_horizons) float32, bp of mid; ts (n,) int64, ascending
    """
    horizons = horizons_ns(conf)
    n_symbols = int(max(history.symbol.max(initial=-1), history.quote_symbol.max(initial=-1))) + 1
    y = np.empty((history.ts.size, horizons.size), np.float32)
    labels.forward_return(
        history.ts, history.symbol, history.mid, history.quote_ts, history.quote_symbol, history.quote_mid, horizons,
        round(conf.gap_s * 1e9), np.empty(n_symbols), y,
    )  # fmt: skip
    whole = np.flatnonzero(np.isfinite(y).all(axis=1))
    if whole.size > conf.max_rows:
        whole = whole[np.linspace(0, whole.size - 1, conf.max_rows).astype(np.int64)]
    return np.ascontiguousarray(history.x[whole]), y[whole], history.ts[whole]


def split(conf: TrainingConf, ts: npt.NDArray[np.int64]) -> tuple[slice, slice]:
    """Training rows and the untouched tail; between them the purge: no training label reaches into the tail."""
    first = round((1.0 - conf.tail) * ts.size)
    if first >= ts.size:
        return slice(0, ts.size), slice(ts.size, ts.size)
    end = int(np.searchsorted(ts, ts[first] - int(horizons_ns(conf).max()), side="left"))
    return slice(0, end), slice(first, ts.size)
