"""Small models of the three libraries on one seeded data set of six features, by a short name of what is special about them."""

import functools

import lightgbm as lgb
import numpy as np
import xgboost as xgb
from sklearn import ensemble

XGBOOST = ("plain", "base", "binary:logistic", "count:poisson", "reg:gamma", "reg:tweedie", "reg:logistic", "parallel", "lossguide", "dart")
LIGHTGBM = ("plain", "no missing", "rf", "rf binary", "dart", "binary", "poisson", "gamma", "tweedie", "cross_entropy", "zeros", "use no missing")
SKLEARN = (
    "RandomForestRegressor", "ExtraTreesRegressor", "GradientBoostingRegressor", "GradientBoostingClassifier", "HistGradientBoostingRegressor",
    "HistGradientBoostingClassifier", "poisson",
)  # fmt: skip


def data(missing=True, rows=500):
    """(rows, 6) float32 with few values in column 1, exact zeros and tiny values in column 2; and a target."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = np.where(rng.random(rows) < 0.6, rng.choice(np.array([0.0, 1e-36, -1e-36, 2e-35, -2e-35, 1e-35, -1e-35], np.float32), rows), x[:, 2])
    y = x[:, 0] * x[:, 3] + np.sign(x[:, 2]) * 2 + x[:, 1] + rng.normal(size=rows) * 0.3
    if missing:
        x[rng.random(x.shape) < 0.08] = np.nan
    return x, y


def two_targets():
    x, y = data()
    return xgb.train({"nthread": 1}, xgb.DMatrix(x, np.stack([y, y], 1)), 2)


def _target(y, kind):
    if kind.endswith("classes"):
        return np.arange(len(y)) % 3
    if kind.endswith("targets"):
        return np.stack([y, -y], 1)
    if any(k in kind for k in ("binary", "logistic", "Classifier", "cross", "steep")):
        return (y > 0).astype(float)
    return np.abs(y) + 0.1 if any(k in kind for k in ("poisson", "gamma", "tweedie", "sqrt")) else y


@functools.cache
def of_xgboost(kind="plain"):
    x, y = data()
    conf = {"nthread": 1, "max_depth": 4, "eta": 0.3, "seed": 3} | {
        "base": {"base_score": -3.3}, "parallel": {"num_parallel_tree": 3, "subsample": 0.5}, "dart": {"booster": "dart", "rate_drop": 0.5},
        "lossguide": {"grow_policy": "lossguide", "max_leaves": 20, "max_depth": 0}, "gblinear": {"booster": "gblinear"},
    }.get(kind, {"objective": kind} if ":" in kind else {})  # fmt: skip
    x = x[:, :3] if kind == "narrow" else x
    return xgb.train(conf, xgb.DMatrix(x, _target(y, kind)), 8)


@functools.cache
def of_lightgbm(kind="plain"):
    x, y = data(missing=kind != "no missing")
    rf = {"boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1}
    conf = {"num_threads": 1, "verbosity": -1, "num_leaves": 15, "min_data_in_leaf": 5, "objective": "regression", "seed": 3} | {
        "rf": rf, "rf binary": rf | {"objective": "binary"}, "dart": {"boosting": "dart"}, "steep": {"objective": "binary", "sigmoid": 2.0},
        "sqrt": {"reg_sqrt": True}, "zeros": {}, "use no missing": {"use_missing": False},
        "zero as missing": {"zero_as_missing": True},
        "linear": {"linear_tree": True}, "categorical": {"min_data_per_group": 5, "cat_smooth": 1.0},
        "plain": {}, "no missing": {}, "classes": {"objective": "multiclass", "num_class": 3},
    }.get(kind, {"objective": kind})  # fmt: skip
    if kind == "zeros":  # a split exactly at 1e-35 and among the tiny values
        y = np.where(np.abs(x[:, 2]) > 5e-36, 3.0, 0.0) + np.sign(np.nan_to_num(x[:, 2])) + y * 0.1
    if kind == "categorical":
        x = np.where(np.arange(6) == 1, np.abs(np.nan_to_num(x)), x)
        y = y + 9.0 * (x[:, 1] == 1.0)
    categorical = [1] if kind == "categorical" else []
    matrix = lgb.Dataset(x, _target(y, kind), categorical_feature=categorical, params={"linear_tree": kind == "linear", "verbosity": -1})
    return lgb.train(conf, matrix, 8)


@functools.cache
def of_sklearn(kind="HistGradientBoostingRegressor"):
    name = "HistGradientBoostingRegressor" if kind in ("poisson", "categorical") else kind.partition(" ")[0]
    x, y = data(missing=not name.startswith("Gradient"))
    more = {"random_state": 3, "max_iter" if name.startswith("Hist") else "n_estimators": 8}
    more |= {
        "poisson": {"loss": "poisson"}, "GradientBoostingClassifier exponential": {"loss": "exponential"},
        "categorical": {"categorical_features": [1]},
    }.get(kind, {})  # fmt: skip
    if kind.endswith("init"):
        more["init"] = ensemble.RandomForestRegressor(2)
    if kind == "categorical":
        x = np.where(np.arange(6) == 1, np.abs(np.nan_to_num(x)), x)
    return getattr(ensemble, name)(**more).fit(x, _target(y, kind))
