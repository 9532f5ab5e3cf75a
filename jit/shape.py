"""Feature family `shape`, tick clock: how mid returns depend on each other and how they are distributed (4 columns; 5 of bars in `shape_bars`)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import FORGOTTEN, ROUNDING
from tickarrow.jit.shape_bars import BAR_COLUMNS, F_ROWS, Q_ROWS, shape_bars

WINDOWS = 2
ENOUGH = 4.0 * (1.0 - 1e-6)  # returns that a window must hold; less rounding, so that four of one time are enough

SHAPE_STATE = record(
    [
        ("fade", "f8", (WINDOWS,)),  # decay since the last return: the sums below are as of that return
        ("r", "f8"),  # the last return, bp
        # pairs of returns that follow each other, x after y: decaying weight, squared weight, means, sums about the means
        ("w", "f8", (WINDOWS,)),
        ("ww", "f8", (WINDOWS,)),
        ("x", "f8", (WINDOWS,)),
        ("y", "f8", (WINDOWS,)),
        ("xx", "f8", (WINDOWS,)),
        ("yy", "f8", (WINDOWS,)),
        ("xy", "f8", (WINDOWS,)),
        # returns, slow window: the same, and sums of powers about the mean
        ("n", "f8"),
        ("nn", "f8"),
        ("m1", "f8"),
        ("m2", "f8"),
        ("m3", "f8"),
        ("m4", "f8"),
        ("opened", "?"),  # the session has had a mid
        ("paired", "?"),  # `r` is of this session
    ]
)


@kernel("SHAPE_STATE, f8", inline=True)
def return_step(s, r):
    """Add a return to the sums.

    Parameters
    ----------
    s : SHAPE_STATE of the symbol, updated in place
    r : float64, bp

    References
    ----------
    Powers about a moving mean: Pebay (2008), Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
    statistical moments (Sandia report 2008-6212), with one value of weight 1 joining decayed ones of weight n.
    """
    for k in range(WINDOWS):
        d = s.fade[k]
        w = s.w[k] * d
        s.ww[k] *= d * d
        s.xx[k] *= d
        s.yy[k] *= d
        s.xy[k] *= d
        if s.paired:
            a = 1.0 / (w + 1.0)
            b = w * a
            dx = r - s.x[k]
            dy = s.r - s.y[k]
            s.ww[k] += 1.0
            s.x[k] += dx * a
            s.y[k] += dy * a
            s.xx[k] += dx * dx * b
            s.yy[k] += dy * dy * b
            s.xy[k] += dx * dy * b
            w += 1.0
        s.w[k] = w
    d = s.fade[1]
    n = s.n * d
    a = 1.0 / (n + 1.0)
    m2 = s.m2 * d
    m3 = s.m3 * d
    delta = r - s.m1
    step = delta * a
    square = step * step
    grown = delta * step * n  # delta**2 n / (n + 1)
    s.m4 = s.m4 * d + grown * square * (n * n - n + 1.0) + 6.0 * square * m2 - 4.0 * step * m3
    s.m3 = m3 + grown * step * (n - 1.0) - 3.0 * step * m2
    s.m2 = m2 + grown
    s.m1 += step
    s.n = n + 1.0
    s.nn = s.nn * (d * d) + 1.0
    s.fade[0] = 1.0
    s.fade[1] = 1.0
    s.r = r
    s.paired = True


@kernel("SHAPE_STATE, EVENT, i8[:]")
def shape_step(s, e, w):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : SHAPE_STATE of the symbol, updated in place
    e : EVENT. The clock is the change of the mid, as in family `volatility`: other rows only let time pass
    w : (2,) int64, windows in `e.decay`, fast and slow

    Notes
    -----
    The change of the mid over the night is no return: one gap of 100 bp would be the kurtosis for an hour.
    """
    for k in range(WINDOWS):
        s.fade[k] *= e.decay[w[k]]
    if e.new_session:
        s.opened = False
        s.paired = False
    if e.is_quote:
        if e.moved and s.opened:
            return_step(s, e.r)
        if e.mid == e.mid:
            s.opened = True


@kernel("SHAPE_STATE, EVENT, i8[:], out f8[:], i8")
def shape_emit(s, e, w, v, at):
    """Write the columns of a symbol as of its last tick.

    Parameters
    ----------
    s : SHAPE_STATE of the symbol
    e : EVENT, the due row
    w : (2,) int64, windows in `e.decay`, fast and slow
    v : float64, columns v[at], v[at + 1], ... are written
    at : int64

    Notes
    -----
    r is the return of a change of the mid, r' the one before it in the same session; all moments have weights exp(-age / tau).

    0, 1   cov(r, r') / sqrt(var(r) var(r')) over the pairs
    2      m3 / m2**1.5, slow window
    3      m4 / m2**2 - 3, slow window; 0 for a normal distribution

    NaN: while the window holds fewer than four pairs or returns in effect, (sum of weights)**2 / sum of squared weights, Kish (1965):
    the moments of less are those of one return; and where all returns are equal.
    """
    for k in range(WINDOWS):
        c = np.nan
        n = s.w[k]
        if n * n > ENOUGH * s.ww[k] and n * s.fade[k] > FORGOTTEN:
            least = ROUNDING * n
            if s.xx[k] > least * s.x[k] * s.x[k] and s.yy[k] > least * s.y[k] * s.y[k]:
                c = min(max(s.xy[k] / np.sqrt(s.xx[k] * s.yy[k]), -1.0), 1.0)
        v[at + k] = c
    skewness = kurtosis = np.nan
    if s.n * s.n > ENOUGH * s.nn and s.n * s.fade[1] > FORGOTTEN and s.m2 > ROUNDING * s.n * s.m1 * s.m1:
        a = s.n / s.m2
        skewness = s.m3 * a * np.sqrt(a) / s.n
        kurtosis = s.m4 * a * a / s.n - 3.0
    v[at + 2] = skewness
    v[at + 3] = kurtosis


def columns(tau_s):
    """Columns of the tick clock for two windows."""
    names = [f"{t:g}s" for t in tau_s]
    windows = [f"{t:g} s" for t in tau_s]
    warm_up = "NaN while the window holds fewer than 4 {} in effect (Kish 1965) or all are equal"
    about = "(r - mean)"
    return [
        *(
            Column(
                f"return_autocorr_{n}", "1", "corr(r, r') = cov / sqrt(var var'), r' the mid return before r, EW over the pairs",
                "Box and Jenkins (1970)", t, warm_up.format("pairs"), "statsmodels DescrStatsW; pandas Series.autocorr",
            )
            for n, t in zip(names, windows)
        ),
        Column(
            f"skewness_{names[1]}", "1", f"EW mean {about}^3 / (EW mean {about}^2)^1.5", "Pebay (2008)", windows[1], warm_up.format("returns"),
            "scipy.stats skew; pandas ewm(times=)",
        ),
        Column(
            f"kurtosis_{names[1]}", "1", f"EW mean {about}^4 / (EW mean {about}^2)^2 - 3", "Pebay (2008)", windows[1], warm_up.format("returns"),
            "scipy.stats kurtosis; pandas ewm(times=)",
        ),
    ]  # fmt: skip


FAMILY = Family(
    "shape", 1, columns, (30.0, 300.0), WINDOWS, SHAPE_STATE, shape_step, shape_emit,
    f_rows=F_ROWS, q_rows=Q_ROWS, bars=shape_bars, bar_columns=BAR_COLUMNS,
)  # fmt: skip
