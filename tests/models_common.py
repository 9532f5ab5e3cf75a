"""Small banks for the tests of model sets and engines."""

import numpy as np
import xgboost as xgb

from tickarrow.pipeline import models

COLUMNS = ["spread", "ofi_30s", "imbalance", "age", "return", "depth"]
DIGEST = "1" * 32
HORIZONS = np.array([1, 5], np.int64) * 1_000_000_000


def booster(seed, depth=4, n_trees=5, n_features=6, rows=600, **more):
    """A model of one target on seeded noise with missing values."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, n_features)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    x[rng.random(x.shape) < 0.05] = np.nan
    y = (np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, 2]) + rng.normal(size=rows)).astype(np.float32)
    conf = {"max_depth": depth, "eta": 0.3, "nthread": 1, "seed": seed, "max_bin": 32, "tree_method": "hist"} | more
    return xgb.train(conf, xgb.QuantileDMatrix(x, y, max_bin=conf["max_bin"], nthread=1), n_trees)


def make_set(path, boosters=None, configurations=("xgb00", "xgb01")):
    """A saved set of two configurations at two horizons."""
    boosters = boosters or [booster(i, depth=2 + i, n_trees=3 + i) for i in range(4)]
    return models.save_set(
        path, boosters, configurations=list(configurations), horizons_ns=HORIZONS, columns=COLUMNS, feature_digest=DIGEST,
        ic=np.full((len(configurations), 2), 0.05), cut_grid="", training={"source": {"seed": 1}}, metrics={},
    )  # fmt: skip


def load(path):
    return models.load_set(str(path), COLUMNS, DIGEST)


def bits(a):
    return np.ascontiguousarray(a, np.float32).view(np.uint32)
