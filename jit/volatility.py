"""Feature family `volatility`, part of the tick clock: decaying sums of squared mid returns (11 columns with four windows)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import FORGOTTEN, MAX_TAU, ratio_point
from tickarrow.jit.volatility_bars import BAR_COLUMNS, F_ROWS, Q_ROWS, volatility_bars

TAU_S = (1.0, 5.0, 30.0, 300.0)

HALF_PI = 1.5707963267948966
GRIDS = 5.0  # sub-grids of the two-scale estimator

VOLATILITY_STATE = record(
    [
        ("rv", "f8", (MAX_TAU,)),  # sum of r^2, bp^2, one per window
        ("bv", "f8", (2,)),  # sum of |r| |r'|, two slowest windows
        ("up", "f8"),  # slowest window: sums of r^2 by sign of r
        ("down", "f8"),
        ("coarse", "f8"),  # sum of (r of 5 steps)^2 / 5, and of r^2 over the same steps
        ("fine", "f8"),
        ("r1", "f8"),  # the last four returns
        ("r2", "f8"),
        ("r3", "f8"),
        ("r4", "f8"),
        ("quotes", "i8"),  # two-sided quote rows, counted to 2
        ("changes", "i8"),  # mid changes, counted to 5
    ]
)


@kernel("VOLATILITY_STATE, EVENT, i8[:]")
def volatility_step(s, e, w):
    """Bring the state of a symbol forward by one tick; a trade lets time pass.

    Parameters
    ----------
    s : VOLATILITY_STATE of the symbol, updated in place
    e : EVENT
    w : (n_tau,) int64, windows, slowest last

    Notes
    -----
    The clock is the change of the mid: a quote row without a mid, or with the same one, only lets time pass. So repeated and
    size-only updates, of which a feed may send any number, change no estimate. r = 1e4 ln(mid / last mid); a session begins anew.
    """
    if e.new_session:
        s.quotes = 0
        s.changes = 0
        s.r1 = 0.0
    r2 = pair = up = down = coarse = fine = 0.0
    if e.is_quote and e.mid > 0.0:
        s.quotes = min(s.quotes + 1, 2)
    if e.moved:
        r = e.r
        r2 = r * r
        if r > 0.0:
            up = r2
        else:
            down = r2
        pair = abs(r) * abs(s.r1)
        if s.changes >= 4:
            five = r + s.r1 + s.r2 + s.r3 + s.r4
            coarse = five * five / GRIDS
            fine = r2
        s.r4 = s.r3
        s.r3 = s.r2
        s.r2 = s.r1
        s.r1 = r
        s.changes = min(s.changes + 1, 5)
    n = w.size
    d = 1.0
    for k in range(n):
        d = e.decay[w[k]]
        s.rv[k] = s.rv[k] * d + r2
        j = k - (n - 2) if n > 1 else 0
        if j >= 0:
            s.bv[j] = s.bv[j] * d + pair
    s.up = s.up * d + up
    s.down = s.down * d + down
    s.coarse = s.coarse * d + coarse
    s.fine = s.fine * d + fine


@kernel("VOLATILITY_STATE, EVENT, i8[:], out f8[:], i8")
def volatility_emit(s, e, w, v, at):
    """Write the columns of a symbol as of its last tick, as `columns` names them, to v[at:].

    Parameters
    ----------
    s : VOLATILITY_STATE of the symbol
    e : EVENT, not used
    w : (n_tau,) int64, windows, slowest last
    v : (n_all,) float64
    at : int64

    Notes
    -----
    S(.) is a decaying sum over mid changes, slow the last of tau_s, before the one before it.

    rv_*          sqrt(S(r^2)), bp; Andersen and Bollerslev (1998)
    bipower_*     pi/2 S(|r| |r'|), bp^2; Barndorff-Nielsen and Shephard (2004)
    jump_share    max(0, 1 - bipower / S(r^2)), slow
    semivar_up, semivar_down  S(r^2; r > 0), S(r^2; r < 0), bp^2, slow; Barndorff-Nielsen, Kinnebrock and Shephard (2010)
    noise         1 - X / A, slow: A = S(r^2), C = S(r5^2) / 5 with r5 the return of 5 steps, X = (C - A / 5) / (1 - 1/5)
                  the two-scale variance of 5 sub-grids; Zhang, Mykland and Ait-Sahalia (2005). 0 for a random walk, about 1 for
                  pure bounce (1.25 at most), negative for a trend
    rv_ratio      rv before / rv slow; not there with one window

    NaN: rv and semivariances before the second two-sided quote, bipower and jump share before the second mid change,
    noise before the fifth, and every ratio to a variance of 0.
    """
    nan = np.nan
    n = w.size
    seen = s.quotes >= 2
    last = n - 1
    both = min(n, 2)
    c = at + n
    for k in range(n):
        v[at + k] = np.sqrt(s.rv[k]) if seen else nan
    for j in range(both):
        v[c] = HALF_PI * s.bv[j] if s.changes >= 2 else nan
        c += 1
    jump = nan
    if s.changes >= 2 and s.rv[last] > FORGOTTEN:
        jump = max(0.0, 1.0 - HALF_PI * s.bv[both - 1] / s.rv[last])
    v[c] = jump
    v[c + 1] = s.up if seen else nan
    v[c + 2] = s.down if seen else nan
    noise = nan
    if s.fine > FORGOTTEN:
        noise = 1.0 - (s.coarse / s.fine - 1.0 / GRIDS) / (1.0 - 1.0 / GRIDS)
    v[c + 3] = noise
    if n > 1:
        v[c + 4] = np.sqrt(ratio_point(s.rv[last - 1], s.rv[last]))


def columns(tau_s):
    """Columns in the order of `volatility_emit`."""
    names = [f"{t:g}s" for t in tau_s]
    slow = names[-1]
    windows = [f"{w:g} s" for w in tau_s]
    long = windows[-1]
    quotes, changes = "NaN before the second two-sided quote", "NaN before the second change of the mid"
    return [
        *(Column(f"rv_{n}", "bp", "sqrt(S(r^2))", "Andersen and Bollerslev (1998)", w, quotes, "pandas ewm(times=)") for n, w in zip(names, windows)),
        *(Column(f"bipower_{n}", "bp^2", "pi/2 S(|r| |r before|)", "Barndorff-Nielsen and Shephard (2004)", w, changes,
                 "wickra BipowerVariation; pandas ewm(times=)")
          for n, w in zip(names[-2:], windows[-2:])),
        Column(f"jump_share_{slow}", "1", "max(0, 1 - bipower / S(r^2))", "Barndorff-Nielsen and Shephard (2004)", long, changes, "numpy"),
        Column(f"semivar_up_{slow}", "bp^2", "S(r^2; r > 0)", "Barndorff-Nielsen, Kinnebrock and Shephard (2010)", long, quotes, "numpy"),
        Column(f"semivar_down_{slow}", "bp^2", "S(r^2; r < 0)", "Barndorff-Nielsen, Kinnebrock and Shephard (2010)", long, quotes, "numpy"),
        Column(f"noise_{slow}", "1", "1 - X / A, X the two-scale variance of 5 sub-grids", "Zhang, Mykland and Ait-Sahalia (2005)", long,
               "NaN before the fifth change of the mid", "numpy"),
        *(Column(f"rv_ratio_{a}_{b}", "1", "rv fast / rv slow", "", long, "NaN before the first change of the mid", "numpy")
          for a, b in zip(names[-2:-1], names[-1:])),
    ]  # fmt: skip


FAMILY = Family(
    "volatility", 2, columns, TAU_S, 0, VOLATILITY_STATE, volatility_step, volatility_emit,
    f_rows=F_ROWS, q_rows=Q_ROWS, bars=volatility_bars, bar_columns=BAR_COLUMNS,
)  # fmt: skip
