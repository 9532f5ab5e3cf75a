"""Correlation of the last observations of a group, all of the same weight: the research mode of the ensemble, beside the decayed one of
corr.py. Nothing is updated, each refresh computes it anew."""

import math

import numpy as np

from tickarrow.jit import corr
from tickarrow.jit._kernel import kernel
from tickarrow.jit.eight import LANES
from tickarrow.jit.ensemble_state import LEDOIT_WOLF, OAS


@kernel("f8[:,:], i8, f8[:,:], i8, i8, i8, out f8[:,:,:], out f8[:,:], out f8[:,:], out f8[:,:], out f8[:,:]")
def observe(z, n_horizons, independent, share, count, shrinkage, window, state, c, sample, scratch):
    """Put an observation in the place of the oldest one and make the correlation of each horizon.

    Parameters
    ----------
    z : (n, 8) float64, standardised predictions, a horizon a lane; NaN = missing
    n_horizons : int
    independent, share : (rows, 8) float64 and a row of it: independent observations that this one counts as, a horizon
    count : int, observations before this one
    shrinkage : int, NONE, OAS or LEDOIT_WOLF
    window : (window_rows, n + 1, 8) float64, updated: z and, in row n, `independent`; NaN there = the horizon had no prediction
    state : (STATE_ROWS, 8) float64: WEIGHT, T_EFF, INTENSITY and EDGE are set, lanes without a horizon are those of no observation
    c : (n (n + 1) / 2, 8) float64, packed, out: correlation, not shrunk
    sample : (window_rows + n, n) float64, out: of the last horizon
    scratch : (>= n eights(window_rows), 8) float64, out

    Notes
    -----
    The window of a horizon is its predictions less their means over their deviations, a missing one at its mean, so that shrinking the covariance
    is shrinking the correlation. T_EFF is the sum of `independent`: neighbours overlap, and with T_EFF = rows intensities are those of Ledoit
    and Wolf.
    """
    rows, n = window.shape[0], z.shape[0]
    at = count % rows
    oldest = 0 if count < rows else at + 1
    filled = min(count + 1, rows)
    covariance = sample[rows:]
    for h in range(LANES):
        anything = False
        for i in range(n):
            window[at, i, h] = z[i, h]
            if z[i, h] == z[i, h]:
                anything = True
        window[at, n, h] = independent[share, h] if anything else np.nan
        times = 0
        t_eff = 0.0
        if h < n_horizons:
            for k in range(filled):
                row = (oldest + k) % rows
                if window[row, n, h] == window[row, n, h]:
                    t_eff += window[row, n, h]
                    for i in range(n):
                        sample[times, i] = window[row, i, h]
                    times += 1
        for i in range(n):
            standardise(sample[:times], i)
        intensity = 1.0
        for i in range(n):
            for j in range(n):
                covariance[i, j] = 0.0
        if times > 0:
            intensity = corr.window(sample[:times], t_eff, scratch, covariance)
        corr.place(covariance, h, c)
        if shrinkage != LEDOIT_WOLF:
            intensity = 0.0
        if shrinkage == OAS:
            square = 0.0
            k = 0
            for i in range(n):
                for _ in range(i):
                    square += 2.0 * c[k, h] * c[k, h]
                    k += 1
                square += 1.0
                k += 1
            intensity = corr.oas_point(float(n), square, float(n), t_eff)
        state[corr.WEIGHT, h] = float(times)
        state[corr.T_EFF, h] = t_eff
        state[corr.INTENSITY, h] = intensity
        state[corr.EDGE, h] = corr.mp_edge_point(1.0, float(n), t_eff)


@kernel("out f8[:,:], i8", inline=True)
def standardise(sample, i):
    """Column i of (times, n) less its mean, over its deviation; a missing value and one of a column without variance become 0."""
    known = 0.0
    total = 0.0
    for t in range(sample.shape[0]):
        v = sample[t, i]
        if v == v:
            known += 1.0
            total += v
    mean = total / known if known > 0.0 else 0.0
    square = 0.0
    for t in range(sample.shape[0]):
        v = sample[t, i]
        sample[t, i] = v - mean if v == v else 0.0
        square += sample[t, i] * sample[t, i]
    # around a mean of the size of a deviation or less, smaller squares are rounding
    scale = 0.0
    if square > corr.NO_VARIANCE * float(sample.shape[0]) * max(mean * mean, 1.0):
        scale = math.sqrt(float(sample.shape[0]) / square)
    for t in range(sample.shape[0]):
        sample[t, i] *= scale
