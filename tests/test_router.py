"""The router: what is written ahead, refused, paced, and how what ib_async says of an order becomes the right control events. Whole lives
with faults are in test_order_safety.py, sessions over sockets in test_incidents.py."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from types import SimpleNamespace

import ib_async
import pytest
from incidents import Disk

from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.router import UNSETTLED, Router
from tickarrow.pipeline.router_channel import Answer, Execution, Intent, Said
from tickarrow.pipeline.router_ib import Orders, open_ledger
from tickarrow.pipeline.router_ledger import FileStorage, Ledger, OwnOrder
from tickarrow.pipeline.router_price import Grid
from tickarrow.pipeline.schemas import ORDERS, PARTS, ControlKind, OrderState, Reason

ORDER_ID, PERM_ID = 5, 99


def router(disk=None, conf=None, ready=True):
    """A router of one symbol on a channel that only notes, with its clock in `at`."""
    made = SimpleNamespace(sent=[], said=[], told=[], at=100.0, disk=disk or Disk())
    made.next_id = lambda: 1
    made.place = lambda order, transmit: made.sent.append(("place", order.key, order.order_id))
    made.change = lambda order: made.sent.append(("change", order.key, order.price))
    made.ask_margin = lambda order: made.sent.append(("margin", order.key))
    made.cancel = lambda order: made.sent.append(("cancel", order.key, order.order_id)) or True
    made.cancel_everybodys = lambda: made.sent.append("everybody's")
    made.ledger = Ledger(made.disk, lambda: made.at)
    made.router = Router(made, made.ledger, [7], ["AAA"], conf or OrdersConf(), made.said.append, made.told.append, lambda: made.at)
    made.router.up()
    if ready:
        made.router.answered(Answer())
    return made


def order(key, quantity=10.0):
    return Intent(key, 0, 1, quantity, 9.99)


def with_order(**more):
    """A router that has sent order 1."""
    made = router(**more)
    assert made.router.submit(order(1)) == ""
    made.router.pump()
    return made


def states(made):
    return [(e.key, e.state) for e in made.said if e.kind == ControlKind.ORDER_STATE]


def test_an_order_is_on_disk_before_it_is_sent():
    made = router()
    seen = []
    made.place = lambda o, transmit: seen.append(b'["intent", 1, 7, 1, 10.0, 9.99, 1, "LMT"]' in made.disk.data)
    assert made.router.submit(order(1)) == ""
    assert seen == []
    made.router.pump()
    assert seen == [True]


def test_no_order_goes_out_before_the_comparison_and_a_cancel_does():
    made = with_order()
    made.router.lost()
    made.router.up()
    assert made.router.submit(order(2)) == UNSETTLED
    made.router.cancel(1)
    assert made.sent == [("place", 1, 1), ("cancel", 1, 1)]
    assert states(made) == [(2, OrderState.REJECTED)]


def test_ids_and_keys_go_on_where_the_last_run_ended():
    first = with_order()
    again = router(first.disk)
    again.at += 10.0
    again.router.answered(Answer(completed=[Said(1, 7, OrderState.CANCELLED, 1, 10.0, 9.99, 0.0, 1, 50)]))
    assert [e.key for e in again.said if e.kind == ControlKind.KEYS] == [2]
    assert again.router.submit(order(1)) == "key 1 is used"
    assert again.router.submit(order(2)) == ""
    again.router.pump()
    assert again.sent == [("place", 2, 2)]


def test_an_order_of_an_earlier_run_is_cancelled_and_its_executions_count_once():
    first = with_order()
    first.router.executed(Execution("e.1.01", 1, 7, 1, 4.0, 9.98))
    again = router(first.disk, ready=False)
    answer = Answer(
        open=[Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.99, 6.0, 1, 50)],
        executions=[Execution("e.1.01", 1, 7, 1, 4.0, 9.98), Execution("e.2.01", 1, 7, 1, 2.0, 9.98)],
        positions={7: (6.0, 9.98)},
    )
    again.router.answered(answer)
    assert again.router.settled
    assert again.sent == [("cancel", 1, 1)]
    assert states(again) == [(1, OrderState.SUBMITTED)]
    held = [(e.key, e.side, e.quantity, e.price) for e in again.said if e.kind == ControlKind.EXECUTION]
    assert held == [(0, 1, 6.0, 9.98)]
    assert again.router.submit(order(2)) == "an order of an earlier run still works"
    again.router.said(Said(1, 7, OrderState.CANCELLED, 1, 10.0, 9.99, 6.0, 1, 50))
    assert again.router.submit(order(3)) == ""


def test_what_the_gateway_does_not_know_is_lost_after_a_second_answer_only():
    made = with_order()
    made.router.lost()
    made.router.up()
    made.at += 6.0
    made.router.answered(Answer())
    assert not made.router.settled
    made.at += 2.0
    made.router.answered(Answer())
    assert made.router.settled
    assert states(made) == [(1, OrderState.CANCELLED)]
    assert made.told == ["order 1 is not known to the gateway: taken as cancelled. Look at it in TWS."]
    made.router.said(Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.99, 0.0, 1, 50))  # it lives after all
    assert states(made)[-1] == (1, OrderState.SUBMITTED)
    assert made.sent[-1] == ("cancel", 1, 1)


def test_cancels_go_before_orders_and_have_a_share_of_their_own():
    made = router(conf=OrdersConf(requests=5, reserved=3))
    for key in range(1, 7):
        made.router.submit(order(key))
    made.router.pump()
    assert [what for what, _, _ in made.sent] == ["place"] * 2
    made.router.cancel(1)
    made.router.cancel(2)
    assert [what for what, _, _ in made.sent] == ["place"] * 2 + ["cancel"] * 2
    made.router.cancel(6)  # it has not been sent
    made.at += 0.4
    made.router.look()
    assert made.sent[4:] == []
    made.at += 0.4
    made.router.look()
    assert made.sent[4:] == [("place", 3, 3), ("place", 4, 4)]
    made.at += 1.3
    made.router.look()
    assert states(made) == [(6, OrderState.CANCELLED), (5, OrderState.REJECTED)]  # it has waited for more than wait_s


def test_a_check_refuses_an_order_and_never_a_cancel():
    made = router()
    made.router.checks.append(lambda intent: "too large" if intent.quantity > 10 else "")
    assert made.router.submit(order(1)) == ""
    made.router.pump()
    assert made.router.submit(order(2, 11.0)) == "too large"
    made.router.checks.append(lambda intent: "never")
    made.router.cancel(1)
    made.router.pump()
    assert made.sent == [("place", 1, 1), ("cancel", 1, 1)]
    assert states(made) == [(2, OrderState.REJECTED)]


def test_what_is_refused_is_counted_and_told_once():
    made = router()
    made.router.checks.append(lambda intent: "too large")
    for key in (1, 2, 3):
        made.router.submit(order(key))
    assert made.router.refused == {"too large": 3}
    assert made.told == ["an order is refused: too large"]


def test_a_stop_refuses_what_is_new_and_what_waits_and_lets_cancels_pass():
    made = router(conf=OrdersConf(requests=2, reserved=1))
    for key in (1, 2):
        made.router.submit(order(key))
    made.router.pump()
    made.router.refuse_new("the kill switch is on")
    assert made.router.submit(order(3)) == "the kill switch is on"
    made.router.cancel_all()
    assert made.sent == [("place", 1, 1), ("cancel", 1, 1)]
    assert states(made) == [(2, OrderState.REJECTED), (3, OrderState.REJECTED)]
    made.router.refuse_new("")
    made.at += 2.0
    assert made.router.submit(order(4)) == ""


def test_a_stop_leaves_the_orders_alone_that_close_positions():
    made = with_order(conf=OrdersConf(requests=2, reserved=1))
    made.router.executed(Execution("e.1.01", 1, 7, 1, 10.0, 9.98))
    assert made.router.submit(Intent(2, 0, -1, 10.0, 9.9, closing=True)) == ""
    made.router.pump()
    assert made.sent == [("place", 1, 1)]  # it waits for its turn
    made.router.refuse_new("the kill switch is on")
    made.at += 1.0
    made.router.pump()
    assert made.sent[1:] == [("place", 2, 2)]


def test_a_cancel_that_waits_for_its_turn_makes_the_next_chunk_worth_a_look():
    made = with_order(conf=OrdersConf(requests=2, reserved=1))
    made.router.submit(order(2))
    made.at += 0.5
    made.router.pump()
    made.router.cancel(1)
    made.router.cancel(2)
    assert made.sent[2:] == [("cancel", 1, 1)]
    assert made.router.busy
    made.at += 0.5
    made.router.pump()
    assert made.sent[3:] == [("cancel", 2, 2)]
    assert not made.router.busy


@pytest.mark.parametrize("state", [OrderState.FILLED, OrderState.CANCELLED])
@pytest.mark.parametrize("closing", [False, True])
def test_an_end_that_comes_before_its_executions_holds_the_next_order_back(state, closing):
    """12 held, 10 sold: the next order is decided on 12, as the end says nothing of the position."""
    made = router()
    made.ledger.moved(7, 12.0)
    assert made.router.submit(Intent(1, 0, -1, 10.0, 9.9)) == ""
    made.router.pump()
    made.router.said(Said(1, 7, state, -1, 10.0, 9.9, 8.0, 1, 50))
    assert made.router.submit(Intent(2, 0, -1, 12.0, 9.9, closing)) == ""
    made.router.pump()
    assert made.sent == [("place", 1, 1)]
    made.router.executed(Execution("e.1.01", 1, 7, -1, 8.0, 9.9))
    made.router.pump()
    assert made.sent == [("place", 1, 1)]
    assert made.router.refused == {"the position has changed since it was decided": 1}
    assert made.router.submit(Intent(3, 0, -1, 4.0, 9.9, closing)) == ""
    made.router.pump()
    assert made.sent[1:] == [("place", 3, 3)]


def test_an_order_is_done_with_in_whichever_order_end_and_executions_come():
    for first_execution in (True, False):
        made = with_order()
        says = [lambda m=made: m.router.executed(Execution("e.1.01", 1, 7, 1, 10.0, 9.98)),
                lambda m=made: m.router.said(Said(1, 7, OrderState.FILLED, 1, 10.0, 9.99, 10.0, 1, 50))]  # fmt: skip
        for say in says if first_execution else reversed(says):
            say()
        assert made.router.pending == []


def test_one_request_ends_the_orders_of_everybody_before_ours_are_cancelled_one_by_one():
    made = router(conf=OrdersConf(requests=4, reserved=1))
    for key in (1, 2, 3):
        made.router.submit(order(key))
    made.router.pump()
    made.router.cancel_all(everybodys=True)
    assert made.sent == [("place", 1, 1), ("place", 2, 2), ("place", 3, 3), "everybody's"]
    made.at += 1.0
    made.router.pump()
    assert made.sent[4:] == [("cancel", 1, 1), ("cancel", 2, 2), ("cancel", 3, 3)]


def passive(**more):
    """A router of passive orders, one of them acknowledged at the bid of 9.90; `made.bid` moves."""
    made = router(conf=OrdersConf(style="passive", **more))
    made.bid = 9.9
    made.router.quote = lambda row: (made.bid, made.bid + 0.05)
    made.router.submit(order(1))
    made.router.pump()
    made.router.said(Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.9, 0.0, 1, 50))
    made.at += 1.0
    del made.sent[:]
    return made


def follow(made, bid, after=1.0):
    made.bid = bid
    made.at += after
    made.router.follow()
    return made.sent[-1] if made.sent else None


def test_one_change_at_a_time_and_none_too_soon():
    made = passive()
    assert follow(made, 9.91) == ("change", 1, 9.91)
    assert follow(made, 9.93) == ("change", 1, 9.91)  # the first is not acknowledged
    made.router.said(Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.91, 0.0, 1, 50))
    assert follow(made, 9.93, after=0.0) == ("change", 1, 9.93)
    made.router.said(Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.93, 0.0, 1, 50))
    assert follow(made, 9.95, after=0.4) == ("change", 1, 9.93)
    assert follow(made, 9.98, after=0.2) == ("change", 1, 9.98)
    made.router.said(Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.98, 0.0, 1, 50))
    assert follow(made, 10.05) == ("change", 1, 9.99)  # its limit
    assert [e.price for e in made.said if e.kind == ControlKind.ORDER_STATE] == [9.9, 9.91, 9.93, 9.98]
    made.router.cancel(1)
    follow(made, 9.5)
    assert [what for what, *_ in made.sent] == ["change"] * 4 + ["cancel"]


def test_changes_leave_the_requests_that_are_for_cancels():
    made = passive(requests=3, reserved=2, reprice_s=0.0)
    for _ in range(3):
        follow(made, made.bid + 0.01, after=0.1)
        made.router.said(Said(1, 7, OrderState.SUBMITTED, 1, 10.0, made.ledger.orders[1].price, 0.0, 1, 50))
    assert len(made.sent) == 1


def test_a_change_that_comes_too_late_is_no_doubt_and_one_that_is_refused_is_the_last():
    made = passive()
    follow(made, 9.91)
    made.router.error(1, 104, "Cannot modify a filled order.")
    assert made.router.settled
    assert follow(made, 9.92) == ("change", 1, 9.92)
    made.router.error(1, 201, "Order rejected - reason: no")
    assert not made.router.settled
    assert made.ledger.orders[1].state == OrderState.SUBMITTED
    made.router.answered(Answer(open=[Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.91, 0.0, 1, 50)]))
    assert made.router.settled
    follow(made, 9.95)
    assert len(made.sent) == 2


def test_a_change_without_an_answer_is_asked_for():
    made = passive()
    follow(made, 9.91)
    made.at += 11.0
    made.router.look()
    assert made.router.due()
    made.router.answered(Answer(open=[Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.9, 0.0, 1, 50)]))
    assert made.router.settled
    assert follow(made, 9.91) == ("change", 1, 9.91)
    assert len(made.sent) == 2


def test_an_order_without_an_answer_is_told():
    made = with_order()
    made.at += 11.0
    made.router.look()
    assert made.told == ["order 1 has no answer after 10 s: it is looked for. Is the API read-only in TWS, or does TWS wait for a confirmation?"]
    assert not made.router.settled


def test_a_bracket_outlives_the_run_and_goes_with_its_position():
    first = with_order(conf=OrdersConf(profit_bp=50.0, stop_bp=50.0))
    assert first.sent == [("place", 1, 1), ("place", 1 + PARTS, 2), ("place", 1 + 2 * PARTS, 3)]
    first.router.executed(Execution("e.1.01", 1, 7, 1, 10.0, 9.98))
    again = router(first.disk, ready=False)
    working = OrderState.SUBMITTED
    parts = [Said(1 + PARTS, 7, working, -1, 10.0, 10.04, 0.0, 2, 51), Said(1 + 2 * PARTS, 7, working, -1, 10.0, 9.94, 0.0, 3, 52, "STP")]
    again.router.answered(Answer(open=parts, positions={7: (10.0, 9.98)}))
    assert again.router.settled
    assert again.sent == []
    for _ in range(3):  # somebody sells the position in TWS
        again.at += 61.0
        again.router.due()
        again.router.answered(Answer(open=parts))
    assert again.sent == [("cancel", 1 + PARTS, 2), ("cancel", 1 + 2 * PARTS, 3)]
    assert "order 281474976710657 of a bracket would open a position: its own is gone or smaller. It is cancelled." in again.told


def test_an_order_whose_bracket_ends_for_its_sake_is_not_given_up_before_it_has_ended():
    made = with_order(conf=OrdersConf(profit_bp=50.0, stop_bp=50.0))
    made.router.executed(Execution("e.1.01", 1, 7, 1, 10.0, 9.98))
    assert made.router.submit(Intent(2, 0, -1, 10.0, 9.9)) == ""
    made.router.pump()
    made.at += 5.0
    made.router.pump()
    assert made.sent[3:] == [("cancel", 1 + PARTS, 2), ("cancel", 1 + 2 * PARTS, 3)]
    for part, price in ((1, 10.04), (2, 9.94)):
        made.router.said(Said(1 + part * PARTS, 7, OrderState.CANCELLED, -1, 10.0, price, 0.0, 1 + part, 50 + part))
    made.router.pump()
    assert made.sent[5:] == [("place", 2, 4)]


def test_a_bracket_of_which_nothing_is_known_is_cancelled_part_by_part():
    first = with_order(conf=OrdersConf(stop_bp=50.0))
    first.router.lost()
    first.router.up()
    first.at += 6.0
    first.router.answered(Answer())
    first.at += 2.0
    first.router.answered(Answer())
    assert first.sent[2:] == [("cancel", 1, 1), ("cancel", 1 + 2 * PARTS, 2)]  # the entry may wait there for its stop


def test_what_has_waited_is_not_sent_when_the_position_has_changed_meanwhile():
    made = router(conf=OrdersConf(requests=2, reserved=1))
    for key in (1, 2):
        made.router.submit(order(key))
    made.router.pump()
    made.router.executed(Execution("e.1.01", 1, 7, 1, 4.0, 9.98))
    made.at += 1.0
    made.router.pump()
    assert made.router.refused == {"the position has changed since it was decided": 1}
    assert [(e.key, e.value) for e in made.said if e.state == OrderState.REJECTED] == [(2, Reason.REFUSED)]
    assert made.sent == [("place", 1, 1)]


def test_an_order_waits_for_its_margin_and_not_for_ever():
    """One after the other: an answer knows nothing of an order that has not been sent."""
    made = router(conf=OrdersConf(margin_share=0.5))
    for key in (1, 2, 3, 4):
        made.router.submit(order(key))
    made.router.pump()
    assert made.sent == [("margin", 1)]
    made.router.judged(1, 50.0, 100.0)
    assert made.sent[1:] == [("place", 1, 1), ("margin", 2)]
    made.router.judged(2, 51.0, 100.0)
    assert made.sent[3:] == [("margin", 3)]
    made.at += 3.0
    made.router.pump()
    assert made.sent[4:] == []
    assert states(made) == [(2, OrderState.REJECTED), (3, OrderState.REJECTED), (4, OrderState.REJECTED)]
    made.router.judged(3, 1.0, 100.0)


def test_a_position_that_somebody_else_has_moved_is_taken_over_when_it_stays():
    made = router()
    made.router.position(7, 30.0)
    made.at += 11.0
    made.router.look()
    assert made.router.due()
    for _ in range(2):
        assert not made.router.settled
        made.router.answered(Answer(positions={7: (30.0, 10.0)}))
        made.at += 2.0
    assert made.router.settled
    assert [(e.side, e.quantity, e.price) for e in made.said if e.kind == ControlKind.EXECUTION] == [(1, 30.0, 10.0)]
    text = "position of AAA: +30 shares are not of our executions, and are taken over. Somebody else trades it: look at it in TWS."
    assert made.told == [text]


@pytest.mark.parametrize("gone", [{7: (0.0, 0.0)}, {}])
def test_a_position_that_somebody_else_has_closed_is_booked_at_its_last_price_and_not_at_none(gone):
    # at a price of 0 the book would have lost its whole value, and a short one earned it
    made = router(ready=False)
    made.router.answered(Answer(positions={7: (-30.0, 10.0)}))
    made.router.answered(Answer(positions={7: (-30.0, 10.0)}))
    made.router.position(7, 0.0)
    made.at += 11.0
    made.router.look()
    for _ in range(2):
        made.router.answered(Answer(positions=gone))
        made.at += 2.0
    moved = [(e.side, e.quantity, e.price) for e in made.said if e.kind == ControlKind.EXECUTION]
    assert moved == [(-1, 30.0, 10.0), (1, 30.0, 10.0)]  # its mid where it is known, test_limits_router.py
    assert made.router.cost_of(7) == 10.0


def test_a_correction_takes_the_place_of_its_execution():
    made = with_order()
    for e in (("a.01", 4.0), ("a.02", 3.0), ("a.01", 4.0), ("a.02", 3.0)):
        made.router.executed(Execution(e[0], 1, 7, 1, e[1], 9.98))
    counted = [(e.side, e.quantity) for e in made.said if e.kind == ControlKind.EXECUTION]
    assert counted == [(1, 4.0), (-1, 4.0), (1, 3.0)]
    assert made.ledger.positions == {7: 3.0}
    assert made.ledger.orders[1].executed == 3.0


def test_a_torn_record_is_cut_and_damage_before_the_end_is_told():
    made = router()
    made.router.submit(order(1))
    made.router.submit(order(2))
    whole = made.disk.data
    for cut in range(len(whole) - 30, len(whole)):
        assert sorted(Ledger(Disk(whole[:cut]), lambda: 0.0).orders) == [1]
    with pytest.raises(SessionError, match="the ledger of orders is damaged at line 2: what was sent is not known"):
        Ledger(Disk(whole.replace(b'["intent", 1', b'["intent", 3')), lambda: 0.0)


def test_a_ledger_that_is_opened_again_knows_the_same():
    made = with_order()
    made.router.executed(Execution("e.1.01", 1, 7, 1, 4.0, 9.98))
    made.ledger.moved(8, -5.0)
    for days in (0, 3, 6):  # the execution is left out after two days, what it did is not
        again = Ledger(made.disk, lambda days=days: made.at + days * 86_400)
        assert again.positions == {7: 4.0, 8: -5.0}
        assert again.orders[1].executed == 4.0
        assert (again.next_id, again.next_key) == (2, 2)
        assert len(again.executions) == (days == 0)


def test_one_process_has_the_ledger_and_a_kill_leaves_what_was_written(tmp_path):
    path = tmp_path / "sent-orders-DU1-1.log"
    code = (
        "import os, sys; from pathlib import Path; from tickarrow.pipeline.router_ledger import *\n"
        "ledger = Ledger(FileStorage(Path(sys.argv[1]), True)); ledger.intent(OwnOrder(1, 7, 1, 10.0, 9.99, 3)); ledger.sync()\n"
        "print('written', flush=True); sys.stdin.read(); os._exit(1)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)
    assert child.stdout.readline() == b"written\n"
    with pytest.raises(SessionError, match=r"sent-orders-DU1-1\.log are in the hands of another run"):
        FileStorage(path, True)
    child.kill()
    child.communicate()
    ledger = open_ledger(OrdersConf(ledger=str(tmp_path)), "DU1", 1, None)
    assert ledger.orders[1].order_id == 3
    assert ledger.next_id == 4
    ledger.close()


@pytest.fixture
def desk(monkeypatch):
    """Orders on an ib_async client without a socket; what it sent, what it reported."""
    ib = ib_async.IB()
    ib.wrapper.clientId = 1
    sent, said, table = [], [], Table(ORDERS, keep=True)
    monkeypatch.setattr(ib.client, "getReqId", lambda: ORDER_ID)
    monkeypatch.setattr(ib.client, "isReady", lambda: True)
    monkeypatch.setattr(ib.client, "placeOrder", lambda *a: sent.append("place"))
    monkeypatch.setattr(ib.client, "cancelOrder", lambda *a: sent.append("cancel"))
    ib.disconnect = lambda: None  # ib_async's destructor calls it, which fails without a socket
    contract = ib_async.Stock("AAA", "SMART", "USD", conId=7)
    orders = Orders(ib, [contract], "DU1", "t", Ledger(Disk()), OrdersConf(), said.append, lambda text: None, lambda: 0.0, True, [Grid()], None)
    orders.router.up()
    orders.router.answered(Answer())
    ib.errorEvent += lambda request, code, text, contract: orders.router.error(request, code, text)

    def decide(state):
        i = table.reserve(1)
        table.symbol[i], table.key[i], table.side[i], table.quantity[i], table.limit[i], table.state[i] = 0, 1, 1, 10.0, 9.99, state
        orders.send(table.commit(1))

    def opened():
        """The gateway's first words on the order: ib_async learns its permId."""
        order = ib_async.Order(orderId=ORDER_ID, permId=PERM_ID, clientId=1, orderRef="t-1", action="BUY", totalQuantity=10.0, lmtPrice=9.99)
        ib.wrapper.openOrder(ORDER_ID, contract, order, ib_async.OrderState(status="Submitted"))
        ib.wrapper.orderStatus(ORDER_ID, "Submitted", 0, 10, 0, PERM_ID, 0, 0, 1, "")

    return SimpleNamespace(ib=ib, orders=orders, contract=contract, sent=sent, said=said, decide=decide, opened=opened)


def test_a_warning_does_not_end_an_order_that_lives_on(desk):
    desk.decide(OrderState.INTENT)
    desk.ib.wrapper.error(ORDER_ID, 399, "Your order will not be placed at the exchange until 09:30", "")
    assert desk.said == []
    desk.opened()
    assert [e.state for e in desk.said] == [OrderState.SUBMITTED]
    desk.decide(OrderState.CANCEL_INTENT)
    assert desk.sent == ["place", "cancel"]


def test_a_refused_order_is_reported_as_rejected(desk):
    desk.decide(OrderState.INTENT)
    desk.ib.wrapper.error(ORDER_ID, 201, "Order rejected - reason: margin", "")
    assert [e.state for e in desk.said] == [OrderState.REJECTED]
    assert desk.orders.working == 0


@pytest.fixture
def full(desk, monkeypatch):
    """ib_async has sent as many requests as it allows itself in this second, and holds two back."""
    client, wire = desk.ib.client, []
    monkeypatch.undo()
    client.connState, client.serverVersion = client.CONNECTED, lambda: 178
    client.conn = SimpleNamespace(sendMsg=lambda data: wire.append(data[4:].decode().split("\0")[:-1]), isConnected=lambda: True)
    monkeypatch.setattr(client, "isReady", lambda: True)
    now = [0.0]
    monkeypatch.setattr("ib_async.client.getLoop", lambda: SimpleNamespace(time=lambda: now[0], call_at=lambda *a: None))
    client._timeQ.extend([0.0] * client.MaxRequests)
    client._msgQ.extend(["data 1\0", "data 2\0"])
    return SimpleNamespace(client=client, wire=wire, orders=desk.orders, now=now)


def test_a_cancel_passes_what_waits_for_its_turn(full):
    order = OwnOrder(1, 7, 1, 10.0, 9.99, ORDER_ID)
    for _ in range(6):
        assert full.orders.cancel(order)
    assert full.wire == [["4", "1", str(ORDER_ID), ""]] * 5  # IBKR's 50 in a second are reached
    assert [m.split("\0")[0] for m in full.client._msgQ] == ["4", "data 1", "data 2"]
    assert full.client.MaxRequests == 45


def test_an_order_that_ib_async_holds_back_is_taken_back_and_not_cancelled(full):
    order = OwnOrder(1, 7, 1, 10.0, 9.99, ORDER_ID)
    full.orders.place(order, True)
    assert len(full.client._msgQ) == 3
    assert not full.orders.cancel(order)
    assert [m.split("\0")[0] for m in full.client._msgQ] == ["data 1", "data 2"]
    assert full.wire == []


def test_a_change_that_ib_async_holds_back_gives_way_to_the_cancel_of_its_order(full):
    router = full.orders.router
    router.submit(order(1))
    full.client._timeQ.clear()
    full.client._msgQ.clear()
    router.pump()
    router.said(Said(1, 7, OrderState.SUBMITTED, 1, 10.0, 9.99, 0.0, ORDER_ID, PERM_ID))
    full.client._timeQ.extend([0.0] * full.client.MaxRequests)
    full.orders.change(router.ledger.orders[1])
    router.cancel(1)
    assert [m[0] for m in full.wire] == ["3", "4"]
    assert not full.client._msgQ  # a change of an order that is gone could be read as a new one
    assert [o.state for o in router.working] == [OrderState.SUBMITTED]  # until the gateway says that it is cancelled


def test_a_bracket_that_ib_async_holds_back_is_taken_back_as_a_whole(full):
    router = full.orders.router
    router.conf = OrdersConf(stop_bp=50.0)
    router.submit(order(1))
    router.pump()
    assert len(full.client._msgQ) == 4
    router.cancel(1)
    assert [m.split("\0")[0] for m in full.client._msgQ] == ["data 1", "data 2"]
    assert full.wire == []
    assert router.working == []


def test_the_request_that_ends_all_orders_waits_for_nothing(full):
    full.orders.cancel_everybodys()
    assert full.wire == [["58", "1"]]


def test_an_error_on_an_order_that_works_is_asked_for_and_not_believed(desk):
    desk.decide(OrderState.INTENT)
    desk.opened()
    desk.ib.wrapper.error(ORDER_ID, 10999, "something", "")
    assert [e.state for e in desk.said] == [OrderState.SUBMITTED]
    assert desk.orders.working == 1
    assert not desk.orders.router.settled


def test_an_order_names_its_account_and_those_of_others_are_not_ours(desk):
    made = desk.orders._made(OwnOrder(1, 7, 1, 10.0, 9.99, ORDER_ID))
    assert made.account == "DU1"
    desk.decide(OrderState.INTENT)
    other = ib_async.Order(orderId=9, permId=7, clientId=1, orderRef="t-1", action="BUY", totalQuantity=10.0, lmtPrice=9.99, account="DU2")
    desk.ib.wrapper.openOrder(9, desk.contract, other, ib_async.OrderState(status="Submitted"))
    execution = ib_async.Execution(execId="e1", side="BOT", shares=4.0, price=9.98, permId=7, clientId=1, orderId=9, orderRef="t-1", acctNumber="DU2")
    desk.ib.wrapper.execDetails(-1, desk.contract, execution)
    desk.ib.wrapper.position("DU2", desk.contract, 4.0, 9.98)
    assert (desk.said, desk.orders.router._told, desk.orders.router.ledger.positions) == ([], {}, {})

    async def listed(answer):
        return answer

    positions = [ib_async.Position(account, desk.contract, shares, 9.9) for account, shares in (("DU1", 3.0), ("DU2", 4.0))]
    said = []
    desk.ib.reqOpenOrdersAsync = desk.ib.reqExecutionsAsync = lambda: listed([])
    desk.ib.reqCompletedOrdersAsync = lambda own: listed([])
    desk.ib.reqPositionsAsync = lambda: listed(positions)
    desk.orders.router.answered = said.append
    asyncio.run(desk.orders.ask(None))
    assert said[0].positions == {7: (3.0, 9.9)}


def test_after_each_connect_ids_go_on_behind_those_of_orders(desk):
    """So that a question for a margin, which takes an order id, never names an order."""

    async def ask(timeout):
        desk.orders.router.answered(Answer())

    desk.orders.ask = ask
    desk.orders.router.ledger.used(order_id=500)
    for _ in range(2):
        desk.ib.client._reqIdSeq = 3  # what a gateway said that was set back
        asyncio.run(desk.orders.settle(None, 1.0))
        assert desk.ib.client._reqIdSeq == 501


def test_a_cancel_is_sent_once(desk):
    desk.decide(OrderState.INTENT)
    desk.decide(OrderState.CANCEL_INTENT)
    desk.decide(OrderState.CANCEL_INTENT)
    assert desk.sent == ["place", "cancel"]
    assert desk.orders.working == 1  # until the gateway confirms


@pytest.mark.parametrize(("commission", "known"), [(1.0, True), (1.7976931348623157e308, False), (float("nan"), False)])
def test_a_commission_that_is_not_known_is_not_reported(desk, commission, known):
    desk.decide(OrderState.INTENT)
    desk.opened()
    execution = ib_async.Execution(execId="e1", side="BOT", shares=4.0, price=9.98, permId=PERM_ID, clientId=1, orderId=ORDER_ID, orderRef="t-1")
    desk.ib.wrapper.execDetails(-1, desk.contract, execution)
    desk.ib.wrapper.commissionReport(ib_async.CommissionReport(execId="e1", commission=commission))
    assert [e.kind for e in desk.said[1:]] == [ControlKind.EXECUTION, ControlKind.COMMISSION][: 1 + known]
