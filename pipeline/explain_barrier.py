"""Brownian motion of variance 1 between two barriers for one unit of time, by other series than the kernel's: eigenfunctions of the strip, and where
these would cancel, because it is wide, reflected normal densities.

Distances are in standard deviations, inf = there is none on that side; drift in these per unit of time."""

from __future__ import annotations

import math

CANCELS = 6.0  # e^6 units in the last place of 1 are 1e-13
GONE = 745.0  # e^-745 is 0
ROOT_2PI = math.sqrt(2.0 * math.pi)


def first_passage(drift: float, up: float, down: float) -> float:
    """Probability of +up before -down and within the time."""
    if not _narrow(drift, up, down):
        return _reflected(drift, up, down)
    later, j, width = 0.0, 1, up + down
    while True:
        rate = 0.5 * drift * drift + 0.5 * (j * math.pi / width) ** 2
        weight = math.exp(drift * up - rate) * j * math.pi / (width * width) / rate
        later += (weight if j % 2 else -weight) * math.sin(j * math.pi * down / width)
        if rate > 0.5 * drift * drift + 40.0 + max(drift * up, 0.0):
            return min(max(_whole(drift, up, down) - later, 0.0), 1.0)
        j += 1


def ended(drift: float, up: float, down: float) -> float:
    """Mean of the path where it ends, at a barrier or after the time: that of a path without a time limit, less the drift of what is still
    between the barriers after it; of a wide strip both barriers and what is between them."""
    if drift == 0.0:
        return 0.0
    if not _narrow(drift, up, down):
        total = _between(drift, up, down)
        for side, near, behind in ((1.0, up, down), (-1.0, down, up)):
            p = _reflected(side * drift, near, behind)
            total += side * near * p if p else 0.0
        return total
    later, j, width, whole = 0.0, 1, up + down, _whole(drift, up, down)
    while True:
        wave = j * math.pi / width
        rate = 0.5 * drift * drift + 0.5 * wave * wave
        ends = math.exp(-drift * down - rate) + math.exp(drift * up - rate) * (1.0 if j % 2 else -1.0)
        later += wave / (width * rate * rate) * math.sin(wave * down) * ends
        if rate > 0.5 * drift * drift + 40.0 + max(drift * up, -drift * down, 0.0):
            return up * whole - down * (1.0 - whole) - drift * later
        j += 1


def _narrow(drift: float, up: float, down: float) -> bool:
    """Whether the terms of the eigenfunctions are not much larger than what they make."""
    return up + down < 40.0 and abs(drift) * (max(up, down) - 0.5 * abs(drift)) < CANCELS


def _whole(drift: float, up: float, down: float) -> float:
    """Probability of +up before -down (Karlin and Taylor 1975, ch. 7)."""
    width, k = up + down, 2.0 * drift
    if k == 0.0:
        return down / width
    return math.expm1(-k * down) / math.expm1(-k * width) if k > 0.0 else 1.0 - math.expm1(k * up) / math.expm1(k * width)


def _tail(x: float, log: float = 0.0) -> float:
    """e^log (1 - Phi(x)): Laplace's continued fraction far out, libm's erfc else."""
    if x < 0.0:
        return math.exp(log) - _tail(-x, log)
    if log - 0.5 * x * x < -GONE:
        return 0.0
    if x < 4.0:
        return 0.5 * math.exp(log) * math.erfc(x / math.sqrt(2.0))
    f = x
    for k in range(80, 0, -1):
        f = x + k / f
    return math.exp(log - 0.5 * x * x) / (f * ROOT_2PI)


def _reflected(drift: float, up: float, down: float) -> float:
    """The probability by the first passages of the images of +up (Borodin and Salminen 2002, part II, 2.3.0)."""

    def passage(a: float) -> float:
        return _tail(a - drift, drift * (up - a)) + _tail(a + drift, drift * (up + a)) if a < math.inf else 0.0

    total, a = 0.0, up
    while 0.5 * (a * a - up * up) < GONE:
        total += passage(a) - passage(a + 2.0 * down)
        a += 2.0 * (up + down)
    return min(max(total, 0.0), 1.0)


def _between(drift: float, up: float, down: float) -> float:
    """Mean of the path over those that have reached neither: of each reflected normal density the part between the barriers."""

    def part(y: float, sign: float) -> float:
        if math.isinf(y):
            return 0.0
        log, mean = drift * y, y + drift
        low, high = -down - mean, up - mean
        inside = _tail(low, log) - _tail(high, log) if low > 0.0 else _tail(-high, log) - _tail(-low, log)
        slope = sum(s * math.exp(max(log - 0.5 * x * x, -GONE)) / ROOT_2PI for s, x in ((1.0, low), (-1.0, high)))
        return sign * (mean * inside + slope)

    total, n = part(0.0, 1.0) + part(2.0 * up, -1.0) + part(-2.0 * down, -1.0), 1
    while n < 64 and math.isfinite(step := 2.0 * n * (up + down)) and 0.5 * (step - up - down) ** 2 < GONE + abs(drift) * step:
        total += part(step, 1.0) + part(-step, 1.0) + part(2.0 * up + step, -1.0) + part(-2.0 * down - step, -1.0)
        n += 1
    return total
