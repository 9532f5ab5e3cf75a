"""Family `intensity` against its twin, hand-computed rows, independent libraries, nights and silences."""

import math

import numpy as np
import pytest
from feature_days import bits, forward, with_night
from feature_run import named, run
from feature_ticks import NAN, START, expected, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick
from naive_intensity import SECOND, intensity
from verify_intensity import CHECKS

from tickarrow.jit.intensity import BINS, FADE, FAMILY

pytestmark = pytest.mark.pure
BOOK = (99.99, 100.0, 100.01, 100.0)


def q(seconds):
    return Tick(START + round(seconds * SECOND), 0, QUOTE, *BOOK, NAN, NAN)


def t(seconds, size=100.0):
    return Tick(START + round(seconds * SECOND), 0, TRADE, *BOOK, 100.0, size)


@given(streams(), st.integers(0, 40))
def test_every_row_equals_its_definition(ticks, night):
    ticks = with_night(ticks, night)
    rows, v, _ = run(FAMILY, ticks)
    if rows:
        np.testing.assert_allclose(v, expected(intensity, ticks, rows, FAMILY.tau_s), rtol=1e-9, atol=1e-12)


def test_a_long_stream_equals_its_definition():
    ticks = stream(500, mean_gap_s=0.5)
    rows, v, _ = run(FAMILY, ticks)
    np.testing.assert_allclose(v, expected(intensity, ticks, rows, FAMILY.tau_s), rtol=1e-9, atol=1e-12)
    assert np.isfinite(v[50:]).all()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_agrees_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_a_hand_computed_row():
    got = named(FAMILY, [q(0), t(1), t(1.2), t(2.5), q(3.5)])
    for tau in (1, 5, 30, 300):
        assert getattr(got, f"trade_intensity_{tau}s") == pytest.approx(sum(math.exp(-age / tau) for age in (2.5, 2.3, 1.0)), rel=1e-12)
        assert getattr(got, f"quote_intensity_{tau}s") == pytest.approx(math.exp(-3.5 / tau) + 1, rel=1e-12)
    assert got.quotes_per_trade_30s == pytest.approx(got.quote_intensity_30s / (1 + got.trade_intensity_30s))
    assert got.trade_acceleration_1s_30s == pytest.approx(got.trade_intensity_1s / got.trade_intensity_30s)
    assert got.quote_acceleration_1s_30s == pytest.approx(got.quote_intensity_1s / got.quote_intensity_30s)
    # closed seconds 1 and 2 with 2 and 1 trades, weights g and 1: mean (2 g + 1) / (1 + g), variance g / (1 + g)**2
    g = math.exp(-1 / 300)
    assert got.fano_300s == pytest.approx(g / ((1 + g) * (2 * g + 1)), rel=1e-9)


def test_a_row_without_trades_has_no_ratio_to_them():
    got = named(FAMILY, [q(0), t(0, NAN), t(0, 0.0), q(9)])
    assert got.trade_intensity_300s == 0.0
    assert math.isnan(got.trade_acceleration_1s_30s)
    assert math.isnan(got.fano_300s)
    assert got.quotes_per_trade_30s == pytest.approx(1 + math.exp(-0.3))
    assert got.quote_acceleration_1s_30s == pytest.approx((1 + math.exp(-9)) / (1 + math.exp(-0.3)))


def test_one_closed_second_has_no_variance():
    assert math.isnan(named(FAMILY, [q(0.5), t(1), q(2)]).fano_300s)
    assert named(FAMILY, [q(0.5), t(1), q(3)]).fano_300s > 0


def test_the_second_in_which_the_session_begins_is_left_out():
    assert named(FAMILY, [q(0.5), t(0.6), t(1), t(2), q(3)]).fano_300s == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("silence", [2, 3, 100, 20_000])
def test_a_silence_is_as_many_empty_seconds(silence):
    _, v, state = run(FAMILY, [q(0), t(1), t(1.5), t(2), q(3), q(3 + silence)])
    n = np.array([2.0, 1.0] + [0.0] * silence)
    weight = np.exp(-np.arange(len(n))[::-1] / BINS)
    mean = np.average(n, weights=weight)
    assert v[-1][-1] == pytest.approx(np.average((n - mean) ** 2, weights=weight) / mean, rel=1e-9)
    assert state[0].bin_w == pytest.approx(weight.sum(), rel=1e-12)


def test_empty_seconds_fade_as_closed_ones():
    assert pytest.approx(math.exp(-1 / BINS), rel=1e-15) == FADE


def test_the_night_is_no_empty_second():
    first, second = [q(0), t(1), t(1.5), q(3)], [q(0), t(1), t(2), t(2.5), q(3)]
    both = with_night([*first, *second], len(first))
    assert named(FAMILY, both).fano_300s == named(FAMILY, second).fano_300s


def test_a_time_that_goes_back_counts_as_the_latest_time():
    ticks = [q(0), t(3.5), q(2.1), t(1), q(5), t(4), q(6.5)]
    assert bits(FAMILY, ticks) == bits(FAMILY, forward(ticks))
