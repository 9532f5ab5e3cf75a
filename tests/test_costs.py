"""Commission and one-way cost against IBKR's published examples and hand computation."""

import naive_decide as naive
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import costs

pytestmark = pytest.mark.pure
IBKR_FIXED = (0.005, 1.0, 0.01)


@pytest.mark.parametrize(("quantity", "price", "expected"), [(100.0, 25.0, 1.00), (1000.0, 25.0, 5.00), (1000.0, 0.25, 2.50)])
def test_commission_equals_the_examples_of_ibkr(quantity, price, expected):
    assert costs.commission_point(quantity, price, *IBKR_FIXED) == pytest.approx(expected, rel=1e-15)


def test_the_cap_beats_the_minimum_for_a_tiny_order():
    assert costs.commission_point(10.0, 0.20, *IBKR_FIXED) == pytest.approx(0.02)


@given(st.floats(1, 1e6), st.floats(0.01, 5000), st.floats(0, 0.1), st.floats(0, 5), st.floats(0, 0.1))
def test_commission_equals_its_definition(quantity, price, per_share, minimum, max_share):
    args = (quantity, price, per_share, minimum, max_share)
    assert costs.commission_point(*args) == naive.commission(*args)


def test_cost_of_a_hand_computed_order():
    # 99.99 / 100.01: half spread 0.01 = 1 bp of 100; 500 shares pay 2.50 of 50,000 = 0.5 bp
    assert costs.cost_point(99.99, 100.01, 500.0, *IBKR_FIXED) == pytest.approx(1.5, rel=1e-10)
