"""Styles of orders over ib_async against the simulated gateway, in virtual time: passive ones that follow the quote, brackets, time in force,
margin that is asked for; and what contracts allow."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace

import ib_async
import pytest
from incidents import SYMBOLS, Desk, Disk, OrderState, incident, market
from test_simulator import START, MemorySource, quote, trade

from tickarrow.configs.gateway import GatewayConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.contracts import grid_of, rule_number
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.gateway import Gateway
from tickarrow.pipeline.router import WHOLE
from tickarrow.pipeline.router_channel import Intent
from tickarrow.pipeline.router_ib import Orders
from tickarrow.pipeline.router_ledger import Ledger, OwnOrder
from tickarrow.pipeline.router_price import Grid
from tickarrow.pipeline.schemas import DECISIONS, FILLS, ORDERS, PARTS, ControlKind, column_digest
from tickarrow.pipeline.simulator import Simulator

KEY = 1000
PROFIT, STOP = KEY + PARTS, KEY + 2 * PARTS


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)


def session(bids, conf, *actions, seconds=12.0):
    """One symbol whose bid is `bids[second]`, two cents wide, 100 shares on each side; `actions`: (second, what is done with the router).
    Nothing else is decided."""
    rows = []
    for k in range(int(seconds) + 60):
        bid = bids[min(k, len(bids) - 1)]
        rows += [quote(1000 * k, 0, bid, round(bid + 0.02, 2)), trade(1000 * k + 1, 0, bid, 100.0)]

    async def during(gateway, simulator, port):
        gateway.apply(Control(kind=ControlKind.KILL))
        loop = asyncio.get_running_loop()
        while simulator.feed._anchor is None:
            await asyncio.sleep(0.01)
        for at, act in actions:
            await asyncio.sleep(simulator.feed._anchor + at - loop.time())
            act(gateway.orders.router)
            gateway.orders.router.pump()

    i = incident(symbols=("AAA",), rows=rows, seconds=seconds, during=during, orders=conf)
    orders = i.simulator.feed.matching.orders.values()
    i.orders = {o.ref.partition("-")[2]: (o.kind, o.side, o.quantity, *(p for p in o.prices if p), o.tif, o.status, o.filled) for o in orders}
    i.held = i.simulator.feed.matching.positions.get(0, (0.0, 0.0))[0]
    assert i.desk.act.state["position"][0] == i.held
    return i


def wants(side, quantity, limit, key=KEY):
    return lambda router: router.submit(Intent(key, 0, side, quantity, limit))


def states(i, key=KEY):
    """(state, price) that the pipeline was told of an order."""
    return [(OrderState(e.state), e.price) for _, e in i.desk.events if e.kind == ControlKind.ORDER_STATE and e.key == key]


SUBMITTED, FILLED, CANCELLED, REJECTED = OrderState.SUBMITTED, OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED


def test_a_passive_order_follows_its_side_of_the_quote_and_crosses_in_the_end():
    conf = OrdersConf(ttl_s=1e9, style="passive", cross_s=6.0)
    i = session([10.0] * 4 + [10.01] * 2 + [10.02] * 20, conf, (2.5, wants(1, 60.0, 10.05)))
    assert states(i) == [(SUBMITTED, 10.0), (SUBMITTED, 10.01), (SUBMITTED, 10.02), (SUBMITTED, 10.05), (FILLED, 10.05)]
    assert i.orders == {"1000": ("LMT", 1, 60.0, 10.05, "DAY", "Filled", 60.0)}  # one order, whatever its price was
    assert [e.price for e in i.simulator.feed.matching.executions] == [10.04]


def test_a_bracket_takes_its_profit_and_takes_its_stop_away():
    conf = OrdersConf(ttl_s=1e9, profit_bp=50.0, stop_bp=50.0)
    i = session([10.0] * 5 + [10.09] * 20, conf, (2.5, wants(1, 60.0, 10.03)))
    assert i.orders == {
        "1000": ("LMT", 1, 60.0, 10.03, "DAY", "Filled", 60.0),
        "1000.1": ("LMT", -1, 60.0, 10.08, "GTC", "Filled", 60.0),
        "1000.2": ("STP", -1, 60.0, 9.98, "GTC", "Cancelled", 0.0),
    }
    assert i.held == 0.0
    assert [s for s, _ in states(i, PROFIT)] == [SUBMITTED, FILLED]
    assert states(i, STOP) == [(SUBMITTED, 9.98), (CANCELLED, 9.98)]


def test_a_position_with_a_bracket_is_closed_as_a_whole_after_the_bracket_is_gone():
    conf = OrdersConf(ttl_s=1e9, profit_bp=500.0, stop_bp=500.0)
    said = []
    actions = (
        (2.5, wants(1, 60.0, 10.03)),
        (4.5, lambda r: said.append(wants(1, 20.0, 10.03, KEY + 1)(r))),
        (5.5, lambda r: said.append(wants(-1, 90.0, 9.99, KEY + 2)(r))),  # would turn it: closes it only
        (6.5, lambda r: said.append(wants(1, 10.0, 10.03, KEY + 3)(r))),
    )
    i = session([10.0], conf, *actions, seconds=9.0)
    assert said == [WHOLE, "", ""]
    ends = {key: (o[0], o[2], *o[-2:]) for key, o in i.orders.items()}
    assert ends == {
        "1000": ("LMT", 60.0, "Filled", 60.0), "1000.1": ("LMT", 60.0, "Cancelled", 0.0), "1000.2": ("STP", 60.0, "Cancelled", 0.0),
        "1002": ("LMT", 60.0, "Filled", 60.0),
        "1003": ("LMT", 10.0, "Filled", 10.0), "1003.1": ("LMT", 10.0, "Submitted", 0.0), "1003.2": ("STP", 10.0, "PreSubmitted", 0.0),
    }  # fmt: skip
    assert i.held == 10.0
    assert i.gateway.orders.working == 0  # what is left ends with its position, not with the run


def test_a_closing_order_ends_a_position_where_new_orders_are_refused():
    conf = OrdersConf(ttl_s=1e9, style="passive", stop_bp=500.0, cross_s=0.5)
    said = []

    def stop(router):
        router.cancel_all()
        router.refuse_new("the kill switch is on")
        router.checks.append(lambda intent: "never")
        said.extend((router.submit(Intent(KEY + 1, 0, -1, 60.0, 9.99)), router.submit(Intent(KEY + 3, 0, 1, 60.0, 9.99, closing=True))))
        said.append(router.submit(Intent(KEY + 4, 0, -1, 60.0, 9.99, closing=True)))

    i = session([10.0], conf, (2.5, wants(1, 60.0, 10.03)), (6.5, stop), seconds=9.0)
    assert said == ["the kill switch is on", "it would do more than close the position", ""]
    assert i.held == 0.0
    assert {o[-2] for o in i.orders.values()} == {"Filled", "Cancelled"}


@pytest.mark.parametrize(("tif", "filled"), [("IOC", 100.0), ("FOK", 0.0), ("GTC", 150.0)])
def test_time_in_force(tif, filled):
    i = session([10.0] * 4 + [9.99] * 20, OrdersConf(ttl_s=1e9, tif=tif), (2.5, wants(1, 150.0, 10.02)), seconds=6.0)
    assert i.orders == {"1000": ("LMT", 1, 150.0, 10.02, tif, "Filled" if filled == 150.0 else "Cancelled", filled)}
    assert states(i)[-1][0] == (FILLED if filled == 150.0 else CANCELLED)


def test_margin_is_asked_for_first():
    # a quarter of 60 * 10.03 = 150.45 of about 1,000,000
    for share, ends in ((1.6e-4, FILLED), (1.5e-4, REJECTED)):
        i = session([10.0], OrdersConf(ttl_s=1e9, margin_share=share), (2.5, wants(1, 60.0, 10.03)), seconds=5.0)
        assert states(i)[-1][0] == ends
        assert len(i.orders) == (ends == FILLED)
    assert i.says("an order is refused: initial margin would be more than 0% of equity with loan")
    with pytest.raises(ConfigError, match=r"orders.margin_share is 0.5: a market in lock step does not wait for the answer"):
        Orders(None, [], "DU1", "t", None, OrdersConf(margin_share=0.5), None, None, None, False, [], None)


UNKNOWN = "the gateway does not say what margin it would take, or would not take it"


@pytest.mark.parametrize(("answer", "judged"), [
    (ib_async.OrderState(initMarginAfter="150.5", equityWithLoanAfter="1000"), [(KEY, 150.5, 1000.0)]),
    (ib_async.OrderState(initMarginAfter="150.5", equityWithLoanAfter="1.7976931348623157E308"), [UNKNOWN]),
    (ib_async.OrderState(), [UNKNOWN]),
    ([], [UNKNOWN]),  # ib_async's answer to an error
    (TimeoutError(), []),
])  # fmt: skip
def test_a_margin_that_is_not_said_is_no_margin(answer, judged):
    async def what_if(contract, order):
        if isinstance(answer, Exception):
            raise answer
        return answer

    said = []
    router = SimpleNamespace(conf=OrdersConf(margin_share=0.5), judged=lambda *a: said.append(a))
    orders = SimpleNamespace(ib=SimpleNamespace(whatIfOrderAsync=what_if), _contracts={7: None}, router=router, account="DU1", tag="t")
    orders._made = lambda order: Orders._made(orders, order)
    asyncio.run(Orders._margin(orders, OwnOrder(KEY, 7, 1, 10.0, 9.99, 1)))
    assert [a if len(a) == 3 else a[-1] for a in said] == judged


def test_prices_and_sizes_are_those_that_the_contract_allows():
    i = session([10.0], OrdersConf(ttl_s=1e9), (2.5, wants(1, 60.7, 10.0373)), (3.5, wants(-1, 0.4, 10.0, KEY + 1)), seconds=5.0)
    assert i.gateway.orders.router.grids == [Grid(((0.0, 0.01),), 1.0, 1.0)]
    assert i.orders["1000"][2:4] == (60.0, 10.03)
    assert states(i, KEY + 1) == [(REJECTED, 10.0)]


def in_lock_step(conf, seconds=20.0, left=b""):
    """What a market at full speed makes of orders. `digests`: of its tables, and of those made from what the desk was fed; `sent`: market second
    and key of each order, and of each cancel with a minus. `left`: the ledger of an earlier run."""
    sent = []

    class Noting(Orders):
        def place(self, order, transmit):
            sent.append((round(self.router.seconds() - START / 1e9, 2), order.key))
            super().place(order, transmit)

        def cancel(self, order):
            sent.append((round(self.router.seconds() - START / 1e9, 2), -order.key))
            return super().cancel(order)

    async def main():
        made = GatewayConf(speed=0.0, settle_ms=30.0, once=False, pacing=0)
        simulator, desk = Simulator(made), Desk(orders=conf)
        port = await simulator.start()
        simulator.open(MemorySource(market(seconds), SYMBOLS))
        ledger = Ledger(Disk(left))
        gateway = Gateway(
            replace(made, port=port), simulator.universe, desk, None, lock_step=True, simulated=True, ledger=lambda account: ledger, orders=conf
        )
        await gateway.connect("127.0.0.1", port)
        await gateway.wait()
        gateway.disconnect()
        await simulator.close()
        return desk, gateway.orders.router.working

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tickarrow.pipeline.gateway.Orders", Noting)
        desk, working = asyncio.run(main())
    digests = [
        [column_digest([getattr(d, name).column(c) for c in schema.names]) for name, schema in (("decisions", DECISIONS), ("orders", ORDERS), ("fills", FILLS))]
        for d in (desk, desk.replayed())
    ]
    return SimpleNamespace(desk=desk, digests=digests, sent=sent, working=working)


def test_a_market_in_lock_step_begins_with_an_order_of_an_earlier_run_that_the_gateway_does_not_know():
    disk = Disk()
    ledger, order = Ledger(disk), OwnOrder(KEY, 90000001, 1, 142.0, 10.0, 1)
    ledger.intent(order)
    order.state = SUBMITTED
    ledger.state(order)
    first, second = (in_lock_step(OrdersConf(), left=disk.data) for _ in range(2))
    assert first.working == []
    assert first.desk.fills.rows > 5
    assert first.digests[0] == first.digests[1] == second.digests[0]


@pytest.mark.filterwarnings("ignore:an order")
def test_in_lock_step_changes_and_brackets_come_out_the_same_each_time():
    conf = OrdersConf(style="passive", cross_s=3.0, profit_bp=10, stop_bp=10)
    first, second = in_lock_step(conf), in_lock_step(conf)
    assert first.desk.fills.rows > 5
    assert first.digests[0] == first.digests[1] == second.digests[0]


@pytest.mark.filterwarnings("ignore:an order")
def test_in_lock_step_orders_wait_for_their_turn_by_market_time():
    """Three symbols want an order within 0.02 s, each 4.5 s and then each 5 s. Of two requests a second one is for cancels only, so there is
    an order each half second."""
    conf = OrdersConf(requests=2, reserved=1, ttl_s=1e9)
    first, second = in_lock_step(conf), in_lock_step(conf)
    wanted = [at + 0.5 * k for at in (0.0, 4.5, 9.5, 14.5) for k in range(3)]
    assert [(round(at, 1), key) for at, key in first.sent] == [*zip(wanted, range(1, 13)), (19.5, 13)]
    assert first.sent == second.sent
    assert first.digests[0] == first.digests[1] == second.digests[0]


@pytest.mark.filterwarnings("ignore:an order")
@pytest.mark.parametrize(("seconds", "waits"), [(6.0, OrderState.INTENT), (8.0, OrderState.CANCEL_INTENT)])
def test_what_waits_for_its_turn_when_the_market_ends_ends_with_it(seconds, waits):
    i = in_lock_step(OrdersConf(style="passive", requests=1, reserved=0, ttl_s=0.5, wait_s=20.0), seconds)
    rows = list(zip(*(i.desk.orders.column(name).tolist() for name in ("key", "state"))))
    asked = {key if waits == OrderState.INTENT else -key for key, state in rows if state == waits}
    assert asked - {key for _, key in i.sent}  # they have not been sent
    ends = dict(rows)
    assert set(ends.values()) <= {FILLED, CANCELLED, REJECTED}
    assert (i.working, i.desk.act.state["working"].any()) == ([], False)
    assert i.digests[0] == i.digests[1]


def details(**more):
    given = {"validExchanges": "NYSE,SMART", "marketRuleIds": "557,26", "minTick": 0.0001, "minSize": 0.0, "sizeIncrement": 0.0} | more
    return SimpleNamespace(**given)


def test_a_grid_is_that_of_the_rule_on_smart_else_the_smallest_step():
    assert rule_number(details()) == 26
    assert rule_number(details(marketRuleIds="")) == 0
    assert grid_of(details(), ((0.0, 0.0001), (1.0, 0.01))) == Grid(((0.0, 0.0001), (1.0, 0.01)), 1.0, 1.0)
    assert grid_of(details(minSize=0.01, sizeIncrement=0.001), ()) == Grid(((0.0, 0.0001),), 0.001, 0.01)
    assert grid_of(details(minTick=0.0, sizeIncrement=1.7976931348623157e308), ()) == Grid(((0.0, 0.01),), 1.0, 1.0)
