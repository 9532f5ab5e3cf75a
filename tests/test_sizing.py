"""Position size: volatility target, per-name cap, whole lots."""

import naive_decide as naive
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import sizing

pytestmark = pytest.mark.pure


def test_size_of_a_hand_computed_target():
    # 5,896,800 trading seconds a year; over 58.968 s a year is 100,000 horizons: 7.905694 bp x sqrt(1e5) = 25 % a year.
    # 0.005 x 1,000,000 / 0.25 = 20,000 of currency = 333 shares at 60
    assert sizing.target_point(7.905694, 58.968, 60.0, 1e6, 0.005, 0.05, 1.0) == 333.0
    assert sizing.target_point(7.905694, 58.968, 60.0, 1e6, 0.005, 0.05, 100.0) == 300.0
    assert sizing.target_point(7.905694, 58.968, 60.0, 1e6, 0.005, 0.01, 1.0) == 166.0  # 10,000 of currency


def test_less_than_a_lot_is_nothing():
    assert sizing.target_point(7.9, 58.968, 25_000.0, 1e6, 0.005, 0.05, 1.0) == 0.0


@given(st.floats(0.1, 100), st.floats(1, 3600), st.floats(1, 900), st.floats(1e4, 1e7), st.floats(1e-4, 0.1), st.floats(0.001, 1))
def test_size_is_its_definition_in_whole_lots_under_the_cap(sigma, seconds, price, nav, vol_target, name_cap):
    for lot in (1.0, 100.0):
        got = sizing.target_point(sigma, seconds, price, nav, vol_target, name_cap, lot)
        assert got % lot == 0.0
        assert got * price <= name_cap * nav * (1 + 1e-12)
        assert abs(got - naive.target(sigma, seconds, price, nav, vol_target, name_cap, lot)) <= lot * (got > 1e9)
