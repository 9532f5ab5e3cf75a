"""Predictions of a bank of models -> one forecast per horizon: standardised predictions, information coefficients (IC) from outcomes
that mature later, decorrelated weights (ensemble_weights.py), forecast. Predictions and outcomes are basis points; NaN predictions are
skipped, not zero-filled. All memory decays by market time, so a busy symbol does not forget faster. Reads market data only."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.eight import all8, get8, pick8, put8, sqrt8
from tickarrow.jit.ensemble_state import (
    ENSEMBLE_PARAMS, ENSEMBLE_STATE, FOREVER, GROUP_STATE, HORIZON_STATE, MEAN, NO_VARIANCE, PENDING, SQUARES, T_MEAN_Y, T_MEAN_Z,
    T_OBSERVATIONS, T_WEIGHT, T_YY, T_ZY, T_ZZ, W, decay_point, interval_point,
)  # fmt: skip
from tickarrow.jit.ensemble_weights import refresh

QUOTE = 0  # Kind.QUOTE of the schemas


@kernel("HORIZON_STATE, out i8[:,:], i8, i8, out f8[:,:], PENDING, f8[:], f8, i8, ENSEMBLE_PARAMS", inline=True)
def settle_point(state, settled, group, h, track, entry, z, y, horizon, params):
    """Add one outcome to the decayed sums of a horizon: size of outcomes of the symbol, ICs of its group.

    Parameters
    ----------
    state : HORIZON_STATE, updated
    settled : (n_groups, n_horizons) int64, ns, updated: the last outcome in `track`
    group, h : int, row and column of it
    track : (7, n_configurations) float64, updated; rows T_WEIGHT ... T_ZY
    entry : PENDING, what matured
    z : (n_configurations,) float64, standardised predictions of then; NaN = missing
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
    for c in range(z.size):
        old = g * track[T_WEIGHT, c]
        if z[c] == z[c]:
            new = old + 1.0
            dz = z[c] - track[T_MEAN_Z, c]
            dy = y - track[T_MEAN_Y, c]
            share = old / new
            track[T_WEIGHT, c] = new
            track[T_OBSERVATIONS, c] = g * track[T_OBSERVATIONS, c] + fresh
            track[T_MEAN_Z, c] += dz / new
            track[T_MEAN_Y, c] += dy / new
            track[T_ZZ, c] = g * track[T_ZZ, c] + share * dz * dz
            track[T_YY, c] = g * track[T_YY, c] + share * dy * dy
            track[T_ZY, c] = g * track[T_ZY, c] + share * dz * dy
        else:
            track[T_WEIGHT, c] = old
            track[T_OBSERVATIONS, c] *= g
            track[T_ZZ, c] *= g
            track[T_YY, c] *= g
            track[T_ZY, c] *= g


@kernel("f4[:], i8, out f8[:,:], f8, f8, f8, out f8[:]", inline=True)
def standardise_point(y, n, moments, g, min_rows, clip, z):
    """z = (p - mean) / sd of each model, clipped; then the prediction joins its mean and variance.

    Parameters
    ----------
    y : (n_models,) float32, predictions; NaN and infinite = missing
    n : int, n_models
    moments : (3, n_models) float64, updated; rows W, MEAN, SQUARES
    g : float64, decay since the symbol's last prediction
    min_rows : float64, effective predictions before z is given
    clip : float64, largest |z|
    z : (n_models,) float64, out. NaN = missing, or not yet min_rows, or no variance yet.
    """
    for k in range(n):
        p = np.float64(y[k])
        old = g * moments[W, k]
        squares = g * moments[SQUARES, k]
        d = p - moments[MEAN, k]
        x = np.nan
        if old >= min_rows and squares > NO_VARIANCE * old:
            x = min(clip, max(-clip, d * math.sqrt(old / squares)))
        if abs(p) <= 3.5e38:
            inverse = 1.0 / (old + 1.0)
            z[k] = x
            moments[W, k] = old + 1.0
            moments[MEAN, k] += d * inverse
            moments[SQUARES, k] = squares + old * inverse * d * d
        else:
            z[k] = np.nan
            moments[W, k] = old
            moments[SQUARES, k] = squares


@kernel(
    "ENSEMBLE_STATE, HORIZON_STATE[:,:], i8, PENDING[:,:], out f8[:,:,:], out i8[:,:], out f8[:,:,:,:], i8[:], i8[:], i8, ENSEMBLE_PARAMS",
    inline=True,
)
def settle_due_point(s, horizons, symbol, pending, pending_z, settled, tracks, start, horizons_ns, ts, params):
    """Settle the outcomes of a symbol that were due before `ts`; the mid in force at their time is the one before this tick.

    Parameters
    ----------
    s : ENSEMBLE_STATE of the symbol; `next_due` is set, ns, FOREVER = nothing waits
    horizons : (n_symbols, n_horizons) HORIZON_STATE, updated
    symbol : int, row of the arrays
    pending, pending_z, settled, tracks, start, horizons_ns : as in `ensemble_update`; settled and tracks are updated
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


@kernel("ENSEMBLE_STATE, HORIZON_STATE, i8, PENDING[:,:], out f8[:,:,:], i8[:], i8, i8, i8, i8, f8[:]", inline=True)
def enter_point(s, state, symbol, pending, pending_z, start, h, horizon, ts, n_horizons, z):
    """Put a prediction into the ring of its horizon; a full ring loses its oldest entry, which is counted.

    Parameters
    ----------
    s : ENSEMBLE_STATE of the symbol, holds the mid; `next_due` is brought forward
    state : HORIZON_STATE of symbol and horizon, updated
    symbol, h : int, row and horizon of the arrays
    pending, pending_z, start : as in `ensemble_update`
    horizon, ts : int, ns
    n_horizons : int
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
    for c in range(pending_z.shape[2]):
        pending_z[symbol, at, c] = z[c * n_horizons + h]
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


@kernel(
    "ENSEMBLE_STATE[:], GROUP_STATE[:], HORIZON_STATE[:,:], out f8[:,:,:], out i8[:,:], out f8[:,:,:,:], out f8[:,:,:], out f8[:,:,:],"
    "PENDING[:,:], out f8[:,:,:], i8[:], out f8[:], out f8[:,:],"
    "u8[:], i8[:], i4[:], u1[:], f8[:], f8[:], i8, i8, u8[:], i8[:], i4[:], f4[:,:], i8, i8, f8[:,:,:], i8[:], ENSEMBLE_PARAMS[:],"
    "out u8[:], out i8[:], out i4[:], out f8[:,:], out f8[:,:], out f8[:,:], i8"
)
def ensemble_update(
    symbols, groups, horizons, moments, settled, tracks, factors, weights, pending, pending_z, start, z, work,
    tick_seq, tick_ts, tick_symbol, kind, bid, ask, tick_lo, tick_hi, seq, ts, symbol, y, lo, hi, prior, horizons_ns, params,
    out_seq, out_ts, out_symbol, alpha, sigma, ic, to,
):  # fmt: skip
    """Walk ticks and predictions in event order; every prediction row gets a forecast.

    Parameters
    ----------
    symbols : (n_symbols,) ENSEMBLE_STATE
    groups : (n_groups,) GROUP_STATE
    horizons : (n_symbols, n_horizons) HORIZON_STATE; n_horizons from 1 to 8
    moments : (n_symbols, 3, n_models) float64
    settled : (n_groups, n_horizons) int64, ns, time of the last outcome in `tracks`
    tracks : (n_groups, n_horizons, 7, n_configurations) float64
    factors : (n_groups, factor_rows(n_configurations), 8) float64, correlation
    weights : (n_symbols, 2 n_configurations, 8) float64, weights of the last refresh and weight x IC
    pending : (n_symbols, places) PENDING, the rings of all horizons behind one another
    pending_z : (n_symbols, places, n_configurations) float64
    start : (n_horizons + 1,) int64, first place of each horizon's ring
    z : (n_models,) float64, anything
    work : (work_rows(n_configurations), 8) float64, the first n_configurations rows NaN in lanes without a horizon, else anything
    tick_seq, tick_ts, tick_symbol, kind, bid, ask : columns of TICKS, rows [tick_lo, tick_hi)
    seq, ts, symbol : columns of PREDICTIONS, rows [lo, hi)
    y : (capacity, n_models) float32, index configuration * n_horizons + horizon
    prior : (n_symbols, n_configurations, n_horizons) float64, validation IC of the set that predicts for the symbol
    horizons_ns : (n_horizons,) int64
    params : (1,) ENSEMBLE_PARAMS
    out_seq, out_ts, out_symbol : columns of the forecasts, out, rows [to, to + hi - lo)
    alpha, sigma : (capacity, n_horizons) float64, out, basis points, NaN = not known yet
    ic : (capacity, n_horizons) float64, out: IC of the combined score

    Notes
    -----
    alpha = sigma w'z with w = C^-1 ic: the regression of the outcome, in its standard deviations, on the standardised predictions. Its IC
    is the root of w'ic.

    References
    ----------
    Grinold (1989), The fundamental law of active management; Grinold and Kahn (2000): alpha = volatility x IC x score.
    """
    par = params[0]
    n_horizons = horizons_ns.size
    n_configurations = prior.shape[1]
    n_models = n_horizons * n_configurations
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
            standardise_point(y[r], n_models, moments[at], decay_point(now - s.moments_ts, par.moments_tau), par.min_rows, par.z_limit, z)
            s.moments_ts = now
            for c in range(n_configurations):
                for h in range(n_horizons):
                    work[c, h] = z[c * n_horizons + h]
            turn = interval_point(now, par.refresh, at, symbols.size)
            if turn != s.refreshed or par.refresh == 0:
                refresh(s, groups, horizons, settled, tracks, factors[s.group], prior[at], at, horizons_ns, now, par, weights[at], work)
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
                    enter_point(s, state, at, pending, pending_z, start, h, horizons_ns[h], now, n_horizons, z)
            r += 1
