"""Family `volatility` against its twin, hand-computed rows, pandas, and any cut of the stream."""

import math

import numpy as np
import pandas as pd
import pytest
from feature_run import run
from feature_ticks import NAN, START, every_quote, expected, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick, volatility

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


def test_realised_variance_is_the_ewm_sum_of_pandas():
    ticks = stream(300, symbols=1)
    rows, x, _ = every_quote("volatility", ticks)
    quotes = pd.DataFrame([ticks[i] for i in rows])
    r = 1e4 * np.log((quotes.bid + quotes.ask) / 2).diff().fillna(0.0)
    times = pd.to_datetime(quotes.ts)
    for tau in TAU:
        ewm = {"halflife": pd.Timedelta(tau * math.log(2), "s"), "times": times}
        weight = [np.exp(-(t - quotes.ts[: i + 1]) * 1e-9 / tau).sum() for i, t in enumerate(quotes.ts)]
        want = np.sqrt((r**2).ewm(**ewm).mean() * weight)  # mean times the sum of weights is the sum
        np.testing.assert_allclose(x[1:, NAMES.index(f"rv_{tau:g}s")], want[1:], rtol=1e-5)


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
