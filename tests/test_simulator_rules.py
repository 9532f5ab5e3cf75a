"""Each limit of IBKR that the simulated gateway enforces: the request that breaks it is refused with its code, and only that one."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from naive_simulator import Client, stock
from test_simulator import MS, SECOND, START, MemorySource, gateway, quote, walk

from tickarrow.pipeline.simulator_requests import ANSWERS, LATER

SYMBOLS = ("BAC", "IBM", "SPY", "KO")


def source(n=200):
    return MemorySource(walk(n, symbols=4, step_ms=(50, 51)), SYMBOLS)


async def answers(c, n):
    """Codes of what comes back until the time: -1 for each answer that is no error."""
    c.send(49, 1)
    return [int(f[3]) for f in await c.until("49") if f[0] == "4" and f[2] != "-1"][:n]


def test_lines_are_those_of_all_clients():
    async def main():
        async with gateway(source(), lines=3, tick_by_tick=0, speed=1.0) as (_, port):
            a, b = await Client.connect(port), await Client.connect(port, client_id=2)
            a.subscribe(1, "BAC")
            a.tick_by_tick(2, "IBM", "Last")
            assert await answers(a, 9) == []
            b.send(50, 3, 1, *stock("KO"), 5, "TRADES", 0, "")
            assert await answers(b, 9) == []
            b.subscribe(2, "SPY")
            assert await b.error(101) == "Max number of tickers has been reached"
            b.subscribe(3, "SPY", snapshot=True)  # not a line
            a.send(2, 2, 1)
            assert await answers(a, 9) == []
            b.subscribe(2, "SPY")
            assert await answers(b, 9) == []
            a.close()
            await asyncio.sleep(0.05)
            b.subscribe(4, "BAC")  # the line of the client that is gone
            assert await answers(b, 9) == []

    asyncio.run(main())


def test_tick_by_tick_has_a_cap_and_a_wait():
    async def main():
        async with gateway(source(), tick_by_tick_s=1.0, speed=10.0) as (_, port):
            c = await Client.connect(port)
            for k, symbol in enumerate(SYMBOLS[:3]):
                c.tick_by_tick(k, symbol, "Last")
            assert await answers(c, 9) == []
            c.tick_by_tick(9, "KO", "Last")
            assert await c.error(10190) == "Max number of tick-by-tick requests has been reached"
            c.send(98, 0)
            c.tick_by_tick(4, "BAC", "Last")
            assert await c.error(10189) == "Failed to request tick-by-tick data:No more than 1 request of an instrument within 1 seconds"
            c.tick_by_tick(5, "BAC", "BidAsk")  # another kind
            assert await answers(c, 9) == []
            c.send(98, 5)
            await asyncio.sleep(0.12)  # 1.2 s of the market
            c.tick_by_tick(4, "BAC", "Last")
            assert await answers(c, 9) == []

    asyncio.run(main())


def test_an_id_is_used_once_at_a_time():
    async def main():
        async with gateway(source(), speed=1.0) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            c.depth(2, "BAC")
            c.send(50, 3, 3, *stock("BAC"), 5, "TRADES", 0, "")
            await asyncio.sleep(0.1)
            c.bars(4, "BAC", "60 S", "5 secs", kept=1)
            assert await answers(c, 9) == []
            again = (lambda k: c.subscribe(k, "IBM"), lambda k: c.depth(k, "IBM"), lambda k: c.tick_by_tick(k, "IBM", "Last"),
                     lambda k: c.bars(k, "IBM", "60 S", "5 secs"))  # fmt: skip
            for ask in again:
                for k in (1, 2, 3, 4):
                    ask(k)
                assert await answers(c, 9) == [322] * 4
            for cancel in (2, 2, 1), (11, 1, 2, 0), (51, 1, 3), (25, 1, 4):
                c.send(*cancel)
            assert await answers(c, 9) == [162]  # a historical request says that it ends
            for k in (1, 2, 3, 4):
                c.subscribe(k, SYMBOLS[k - 1])
            assert await answers(c, 9) == []
            for cancel in (2, 2, 9), (11, 1, 9, 0), (51, 1, 9), (25, 1, 9), (98, 9):
                c.send(*cancel)
            assert await answers(c, 9) == [300, 310, 300, 366, 300]

    asyncio.run(main())


def test_historical_requests_are_paced():
    async def main():
        async with gateway(source(400), pacing=0, speed=20.0, historical_per_10min=13) as (_, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            await asyncio.sleep(0.3)
            c.bars(2, "BAC", "60 S", "5 secs")
            c.bars(3, "BAC", "60 S", "5 secs")
            assert await answers(c, 9) == [162]  # identical within 15 s
            for k in range(6):
                c.bars(10 + k, "BAC", f"{61 + k} S", "5 secs")
            assert await answers(c, 9) == [162, 162]  # the sixth of one contract within 2 s, and the seventh
            await asyncio.sleep(0.12)  # 2.4 s of the market
            c.bars(20, "BAC", "60 S", "10 secs")
            c.bars(21, "BAC", "60 S", "15 secs", what="BID_ASK")  # counts twice
            c.ticks(22, "IBM", 10, end="20131008-14:00:05")
            c.send(87, 23, *stock("IBM"), 0, 0, "TRADES", 2)
            c.bars(24, "IBM", "60 S", "5 secs", what="BID")
            c.bars(25, "IBM", "60 S", "5 secs", what="ASK")
            assert await answers(c, 9) == []
            c.bars(26, "IBM", "60 S", "5 secs", what="BID_ASK")
            assert await c.error(162) == "Historical Market Data Service error message:Historical data request pacing violation"
            c.bars(27, "IBM", "60 S", "5 secs")
            assert await answers(c, 9) == []  # the thirteenth in ten minutes

    asyncio.run(main())


def test_requests_that_stay_open_have_a_cap():
    async def main():
        async with gateway(source(), speed=1.0, historical_open=1) as (_, port):
            c = await Client.connect(port)
            c.bars(1, "BAC", "60 S", "5 secs", kept=1)
            c.send(49, 1)
            await c.until("49")
            c.bars(2, "IBM", "60 S", "5 secs", kept=1)
            assert "Max number of simultaneous historical data requests" in await c.error(162)

    asyncio.run(main())


def test_depth_has_a_cap():
    async def main():
        async with gateway(source(), speed=1.0) as (_, port):
            c = await Client.connect(port)
            for k, symbol in enumerate(SYMBOLS):
                c.depth(k, symbol)
            assert await c.error(309) == "Max number (3) of market depth requests has been reached"
            c.send(11, 1, 0, 0)
            c.depth(9, "KO")
            assert await answers(c, 9) == []

    asyncio.run(main())


def test_nothing_is_limited_where_the_configuration_says_so():
    none = dict.fromkeys(
        ("pacing", "lines", "tick_by_tick", "tick_by_tick_s", "depth", "historical_per_10min", "historical_per_2s", "historical_identical_s",
         "historical_open"), 0,
    )  # fmt: skip

    async def main():
        async with gateway(source(), speed=1.0, **none) as (_, port):
            c = await Client.connect(port)
            for k in range(120):
                c.subscribe(k, "BAC")
                c.tick_by_tick(200 + k, "BAC", "Last")
                c.bars(600 + k, "BAC", "60 S", "5 secs", kept=1)
            for k in range(5):
                c.depth(400 + k, "BAC")
            assert await answers(c, 999) == []

    asyncio.run(main())


def test_in_lock_step_pacing_counts_market_time_once_the_market_has_begun():
    rows = [quote(100 * k, 0, 10.0, 10.02) for k in range(40)]

    async def main():
        async with gateway(rows, pacing=5) as (simulator, port):
            c = await Client.connect(port, "+LOCKSTEP")
            c.subscribe(1, "BAC")
            for _ in range(60):
                c.send(49, 1)
            for _ in range(60):
                await c.until("49")
            assert simulator.paced == 0
            c.send(9002, 0)
            refused = []
            for n in range(1, 41):
                await c.until("9001", matching=lambda f, n=n: f[2] == str(n))
                for _ in range(1 if n <= 12 else 0):
                    c.send(49, 1)  # twelve requests, ten a second: the sixth and the twelfth are too many
                if n == 40:
                    refused = simulator.paced
                c.send(9002, n)
            return refused

    assert asyncio.run(main()) == 2


def test_market_time_of_a_rule_runs_as_fast_as_the_market():
    async def main():
        async with gateway(source(), speed=50.0) as (simulator, port):
            c = await Client.connect(port)
            await asyncio.sleep(0.05)
            s = next(iter(simulator.sessions))
            a = s.seconds()
            await asyncio.sleep(0.1)
            assert 5.0 <= s.seconds() - a < 50.0
            c.close()

    asyncio.run(main())
    assert START % SECOND == 0
    assert MS == 10**6


odd = st.sampled_from(
    ["", "0", "1", "-1", "5", "BAC", "IBM", "STK", "USD", "TRADES", "BID_ASK", "MIDPOINT", "Last", "5 secs", "1 month", "1 D", "99999999999999999999 Y",
     "20131008 14:00:00", "20131008-14:00:00 UTC", "00010101 00:00:00", "99991231 23:59:59", "9" * 40, "1e400", "nan", "inf", "-inf", "1e308", "0.1",
     "BUY", "SELL", "LMT", "MKT", "STP", "STP LMT", "GTC", "\u00fc", "x" * 300]
)  # fmt: skip
# Shapes that come far, with one field replaced, or nonsense.
whole = st.sampled_from([
    [1, 11, 5, *stock("BAC"), 0, "", 0, 0, ""], [20, 6, *stock("BAC"), 0, "", "5 secs", "60 S", 0, "TRADES", 1, 0, ""],
    [96, 7, *stock("BAC"), 0, "20131008 14:00:00", "", 10, "BID_ASK", 0, 0, ""], [87, 8, *stock("BAC"), 0, 0, "TRADES", 1],
    [10, 5, 9, *stock("BAC"), 5, 1, ""], [50, 3, 10, *stock("BAC"), 5, "TRADES", 0, ""], [97, 11, *stock("BAC"), "BidAsk", 0, 0], [59, 1, 3],
    [7, 3, 30, 0, "", "20131008 14:00:00", "", "", "", ""], [4, 1, 3, ""], [25, 1, 6], [11, 1, 9, 1],
    [3, 3, *stock("BAC"), "", "", "BUY", 100, "LMT", 10.0, 9.0, "DAY", "g", "", "", 0, "r", 1, 0, *[0] * 6, *[""] * 78],
    [3, 4, *stock("BAC"), "", "", "SELL", 100, "STP LMT", 10.0, 9.0, "IOC", "", "", "", 0, "r", 1, 3, *[0] * 6, *[""] * 78],
])  # fmt: skip
changed = st.tuples(whole, st.integers(1, 30), odd).map(lambda x: [*x[0][: x[1]], x[2], *x[0][x[1] + 1 :]])
nonsense = st.tuples(st.sampled_from(sorted({*ANSWERS, *LATER})), st.lists(odd, max_size=25)).map(lambda x: [x[0], *x[1]])


@settings(max_examples=20)
@given(st.lists(st.one_of(whole, changed, nonsense), max_size=60), st.sampled_from([157, 178]))
def test_no_request_breaks_the_gateway(requests, version):
    async def main():
        async with gateway(walk(30), pacing=0, settle_ms=0.0, historical_identical_s=0, historical_per_2s=0) as (simulator, port):
            c = await Client.connect(port, version=version)
            for fields in requests:
                c.send(*fields)
            c.send(49, 1)
            await c.until("49")
            await asyncio.sleep(0.01)
            assert simulator.failure is None
            c.close()

    asyncio.run(main())
