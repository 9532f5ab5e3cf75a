"""Barriers by the arithmetic of explain: known cases, mpmath in 60 digits, and no barrier at all."""

import math
import statistics

import naive_decide as naive
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit.barrier import barrier_value_point
from tickarrow.pipeline.explain_barrier import ended, first_passage

PHI = statistics.NormalDist().cdf
INF = math.inf


def test_probabilities_of_two_known_cases():
    # Without drift the upper one of a symmetric pair has half of what is reached: 1 - 4 / pi sum (-1)^k exp(-(2k + 1)^2 pi^2 / 8) / (2k + 1).
    reached = 1 - 4 / math.pi * sum((-1) ** k * math.exp(-((2 * k + 1) ** 2) * math.pi**2 / 8) / (2 * k + 1) for k in range(20))
    assert first_passage(0.0, 1.0, 1.0) == pytest.approx(0.5 * reached, abs=1e-14)
    # With the lower one out of reach, or none, the maximum of drift 0.5 exceeds 1 with probability Phi(-0.5) + e Phi(-1.5): reflection.
    for down in (12.0, INF):
        assert first_passage(0.5, 1.0, down) == pytest.approx(PHI(-0.5) + math.e * PHI(-1.5), abs=1e-14)
    assert first_passage(0.3, 50.0, 50.0) == first_passage(0.3, INF, 1.0) == 0.0


def test_values_of_known_cases():
    # A path without drift is worth nothing, one that reaches neither barrier its drift, one that soon reaches the upper one that barrier.
    assert ended(0.0, 1.5, 1.0) == 0.0
    assert ended(0.5, 14.0, 14.0) == pytest.approx(0.5, abs=1e-14)
    assert ended(0.5, INF, INF) == pytest.approx(0.5, abs=1e-14)
    assert ended(20.0, 1.5, 1.0) == pytest.approx(1.5, abs=1e-14)
    for drift in (0.02, 0.3, -2.0):  # none on one side is one out of reach
        assert ended(drift, 1.5, INF) == pytest.approx(naive.barrier_value(drift, 1.5, 15.0), abs=1e-14)
        assert ended(drift, INF, 1.0) == ended(drift, 60.0, 1.0) == pytest.approx(naive.barrier_value(drift, 15.0, 1.0), abs=1e-14)


@pytest.mark.parametrize("drift", [0.0, 0.3, 2.0, 5.0])
@pytest.mark.parametrize(("up", "down"), [(1.5, 1.0), (0.2, 0.1), (3.5, 3.5), (6.0, 3.0), (3.0, 6.0), (9.0, 9.0), (1.0, 20.0), (20.0, 20.0)])
def test_narrow_and_wide_strips_are_those_of_mpmath(drift, up, down):
    assert first_passage(drift, up, down) == pytest.approx(naive.barrier_within(drift, 1.0, up, down, 1.0), abs=5e-14)
    assert first_passage(-drift, down, up) == pytest.approx(naive.barrier_within(-drift, 1.0, down, up, 1.0), abs=5e-14)
    assert ended(drift, up, down) == pytest.approx(naive.barrier_value(drift, up, down), abs=5e-14)
    assert ended(-drift, down, up) == pytest.approx(-ended(drift, up, down), abs=5e-14)


@pytest.mark.parametrize(("drift", "up", "down"), [(12.0, 20.0, 20.0), (8.0, 9.0, 9.0), (35.0, 45.0, 30.0), (0.02, INF, 1.0), (0.3, 60.0, 0.2)])
def test_far_barriers_are_those_of_the_kernel(drift, up, down):
    for d, near, behind in ((drift, up, down), (-drift, down, up)):
        p_up, p_down, value = barrier_value_point(d, near, behind)
        assert (first_passage(d, near, behind), first_passage(-d, behind, near)) == pytest.approx((p_up, p_down), abs=5e-14)
        assert ended(d, near, behind) == pytest.approx(value, abs=5e-14)


FAR = st.one_of(st.floats(0.1, 5), st.floats(0.1, 150), st.just(INF))


@given(st.floats(-30, 30), FAR, FAR)
def test_everywhere_it_is_what_the_kernel_says(drift, up, down):
    p_up, p_down, value = barrier_value_point(drift, up, down)
    assert (first_passage(drift, up, down), first_passage(-drift, down, up)) == pytest.approx((p_up, p_down), abs=2e-13)
    assert ended(drift, up, down) == pytest.approx(value, rel=2e-13, abs=2e-13)
