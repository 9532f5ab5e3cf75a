"""Figures of a forecast on rows that its model did not see: skill, calibration, and what is left after costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BINS = 10  # of the calibration, of about the same number of rows
STEPS = 50  # of Newton's method; it ends long before
LEAST_SHARE = 1e-9  # a probability is kept so far from 0 and 1


def judge(forecast: Float32, outcome: Float32, mean: float) -> dict[str, float | int | None]:
    """Out-of-sample figures of one model.

    Parameters
    ----------
    forecast, outcome : (n,) float32, unit of the label
    mean : mean outcome of the training rows, the forecast that R2 is measured against

    Returns
    -------
    r2 = 1 - sum (outcome - forecast)^2 / sum (outcome - mean)^2; ic = Pearson correlation of forecast and outcome; n.
    r2 and ic are None where they are not defined (constant outcome or forecast).
    """
    p, o = forecast.astype(np.float64), outcome.astype(np.float64)
    total = float(((o - mean) ** 2).sum())
    return {"r2": None if total == 0.0 else 1.0 - float(((o - p) ** 2).sum()) / total, "ic": correlation(p, o), "n": int(o.size)}


def correlation(a: Float64, b: Float64) -> float | None:
    """Pearson; None where one of them is constant."""
    if a.size < 2 or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return None
    da, db = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((da * da).sum() * (db * db).sum()))
    return float((da * db).sum()) / norm if norm else None


def ranks(a: Array) -> Float64:
    """Ranks from 1; equal values share their mean rank."""
    _, inverse, count = np.unique(a, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - 0.5 * (count - 1))[inverse]


@dataclass(frozen=True)
class Platt:
    """From forecast to probability of up: logistic, and constant beyond the forecasts that it was fitted on."""

    intercept: float
    slope: float  # per unit of the forecast
    low: float = -np.inf
    high: float = np.inf

    def probability(self, forecast: Array) -> Float64:
        margin = self.intercept + self.slope * np.clip(np.asarray(forecast, np.float64), self.low, self.high)
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margin)))


def logistic(forecast: Array, up: Array) -> Platt:
    """Logistic regression of `up` (bool) on the forecast, with a unit normal prior on the slope per standard deviation of the forecast.

    Without both outcomes, or with a constant forecast, the slope is 0 and the intercept that of the share.

    References
    ----------
    Platt (1999), Probabilistic outputs for support vector machines.
    """
    f, u = forecast.astype(np.float64), up.astype(np.float64)
    share = (u.sum() + 1.0) / (u.size + 2.0)  # never 0 or 1
    base = float(np.log(share / (1.0 - share)))
    scale = float(f.std()) if f.size else 0.0
    if scale == 0.0 or u.min() == u.max():
        return Platt(base, 0.0)
    z = f / scale
    a, b = base, 0.0
    for _ in range(STEPS):
        p = Platt(a, b).probability(z)
        w = p * (1.0 - p)
        gradient = np.array([(u - p).sum(), (z * (u - p)).sum() - b])
        hessian = np.array([[w.sum(), (w * z).sum()], [(w * z).sum(), (w * z * z).sum() + 1.0]])
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-300))
        a, b = a + float(step[0]), b + float(step[1])
        if np.abs(step).max() < 1e-10:
            break
    return Platt(a, b / scale, float(f.min()), float(f.max()))


def log_loss(p: Float64, up: Array) -> float | None:
    """Mean of -log of the probability of what came; nats."""
    if not up.size:
        return None
    q = np.clip(np.where(up, p, 1.0 - p), LEAST_SHARE, 1.0)
    return float(-np.log(q).mean())


def slope(forecast: Float64, outcome: Float64) -> float | None:
    """Of the regression of outcome on forecast: 1 = forecasts have the right size, below 1 = too large."""
    if forecast.size < 2 or np.ptp(forecast) == 0.0:
        return None
    d = forecast - forecast.mean()
    return float((d * (outcome - outcome.mean())).sum() / (d * d).sum())


def reliability(forecast: Float64, outcome: Float64, side: Array, p: Float64, bins: int = BINS) -> list[dict[str, float | int | None]]:
    """Rows in order of their forecast, in parts of the same number: what was forecast and what came.

    Parameters
    ----------
    side : (n,) int8, 1 = up, -1 = down, 0 = neither
    p : (n,) float64, probability of up where it is one of the two
    """
    out: list[dict[str, float | int | None]] = []
    for part in np.array_split(np.argsort(forecast, kind="stable"), bins):
        if not part.size:
            continue
        sided = part[side[part] != 0]
        out.append({
            "bin": len(out), "n": int(part.size), "forecast": float(forecast[part].mean()), "outcome": float(outcome[part].mean()),
            "outcome_sd": float(outcome[part].std()), "probability_up": float(p[sided].mean()) if sided.size else None,
            "share_up": float((side[sided] > 0).mean()) if sided.size else None,
        })  # fmt: skip
    return out


def after_costs(forecast: Float64, outcome: Float64, cost: Float64) -> dict[str, float | int | None]:
    """What trading every row would leave whose forecast exceeds its cost.

    Parameters
    ----------
    forecast, outcome : (n,) float64, bp of mid
    cost : (n,) float64, bp of mid, in and out: spread, commission and fees; NaN = not known, such a row is not traded

    Returns
    -------
    mean_forecast_bp of |forecast|, cost_bp (mean), trade_share of the rows, gross_bp and net_bp, means of the traded rows
    """
    known = ~np.isnan(cost)
    traded = known & (np.abs(forecast) > np.where(known, cost, np.inf))
    gross = (np.sign(forecast) * outcome)[traded]
    some = bool(traded.any())
    return {
        "mean_forecast_bp": float(np.abs(forecast).mean()) if forecast.size else None,
        "cost_bp": float(cost[known].mean()) if known.any() else None,
        "trade_share": float(traded.mean()) if known.any() else None,
        "trades": int(traded.sum()),
        "gross_bp": float(gross.mean()) if some else None,
        "net_bp": float((gross - cost[traded]).mean()) if some else None,
    }


def fold_figures(
    forecast: Float32, outcome: Float32, side: Array, mean: float, platt: Platt, base_rate: float, unique: Float64,
    scale: Float64, cost: Float64,
) -> tuple[dict[str, float | int | None], list[dict[str, float | int | None]]]:  # fmt: skip
    """Figures and calibration of one model on the tested rows of one fold.

    Parameters
    ----------
    forecast, outcome : (n,) float32, unit of the label
    side : (n,) int8
    mean, base_rate : mean outcome and share of up among the rows that it was trained on
    platt : map from forecast to probability of up, from rows before these
    unique : (n,) float64, uniqueness of the labels; their sum is the effective number of outcomes
    scale : (n,) float64, bp of mid per unit of the label; NaN = the label is not a return
    cost : (n,) float64, bp of mid, in and out
    """
    f, o = forecast.astype(np.float64), outcome.astype(np.float64)
    p = platt.probability(f)
    sided = side != 0
    figures = judge(forecast, outcome, mean)
    ic, effective = figures["ic"], float(np.nansum(unique))
    known = np.isfinite(scale)
    trading = after_costs((f * scale)[known], (o * scale)[known], cost[known])
    figures |= {
        "rank_ic": correlation(ranks(f), ranks(o)), "effective_n": effective,
        "ic_se": None if ic is None or effective <= 1.0 else float(np.sqrt((1.0 - ic * ic) / effective)),
        "log_loss": log_loss(p[sided], side[sided] > 0), "base_log_loss": log_loss(np.full(int(sided.sum()), base_rate), side[sided] > 0),
        "slope": slope(f, o), **trading,
    }  # fmt: skip
    return figures, reliability(f, o, side, p)


def stability(importance: Sequence[Float64]) -> float | None:
    """Mean rank correlation of the importance of the columns over all pairs of folds."""
    ranked = [ranks(a) for a in importance]
    found = [correlation(a, b) for i, a in enumerate(ranked) for b in ranked[:i]]
    known = [c for c in found if c is not None]
    return float(np.mean(known)) if known else None


def mean_of(values: Sequence[float | int | None]) -> float | None:
    """Mean of what is defined."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
