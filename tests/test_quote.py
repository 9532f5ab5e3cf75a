"""Family `quote` against its twin, hand-computed rows, independent libraries, and any cut of the stream."""

import math

import numpy as np
import pytest
from feature_run import run
from feature_ticks import NAN, START, every_quote, expected, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick, quote
from verify_quote import CHECKS

from tickarrow.jit import quote as kernels

pytestmark = pytest.mark.pure
TAU = kernels.TAU_S
NAMES = [c.name for c in kernels.columns(TAU)]
SECOND = 1_000_000_000


def q(seconds, bid, bid_size, ask, ask_size):
    return Tick(START + round(seconds * SECOND), 0, QUOTE, bid, bid_size, ask, ask_size, NAN, NAN)


def last(*ticks, tau_s=TAU):
    return dict(zip((c.name for c in kernels.columns(tau_s)), run(kernels.FAMILY, ticks, tau_s)[1][-1]))


@given(streams(), st.integers(1, 9))
def test_every_row_equals_its_definition_however_the_stream_is_cut(ticks, size):
    rows, x, _ = every_quote("quote", ticks, size=size)
    if rows:
        np.testing.assert_allclose(x, expected(quote, ticks, rows, TAU), rtol=2e-6, atol=1e-9)


@given(streams(), st.integers(1, 9))
def test_the_bits_do_not_depend_on_the_cut(ticks, size):
    whole, parts = every_quote("quote", ticks)[1], every_quote("quote", ticks, size=size)[1]
    assert whole.tobytes() == parts.tobytes()


def test_a_long_stream_equals_its_definition():
    ticks = stream(500)
    rows, x, _ = every_quote("quote", ticks)
    np.testing.assert_allclose(x, expected(quote, ticks, rows, TAU), rtol=2e-6, atol=1e-9)
    assert np.isfinite(x[50:]).all()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_agrees_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_every_column_has_a_check():
    assert {c.column for c in CHECKS} == set(NAMES)


def test_a_session_begins_without_a_return():
    midnight = 24_400  # s from START to midnight in New York
    evening, morning = q(midnight - 1, 99.99, 300.0, 100.01, 100.0), q(midnight + 2, 100.99, 100.0, 101.01, 100.0)
    got = last(evening, morning)
    assert math.isnan(got["mid_return"])
    assert got["quote_age"] == pytest.approx(math.log(4))  # time goes on
    assert got["imbalance_5s"] == pytest.approx(0.5 * math.exp(-3 / 5) / (math.exp(-3 / 5) + 1), rel=1e-9)
    again = last(evening, morning, q(midnight + 3, 101.00, 100.0, 101.02, 100.0))
    assert again["mid_return"] == pytest.approx(math.log(101.01 / 101.00), rel=1e-9)


def test_a_hand_computed_quote():
    trade = Tick(START, 0, TRADE, 99.99, 300.0, 100.01, 100.0, 100.01, 50.0)
    got = last(q(0, 99.99, 300.0, 100.01, 100.0), trade, q(2, 100.00, 200.0, 100.04, 600.0))
    assert got["spread_ticks"] == 4.0
    assert got["spread_bp"] == pytest.approx(1e4 * 0.04 / 100.02)
    assert got["mid_return"] == pytest.approx(math.log(100.02 / 100.00), rel=1e-6)
    # microprice = (100.04 * 200 + 100.00 * 600) / 800 = 100.01, mid 100.02, spread 0.04
    assert got["micro_dev"] == pytest.approx(-0.25)
    assert got["imbalance"] == -0.5
    d5, d300 = math.exp(-2 / 5), math.exp(-2 / 300)
    assert got["imbalance_5s"] == pytest.approx((0.5 * d5 - 0.5) / (d5 + 1), rel=1e-6)
    # of two values, mean = (2 d + 4) / (1 + d) and deviation = 2 sqrt(d) / (1 + d): z = sqrt(d)
    assert got["spread_z_300s"] == pytest.approx(math.sqrt(d300), rel=1e-6)
    assert got["quote_age"] == pytest.approx(math.log(3))
    assert got["trade_age"] == pytest.approx(math.log(3))
    assert got["quote_slope"] == pytest.approx(math.log(100.04 / 100.00) / math.log(120_000), rel=1e-6)
    assert got["depth"] == pytest.approx(math.log(800))
    assert got["depth_rel_300s"] == pytest.approx(math.log(2) * d300 / (1 + d300), rel=1e-6)


def test_a_repeated_quote_has_no_return_and_ages():
    got = last(q(0, 99.99, 1.0, 100.01, 1.0), q(1, 99.98, 1.0, 100.01, 1.0), q(3, 99.98, 1.0, 100.01, 1.0))
    assert got["mid_return"] == 0.0
    assert got["quote_age"] == pytest.approx(math.log(3))  # stands for 2 s


def test_a_mid_that_only_rounds_differently_has_not_moved():
    a, b = q(0, 100.13, 1.0, 100.16, 1.0), q(1, 100.12, 1.0, 100.17, 1.0)
    assert 0.5 * (a.bid + a.ask) != 0.5 * (b.bid + b.ask)
    assert last(a, b)["mid_return"] == 0.0


def test_a_one_sided_quote_is_missing_and_is_skipped():
    a, gone, b = q(0, 99.99, 300.0, 100.01, 100.0), q(1, 99.99, 300.0, NAN, NAN), q(2, 100.01, 300.0, 100.03, 100.0)
    got = last(a, gone)
    assert all(math.isnan(v) for k, v in got.items() if k not in ("imbalance_5s", "quote_age"))
    assert got["imbalance_5s"] == 0.5
    assert last(a, gone, b)["mid_return"] == pytest.approx(math.log(100.02 / 100.00), rel=1e-6)


def test_a_constant_spread_has_no_z_score_although_prices_round():
    got = last(*(q(i, round(90 + 0.01 * i, 2), 1.0, round(90.03 + 0.01 * i, 2), 1.0) for i in range(200)))
    assert got["spread_ticks"] == 3.0
    assert math.isnan(got["spread_z_300s"])


def test_a_history_of_a_week_ago_is_forgotten_without_trace():
    new = [q(604_800, 50.00, 7.0, 50.01, 3.0), q(604_801, 50.00, 7.0, 50.03, 3.0)]
    old, fresh = last(q(0, 99.99, 300.0, 100.05, 100.0), q(1, 99.99, 300.0, 100.01, 900.0), *new), last(*new)
    for name in ("imbalance_5s", "spread_z_300s", "depth_rel_300s"):
        assert old[name] == pytest.approx(fresh[name], rel=1e-6)


def test_a_time_that_goes_back_counts_as_no_time():
    a, b = q(5, 99.99, 300.0, 100.01, 100.0), q(4, 99.98, 100.0, 100.01, 100.0)
    got = last(a, b)
    assert got["quote_age"] == 0.0
    assert got["imbalance_5s"] == 0.25
