"""First passage of drifted Brownian motion, with and without a time limit: the reference's figure, other forms, limits, simulations."""

import math

import mpmath
import naive_decide as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import barrier

pytestmark = pytest.mark.pure


def test_probability_of_the_reference_case():
    # drift 0.3, variance 1, +1.2 before -0.8: (1 - e^0.48) / (e^-0.72 - e^0.48) = 0.5455
    assert barrier.barrier_point(0.3, 1.0, 1.2, 0.8) == pytest.approx(0.5455, abs=5e-5)


@given(st.floats(-3, 3), st.floats(0.1, 10), st.floats(0.1, 3), st.floats(0.1, 3))
def test_probability_equals_the_textbook_form(drift, variance, up, down):
    if abs(drift) < 1e-3:
        drift = math.copysign(1e-3, drift)  # the textbook form cancels below
    assert barrier.barrier_point(drift, variance, up, down) == pytest.approx(naive.barrier(drift, variance, up, down), rel=1e-9)


@pytest.mark.parametrize("drift", [0.0, 1e-300, -1e-300, 1e-12, -1e-12])
def test_without_drift_the_nearer_barrier_is_likelier_in_proportion(drift):
    assert barrier.barrier_point(drift, 1.0, 1.5, 1.0) == pytest.approx(0.4, rel=1e-9)


@pytest.mark.parametrize(("drift", "expected"), [(1e6, 1.0), (-1e6, 0.0)])
def test_a_huge_drift_decides(drift, expected):
    assert barrier.barrier_point(drift, 1.0, 1.5, 1.0) == expected


@given(st.floats(-3, 3), st.floats(0.1, 10), st.floats(0.1, 3), st.floats(0.1, 3))
def test_mirrored_barriers_share_the_probability(drift, variance, up, down):
    both = barrier.barrier_point(drift, variance, up, down) + barrier.barrier_point(-drift, variance, down, up)
    assert both == pytest.approx(1.0, abs=1e-12)


def test_probability_agrees_with_a_simulation():
    rng = np.random.default_rng(5)
    x, hit, dt = np.zeros(4000), np.full(4000, np.nan), 1e-3
    while (alive := np.flatnonzero(np.isnan(hit))).size:
        x[alive] += 0.3 * dt + math.sqrt(dt) * rng.standard_normal(alive.size)
        hit[alive[x[alive] >= 1.2]] = 1.0
        hit[alive[x[alive] <= -0.8]] = 0.0
    assert hit.mean() == pytest.approx(barrier.barrier_point(0.3, 1.0, 1.2, 0.8), abs=0.03)


@pytest.mark.parametrize("x", [0.0, 1e-9, 0.5, 1.0, 3.9, 4.0, 4.1, 10.0, 38.0, 1e3, 1e8, 1e200, math.inf])
def test_the_mills_ratio_is_that_of_the_normal_distribution(x):
    with mpmath.workdps(50):
        if x < 30:
            expected = mpmath.sqrt(mpmath.pi / 2) * mpmath.exp(mpmath.mpf(x) ** 2 / 2) * mpmath.erfc(mpmath.mpf(x) / mpmath.sqrt(2))
        else:  # asymptotic series
            expected = sum((-1) ** n * mpmath.fac2(2 * n - 1) / mpmath.mpf(x) ** (2 * n + 1) for n in range(12))
        assert barrier.mills_point(x) == pytest.approx(float(expected), rel=1e-15)


def test_one_barrier_within_a_time_is_the_reflection_principle():
    # without drift and with the other barrier out of reach: 2 (1 - Phi(a / sqrt(t))); 2 x 0.158655 for one deviation
    assert barrier.barrier_within_point(0.0, 1.0, 1.0, 50.0, 1.0) == pytest.approx(0.31731050786291415, rel=1e-13)
    assert barrier.barrier_within_point(0.0, 4.0, 4.0, 50.0, 4.0) == pytest.approx(0.31731050786291415, rel=1e-13)


@given(st.floats(-6, 6), st.floats(0.1, 10), st.floats(0.1, 4), st.floats(0.1, 4), st.floats(0.02, 50))
def test_images_equal_the_sine_series(drift, variance, up, down, time):
    got = barrier.barrier_within_point(drift, variance, up, down, time)
    assert got == pytest.approx(naive.barrier_within(drift, variance, up, down, time), rel=1e-9, abs=1e-14)


@given(st.floats(-30, 30), st.floats(0.01, 20), st.floats(0.01, 20), st.floats(1e-3, 1e3), st.floats(1.0, 100.0))
def test_three_ends_share_the_probability_and_time_only_adds(drift, up, down, time, later):
    reached = [barrier.barrier_within_point(drift, 1.0, up, down, t) for t in (time, time * later, math.inf)]
    other = [barrier.barrier_within_point(-drift, 1.0, down, up, t) for t in (time, time * later, math.inf)]
    for p in (reached, other):
        assert all(0.0 <= v <= 1.0 for v in p)
        assert p[0] <= p[1] + 1e-13
        assert p[1] <= p[2] + 1e-13
    assert all(a + b <= 1.0 + 1e-13 for a, b in zip(reached, other))
    assert reached[2] == barrier.barrier_point(drift, 1.0, up, down)


@pytest.mark.parametrize(("time", "expected"), [(0.0, 0.0), (-1.0, 0.0), (1e-9, 0.0)])
def test_without_time_nothing_is_reached(time, expected):
    assert barrier.barrier_within_point(0.3, 1.0, 1.2, 0.8, time) == expected
    assert math.isnan(barrier.barrier_within_point(0.3, 1.0, 1.2, 0.8, math.nan))


def test_both_sides_of_the_switch_to_the_closed_form_agree():
    width = math.sqrt(1.0 / 8.0)
    for share in (0.1, 0.5, 0.9):
        a, b = (barrier.barrier_within_point(0.3, 1.0, share * w, (1 - share) * w, 1.0) for w in (width * (1 - 1e-9), width * (1 + 1e-9)))
        assert a == pytest.approx(b, rel=1e-8)


def simulated(drift, up, down, n=40_000, steps=50):
    """(n,) +1, -1 or 0: the barrier that a path meets first until time 1, and (n,) where it ends, there or between them. A barrier is also
    crossed between two steps, with the probability of the Brownian bridge."""
    rng, dt = np.random.default_rng(7), 1.0 / steps
    x, hit = np.zeros(n), np.zeros(n, int)
    for _ in range(steps):
        y = x + drift * dt + math.sqrt(dt) * rng.standard_normal(n)
        upper = (y >= up) | (rng.random(n) < np.exp(np.minimum(-2 * (up - x) * (up - y) / dt, 0.0)))
        lower = (y <= -down) | (rng.random(n) < np.exp(np.minimum(-2 * (x + down) * (y + down) / dt, 0.0)))
        x = np.where(hit != 0, x, np.where(upper, up, np.where(lower, -down, y)))
        hit = np.where(hit != 0, hit, np.where(upper, 1, np.where(lower, -1, 0)))
    return hit, x


@pytest.mark.parametrize(("drift", "up", "down"), [(0.3, 1.2, 0.8), (2.0, 1.5, 1.0), (-1.0, 1.5, 1.0)])
def test_the_vertical_barrier_agrees_with_a_simulation(drift, up, down):
    hit, _ = simulated(drift, up, down)
    error = 5 * 0.5 / math.sqrt(hit.size)
    assert (hit == 1).mean() == pytest.approx(barrier.barrier_within_point(drift, 1.0, up, down, 1.0), abs=error)
    assert (hit == -1).mean() == pytest.approx(barrier.barrier_within_point(-drift, 1.0, down, up, 1.0), abs=error)


@given(st.floats(-8, 8), st.floats(0.05, 6), st.floats(0.05, 6))
def test_the_value_within_barriers_is_the_mean_where_the_path_ends(drift, up, down):
    p_up, p_down, value = barrier.barrier_value_point(drift, up, down)
    assert p_up == pytest.approx(barrier.barrier_within_point(drift, 1.0, up, down, 1.0), abs=1e-13)
    assert p_down == pytest.approx(barrier.barrier_within_point(-drift, 1.0, down, up, 1.0), abs=1e-13)
    assert value == pytest.approx(naive.barrier_value(drift, up, down), rel=1e-9, abs=1e-13)
    assert barrier.barrier_value_point(-drift, down, up)[2] == pytest.approx(-value, abs=1e-15)
    assert abs(value) <= abs(drift) + 1e-15
    assert -down - 1e-12 <= value <= up + 1e-12


@given(st.floats(-8, 8), st.floats(0.1, 6), st.sampled_from([50.0, 1e3, 1e200, math.inf]))
def test_a_barrier_out_of_reach_is_none(drift, near, far):
    # of one barrier at `near`: reflection and change of measure (Borodin and Salminen 2002, part II, 1.2.0)
    with mpmath.workdps(40):
        x, m = mpmath.mpf(near), mpmath.mpf(drift)
        expected = float(mpmath.ncdf(m - x) + mpmath.exp(2 * m * x) * mpmath.ncdf(-m - x))
    p_up, p_down, value = barrier.barrier_value_point(drift, near, far)
    assert p_up == pytest.approx(expected, rel=1e-10, abs=1e-14)
    assert p_down == 0.0
    assert (p_up, p_down, value) == barrier.barrier_value_point(drift, near, 60.0)
    assert barrier.barrier_value_point(-drift, far, near) == (0.0, p_up, -value)
    assert barrier.barrier_within_point(drift, 1.0, near, far, 1.0) == pytest.approx(expected, rel=1e-10, abs=1e-14)
    assert barrier.barrier_value_point(drift, far, far) == (0.0, 0.0, drift)


def test_the_value_of_some_known_cases():
    assert barrier.barrier_value_point(0.0, 1.5, 1.0)[2] == 0.0
    assert barrier.barrier_value_point(0.7, 40.0, 40.0)[2] == pytest.approx(0.7, rel=1e-15)  # barriers out of reach: the drift
    assert barrier.barrier_value_point(30.0, 1.5, 1.0)[2] == pytest.approx(1.5, rel=1e-12)  # the profit barrier comes soon
    # barriers so near that time does not matter: up P - down (1 - P) with P = (1 - e^-0.04) / (1 - e^-0.1), drift 1
    p = math.expm1(-0.04) / math.expm1(-0.1)
    assert barrier.barrier_value_point(1.0, 0.03, 0.02)[2] == pytest.approx(0.03 * p - 0.02 * (1 - p), rel=1e-12)
    # the lower barrier out of reach and hardly a drift: drift x mean of min(T, 1), T the passage of 1, P(T > t) = erf(1 / sqrt(2 t))
    time = mpmath.quad(lambda t: mpmath.erf(1 / mpmath.sqrt(2 * t)), [0, 0.1, 1])
    assert barrier.barrier_value_point(1e-7, 1.0, 60.0)[2] == pytest.approx(1e-7 * float(time), rel=1e-6)


@pytest.mark.parametrize(("drift", "up", "down"), [(0.3, 1.5, 1.0), (2.0, 1.5, 1.0), (-1.0, 0.7, 1.4)])
def test_the_value_agrees_with_a_simulation(drift, up, down):
    _, x = simulated(drift, up, down)
    assert x.mean() == pytest.approx(barrier.barrier_value_point(drift, up, down)[2], abs=5 * x.std() / math.sqrt(x.size))
