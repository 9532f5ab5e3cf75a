"""Training of a bank: each configuration at each horizon, all on one cut grid, judged on rows that no model saw.

`python -m tickarrow.pipeline.training CONFIG.json OUT_DIR` trains in a process of its own; CONFIG.json holds `source`, `universe`,
`features` and `training` as plain data. An error that the user can cause is the last line of its standard output."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # before xgboost loads OpenMP: its threads spin so long for one another that one busy core stops both
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import numpy.typing as npt
import xgboost
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tickarrow.configs.training import ConfigurationConf, TrainingConf
from tickarrow.jit._kernel import JIT_FOLDER, cache_home
from tickarrow.pipeline.errors import ConfigError, DataError, TickarrowError
from tickarrow.pipeline.models import ModelSet, save_set
from tickarrow.pipeline.training_data import build_rows, collect, horizons_ns, split

if TYPE_CHECKING:
    from tickarrow.configs.features import FeaturesConf
    from tickarrow.configs.source import SourceConf
    from tickarrow.configs.universe import UniverseConf

Float32 = npt.NDArray[np.float32]
Told = Callable[[str, int, int], None]

OBJECTIVES = ("squarederror", "pseudohubererror", "absoluteerror")  # their link is the identity
LEAST_ROWS = 50  # in the training part and in the tail
DECIDING = ("training", "features", "decode", "source", "market")  # stems of the modules of pipeline that make a training row


def train(
    conf: TrainingConf,
    x: Float32,
    y: Float32,
    ts: npt.NDArray[np.int64],
    columns: Sequence[str],
    families: Sequence[str],
    feature_digest: str,
    out_dir: Path,
    progress: Told | None = None,
    source: Mapping[str, Any] | None = None,
) -> ModelSet:
    """Train every configuration at every horizon and save the set.

    Parameters
    ----------
    x : (n, n_features) float32, NaN = missing
    y : (n, n_horizons) float32, bp of mid, finite
    ts : (n,) int64 ns, ascending
    columns, families : name and feature family of each column of `x`
    progress : called with (model name, models done, models in all)
    source : configuration of the data, kept in the manifest

    Returns
    -------
    ModelSet. The same rows, settings, xgboost and thread count give the same digest.
    """
    _check(conf, families)
    seen, tail = split(conf, ts)
    if seen.stop - seen.start < LEAST_ROWS or tail.stop - tail.start < LEAST_ROWS:
        there = f"{seen.stop - seen.start} and {tail.stop - tail.start} (of {ts.size})"
        raise DataError(
            f"training needs {LEAST_ROWS} labelled rows before the purge and {LEAST_ROWS} in the tail: there are {there}. "
            "Use a longer source or shorter horizons (training.horizons_s)."
        )
    names = [f"xgb{i:02d}" for i in range(len(conf.configurations))]
    grid = xgboost.QuantileDMatrix(x[seen], max_bin=conf.max_bin, nthread=conf.nthread)
    matrices: dict[tuple[str, ...], xgboost.QuantileDMatrix] = {(): grid}
    boosters: list[xgboost.Booster] = []
    metrics: dict[str, dict[str, float | int | None]] = {}
    ic = np.zeros((len(names), y.shape[1]))
    total = len(names) * y.shape[1]
    for c, (name, configuration) in enumerate(zip(names, conf.configurations)):
        matrix = _matrix(matrices, grid, x[seen], families, configuration, conf)
        for h in range(y.shape[1]):
            if progress is not None:
                progress(f"{name}/h{h}", len(boosters), total)
            matrix.set_label(y[seen, h])
            booster = xgboost.train(parameters(configuration, conf), matrix, conf.trees)
            forecast = booster.inplace_predict(x[tail], predict_type="margin", validate_features=False)
            metrics[f"{name}/h{h}"] = judged = judge(forecast, y[tail, h], float(y[seen, h].mean(dtype=np.float64)))
            ic[c, h] = judged["ic"] or 0.0
            boosters.append(booster)
    if progress is not None:
        progress("saving", total, total)
    data = hashlib.blake2b(digest_size=16)
    for array in (x, y, ts):
        data.update(np.ascontiguousarray(array).tobytes())
    training = {
        "source": dict(source or {}), "config": dataclasses.asdict(conf), "config_digest": _digest(dataclasses.asdict(conf)),
        "data_digest": data.hexdigest(), "first_ns": int(ts[0]), "last_ns": int(ts[-1]),
        "rows": seen.stop - seen.start, "purged": tail.start - seen.stop, "tail_rows": tail.stop - tail.start,
    }  # fmt: skip
    cuts = hashlib.blake2b(b"".join(np.ascontiguousarray(a).tobytes() for a in grid.get_quantile_cut()), digest_size=16)
    return save_set(
        out_dir, boosters, configurations=names, horizons_ns=horizons_ns(conf), columns=columns, feature_digest=feature_digest, ic=ic,
        cut_grid=cuts.hexdigest(), training=training, metrics=metrics,
    )  # fmt: skip


def parameters(configuration: ConfigurationConf, conf: TrainingConf) -> dict[str, Any]:
    """One configuration in xgboost's words."""
    c = configuration
    huber = {"huber_slope": c.huber_slope} if c.objective == "pseudohubererror" else {}
    return huber | {
        "tree_method": "hist", "max_bin": conf.max_bin, "nthread": conf.nthread, "objective": f"reg:{c.objective}", "max_depth": c.depth,
        "eta": c.eta, "subsample": c.subsample, "colsample_bytree": c.colsample, "min_child_weight": c.min_child_weight,
        "lambda": c.reg_lambda, "seed": c.seed, "verbosity": 0,
    }  # fmt: skip


def _check(conf: TrainingConf, families: Sequence[str]) -> None:
    if not conf.configurations or not conf.horizons_s:
        raise ConfigError("training: no configurations or no horizons. Name at least one of each (training=default has 16 and 5).")
    for name, value, good, expected in (
        ("horizons_s", conf.horizons_s, all(h > 0 for h in conf.horizons_s), "positive numbers of seconds"),
        ("gap_s", conf.gap_s, conf.gap_s > 0, "a positive number of seconds"),
        ("tail", conf.tail, 0 < conf.tail < 1, "a share above 0 and below 1"),
        ("max_rows", conf.max_rows, conf.max_rows > 0, "a positive number"),
        ("trees", conf.trees, conf.trees > 0, "a positive number"),
        ("max_bin", conf.max_bin, conf.max_bin >= 2, "2 or more"),
        ("nthread", conf.nthread, conf.nthread > 0, "a positive number"),
    ):
        if not good:
            raise ConfigError(f"training.{name} is {value}: expected {expected}. Correct it in conf/training or on the command line.")
    for i, c in enumerate(conf.configurations):
        where = f"training.configurations[{i}]"
        for name in ("eta", "subsample", "colsample"):
            if not 0 < getattr(c, name) <= 1:
                raise ConfigError(f"{where}: {name} is {getattr(c, name)}: expected a share above 0, at most 1.")
        if c.objective not in OBJECTIVES:
            raise ConfigError(f"{where}: objective {c.objective!r} is not one of {', '.join(OBJECTIVES)}.")
        unknown = [f for f in c.families if f not in families]
        if unknown:
            known = ", ".join(dict.fromkeys(families))
            raise ConfigError(f"{where} names the feature family {unknown[0]!r}, the features have {known}. Name one of these.")
        if not 1 <= c.depth <= 16:
            raise ConfigError(f"{where}: depth {c.depth} is out of range. Give 1 to 8, more only for models=xgboost.")


def _matrix(
    made: dict[tuple[str, ...], xgboost.QuantileDMatrix],
    grid: xgboost.QuantileDMatrix,
    x: Float32,
    families: Sequence[str],
    configuration: ConfigurationConf,
    conf: TrainingConf,
) -> xgboost.QuantileDMatrix:
    """Rows on the common cut grid; columns outside the configuration's families are missing throughout."""
    key = tuple(sorted(set(configuration.families)))
    if set(key) == set(families):
        key = ()
    if key not in made:
        masked = x.copy()
        masked[:, [f not in key for f in families]] = np.nan
        made[key] = xgboost.QuantileDMatrix(masked, ref=grid, max_bin=conf.max_bin, nthread=conf.nthread)
    return made[key]


def judge(forecast: Float32, outcome: Float32, mean: float) -> dict[str, float | int | None]:
    """Out-of-sample figures of one model.

    Parameters
    ----------
    forecast, outcome : (n,) float32, bp
    mean : mean outcome of the training rows, the forecast that R2 is measured against

    Returns
    -------
    r2 = 1 - sum (outcome - forecast)^2 / sum (outcome - mean)^2; ic = Pearson correlation of forecast and outcome; n.
    r2 and ic are None where they are not defined (constant outcome or forecast).
    """
    p, o = forecast.astype(np.float64), outcome.astype(np.float64)
    total = float(((o - mean) ** 2).sum())
    dp, do = p - p.mean(), o - o.mean()
    norm = float(np.sqrt((dp * dp).sum() * (do * do).sum()))
    constant = np.ptp(p) == 0.0 or np.ptp(o) == 0.0
    return {
        "r2": None if total == 0.0 else 1.0 - float(((o - p) ** 2).sum()) / total,
        "ic": None if constant or norm == 0.0 else float((dp * do).sum()) / norm,
        "n": int(o.size),
    }


def _digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def default_set_path(training: TrainingConf, source: SourceConf, universe: UniverseConf, features: FeaturesConf) -> Path:
    """Where the default model set of these settings lies: named by the settings, versions and code that decide its bits."""
    from tickarrow.pipeline.features import feature_digest

    h = hashlib.blake2b(digest_size=16)
    here = Path(__file__).resolve().parent
    for path in [*sorted(JIT_FOLDER.glob("*.py")), *(p for stem in DECIDING for p in sorted(here.glob(f"{stem}*.py")))]:
        h.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    settings = [dataclasses.asdict(training), dataclasses.asdict(source), dataclasses.asdict(universe), dataclasses.asdict(features)]
    h.update(_digest([settings, feature_digest(features), xgboost.__version__, np.__version__]).encode())
    return cache_home() / "models" / f"default-{h.hexdigest()}"


def column_families(features: FeaturesConf) -> list[str]:
    """Family of each feature column, in the order of the columns."""
    from tickarrow.pipeline.features import feature_columns

    return [f.name for f in features.families for _ in feature_columns(dataclasses.replace(features, families=[f]))]


def train_source(
    source: SourceConf, universe: UniverseConf, features: FeaturesConf, training: TrainingConf, out_dir: Path
) -> ModelSet:
    """Collect rows from a source, train, save, and certify the portable engine; draws its progress on standard error."""
    from tickarrow.configs.models import ModelsConf
    from tickarrow.jit import _kernel
    from tickarrow.pipeline import decode  # noqa: F401  registers its kernels
    from tickarrow.pipeline.features import driver_of, feature_columns, feature_digest
    from tickarrow.pipeline.predict_engines import EngineWarning, open_engine

    _check(training, column_families(features))  # before the market is generated
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("compiling kernels", total=None)
        driver_of(features)
        _kernel.warm(lambda name, done, total: progress.update(bar, completed=done, total=total))
        history = collect(
            source, universe, features, training.max_rows, lambda what, done: progress.update(bar, description=what, completed=done, total=1.0)
        )
        x, y, ts = build_rows(training, history)
        del history
        bar_models = progress.add_task("training", total=None)

        def tell(name: str, done: int, total: int) -> None:
            progress.update(bar_models, description=f"training {name}, {done} of {total}", completed=done, total=total)

        model_set = train(
            training, x, y, ts, feature_columns(features), column_families(features), feature_digest(features), out_dir, tell,
            source=dataclasses.asdict(source),
        )  # fmt: skip
        progress.update(bar_models, description="comparing the portable engine with xgboost", total=None)
        with warnings.catch_warnings():  # the run that loads the set tells
            warnings.simplefilter("ignore", EngineWarning)
            open_engine(model_set, ModelsConf())
    return model_set


def main(arguments: Sequence[str]) -> int:
    """Entry of the child process; 1 and a last line on standard output if the user has to change something."""
    from omegaconf import OmegaConf

    from tickarrow.configs.features import FeaturesConf
    from tickarrow.configs.source import SourceConf
    from tickarrow.configs.universe import UniverseConf

    config, out_dir = Path(arguments[0]), Path(arguments[1])
    types: dict[str, Any] = {"source": SourceConf, "universe": UniverseConf, "features": FeaturesConf, "training": TrainingConf}
    given = json.loads(config.read_text())
    confs: dict[str, Any] = {k: OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(t), given[k])) for k, t in types.items()}
    try:
        train_source(**confs, out_dir=out_dir)
    except TickarrowError as e:
        print(e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
