"""Columns of the cross-section from its state at a pass: ranks and scores between symbols, dependence on the index."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.cross_lanes import (
    BAR, BAR_N, BAR_X, BAR_XX, BAR_XY, BAR_Y, BAR_YY, BP, COLUMNS, FAST, INDEX_5, INDEX_FAST, INDEX_SLOW, INDEX_STEP, LEAST, LIVE,
    MISSING, OFI_FAST, PUSH_SLOW, SCORE, SECTOR_FAST, SECTOR_FAST_N, SECTOR_SLOW, SECTOR_SLOW_N, SLOW, SPAN, SQUARES_SLOW, TIME_FAST,
    TIME_SLOW, VOLUME_FAST, VOLUME_SLOW, W2, XX, XY, YY, W,
)  # fmt: skip
from tickarrow.jit.math import log_point
from tickarrow.jit.moments import FORGOTTEN

PRIOR_VARIANCE = 0.25  # of betas about 1
SAMPLES = 20.0  # (effective) number a regression needs
SCORE_MOST = 33554432.0  # 2**25 steps; values are cut there: sums of squared differences over 2,000 symbols are exact in int64
OFI_STEPS = 33554432.0  # to 1: between -1 and 1
VOLUME_STEPS = 2097152.0  # between 0 and 10, the ratio of the windows
VOLATILITY_STEPS = 2097152.0  # between 1e-7 and 9e6 bp/sqrt(s)
ROOT_300 = float(np.sqrt(300.0))
RANK_MOST = 0x7FFFFFFF
VARIES = 1e-16  # bp^2; below it a sum of squares is rounding: returns are multiples of 9e-9 bp
EXPLAINED = 1e-12  # a residual variance below this share of the variance is rounding

# Columns in order
RANK_FAST, RANK_SLOW, RANK_BAR, Z_OFI, Z_VOLUME, Z_VOLATILITY, BETA, BETA_BARS, RESIDUAL_FAST, RESIDUAL_SLOW, RESIDUAL_Z, IDIO = range(12)
NEUTRAL_FAST, NEUTRAL_SLOW, LAG_1, LAG_5, CORRELATION = range(12, 17)


@kernel("out f8[:,:], out i8[:,:], i8, i8")
def ranks(f, q, values, column):
    """Rank of each lane among the known: (number below - number above) / (n - 1), from -1 to 1; equal values share the mean of theirs.

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64
    values : int64, row of q; MISSING is below all and takes no part
    column : int64, column to write

    Notes
    -----
    (2 R - n - 1) / (n - 1) of the average rank R, of returns in steps of 2**-32 (2e-6 bp), cut at 0.5. A counting comparison: its time
    does not depend on the values.
    """
    lanes = q.shape[1]
    rounded = q[SCORE].view(np.int32)
    known = np.int64(0)
    for i in range(lanes):
        missing = q[values, i] == MISSING
        rounded[i] = -RANK_MOST - 1 if missing else min(max((q[values, i] + 128) >> 8, -RANK_MOST), RANK_MOST)
        known += 0 if missing else 1
    one, zero = np.int32(1), np.int32(0)
    for i in range(lanes):
        mine, net = rounded[i], zero
        for k in range(lanes):
            net = np.int32(net + (one if rounded[k] < mine else zero) - (one if rounded[k] > mine else zero))
        f[COLUMNS + column, i] = float(net - (lanes - known)) / float(known - 1) if q[values, i] != MISSING and known >= LEAST else np.nan


@kernel("f8, ?", inline=True)
def score_point(value, known):
    """A value in steps for comparison, MISSING where it is not known."""
    return np.int64(np.rint(min(max(value, -SCORE_MOST), SCORE_MOST))) if known else np.int64(MISSING)


@kernel("out f8[:,:], out i8[:,:], i8")
def scores(f, q, column):
    """Each lane's distance of row SCORE of q from the mean over the lanes, in standard deviations over the lanes (of n, not n - 1).

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64
    column : int64, column to write; NaN with fewer than 3 values, or if they are all equal
    """
    lanes = q.shape[1]
    total = n = np.int64(0)
    for i in range(lanes):
        known = q[SCORE, i] != MISSING
        total += q[SCORE, i] if known else 0
        n += 1 if known else 0
    centre = total // max(n, 1)
    rest = squares = np.int64(0)
    for i in range(lanes):
        d = q[SCORE, i] - centre if q[SCORE, i] != MISSING else 0
        rest += d
        squares += d * d
    if n < LEAST or squares == 0:
        for i in range(lanes):
            f[COLUMNS + column, i] = np.nan
        return
    mean = float(rest) / float(n)
    deviation = np.sqrt(float(squares) / float(n) - mean * mean)
    for i in range(lanes):
        f[COLUMNS + column, i] = (float(q[SCORE, i] - centre) - mean) / deviation if q[SCORE, i] != MISSING else np.nan


@kernel("out f8[:,:], out i8[:,:]")
def flow_scores(f, q):
    """The three scores between symbols, of lanes that have been live for 30 s.

    z_ofi of S_30(e) / S_300(|e|); z_relative_volume of (S_30(q) / T_30) / (S_300(q) / T_300); z_volatility of ln(S_300(r^2) / T_300) / 2
    with T the decaying sums of the seconds. They are compared in steps of 2**-25, 2**-21 and 2**-21.
    """
    lanes = q.shape[1]
    for i in range(lanes):
        known = q[LIVE, i] > 30 and f[PUSH_SLOW, i] > FORGOTTEN
        x = f[OFI_FAST, i] / f[PUSH_SLOW, i] if known else 0.0
        q[SCORE, i] = score_point(x * OFI_STEPS, known)
    scores(f, q, Z_OFI)
    for i in range(lanes):
        known = q[LIVE, i] > 30 and f[VOLUME_SLOW, i] > FORGOTTEN
        x = f[VOLUME_FAST, i] * f[TIME_SLOW, i] / (f[VOLUME_SLOW, i] * f[TIME_FAST, i]) if known else 0.0
        q[SCORE, i] = score_point(x * VOLUME_STEPS, known)
    scores(f, q, Z_VOLUME)
    for i in range(lanes):
        known = q[LIVE, i] > 30 and f[SQUARES_SLOW, i] > FORGOTTEN
        x = f[SQUARES_SLOW, i] / f[TIME_SLOW, i] if known else 1.0
        q[SCORE, i] = score_point(0.5 * VOLATILITY_STEPS * log_point(x), known)
    scores(f, q, Z_VOLATILITY)


@kernel("f8, f8, f8, f8", inline=True)
def shrunk_point(xx, xy, yy, n):
    """Slope of y on x shrunk to 1 by its standard error.

    Parameters
    ----------
    xx, xy, yy : float64, centred sums of squares and products
    n : float64, (effective) number of samples, above 2

    References
    ----------
    Vasicek (1973), A note on using cross-sectional information in Bayesian estimation of security betas; prior mean 1, variance 0.25.
    """
    slope = xy / xx
    error = max(yy - slope * xy, 0.0) / (xx * (n - 2.0))
    return (PRIOR_VARIANCE * slope + error) / (PRIOR_VARIANCE + error)


@kernel("out f8[:,:], out i8[:,:]")
def betas(f, q):
    """beta_300s, beta_60b, idio_vol_300s, index_corr_300s from the moments."""
    nan = np.nan
    lanes = q.shape[1]
    for i in range(lanes):
        n = f[W, i] * f[W, i] / f[W2, i] if f[W2, i] > 0.0 else 0.0
        known = q[LIVE, i] > 0 and n >= SAMPLES and f[XX, i] > VARIES
        f[COLUMNS + BETA, i] = shrunk_point(f[XX, i], f[XY, i], f[YY, i], n) if known else nan
    for i in range(lanes):
        known = f[COLUMNS + BETA, i] == f[COLUMNS + BETA, i]
        rest = f[YY, i] - f[XY, i] * f[XY, i] / f[XX, i] if known else 0.0
        f[COLUMNS + IDIO, i] = (np.sqrt(rest / f[SPAN, i]) if rest > EXPLAINED * f[YY, i] else 0.0) if known else nan
    for i in range(lanes):
        known = f[COLUMNS + BETA, i] == f[COLUMNS + BETA, i] and f[YY, i] > VARIES
        f[COLUMNS + CORRELATION, i] = min(max(f[XY, i] / np.sqrt(f[XX, i] * f[YY, i]), -1.0), 1.0) if known else nan
    for i in range(lanes):
        m, x, y = q[BAR_N, i], q[BAR_X, i], q[BAR_Y, i]
        xx = float(m * q[BAR_XX, i] - x * x)
        xy = float(m * q[BAR_XY, i] - x * y)
        yy = float(m * q[BAR_YY, i] - y * y)
        known = q[LIVE, i] > 0 and float(m) >= SAMPLES and xx > 0.0
        f[COLUMNS + BETA_BARS, i] = shrunk_point(xx, xy, yy, float(m)) if known else nan


@kernel("i8", inline=True)
def bp_point(r):
    """A return in 2**-40 in bp, NaN where it is MISSING."""
    return float(r) * BP if r != MISSING else np.nan


@kernel("out f8[:,:], out i8[:,:], i4[:]")
def residuals(f, q, sector):
    """What the index and the sector leave of the returns, and the index itself; after `betas`."""
    nan = np.nan
    lanes = q.shape[1]
    fast, slow = bp_point(q[INDEX_FAST, 0]), bp_point(q[INDEX_SLOW, 0])
    lag_1, lag_5 = bp_point(q[INDEX_STEP, 0]), bp_point(q[INDEX_5, 0])
    for i in range(lanes):
        beta, idio = f[COLUMNS + BETA, i], f[COLUMNS + IDIO, i]
        rest = bp_point(q[SLOW, i]) - beta * slow
        f[COLUMNS + RESIDUAL_FAST, i] = bp_point(q[FAST, i]) - beta * fast
        f[COLUMNS + RESIDUAL_SLOW, i] = rest
        f[COLUMNS + RESIDUAL_Z, i] = rest / (idio * ROOT_300) if idio > 0.0 else nan
    for i in range(lanes):
        live = q[LIVE, i] > 0
        f[COLUMNS + LAG_1, i] = lag_1 if live else nan
        f[COLUMNS + LAG_5, i] = lag_5 if live else nan
    for i in range(lanes):
        k = sector[i]
        a = b = nan
        if 0 <= k < lanes:
            if q[SECTOR_FAST_N, k] > 1 and q[FAST, i] != MISSING:
                a = (float(q[FAST, i]) - float(q[SECTOR_FAST, k]) / float(q[SECTOR_FAST_N, k])) * BP
            if q[SECTOR_SLOW_N, k] > 1 and q[SLOW, i] != MISSING:
                b = (float(q[SLOW, i]) - float(q[SECTOR_SLOW, k]) / float(q[SECTOR_SLOW_N, k])) * BP
        f[COLUMNS + NEUTRAL_FAST, i] = a
        f[COLUMNS + NEUTRAL_SLOW, i] = b
