"""Weights of training rows whose labels overlap in time."""

import numpy as np

from tickarrow.jit._kernel import kernel, record

# One row per symbol: labels that are open, and the integral of 1 / open up to `now`.
OPEN_STATE = record([("open", "i8"), ("now", "i8"), ("integral", "f8")])


@kernel("OPEN_STATE, i8", inline=True)
def advance_point(s, now):
    """Bring the integral of a symbol to the time `now`, ns."""
    if s.open > 0:
        s.integral += float(now - s.now) / float(s.open)
    s.now = now


@kernel("i8[:], i4[:], i8[:], i8[:], OPEN_STATE[:], out f8[:], out f8[:]")
def uniqueness(ts, symbol, end, order, state, begun, out):
    """Average uniqueness of each label: the mean over its life of 1 / (labels of the same symbol that are open).

    Parameters
    ----------
    ts : (n,) int64, ns UTC, ascending: where a label begins
    symbol : (n,) int32, row of `state`
    end : (n,) int64, ns UTC: where it ends; not after `ts` = the row has no label
    order : (n,) int64, rows in ascending order of `end`
    state : (n_symbols,) OPEN_STATE, scratch
    begun : (n,) float64, scratch
    out : (n,) float64, 0 < out <= 1; NaN for a row without label

    References
    ----------
    Lopez de Prado (2018), Advances in Financial Machine Learning, section 4.4: average uniqueness, here over time and not over bars.
    """
    n = ts.shape[0]
    for k in range(state.shape[0]):
        s = state[k]
        s.open = 0
        s.now = 0
        s.integral = 0.0
    i = 0
    for j in range(n):
        row = order[j]
        if not end[row] > ts[row]:
            out[row] = np.nan
            continue
        while i < n and ts[i] < end[row]:
            if end[i] > ts[i]:
                s = state[symbol[i]]
                advance_point(s, ts[i])
                begun[i] = s.integral
                s.open += 1
            i += 1
        s = state[symbol[row]]
        advance_point(s, end[row])
        out[row] = (s.integral - begun[row]) / float(end[row] - ts[row])
        s.open -= 1
