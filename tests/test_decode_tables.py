"""DEPTH, BARS and GREEKS beside TICKS, and the depth books: through the decode stage, by hand and in any cut."""

from __future__ import annotations

import random

import numpy as np
import pytest
from naive_depth import Book
from naive_wire import frame

from tickarrow.jit.depth import LEVELS
from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.schemas import BARS, DEPTH, GREEKS, TICKS, ControlKind, Feed, Flag, Health

T = 1_700_000_000
NAN = float("nan")


class Stage:
    """A decode stage with its four tables; a reqId is its symbol."""

    def __init__(self, n: int = 3, **table) -> None:
        self.ticks = Table(TICKS, keep=True, **table)
        self.depth, self.bars, self.greeks = (Table(s, keep=True, lazy=True) for s in (DEPTH, BARS, GREEKS))
        self.decode = Decode(n, self.ticks, self.depth, self.bars, self.greeks)
        self.chunk = 0
        for i in range(n):
            self.decode.subscribe(i, i, Feed.L1)

    def say(self, *frames: bytes) -> None:
        data = np.frombuffer(b"".join(frames) + bytes(64), np.uint8)
        self.decode.step(Chunk(data, 0, len(data) - 64, 1000 + self.chunk, self.chunk))
        self.chunk += 1

    def apply(self, kind: ControlKind, symbol: int = 0, value: float = NAN) -> None:
        self.decode.apply(Control(kind=kind, symbol=symbol, value=float(value)))


def rows(table: Table) -> list[tuple]:
    return list(zip(*(table.column(name).tolist() for name in table.schema.names)))


def bid(i, price, size=5):
    return frame(1, 6, i, 1, price, size, 0)


def depth(i, position, operation, side, price, size, maker=None, smart=0):
    """`side` as we write it: 0 bid, 1 ask; the wire's is the other way round."""
    if maker is None:
        return frame(12, 1, i, position, operation, 1 - side, price, size)
    return frame(13, 1, i, position, maker, operation, 1 - side, price, size, smart)


def test_changes_of_depth_are_rows_with_the_number_of_ticks_before_them():
    stage = Stage()
    stage.say(bid(0, "10"), depth(1, 0, 0, 0, "9.99", 100), bid(0, "11"), depth(1, 0, 0, 1, "10.01", 50, "ARCA", 1))
    stage.say(depth(1, 0, 1, 0, "9.98", "0.5"), depth(1, 3, 1, 1, "10.05", 7, "NSDQ"))
    arca, nsdq = (int.from_bytes(t, "little") for t in (b"ARCA", b"NSDQ"))
    gap = Flag.GAP | Flag.UNCERTAIN
    assert rows(stage.depth) == [
        (0, 1000, 0, 1, 0, 0, 0, 0, 0, 9.99, 100.0, 0), (1, 1000, 0, 1, 0, 0, 0, 1, 1, 10.01, 50.0, arca),
        (2, 1001, 1, 1, 0, 0, 1, 0, 0, 9.98, 0.5, 0), (2, 1001, 1, 1, gap, 3, 1, 1, 0, 10.05, 7.0, nsdq),
    ]  # fmt: skip
    assert stage.ticks.rows == 2
    bids, bid_sizes, asks, ask_sizes = stage.decode.depth_book(1)
    assert (list(bids), list(bid_sizes)) == ([9.98], [0.5])
    np.testing.assert_array_equal(asks, [10.01, NAN, NAN, 10.05])
    np.testing.assert_array_equal(ask_sizes, [50, NAN, NAN, 7])
    assert (stage.decode.side.depth_gaps(1), stage.decode.side.depth_gaps(0)) == (1, 0)
    assert all(len(x) == 0 for x in stage.decode.depth_book(0))


def test_the_book_begins_anew_with_a_reset_and_is_uncertain_after_lost_data():
    stage = Stage()
    stage.say(depth(0, 0, 0, 0, "9", 1), depth(0, 0, 0, 1, "10", 1), depth(1, 0, 0, 0, "9", 1), depth(1, 0, 0, 1, "10", 1))
    stage.apply(ControlKind.DEPTH_RESET, 1)
    assert len(stage.decode.depth_book(1)[0]) == 0
    stage.apply(ControlKind.HEALTH, 0, Health.LOST)
    stage.say(depth(0, 0, 1, 0, "9", 2), depth(0, 0, 1, 1, "10", 2), depth(1, 0, 0, 0, "9", 2))
    stage.apply(ControlKind.HEALTH, 0, Health.LIVE)
    stage.apply(ControlKind.RESYNC)
    stage.say(depth(0, 0, 1, 0, "9", 3), depth(0, 0, 1, 1, "10", 3), depth(1, 0, 1, 0, "9", 3))
    flags = [Flag(f) for f in stage.depth.column("flags").tolist()][4:]
    f = Flag
    # symbol 1 holds bids only after its reset: when these came anew its ask side is still in doubt
    assert flags == [f.STALE | f.UNCERTAIN, f.STALE, 0, f.UNCERTAIN, 0, f.UNCERTAIN]
    stage.apply(ControlKind.DEPTH_RESET, 2)  # of a symbol without a book


def test_bars_of_five_seconds_are_rows_with_their_begin_and_end():
    stage = Stage()
    stage.say(bid(2, "10"), frame(50, 3, 2, T, "10", "10.5", "9.5", "10.25", "1200.5", "10.1", 17), frame(58, 1, 2, 3))
    stage.say(frame(50, 3, 2, T + 5, "-1", "-1", "-2", "-1.5", "0", "0", 0))
    first, second = T * 10**9, (T + 5) * 10**9
    # the update of symbol 2 is still open when the first bar comes
    assert rows(stage.bars) == [
        (0, 1000, 0, 2, first, first + 5 * 10**9, 0, 10.0, 10.5, 9.5, 10.25, 1200.5, 10.1, 17.0),
        (1, 1001, 1, 2, second, second + 5 * 10**9, Flag.DELAYED, -1.0, -1.0, -2.0, -1.5, 0.0, 0.0, 0.0),
    ]


def test_a_bar_of_midpoints_has_no_volume():
    stage = Stage()
    stage.say(frame(50, 3, 0, T, "10", "10.5", "9.5", "10.25", "-1", "-1.0", "-1"))
    assert np.isnan([stage.bars.column(c)[0] for c in ("volume", "wap", "count")]).all()
    assert stage.bars.column("close")[0] == 10.25


def test_option_computations_are_rows_without_sentinels():
    stage = Stage()
    stage.say(
        frame(21, 0, 13, 1, "0.25", "0.5", "1.5", "0.01", "0.02", "0.125", "-0.0625", "101.5"),
        frame(21, 0, 83, 0, "-1", "-2", "-1", "-1", "-2", "-2", "-2", "-1"),
    )
    np.testing.assert_array_equal(
        rows(stage.greeks),
        [
            (0, 1000, 0, 0, 13, 0, 1, 0.25, 0.5, 0.02, 0.125, -0.0625, 1.5, 101.5, 0.01),
            (0, 1000, 0, 0, 13, Flag.DELAYED, 0, *[NAN] * 8),
        ],
    )


@pytest.mark.parametrize("garbage", [b"\xff" * 8, bytes(3) + b"\x01" + b"1", b"\x36\x00\x00\x05" + frame(1, 6, 0, 1, "9", 5, 0)[:11]])
def test_framing_that_is_lost_inside_a_chunk_leaves_a_gap_and_doubt(garbage):
    stage = Stage(2)
    ask = frame(1, 6, 0, 2, "11", 5, 0)
    books = [depth(1, 0, 0, 0, "9", 1), depth(1, 0, 0, 1, "10", 1)]
    stage.say(bid(0, "10"), ask, *books)
    stage.say(garbage, bid(0, "10"), bid(1, "5"), depth(1, 0, 1, 0, "9", 2), *[bid(0, "10.5")] * 2)
    stage.say(ask, bid(1, "5"), depth(1, 0, 1, 1, "10", 2))
    f = Flag
    assert [(s, Flag(x)) for s, x in zip(stage.ticks.column("symbol").tolist(), stage.ticks.column("flags").tolist())] == [
        (0, 0), (0, f.GAP | f.UNCERTAIN), (1, f.GAP), (0, f.UNCERTAIN), (0, 0), (1, 0),
    ]  # fmt: skip
    assert [Flag(x) for x in stage.depth.column("flags").tolist()] == [0, 0, f.UNCERTAIN, 0]
    assert stage.decode.counts()["resyncs"] == 1


def stream(n: int, seed: int) -> list[bytes]:
    r, out = random.Random(seed), []
    for _ in range(n):
        i = r.randrange(3)
        kind = r.random()
        if kind < 0.5:
            out.append(depth(i, r.randrange(4), r.randrange(3), r.randrange(2), f"{r.randrange(1, 999) / 100:.2f}", r.randrange(9), r.choice([None, "ARCA"])))
        elif kind < 0.6:
            out.append(frame(50, 3, i, T, "10", "10.5", "9.5", "10.25", r.randrange(99), "10.1", 17))
        elif kind < 0.7:
            out.append(frame(21, i, 10, 1, "0.25", "0.5", "1.5", "0.01", "0.02", "0.125", "-0.0625", "101.5"))
        else:
            out.append(bid(i, f"{r.randrange(1, 999) / 100:.2f}"))
    return out


@pytest.mark.parametrize("others", [256, 1024])
def test_a_chunk_with_more_than_is_put_aside_at_once_gives_the_same_rows(monkeypatch, others):
    from tickarrow.pipeline import decode

    frames = stream(3_000, 5)
    one = Stage()
    one.say(*frames)
    assert len(one.depth.column("seq")) > 1_400
    monkeypatch.setattr(decode, "OTHERS", others)
    other = Stage()
    other.say(*frames)
    for a, b in zip((one.ticks, one.depth, one.bars, one.greeks), (other.ticks, other.depth, other.bars, other.greeks)):
        np.testing.assert_array_equal(rows(a), rows(b))


def test_the_depth_book_of_the_stage_equals_the_twin_s():
    stage, twins = Stage(), [Book(LEVELS) for _ in range(3)]
    r = random.Random(4)
    for _ in range(400):
        i, position, operation, side, size = r.randrange(3), r.randrange(6), r.choice([0, 0, 1, 2]), r.randrange(2), float(r.randrange(9))
        stage.say(depth(i, position, operation, side, "9.5", int(size)))
        twins[i].change(side, position, operation, 9.5, size, 0)
        got = stage.decode.depth_book(i)
        for k in range(2):
            np.testing.assert_array_equal(got[2 * k], [x[0] for x in twins[i].sides[k]])
            np.testing.assert_array_equal(got[2 * k + 1], [x[1] for x in twins[i].sides[k]])
    assert [stage.decode.side.depth_gaps(i) for i in range(3)] == [t.gaps for t in twins]


def test_a_snapshot_holds_the_depth_books():
    a, b = Stage(), Stage()
    frames = stream(400, 9)
    a.say(*frames[:200])
    b.decode.restore(a.decode.snapshot())
    empty = b.decode.snapshot()
    for stage in (a, b):
        n = stage.depth.rows
        stage.say(*frames[200:])
        stage.rest = rows(stage.depth)[n:]
    assert [x[3:] for x in a.rest] == [x[3:] for x in b.rest]
    b.decode.restore(empty)
    b.decode.restore(Stage().decode.snapshot())
    assert len(b.decode.depth_book(0)[0]) == 0


def test_a_stage_without_such_messages_has_no_memory_for_them():
    ticks = Table(TICKS)
    decode = Decode(2, ticks)
    decode.subscribe(0, 0, Feed.L1)
    data = np.frombuffer(bid(0, "10") + bytes(64), np.uint8)
    decode.step(Chunk(data, 0, len(data) - 64, 0, 0))
    assert (decode.side.depth.capacity, decode.side.bars.capacity, decode.side.greeks.capacity) == (0, 0, 0)
    assert set(decode.snapshot()) == {"book", "subscriptions", "counts", "seq", "server_version"}
