"""Lock step: clock frames, acknowledgements, and orders that meet the market at the same row however the bytes travel."""

import asyncio
import random

import naive_simulator as naive
import pytest
from naive_simulator import Client
from test_simulator import MS, NAN, SECOND, START, MemorySource, gateway, quote, trade, walk

LATENCY = 50 * MS


async def stepper(port, symbols=("BAC", "IBM")):
    """A client in lock step that has subscribed and has every answer; clock frame 0 is not acknowledged."""
    c = await Client.connect(port, "+LOCKSTEP")
    for k, symbol in enumerate(symbols):
        c.subscribe(10 + k, symbol)
    c.send(49, 1)
    seen = await c.until("49")
    assert [f[1:] for f in seen if f[0] == "9001"] == [[str(START), "0"]]
    return c


def test_a_halt_of_the_source_is_told_behind_its_last_row_and_before_the_first_one_after_it():
    bac = [quote(100 * k, 0, 9.99, 10.01) for k in range(5)]
    halt = (START + 450 * MS, 0, 0, 15, NAN, NAN, NAN, NAN, NAN, NAN)
    after = [trade(900, 0, 10.0, 500.0), quote(900, 0, 9.99, 10.01), quote(1000, 0, 9.98, 10.0)]
    source = MemorySource(sorted([*bac, halt, *[quote(100 * k + 1, 1, 15.0, 15.01) for k in range(12)]], key=lambda r: r[0]) + after)
    source.rows.sort(key=lambda r: r[0])
    source.halts = [(0, START + 450 * MS, START + 900 * MS)]

    async def once():
        async with gateway(source) as (_, port):
            c = await stepper(port)
            c.send(9002, 0)
            late = False
            while (f := await c.next())[0] != "9003":
                if f[0] == "9001":
                    if not late and int(f[1]) >= START + 600 * MS:
                        late = True
                        c.subscribe(20, "BAC")  # it hears at once that the symbol is halted
                    c.send(9002, f[2])
            c.close()
            return bytes(c.received), f

    async def main():
        (first, end), (second, _) = await once(), await once()
        assert first == second
        chunks, open_ = [], []
        for f in naive.frames(first)[0]:
            open_.append(f)
            if f[0] == "9001":
                chunks.append(((int(f[1]) - START) / MS, open_))
                open_ = []
        told = [(ms, f[2], f[4]) for ms, frames in chunks if ms for f in frames if f[0] == "45"]
        at = next(ms for ms, req, _ in told if req == "20")
        assert told == [(450.000001, "10", "1.0"), (at, "20", "1.0"), (900.0, "10", "0.0"), (900.0, "20", "0.0")]
        assert 600 <= at < 800
        gone, back = (next(k for k, (_, frames) in enumerate(chunks) if ["45", "6", "10", "49", x] in frames and k > 2) for x in ("1.0", "0.0"))
        assert ["1", "6", "10", "1", "-1", "0", "0"] in chunks[gone - 1][1]  # the row that takes the quote away is before it
        assert [f[0] for f in chunks[back][1]] == ["45", "45", "9001"]
        assert sum(f[0] in ("1", "2", "45", "46") for f in naive.frames(first)[0]) == int(end[1])

    asyncio.run(main())


class Trader:
    """Decides by its own seed and the number of the clock frame alone."""

    def __init__(self, seed, rate=0.2):
        self.random, self.rate, self.next_id, self.actions = random.Random(seed), rate, 1, []

    def decide(self, client, ts, before_sending=lambda: None):
        if self.random.random() > self.rate:
            return
        before_sending()
        if self.next_id > 1 and self.random.random() < 0.3:
            key = self.random.randrange(1, self.next_id)
            client.cancel(key)
            self.actions.append((ts + LATENCY, "cancel", key))
            return
        symbol, side = self.random.randrange(2), self.random.choice([1, -1])
        quantity = self.random.choice([100, 300, 1000])
        limit = None if self.random.random() < 0.2 else round((1000 + 500 * symbol + self.random.randrange(-4, 6)) / 100, 2)
        client.order(self.next_id, ("BAC", "IBM")[symbol], "BUY" if side > 0 else "SELL", quantity, limit, ref=f"r-{self.next_id}")
        self.actions.append((ts + LATENCY, "order", self.next_id, symbol, side, quantity, limit))
        self.next_id += 1


async def trade_session(port, seed, manner):
    """Every byte of a run, and what was decided. The manner of reading and acknowledging must not matter."""
    c, trader, times = await stepper(port), Trader(seed), []
    hurry = random.Random(99)
    c.send(9002, 0)
    acknowledged, number = 0, 0
    while True:
        f = await c.next()
        if f[0] == "9003":
            break
        if f[0] != "9001":
            continue
        ts, number = int(f[1]), int(f[2])
        times.append((number, ts))

        def up_to_this(n=number - 1):
            nonlocal acknowledged
            if n > acknowledged:
                c.send(9002, n)
                acknowledged = n

        trader.decide(c, ts, up_to_this)
        if manner == "each" or (manner == "slow"):
            c.send(9002, number)
            acknowledged = number
            if manner == "slow" and hurry.random() < 0.1:
                await asyncio.sleep(0.001)
        elif c.at == len(c.received):  # "batch": when everything read is decided
            c.send(9002, number)
            acknowledged = number
    c.close()
    return bytes(c.received), trader.actions, times


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equal_decisions_give_equal_bytes_and_the_fills_of_the_definition(seed):
    rows = walk(400, seed=seed, step_ms=(0, 60))

    async def main():
        runs = []
        for manner in ("each", "slow", "batch"):
            source = MemorySource(rows, block=64)
            async with gateway(source) as (simulator, port):
                runs.append(await trade_session(port, seed, manner))
                counts = simulator.counts()
        return runs, counts

    runs, counts = asyncio.run(main())
    assert runs[0] == runs[1] == runs[2]
    data, actions, times = runs[0]
    assert [n for n, _ in times] == list(range(1, len(rows) + 1))
    assert [ts for _, ts in times] == [r[0] for r in rows]

    seen = naive.frames(data)[0]
    fills, states = naive.match(rows, actions)
    got = [(int(f[2]), float(f[20]), float(f[19]), f[15]) for f in seen if f[0] == "11"]
    assert [g[:3] for g in got] == [x[:3] for x in fills]
    seconds = [f"{(ts // SECOND) % 60:02d} UTC" for *_, ts in fills]
    assert [g[3][-6:] for g in got] == seconds
    last = {int(f[1]): (f[2], float(f[3])) for f in seen if f[0] == "3"}
    assert last == states
    assert len(fills) > 5
    assert counts["fills"] == len(fills)
    assert seen[-1] == ["9003", *(str(counts[k]) for k in ("sent_messages", "sent_updates", "sent_trades"))]
    assert counts["sent_updates"] + counts["sent_trades"] == len(rows)


def test_messages_of_a_row_stand_between_its_neighbours_clock_frames():
    rows = walk(200, seed=4)

    async def main():
        async with gateway(rows) as (_, port):
            c = await stepper(port)
            c.send(9002, 0)
            start = c.at
            while (f := await c.next())[0] != "9003":
                if f[0] == "9001":
                    c.send(9002, f[2])
            return bytes(c.received[start:])

    data = asyncio.run(main())
    expected, counts = naive.encode_rows(rows, [(10, 0, 0, False), (11, 1, 0, False)], {}, naive.EVERY_ROW, True, 1)
    assert data == expected + naive.frame(9003, counts[0] + 4, *counts[1:])  # 4: volume and halted of two subscriptions


def test_the_market_runs_ahead_by_less_than_the_order_latency():
    times = [0, 10, 10, 49, 50, 59, 60, 61, 200, 240, 251, 400]
    rows = [quote(ms, 0, 10.0, 10.02) for ms in times]

    async def main():
        async with gateway(rows) as (_, port):
            c = await stepper(port)
            with pytest.raises(TimeoutError):
                await c.next(0.1)  # nothing before clock frame 0 is acknowledged
            c.send(9002, 0)
            received, acknowledged = 0, 0
            while acknowledged < len(rows):
                first = times[acknowledged]  # the row of the first clock frame that is not acknowledged
                may = sum(ms < first + 50 for ms in times)
                while received < max(may, acknowledged + 1):
                    await c.until("9001")
                    received += 1
                with pytest.raises(TimeoutError):
                    await c.next(0.02)
                acknowledged += 1
                c.send(9002, acknowledged)
            assert (await c.next())[0] == "9003"

    asyncio.run(main())


def test_without_latency_every_row_waits_for_its_acknowledgement():
    async def main():
        async with gateway([quote(ms, 0, 10.0, 10.02) for ms in (0, 0, 5)], latency_ms=0.0) as (_, port):
            c = await stepper(port)
            for k in range(4):
                c.send(9002, k)
                if k == 3:
                    assert (await c.next())[0] == "9003"
                    break
                assert (await c.until("9001"))[-1][2] == str(k + 1)
                with pytest.raises(TimeoutError):
                    await c.next(0.02)

    asyncio.run(main())


def test_orders_of_the_last_rows_are_worked_out_then_cancelled():
    async def main():
        async with gateway([quote(0, 0, 10.0, 10.02, 100.0, 60.0)]) as (_, port):
            c = await stepper(port)
            c.send(9002, 0)
            await c.until("9001")
            c.order(1, "BAC", "BUY", 100, 10.05)
            c.order(2, "BAC", "BUY", 100, 9.0)
            c.send(9002, 1)
            seen = [f for f in await c.until("9003") if f[0] in ("11", "3", "4", "9003")]
            assert [f[19] for f in seen if f[0] == "11"] == ["60"]
            assert [(f[1], f[3]) for f in seen if f[0] == "3" and f[2] == "Cancelled"] == [("1", "60"), ("2", "0")]
            assert [f[4] for f in seen if f[3:4] == ["202"]] == ["Order Canceled - reason:the market is over"] * 2
            c.order(3, "BAC", "BUY", 100, 9.0)
            assert await c.error(201) == "Order rejected - reason: the market is over"

    asyncio.run(main())


def test_a_fill_is_said_before_the_clock_frame_of_its_row():
    rows = [quote(0, 0, 10.0, 10.02), quote(100, 0, 9.99, 10.01), quote(200, 0, 9.98, 10.0, 100.0, 500.0), quote(300, 0, 10.0, 10.02)]

    async def main():
        async with gateway(rows) as (_, port):
            c = await stepper(port)
            c.send(9002, 0)
            await c.until("9001")
            c.order(1, "BAC", "BUY", 200, 10.0)
            c.send(9002, 1)
            accepted = await c.until("9001")
            assert [f[0] for f in accepted[:4]] == ["5", "3", "5", "3"]  # in effect at 50 ms, before the row of 100 ms
            c.send(9002, 2)
            filled = await c.until("9001")
            assert [f[0] for f in filled] == ["1", "2", "1", "2", "11", "5", "3", "59", "9001"]
            assert (filled[4][19:21], filled[-1][2]) == (["200", "10"], "3")  # it waited: at its limit
            assert filled[7][1:4] == ["1", "0000.1.01", "1.0144"]  # the minimum, and 200 shares of the audit trail

    asyncio.run(main())


def test_market_data_asked_for_during_the_run_begins_after_the_order_latency():
    rows = [quote(ms, k % 2, 10.0 + k / 100, 10.5) for k, ms in enumerate(range(0, 400, 20))] + [trade(500, 1, 10.0, 70.0)]

    async def run(manner):
        async with gateway(rows) as (_, port):
            c = await stepper(port, ["BAC"])
            c.send(9002, 0)
            seen = []
            while not seen or seen[-1][0] != "9003":
                f = await c.next()
                seen.append(f)
                if f[0] == "9001":
                    if f[2] == "3":
                        await asyncio.sleep(manner)
                        c.subscribe(20, "IBM")
                        c.tick_by_tick(21, "IBM", "Last")
                    c.send(9002, f[2])
            return bytes(c.received), seen

    (data, seen), (again, _) = asyncio.run(run(0.0)), asyncio.run(run(0.03))
    assert data == again
    own = [f for f in seen if f[0] in ("1", "9001")]
    first = next(i for i, f in enumerate(own) if f[2] == "20")
    assert own[first][4] == "10.05"  # the quote in force at 80 + 50 ms is that of 100 ms
    assert own[first + 2] == ["9001", str(START + 130 * MS), own[first + 2][2]]  # dated by a clock frame of its own
    numbers = [int(f[2]) for f in own if f[0] == "9001"]
    assert numbers == sorted(numbers)
    assert [f for f in seen if f[0] == "99"] == [["99", "21", "1", str(START // SECOND), "10", "70", "0", "SIM", ""]]


def test_wrong_acknowledgements_are_counted_and_change_nothing():
    async def main():
        async with gateway(walk(20)) as (simulator, port):
            c = await stepper(port)
            c.send(9002, 5)
            assert "acknowledges a clock frame that was not sent" in await c.error(320)
            c.send(9002, 0)
            c.send(9002, 0)
            assert "acknowledged already" in await c.error(320)
            assert simulator.bad_frames == 2

    asyncio.run(main())


def test_two_runs_of_one_server_are_equal():
    async def main():
        async with gateway(walk(100, seed=5)) as (_, port):
            runs = []
            for _ in range(2):
                runs.append(await trade_session(port, 5, "each"))
                await asyncio.sleep(0.02)
            assert runs[0] == runs[1]

    asyncio.run(main())


def test_conflation_is_refused_in_lock_step():
    async def main():
        async with gateway(walk(5), conflation_ms=250) as (_, port):
            c = await Client.connect(port, "+LOCKSTEP")
            assert await c.error(321) == "Lock step sends every row: set gateway.conflation_ms=0."
            assert await c.next() is None

    asyncio.run(main())


def test_ordinary_clients_never_see_private_frames():
    async def main():
        async with gateway(walk(50)) as (simulator, port):
            c = await Client.connect(port)
            c.subscribe(1, "BAC")
            c.send(9002, 0)
            assert "Unknown message id: 9002" in await c.error(505)
            await asyncio.sleep(0.1)
            assert simulator.feed.over
            c.send(49, 1)
            assert not [f for f in await c.until("49") if int(f[0]) > 9000]

    asyncio.run(main())


def test_a_missing_quote_fills_nothing():
    rows = [quote(0, 0, 10.0, 10.02), (START + 100 * MS, 0, 0, 5, NAN, NAN, NAN, NAN, NAN, NAN), quote(300, 0, 10.0, 10.03)]

    async def main():
        async with gateway(rows) as (_, port):
            c = await stepper(port)
            c.send(9002, 0)
            seen = []
            while not seen or seen[-1][0] != "9003":
                f = await c.next()
                seen.append(f)
                if f[0] == "9001":
                    if f[2] == "2":
                        c.order(1, "BAC", "BUY", 10)
                    c.send(9002, f[2])
            fill = next(f for f in seen if f[0] == "11")
            assert fill[20] == "10.03"

    asyncio.run(main())
