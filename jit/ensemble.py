"""Predictions of a bank of models -> one forecast per horizon: standardised predictions, information coefficients (IC) from outcomes
that mature later, decorrelated weights (ensemble_weights.py), forecast. Predictions and outcomes are basis points; NaN predictions are
skipped, not zero-filled. All memory decays by market time, so a busy symbol does not forget faster. Reads market data only."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.eight import LANES, abs8, all8, get8, pick8, put8, sqrt8
from tickarrow.jit.ensemble_state import (
    AT_FACTORS, AT_FORECASTS, AT_GROUPS, AT_HORIZONS, AT_HORIZONS_NS, AT_MOMENTS, AT_PARAMS, AT_PENDING, AT_PENDING_Z, AT_PREDICTIONS, AT_PRIOR,
    AT_SAMPLE, AT_SETTLED, AT_START, AT_SYMBOLS, AT_TICKS, AT_TRACKS, AT_WEIGHTS, AT_WINDOWS, AT_WORK, AT_Z, AT_Z_ROWS,
    ENSEMBLE_PARAMS, ENSEMBLE_STATE, FOREVER, GROUP_STATE, HORIZON_STATE, MEAN, NO_VARIANCE, PENDING, SQUARES, T_MEAN_Y, T_MEAN_Z,
    T_OBSERVATIONS, T_WEIGHT, T_YY, T_ZY, T_ZZ, W, decay_point, interval_point,
)  # fmt: skip
from tickarrow.jit.ensemble_weights import refresh
from tickarrow.jit.memory import array_in

QUOTE = 0  # Kind.QUOTE of the schemas


@kernel("HORIZON_STATE, out i8[:,:], i8, i8, out f8[:,:], PENDING, f8[:,:], f8, i8, ENSEMBLE_PARAMS", inline=True)
def settle_point(state, settled, group, h, track, entry, z, y, horizon, params):
    """Add one outcome to the decayed sums of a horizon: size of outcomes of the symbol, ICs of its group.

    Parameters
    ----------
    state : HORIZON_STATE, updated
    settled : (n_groups, n_horizons) int64, ns, updated: the last outcome in `track`
    group, h : int, row and column of it
    track : (7 eights(n_configurations), 8) float64, updated; T_WEIGHT ... T_ZY
    entry : PENDING, what matured
    z : (eights(n_configurations), 8) float64, standardised predictions of then; NaN = missing
    y : float64, outcome, basis points
    horizon : int, ns
    params : ENSEMBLE_PARAMS

    Notes
    -----
    Outcomes overlap when they are entered more often than one a horizon: one that follows another after dt counts as
    min(1, dt / horizon) independent observations. Centred sums are updated with weights (West 1979).
    Pooled: symbols share the sums, so an outcome counts in units of what was usual for its symbol before, and not at all while that is
    unknown. Outcomes of the same time count as one, and one that is settled late as if it were of the time of the last.
    """
    g = decay_point(entry.due - state.settled, params.ic_tau)
    usual = 1.0
    if params.pooled:
        usual = 0.0
        if g * state.weight >= params.min_outcomes and state.squares > NO_VARIANCE * state.weight:
            usual = math.sqrt(state.squares / state.weight)
    state.settled = entry.due
    state.weight = g * state.weight + 1.0
    state.squares = g * state.squares + y * y
    if usual == 0.0:
        return
    y /= usual
    gap = entry.due - settled[group, h]
    g = decay_point(gap, params.ic_tau)
    fresh = 1.0
    if gap < horizon:
        fresh = float(max(gap, 0)) / float(horizon)
    settled[group, h] = max(settled[group, h], entry.due)
    blocks = z.shape[0]
    kept, one, outcome = all8(g), all8(1.0), all8(y)
    for b in range(blocks):
        x = get8(z, b)
        there = x == x
        old = kept * get8(track, T_WEIGHT * blocks + b)
        new = old + one
        dz = x - get8(track, T_MEAN_Z * blocks + b)
        dy = outcome - get8(track, T_MEAN_Y * blocks + b)
        share = old / new
        put8(track, T_WEIGHT * blocks + b, pick8(there, new, old))
        observations = kept * get8(track, T_OBSERVATIONS * blocks + b)
        put8(track, T_OBSERVATIONS * blocks + b, pick8(there, observations + all8(fresh), observations))
        mean = get8(track, T_MEAN_Z * blocks + b)
        put8(track, T_MEAN_Z * blocks + b, pick8(there, mean + dz / new, mean))
        mean = get8(track, T_MEAN_Y * blocks + b)
        put8(track, T_MEAN_Y * blocks + b, pick8(there, mean + dy / new, mean))
        sums = kept * get8(track, T_ZZ * blocks + b)
        put8(track, T_ZZ * blocks + b, pick8(there, sums + share * dz * dz, sums))
        sums = kept * get8(track, T_YY * blocks + b)
        put8(track, T_YY * blocks + b, pick8(there, sums + share * dy * dy, sums))
        sums = kept * get8(track, T_ZY * blocks + b)
        put8(track, T_ZY * blocks + b, pick8(there, sums + share * dz * dy, sums))


@kernel("f4[:], out f8[:,:], f8, f8, f8, out f8[:], out f8[:,:]", inline=True)
def standardise_point(y, moments, g, min_rows, clip, z, rows):
    """z = (p - mean) / sd of each model, clipped; then the prediction joins its mean and variance.

    Parameters
    ----------
    y : (n_models,) float32, predictions; NaN and infinite = missing
    moments : (3 eights(n_models), 8) float64, updated; W, MEAN, SQUARES
    g : float64, decay since the symbol's last prediction
    min_rows : float64, effective predictions before z is given
    clip : float64, largest |z|
    z : (8 eights(n_models),) float64, out. NaN = missing, or not yet min_rows, or no variance yet, or no model.
    rows : (eights(n_models), 8) float64, the memory of z
    """
    blocks = rows.shape[0]
    put8(rows, blocks - 1, all8(np.nan))
    for k in range(y.size):
        z[k] = np.float64(y[k])
    kept, one, missing, upper, lower = all8(g), all8(1.0), all8(np.nan), all8(clip), all8(-clip)
    for b in range(blocks):
        p = get8(rows, b)
        old, mean, squares = kept * get8(moments, W * blocks + b), get8(moments, MEAN * blocks + b), kept * get8(moments, SQUARES * blocks + b)
        there = abs8(p) <= all8(3.5e38)
        d = pick8(there, p, mean) - mean
        varies = (old >= all8(min_rows)) & (squares > all8(NO_VARIANCE) * old)
        x = d * sqrt8(pick8(varies, old, one) / pick8(varies, squares, one))
        x = pick8(x < lower, lower, x)
        x = pick8(x > upper, upper, x)
        put8(rows, b, pick8(there & varies, x, missing))
        inverse = one / (old + one)
        put8(moments, W * blocks + b, pick8(there, old + one, old))
        put8(moments, MEAN * blocks + b, pick8(there, mean + d * inverse, mean))
        put8(moments, SQUARES * blocks + b, pick8(there, squares + old * inverse * d * d, squares))


@kernel(
    "ENSEMBLE_STATE, HORIZON_STATE[:,:], i8, PENDING[:,:], f8[:,:,:,:], out i8[:,:], out f8[:,:,:,:], i8[:], i8[:], i8, ENSEMBLE_PARAMS",
    inline=True,
)
def settle_due_point(s, horizons, symbol, pending, pending_z, settled, tracks, start, horizons_ns, ts, params):
    """Settle the outcomes of a symbol that were due before `ts`; the mid in force at their time is the one before this tick.

    Parameters
    ----------
    s : ENSEMBLE_STATE of the symbol; `next_due` is set, ns, FOREVER = nothing waits
    horizons : (n_symbols, n_horizons) HORIZON_STATE, updated
    symbol : int, row of the arrays
    pending, pending_z, settled, tracks, start, horizons_ns : as in ensemble_state.py; settled and tracks are updated
    ts : int, ns, of the tick
    params : ENSEMBLE_PARAMS
    """
    next_due = FOREVER
    for h in range(horizons_ns.size):
        state = horizons[symbol, h]
        room = start[h + 1] - start[h]
        while state.count > 0:
            at = start[h] + state.head
            entry = pending[symbol, at]
            if entry.due >= ts:
                next_due = min(next_due, entry.due)
                break
            y = 1e4 * (s.mid / entry.mid - 1.0)
            settle_point(state, settled, s.group, h, tracks[s.group, h], entry, pending_z[symbol, at], y, horizons_ns[h], params)
            state.head = state.head + 1 if state.head + 1 < room else 0
            state.count -= 1
    s.next_due = next_due


@kernel("ENSEMBLE_STATE, HORIZON_STATE, i8, PENDING[:,:], out f8[:,:,:,:], i8[:], i8, i8, i8, i8, i8, f8[:]", inline=True)
def enter_point(s, state, symbol, pending, pending_z, start, h, horizon, ts, n, n_horizons, z):
    """Put a prediction into the ring of its horizon; a full ring loses its oldest entry, which is counted.

    Parameters
    ----------
    s : ENSEMBLE_STATE of the symbol, holds the mid; `next_due` is brought forward
    state : HORIZON_STATE of symbol and horizon, updated
    symbol, h : int, row and horizon of the arrays
    pending, pending_z, start : as in ensemble_state.py
    horizon, ts : int, ns
    n, n_horizons : int, configurations, horizons
    z : (n_models,) float64, standardised predictions; NaN = missing
    """
    room = start[h + 1] - start[h]
    if state.count == room:
        state.head = state.head + 1 if state.head + 1 < room else 0
        state.count -= 1
        state.dropped += 1
    at = state.head + state.count
    if at >= room:
        at -= room
    at += start[h]
    pending[symbol, at].due = ts + horizon
    pending[symbol, at].mid = s.mid
    for c in range(n):
        pending_z[symbol, at, c // LANES, c % LANES] = z[c * n_horizons + h]
    state.count += 1
    state.entered = ts
    s.next_due = min(s.next_due, ts + horizon)


@kernel("i8, f8[:,:], out f8[:,:]", inline=True)
def forecast_point(n, weights, work):
    """Score and IC of the horizons from the predictions that are there; a missing one counts as its mean, which adds nothing.

    Parameters
    ----------
    n : int
    weights : (2 n, 8) float64, weights and weight x IC
    work : (>= n + 2, 8) float64; rows up to n - 1 are the standardised predictions, NaN = missing. Row n is set to the scores, row n + 1
        to the ICs: NaN = no prediction
    """
    zero, one = all8(0.0), all8(1.0)
    score, square = zero, zero
    anything = zero > one
    for c in range(n):
        x = get8(work, c)
        there = x == x
        anything = anything | there
        score = score + pick8(there, get8(weights, c) * x, zero)
        square = square + pick8(there, get8(weights, n + c), zero)
    square = pick8(square > zero, pick8(square < one, square, one), zero)
    missing = all8(np.nan)
    put8(work, n, pick8(anything, score, missing))
    put8(work, n + 1, pick8(anything, sqrt8(square), missing))


@kernel("i8, i8, i8, i8, i8, i8")
def ensemble_update(block, tick_lo, tick_hi, lo, hi, to):
    """Walk ticks and predictions in event order; every prediction row gets a forecast.

    Parameters
    ----------
    block : int, address of the control block; ensemble_state.py says what is in it
    tick_lo, tick_hi : int, rows of TICKS
    lo, hi : int, rows of PREDICTIONS
    to : int, first row of the forecasts, [to, to + hi - lo). alpha and sigma: basis points, NaN = not known yet; ic: IC of the combined score

    Notes
    -----
    alpha = sigma w'z with w = C^-1 ic: the regression of the outcome, in its standard deviations, on the standardised predictions. Its IC
    is the root of w'ic.

    References
    ----------
    Grinold (1989), The fundamental law of active management; Grinold and Kahn (2000): alpha = volatility x IC x score.
    """
    symbols = array_in(block, AT_SYMBOLS, 1, ENSEMBLE_STATE)
    groups = array_in(block, AT_GROUPS, 1, GROUP_STATE)
    horizons = array_in(block, AT_HORIZONS, 2, HORIZON_STATE)
    moments = array_in(block, AT_MOMENTS, 3, np.float64)
    settled = array_in(block, AT_SETTLED, 2, np.int64)
    tracks = array_in(block, AT_TRACKS, 4, np.float64)
    factors = array_in(block, AT_FACTORS, 3, np.float64)
    weights = array_in(block, AT_WEIGHTS, 3, np.float64)
    windows = array_in(block, AT_WINDOWS, 4, np.float64)
    pending = array_in(block, AT_PENDING, 2, PENDING)
    pending_z = array_in(block, AT_PENDING_Z, 4, np.float64)
    prior = array_in(block, AT_PRIOR, 4, np.float64)
    start = array_in(block, AT_START, 1, np.int64)
    horizons_ns = array_in(block, AT_HORIZONS_NS, 1, np.int64)
    par = array_in(block, AT_PARAMS, 1, ENSEMBLE_PARAMS)[0]
    z, z_rows = array_in(block, AT_Z, 1, np.float64), array_in(block, AT_Z_ROWS, 2, np.float64)
    work, sample = array_in(block, AT_WORK, 2, np.float64), array_in(block, AT_SAMPLE, 2, np.float64)
    tick_seq = array_in(block, AT_TICKS, 1, np.uint64)
    tick_ts = array_in(block, AT_TICKS + 1, 1, np.int64)
    tick_symbol = array_in(block, AT_TICKS + 2, 1, np.int32)
    kind = array_in(block, AT_TICKS + 3, 1, np.uint8)
    bid = array_in(block, AT_TICKS + 4, 1, np.float64)
    ask = array_in(block, AT_TICKS + 5, 1, np.float64)
    seq = array_in(block, AT_PREDICTIONS, 1, np.uint64)
    ts = array_in(block, AT_PREDICTIONS + 1, 1, np.int64)
    symbol = array_in(block, AT_PREDICTIONS + 2, 1, np.int32)
    y = array_in(block, AT_PREDICTIONS + 3, 2, np.float32)
    out_seq = array_in(block, AT_FORECASTS, 1, np.uint64)
    out_ts = array_in(block, AT_FORECASTS + 1, 1, np.int64)
    out_symbol = array_in(block, AT_FORECASTS + 2, 1, np.int32)
    alpha = array_in(block, AT_FORECASTS + 3, 2, np.float64)
    sigma = array_in(block, AT_FORECASTS + 4, 2, np.float64)
    ic = array_in(block, AT_FORECASTS + 5, 2, np.float64)

    n_horizons = horizons_ns.size
    n_configurations = weights.shape[1] // 2
    r = lo
    for i in range(tick_lo, tick_hi + 1):
        if i < tick_hi:
            s = symbols[tick_symbol[i]]
            if tick_ts[i] > s.next_due:
                settle_due_point(s, horizons, tick_symbol[i], pending, pending_z, settled, tracks, start, horizons_ns, tick_ts[i], par)
            if kind[i] == QUOTE:
                mid = 0.5 * (bid[i] + ask[i])
                if mid > 0.0:  # not for a one-sided quote: NaN
                    s.mid = mid
        while r < hi and (i == tick_hi or seq[r] <= tick_seq[i]):
            at = np.int64(symbol[r])
            now = ts[r]
            s = symbols[at]
            standardise_point(y[r], moments[at], decay_point(now - s.moments_ts, par.moments_tau), par.min_rows, par.z_limit, z, z_rows)
            s.moments_ts = now
            for c in range(n_configurations):
                for h in range(n_horizons):
                    work[c, h] = z[c * n_horizons + h]
            turn = interval_point(now, par.refresh, at, symbols.size)
            if turn != s.refreshed or par.refresh == 0:
                refresh(
                    s, groups, horizons, settled, tracks, factors[s.group], windows[s.group], prior[at], at, horizons_ns, now, par,
                    weights[at], work, sample,
                )  # fmt: skip
                s.refreshed = turn
            forecast_point(n_configurations, weights[at], work)
            row = to + r - lo
            out_seq[row] = seq[r]
            out_ts[row] = now
            out_symbol[row] = symbol[r]
            for h in range(n_horizons):
                state = horizons[at, h]
                sigma[row, h] = state.sigma
                ic[row, h] = work[n_configurations + 1, h]
                alpha[row, h] = state.sigma * work[n_configurations, h]
                if ic[row, h] == ic[row, h] and s.mid == s.mid and now - state.entered >= par.settle_every:
                    enter_point(s, state, at, pending, pending_z, start, h, horizons_ns[h], now, n_configurations, n_horizons, z)
            r += 1
