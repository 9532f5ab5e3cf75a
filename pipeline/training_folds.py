"""Every configuration at every horizon on every fold: what it forecasts for rows that it did not see, and how good that is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.training import ConfigurationConf, TrainingConf
from tickarrow.pipeline.errors import DataError
from tickarrow.pipeline.source_rows import utc
from tickarrow.pipeline.training_data import Rows
from tickarrow.pipeline.training_fit import Bins, Target, Trained, forecast
from tickarrow.pipeline.training_metrics import Platt, after_costs, correlation, fold_figures, logistic, mean_of, stability
from tickarrow.pipeline.training_parts import Parts, key_of
from tickarrow.pipeline.training_splits import Combinatorial, Fold, Splitter, WalkForward, overlap, stopping

Float64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Line = dict[str, Any]

LEAST_FOLD = 20  # rows to learn from, to stop by and to test


@dataclass
class Judged:
    """Figures of all folds, a line each for the tables of the report."""

    metrics: list[Line] = field(default_factory=list)  # of a model on a fold
    calibration: list[Line] = field(default_factory=list)  # of a bin of it
    symbols: list[Line] = field(default_factory=list)  # of a symbol of it
    importance: list[Line] = field(default_factory=list)  # of a column in a model on a fold
    folds: list[Line] = field(default_factory=list)  # of a stretch of a fold: learn, stop, purged, embargoed, test
    trees: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # (configuration, horizon) -> of each fold
    seen: dict[tuple[int, int], list[tuple[npt.NDArray[np.float32], Ints]]] = field(default_factory=dict)  # forecasts, tested rows


def splitter_of(conf: TrainingConf, ts: Ints, end: Ints) -> Splitter | None:
    """Folds of the configuration; none for `tail`."""
    embargo = round(conf.embargo_s * 1e9)
    if conf.split == "walk_forward":
        return WalkForward(ts, end, conf.folds, embargo, conf.window)
    if conf.split == "combinatorial":
        return Combinatorial(ts, end, conf.folds, conf.test_groups, embargo)
    return None


def check_fold(fold: Fold, learn: Ints, stop: Ints, ts: Ints, end: Ints, name: str) -> None:
    """DataError where a label of one part overlaps with one of a later use, or a part is too small."""
    nothing = fold.train[:0]
    for pair, what in ((Fold(fold.train, fold.test, nothing, nothing), "tested"), (Fold(learn, stop, nothing, nothing), "used to stop by")):
        found = overlap(pair, ts, end)
        if found is not None:
            i, j = found
            raise DataError(
                f"training: {name} of the split leaks: the label of its training row {i:,} ends at {utc(int(end[i]))}, and that of row {j:,}, "
                f"which is {what}, begins at {utc(int(ts[j]))}. Purge by the ends of the labels (training.split=walk_forward)."
            )
    least = {"learn from": learn, "test": fold.test} | ({"stop by": stop} if stop.size else {})
    for what, rows in least.items():
        if rows.size < LEAST_FOLD:
            raise DataError(
                f"training: {name} has {rows.size} rows to {what}, expected {LEAST_FOLD}. Use fewer folds (training.folds), "
                "shorter horizons, a smaller embargo or a longer source."
            )


def stretches(ts: Ints, rows: Ints) -> list[tuple[int, int]]:
    """Times of the first and the last row of each run of neighbours."""
    if not rows.size:
        return []
    return [(int(ts[run[0]]), int(ts[run[-1]])) for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)]


def run_folds(
    conf: TrainingConf, rows: Rows, seen: slice, families: Sequence[str], names: Sequence[str], parts: Parts, tell: Callable[[str], None]
) -> Judged:
    """Train and judge on the folds of the rows `seen`.

    Parameters
    ----------
    names : of the configurations
    tell : called with the name of each model before it is trained
    """
    out = Judged()
    ts, end = rows.ts[seen], rows.labels.end[seen].max(axis=1)
    splitter = splitter_of(conf, ts, end)
    if splitter is None:
        return out
    identity = rows.digest(), key_of(rows.labels.end, rows.unique), conf.weights
    for k, fold in enumerate(splitter.folds()):
        learn, stop = stopping(fold.train, ts, end, conf.stop_share, round(conf.embargo_s * 1e9))
        check_fold(fold, learn, stop, ts, end, f"fold {k}")
        for what, some in (("learn", learn), ("stop", stop), ("purged", fold.purged), ("embargoed", fold.embargoed), ("test", fold.test)):
            out.folds += [{"fold": k, "part": what, "rows": some.size, "first_ns": a, "last_ns": b} for a, b in stretches(ts, some)]
        used = learn + seen.start, stop + seen.start, fold.test + seen.start
        with ExitStack() as stack:
            binned = functools.cache(lambda: stack.enter_context(Bins(conf, rows.x, rows.ts, used[0], used[1], families)))  # noqa: B023  of this fold
            for c, configuration in enumerate(conf.configurations):
                for h in range(rows.y.shape[1]):
                    tell(f"{names[c]}/h{h} on fold {k}")
                    said = [*identity, deciding(conf, configuration), h, *used]
                    arrays = parts.arrays(key_of(*said), lambda: _one(conf, configuration, rows, h, used, binned()))  # noqa: B023  called at once
                    _judge(out, conf, rows, (c, h, k), names[c], used, arrays)
    return out


def deciding(conf: TrainingConf, configuration: ConfigurationConf) -> Line:
    """What decides the bits of a model beside its rows."""
    return {
        "configuration": dataclasses.asdict(configuration), "trees": conf.trees, "max_bin": conf.max_bin, "nthread": conf.nthread,
        "patience": conf.patience, "library": version(configuration.library), "numpy": np.__version__, "code": code_digest(),
    }  # fmt: skip


@functools.cache
def code_digest() -> str:
    """Of the modules that make a part."""
    here = Path(__file__).parent
    return key_of(*((here / f"training_{stem}.py").read_text() for stem in ("external", "fit", "folds", "metrics")))


def weights_of(conf: TrainingConf, rows: Rows, h: int, which: Ints | slice) -> Float64 | None:
    """Weights of rows, their mean is 1, so that the least weight of a leaf keeps its meaning."""
    if conf.weights == "none":
        return None
    weight = rows.unique[which, h]
    return np.asarray(weight / weight.mean()) if weight.size else weight


def target_of(conf: TrainingConf, rows: Rows, h: int, learn: Ints | slice, stop: Ints | slice) -> Target:
    y = rows.y[:, h]
    return Target(y[learn].copy(), weights_of(conf, rows, h, learn), y[stop].copy(), weights_of(conf, rows, h, stop))


def _one(conf: TrainingConf, configuration: ConfigurationConf, rows: Rows, h: int, used: tuple[Ints, Ints, Ints], bins: Bins) -> dict[str, npt.NDArray[Any]]:
    """Train one model on one fold; what is kept of it."""
    learn, stop, test = used
    trained: Trained = bins.train(configuration, target_of(conf, rows, h, learn, stop), conf.trees)
    before = stop if stop.size else learn
    side = rows.labels.side[before, h]
    platt = logistic(forecast(trained, rows.x, before)[side != 0], side[side != 0] > 0)
    return {
        "forecast": forecast(trained, rows.x, test), "trees": np.array(trained.trees), "importance": trained.importance, "platt": np.array(astuple(platt)),
    }  # fmt: skip


def _judge(
    out: Judged, conf: TrainingConf, rows: Rows, at: tuple[int, int, int | str], name: str, used: tuple[Ints, Ints, Ints], arrays: dict[str, npt.NDArray[Any]]
) -> None:
    """Add the lines of one model on one fold."""
    c, h, k = at
    learn, _, test = used
    labels = rows.labels
    side = labels.side[learn, h]
    mean, base = float(labels.y[learn, h].mean(dtype=np.float64)), float(((side > 0).sum() + 1) / ((side != 0).sum() + 2))
    platt = Platt(*arrays["platt"].tolist())
    figures, bins = fold_figures(
        arrays["forecast"], labels.y[test, h], labels.side[test, h], mean, platt, base, rows.unique[test, h], labels.scale[test, h], rows.cost[test],
    )  # fmt: skip
    where = {"model": f"{name}/h{h}", "configuration": name, "horizon_s": conf.horizons_s[h], "fold": str(k)}
    out.metrics.append(where | {"trees": int(arrays["trees"]), "rows": int(learn.size)} | figures)
    out.calibration += [where | line for line in bins]
    for s in np.unique(rows.symbol[test]).tolist():
        mine = rows.symbol[test] == s
        f, o = arrays["forecast"][mine].astype(np.float64), labels.y[test[mine], h].astype(np.float64)
        bp = np.isfinite(labels.scale[test[mine], h])
        scale = labels.scale[test[mine], h][bp]
        figures = {"ic": correlation(f, o)} | after_costs(f[bp] * scale, o[bp] * scale, rows.cost[test[mine]][bp])
        out.symbols.append(where | {"symbol": rows.symbols[s] if rows.symbols else str(s), "n": int(mine.sum())} | figures)
    out.importance += [where | {"column": i, "gain": float(g)} for i, g in enumerate(arrays["importance"])]
    if k != "tail":
        out.trees.setdefault((c, h), []).append(int(arrays["trees"]))
        out.seen.setdefault((c, h), []).append((arrays["forecast"], test))


def judge_tail(
    out: Judged, conf: TrainingConf, rows: Rows, at: tuple[int, int], name: str, used: tuple[Ints, Ints], trees: int, forecasts: npt.NDArray[np.float32]
) -> None:
    """Add the lines of a final model on the untouched tail; its map to probabilities is from the forecasts of the folds."""
    c, h = at
    learn, tail = used
    before = np.concatenate([f for f, _ in out.seen[c, h]])
    tested = np.concatenate([t for _, t in out.seen[c, h]])
    side = rows.labels.side[tested, h]
    platt = logistic(before[side != 0], side[side != 0] > 0)
    arrays = {
        "forecast": forecasts, "trees": np.array(trees), "importance": np.zeros(0), "platt": np.array(astuple(platt)),
    }  # fmt: skip
    _judge(out, conf, rows, (c, h, "tail"), name, (learn, tail[:0], tail), arrays)


def trees_of(conf: TrainingConf, out: Judged, c: int, h: int) -> int:
    """Trees of a final model: the median of those that its folds stopped at."""
    found = out.trees.get((c, h))
    return max(1, round(float(np.median(found)))) if found and conf.stop_share else conf.trees


def stabilities(out: Judged, n_features: int) -> dict[str, float | None]:
    """Model name -> mean rank correlation of the importance of its columns between folds."""
    by_model: dict[str, dict[str, Float64]] = {}
    for line in out.importance:
        by_model.setdefault(line["model"], {}).setdefault(line["fold"], np.zeros(n_features))[line["column"]] = line["gain"]
    return {model: stability(list(folds.values())) for model, folds in by_model.items()}


def refuse_too_good(conf: TrainingConf, out: Judged, rows: Rows, seen: slice, columns: Sequence[str]) -> None:
    """DataError for a mean IC of the folds that no forecast of a price has, with the column that has it alone."""
    for h in range(rows.y.shape[1]):
        by_model: dict[str, list[float | None]] = {}
        for line in out.metrics:
            if line["fold"] != "tail" and line["horizon_s"] == conf.horizons_s[h]:
                by_model.setdefault(line["model"], []).append(line["ic"])
        worst = max((ic for ic in map(mean_of, by_model.values()) if ic is not None), default=None)
        if worst is not None and worst > conf.leak_ic:
            best, ic = best_column(rows, seen, h)
            raise DataError(
                f"training: forecasts of the {conf.horizons_s[h]:g} s label have an IC of {worst:.2f} on rows that they did not see, above "
                f"training.leak_ic={conf.leak_ic:g}: something knows the future. Column {columns[best]!r} alone has {ic:.2f}. Look at how it is "
                "computed (tickarrow features check), or raise training.leak_ic if this is meant."
            )


def best_column(rows: Rows, seen: slice, h: int) -> tuple[int, float]:
    """The column with the largest correlation with a label, among some rows."""
    some = np.arange(seen.start, seen.stop)[:: max(1, (seen.stop - seen.start) // 20_000)]
    x, y = rows.x[some].astype(np.float64), rows.y[some, h].astype(np.float64)
    known = ~np.isnan(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        n = known.sum(axis=0)
        dx = np.where(known, x - np.nansum(x, axis=0) / n, 0.0)
        dy = np.where(known, y[:, None] - (known * y[:, None]).sum(axis=0) / n, 0.0)
        r = np.abs((dx * dy).sum(axis=0) / np.sqrt((dx * dx).sum(axis=0) * (dy * dy).sum(axis=0)))
    best = int(np.nanargmax(np.where(np.isnan(r), -1.0, r)))
    return best, float(r[best])


SUMMED = ("ic", "rank_ic", "log_loss", "base_log_loss", "slope", "r2", "trade_share", "net_bp")  # of a model, means over its folds


def fold_summary(out: Judged, model: str) -> dict[str, float | None]:
    """Means of a model's figures over its folds, and the standard deviation of its IC between them."""
    mine = [line for line in out.metrics if line["model"] == model and line["fold"] != "tail"]
    ics = [line["ic"] for line in mine if line["ic"] is not None]
    return {f"folds_{name}": mean_of([line[name] for line in mine]) for name in SUMMED} | {"folds_ic_sd": float(np.std(ics)) if ics else None}
