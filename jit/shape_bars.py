"""Family `shape`, bar clock: whether returns of bars trend or revert, go with volume, and how unusual the last one is (5 columns)."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.bars import CLOSE, VOLUME
from tickarrow.jit.event import CLOCK
from tickarrow.jit.feature import Column
from tickarrow.jit.lanes import lanes_fill, lanes_square, lanes_step_square, lanes_sum, oldest_point
from tickarrow.jit.math import log_point
from tickarrow.jit.moments import FORGOTTEN, ROUNDING

SHORT = 20  # bars, of the volume ratio
MIDDLE = 60  # bars, of the correlation
LONG = 240  # bars, of the variance ratio and the rank
FEW, MANY = 5, 20  # bars of the long returns of the variance ratio
FLAT = 1e-26  # sum of squared returns that is the rounding of the logarithms of prices

# Rows of f: rings, sums
LEVEL, RETURN, SIZE, SHARES = 0, LONG + 1, 2 * LONG + 1, 2 * LONG + 1 + MIDDLE
MEAN, OTHER, ONE, TWO, BOTH = range(SHARES + MIDDLE, SHARES + MIDDLE + 5)
F_ROWS = BOTH + 1
BEFORE_CLOSE = 0  # row of q, units
Q_ROWS = 1

BAR_COLUMNS = (
    Column(
        "variance_ratio_5b", "1", "var of 5-bar returns / (5 var of 1-bar returns), overlapping, both unbiased", "Lo and MacKinlay (1988)",
        "240 returns", "NaN before the 241st bar, and while the price has not moved", "arch VarianceRatio", "trades",
    ),
    Column(
        "variance_ratio_20b", "1", "var of 20-bar returns / (20 var of 1-bar returns), overlapping, both unbiased", "Lo and MacKinlay (1988)",
        "240 returns", "NaN before the 241st bar, and while the price has not moved", "arch VarianceRatio", "trades",
    ),
    Column(
        "up_down_volume_20b", "1", "volume of bars with C > C' / volume of bars with C < C'", "", "20 bars",
        "NaN before the 21st bar, and while no volume came with a fall", "wickra UpDownVolumeRatio", "every trade",
    ),
    Column(
        "corr_size_volume_60b", "1", "corr(|r|, volume), r = ln(C / C')", "Karpoff (1987)", "60 bars",
        "NaN before the 61st bar, and while |r| or the volume has not varied", "pandas rolling corr", "every trade",
    ),
    Column(
        "return_rank_240b", "1", "(bars with a smaller return + half of those with an equal one, itself included) / 240", "", "240 bars",
        "NaN before the 241st bar",
        "wickra RollingPercentileRank; scipy percentileofscore", "trades",
    ),
)  # fmt: skip


@kernel("f8, f8, i8")
def variance_ratio_point(one, many, apart):
    """Variance ratio from sums of squares about the drift, without bias for independent returns.

    Parameters
    ----------
    one : float64, sum over the LONG returns of one bar
    many : float64, sum over the overlapping returns of `apart` bars
    apart : int64
    """
    count = float(apart) * float(LONG - apart + 1) * (1.0 - float(apart) / LONG)
    return many / count / (one / (LONG - 1.0)) if one > FLAT else np.nan


@kernel("out f8[:,:], i8, i8, i8[:], i8, out f8[:,:]")
def variance_ratios(f, lo, hi, n, pos, out):
    """Write columns 0 and 1."""
    size = LONG + 1
    first, last = f[LEVEL + oldest_point(size, size, pos), lo:hi], f[LEVEL + pos % size, lo:hi]
    drift = f[MEAN, lo:hi]
    for k in range(drift.size):
        drift[k] = (last[k] - first[k]) / LONG
    lanes_step_square(f, ONE, LEVEL, size, size, 1, MEAN, pos, lo, hi)
    lanes_step_square(f, TWO, LEVEL, size, size, FEW, MEAN, pos, lo, hi)
    lanes_step_square(f, BOTH, LEVEL, size, size, MANY, MEAN, pos, lo, hi)
    for k in range(lo, hi):
        warm = n[k] >= LONG
        out[k, 0] = variance_ratio_point(f[ONE, k], f[TWO, k], FEW) if warm else np.nan
        out[k, 1] = variance_ratio_point(f[ONE, k], f[BOTH, k], MANY) if warm else np.nan


@kernel("out f8[:,:], i8, i8, i8[:], i8, out f8[:,:]")
def volume_ratio(f, lo, hi, n, pos, out):
    """Write column 2."""
    lanes_fill(f, ONE, 0.0, lo, hi)
    lanes_fill(f, TWO, 0.0, lo, hi)
    up, down = f[ONE, lo:hi], f[TWO, lo:hi]
    i, j = oldest_point(LONG, SHORT, pos), oldest_point(MIDDLE, SHORT, pos)
    for _ in range(SHORT):
        r, volume = f[RETURN + i, lo:hi], f[SHARES + j, lo:hi]
        for k in range(up.size):
            up[k] += volume[k] if r[k] > 0.0 else 0.0
        for k in range(down.size):
            down[k] += volume[k] if r[k] < 0.0 else 0.0
        i += 1
        if i == LONG:
            i = 0
        j += 1
        if j == MIDDLE:
            j = 0
    for k in range(lo, hi):
        out[k, 2] = f[ONE, k] / f[TWO, k] if n[k] >= SHORT and f[TWO, k] > 0.0 else np.nan


@kernel("out f8[:,:], i8, i8, i8[:], i8, out f8[:,:]")
def size_volume(f, lo, hi, n, pos, out):
    """Write column 3."""
    lanes_sum(f, MEAN, SIZE, MIDDLE, MIDDLE, pos, lo, hi)
    lanes_sum(f, OTHER, SHARES, MIDDLE, MIDDLE, pos, lo, hi)
    lanes_fill(f, BOTH, 0.0, lo, hi)
    x_mean, y_mean, both = f[MEAN, lo:hi], f[OTHER, lo:hi], f[BOTH, lo:hi]
    for k in range(both.size):
        x_mean[k] /= MIDDLE
        y_mean[k] /= MIDDLE
    lanes_square(f, ONE, SIZE, MIDDLE, MIDDLE, MEAN, pos, lo, hi)
    lanes_square(f, TWO, SHARES, MIDDLE, MIDDLE, OTHER, pos, lo, hi)
    i = oldest_point(MIDDLE, MIDDLE, pos)
    for _ in range(MIDDLE):
        x, y = f[SIZE + i, lo:hi], f[SHARES + i, lo:hi]
        for k in range(both.size):
            both[k] += (x[k] - x_mean[k]) * (y[k] - y_mean[k])
        i += 1
        if i == MIDDLE:
            i = 0
    for k in range(lo, hi):
        a, b = f[MEAN, k], f[OTHER, k]
        varied = f[ONE, k] > ROUNDING * MIDDLE * a * a and f[TWO, k] > ROUNDING * MIDDLE * b * b
        scale = np.sqrt(f[ONE, k]) * np.sqrt(f[TWO, k])
        out[k, 3] = min(max(f[BOTH, k] / scale, -1.0), 1.0) if n[k] >= MIDDLE and varied and scale > FORGOTTEN else np.nan


@kernel("out f8[:,:], i8, i8, i8[:], i8, out f8[:,:]")
def return_rank(f, lo, hi, n, pos, out):
    """Write column 4."""
    if hi - lo == 1:  # in a register
        x, alone = f[RETURN + pos % LONG, lo], 0.0
        for i in range(LONG):
            alone += 1.0 if f[RETURN + i, lo] < x else (0.5 if f[RETURN + i, lo] == x else 0.0)
        out[lo, 4] = alone / LONG if n[lo] >= LONG else np.nan
        return
    lanes_fill(f, ONE, 0.0, lo, hi)
    below, own = f[ONE, lo:hi], f[RETURN + pos % LONG, lo:hi]
    for i in range(LONG):  # sums of halves are exact in any order
        r = f[RETURN + i, lo:hi]
        for k in range(below.size):
            below[k] += 1.0 if r[k] < own[k] else (0.5 if r[k] == own[k] else 0.0)
    for k in range(lo, hi):
        out[k, 4] = f[ONE, k] / LONG if n[k] >= LONG else np.nan


@kernel("out f8[:,:], out i8[:,:], i8[:,:], f8[:,:], i8[:], f8[:], i8[:], i8[:,:], CLOCK, i8, i8, i8, out f8[:,:]")
def shape_bars(f, q, price, flow, base, unit, n, when, clock, lo, hi, pos, out):
    """Columns of the bars that closed in lanes [lo, hi), see `BAR_COLUMNS`.

    Parameters
    ----------
    f : (F_ROWS, S) float64, q : (Q_ROWS, S) int64, updated in place
    price : (4, S) int64, flow : (5, S) float64, base : (S,) int64, unit : (S,) float64, n : (S,) int64, when : (2, S) int64, clock : CLOCK,
        lo, hi, pos : see `bars`
    out : (S, 5) float64. NaN until 241 bars (columns 0, 1, 4), 21 (2), 61 (3); 0, 1 and 3 without variance, 2 without a fall that had volume

    Notes
    -----
    A return is that of closes. Levels are logarithms of the price over the lane's first one, so that they keep the bits of small returns.

    References
    ----------
    Lo and MacKinlay (1988), Stock market prices do not follow random walks: overlapping returns, unbiased variances. Karpoff (1987), The
    relation between price changes and trading volume.
    """
    for k in range(lo, hi):
        if n[k] < 0:
            continue
        close = price[CLOSE, k]
        f[LEVEL + pos % (LONG + 1), k] = log_point(float(base[k] + close) / float(base[k]))
        f[SHARES + pos % MIDDLE, k] = flow[VOLUME, k]
        if n[k] > 0:
            r = log_point(float(base[k] + close) / float(base[k] + q[BEFORE_CLOSE, k]))
            f[RETURN + pos % LONG, k] = r
            f[SIZE + pos % MIDDLE, k] = abs(r)
        q[BEFORE_CLOSE, k] = close
    variance_ratios(f, lo, hi, n, pos, out)
    volume_ratio(f, lo, hi, n, pos, out)
    size_volume(f, lo, hi, n, pos, out)
    return_rank(f, lo, hi, n, pos, out)
