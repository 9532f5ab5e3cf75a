"""Forest inference beside its peers: 80 models x 100 trees x depth 6, one core, one thread, CPU time of the calling thread per call.

Each round calls every engine a few times, so that a slow minute of the machine hits all; the medians are over all rounds. Not an asv
module: peers are imported in `run`."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

VERSIONS = {"xgboost": "3.", "treelite": "4."}
ROUNDS = {1: 40, 100: 8}
CALLS = {1: 20, 100: 5}  # of ours in a round
PEER_CALLS = {1: 3, 100: 1}
GTIL_TOLERANCE = 1e-5  # absolute; GTIL adds the base score last

Call = Callable[[Any], Any]  # of a block of rows


def run(n_configurations: int = 16, trees: int = 100, depth: int = 6, rounds: dict[int, int] | None = None) -> Iterator[str]:
    """One line a peer and batch size: `trees PEER WORK peer_median ours_median ratio`; RuntimeError if anything is not as it must be."""
    peers = {name: _peer(name, prefix) for name, prefix in VERSIONS.items()}
    from benchmarks import bench_trees as bench
    from benchmarks import common

    model_set = bench.bank(n_configurations, trees, depth, n=14_000 if trees == 100 else 2_000)
    ours = bench.engine(model_set, "portable")
    x = bench.rows(2_000, seed=11)
    work = f"{model_set.n_models}x{trees}x{depth}"
    subjects = _subjects(peers, model_set)
    for n in (1, 100):
        _check(ours, subjects, x[:n].copy(), model_set.n_models)
        with common.pinned():
            median = _measure(ours, subjects, x, n, model_set.n_models, (rounds or ROUNDS)[n])
        for name in subjects:
            yield f"trees {name} {work},rows={n} {_us(median[name])} {_us(median['ours'])} {median[name] / median['ours']:.0f}"


def _measure(ours: Any, subjects: dict[str, Call], x: Any, n: int, n_models: int, rounds: int) -> dict[str, float]:
    """Median CPU time of a call with `n` rows, us, by engine."""
    y = np.zeros((n, n_models), np.float32)
    blocks = [np.ascontiguousarray(x[i : i + n]) for i in range(0, len(x) - n + 1, n)]
    calls: dict[str, tuple[Call, int]] = {name: (call, PEER_CALLS[n]) for name, call in subjects.items()}
    calls["ours"] = (lambda block: ours.predict(block, 0, n, y), CALLS[n])
    times: dict[str, list[int]] = {name: [] for name in calls}
    for r in range(rounds):
        for name, (call, repeat) in calls.items():
            for k in range(repeat):
                block = blocks[(r * repeat + k) % len(blocks)]
                begin = time.thread_time_ns()
                call(block)
                times[name].append(time.thread_time_ns() - begin)
    return {name: float(np.median(t)) / 1e3 for name, t in times.items()}


def _peer(name: str, prefix: str) -> Any:
    try:
        found = importlib.import_module(name)
    except ImportError as e:
        raise RuntimeError(f"peer {name} is not installed: {e}. Install the package's own dependencies (pip install .).") from e
    if not found.__version__.startswith(prefix):
        raise RuntimeError(f"peer {name} has version {found.__version__}, these figures are for {prefix}x. Look at its changes first.")
    return found


def _subjects(peers: dict[str, Any], model_set: Any) -> dict[str, Call]:
    """Each peer as a function of a block of rows that returns (rows, models)."""
    xgboost, treelite = peers["xgboost"], peers["treelite"]
    gtil_predict = importlib.import_module("treelite.gtil").predict
    boosters = [m.booster for m in model_set.models]
    compiled = [treelite.frontend.from_xgboost(b) for b in boosters]

    def inplace(x: Any) -> Any:
        return [b.inplace_predict(x, predict_type="margin", validate_features=False) for b in boosters]

    def dmatrix(x: Any) -> Any:
        matrix = xgboost.DMatrix(x, nthread=1)  # once for all models
        return [b.predict(matrix, output_margin=True, validate_features=False) for b in boosters]

    def gtil(x: Any) -> Any:
        return [gtil_predict(m, x, nthread=1, pred_margin=True) for m in compiled]

    return {"xgboost-inplace": inplace, "xgboost-dmatrix": dmatrix, "treelite-gtil": gtil}


def _check(ours: Any, subjects: dict[str, Call], x: Any, n_models: int) -> None:
    """All give the same: xgboost bit for bit, GTIL within its tolerance."""
    y = np.full((len(x), n_models), np.nan, np.float32)
    ours.predict(x, 0, len(x), y)
    for name, call in subjects.items():
        other = np.stack([np.asarray(a, np.float32).reshape(len(x)) for a in call(x)], axis=1)
        exact = name.startswith("xgboost")
        same = np.array_equal(y.view(np.uint32), other.view(np.uint32)) if exact else bool((np.abs(y - other) <= GTIL_TOLERANCE).all())
        if not same:
            most = np.abs(y - other).max()
            raise RuntimeError(f"{name} and {ours.name} differ on {len(x)} rows by up to {most:.3g}: no figure is worth that.")


def _us(value: float) -> str:
    return f"{value:.0f}us" if value >= 100 else f"{value:.1f}us"
