"""Forest inference beside its peers: 80 models, one core, one thread. Not an asv module: peers are imported in `run`.

A call is all 80 models for a block of rows, another block each time. Each round calls every engine, so that a slow minute of the machine hits
all; the figures are medians over all calls, and p99 where there are enough of them (work `...,p99`), CPU time of the calling thread, whose
clock costs half a microsecond. Peers whose whole bank takes seconds a call are measured with every tenth model and
scaled: their memory stays warmer so, which flatters them."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import bench_trees, common, tree_banks
from benchmarks.tree_banks import WORKS, Work

VERSIONS = {"xgboost": "3.", "treelite": "4.", "lightgbm": "4."}
ROWS = (1, 100, 10_000)
ROUNDS = 8  # 3 of 10,000 rows
SECONDS = {1: 1.0, 100: 1.0, 10_000: 0.0}  # of each peer in all, at least one call a round
LEAST_P99 = 200  # calls
FLUSHED = 24 << 20  # bytes read before a cold call

Call = Callable[[Any], Any]  # of a block of rows


class Peer(NamedTuple):
    """`call` gives (rows, models) margins of a block, of every `part`-th model; `exact`: to the bit of ours, else within `tolerance`."""

    call: Call
    tolerance: float | None = 0.0  # None = models of its own, nothing to compare
    part: int = 1
    rows: tuple[int, ...] = ROWS


class Times(NamedTuple):
    median: float  # us a call
    p99: float  # NaN where there are too few calls


def run(works: Sequence[Work] = WORKS, rows: Sequence[int] = ROWS, bank: Callable[[Work], Any] = tree_banks.bank) -> Iterator[str]:
    """One line a peer, bank and number of rows: `trees PEER WORK peer_median ours_median ratio`; RuntimeError if anything is not as it must be."""
    from benchmarks.peers_trees_optional import optional, why_not

    for work in works:
        model_set = bank(work)
        engine = bench_trees.engine(model_set, "auto")
        peers = subjects(work, model_set)
        for name in ("onnxruntime", "oneDAL", "tl2cgen", "ydf"):
            if why := why_not(name, work):
                yield f"trees {name} {work.name} - - - {why}"
            else:
                peers |= optional(name, work, model_set)
        x = bench_trees.rows(max(*rows, 2_000), seed=11, features=work.features)
        for n in rows:
            here = {name: peer for name, peer in peers.items() if n in peer.rows}
            check(engine, here, x[: min(n, 300)].copy(), model_set.n_models)
            with common.pinned():
                times = measure(engine, here, x, n, model_set.n_models)
            ours = times.pop("ours")
            for name, of in times.items():
                yield line(name, f"{work.name},rows={n}", of.median / n, ours.median / n)
                if not np.isnan(of.p99 + ours.p99):
                    yield line(name, f"{work.name},rows={n},p99", of.p99 / n, ours.p99 / n)
        if work == WORKS[0]:
            yield from alone(work, model_set, engine, peers["xgboost-inplace"], x)


def alone(work: Work, model_set: Any, engine: Any, xgboost: Peer, x: Any) -> Iterator[str]:
    """Ours under other conditions, beside itself or xgboost: cold caches, two threads, the portable engine."""
    from tickarrow.configs.models import ModelsConf
    from tickarrow.pipeline.predict_engines import open_engine

    n = model_set.n_models
    junk, y = np.ones(FLUSHED // 8), np.zeros((len(x), n), np.float32)
    with common.pinned():
        warm = [timed(lambda i=i: engine.predict(x, i % 2_000, i % 2_000 + 1, y)) for i in range(1_000)]
        cold = []
        for i in range(200):
            junk.sum()
            cold.append(timed(lambda i=i: engine.predict(x, i % 2_000, i % 2_000 + 1, y)))
        yield line("cold-caches", f"{work.name},rows=1", float(np.median(cold)), float(np.median(warm)))
        portable = bench_trees.engine(model_set, "portable")
        for rows in (1, 100):
            times = measure(portable, {"xgboost-inplace": xgboost}, x, rows, n)
            yield line("xgboost-inplace", f"{work.name},rows={rows},engine=portable", times["xgboost-inplace"].median / rows, times["ours"].median / rows)
    two = open_engine(model_set, ModelsConf(engine=engine.name, threads=2))
    one: list[float] = []
    both: list[float] = []
    for _ in range(7):
        one.append(timed(lambda: engine.predict(x, 0, len(x), y)))
        both.append(timed(lambda: two.predict(x, 0, len(x), y)))
    yield line("one-thread", f"{work.name},rows={len(x)},threads=2", float(np.median(one)) / len(x), float(np.median(both)) / len(x))


def timed(call: Callable[[], Any]) -> float:
    """Wall time, us."""
    begin = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begin) / 1e3


def measure(engine: Any, peers: dict[str, Peer], x: Any, n: int, n_models: int) -> dict[str, Times]:
    """Times of a call with `n` rows by engine, those of a part scaled to the whole."""
    y = np.zeros((n, n_models), np.float32)
    blocks = [np.ascontiguousarray(x[i : i + n]) for i in range(0, len(x) - n + 1, n)]
    calls: dict[str, tuple[Call, int]] = {name: (peer.call, peer.part) for name, peer in peers.items()}
    calls["ours"] = (lambda block: engine.predict(block, 0, n, y), 1)
    clock = time.thread_time_ns  # what other work takes of the core hits a call of 20 ms and not one of 10 us
    times: dict[str, list[int]] = {name: [] for name in calls}
    share = {}
    for name, (call, _) in calls.items():  # a first call, and how many a round has room for
        begin = time.perf_counter()
        call(blocks[0])
        took = time.perf_counter() - begin
        share[name] = max(1, min(300, int(SECONDS.get(n, 0.0) / ROUNDS / took)))
    for r in range(ROUNDS if SECONDS.get(n) else 3):
        for name, (call, part) in calls.items():
            for k in range(share[name]):
                block = blocks[(r * share[name] + k) % len(blocks)]
                begin_ns = clock()
                call(block)
                times[name].append((clock() - begin_ns) * part)
    return {k: Times(float(np.median(t)) / 1e3, float(np.quantile(t, 0.99)) / 1e3 if len(t) >= LEAST_P99 else np.nan) for k, t in times.items()}


def subjects(work: Work, model_set: Any) -> dict[str, Peer]:
    """The libraries that this package needs, as functions of a block of rows."""
    natives = [m.booster for m in model_set.models]
    if work.library == "lightgbm":
        required("lightgbm")
        part = 10 if len(natives) >= 80 else 1

        def lightgbm(models: Sequence[Any]) -> Call:
            return lambda x: [b.predict(x, raw_score=True, num_threads=1) for b in models]

        return {"lightgbm": Peer(lightgbm(natives), rows=(1, 100)), "lightgbm-tenth": Peer(lightgbm(natives[::part]), part=part, rows=(10_000,))}
    xgboost, treelite = required("xgboost"), required("treelite")
    gtil_predict = importlib.import_module("treelite.gtil").predict
    compiled = [treelite.frontend.from_xgboost(b) for b in natives]

    def inplace(x: Any) -> Any:
        return [b.inplace_predict(x, predict_type="margin", validate_features=False) for b in natives]

    def dmatrix(x: Any) -> Any:
        matrix = xgboost.DMatrix(x, nthread=1)  # once for all models
        return [b.predict(matrix, output_margin=True, validate_features=False) for b in natives]

    def gtil(x: Any) -> Any:
        return [gtil_predict(m, x, nthread=1, pred_margin=True) for m in compiled]

    return {
        "xgboost-inplace": Peer(inplace), "xgboost-dmatrix": Peer(dmatrix), "xgboost-c-api": Peer(CApi(xgboost, natives), rows=(1,)),
        "treelite-gtil": Peer(gtil, 2e-5, rows=(1, 100)),
    }  # fmt: skip


def required(name: str) -> Any:
    """A peer, of a version that the figures are for."""
    try:
        found = importlib.import_module(name)
    except ImportError as e:
        raise RuntimeError(f"peer {name} is not installed: {e}. Install what the tests need (pip install '.[test]').") from e
    if not found.__version__.startswith(VERSIONS[name]):
        raise RuntimeError(f"peer {name} has version {found.__version__}, these figures are for {VERSIONS[name]}x. Look at its changes first.")
    return found


class CApi:
    """XGBoosterPredictFromDense with one proxy matrix, without what the Python wrapper does around it."""

    def __init__(self, xgboost: Any, boosters: Sequence[Any]) -> None:
        import ctypes

        self.library, self.boosters = xgboost.core._LIB, boosters
        self.proxy = ctypes.c_void_p()
        assert self.library.XGProxyDMatrixCreate(ctypes.byref(self.proxy)) == 0
        self.shape, self.dims, self.result = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        self.out = tuple(ctypes.byref(v) for v in (self.shape, self.dims, self.result))
        # type 1: margin
        self.conf = (
            b'{"type": 1, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false, "missing": NaN, "cache_id": 0}'
        )

    def __call__(self, x: Any) -> Any:
        array = f'{{"data": [{x.ctypes.data}, false], "shape": [{x.shape[0]}, {x.shape[1]}], "strides": null, "typestr": "<f4", "version": 3}}'.encode()
        out = []
        for b in self.boosters:
            assert self.library.XGBoosterPredictFromDense(b.handle, array, self.conf, self.proxy, *self.out) == 0
            out.append([self.result[i] for i in range(len(x))])
        return out


def check(engine: Any, peers: dict[str, Peer], x: Any, n_models: int) -> None:
    """All give the same: the libraries bit for bit, others within their tolerance."""
    y = np.full((len(x), n_models), np.nan, np.float32)
    engine.predict(x, 0, len(x), y)
    for name, peer in peers.items():
        made = peer.call(x)
        if peer.tolerance is None:
            continue
        other = np.stack([np.asarray(a).astype(np.float32).reshape(len(x)) for a in made], axis=1)
        mine = y[:, :: peer.part]
        same = np.array_equal(mine.view(np.uint32), other.view(np.uint32)) if not peer.tolerance else bool((np.abs(mine - other) <= peer.tolerance).all())
        if not same:
            most = np.abs(mine - other).max()
            raise RuntimeError(f"{name} and {engine.name} differ on {len(x)} rows by up to {most:.3g}: no figure is worth that.")


def line(peer: str, work: str, theirs: float, ours: float) -> str:
    return f"trees {peer} {work} {_us(theirs)} {_us(ours)} {theirs / ours:.3g}"


def _us(value: float) -> str:
    return f"{value:.0f}us" if value >= 100 else f"{value:.3g}us"
