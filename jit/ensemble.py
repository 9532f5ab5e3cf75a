"""Predictions of a bank of models -> one forecast per horizon: standardised predictions, information coefficients (IC) from outcomes
that mature later, weights by shrunk IC, Grinold's forecast. Predictions and outcomes are basis points; NaN predictions are skipped,
not zero-filled. All memory decays by market time, so a busy symbol does not forget faster. Reads market data only."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.math import exp_point

QUOTE = 0  # Kind.QUOTE of the schemas
NEVER = -(2**62)  # ns; before every time
FOREVER = 2**62
# A variance below this (bp^2, or of z) is rounding: after a long gap or in a quiet symbol the values are all equal.
NO_VARIANCE = 1e-12

# One row per symbol.
ENSEMBLE_STATE = record([("mid", "f8"), ("moments_ts", "i8"), ("refreshed", "i8"), ("next_due", "i8")])
# One row per symbol and horizon: the ring of pending outcomes, and decayed sums over settled ones.
HORIZON_STATE = record(
    [
        ("head", "i8"), ("count", "i8"), ("dropped", "i8"), ("entered", "i8"), ("settled", "i8"), ("weight", "f8"), ("squares", "f8"),
        ("sigma", "f8"),
    ]
)  # fmt: skip
# One row per place of a ring.
PENDING = record([("due", "i8"), ("mid", "f8")])
# Times in ns, the rest as in configs/ensemble.py.
ENSEMBLE_PARAMS = record(
    [
        ("moments_tau", "f8"), ("ic_tau", "f8"), ("min_rows", "f8"), ("min_outcomes", "f8"), ("prior_strength", "f8"), ("z_limit", "f8"),
        ("settle_every", "i8"), ("refresh", "i8"),
    ]
)  # fmt: skip

# Rows of `moments[symbol]`: decayed weight, mean, sum of squared deviations.
W, MEAN, SQUARES = 0, 1, 2
# Rows of `tracks[symbol, horizon]`: decayed weight, independent observations, means and centred sums of z and y.
T_WEIGHT, T_OBSERVATIONS, T_MEAN_Z, T_MEAN_Y, T_ZZ, T_YY, T_ZY = 0, 1, 2, 3, 4, 5, 6
TRACKS = 7


@kernel("i8, f8", inline=True)
def decay_point(dt, tau):
    """exp(-dt / tau), both in ns; 1 where dt is not positive."""
    if dt <= 0:
        return 1.0
    return exp_point(-float(dt) / tau)


@kernel("f8, f8", inline=True)
def shrunk_ic_point(ic, observations):
    """IC x IC^2 / (IC^2 + se^2), se^2 = (1 - IC^2) / observations; 0 where the IC is not positive.

    Parameters
    ----------
    ic : float64, correlation, -1 to 1
    observations : float64, effective number of independent observations

    References
    ----------
    Grinold and Kahn (2000), Active Portfolio Management: skill is shrunk by its own uncertainty.
    """
    if not (ic > 0.0 and observations > 0.0):
        return 0.0
    square = ic * ic
    return ic * square / (square + (1.0 - square) / observations)


@kernel("f8, f8, f8, f8", inline=True)
def pooled_ic_point(ic, observations, prior, strength):
    """Shrunk mean of a tracked IC and a prior one, weighted by their observations; a NaN prior counts nothing."""
    if prior != prior:
        strength = 0.0
        prior = 0.0
    total = observations + strength
    if not total > 0.0:
        return 0.0
    return shrunk_ic_point((observations * ic + strength * prior) / total, total)


@kernel("HORIZON_STATE, out f8[:,:], PENDING, f8[:], f8, i8, f8", inline=True)
def settle_point(state, track, entry, z, y, horizon, tau):
    """Add one outcome to the decayed sums of a symbol and horizon.

    Parameters
    ----------
    state : HORIZON_STATE, updated
    track : (7, n_configurations) float64, updated; rows T_WEIGHT ... T_ZY
    entry : PENDING, what matured
    z : (n_configurations,) float64, standardised predictions of then; NaN = missing
    y : float64, outcome, basis points
    horizon : int, ns
    tau : float64, ns

    Notes
    -----
    Outcomes overlap when they are entered more often than one a horizon: one that follows another after dt counts as
    min(1, dt / horizon) independent observations. Centred sums are updated with weights (West 1979).
    """
    gap = entry.due - state.settled
    g = decay_point(gap, tau)
    fresh = 1.0
    if gap < horizon:
        fresh = float(gap) / float(horizon)
    state.settled = entry.due
    state.weight = g * state.weight + 1.0
    state.squares = g * state.squares + y * y
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


@kernel("HORIZON_STATE, f8[:,:], f8[:,:], i8, i8, ENSEMBLE_PARAMS, out f8[:]", inline=True)
def weights_point(state, track, prior, h, ts, params, weights):
    """Shrunk ICs of one symbol and horizon, and the volatility of its outcomes, as of `ts`.

    Parameters
    ----------
    state : HORIZON_STATE; `sigma` is set: root mean square outcome, basis points, NaN below `min_outcomes`. Around zero, because
        the mean of few overlapping outcomes hides most of their size.
    track : (7, n_configurations) float64
    prior : (n_configurations, n_horizons) float64, validation IC; NaN = none
    h, ts : int, horizon index, ns
    weights : (n_models,) float64, set at configuration * n_horizons + h
    """
    g = decay_point(ts - state.settled, params.ic_tau)
    state.sigma = np.nan
    if state.weight * g >= params.min_outcomes:
        state.sigma = math.sqrt(state.squares / state.weight)
    n_horizons = prior.shape[1]
    for c in range(prior.shape[0]):
        ic = 0.0
        observations = 0.0
        least = NO_VARIANCE * track[T_WEIGHT, c]
        # Two outcomes always correlate by one, and equal values not at all.
        if g * track[T_WEIGHT, c] >= params.min_outcomes and track[T_ZZ, c] > least and track[T_YY, c] > least:
            ic = min(1.0, max(-1.0, track[T_ZY, c] / math.sqrt(track[T_ZZ, c] * track[T_YY, c])))
            observations = g * track[T_OBSERVATIONS, c]
        weights[c * n_horizons + h] = pooled_ic_point(ic, observations, prior[c, h], params.prior_strength)


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
    "ENSEMBLE_STATE, HORIZON_STATE[:,:], i8, PENDING[:,:], out f8[:,:,:], out f8[:,:,:,:], i8[:], i8[:], i8, ENSEMBLE_PARAMS", inline=True
)
def settle_due_point(s, horizons, symbol, pending, pending_z, tracks, start, horizons_ns, ts, params):
    """Settle the outcomes of a symbol that were due before `ts`; the mid in force at their time is the one before this tick.

    Parameters
    ----------
    s : ENSEMBLE_STATE of the symbol; `next_due` is set, ns, FOREVER = nothing waits
    horizons : (n_symbols, n_horizons) HORIZON_STATE, updated
    symbol : int, row of the arrays
    pending, pending_z, tracks, start, horizons_ns : as in `ensemble_update`; tracks are updated
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
            settle_point(state, tracks[symbol, h], entry, pending_z[symbol, at], y, horizons_ns[h], params.ic_tau)
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


@kernel(
    "ENSEMBLE_STATE[:], HORIZON_STATE[:,:], out f8[:,:,:], out f8[:,:,:,:], out f8[:,:], PENDING[:,:], out f8[:,:,:], i8[:], out f8[:,:],"
    "u8[:], i8[:], i4[:], u1[:], f8[:], f8[:], i8, i8, u8[:], i8[:], i4[:], f4[:,:], i8, i8, f8[:,:,:], i8[:], ENSEMBLE_PARAMS[:],"
    "out u8[:], out i8[:], out i4[:], out f8[:,:], out f8[:,:], out f8[:,:], i8"
)
def ensemble_update(
    symbols, horizons, moments, tracks, weights, pending, pending_z, start, scratch,
    tick_seq, tick_ts, tick_symbol, kind, bid, ask, tick_lo, tick_hi, seq, ts, symbol, y, lo, hi, prior, horizons_ns, params,
    out_seq, out_ts, out_symbol, alpha, sigma, ic, to,
):  # fmt: skip
    """Walk ticks and predictions in event order; every prediction row gets a forecast.

    Parameters
    ----------
    symbols : (n_symbols,) ENSEMBLE_STATE
    horizons : (n_symbols, n_horizons) HORIZON_STATE
    moments : (n_symbols, 3, n_models) float64
    tracks : (n_symbols, n_horizons, 7, n_configurations) float64
    weights : (n_symbols, n_models) float64, shrunk ICs of the last refresh
    pending : (n_symbols, places) PENDING, the rings of all horizons behind one another
    pending_z : (n_symbols, places, n_configurations) float64
    start : (n_horizons + 1,) int64, first place of each horizon's ring
    scratch : (5, n_models) float64, anything
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
    score = sum of w_i z_i with w_i proportional to the shrunk IC, ic = sum of w_i IC_i, alpha = ic x sigma x score: the variance of
    the score is taken as 1, which is right for models that agree entirely and cautious for others.

    References
    ----------
    Grinold (1989), The fundamental law of active management; Grinold and Kahn (2000): alpha = volatility x IC x score.
    """
    par = params[0]
    n_horizons = horizons_ns.size
    n_configurations = prior.shape[1]
    n_models = n_horizons * n_configurations
    z = scratch[0]
    total = scratch[1]
    score = scratch[2]
    strength = scratch[3]
    present = scratch[4]
    r = lo
    for i in range(tick_lo, tick_hi + 1):
        if i < tick_hi:
            s = symbols[tick_symbol[i]]
            if tick_ts[i] > s.next_due:
                settle_due_point(s, horizons, tick_symbol[i], pending, pending_z, tracks, start, horizons_ns, tick_ts[i], par)
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
            if now - s.refreshed >= par.refresh:
                for h in range(n_horizons):
                    weights_point(horizons[at, h], tracks[at, h], prior[at], h, now, par, weights[at])
                s.refreshed = now
            for h in range(n_horizons):
                total[h] = 0.0
                score[h] = 0.0
                strength[h] = 0.0
                present[h] = 0.0
            for c in range(n_configurations):
                for h in range(n_horizons):
                    k = c * n_horizons + h
                    if z[k] == z[k]:
                        w = weights[at, k]
                        total[h] += w
                        score[h] += w * z[k]
                        strength[h] += w * w
                        present[h] += 1.0
            row = to + r - lo
            out_seq[row] = seq[r]
            out_ts[row] = now
            out_symbol[row] = symbol[r]
            for h in range(n_horizons):
                state = horizons[at, h]
                sigma[row, h] = state.sigma
                if present[h] == 0.0:
                    ic[row, h] = np.nan
                elif total[h] > 0.0:
                    ic[row, h] = strength[h] / total[h]
                    score[h] /= total[h]
                else:
                    ic[row, h] = 0.0
                alpha[row, h] = ic[row, h] * state.sigma * score[h]
                if present[h] > 0.0 and s.mid == s.mid and now - state.entered >= par.settle_every:
                    enter_point(s, state, at, pending, pending_z, start, h, horizons_ns[h], now, n_horizons, z)
            r += 1
