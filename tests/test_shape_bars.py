"""Bar columns of family `shape` against their twin, hand-computed bars, and other implementations."""

import math

import feature_bars
import numpy as np
import pytest
from feature_bars import Bar
from hypothesis import given, settings
from naive_shape_bars import shape_bars
from verify_shape_bars import CHECKS

from tickarrow.jit import shape_bars as kernels

pytestmark = pytest.mark.pure
FAMILY = feature_bars.family(kernels, kernels.shape_bars)


@given(feature_bars.lanes(80))
def test_every_bar_equals_its_definition(drawn):
    made, first = drawn
    got = feature_bars.columns(FAMILY, made, first)
    np.testing.assert_allclose(got, feature_bars.expected(shape_bars, made, first), rtol=1e-8, atol=1e-9)


@settings(max_examples=8)
@given(feature_bars.lanes(260, least=252, count=1))
def test_long_windows_equal_their_definition(drawn):
    made, first = drawn
    got = feature_bars.columns(FAMILY, made, first)[-5:, 0]
    twin = [shape_bars(made[0][first[0] : len(made[0]) - i]) for i in range(4, -1, -1)]
    np.testing.assert_allclose(got, twin, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_equals_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def closes(values, volume=1.0):
    return [Bar(c, c, c, c, volume) for c in values]


def test_a_price_that_swings_has_a_hand_computed_variance_ratio():
    # closes a, b, a, b, ..., a: drift 0, x = ln(b / a). 240 returns of +-x: 240 x^2 / 239. 5-bar returns are +-x too: 236 x^2 over
    # m = 5 * 236 * (1 - 5/240); 20-bar returns are 0
    got = feature_bars.last(FAMILY, closes([1_000_000, 1_000_100] * 120 + [1_000_000]))
    assert got.variance_ratio_5b == pytest.approx(236 / (5 * 236 * (1 - 5 / 240)) * 239 / 240, rel=1e-9)
    assert got.variance_ratio_20b == pytest.approx(0.0, abs=1e-9)
    # the last return is one of 120 falls: none smaller, 120 equal
    assert got.return_rank_240b == 60 / 240


def test_a_hand_computed_rank():
    # 238 returns of zero, then a rise, then half of it: 238 below, itself equal, one above
    got = feature_bars.last(FAMILY, closes([1_000_000] * 239 + [1_002_000, 1_003_000]))
    assert got.return_rank_240b == 238.5 / 240


def test_a_hand_computed_volume_ratio():
    # a rise with 30 shares, a fall with 20, eighteen bars without a change with 500
    bars = [Bar(c, c, c, c, v) for c, v in [(1_000_000, 7.0), (1_000_100, 30.0), (1_000_000, 20.0)] + [(1_000_000, 500.0)] * 18]
    assert feature_bars.last(FAMILY, bars).up_down_volume_20b == 1.5


def test_a_hand_computed_correlation():
    # |r| = x with 100 shares in thirty bars, 0 with 300 in thirty
    moving = closes([1_000_000, 1_000_100] * 15 + [1_000_000], 100.0)
    assert feature_bars.last(FAMILY, moving + closes([1_000_000] * 30, 300.0)).corr_size_volume_60b == pytest.approx(-1.0, rel=1e-12)


def test_what_does_not_vary_has_no_ratio():
    got = feature_bars.last(FAMILY, closes([1_000_000] * 250))
    assert math.isnan(got.variance_ratio_5b)
    assert math.isnan(got.variance_ratio_20b)
    assert math.isnan(got.corr_size_volume_60b)
    assert math.isnan(got.up_down_volume_20b)
    assert got.return_rank_240b == 0.5


def test_returns_that_differ_by_rounding_only_have_no_correlation():
    bars = [Bar(c, c, c, c, float(i)) for i, c in enumerate([1_000_000, 1_000_100] * 40)]
    assert math.isnan(feature_bars.last(FAMILY, bars).corr_size_volume_60b)


def test_columns_are_missing_until_their_windows_are_full():
    got = feature_bars.columns(FAMILY, [feature_bars.walk(250, 1)])[:, 0]
    assert [int(np.argmin(np.isnan(c))) for c in got.T] == [240, 240, 20, 60, 240]
    assert np.isfinite(got[240:]).all()
