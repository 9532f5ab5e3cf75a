"""Weights of a symbol's configurations for each of its horizons: shrunk information coefficients (IC), correlation of the standardised
predictions, and what follows from both, C^-1 IC. The horizons are the lanes of eight.py, solved side by side."""

import math

import numpy as np

from tickarrow.jit import corr, eigen
from tickarrow.jit._kernel import kernel
from tickarrow.jit.eight import ALL, LANES, all8, get8, pick8, put8, sqrt8, word8
from tickarrow.jit.ensemble_state import (
    COUNT_ROWS, ENSEMBLE_PARAMS, ENSEMBLE_STATE, GROUP_STATE, HORIZON_STATE, NO_VARIANCE, NONE, T_OBSERVATIONS, T_WEIGHT, T_YY, T_ZY, T_ZZ,
    decay_point, interval_point,
)  # fmt: skip
from tickarrow.jit.ensemble_window import observe

# Largest error of a tracked eigenvalue as a share of it (docs/decisions/0022); with more, all pairs are solved.
TOLERANCE = 0.2


@kernel("HORIZON_STATE, i8, f8[:,:], f8[:,:], i8, i8, i8, i8, ENSEMBLE_PARAMS, out f8[:,:], out f8[:,:]", inline=True)
def skill_point(state, settled, track, prior, n, h, horizon, ts, params, ic, known):
    """Shrunk ICs of one symbol and horizon, and the volatility of its outcomes, as of `ts`.

    Parameters
    ----------
    state : HORIZON_STATE; `sigma` is set: root mean square outcome, basis points, NaN below `min_outcomes`. Around zero, because
        the mean of few overlapping outcomes hides most of their size.
    settled : int, ns, time of the last outcome in `track`
    track : (7 eights(n), 8) float64
    prior : (eights(n), 8) float64, validation IC; NaN = none
    n, h : int, configurations, number of the horizon
    horizon, ts : int, ns
    params : ENSEMBLE_PARAMS
    ic : (>= n, 8) float64, lane h is set: IC x IC^2 / (IC^2 + se^2), se^2 = (1 - IC^2) / observations, 0 where the IC is not positive
    known : (5 eights(n), 8) float64, out: what ICs are made of, configurations side by side. Tracked IC and its independent observations,
        both 0 where too few; mean of tracked and prior IC by their observations, the sum of these; the shrunk IC

    Notes
    -----
    The prior IC counts as `params.prior` ns of outcomes: at a long horizon these are few independent ones, as in the validation it comes from.

    References
    ----------
    Grinold and Kahn (2000), Active Portfolio Management: skill is shrunk by its own uncertainty.
    """
    state.sigma = np.nan
    if state.weight * decay_point(ts - state.settled, params.ic_tau) >= params.min_outcomes:
        state.sigma = math.sqrt(state.squares / state.weight)
    blocks = prior.shape[0]
    zero, one, kept = all8(0.0), all8(1.0), all8(decay_point(ts - settled, params.ic_tau))
    for b in range(blocks):
        weight = get8(track, T_WEIGHT * blocks + b)
        zz, yy = get8(track, T_ZZ * blocks + b), get8(track, T_YY * blocks + b)
        least = all8(NO_VARIANCE) * weight
        # Two outcomes always correlate by one, and equal values not at all.
        enough = (kept * weight >= all8(params.min_outcomes)) & (zz > least) & (yy > least)
        r = get8(track, T_ZY * blocks + b) / pick8(enough, sqrt8(zz * yy), one)
        r = pick8(r > one, one, pick8(r < -one, -one, r))
        r = pick8(enough, r, zero)
        observations = pick8(enough, kept * get8(track, T_OBSERVATIONS * blocks + b), zero)
        before = get8(prior, b)
        there = before == before
        strength = pick8(there, all8(params.prior / float(horizon)), zero)
        total = observations + strength
        some = total > zero
        mean = (observations * r + strength * pick8(there, before, zero)) / pick8(some, total, one)
        square = mean * mean
        counts = some & (mean > zero)
        noise = (one - square) / pick8(some, total, one)
        put8(known, b, r)
        put8(known, blocks + b, observations)
        put8(known, 2 * blocks + b, mean)
        put8(known, 3 * blocks + b, total)
        row = pick8(counts, mean * square / pick8(counts, square + noise, one), zero)
        put8(known, 4 * blocks + b, row)
    for c in range(n):
        ic[c, h] = known[4 * blocks + c // LANES, c % LANES]


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
    "ENSEMBLE_STATE, GROUP_STATE[:], HORIZON_STATE[:,:], i8[:,:], f8[:,:,:,:], out f8[:,:], out f8[:,:,:], f8[:,:,:], i8, i8[:], i8,"
    "ENSEMBLE_PARAMS, out f8[:,:], out f8[:,:], out f8[:,:]"
)
def refresh(s, groups, horizons, settled, tracks, factors, window, prior, symbol, horizons_ns, ts, params, weights, work, sample):
    """The predictions of a row join the correlation of its group; weights of the symbol from that and from the ICs as of `ts`.

    Parameters
    ----------
    s : ENSEMBLE_STATE of the symbol
    groups : (n_groups,) GROUP_STATE, updated
    horizons : (n_symbols, n_horizons) HORIZON_STATE; sigma of the symbol is set
    settled : (n_groups, n_horizons) int64, ns, time of the last outcome in `tracks`
    tracks : (n_groups, n_horizons, 7 eights(n), 8) float64
    factors : (factor_rows(n), 8) float64 of the group, updated
    window : (window_rows, n + 1, 8) float64 of the group, updated; without rows the correlation decays
    prior : (n_horizons, eights(n), 8) float64 of the symbol
    symbol : int
    horizons_ns : (n_horizons,) int64
    ts : int, ns
    params : ENSEMBLE_PARAMS
    weights : (2 n, 8) float64, out: weights, then weight x IC of each configuration, whose sum is the squared IC of the forecast
    work : (work_rows(n, window_rows), 8) float64; the first n rows are the standardised predictions, NaN = missing and in lanes without
        a horizon
    sample : (window_rows + n, n) float64, anything

    Notes
    -----
    An observation that follows another after dt counts as min(1, dt / horizon) independent ones. All pairs are solved once in each
    interval of `audit` and where four tracked ones cannot be trusted; QL always converges on a finite matrix. Intensity and edge are
    those of all configurations, also when one is missing.
    """
    n, n_horizons = weights.shape[0] // 2, prior.shape[0]
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
    put8(work, share, pick8(before > zero, get8(work, share), one))
    if window.shape[0] > 0:
        observe(work[:n], n_horizons, work, share, group.count, params.shrinkage, window, state, c, sample, scratch)
    else:
        total = kept * before + seen
        fresh = kept * get8(state, independent) + seen * get8(work, share)
        put8(state, independent, fresh)
        put8(work, share, pick8(total > zero, fresh / pick8(total > zero, total, one), one))
        put8(work, decay, kept)
        corr.update(work[:n], work, decay, work, share, sums, state, c, scratch)
        if params.shrinkage == NONE:
            put8(state, corr.INTENSITY, zero)
    group.count += 1

    for h in range(n_horizons):
        skill_point(horizons[symbol, h], settled[s.group, h], tracks[s.group, h], prior[h], n, h, horizons_ns[h], ts, params, ic, scratch)
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
