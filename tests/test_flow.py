"""Family `flow` against its twin, hand-computed rows, independent libraries, and any cut of the stream."""

import math

import numpy as np
import pytest
from feature_run import run
from feature_ticks import NAN, START, TICK, every_quote, expected, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick, flow, large, trade_signs
from verify_flow import CHECKS

from tickarrow.jit import flow as kernels

pytestmark = pytest.mark.pure
TAU = kernels.TAU_S
NAMES = [c.name for c in kernels.columns(TAU)]
SECOND = 1_000_000_000
BOOK = (99.99, 200.0, 100.01, 500.0)


def q(seconds, bid, bid_size, ask, ask_size):
    return Tick(START + round(seconds * SECOND), 0, QUOTE, bid, bid_size, ask, ask_size, NAN, NAN)


def t(seconds, price, size, book=BOOK):
    return Tick(START + round(seconds * SECOND), 0, TRADE, *book, price, size)


def last(*ticks, tau_s=TAU):
    return dict(zip((c.name for c in kernels.columns(tau_s)), run(kernels.FAMILY, ticks, tau_s)[1][-1]))


@given(streams(), st.integers(1, 9))
def test_every_row_equals_its_definition_however_the_stream_is_cut(ticks, size):
    rows, x, _ = every_quote("flow", ticks, size=size)
    if rows:
        np.testing.assert_allclose(x, expected(flow, ticks, rows, TAU), rtol=2e-6, atol=1e-9)


@given(streams(), st.integers(1, 9))
def test_the_bits_do_not_depend_on_the_cut(ticks, size):
    whole, parts = every_quote("flow", ticks)[1], every_quote("flow", ticks, size=size)[1]
    assert whole.tobytes() == parts.tobytes()


def test_a_long_stream_equals_its_definition():
    ticks = stream(1000)
    rows, x, _ = every_quote("flow", ticks)
    some = list(range(0, len(rows), 7))
    np.testing.assert_allclose(x[some], expected(flow, ticks, [rows[i] for i in some], TAU), rtol=2e-6, atol=1e-9)
    assert np.isfinite(x[-50:]).all()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_agrees_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_every_column_has_a_check():
    assert {c.column for c in CHECKS} == set(NAMES)


@pytest.mark.parametrize("tau", TAU)
def test_hand_computed_decay_of_every_window(tau):
    # e = 400 at 3 s as in the test below; 80 bought at 0 s, 40 sold at 1 s; the row is at 5 s
    book = (99.99, 200.0, 100.02, 500.0)
    after = q(3, 100.00, 300.0, 100.02, 400.0)
    got = last(q(0, *book), t(0, 100.02, 80.0, book), t(1, 99.99, 40.0, book), after, after._replace(ts=START + 5 * SECOND))
    a, b, c = (math.exp(-s / tau) for s in (5, 4, 2))
    mean = (80 * math.exp(-5 / 300) + 40 * math.exp(-4 / 300)) / (math.exp(-5 / 300) + math.exp(-4 / 300))
    assert got[f"ofi_{tau:g}s"] == pytest.approx(400 * c / (80 * a + 40 * b + mean), rel=1e-9)
    assert got[f"signed_volume_{tau:g}s"] == pytest.approx((80 * a - 40 * b) / (80 * a + 40 * b), rel=1e-9)


def test_hand_computed_impact():
    # the mid is 100.00, 100.02 and 100.00 at the trades of 0, 10 and 40 s: the buy of 100 moved it by 2 bp, the sale of 400 by y
    books = [(99.99, 1.0, 100.01, 1.0), (100.01, 1.0, 100.03, 1.0), (99.99, 1.0, 100.01, 1.0)]
    got = last(t(0, 100.01, 100.0, books[0]), t(10, 100.01, 400.0, books[1]), t(40, 100.01, 100.0, books[2]), q(40, *books[2]))
    y, d = -1e4 * 0.02 / 100.02, math.exp(-30 / 300)
    for name in ("kyle_30s", "kyle_300s"):  # a line through two points
        assert got[name] == pytest.approx((y - 2) / (-400 - 100), rel=1e-9)
    root = math.sqrt(100.01)
    assert got["hasbrouck_300s"] == pytest.approx((d * 2 * 10 * root - y * 20 * root) / (d * 100 * 100.01 + 400 * 100.01), rel=1e-9)


def test_a_session_begins_with_a_volume_delta_of_its_own():
    midnight = 24_400  # s from START to midnight in New York
    ticks = [t(midnight - 1, 100.01, 50.0), q(midnight - 1, *BOOK), t(midnight + 1, 99.99, 20.0), q(midnight + 1, *BOOK)]
    assert last(*ticks[:2])["volume_delta"] == 1.0
    assert math.isnan(last(*ticks[:2], ticks[3])["volume_delta"])  # no trade in this session yet
    got = last(*ticks, t(midnight + 1, 100.01, 60.0), q(midnight + 1, *BOOK))
    assert got["volume_delta"] == (60 - 20) / 80
    d = math.exp(-2 / 300)
    assert got["signed_volume_300s"] == pytest.approx((50 * d - 20 + 60) / (50 * d + 80), rel=1e-9)  # decays, and does not end at midnight


def test_order_flow_of_a_hand_computed_step():
    # bid 99.99 x 200 -> 100.00 x 300; ask 100.02 stays, 500 -> 400: e = 300 - (400 - 500) = 400; one trade of 80, so the mean is 80
    ticks = [q(0, 99.99, 200.0, 100.02, 500.0), t(0, 100.02, 80.0), q(0, 100.00, 300.0, 100.02, 400.0)]
    got = last(*ticks)
    assert got["ofi_1s"] == pytest.approx(400 / (80 + 80))
    assert got["ofi_300s"] == pytest.approx(400 / (80 + 80))
    again = last(*ticks, ticks[-1])
    np.testing.assert_array_equal(list(again.values()), list(got.values()))  # an unchanged quote adds nothing


def test_an_incomplete_quote_is_not_remembered():
    a, b = q(0, 99.99, 200.0, 100.02, 500.0), q(0, 100.00, 300.0, 100.02, 400.0)
    assert last(a, t(0, 100.02, 80.0), q(0, 99.99, 200.0, NAN, NAN), b)["ofi_1s"] == last(a, t(0, 100.02, 80.0), b)["ofi_1s"]


def test_order_flow_stays_finite_long_after_the_last_trade():
    got = last(q(0, 99.99, 200.0, 100.02, 500.0), t(0, 100.02, 80.0), q(200, 100.00, 300.0, 100.02, 400.0))
    assert got["ofi_1s"] == pytest.approx(400 / 80)  # one mean trade is left below


def test_signs_follow_lee_and_ready():
    # above the mid, below it, at the mid after a fall, at the mid after an equal price, without a quote after a rise
    trades = [t(0, 100.01, 1.0), t(0, 99.99, 1.0), t(0, 100.00, 1.0), t(0, 100.00, 1.0), t(0, 100.005, 1.0, (NAN,) * 4)]
    signs = [last(*trades[: i + 1], q(1, *BOOK))["trade_sign"] for i in range(5)]
    assert signs == [1.0, -1.0, 1.0, 1.0, 1.0] == [float(s) for s in trade_signs(trades, TICK)]
    assert last(*trades, q(1, *BOOK))["sign_run"] == 3.0
    at_mid_first = last(t(0, 100.00, 5.0), q(1, *BOOK))
    assert math.isnan(at_mid_first["trade_sign"])
    assert at_mid_first["signed_volume_1s"] == 0.0  # volume without a side


def test_the_mid_of_decimal_prices_is_the_mid():
    book = (10.01, 1.0, 10.04, 1.0)
    assert 0.5 * (10.01 + 10.04) != 10.025
    assert last(t(0, 10.04, 1.0, book), t(0, 10.025, 1.0, book), q(1, *book))["trade_sign"] == -1.0  # by the fall of the price


def test_hand_computed_shares_of_volume():
    trades = [t(0, 100.01, 50.0), t(0, 99.99, 150.0), t(0, 100.01, 600.0)]
    got = last(*trades, q(0, *BOOK))
    assert got["signed_volume_5s"] == pytest.approx(500 / 800)
    assert got["volume_delta"] == pytest.approx(500 / 800)
    assert got["odd_lot_share_300s"] == pytest.approx(50 / 800)
    # the quantile starts at 50; 150 and 600 are above it
    assert got["large_share_300s"] == pytest.approx(750 / 800)
    assert got["sign_autocorr_300s"] == pytest.approx(-1.0)  # each sign is the opposite of the one before


def test_kyle_and_hasbrouck_of_a_linear_market_are_its_slope():
    # the mid moves 0.5 bp per 100 shares after each trade, one trade a second: cov / var is 0.005 bp per share
    rng, mid, ticks = np.random.default_rng(3), 100.0, []
    for i in range(60):
        bought, size = bool(rng.integers(2)), float(rng.integers(1, 9) * 100)
        book = (mid - 0.01, 1.0, mid + 0.01, 1.0)
        ticks += [q(i, *book), t(i, book[2] if bought else book[0], size, book)]
        mid *= 1 + (1 if bought else -1) * size * 0.5e-6
    got = last(*ticks, q(60, mid - 0.01, 1.0, mid + 0.01, 1.0))
    assert got["kyle_30s"] == pytest.approx(0.005, rel=1e-4)
    assert got["kyle_300s"] == pytest.approx(0.005, rel=1e-4)
    assert got["hasbrouck_300s"] > 0.0


def test_impact_of_equal_trades_has_no_slope():
    ticks = [t(i, 100.01, 100.0) for i in range(30)]
    got = last(*ticks, q(31, *BOOK))
    assert math.isnan(got["kyle_30s"])
    assert got["hasbrouck_300s"] == 0.0  # the mid does not move
    assert math.isnan(got["sign_autocorr_300s"])
    assert got["sign_run"] == 30.0


def test_vpin_of_one_sided_and_of_balanced_trading():
    start = [t(0, 100.01, 100.0)] * 50
    assert math.isnan(last(*start, *[t(1, 100.01, 100.0)] * 9, q(1, *BOOK))["vpin"])  # a bucket holds ten
    assert last(*start, *[t(1, 100.01, 100.0)] * 25, q(1, *BOOK))["vpin"] == 1.0
    assert last(*start, *[t(1, 100.01, 100.0), t(1, 99.99, 100.0)] * 25, q(1, *BOOK))["vpin"] == 0.0
    assert last(*start, *[t(1, 100.01, 75.0), t(1, 99.99, 25.0)] * 25, q(1, *BOOK))["vpin"] == 0.5


def test_vpin_splits_a_trade_over_buckets_and_survives_a_huge_one():
    start = [t(0, 100.01, 100.0)] * 50
    # bucket 1000: buys 600, sells 1400 -> |600 - 400| / 1000, then |-1000| / 1000
    assert last(*start, t(1, 100.01, 600.0), t(1, 99.99, 1400.0), q(1, *BOOK))["vpin"] == pytest.approx(0.6)
    got = last(*start, t(1, 100.01, 600.0), t(1, 99.99, 9e7), t(1, 100.01, 400.0), q(1, *BOOK))
    # the ring holds the sale only, the last bucket 600 sold and 400 bought
    assert got["vpin"] == pytest.approx((49 + 0.2) / 50)


def test_volume_delta_is_exact_for_sizes_of_a_hundred_millionth():
    ticks = [t(0, 100.01, 1e-8), t(0, 100.01, 1e7), t(0, 99.99, 1e7)]
    assert last(*ticks, q(0, *BOOK))["volume_delta"] == pytest.approx(1e-8 / (2e7 + 1e-8), rel=1e-6)


def test_the_exact_sums_do_not_overflow():
    ticks = [t(0, 100.01, 1e12), t(0, 99.99, 1e12)] * 400 + [t(0, 100.01, 1e12)] * 400
    got = last(*ticks, q(0, *BOOK))
    assert 1 / 3 < got["volume_delta"] < 1.0  # the sums were halved on the way: older trades count less
    assert 0.0 <= got["vpin"] <= 1.0


def test_the_running_quantile_is_near_the_true_one():
    sizes = np.random.default_rng(9).lognormal(5.0, 1.0, 4000)
    share = np.mean(np.array(large(list(sizes)))[500:] > 0)
    assert 0.07 < share < 0.11  # one step above the 0.9 quantile
    ticks = [t(i * 0.01, 100.01, float(s)) for i, s in enumerate(sizes)]
    w = np.exp(-(len(sizes) - 1 - np.arange(len(sizes))) * 0.01 / 300)
    assert last(*ticks, q(39.99, *BOOK))["large_share_300s"] == pytest.approx((w * large(list(sizes))).sum() / (w * sizes).sum(), rel=1e-5)


@pytest.mark.parametrize("size", [NAN, 0.0, -5.0])
def test_a_trade_without_a_size_is_left_out(size):
    quotes = q(0, *BOOK), q(1, *BOOK)
    got, want = last(quotes[0], t(0, 100.01, size), quotes[1]), last(*quotes)
    np.testing.assert_array_equal(list(got.values()), list(want.values()))


def test_nothing_is_known_before_the_first_trade():
    assert all(math.isnan(v) for v in last(q(0, *BOOK), q(1, 100.00, 1.0, 100.01, 1.0)).values())


def test_one_window_has_one_kyle_column():
    names = [c.name for c in kernels.columns((7.0,))]
    assert names[:3] == ["ofi_7s", "signed_volume_7s", "trade_sign"]
    ticks = stream(200)
    rows, x, _ = every_quote("flow", ticks, (7.0,))
    np.testing.assert_allclose(x, expected(flow, ticks, rows, (7.0,)), rtol=2e-6, atol=1e-9)
