"""Labels by the decision's barriers: how far a price goes in a horizon, known at each row, and which of two barriers it reaches first."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.ensemble_state import NEVER, decay_point

# One row per symbol.
DEVIATION_STATE = record([("entered", "i8"), ("settled", "i8"), ("weight", "f8"), ("squares", "f8")])


@kernel("i8[:], i4[:], f4[:,:], i8[:], f8, i8, f8, DEVIATION_STATE[:], out f8[:,:]")
def deviation(ts, symbol, y, horizon_ns, tau_ns, every_ns, least, state, out):
    """Root mean square of the outcomes of a horizon that are known at a row, as `ensemble_weights.skill_point` has it for the decision.

    Parameters
    ----------
    ts : (n,) int64, ns UTC, ascending
    symbol : (n,) int32, row of `state`
    y : (n, n_horizons) float32, bp, forward return of each row; NaN = none
    horizon_ns : (n_horizons,) int64
    tau_ns : float64, memory of the mean, market time
    every_ns : int, outcomes of a symbol are entered at least so far apart
    least : float64, effective outcomes below which it is not known
    state : (n_symbols,) DEVIATION_STATE, scratch
    out : (n, n_horizons) float64, bp; NaN = not known yet. An outcome counts once its horizon lies before the row, not at it.
    """
    for h in range(horizon_ns.shape[0]):
        for k in range(state.shape[0]):
            s = state[k]
            s.entered = NEVER
            s.settled = NEVER
            s.weight = 0.0
            s.squares = 0.0
        j = 0  # next outcome to settle
        for i in range(ts.shape[0]):
            while ts[j] + horizon_ns[h] < ts[i]:
                s = state[symbol[j]]
                if y[j, h] == y[j, h] and ts[j] - s.entered >= every_ns:
                    due = ts[j] + horizon_ns[h]
                    g = decay_point(due - s.settled, tau_ns)
                    s.weight = g * s.weight + 1.0
                    s.squares = g * s.squares + np.float64(y[j, h]) * np.float64(y[j, h])
                    s.settled = due
                    s.entered = ts[j]
                j += 1
            s = state[symbol[i]]
            if s.weight * decay_point(ts[i] - s.settled, tau_ns) >= least:
                out[i, h] = math.sqrt(s.squares / s.weight)
            else:
                out[i, h] = np.nan


@kernel("i8[:], i4[:], f8[:], i8[:], i4[:], f8[:], i8[:], i8, f8[:,:], f8[:,:], out i8[:], out i8[:], out f4[:,:], out i1[:,:], out i8[:,:]")
def triple_barrier(ts, symbol, mid, quote_ts, quote_symbol, quote_mid, horizon_ns, gap_ns, up, down, latest, follows, y, first, end):
    """Return in basis points at the first quote that is at or beyond a barrier, else at the horizon.

    Parameters
    ----------
    ts, symbol, mid, quote_ts, quote_symbol, quote_mid, horizon_ns, gap_ns : as in `labels.forward_return`
    up, down : (n, n_horizons) float64, bp of mid, > 0: distances of the barriers above and below; NaN = not known
    latest : (n_symbols,) int64, scratch: newest quote of a symbol
    follows : (n_quotes,) int64, scratch: the next quote of the same symbol, -1 = none
    y : (n, n_horizons) float32, out, bp of mid. NaN where the forward return is missing, and where a barrier is not known; also where
        a barrier is reached before the feed breaks off, so that what is missing does not depend on the price.
    first : (n, n_horizons) int8, out: 1 = the upper barrier, -1 = the lower one, 0 = neither within the horizon, or missing
    end : (n, n_horizons) int64, out, ns UTC: time of the quote that decided, or of the horizon; the row's own time where missing

    Notes
    -----
    Only quotes after the row's time reach a barrier; one-sided quotes do not. Without a touch the label is the forward return.

    References
    ----------
    Lopez de Prado (2018), Advances in Financial Machine Learning, section 3.4: the triple-barrier method.
    """
    n_quotes = quote_ts.shape[0]
    latest[:] = -1
    for k in range(n_quotes - 1, -1, -1):
        follows[k] = latest[quote_symbol[k]]
        latest[quote_symbol[k]] = k
    for h in range(horizon_ns.shape[0]):
        latest[:] = -1
        k = 0  # next quote to take
        last = 0  # last quote of the unbroken stretch that the row lies in
        for i in range(ts.shape[0]):
            while k < n_quotes and quote_ts[k] <= ts[i]:
                latest[quote_symbol[k]] = k
                k += 1
            while last + 1 < n_quotes and (quote_ts[last + 1] - quote_ts[last] <= gap_ns or quote_ts[last + 1] <= ts[i]):
                last += 1
            y[i, h] = np.nan
            first[i, h] = 0
            end[i, h] = ts[i]
            due = ts[i] + horizon_ns[h]
            at = latest[symbol[i]]
            known = n_quotes > 0 and due <= quote_ts[last] and mid[i] > 0.0 and up[i, h] > 0.0 and down[i, h] > 0.0
            if not known:
                continue
            if at < 0:  # its first quote comes after the row
                at = k
                while at < n_quotes and quote_symbol[at] != symbol[i]:
                    at += 1
                if at >= n_quotes or quote_ts[at] > due:
                    continue
            value = np.nan
            touch = 0
            time = due
            while at >= 0 and quote_ts[at] <= due:
                value = 1e4 * (quote_mid[at] / mid[i] - 1.0)
                if quote_ts[at] > ts[i]:
                    if value >= up[i, h]:
                        touch = 1
                    elif value <= -down[i, h]:
                        touch = -1
                    if touch != 0:
                        time = quote_ts[at]
                        break
                at = follows[at]
            if value == value:
                y[i, h] = np.float32(value)
                first[i, h] = touch
                end[i, h] = time
