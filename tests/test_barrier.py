"""First passage of drifted Brownian motion: the reference's figure, the textbook form, limits, and a simulation."""

import math

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
