"""Market depth: the messages rebuild a book whose best level is the quote, whatever the quote does."""

import asyncio

import naive_history as naive
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_simulator import Client
from test_simulator import NAN, START, MemorySource, gateway, quote, trade, walk

from tickarrow.pipeline.simulator_depth import ASK, BID, changes, ladder

price = st.one_of(st.integers(1, 12).map(lambda k: k / 100), st.just(NAN))
size = st.sampled_from([100.0, 200.0, NAN])


@given(st.lists(st.tuples(price, size), min_size=1, max_size=12), st.sampled_from([ASK, BID]), st.integers(1, 6))
def test_operations_turn_one_ladder_into_the_next(path, side, rows):
    book = []
    for p, z in path:
        new = ladder(p, z, side, 0.01, rows)
        done = list(book)
        for at, operation, level in changes(book, new):
            if operation == 0:
                done.insert(at, level)
            elif operation == 1:
                assert done[at][0] == level[0]
                done[at] = level
            else:
                assert done.pop(at)[0] == level[0]
            assert len(done) <= rows
        assert done == new
        book = new
        if p == p:
            assert new[0] == (p, 0.0 if z != z else z)
            prices = [x for x, _ in new]
            assert prices == sorted(prices, reverse=side == BID)
            assert len(new) == (rows if side == ASK else min(rows, round(p / 0.01)))
        else:
            assert new == []


def test_a_quote_that_moves_a_tick_is_one_insert_and_one_delete():
    old, new = ladder(10.0, 300.0, BID, 0.01, 3), ladder(10.01, 200.0, BID, 0.01, 3)
    assert [p for p, _ in old] == [10.0, 9.99, 9.98]
    operations = changes(old, new)
    assert operations[:2] == [(2, 2, (9.98, 0.0)), (0, 0, (10.01, 200.0))]
    assert [(k, what, level[0]) for k, what, level in operations[2:]] == [(1, 1, 10.0)]  # it shows another size behind the best
    assert changes(new, new) == []


@pytest.mark.parametrize("version", [157, 163, 166, 178])
def test_the_book_follows_every_row_in_lock_step(version):
    rows = [*walk(120, seed=3), (START + 10**13, 0, 0, 5, NAN, NAN, NAN, NAN, NAN, NAN)]

    async def main():
        async with gateway(MemorySource(rows)) as (_, port):
            c = await Client.connect(port, "+LOCKSTEP", version=version)
            c.subscribe(1, "BAC")
            c.depth(5, "BAC", rows=4)
            c.depth(6, "BAC", rows=7, smart=1)
            return await c.follow()

    seen = asyncio.run(main())
    quotes = [r for r in rows if r[1] == 0 and r[2] == 0]
    for message, limit in ("12", 4), ("13", 7):
        books, at = naive.books([f for f in seen if f[0] == message], limit), 0
        book, ends = [[], []], []
        for f in seen:  # the messages of a row stand before its clock frame
            if f[0] == message:
                book = next(books)
            elif f[0] == "9001":
                ends.append((int(f[1]), book))
        shown = dict(ends)
        assert set(shown) >= {r[0] for r in quotes}
        last = {r[0]: r for r in quotes}
        for ts, r in last.items():
            asks, bids = shown[ts]
            assert asks[:1] == ([] if r[6] != r[6] else [(r[6], r[7])])
            assert bids[:1] == ([] if r[4] != r[4] else [(r[4], r[5])])
            at += len(asks) in (0, limit)
        assert at == len(last)
    smart = [f for f in seen if f[0] == "13"]
    assert {f[9] for f in smart} == {"1"}
    assert {f[4] for f in smart} == {"SIM", "ARCA", "BATS", "NSDQ"}


def test_whole_sizes_for_old_clients_and_what_is_refused():
    async def main():
        rows = [quote(0, 0, 10.0, 10.02, 100.5, 200.0), trade(10, 0, 10.0, 1.0)]
        async with gateway(rows, tick_by_tick_s=0) as (_, port):
            for version, shown in (157, "100"), (178, "100.5"):
                c = await Client.connect(port, client_id=version, version=version)
                c.depth(5, "BAC", rows=1)
                assert (await c.until("12", matching=lambda f: f[5] == "1"))[-1] == ["12", "1", "5", "0", "0", "1", "10", shown]
                c.depth(6, "NONE")
                assert "No security definition" in await c.error(200)
                c.depth(6, "BAC", rows=0)
                assert "ask for 1 to 60" in await c.error(321)

    asyncio.run(main())
