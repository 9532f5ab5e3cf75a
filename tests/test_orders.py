"""Orders through ib_async: what a gateway says of an order, fed to ib_async's own wrapper, becomes the right control events."""

from __future__ import annotations

from types import SimpleNamespace

import ib_async
import pytest

from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.orders import Orders
from tickarrow.pipeline.schemas import ORDERS, ControlKind, OrderState

ORDER_ID, PERM_ID = 5, 99


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
    orders = Orders(ib, [contract], "t", said.append)

    def decide(state):
        i = table.reserve(1)
        table.symbol[i], table.key[i], table.side[i], table.quantity[i], table.limit[i], table.state[i] = 0, 1, 1, 10.0, 9.99, state
        orders.send(table.commit(1))

    def opened():
        """The gateway's first words on the order: ib_async learns its permId."""
        order = ib_async.Order(orderId=ORDER_ID, permId=PERM_ID, clientId=1, orderRef="t-1")
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


def test_a_refused_order_is_reported_as_cancelled(desk):
    desk.decide(OrderState.INTENT)
    desk.ib.wrapper.error(ORDER_ID, 201, "Order rejected - reason: margin", "")
    assert [e.state for e in desk.said] == [OrderState.CANCELLED]
    assert desk.orders.working == 0


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
    execution = ib_async.Execution(execId="e1", side="BOT", shares=10.0, price=9.98, permId=PERM_ID, clientId=1, orderId=ORDER_ID)
    desk.ib.wrapper.execDetails(-1, desk.contract, execution)
    desk.ib.wrapper.commissionReport(ib_async.CommissionReport(execId="e1", commission=commission))
    assert [e.kind for e in desk.said[1:]] == [ControlKind.EXECUTION, ControlKind.COMMISSION][: 1 + known]
