"""Weights of a symbol's configurations for each of its horizons: shrunk information coefficients (IC), correlation of the standardised
predictions, and what follows from both, C^-1 IC. The horizons are the lanes of eight.py, solved side by side."""

import math

import numpy as np

from tickarrow.jit import corr, eigen
from tickarrow.jit._kernel import kernel
from tickarrow.jit.eight import ALL, LANES, all8, get8, pick8, put8, word8
from tickarrow.jit.ensemble_state import (
    COUNT_ROWS, ENSEMBLE_PARAMS, ENSEMBLE_STATE, GROUP_STATE, HORIZON_STATE, NO_VARIANCE, T_OBSERVATIONS, T_WEIGHT, T_YY, T_ZY, T_ZZ,
    decay_point, interval_point,
)  # fmt: skip

# Largest error of a tracked eigenvalue as a share of it (docs/decisions/0022); with more, all pairs are solved.
TOLERANCE = 0.2


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


@kernel("HORIZON_STATE, i8, f8[:,:], f8[:,:], i8, i8, ENSEMBLE_PARAMS, out f8[:,:]", inline=True)
def skill_point(state, settled, track, prior, h, ts, params, ic):
    """Shrunk ICs of one symbol and horizon, and the volatility of its outcomes, as of `ts`.

    Parameters
    ----------
    state : HORIZON_STATE; `sigma` is set: root mean square outcome, basis points, NaN below `min_outcomes`. Around zero, because
        the mean of few overlapping outcomes hides most of their size.
    settled : int, ns, time of the last outcome in `track`
    track : (7, n_configurations) float64
    prior : (n_configurations, n_horizons) float64, validation IC; NaN = none
    h, ts : int, horizon index, ns
    ic : (>= n_configurations, 8) float64, lane h is set
    """
    state.sigma = np.nan
    if state.weight * decay_point(ts - state.settled, params.ic_tau) >= params.min_outcomes:
        state.sigma = math.sqrt(state.squares / state.weight)
    g = decay_point(ts - settled, params.ic_tau)
    for c in range(prior.shape[0]):
        r = 0.0
        observations = 0.0
        least = NO_VARIANCE * track[T_WEIGHT, c]
        # Two outcomes always correlate by one, and equal values not at all.
        if g * track[T_WEIGHT, c] >= params.min_outcomes and track[T_ZZ, c] > least and track[T_YY, c] > least:
            r = min(1.0, max(-1.0, track[T_ZY, c] / math.sqrt(track[T_ZZ, c] * track[T_YY, c])))
            observations = g * track[T_OBSERVATIONS, c]
        ic[c, h] = pooled_ic_point(r, observations, prior[c, h], params.prior_strength)


@kernel("f8[:,:], i8, out f8[:,:], out f8[:,:]")
def leave_out(z, n, c, ic):
    """Without the configurations whose prediction is missing the others are solved as if there were no more: no correlation with them, no
    IC. A lane without any prediction stays as it is.

    Parameters
    ----------
    z : (>= n, 8) float64, standardised predictions; NaN = missing
    n : int
    c : (n (n + 1) / 2, 8) float64, packed correlation, updated
    ic : (n, 8) float64, updated
    """
    zero, one = all8(0.0), all8(1.0)
    seen, missing = zero, zero
    for i in range(n):
        x = get8(z, i)
        seen, missing = pick8(x == x, one, seen), pick8(x == x, missing, one)
    if word8((seen > zero) & (missing > zero)) == 0:
        return
    at = 0
    for i in range(n):
        x = get8(z, i)
        there = (x == x) | (seen == zero)
        put8(ic, i, pick8(there, get8(ic, i), zero))
        for j in range(i):
            x = get8(z, j)
            both = there & ((x == x) | (seen == zero))
            put8(c, at, pick8(both, get8(c, at), zero))
            at += 1
        at += 1


@kernel("f8[:,:], out f8[:,:], out f8[:,:]")
def scale(c, state, weights):
    """Weights no larger than what was observed allows: where the variance w'Cw of the score is above the one that the cleaned correlation
    promises, it takes its place, and no forecast is worth more than an IC of 1.

    Parameters
    ----------
    c : (n (n + 1) / 2, 8) float64, packed correlation as observed
    state : (>= STATE_ROWS, 8) float64; STRENGTH is the promise w'ic = w'C_clean w, updated
    weights : (n, 8) float64, updated

    Notes
    -----
    With few observations the cleaned correlation is near the identity and would take models that agree for independent ones.
    """
    n = weights.shape[0]
    zero, one = all8(0.0), all8(1.0)
    square = zero
    at = 0
    for i in range(n):
        along = zero
        for j in range(i):
            along = along + get8(c, at) * get8(weights, j)
            at += 1
        w = get8(weights, i)
        square = square + w * (along + along + get8(c, at) * w)
        at += 1
    strength = get8(state, corr.STRENGTH)
    factor = pick8(square > strength, strength / pick8(square > zero, square, one), one)
    left = strength * factor
    factor = pick8(left > one, factor / pick8(left > one, left, one), factor)
    put8(state, corr.STRENGTH, strength * factor)
    for i in range(n):
        put8(weights, i, factor * get8(weights, i))


@kernel(
    "ENSEMBLE_STATE, GROUP_STATE[:], HORIZON_STATE[:,:], i8[:,:], f8[:,:,:,:], out f8[:,:], f8[:,:], i8, i8[:], i8, ENSEMBLE_PARAMS,"
    "out f8[:,:], out f8[:,:]"
)
def refresh(s, groups, horizons, settled, tracks, factors, prior, symbol, horizons_ns, ts, params, weights, work):
    """The predictions of a row join the correlation of its group; weights of the symbol from that and from the ICs as of `ts`.

    Parameters
    ----------
    s : ENSEMBLE_STATE of the symbol
    groups : (n_groups,) GROUP_STATE, updated
    horizons : (n_symbols, n_horizons) HORIZON_STATE; sigma of the symbol is set
    settled : (n_groups, n_horizons) int64, ns, time of the last outcome in `tracks`
    tracks : (n_groups, n_horizons, 7, n_configurations) float64
    factors : (factor_rows(n), 8) float64 of the group, updated
    prior : (n_configurations, n_horizons) float64 of the symbol
    symbol : int
    horizons_ns : (n_horizons,) int64
    ts : int, ns
    params : ENSEMBLE_PARAMS
    weights : (2 n, 8) float64, out: weights, then weight x IC of each configuration, whose sum is the squared IC of the forecast
    work : (work_rows(n), 8) float64; the first n rows are the standardised predictions, NaN = missing and in lanes without a horizon

    Notes
    -----
    An observation that follows another after dt counts as min(1, dt / horizon) independent ones. All pairs are solved once in each
    interval of `audit` and where four tracked ones cannot be trusted; QL always converges on a finite matrix. Intensity and edge are
    those of all configurations, also when one is missing.
    """
    n, n_horizons = prior.shape
    group = groups[s.group]
    pairs = n * (n + 1) // 2
    sums, state, leading = factors[:pairs], factors[pairs : pairs + COUNT_ROWS], factors[pairs + COUNT_ROWS :]
    independent = corr.STATE_ROWS
    ic, decay, share = work[n : 2 * n], 2 * n, 2 * n + 1
    at = 2 * n + 2
    c, values, vectors = work[at : at + pairs], work[at + pairs : at + pairs + n], work[at + pairs + n : at + pairs + n + n * n]
    at += pairs + n + n * n
    top, scratch = work[at : at + eigen.TRACKED], work[at + eigen.TRACKED :]
    zero, one = all8(0.0), all8(1.0)

    gap = ts - group.observed
    group.observed = ts
    kept = all8(decay_point(gap, params.correlation_tau))
    for h in range(LANES):
        work[share, h] = 1.0
        if h < n_horizons and gap < horizons_ns[h]:
            work[share, h] = float(max(gap, 0)) / float(horizons_ns[h])
    seen = zero
    for i in range(n):
        x = get8(work, i)
        seen = pick8(x == x, one, seen)
        put8(ic, i, zero)
    before = get8(state, corr.WEIGHT)
    total = kept * before + seen
    fresh = kept * get8(state, independent) + seen * pick8(before > zero, get8(work, share), one)
    put8(state, independent, fresh)
    put8(work, share, pick8(total > zero, fresh / pick8(total > zero, total, one), one))
    put8(work, decay, kept)
    corr.update(work[:n], work, decay, work, share, sums, state, c, scratch)
    if not params.oas:
        put8(state, corr.INTENSITY, zero)

    for h in range(n_horizons):
        skill_point(horizons[symbol, h], settled[s.group, h], tracks[s.group, h], prior, h, ts, params, ic)
    leave_out(work, n, c, ic)
    audit = interval_point(ts, params.audit, s.group, groups.size)
    trusted = 0
    if params.audit > 0 and audit == group.audited:
        trusted = eigen.track(c, state, corr.EDGE, TOLERANCE, top, leading, scratch)
    if trusted == ALL:
        corr.weights(top, leading, ic, params.equal, params.positive, state, weights[:n], scratch)
    else:
        eigen.full(c, values, vectors, scratch)
        eigen.lead(values, vectors, top, leading)
        group.audited = audit
        corr.weights(values, vectors, ic, params.equal, params.positive, state, weights[:n], scratch)
    scale(c, state, weights[:n])
    for i in range(n):
        put8(weights, n + i, get8(weights, i) * get8(ic, i))
