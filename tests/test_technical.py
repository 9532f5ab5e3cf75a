"""Tick clock of family `technical` against its twin, hand-computed rows, wickra and pandas."""

import math

import numpy as np
import pytest
import verify_technical
from feature_run import named, run, sessions
from feature_ticks import NAN, TICK, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE
from naive_technical import technical
from test_season import short
from verify_technical import offer, traded

from tickarrow.jit import event
from tickarrow.jit.technical import FAMILY, TAU_S

pytestmark = pytest.mark.pure
NAMES = [c.name for c in FAMILY.columns(TAU_S)]
DAYS = sessions()
OPEN = DAYS[1, event.OPEN]


def want(ticks, found, rows, tau_s=TAU_S):
    return np.array([list(technical([t for t in ticks[: i + 1] if t.symbol == ticks[i].symbol], TICK, tau_s, rows).values()) for i in found])


@given(streams(), st.sampled_from([10, 58, 59, 150]))
def test_every_row_equals_its_definition(ticks, before):
    ticks, rows = short(ticks, before)
    found, v, _ = run(FAMILY, ticks, days=rows)
    if found:
        np.testing.assert_allclose(v, want(ticks, found, rows), rtol=1e-11, atol=1e-9)


@given(streams())
def test_every_row_of_symbols_without_trades_equals_its_definition(ticks):
    ticks, rows = short([t for t in ticks if t.kind == QUOTE], 58)
    found, v, _ = run(FAMILY, ticks, (2.0, 60.0), days=rows)
    if found:
        np.testing.assert_allclose(v, want(ticks, found, rows, (2.0, 60.0)), rtol=1e-11, atol=1e-9)


def test_a_long_stream_equals_its_definition():
    ticks, rows = short(stream(400, mean_gap_s=0.3), 50)
    found, v, _ = run(FAMILY, ticks, days=rows)
    np.testing.assert_allclose(v, want(ticks, found, rows), rtol=1e-11, atol=1e-9)
    assert np.isfinite(v).any(0).all()


@pytest.mark.parametrize("check", verify_technical.CHECKS, ids=lambda c: f"{c.column} {c.library}")
def test_columns_agree_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_every_column_has_a_check():
    assert {c.column for c in verify_technical.CHECKS if c.column in NAMES} == set(NAMES)


def test_hand_computed_decaying_returns():
    # mids 100.00, 100.01 after 1 s, the same after 2 s, 99.99 after 4 s: returns of 1e4 ln(100.01 / 100) and 1e4 ln(99.99 / 100.01)
    ticks = [offer(0, 99.99, 100.01), offer(1, 100.00, 100.02), offer(2, 99.99, 100.03), offer(4, 99.98, 100.00)]
    first, second = 1e4 * math.log(100.01 / 100), 1e4 * math.log(99.99 / 100.01)
    got = named(FAMILY, ticks)
    assert got.ew_return_1s == pytest.approx(first * math.exp(-3) + second)
    assert got.ew_return_300s == pytest.approx(first * math.exp(-0.01) + second)
    assert math.isnan(named(FAMILY, ticks[:1]).ew_return_5s)
    assert named(FAMILY, [ticks[0], offer(1, 99.98, 100.02)]).ew_return_5s == 0.0


def test_a_hand_computed_distance_to_the_vwap():
    # 100 at 10.00 and 300 at 10.04: VWAP 10.03, last price 10.04
    got = named(FAMILY, [traded(0, 10.00, 100.0), traded(5, 10.04, 300.0), offer(6, 9.0, 9.1)])
    assert got.vwap_dist == pytest.approx(1e4 * (10.04 / 10.03 - 1))


def test_the_vwap_begins_anew_at_midnight():
    night = (DAYS[2, event.MIDNIGHT] - OPEN) / 1e9
    ticks = [traded(0, 10.00, 100.0), traded(night - 1, 10.04, 100.0), offer(night, 9.99, 10.01), traded(night + 1, 11.00, 5.0), offer(night + 2, 10.9, 11.0)]
    assert math.isnan(named(FAMILY, ticks[:3]).vwap_dist)
    assert named(FAMILY, ticks).vwap_dist == 0.0


def test_a_hand_computed_opening_range():
    # low 9.90, high 10.10 in the first 15 minutes; what is traded before the open and after them is not in the range
    ticks = [traded(-1, 5.0), traded(0, 10.00), traded(60, 10.10), traded(899, 9.90), traded(900, 11.00)]
    at_end = [named(FAMILY, [*ticks[:k], offer(950, 9.99, 10.01)]).open_range for k in range(1, 6)]
    assert math.isnan(at_end[0])
    assert math.isnan(at_end[1])  # high = low
    assert at_end[2:4] == [1.0, 0.0]
    assert at_end[4] == pytest.approx((11.00 - 9.90) / 0.20)
    assert named(FAMILY, [*ticks, traded(30_000, 10.00), offer(30_001, 9.99, 10.01)]).open_range == pytest.approx(0.5)  # after the close


def test_a_hand_computed_overnight_gap():
    day, end = 86_400, 390 * 60
    ticks = [traded(-5, 7.0), traded(10, 10.00), traded(end - 1, 10.20), traded(end, 8.0), traded(day - 1, 12.0)]
    new = [traded(day, 10.71), traded(day + 9, 9.0)]
    assert math.isnan(named(FAMILY, [*ticks, offer(day - 1, 9.99, 10.01)]).overnight_gap)
    assert named(FAMILY, [*ticks, *new, offer(day + 10, 9.99, 10.01)]).overnight_gap == pytest.approx(500.0)  # 10.71 / 10.20 = 1.05
    # a session without a trade is passed over: 9.18 / 10.20 = 0.9
    later = [*ticks, traded(2 * day + 1, 9.18), offer(2 * day + 2, 9.99, 10.01)]
    assert named(FAMILY, later).overnight_gap == pytest.approx(-1000.0)


def test_a_symbol_without_trades_is_priced_by_its_mids():
    # mids 10.00, 10.02, 10.02 again with a wider spread: two changes, mean 10.01, range 10.00 to 10.02
    ticks = [offer(0, 9.99, 10.01), offer(1, 10.01, 10.03), offer(2, 10.00, 10.04)]
    got = named(FAMILY, ticks)
    assert got.vwap_dist == pytest.approx(1e4 * (10.02 / 10.01 - 1))
    assert got.open_range == 1.0
    gap = named(FAMILY, [*ticks, offer(86_400, 10.01, 10.03)])
    assert (gap.vwap_dist, gap.overnight_gap) == (0.0, 0.0)


def test_the_first_trade_forgets_the_mids():
    got = named(FAMILY, [offer(0, 9.99, 10.01), offer(1, 10.01, 10.03), offer(86_400, 9.99, 10.01), traded(86_401, 10.5), offer(86_402, 10.01, 10.03)])
    assert got.vwap_dist == 0.0
    assert math.isnan(got.open_range)
    assert math.isnan(got.overnight_gap)


@pytest.mark.parametrize("bad", [traded(1, NAN), traded(1, -3.0), traded(1, 0.0), traded(1, 1e300), traded(1, 50.0, math.inf), traded(1, 50.0, 0.0),
                                 traded(1, 4e-5), traded(1, 214_760.0)])  # fmt: skip
def test_a_trade_without_a_price_or_size_enters_nothing(bad):
    # the last two: 0.4 units are no price; 2_147_500_000 units from the first price are beyond 2**31
    ticks = [traded(0, 10.0), traded(2, 10.1), offer(3, 9.99, 10.01)]
    assert vars(named(FAMILY, [ticks[0], bad, *ticks[1:]])) == pytest.approx(vars(named(FAMILY, ticks)), nan_ok=True)


def test_a_huge_volume_is_halved_and_nothing_overflows():
    # 400 trades of 1e8 shares at 1000.00 and 1000.02 in turn: the mean stays between them
    ticks = [traded(i, 1000.0 + 0.02 * (i % 2), 1e8) for i in range(400)]
    got = run(FAMILY, [t for pair in zip(ticks, (offer(i, 999.99, 1000.01) for i in range(400))) for t in pair])[1][:, NAMES.index("vwap_dist")]
    assert abs(abs(got[-2:]) - 1e4 * 0.01 / 1000.01).max() < 1e-3


def test_sums_of_a_session_are_exact():
    # fractions of a share and a far price: sum(p q) has 61 bits, more than a float64 holds; the mean of 1e6 + 0.01 at 0.00000001 is still seen
    ticks = [traded(0, 1_000_000.00, 90_071_992.0), traded(1, 1_000_000.01, 0.00000001), traded(2, 1_000_000.00, 1.0), offer(3, 9.0, 9.1)]
    state = run(FAMILY, ticks)[2][0]
    assert int(state.volume) == 9_007_199_200_000_000 + 1 + 100_000_000
    assert int(state.money) * 2**24 + int(state.money_low) == 100


def test_before_the_calendar_begins_there_are_no_regular_hours():
    rows = DAYS[5:].copy()
    got = named(FAMILY, [traded(0, 10.0), traded(1, 10.1), offer(2, 9.99, 10.01)], days=rows)
    assert got.vwap_dist > 0
    assert math.isnan(got.open_range)
    assert math.isnan(got.overnight_gap)


def test_returns_fade_to_nothing():
    got = named(FAMILY, [offer(0, 99.99, 100.01), offer(1, 100.00, 100.02), *(offer(2 + 50 * i, 100.00, 100.02) for i in range(11))])
    assert got.ew_return_1s == 0.0  # exp(-501) is below 1e-200
    assert got.ew_return_300s > 0.01
