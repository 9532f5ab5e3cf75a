"""Family `volatility`, bar clock: volatility from the range of bars, and how much it varies (7 columns)."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.bars import CLOSE, HIGH, LOW, OPEN, UNITS, VARIANCE
from tickarrow.jit.event import CLOCK
from tickarrow.jit.feature import Column
from tickarrow.jit.lanes import lanes_square, lanes_sum
from tickarrow.jit.math import log_point

WINDOW = 20  # bars, of the range estimators
WILDER = 14  # bars, of the average true range
LONG = 60  # bars, of the volatility of volatility
LN2 = 0.6931471805599453
K = 0.34 / (1.34 + (WINDOW + 1) / (WINDOW - 1))  # weight of the open-to-close variance that makes the estimate's variance least

# Rows of f: rings, the average true range (units), sums
RANGE, BODY, ROGERS, GAP, REALISED = 0, WINDOW, 2 * WINDOW, 3 * WINDOW, 4 * WINDOW
ATR, MEAN, SQUARES, BODIES, GAPS = range(REALISED + LONG, REALISED + LONG + 5)
F_ROWS = GAPS + 1
BEFORE_CLOSE, TRUE_RANGES = range(2)  # rows of q, units; the second is the sum that the average true range begins with
Q_ROWS = 2

T15, T20 = "NaN before the 15th bar", "NaN before the 20th bar"
BAR_COLUMNS = (
    Column(
        "parkinson_20b", "bp per bar", "1e4 sqrt(mean ln(H/L)^2 / (4 ln 2))", "Parkinson (1980)", "20 bars", T20,
        "wickra ParkinsonVolatility", "trades",
    ),
    Column(
        "garman_klass_20b", "bp per bar", "1e4 sqrt(mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2))", "Garman and Klass (1980)", "20 bars", T20,
        "wickra GarmanKlassVolatility", "trades",
    ),
    Column(
        "rogers_satchell_20b", "bp per bar", "1e4 sqrt(mean(ln(H/C) ln(H/O) + ln(L/C) ln(L/O)))", "Rogers and Satchell (1991)", "20 bars", T20,
        "wickra RogersSatchellVolatility", "trades",
    ),
    Column(
        "yang_zhang_20b", "bp per bar", "1e4 sqrt(var ln(O/C') + k var ln(C/O) + (1 - k) rogers_satchell^2), k = 0.34 / (1.34 + 21/19)",
        "Yang and Zhang (2000)", "20 bars", "NaN before the 21st bar", "wickra YangZhangVolatility", "trades",
    ),
    Column(
        "atr_14b", "ticks", "mean of max(H, C') - min(L, C') over 14 bars, then (13 ATR' + range) / 14; times the tick = TA-Lib's",
        "Wilder (1978)", "14 bars", T15, "TA-Lib ATR", "trades",
    ),
    Column("natr_14b", "bp", "1e4 atr_14b tick / C; TA-Lib's is in percent", "Wilder (1978)", "14 bars", T15, "TA-Lib NATR", "trades"),
    Column(
        "vol_of_vol_60b", "bp per bar", "standard deviation (n - 1) of sqrt(sum r^2 within the bar)", "Andersen and Bollerslev (1998): realised "
        "volatility", "60 bars", "NaN before the 60th bar", "pandas rolling std",
    ),
)  # fmt: skip


@kernel("out f8[:,:], out i8[:,:], i8[:,:], f8[:,:], i8[:], f8[:], i8[:], i8[:,:], CLOCK, i8, i8, i8, out f8[:,:]")
def volatility_bars(f, q, price, flow, base, unit, n, when, clock, lo, hi, pos, out):
    """Columns of the bars that closed in lanes [lo, hi), see `BAR_COLUMNS`.

    Parameters
    ----------
    f : (F_ROWS, S) float64, q : (Q_ROWS, S) int64, updated in place
    price : (4, S) int64, flow : (5, S) float64, base : (S,) int64, unit : (S,) float64, n : (S,) int64, when : (2, S) int64, clock : CLOCK,
        lo, hi, pos : see `bars`
    out : (S, 7) float64. NaN until 20 bars (columns 0 to 2), 21 (3), 15 (4, 5) and 60 (6)

    Notes
    -----
    Variances of Yang and Zhang's estimate are about the mean, over n - 1. True ranges are exact in units; the average decays from there.

    References
    ----------
    Parkinson (1980); Garman and Klass (1980), their practical estimator; Rogers and Satchell (1991); Yang and Zhang
    (2000); Wilder (1978), New concepts in technical trading systems.
    """
    for k in range(lo, hi):
        if n[k] < 0:
            continue
        close = price[CLOSE, k]
        opened = float(base[k] + price[OPEN, k])
        up = log_point(float(base[k] + price[HIGH, k]) / opened)
        down = log_point(float(base[k] + price[LOW, k]) / opened)
        body = log_point(float(base[k] + close) / opened)
        slot = pos % WINDOW
        f[RANGE + slot, k] = (up - down) * (up - down)
        f[BODY + slot, k] = body
        f[ROGERS + slot, k] = (up - body) * up + (down - body) * down
        f[REALISED + pos % LONG, k] = np.sqrt(flow[VARIANCE, k])
        if n[k] > 0:
            before = q[BEFORE_CLOSE, k]
            f[GAP + slot, k] = log_point(opened / float(base[k] + before))
            wide = max(price[HIGH, k], before) - min(price[LOW, k], before)
            if n[k] > WILDER:
                f[ATR, k] = (f[ATR, k] * (WILDER - 1.0) + float(wide)) / WILDER
            else:
                q[TRUE_RANGES, k] = wide if n[k] == 1 else q[TRUE_RANGES, k] + wide
                f[ATR, k] = float(q[TRUE_RANGES, k]) / WILDER
        q[BEFORE_CLOSE, k] = close

    lanes_sum(f, MEAN, BODY, WINDOW, WINDOW, pos, lo, hi)
    for k in range(lo, hi):
        f[MEAN, k] /= WINDOW
    lanes_square(f, BODIES, BODY, WINDOW, WINDOW, MEAN, pos, lo, hi)
    for k in range(lo, hi):
        f[GAPS, k] = f[MEAN, k] * f[MEAN, k] * WINDOW + f[BODIES, k]  # sum of ln(C/O)^2
    lanes_sum(f, SQUARES, RANGE, WINDOW, WINDOW, pos, lo, hi)
    for k in range(lo, hi):
        x, y = f[SQUARES, k] / WINDOW, f[GAPS, k] / WINDOW
        warm = n[k] >= WINDOW - 1
        out[k, 0] = 1e4 * np.sqrt(x / (4.0 * LN2)) if warm else np.nan
        out[k, 1] = 1e4 * np.sqrt(max(0.5 * x - (2.0 * LN2 - 1.0) * y, 0.0)) if warm else np.nan
    lanes_sum(f, MEAN, GAP, WINDOW, WINDOW, pos, lo, hi)
    for k in range(lo, hi):
        f[MEAN, k] /= WINDOW
    lanes_square(f, GAPS, GAP, WINDOW, WINDOW, MEAN, pos, lo, hi)
    lanes_sum(f, SQUARES, ROGERS, WINDOW, WINDOW, pos, lo, hi)
    for k in range(lo, hi):
        x = max(f[SQUARES, k] / WINDOW, 0.0)
        y = f[GAPS, k] / (WINDOW - 1.0) + K * (f[BODIES, k] / (WINDOW - 1.0)) + (1.0 - K) * x
        out[k, 2] = 1e4 * np.sqrt(x) if n[k] >= WINDOW - 1 else np.nan
        out[k, 3] = 1e4 * np.sqrt(y) if n[k] >= WINDOW else np.nan
        warm = n[k] >= WILDER
        out[k, 4] = f[ATR, k] / UNITS if warm else np.nan
        out[k, 5] = 1e4 * f[ATR, k] / float(base[k] + price[CLOSE, k]) if warm else np.nan
    lanes_sum(f, MEAN, REALISED, LONG, LONG, pos, lo, hi)
    for k in range(lo, hi):
        f[MEAN, k] /= LONG
    lanes_square(f, SQUARES, REALISED, LONG, LONG, MEAN, pos, lo, hi)
    for k in range(lo, hi):
        out[k, 6] = np.sqrt(f[SQUARES, k] / (LONG - 1.0)) if n[k] >= LONG - 1 else np.nan
