"""What an `Ensemble` knows of a symbol, as plain arrays: weights, information coefficients (IC) with their errors, correlation, spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tickarrow.jit import corr, eight, ensemble_state, ensemble_weights
from tickarrow.pipeline.decide import Ensemble

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One symbol after the last step; n configurations, H horizons, float64 unless said otherwise.

    Weights are those in force, made at the last refresh. The rest is as of `ts`: what a refresh then would have found, and what that of the
    last row has found if it was one.
    """

    ts: int  # ns, market time
    observed: int  # ns, the last refresh of the symbol, or of any where they are pooled
    weights: Floats  # (n, H): forecast = sigma times the sum of weight times z
    gains: Floats  # (n, H): weight times IC of the refresh; their sum is the squared IC of the forecast
    ic: Floats  # (n, H): the IC that weights are made of: tracked and prior one by their observations, shrunk by their error
    ic_error: Floats  # (n, H): standard error of the mean of both, before it is shrunk; NaN = nothing known
    tracked: Floats  # (n, H): IC of the outcomes so far; NaN = too few
    tracked_error: Floats  # (n, H): sqrt((1 - IC^2) / observations); NaN = too few
    observations: Floats  # (n, H): effective independent outcomes
    prior: Floats  # (n, H): validation IC of the model set; NaN = none
    sigma: Floats  # (H,): bp, root mean square outcome; NaN = too few
    correlation: Floats  # (H, n, n): of the standardised predictions, as observed
    independent: Floats  # (H,): effective independent observations of it
    intensity: Floats  # (H,): share of the identity it is shrunk by
    edge: Floats  # (H,): largest eigenvalue that noise alone makes
    eigenvalues: Floats  # (H, n): largest first
    kept: npt.NDArray[np.bool_]  # (H, n): above the edge; the others count as their mean


def view(ensemble: Ensemble, symbol: int, ts: int) -> View:
    """What the ensemble knows of a row of the universe at the market time `ts`, ns, not before its last row. Changes nothing."""
    params, n, n_horizons = ensemble.params[0], ensemble.configurations, ensemble.horizons_ns.size
    group, blocks = int(ensemble.symbols["group"][symbol]), ensemble_state.eights(n)
    horizons, ic, made = ensemble.horizons[symbol].copy(), np.zeros((n, eight.LANES)), np.zeros((n_horizons, 5 * blocks, eight.LANES))
    for h in range(n_horizons):
        settled, prior = int(ensemble.settled[group, h]), ensemble.prior[symbol, h]
        ensemble_weights.skill_point(horizons[h], settled, ensemble.tracks[group, h], prior, n, h, int(ensemble.horizons_ns[h]), ts, params, ic, made[h])
    tracked, observations, both, total, _ = made.reshape(n_horizons, 5, -1)[:, :, :n].transpose(1, 2, 0)
    tracked = np.where(observations > 0, tracked, np.nan)

    counts = ensemble.factors[group, n * (n + 1) // 2 :, :n_horizons]
    if ensemble.windows.shape[1]:
        matrix = np.stack([_of_window(ensemble.windows[group, :, :, h]) for h in range(n_horizons)])
    else:
        matrix = _correlation(ensemble.factors[group, : n * (n + 1) // 2, :n_horizons], counts[corr.WEIGHT], n)
    eigenvalues = np.asarray(np.linalg.eigvalsh(matrix), np.float64)[:, ::-1]
    edge = counts[corr.EDGE].copy()
    weights = ensemble.weights[symbol, :, :n_horizons].copy()
    return View(
        ts=ts,
        observed=int(ensemble.groups["observed"][group]),
        weights=weights[:n],
        gains=weights[n:],
        ic=ic[:, :n_horizons],
        ic_error=np.sqrt((1 - both**2) / np.where(total > 0, total, np.nan)),
        tracked=tracked,
        tracked_error=np.sqrt((1 - tracked**2) / np.where(observations > 0, observations, np.nan)),
        observations=observations.copy(),
        prior=ensemble.prior[symbol].reshape(n_horizons, -1)[:, :n].T.copy(),
        sigma=horizons["sigma"].astype(float),
        correlation=matrix,
        independent=counts[corr.T_EFF].copy(),
        intensity=counts[corr.INTENSITY].copy(),
        edge=edge,
        eigenvalues=eigenvalues,
        kept=eigenvalues > edge[:, None],
    )


def _correlation(sums: Floats, weight: Floats, n: int) -> Floats:
    """(H, n, n) from packed sums (n (n + 1) / 2, H); what has no variance is uncorrelated with all."""
    i, j = np.tril_indices(n)
    out = np.empty((weight.size, n, n))
    out[:, i, j] = out[:, j, i] = sums.T
    square = out.diagonal(axis1=1, axis2=2).copy()
    varies = square > corr.NO_VARIANCE * weight[:, None]
    scale = np.where(varies, 1.0, 0.0) / np.sqrt(np.where(varies, square, 1.0))
    out *= scale[:, :, None] * scale[:, None, :]
    out[:, range(n), range(n)] = 1.0
    return out


def _of_window(rows: Floats) -> Floats:
    """(n, n) from (window_rows, n + 1) of a horizon; a missing prediction counts as the mean of its model."""
    z = rows[~np.isnan(rows[:, -1]), :-1]
    known = ~np.isnan(z)
    z = np.where(known, z - np.where(known, z, 0.0).sum(0) / np.maximum(known.sum(0), 1), 0.0)
    square = (z * z).sum(0)
    scale = np.where(square > corr.NO_VARIANCE * len(z), 1 / np.sqrt(np.where(square > 0, square, 1.0)), 0.0)
    out = z.T @ z * scale[:, None] * scale
    np.fill_diagonal(out, 1.0)
    return out
