"""Bar columns of family `volatility` against their twin, hand-computed bars, and other implementations."""

import math

import feature_bars
import numpy as np
import pytest
from feature_bars import Bar
from hypothesis import given
from naive_volatility_bars import volatility_bars
from verify_volatility_bars import CHECKS

from tickarrow.jit import volatility_bars as kernels

pytestmark = pytest.mark.pure
FAMILY = feature_bars.family(kernels, kernels.volatility_bars)


@given(feature_bars.lanes(80))
def test_every_bar_equals_its_definition(drawn):
    made, first = drawn
    got = feature_bars.columns(FAMILY, made, first)
    np.testing.assert_allclose(got, feature_bars.expected(volatility_bars, made, first), rtol=1e-8, atol=1e-6)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_equals_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_a_hand_computed_bar():
    # O = C = C', high 1 % above, low 1 % below, in all bars: no body, no gap
    got = feature_bars.last(FAMILY, [Bar(1_000_000, 1_010_000, 990_000, 1_000_000)] * 60)
    up, down = math.log(1.01), math.log(0.99)
    assert got.parkinson_20b == pytest.approx(1e4 * (up - down) / math.sqrt(4 * math.log(2)), rel=1e-12)
    assert got.garman_klass_20b == pytest.approx(1e4 * (up - down) / math.sqrt(2), rel=1e-12)
    assert got.rogers_satchell_20b == pytest.approx(1e4 * math.sqrt(up * up + down * down), rel=1e-12)
    k = 0.34 / (1.34 + 21 / 19)
    assert got.yang_zhang_20b == pytest.approx(math.sqrt(1 - k) * got.rogers_satchell_20b, rel=1e-12)
    assert got.atr_14b == 200.0  # 20,000 units
    assert got.natr_14b == 200.0  # 2 %
    assert got.vol_of_vol_60b == 0.0


def test_a_hand_computed_gap_and_body():
    # C/O = 1.01 and O/C' = 1/1.01 in all bars but the last, which opens at C' and falls by 1 %: of 20 values one differs by d,
    # so the variance about the mean over 19 is d^2 / 20; Rogers and Satchell's terms are 0: a bar without wicks
    rise = Bar(1_000_000, 1_010_000, 1_000_000, 1_010_000)
    got = feature_bars.last(FAMILY, [rise] * 20 + [Bar(1_010_000, 1_010_000, 1_000_000, 1_000_000)])
    x, k = math.log(1.01), 0.34 / (1.34 + 21 / 19)
    assert got.rogers_satchell_20b == pytest.approx(0.0, abs=1e-9)
    assert got.yang_zhang_20b == pytest.approx(1e4 * math.sqrt(x * x / 20 + k * (2 * x) ** 2 / 20), rel=1e-10)
    # the range includes the close before: 10,000 units in every bar
    assert got.atr_14b == 100.0


def test_a_hand_computed_volatility_of_volatility():
    # thirty bars of volatility 1 and thirty of 3: mean 2, squares 60, over 59
    bars = [Bar(1, 1, 1, 1, variance=v) for v in [1.0] * 30 + [9.0] * 30]
    assert feature_bars.last(FAMILY, bars).vol_of_vol_60b == pytest.approx(math.sqrt(60 / 59), rel=1e-14)


def test_wilders_average_goes_on_from_the_mean_of_fourteen():
    # ranges 14 x 1,400 units, then 2,800: (13 * 1400 + 2800) / 14 = 1500
    bars = [Bar(1_000_000, 1_000_700, 999_300, 1_000_000)] * 15 + [Bar(1_000_000, 1_001_400, 998_600, 1_000_000)]
    assert feature_bars.last(FAMILY, bars).atr_14b == 15.0


def test_columns_are_missing_until_their_windows_are_full():
    got = feature_bars.columns(FAMILY, [feature_bars.walk(70, 1)])[:, 0]
    first = [int(np.argmin(np.isnan(c))) for c in got.T]
    assert first == [19, 19, 19, 20, 14, 14, 59]
    assert np.isfinite(got[59:]).all()
