"""Bar columns of family `season` against their twin, hand-computed bars, and other implementations."""

import math

import numpy as np
import pytest
from feature_seasons import MINUTE, row, run
from hypothesis import given
from hypothesis import strategies as st
from naive_season_bars import season_bars
from verify_season_bars import CHECKS

pytestmark = pytest.mark.pure


@st.composite
def rows(draw):
    """Bars of some minutes of some days in order: repeated minutes, days without any, long and short sessions, bars outside the profile."""
    hours = draw(st.sampled_from([3.5, 6.5, 6.5, 24.0]))
    minute = st.sampled_from([-200, -61, -60, 0, 1, 2, 3, 479, 480, 1400])
    bars = draw(st.lists(st.tuples(st.integers(0, 4), minute, st.sampled_from([0.0, 100.0, 250.0])), max_size=40))
    return [row(day, minute, volume, variance, hours) for (day, minute, volume), variance in zip(sorted(bars), [0.0, 1.0, 4.0, 2.0] * 10)]


@given(rows())
def test_every_bar_equals_its_definition(bars):
    if bars:
        np.testing.assert_allclose(run(bars), season_bars(bars), rtol=1e-12)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_equals_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_a_hand_computed_profile():
    # 100 shares and volatility 1 on the first day, 300 and 3 on the second: with weights 19/21 and 1 the means are
    # (19 * 100 + 21 * 300) / 40 = 205 and 2.05
    got = run([row(0, 5, 100.0, 1.0), row(1, 5, 300.0, 9.0), row(2, 5, 410.0, 16.0)])
    assert np.isnan(got[0, 1:]).all()
    np.testing.assert_allclose(got[1, 1:], [3.0, 3.0])
    np.testing.assert_allclose(got[2, 1:], [2.0, 4 / 2.05])
    assert got[:, 0].tolist() == [1.0, 2.0, 3.0]  # 14 November 2023 was a Tuesday


def test_bars_of_one_minute_count_as_their_mean_and_only_from_the_next_day_on():
    got = run([row(0, 5, 100.0), row(0, 5, 300.0), row(1, 5, 400.0), row(1, 5, 800.0)])
    assert np.isnan(got[:2, 1]).all()
    np.testing.assert_allclose(got[2:, 1], [2.0, 4.0])


def test_a_minute_is_counted_from_the_open():
    early = [(m, o + 60 * MINUTE, c, b + 60 * MINUTE, v, s) for m, o, c, b, v, s in [row(1, 5, 300.0)]]  # opens an hour later: summer time ends
    np.testing.assert_allclose(run([row(0, 5, 100.0), *early])[1, 1], 3.0)


def test_no_profile_where_nothing_was_traded_before_or_far_from_the_session():
    got = run([row(0, 5, 0.0, 0.0), row(0, 481, 10.0), row(1, 5, 10.0, 1.0), row(1, 481, 10.0)])
    assert np.isnan(got[:, 1:]).all()


def test_before_the_first_session_nothing_is_known():
    assert np.isnan(run([row(0, 5, 1.0)], session=-1)).all()


def test_a_lane_that_begins_anew_keeps_nothing():
    days = [row(d, m, 100.0, 1.0) for d in range(3) for m in range(3)]
    np.testing.assert_array_equal(run(days, dirty=True), run(days))


def test_a_lane_without_a_price_is_left_alone():
    assert math.isnan(run([row(0, 5, 1.0), row(1, 5, 1.0)], first=2)[1, 1])
