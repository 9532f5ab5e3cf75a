"""Training of a bank: each configuration at each horizon, all on one cut grid, judged on rows that no model saw.

`python -m tickarrow.pipeline.training CONFIG.json OUT_DIR` trains in a process of its own; CONFIG.json holds `source`, `universe`,
`features` and `training` as plain data. An error that the user can cause is the last line of its standard output."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # before xgboost loads OpenMP: its threads spin so long for one another that one busy core stops both
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import xgboost
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tickarrow.configs.training import TrainingConf
from tickarrow.jit._kernel import JIT_FOLDER, cache_home
from tickarrow.pipeline.errors import DataError, TickarrowError
from tickarrow.pipeline.library import LoadedModel
from tickarrow.pipeline.models import ModelSet, save_set
from tickarrow.pipeline.training_data import LABELS, Rows, build_rows, collect, horizons_ns, split
from tickarrow.pipeline.training_fit import PREFIX, Bins, margins
from tickarrow.pipeline.training_folds import deciding, fold_summary, judge_tail, refuse_too_good, run_folds, splitter_of, stabilities, target_of, trees_of
from tickarrow.pipeline.training_leaks import probe, refuse
from tickarrow.pipeline.training_metrics import judge
from tickarrow.pipeline.training_parts import Parts, key_of
from tickarrow.pipeline.training_report import REPORT, write_report
from tickarrow.pipeline.training_settings import check

if TYPE_CHECKING:
    from tickarrow.configs.costs import CostsConf
    from tickarrow.configs.features import FeaturesConf
    from tickarrow.configs.source import SourceConf
    from tickarrow.configs.universe import UniverseConf

Told = Callable[[str, int, int], None]

LEAST_ROWS = 50  # in the training part and in the tail
LEAK_CUTS = 12  # places where ticks are cut off to find look-ahead
DECIDING = ("training", "features", "decode", "source", "market")  # stems of the modules of pipeline that make a training row


def train(
    conf: TrainingConf,
    rows: Rows,
    columns: Sequence[str],
    families: Sequence[str],
    feature_digest: str,
    out_dir: Path,
    progress: Told | None = None,
    source: Mapping[str, Any] | None = None,
) -> ModelSet:
    """Judge every configuration at every horizon on the folds, train it on all rows before the tail, and save the set.

    Parameters
    ----------
    columns, families : name and feature family of each column of `x`
    progress : called with (model name, models done, models in all)
    source : configuration of the data, kept in the manifest

    Returns
    -------
    ModelSet. The same rows, settings, libraries and thread count give the same digest, also after a training that was killed in between:
    what it had done lies in a folder beside `out_dir` until the set is saved.

    Notes
    -----
    A final model has the median number of trees at which those of its folds stopped, and is trained on all rows before the tail but the
    purged ones. The tail is seen by no model, no choice of trees and no fold.
    """
    check(conf, families)
    seen, tail = split(conf, rows.ts)
    if seen.stop - seen.start < LEAST_ROWS or tail.stop - tail.start < LEAST_ROWS:
        there = f"{seen.stop - seen.start} and {tail.stop - tail.start} (of {rows.ts.size})"
        raise DataError(
            f"training needs {LEAST_ROWS} labelled rows before the purge and {LEAST_ROWS} in the tail: there are {there}. "
            "Use a longer source or shorter horizons (training.horizons_s)."
        )
    names = [f"{PREFIX[c.library]}{i:02d}" for i, c in enumerate(conf.configurations)]
    parts = Parts(out_dir.with_name(f"{out_dir.name}.parts"))
    n_horizons = len(conf.horizons_s)
    end = rows.labels.end[seen].max(axis=1)
    splitter = splitter_of(conf, rows.ts[seen], end)
    total, done = len(names) * n_horizons * (1 + (splitter.get_n_splits() if splitter else 0)), 0

    def tell(name: str) -> None:
        nonlocal done
        if progress is not None:
            progress(name, done, total)
        done += 1

    leaks: list[dict[str, Any]] = []
    if splitter is not None and conf.leak_shifts:
        leaks = probe(conf, rows, seen, splitter.folds(), lambda name: progress(name, done, total) if progress is not None else None)
        refuse(leaks)
    judged = run_folds(conf, rows, seen, families, names, parts, tell)
    refuse_too_good(conf, judged, rows, seen, columns)
    models: list[LoadedModel] = []
    metrics: dict[str, dict[str, Any]] = {}
    ic = np.zeros((len(names), n_horizons))
    identity = rows.digest(), key_of(rows.labels.end, rows.unique), conf.weights, "final", seen.stop
    learn, rest = np.arange(seen.start, seen.stop), np.arange(tail.start, tail.stop)
    with Bins(conf, rows.x, rows.ts, seen, slice(0, 0), families) as bins:
        grid = bins.grid_digest()
        for c, (name, configuration) in enumerate(zip(names, conf.configurations)):
            for h in range(n_horizons):
                tell(f"{name}/h{h}")
                target, trees = target_of(conf, rows, h, seen, slice(0, 0)), trees_of(conf, judged, c, h)
                key = key_of(*identity, deciding(conf, configuration), h, trees)
                model = parts.model(key, lambda: bins.train(configuration, target, trees).model)  # noqa: B023  called at once
                forecast = margins(model, rows.x, rest)
                figures = judge(forecast, rows.y[tail, h], float(rows.y[seen, h].mean(dtype=np.float64)))
                ic[c, h] = figures["ic"] or 0.0
                metrics[f"{name}/h{h}"] = figures
                if splitter is not None:
                    judge_tail(judged, conf, rows, (c, h), name, (learn, rest), trees, forecast)
                models.append(model)
    if progress is not None:
        progress("saving", total, total)
    training = {
        "source": dict(source or {}), "config": dataclasses.asdict(conf), "config_digest": _digest(dataclasses.asdict(conf)),
        "data_digest": identity[0], "first_ns": int(rows.ts[0]), "last_ns": int(rows.ts[-1]),
        "rows": seen.stop - seen.start, "purged": tail.start - seen.stop, "tail_rows": tail.stop - tail.start,
        "resumed": parts.found,
    }  # fmt: skip
    if splitter is not None:
        stable = stabilities(judged, len(columns))
        write_report(out_dir / REPORT, conf, judged, leaks, stable, columns, training)
        for model_name, figures in metrics.items():
            figures |= fold_summary(judged, model_name) | {"importance_stability": stable[model_name]}
    meaning, unit = LABELS[conf.label]
    saved = save_set(
        out_dir, models, configurations=names, horizons_ns=horizons_ns(conf), columns=columns, feature_digest=feature_digest, ic=ic,
        targets=(meaning,), units=(unit,), cut_grid=grid, training=training, metrics=metrics,
    )  # fmt: skip
    parts.remove()
    return saved


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
    source: SourceConf, universe: UniverseConf, features: FeaturesConf, training: TrainingConf, out_dir: Path, costs: CostsConf | None = None
) -> ModelSet:
    """Collect rows from a source, look for leaks, train, save, and certify the portable engine; draws its progress on standard error."""
    from tickarrow.jit import _kernel
    from tickarrow.pipeline import decode  # noqa: F401  registers its kernels
    from tickarrow.pipeline.features import driver_of, feature_columns, feature_digest
    from tickarrow.pipeline.predict_engines import prepare_engines
    from tickarrow.pipeline.source import open_source

    check(training, column_families(features))  # before the market is generated
    console = Console(stderr=True)
    if training.leak_ticks:
        look_ahead(source, universe, features, training, console)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("compiling kernels", total=None)
        driver_of(features)
        _kernel.warm(lambda name, done, total: progress.update(bar, completed=done, total=total))
        history = collect(source, universe, features, training, lambda what, done: progress.update(bar, description=what, completed=done, total=1.0))
        rows = dataclasses.replace(build_rows(training, history, costs), symbols=open_source(source, universe).universe.symbols)
        del history
        bar_models = progress.add_task("training", total=None)

        def tell(name: str, done: int, total: int) -> None:
            progress.update(bar_models, description=f"training {name}, {done} of {total}", completed=done, total=total)

        model_set = train(
            training, rows, feature_columns(features), column_families(features), feature_digest(features), out_dir, tell,
            source=dataclasses.asdict(source),
        )  # fmt: skip
        progress.update(bar_models, description="comparing our engines with the libraries", total=None)
        prepare_engines(model_set)
    return model_set


def look_ahead(source: SourceConf, universe: UniverseConf, features: FeaturesConf, training: TrainingConf, console: Console) -> None:
    """DataError for the first column or label that knows the future, see `features_check`."""
    from tickarrow.configs.features_check import FeaturesCheckConf
    from tickarrow.pipeline.features_check import check as check_features

    found = check_features(FeaturesCheckConf(universe, source, features, training, rows=training.leak_ticks, cuts=LEAK_CUTS), console)
    told = [*map(str, found.leaks), *found.sentences]
    if told:
        raise DataError(f"training: {told[0]} Correct it, or leave it out; tickarrow features check tells all of its kind.")


def main(arguments: Sequence[str]) -> int:
    """Entry of the child process; 1 and a last line on standard output if the user has to change something."""
    from omegaconf import OmegaConf

    from tickarrow.configs.costs import CostsConf
    from tickarrow.configs.features import FeaturesConf
    from tickarrow.configs.source import SourceConf
    from tickarrow.configs.universe import UniverseConf

    config, out_dir = Path(arguments[0]), Path(arguments[1])
    types: dict[str, Any] = {"source": SourceConf, "universe": UniverseConf, "features": FeaturesConf, "training": TrainingConf, "costs": CostsConf}
    given = json.loads(config.read_text())
    confs: dict[str, Any] = {k: OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(types[k]), v)) for k, v in given.items()}
    try:
        train_source(**confs, out_dir=out_dir)
    except TickarrowError as e:
        print(e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
