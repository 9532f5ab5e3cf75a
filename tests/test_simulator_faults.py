"""Faults of the simulated gateway: each does what it says, is counted, and is the same again for the same seed."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import ib_async
import pytest
from naive_simulator import Client, frames
from test_simulator import START, connected, eventually, gateway, quote, trade

from tickarrow.configs.gateway import FaultConf, GatewayConf
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.simulator import Simulator
from tickarrow.pipeline.simulator_faults import KINDS

N = 200
TICKS = [quote(10 * k, k % 2, 10 + k / 100, 10.01 + k / 100) for k in range(N)]  # two seconds of market time, every price once


def run(main):
    asyncio.run(asyncio.wait_for(main, 20))


async def served(rows, faults, *, symbols=("BAC", "IBM"), **conf):
    """Everything a raw client receives as bytes, and the gateway's counts."""
    async with gateway(rows, faults=[FaultConf(**f) for f in faults], pacing=0, **conf) as (simulator, port):
        c = await Client.connect(port, "+END")
        for k, symbol in enumerate(symbols):
            c.subscribe(k + 1, symbol)
        data = b""
        while not data.endswith(b"9003\0") and (got := await asyncio.wait_for(c.reader.read(1 << 16), 5)):
            data += got
            if b"\x009003\x00" in data or b"9003\x00" in data[-60:]:
                break
        c.close()
        return bytes(c.received) + data, simulator.counts()


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
            assert s.pipe is None
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
        async with gateway(TICKS, faults=[fault], speed=1.0) as (simulator, port):
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


def test_a_restart_rolls_order_ids_back_and_keeps_what_works():
    async def main():
        fault = FaultConf("restart", at_s=0.5, for_s=0.3)
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
            await asyncio.sleep(0.4)
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
        async with gateway(TICKS, faults=[FaultConf("half_open", at_s=0.5, for_s=0.5)], speed=1.0) as (_, port):
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


def test_every_kind_says_what_it_does():
    assert all(KINDS.values())
