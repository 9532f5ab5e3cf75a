"""Bar clock of family `technical` against its twin, hand-computed bars, other libraries, and any lanes it may be given."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_technical_bars import Bar, table
from technical_bars_run import BASE, UNIT, arrays, bars, market, walk
from verify_technical_bars import CHECKS

from tickarrow.jit import technical_bars as kernels

pytestmark = pytest.mark.pure
NAMES = [c.name for c in kernels.BAR_COLUMNS]


def agree(got, expected):
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-8)


@settings(max_examples=20)
@given(st.lists(bars(), min_size=1, max_size=3), st.data())
def test_every_bar_equals_its_definition_whenever_the_lane_starts(lanes, data):
    first = [data.draw(st.integers(0, 9)) for _ in lanes]
    got = walk(*arrays(lanes, first), pos=data.draw(st.integers(0, 2**40)))
    for k, (f, own) in enumerate(zip(first, lanes)):
        assert np.isnan(got[:f, k]).all()
        agree(got[f : f + len(own), k], table(own, UNIT))


def test_the_long_windows_equal_their_definition():
    price, flow = market(270, 1)
    own = [Bar(*(BASE + price[i, :, 0]).tolist(), *flow[i, :2, 0].tolist()) for i in range(270)]
    got = walk(price, flow, pos=200)[:, 0]
    agree(got[236:], table(own, UNIT, first=236)[236:])
    assert np.isfinite(got[239:]).all()


@given(st.sets(st.integers(1, 20), max_size=4), st.integers(0, 1000))
@settings(max_examples=5)
def test_the_bits_do_not_depend_on_how_the_lanes_are_cut(cuts, seed):
    price, flow = market(35, 21, seed)
    n = np.arange(35)[:, None] - np.random.default_rng(seed).integers(0, 20, 21)
    assert walk(price, flow, n).tobytes() == walk(price, flow, n, cuts=cuts).tobytes()


def test_the_bits_do_not_depend_on_the_other_lanes():
    price, flow = market(70, 21)
    together = walk(price, flow)
    for k in (0, 16, 20):
        alone = walk(price[:, :, k : k + 1], flow[:, :, k : k + 1])
        assert alone.tobytes() == together[:, k : k + 1].tobytes()


def test_a_lane_that_begins_anew_forgets_the_bars_before():
    price, flow = market(150, 2)
    n = np.stack([np.arange(150) % 70, np.arange(150)], axis=1)
    got = walk(price, flow, n)
    for start in (0, 70):
        fresh = walk(price[start : start + 70], flow[start : start + 70], pos=start)
        assert fresh[:, 0].tobytes() == got[start : start + 70, 0].tobytes()


def test_after_thousands_of_bars_nothing_has_drifted():
    """A window has the same bits as in a lane that began 240 bars before; a recursive mean has forgotten where it began."""
    price, flow = market(2500, 1)
    flow[:, :2] *= 1.1  # no whole numbers
    old, fresh = walk(price, flow)[-60:, 0], walk(price[-300:], flow[-300:], pos=77)[-60:, 0]
    recursive = [NAMES.index(n) for n in ("macd", "macd_signal", "macd_hist", "rsi_14", "cmo_14", "adx_14", "di_plus_14", "di_minus_14")]
    np.testing.assert_allclose(old[:, recursive], fresh[:, recursive], rtol=1e-5, atol=1e-5)
    windows = np.delete(np.arange(32), recursive)
    np.testing.assert_array_equal(old[:, windows], fresh[:, windows])


def straight(n):
    """The close rises by a tick a bar, 3 ticks below the high and 1 above the low; 100 shares a bar at the close."""
    out = []
    for i in range(n):
        c = BASE + 100 * i
        out.append(Bar(c, c + 300, c - 100, c, 100.0, 100.0 * c * UNIT))
    return out


def last(own):
    return dict(zip(NAMES, walk(*arrays([own], [0]))[-1, 0].tolist()))


def test_a_straight_line_computed_by_hand():
    got, c = last(straight(300)), 100.0 + 0.01 * 299
    for w in (1, 5, 10, 20, 60):
        assert got[f"roc_{w}"] == pytest.approx(1e4 * (c / (c - 0.01 * w) - 1), rel=1e-9)
    # a mean of rate a is (1 - a) / a bars behind: 5.5 and 12.5 ticks below the close
    assert (got["macd"], got["macd_signal"]) == pytest.approx((1e4 * 0.07 / c,) * 2)
    assert got["macd_hist"] == pytest.approx(0.0, abs=1e-9)
    assert (got["rsi_14"], got["cmo_14"]) == (100.0, 100.0)
    # deviation of w equidistant numbers: sqrt((w^2 - 1) / 12); the last is (w - 1) / 2 above the mean
    for w in (20, 60, 240):
        assert got[f"price_z_{w}"] == pytest.approx((w - 1) / 2 / math.sqrt((w * w - 1) / 12))
        assert got[f"range_pos_{w}"] == pytest.approx((w - 1 + 1) / (w - 1 + 4))
    assert got["bollinger_b_20"] == pytest.approx(0.5 + 9.5 / math.sqrt(399 / 12) / 4)
    assert got["bollinger_width_20"] == pytest.approx(1e4 * 4 * 0.01 * math.sqrt(399 / 12) / (c - 0.095))
    # each bar rises by one tick of a true range of four
    assert (got["adx_14"], got["di_plus_14"], got["di_minus_14"]) == pytest.approx((100.0, 25.0, 0.0))
    # 14 bars: the lowest low is 14 ticks below the close, the highest high 3 above
    assert (got["stoch_k_14"], got["stoch_d_14"]) == pytest.approx((100 * 14 / 17,) * 2)
    assert got["williams_r_14"] == pytest.approx(-100 * 3 / 17)
    assert got["cci_20"] == pytest.approx(9.5 / (0.015 * 5))  # mean absolute deviation of 20 equidistant numbers: 5
    assert got["mfi_14"] == 100.0
    assert got["obv_slope_20"] == pytest.approx(1.0)
    assert got["ad_slope_20"] == pytest.approx((1 - 3) / 4)
    assert got["aroon_25"] == 100.0
    assert got["vwap_dist_60"] == pytest.approx(1e4 * (c / (c - 0.295) - 1))


def test_the_line_through_a_zigzag_computed_by_hand():
    own = [Bar(c, c, c, c, 1.0, 1.0) for c in [BASE, BASE + 10_000] * 10]
    # the last close is the higher one: sum over even k of (9.5 - k) is 95 - 90 = 5, so the slope is 5 ln 1.01 / 665;
    # the variance is (ln 1.01)^2 / 4, so R^2 = (5 / 665)^2 665 / (20 / 4)
    got = last(own)
    assert got["slope_20"] == pytest.approx(1e4 * 5 * math.log(1.01) / 665)
    assert got["r2_20"] == pytest.approx(25 / 665 / 5)


def test_a_price_that_stands_still_has_no_place_in_its_range():
    got = last([Bar(BASE, BASE, BASE, BASE, 100.0, 100.0 * BASE * UNIT)] * 260)
    missing = {n for n in NAMES if math.isnan(got[n])}
    expected = {"rsi_14", "cmo_14", "bollinger_b_20", "adx_14", "di_plus_14", "di_minus_14", "stoch_k_14", "stoch_d_14", "cci_20", "mfi_14"}
    assert missing == expected | {"williams_r_14", "r2_20"} | {f"{k}_{w}" for k in ("price_z", "range_pos") for w in (20, 60, 240)}
    assert {got[n] for n in set(NAMES) - missing} == {0.0}


def test_without_volume_the_columns_of_volume_are_missing():
    got = last([b._replace(volume=0.0, notional=0.0) for b in straight(260)])
    assert {n for n in NAMES if math.isnan(got[n])} == {"mfi_14", "obv_slope_20", "ad_slope_20", "vwap_dist_60"}


def test_a_price_below_zero_has_no_relative_columns():
    price, flow = market(260, 1)
    got = dict(zip(NAMES, walk(price - BASE - 100_000, flow)[-1, 0]))
    assert {n for n in NAMES if math.isnan(got[n])} == {
        "roc_1", "roc_5", "roc_10", "roc_20", "roc_60", "macd", "macd_signal", "macd_hist", "bollinger_width_20", "slope_20", "r2_20",
        "mfi_14",
    }  # fmt: skip


def test_a_level_a_hundred_million_ticks_high_costs_no_digits():
    price, flow = market(260, 1)
    columns = [i for i, n in enumerate(NAMES) if n.startswith(("price_z", "range_pos", "bollinger_b", "rsi", "cci", "stoch", "aroon"))]
    high = walk(price + 10_000_000_000, flow)
    np.testing.assert_allclose(high[..., columns], walk(price, flow)[..., columns], rtol=1e-9, atol=1e-9)


def test_the_columns_say_when_they_are_warm():
    price, flow = market(245, 1)
    got = walk(price, flow)[:, 0]
    for k, c in enumerate(kernels.BAR_COLUMNS):
        bar = int(re.match(r"NaN before the (\d+)", c.warm_up)[1])
        assert np.isnan(got[: bar - 1, k]).all(), c.name
        assert not math.isnan(got[bar - 1, k]), c.name
    assert len(set(NAMES)) == 32


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_the_column_agrees_with_a_library(check):
    assert check.largest_error() <= check.rtol


def test_every_column_is_checked():
    assert {c.column for c in CHECKS} == set(NAMES)
