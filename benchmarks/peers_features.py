"""The features stage: nanoseconds of CPU a tick, alone and beside indicator libraries.

`all,...`: all built-in families over the generated market of 100 symbols, without market depth: batches of 64 ticks, single ticks through
the Python call, and blocks of 65,536, throttled as configured and with a row for each change of a quote. No peer has the set; the ratio
column is the time over the target of issue 4. `roll`: z-score and place in the range of 20, 60 and 240 values, 100 series, a rolling
output each: ours is `jit/rolling.py`, which gives the columns price_z and range_pos of family `technical`; vectorbt and csp have lines of
figures where they are installed (`peers_features_optional.py`). `ticks,live`: indicators of quotes and trades that wickra has, one update a
tick each, beside three families with 38 columns. Rounds are interleaved and pinned to one core, figures are medians; results are compared in
the same run. Not an asv module: peers are imported in functions."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.jit import rolling
from tickarrow.jit._kernel import warm
from tickarrow.pipeline import features_registry
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.decode import FromRows
from tickarrow.pipeline.features import Features, driver_of, features_table
from tickarrow.pipeline.schemas import TICKS, Kind
from tickarrow.pipeline.source import open_source

VERSIONS = {"numbagg": "0.", "Bottleneck": "1.", "pandas": "3.", "polars": "2.", "wickra": "2."}
SYMBOLS = 100
WINDOWS = (20, 60, 240)
BASE = 1_000_000  # units of the prices that are rolled
TARGETS = {64: 300.0, 1: 4000.0, 65_536: 300.0}  # ns a tick


def run(rounds: int = 9, ticks: int = 1_000_000, rows: int = 10_000) -> Iterator[str]:
    """One line a work: `features PEER WORK peer_median ours_median ratio`; RuntimeError if anything is not as it must be."""
    for name, expected in VERSIONS.items():
        if not version(name).startswith(expected):
            raise RuntimeError(f"features: peer {name} is {version(name)}, expected {expected}x. Install that version.")
    universe, market = _market(ticks)
    yield from _all(rounds, universe, market)
    yield from _ticks(rounds, universe, market)
    yield from _roll(rounds, rows)
    try:
        from benchmarks import peers_features_bars
    except ImportError:
        return
    yield from peers_features_bars.run()


def _market(ticks: int) -> tuple[Any, Table]:
    """The first ticks of a session of the generated market."""
    conf = UniverseConf([f"S{i:03d}" for i in range(SYMBOLS)])
    source = open_source(SourceConf(seed=7, duration_s=23_400.0, max_rows=ticks), conf)
    table = Table(TICKS, keep=True)
    decode = FromRows(SYMBOLS, table)
    warm()
    for block in source.blocks():
        decode.step(block)
    return source.universe, table


def _cut(table: Table, size: int, lo: int, hi: int) -> list[Batch]:
    """Rows [lo, hi) of a table in batches of a size at most; batches end with a segment."""
    out, first = [], 0
    for whole in table.batches():
        a, b = max(lo - first, 0), min(hi - first, len(whole))
        out += [Batch(whole.segment, i, min(i + size, b)) for i in range(a, b, size)]
        first += len(whole)
    return out


class _Stage:
    """A stage and what it has made: a digest of all rows, so that two cuts can be compared."""

    def __init__(self, conf: FeaturesConf, universe: Any) -> None:
        driver_of(conf)
        warm()
        self.stage, self.digest, self.rows = Features(conf, universe, features_table(conf)), hashlib.blake2b(), 0

    def timed(self, batches: list[Batch]) -> float:
        """ns of CPU a tick; the digest is taken of pieces that the table still holds, outside the time."""
        step, spent, n, at = self.stage.step, 0, 0, 0
        while at < len(batches):
            piece, room = [], 30_000  # of a segment of 65,536 rows
            while at < len(batches) and (not piece or room >= len(batches[at])):
                piece.append(batches[at])
                room -= len(batches[at])
                at += 1
            t = time.thread_time_ns()
            made = [step(b) for b in piece]
            spent += time.thread_time_ns() - t
            n += sum(map(len, piece))
            for due in made:
                self.digest.update(due.view("x").tobytes())
                self.rows += len(due)
        return spent / n


def _all(rounds: int, universe: Any, market: Table) -> Iterator[str]:
    from benchmarks import common

    families = [FamilyConf(f.name) for f in features_registry.BUILT_IN]
    first = market.rows // 2  # before: warm-up, compared as well
    cuts = np.linspace(first, market.rows, rounds + 1).astype(int).tolist()
    for throttle_ns in (250_000_000, 0):
        conf = FeaturesConf(families, throttle_ns)
        stages = {size: _Stage(conf, universe) for size in TARGETS}
        for stage in stages.values():
            stage.timed(_cut(market, 8192, 0, first))
        times: dict[int, list[float]] = {size: [] for size in TARGETS}
        with common.pinned():
            for lo, hi in pairwise(cuts):
                for size, stage in stages.items():
                    times[size].append(stage.timed(_cut(market, size, lo, hi)))
        if len({s.digest.hexdigest() for s in stages.values()}) != 1:
            raise RuntimeError("features: batches of 64, single ticks and blocks differ")
        columns, rows = len(stages[1].stage.columns), stages[1].rows / market.rows
        for size, target in TARGETS.items():
            ns = statistics.median(times[size])
            yield f"features - all{columns},batch={size},throttle={throttle_ns // 10**6}ms,rows={rows:.0%} {target:.0f}ns {ns:.0f}ns {target / ns:.2f}"


def _wickra() -> tuple[list[Callable[..., Any]], list[Callable[..., Any]], list[Callable[..., Any]]]:
    """Indicators of a quote; of a trade; of a trade and the mid."""
    import wickra as w

    quotes = [w.Microprice(), w.OrderBookImbalanceTop1(), w.QuotedSpread(), w.OrderFlowImbalance(100)]
    trades = [
        w.SignedVolume(), w.TradeImbalance(100), w.RollMeasure(100), w.AmihudIlliquidity(100), w.TradeSignAutocorrelation(100), w.CumulativeVolumeDelta(),
        w.Vpin(5000.0, 50),
    ]  # fmt: skip
    with_mid = [w.KylesLambda(100), w.EffectiveSpread(), w.RealizedSpread(5)]
    return [x.update for x in quotes], [x.update for x in trades], [x.update for x in with_mid]


def _ticks(rounds: int, universe: Any, market: Table) -> Iterator[str]:
    """Both sides get the same ticks; wickra's get Python numbers, made before the time is taken."""
    from benchmarks import common

    conf = FeaturesConf([FamilyConf("quote"), FamilyConf("flow"), FamilyConf("liquidity")], 0)
    sets, stage = [_wickra() for _ in range(SYMBOLS)], _Stage(conf, universe)
    each = min(40_000, market.rows // (2 * rounds))
    times: dict[str, list[float]] = {"wickra": [], "ours": []}
    compared = 0
    with common.pinned():
        for r in range(rounds):
            batches = _cut(market, 64, r * each, (r + 1) * each)
            rows = [row for b in batches for row in _rows(b)]
            t = time.thread_time_ns()
            said = _feed(sets, rows)
            times["wickra"].append((time.thread_time_ns() - t) / len(rows))
            times["ours"].append(stage.timed(batches))
            compared += _same(stage, said, rows)
    if compared < 100:
        raise RuntimeError(f"features: only {compared} rows could be compared with wickra {version('wickra')}")
    a, b = (statistics.median(t) for t in times.values())
    n = sum(map(len, sets[0]))
    yield f"features wickra ticks,live,{n}indicators,{len(stage.stage.columns)}columns {a:.0f}ns {b:.0f}ns {a / b:.1f}"


def _rows(b: Batch) -> list[tuple[Any, ...]]:
    names = ("symbol", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size")
    return list(zip(*(b.view(name).tolist() for name in names)))


def _feed(sets: list[Any], rows: list[tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
    """What the indicators of a quote said last, by symbol."""
    out = {}
    for symbol, kind, bid, bid_size, ask, ask_size, price, size in rows:
        quotes, trades, with_mid = sets[symbol]
        if not bid < ask:
            continue
        if kind == Kind.QUOTE:
            book = [bid], [bid_size], [ask], [ask_size]
            out[symbol] = tuple(u(*book) for u in quotes)
        elif size > 0:
            mid = 0.5 * (bid + ask)
            bought = price >= mid
            for u in trades:
                u(price, size, bought)
            for u in with_mid:
                u(price, size, bought, mid)
    return out


def _same(stage: _Stage, said: dict[int, tuple[Any, ...]], rows: list[tuple[Any, ...]]) -> int:
    """The imbalance and the spread of the last row of each symbol that is still in the table; number of symbols compared."""
    table, names = stage.stage._out, stage.stage.columns
    last = {int(s): i for i, s in enumerate(table.segment.columns["symbol"][: table.size])}
    quotes = {row[0]: row for row in rows if row[1] == Kind.QUOTE and row[2] < row[4]}
    n = 0
    for symbol, theirs in said.items():
        if symbol not in last or quotes[symbol] is not next(row for row in reversed(rows) if row[0] == symbol):
            continue
        x = dict(zip(names, table.segment.columns["x"][last[symbol]].tolist()))
        if not (np.isclose(x["imbalance"], theirs[1], rtol=1e-5, atol=1e-6) and np.isclose(x["spread_bp"], theirs[2], rtol=1e-4)):
            raise RuntimeError(f"features: symbol {symbol}: wickra says {theirs[1:3]}, ours {x['imbalance'], x['spread_bp']}")
        n += 1
    return n


def _bottleneck(x: Any) -> list[Any]:
    import bottleneck as bn

    z = [(x - bn.move_mean(x, w, axis=1)) / bn.move_std(x, w, ddof=0, axis=1) for w in WINDOWS]
    ends = [(bn.move_min(x, w, axis=1), bn.move_max(x, w, axis=1)) for w in WINDOWS]
    return z + [(x - low) / (high - low) for low, high in ends]


def _numbagg(x: Any) -> list[Any]:
    """No minimum and maximum there: the z-scores. Its deviation is that of a sample."""
    import numbagg as ng

    return [(x - ng.move_mean(x, window=w)) / (ng.move_std(x, window=w) * np.sqrt((w - 1) / w)) for w in WINDOWS]


def _pandas(frame: Any) -> list[Any]:
    z = [(frame - frame.rolling(w).mean()) / frame.rolling(w).std(ddof=0) for w in WINDOWS]
    ends = [(frame.rolling(w).min(), frame.rolling(w).max()) for w in WINDOWS]
    return [v.to_numpy().T for v in (*z, *((frame - low) / (high - low) for low, high in ends))]


def _polars(frame: Any, names: list[str]) -> list[Any]:
    import polars as pl

    out = []
    for name in names:
        v = pl.col(name)
        out += [((v - v.rolling_mean(w)) / v.rolling_std(w, ddof=0)).alias(f"{name}z{w}") for w in WINDOWS]
        out += [((v - v.rolling_min(w)) / (v.rolling_max(w) - v.rolling_min(w))).alias(f"{name}p{w}") for w in WINDOWS]
    made = frame.lazy().select(out).collect()
    return [np.stack([made[f"{name}{k}"].to_numpy() for name in names]) for k in (*(f"z{w}" for w in WINDOWS), *(f"p{w}" for w in WINDOWS))]


def _roll(rounds: int, rows: int) -> Iterator[str]:
    import os

    os.environ["POLARS_MAX_THREADS"] = "1"
    import pandas as pd
    import polars as pl

    from benchmarks import common
    from benchmarks import peers_features_optional as optional

    units = np.cumsum(np.random.default_rng(1).integers(-300, 301, (rows, SYMBOLS)), 0)
    x = np.ascontiguousarray((units + BASE).T.astype(float))
    names = [f"s{i}" for i in range(SYMBOLS)]
    by_series = pd.DataFrame(x.T.copy())
    frame = pl.DataFrame(dict(zip(names, x)))
    whole, windows = np.ascontiguousarray(units + BASE), np.array(WINDOWS)
    state = [np.zeros((n, SYMBOLS), np.int64) for n in (2 * len(WINDOWS), 2 * rolling.ROWS)]
    out = np.zeros((rows, 6, SYMBOLS))
    warm()
    missing = {peer: why for peer in optional.PEERS if (why := optional.why_not(peer))}
    works = [
        optional.Work("ours", "", lambda: rolling.rolling(whole, windows, *state, out)),
        optional.Work("numbagg", "roll,batch", lambda: _numbagg(x), 3),
        optional.Work("Bottleneck", "roll,batch", lambda: _bottleneck(x)),
        optional.Work("pandas", "roll,batch", lambda: _pandas(by_series)),
        optional.Work("polars", "roll,batch", lambda: _polars(frame, names)),
        *(work for peer, make in optional.PEERS.items() if peer not in missing for work in make(x, WINDOWS)),
    ]
    times: list[list[float]] = [[] for _ in works]
    with common.pinned():
        for work in works:  # compiles, and touches all memory
            work.call()
        for _ in range(rounds):
            for work, spent in zip(works, times):
                for a in state:
                    a[:] = 0
                t = time.process_time_ns()
                made = work.call()
                spent.append((time.process_time_ns() - t) / (rows * SYMBOLS * work.outputs))
                if work.peer != "ours" and len(spent) == 1:
                    _check_roll(work.peer, work.values(made), out)
    ours, *medians = map(statistics.median, times)
    for work, median in zip(works[1:], medians):
        yield f"features {work.peer} {work.name},{work.outputs}outputs {median:.2f}ns {ours:.2f}ns {median / ours:.1f}"
    for peer, why in missing.items():
        yield f"features {peer} roll - {ours:.2f}ns - {why}"


def _check_roll(peer: str, theirs: list[Any], ours: Any) -> None:
    """Every value after the longest window; theirs (series, values)."""
    for k, values in enumerate(theirs):
        a, b = values[:, WINDOWS[-1] :], ours[WINDOWS[-1] :, k].T
        if not np.allclose(a, b, rtol=1e-5, atol=1e-5, equal_nan=True):
            worst = np.nanmax(np.abs(a - b))
            raise RuntimeError(f"features: output {k} of {peer} {version(peer)} differs from ours by up to {worst}")
