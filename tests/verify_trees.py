"""Bit equality of the engines with the libraries on many rows: `python tests/verify_trees.py FOLDER [rows=100000] [sets=NAME,PATH,...] [recorded=FILE]`.

Without `sets` it trains a bank for every shape that the engines support. Rows come in blocks of 10,000: a third at random with missing
values, a third on the cuts of the models and beside them with special values mixed in, a third recorded (`recorded`, an Arrow or Parquet
file as for `tickarrow verify`; else rows that the models were trained on). What was compared stands in FOLDER/verify_trees.json after each
block, so a run that was stopped goes on; other models, code, processor or libraries begin again. Exit code 1 on a mismatch."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import xgboost as xgb
from sklearn import ensemble

from tickarrow.configs.models import ModelsConf
from tickarrow.jit import _kernel
from tickarrow.pipeline import certificate, models
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.models import ModelSet, read_set, resolve
from tickarrow.pipeline.predict_engines import open_alone
from tickarrow.pipeline.verify import recorded_rows

BLOCK = 10_000
ENGINES = ("portable", "simd")
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 1e-35, -1e-35, 3.4e38, -3.4e38, 3.4028235e38, -3.4028235e38], np.float32)


def data(n_features: int, seed: int, rows: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    """Training rows with few values in one column, exact zeros in another, 2 % missing; and a target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, n_features)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = np.where(rng.random(rows) < 0.3, 0.0, x[:, 2])
    y = x @ (rng.normal(size=n_features) * (rng.random(n_features) < 0.3)) + x[:, 0] * x[:, 1] + rng.normal(size=rows)
    x[rng.random(x.shape) < 0.02] = np.nan
    return x, y


def of_xgboost(seed: int, n_features: int = 24, trees: int = 40, own_grid: bool = False, missing: bool = True, columns: int = 0, **conf: Any) -> xgb.Booster:
    x, y = data(n_features, seed)
    if columns:  # the others are missing throughout: the model cannot use them
        x[:, np.random.default_rng(seed).permutation(n_features)[columns:]] = np.nan
    if ":" in conf.get("objective", "") and not conf["objective"].startswith("reg:squared"):
        y = (y > 0) * 1.0
    grid = data(n_features, 0 if not own_grid else seed)[0]
    matrix = xgb.QuantileDMatrix(x, y, ref=xgb.QuantileDMatrix(grid, max_bin=128, nthread=1), max_bin=128, nthread=1)
    return xgb.train({"nthread": 1, "tree_method": "hist", "max_bin": 128, "min_child_weight": 0, "eta": 0.1, "seed": seed} | conf, matrix, trees)


def of_lightgbm(seed: int, leaves: int, trees: int = 40, n_features: int = 24, **conf: Any) -> lgb.Booster:
    x, y = data(n_features, seed)
    y = (y > 0) * 1.0 if conf.get("objective") == "binary" else y
    conf = {"num_threads": 1, "verbosity": -1, "num_leaves": leaves, "min_data_in_leaf": 3, "seed": seed, "objective": "regression"} | conf
    return lgb.train(conf, lgb.Dataset(x, y), trees)


def of_sklearn(seed: int, kind: str, n_features: int = 24, **conf: Any) -> Any:
    x, y = data(n_features, seed)
    x = np.nan_to_num(x) if kind.startswith("Gradient") else x
    return getattr(ensemble, kind)(random_state=seed, **conf).fit(x, y > 0 if kind.endswith("Classifier") else y)


BANKS = {
    **{f"xgboost depth {d}": lambda s, d=d: of_xgboost(s, max_depth=d) for d in range(1, 9)},
    "xgboost own grids": lambda s: of_xgboost(s, max_depth=6, own_grid=True),
    "xgboost 64 leaves, any shape": lambda s: of_xgboost(s, max_depth=0, max_leaves=64, grow_policy="lossguide"),
    "xgboost 200 features": lambda s: of_xgboost(s, n_features=200, max_depth=6),
    "xgboost subsets of features": lambda s: of_xgboost(s, max_depth=5, columns=5 + s % 3),
    "xgboost mixed depths": lambda s: of_xgboost(s, max_depth=2 + s % 5, trees=10 * (s % 4 + 1)),
    "xgboost 2000 trees": lambda s: of_xgboost(s, max_depth=3, trees=2000),
    "xgboost logistic": lambda s: of_xgboost(s, max_depth=4, objective="binary:logistic"),
    "xgboost poisson": lambda s: of_xgboost(s, max_depth=4, objective="count:poisson", base_score=0.3),
    **{f"lightgbm {n} leaves": lambda s, n=n: of_lightgbm(s, n) for n in (31, 63, 127, 255)},
    "lightgbm averaged": lambda s: of_lightgbm(s, 31, boosting="rf", bagging_fraction=0.7, bagging_freq=1),
    "lightgbm missing as a value": lambda s: of_lightgbm(s, 31, use_missing=False),
    "lightgbm binary": lambda s: of_lightgbm(s, 31, objective="binary"),
    "scikit-learn RandomForest": lambda s: of_sklearn(s, "RandomForestRegressor", n_estimators=20, max_leaf_nodes=255),
    "scikit-learn ExtraTrees": lambda s: of_sklearn(s, "ExtraTreesRegressor", n_estimators=20, max_depth=8),
    "scikit-learn GradientBoosting": lambda s: of_sklearn(s, "GradientBoostingRegressor", n_estimators=40, max_depth=4),
    "scikit-learn GradientBoosting classifier": lambda s: of_sklearn(s, "GradientBoostingClassifier", n_estimators=40),
    "scikit-learn HistGradientBoosting": lambda s: of_sklearn(s, "HistGradientBoostingRegressor", max_iter=40),
    "scikit-learn HistGradientBoosting classifier": lambda s: of_sklearn(s, "HistGradientBoostingClassifier", max_iter=40),
    "three libraries": lambda s: [of_xgboost(s, max_depth=6), of_lightgbm(s, 31), of_sklearn(s, "HistGradientBoostingRegressor", max_iter=20)][s % 3],
}  # fmt: skip
MODELS = 6


def trained(name: str, folder: Path) -> ModelSet:
    """The bank of a name, trained once into `folder`."""
    path = folder / "banks" / "".join(c if c.isalnum() else "-" for c in name)
    if not (path / "manifest.json").is_file():
        made = [BANKS[name](seed) for seed in range(1, MODELS + 1)]
        n = models.library.wrap(made[0]).n_features
        models.save_set(
            path, made, configurations=[f"m{i}" for i in range(MODELS)], horizons_ns=np.array([10**9]), columns=[f"f{i}" for i in range(n)],
            feature_digest="0" * 32, ic=np.zeros((MODELS, 1)),
        )  # fmt: skip
    return read_set(path)


def block(model_set: ModelSet, cuts: list[np.ndarray], recorded: np.ndarray, number: int, size: int) -> np.ndarray:
    """Rows (size, n_features) of one block; the same number gives the same rows."""
    rng = np.random.default_rng([7, number])
    n = len(model_set.columns)
    third = size // 3
    random = rng.normal(size=(third, n)).astype(np.float32) * np.float32(2.0)
    random[rng.random(random.shape) < rng.random((third, 1)) ** 3] = np.nan
    edge = np.stack([rng.choice(c, third) for c in cuts], axis=1)
    with np.errstate(over="ignore", under="ignore"):
        toward = np.where(rng.random(edge.shape) < 0.5, np.float32(np.inf), np.float32(-np.inf))
        edge = np.where(rng.random(edge.shape) < 0.6, np.nextafter(edge, toward), edge)
    edge = np.where(rng.random(edge.shape) < rng.random((third, 1)) * 0.3, rng.choice(SPECIAL, edge.shape), edge)
    there = recorded[rng.integers(0, len(recorded), size - 2 * third)]
    return np.ascontiguousarray(np.concatenate([random, edge, there]), np.float32)


def verify(model_set: ModelSet, state: dict[str, Any], rows: int, recorded: np.ndarray, save: Any) -> dict[str, Any]:
    """Compare what `state` does not hold yet."""
    now = json.loads(json.dumps(certificate.circumstances(model_set)))
    if state.get("now") != now:
        state.clear()
        state.update(now=now, blocks=0, rows=0, left_out=0, mismatches={}, seconds=0.0)
    engines = {}
    for name in ENGINES:
        try:
            engines[name] = open_alone(model_set, ModelsConf(engine=name), name)
            state["mismatches"].setdefault(name, 0)
        except (ModelError, OSError) as e:
            state["mismatches"][name] = str(e)
    cuts = []
    for f in range(len(model_set.columns)):
        found = [forest.cut[forest.inner & (forest.feature == f) & np.isfinite(forest.cut)] for forest in model_set.forests]
        cuts.append(np.unique(np.concatenate([*found, np.zeros(1, np.float32)])))
    while state["rows"] < rows:
        started = time.perf_counter()
        x = block(model_set, cuts, recorded, state["blocks"], min(BLOCK, rows - state["rows"]))
        margins = certificate.oracle_margins(model_set, x)
        for name, engine in engines.items():
            differ, _ = certificate.mismatches(model_set, engine, x, margins)
            state["mismatches"][name] += int(differ.sum())
        state["rows"] += len(x)
        state["blocks"] += 1
        state["left_out"] += int((~certificate.accepted(model_set, x)).sum())
        state["seconds"] = round(state["seconds"] + time.perf_counter() - started, 2)
        save()
    return state


def main(arguments: list[str]) -> int:
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    folder = next((Path(a) for a in arguments if "=" not in a), Path(tempfile.gettempdir(), "tickarrow-verify-trees"))
    folder.mkdir(parents=True, exist_ok=True)
    path, rows = folder / "verify_trees.json", int(options.get("rows", 100_000))
    states: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    _kernel.warm()
    names = [n for n in options.get("sets", "").split(",") if n] or list(BANKS)
    wrong = 0
    for name in names:
        model_set = trained(name, folder) if name in BANKS else read_set(resolve(name))
        n = len(model_set.columns)
        recorded = recorded_rows(Path(options["recorded"]), model_set.columns) if "recorded" in options else data(n, 1)[0]

        def save() -> None:
            path.with_suffix(".new").write_text(json.dumps(states, indent=1))
            path.with_suffix(".new").replace(path)

        state = verify(model_set, states.setdefault(name, {}), rows, recorded, save)
        said = ", ".join(f"{e}: {m} mismatches" if isinstance(m, int) else f"{e}: {m}" for e, m in state["mismatches"].items())
        compared = state["rows"] * model_set.n_models - state["left_out"]
        print(f"{name:45} {model_set.n_models:3} models {state['rows']:9,} rows {compared:12,} margins  {said}  ({state['seconds']:.0f} s)", flush=True)
        wrong += sum(m for m in state["mismatches"].values() if isinstance(m, int))
    print(f"{wrong} mismatches on processor {_kernel.target()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
