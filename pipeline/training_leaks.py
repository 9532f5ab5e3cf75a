"""Does a training know what it must not? Small models are trained on the folds with and without purge and embargo, on the true labels and
on labels of other times, from which nothing can be learned.

The true labels show what purge and embargo take away. The shifted ones belong to rows of another time, so skill on the purged and embargoed
folds can only come from rows that are on both sides of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.training import ConfigurationConf, TrainingConf
from tickarrow.pipeline.errors import DataError
from tickarrow.pipeline.training_data import Rows, horizons_ns
from tickarrow.pipeline.training_fit import Bins, Target, forecast
from tickarrow.pipeline.training_metrics import correlation, mean_of
from tickarrow.pipeline.training_splits import Fold

Ints = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

PROBE = ConfigurationConf(depth=4, eta=0.1, min_child_weight=10.0)
PROBE_TREES = 30
PROBE_ROWS = 10_000  # of a training, evenly spread
DEVIATIONS = 4.0  # from no skill; a sound split is that far by chance once in 30,000 times
LEAST_IC = 0.02  # a mean below it is not called a leak
SETS = ("all", "purged", "embargoed")  # rows that are trained on: all but the tested, without overlaps, and not near them


def probe(conf: TrainingConf, rows: Rows, seen: slice, folds: Iterable[Fold], tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Mean IC on the tested rows, over folds, of small models at the shortest and the longest horizon.

    Returns
    -------
    a line for each set of rows, labels (true, shifted) and horizon: ic, se (from windows that do not overlap), deviations
    """
    listed, horizons = list(folds), horizons_ns(conf)
    y, ts, n = rows.y[seen], rows.ts[seen], seen.stop - seen.start
    shifts = [(2 * s + 1) * n // (2 * conf.leak_shifts) for s in range(conf.leak_shifts)]  # far from 0 and from n
    found: dict[tuple[str, str, int], list[float | None]] = {}
    windows: dict[int, list[float]] = {}
    for k, fold in enumerate(listed):
        kept = {"all": [fold.train, fold.embargoed, fold.purged], "purged": [fold.train, fold.embargoed], "embargoed": [fold.train]}
        test = spread(fold.test)
        span = _seconds(ts, fold.test)
        for name in SETS:
            tell(f"looking for leaks on fold {k}, {name}")
            learn = spread(np.sort(np.concatenate(kept[name])))
            with Bins(conf, rows.x, rows.ts, learn + seen.start, learn[:0], ["x"] * rows.x.shape[1]) as bins:
                for h in sorted({0, horizons.size - 1}):
                    windows.setdefault(h, []).append(max(2.0, span / conf.horizons_s[h]))
                    for labels, shifted in (("true", [0]), ("shifted", shifts)):
                        for shift in shifted:
                            moved = np.roll(y[:, h], shift)
                            nothing = moved[:0]
                            trained = bins.train(PROBE, Target(moved[learn], None, nothing, None), PROBE_TREES)
                            said = forecast(trained, rows.x, test + seen.start).astype(np.float64)
                            found.setdefault((name, labels, h), []).append(correlation(said, moved[test].astype(np.float64)))
    lines = []
    for (name, labels, h), ics in found.items():
        tries = len(shifts) if labels == "shifted" else 1
        # Shifts of one fold share its forecasts' noise less than fully; they count as one, to be careful.
        se = float(np.sqrt(np.mean([1.0 / w for w in windows[h]]) / len(listed)))
        ic = mean_of(ics)
        lines.append({
            "rows": name, "labels": labels, "horizon_s": conf.horizons_s[h], "ic": ic, "se": se, "tries": tries * len(listed),
            "deviations": None if ic is None else ic / se,
        })  # fmt: skip
    return lines


def refuse(lines: Iterable[dict[str, Any]]) -> None:
    """DataError where models learn from labels of other times although their rows are purged and embargoed."""
    for line in lines:
        if line["labels"] == "shifted" and line["rows"] == "embargoed" and line["ic"] is not None:
            if line["ic"] > LEAST_IC and line["deviations"] > DEVIATIONS:
                raise DataError(
                    f"training: the folds leak: models of the {line['horizon_s']:g} s label that were trained on labels of other times have an IC of "
                    f"{line['ic']:.3f} (standard error {line['se']:.3f}) on rows that they did not see. Rows of both sides of a split share a label: "
                    "purge by the ends of the labels, or use a longer embargo (training.embargo_s)."
                )


def spread(rows: Ints) -> Ints:
    """Every so many of the rows, so that they fit the room."""
    return rows[:: max(1, -(-rows.size // PROBE_ROWS))]


def _seconds(ts: Ints, rows: Ints) -> float:
    """Time that rows stretch over, without the holes between them."""
    steps = np.diff(ts[rows])
    return float(steps[np.diff(rows) == 1].sum()) / 1e9
