"""Family `liquidity`, tick clock, against its twin, hand-computed rows, independent libraries, nights and crowds."""

import math

import numpy as np
import pytest
from feature_days import bits, forward, with_night
from feature_run import DAY, named, run
from feature_ticks import NAN, START, expected, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick
from naive_liquidity import HORIZON, liquidity
from verify_liquidity import CHECKS

from tickarrow.jit.liquidity import CROWDED, FAMILY, GRAIN, RING

pytestmark = pytest.mark.pure
SECOND = 1_000_000_000
NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]


def at(seconds):
    return START + round(seconds * SECOND)


def q(seconds, bid, ask):
    return Tick(at(seconds), 0, QUOTE, bid, 100.0, ask, 100.0, NAN, NAN)


def t(seconds, price, size=100.0, bid=99.99, ask=100.01):
    return Tick(at(seconds), 0, TRADE, bid, 100.0, ask, 100.0, price, size)


def columns_of(ticks):
    got = named(FAMILY, ticks)
    return [getattr(got, name) for name in NAMES]


@given(streams(), st.integers(0, 40))
def test_every_row_equals_its_definition(ticks, night):
    ticks = with_night(ticks, night)
    rows, v, _ = run(FAMILY, ticks)
    if rows:
        np.testing.assert_allclose(v, expected(liquidity, ticks, rows, FAMILY.tau_s), rtol=1e-8, atol=1e-5)


def test_a_long_stream_equals_its_definition():
    ticks = stream(400)
    rows, v, _ = run(FAMILY, ticks)
    np.testing.assert_allclose(v, expected(liquidity, ticks, rows, FAMILY.tau_s), rtol=1e-9, atol=1e-9)
    assert np.isfinite(v[150:]).all()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_agrees_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_hand_computed_spreads():
    ticks = [
        q(0, 99.99, 100.01), t(0, 100.01), q(2, 100.01, 100.03), t(3, 100.01, 300.0, 100.01, 100.03), q(4, 100.00, 100.02),
        q(5, 100.03, 100.05), q(8, 100.03, 100.05),
    ]  # fmt: skip
    got = named(FAMILY, ticks)
    # a buy of 100 pays 2 * 0.01 / 100 = 2 bp; a sale of 300 pays 2 * 0.01 / 100.02 = s bp
    s = 200 / 100.02
    for tau in (30, 300):
        a, b = math.exp(-8 / tau), math.exp(-5 / tau)
        assert getattr(got, f"effective_spread_{tau}s") == pytest.approx((100 * a * 2 + 300 * b * s) / (100 * a + 300 * b), rel=1e-9)
    # the buy is settled at 5 s with the mid before that row, 100.01: impact 2e4 * 0.01 / 100 = 2 bp, nothing is realised
    # the sale is settled at 8 s with 100.04: impact -2e4 * 0.02 / 100.02 = -2 s, realised 3 s
    d = math.exp(-3 / 300)
    assert got.price_impact_300s == pytest.approx((100 * d * 2 - 300 * 2 * s) / (100 * d + 300), rel=1e-9)
    assert got.realised_spread_300s == pytest.approx(300 * 3 * s / (100 * d + 300), rel=1e-9)


def test_hand_computed_changes():
    # 100.01, 100.03, 100.01, 100.03 at one time: r = a, -a, a; pairs (a, -a), (-a, a) have means 0 and covariance -a^2: 2 a
    a = 1e4 * math.log(100.03 / 100.01)
    got = named(FAMILY, [q(0, 99.99, 100.05), *(t(0, p, n) for p, n in zip([100.01, 100.03, 100.01, 100.03], [1.0, 100.0, 50.0, 200.0])), q(0, 99.99, 100.05)])
    assert got.roll_spread_300s == pytest.approx(2 * a, rel=1e-9)
    # |r| / (p q), three changes: a / 10003, a / 5000.5, a / 20006
    assert got.amihud_300s == pytest.approx(1e6 * a * (1 / 10_003 + 1 / 5_000.5 + 1 / 20_006) / 3, rel=1e-9)


def test_before_the_first_trade_nothing_is_known():
    assert all(math.isnan(x) for x in columns_of([q(0, 99.99, 100.01), q(60, 99.98, 100.01)]))


@pytest.mark.parametrize(("seconds", "known"), [(4.999999, False), (5, True), (7, True)])
def test_a_trade_is_settled_by_the_first_row_5_s_later(seconds, known):
    got = named(FAMILY, [q(0, 99.99, 100.01), t(0, 100.01), q(4, 100.00, 100.02), q(seconds, 99.90, 99.92)])
    assert math.isnan(got.realised_spread_300s) != known
    if known:
        assert got.price_impact_300s == pytest.approx(2.0)  # the mid of 4 s, not that of the row itself


def test_an_unmoved_mid_has_no_impact_to_the_bit():
    got = named(FAMILY, [q(0, 100.13, 100.16), *(t(i / 7, 100.16, 33.0, 100.13, 100.16) for i in range(9)), q(9, 100.13, 100.16)])
    assert got.price_impact_300s == 0.0
    assert got.realised_spread_300s == pytest.approx(got.effective_spread_300s, rel=1e-14)


def test_a_trade_that_is_not_signed_has_no_spread_but_a_price():
    got = named(FAMILY, [q(0, 99.99, 100.01), t(0, 100.00), t(1, 100.00), q(9, 99.99, 100.01)])
    assert math.isnan(got.effective_spread_30s)
    assert math.isnan(got.realised_spread_300s)
    assert got.amihud_300s == 0.0


def test_a_trade_at_the_mid_costs_nothing_to_the_bit():
    bid, ask = 100.12, 100.17
    assert 0.5 * (bid + ask) != 100.145
    # the first trade has no quote; the second is bought, by the tick rule
    got = named(FAMILY, [q(0, bid, ask), t(0, bid, 50.0, NAN, NAN), t(0, 100.145, 50.0, bid, ask), q(1, bid, ask)])
    assert got.effective_spread_30s == 0.0


def test_a_trend_has_no_roll_spread():
    prices = [100.00, 100.01, 100.03, 100.04, 100.06, 100.10]
    got = named(FAMILY, [q(0, 99.99, 100.01), *(t(i, p) for i, p in enumerate(prices)), q(9, 99.99, 100.01)])
    assert got.roll_spread_300s == 0.0


def test_one_pair_of_changes_has_no_covariance():
    assert math.isnan(named(FAMILY, [q(0, 99.99, 100.01), t(0, 100.00), t(1, 100.01), t(2, 100.00), q(3, 99.99, 100.01)]).roll_spread_300s)


def test_the_change_over_the_night_and_what_waits_for_the_morning_do_not_count():
    today = [q(0, 99.99, 100.01), t(0, 100.01), t(1, 99.99), t(2, 100.01)]
    second = [t_._replace(ts=t_.ts + DAY) for t_ in (q(0, 105.99, 106.01), t(0, 106.01, 100.0, 105.99, 106.01), q(1, 105.99, 106.01))]
    got = named(FAMILY, [*today, *second])
    assert math.isnan(got.realised_spread_300s)
    assert math.isnan(got.roll_spread_300s)
    # two changes of today; that to 106.01 is none
    a = 1e4 * math.log(100.01 / 99.99)
    d = math.exp(-1 / 300)
    assert got.amihud_300s == pytest.approx(1e6 * a * (d / 9_999 + 1 / 10_001) / (1 + d), rel=1e-9)


def test_trades_of_one_time_share_an_entry_exactly():
    crowd = [q(0, 99.99, 100.01), *(t(0, p, n) for p, n in [(100.01, 100.0), (99.99, 40.0)]), q(0, 100.00, 100.02), t(0, 100.02, 70.0, 100.0, 100.02)]
    end = [q(4, 100.03, 100.05), q(6, 100.03, 100.05)]
    _, _, state = run(FAMILY, crowd)
    assert state[0].waiting == 1
    # buys of 100 and 70 and a sale of 40; the mid goes from 100.00 (and 100.01 for the 70) to 100.04
    impact = (100 * 8 - 40 * 8 + 70 * 2e4 * 0.03 / 100.01) / 210
    assert named(FAMILY, [*crowd, *end]).price_impact_300s == pytest.approx(impact, rel=1e-9)


@pytest.mark.parametrize("every_ms", [1, 9, 19.9, 20, 40])
def test_a_crowd_never_fills_the_ring(every_ms):
    trades = [t(1 + i * every_ms / 1e3, (100.01, 99.99)[i % 3 == 0], 1.0 + i % 7) for i in range(1_500)]
    ticks = [q(0, 99.99, 100.01)]
    for i, trade in enumerate(trades):
        mid = 100 + 0.01 * ((i // 100) % 5)
        ticks += [trade, Tick(trade.ts, 0, QUOTE, round(mid - 0.01, 2), 1.0, round(mid + 0.01, 2), 1.0, NAN, NAN)] if i % 100 == 0 else [trade]
    ticks.append(q(1 + 1_500 * every_ms / 1e3 + 6, 99.99, 100.01))
    most = max(run(FAMILY, ticks[:n])[2][0].waiting for n in (300, 600, 1_000, 1_400))
    assert most < RING
    exact = HORIZON / (every_ms * 1e6) <= CROWDED
    got, want = columns_of(ticks), liquidity(ticks, 0.01, FAMILY.tau_s)
    assert got[:2] + got[4:] == pytest.approx(want[:2] + want[4:], rel=1e-9)
    # in a crowd the mid is read up to 20 ms early
    assert got[2:4] == pytest.approx(want[2:4], rel=1e-9 if exact else 0.05, abs=1e-9 if exact else 0.05)


def test_the_ring_is_large_enough():
    assert RING & (RING - 1) == 0
    assert HORIZON // GRAIN + CROWDED + 1 < RING


def test_a_time_that_goes_back_counts_as_the_latest_time():
    ticks = [q(0, 99.99, 100.01), t(4, 100.01), t(2, 99.99), q(1, 100.00, 100.02), t(8, 100.01), q(6, 100.00, 100.02), q(9, 99.99, 100.01), q(8, 99.98, 100.0)]
    assert bits(FAMILY, ticks) == bits(FAMILY, forward(ticks))
