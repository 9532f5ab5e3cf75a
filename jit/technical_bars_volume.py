"""Bar clock of family `technical`, part volume: money flow, on-balance and accumulation volume, distance to the rolling VWAP. Sums of
float64 are made of sums of 2, 4 and 20 bars, each the sum of two or more shorter ones: nothing is ever subtracted, so nothing drifts, and
the bits of a value depend on its window only."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.bars import NOTIONAL, VOLUME
from tickarrow.jit.technical_bars_rows import (
    A, ACCUMULATION, BALANCE, CLOSES, DOWN_1, HIGHS, LOWS, MFI, NOTIONAL_1, OBV_SLOPE, TYPICAL, UP_1, VALUES, VOLUME_1, VWAP,
)  # fmt: skip


@kernel("out f8[:,:], f8[:,:], i8, i8, i8, i8, i8")
def sums_lanes(f, flow, lo, hi, pos, quantity, ring):
    """Enter row `quantity` of `flow` into the rings of its sums: rows from `ring`, 2 of values, 4, 32 and 64 of sums of 2, 4 and 20 bars."""
    lo = max(lo, 0)
    one, two, four, twenty = ring, ring + 2, ring + 6, ring + 38
    for i in range(hi - lo):
        x = flow[quantity, lo + i]
        s2 = x + f[one + ((pos - 1) & 1), lo + i]
        s4 = s2 + f[two + ((pos - 2) & 3), lo + i]
        s12 = f[four + ((pos - 8) & 31), lo + i] + f[four + ((pos - 12) & 31), lo + i] + f[four + ((pos - 16) & 31), lo + i]
        f[twenty + (pos & 63), lo + i] = (s4 + f[four + ((pos - 4) & 31), lo + i]) + s12
        f[one + (pos & 1), lo + i] = x
        f[two + (pos & 3), lo + i] = s2
        f[four + (pos & 31), lo + i] = s4


@kernel("out f8[:,:], f8[:,:], f8[:], i8[:], i8, i8, i8")
def vwap_lanes(f, flow, unit, n, lo, hi, pos):
    """Distance of the close to the volume-weighted average price of 60 bars, bp; NaN without volume in them. Enters the bar's volume and leaves
    1 / volume of the last 20 bars in scratch A, NaN without volume.

    References
    ----------
    Berkowitz, Logue and Noser (1988), The total cost of transactions on the NYSE.
    """
    for k in range(2):
        sums_lanes(f, flow, lo, hi, pos, (VOLUME, NOTIONAL)[k], (VOLUME_1, NOTIONAL_1)[k])
    lo = max(lo, 0)
    v, w, r0, r1, r2 = VOLUME_1 + 38, NOTIONAL_1 + 38, pos & 63, (pos - 20) & 63, (pos - 40) & 63
    for i in range(hi - lo):
        last = f[v + r0, lo + i]
        value = (last + f[v + r1, lo + i] + f[v + r2, lo + i]) * unit[lo + i] * f[CLOSES + (pos & 63), lo + i]
        money = f[w + r0, lo + i] + f[w + r1, lo + i] + f[w + r2, lo + i]
        x = 1e4 * (value - money) / money
        inverse = 1.0 / last
        f[VALUES + VWAP, lo + i] = x if n[lo + i] >= 59 and money > 0.0 else np.nan
        f[A, lo + i] = inverse if last > 0.0 else np.nan


@kernel("out f8[:,:], i8[:], i8, i8, i8")
def money_flow_lanes(f, n, lo, hi, pos):
    """Money flow index of 14 bars, percent: the share of typical price times volume in bars whose typical price has risen.

    Notes
    -----
    A bar with an unchanged typical price counts on neither side. NaN before 14 changes, and where neither side has volume.

    References
    ----------
    Quong and Soudack (1989), Volume-weighted RSI: money flow.
    """
    lo = max(lo, 0)
    for side in range(2):  # up, down: rows from `one`, 2 of values, 16 and 16 of sums of 2 and 4 bars
        one, sign, ups = (DOWN_1 if side else UP_1), 1.0 - 2.0 * float(side), f[VALUES + MFI]
        two, four = one + 2, one + 18
        for i in range(hi - lo):
            x = f[TYPICAL + (pos & 31), lo + i]
            flow = x * f[VOLUME_1 + (pos & 1), lo + i]
            flow = flow if sign * (x - f[TYPICAL + ((pos - 1) & 31), lo + i]) > 0.0 else 0.0
            s2 = flow + f[one + ((pos - 1) & 1), lo + i]
            s4 = s2 + f[two + ((pos - 2) & 15), lo + i]
            total = (s4 + f[four + ((pos - 4) & 15), lo + i]) + (f[four + ((pos - 8) & 15), lo + i] + f[two + ((pos - 12) & 15), lo + i])
            f[one + (pos & 1), lo + i] = flow
            f[two + (pos & 15), lo + i] = s2
            f[four + (pos & 15), lo + i] = s4
            share = 100.0 * ups[lo + i] / (ups[lo + i] + total)
            share = share if n[lo + i] >= 14 and ups[lo + i] + total > 0.0 else np.nan
            ups[lo + i] = share if side else total


@kernel("out f8[:,:], i8[:], i8, i8, i8, i8, i8")
def line_slope_lanes(f, n, lo, hi, pos, ring, column):
    """Slope of the least-squares line through the last 20 values of a running total, per bar, over the mean volume of the 20 bars.

    Notes
    -----
    The slope depends on the last 19 increments only: with v_k the increment k bars ago it is sum (k + 1)(19 - k) v_k / 1330. So the total,
    which would grow for ever, is not kept. NaN where the 20 bars have no volume.
    """
    lo = max(lo, 0)
    for i in range(hi - lo):
        s = 0.0
        for k in range(19):
            s += float((k + 1) * (19 - k)) * f[ring + ((pos - k) & 31), lo + i]
        s *= (20.0 / 1330.0) * f[A, lo + i]
        f[VALUES + column, lo + i] = s if n[lo + i] >= 19 else np.nan


@kernel("out f8[:,:], i8[:], i8, i8, i8")
def lines_lanes(f, n, lo, hi, pos):
    """Slopes of the on-balance volume and of the accumulation/distribution line over 20 bars, in mean volumes of a bar.

    Notes
    -----
    On-balance volume adds the volume signed by the change of the close; the accumulation/distribution line adds the volume times
    ((close - low) - (high - close)) / (high - low), nothing in a bar without range.

    References
    ----------
    Granville (1963), New key to stock market profits (on-balance volume). Chaikin's accumulation/distribution line: Achelis (2000),
    Technical analysis from A to Z.
    """
    lo = max(lo, 0)
    for i in range(hi - lo):
        volume, c, c1 = f[VOLUME_1 + (pos & 1), lo + i], f[CLOSES + (pos & 63), lo + i], f[CLOSES + ((pos - 1) & 63), lo + i]
        h, low = f[HIGHS + (pos & 1), lo + i], f[LOWS + (pos & 1), lo + i]
        up = volume if c > c1 else 0.0
        f[BALANCE + (pos & 31), lo + i] = -volume if c < c1 else up
        x = ((c - low) - (h - c)) * volume / (h - low)
        f[ACCUMULATION + (pos & 31), lo + i] = x if h > low else 0.0
    for k in range(2):
        line_slope_lanes(f, n, lo, hi, pos, (BALANCE, ACCUMULATION)[k], OBV_SLOPE + k)
