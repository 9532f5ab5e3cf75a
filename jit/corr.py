"""Correlation of the predictions of n configurations, for up to eight horizons of a symbol side by side (one a lane, see eight.py), and the
weights that follow from it: decayed second moments by market time, Ledoit-Wolf or OAS shrinkage, Marchenko-Pastur clipping, decorrelated
weights. Matrices are packed as in eigen.py: entry (i, j), j <= i, is row i (i + 1) / 2 + j of a (n (n + 1) / 2, 8) array; quantities of a
configuration are rows of an (n, 8) array; one number a lane is a row of `state`. A lane without data is the identity and gets no weight.
Standardised predictions have no unit, ICs are correlations."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.eight import LANES, all8, get8, pick8, put8, sqrt8, sum8

# Rows of `state` (STATE_ROWS, 8): decayed number of observations, sum of squared decays, effective independent observations, shrinkage
# intensity, Marchenko-Pastur edge, strength (IR^2) of the weights.
WEIGHT, SQUARES, T_EFF, INTENSITY, EDGE, STRENGTH = 0, 1, 2, 3, 4, 5
STATE_ROWS = 6
NO_VARIANCE = 1e-12  # of the mean square of a configuration: rounding
LEAST = 1e-8  # smallest cleaned eigenvalue of a correlation that is inverted


@kernel("f8, f8, f8, f8", inline=True)
def oas_point(trace, square, n, t_eff):
    """Intensity of oracle approximating shrinkage towards the mean eigenvalue times identity, 0 to 1.

    Parameters
    ----------
    trace, square : float64, tr C and tr C^2
    n : float64, rows of C
    t_eff : float64, independent observations

    References
    ----------
    Chen, Wiesel, Eldar and Hero (2010), Shrinkage algorithms for MMSE covariance estimation, as scikit-learn has it.
    """
    mean = trace / n
    alpha = square / (n * n)
    apart = (t_eff + 1.0) * (alpha - mean * mean / n)
    if not apart > 0.0:
        return 1.0
    return min((alpha + mean * mean) / apart, 1.0)


@kernel("f8, f8, f8", inline=True)
def mp_edge_point(mean, n, t_eff):
    """Largest eigenvalue that noise alone makes: mean (1 + sqrt(n / t_eff))^2.

    Parameters
    ----------
    mean : float64, mean eigenvalue
    n, t_eff : float64, dimensions, independent observations; infinite for 0 of them

    References
    ----------
    Marchenko and Pastur (1967); Laloux, Cizeau, Bouchaud and Potters (1999), Noise dressing of financial correlation matrices.
    """
    if not t_eff > 0.0:
        return np.inf
    root = 1.0 + math.sqrt(n / t_eff)
    return mean * root * root


@kernel("f8[:,:], f8[:,:], i8, f8[:,:], i8, out f8[:,:], out f8[:,:], out f8[:,:], out f8[:,:]")
def update(z, decay, g, independent, share, sums, state, c, scratch):
    """Add one observation of each lane and make its correlation: unit diagonal, OAS intensity, Marchenko-Pastur edge.

    Parameters
    ----------
    z : (n, 8) float64, standardised predictions; NaN = missing. A lane with none is not observed.
    decay, g : (rows, 8) float64 and a row of it: exp(-dt / tau) since the last call, market time
    independent, share : (rows, 8) float64 and a row of it: independent observations per observation, more than 0 to 1; the next ones of a
        horizon that overlap are fewer than they look
    sums : (n (n + 1) / 2, 8) float64, packed, updated: sum of g z_i z_j. A missing z counts as 0: its row and column only decay. So the
        matrix stays positive semidefinite, and a model that is rarely there is shrunk towards no correlation.
    state : (STATE_ROWS, 8) float64, updated: WEIGHT, SQUARES, T_EFF, INTENSITY, EDGE
    c : (n (n + 1) / 2, 8) float64, packed, out: sums_ij / sqrt(sums_ii sums_jj); a configuration without variance is uncorrelated with all
    scratch : (2 n, 8) float64

    Notes
    -----
    T_EFF = share WEIGHT^2 / SQUARES (Kish's effective sample size).
    """
    n = z.shape[0]
    zero, one = all8(0.0), all8(1.0)
    kept = get8(decay, g)
    seen = zero
    for i in range(n):
        x = get8(z, i)
        there = x == x
        seen = pick8(there, one, seen)
        put8(scratch, i, pick8(there, x, zero))
    weight = kept * get8(state, WEIGHT) + seen
    squares = kept * kept * get8(state, SQUARES) + seen
    least = all8(NO_VARIANCE) * weight
    for i in range(n):
        x = get8(scratch, i)
        at = i * (i + 1) // 2 + i
        v = kept * get8(sums, at) + x * x
        put8(sums, at, v)
        put8(c, at, one)
        varies = v > least
        put8(scratch, n + i, pick8(varies, one / sqrt8(pick8(varies, v, one)), zero))
    square = zero
    at = 0
    for i in range(n):
        x, r = get8(scratch, i), get8(scratch, n + i)
        for j in range(i):
            v = kept * get8(sums, at) + x * get8(scratch, j)
            put8(sums, at, v)
            v = v * (r * get8(scratch, n + j))
            put8(c, at, v)
            square = square + v * v
            at += 1
        at += 1
    # oas_point and mp_edge_point with trace n, lane by lane
    count = all8(float(n))
    alpha = (count + square + square) / (count * count)
    t = pick8(squares > zero, get8(independent, share) * weight * weight / pick8(squares > zero, squares, one), zero)
    apart = (t + one) * (alpha - one / count)
    intensity = (alpha + one) / pick8(apart > zero, apart, one)
    root = one + sqrt8(count / t)
    put8(state, WEIGHT, weight)
    put8(state, SQUARES, squares)
    put8(state, T_EFF, t)
    put8(state, INTENSITY, pick8((apart > zero) & (intensity < one), intensity, one))
    put8(state, EDGE, pick8(t > zero, root * root, all8(np.inf)))


@kernel("f8[:,:], f8[:,:], f8[:,:], f8, ?, out f8[:,:], out f8[:,:], out f8[:,:]")
def weights(values, vectors, ic, equal, positive, state, out, scratch):
    """Decorrelated weights of each lane: the forecast w'z of the outcome in its standard deviations that has the highest IC.

    Parameters
    ----------
    values, vectors : (k, 8), (k n, 8) float64, eigenpairs of the correlation in any order: all of them, or those that `track` keeps
    ic : (n, 8) float64, IC of each configuration; 0 = nothing known
    equal : float64, 0 to 1, share of the forecast that is the mean of the configurations with a positive IC
    positive : bool, negative weights become 0 before that
    state : (STATE_ROWS, 8) float64; INTENSITY and EDGE are read, STRENGTH is set: the squared IC that the forecast should have. Above 1
        the ICs contradict each other.
    out : (n, 8) float64, out
    scratch : (2 k, 8) float64

    Notes
    -----
    Eigenvalues at or below the edge become their mean, trace kept; then C = (1 - intensity) C + intensity I. With b the cleaned eigenvalue
    of the rest, C^-1 ic = ic / b + sum over the pairs above the edge of (1 / l - 1 / b) (q'ic) q (Woodbury). Clipped or mixed weights d are
    scaled to d (d'ic) / (d'C d), which leaves C^-1 ic as it is; strength (d'ic)^2 / (d'C d).

    References
    ----------
    Grinold and Kahn (2000), Active Portfolio Management; Qian and Hua (2004); Timmermann (2006) on equal weights.
    """
    n, k = out.shape[0], values.shape[0]
    zero, one, least = all8(0.0), all8(1.0), all8(LEAST)
    rho, edge = get8(state, INTENSITY), get8(state, EDGE)
    rest, count = all8(float(n)), all8(float(n))
    for r in range(k):
        v = get8(values, r)
        above = v > edge
        rest, count = rest - pick8(above, v, zero), count - pick8(above, one, zero)
    bulk = pick8(count > zero, rest / pick8(count > zero, count, one), one)
    b = (one - rho) * pick8(bulk > zero, bulk, zero) + rho
    b = pick8(b > least, b, least)
    whole = one / b
    for i in range(n):
        put8(out, i, whole * get8(ic, i))
    for r in range(k):
        v = get8(values, r)
        above = v > edge
        level = (one - rho) * v + rho
        level = pick8(level > least, level, least)
        along = zero
        for i in range(n):
            along = along + get8(vectors, r * n + i) * get8(ic, i)
        along = pick8(above, along * (one / level - whole), zero)
        put8(scratch, r, pick8(above, level - b, zero))
        for i in range(n):
            put8(out, i, get8(out, i) + along * get8(vectors, r * n + i))
    if positive:
        for i in range(n):
            d = get8(out, i)
            put8(out, i, pick8(d > zero, d, zero))
    if equal > 0.0:
        gain, square = zero, zero
        for r in range(k):
            put8(scratch, k + r, zero)
        for i in range(n):
            x = get8(ic, i)
            counts = x > zero
            gain, square = gain + pick8(counts, x, zero), square + pick8(counts, b, zero)
            for r in range(k):
                put8(scratch, k + r, get8(scratch, k + r) + pick8(counts, get8(vectors, r * n + i), zero))
        for r in range(k):
            along = get8(scratch, k + r)
            square = square + get8(scratch, r) * along * along
        level = all8(equal) * pick8(square > zero, gain / pick8(square > zero, square, one), zero)
        for i in range(n):
            put8(out, i, all8(1.0 - equal) * get8(out, i) + pick8(get8(ic, i) > zero, level, zero))
    gain, square = zero, zero
    for i in range(n):
        d = get8(out, i)
        gain, square = gain + d * get8(ic, i), square + b * d * d
    for r in range(k):
        along = zero
        for i in range(n):
            along = along + get8(vectors, r * n + i) * get8(out, i)
        square = square + get8(scratch, r) * along * along
    scale = pick8(square > zero, gain / pick8(square > zero, square, one), zero)
    put8(state, STRENGTH, scale * gain)
    for i in range(n):
        put8(out, i, scale * get8(out, i))


@kernel("f8[:,:], f8, out f8[:,:], out f8[:,:]")
def window(x, independent, centred, covariance):
    """Covariance of a whole window and its Ledoit-Wolf intensity, for research.

    Parameters
    ----------
    x : (T, n) float64, finite, T from 1
    independent : float64, independent ones of its rows; T for the intensity of Ledoit and Wolf, fewer of them shrink more
    centred : (n * ceil(T / 8), 8) float64, out: the columns of x less their means, eight times a row, the last one filled up with 0
    covariance : (n, n) float64, out: S = x'x / T centred

    Returns
    -------
    float64, intensity, 0 to 1, of `shrink`

    Notes
    -----
    A sum over time is eight sums, of the times t with t % 8 = 0, 1, ..., in order, which `sum8` joins.

    References
    ----------
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
    """
    times, n = x.shape
    blocks = (times + LANES - 1) // LANES
    zero = all8(0.0)
    for j in range(n):
        at = j * blocks
        put8(centred, at + blocks - 1, zero)
        for k in range(times // LANES):
            for lane in range(LANES):
                centred[at + k, lane] = x[LANES * k + lane, j]
        for t in range(times // LANES * LANES, times):
            centred[at + blocks - 1, t % LANES] = x[t, j]
        total = zero
        for k in range(at, at + blocks):
            total = total + get8(centred, k)
        mean = sum8(total) / times
        for k in range(at, at + blocks):
            put8(centred, k, get8(centred, k) - all8(mean))
        for t in range(times, blocks * LANES):
            centred[at + blocks - 1, t % LANES] = 0.0
    fourth = zero
    for k in range(blocks):
        length = zero
        for j in range(n):
            v = get8(centred, j * blocks + k)
            length = length + v * v
        fourth = fourth + length * length
    trace = square = 0.0
    for i in range(n):
        for j in range(0, i + 1, 4):  # four sums at a time, the last of them more than once
            j1, j2, j3 = min(j + 1, i), min(j + 2, i), min(j + 3, i)
            s0, s1, s2, s3 = zero, zero, zero, zero
            for k in range(blocks):
                v = get8(centred, i * blocks + k)
                s0, s1 = s0 + v * get8(centred, j * blocks + k), s1 + v * get8(centred, j1 * blocks + k)
                s2, s3 = s2 + v * get8(centred, j2 * blocks + k), s3 + v * get8(centred, j3 * blocks + k)
            covariance[i, j], covariance[i, j1] = sum8(s0) / times, sum8(s1) / times
            covariance[i, j2], covariance[i, j3] = sum8(s2) / times, sum8(s3) / times
        for j in range(i):
            s = covariance[i, j]
            covariance[j, i] = s
            square += 2.0 * s * s
        s = covariance[i, i]
        square += s * s
        trace += s
    mean = trace / n
    apart = square - mean * mean * n
    noise = sum8(fourth) / times - square
    if not (noise > 0.0 and apart > 0.0):
        return 0.0
    if noise >= apart * independent:
        return 1.0
    return noise / independent / apart


@kernel("out f8[:,:], f8")
def shrink(covariance, intensity):
    """S <- (1 - intensity) S + intensity mean(diag S) I.

    Parameters
    ----------
    covariance : (n, n) float64, updated
    intensity : float64, 0 to 1
    """
    n = covariance.shape[0]
    trace = 0.0
    for i in range(n):
        trace += covariance[i, i]
    for i in range(n):
        for j in range(n):
            covariance[i, j] *= 1.0 - intensity
        covariance[i, i] += intensity * (trace / n)


@kernel("f8[:,:], i8, out f8[:,:]")
def place(covariance, lane, c):
    """Put the correlation of a covariance into a lane of packed matrices.

    Parameters
    ----------
    covariance : (n, n) float64, symmetric; a row without variance is uncorrelated with all
    lane : int64, 0 to 7
    c : (n (n + 1) / 2, 8) float64, packed, out; only the lane is written
    """
    at = 0
    for i in range(covariance.shape[0]):
        for j in range(i):
            square = covariance[i, i] * covariance[j, j]
            c[at, lane] = covariance[i, j] / math.sqrt(square) if square > 0.0 else 0.0
            at += 1
        c[at, lane] = 1.0
        at += 1
