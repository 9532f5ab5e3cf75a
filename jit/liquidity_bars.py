"""Family `liquidity`, bar clock: what trading a bar's money moves, and the spread that its high and low betray (2 columns)."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.bars import CLOSE, HIGH, LOW, NOTIONAL
from tickarrow.jit.event import CLOCK
from tickarrow.jit.feature import Column
from tickarrow.jit.lanes import lanes_fill, lanes_sum, oldest_point
from tickarrow.jit.math import expm1_point, log_point

WINDOW = 20  # bars
ROOT = 3.0 - 2.0 * np.sqrt(2.0)

# Rows of f: rings of both quantities, ln(H/L) of the bar before, sums
AMIHUD, SPREAD, RANGE, TOTAL, COUNT = 0, WINDOW, 2 * WINDOW, 2 * WINDOW + 1, 2 * WINDOW + 2
F_ROWS = COUNT + 1
BEFORE_HIGH, BEFORE_LOW, BEFORE_CLOSE = range(3)  # rows of q, units
Q_ROWS = 3

BAR_COLUMNS = (
    Column(
        "amihud_20b",
        "bp per million of currency",
        "mean of 1e4 |ln(C/C')| / (notional / 1e6) over the bars with volume",
        "Amihud (2002), Illiquidity and stock returns",
        "20 bars",
        "NaN before the 21st bar, and while none of the last 20 has volume",
        "wickra AmihudIlliquidity",
        "every trade",
    ),
    Column(
        "corwin_schultz_20b",
        "bp",
        "mean of 1e4 max(0, 2 (e^A - 1) / (1 + e^A)), A = (sqrt(2 B) - sqrt(B)) / (3 - 2 sqrt(2)) - sqrt(G / (3 - 2 sqrt(2))), "
        "B = ln(H'/L')^2 + ln(H/L)^2, G = ln(max(H, H') / min(L, L'))^2",
        "Corwin and Schultz (2012), A simple way to estimate bid-ask spreads from daily high and low prices",
        "20 pairs of bars",
        "NaN before the 21st bar",
        "numpy",
        "trades",
    ),
)


@kernel("f8, f8", inline=True)
def corwin_schultz_point(beta, gamma):
    """Spread as a share of the price from the squared ranges of two bars and of both together; below 0 counts as 0.

    Parameters
    ----------
    beta : float64, sum of ln(H/L)^2 of the two bars
    gamma : float64, ln(H/L)^2 of the two bars taken as one
    """
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / ROOT - np.sqrt(gamma / ROOT)
    grown = expm1_point(alpha)
    return max(2.0 * grown / (2.0 + grown), 0.0)


@kernel("out f8[:,:], out i8[:,:], i8[:,:], f8[:,:], i8[:], f8[:], i8[:], i8[:,:], CLOCK, i8, i8, i8, out f8[:,:]")
def liquidity_bars(f, q, price, flow, base, unit, n, when, clock, lo, hi, pos, out):
    """Columns of the bars that closed in lanes [lo, hi), see `BAR_COLUMNS`.

    Parameters
    ----------
    f : (F_ROWS, S) float64, q : (Q_ROWS, S) int64, updated in place
    price : (4, S) int64, flow : (5, S) float64, base : (S,) int64, unit : (S,) float64, n : (S,) int64, when : (2, S) int64, clock : CLOCK,
        lo, hi, pos : see `bars`
    out : (S, 2) float64. NaN until 21 bars, and the first where none of the last 20 bars has volume

    Notes
    -----
    The high and the low of a bar that lies wholly above (below) the close before it are moved by the gap, as Corwin and Schultz do it over
    night: between bars within the day the price is as free to jump as between days.

    References
    ----------
    Amihud (2002); with logarithmic returns. Corwin and Schultz (2012); negative estimates are set to zero one by one.
    """
    slot = pos % WINDOW
    for k in range(lo, hi):
        if n[k] < 0:
            continue
        high, low, close = price[HIGH, k], price[LOW, k], price[CLOSE, k]
        own = log_point(float(base[k] + high) / float(base[k] + low))
        before = q[BEFORE_CLOSE, k]
        if n[k] > 0:
            gap = max(low - before, 0) + min(high - before, 0)
            up, down = high - gap, low - gap
            moved = own if gap == 0 else log_point(float(base[k] + up) / float(base[k] + down))
            both = log_point(float(base[k] + max(up, q[BEFORE_HIGH, k])) / float(base[k] + min(down, q[BEFORE_LOW, k])))
            beta = f[RANGE, k] * f[RANGE, k] + moved * moved
            f[SPREAD + slot, k] = 1e4 * corwin_schultz_point(beta, both * both)
            f[AMIHUD + slot, k] = np.nan
            if flow[NOTIONAL, k] > 0.0:
                r = log_point(float(base[k] + close) / float(base[k] + before))
                f[AMIHUD + slot, k] = 1e10 * abs(r) / flow[NOTIONAL, k]
        f[RANGE, k] = own
        q[BEFORE_HIGH, k], q[BEFORE_LOW, k], q[BEFORE_CLOSE, k] = high, low, close

    lanes_fill(f, TOTAL, 0.0, lo, hi)
    lanes_fill(f, COUNT, 0.0, lo, hi)
    total, count = f[TOTAL, lo:hi], f[COUNT, lo:hi]
    i = oldest_point(WINDOW, WINDOW, pos)
    for _ in range(WINDOW):
        x = f[AMIHUD + i, lo:hi]
        for k in range(total.size):
            known = x[k] == x[k]
            total[k] += x[k] if known else 0.0
            count[k] += 1.0 if known else 0.0
        i += 1
        if i == WINDOW:
            i = 0
    for k in range(lo, hi):
        out[k, 0] = f[TOTAL, k] / f[COUNT, k] if n[k] >= WINDOW and f[COUNT, k] > 0.0 else np.nan
    lanes_sum(f, TOTAL, SPREAD, WINDOW, WINDOW, pos, lo, hi)
    for k in range(lo, hi):
        out[k, 1] = f[TOTAL, k] / WINDOW if n[k] >= WINDOW else np.nan
