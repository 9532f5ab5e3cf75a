"""Is a decision what it says: the recorded row against the rebuilt one bit for bit, and the rebuilt one against plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.explain_act import BARRIER_ERROR, Decided
from tickarrow.pipeline.explain_ensemble import EDGE, INTENSITY, T_EFF, Forecast, Weights
from tickarrow.pipeline.explain_watch import Moment, unpack

# Units in the last place of the largest number of the list, by which plain arithmetic may be off: its exp is libm's and its sums run in
# another order. What is solved amplifies that by the inverse of the smallest eigenvalue. 1,000 decisions of the default run: 1, 48 and 51.
STANDARDISED, SOLVED, FORECAST = 16.0, 4096.0, 4096.0
SAME = ("seq", "ts", "symbol", "edge", "cost", "horizon", "target", "reason", "model_set", "verdict")  # the same operations in the same order
ORDER = ("key", "side", "quantity", "limit")


@dataclass(slots=True)
class Check:
    """One comparison."""

    name: str
    ok: bool
    apart: float  # units in the last place, of the largest number compared
    allowed: float
    text: str = ""  # what differs


def ulps(a: Any, b: Any, least: float = 0.0) -> float:
    """Largest difference in units in the last place of the largest number, or of `least`; inf where only one is missing."""
    x, y = np.atleast_1d(np.asarray(a, np.float64)), np.atleast_1d(np.asarray(b, np.float64))
    if x.shape != y.shape or (np.isnan(x) != np.isnan(y)).any():
        return math.inf
    differs = ~((x == y) | np.isnan(x))
    if not differs.any():
        return 0.0
    largest = max(float(np.abs(x[np.isfinite(x)]).max(initial=0.0)), float(np.abs(y[np.isfinite(y)]).max(initial=0.0)), least)
    return float((np.abs(x[differs] - y[differs]) / np.spacing(largest)).max())


def same_bits(a: Any, b: Any) -> bool:
    """Equal as numbers of a column; NaN equals NaN, 0 is not -0."""
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1.0, a) == math.copysign(1.0, b))
    return bool(a == b)


def row_check(name: str, columns: Sequence[str], recorded: dict[str, Any], rebuilt: dict[str, Any]) -> Check:
    """Bit equality of a row."""
    wrong = [c for c in columns if not same_bits(recorded[c], rebuilt[c])]
    text = ", ".join(f"{c} is {rebuilt[c]!r}, recorded {recorded[c]!r}" for c in wrong)
    return Check(name, not wrong, 0.0 if not wrong else math.inf, 0.0, text)


def near_check(name: str, plain: Any, kernel: Any, allowed: float, least: float = 0.0) -> Check:
    """Plain arithmetic within some units in the last place."""
    apart = ulps(plain, kernel, least)
    text = "" if apart <= allowed else f"{np.asarray(plain).tolist()} by plain arithmetic, {np.asarray(kernel).tolist()} by the kernel"
    return Check(name, apart <= allowed, apart, allowed, text)


def forecast_checks(moment: Moment, found: Forecast) -> Iterator[Check]:
    """Standardised predictions and forecasts of a row."""
    yield near_check("standardised predictions", found.z, moment.z, STANDARDISED, 1.0)
    allowed = FORECAST / min([1.0, *(s.least for s in found.solved.spectrum)] if found.solved else [1.0])
    for name, plain, kernel in zip(("forecast", "volatility", "IC of the forecast"), (found.alpha, found.sigma, found.ic), moment.forecasts):
        yield near_check(name, plain, kernel, allowed)


def weight_checks(moment: Moment, solved: Weights) -> Iterator[Check]:
    """What a refresh computed, horizon by horizon."""
    n = moment.after.prior.shape[0]
    for h, (weights, spectrum) in enumerate(zip(solved.weights, solved.spectrum)):
        counts = unpack(moment.after.factors, n, h)[1]
        now = counts[[T_EFF, INTENSITY, EDGE]]
        yield near_check(f"spectrum of horizon {h}", [spectrum.t_eff, spectrum.intensity, spectrum.edge], now, FORECAST)
        yield near_check(f"weights of horizon {h}", weights, moment.after.weights[:n, h], SOLVED / min(1.0, spectrum.least))


def decision_checks(moment: Moment, decided: Decided) -> Iterator[Check]:
    """The row of DECISIONS and its order."""
    yield row_check("decision by plain arithmetic", SAME, moment.decision, decided.row)
    plain, kernel = ([row["p_up"], row["p_down"]] for row in (decided.row, moment.decision))
    yield near_check("barrier probabilities", plain, kernel, BARRIER_ERROR / float(np.spacing(1.0)), 1.0)
    if decided.best is not None:
        allowed = BARRIER_ERROR / float(np.spacing(1.0))
        yield near_check("value within the barriers", decided.row["value"], moment.decision["value"], allowed, decided.best.sigma)
    if decided.order is None:
        yield Check("order", not moment.orders, 0.0, 0.0, "an order was made, none follows from the reason" if moment.orders else "")
    elif not moment.orders:
        yield Check("order", False, math.inf, 0.0, "no order was made, one follows from the reason")
    else:
        yield row_check("order", ORDER, moment.orders[0], decided.order)


Rows = npt.NDArray[Any]


def equal_rows(recorded: dict[str, Rows], rebuilt: dict[str, Rows]) -> npt.NDArray[np.bool_]:
    """Which rows are equal in every column, bit for bit; one NaN is as good as another."""
    n = len(next(iter(rebuilt.values())))
    out = np.ones(n, bool)
    for name, b in rebuilt.items():
        a = recorded[name][:n]
        same = a.view(f"u{a.itemsize}") == b.view(f"u{b.itemsize}")
        out &= same | (np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else same
    return out
