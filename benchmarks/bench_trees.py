"""Forests: one call per batch of rows for all models of a bank; labels of training rows."""

import hashlib
import shutil
import warnings

import numpy as np

from tickarrow.configs.models import ModelsConf
from tickarrow.jit import _kernel, labels
from tickarrow.jit._kernel import cache_home

CONFIGURATIONS, HORIZONS, TREES, DEPTH, FEATURES = 16, 5, 100, 6, 96
BANK_VERSION = 1  # another bank = another number; an old one is never changed
COLUMNS = [f"f{i:02d}" for i in range(FEATURES)]
DIGEST = hashlib.blake2b(b"benchmark bank", digest_size=16).hexdigest()


def rows(n, seed=7, features=FEATURES):
    """Rows of standard normal features, two of few values, 2 % missing; (n, features) float32."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)).astype(np.float32)
    x[:, 10] = np.round(x[:, 10] * 2)
    x[:, 11] = x[:, 11] > 0
    x[rng.random(x.shape) < 0.02] = np.nan
    return x


def bank(configurations=CONFIGURATIONS, trees=TREES, depth=DEPTH, n=14_000, columns=COLUMNS, digest=DIGEST):
    """The bank as a model set; trained on first use and kept in the cache folder (about a minute for the whole)."""
    import xgboost

    from tickarrow.pipeline import models
    from tickarrow.pipeline.errors import ModelError

    name = f"trees-{BANK_VERSION}-{configurations}x{HORIZONS}x{trees}x{depth}-xgboost{xgboost.__version__}" + (f"-{digest}" if digest != DIGEST else "")
    path = cache_home() / "bench" / name
    try:
        return models.load_set(str(path), columns, digest)
    except ModelError:
        shutil.rmtree(path, ignore_errors=True)
    features = len(columns)
    x = rows(n, features=features)
    clean = np.nan_to_num(x)
    matrix = xgboost.QuantileDMatrix(x, max_bin=128, nthread=1)  # one cut grid for all
    boosters = []
    for m in range(configurations * HORIZONS):
        rng = np.random.default_rng(1000 + m)
        i, j, k = rng.integers(0, features, 3)
        weights = rng.normal(size=features) * (rng.random(features) < 0.3)
        matrix.set_label(clean @ weights * 0.3 + clean[:, i] * clean[:, j] + np.sin(2 * clean[:, k]) + rng.normal(size=n) * 2)
        conf = {
            "max_depth": depth, "eta": 0.05, "colsample_bytree": 0.5, "subsample": 0.8, "max_bin": 128, "tree_method": "hist",
            "nthread": 1, "seed": m,
        }  # fmt: skip
        boosters.append(xgboost.train(conf, matrix, trees))
    return models.save_set(
        path, boosters, configurations=[f"c{i:02d}" for i in range(configurations)], horizons_ns=np.arange(1, HORIZONS + 1) * 10**9,
        columns=columns, feature_digest=digest, ic=np.zeros((configurations, HORIZONS)),
    )  # fmt: skip


def engine(model_set, name):
    """The engine of that name and no other."""
    from tickarrow.pipeline.predict_engines import open_engine

    _kernel.warm()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # another engine in its place is no benchmark
        return open_engine(model_set, ModelsConf(engine=name))


class Portable:
    """80 models x 100 trees x depth 6, bit-equal to xgboost; 1 row is the tick path."""

    params = (1, 16, 100)
    param_names = ("rows",)
    timeout = 600

    def setup(self, rows_):
        model_set = bank()
        self.engine = engine(model_set, "portable")
        self.x, self.y, self.at = rows(2_000, seed=8), np.zeros((rows_, model_set.n_models), np.float32), 0
        self.time_predict(rows_)

    def time_predict(self, rows_):
        at = self.at
        self.engine.predict(self.x, at, at + rows_, self.y)
        self.at = (at + rows_) % 1_900  # another row each time: the same one would train the branch predictor


class TreeliteC:
    """Call by address: 5 small models of compiled C."""

    params = (1, 16, 100)
    param_names = ("rows",)
    timeout = 600

    def setup(self, rows_):
        if shutil.which("cc") is None:
            raise NotImplementedError("no C compiler")
        model_set = bank(configurations=1, trees=10, depth=3, n=2_000)
        self.engine = engine(model_set, "treelite_c")
        self.x, self.y = rows(100, seed=8), np.zeros((rows_, model_set.n_models), np.float32)
        self.time_predict(rows_)

    def time_predict(self, rows_):
        self.engine.predict(self.x, 0, rows_, self.y)


class ForwardReturn:
    """Labels of training rows at five horizons; ten quotes a row."""

    params = (1, 10_000)
    param_names = ("rows",)

    def setup(self, rows_):
        _kernel.warm()
        rng = np.random.default_rng(9)
        n = rows_ * 10
        ts = np.cumsum(rng.integers(0, 5_000_000, n))
        symbol = rng.integers(0, 20, n).astype(np.int32)
        mid = 100.0 + rng.integers(-10, 11, n) * 0.01
        horizons = np.array([1, 5, 30, 60, 300], np.int64) * 10**9
        self.args = (
            ts[::10].copy(), symbol[::10].copy(), mid[::10].copy(), ts, symbol, mid, horizons, 60 * 10**9, np.zeros(20),
            np.zeros((rows_, 5), np.float32),
        )  # fmt: skip
        self.time_label(rows_)

    def time_label(self, rows_):
        labels.forward_return(*self.args)
