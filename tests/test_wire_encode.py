"""The wire encoder against its twin, and its texts against the doubles they stand for."""

import copy
import math

import naive_simulator as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.jit import wire_encode, wire_encode_market, wire_encode_number, wire_encode_slot
from tickarrow.jit.wire_encode_market import MESSAGES, POSITION, TRADES, TRIGGER, UPDATES
from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decode import Decode, FromRows
from tickarrow.pipeline.schemas import TICKS, Feed
from tickarrow.pipeline.simulator_encoder import Encoder, new_quotes
from tickarrow.pipeline.source import Rows

SECOND = 1_000_000_000
TYPES = (np.int64, np.int32, np.uint8, np.uint8, *(np.float64,) * 6)


def columns(rows):
    """Tuples of rows as the columns of a block."""
    parts = zip(*rows) if rows else [()] * 10
    return tuple(np.array(p, t) for p, t in zip(parts, TYPES))


class Taken(bytearray):
    def append(self, data):
        self.extend(data)


def encoder(requests, n_symbols=3, duplicates=True, conflated=False, whole=False, day=False):
    taken = Taken()
    e = Encoder(new_quotes(n_symbols), SimulatorConf(duplicate_sizes=duplicates), conflated, taken.append, whole, day)
    for req, symbol, feed, ignore_size in requests:
        e.add(req, symbol, feed, ignore_size, 0)
    return e, taken


nan = float("nan")
price = st.one_of(st.integers(1, 3000).map(lambda k: k / 100), st.sampled_from([nan, 10.5, 0.0001, 1 / 3, 1e-9]))
size = st.one_of(st.integers(0, 5).map(lambda k: k * 100.0), st.sampled_from([nan, 0.5, 12.345, 2 / 3]))
quote = st.tuples(st.just(0), st.integers(0, 15), price, size, price, size).map(lambda q: (*q, nan, nan))
trade_size = st.one_of(st.integers(1, 900).map(float), st.sampled_from([0.1, 0.3, 0.00000001, 1234.5]))
trade = st.tuples(price, trade_size).map(lambda t: (1, 0, nan, nan, nan, nan, *t))
row = st.tuples(st.integers(0, 2), st.one_of(quote, trade)).map(lambda r: (r[0], *r[1]))
flags = st.tuples(st.booleans(), st.booleans(), st.booleans())  # duplicates, whole sizes, ticks of the day
request = st.tuples(st.integers(0, 2), st.integers(0, 4), st.booleans())


def timed(rows):
    return [(1_381_240_800 * SECOND + k * 7 * 10**8, *r) for k, r in enumerate(rows)]


def masked(rows):
    """Values that are not given are missing, as a source says it."""
    out = []
    for r in rows:
        r = list(r)
        for bit in range(4):
            if not r[3] >> bit & 1:
                r[4 + bit] = nan
        out.append(tuple(r))
    return out


@pytest.mark.pure
@given(st.lists(row, max_size=25), st.lists(request, max_size=5), st.integers(0, 2), flags, st.integers(1, 9))
def test_frames_equal_their_definition_however_the_rows_are_cut(rows, wanted, clock, flags, cut):
    duplicates, whole, day = flags
    rows = masked(timed(rows))
    requests = [(10 + 37 * k, *w) for k, w in enumerate(wanted)]
    e, taken = encoder(requests, duplicates=duplicates, whole=whole, day=day)
    quotes, expected, totals = {}, b"", np.zeros(3, int)
    clocks = 0
    for a in range(0, len(rows), cut):
        block = rows[a : a + cut]
        e.rows(columns(block), 0, len(block), clock)
        data, counts = naive.encode_rows(block, requests, quotes, clock, duplicates, clocks, whole, day)
        clocks += sum(f[0] == "9001" for f in naive.frames(data)[0])
        expected += data
        totals += counts
    assert bytes(taken) == expected
    assert e.sent == tuple(totals)


@pytest.mark.pure
def test_frames_of_a_hand_written_quote_and_trade():
    e, taken = encoder([(7, 0, 0, False)])
    rows = [
        (5 * SECOND, 0, 0, 15, 14.25, 300.0, 14.3, 0.5, nan, nan),
        (6 * SECOND, 0, 1, 0, nan, nan, nan, nan, 14.27, 100.0),
        (6 * SECOND, 0, 1, 0, nan, nan, nan, nan, nan, 0.25),
        (7 * SECOND, 0, 0, 4, nan, nan, nan, nan, nan, nan),
    ]
    e.rows(columns(rows), 0, 4, wire_encode_market.EVERY_ROW)
    fields, torn = naive.frames(bytes(taken))
    assert torn == b""
    assert [",".join(f) for f in fields] == [
        "1,6,7,1,14.25,300,1", "2,6,7,0,300", "1,6,7,2,14.3,0.5,1", "2,6,7,3,0.5", "9001,5000000000,0",
        "1,6,7,4,14.27,100,0", "2,6,7,5,100", "2,6,7,8,100", "9001,6000000000,1",
        "2,6,7,8,100.25", "9001,6000000000,2",
        "1,6,7,2,-1,0,0", "2,6,7,3,0", "9001,7000000000,3",
    ]  # fmt: skip
    assert e.sent == (4 + 3 + 1 + 2, 2, 2)


@pytest.mark.pure
def test_ticks_of_the_day_and_whole_sizes_of_hand_written_trades():
    e, taken = encoder([(7, 0, 0, False)], duplicates=False, whole=True, day=True)
    rows = [(k * SECOND // 2, 0, 1, 0, nan, nan, nan, nan, p, z) for k, (p, z) in enumerate([(10.0, 1.5), (10.5, 1.5), (10.25, 2.0), (9.5, 0.5)], 10)]
    e.rows(columns(rows), 0, 4, 0)
    assert [",".join(f) for f in naive.frames(bytes(taken))[0]] == [
        "46,6,7,45,5", "1,6,7,4,10,1,0", "2,6,7,8,1", "1,6,7,14,10,0,0", "1,6,7,6,10,0,0", "1,6,7,7,10,0,0",
        "1,6,7,4,10.5,1,0", "2,6,7,8,3", "1,6,7,6,10.5,0,0",
        "46,6,7,45,6", "1,6,7,4,10.25,2,0", "2,6,7,8,5",
        "1,6,7,4,9.5,0,0", "2,6,7,8,5", "1,6,7,7,9.5,0,0",
    ]  # fmt: skip


@pytest.mark.pure
@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(0, 10**12).flatmap(lambda k: st.integers(0, 8).map(lambda d: k / 10**d)),
    )
)
def test_a_number_reads_back_as_the_same_double(x):
    out, odd = np.zeros(400, np.uint8), np.zeros(4, wire_encode_number.ODD)
    end = wire_encode_number.number_point(out, 0, x, odd)
    if end < 0:
        assert odd[0].value == x
        return
    text = bytes(out[:end]).decode()
    assert float(text) == x
    assert text == naive.number(x + 0.0)  # the shortest one; -0.0 is written as 0


@pytest.mark.pure
def test_every_price_of_a_tick_grid_has_a_short_text():
    out, odd = np.zeros(64, np.uint8), np.zeros(4, wire_encode_number.ODD)
    for d in range(9):
        for k in (1, 7, 99, 100, 12345, 99999999, 123456789012):
            end = wire_encode_number.number_point(out, 0, k / 10**d, odd)
            assert bytes(out[:end]).decode() == naive.number(k / 10**d)


@pytest.mark.pure
def test_a_full_buffer_loses_nothing():
    requests = [(k, 0, 0, False) for k in range(1, 9)]
    rows = masked(timed([(0, 0, 15, 10 + k / 100, 100.0, 11 + k / 100, 200.0, nan, nan) for k in range(40)]))
    e, taken = encoder(requests)
    e.out = np.zeros(500, np.uint8)  # shorter than a row
    e.rows(columns(rows), 0, len(rows), 1)
    assert bytes(taken) == naive.encode_rows(rows, requests, {}, 1)[0]


@pytest.mark.pure
@given(st.lists(st.lists(row, max_size=4), min_size=1, max_size=12), st.integers(1, 3), flags, st.sets(st.integers(0, 11)))
def test_a_conflated_request_gets_what_changed_in_its_slot(slots, wait, flags, split):
    duplicates, whole, day = flags
    e, taken = encoder([(9, 0, 0, False)], duplicates=duplicates, conflated=True, whole=whole, day=day)
    e.conf.quote_slots = wait
    q, ends = naive.Quote(), []
    for k, rows in enumerate(slots):
        rows = masked(timed(rows))
        e.rows(columns(rows), 0, len(rows), 0)
        for part in (wire_encode_slot.TRADE_PART, wire_encode_slot.QUOTE_PART) if k in split else (wire_encode_slot.ALL,):
            e.slot(k, part)  # in two packets or in one: the same messages
        for r in rows:
            if r[1] == 0:
                q.apply(r)
        ends.append(copy.copy(q))
    assert bytes(taken) == naive.encode_slots(ends, 9, wait, duplicates, whole, day)
    assert e.control[MESSAGES] == len(naive.frames(bytes(taken))[0])


@pytest.mark.pure
def test_the_market_stops_at_the_row_that_reaches_a_resting_order():
    state, control = new_quotes(2), np.zeros(wire_encode_market.CONTROL_SLOTS, np.int64)
    state["buy_limit"][0], state["sell_limit"][1] = 10.0, 20.0
    rows = masked(timed([
        (0, 0, 15, 9.9, 100.0, 10.1, 100.0, nan, nan),
        (1, 0, 15, 19.9, 100.0, 20.1, 100.0, nan, nan),
        (0, 1, 0, nan, nan, nan, nan, 9.0, 50.0),  # a trade reaches nothing
        (0, 0, 3, 9.95, 100.0, nan, nan, nan, nan),
        (0, 0, 12, nan, nan, 10.0, 70.0, nan, nan),  # the ask comes down to the limit
        (1, 0, 1, 20.0, nan, nan, nan, nan, nan),  # the bid comes up to the limit
        (0, 0, 4, nan, nan, nan, nan, nan, nan),  # no ask
    ]))  # fmt: skip
    c = columns(rows)
    ends = []
    lo = 0
    while lo < len(rows):
        lo = wire_encode_market.market_update(state, *c, lo, len(rows), 2**62, control)
        ends.append((lo, int(control[TRIGGER])))
    assert ends == [(5, 1), (6, 1), (7, 0)]
    assert state["ask_left"][1] == 100.0
    assert math.isnan(state["ask"][0])
    assert wire_encode_market.market_update(new_quotes(2), *c, 0, len(rows), rows[3][0], control) == 3


def test_encoders_count_updates_and_trades_once_per_request():
    e, _ = encoder([(1, 0, wire_encode.L1, False), (2, 0, wire_encode.LAST, False), (3, 0, wire_encode.BID_ASK, True)])
    rows = masked(timed([
        (0, 0, 15, 1.0, 1.0, 2.0, 1.0, nan, nan),
        (0, 0, 15, 1.0, 5.0, 2.0, 1.0, nan, nan),  # sizes only: not for request 3
        (0, 1, 0, nan, nan, nan, nan, 1.5, 5.0),
    ]))  # fmt: skip
    e.rows(columns(rows), 0, 3, 0)
    assert e.control[UPDATES] == 3
    assert e.control[TRADES] == 1  # where Last is subscribed, L1 makes no trade rows
    assert e.control[POSITION] == 0


# Rows as a source gives them: a given side has a price and a size, or neither; a size alone is of a side that has a price.
def given_side(p, z):
    return st.sampled_from([(3, p, z), (1, p, nan), (2, nan, z), (3, nan, nan), (0, nan, nan)])


plain_price, plain_size = st.integers(1, 3000).map(lambda k: k / 100), st.integers(1, 50000).map(lambda k: k / 4)
source_quote = st.tuples(plain_price, plain_size, plain_price, plain_size).flatmap(
    lambda v: st.tuples(given_side(*v[:2]), given_side(*v[2:])).map(
        lambda s: (0, s[0][0] | s[1][0] << 2, s[0][1], s[0][2], s[1][1], s[1][2], nan, nan)
    )
)
source_trade = st.tuples(st.one_of(plain_price, st.just(nan)), st.integers(1, 10**9).map(lambda k: k / 1000)).map(
    lambda t: (1, 0, nan, nan, nan, nan, *t)
)
source_row = st.tuples(st.integers(0, 2), st.one_of(source_quote.filter(lambda q: q[1]), source_trade)).map(lambda r: (r[0], *r[1]))


@given(st.lists(source_row, max_size=40), st.booleans())
def test_the_decoder_reads_back_the_ticks_of_the_rows(rows, day):
    rows = timed(rows)
    e, taken = encoder([(11, 0, 0, False), (12, 1, 0, False), (13, 2, 0, False)], day=day)
    for req, symbol in (11, 0), (12, 1), (13, 2):
        e.present(req, symbol)  # the baseline of the volume
    e.clock(1_381_240_800 * SECOND)
    e.rows(columns(rows), 0, len(rows), wire_encode_market.EVERY_ROW)
    data = np.zeros(len(taken) + 64, np.uint8)
    data[: len(taken)] = taken

    wire, table = Decode(3, Table(TICKS)), Table(TICKS)
    decode = Decode(3, table)
    for req, symbol in (11, 0), (12, 1), (13, 2):
        wire.subscribe(req, symbol, Feed.L1)
        decode.subscribe(req, symbol, Feed.L1)
    at, number = 0, 0
    while at < len(taken):
        split = wire.split(data, at, len(taken))
        decode.step(Chunk(data, at, split.pos, split.clock_ts, number))
        at, number = split.pos, number + 1
    direct = Table(TICKS)
    c = columns(rows)
    FromRows(3, direct).step(Rows(*c))
    assert table.rows == direct.rows == len(rows)
    for name in ("seq", "ts", "symbol", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size"):
        np.testing.assert_array_equal(table.column(name), direct.column(name), err_msg=name)
    counts = decode.counts()
    assert (counts["bad"], counts["forwarded"], counts["decoded"]) == (0, 0, e.sent[0])
