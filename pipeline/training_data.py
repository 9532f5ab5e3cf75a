"""From a source of market data to training rows: features as the pipeline computes them, labels from the quotes that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.training import TrainingConf
from tickarrow.jit import labels
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.schemas import TICKS, Kind, features_schema

if TYPE_CHECKING:
    from tickarrow.configs.features import FeaturesConf
    from tickarrow.pipeline.source import Source

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


class Thinner:
    """Keeps every k-th row, with k doubled whenever more than `room` are held: even, deterministic, of bounded memory."""

    def __init__(self, room: int) -> None:
        self.room, self.stride, self.seen, self.held = max(room, 1), 1, 0, 0
        self._parts: list[tuple[Array, ...]] = []

    def add(self, *columns: Array) -> None:
        """Rows of equal length, in order; kept rows are copied."""
        n = len(columns[0])
        number = np.arange(self.seen, self.seen + n)
        pick = number % self.stride == 0
        self.seen += n
        self._parts.append((number[pick], *(c[pick] for c in columns)))
        self.held += int(pick.sum())
        while self.held > self.room:
            self.stride *= 2
            self._parts = [tuple(c[part[0] % self.stride == 0] for c in part) for part in self._parts]
            self.held = sum(len(part[0]) for part in self._parts)

    def columns(self) -> list[Array]:
        """All kept rows, column by column."""
        return [np.concatenate(c) for c in list(zip(*self._parts))[1:]]


def collect(
    source: Source, features_conf: FeaturesConf, max_rows: int = 150_000, progress: Callable[[float], None] | None = None
) -> History:
    """Run a source through decode and features, as a backtest does, and keep rows and quotes.

    Parameters
    ----------
    max_rows : at most twice as many feature rows are kept; see `Thinner`
    progress : called with the share of the source's time that is done, 0 to 1
    """
    from tickarrow.pipeline.decode import FromRows
    from tickarrow.pipeline.features import Features, feature_columns, feature_digest

    universe = source.universe
    decode = FromRows(len(universe), Table(TICKS))
    schema = features_schema(feature_columns(features_conf), feature_digest(features_conf))
    features = Features(features_conf, universe, Table(schema))
    rows = Thinner(2 * max_rows)
    quotes: list[tuple[Array, Array, Array]] = []
    span = max(source.end_ns - source.start_ns, 1)
    for block in source.blocks():
        ticks = decode.step(block)
        _take(ticks, features.step(ticks), rows, quotes)
        if progress is not None and len(ticks):
            progress(min(1.0, (int(ticks.ts[ticks.hi - 1]) - source.start_ns) / span))
    if not quotes or rows.held == 0:
        n = len(schema.field("x").metadata[b"columns"].split(b","))
        empty = (np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0))
        return History(*empty, np.zeros((0, n), np.float32), *empty)
    kept = rows.columns()
    return History(*kept, *(np.concatenate(c) for c in zip(*quotes)))


def _take(ticks: Batch, due: Batch, rows: Thinner, quotes: list[tuple[Array, Array, Array]]) -> None:
    mid = 0.5 * (ticks.view("bid") + ticks.view("ask"))
    is_quote = ticks.view("kind") == Kind.QUOTE
    quotes.append((ticks.view("ts")[is_quote], ticks.view("symbol")[is_quote], mid[is_quote]))
    if len(due):
        at = due.view("seq").astype(np.int64) - int(ticks.seq[ticks.lo])
        rows.add(due.view("ts"), due.view("symbol"), mid[at], due.view("x"))


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
