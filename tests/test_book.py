"""Quote and trade state: design contracts 4 and 5 by hand, and the kernel against its twin."""

from __future__ import annotations

import random

import naive_book as twin
import naive_wire as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import book, wire, wire_fields, wire_message
from tickarrow.pipeline import schemas
from tickarrow.pipeline.decode import subscription_table

T = 1_700_000_000
NAN = float("nan")
SYMBOLS = 4
DTYPES = ("u8", "i8", "i8", "u8", "i4", "u1", "u1", "u2", *["f8"] * 6)


@pytest.fixture(autouse=True)
def wrap():
    with np.errstate(over="ignore", invalid="ignore"):
        yield


def runs(frames: list[bytes | str]) -> list[bytes]:
    """The bytes of the frames between the places where data was lost."""
    out = [b""]
    for f in frames:
        if f == twin.LOST:
            out.append(b"")
        else:
            out[-1] += f
    return out


def ticks(chunks: list[list[bytes | str]], piece: int = 256, last_subscribed: tuple[int, ...] = (), aside: list[tuple] | None = None) -> list[tuple]:
    """Rows of chunks of frames, through the kernels; a reqId is its symbol. `aside` takes (rows before it, message) of other tables."""
    state, ends = book.new_book(SYMBOLS), np.array([book.NOBODY, book.NOBODY, 0])
    others = np.zeros(sum(map(len, chunks)) + 1, wire_message.MESSAGE)
    for i in last_subscribed:
        state["last_subscribed"][i] = 1
    n = sum(map(len, chunks))
    columns = [np.zeros(n + 1, d) for d in DTYPES]
    subscriptions = subscription_table(np.array([(i, i, 0, wire_fields.LIVE, 0, 0) for i in range(SYMBOLS)], wire_fields.SUBSCRIPTION))
    row = 0
    for number, frames in enumerate(chunks):
        messages, scratch = np.zeros(piece, wire_message.MESSAGE), np.zeros(wire_message.MAX_FIELDS, np.int64)
        counts, samples = np.zeros(wire.N_COUNTS, np.int64), np.zeros((wire.SAMPLES, 3), np.int64)
        for k, run in enumerate(runs(frames)):
            if k:
                book.book_lost(state, 0, SYMBOLS)
            data = np.frombuffer(run + bytes(64), np.uint8).copy()
            pos, status = 0, wire.FULL
            while status == wire.FULL:
                pos, filled, status = wire.decode(data, pos, len(data) - 64, 0, subscriptions, 0, 3, messages, scratch, counts, samples)
                row = book.messages_update(state, ends, messages, 0, filled, others, 1000 + number, number, row, row, *columns)
        row = book.chunk_close(state, ends, 1000 + number, number, row, row, *columns)
        assert counts[wire_message.BAD] == 0
        assert tuple(ends[:2]) == (book.NOBODY, book.NOBODY)
    if aside is not None:
        aside += [(m["at"].item(), m["req_id"].item(), m) for m in others[: ends[2]]]
    assert list(columns[0][:row]) == list(range(row))
    assert all(columns[1][:row] == 1000 + columns[3][:row].astype(int))
    order = (3, 4, 5, 2, 7, 8, 9, 10, 11, 12, 13)
    return [tuple(columns[k][j].item() for k in order) for j in range(row)]


def equal(a: list[tuple], b: list[tuple]) -> bool:
    return len(a) == len(b) and all(twin.same(x, y) for r, s in zip(a, b) for x, y in zip(r, s))


def price(i, side, p, z, attributes=0):
    return naive.frame(1, 6, i, (1, 2)[side], p, z, attributes)


def size(i, side, z):
    return naive.frame(2, 6, i, (0, 3)[side], z)


def last(i, p, z=100, attributes=0):
    return naive.frame(1, 6, i, 4, p, z, attributes)


def volume(i, v):
    return naive.frame(2, 6, i, 8, v)


def quote(chunk, i, bid, bid_size, ask, ask_size, time=0):
    return (chunk, i, 0, time, 0, bid, bid_size, ask, ask_size, NAN, NAN)


def test_codes_are_those_of_the_schemas():
    assert (book.QUOTE, book.TRADE) == (schemas.Kind.QUOTE, schemas.Kind.TRADE)
    assert list(schemas.Feed)[:5] == [book.L1, book.TBT_LAST, book.TBT_ALL, book.TBT_BIDASK, book.FILE]
    assert [getattr(book, f.name) for f in schemas.Flag] == list(schemas.Flag)


# --- contract 4


@pytest.mark.pure
def test_the_messages_of_a_quote_in_one_chunk_are_one_update():
    got = ticks([[price(0, 0, "10.00", 5), size(0, 0, 5), price(0, 1, "10.02", 7), size(0, 1, 7)]])
    assert equal(got, [quote(0, 0, 10.0, 5, 10.02, 7)])


@pytest.mark.pure
def test_a_value_that_repeats_with_another_value_ends_the_update():
    got = ticks([[price(0, 0, "10.00", 5), size(0, 0, 6), size(0, 0, 6), price(0, 0, "10.01", 6)]])
    assert equal(got, [quote(0, 0, 10.0, 5, NAN, NAN), quote(0, 0, 10.01, 6, NAN, NAN)])


@pytest.mark.pure
def test_an_update_without_a_change_makes_a_row():
    got = ticks([[price(0, 0, "10.00", 5)], [price(0, 0, "10.00", 5)], [size(0, 0, 5)]])
    assert equal(got, [quote(k, 0, 10.0, 5, NAN, NAN) for k in range(3)])


@pytest.mark.pure
def test_open_updates_follow_in_the_order_of_their_first_messages():
    # symbol 2 comes first, but its update ends early and its new one begins after those of 0 and 1
    got = ticks([[size(2, 0, 1), size(0, 0, 1), size(1, 0, 1), size(2, 0, 2), size(0, 1, 9)]])
    assert [(r[1], r[6], r[8]) for r in got][:1] == [(2, 1.0, got[0][8])]
    assert [r[1] for r in got] == [2, 0, 1, 2]
    assert (got[1][8], got[3][6]) == (9.0, 2.0)


@pytest.mark.pure
def test_a_trade_ends_the_update_of_its_symbol_only_and_carries_the_quote():
    got = ticks([[volume(0, 100), size(1, 0, 3)], [price(1, 0, "9", 3), price(0, 0, "10.00", 5), last(0, "10.01"), volume(0, 130), price(0, 0, "10.00", 4)]])
    assert equal(got, [
        quote(0, 1, NAN, 3, NAN, NAN),
        quote(1, 0, 10.0, 5, NAN, NAN), (1, 0, 1, 0, 1, 10.0, 5, NAN, NAN, 10.01, 30), quote(1, 1, 9.0, 3, NAN, NAN), quote(1, 0, 10.0, 4, NAN, NAN),
    ])  # fmt: skip


@pytest.mark.pure
def test_no_quote_and_the_duplicate_of_its_size_are_one_update():
    got = ticks([[price(0, 0, "10", 5), price(0, 1, "11", 5)], [price(0, 0, "-1", 0), size(0, 0, 0)], [size(0, 1, 0)]])
    assert equal(got, [quote(0, 0, 10.0, 5, 11.0, 5), quote(1, 0, NAN, NAN, 11.0, 5), quote(2, 0, NAN, NAN, 11.0, 0.0)])


@pytest.mark.pure
def test_an_empty_size_is_missing_until_it_comes():
    got = ticks([[price(0, 0, "10", 5)], [price(0, 0, "11", ""), size(0, 0, 8)], [price(0, 0, "12", "")], [size(0, 0, 9)]])
    assert equal(got, [quote(0, 0, 10, 5, NAN, NAN), quote(1, 0, 11, 8, NAN, NAN), quote(2, 0, 12, NAN, NAN, NAN), quote(3, 0, 12, 9, NAN, NAN)])


@pytest.mark.pure
def test_bid_ask_is_an_update_with_its_exchange_time():
    def bid_ask(t, bid, bid_size, ask, ask_size):
        return naive.frame(99, 1, 3, t, bid, ask, bid_size, ask_size, 0)

    got = ticks([[bid_ask(T, "10", 5, "11", 6), bid_ask(T, "10", 5, "11", 6), bid_ask(T + 1, "10", 5, "11", 7)], [bid_ask(T, "-1", 0, "11", 7)]])
    assert equal(got, [quote(0, 1, 10, 5, 11, 6, T * 10**9), quote(0, 1, 10, 5, 11, 7, (T + 1) * 10**9), quote(1, 1, NAN, NAN, 11, 7, T * 10**9)])


# --- contract 5


@pytest.mark.pure
def test_the_first_volume_is_the_baseline_and_a_fall_is_a_new_one():
    got = ticks([[last(0, "5"), volume(0, 1000)], [volume(0, 1000)], [volume(0, 1007)], [volume(0, 10)], [volume(0, 12)]])
    assert [(r[0], r[9], r[10], r[4]) for r in got] == [(2, 5.0, 7.0, 1), (4, 5.0, 2.0, 1)]


@pytest.mark.pure
@pytest.mark.parametrize(
    ("before", "after", "expect"),
    [
        ("0.1", "0.3", 0.2), ("1234567.8", "1234568.01", 0.21), ("123456789.12345678", "123456789.12345679", 1e-8), ("5", "5.50", 0.5),
        ("999999999999999999", "0.5", None), ("100000000000000000", "100000000000000000.5", None), ("1.00", "3", 2.0),
    ],
)  # fmt: skip
def test_an_increase_is_the_source_s_double(before, after, expect):
    got = ticks([[volume(0, before)], [volume(0, after)]]) if len(after.replace(".", "")) <= 18 else []
    assert [r[10] for r in got] == ([] if expect is None else [expect])


@pytest.mark.pure
def test_volumes_that_do_not_fit_64_bits_together_fall_back_to_doubles():
    s = book.new_book(1)[0]
    assert book.volume_point(s, 5 * 10**17, 0, 8) == 0.0
    assert book.volume_point(s, 10**18 - 1, 0, 8) == 5e17
    assert book.volume_point(s, 10**17, 1, 8) == 0.0
    assert book.volume_point(s, 3 * 10**17, 0, 8) == 3e17 - 1e16


@pytest.mark.pure
def test_rt_volume_replaces_the_volume_tick_for_good():
    def rt(kind, p, v):
        return naive.frame(46, 6, 0, kind, f"{p};1;{T * 1000 + 5};{v};5.1;true")

    got = ticks([[last(0, "5"), volume(0, 10)], [volume(0, 12)], [rt(48, "5.5", 100)], [volume(0, 15)], [rt(48, "", 103), rt(77, "6", 50)], [rt(48, "", 104)]])
    assert [(r[0], r[3], r[9], r[10]) for r in got] == [(1, 0, 5.0, 2.0), (4, (T * 1000 + 5) * 10**6, 5.5, 3.0), (5, (T * 1000 + 5) * 10**6, 6.0, 1.0)]


@pytest.mark.pure
def test_where_last_is_subscribed_tick_by_tick_l1_makes_no_trades():
    chunks = [[last(0, "5"), volume(0, 10)], [volume(0, 12)], [naive.frame(99, 0, 1, T, "5.5", 30, 3, "NYSE", "")]]
    got = ticks(chunks, last_subscribed=(0,))
    assert equal(got, [(2, 0, 1, T * 10**9, 6, NAN, NAN, NAN, NAN, 5.5, 30)])


@pytest.mark.pure
def test_a_trade_without_a_last_price_has_none():
    assert equal(ticks([[volume(0, 10), volume(0, 12)]]), [(0, 0, 1, 0, 1, NAN, NAN, NAN, NAN, NAN, 2)])


# --- flags


def trade(i, attributes=0):
    return naive.frame(99, i, 1, T, "10.01", 3, attributes, "", "")


def bid_ask(i, attributes=0):
    return naive.frame(99, i, 3, T, "10.00", "10.02", 5, 7, attributes)


def flags(chunks: list[list[bytes | str]]) -> list[int]:
    return [r[4] for r in ticks(chunks)]


@pytest.mark.pure
def test_attributes_are_those_of_the_latest_price_of_the_quote():
    f = schemas.Flag
    got = flags([[price(0, 0, "10", 5, 1)], [size(0, 0, 6)], [price(0, 1, "11", 5, 6)], [price(0, 0, "10", 5)], [bid_ask(0, 1)], [bid_ask(0, 2)]])
    assert got == [f.AUTO_EXECUTE, f.AUTO_EXECUTE, f.PAST_LIMIT | f.PRE_OPEN, 0, f.BID_PAST_LOW, f.ASK_PAST_HIGH]


@pytest.mark.pure
def test_a_trade_has_the_quote_s_flags_and_its_own_limit():
    f = schemas.Flag
    chunks = [[volume(0, 10), price(0, 0, "10", 5, 7)], [trade(0)], [trade(0, 3)], [last(0, "9", 1, 2), volume(0, 11)], [last(0, "9", 1, 0), volume(0, 12)]]
    shared = f.AUTO_EXECUTE | f.PRE_OPEN
    assert flags(chunks) == [
        shared | f.PAST_LIMIT, shared, shared | f.PAST_LIMIT | f.UNREPORTED, shared | f.PAST_LIMIT | f.CONFLATED, shared | f.CONFLATED,
    ]  # fmt: skip


@pytest.mark.pure
def test_after_lost_data_a_quote_is_uncertain_until_both_sides_came():
    f = schemas.Flag
    both = [price(0, 0, "10", 5), price(0, 1, "11", 5)]
    got = flags([both, [twin.LOST, size(0, 0, 7)], [price(0, 0, "10", 5)], [trade(0)], [price(0, 0, "9", 5)], [price(0, 1, "-1", 0)], [price(0, 0, "9", 4)]])
    assert got == [0, f.GAP | f.UNCERTAIN, f.UNCERTAIN, f.UNCERTAIN, f.UNCERTAIN, 0, 0]
    assert flags([both, [twin.LOST], [bid_ask(0)], [trade(0)]]) == [0, f.GAP, 0]


@pytest.mark.pure
def test_a_side_that_was_never_sent_is_not_waited_for():
    f = schemas.Flag
    assert flags([[price(0, 0, "10", 5)], [twin.LOST, size(0, 0, 7)], [price(0, 0, "10", 5)]]) == [0, f.GAP | f.UNCERTAIN, 0]
    index = [[last(0, "10"), volume(0, 5)], [twin.LOST, volume(0, 6)], [last(0, "11"), volume(0, 7)]]
    assert flags(index) == [f.CONFLATED | f.GAP | f.UNCERTAIN, f.CONFLATED]


# --- what is said of a symbol's state


def halt(i, value, kind=49):
    return naive.frame(45, 6, i, kind, value)


def data_type(i, kind):
    return naive.frame(58, 1, i, kind)


def last_time(i, t, kind=45):
    return naive.frame(46, 6, i, kind, t)


def greek(i):
    return naive.frame(21, i, 13, 0, "0.2", "0.5", "1.5", "0", "0.1", "0.3", "-0.05", "100")


@pytest.mark.pure
def test_a_halt_of_unknown_state_neither_begins_nor_ends_one():
    f = schemas.Flag
    bid = price(0, 0, "10", 5)
    got = flags([[halt(0, v), bid] for v in ("-1", "0", "1.0", "-1", "2", "0.0")] + [[halt(0, 1, 90), bid, price(1, 0, "10", 5)]])
    assert got == [0, 0, f.HALTED, f.HALTED, f.HALTED, 0, f.HALTED, 0]


@pytest.mark.pure
def test_delayed_and_frozen_are_what_the_data_type_or_the_tick_type_says():
    f = schemas.Flag
    bid, late = price(0, 0, "10", 5), naive.frame(1, 6, 0, 66, "10", 5, 0)
    got = flags([[bid], [data_type(0, 2), bid], [data_type(0, 3), bid], [late], [data_type(0, 4), bid], [data_type(0, 1), bid], [late], [size(0, 0, 6)], [bid]])
    assert got == [0, f.FROZEN, f.DELAYED, f.DELAYED, f.DELAYED | f.FROZEN, 0, f.DELAYED, f.DELAYED, 0]
    index = [[naive.frame(1, 6, 0, 68, "10", 0, 0), naive.frame(2, 6, 0, 74, 5)], [naive.frame(2, 6, 0, 74, 6)], [last(0, "10"), volume(0, 7)]]
    assert flags(index) == [f.CONFLATED | f.DELAYED, f.CONFLATED]


@pytest.mark.pure
def test_an_l1_trade_has_the_time_of_the_last_trade():
    got = ticks([[last_time(0, T), last(0, "10"), volume(0, 5)], [volume(0, 6)], [last_time(0, T + 3, 88), volume(0, 8)], [price(0, 0, "10", 5)]])
    assert [r[3] for r in got] == [T * 10**9, (T + 3) * 10**9, 0]


@pytest.mark.pure
def test_messages_of_other_tables_are_put_aside_with_the_rows_before_them():
    aside: list[tuple] = []
    got = ticks([[price(0, 0, "10", 5), halt(1, 1), greek(1), price(0, 0, "11", 5), greek(0)], [greek(1)]], aside=aside)
    assert len(got) == 2
    assert [(at, flags, m["symbol"]) for at, flags, m in aside] == [(0, schemas.Flag.HALTED, 1), (1, 0, 0), (2, schemas.Flag.HALTED, 1)]


# --- against the twin

ONE = st.one_of(
    st.builds(halt, st.integers(0, 3), st.integers(-1, 2), st.sampled_from([49, 90])),
    st.builds(data_type, st.integers(0, 3), st.integers(1, 4)),
    st.builds(last_time, st.integers(0, 3), st.integers(T, T + 2), st.sampled_from([45, 88])),
    st.builds(greek, st.integers(0, 3)),
    st.builds(lambda i, k, p: naive.frame(1, 6, i, k, p, 5, 0), st.integers(0, 3), st.sampled_from([66, 67, 68]), st.sampled_from(["10", "10.01"])),
    st.builds(
        price, st.integers(0, 3), st.integers(0, 1), st.sampled_from(["10", "10.01", "-1", "0"]), st.sampled_from([0, 5, 6, ""]), st.integers(0, 7)
    ),
    st.builds(size, st.integers(0, 3), st.integers(0, 1), st.sampled_from([0, 5, 6, "0.5"])),
    st.builds(last, st.integers(0, 3), st.sampled_from(["10", "10.005"]), st.just(5), st.integers(0, 3)),
    st.builds(volume, st.integers(0, 3), st.sampled_from([10, 11, "11.5", "11.25", 3])),
    st.builds(lambda i, k, v: naive.frame(46, 6, i, k, f"10.5;1;{T * 1000};{v};10;true"), st.integers(0, 1), st.sampled_from([48, 77]), st.integers(5, 8)),
    st.builds(lambda i, b, z: naive.frame(99, i, 3, T, b, "10.02", z, 7, z), st.integers(0, 3), st.sampled_from(["10", "-1"]), st.integers(0, 3)),
    st.builds(lambda i, k, a: naive.frame(99, i, k, T, "10.01", 3, a, "", ""), st.integers(0, 3), st.integers(1, 2), st.integers(0, 3)),
    st.builds(lambda i: naive.frame(99, i, 4, T, "10.01"), st.integers(0, 3)),
    st.just(twin.LOST),
)


@pytest.mark.pure
@given(st.lists(st.lists(ONE, max_size=25), max_size=5), st.sampled_from([1, 2, 7, 256]), st.sets(st.integers(0, 3)))
def test_ticks_equal_the_twin_however_the_messages_are_cut(chunks, piece, tick_by_tick):
    ours = {i: i for i in range(SYMBOLS)}
    said = [[m for f in c for m in ([f] if f == twin.LOST else naive.decode([f[4:]], ours)[0])] for c in chunks]
    aside: list[tuple] = []
    twins: list[tuple] = []
    assert equal(ticks(chunks, piece, tuple(tick_by_tick), aside), twin.ticks(said, ours, tick_by_tick, twins))
    assert [(at, m["symbol"].item()) for at, _, m in aside] == [(at, m.req_id) for at, m in twins]


# --- rows of a file

VALUE = st.sampled_from([NAN, -1.0, 0.0, 10.0, 10.01, 5.0])
ROW = st.builds(
    lambda i, k, m, v: dict(zip(("symbol", "kind", "mask", "bid", "bid_size", "ask", "ask_size", "price", "size"), (i, k, m, *v))),
    st.integers(0, 3), st.integers(0, 1), st.integers(0, 15), st.lists(VALUE, min_size=6, max_size=6),
)  # fmt: skip


@pytest.mark.pure
@given(st.lists(ROW, max_size=40), st.integers(1, 40))
def test_rows_equal_the_twin_however_they_are_cut(source, cut):
    n = len(source)
    column = {c: np.array([r[c] for r in source], d) for c, d in zip(("symbol", "kind", "mask"), ("i4", "u1", "u1"))}
    values = [np.array([r[c] for r in source]) for c in ("bid", "bid_size", "ask", "ask_size", "price", "size")]
    columns = [np.zeros(n + 1, d) for d in DTYPES]
    state, row = book.new_book(SYMBOLS), 0
    for lo in range(0, n, cut):
        row = book.rows_update(state, np.arange(n), column["symbol"], column["kind"], column["mask"], *values, lo, min(lo + cut, n), lo, row, *columns)
    assert list(columns[0][:n]) == list(columns[3][:n]) == list(columns[1][:n]) == list(range(n))
    assert (columns[6][:n] == book.FILE).all()
    got = [tuple(columns[k][j].item() for k in (4, 5, 8, 9, 10, 11, 12, 13)) for j in range(n)]
    assert equal(got, twin.rows(source))


def test_rows_equal_the_wire_with_a_chunk_per_row():
    r = random.Random(2)
    chunks, source, total, state = [], [], [0] * SYMBOLS, [[NAN] * 4 for _ in range(SYMBOLS)]
    for i in range(SYMBOLS):
        chunks.append([volume(i, 0)])
    for _ in range(2_000):
        i = r.randrange(SYMBOLS)
        if r.random() < 0.3:
            z = r.randrange(1, 10_000)
            total[i] += z
            p = r.choice([None, r.randrange(1, 10**6) / 100])
            digits = f"{total[i] // 1000}.{total[i] % 1000:03d}"
            chunks.append([*([last(i, f"{p:.2f}", f"{z / 1000}")] if p else []), volume(i, digits)])
            source.append({"symbol": i, "kind": 1, "mask": 0, "price": p or NAN, "size": z / 1000} | dict.fromkeys(("bid", "bid_size", "ask", "ask_size"), NAN))
            continue
        mask = r.choice([3, 12, 15])
        frames = []
        for side in (0, 1):
            if mask >> (2 * side) & 3:
                state[i][2 * side : 2 * side + 2] = r.choice([[NAN, NAN], [r.randrange(1, 10**6) / 100, float(r.randrange(5000))]])
            p, z = state[i][2 * side : 2 * side + 2]
            frames += [price(i, side, "-1" if p != p else f"{p:.2f}", 0 if z != z else int(z)), size(i, side, 0 if z != z else int(z))]
        chunks.append(frames)
        given = dict(zip(("bid", "bid_size", "ask", "ask_size"), state[i]))
        source.append({"symbol": i, "kind": 0, "mask": mask, "price": NAN, "size": NAN} | given)
    wire_rows = [(x[1], x[2], *x[5:]) for x in ticks(chunks)]
    assert equal(wire_rows, twin.rows(source))
