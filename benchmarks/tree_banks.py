"""Banks of 80 models that the forest engines are measured on; trained on first use and kept in the cache folder. Not an asv module.

The rows are synthetic (`bench_trees.rows`). `copies`: the models that really differ stand several times in the bank, so a layout has all its
bytes, while a library's own memory stays warmer than with 80 different ones: that flatters the library, never us."""

from __future__ import annotations

import shutil
from typing import Any, NamedTuple

import numpy as np

from benchmarks import bench_trees
from tickarrow.jit._kernel import cache_home

MODELS, CONFIGURATIONS, HORIZONS = 80, 16, 5


class Work(NamedTuple):
    """One bank: `library` with `trees` of `depth` levels (xgboost) or `leaves` leaves (lightgbm, or xgboost's lossguide) a model."""

    name: str
    library: str = "xgboost"
    trees: int = 100
    depth: int = 6
    leaves: int = 0
    features: int = 96
    copies: int = 1
    own_grids: bool = False
    rows: int = 14_000  # of training


WORKS = (
    Work("80x100x6"),
    Work("80x300x6", trees=300, copies=4),
    Work("80x100x6,features=200", features=200, copies=4),
    Work("80x100x6,own-grids", own_grids=True),
    Work("80x100x8", depth=8, copies=8),
    Work("80x100,leaves=64", depth=12, leaves=64, copies=8),
    Work("80x500,leaves=31", "lightgbm", trees=500, leaves=31),
    Work("80x100,leaves=127", "lightgbm", leaves=127, copies=8),
    Work("80x100,leaves=255", "lightgbm", leaves=255, copies=8),
)


def bank(work: Work) -> Any:
    """The model set of a work."""
    from tickarrow.pipeline import models
    from tickarrow.pipeline.errors import ModelError

    if work == WORKS[0]:
        return bench_trees.bank()
    library = __import__(work.library)
    columns = [f"f{i:03d}" for i in range(work.features)]
    path = cache_home() / "bench" / f"{work.name}-{work.library}{library.__version__}"
    try:
        return models.load_set(str(path), columns, bench_trees.DIGEST)
    except ModelError:
        shutil.rmtree(path, ignore_errors=True)
    trained = [train(work, m) for m in range(MODELS // work.copies)] * work.copies
    return models.save_set(
        path, trained, configurations=[f"c{i:02d}" for i in range(CONFIGURATIONS)], horizons_ns=np.arange(1, HORIZONS + 1) * 10**9,
        columns=columns, feature_digest=bench_trees.DIGEST, ic=np.zeros((CONFIGURATIONS, HORIZONS)),
    )  # fmt: skip


def train(work: Work, m: int) -> Any:
    """Model number m of a work; with `own_grids` it has a window of the rows to itself, whose scale drifts, so that its cuts are its own."""
    x = bench_trees.rows(work.rows, seed=7 + (m + 1 if work.own_grids else 0), features=work.features)
    if work.own_grids:
        x *= np.float32(1.0 + 0.5 * np.sin(m / 3.0))
    clean, rng = np.nan_to_num(x), np.random.default_rng(1000 + m)
    i, j, k = rng.integers(0, work.features, 3)
    weights = rng.normal(size=work.features) * (rng.random(work.features) < 0.3)
    y = clean @ weights * 0.3 + clean[:, i] * clean[:, j] + np.sin(2 * clean[:, k]) + rng.normal(size=work.rows) * 2
    if work.library == "lightgbm":
        import lightgbm

        conf = {
            "num_leaves": work.leaves, "learning_rate": 0.05, "objective": "regression", "num_threads": 1, "feature_fraction": 0.5,
            "bagging_fraction": 0.8, "bagging_freq": 1, "verbose": -1, "seed": m, "force_col_wise": True,
        }  # fmt: skip
        return lightgbm.train(conf, lightgbm.Dataset(x, y, params={"max_bin": 127, "verbose": -1, "num_threads": 1}), work.trees)
    import xgboost

    conf = {
        "max_depth": work.depth, "eta": 0.05, "colsample_bytree": 0.5, "subsample": 0.8, "max_bin": 128, "tree_method": "hist", "nthread": 1, "seed": m,
    } | ({"grow_policy": "lossguide", "max_leaves": work.leaves} if work.leaves else {})  # fmt: skip
    return xgboost.train(conf, xgboost.QuantileDMatrix(x, y, max_bin=128, nthread=1), work.trees)
