"""The limits at the router: what it refuses whoever asks, with the ledger's positions and orders; the loss stop over a restart."""

import math
from datetime import datetime

import numpy as np
import pytest
from decide import START
from incidents import Disk
from test_act import FEW, FREE, GO, HORIZONS, S, decide, make, stream, table_of

from tickarrow.configs.limits import LimitsConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.configs.risk import RiskConf
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.limits_router import STOPPED, RouterLimits
from tickarrow.pipeline.router import Router
from tickarrow.pipeline.router_channel import Answer, Execution, Intent, Said
from tickarrow.pipeline.router_ledger import Ledger
from tickarrow.pipeline.schemas import ControlKind, Flag, Health, OrderState, Reason

DAY = 86_400 * S


class Desk:
    """A router of two symbols with limits, on a channel that only notes; `act` has quotes of 99.99 to 100.01 and 50 to 50.02."""

    def __init__(self, disk=None, now=START, orders=None, **conf):
        self.sent, self.told, self.at, self.now, self.key = [], [], 100.0, now, 0
        self.disk = disk or Disk()
        self.act = make(2, RiskConf(limits=LimitsConf(**conf)), FREE, horizons=HORIZONS[:1], simulate=False, symbols=["AAA", "BBB"])
        self.quote(0, 99.99, 100.01)
        self.quote(1, 50.0, 50.02)
        self.ledger = Ledger(self.disk, lambda: self.at)
        self.router = Router(self, self.ledger, [7, 8], ["AAA", "BBB"], orders or OrdersConf(), self.act.apply, self.told.append, lambda: self.at,
                             quote=self.act.quote)  # fmt: skip
        self.limits = RouterLimits(self.act, self.router, lambda: self.now)

    def start(self, positions=()):
        self.router.up()
        while not self.router.settled:
            self.router.answered(Answer(positions={c: (shares, 100.0) for c, shares in positions}))
            self.at += 10.0
        return self

    def next_id(self):
        return 1

    def place(self, order, *rest):
        self.sent.append(order.key)

    def cancel(self, order):
        return True

    def change(self, order):
        self.sent.append((order.key, order.price))

    def quote(self, row, bid, ask, flags=0):
        decide(self.act, [(self.now, row, True, bid, ask, None, flags)], np.zeros((0, 1, 3)))

    def ask(self, side=1, quantity=10.0, limit=None, row=0):
        """What the router says to an order; it goes out if it may."""
        self.key = max(self.key, self.ledger.next_key - 1) + 1
        price = limit if limit is not None else ((100.02, 50.03)[row] if side > 0 else (99.98, 49.99)[row])
        why = self.router.submit(Intent(self.key, row, side, quantity, price))
        self.router.pump()
        return Reason(getattr(why, "code", Reason.ORDER)).name

    def fill(self, key, shares, price=100.0):
        o = self.ledger.orders[key]
        self.router.executed(Execution(f"e.{key}.{shares}.01", key, o.con_id, o.side, shares, price))
        self.router.said(Said(key, o.con_id, OrderState.FILLED, o.side, o.quantity, o.limit, o.quantity))


def test_a_refused_intent_is_a_row_of_orders_with_its_reason_and_is_counted():
    desk = Desk(order_shares=10.0).start()
    assert desk.ask(quantity=11.0) == "ORDER_SIZE"
    assert desk.ask(quantity=10.0) == "ORDER"
    assert table_of(desk.act._orders, "key", "quantity", "state", "reason") == [(1, 11.0, OrderState.REJECTED, Reason.ORDER_SIZE)]
    assert desk.router.refused == {"too many shares in one order": 1}
    assert desk.sent == [2]
    desk.router.lost()
    assert desk.ask() == "UNSETTLED"
    assert table_of(desk.act._orders, "key", "reason")[-1] == (3, Reason.UNSETTLED)


def test_working_orders_count_as_if_they_were_filled():
    # 10 of 25 shares bought and 10 more working: 5 may be bought; sold may be what is held, without what works to sell already
    desk = Desk(position_shares=25.0, order_shares=15.0).start()
    desk.ask()
    desk.fill(1, 10.0)
    assert desk.ask() == "ORDER"
    assert desk.ask(quantity=6.0) == "POSITION_LIMIT"
    assert desk.ask(quantity=5.0) == "ORDER"
    assert desk.ask(side=-1, quantity=6.0, limit=100.03) == "ORDER"
    assert desk.ask(side=-1, quantity=30.0, limit=100.03) == "ORDER_SIZE"
    desk.act.limits.book["stopped"] = 1
    assert desk.ask(side=-1, quantity=4.0, limit=100.03) == "ORDER"  # what reduces goes on
    assert desk.ask(side=-1, quantity=1.0, limit=100.03) == "LOSS_STOP"  # 10 held, 6 and 4 work


def test_gross_and_net_are_those_of_the_ledger():
    # 10 at 100 held in AAA; in BBB, at 50.01, 10 bought are 500.1
    desk = Desk(gross_value=1500.2, net_value=1400.0).start([(7, 10.0)])
    assert desk.ask(row=1) == "NET_LIMIT"
    assert desk.ask(row=1, side=-1) == "ORDER"
    assert desk.ask(row=1, side=-1, quantity=1.0) == "GROSS_LIMIT"


def test_an_order_does_not_meet_one_of_our_own():
    desk = Desk().start()
    assert desk.ask(side=-1, limit=100.02) == "ORDER"
    assert desk.ask(limit=100.02) == "SELF_CROSS"
    assert desk.ask(limit=100.01) == "ORDER"
    assert desk.ask(side=-1, limit=100.01) == "SELF_CROSS"
    assert desk.ask(row=1) == "ORDER"


@pytest.mark.parametrize("state", [OrderState.FILLED, OrderState.CANCELLED])
def test_shares_whose_executions_are_still_to_come_count(state):
    # 10 are bought, and the gateway says so before it tells of the execution
    desk = Desk(position_shares=15.0, gross_value=1300.0).start()
    desk.ask()
    desk.router.said(Said(1, 7, state, 1, 10.0, 100.02, 10.0, 1, 50))
    assert desk.ask(quantity=6.0) == "POSITION_LIMIT"
    assert desk.ask(row=1) == "GROSS_LIMIT"
    desk.fill(1, 10.0)
    assert desk.ask(quantity=6.0) == "POSITION_LIMIT"


@pytest.mark.parametrize(("bid", "ask", "flags", "changed"), [
    (99.99, 100.01, 0, True), (99.0, 99.02, 0, False), (99.99, 100.01, Flag.HALTED, False), (99.99, 100.01, Flag.STALE, False),
])  # fmt: skip
def test_an_order_gets_no_worse_price_than_a_new_one_could_have(bid, ask, flags, changed):
    # a passive order to buy that shall cross in the end, up to 100.02; the collar is 20 bp
    desk = Desk(orders=OrdersConf(style="passive", cross_s=3.0), collar_quote=20.0).start()
    desk.ask()
    desk.router.said(Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 99.99, 0.0, 1, 50))
    desk.quote(0, bid, ask, flags)
    desk.at += 4.0
    desk.router.follow()
    assert desk.sent == ([1, (1, 100.02)] if changed else [1])


@pytest.mark.parametrize(("bid", "ask", "flags", "goes"), [
    (99.99, 100.01, 0, True), (99.0, 99.02, 0, False), (99.99, 100.01, Flag.HALTED, False), (math.nan, 100.01, 0, False),
])  # fmt: skip
def test_what_has_waited_goes_out_only_on_a_market_that_a_new_order_could_have(bid, ask, flags, goes):
    desk = Desk(orders=OrdersConf(requests=2, reserved=1), collar_quote=20.0).start()
    desk.ask(row=1)
    desk.ask()
    assert desk.sent == [1]  # the second waits for its turn
    desk.quote(0, bid, ask, flags)
    desk.at += 1.0
    desk.router.pump()
    assert desk.sent == ([1, 2] if goes else [1])
    assert desk.router.refused == ({} if goes else {"the market has changed since it was decided": 1})


def test_the_rate_is_counted_at_market_time():
    desk = Desk(per_second=2).start()
    assert [desk.ask(row=1) for _ in range(3)] == ["ORDER", "ORDER", "ORDER_RATE"]
    desk.now += S - 1
    assert desk.ask(row=1) == "ORDER_RATE"
    desk.now += 1
    assert desk.ask(row=1) == "ORDER"


@pytest.mark.parametrize(("event", "flags", "quote", "reason"), [
    (None, Flag.HALTED, (99.99, 100.01), "HALTED"), (None, Flag.STALE, (99.99, 100.01), "NOT_LIVE"), (None, Flag.DELAYED, (99.99, 100.01), "NOT_LIVE"),
    (None, Flag.UNCERTAIN, (99.99, 100.01), "NOT_LIVE"), (None, 0, (100.02, 100.0), "CROSSED"), (None, 0, (math.nan, 100.0), "NO_QUOTE"),
    (Control(kind=ControlKind.HEALTH, symbol=0, value=Health.STALE), 0, (99.99, 100.01), "NOT_LIVE"),
    (Control(kind=ControlKind.HEALTH, symbol=-1, value=Health.LOST), 0, (99.99, 100.01), "NOT_LIVE"),
])  # fmt: skip
def test_bad_data_refuse_and_say_why(event, flags, quote, reason):
    desk = Desk().start()
    desk.quote(0, *quote, flags)
    if event is not None:
        desk.act.apply(event)
    assert desk.ask() == reason


def test_cancels_always_pass():
    desk = Desk(order_shares=10.0, restricted=["BBB"]).start()
    ended = []
    desk.cancel = lambda order: ended.append(order.key) or True
    desk.ask()
    desk.quote(0, 99.0, 98.0, Flag.HALTED)
    desk.act.limits.book["stopped"] = 1
    desk.router.cancel(1)
    assert ended == [1]


def hold(desk, price):
    """A decision that wants nothing, at a price."""
    desk.now += S
    decide(desk.act, [(desk.now, 0, True, price, price, 0)], np.array([[[0.0, 10.0, 0.1]]]))
    desk.act.state["hold_until"] = 2**62
    desk.limits.look()


def after_a_stop(now=START + 10 * S, positions=((7, 10.0),), **conf):
    """10 shares from 100, a fall to 95 and a stop of 50; then the process is killed, and another one starts."""
    first = Desk(daily_loss=50.0).start()
    first.ask()
    first.fill(1, 10.0)
    first.act.state["hold_until"] = 2**62
    hold(first, 95.1)
    assert first.told == []
    hold(first, 95.0)
    first.at += 60.0
    hold(first, 96.0)
    assert first.told == [STOPPED]
    again = Desk(first.disk, now, daily_loss=50.0, **conf).start(positions)
    again.limits.resume(now)
    return again


def test_a_stop_outlives_a_restart():
    again = after_a_stop()
    assert again.told[-1:] == [STOPPED]
    assert again.ask() == "LOSS_STOP"
    assert again.ask(side=-1, limit=99.98) == "ORDER"
    assert again.act.limits.book[0].day == START - START % DAY


def test_a_day_that_is_not_over_goes_on_where_it_was():
    # at 96 the loss was 40; taken over at a cost of 100, and again at 96, it is still 40
    first = Desk(daily_loss=50.0).start()
    first.ask()
    first.fill(1, 10.0)
    first.act.state["hold_until"] = 2**62
    hold(first, 96.0)
    again = Desk(first.disk, START + 10 * S, daily_loss=50.0).start([(7, 10.0)])
    again.limits.resume(again.now)
    hold(again, 95.1)
    assert not again.act.limits.stopped
    hold(again, 95.0)
    assert again.act.limits.stopped


def test_what_somebody_else_sells_of_a_losing_position_stays_a_loss():
    # 10 from 100, at 96 a loss of 40; 6 sold by hand leave a loss of 24 and 4 shares, which reach the stop of 50 at 93.5; then all at once
    for left in (4.0, 0.0):
        desk = Desk(daily_loss=50.0).start()
        desk.ask()
        desk.fill(1, 10.0)
        hold(desk, 96.0)
        desk.router.position(7, left)
        desk.at += 11.0
        desk.router.look()
        for _ in range(2):
            desk.router.answered(Answer(positions={7: (left, 100.0 if left else 0.0)}))
            desk.at += 2.0
        assert desk.act.state["position"][0] == left
        assert desk.act.state["cash"][0] == -1000.0 + (10.0 - left) * 96.0
        hold(desk, 93.6)
        assert not desk.act.limits.stopped
        hold(desk, 93.5)
        assert desk.act.limits.stopped == (left == 4.0)


def test_what_was_sold_by_hand_while_nothing_ran_stays_a_loss():
    first = Desk(daily_loss=50.0).start()
    first.ask()
    first.fill(1, 10.0)
    hold(first, 96.0)
    again = Desk(first.disk, START + 10 * S, daily_loss=50.0).start([(7, 4.0)])
    again.limits.resume(again.now)
    hold(again, 93.6)
    assert not again.act.limits.stopped
    hold(again, 93.5)
    assert again.act.limits.stopped


def test_the_next_day_counts_from_the_last_mid_of_the_day_before():
    again = after_a_stop(START + DAY)
    assert again.ask(row=1) == "ORDER"
    hold(again, 91.1)  # the last mid was 96: 50 more are 91
    assert not again.act.limits.stopped
    hold(again, 91.0)
    assert again.act.limits.stopped


def test_a_stop_is_lifted_on_the_day_that_the_setting_names():
    said = "daily loss stop: the day begins anew, as risk.limits.resume_day says"
    now = START + 10 * S
    again = after_a_stop(now, resume_day=f"{datetime.fromtimestamp(now / 1e9):%Y-%m-%d}")
    assert again.told == [said]
    assert again.ask(row=1) == "ORDER"
    assert after_a_stop(now, resume_day="2001-01-01").ask(row=1) == "LOSS_STOP"


def test_what_the_router_refuses_of_a_decision_does_not_work_on():
    # a position that the ledger knows and `act` does not, as after a fill whose report waits for the next chunk
    desk = Desk(position_shares=12.0)
    desk.act.params["nav"] = FEW.nav
    desk.start()
    desk.ledger.moved(7, 12.0)
    decide(desk.act, *stream((1, 99.99, 100.01, GO)))
    desk.now += S
    desk.router.send(desk.act.intents)
    assert table_of(desk.act._orders, "key", "state", "reason") == [(1, OrderState.INTENT, 0), (1, OrderState.REJECTED, Reason.POSITION_LIMIT)]
    assert not desk.act.state[0].working
