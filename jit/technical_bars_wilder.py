"""Bar clock of family `technical`, part recursive means: MACD, relative strength, directional movement. A recursive mean forgets, so
rounding errors do not add up; each starts with a plain sum, as in TA-Lib, and is written as a sum of 14 means where Wilder does so."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.technical_bars_rows import (
    A, ADX, CLOSES, CMO, DI_MINUS, DI_PLUS, DX, FAST, GAIN, HIGHS, INVERSE, LOSS, LOWS, MACD, MACD_HIST, MACD_SIGNAL, MOVE_DOWN, MOVE_UP, RSI,
    SIGNAL, SLOW, TRUE_RANGE, VALUES,
)  # fmt: skip

KEPT = 13.0 / 14.0  # of a Wilder sum at each bar
STILL = 1e-9  # units (a tick / 100): a Wilder sum below this is of a price that has not moved for hundreds of bars


@kernel("out f8[:,:], i8[:], i8, i8, i8, i8, i8, f8, i8")
def mean_lanes(f, n, lo, hi, values, first, last, rate, row):
    """Recursive mean of the values in row `values`, kept in row `row`: it starts as the plain mean of bars [first, last], before `last` it is their sum."""
    lo = max(lo, 0)
    share = 1.0 / float(last - first + 1)
    for i in range(hi - lo):
        k, x, mean = n[lo + i], f[values, lo + i], f[row, lo + i]
        total, after = mean + x, mean + rate * (x - mean)
        total = total if k > first else x
        start = total * share
        start = start if k == last else total
        f[row, lo + i] = after if k > last else start


@kernel("i8, i8, f8, f8", inline=True)
def wilder_point(n, last, total, x):
    """Sum of 14 Wilder means: the plain sum of x from bar 1 to bar `last`, then 13/14 of it is kept at each bar."""
    kept = total * KEPT if n > last else total
    return kept + x if n > 0 else 0.0


@kernel("out f8[:,:], i8[:], i8, i8, i8")
def macd_lanes(f, n, lo, hi, pos):
    """MACD 12/26/9: line, signal and histogram, bp of the close.

    Notes
    -----
    Both means start at bar 26 with the plain mean of the last 12 and 26 closes, the signal at bar 34 with the mean of 9 lines.
    NaN: the line before bar 26, the others before bar 34, all where the close is not positive.

    References
    ----------
    Appel (1979), The moving average convergence-divergence trading method.
    """
    mean_lanes(f, n, lo, hi, CLOSES + (pos & 63), 14, 25, 2.0 / 13.0, FAST)
    mean_lanes(f, n, lo, hi, CLOSES + (pos & 63), 0, 25, 2.0 / 27.0, SLOW)
    lo = max(lo, 0)
    for i in range(hi - lo):
        f[A, lo + i] = f[FAST, lo + i] - f[SLOW, lo + i]
    mean_lanes(f, n, lo, hi, A, 25, 33, 0.2, SIGNAL)
    for i in range(hi - lo):
        scale = 1e4 * f[INVERSE + (pos & 63), lo + i]
        line, signal = f[A, lo + i] * scale, f[SIGNAL, lo + i] * scale
        line = line if n[lo + i] >= 25 else np.nan
        signal = signal if n[lo + i] >= 33 else np.nan
        f[VALUES + MACD, lo + i] = line
        f[VALUES + MACD_SIGNAL, lo + i] = signal
        f[VALUES + MACD_HIST, lo + i] = line - signal


@kernel("out f8[:,:], i8[:], i8, i8, i8")
def strength_lanes(f, n, lo, hi, pos):
    """Relative strength index and Chande momentum oscillator of 14 bars, percent; the latter with Wilder's means, as in TA-Lib.

    Notes
    -----
    RSI = 100 gain / (gain + loss), CMO = 100 (gain - loss) / (gain + loss). NaN before 14 changes, and where the price stands still.

    References
    ----------
    Wilder (1978), New concepts in technical trading systems. Chande and Kroll (1994), The new technical trader.
    """
    lo = max(lo, 0)
    for i in range(hi - lo):
        k, change = n[lo + i], f[CLOSES + (pos & 63), lo + i] - f[CLOSES + ((pos - 1) & 63), lo + i]
        gain = wilder_point(k, 14, f[GAIN, lo + i], max(change, 0.0))
        loss = wilder_point(k, 14, f[LOSS, lo + i], max(-change, 0.0))
        f[GAIN, lo + i] = gain
        f[LOSS, lo + i] = loss
        total = np.float64(gain + loss)
        scale = 100.0 / total
        scale = scale if k >= 14 and total > STILL else np.nan
        f[VALUES + RSI, lo + i] = gain * scale
        f[VALUES + CMO, lo + i] = (gain - loss) * scale


@kernel("out f8[:,:], i8[:], i8, i8, i8")
def direction_lanes(f, n, lo, hi, pos):
    """Directional movement of 14 bars: +DI, -DI and ADX, percent.

    Notes
    -----
    Sums start with 13 changes, ADX with 14 values of DX, as in TA-Lib. A DX without movement counts 0 in the start and is left out
    later. NaN: +DI and -DI before 14 changes, ADX before 27, all where there is no range.

    References
    ----------
    Wilder (1978), New concepts in technical trading systems.
    """
    lo = max(lo, 0)
    now, before = pos & 1, (pos - 1) & 1
    for i in range(hi - lo):
        c1 = f[CLOSES + ((pos - 1) & 63), lo + i]
        x = max(f[HIGHS + now, lo + i], c1) - min(f[LOWS + now, lo + i], c1)
        f[TRUE_RANGE, lo + i] = wilder_point(n[lo + i], 13, f[TRUE_RANGE, lo + i], x)
    for i in range(hi - lo):
        a, b = f[HIGHS + now, lo + i] - f[HIGHS + before, lo + i], f[LOWS + before, lo + i] - f[LOWS + now, lo + i]
        x = max(a, 0.0)
        f[MOVE_UP, lo + i] = wilder_point(n[lo + i], 13, f[MOVE_UP, lo + i], x if a > b else 0.0)
    for i in range(hi - lo):
        a, b = f[HIGHS + now, lo + i] - f[HIGHS + before, lo + i], f[LOWS + before, lo + i] - f[LOWS + now, lo + i]
        x = max(b, 0.0)
        f[MOVE_DOWN, lo + i] = wilder_point(n[lo + i], 13, f[MOVE_DOWN, lo + i], x if b > a else 0.0)
    for i in range(hi - lo):
        up, down, old = f[MOVE_UP, lo + i], f[MOVE_DOWN, lo + i], f[DX, lo + i]
        total = up + down
        x = 100.0 * abs(up - down) / total
        kept = old * KEPT if n[lo + i] > 27 else old
        kept = kept + x if total > STILL else old
        f[DX, lo + i] = kept if n[lo + i] > 13 else 0.0
    for i in range(hi - lo):
        scale, k = 100.0 / f[TRUE_RANGE, lo + i], n[lo + i]
        scale = scale if f[TRUE_RANGE, lo + i] > STILL else np.nan
        scale = scale if k >= 14 else np.nan
        adx = f[DX, lo + i] * (1.0 / 14.0)
        adx = adx if scale == scale else np.nan
        f[VALUES + DI_PLUS, lo + i] = f[MOVE_UP, lo + i] * scale
        f[VALUES + DI_MINUS, lo + i] = f[MOVE_DOWN, lo + i] * scale
        f[VALUES + ADX, lo + i] = adx if k >= 27 else np.nan
