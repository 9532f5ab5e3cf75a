"""Bar columns of family `liquidity` against their twin, hand-computed bars, and other implementations."""

import math

import feature_bars
import numpy as np
import pytest
from feature_bars import Bar
from hypothesis import given
from naive_liquidity_bars import liquidity_bars
from verify_liquidity_bars import CHECKS

from tickarrow.jit import liquidity_bars as kernels

pytestmark = pytest.mark.pure
FAMILY = feature_bars.family(kernels, kernels.liquidity_bars)


@given(feature_bars.lanes(45))
def test_every_bar_equals_its_definition(drawn):
    made, first = drawn
    got = feature_bars.columns(FAMILY, made, first)
    np.testing.assert_allclose(got, feature_bars.expected(liquidity_bars, made, first), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_equals_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def flat(price, notional=0.0):
    return Bar(price, price, price, price, 0.0, notional)


def test_a_hand_computed_illiquidity():
    # twenty returns, of which one has volume: ln 1.01 on 2 million = 99.503 bp / 2
    got = feature_bars.last(FAMILY, [flat(1_000_000)] * 20 + [flat(1_010_000, 2e6)])
    assert got.amihud_20b == pytest.approx(5e3 * math.log(1.01), rel=1e-14)


def test_a_hand_computed_spread_of_high_and_low():
    # twenty pairs of the same bar: B = 2 x^2, G = x^2 with x = ln(1.001 / 0.999), so A = x (2 - sqrt(2) - sqrt(3 - 2 sqrt(2))) / (3 - 2 sqrt(2)),
    # where sqrt(3 - 2 sqrt(2)) = sqrt(2) - 1 and 3 - 2 sqrt(2) = (sqrt(2) - 1)^2; (2 - sqrt(2)) / (sqrt(2) - 1) = sqrt(2), so A = x
    got = feature_bars.last(FAMILY, [Bar(1_000_000, 1_001_000, 999_000, 1_000_000)] * 21)
    a = 1.001 / 0.999
    assert got.corwin_schultz_20b == pytest.approx(1e4 * 2 * (a - 1) / (a + 1), rel=1e-10)  # the whole range: 20 bp


def test_a_gap_between_bars_is_no_spread():
    steps = [Bar(p, p, p, p) for p in range(1_000_000, 1_021_000, 1_000)]
    assert feature_bars.last(FAMILY, steps).corwin_schultz_20b == 0.0


def test_columns_are_missing_until_the_windows_are_full_and_without_volume():
    got = feature_bars.columns(FAMILY, [feature_bars.walk(30, 1), feature_bars.walk(30, 1, quiet=1.0)])
    assert np.isnan(got[:20]).all()
    assert np.isfinite(got[20:, 0]).all()
    assert np.isnan(got[20:, 1, 0]).all()
    assert np.isfinite(got[20:, 1, 1]).all()


def test_a_price_of_one_unit_gives_no_infinity():
    bars = [Bar(1, 3, 1, 2, 100.0, 1.0)] * 30
    assert all(math.isfinite(v) for v in vars(feature_bars.last(FAMILY, bars)).values())
