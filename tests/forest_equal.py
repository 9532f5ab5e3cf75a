"""Are the engines equal to the libraries, bit for bit? `python tests/forest_equal.py`: every shape of model that is supported on 10^5 rows, the
default bank on 10^6. Not in CI, where test_forest_equal.py runs a short form.

A third of the rows is recorded (features of a market), a third random with missing values, a third stands on the cuts of the models, one float
beside them, and at the edges of float32. What is done is kept in the state file; a run that was killed goes on there. Exit code 1 if a bit differs.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import forests
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline import certificate, models, training_data
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.predict_engines import open_alone
from tickarrow.pipeline.prepare import compose, warm_kernels

BLOCK = 10_000  # rows of a step
ENGINES = ("simd", "portable", "treelite_c")
TRAINED = 6_000  # rows that a case's models are trained on
DIGEST = "0" * 32


class Case(NamedTuple):
    """Models of one shape: `make(k, x, y)` trains model number k."""

    name: str
    make: Callable[[int, Any, Any], Any]
    n_models: int = 3
    features: int = 30
    missing: float = 0.03  # share of missing values in training
    engines: tuple[str, ...] = ENGINES


def xgb(trees: int = 60, **conf: Any) -> Callable[[int, Any, Any], Any]:
    def make(k: int, x: Any, y: Any) -> Any:
        import xgboost

        full = {"max_depth": 6, "eta": 0.1, "nthread": 1, "max_bin": 64, "tree_method": "hist", "seed": k, "colsample_bytree": 0.6} | conf
        return xgboost.train(full, xgboost.DMatrix(x, positive(y, conf.get("objective", "")), nthread=1), trees)

    return make


def lgb(trees: int = 60, **conf: Any) -> Callable[[int, Any, Any], Any]:
    def make(k: int, x: Any, y: Any) -> Any:
        import lightgbm

        full = {"num_leaves": 31, "learning_rate": 0.1, "num_threads": 1, "verbose": -1, "seed": k, "feature_fraction": 0.6, "max_bin": 63} | conf
        return lightgbm.train(full, lightgbm.Dataset(x, positive(y, conf.get("objective", ""))), trees)

    return make


def sklearn(name: str, **conf: Any) -> Callable[[int, Any, Any], Any]:
    def make(k: int, x: Any, y: Any) -> Any:
        from sklearn import ensemble
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # threads that wait for one another spin: minutes on a busy machine
            return getattr(ensemble, name)(random_state=k, **conf).fit(x, y > 0 if name.endswith("Classifier") else y)

    return make


def positive(y: Any, objective: str) -> Any:
    """The target as an objective takes it."""
    if "logistic" in objective or objective == "binary":
        return (y > 0).astype(np.float32)
    return np.abs(y) if objective.partition(":")[2] in ("poisson", "gamma", "tweedie") or "count" in objective or objective == "poisson" else y


def mixed(k: int, x: Any, y: Any) -> Any:
    return (xgb(), lgb(), xgb(max_depth=3), lgb(num_leaves=63), sklearn("ExtraTreesRegressor", n_estimators=20, max_depth=8, n_jobs=1))[k % 5](k, x, y)


def windowed(k: int, x: Any, y: Any) -> Any:
    """A cut grid for each model: rows and scales of its own."""
    half = len(x) // 2
    rows = slice(k * half // 8, k * half // 8 + half)
    return xgb(trees=80)(k, x[rows] * np.float32(1 + 0.3 * k), y[rows])


def few_features(k: int, x: Any, y: Any) -> Any:
    blind = x.copy()
    blind[:, [f for f in range(x.shape[1]) if f % 4 != k % 4]] = np.nan
    return xgb()(k, blind, y)


CASES = (
    *(Case(f"xgboost depth {d}", xgb(max_depth=d)) for d in range(1, 9)),
    Case("xgboost depth 12", xgb(trees=20, max_depth=12), engines=("simd", "portable")),
    Case("xgboost, nothing missing in training", xgb(), missing=0.0),
    Case("xgboost lossguide, 64 leaves", xgb(grow_policy="lossguide", max_leaves=64, max_depth=14)),
    Case("xgboost, 200 features", xgb(), features=200),
    Case("xgboost, 250 features, shapes of all kinds", xgb(max_depth=9, min_child_weight=40), features=250),
    Case("xgboost, a grid for each model", windowed, n_models=8),
    Case("xgboost, other features in each model", few_features, n_models=5),
    Case("xgboost, 2,000 trees", xgb(trees=2_000, max_depth=4, eta=0.02), n_models=2),
    Case("xgboost, exact cuts", xgb(tree_method="exact", max_depth=5)),
    Case("xgboost base score", xgb(base_score=-3.7)),
    Case("xgboost binary:logistic", xgb(objective="binary:logistic")),
    Case("xgboost count:poisson", xgb(objective="count:poisson")),
    Case("xgboost reg:gamma", xgb(objective="reg:gamma")),
    *(Case(f"lightgbm {n} leaves", lgb(num_leaves=n, min_data_in_leaf=5)) for n in (2, 7, 31, 63, 127, 255)),
    Case("lightgbm, nothing missing in training", lgb(), missing=0.0),
    Case("lightgbm, 200 features", lgb(), features=200),
    Case("lightgbm binary", lgb(objective="binary")),
    Case("lightgbm poisson", lgb(objective="poisson")),
    Case("lightgbm rf", lgb(boosting="rf", bagging_freq=1, bagging_fraction=0.6)),
    Case("lightgbm linear depth", lgb(num_leaves=40, max_depth=-1, min_data_in_leaf=1, min_sum_hessian_in_leaf=0.0)),
    Case("scikit-learn RandomForest", sklearn("RandomForestRegressor", n_estimators=30, max_depth=7, n_jobs=1)),
    Case("scikit-learn ExtraTrees", sklearn("ExtraTreesRegressor", n_estimators=30, max_depth=7, n_jobs=1)),
    Case("scikit-learn GradientBoosting", sklearn("GradientBoostingRegressor", n_estimators=40, max_depth=4), missing=0.0),
    Case("scikit-learn HistGradientBoosting", sklearn("HistGradientBoostingRegressor", max_iter=60)),
    Case("scikit-learn HistGradientBoostingClassifier", sklearn("HistGradientBoostingClassifier", max_iter=40)),
    Case("mixed bank", mixed, n_models=10),
)


@functools.cache
def recorded(features: str = "core") -> Any:
    """Feature rows of the default generated market; (n, columns) float32."""
    conf = compose("train", [f"features={features}"])
    return training_data.collect(conf.source, conf.universe, conf.features, conf.training).x


def rows(of: Any, n_features: int, n: int, seed: int, own: bool = False) -> Any:
    """Rows of all three kinds, (n, n_features) float32; `own`: the recorded ones are columns of the models' own features."""
    rng = np.random.default_rng(seed)
    third = n // 3
    real = recorded()[rng.integers(0, len(recorded()), third)]
    if not own:
        real = real[:, np.random.default_rng(n_features).integers(0, real.shape[1], n_features)]
    random = rng.normal(size=(third, n_features)).astype(np.float32) * rng.choice(np.array([1e-3, 1.0, 30.0], np.float32), (third, 1))
    random[rng.random(random.shape) < 0.03] = np.nan
    there = n - 2 * third
    edge = forests.rows(rng, of, n=max(there - len(forests.SPECIAL), 1))[:there] if of else np.zeros((0, n_features), np.float32)
    return np.ascontiguousarray(np.concatenate([real, random, edge]))


def training_rows(case: Case) -> tuple[Any, Any]:
    x = rows((), case.features, TRAINED * 3 // 2, seed=len(case.name))[:TRAINED]
    x = np.nan_to_num(x, posinf=0.0, neginf=0.0)
    clean, rng = x.copy(), np.random.default_rng(5)
    x[rng.random(x.shape) < case.missing] = np.nan
    scale = np.std(clean, axis=0) + np.float32(1e-9)
    z = clean / scale
    return x, (z[:, 0] * z[:, 1] + z[:, 2] - np.abs(z[:, 3]) + rng.normal(size=len(x))).astype(np.float32)


def make_set(case: Case, path: Path) -> models.ModelSet:
    x, y = training_rows(case)
    trained = [case.make(k, x, y) for k in range(case.n_models)]
    return models.save_set(
        path, trained, configurations=[f"m{k}" for k in range(case.n_models)], horizons_ns=np.array([10**9], np.int64),
        columns=[f"f{i}" for i in range(case.features)], feature_digest=DIGEST, ic=np.zeros((case.n_models, 1)),
    )  # fmt: skip


def default_bank() -> models.ModelSet:
    """The bank that `tickarrow run` trains on its first start."""
    from tickarrow.pipeline.prepare import model_set_of

    return model_set_of(compose("run"), Console(stderr=True))


def engines_of(model_set: models.ModelSet, names: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """The engines that serve the set, and why the others do not."""
    out, absent = {}, {}
    for name in names:
        try:
            out[name] = open_alone(model_set, ModelsConf(engine=name), name)
        except (ModelError, OSError) as e:
            absent[name] = str(e)
    return out, absent


def run(case: Case | None, n: int, state: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Compare one case, None = the default bank, block by block; what `state` holds of the same models, code and processor is not done again.

    Yields
    ------
    state : "rows" done, "margins" compared, "differ" by engine, "absent" engines with the reason. An engine's margins are compared in every
        way that it predicts: few rows, many, blocks between, and the first of a block one by one.
    """
    model_set = default_bank() if case is None else make_set(case, folder / "set")
    now = json.loads(json.dumps(certificate.circumstances(model_set)))
    engines, absent = engines_of(model_set, case.engines if case else ENGINES)
    if state.get("now") != now or state.get("absent") != absent:
        state.clear()
        state.update(now=now, rows=0, margins=0, differ=dict.fromkeys(engines, 0), absent=absent)
    while state["rows"] < n:
        x = rows(model_set.forests, len(model_set.columns), min(BLOCK, n - state["rows"]), seed=state["rows"], own=case is None)
        margins = certificate.oracle_margins(model_set, x)
        for name, engine in engines.items():
            state["differ"][name] += int(certificate.mismatches(model_set, engine, x, margins)[0].sum())
        state["margins"] += int(certificate.accepted(model_set, x).sum())
        state["rows"] += len(x)
        yield state


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, default=100_000, help="of each case (default 100000)")
    asked.add_argument("--bank-rows", type=int, default=1_000_000, help="of the default bank (default 1000000)")
    asked.add_argument("--state", type=Path, default=Path("forest_equal.json"), help="what is done; remove it to begin anew")
    asked.add_argument("--only", default="", help="cases whose name contains this")
    args = asked.parse_args()
    console = Console(stderr=True)
    warm_kernels(console, compose("run").features)
    states = json.loads(args.state.read_text()) if args.state.is_file() else {}
    table = Grid("case", "rows", "models", "margins", "differ")
    wanted = [(c.name, c, args.rows) for c in CASES] + [("default bank", None, args.bank_rows)]
    bad = 0
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True) as progress:
        for name, case, n in wanted:
            if args.only not in name:
                continue
            bar, state = progress.add_task(name, total=n), states.setdefault(name, {})
            with tempfile.TemporaryDirectory() as folder:
                for done in run(case, n, state, Path(folder)):
                    args.state.with_suffix(".new").write_text(json.dumps(states))
                    args.state.with_suffix(".new").replace(args.state)
                    progress.update(bar, completed=done["rows"])
            progress.remove_task(bar)
            said = [f"{engine} {differ:,}" for engine, differ in state["differ"].items()] + [f"{engine}: {why}" for engine, why in state["absent"].items()]
            table.add_row(name, f"{state['rows']:,}", str(case.n_models if case else 80), f"{state['margins']:,}", "; ".join(said))
            bad += sum(state["differ"].values())
    Console(width=160).print(table)
    print(f"{bad} margins differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
