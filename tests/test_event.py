"""What a tick means to its symbol: session, time passed, mid and its change, sign of a trade, by hand."""

import math

import numpy as np
import pytest
from feature_run import sessions
from feature_ticks import NAN, TICK
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE
from naive_season import session_of

from tickarrow.jit import event

pytestmark = pytest.mark.pure
SECOND = 1_000_000_000
DAYS = sessions(6)
DAY = int(DAYS[1, event.MIDNIGHT] - DAYS[0, event.MIDNIGHT])


class Walk:
    """Clock, state of one symbol, EVENT."""

    def __init__(self, days=DAYS, tau_s=(2.0,)):
        self.days, self.rate = days, np.array([-1e-9 / t for t in tau_s])
        self.clock, self.state, self.e = (np.zeros(1, t)[0] for t in (event.CLOCK, event.EVENT_STATE, event.EVENT))
        self.clock.session = -1

    def step(self, ts, kind=QUOTE, bid=99.99, ask=100.01, price=NAN, quantity=NAN, sizes=(1.0, 1.0)):
        e = self.e
        e.ts, e.kind, e.tick_size = int(ts), kind, TICK
        e.bid, e.bid_size, e.ask, e.ask_size, e.price, e.quantity = bid, sizes[0], ask, sizes[1], price, quantity
        event.clock_step(self.clock, self.days, e.ts)
        event.event_step(self.state, e, self.clock, self.rate)
        return e


@given(st.lists(st.integers(-2 * DAY, 7 * DAY), min_size=1, max_size=20), st.sampled_from([0, 7, -9]))
def test_the_session_is_the_last_one_that_has_begun(times, evening):
    days = DAYS.copy()
    if evening < 0:  # the exchange opens the evening before
        days[:, event.OPEN] = days[:, event.MIDNIGHT] + evening * 3600 * SECOND
    walk, before = Walk(np.delete(days, 3, axis=0)), "no row"
    for t in sorted(times):
        e = walk.step(days[0, event.MIDNIGHT] + t)
        k = session_of(e.ts, walk.days)
        assert e.session == (-1 if k is None else k)
        assert e.new_session == (before != k)
        if k is not None:
            assert [e.midnight, e.open, e.close, e.weekday] == walk.days[k].tolist()
        before = k


def test_sessions_are_told_apart_in_a_table_that_begins_later():
    walk = Walk()
    walk.step(DAYS[2, event.OPEN])
    walk.days = DAYS[2:].copy()  # as after a restart
    walk.clock.session = -1
    assert not walk.step(DAYS[2, event.OPEN] + 1).new_session
    assert walk.step(DAYS[3, event.MIDNIGHT]).new_session


def test_a_time_that_goes_back_changes_nothing():
    walk = Walk()
    walk.step(DAYS[2, event.OPEN])
    e = walk.step(DAYS[1, event.OPEN])
    assert (e.session, e.new_session, e.dt, e.decay[0]) == (2, False, 0, 1.0)
    assert walk.step(DAYS[2, event.OPEN] + SECOND).dt == SECOND


def test_time_and_mid_of_hand_computed_rows():
    walk, start = Walk(), DAYS[1, event.OPEN]
    e = walk.step(start)
    assert (e.first, e.dt, e.mid, e.moved, e.r) == (True, 0, 100.0, False, 0.0)
    assert math.isnan(e.last_mid)
    e = walk.step(start + SECOND, ask=100.03)  # 100.00 -> 100.01
    assert (e.first, e.dt, e.moved) == (False, SECOND, True)
    assert (e.last_mid, e.mid) == (100.0, pytest.approx(100.01, rel=1e-15))
    assert e.r == pytest.approx(1e4 * math.log(100.01 / 100))
    assert e.decay[0] == pytest.approx(math.exp(-0.5))
    e = walk.step(start + 2 * SECOND, bid=100.13, ask=NAN)
    assert math.isnan(e.mid)
    assert (e.last_mid, e.moved, e.complete) == (pytest.approx(100.01, rel=1e-15), False, False)
    e = walk.step(start + 3 * SECOND, bid=99.98, ask=100.04)  # the same mid
    assert (e.moved, e.r, e.complete) == (False, 0.0, True)


# quote 99.99 - 100.01: above the mid bought, below sold; at it by the last change of the price
@pytest.mark.parametrize(("prices", "signs"), [
    ([100.01], [1]), ([99.99], [-1]), ([100.00], [0]), ([99.995, 100.00], [-1, 1]), ([100.01, 100.00, 100.00], [1, -1, -1]), ([NAN, 100.00], [0, 0]),
])  # fmt: skip
def test_signs_of_trades(prices, signs):
    walk = Walk()
    events = [(e.is_trade, e.sign, e.signed) for e in (walk.step(DAYS[1, event.OPEN] + i, TRADE, price=p, quantity=50.0) for i, p in enumerate(prices))]
    assert events == [(True, s, 50.0 * s) for s in signs]


@pytest.mark.parametrize("quantity", [0.0, NAN, -5.0])
def test_a_trade_without_a_size_is_none(quantity):
    e = Walk().step(DAYS[1, event.OPEN], TRADE, price=100.01, quantity=quantity)
    assert (e.is_trade, e.sign, e.signed, e.is_quote) == (False, 0.0, 0.0, False)


def test_the_change_of_the_mid_over_a_night_is_no_return():
    walk = Walk()
    walk.step(DAYS[1, event.OPEN], bid=99.99, ask=100.01)
    assert walk.step(DAYS[1, event.OPEN] + SECOND, bid=100.99, ask=101.01).moved
    morning = walk.step(DAYS[2, event.OPEN], bid=149.99, ask=150.01)
    assert (morning.new_session, morning.moved, morning.r) == (True, False, 0.0)
    assert math.isnan(morning.last_mid)
    assert walk.step(DAYS[2, event.OPEN] + SECOND, bid=149.98, ask=150.0).r == pytest.approx(1e4 * math.log(149.99 / 150.0), rel=1e-12)
