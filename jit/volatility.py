"""Feature family `volatility`, part of the tick clock: decaying sums of squared mid returns (11 columns with four windows)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.math import log_point
from tickarrow.jit.moments import FORGOTTEN, MAX_TAU, decay_point, moved_point, ratio_point, store_point
from tickarrow.jit.trigger import QUOTE

VERSION = 1
TAU_S = (1.0, 5.0, 30.0, 300.0)
INPUTS = ("ts", "symbol", "kind", "bid", "ask")

HALF_PI = 1.5707963267948966
GRIDS = 5.0  # sub-grids of the two-scale estimator

VOLATILITY_STATE = record(
    [
        ("ts", "i8"),  # of the last quote row
        ("mid", "f8"),
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
        ("started", "?"),
    ]
)


def columns(tau_s):
    """Names of the columns in the order of `volatility_emit`."""
    names = [f"{t:g}s" for t in tau_s]
    slow = names[-1]
    return [
        *(f"rv_{n}" for n in names), *(f"bipower_{n}" for n in names[-2:]), f"jump_share_{slow}", f"semivar_up_{slow}",
        f"semivar_down_{slow}", f"noise_{slow}", *(f"rv_ratio_{a}_{b}" for a, b in zip(names[-2:-1], names[-1:])),
    ]  # fmt: skip


@kernel("VOLATILITY_STATE, f8[:], f8, i8, u1, f8, f8", inline=True)
def volatility_step(s, rate, tick_size, ts, kind, bid, ask):
    """Bring the state of a symbol forward by one tick; trades change nothing.

    Parameters
    ----------
    s : VOLATILITY_STATE of the symbol, updated in place
    rate : (n_tau,) float64, -1e-9 / tau_s, slowest last
    tick_size : float64, currency
    ts : int64, ns; a time before the last one counts as no time
    kind : uint8, Kind
    bid, ask : float64, currency, NaN = missing

    Notes
    -----
    The clock is the change of the mid: a quote row without a mid, or with the same one, only lets time pass. So repeated and
    size-only updates, of which a feed may send any number, change no estimate. r = 1e4 ln(mid / last mid).
    """
    if kind != QUOTE:
        return
    dt = ts - s.ts if s.started else 0
    if dt > 0 or not s.started:
        s.ts = ts
    s.started = True
    r = r2 = pair = up = down = coarse = fine = 0.0
    mid = 0.5 * (bid + ask)
    if mid > 0.0:
        if s.quotes == 0:
            s.mid = mid
        s.quotes = min(s.quotes + 1, 2)
    if mid > 0.0 and moved_point(mid, s.mid, tick_size):
        r = 1e4 * log_point(mid / s.mid)
        s.mid = mid
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
    n = rate.size
    d = 1.0
    for k in range(n):
        d = decay_point(dt, rate[k])
        s.rv[k] = s.rv[k] * d + r2
        j = k - (n - 2) if n > 1 else 0
        if j >= 0:
            s.bv[j] = s.bv[j] * d + pair
    s.up = s.up * d + up
    s.down = s.down * d + down
    s.coarse = s.coarse * d + coarse
    s.fine = s.fine * d + fine


@kernel("VOLATILITY_STATE, i8, i4[:], i8, out f4[:,:]", inline=True)
def volatility_emit(s, n, where, row, x):
    """Write the columns of a symbol as of its last tick.

    Parameters
    ----------
    s : VOLATILITY_STATE of the symbol
    n : int64, number of windows
    where : (n_columns of the family,) int32, column of x, -1 = not wanted
    row : int64, row of x
    x : (capacity, n_features) float32

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
    seen = s.quotes >= 2
    last = n - 1
    both = min(n, 2)
    c = n
    for k in range(n):
        store_point(x, row, where, k, np.sqrt(s.rv[k]) if seen else nan)
    for j in range(both):
        store_point(x, row, where, c, HALF_PI * s.bv[j] if s.changes >= 2 else nan)
        c += 1
    jump = nan
    if s.changes >= 2 and s.rv[last] > FORGOTTEN:
        jump = max(0.0, 1.0 - HALF_PI * s.bv[both - 1] / s.rv[last])
    store_point(x, row, where, c, jump)
    store_point(x, row, where, c + 1, s.up if seen else nan)
    store_point(x, row, where, c + 2, s.down if seen else nan)
    noise = nan
    if s.fine > FORGOTTEN:
        noise = 1.0 - (s.coarse / s.fine - 1.0 / GRIDS) / (1.0 - 1.0 / GRIDS)
    store_point(x, row, where, c + 3, noise)
    if n > 1:
        store_point(x, row, where, c + 4, np.sqrt(ratio_point(s.rv[last - 1], s.rv[last])))


@kernel("VOLATILITY_STATE[:], f8[:], i4[:], f8[:], i8[:], i4[:], u1[:], f8[:], f8[:], i8, i8, i8, u8[:], i8, i8, out f4[:,:]")
def volatility_update(state, rate, where, tick_size, ts, symbol, kind, bid, ask, lo, hi, first, row_seq, row_lo, row_hi, x):
    """Walk the ticks and write the family's columns of the due rows.

    Parameters
    ----------
    state : (n_symbols,) VOLATILITY_STATE, updated in place
    rate : (n_tau,) float64, -1e-9 / tau_s, slowest last
    where : (n_columns of the family,) int32, column of x, -1 = not wanted
    tick_size : (n_symbols,) float64, currency
    ts, symbol, kind : (capacity,) int64 ns, int32 row of `state`, uint8 Kind; the caller guarantees the range of symbol
    bid, ask : (capacity,) float64, NaN = missing
    lo, hi : int, rows [lo, hi) of the columns
    first : int, seq of row 0 of the columns' segment; row i is tick first + i
    row_seq : (capacity of x,) uint64, seq of the due rows
    row_lo, row_hi : int, due rows [row_lo, row_hi), all of ticks in [lo, hi)
    x : (capacity, n_features) float32
    """
    j = row_lo
    due = np.int64(row_seq[j]) - first if j < row_hi else hi
    for i in range(lo, hi):
        s = state[symbol[i]]
        volatility_step(s, rate, tick_size[symbol[i]], ts[i], kind[i], bid[i], ask[i])
        if i == due:
            volatility_emit(s, rate.size, where, j, x)
            j += 1
            due = np.int64(row_seq[j]) - first if j < row_hi else hi
