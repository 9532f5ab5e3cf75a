"""The forecasts of one row by plain NumPy from the state before its tick: outcomes that matured, standardised predictions, information
coefficients, correlation, weights. Written out from the formulas, one horizon at a time, without the kernels; NumPy's eigh solves."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.explain_watch import EnsembleCopy, Moment, unpack

Array = npt.NDArray[np.float64]
W, MEAN, SQUARES = range(3)  # rows of `moments`
T_W, T_OBSERVATIONS, T_MEAN_Z, T_MEAN_Y, T_ZZ, T_YY, T_ZY = range(7)  # rows of `tracks`
WEIGHT, SQUARED, T_EFF, INTENSITY, EDGE, STRENGTH, INDEPENDENT = range(7)  # counts of `factors`
_, OAS, LEDOIT_WOLF = range(3)  # `shrinkage` of the parameters
NO_VARIANCE = 1e-12
LEAST = 1e-8  # cleaned eigenvalue
TOLERANCE = 0.2  # of a tracked eigenvalue


@dataclass(slots=True)
class Skill:
    """Information coefficients of a horizon's configurations."""

    tracked: Array  # IC of the outcomes, 0 where there are too few
    observations: Array  # effective independent ones
    prior: Array  # validation IC; NaN = none
    pooled: Array
    error: Array  # standard error of it
    shrunk: Array


@dataclass(slots=True)
class Spectrum:
    """Eigenvalues of a horizon's correlation and what was done with them."""

    correlation: Array  # (n, n)
    exact: Array  # all eigenvalues, ascending, by numpy.linalg.eigh
    values: Array  # those that were used: all, or the four tracked ones
    edge: float  # Marchenko-Pastur
    t_eff: float
    intensity: float  # shrinkage
    bulk: float  # mean of the eigenvalues that are not above the edge
    least: float  # the smallest one after cleaning and shrinking: what is solved is as inexact as it is small
    strength: float  # squared IC that the forecast should have
    tracked: bool


@dataclass(slots=True)
class Weights:
    """What a refresh computes for a symbol, by horizon."""

    skill: list[Skill] = field(default_factory=list)
    spectrum: list[Spectrum] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)
    sigma: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Forecast:
    """What one row's forecasts come from."""

    outcomes: list[tuple[int, float]]  # (horizon, bp) of those that matured with this tick
    z: Array  # (n_models,)
    solved: Weights | None  # None = the weights of an earlier row
    score: Array  # (n_horizons,)
    alpha: Array
    sigma: Array
    ic: Array


def decay(dt: int, tau: float) -> float:
    return 1.0 if dt <= 0 else math.exp(-float(dt) / tau)


def settle(s: EnsembleCopy, h: int, due: int, z: Array, y: float, horizon: int, par: Any) -> None:
    """An outcome joins the decayed sums of its horizon (West 1979)."""
    state = s.horizons[h]
    g = decay(due - int(state["settled"]), float(par["ic_tau"]))
    usual = 1.0
    if par["pooled"]:
        enough = g * state["weight"] >= par["min_outcomes"] and state["squares"] > NO_VARIANCE * state["weight"]
        usual = math.sqrt(state["squares"] / state["weight"]) if enough else 0.0
    state["settled"], state["weight"], state["squares"] = due, g * state["weight"] + 1.0, g * state["squares"] + y * y
    if usual == 0.0:
        return
    y /= usual
    gap = due - int(s.settled[h])
    g, fresh = decay(gap, float(par["ic_tau"])), min(1.0, float(max(gap, 0)) / float(horizon))
    s.settled[h] = max(int(s.settled[h]), due)
    t, there = s.tracks[h], ~np.isnan(z)
    old = g * t[T_W]
    new = old + 1.0
    dz, dy, share = np.where(there, z, 0.0) - t[T_MEAN_Z], y - t[T_MEAN_Y], old / new
    t[T_W] = np.where(there, new, old)
    t[T_OBSERVATIONS] = np.where(there, g * t[T_OBSERVATIONS] + fresh, t[T_OBSERVATIONS] * g)
    t[T_MEAN_Z] = np.where(there, t[T_MEAN_Z] + dz / new, t[T_MEAN_Z])
    t[T_MEAN_Y] = np.where(there, t[T_MEAN_Y] + dy / new, t[T_MEAN_Y])
    for row, product in ((T_ZZ, share * dz * dz), (T_YY, share * dy * dy), (T_ZY, share * dz * dy)):
        t[row] = g * t[row] + np.where(there, product, 0.0)


def standardise(s: EnsembleCopy, y: npt.NDArray[np.float32], ts: int, par: Any) -> Array:
    """(p - mean) / deviation, clipped; NaN = missing, or not known yet."""
    g = decay(ts - int(s.symbol["moments_ts"]), float(par["moments_tau"]))
    p, old, squares = y.astype(np.float64), g * s.moments[W], g * s.moments[SQUARES]
    known = (old >= par["min_rows"]) & (squares > NO_VARIANCE * old) & np.isfinite(p)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (p - s.moments[MEAN]) * np.sqrt(old / squares)
    return np.where(known, np.minimum(par["z_limit"], np.maximum(-par["z_limit"], z)), np.nan)


def skill_of(s: EnsembleCopy, h: int, horizon: int, ts: int, par: Any) -> tuple[Skill, float]:
    """ICs of a horizon as of `ts`, and the volatility of its outcomes, bp."""
    state, t = s.horizons[h], s.tracks[h]
    sigma = math.nan
    if state["weight"] * decay(ts - int(state["settled"]), float(par["ic_tau"])) >= par["min_outcomes"]:
        sigma = math.sqrt(state["squares"] / state["weight"])
    g, least = decay(ts - int(s.settled[h]), float(par["ic_tau"])), NO_VARIANCE * t[T_W]
    known = (g * t[T_W] >= par["min_outcomes"]) & (t[T_ZZ] > least) & (t[T_YY] > least)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(known, np.clip(t[T_ZY] / np.sqrt(t[T_ZZ] * t[T_YY]), -1.0, 1.0), 0.0)
        observations = np.where(known, g * t[T_OBSERVATIONS], 0.0)
        prior = s.prior[:, h]
        strength = np.where(np.isnan(prior), 0.0, par["prior"] / horizon)
        total = observations + strength
        pooled = np.where(total > 0.0, (observations * r + strength * np.nan_to_num(prior)) / total, 0.0)
        square = pooled * pooled
        error = (1.0 - square) / total
        shrunk = np.where((pooled > 0.0) & (total > 0.0), pooled * square / (square + error), 0.0)
    return Skill(r, observations, prior, pooled, np.sqrt(error), shrunk), sigma


def correlate(s: EnsembleCopy, z: Array, h: int, gap: int, horizon: int, par: Any) -> tuple[Array, Array, Array]:
    """Correlation of a horizon with the row's predictions in it, its counts, and the four vectors of before."""
    n = z.size
    sums, counts, leading = unpack(s.factors, n, h)
    kept, there = decay(gap, float(par["correlation_tau"])), ~np.isnan(z)
    seen, known = float(there.any()), np.where(there, z, 0.0)
    share = min(1.0, float(max(gap, 0)) / float(horizon)) if counts[WEIGHT] > 0.0 else 1.0
    weight = kept * counts[WEIGHT] + seen
    squared = kept * kept * counts[SQUARED] + seen
    independent = kept * counts[INDEPENDENT] + seen * share
    sums = kept * sums + np.outer(known, known)
    variance = np.diag(sums)
    inverse = np.where(variance > NO_VARIANCE * weight, 1.0 / np.sqrt(np.where(variance > 0.0, variance, 1.0)), 0.0)
    c = sums * np.outer(inverse, inverse)
    np.fill_diagonal(c, 1.0)
    t = (independent / weight if weight > 0.0 else 1.0) * weight * weight / squared if squared > 0.0 else 0.0
    counts[[WEIGHT, SQUARED, T_EFF, INDEPENDENT]] = weight, squared, t, independent
    counts[INTENSITY] = oas(c, t) if par["shrinkage"] == OAS else 0.0
    counts[EDGE] = (1.0 + math.sqrt(n / t)) ** 2 if t > 0.0 else math.inf
    return c, counts, leading


def oas(c: Array, t: float) -> float:
    """Intensity of oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero 2010)."""
    n, alpha = len(c), float((c * c).sum()) / (len(c) * len(c))
    apart = (t + 1.0) * (alpha - 1.0 / n)
    return min((alpha + 1.0) / apart, 1.0) if apart > 0.0 else 1.0


def correlate_window(s: EnsembleCopy, z: Array, h: int, gap: int, horizon: int, par: Any) -> tuple[Array, Array, Array]:
    """Correlation of the last refreshes with the row's predictions in it, Ledoit and Wolf's intensity (2004), and the rest as `correlate`."""
    n, count, window = z.size, int(s.group["count"]), s.window[:, :, h].copy()
    _, counts, leading = unpack(s.factors, n, h)
    share = min(1.0, float(max(gap, 0)) / float(horizon)) if counts[WEIGHT] > 0.0 else 1.0
    at, filled = count % len(window), min(count + 1, len(window))
    window[at] = [*z, math.nan if np.isnan(z).all() else share]
    rows = np.roll(window, -at - 1, axis=0)[len(window) - filled :]
    rows = rows[~np.isnan(rows[:, n])]
    t, x = float(rows[:, n].sum()), rows[:, :n]
    known = ~np.isnan(x)
    mean = np.where(known, x, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    x = np.where(known, x - mean, 0.0)
    square = (x * x).sum(0)
    varies = square > NO_VARIANCE * len(x) * np.maximum(mean * mean, 1.0)
    x = x * np.where(varies, np.sqrt(len(x) / np.where(varies, square, 1.0)), 0.0)
    x = x - x.mean(0) if len(x) else x
    covariance = x.T @ x / max(len(x), 1)
    spread = float((covariance**2).sum())
    apart = spread - float(np.trace(covariance)) ** 2 / n
    noise = float(((x * x).sum(1) ** 2).sum()) / max(len(x), 1) - spread
    intensity = 1.0 if not len(x) else 0.0 if not (noise > 0.0 and apart > 0.0) else min(noise / t / apart, 1.0)
    root = np.sqrt(np.diag(covariance))
    inverse = np.where(root > 0.0, 1.0 / np.where(root > 0.0, root, 1.0), 0.0)
    c = covariance * np.outer(inverse, inverse)
    np.fill_diagonal(c, 1.0)
    counts[[WEIGHT, T_EFF]] = len(x), t
    counts[INTENSITY] = intensity if par["shrinkage"] == LEDOIT_WOLF else oas(c, t) if par["shrinkage"] == OAS else 0.0
    counts[EDGE] = (1.0 + math.sqrt(n / t)) ** 2 if t > 0.0 else math.inf
    return c, counts, leading


def without_missing(c: Array, ic: Array, z: Array) -> tuple[Array, Array]:
    """A configuration whose prediction is missing is uncorrelated and has no IC, unless all are missing."""
    there = ~np.isnan(z)
    if not there.any():
        return c, ic
    return np.where((there[:, None] & there) | np.eye(z.size, dtype=bool), c, 0.0), np.where(there, ic, 0.0)


def iterate(c: Array, leading: Array, edge: float) -> tuple[Array, Array, bool]:
    """One orthogonal iteration of four vectors: Rayleigh quotients before it, the new vectors, and whether they can be trusted."""
    moved = leading @ c
    values = (moved * leading).sum(1)
    length = (moved * moved).sum(1)
    good = bool(((values <= edge) | (length - values * values <= TOLERANCE * TOLERANCE * values * values)).all() and values[-1] <= edge)
    vectors = np.zeros_like(leading)
    for r in range(len(moved)):
        square = float(moved[r] @ moved[r])
        good = good and 1e-290 < square < 1e290
        vectors[r] = moved[r] / math.sqrt(square if square > 1e-290 else 1.0)
        for q in range(r + 1, len(moved)):
            moved[q] -= (vectors[r] @ moved[q]) * vectors[r]
    return values, vectors, good


def decorrelate(c: Array, values: Array, vectors: Array, ic: Array, counts: Array, par: Any) -> tuple[Array, float, float, float]:
    """Weights C^-1 ic with the eigenvalues below the edge replaced by their mean; squared IC of the forecast; that mean, before and after
    shrinking."""
    n, rho = ic.size, counts[INTENSITY]
    above = values > counts[EDGE]
    count = n - int(above.sum())
    bulk = max((n - float(values[above].sum())) / count, 0.0) if count else 1.0
    b = max((1.0 - rho) * bulk + rho, LEAST)
    level = np.maximum((1.0 - rho) * values[above] + rho, LEAST)
    q = vectors[above]
    clean = b * np.eye(n) + (q.T * (level - b)) @ q
    out = ic / b + ((q @ ic) * (1.0 / level - 1.0 / b)) @ q
    if par["positive"]:
        out = np.maximum(out, 0.0)
    if par["equal"] > 0.0:
        u = (ic > 0.0).astype(float)
        square = float(u @ clean @ u)
        out = (1.0 - par["equal"]) * out + par["equal"] * u * (float(u @ ic) / square if square > 0.0 else 0.0)
    gain, square = float(out @ ic), float(out @ clean @ out)
    out, strength = (out * (gain / square), gain * gain / square) if square > 0.0 else (out * 0.0, 0.0)
    observed = float(out @ c @ out)
    factor = strength / observed if observed > strength and observed > 0.0 else 1.0
    if strength * factor > 1.0:
        factor /= strength * factor
    return out * factor, strength * factor, bulk, b


def solve(s: EnsembleCopy, z: Array, ts: int, horizons_ns: npt.NDArray[np.int64], par: Any, audited: int) -> Weights:
    """The weights of a refresh. `audited` is the interval of the last full solve after it: if it is new, all pairs were solved."""
    n_horizons, out = horizons_ns.size, Weights()
    gap = ts - int(s.group["observed"])
    parts = []
    for h in range(n_horizons):
        zs = z[h::n_horizons]
        skill, sigma = skill_of(s, h, int(horizons_ns[h]), ts, par)
        c, counts, leading = (correlate_window if len(s.window) else correlate)(s, zs, h, gap, int(horizons_ns[h]), par)
        c, ic = without_missing(c, skill.shrunk, zs)
        parts.append((c, ic, counts, iterate(c, leading, counts[EDGE])))
        out.skill.append(skill)
        out.sigma.append(sigma)
    tracked = bool(par["audit"] > 0) and audited == int(s.group["audited"]) and all(found[2] for *_, found in parts)
    for c, ic, counts, (values, vectors, _) in parts:
        exact, columns = np.linalg.eigh(c)
        used, pairs = (values, vectors) if tracked else (exact, columns.T)
        weights, strength, bulk, least = decorrelate(c, used, pairs, ic, counts, par)
        out.weights.append(weights)
        out.spectrum.append(Spectrum(c, exact, used, counts[EDGE], counts[T_EFF], counts[INTENSITY], bulk, least, strength, tracked))
    return out


def forecast(moment: Moment, horizons_ns: npt.NDArray[np.int64], par: Any) -> Forecast:
    """The forecasts of a row from the state before its tick."""
    b, tick, n_horizons = moment.before, moment.tick, horizons_ns.size
    s = dataclasses.replace(b, horizons=b.horizons.copy(), settled=b.settled.copy(), tracks=b.tracks.copy())  # `settle` changes them
    ts, mid, outcomes = int(tick["ts"]), float(s.symbol["mid"]), []
    for h in range(n_horizons):
        for due, then, z in s.pending[h]:
            y = 1e4 * (mid / then - 1.0)
            settle(s, h, due, z, y, int(horizons_ns[h]), par)
            outcomes.append((h, y))
    z = standardise(s, moment.predictions, ts, par)
    solved = solve(s, z, ts, horizons_ns, par, int(moment.after.group["audited"])) if moment.refreshed else None
    score, alpha, sigma, ic = np.full((4, n_horizons), np.nan)
    n = z.size // n_horizons
    for h in range(n_horizons):
        zs, weights = z[h::n_horizons], solved.weights[h] if solved else moment.after.weights[:n, h]
        ics = solved.skill[h].shrunk if solved else None
        there = ~np.isnan(zs)
        sigma[h] = solved.sigma[h] if solved else float(s.horizons["sigma"][h])
        if there.any():
            gain = weights * ics if ics is not None else moment.after.weights[n:, h]
            score[h] = sum((weights * np.where(there, zs, 0.0)).tolist())
            ic[h] = math.sqrt(min(1.0, max(0.0, sum(np.where(there, gain, 0.0).tolist()))))
            alpha[h] = sigma[h] * score[h]
    return Forecast(outcomes, z, solved, score, alpha, sigma, ic)
