"""Family `volatility`, tick clock, against its twin, hand-computed rows, independent libraries, and any cut of the stream."""

import math

import numpy as np
import pytest
from feature_run import run
from feature_ticks import NAN, START, every_quote, expected, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick, volatility
from verify_volatility import CHECKS

from tickarrow.jit import volatility as kernels

pytestmark = pytest.mark.pure
TAU = kernels.TAU_S
NAMES = [c.name for c in kernels.columns(TAU)]
SECOND = 1_000_000_000


def q(seconds, mid, half=0.01):
    return Tick(START + round(seconds * SECOND), 0, QUOTE, mid - half, 100.0, mid + half, 100.0, NAN, NAN)


def last(*ticks, tau_s=TAU):
    return dict(zip((c.name for c in kernels.columns(tau_s)), run(kernels.FAMILY, ticks, tau_s)[1][-1]))


@given(streams(), st.integers(1, 9))
def test_every_row_equals_its_definition_however_the_stream_is_cut(ticks, size):
    rows, x, _ = every_quote("volatility", ticks, size=size)
    if rows:
        np.testing.assert_allclose(x, expected(volatility, ticks, rows, TAU), rtol=2e-6, atol=1e-9)


@given(streams(), st.integers(1, 9))
def test_the_bits_do_not_depend_on_the_cut(ticks, size):
    whole, parts = every_quote("volatility", ticks)[1], every_quote("volatility", ticks, size=size)[1]
    assert whole.tobytes() == parts.tobytes()


def test_a_long_stream_equals_its_definition():
    ticks = stream(600)
    rows, x, _ = every_quote("volatility", ticks)
    np.testing.assert_allclose(x, expected(volatility, ticks, rows, TAU), rtol=2e-6, atol=1e-9)
    assert np.isfinite(x[50:]).all()


def test_hand_computed_returns():
    # returns of 1, 2 and -3 bp at 0, 10 and 20 s, seen at 20 s
    mids = np.exp(np.cumsum([0.0, 1.0, 2.0, -3.0]) * 1e-4) * 100.0
    got = last(*(q(s, m) for s, m in zip([0, 0, 10, 20], mids)))
    d = lambda seconds, tau: math.exp(-seconds / tau)  # noqa: E731
    rv300 = 1 * d(20, 300) + 4 * d(10, 300) + 9
    rv30 = 1 * d(20, 30) + 4 * d(10, 30) + 9
    bv300 = math.pi / 2 * (2 * d(10, 300) + 6)
    assert got["rv_1s"] == pytest.approx(math.sqrt(1 * d(20, 1) + 4 * d(10, 1) + 9), rel=1e-6)
    assert got["rv_300s"] == pytest.approx(math.sqrt(rv300), rel=1e-6)
    assert got["bipower_30s"] == pytest.approx(math.pi / 2 * (2 * d(10, 30) + 6), rel=1e-6)
    assert got["bipower_300s"] == pytest.approx(bv300, rel=1e-6)
    assert got["jump_share_300s"] == pytest.approx(max(0.0, 1 - bv300 / rv300), rel=1e-6)
    assert got["semivar_up_300s"] == pytest.approx(1 * d(20, 300) + 4 * d(10, 300), rel=1e-6)
    assert got["semivar_down_300s"] == pytest.approx(9.0, rel=1e-6)
    assert got["rv_ratio_30s_300s"] == pytest.approx(math.sqrt(rv30 / rv300), rel=1e-6)
    assert math.isnan(got["noise_300s"])


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_agrees_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_every_column_has_a_check():
    assert {c.column for c in CHECKS} == set(NAMES)


@pytest.mark.parametrize("tau", TAU)
def test_hand_computed_decay_of_every_window(tau):
    # returns of 3 and -4 bp at 1 and 2 s, seen at 5 s
    mids = 100.0 * np.exp(np.cumsum([0.0, 3.0, -4.0]) * 1e-4)
    got = last(*(q(s, m) for s, m in zip([0, 1, 2, 5], [*mids, mids[-1]])))
    assert got[f"rv_{tau:g}s"] == pytest.approx(math.sqrt(9 * math.exp(-4 / tau) + 16 * math.exp(-3 / tau)), rel=1e-9)


def test_a_hand_computed_noise():
    # returns of 1, 2, -3, 4, -1 and 5 bp, one a second: those of five steps are 3 and 7 bp
    mids = 100.0 * np.exp(np.cumsum([0.0, 1.0, 2.0, -3.0, 4.0, -1.0, 5.0]) * 1e-4)
    d = math.exp(-1 / 300)
    coarse, fine = (9 * d + 49) / 5, 1 * d + 25
    assert last(*(q(s, m) for s, m in enumerate(mids)))["noise_300s"] == pytest.approx(1 - (coarse - fine / 5) / (4 / 5) / fine, rel=1e-9)


def test_a_session_begins_anew():
    midnight = 24_400  # s from START to midnight in New York
    evening = [q(midnight - 2, 100.0), q(midnight - 1, 100.0 * math.exp(1e-4))]
    morning = [q(midnight + s, 105.0 * math.exp(m * 1e-4)) for s, m in zip((1, 2, 3), (0.0, 2.0, -1.0))]  # returns of 2 and -3 bp
    assert last(*evening)["rv_300s"] == pytest.approx(1.0, rel=1e-9)
    first = last(*evening, morning[0])
    assert all(math.isnan(first[name]) for name in NAMES if name != "rv_ratio_30s_300s")  # 5 % over the night is no return
    second = last(*evening, *morning[:2])
    assert second["rv_300s"] == pytest.approx(math.sqrt(math.exp(-3 / 300) + 4), rel=1e-9)  # the evening decays on
    assert math.isnan(second["bipower_300s"])
    third = last(*evening, *morning)
    assert third["bipower_300s"] == pytest.approx(math.pi / 2 * 6, rel=1e-9)  # no pair over the night
    assert third["semivar_up_300s"] == pytest.approx(math.exp(-4 / 300) + 4 * math.exp(-1 / 300), rel=1e-9)
    assert third["semivar_down_300s"] == pytest.approx(9.0, rel=1e-9)


def test_a_bounce_is_noise_and_a_trend_is_less_than_none():
    bounce = [q(i * 0.001, 100.0 + 0.005 * (i % 2)) for i in range(400)]
    # five steps of a bounce return one step: C = A / 5, so nothing is left for the price
    assert last(*bounce)["noise_300s"] == pytest.approx(1.0, abs=1e-3)
    trend = [q(i * 0.001, 100.0 * math.exp(i * 1e-4)) for i in range(400)]
    # C = 25 / 5 A: 1 - (5 - 1/5) / (4/5) = -5
    assert last(*trend)["noise_300s"] == pytest.approx(-5.0, abs=1e-3)


def test_a_random_walk_has_no_noise_and_no_jump():
    steps = np.random.default_rng(4).normal(size=6000) * 1e-4
    got = last(*(q(i * 0.01, 100.0 * math.exp(s)) for i, s in enumerate(np.cumsum(steps))))
    assert abs(got["noise_300s"]) < 0.1
    assert got["jump_share_300s"] < 0.05


def test_one_jump_is_a_jump():
    steps = np.random.default_rng(4).normal(size=1000) * 1e-5
    steps[500] = 0.01
    assert last(*(q(i * 0.01, 100.0 * math.exp(s)) for i, s in enumerate(np.cumsum(steps))))["jump_share_300s"] > 0.9


def test_repeated_quotes_and_trades_change_nothing():
    a, b, c = q(0, 100.0), q(1, 100.01), q(2, 100.03)
    trade = Tick(START + SECOND, 0, TRADE, *b[3:7], 99.0, 5.0)
    wider = q(1, 100.01, half=0.05)  # same mid
    np.testing.assert_array_equal(list(last(a, b, wider, b, trade, c).values()), list(last(a, b, c).values()))


def test_a_one_sided_quote_lets_time_pass_only():
    one = Tick(START + 6 * SECOND, 0, QUOTE, 100.0, 1.0, NAN, NAN, NAN, NAN)
    before, after = last(q(0, 100.0), q(1, 100.01)), last(q(0, 100.0), q(1, 100.01), one)
    assert after["rv_5s"] == pytest.approx(before["rv_5s"] * math.exp(-0.5), rel=1e-6)
    back = last(q(0, 100.0), q(1, 100.01), one, q(7, 100.02))
    assert back["rv_1s"] == pytest.approx(last(q(0, 100.0), q(1, 100.01), q(7, 100.02))["rv_1s"], rel=1e-6)


def test_missing_values_at_the_start():
    first = last(q(0, 100.0))
    assert all(math.isnan(v) for v in first.values())
    still = last(q(0, 100.0), q(1, 100.0))
    assert still["rv_1s"] == 0.0  # known, and zero
    assert math.isnan(still["jump_share_300s"])
    assert math.isnan(still["rv_ratio_30s_300s"])


def test_one_window_has_no_ratio():
    assert [c.name for c in kernels.columns((30.0,))] == ["rv_30s", "bipower_30s", "jump_share_30s", "semivar_up_30s", "semivar_down_30s", "noise_30s"]
    ticks = stream(200)
    rows, x, _ = every_quote("volatility", ticks, (30.0,))
    np.testing.assert_allclose(x, expected(volatility, ticks, rows, (30.0,)), rtol=2e-6, atol=1e-9)
