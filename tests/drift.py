"""Do features drift? A long generated market through all families; at the end a second stage that has seen the last session only must
give the same rows. `python tests/drift.py [TICKS] [SYMBOLS]`, 10^8 ticks of 20 symbols unless said otherwise; not in CI, where
test_features_drift.py runs a short form.

What depends on more than a session, or on where a count began, cannot be compared so: `EXEMPT` says why. All other columns are held to
`BOUND` of their scale, those of whole numbers (`EXACT`) to the bit."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as Grid

from tickarrow.configs.features import CrossConf, FamilyConf, FeaturesConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline import features_registry
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.decode import FromRows
from tickarrow.pipeline.features import Features, features_table
from tickarrow.pipeline.schemas import DEPTH, TICKS
from tickarrow.pipeline.source import open_source

LEVELS = 10
LAST_S = 3600  # of the last session are compared: before it the fresh stage warms up, 5.5 hours = 66 tau of 300 s, 330 bars
BOUND = 2e-5  # of the column's scale, its largest value; float32 rounds to 6e-8, what is older than the session weighs exp(-66)
EXEMPT = {
    "vpin": "its bucket volume is fixed by the first trades of all",
    "volume_delta": "the sign of the first trade of a session may come from the trade before it",
    "large_share_300s": "its quantile is an estimate from all trades",
    "volume_profile_20d": "20 sessions",
    "volatility_profile_20d": "20 sessions",
    "overnight_gap": "the close of the session before",
    "since_gap": "a generated market loses no data",
}
# Sums of whole ticks, shares and counts: nothing is rounded but the result.
EXACT = frozenset({
    "spread_ticks", "trade_sign", "sign_run", "is_crossed", "is_locked", "is_halted", "is_delayed", "is_stale", "has_gap", "feed_code", "minutes_from_open",
    "minutes_to_close", "session_phase", "day_of_week", "day_sin", "day_cos", "open_range", "vwap_dist", "vwap_dist_60", "roc_1", "roc_5", "roc_10", "roc_20",
    "roc_60", "stoch_k_14", "williams_r_14", "aroon_25", "cci_20", "slope_20", "price_z_20", "price_z_60", "price_z_240", "range_pos_20", "range_pos_60",
    "range_pos_240", "bollinger_b_20", "bollinger_width_20",
})  # fmt: skip
RATE = {"large": 15.0, "small": 3.8}  # ticks a second of a symbol, about


class Result(NamedTuple):
    """One column at the end."""

    column: str
    values: int  # compared
    known: int  # of them not NaN
    equal: int  # of them to the bit, NaN included
    error: float  # largest difference over the column's largest value; inf = one of the two is NaN
    exempt: str


class Books:
    """Changes of a depth book that nobody trades in: levels of both sides change their size, some their price."""

    def __init__(self, symbols: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.size = self.rng.integers(1, 40, (symbols, 2, LEVELS)) * 100.0
        self.mid = np.full(symbols, 100.0)

    def price(self, symbol, side, position):
        return self.mid[symbol] + np.where(side == 0, -1, 1) * (position + 1) * 0.01

    def begin(self, table: Table, ts: int, seq: int) -> None:
        """Every level as it is now, as inserts."""
        symbol, side, position = (a.ravel() for a in np.indices(self.size.shape))
        self._add(table, seq, ts, symbol, 0, side, position, self.size.ravel())

    def change(self, ticks: Batch, tables: list[Table]) -> None:
        """A change at one tick of four."""
        at = np.flatnonzero(self.rng.random(len(ticks)) < 0.25)
        symbol = ticks.view("symbol")[at]
        side, position, size = self.rng.integers(0, 2, at.size), self.rng.integers(0, LEVELS, at.size), self.rng.integers(1, 40, at.size) * 100.0
        self.size[symbol, side, position] = size
        for table in tables:
            self._add(table, ticks.view("seq")[at], ticks.view("ts")[at], symbol, 1, side, position, size)

    def _add(self, table: Table, seq, ts, symbol, operation, side, position, size) -> None:
        n = len(symbol)
        row = table.reserve(n)
        columns = {"seq": seq, "ts": ts, "symbol": symbol, "operation": operation, "side": side, "position": position, "size": size}
        for name, column in (columns | {"price": self.price(symbol, side, position)}).items():
            table.segment.columns[name][row : row + n] = column
        table.commit(n)


def everything() -> FeaturesConf:
    """All built-in families, every change of a quote a row."""
    return FeaturesConf([FamilyConf(f.name) for f in features_registry.BUILT_IN], 0, cross=CrossConf(sectors={"S00": "a", "S01": "a", "S02": "b"}))


def blocks(ticks: int, symbols: int, kind: str) -> tuple[object, Iterator[Batch], int]:
    """Source, its rows of TICKS, where its last session begins (ns)."""
    days = max(2, math.ceil(ticks / (RATE[kind] * symbols * 23_400)))
    universe = UniverseConf([f"S{i:02d}" for i in range(symbols)], classes=[kind])
    source = open_source(SourceConf(seed=12, duration_s=23_400.0, days=days, max_rows=0), universe)
    decode = FromRows(symbols, Table(TICKS))
    return source, (decode.step(rows) for rows in source.blocks()), source.end_ns - 23_400 * 10**9


def run(ticks: int, symbols: int, kind: str = "large", progress=lambda rows: None) -> tuple[int, list[Result]]:
    """Number of ticks, and how the columns of the two stages compare."""
    conf = everything()
    source, batches, last = blocks(ticks, symbols, kind)
    depths = [Table(DEPTH), Table(DEPTH)]
    long, fresh = (Features(conf, source.universe, features_table(conf), depth) for depth in depths)
    books, begun, n = Books(symbols, 3), [False, False], 0
    sums = Sums(len(long.columns))
    for batch in batches:
        if len(batch) == 0:
            continue
        first = int(batch.ts[batch.lo])
        both = first >= last
        for i, wanted in enumerate((True, both)):
            if wanted and not begun[i]:
                books.begin(depths[i], first, int(batch.seq[batch.lo]))
                begun[i] = True
        books.change(batch, depths[: 1 + both])
        a = long.step(batch)
        if both:
            b = fresh.step(batch)
            if first >= source.end_ns - LAST_S * 10**9:
                sums.add(a, b)
        n += len(batch)
        progress(n)
    return n, [sums.result(i, c) for i, c in enumerate(long.columns)]


class Sums:
    """What is known of the columns of the two stages so far."""

    def __init__(self, columns: int) -> None:
        self.scale, self.error, self.known, self.equal = (np.zeros(columns) for _ in range(4))
        self.values = 0

    def add(self, a: Batch, b: Batch) -> None:
        """Rows of the two stages, which must be the same rows."""
        assert a.view("seq").tobytes() == b.view("seq").tobytes(), "the two stages have different rows"
        x, y = a.view("x"), b.view("x")
        missing = np.isnan(x)
        same = (x == y) | (missing & np.isnan(y))
        self.values += len(x)
        self.known += (~missing).sum(0)
        self.equal += same.sum(0)
        if not same.all():
            differ = np.where(same, 0.0, np.abs(x.astype(float) - y))
            np.maximum(self.error, np.where(np.isnan(differ), np.inf, differ).max(0, initial=0.0), out=self.error)
        np.maximum(self.scale, np.nan_to_num(np.abs(x)).max(0, initial=0.0), out=self.scale)

    def result(self, i: int, column: str) -> Result:
        error = self.error[i] / self.scale[i] if self.error[i] > 0 and self.scale[i] > 0 else self.error[i]
        return Result(column, self.values, int(self.known[i]), int(self.equal[i]), float(error), EXEMPT.get(column, ""))


def failures(results: list[Result]) -> list[str]:
    """Columns that are further apart than they may be."""
    out = [f"{r.column}: {r.error:.1e} of its scale apart" for r in results if not r.exempt and r.error > BOUND]
    out += [f"{r.column}: no value, nothing is compared" for r in results if not r.exempt and not r.known]
    return out + [f"{r.column}: {r.values - r.equal} of {r.values} values not the same bits" for r in results if r.column in EXACT and r.equal < r.values]


def main(arguments: list[str]) -> int:
    ticks, symbols = int(float(arguments[0])) if arguments else 10**8, int(arguments[1]) if len(arguments) > 1 else 20
    started = time.time()
    console = Console()
    shown = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*shown, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("ticks through all families", total=ticks)
        n, results = run(ticks, symbols, "large" if ticks > 3e6 else "small", lambda rows: bars.update(bar, completed=rows))
    grid = Grid("column", "compared", "known", "not equal", "largest error", "", box=None, pad_edge=False)
    for r in results:
        said = r.exempt or ("to the bit" if r.column in EXACT else "")
        grid.add_row(r.column, f"{r.values:,}", f"{r.known:,}", f"{r.values - r.equal:,}", f"{r.error:.1e}" if r.error else "0", said)
    console.print(grid)
    wrong = failures(results)
    console.print(f"{n:,} ticks, {len(results)} columns, {sum(r.equal == r.values for r in results)} equal to the bit, {time.time() - started:.0f} s")
    for line in wrong:
        console.print(f"DRIFT {line}", style="red")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
