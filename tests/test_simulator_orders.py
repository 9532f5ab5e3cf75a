"""Stops, brackets and one-cancels-all groups of the matching engine, by hand and against a twin, and what clients are told of them."""

import asyncio
import math

import naive_simulator as naive
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_simulator import Client
from test_simulator import MS, START, eventually, gateway, quote, trade

LATENCY = 50


async def traded(rows, actions, version=178, **conf):
    """Frames of a client in lock step that calls `actions[n](client)` at clock frame n, and the simulator."""
    async with gateway(rows, **conf) as (simulator, port):
        c = await Client.connect(port, "+LOCKSTEP", version=version)
        c.subscribe(10, "BAC")
        c.subscribe(11, "IBM")
        return await c.follow(lambda number: actions.get(number, lambda c: None)(c)), simulator


def run(*args, **kwargs):
    return asyncio.run(traded(*args, **kwargs))[0]


def life(seen, order_id):
    """Status changes and fills of an order: (status, why held) and (shares, price)."""
    out = []
    for f in seen:
        if f[0] == "3" and f[1] == str(order_id) and (f[2], f[10]) not in out[-1:]:
            out.append((f[2], f[10]))
        if f[0] == "11" and f[2] == str(order_id):
            out.append((float(f[19]), float(f[20])))
    return out


def bracket(c, action="BUY", quantity=100, limit=10.02, target=10.10, stop=9.90):
    other = "SELL" if action == "BUY" else "BUY"
    c.order(1, "BAC", action, quantity, limit, transmit=0)
    c.order(2, "BAC", other, quantity, target, parent=1, transmit=0)
    c.order(3, "BAC", other, quantity, stop=stop, parent=1)


RISES = [quote(0, 0, 10.0, 10.02, 500.0, 500.0), trade(100, 0, 10.01, 10.0), quote(200, 0, 10.05, 10.07, 500.0, 500.0),
         quote(300, 0, 10.10, 10.12, 500.0, 500.0), quote(400, 0, 10.2, 10.22, 500.0, 500.0)]  # fmt: skip
FALLS = [quote(0, 0, 10.0, 10.02, 500.0, 500.0), trade(100, 0, 10.01, 10.0), quote(200, 0, 9.85, 9.87, 500.0, 500.0),
         trade(300, 0, 9.91, 10.0), trade(310, 0, 9.90, 10.0), quote(400, 0, 9.8, 9.82, 500.0, 500.0)]  # fmt: skip


def test_a_bracket_takes_its_profit_and_cancels_its_stop():
    seen = run(RISES, {1: bracket})
    assert life(seen, 1) == [("PreSubmitted", ""), ("Submitted", ""), (100.0, 10.02), ("Filled", "")]
    assert life(seen, 2) == [("PreSubmitted", "child"), ("Submitted", ""), (100.0, 10.10), ("Filled", "")]
    assert life(seen, 3) == [("PreSubmitted", "child"), ("PreSubmitted", "trigger"), ("Cancelled", "")]
    orders = {f[1]: f for f in seen if f[0] == "5"}
    assert [(orders[k][15], orders[k][16], orders[k][17]) for k in "123"] == [("LMT", "10.02", "0"), ("LMT", "10.1", "0"), ("STP", "0", "9.9")]
    assert [f[7] for f in seen if f[0] == "3" and f[1] == "2"] == ["1"] * 3  # the parent


def test_a_bracket_stops_out_at_the_next_quote_when_a_trade_reaches_the_stop():
    seen = run(FALLS, {1: bracket})
    assert life(seen, 3) == [("PreSubmitted", "child"), ("PreSubmitted", "trigger"), ("Submitted", ""), (100.0, 9.85), ("Filled", "")]
    assert life(seen, 2)[-1] == ("Cancelled", "")
    at = next(i for i, f in enumerate(seen) if f[0] == "11" and f[2] == "3")
    assert next(f for f in seen[at:] if f[0] == "9001")[1] == str(START + 310 * MS)  # not at 9.91, not at the quote of 200 ms


def test_nothing_is_said_of_an_order_until_it_is_transmitted():
    def start(c):
        c.order(1, "BAC", "BUY", 100, 10.02, transmit=0)
        c.send(16, 1)

    def change(c):
        c.send(5, 1)
        c.order(1, "BAC", "BUY", 100, 10.07)

    seen = run(RISES, {1: start, 3: change})
    told = [i for i, f in enumerate(seen) if f[0] in ("3", "5", "11")]
    assert len([f for f in seen if f[0] == "53"]) == 2
    assert all(i > max(k for k, f in enumerate(seen) if f[0] == "53") for i in told)
    assert life(seen, 1) == [("PreSubmitted", ""), ("Submitted", ""), (100.0, 10.07), ("Filled", "")]


def test_children_of_a_cancelled_parent_are_cancelled():
    seen = run(RISES, {1: lambda c: bracket(c, limit=9.0, stop=8.0), 3: lambda c: c.cancel(1)})
    for k in 1, 2, 3:
        assert life(seen, k)[-1] == ("Cancelled", "")
    assert not [f for f in seen if f[0] == "11"]


def test_children_of_a_partly_filled_cancelled_parent_close_what_it_opened():
    rows = [quote(0, 0, 10.0, 10.02, 500.0, 30.0), *RISES[1:]]
    rows[2] = quote(200, 0, 10.05, 10.07, 500.0, 500.0)
    seen = run(rows, {1: bracket, 2: lambda c: c.cancel(1)})
    assert life(seen, 1) == [("PreSubmitted", ""), ("Submitted", ""), (30.0, 10.02), ("Submitted", ""), ("Cancelled", "")]
    assert life(seen, 2)[-2:] == [(30.0, 10.10), ("Filled", "")]
    assert life(seen, 3)[-1] == ("Cancelled", "")


def test_a_partly_filled_child_leaves_the_other_only_the_rest():
    rows = [*RISES[:3], quote(300, 0, 10.10, 10.12, 40.0, 500.0), quote(400, 0, 9.8, 9.82, 500.0, 500.0), trade(500, 0, 9.8, 10.0)]
    seen = run(rows, {1: bracket})
    assert (40.0, 10.10) in life(seen, 2)
    assert life(seen, 3)[-2:] == [(60.0, 9.8), ("Filled", "")]
    assert life(seen, 2)[-1] == ("Cancelled", "")


@pytest.mark.parametrize(("kind", "left"), [(1, None), (2, "70"), (3, "70")])
def test_a_fill_in_a_group_cancels_or_shrinks_the_others(kind, left):
    def both(c):
        c.order(1, "BAC", "BUY", 100, 10.02, group="g", group_type=kind)
        c.order(2, "IBM", "BUY", 100, 90.0, group="g", group_type=kind)

    rows = [quote(0, 0, 10.0, 10.05, 500.0, 30.0), quote(0, 1, 100.0, 100.1), quote(200, 0, 10.0, 10.02, 500.0, 30.0), quote(400, 0, 10.0, 10.03)]
    seen = run(rows, {2: both})
    statuses = [f for f in seen if f[0] == "3" and f[1] == "2"]
    if left is None:
        assert life(seen, 2)[-1] == ("Cancelled", "")
        assert next(i for i, f in enumerate(seen) if f[0] == "3" and f[1] == "2" and f[2] == "Cancelled") < len(seen) - 4
    else:
        assert statuses[-2][4] == left


def test_a_stop_limit_order_rests_at_its_limit():
    rows = [*FALLS, quote(600, 0, 9.95, 9.97, 500.0, 500.0)]
    seen = run(rows, {1: lambda c: c.order(1, "BAC", "SELL", 100, 9.95, stop=9.90)})
    assert life(seen, 1) == [("PreSubmitted", ""), ("PreSubmitted", "trigger"), ("Submitted", ""), (100.0, 9.95), ("Filled", "")]


def test_a_stop_that_the_market_has_passed_starts_at_once():
    seen = run(FALLS, {2: lambda c: c.order(1, "BAC", "BUY", 100, stop=10.0)})
    assert life(seen, 1)[:3] == [("PreSubmitted", ""), ("Submitted", ""), (100.0, 10.02)]


def test_a_waiting_stop_and_a_held_child_can_be_changed():
    def change(c):
        c.order(3, "BAC", "SELL", 100, stop=9.86, parent=1)
        c.order(2, "BAC", "SELL", 100, 10.05, parent=1)

    seen = run(FALLS, {1: lambda c: bracket(c, limit=9.87), 2: change})
    orders = {f[1]: f for f in seen if f[0] == "5"}
    assert (orders["3"][17], orders["2"][16]) == ("9.86", "10.05")
    assert life(seen, 1)[-1] == ("Filled", "")
    assert not [f for f in seen if f[0] == "11" and f[2] != "1"]  # trades reach 9.90 only


def test_what_cannot_be_is_refused():
    def wrong(c):
        c.order(1, "BAC", "BUY", 100, 9.0, parent=77)
        c.order(1, "BAC", "SELL", 100, stop=9.905)
        c.order(1, "BAC", "SELL", 100, 9.9, _37="20131008 15:00:00")
        c.order(1, "BAC", "SELL", 100, 9.9, _82="Adaptive")
        c.order(1, "BAC", "SELL", 100, 9.9, _18="TRAIL")

    errors = [f[3:5] for f in run(RISES, {1: wrong}) if f[0] == "4"]
    assert errors == [
        ["135", "Can't find order with id = 77"],
        ["110", "The price does not conform to the minimum price variation for this contract."],
        *(["387", f"Unsupported order type for this exchange and security type: {what} DAY. Send LMT, MKT, STP, STP LMT; DAY, GTC, IOC, FOK."]
          for what in ("LMT with goodAfterTime", "LMT with algo", "TRAIL")),
    ]  # fmt: skip


def test_what_if_answers_and_places_nothing():
    seen, simulator = asyncio.run(traded(RISES, {1: lambda c: c.order(9, "BAC", "BUY", 1000, what_if=1)}))
    answer = next(f for f in seen if f[0] == "5")
    assert answer[1] == "9"
    assert simulator.counts()["orders"] == 0
    assert "5" in answer  # 1,000 shares at 0.005 each


def test_what_if_tells_margin_and_equity_before_and_after():
    def buy(c):
        c.order(1, "BAC", "BUY", 100, 10.02)

    # bought at 10.02; the second order adds 100 at 10.10, the third turns the position
    def ask(c):
        c.order(8, "BAC", "BUY", 100, 10.10, what_if=1)
        c.order(9, "BAC", "SELL", 300, 10.00, what_if=1)

    seen = run(RISES, {1: buy, 3: ask}, cash=10_000.0)
    for order_id, after in (("8", 0.25 * 200 * 10.10), ("9", 0.25 * 200 * 10.00)):
        f = next(f for f in seen if f[0] == "5" and f[1] == order_id)
        at = f.index("PreSubmitted") + 1
        numbers = [float(x) for x in f[at : at + 10]]
        assert numbers == pytest.approx([250.5, 250.5, 10_000.0, after - 250.5, after - 250.5, -numbers[9], after, after, 10_000.0 - numbers[9], numbers[9]])


def test_all_or_nothing_at_once():
    def orders(c):
        c.order(1, "BAC", "BUY", 600, 10.02, tif="FOK")  # 500 are offered
        c.order(2, "BAC", "BUY", 400, 10.02, tif="FOK")
        c.order(3, "BAC", "BUY", 400, 10.02, tif="IOC")

    seen = run(RISES, {1: orders})
    assert [life(seen, k)[-1][0] for k in (1, 2, 3)] == ["Cancelled", "Filled", "Cancelled"]
    assert [(float(f[19]), f[2]) for f in seen if f[0] == "11"] == [(400.0, "2"), (100.0, "3")]


def test_a_market_rule_tells_the_price_steps():
    def ask(c):
        c.send(91, 26)
        c.send(91, 27)

    seen = run(RISES, {1: ask})
    assert next(f for f in seen if f[0] == "93") == ["93", "26", "1", "0", "0.01"]
    assert next(f for f in seen if f[0] == "4" and "market rule" in f[4])[3:5] == ["321", "Error validating request: market rule 27 is not known"]


def test_done_orders_are_told_on_request():
    async def main():
        async with gateway([quote(0, 0, 10.0, 10.02)]) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            await c.until("1", matching=lambda f: f[3] == "2")
            c.order(1, "BAC", "BUY", 100, 10.05, ref="a")
            await c.until("59")
            c.order(2, "BAC", "BUY", 100, 9.0, ref="b")
            c.order(3, "BAC", "BUY", 100, 9.0, ref="c", transmit=0)
            c.cancel(2)
            await c.error(202)
            c.send(99, 1)
            done = [f for f in await c.until("102") if f[0] == "101"]
            assert [(f[2], f[12], f[13], f[22]) for f in done] == [("BAC", "BUY", "100", "a"), ("BAC", "BUY", "100", "b")]
            assert [f[-6] for f in done] == ["Filled Size: 100", "Cancelled by Trader"]
            for name, n in ("since the day after", 0), ("BOT", 1), ("SLD", 0):
                since = "20131009 00:00:00 UTC" if n == 0 and name != "SLD" else ""
                c.send(7, 3, 5, 0, "", since, "BAC", "STK", "", name if len(name) == 3 else "")
                assert len([f for f in await c.until("55") if f[0] == "11"]) == n
            c.send(7, 3, 5, 0, "", "yesterday", "", "", "", "")
            assert "time 'yesterday'" in await c.error(321)

    asyncio.run(main())


prices = st.integers(990, 1010).map(lambda k: k / 100)
event = st.one_of(
    st.tuples(st.just("quote"), prices, st.sampled_from([100.0, 300.0])),
    st.tuples(st.just("trade"), prices, st.just(10.0)),
)
stop_order = st.tuples(st.integers(1, 20), st.sampled_from([1, -1]), st.sampled_from([100, 250]), prices, st.one_of(st.none(), prices))


@settings(max_examples=25)
@given(st.lists(event, min_size=5, max_size=20), st.lists(stop_order, max_size=5, unique_by=lambda o: o[0]))
def test_stops_fill_as_their_definition_says(events, orders):
    rows = [quote(0, 0, 10.0, 10.02)]
    for k, (what, p, size) in enumerate(events, 1):
        rows.append(quote(100 * k, 0, p, round(p + 0.02, 2), size, size) if what == "quote" else trade(100 * k, 0, p, size))
    actions, sent = {}, []
    for k, (at, side, quantity, stop, limit) in enumerate(sorted(orders), 1):
        def place(c, k=k, side=side, quantity=quantity, stop=stop, limit=limit):
            c.order(k, "BAC", "BUY" if side > 0 else "SELL", quantity, limit, stop=stop)

        if at <= len(rows):
            actions[at] = place
            sent.append((rows[at - 1][0] + LATENCY * MS, "order", k, 0, side, quantity, limit, stop))
    seen = run(rows, actions)
    fills, states = naive.match(rows, sent)
    got = [(int(f[2]), float(f[20]), float(f[19])) for f in seen if f[0] == "11"]
    assert got == [x[:3] for x in fills]
    assert {int(f[1]): (f[2], float(f[3])) for f in seen if f[0] == "3"} == states
    assert not math.isnan(sum(x[1] for x in got))


def test_a_client_cancels_its_own_orders_only_and_any_client_ends_all():
    """As IBKR: cancelOrder is for orders of the same client id, also of client 0 and of the master, who is told of all; reqGlobalCancel is for all."""
    import ib_async

    async def main():
        rows = [quote(t, 0, 10.0, 10.02, 500.0, 500.0) for t in (0, 60_000)]
        async with gateway(rows, speed=1.0, once=False, latency_ms=1.0, master_client_id=9) as (_, port):
            clients, errors = {}, {}
            for number in (0, 1, 2, 9):
                ib = clients[number] = ib_async.IB()
                errors[number] = []
                ib.errorEvent += lambda req, code, text, contract, to=errors[number]: to.append((req, code))
                await ib.connectAsync("127.0.0.1", port, clientId=number, timeout=5)
            await clients[1].qualifyContractsAsync(bac := ib_async.Stock("BAC", "SMART", "USD"))
            clients[1].reqMktData(bac)
            mine = [clients[1].placeOrder(bac, ib_async.LimitOrder("BUY", 100, 9.0 + n)) for n in (0, 0.5)]
            def heard():
                return [t.orderStatus.status for t in clients[9].trades() if t.order.clientId == 1]

            await eventually(lambda: heard() == ["Submitted", "Submitted"])  # the master is told
            assert [t.orderStatus.status for t in mine] == ["Submitted", "Submitted"]
            assert not clients[2].trades()
            for other in (0, 2, 9):
                clients[other].client.cancelOrder(mine[0].order.orderId, "")
            clients[2].client.reqAutoOpenOrders(True)
            await eventually(lambda: all((mine[0].order.orderId, 10147) in errors[n] for n in (0, 2, 9)) and (-1, 321) in errors[2])
            assert (-1, 321) not in errors[0]
            assert [t.orderStatus.status for t in mine] == ["Submitted", "Submitted"]
            clients[2].reqGlobalCancel()
            await eventually(lambda: heard() == ["Cancelled", "Cancelled"])
            assert [t.orderStatus.status for t in mine] == ["Cancelled", "Cancelled"]
            for ib in clients.values():
                ib.disconnect()

    asyncio.run(main())
