"""The simulated gateway: unmodified ib_async trades on it, no tick is lost, and every request and mistake has its answer."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import ib_async
import numpy as np
import pytest
from naive_simulator import Client, stock

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.errors import ConfigError, GatewayError
from tickarrow.pipeline.simulator import Simulator
from tickarrow.pipeline.simulator_sent import read_sent
from tickarrow.pipeline.universe import Universe

START = 1_381_240_800_000_000_000  # 2013-10-08 14:00:00 UTC
SECOND = 1_000_000_000
MS = 1_000_000
NAMES = ("ts", "symbol", "kind", "mask", "bid", "bid_size", "ask", "ask_size", "price", "size")
TYPES = (np.int64, np.int32, np.uint8, np.uint8, *(np.float64,) * 6)
NAN = float("nan")


def quote(ms, symbol, bid, ask, bid_size=100.0, ask_size=100.0):
    """A quote row that gives all four values, `ms` after the start."""
    return (START + int(ms * MS), symbol, 0, 15, bid, bid_size, ask, ask_size, NAN, NAN)


def trade(ms, symbol, price, size):
    return (START + int(ms * MS), symbol, 1, 0, NAN, NAN, NAN, NAN, price, size)


class MemorySource:
    """Rows given as tuples."""

    def __init__(self, rows, symbols=("BAC", "IBM"), block=8192):
        self.rows, self.block = rows, block
        self.universe = Universe.of(symbols)
        self.start_ns = START
        self.end_ns = rows[-1][0] if rows else START
        self.bad, self.halts = {}, []

    def blocks(self):
        for a in range(0, len(self.rows), self.block):
            part = zip(*self.rows[a : a + self.block])
            yield SimpleNamespace(**{n: np.array(c, t) for n, c, t in zip(NAMES, part, TYPES)})


def walk(n, seed=7, symbols=2, step_ms=(0, 40)):
    """A random walk of quotes with some trades, all values given."""
    rng = np.random.default_rng(seed)
    mid, ms, rows = [1000 + 500 * s for s in range(symbols)], 0.0, []
    for _ in range(n):
        s = int(rng.integers(symbols))
        ms += int(rng.integers(*step_ms))
        if rng.random() < 0.3:
            rows.append(trade(ms, s, (mid[s] + int(rng.integers(0, 2))) / 100, float(rng.integers(1, 9) * 100)))
        else:
            mid[s] += int(rng.integers(-1, 2))
            rows.append(quote(ms, s, mid[s] / 100, (mid[s] + 1) / 100, float(rng.integers(1, 9) * 100), float(rng.integers(1, 9) * 100)))
    return rows


@contextlib.asynccontextmanager
async def gateway(rows, **conf):
    """A simulator that serves the rows; yields it and its port."""
    simulator = Simulator(GatewayConf(**({"settle_ms": 30.0, "once": False} | conf)))
    port = await simulator.start()
    simulator.open(rows if isinstance(rows, MemorySource) else MemorySource(rows))
    try:
        yield simulator, port
    finally:
        await simulator.close()
    if simulator.failure is not None:
        raise simulator.failure


async def connected(port, client_id=1):
    ib = ib_async.IB()
    errors = []
    ib.errorEvent += lambda req, code, text, contract: errors.append((req, code, text))
    await ib.connectAsync("127.0.0.1", port, clientId=client_id, timeout=5)
    return ib, errors


async def eventually(condition, seconds=5.0):
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    assert condition()


def test_ib_async_connects_and_knows_the_contracts():
    async def main():
        async with gateway(walk(5)) as (simulator, port):
            ib, errors = await connected(port)
            assert ib.client.serverVersion() == 178
            assert ib.managedAccounts() == ["DU0000001"]
            assert {code for _, code, _ in errors} == {2104, 2106, 2158}
            found = await ib.reqContractDetailsAsync(ib_async.Stock("IBM", "SMART", "USD"))
            assert [(d.contract.symbol, d.minTick) for d in found] == [("IBM", 0.01)]
            by_number = await ib.reqContractDetailsAsync(ib_async.Contract(conId=found[0].contract.conId))
            assert by_number[0].contract.symbol == "IBM"
            assert await ib.reqContractDetailsAsync(ib_async.Stock("NONE", "SMART", "USD")) == []
            assert errors[-1][1:] == (200, "No security definition has been found for the request")
            assert (await ib.reqCurrentTimeAsync()).year >= 2024
            assert ib.positions() == []
            ib.disconnect()
            assert simulator.bad_frames == simulator.unknown_requests == 0

    asyncio.run(main())


def test_ib_async_sees_the_prices_of_the_source():
    rows = [
        quote(0, 0, 14.2, 14.21, 300.0, 500.0), trade(5, 0, 14.21, 100.0), quote(10, 1, 180.0, 180.05), trade(11, 0, 14.2, 50.5),
        quote(12, 0, 14.19, 14.2, 700.0, 0.5),
    ]  # fmt: skip

    async def main():
        async with gateway(rows) as (_, port):
            ib, errors = await connected(port)
            bac, ibm = ib_async.Stock("BAC", "SMART", "USD"), ib_async.Stock("IBM", "SMART", "USD")
            await ib.qualifyContractsAsync(bac, ibm)
            ticker, other = ib.reqMktData(bac), ib.reqMktData(ibm)
            prints, quotes, mids = [], [], []
            ib.pendingTickersEvent += lambda ts: [
                (prints if hasattr(x, "exchange") else quotes if hasattr(x, "bidPrice") else mids).append(x)
                for t in ts
                for x in t.tickByTicks
            ]
            ib.reqTickByTickData(bac, "AllLast")
            ib.reqTickByTickData(bac, "BidAsk")
            await eventually(lambda: ticker.askSize == 0.5 and len(prints) == 2 and len(quotes) == 2)
            assert (ticker.bid, ticker.bidSize, ticker.ask) == (14.19, 700.0, 14.2)
            assert (ticker.last, ticker.lastSize, ticker.volume) == (14.2, 50.5, 150.5)
            assert (other.bid, other.ask) == (180.0, 180.05)
            assert (ticker.minTick, ticker.marketDataType) == (0.01, 1)
            assert [(p.price, p.size) for p in prints] == [(14.21, 100.0), (14.2, 50.5)]
            assert [(q.bidPrice, q.askSize) for q in quotes] == [(14.2, 500.0), (14.19, 0.5)]
            ib.cancelMktData(bac)
            ib.cancelTickByTickData(bac, "AllLast")
            late = await ib.reqTickersAsync(ibm)  # a snapshot
            assert (late[0].bid, late[0].ask) == (180.0, 180.05)
            assert [e for e in errors if e[1] < 2000] == []
            ib.disconnect()

    asyncio.run(main())


def test_ib_async_trades():
    async def main():
        async with gateway([quote(0, 0, 10.0, 10.02, 300.0, 500.0)]) as (simulator, port):
            ib, errors = await connected(port)
            bac = ib_async.Stock("BAC", "SMART", "USD")
            await ib.qualifyContractsAsync(bac)
            ticker = ib.reqMktData(bac)
            await eventually(lambda: ticker.ask == 10.02)
            buy = ib.placeOrder(bac, ib_async.LimitOrder("BUY", 300, 10.05, orderRef="mine-1"))
            await eventually(lambda: buy.fills and buy.fills[0].commissionReport.commission)
            assert [s.status for s in buy.log] == ["PendingSubmit", "PreSubmitted", "Submitted", "Submitted", "Filled"]
            fill = buy.fills[0]
            assert (fill.execution.price, fill.execution.shares, fill.execution.side) == (10.02, 300.0, "BOT")
            assert fill.execution.time.timestamp() * SECOND == START
            assert (fill.execution.execId, fill.execution.orderRef) == ("0000.1.01", "mine-1")
            assert fill.commissionReport.commission == pytest.approx(1.5 + 300 * 0.000072)  # the audit trail's fee on top
            assert buy.order.permId == fill.execution.permId > 0

            rest = ib.placeOrder(bac, ib_async.LimitOrder("SELL", 100, 11.0))
            await eventually(lambda: rest.orderStatus.status == "Submitted")
            rest.order.lmtPrice = 10.5
            ib.placeOrder(bac, rest.order)
            await eventually(lambda: rest.log[-1].message == "Modified")
            assert [t.order.lmtPrice for t in await ib.reqAllOpenOrdersAsync()] == [10.5]
            ib.cancelOrder(rest.order)
            await eventually(lambda: rest.orderStatus.status == "Cancelled" and any(e[1] == 202 for e in errors))

            sell = ib.placeOrder(bac, ib_async.MarketOrder("SELL", 400))  # the bid shows 300
            await eventually(lambda: sell.orderStatus.filled == 300)
            assert (sell.orderStatus.status, sell.orderStatus.remaining) == ("Submitted", 100)
            await eventually(lambda: sell.fills[0].commissionReport.realizedPNL)
            fees = 0.000072 + 0.000195 + 10.0 * 0.0000206  # audit trail, FINRA, SEC
            assert sell.fills[0].commissionReport.realizedPNL == pytest.approx(300 * (10.0 - 10.02 - fees) - 1.5)
            ib.reqGlobalCancel()
            await eventually(lambda: sell.orderStatus.status == "Cancelled")

            again = ib_async.IB()
            await again.connectAsync("127.0.0.1", port, clientId=2, timeout=5)
            assert [(f.execution.shares, f.execution.side) for f in await again.reqExecutionsAsync()] == [(300.0, "BOT"), (300.0, "SLD")]
            what_if = await again.whatIfOrderAsync(bac, ib_async.LimitOrder("BUY", 1000, 10.0))
            assert what_if.commission == 5.072
            bad = again.placeOrder(bac, ib_async.LimitOrder("BUY", 100, 10.001))
            await eventually(lambda: bad.orderStatus.status == "Cancelled")
            counts = simulator.counts()
            assert counts | {"orders": 3, "fills": 2, "cancelled": 2, "rejected": 1} == counts
            ib.disconnect()
            again.disconnect()

    asyncio.run(main())


def test_a_slow_reader_gets_every_update():
    rows = walk(60_000, step_ms=(0, 3))

    async def main():
        async with gateway(rows, pacing=0) as (simulator, port):
            client = await Client.connect(port, "+END", receive_buffer=4096)
            client.subscribe(1, "BAC")
            client.subscribe(2, "IBM")
            await asyncio.sleep(0.5)  # does not read while the market is open
            assert not simulator.feed.over
            seen = await client.until("9003")
            sizes = [f for f in seen if f[0] == "2" and f[3] == "8"]
            quotes = [f for f in seen if f[0] == "1" and f[3] == "1"]
            n_trades = sum(r[2] for r in rows)
            assert len(quotes) == len(rows) - n_trades
            assert len(sizes) == n_trades + 2  # and the baselines
            expected = [r[4] for r in rows if r[2] == 0]
            assert [float(f[4]) for f in quotes] == expected
            market_data = sum(f[0] in ("1", "2", "45", "46") for f in seen)
            assert seen[-1] == ["9003", str(market_data), str(len(quotes)), str(n_trades)]
            assert simulator.counts()["sent_updates"] == len(quotes)
            client.close()

    asyncio.run(main())


def test_real_time_is_paced_and_orders_take_their_latency():
    rows = [quote(0, 0, 10.0, 10.02), quote(400, 0, 10.0, 10.01), quote(800, 0, 10.0, 10.03)]

    async def main():
        async with gateway(rows, speed=4.0, latency_ms=200.0) as (_, port):
            client = await Client.connect(port, "+END")
            client.subscribe(1, "BAC")
            loop = asyncio.get_running_loop()
            await client.until("1", matching=lambda f: f[3] == "2")
            begin = loop.time()
            client.order(1, "BAC", "BUY", 50, 10.02)
            seen = await client.until("11")
            assert seen[-1][19:21] == ["50", "10.02"]
            assert loop.time() - begin > 0.045  # 200 ms of market time at 4 x
            await client.until("9003")
            assert 0.15 < loop.time() - begin < 1.5
            client.close()

    asyncio.run(main())


def test_what_was_sent_and_when_is_logged_for_the_first_client(tmp_path):
    rows = [quote(0, 0, 10.0, 10.02), quote(40, 0, 10.0, 10.01)]

    async def main():
        async with gateway(rows, speed=1.0, sent_log=str(tmp_path / "sent")) as (_, port):
            client = await Client.connect(port, "+END")
            second = await Client.connect(port, "", client_id=2)
            client.subscribe(1, "BAC")
            await client.until("9003")
            client.close()
            second.close()

    before = time.time_ns()
    asyncio.run(main())
    ts, written = read_sent(tmp_path / "sent")
    assert before < ts[0]
    assert ts[-1] < time.time_ns()
    assert (np.diff(ts) >= 0).all()
    assert (np.diff(written, prepend=0) > 0).all()
    assert ts[-1] - ts[0] > 40e6  # the rows came 40 ms apart


def test_conflation_sends_only_what_changed_in_a_slot():
    rows = [
        quote(10, 0, 10.0, 10.02), quote(20, 0, 10.01, 10.02), trade(30, 0, 10.02, 100.0), trade(40, 0, 10.02, 50.0),
        quote(300, 0, 10.01, 10.02, 100.0, 300.0), quote(1600, 0, 10.0, 10.02, 100.0, 300.0),
    ]  # fmt: skip

    async def main():
        async with gateway(rows, conflation_ms=250, duplicate_sizes=False, day_ticks=False) as (_, port):
            client = await Client.connect(port, "+END")
            client.subscribe(1, "BAC")
            await client.until("45")
            seen = await client.until("9003")
            assert [",".join(f) for f in seen] == [
                "1,6,1,4,10.02,50,0", "2,6,1,5,50", "2,6,1,8,150", "1,6,1,1,10.01,100,1", "1,6,1,2,10.02,100,1",  # first slot
                "2,6,1,3,300",  # a size alone waits for the third slot
                "1,6,1,1,10,100,1", "9003,9,3,1",
            ]  # fmt: skip
            client.close()

    asyncio.run(main())


def test_every_mistake_of_a_client_has_its_answer():
    async def main():
        async with gateway(walk(50)) as (simulator, port):
            c = await Client.connect(port)
            c.subscribe(5, "NONE")
            assert await c.error(200) == "No security definition has been found for the request"
            c.subscribe(5, "BAC")
            c.subscribe(5, "IBM")
            assert await c.error(322) == "Error processing request: Duplicate ticker id"
            c.send(2, 2, 99)
            assert await c.error(300) == "Can't find EId with tickerId:99"
            c.tick_by_tick(6, "BAC", "Middle")
            assert "none of Last, AllLast, BidAsk, MidPoint" in await c.error(321)
            c.send(22, 77, *stock("BAC"))
            assert "Unknown message id: 22" in await c.error(505)
            c.send(1, 11, "x")
            assert "missing or not a number" in await c.error(320)
            c.send("abc")
            assert "missing or not a number" in await c.error(320)
            c.writer.write(b"\0\0\0\x039 1")
            assert "does not end with NUL" in await c.error(320)
            c.send(71, 2, 1, "")
            assert "startApi must come first, and once" in await c.error(320)
            c.cancel(50)
            assert await c.error(10147) == "OrderId 50 that needs to be cancelled is not found."
            c.order(1, "BAC", "BUY", 100, 5.0)
            c.order(1, "BAC", "BUY", 100, 5.0)
            assert await c.error(103) == "Duplicate order id"
            c.order(2, "BAC", "BUY", 0, 5.0)
            assert "size must be positive" in await c.error(201)
            c.order(2, "BAC", "HOLD", 10, 5.0)
            assert "BUY or SELL" in await c.error(201)
            c.order(2, "BAC", "BUY", 10, 5.0, tif="GTD")
            assert "LMT GTD" in await c.error(387)
            c.order(2, "BAC", "BUY", 10, 5.005)
            assert "minimum price variation" in await c.error(110)
            c.cancel(1)
            assert (await c.error(202)).startswith("Order Canceled - reason:")
            c.cancel(1)
            assert "cannot be cancelled, state: Cancelled" in await c.error(10148)
            twin = await Client.connect(port)
            assert "client id is already in use" in await twin.error(326)
            assert await twin.next() is None
            stepper = await Client.connect(port, "+LOCKSTEP", client_id=9)
            assert "for itself" in await stepper.error(326)
            c.writer.write(b"\x7f\xff\xff\xff1234")
            assert "framing is lost" in await c.error(507)
            assert await c.next() is None
            assert simulator.bad_frames == 5
            assert simulator.unknown_requests == 1

    asyncio.run(main())


def test_a_stranger_is_disconnected():
    async def main():
        async with gateway(walk(5)) as (_, port):
            for hello in (b"GET / HTTP/1.1\r\n\r\n", b"API\0\0\0\0\x09v100..150", b"API\0\0\0\0\x03abc", b"API\0\xff\xff\xff\xff"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(hello)
                assert await asyncio.wait_for(reader.read(), 5) == b""
                writer.close()

    asyncio.run(main())


def test_too_many_requests_are_refused_then_disconnected():
    async def main():
        async with gateway(walk(5)) as (simulator, port):
            c = await Client.connect(port)
            for _ in range(200):
                c.send(49, 1)
            assert "Max rate of messages per second has been exceeded:max=50" in await c.error(100)
            while await c.next() is not None:
                pass
            assert simulator.paced == 3

    asyncio.run(main())


def test_an_older_client_gets_its_version():
    async def main():
        async with gateway(walk(5)) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"API\0\0\0\0\x09v100..160")
            n = int.from_bytes(await reader.readexactly(4), "big")
            assert (await reader.readexactly(n)).split(b"\0")[0] == b"160"
            writer.close()

    asyncio.run(main())


def test_a_market_begins_anew_when_it_is_over_and_nobody_is_left():
    async def main():
        async with gateway(walk(20)) as (_, port):
            streams = []
            for _ in range(2):
                c = await Client.connect(port, "+END")
                c.subscribe(1, "BAC")
                streams.append([f for f in await c.until("9003") if f[0] in ("1", "2")])
                c.close()
                await c.writer.wait_closed()
                await asyncio.sleep(0.02)
            assert streams[0] == streams[1] != []

    asyncio.run(main())


def test_a_port_in_use_is_said():
    async def main():
        async with gateway(walk(5)) as (_, port):
            with pytest.raises(GatewayError, match=f"port {port} of 127.0.0.1 cannot be used .* or 0 for any free one"):
                await Simulator(GatewayConf(port=port)).start()

    asyncio.run(main())


def test_settings_out_of_range_are_said():
    with pytest.raises(ConfigError, match=r"gateway.host is '0.0.0.0': the simulated gateway listens on this machine only"):
        Simulator(GatewayConf(host="0.0.0.0"))
    with pytest.raises(ConfigError, match="both are numbers from 0 on"):
        Simulator(GatewayConf(speed=-1))
    with pytest.raises(ConfigError, match=r"gateway.lines is -1. Use 0 for no limit or a number above it"):
        Simulator(GatewayConf(lines=-1))
    with pytest.raises(ConfigError, match=r"gateway.split_packets is 2. .* a share from 0 to 1"):
        Simulator(GatewayConf(split_packets=2.0))
    with pytest.raises(ConfigError, match="at least 1 slot"):
        Simulator(GatewayConf(quote_slots=0))


def test_an_unreadable_source_ends_the_gateway():
    class Broken(MemorySource):
        def blocks(self):
            yield from super().blocks()
            raise GatewayError("the file is damaged")

    async def main():
        simulator = Simulator(GatewayConf(settle_ms=10.0))
        port = await simulator.start()
        simulator.open(Broken(walk(10)))
        c = await Client.connect(port)
        c.subscribe(1, "BAC")
        await asyncio.wait_for(simulator.done.wait(), 5)
        assert str(simulator.failure) == "the file is damaged"
        await simulator.close()

    asyncio.run(main())


def child(tmp_path, config, **kwargs):
    path = tmp_path / "simulator.json"
    path.write_text(json.dumps(config))
    return subprocess.Popen(
        [sys.executable, "-m", "tickarrow.pipeline.simulator", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **kwargs,
    )


GENERATED = {
    "gateway": {"settle_ms": 20.0},
    "source": {"kind": "generated", "seed": 3, "duration_s": 60.0, "max_rows": 500},
    "universe": {"symbols": ["AAA", "BBB"], "classes": ["large", "small"]},
}


def test_a_child_serves_one_client_and_says_what_it_did(tmp_path):
    with child(tmp_path, GENERATED) as process:
        port = json.loads(process.stdout.readline())["port"]

        async def main():
            c = await Client.connect(port, "+LOCKSTEP")
            c.subscribe(1, "AAA")
            c.subscribe(2, "BBB")
            while (f := await c.next(60.0))[0] != "9003":
                if f[0] == "9001":
                    c.send(9002, f[2])
            c.close()
            return f

        end = asyncio.run(main())
        done = json.loads(process.stdout.read().splitlines()[-1])
        assert process.wait(10) == 0
    assert done["event"] == "done"
    assert [str(done[k]) for k in ("sent_messages", "sent_updates", "sent_trades")] == end[1:]
    assert done["sent_updates"] + done["sent_trades"] == 500


def test_a_child_ends_when_its_parent_is_gone(tmp_path):
    with child(tmp_path, GENERATED) as process:
        assert json.loads(process.stdout.readline())["event"] == "listening"
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gateway": {"sped": 1}}, "gateway: Key 'sped' not in 'GatewayConf'. Correct the key or its value."),
        (
            {"gateway": {"speed": "fast"}},
            "gateway: Value 'fast' of type 'str' could not be converted to Float. Correct the key or its value.",
        ),
        (
            {"source": {"kind": "parquet", "path": "none.parquet"}},
            "source.path: none.parquet does not exist. Name a Parquet file of ticks.",
        ),
    ],
)
def test_a_child_says_what_is_wrong_and_exits_with_1(tmp_path, change, message):
    with child(tmp_path, GENERATED | change) as process:
        said = [json.loads(line) for line in process.stdout]
        assert process.wait(30) == 1
    assert said[-1] == {"event": "error", "message": message}


def test_market_time_is_in_nanoseconds():
    assert np.datetime64(START, "ns") == np.datetime64("2013-10-08T14:00:00")
    assert quote(1, 0, 1.0, 2.0)[0] - START == MS
