"""Every message of the simulated gateway at the server versions that clients negotiate, read by the decoders of ib_async and ibapi."""

import asyncio
import logging

import ib_async
import ibapi.decoder
import ibapi.wrapper
import pytest
from ib_async.decoder import Decoder
from naive_simulator import Client, frames, stock
from test_simulator import MemorySource, gateway, quote, trade

VERSIONS = [157, 163, 166, 178]
CONF = {"historical_identical_s": 0, "historical_per_2s": 0, "tick_by_tick": 0, "tick_by_tick_s": 0, "pacing": 0}
ROWS = [
    quote(0, 0, 10.0, 10.02, 300.5, 500.0), trade(50, 0, 10.01, 100.5), quote(100, 0, 10.01, 10.03, 300.5, 250.0), trade(150, 0, 10.02, 0.25),
    quote(400, 1, 180.0, 180.5), quote(5200, 0, 10.05, 10.07, 200.0, 100.0), trade(5300, 0, 10.05, 30.0), quote(10400, 0, 10.1, 10.12, 500.0, 500.0),
]  # fmt: skip


def requests(c):
    c.send(9, 8, 3, *stock("BAC"), 0, "", "", *([""] if c.greeting[0] == "178" else []))
    for k, kind in enumerate(("Last", "AllLast", "BidAsk", "MidPoint")):
        c.tick_by_tick(10 + k, "BAC", kind)
    c.subscribe(20, "BAC")
    c.subscribe(21, "IBM", snapshot=True)
    c.depth(22, "BAC", rows=3)
    c.depth(23, "BAC", rows=3, smart=1)
    c.send(50, 3, 24, *stock("BAC"), 5, "TRADES", 0, "")
    for message in (5, 1), (16, 1), (17, 1), (61, 1), (99, 0), (6, 2, 1, ""), (7, 3, 30, 0, *[""] * 6), (8, 1, 1), (62, 1, 31, "All", "x"):
        c.send(*message)
    c.send(76, 1, 32, "", "", 1)
    c.subscribe(99, "NONE")
    c.send(49, 1)


def trades(c, late):
    c.order(1, "BAC", "BUY", 100, 10.05, transmit=0)
    c.order(2, "BAC", "SELL", 100, 10.10, parent=1, transmit=0)
    c.order(3, "BAC", "SELL", 100, stop=9.90, parent=1)
    c.order(4, "BAC", "BUY", 100, 9.0, group="g", **{f"_{46 + late}": 1, f"_{84 + late}": ""})
    c.order(5, "BAC", "BUY", 100, 9.0, **{"_84": "", f"_{84 + late}": 1})
    c.order(6, "IBM", "BUY", 50)
    c.cancel(4)


def past(c):
    c.bars(40, "BAC", "60 S", "5 secs", kept=1)
    c.bars(41, "BAC", "60 S", "5 secs", what="BID_ASK", form=1)
    for k, what in enumerate(("TRADES", "BID_ASK", "MIDPOINT")):
        c.ticks(42 + k, "BAC", 5, what=what, start="20131008 14:00:00 UTC")
    c.send(87, 45, *stock("BAC"), 0, 0, "TRADES", 2)


async def session(version):
    """Every frame that a client in lock step gets, which asks for all there is, and what it asks at the end."""
    async with gateway(MemorySource(ROWS), **CONF) as (simulator, port):
        c = await Client.connect(port, "+LOCKSTEP", version=version)
        requests(c)
        await c.until("49")
        c.send(9002, 0)
        while (f := await c.next())[0] != "9003":
            if f[0] == "9001":
                {2: lambda: trades(c, int(version < 177)), 4: lambda: past(c)}.get(int(f[2]), lambda: None)()
                c.send(9002, f[2])
        for message in (5, 1), (61, 1), (99, 0), (7, 3, 30, 0, *[""] * 6), (49, 1):
            c.send(*message)
        await c.until("49")
        assert simulator.bad_frames == simulator.unknown_requests == 0
        return [f for f in frames(bytes(c.received))[0][1:] if int(f[0]) < 9000]


@pytest.fixture(scope="module")
def said():
    return {v: asyncio.run(session(v)) for v in VERSIONS}


class Calls:
    """A wrapper that keeps what is called."""

    def __init__(self):
        self.calls = []
        self.ib = ib_async.IB()
        self.defaultTimezone = None

    def __getattr__(self, name):
        return lambda *args: self.calls.append((name, *args))


ALL = {"1", "2", "3", "4", "5", "9", "10", "11", "12", "13", "15", "17", "45", "46", "49", "50", "52", "53", "54", "55", "57", "58", "59", "61", "62",
       "63", "64", "73", "74", "81", "88", "90", "96", "97", "98", "99", "101", "102"}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_ib_async_reads_every_message(said, version, caplog):
    seen = said[version]
    assert {f[0] for f in seen} >= ALL - {"46"}  # ticks of the day are not for lock step
    calls = Calls()
    decoder = Decoder(calls, version)
    for f in seen:
        decoder.interpret(list(f))
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    by_name = {}
    for name, *args in calls.calls:
        by_name.setdefault(name, []).append(args)
    opened = [a for a in by_name["openOrder"] if a[0] == 3][-1]
    assert (opened[2].orderType, opened[2].auxPrice, opened[2].parentId, opened[2].action, opened[1].symbol) == ("STP", 9.9, 1, "SELL", "BAC")
    assert next(a for a in by_name["openOrder"] if a[0] == 5)[3].commission == 1.0072
    done = {a[1].permId: (a[1].orderType, a[2].status, a[1].filledQuantity) for a in by_name["completedOrder"]}
    assert sorted(done.values()) == [("LMT", "Cancelled", 0.0), ("LMT", "Filled", 100.0), ("LMT", "Filled", 100.0), ("MKT", "Filled", 50.0),
                                     ("STP", "Cancelled", 0.0)]  # fmt: skip
    statuses = {a[0]: a[1] for a in by_name["orderStatus"]}
    assert statuses == {1: "Filled", 2: "Filled", 3: "Cancelled", 4: "Cancelled", 6: "Filled"}
    assert [(a[1].symbol, a[2], a[3]) for a in by_name["position"]] == [("IBM", 50.0, 180.5)]
    assert {a[2] for a in by_name["error"] if a[0] >= 0} == {"No security definition has been found for the request", "Order Canceled - reason:"}
    details = by_name["contractDetails"][0][1]
    assert (details.contract.conId, details.minTick, details.stockType) == (90_000_001, 0.01, "COMMON")
    assert details.minSize == (1 if version >= 164 else 0)
    bars = [a[1] for a in by_name["historicalData"] if a[0] == 40]
    assert [(b.close, b.volume, b.barCount) for b in bars] == [(10.02, 100.75 if version >= 163 else 100, 2)]
    sizes = {float(f[5]) for f in seen if f[0] == "1" and f[3] == "4"}
    assert sizes == ({100.5, 0.25, 30.0} if version >= 163 else {100.0, 0.0, 30.0})


def test_ibapi_reads_every_message_of_its_version_to_the_end(said):
    calls = Calls()
    decoder = ibapi.decoder.Decoder(calls, 157)
    for f in said[157]:
        handle = decoder.msgId2handleInfo[int(f[0])]
        fields = iter([x.encode() for x in f])
        if handle.processMeth is None:
            decoder.interpretWithSignature([x.encode() for x in f], handle)
        else:
            handle.processMeth(decoder, fields)
            assert list(fields) == [], f
    names = {c[0] for c in calls.calls}
    assert names >= {"tickPrice", "tickSize", "orderStatus", "openOrder", "execDetails", "completedOrder", "historicalData", "historicalTicksLast",
                     "updateMktDepth", "updateMktDepthL2", "realtimeBar", "error", "tickByTickAllLast", "contractDetails"}  # fmt: skip
    assert len(calls.calls) >= len(said[157])


def test_both_decoders_read_the_same(said):
    ours, theirs = Calls(), Calls()
    new, old = Decoder(ours, 157), ibapi.decoder.Decoder(theirs, 157)
    for f in said[157]:
        if f[0] in ("2", "12", "13", "50", "3"):
            new.interpret(list(f))
            old.interpret([x.encode() for x in f])
    assert len(ours.calls) > 50
    assert [c[0] for c in ours.calls] == [c[0] for c in theirs.calls]
    assert [list(map(str, map(float_or_same, c[1:]))) for c in ours.calls] == [list(map(str, map(float_or_same, c[1:]))) for c in theirs.calls]


def float_or_same(x):
    return float(x) if isinstance(x, int | float) else x
