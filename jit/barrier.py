"""Which of two barriers a drifting price reaches first: the closed form without a time limit, and images within one."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.math import exp_point, expm1_point

INV_ROOT_2PI = 0.3989422804014327
LONG = 8.0  # variance of the path over the squared distance of the barriers; beyond, less than 1e-16 is left between them
SMALL = 37.0  # an image at `a` counts at most 2.5 e^{-(a^2 - near^2) / 2} of the first one: less than 1e-15 beyond this exponent
FAR = 40.0  # deviations from where the drift leads, beyond which nothing arrives: e^{-800} is 0
# Chebyshev interpolation in t = (x - 4) / (x + 4) of (x + 1) (1 - Phi(x)) / phi(x) by mpmath, as powers of t: error below 7e-16 for x >= 0
MILLS = np.array([float.fromhex(c) for c in (
    "0x1.2eea40b9abcabp+0", "-0x1.f06f3d0b9e7b7p-3", "0x1.1f7901bed432ap-5", "0x1.25a4eb032c9ddp-4", "-0x1.4a947b6190590p-4",
    "0x1.704e209e4d80fp-5", "-0x1.9ae19ff91e38fp-7", "-0x1.775d44ad8e3d9p-11", "0x1.c89d7ce706345p-10", "-0x1.f0673b4aa182cp-13",
    "-0x1.cdd3182c7af3fp-13", "0x1.bee5355fb930fp-15", "0x1.1e878d6788e6fp-15", "-0x1.21655d67f6b5fp-17", "-0x1.b7775f73ce600p-18",
    "0x1.1a21c9746dd23p-20", "0x1.731fd7539a4d9p-20", "-0x1.4816bbf473c3ep-25", "-0x1.2a3b5dc5d084ep-22", "-0x1.5ec26855105c7p-26",
    "0x1.7cdb7aa99b2aap-25", "0x1.0f0bd9a248a88p-28", "-0x1.11efd6680ac56p-28",
)])  # fmt: skip


@kernel("f8", inline=True)
def mills_point(x):
    """Mills ratio (1 - Phi(x)) / phi(x) of the normal distribution, x >= 0; relative error below 1e-15. inf gives 0.

    References
    ----------
    Substitution t = (x - b) / (x + b) as in Shepherd and Laframboise (1981), Chebyshev approximation of (1 + 2x) exp(x^2) erfc x.
    """
    if x > 1e300:
        return 0.0
    t = (x - 4.0) / (x + 4.0)
    tt = t * t
    even = MILLS[22]
    odd = MILLS[21]
    for i in range(20, 0, -2):
        even = even * tt + MILLS[i]
        odd = odd * tt + MILLS[i - 1]
    even = even * tt + MILLS[0]
    return (even + odd * t) / (x + 1.0)


@kernel("f8, f8, f8, f8", inline=True)
def barrier_point(drift, variance, up, down):
    """Probability that Brownian motion with drift reaches +up before -down.

    Parameters
    ----------
    drift, variance : float64, mean and variance per unit of time (any unit); variance > 0
    up, down : float64, distances of the barriers, > 0, in the unit of the path

    Returns
    -------
    float64; the lower barrier is first with probability one minus this.

    References
    ----------
    Karlin and Taylor (1975), A First Course in Stochastic Processes, ch. 7: (1 - e^{-k down}) / (1 - e^{-k (up + down)})
    with k = 2 drift / variance.
    """
    k = 2.0 * drift / variance
    if k < 0.0:  # the mirror image, so that no exponential overflows
        whole = expm1_point(k * (up + down))
        if whole == 0.0:
            return down / (up + down)
        return 1.0 - expm1_point(k * up) / whole
    whole = expm1_point(-k * (up + down))
    if whole == 0.0:
        return down / (up + down)
    return expm1_point(-k * down) / whole


@kernel("f8, f8, f8, f8", inline=True)
def image_point(a, near, k, drift):
    """First passage of Brownian motion from 0 to `a` within one unit of time, as an image of the barrier at `near` counts it.

    Parameters
    ----------
    a : float64, distance of the image, > 0, in standard deviations of the unit of time
    near : float64, distance of the barrier itself, <= a
    k, drift : float64, |drift| and drift in standard deviations per unit of time

    Returns
    -------
    first, second : float64, e^{drift near - k a} Phi(k - a) and e^{drift near + k a} Phi(-k - a), by Mills ratios, so that no factor
        overflows. Their sum is the probability; a / k times their difference is the mean time of those that arrive (inverse Gaussian).
    """
    density = INV_ROOT_2PI * exp_point(drift * near - 0.5 * (a * a + k * k))
    second = density * mills_point(a + k)
    if a >= k:
        return density * mills_point(a - k), second
    return exp_point(drift * near - k * a) - density * mills_point(k - a), second


@kernel("f8, f8, f8", inline=True)
def side_point(drift, near, behind):
    """Brownian motion of unit variance that reaches +near before -behind within one unit of time.

    Parameters
    ----------
    drift : float64, standard deviations per unit of time
    near, behind : float64, distances of the barriers, > 0, standard deviations; inf = there is none

    Returns
    -------
    float64, its probability; float64, |drift| times the mean of its time, where it is so, and 0 elsewhere
    """
    k = abs(drift)
    far = k + FAR
    near = min(near, far)
    behind = min(behind, far)
    step = 2.0 * (near + behind)
    total = 0.0
    moved = 0.0
    for n in range(64):
        a = near + n * step
        if 0.5 * (a * a - near * near) > SMALL:
            break
        first, second = image_point(a, near, k, drift)
        total += first + second
        moved += a * (first - second)
        a += 2.0 * behind  # always with the one before: they may nearly cancel
        first, second = image_point(a, near, k, drift)
        total -= first + second
        moved -= a * (first - second)
    return min(max(total, 0.0), 1.0), moved


@kernel("f8, f8, f8, f8, f8", inline=True)
def barrier_within_point(drift, variance, up, down, time):
    """Probability that Brownian motion with drift reaches +up before -down and within `time`: the vertical barrier is third.

    Parameters
    ----------
    drift, variance, up, down : as in `barrier_point`
    time : float64, in the unit of time of drift and variance; 0 or less gives 0, inf the closed form

    Returns
    -------
    float64. The lower barrier's is that of the mirrored path (-drift, variance, down, up, time); what both leave is the probability of
    neither. Error below 1e-13 for drifts and barriers of up to thirty deviations.

    References
    ----------
    Reflection at both barriers and change of measure: Karlin and Taylor (1975), ch. 7; Borodin and Salminen (2002), part II, 2.3.0. Each image
    at up + 2 n (up + down) is the first passage of one barrier (inverse Gaussian), with the sign of its reflections.
    """
    if not time > 0.0:
        return 0.0 if time == time else time
    width = up + down
    if variance * time > LONG * width * width:
        return barrier_point(drift, variance, up, down)
    deviation = math.sqrt(variance * time)
    first, _ = side_point(drift * time / deviation, up / deviation, down / deviation)
    return first


@kernel("f8, f8, f8", inline=True)
def barrier_value_point(drift, up, down):
    """What a position is worth that ends at +up, at -down or after one unit of time, in standard deviations of that unit.

    Parameters
    ----------
    drift : float64, standard deviations per unit of time
    up, down : float64, distances of the barriers, > 0, standard deviations; inf = there is none

    Returns
    -------
    p_up, p_down, value : float64. Probabilities of each barrier first and within the time; mean of the path where it ends.

    References
    ----------
    Optional stopping (Karlin and Taylor 1975, ch. 6): the mean of the path at its end is drift x the mean of its time, which is one where
    neither barrier is reached. Without the time limit it is up P - down (1 - P).
    """
    width = up + down
    if LONG * width * width < 1.0:
        p = barrier_point(drift, 1.0, up, down)
        return p, 1.0 - p, up * p - down * (1.0 - p)
    p_up, up_moved = side_point(drift, up, down)
    p_down, down_moved = side_point(-drift, down, up)
    moved = up_moved + down_moved
    return p_up, p_down, drift * (1.0 - p_up - p_down) + (moved if drift >= 0.0 else -moved)
