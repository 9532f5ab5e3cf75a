"""Faults of the simulated gateway: each does what it says, is counted, and is the same again for the same seed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import ib_async
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_simulator import Client, frames, stock
from test_simulator import START, connected, eventually, gateway, quote, trade, walk

from tickarrow.configs.gateway import FaultConf, GatewayConf
from tickarrow.pipeline import simulator_session
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.simulator import Simulator
from tickarrow.pipeline.simulator_faults import KINDS
from tickarrow.pipeline.simulator_faults_bytes import FRAME_FAULTS, Armed, Pipe

N = 200
TICKS = [quote(10 * k, k % 2, 10 + k / 100, 10.01 + k / 100) for k in range(N)]  # two seconds of market time, every price once


def run(main):
    asyncio.run(asyncio.wait_for(main, 20))


async def served(rows, faults, *, options="+END", **conf):
    """All bytes behind the greeting that a client with two subscriptions receives, to the end of the market, and the gateway's counts."""
    async with gateway(rows, faults=[FaultConf(**f) for f in faults], pacing=0, **conf) as (simulator, port):
        c = await Client.connect(port, options)
        begin = len(c.received)
        c.subscribe(1, "BAC")
        c.subscribe(2, "IBM")
        c.received = c.received[begin:]
        while b"9003\0" not in c.received[-60:] and (got := await asyncio.wait_for(c.reader.read(1 << 16), 5)):
            c.received += got
        c.close()
        return bytes(c.received), simulator.counts()


async def silent(client, seconds):
    """Whether nothing comes, once what is on its way has been read."""
    await asyncio.sleep(0.05)
    with contextlib.suppress(TimeoutError):
        while True:
            await client.next(0.001)
    try:
        await client.next(seconds)
    except TimeoutError:
        return True
    return False


def bids(received, req=None):
    """Bid prices of the L1 frames, in order."""
    return [float(f[4]) for f in received if f[0] == "1" and f[3] == "1" and req in (None, f[2])]


def test_nothing_is_between_a_session_and_its_socket_without_faults():
    async def main():
        async with gateway(TICKS) as (simulator, port):
            c = await Client.connect(port)
            await c.until("9")
            (s,) = simulator.sessions
            assert simulator.faults is None
            assert not s.faulty
            assert simulator.counts()["faults"] == {}
            c.close()

    run(main())


def test_garbage_is_inserted_and_loses_no_frame():
    async def main():
        clean, _ = await served(TICKS, [])
        dirty, counts = await served(TICKS, [{"kind": "garbage", "at_s": 0.5}])
        assert counts["faults"] == {"garbage": {"times": 1, "frames": 1}}
        at = next(k for k in range(len(clean)) if clean[k] != dirty[k])
        extra = len(dirty) - len(clean)
        assert 1 <= extra <= 29
        assert dirty.endswith(clean[at:])
        assert bids(frames(clean[:at])[0])[-1] < 10.5  # before half a second

    run(main())


def test_bad_length_has_the_captured_shape():
    async def main():
        clean, _ = await served(TICKS, [])
        dirty, _ = await served(TICKS, [{"kind": "bad_length", "at_s": 0.5}])
        torn = b"21\x006\x0052\x0011\x000.12502290549746\0"
        at = dirty.index(torn) - 4
        assert dirty[:at] + dirty[at + 4 + len(torn) :] == clean  # no frame is lost, one is added
        end = at + 4 + int.from_bytes(dirty[at : at + 4], "big")
        assert int.from_bytes(dirty[end : end + 4], "big") > 800_000_000  # a reader that believes it waits for this

    run(main())


def test_ib_async_is_deaf_after_a_bad_length(caplog):
    caplog.set_level(logging.CRITICAL, "ib_async")

    async def main():
        async with gateway(TICKS, faults=[FaultConf("bad_length", at_s=1.0)]) as (simulator, port):
            ib, _ = await connected(port)
            seen = []
            ib.pendingTickersEvent += lambda tickers: seen.extend(x.price for t in tickers for x in t.ticks if x.tickType == 1)
            contracts = await ib.qualifyContractsAsync(*(ib_async.Stock(x, "SMART", "USD") for x in ("BAC", "IBM")))
            for contract in contracts:
                ib.reqMktData(contract)
            await eventually(lambda: simulator.feed.over)
            await asyncio.sleep(0.1)
            assert len(seen) == 100  # of 200: none after the fault, without any error
            assert simulator.counts()["sent_updates"] == 200
            ib.disconnect()

    run(main())


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_connection_ends_inside_a_frame(kind):
    async def main():
        async with gateway(TICKS, faults=[FaultConf(kind, at_s=0.5)], once=True, speed=2.0) as (simulator, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            try:
                while await c.next() is not None:
                    pass
                assert kind == "cut"
            except ConnectionResetError:
                assert kind == "reset"
            whole, rest = frames(bytes(c.received))
            assert kind == "reset" or rest
            assert bids(whole)[-1] < 10.5
            assert not simulator.done.is_set()
            again = await Client.connect(port)  # the same client id
            again.subscribe(1, "BAC")
            assert bids(await again.until("1", matching=lambda f: f[4] == "11.98"))[-1] == 11.98
            again.close()

    run(main())


@pytest.mark.parametrize("data", [True, False])
def test_a_farm_flap_stops_the_data(data):
    async def main():
        fault = FaultConf("farm_flap", at_s=0.5, for_s=0.5, symbols=["BAC"], data=data)
        async with gateway(TICKS, faults=[fault]) as (simulator, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            c.subscribe(2, "IBM")
            before = await c.until("4", matching=lambda f: f[3] == "2103")
            during = await c.until("4", matching=lambda f: f[3] == "2104" and f[4].endswith("usfarm"))
            after = await c.until("9003")
            assert [len(bids(x, "1")) for x in (before, during)] == [25, 0]
            assert [len(bids(x, "2")) for x in (before, during, after)] == [25, 25, 50]
            # the quote in force comes first, then all that follow
            assert bids(after, "1") == ([10.98] + [10 + k / 100 for k in range(100, 200, 2)] if data else [])
            missed = 25 if data else 75
            assert simulator.counts()["faults"] == {"farm_flap": {"times": 1, "messages": 4 * missed, "updates": missed, "trades": 0}}
            c.subscribe(1, "BAC")
            assert "Duplicate" in await c.error(322)  # the gateway still knows it
            c.close()

    run(main())


def test_asking_again_under_a_new_id_ends_a_dead_subscription():
    async def main():
        fault = FaultConf("farm_flap", at_s=0.4, for_s=0.4, data=False)
        async with gateway(TICKS, faults=[fault], speed=2.0) as (simulator, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            await c.error(2103)
            await c.until("4", matching=lambda f: f[3] == "2104" and f[4].endswith("usfarm"))
            c.subscribe(2, "BAC")
            c.send(2, 2, 1)
            after = await c.until("9003")
            assert bids(after, "1") == []
            assert bids(after, "2")[-1] == 11.98
            (flap,) = simulator.counts()["faults"].values()
            updates = int(after[-1][2])
            assert 100 <= updates + flap["updates"] <= 102  # every one is sent or counted; a quote in force may come once more
            assert [f for f in after if f[0] == "4"] == []
            c.close()

    run(main())


@pytest.mark.parametrize("code", [1101, 1102])
@pytest.mark.parametrize("data", [True, False])
def test_connectivity_is_lost_and_restored(code, data):
    async def main():
        async with gateway(TICKS, faults=[FaultConf(f"lost_{code}", at_s=0.5, for_s=0.5, data=data)]) as (simulator, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            assert len(bids(await c.until("4", matching=lambda f: f[3] == "1100"))) == 25
            assert bids(await c.until("4", matching=lambda f: f[3] == str(code))) == []
            c.subscribe(1, "BAC")
            if code == 1101:  # forgotten: the same id is free, and its data go on
                assert bids(await c.until("1", matching=lambda f: f[4] == "11.98"))[-1] == 11.98
            elif data:
                seen = await c.until("1", matching=lambda f: f[4] == "11.98")
                assert bids(seen)[-1] == 11.98
            else:
                assert "Duplicate" in await c.error(322)
                await eventually(lambda: simulator.feed.over)
                assert simulator.counts()["faults"]["lost_1102"]["updates"] == 75
            c.close()

    run(main())


def test_orders_and_their_reports_wait_while_connectivity_is_lost():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("lost_1102", at_s=0.4, for_s=0.6, data=True)], speed=2.0, latency_ms=0.0) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            await c.until("1", matching=lambda f: f[4] == "10.2")
            c.order(1, "BAC", "SELL", 50, 10.5)  # would be filled at half a second
            await c.until("3")
            await c.error(1100)
            c.order(2, "BAC", "BUY", 50, 20.0)
            c.send(5, 1)
            during = await c.until("53")
            assert [f[:2] for f in during if f[0] in ("5", "11")] == [["5", "1"]]  # what the gateway knows: the second has not arrived
            during = await c.until("4", matching=lambda f: f[3] == "1102")
            assert [f for f in during if f[0] in ("3", "5", "11")] == []
            assert [f[2] for f in await c.until("11") if f[0] == "11"] == ["1"]
            after = (await c.until("11"))[-1]
            assert (after[2], float(after[20]) > 11.0) == ("2", True)  # at the quote of its arrival
            c.close()

    run(main())


@pytest.mark.parametrize(("kind", "conf"), [("cut", {}), ("half_open", {}), ("restart", {"for_s": 0.1}), ("displaced", {}), ("farm_flap", {"for_s": 0.3})])
def test_every_frame_arrives_or_is_counted(kind, conf):
    async def main():
        async with gateway(TICKS, faults=[FaultConf(kind, at_s=0.5, **conf)], speed=2.0) as (simulator, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            c.subscribe(2, "IBM")
            with contextlib.suppress(TimeoutError, AssertionError):
                await asyncio.wait_for(c.until("9003"), 1.5 if kind == "half_open" else 5)
            c.close()
            await eventually(lambda: not simulator.sessions)
            got = sum(f[0] in ("1", "2", "45", "46") for f in frames(bytes(c.received))[0])
            fault = simulator.counts()["faults"][kind]
            lost = fault.get("lost", 0) + fault.get("frames", 0) - (kind == "half_open")  # the end frame
            assert simulator.counts()["sent_messages"] == got + lost
            assert simulator.counts()["clients"]["1"]["withheld_messages"] == fault.get("messages", 0)

    run(main())


def test_a_restart_rolls_order_ids_back_and_keeps_what_works():
    async def main():
        fault = FaultConf("restart", at_s=0.5, for_s=0.5)
        async with gateway(TICKS, faults=[fault], speed=1.0, latency_ms=0.0) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            await c.until("1", matching=lambda f: f[4] == "10.02")
            c.order(1, "BAC", "BUY", 50, 20.0)  # filled
            c.order(2, "BAC", "BUY", 50, 5.0)  # works
            await c.until("11")
            while await c.next() is not None:
                pass
            with pytest.raises(ConnectionRefusedError):
                await Client.connect(port)
            await asyncio.sleep(0.7)
            again = await Client.connect(port)
            assert (await again.until("9"))[-1] == ["9", "1", "1"]
            again.send(5, 1)
            assert [f[1] for f in await again.until("53") if f[0] == "5"] == ["2"]
            again.send(61, 1)
            assert [f[-2] for f in await again.until("62") if f[0] == "61"] == ["50"]
            again.send(7, 3, 1, "", "", "", "", "", "", "")
            assert len([f for f in await again.until("55") if f[0] == "11"]) == 1
            again.order(1, "BAC", "BUY", 10, 20.0)  # the id is free again
            assert (await again.until("11"))[-1][2] == "1"
            again.send(8, 1, 1)
            assert (await again.until("9"))[-1] == ["9", "1", "2"]
            again.subscribe(1, "BAC")
            assert bids(await again.until("1", matching=lambda f: f[4] == "11.98"))[-1] == 11.98
            again.close()

    run(main())


def test_a_half_open_connection_is_silent_then_everything_comes():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("half_open", at_s=0.5, for_s=1.0)], speed=1.0) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            await c.until("1", matching=lambda f: f[4] == "10.48")
            await asyncio.sleep(0.1)
            c.send(49, 1)
            assert await silent(c, 0.2)
            twin = await Client.connect(port)
            assert "client id is already in use" in await twin.error(326)
            await c.until("49")
            rest = await c.until("1", matching=lambda f: f[4] == "11.98")
            assert len(bids(rest)) > 20
            c.close()

    run(main())


def test_a_dead_connection_stays_dead_until_the_client_closes():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("half_open", at_s=0.5)], speed=2.0) as (simulator, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            await c.until("1", matching=lambda f: f[4] == "10.46")
            await eventually(lambda: simulator.feed.over)
            assert bids(frames(bytes(c.received))[0])[-1] < 10.5
            c.close()
            await eventually(lambda: not simulator.sessions)
            assert simulator.counts()["faults"]["half_open"]["lost"] > 100
            again = await Client.connect(port)
            assert (await again.until("9"))[-1][0] == "9"
            again.close()

    run(main())


def test_a_halt_stops_one_symbol():
    async def main():
        rows = sorted([*TICKS, trade(600, 0, 10.6, 100.0)])
        async with gateway(rows, faults=[FaultConf("halt", at_s=0.5, for_s=0.5, symbols=["BAC"])]) as (_, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            c.subscribe(2, "IBM")
            await c.until("45", matching=lambda f: f[2] == "2")
            before = await c.until("45")
            during = await c.until("45")
            after = await c.until("9003")
            assert [x[-1][2:] for x in (before, during)] == [["1", "49", "1.0"], ["1", "49", "0.0"]]
            assert [len(bids(x, "1")) for x in (before, during)] == [25, 0]
            assert bids(after, "1")[:2] == [10.98, 11.0]  # the state followed
            assert len(bids(before + during + after, "2")) == 100
            market_data = sum(f[0] in ("1", "2", "45", "46") for f in frames(bytes(c.received))[0])
            assert after[-1] == ["9003", str(market_data), str(100 + 76), "1"]
            c.close()

    run(main())


def test_a_halt_works_in_lock_step():
    async def once():
        async with gateway(TICKS, faults=[FaultConf("halt", at_s=0.5, for_s=0.5, symbols=["BAC"])]) as (_, port):
            c = await Client.connect(port, "+LOCKSTEP")
            c.subscribe(1, "BAC")
            c.subscribe(2, "IBM")
            while (f := await c.next())[0] != "9003":
                if f[0] == "9001":
                    c.send(9002, f[2])
            c.close()
            return bytes(c.received)

    async def main():
        first, second = await once(), await once()
        assert first == second
        dated, waiting = [], []
        for f in frames(first)[0]:
            if f[0] == "9001":
                dated += [(int(f[1]) - START, x) for x in waiting]
                waiting = []
            elif f[0] == "45":
                waiting.append(f)
        assert [(ts / 1e9, f[2], f[4]) for ts, f in dated if ts] == [(0.5, "1", "1.0"), (1.0, "1", "0.0")]

    run(main())


def test_lock_step_excludes_the_other_faults():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("cut", at_s=0.5)]) as (_, port):
            c = await Client.connect(port, "+LOCKSTEP")
            assert "Lock step and the fault cut exclude each other: set a speed" in await c.error(321)
            c.close()

    run(main())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "farmflap"}, "gateway.faults: there is no fault 'farmflap'. Did you mean farm_flap"),
        ({"kind": "xyz"}, "there is no fault 'xyz'. Choose one of farm_flap, "),
        ({"kind": "cut", "at_s": -1.0}, "cut has at_s, for_s or every_s below 0"),
        ({"kind": "cut", "probability": 1.5}, "probability outside 0..1"),
        ({"kind": "halt", "probability": 0.5}, "halt cannot come with a probability here"),
        ({"kind": "halt", "for_s": 5.0, "every_s": 5.0}, "halt lasts 5 s and comes every 5 s. Make for_s the shorter one"),
    ],
)
def test_a_mistake_in_a_fault_is_said(fault, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Simulator(GatewayConf(faults=[FaultConf(**fault)]))


def test_an_unknown_symbol_of_a_fault_is_said():
    async def main():
        with pytest.raises(ConfigError, match="halt names the symbol ZZZ, which is not in the universe"):
            async with gateway(TICKS, faults=[FaultConf("halt", symbols=["ZZZ"])]):
                pass

    run(main())


# kind -> what the frame `1,6,1,1,10.5,100,1` (or the first that it can hit) becomes
CHANGED = {
    "truncated_field": ["1,6,1,1,10.5,100"],
    "long_field": ["1,6,1,1,10.5,100," + "9" * 300],
    "question_mark": ["1,6,1,1,?,100,1"],
    "empty": ["1,6,1,1,,100,1"],
    "exponent": ["1,6,1,1,1.050000000000E+01,100,1"],
    "unset": ["1,6,1,1,1.7976931348623157E308,100,1"],
    "duplicate": ["1,6,1,1,10.5,100,1", "1,6,1,1,10.5,100,1"],
    "reorder": ["2,6,1,0,100", "1,6,1,1,10.5,100,1"],
    "fragment": ["1,6,1,1,10.5,100,1"],
    "drip": ["1,6,1,1,10.5,100,1"],
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_frame_is_damaged(kind):
    async def main():
        clean, _ = await served(TICKS, [])
        dirty, counts = await served(TICKS, [{"kind": kind, "at_s": 0.5}])
        clean, dirty = frames(clean)[0], frames(dirty)[0]
        at = next(k for k, f in enumerate(clean) if f[0] == "1" and f[2:5] == ["1", "1", "10.5"])
        n = 2 if kind == "reorder" else 1
        assert [",".join(f) for f in dirty[at : at + len(CHANGED[kind])]] == CHANGED[kind]
        assert dirty[:at] == clean[:at]
        assert dirty[at + len(CHANGED[kind]) :] == clean[at + n :]
        assert counts["faults"] == {kind: {"times": 1, "frames": 1}}

    run(main())


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("unknown_id", r"1[2-9]\d,1,7,new$"),
        ("unknown_tick", r"1,6,1,1[4-9]\d,10\.5,100,1$"),
        ("fractional", r"1,6,1,1,10\.5,100\.\d{4},1$"),
    ],
)
def test_a_frame_has_something_random(kind, pattern):
    async def main():
        dirty, _ = await served(TICKS, [{"kind": kind, "at_s": 0.5}])
        again, _ = await served(TICKS, [{"kind": kind, "at_s": 0.5}])
        other, _ = await served(TICKS, [{"kind": kind, "at_s": 0.5}], fault_seed=2)
        assert len([f for f in frames(dirty)[0] if re.match(pattern, ",".join(f))]) == 1
        assert dirty == again
        assert dirty != other

    run(main())


def test_a_fault_for_some_time_hits_every_frame_of_its_symbols():
    async def main():
        dirty, counts = await served(TICKS, [{"kind": "question_mark", "at_s": 0.5, "for_s": 0.5, "symbols": ["IBM"]}])
        hit = [f for f in frames(dirty)[0] if f[0] == "1" and f[4] == "?"]
        assert {f[2] for f in hit} == {"2"}
        assert len(hit) == counts["faults"]["question_mark"]["frames"] == 50  # bid and ask of 25 rows

    run(main())


def test_a_fault_comes_again():
    async def main():
        _, counts = await served(TICKS, [{"kind": "duplicate", "at_s": 0.1, "every_s": 0.5, "count": 3}])
        assert counts["faults"] == {"duplicate": {"times": 4, "frames": 12}}

    run(main())


def test_times_go_back():
    async def main():
        rows = sorted([*TICKS, trade(300, 0, 10.3, 100.0), trade(700, 0, 10.7, 100.0), trade(1300, 0, 11.3, 100.0)])
        async with gateway(rows, faults=[FaultConf("time_back", at_s=0.5, for_s=0.5)]) as (_, port):
            c = await Client.connect(port, "+END")
            c.tick_by_tick(1, "BAC", "AllLast")
            times = [int(f[3]) - START // 10**9 for f in await c.until("9003") if f[0] == "99"]
            assert times == [0, -3600, 1]
            c.close()

    run(main())


def test_a_client_that_does_not_read_holds_up_the_others_only_for_a_while(monkeypatch):
    monkeypatch.setattr(simulator_session, "UNREAD_S", 0.2)
    rows = walk(15_000)

    async def main():
        async with gateway(rows, pacing=0) as (simulator, port):
            mute = await Client.connect(port, client_id=2, receive_buffer=4096)
            for k in range(20):
                mute.subscribe(k + 1, ("BAC", "IBM")[k % 2])
            good = await Client.connect(port, "+END")
            good.tick_by_tick(1, "BAC", "AllLast")
            trades = sum(f[0] == "99" for f in await good.until("9003"))
            assert trades == sum(r[2] == 1 and r[1] == 0 for r in rows)
            assert simulator.counts()["overrun"] == 1
            good.close()

    run(main())


def test_equal_seeds_give_equal_bytes():
    everything = [{"kind": kind, "probability": 0.02} for kind in CHANGED if kind != "drip"]
    everything += [{"kind": kind, "probability": 0.02} for kind in ("garbage", "bad_length", "unknown_id", "fractional")]

    async def main():
        first, counts = await served(walk(400), everything)
        second, _ = await served(walk(400), everything)
        third, _ = await served(walk(400), everything, fault_seed=9)
        assert first == second != third
        assert len(counts["faults"]) > 8

    run(main())


def test_a_giant_packet():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("giant", at_s=0.2, for_s=1.0)], speed=1.0) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            await c.until("1", matching=lambda f: f[4] == "10.18")
            assert await silent(c, 0.2)
            c.received, c.at = bytearray(), 0
            got = await c.reader.read(1 << 20)
            assert len(bids(frames(got)[0])) > 10
            c.close()

    run(main())


def test_a_notice_of_the_historical_farm():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("hmds_flap", at_s=0.2, for_s=1.0)], speed=2.0) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            await c.error(2105)
            c.send(96, 77, *[""] * 30)
            assert (await c.until("4", matching=lambda f: f[3] == "162"))[-1][2] == "77"
            await c.error(2106)
            c.close()

    run(main())


def test_tws_is_cut_off():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("tws_broken", at_s=0.5, for_s=0.5)]) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            assert len(bids(await c.until("4", matching=lambda f: f[3] == "2110"))) == 25
            assert [f[3] for f in await c.until("4", matching=lambda f: f[3] == "1101") if f[0] == "4"] == ["1101"]
            c.send(2, 2, 1)
            await c.error(300)
            c.close()

    run(main())


def test_a_competing_session_takes_the_data():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("displaced", at_s=0.3, for_s=0.8)], speed=2.0) as (simulator, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            assert "competing live session" in await c.error(10197)
            c.subscribe(2, "BAC")
            assert (await c.until("4", matching=lambda f: f[3] == "10197"))[-1][2] == "2"
            await asyncio.sleep(0.5)
            c.subscribe(3, "BAC")
            after = await c.until("9003")
            assert bids(after, "1") == bids(after, "2") == []
            assert bids(after, "3")[-1] == 11.98
            assert simulator.counts()["faults"]["displaced"]["updates"] > 20
            c.close()

    run(main())


def test_one_subscription_is_lost():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("subscription_lost", at_s=0.5)]) as (simulator, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            c.subscribe(2, "IBM")
            lost = (await c.until("4", matching=lambda f: f[3] == "10182"))[-1][2]
            after = await c.until("9003")
            assert bids(after, lost) == []
            assert len(bids(after, "2" if lost == "1" else "1")) == 75
            assert simulator.counts()["faults"]["subscription_lost"] == {"times": 1, "messages": 300, "updates": 75, "trades": 0}
            c.close()

    run(main())


def test_nothing_is_permitted():
    async def main():
        faults = [FaultConf("no_permission", symbols=["BAC"]), FaultConf("no_permission", symbols=["IBM"], data=True)]
        async with gateway([*TICKS, trade(2000, 1, 12.0, 50.0)], faults=faults, speed=2.0, day_ticks=False) as (_, port):
            c = await Client.connect(port, "+END")
            c.tick_by_tick(9, "IBM", "BidAsk")
            await asyncio.sleep(0.1)
            c.subscribe(1, "BAC")
            assert "not subscribed" in await c.error(354)
            c.subscribe(2, "IBM")
            assert "Displaying delayed" in await c.error(10167)
            seen = await c.until("9003")
            assert {f[2] for f in seen if f[0] in ("1", "2", "45")} == {"2"}
            assert ["58", "1", "2", "3"] in seen
            assert {f[3] for f in seen if f[0] == "1"} == {"66", "67", "68"}
            assert {f[3] for f in seen if f[0] == "2"} == {"69", "70", "71", "74"}
            c.close()

    run(main())


def test_data_are_delayed_for_some_time():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("delayed", at_s=0.5, for_s=0.5)], day_ticks=False) as (simulator, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            c.tick_by_tick(2, "IBM", "BidAsk")
            before = await c.until("58", matching=lambda f: f[3] == "3")
            during = await c.until("58", matching=lambda f: f[3] == "1")
            after = await c.until("9003")
            assert [{f[3] for f in x if f[0] in ("1", "2")} for x in (before, during, after)] == [
                {"0", "1", "2", "3", "8"}, {"66", "67", "69", "70"}, {"0", "1", "2", "3", "8"},
            ]  # fmt: skip
            assert [sum(f[0] == "99" for f in x) for x in (before, during, after)] == [25, 0, 50]
            assert simulator.counts()["faults"]["delayed"]["updates"] == 25
            c.close()

    run(main())


def test_data_are_frozen_for_some_time():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("frozen", at_s=0.3, for_s=1.0)], speed=2.0) as (_, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            await c.until("58", matching=lambda f: f[3] == "2")
            c.subscribe(2, "IBM")
            during = await c.until("58", matching=lambda f: f[2:] == ["1", "1"])
            assert bids(during, "1") == []
            assert len(bids(during, "2")) == 1  # the quote that stands
            assert bids(await c.until("9003"), "1")[-1] == 11.98
            c.close()

    run(main())


def test_depth_and_bars_stop_too():
    async def main():
        rows = [quote(100 * k, 0, 10 + k / 100, 10.01 + k / 100) for k in range(300)]  # thirty seconds
        fault = FaultConf("farm_flap", at_s=8.0, for_s=10.0, data=False)
        async with gateway(rows, faults=[fault]) as (_, port):
            c = await Client.connect(port, "+END")
            c.send(10, 5, 1, *stock("BAC"), 3, 0, "")
            c.send(50, 3, 2, *stock("BAC"), 5, "TRADES", 0, "")
            c.send(50, 3, 3, *stock("BAC"), 5, "MIDPOINT", 0, "")
            c.subscribe(4, "BAC")
            parts = [await c.until("4", matching=lambda f: f[3] == "2103"), await c.until("9003")]
            assert [any(f[0] == x for f in part) for part in parts for x in ("12", "50")] == [True, True, False, False]
            c.send(11, 1, 1)
            await c.error(310)
            c.close()

    run(main())


def test_ticks_of_a_cancelled_request_go_on():
    async def main():
        async with gateway(TICKS, faults=[FaultConf("stale_req", for_s=0.5)], speed=2.0) as (simulator, port):
            c = await Client.connect(port, "+END")
            c.subscribe(1, "BAC")
            c.subscribe(2, "IBM")
            await c.until("1", matching=lambda f: f[4] == "10.4")
            c.send(2, 2, 1)
            c.send(2, 2, 1)
            await c.error(300)
            stale = bids(await c.until("9003"), "1")
            assert 10.6 < stale[-1] < 11.9
            assert simulator.counts()["faults"]["stale_req"]["requests"] == 1
            c.close()

    run(main())


async def trading(fault):
    """What a client hears of an order that is filled at once, and then when it asks for executions and open orders."""
    async with gateway(TICKS, faults=[FaultConf(**fault)], speed=1.0, latency_ms=0.0) as (_, port):
        c = await Client.connect(port)
        c.subscribe(1, "BAC")
        await c.until("1", matching=lambda f: f[4] == "10.1")
        c.order(1, "BAC", "BUY", 50, 20.0)
        c.order(2, "BAC", "BUY", 50, 5.0)
        await asyncio.sleep(0.1)
        c.send(7, 3, 1, "", "", "", "", "", "", "")
        heard = [f[:3] for f in await c.until("55") if f[0] in ("3", "5", "11", "59")]
        c.send(5, 1)
        found = [f[:2] for f in await c.until("53") if f[0] == "5"]
        c.close()
        return heard, found


def test_an_execution_is_reported_twice():
    heard, _ = asyncio.run(trading({"kind": "duplicate_execution", "for_s": 5.0}))
    assert [f[0] for f in heard[:10]] == ["5", "3", "5", "3", "11", "11", "5", "3", "59", "59"]


def test_a_fill_comes_before_the_state():
    heard, _ = asyncio.run(trading({"kind": "fill_before_status"}))
    assert [f[0] for f in heard[:8]] == ["11", "5", "3", "5", "3", "5", "3", "59"]


@pytest.mark.parametrize("data", [True, False])
def test_an_order_is_never_acknowledged(data):
    heard, found = asyncio.run(trading({"kind": "never_acknowledged", "count": 2, "data": data}))
    assert [f[0] for f in heard] == (["11", "59"] if data else [])  # the answer to the question
    assert found == ([["5", "2"]] if data else [])


def test_a_new_order_is_acknowledged_again():
    heard, found = asyncio.run(trading({"kind": "never_acknowledged"}))
    assert [f[:2] for f in heard] == [["5", "2"], ["3", "2"], ["5", "2"], ["3", "2"]]
    assert found == [["5", "2"]]


PRICE, SIZE = st.sampled_from(["10.5", "0.01", "-1", "250"]), st.sampled_from(["100", "0", "2.5", ""])
FRAMED = st.lists(
    st.one_of(
        st.tuples(st.just(1), st.just(6), st.just(9), st.sampled_from([1, 2, 4]), PRICE, SIZE, st.just(1)),
        st.tuples(st.just(2), st.just(6), st.just(9), st.sampled_from([0, 3, 8]), SIZE),
        st.tuples(st.just(99), st.just(9), st.just(3), st.just(1_700_000_000), PRICE, PRICE, SIZE, SIZE, st.just(0)),
        st.tuples(st.just(4), st.just(2), st.just(-1), st.just(2104), st.text("abc", max_size=9), st.just("")),
    ),
    min_size=1,
    max_size=40,
)
DAMAGES = [k for k in FRAME_FAULTS if k not in ("cut", "reset", "time_back", "duplicate_execution", "fill_before_status")]


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data

    def is_closing(self):
        return False


@given(FRAMED, st.lists(st.sampled_from(DAMAGES), max_size=4), st.integers(0, 2**32), st.integers(1, 7))
def test_frames_that_are_not_hit_go_out_as_they_are(given_frames, kinds, seed, cut):
    sent = [b"".join(str(x).encode() + b"\0" for x in f) for f in given_frames]
    sent = list(dict.fromkeys(len(b).to_bytes(4, "big") + b for b in sent))  # of two equal frames nobody can say which was hit

    async def main():
        session = SimpleNamespace(transport=Wire(), gate=SimpleNamespace(requests={1: None}))
        pipe = Pipe(session, defaultdict(Counter))
        hits = []

        def watched(function):
            def damage(pipe, frames, k):
                pieces = function(pipe, frames, k)
                if pieces is not None:
                    hits.append((frames[k], b"".join(p.data for p in pieces)))
                return pieces

            return damage

        pipe.armed = [Armed(f"{k} 0", watched(FRAME_FAULTS[k]), random.Random(seed + n), None, 0.3, -1) for n, k in enumerate(kinds)]
        for a in range(0, len(sent), cut):
            pipe.write(b"".join(sent[a : a + cut]))
        pipe.empty()
        return session.transport.data, hits

    data, hits = asyncio.run(main())
    hit, at = list(hits), 0
    moved = []
    for f in sent:  # a strict reader that is told what was hit
        late, moved = moved, []
        if hit and hit[0][0] == f and data[at:].startswith(hit[0][1]):
            at += len(hit[0][1])
            if not hit.pop(0)[1]:
                moved = [f]
        else:
            assert data[at:].startswith(f)
            at += len(f)
        for x in late:
            assert data[at:].startswith(x)
            at += len(x)
    for x in moved:
        assert data[at:].startswith(x)
        at += len(x)
    assert at == len(data)


def test_the_guide_has_the_table_of_all_faults():
    guide = (Path(__file__).resolve().parents[1] / "docs" / "guide.md").read_text()
    table = re.findall(r"^\| `(\w+)` \| (.*) \|$", guide.partition("## A gateway to test against")[2].partition("\n## ")[0], re.M)
    assert dict(table) == KINDS
