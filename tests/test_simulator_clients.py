"""Unmodified ib_async and the official ibapi on the simulated gateway: connect, subscribe, ask for the past, trade a bracket, survive a restart."""

import asyncio
import contextlib
import logging
import threading
from collections import defaultdict
from datetime import timedelta

import ib_async
import pytest
from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.wrapper import EWrapper
from test_simulate import simulate
from test_simulator import MemorySource, connected, eventually, gateway, quote, trade

OPEN = {"historical_identical_s": 0, "historical_per_2s": 0, "tick_by_tick_s": 0}


@pytest.fixture(autouse=True)
def _everything_is_decoded(caplog):
    """No message of the gateway is one that a client cannot read: both log that and go on."""
    yield
    assert not [r for r in caplog.get_records("call") if r.name.startswith(("ib_async.decoder", "ibapi")) and r.levelno >= logging.WARNING]


def market(turn_s=float("inf")):
    """Two symbols that trade every 100 ms for ten minutes; at `turn_s` BAC rises by ten cents."""
    rows = []
    for k in range(6000):
        up = 0.1 if k * 100 >= turn_s * 1000 else 0.0
        size = 100.0 * (1 + k % 5) + 0.5 * (k % 7 == 0)
        rows += [quote(100 * k, 0, round(10.0 + up, 2), round(10.02 + up, 2), size, 300.0), quote(100 * k + 10, 1, 180.0, 180.05 + k % 3 / 100)]
        rows += [trade(100 * k + 50, 0, round(10.01 + up, 2), size), trade(100 * k + 60, 1, 180.02, 100.0)]
    return MemorySource(rows)


class App(EClient, EWrapper):
    """The official client; every call of its wrapper is kept."""

    def __init__(self):
        EClient.__init__(self, self)
        self.calls = defaultdict(list)


def _kept(name):
    def method(self, *args):
        self.calls[name].append(args)

    return method


for _name in dir(EWrapper):
    if not _name.startswith("_") and callable(getattr(EWrapper, _name)):
        setattr(App, _name, _kept(_name))


async def official(port, client_id=1):
    """A connected official client that reads in a thread of its own."""
    app = App()
    await asyncio.to_thread(app.connect, "127.0.0.1", port, client_id)
    if not app.isConnected():
        raise ConnectionError
    app.thread = threading.Thread(target=app.run, daemon=True)
    app.thread.start()
    await eventually(lambda: app.calls["nextValidId"] and app.calls["managedAccounts"])
    return app


async def hang_up(app):
    app.disconnect()
    await asyncio.to_thread(app.thread.join, 5)
    assert not app.thread.is_alive()


def stock(symbol):
    c = Contract()
    c.symbol, c.secType, c.exchange, c.currency = symbol, "STK", "SMART", "USD"
    return c


def order(action, quantity, kind, price, parent=0, transmit=True, tif="DAY", ref=""):
    o = Order()
    o.action, o.totalQuantity, o.orderType, o.parentId, o.transmit, o.tif, o.orderRef = action, quantity, kind, parent, transmit, tif, ref
    if kind == "STP":
        o.auxPrice = price
    elif kind == "LMT":
        o.lmtPrice = price
    return o


def serious(errors):
    """Error codes that are no news of farms."""
    return [e[1] for e in errors if not 2100 <= e[1] < 2200]


def test_ib_async_asks_for_everything():
    async def main():
        async with gateway(market(), speed=20.0, **OPEN) as (simulator, port):
            ib, errors = await connected(port)
            bac, ibm = ib_async.Stock("BAC", "SMART", "USD"), ib_async.Stock("IBM", "SMART", "USD")
            await ib.qualifyContractsAsync(bac, ibm)
            ticker, other = ib.reqMktData(bac), ib.reqMktData(ibm)
            await eventually(lambda: ticker.bid == 10.0 and ticker.last == 10.01 and other.ask > 180)
            await eventually(lambda: ticker.high == 10.01 and ticker.low == 10.01 and ticker.open == 10.01 and ticker.lastTimestamp)
            ib.reqMarketDataType(3)
            assert (await ib.reqTickersAsync(ibm))[0].marketDataType == 1
            deep, smart = ib.reqMktDepth(bac, numRows=3), ib.reqMktDepth(ibm, numRows=4, isSmartDepth=True)
            await eventually(lambda: len(deep.domBids) == 3 and len(smart.domAsks) == 4)
            assert [level.price for level in deep.domAsks] == [10.02, 10.03, 10.04]
            assert {level.marketMaker for level in smart.domAsks} <= {"SIM", "ARCA", "BATS", "NSDQ"}
            ib.reqTickByTickData(bac, "AllLast")
            ib.reqTickByTickData(bac, "BidAsk")
            ib.reqTickByTickData(bac, "MidPoint")
            kinds = set()
            ib.pendingTickersEvent += lambda ts: kinds.update(type(x).__name__ for t in ts for x in t.tickByTicks)
            await eventually(lambda: kinds >= {"TickByTickAllLast", "TickByTickBidAsk"})
            real = ib.reqRealTimeBars(bac, 5, "TRADES", False)
            await eventually(lambda: len(real) >= 2)
            assert (real[1].open_, real[1].high) == (10.01, 10.01)
            assert (real[1].time - real[0].time).total_seconds() == 5
            bars = await ib.reqHistoricalDataAsync(bac, "", "60 S", "5 secs", "TRADES", False, 2)
            assert bars[0].close == 10.01
            assert bars[0].barCount == 50
            assert bars[0].date.year == 2013
            days = await ib.reqHistoricalDataAsync(bac, "", "1 D", "1 day", "BID_ASK", True, 1)
            assert str(days[0].date) == "2013-10-08"
            kept = await ib.reqHistoricalDataAsync(bac, "", "60 S", "5 secs", "MIDPOINT", False, 2, keepUpToDate=True)
            updates = []
            kept.updateEvent += lambda bars, new: updates.append(new)
            await eventually(lambda: True in updates)
            ib.cancelHistoricalData(kept)
            assert (await ib.reqHeadTimeStampAsync(bac, "TRADES", False, 2)).year == 2013
            trades = await ib.reqHistoricalTicksAsync(bac, "20131008 14:00:00 UTC", "", 5, "TRADES", False)
            assert [t.price for t in trades][:5] == [10.01] * 5
            assert trades[0].size == 100.5
            assert len(trades) == 10  # all of the second
            quotes = await ib.reqHistoricalTicksAsync(bac, "", trades[-1].time + timedelta(seconds=2), 5, "BID_ASK", False)
            assert quotes[-1].priceBid == 10.0
            assert (await ib.reqHistoricalTicksAsync(bac, "20131008 14:00:00 UTC", "", 5, "MIDPOINT", False))[0].price == 10.01
            for cancel in (lambda: ib.cancelMktDepth(bac), lambda: ib.cancelMktDepth(ibm, True), lambda: ib.cancelRealTimeBars(real),
                           lambda: ib.cancelTickByTickData(bac, "BidAsk"), lambda: ib.cancelMktData(ibm)):  # fmt: skip
                cancel()
            await ib.reqCurrentTimeAsync()
            assert set(serious(errors)) <= {162}  # the cancelled historical request
            assert simulator.bad_frames == simulator.unknown_requests == 0
            ib.disconnect()

    asyncio.run(main())


def test_ibapi_asks_for_everything():
    async def main():
        async with gateway(market(), speed=20.0, **OPEN) as (simulator, port):
            app = await official(port)
            calls = app.calls
            assert app.serverVersion() == 157
            app.reqContractDetails(1, stock("BAC"))
            await eventually(lambda: calls["contractDetailsEnd"])
            assert (calls["contractDetails"][0][1].minTick, calls["contractDetails"][0][1].stockType) == (0.01, "COMMON")
            for k, symbol in (11, "BAC"), (12, "IBM"):
                app.reqMktData(k, stock(symbol), "", False, False, [])
            await eventually(lambda: {a[1] for a in calls["tickPrice"]} >= {1, 2, 4, 6, 7, 9, 14})
            assert {a[1] for a in calls["tickSize"]} >= {0, 3, 5, 8}
            assert (11, 1) in calls["marketDataType"]
            assert (11, 49, 0.0) in calls["tickGeneric"]
            await eventually(lambda: calls["tickString"])
            app.reqMarketDataType(3)
            app.reqMktData(13, stock("IBM"), "", True, False, [])
            await eventually(lambda: (13,) in calls["tickSnapshotEnd"])
            app.reqMktDepth(21, stock("BAC"), 3, False, [])
            app.reqMktDepth(22, stock("BAC"), 3, True, [])
            await eventually(lambda: len(calls["updateMktDepth"]) >= 6 and len(calls["updateMktDepthL2"]) >= 6)
            for k, kind in (31, "Last"), (32, "BidAsk"), (33, "MidPoint"):
                app.reqTickByTickData(k, stock("BAC"), kind, 0, False)
            await eventually(lambda: calls["tickByTickAllLast"] and calls["tickByTickBidAsk"])
            app.reqRealTimeBars(41, stock("BAC"), 5, "TRADES", False, [])
            await eventually(lambda: calls["realtimeBar"])
            app.reqHistoricalData(42, stock("BAC"), "", "60 S", "5 secs", "TRADES", 0, 2, False, [])
            app.reqHistoricalData(43, stock("BAC"), "", "60 S", "10 secs", "BID", 0, 1, True, [])
            await eventually(lambda: calls["historicalDataEnd"] and calls["historicalDataUpdate"])
            assert calls["historicalData"][0][1].barCount == 50
            app.cancelHistoricalData(43)
            app.reqHeadTimeStamp(44, stock("BAC"), "TRADES", 0, 1)
            await eventually(lambda: calls["headTimestamp"])
            assert calls["headTimestamp"][0] == (44, "20131008 14:00:00 UTC")
            for k, what in (45, "TRADES"), (46, "BID_ASK"), (47, "MIDPOINT"):
                app.reqHistoricalTicks(k, stock("BAC"), "20131008 14:00:00 UTC", "", 5, what, 0, False, [])
            await eventually(lambda: calls["historicalTicks"] and calls["historicalTicksBidAsk"] and calls["historicalTicksLast"])
            (_, ticks, done), (_, quotes, _) = calls["historicalTicksLast"][0], calls["historicalTicksBidAsk"][0]
            assert (ticks[0].size, ticks[0].price, done) == (100, 10.01, True)
            assert (quotes[0].priceAsk, quotes[0].sizeAsk) == (10.02, 300)
            app.reqCurrentTime()
            app.reqPositions()
            app.reqAccountUpdates(True, "")
            app.reqIds(1)
            await eventually(lambda: calls["currentTime"] and calls["positionEnd"] and calls["accountDownloadEnd"])
            for cancel in (lambda: app.cancelMktDepth(21, False), lambda: app.cancelMktDepth(22, True), lambda: app.cancelRealTimeBars(41),
                           lambda: app.cancelTickByTickData(31), lambda: app.cancelMktData(12)):  # fmt: skip
                cancel()
            app.reqMktData(99, stock("NONE"), "", False, False, [])
            await eventually(lambda: any(e[1] == 200 for e in calls["error"]))
            assert set(serious(calls["error"])) == {162, 200}
            await hang_up(app)
            assert simulator.bad_frames == simulator.unknown_requests == 0

    asyncio.run(main())


def test_ib_async_trades_a_bracket():
    async def main():
        async with gateway(market(turn_s=20.0), speed=20.0, settle_ms=200.0) as (simulator, port):
            ib, errors = await connected(port)
            bac = ib_async.Stock("BAC", "SMART", "USD")
            await ib.qualifyContractsAsync(bac)
            held = []
            ib.orderStatusEvent += lambda t: held.append((t.order.orderId, t.orderStatus.status, t.orderStatus.whyHeld))
            bracket = ib.bracketOrder("BUY", 200, 10.05, 10.10, 9.90)
            parent, target, stop = (ib.placeOrder(bac, o) for o in bracket)  # the market opens now
            ib.reqMktData(bac)
            await eventually(lambda: parent.orderStatus.status == "Filled")
            await eventually(lambda: target.orderStatus.status == "Filled")
            await eventually(lambda: stop.orderStatus.status == "Cancelled")
            assert (stop.order.orderId, "PreSubmitted", "child") in held
            assert (stop.order.orderId, "PreSubmitted", "trigger") in held
            assert sum(f.execution.shares * f.execution.price for f in target.fills) == pytest.approx(200 * 10.10)
            await eventually(lambda: sum(f.commissionReport.realizedPNL for f in target.fills) > 200 * 0.05 - 5)
            done = await ib.reqCompletedOrdersAsync(False)
            assert sorted(t.orderStatus.status for t in done) == ["Cancelled", "Filled", "Filled"]
            assert set(serious(errors)) <= {202}
            assert simulator.counts()["rejected"] == 0
            ib.disconnect()

    asyncio.run(main())


def test_ibapi_trades_a_bracket():
    async def main():
        async with gateway(market(turn_s=20.0), speed=20.0, settle_ms=200.0) as (simulator, port):
            app = await official(port)
            calls = app.calls
            first = calls["nextValidId"][0][0]
            app.placeOrder(first, stock("BAC"), order("BUY", 200, "LMT", 10.05, transmit=False, ref="b"))
            app.placeOrder(first + 1, stock("BAC"), order("SELL", 200, "LMT", 10.10, parent=first, transmit=False))
            app.reqCurrentTime()
            await eventually(lambda: calls["currentTime"])
            assert not calls["openOrder"]  # nothing is said of what is not transmitted
            app.placeOrder(first + 2, stock("BAC"), order("SELL", 200, "STP", 9.90, parent=first))
            app.reqMktData(11, stock("BAC"), "", False, False, [])

            def last(k):
                return [a[1] for a in calls["orderStatus"] if a[0] == first + k][-1:]

            await eventually(lambda: (last(0), last(1), last(2)) == (["Filled"], ["Filled"], ["Cancelled"]), 10)
            shares = sum(e[2].shares * e[2].price for e in calls["execDetails"] if e[2].orderId == first + 1)
            assert shares == pytest.approx(200 * 10.10)
            assert any(a[1] == "PreSubmitted" and a[9] == "trigger" and a[6] == first for a in calls["orderStatus"] if a[0] == first + 2)
            opened = {a[0]: a[2] for a in calls["openOrder"]}
            assert (opened[first].orderRef, opened[first + 1].parentId, opened[first + 2].auxPrice, opened[first + 2].orderType) == ("b", first, 9.90, "STP")
            await eventually(lambda: len(calls["commissionReport"]) == len(calls["execDetails"]))
            what_if = order("BUY", 1000, "LMT", 10.0)
            what_if.whatIf = True
            app.placeOrder(first + 3, stock("BAC"), what_if)
            await eventually(lambda: any(a[0] == first + 3 and a[3].commission == 5.072 for a in calls["openOrder"]))
            app.reqCompletedOrders(False)
            app.reqExecutions(7, ExecutionFilter())
            app.reqOpenOrders()
            await eventually(lambda: calls["completedOrdersEnd"] and calls["execDetailsEnd"] and calls["openOrderEnd"])
            assert sorted(a[2].status for a in calls["completedOrder"]) == ["Cancelled", "Filled", "Filled"]
            assert calls["completedOrder"][0][1].filledQuantity == 200
            assert set(serious(calls["error"])) == {202}
            assert simulator.counts()["rejected"] == 0
            await hang_up(app)

    asyncio.run(main())


def test_ib_async_survives_a_restart():
    async def main():
        async with gateway(market(), speed=20.0) as (simulator, port):
            ib, _ = await connected(port)
            bac = ib_async.Stock("BAC", "SMART", "USD")
            await ib.qualifyContractsAsync(bac)
            ticker = ib.reqMktData(bac)
            await eventually(lambda: ticker.ask == 10.02)
            buy = ib.placeOrder(bac, ib_async.MarketOrder("BUY", 100))
            rest = ib.placeOrder(bac, ib_async.LimitOrder("SELL", 100, 11.0, tif="GTC", orderRef="stays"))
            await eventually(lambda: buy.orderStatus.status == "Filled" and rest.orderStatus.status == "Submitted")
            lost = []
            ib.disconnectedEvent += lambda: lost.append(True)
            simulator.restart(0.1, 1)
            await eventually(lambda: lost)
            for _ in range(50):
                with contextlib.suppress(OSError, TimeoutError):
                    await ib.connectAsync("127.0.0.1", port, clientId=1, timeout=2)
                    break
                await asyncio.sleep(0.05)
            assert [(p.contract.symbol, p.position) for p in ib.positions()] == [("BAC", 100.0)]
            kept = next(t for t in ib.openTrades() if t.order.orderRef == "stays")
            assert kept.order.permId == rest.order.permId
            assert [f.execution.shares for f in await ib.reqExecutionsAsync()] == [100.0]
            again = ib.reqMktData(bac)
            await eventually(lambda: again.bid >= 10.0)
            ib.cancelOrder(kept.order)
            await eventually(lambda: kept.orderStatus.status == "Cancelled")
            ib.disconnect()

    asyncio.run(main())


def test_ibapi_survives_a_restart():
    async def main():
        async with gateway(market(), speed=20.0) as (simulator, port):
            app = await official(port)
            app.reqMktData(11, stock("BAC"), "", False, False, [])
            await eventually(lambda: any(a[1] == 2 for a in app.calls["tickPrice"]))
            app.placeOrder(1, stock("BAC"), order("BUY", 100, "MKT", 0))
            app.placeOrder(2, stock("BAC"), order("SELL", 100, "LMT", 11.0, tif="GTC", ref="stays"))
            await eventually(lambda: {(a[0], a[1]) for a in app.calls["orderStatus"]} >= {(1, "Filled"), (2, "Submitted")})
            simulator.restart(0.1, 1)
            await eventually(lambda: app.calls["connectionClosed"])
            await asyncio.to_thread(app.thread.join, 5)
            again = None
            for _ in range(50):
                with contextlib.suppress(OSError):
                    again = await official(port)
                    break
                await asyncio.sleep(0.05)
            assert again is not None
            again.reqAllOpenOrders()
            again.reqPositions()
            again.reqExecutions(3, ExecutionFilter())
            await eventually(lambda: again.calls["openOrderEnd"] and again.calls["positionEnd"] and again.calls["execDetailsEnd"])
            assert [(a[1].symbol, a[2]) for a in again.calls["position"]] == [("BAC", 100.0)]
            assert [a[2].orderRef for a in again.calls["openOrder"]] == ["stays"]
            assert [a[2].shares for a in again.calls["execDetails"]] == [100.0]
            again.reqMktData(12, stock("BAC"), "", False, False, [])
            await eventually(lambda: any(a[1] == 1 for a in again.calls["tickPrice"]))
            again.cancelOrder(2)
            await eventually(lambda: any(a[:2] == (2, "Cancelled") for a in again.calls["orderStatus"]))
            await hang_up(again)

    asyncio.run(main())


def prices(bid, ask):
    """Limit, profit and stop prices that a bracket of a few shares fills at once at this quote: in, and out again."""
    return round(ask + 0.05, 2), round(bid - 0.05, 2), round(bid - 5.0, 2)


async def ib_async_session(port):
    """Subscribe, trade a bracket, leave an order, lose the connection, come back and find it."""
    ib, errors = await connected(port, 1)
    aaa, bbb = await ib.qualifyContractsAsync(*(ib_async.Stock(s, "SMART", "USD") for s in ("AAA", "BBB")))
    ticker, other = ib.reqMktData(aaa), ib.reqMktData(bbb)
    await eventually(lambda: ticker.bid > 0 and ticker.ask > 0 and other.bid > 0)
    limit, target, stop = prices(ticker.bid, ticker.ask)
    trades = [ib.placeOrder(aaa, o) for o in ib.bracketOrder("BUY", 10, limit, target, stop)]
    keep = ib.placeOrder(bbb, ib_async.LimitOrder("BUY", 10, round(other.bid / 2, 2), tif="GTC", orderRef="stays"))
    await eventually(lambda: [t.orderStatus.status for t in trades] == ["Filled", "Filled", "Cancelled"])
    await eventually(lambda: keep.orderStatus.status == "Submitted")
    await eventually(lambda: not ib.isConnected(), 20)
    for _ in range(100):
        with contextlib.suppress(OSError, TimeoutError):
            await ib.connectAsync("127.0.0.1", port, clientId=1, timeout=2)
            break
        await asyncio.sleep(0.05)
    (found,) = (t for t in ib.openTrades() if t.order.orderRef == "stays")
    assert found.order.permId == keep.order.permId
    assert len(await ib.reqExecutionsAsync(ib_async.ExecutionFilter(clientId=1))) >= 2
    ticker = ib.reqMktData(aaa)
    await eventually(lambda: ticker.bid > 0)
    ib.cancelOrder(found.order)
    await eventually(lambda: found.orderStatus.status == "Cancelled")
    assert set(serious(errors)) <= {202, 1100, 1300}
    ib.disconnect()


async def ibapi_session(port):
    """The same with the official client."""
    app = await official(port, 2)
    for k, symbol in (11, "AAA"), (12, "BBB"):
        app.reqMktData(k, stock(symbol), "", False, False, [])

    def price(req, tick):
        return [a[2] for a in app.calls["tickPrice"] if a[:2] == (req, tick)][-1:]

    await eventually(lambda: price(11, 1) and price(11, 2) and price(12, 1))
    limit, target, stop = prices(price(11, 1)[0], price(11, 2)[0])
    app.placeOrder(1, stock("AAA"), order("BUY", 10, "LMT", limit, transmit=False))
    app.placeOrder(2, stock("AAA"), order("SELL", 10, "LMT", target, parent=1, transmit=False))
    app.placeOrder(3, stock("AAA"), order("SELL", 10, "STP", stop, parent=1))
    app.placeOrder(4, stock("BBB"), order("BUY", 10, "LMT", round(price(12, 1)[0] / 2, 2), tif="GTC", ref="stays too"))
    done = {(1, "Filled"), (2, "Filled"), (3, "Cancelled"), (4, "Submitted")}
    await eventually(lambda: {a[:2] for a in app.calls["orderStatus"]} >= done)
    await eventually(lambda: app.calls["connectionClosed"], 20)
    await asyncio.to_thread(app.thread.join, 5)
    for _ in range(100):
        with contextlib.suppress(OSError):
            app = await official(port, 2)
            break
        await asyncio.sleep(0.05)
    app.reqOpenOrders()
    app.reqExecutions(3, ExecutionFilter())
    await eventually(lambda: app.calls["openOrderEnd"] and app.calls["execDetailsEnd"])
    assert [(a[0], a[2].orderRef) for a in app.calls["openOrder"]] == [(4, "stays too")]
    assert {e[2].orderId for e in app.calls["execDetails"]} >= {1, 2}
    app.reqMktData(13, stock("AAA"), "", False, False, [])
    await eventually(lambda: any(a[0] == 13 for a in app.calls["tickPrice"]))
    app.cancelOrder(4)
    await eventually(lambda: any(a[:2] == (4, "Cancelled") for a in app.calls["orderStatus"]))
    await hang_up(app)


def test_both_clients_trade_and_come_back_on_the_command(tmp_path):
    async def main(port):
        await asyncio.gather(ib_async_session(port), ibapi_session(port))

    with simulate("gateway.speed=20", "gateway.faults=[{kind: restart, at_s: 100, for_s: 4}]", cwd=tmp_path) as said:
        asyncio.run(main(said.port))
    assert said.code == 0, said.err
    assert "restart" in said.err
