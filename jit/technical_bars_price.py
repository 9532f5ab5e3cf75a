"""Bar clock of family `technical`, part price: rates of change, z-scores, Bollinger bands, place in the range, stochastic oscillator,
Aroon, commodity channel index, regression of the log price. Windows are exact: integers, or sums of the window's own values.

Loops run over lanes, `lo + i` with lo >= 0 known, so that LLVM sees contiguous memory and makes vectors of lanes."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.bars import CLOSE, HIGH, LOW
from tickarrow.jit.math import log_point
from tickarrow.jit.technical_bars_rows import (
    AGE, AGE_BITS, AROON, BOLLINGER_B, BOLLINGER_WIDTH, BOTTOM, CCI, CLOSES, HIGHS, INVERSE, LOGS, LOWS, PRICE_Z_20, R2, RAW_K, ROC_1, ROC_5,
    ROC_10, ROC_20, ROC_60, SLOPE, SLOW_K, SQUARES, STOCH_D, STOCH_K, SUMS, TOP, TYPICAL, TYPICAL_SUM, VALUES, WILLIAMS,
)  # fmt: skip


@kernel("out f8[:,:], out i8[:,:], i8[:,:], i8[:], i8, i8, i8")
def enter_lanes(f, q, price, base, lo, hi, pos):
    """Enter a bar into the rings of prices and into the tables of extremes.

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64, updated in place
    price : (4, S) int64, OPEN HIGH LOW CLOSE, units from `base`
    base : (S,) int64, units
    lo, hi : lanes [lo, hi)
    pos : number of this call

    Notes
    -----
    SUMS and SQUARES are sums since ever, modulo 2**64; their differences over a window are the window's exact sums.

    A table of extremes has a ring of 2**l rows for each level l = 0 to 7, first row 2**l: the extreme of the last 2**l bars. The row about to be
    overwritten is that of 2**l bars ago, so one comparison makes the next level; a window is two overlapping entries of one level.
    Entries are keys: price << AGE_BITS | time in TOP, price << AGE_BITS | AGE - time in BOTTOM, so that among equal prices the later wins
    (not across the wrap of time, once in 2**28 bars).
    """
    lo = max(lo, 0)
    m, before, now, time = hi - lo, (pos - 1) & 255, pos & 255, pos & AGE
    for i in range(m):
        p = base[lo + i] + price[CLOSE, lo + i]
        q[SUMS + now, lo + i] = q[SUMS + before, lo + i] + p
        q[SQUARES + now, lo + i] = q[SQUARES + before, lo + i] + p * p
        c = np.float64(p)
        h = float(base[lo + i] + price[HIGH, lo + i])
        low = float(base[lo + i] + price[LOW, lo + i])
        inverse = 1.0 / c
        f[CLOSES + (pos & 63), lo + i] = c
        f[INVERSE + (pos & 63), lo + i] = inverse if c > 0.0 else np.nan
        f[HIGHS + (pos & 1), lo + i] = h
        f[LOWS + (pos & 1), lo + i] = low
        f[TYPICAL + (pos & 31), lo + i] = h + low + c
    for i in range(m):
        f[LOGS + (pos & 31), lo + i] = log_point(f[CLOSES + (pos & 63), lo + i])
    for i in range(m):
        k = (price[HIGH, lo + i] << AGE_BITS) + time
        for level in range(8):
            row = TOP + (1 << level) + (pos & ((1 << level) - 1))
            before = q[row, lo + i]
            q[row, lo + i] = k
            k = max(k, before)
    for i in range(m):
        k = (price[LOW, lo + i] << AGE_BITS) + (AGE - time)
        for level in range(8):
            row = BOTTOM + (1 << level) + (pos & ((1 << level) - 1))
            before = q[row, lo + i]
            q[row, lo + i] = k
            k = min(k, before)


@kernel("i8, i8, f8, f8, f8", inline=True)
def change_point(n, back, c, before, inverse):
    """Rate of change over `back` bars, bp; NaN while not warm."""
    v = 1e4 * ((c - before) * inverse)
    return v if n >= back else np.nan


@kernel("out f8[:,:], i8[:], i8, i8, i8")
def roc_lanes(f, n, lo, hi, pos):
    """Rates of change over 1, 5, 10, 20 and 60 bars, bp; NaN where the earlier close is not positive."""
    lo = max(lo, 0)
    r1, r5, r10, r20, r60 = (pos - 1) & 63, (pos - 5) & 63, (pos - 10) & 63, (pos - 20) & 63, (pos - 60) & 63
    for i in range(hi - lo):
        k, c = n[lo + i], f[CLOSES + (pos & 63), lo + i]
        f[VALUES + ROC_1, lo + i] = change_point(k, 1, c, f[CLOSES + r1, lo + i], f[INVERSE + r1, lo + i])
        f[VALUES + ROC_5, lo + i] = change_point(k, 5, c, f[CLOSES + r5, lo + i], f[INVERSE + r5, lo + i])
        f[VALUES + ROC_10, lo + i] = change_point(k, 10, c, f[CLOSES + r10, lo + i], f[INVERSE + r10, lo + i])
        f[VALUES + ROC_20, lo + i] = change_point(k, 20, c, f[CLOSES + r20, lo + i], f[INVERSE + r20, lo + i])
        f[VALUES + ROC_60, lo + i] = change_point(k, 60, c, f[CLOSES + r60, lo + i], f[INVERSE + r60, lo + i])


@kernel("out f8[:,:], i8[:,:], i8[:], i8, i8, i8, i8, i8")
def z_lanes(f, q, n, lo, hi, pos, window, column):
    """(close - mean) / deviation of the last `window` closes, this one included; population deviation, NaN where it is 0. Writes Bollinger %B
    and bandwidth (bp) as well: those of the last call stay.

    Notes
    -----
    With d = close' - close for each close' of the window, S1 = sum d and S2 = sum d^2 are exact while S2 < 2**63 (from the sums modulo 2**64), so
    z = -S1 / sqrt(window S2 - S1^2) has relative error of about window * 2**-53 whatever the level of prices.
    %B = (close - lower) / (upper - lower) = 1/2 + z/4. Bandwidth = (upper - lower) / middle: 0 where the price stands still.

    References
    ----------
    Bollinger (2001), Bollinger on Bollinger Bands.
    """
    lo = max(lo, 0)
    now, then, w = pos & 255, (pos - window) & 255, float(window)
    for i in range(hi - lo):
        c = f[CLOSES + (pos & 63), lo + i]
        p = np.int64(c)
        wp = window * p
        s = q[SUMS + now, lo + i] - q[SUMS + then, lo + i]
        s2 = (q[SQUARES + now, lo + i] - q[SQUARES + then, lo + i]) - p * (2 * s - wp)
        s1 = float(s - wp)
        spread = np.sqrt(max(w * float(s2) - s1 * s1, 0.0))
        z = -s1 / spread
        width = 4e4 * spread / float(s)
        warm = n[lo + i] >= window - 1
        z = z if warm and spread > 0.0 else np.nan
        f[VALUES + column, lo + i] = z
        f[VALUES + BOLLINGER_B, lo + i] = 0.5 + 0.25 * z
        f[VALUES + BOLLINGER_WIDTH, lo + i] = width if warm and s > 0 else np.nan


@kernel("out f8[:,:], i8[:,:], i8[:,:], i8[:], i8, i8, i8, i8, i8, i8")
def place_lanes(f, q, price, n, lo, hi, pos, window, level, row):
    """(close - lowest low) / (highest high - lowest low) of the last `window` bars into row `row` of f; NaN where the range is 0.

    Parameters
    ----------
    level : int64, 2**level < window <= 2**(level + 1)
    """
    lo = max(lo, 0)
    r, r0 = (1 << level) + (pos & ((1 << level) - 1)), (1 << level) + ((pos - window) & ((1 << level) - 1))
    for i in range(hi - lo):
        low = min(q[BOTTOM + r, lo + i], q[BOTTOM + r0, lo + i]) >> AGE_BITS
        width = (max(q[TOP + r, lo + i], q[TOP + r0, lo + i]) >> AGE_BITS) - low
        v = float(price[CLOSE, lo + i] - low) / np.float64(width)
        f[row, lo + i] = v if n[lo + i] >= window - 1 and width > 0 else np.nan


@kernel("out f8[:,:], i8[:,:], i8[:], i8, i8, i8")
def oscillator_lanes(f, q, n, lo, hi, pos):
    """Williams %R and slow stochastic of 14 bars, from the place in the range of 14 bars in RAW_K; Aroon oscillator of 25 bars. Percent.

    Notes
    -----
    Slow %K is the mean of three raw %K, %D the mean of three slow %K: NaN while one of these bars had no range. Aroon: 100 (bars since
    the lowest low - bars since the highest high) / 25 among the last 26 bars, the later one of equal extremes.

    References
    ----------
    Lane (1984), Lane's stochastics. Williams (1973), How I made one million dollars last year trading commodities. Chande (1995), A time price
    oscillator (Aroon).
    """
    lo = max(lo, 0)
    r, r0, time = 16 + (pos & 15), 16 + ((pos - 26) & 15), pos & AGE
    for i in range(hi - lo):
        k = f[RAW_K + (pos & 3), lo + i]
        s = (k + f[RAW_K + ((pos - 1) & 3), lo + i] + f[RAW_K + ((pos - 2) & 3), lo + i]) * (100.0 / 3.0)
        d = (s + f[SLOW_K + ((pos - 1) & 3), lo + i] + f[SLOW_K + ((pos - 2) & 3), lo + i]) * (1.0 / 3.0)
        f[SLOW_K + (pos & 3), lo + i] = s
        f[VALUES + WILLIAMS, lo + i] = 100.0 * (k - 1.0)
        f[VALUES + STOCH_K, lo + i] = s if n[lo + i] >= 15 else np.nan
        f[VALUES + STOCH_D, lo + i] = d if n[lo + i] >= 17 else np.nan
    for i in range(hi - lo):
        high = (time - max(q[TOP + r, lo + i], q[TOP + r0, lo + i])) & AGE
        low = (time + min(q[BOTTOM + r, lo + i], q[BOTTOM + r0, lo + i]) - AGE) & AGE
        v = 4.0 * float(low - high)
        f[VALUES + AROON, lo + i] = v if n[lo + i] >= 25 else np.nan


@kernel("out f8[:,:], i8[:], i8, i8, i8")
def cci_lanes(f, n, lo, hi, pos):
    """Commodity channel index of 20 bars: (x - mean) / (0.015 mean absolute deviation), x = (high + low + close) / 3.

    Notes
    -----
    Computed from 3 x 20 times as large integers in float64, so the sum that is kept is exact. NaN where all x are equal.

    References
    ----------
    Lambert (1980), Commodity channel index: tool for trading cyclic trends.
    """
    lo = max(lo, 0)
    for i in range(hi - lo):
        k, x = n[lo + i], f[TYPICAL + (pos & 31), lo + i]
        gone = f[TYPICAL + ((pos - 20) & 31), lo + i]
        total = f[TYPICAL_SUM, lo + i] - (gone if k >= 20 else 0.0)
        total = x + (total if k > 0 else 0.0)
        f[TYPICAL_SUM, lo + i] = total
        away = 0.0
        for j in range(20):
            away += abs(20.0 * f[TYPICAL + ((pos - j) & 31), lo + i] - total)
        v = (20.0 * x - total) * (20.0 / 0.015) / away
        f[VALUES + CCI, lo + i] = v if k >= 19 and away > 0.0 else np.nan


@kernel("out f8[:,:], i8[:], i8, i8, i8")
def regression_lanes(f, n, lo, hi, pos):
    """Least-squares line through the last 20 log closes: slope, bp a bar, and R^2.

    Notes
    -----
    With d_k = ln(close k bars ago) - ln(close): slope = sum (9.5 - k) d_k / 665, R^2 = (sum (9.5 - k) d_k)^2 / (665 S), S = sum d_k^2 -
    (sum d_k)^2 / 20. R^2 is NaN where all closes are equal; both are NaN where one of them is not positive.
    """
    lo = max(lo, 0)
    for i in range(hi - lo):
        y = f[LOGS + (pos & 31), lo + i]
        s1 = sx = s2 = 0.0
        for k in range(20):
            d = f[LOGS + ((pos - k) & 31), lo + i] - y
            s1 += d
            sx += (9.5 - float(k)) * d
            s2 += d * d
        square = 665.0 * (s2 - s1 * s1 * 0.05)
        r2 = min(sx * sx / square, 1.0)
        slope = sx * (1e4 / 665.0)
        warm = n[lo + i] >= 19
        f[VALUES + SLOPE, lo + i] = slope if warm and abs(slope) < np.inf else np.nan
        f[VALUES + R2, lo + i] = r2 if warm and square > 0.0 else np.nan
