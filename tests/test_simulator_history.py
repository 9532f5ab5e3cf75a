"""Historical data, ticks, head time stamps and 5-second bars: equal to their definition over the rows, and only the past."""

import asyncio

import naive_book
import naive_history as naive
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from naive_simulator import Client, stock
from test_simulator import MS, NAMES, NAN, SECOND, START, TYPES, MemorySource, eventually, gateway, quote, trade, walk

from tickarrow.jit.wire_encode_market import CONTROL_SLOTS, market_update
from tickarrow.pipeline.simulator_bars import time_ns
from tickarrow.pipeline.simulator_encoder import new_quotes
from tickarrow.pipeline.simulator_history import History, after, begin, make_bars

OPEN = {"historical_identical_s": 0, "historical_per_2s": 0, "pacing": 0}

price = st.one_of(st.integers(900, 1100).map(lambda k: k / 100), st.just(NAN))
size = st.integers(1, 9).map(lambda k: k * 100.0)
some_quote = st.tuples(st.just(0), st.integers(1, 15), price, size, price, size).map(lambda q: (*q, NAN, NAN))
some_trade = st.tuples(price, size).map(lambda t: (1, 0, NAN, NAN, NAN, NAN, *t))
some_rows = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 1), st.one_of(some_quote, some_trade)), max_size=40)


def rows_of(parts):
    """Rows in time order; values that are not given are missing."""
    out, ms = [], 0
    for step, symbol, (kind, mask, *values) in parts:
        ms += step
        given_values = [v if kind == 1 or k > 3 or mask >> k & 1 else NAN for k, v in enumerate(values)]
        out.append((START + ms * MS, symbol, kind, mask, *given_values))
    return out


def history(rows, block=5):
    return History(MemorySource(rows, block=block))


@given(some_rows, st.sampled_from(["TRADES", "BID", "ASK", "MIDPOINT"]), st.sampled_from([1, 5, 30]), st.integers(0, 90), st.integers(1, 90))
def test_bars_equal_their_definition(parts, what, seconds, first, length):
    rows = rows_of(parts)
    lo = START + first * 700 * MS
    hi = lo + length * 1100 * MS
    past = history(rows).past(1, hi - 1)
    got = [(b.ts, b.open, b.high, b.low, b.close, b.volume, b.average, b.count) for b in make_bars(past, what, seconds, lo, hi)]
    expected = naive.bars(rows, 1, what, seconds, lo, hi)
    assert [g[:6] + g[7:] for g in got] == [e[:6] + e[7:] for e in expected]
    np.testing.assert_allclose([g[6] for g in got], [e[6] for e in expected], rtol=1e-8)


A_TRADE = (0, 0, (1, 0, NAN, NAN, NAN, NAN, NAN, 100.0))
SIZE_BEFORE_PRICE = [*[A_TRADE] * 3, (0, 0, (0, 8, 9.0, 100.0, NAN, 100.0, NAN, NAN)), A_TRADE, (0, 0, (0, 4, NAN, 100.0, 9.0, 100.0, NAN, NAN))]
PRICE_GOES = [(0, 0, (0, 12, NAN, NAN, 9.0, 100.0, NAN, NAN)), (0, 0, (0, 4, *[NAN] * 6)), (0, 0, (0, 4, NAN, NAN, 9.0, NAN, NAN, NAN))]


@given(some_rows, st.lists(st.integers(0, 60), max_size=5))
@example(SIZE_BEFORE_PRICE, [0])  # the size is in one block of rows, its price in the next
@example(PRICE_GOES, [0])
def test_the_past_is_the_same_however_it_is_asked_for(parts, times):
    rows = rows_of(parts)
    h = history(rows)
    for seconds in sorted(times):
        until = START + seconds * SECOND
        past = h.past(0, until)
        expected = [q for q in naive.quotes_of(rows, 0) if q[0] <= until]
        got = np.array([past.quote_ts, past.bid, past.bid_size, past.ask, past.ask_size]).T
        np.testing.assert_array_equal(got, np.array(expected, float).reshape(-1, 5))
        assert past.trade_ts.tolist() == [r[0] for r in rows if r[1] == 0 and r[2] == 1 and r[0] <= until]


@pytest.mark.parametrize("block", [1, 4])
def test_the_past_is_what_the_market_and_a_file_of_the_same_rows_show(block):
    asks = [(8, NAN, 100.0), (4, 9.0, NAN), (15, NAN, NAN), (4, 9.5, NAN)]  # a size alone, its price, no quote, a price alone
    rows = [(START + k * MS, 0, 0, mask, NAN, NAN, ask, size, NAN, NAN) for k, (mask, ask, size) in enumerate(asks)]
    past = history(rows, block).past(0, START + SECOND)
    np.testing.assert_array_equal(past.ask, [NAN, 9.0, NAN, 9.5])
    np.testing.assert_array_equal(past.ask_size, [NAN, 100.0, NAN, NAN])
    market, columns = new_quotes(1), [np.array(c, t) for c, t in zip(zip(*rows), TYPES)]
    for k in range(4):
        market_update(market, *columns, k, k + 1, START + SECOND, np.zeros(CONTROL_SLOTS, np.int64))
        np.testing.assert_array_equal([market["ask"][0], market["ask_size"][0] if k else NAN], [past.ask[k], past.ask_size[k]])
    of_file = naive_book.rows([dict(zip(NAMES, r)) for r in rows])
    np.testing.assert_array_equal([r[4] for r in of_file], past.ask)
    np.testing.assert_array_equal([r[5] for r in of_file][1:], past.ask_size[1:])


def test_a_hand_computed_bar_of_bid_and_ask():
    rows = [quote(0, 0, 10.0, 10.02), quote(2500, 0, 10.04, 10.08), quote(4000, 0, 10.02, 10.04)]
    past = history(rows).past(0, START + 4999 * MS)
    (bar,) = make_bars(past, "BID_ASK", 5, START, START + 5 * SECOND)
    # bid: 10.00 for 2.5 s, 10.04 for 1.5 s, 10.02 for 1 s; ask: 10.02, 10.08, 10.04
    assert bar.open == pytest.approx((10.0 * 2.5 + 10.04 * 1.5 + 10.02) / 5)
    assert bar.close == pytest.approx((10.02 * 2.5 + 10.08 * 1.5 + 10.04) / 5)
    assert (bar.high, bar.low) == (10.08, 10.0)


def test_weeks_and_months_begin_at_their_first_day():
    assert np.datetime64(begin(START, "week"), "ns") == np.datetime64("2013-10-07")
    assert np.datetime64(begin(START, "month"), "ns") == np.datetime64("2013-10-01")
    assert np.datetime64(after(begin(START, "month"), "month"), "ns") == np.datetime64("2013-11-01")
    assert np.datetime64(after(begin(START, "week"), "week"), "ns") == np.datetime64("2013-10-14")


def test_times_of_requests_are_read_in_their_zone():
    for text in "20131008 14:00:00", "20131008-14:00:00", "20131008 14:00:00 UTC", "20131008 10:00:00 US/Eastern", "20131008  10:00:00 America/New_York":
        assert time_ns(text) == START
    for text in "yesterday", "20131008", "20131008 14:00:00 Mars/Base", "00010101 00:00:00", "99991231 23:59:59":
        with pytest.raises(ValueError):
            time_ns(text)


def test_regular_hours_are_those_of_new_york():
    hours = [(13 * 60 + 29, False), (13 * 60 + 30, True), (19 * 60 + 59, True), (20 * 60, False)]  # UTC minutes of a day in October
    for day, open_day in (8, True), (12, False):  # a Tuesday, a Saturday
        midnight = int(np.datetime64(f"2013-10-{day:02d}", "ns").astype(np.int64))
        rows = [(midnight + m * 60 * SECOND, 0, 1, 0, NAN, NAN, NAN, NAN, 10.0, 5.0) for m, _ in hours]
        past = history(rows).past(0, midnight + 86_400 * SECOND).regular()
        assert past.trade_ts.tolist() == [r[0] for r, (_, inside) in zip(rows, hours) if inside and open_day]


ROWS = [quote(0, 0, 10.0, 10.02, 300.0, 500.0), trade(1000, 0, 10.01, 100.0), trade(2000, 0, 10.02, 50.5), quote(2500, 0, 10.01, 10.03),
        trade(6000, 0, 10.03, 200.0), quote(6500, 0, 10.01, 10.03, 700.0), quote(7000, 1, 20.0, 20.5), trade(8000, 0, 10.0, 7.0)]  # fmt: skip


async def over(port, version=178):
    """A client behind the last row."""
    c = await Client.connect(port, version=version)
    c.subscribe(1, "BAC")
    await c.until("2", matching=lambda f: f[3] == "8" and f[4].startswith("357"))
    return c


@pytest.mark.parametrize("version", [157, 163, 166, 178])
def test_answers_of_historical_requests(version):
    whole = version < 163

    async def main():
        async with gateway(ROWS, **OPEN) as (_, port):
            c = await over(port, version)
            c.bars(5, "BAC", "60 S", "5 secs")
            seconds = START // SECOND
            assert (await c.until("17"))[-1] == [
                "17", "5", "20131008 13:59:08 UTC", "20131008 14:00:08 UTC", "2",
                str(seconds), "10.01", "10.02", "10.01", "10.02", "150" if whole else "150.5", "10.01335548", "2",
                str(seconds + 5), "10.03", "10.03", "10", "10", "207", "10.02898551", "2",
            ]  # fmt: skip
            c.bars(6, "BAC", "1 D", "1 day", what="BID", form=1, regular=1)
            assert (await c.until("17"))[-1][4:] == ["1", "20131008", "10", "10.01", "10", "10.01", "-1", "-1", "-1"]
            c.bars(6, "BAC", "30 S", "1 min", what="MIDPOINT", form=1, end="20131008 14:00:02 UTC")
            assert (await c.until("17"))[-1][4:] == ["1", "20131008 14:00:00 UTC", "10.01", "10.01", "10.01", "10.01", "-1", "-1", "-1"]
            c.ticks(7, "BAC", 2, start="20131008-14:00:00")
            first = [str(seconds + 1), "0", "10.01", "100", "SIM", "", str(seconds + 2), "0", "10.02", "50" if whole else "50.5", "SIM", ""]
            assert (await c.until("98"))[-1] == ["98", "7", "2", *first, "1"]
            c.ticks(8, "BAC", 1, end="20131008-14:00:08", what="BID_ASK")
            assert (await c.until("97"))[-1] == ["97", "8", "1", str(seconds + 6), "0", "10.01", "10.03", "700", "100", "1"]
            c.ticks(9, "BAC", 9, start="20131008-14:00:00", what="MIDPOINT")
            mids = await c.until("96")
            assert mids[-1] == ["96", "9", "2", str(seconds), "0", "10.01", "0", str(seconds + 2), "0", "10.02", "0", "1"]
            c.ticks(9, "BAC", 9, start="20131008-14:00:00", what="BID_ASK", ignore_size=1)
            assert (await c.until("97"))[-1][2] == "2"
            c.send(87, 10, *stock("IBM"), 0, 0, "BID", 2)
            assert (await c.until("88"))[-1] == ["88", "10", str(seconds + 7)]
            c.send(87, 11, *stock("BAC"), 0, 1, "TRADES", 1)
            assert (await c.until("88"))[-1] == ["88", "11", "20131008 14:00:01 UTC"]
            c.send(90, 11)
            c.bars(12, "BAC", "99999999999999999999 Y", "1 month", what="ASK")
            assert (await c.until("17"))[-1][2] == "19700101 00:00:00 UTC"
            c.close()

    asyncio.run(main())


def test_wrong_historical_requests_are_answered():
    async def main():
        async with gateway(ROWS, **OPEN) as (_, port):
            c = await over(port)
            for said, code, ask in (
                ("No security definition", 200, lambda: c.bars(5, "NONE", "60 S", "5 secs")),
                ("bar size '7 secs' is none of 1 secs, 5 secs", 321, lambda: c.bars(5, "BAC", "60 S", "7 secs")),
                ("duration '60 X' is not a number", 321, lambda: c.bars(5, "BAC", "60 X", "5 secs")),
                ("whatToShow 'FEE_RATE' is none of TRADES", 321, lambda: c.bars(5, "BAC", "60 S", "5 secs", what="FEE_RATE")),
                ("date format 3 is neither 1 nor 2", 321, lambda: c.bars(5, "BAC", "60 S", "5 secs", form=3)),
                ("has no end time", 321, lambda: c.bars(5, "BAC", "60 S", "5 secs", end="20131008 14:00:00", kept=1)),
                ("time-zone entered is invalid", 10314, lambda: c.bars(5, "BAC", "60 S", "5 secs", end="noon")),
                ("returned no data: IBM@SMART Trades", 162, lambda: c.bars(5, "IBM", "60 S", "5 secs")),
                ("Exactly one of start and end time", 10187, lambda: c.ticks(5, "BAC", 5)),
                ("Invalid start or end time", 10187, lambda: c.ticks(5, "BAC", 5, start="noon")),
                ("from 1 to 1000", 10187, lambda: c.ticks(5, "BAC", 5000, start="20131008-14:00:00")),
                ("is none of TRADES, MIDPOINT, BID_ASK", 321, lambda: c.ticks(5, "BAC", 5, start="20131008-14:00:00", what="BID")),
                ("No head time stamp: IBM@SMART Trades", 162, lambda: c.send(87, 5, *stock("IBM"), 0, 0, "TRADES", 1)),
                ("real-time bars are of 5 seconds, not 10", 321, lambda: c.send(50, 3, 5, *stock("BAC"), 10, "TRADES", 0, "")),
                ("market data type 9 is none", 321, lambda: c.send(59, 1, 9)),
            ):
                ask()
                assert said in await c.error(code)

    asyncio.run(main())


def test_the_future_is_not_told():
    async def main():
        async with gateway(ROWS, **OPEN, settle_ms=5000.0) as (_, port):
            c = await Client.connect(port)
            c.bars(5, "BAC", "1 D", "5 secs")
            assert "returned no data" in await c.error(162)  # the market has not begun
            c.ticks(5, "BAC", 10, start="20131008-00:00:00")
            assert (await c.until("98"))[-1] == ["98", "5", "0", "1"]
        async with gateway(ROWS, **OPEN) as (_, port):
            c = await Client.connect(port, "+LOCKSTEP")
            c.subscribe(1, "BAC")
            c.send(49, 1)
            await c.until("49")
            c.ticks(5, "BAC", 10, start="20131008-00:00:00")
            assert (await c.until("98"))[-1][2] == "0"
            c.send(9002, 0)
            known = {}
            while (f := await c.next())[0] != "9003":
                if f[0] == "9001":
                    c.ticks(int(f[2]), "BAC", 1000, start="20131008-00:00:00")
                    answer = (await c.until("98"))[-1]
                    known[int(f[1])] = int(answer[2])
                    c.send(9002, f[2])
            return known

    known = asyncio.run(main())
    trades = [r[0] for r in ROWS if r[1] == 0 and r[2] == 1]
    assert known == {ts: sum(t <= ts for t in trades) for ts in known}
    assert len(known) == 7


def test_real_time_bars_follow_the_clock():
    rows = [*ROWS, quote(21_000, 0, 10.1, 10.2)]

    async def run(manner):
        async with gateway(rows) as (_, port):
            c = await Client.connect(port, "+LOCKSTEP", version=178)
            c.subscribe(1, "BAC")
            for req, what in (5, "TRADES"), (6, "MIDPOINT"):
                c.send(50, 3, req, *stock("BAC"), 5, what, 0, "")
            c.bars(7, "BAC", "60 S", "1 min", kept=1)
            return await c.follow(pause=manner)

    seen, again = asyncio.run(run(0.0)), asyncio.run(run(0.004))
    assert seen == again
    s = START // SECOND
    bars = [f for f in seen if f[0] == "50"]
    assert [",".join(f[3:]) for f in bars if f[2] == "5"] == [
        f"{s},10.01,10.02,10.01,10.02,150.5,10.01335548,2", f"{s + 5},10.03,10.03,10,10,207,10.02898551,2",
        f"{s + 10},10,10,10,10,0,10,0", f"{s + 15},10,10,10,10,0,10,0",
    ]  # fmt: skip
    assert [",".join(f[3:]) for f in bars if f[2] == "6"][:2] == [f"{s},10.01,10.02,10.01,10.02,-1,-1,-1", f"{s + 5},10.02,10.02,10.02,10.02,-1,-1,-1"]
    kept = [f for f in seen if f[0] == "90"]
    assert kept[0] == ["90", "7", "2", str(s), "10.01", "10.02", "10.02", "10.01", "10.01335548", "150.5"]
    assert kept[1][2:] == ["4", str(s), "10.01", "10", "10.03", "10", "10.02240559", "357.5"]
    at = {f[3]: i for i, f in enumerate(seen) if f[0] == "50" and f[2] == "5"}
    clock = next(f for f in seen[at[str(s)] :] if f[0] == "9001")
    assert int(clock[1]) == START + 6000 * MS  # between the rows before and behind the end of the bar


def test_bars_stop_when_they_are_cancelled_or_the_client_is_gone():
    async def main():
        async with gateway(MemorySource(walk(4000, step_ms=(20, 40))), speed=50.0) as (simulator, port):
            a, b = await Client.connect(port), await Client.connect(port, client_id=2)
            for c in a, b:
                c.send(50, 3, 5, *stock("BAC"), 5, "BID", 0, "")
            await a.until("50")
            await b.until("50")
            a.send(51, 1, 5)
            a.send(49, 1)
            await a.until("49")
            b.close()
            await eventually(lambda: not simulator.feed.bars.requests)
            a.send(49, 1)
            assert [f for f in await a.until("49") if f[0] == "50"] == []

    asyncio.run(main())


def test_columns_of_the_test_source_are_those_of_rows():
    (block,) = MemorySource(ROWS).blocks()
    assert [getattr(block, n).dtype for n in NAMES] == list(map(np.dtype, TYPES))
