"""The decode stage: chunks in, TICKS out; what is for others; files of frames to Parquet."""

from __future__ import annotations

import random

import numpy as np
import pyarrow.parquet as pq
import pytest
from naive_wire import frame
from test_wire import mixed

from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import CLOCK, END, LOST, MORE, Decode, FromRows
from tickarrow.pipeline.decode_file import decode_file
from tickarrow.pipeline.errors import DataError, SessionError
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.schemas import CONTROL, TICKS, ControlKind, Feed, Flag, Health, Kind
from tickarrow.pipeline.session import Session
from tickarrow.pipeline.source_rows import Rows

T = 1_700_000_000
SYMBOLS = 100


def padded(data: bytes) -> np.ndarray:
    return np.frombuffer(data + bytes(64), np.uint8)  # read-only, as the bytes of a journal are


def stage(n: int = SYMBOLS, **table) -> tuple[Decode, Table]:
    ticks = Table(TICKS, **({"keep": True} | table))
    decode = Decode(n, ticks)
    for req_id in range(n):
        decode.subscribe(req_id, req_id, Feed.L1)
    return decode, ticks


def columns(table: Table) -> dict[str, np.ndarray]:
    return {f.name: table.column(f.name) for f in TICKS}


def assert_equal(a: Table, b: Table) -> None:
    for name, column in columns(a).items():
        np.testing.assert_array_equal(column, columns(b)[name], err_msg=name)


def test_a_chunk_becomes_a_batch_with_its_stamp_and_number():
    decode, ticks = stage()
    data = padded(frame(1, 6, 3, 1, "10.00", 5, 0) + frame(1, 6, 3, 2, "10.02", 7, 0) + frame(2, 6, 4, 0, 9) + b"\0\0")
    chunk = Chunk(data, 0, len(data) - 64, 123, 17)
    batch = decode.step(chunk)
    assert chunk.lo == len(data) - 66  # the torn frame stays for the next chunk
    assert (len(batch), ticks.rows) == (2, 2)
    assert list(batch.view("seq")) == [0, 1]
    assert list(batch.view("ts")) == [123, 123]
    assert list(batch.view("chunk")) == [17, 17]
    assert list(batch.view("symbol")) == [3, 4]
    assert list(batch.view("kind")) == [Kind.QUOTE, Kind.QUOTE]
    assert [batch.view(c)[0] for c in ("bid", "bid_size", "ask", "ask_size")] == [10.0, 5.0, 10.02, 7.0]
    assert np.isnan(batch.view("price")).all()
    assert len(decode.step(Chunk(data, 0, 0, 124, 18))) == 0
    assert len(decode.flush()) == 0


def test_every_cut_of_forty_frames_into_reads_gives_the_same_ticks():
    frames = mixed(37, seed=8, ours=5)
    for at, number in ((10, 0), (25, 1), (39, 2)):
        frames.insert(at, frame(9001, 1000 * number, number))
    data = b"".join(frames)

    def run(cuts):
        decode, ticks = stage(capacity=256)
        buffer, read, walked, forwarded = padded(data), 0, 0, b""
        for cut in [*cuts, len(data)]:
            while True:
                split = decode.split(buffer, walked, cut)
                forwarded += b"".join(data[a:b] for a, b in split.forward)
                walked = split.pos
                if split.status == MORE:
                    break
                assert split.status == CLOCK
                chunk = Chunk(buffer, read, walked, split.clock_ts, split.clock_number)
                decode.step(chunk)
                assert chunk.lo == walked
                read = walked
        return ticks, forwarded, decode.counts()

    whole, forwarded, counts = run([])
    assert counts["messages"] == 37
    assert counts["private"] == 3
    assert whole.rows > 10
    for cut in range(len(data)):
        cut_ticks, cut_forwarded, cut_counts = run([cut])
        assert_equal(whole, cut_ticks)
        assert (cut_forwarded, cut_counts) == (forwarded, counts)


def test_split_gives_clock_end_and_loss():
    decode, _ = stage(1)
    clock, end, other = frame(9001, 5_000, 3), frame(9003, 10, 4, 2), frame(4, 2, -1, 2104, "farm")
    data = padded(other + clock + end + b"\0\0\0\0")
    split = decode.split(data, 0, len(data) - 64)
    assert (split.status, split.pos, split.clock_ts, split.clock_number) == (CLOCK, len(other + clock), 5_000, 3)
    assert split.forward.tolist() == [[0, len(other)]]
    split = decode.split(data, split.pos, len(data) - 64)
    assert (split.status, split.end) == (END, (10, 4, 2))
    assert decode.split(data, split.pos, len(data) - 64).status == LOST
    decode.step(Chunk(data, split.pos, len(data) - 64, 0, 0))
    assert decode.lost
    assert decode.counts()["bad"] == 0  # counted when it is found again


def test_more_foreign_runs_than_there_is_room_for_are_still_all_forwarded():
    decode, _ = stage(1)
    pair = frame(2, 6, 0, 0, 5) + frame(4, 2, -1, 2104, "farm")
    data = padded(pair * 3_000)
    assert len(decode.split(data, 0, len(data) - 64).forward) == 3_000


def test_frames_after_a_cancel_are_late_and_neither_forwarded_nor_decoded():
    decode, ticks = stage(2)
    decode.unsubscribe(1)
    data = padded(frame(2, 6, 1, 0, 5) + frame(2, 6, 0, 0, 5))
    assert len(decode.split(data, 0, len(data) - 64).forward) == 0
    decode.step(Chunk(data, 0, len(data) - 64, 0, 0))
    assert ticks.rows == 1
    counts = decode.counts()
    assert (counts["messages"], counts["decoded"], counts["late"], counts["forwarded"], counts["bad"]) == (2, 1, 1, 0, 0)


def test_a_request_knows_when_it_was_heard():
    decode, _ = stage(2)
    assert decode.heard(0) == decode.heard(99) == (0, 0)
    data = padded(frame(2, 6, 0, 0, 5) * 3 + frame(2, 6, 1, 0, "x"))
    decode.step(Chunk(data, 0, len(data) - 64, 77, 0))
    decode.subscribe(99, 1, Feed.TBT_LAST)
    decode.unsubscribe(0)
    decode.step(Chunk(data, 0, len(data) - 64, 88, 1))
    assert decode.heard(0) == (77, 3)  # late and bad frames do not count
    assert decode.heard(1) == (0, 0)


def test_the_server_version_says_what_a_size_may_be():
    decode, ticks = stage(1)
    data = padded(frame(2, 6, 0, 0, "0.5"))
    decode.server_version = 157
    decode.step(Chunk(data, 0, len(data) - 64, 0, 0))
    assert (decode.server_version, ticks.rows) == (157, 0)
    decode.apply(Control(kind=ControlKind.SERVER_VERSION, value=163))
    saved = decode.snapshot()
    decode.server_version = 157
    decode.restore(saved)
    decode.step(Chunk(data, 0, len(data) - 64, 0, 0))
    assert (decode.server_version, ticks.rows) == (163, 1)


def test_many_and_large_requests_are_told_apart():
    decode, ticks = stage(1)
    for k in range(300):
        decode.subscribe(1_000_000_007 * k + 64, 0, Feed.L1)
    data = padded(b"".join(frame(2, 6, 1_000_000_007 * k + 64, 0, k) + frame(2, 6, 1_000_000_007 * k + 65, 0, k) for k in range(1, 300)))
    decode.step(Chunk(data, 0, len(data) - 64, 0, 0))
    assert (decode.counts()["decoded"], decode.counts()["forwarded"]) == (299, 299)
    assert list(ticks.column("bid_size")) == list(range(1, 300))


def test_tick_by_tick_last_silences_l1_trades_until_it_is_cancelled():
    decode, ticks = stage(1)
    decode.subscribe(50, 0, Feed.TBT_LAST)
    numbers = iter(range(9))

    def volume(v):
        data = padded(frame(2, 6, 0, 8, v))
        decode.step(Chunk(data, 0, len(data) - 64, 0, next(numbers)))

    volume(10)
    volume(11)
    assert ticks.rows == 0
    decode.unsubscribe(50)
    volume(15)
    assert list(ticks.column("size")) == [4.0]


def test_a_snapshot_goes_back_to_the_same_ticks():
    frames = mixed(600, seed=3)
    cut = len(b"".join(frames[:300]))
    data = padded(b"".join(frames))
    whole, _ = stage()
    whole.step(Chunk(data, 0, cut, 1, 0))
    saved = whole.snapshot()
    again = Decode(SYMBOLS, Table(TICKS))
    again.restore(saved)
    a = whole.step(Chunk(data, cut, len(data) - 64, 2, 1))
    b = again.step(Chunk(data, cut, len(data) - 64, 2, 1))
    assert a.arrow().equals(b.arrow()) or all(np.array_equal(a.view(f.name), b.view(f.name), equal_nan=f.name in TICKS.names[8:]) for f in TICKS)
    assert b.view("seq")[0] == a.view("seq")[0] > 0
    assert whole.counts() == again.counts()


def test_chunks_that_fill_segments_keep_every_row():
    frames = mixed(3_000, seed=6)
    small, ticks = stage(capacity=64)
    large, wanted = stage()
    for number in range(100):
        data = padded(b"".join(frames[number * 30 : number * 30 + 30]))
        assert len(small.step(Chunk(data, 0, len(data) - 64, number, number))) == len(large.step(Chunk(data, 0, len(data) - 64, number, number)))
    assert len(ticks.closed) > 10
    assert_equal(ticks, wanted)


def test_a_chunk_that_no_segment_holds_is_an_error():
    decode, _ = stage(1, capacity=64)
    data = padded(frame(2, 6, 0, 0, 5) * 65)
    with pytest.raises(DataError, match=r"chunk 7 holds 65 messages, more than the 64 rows of a segment of table ticks\. Read .* smaller pieces"):
        decode.step(Chunk(data, 0, len(data) - 64, 0, 7))


def test_bad_frames_are_counted_and_the_first_are_kept():
    decode, _ = stage(1)
    bad = frame(2, 6, 0, 0, "x")
    for number in range(3):
        data = padded(bad * 5 + frame(1, 6, 0, 1, "1e500", 1, 0))
        decode.step(Chunk(data, 0, len(data) - 64, 0, number))
    assert decode.counts()["bad"] == 18
    assert (decode.counts()["bad_not_a_number"], decode.counts()["bad_not_finite"]) == (15, 3)
    assert decode.bad_samples()[:6] == [("not a number", bad)] * 5 + [("not finite", frame(1, 6, 0, 1, "1e500", 1, 0))]
    assert len(decode.bad_samples()) == 8


def test_health_and_resync_become_flags_of_the_rows_that_follow():
    decode, ticks = stage(2)
    both = [frame(1, 6, i, side, "10.00", 5, 0) for i in (0, 1) for side in (1, 2)]

    def flags(kind, symbol, value=np.nan, frames=both):
        decode.apply(Control(kind=kind, symbol=symbol, value=float(value)))
        data = padded(b"".join(frames))
        batch = decode.step(Chunk(data, 0, len(data) - 64, 0, ticks.rows))
        return [Flag(f) for f in batch.view("flags").tolist()]

    health, f = ControlKind.HEALTH, Flag
    assert flags(ControlKind.TIMER, 0) == [0, 0]
    assert flags(health, 1, Health.STALE) == [0, f.STALE]
    assert flags(health, -1, Health.STALE) == [f.STALE, f.STALE]
    assert flags(health, 1, Health.LIVE) == [f.STALE, f.STALE]
    assert flags(health, -1, Health.LIVE) == [0, 0]
    assert flags(health, 0, Health.LOST) == [f.STALE | f.GAP, 0]
    assert flags(health, 0, Health.REFUSED, both[:1]) == [f.STALE]
    assert flags(ControlKind.RESYNC, 0, 99, both[1:3]) == [f.STALE | f.GAP | f.UNCERTAIN, f.GAP | f.UNCERTAIN]
    saved = decode.snapshot()
    assert flags(health, 0, Health.LIVE, both) == [0, 0]
    decode.restore(saved)
    assert flags(health, 0, Health.LIVE, both[1:2]) == [f.UNCERTAIN]
    assert flags(health, -1, Health.DISPLACED, both[1:3]) == [f.STALE | f.GAP | f.UNCERTAIN] * 2


def test_rows_of_a_file_go_through_with_chunk_and_seq_alike():
    n = 5
    nan = np.full(n, np.nan)
    rows = Rows(
        ts=np.arange(n) * 10, symbol=np.zeros(n, np.int32), kind=np.array([0, 1, 0, 1, 0], np.uint8), mask=np.array([15, 0, 1, 0, 12], np.uint8),
        bid=np.array([10.0, np.nan, 11.0, np.nan, np.nan]), bid_size=np.array([5.0, *nan[1:]]),
        ask=np.array([12.0, *nan[1:]]), ask_size=np.array([6.0, *nan[1:]]),
        price=np.array([np.nan, 10.5, np.nan, np.nan, np.nan]), size=np.array([np.nan, 3, np.nan, 4, np.nan]),
    )  # fmt: skip
    ticks = Table(TICKS, keep=True)
    stage_ = FromRows(1, ticks)
    stage_.step(rows)
    saved = stage_.snapshot()
    batch = stage_.step(rows)
    stage_.restore(saved)
    assert list(stage_.step(rows).view("seq")) == list(batch.view("seq")) == list(batch.view("chunk")) == [5, 6, 7, 8, 9]
    got = {c: ticks.column(c)[:n] for c in ("ts", "feed", "bid", "bid_size", "ask", "ask_size", "price", "size")}
    want = {
        "ts": [0, 10, 20, 30, 40], "feed": [Feed.FILE] * n, "bid": [10, 10, 11, 11, 11], "bid_size": [5] * n, "ask": [12, 12, 12, 12, np.nan],
        "ask_size": [6, 6, 6, 6, np.nan], "price": [np.nan, 10.5, np.nan, 10.5, np.nan], "size": [np.nan, 3, np.nan, 4, np.nan],
    }  # fmt: skip
    for name, column in want.items():
        np.testing.assert_array_equal(got[name], column, err_msg=name)


def test_values_equal_those_of_ib_async_s_own_decoder():
    from ib_async.decoder import Decoder

    said = []

    class Wrapper:
        def priceSizeTick(self, req_id, kind, price, size):
            said.append((req_id, {1: "bid", 2: "ask"}.get(kind), price, size))

        def tickSize(self, req_id, kind, size):
            pass

        def tickByTickAllLast(self, req_id, kind, time, price, size, *rest):
            said.append((req_id, "trade", price, size))

        def tickByTickBidAsk(self, req_id, time, bid, ask, bid_size, ask_size, *rest):
            said.extend([(req_id, "bid", bid, bid_size), (req_id, "ask", ask, ask_size)])

    r, peer = random.Random(1), Decoder(Wrapper(), 178)
    decode, ticks = stage(1)
    for number in range(2_000):
        p, z = f"{r.randrange(1, 10**7) / 10 ** r.randrange(5):.{r.randrange(5)}f}", r.choice([r.randrange(1, 10**6), f"{r.random():.4f}1"])
        kind = r.random()
        if kind < 0.5:
            fields = (1, 6, 0, r.choice([1, 2]), p, z, 0)
        elif kind < 0.75:
            fields = (99, 0, 2, T, p, z, 0, "NYSE", "")
        else:
            fields = (99, 0, 3, T, p, f"{float(p) + 0.01:.4f}", z, z, 0)
        data = frame(*fields)
        decode.step(Chunk(padded(data), 0, len(data), 0, number))
        before = len(said)
        peer.interpret([str(f) for f in fields])
        for _, name, price, size in said[before:]:
            row = {"bid": ("bid", "bid_size"), "ask": ("ask", "ask_size"), "trade": ("price", "size")}[name]
            got = [ticks.segment.columns[c][ticks.size - 1] for c in row]
            assert got == [price, size], fields
    assert ticks.rows == 2_000


# --- files


FILE = [
    frame(1, 6, 7, 1, "150.25", 300, 1), frame(2, 6, 7, 8, 1234), frame(99, 8, 2, T, "150.25", 100, 3, "NYSE", " O X"),
    frame(99, 9, 3, T, "99.99", "100.02", 200, 500, 2), frame(46, 6, 7, 45, T), frame(45, 6, 7, 49, 0), frame(4, 2, -1, 2104, "farm"),
    frame(1, 6, 7, 1, "-1", 0, 0), frame(2, 6, 7, 0, "?"), frame(99, 8, 4, T, "150.5"), frame(46, 6, 7, 48, f"701.28;1;{T}123;67854;701.4;true"),
    frame(9001, 5, 0), frame(1, 6, 7, 67, "150.5", 8, 4), frame(58, 1, 7, 3), frame(46, 6, 7, 32, "QK"), frame(45, 6, 7, 90, "-1"),
    frame(13, 1, 10, 2, "OVERNIGHT", 1, 0, "150.75", 20, 1), frame(12, 1, 10, 0, 2, 1, 0, 0),
    frame(50, 3, 11, T, "10", "10.5", "9.5", "10.25", "1200.5", "10.1", 17), frame(21, 12, 13, 1, "0.25", "0.5", "-1", "-1", "0.02", "-2", "-2", "101.5"),
]  # fmt: skip


def test_a_file_of_frames_becomes_one_row_per_message(tmp_path):
    (tmp_path / "frames.bin").write_bytes(b"".join(FILE))
    counts = decode_file(tmp_path / "frames.bin", tmp_path / "out.parquet")
    assert (counts["messages"], counts["decoded"], counts["forwarded"], counts["bad"], counts["bad_not_a_number"], counts["private"]) == (19, 17, 1, 1, 1, 1)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [r["ordinal"] for r in rows] == list(range(20))
    wanted = [
        {"id": 1, "req_id": 7, "tick_type": 1, "price": 150.25, "size": 300.0, "attributes": 1},
        {"id": 2, "req_id": 7, "tick_type": 8, "size": 1234.0},
        {"id": 99, "req_id": 8, "tick_type": 2, "price": 150.25, "size": 100.0, "attributes": 3, "exchange": "NYSE", "conditions": " O X", "time": T * 1000},
        {"id": 99, "req_id": 9, "tick_type": 3, "bid": 99.99, "ask": 100.02, "bid_size": 200.0, "ask_size": 500.0, "attributes": 2, "time": T * 1000},
        {"id": 46, "req_id": 7, "tick_type": 45, "text": str(T), "time": T * 1000},
        {"id": 45, "req_id": 7, "tick_type": 49, "text": "0", "value": 0.0},
        {"id": 4, "outcome": "forwarded", "text": "4|2|-1|2104|farm|"},
        {"id": 1, "req_id": 7, "tick_type": 1, "attributes": 0},
        {"id": 2, "req_id": 7, "outcome": "bad", "reason": "not a number", "text": "2|6|7|0|?|"},
        {"id": 99, "req_id": 8, "tick_type": 4, "price": 150.5, "time": T * 1000},
        {"id": 46, "req_id": 7, "tick_type": 48, "price": 701.28, "size": 1.0, "time": T * 1000 + 123, "text": f"701.28;1;{T}123;67854;701.4;true",
         "volume": 67854.0, "vwap": 701.4},
        {"id": 9001, "outcome": "private", "text": "9001|5|0|"},
        {"id": 1, "req_id": 7, "tick_type": 2, "delayed": True, "price": 150.5, "size": 8.0, "attributes": 4},
        {"id": 58, "req_id": 7, "value": 3.0},
        {"id": 46, "req_id": 7, "tick_type": 32, "text": "QK", "exchange": "QK"},
        {"id": 45, "req_id": 7, "tick_type": 49, "delayed": True, "text": "-1", "value": -1.0},
        {"id": 13, "req_id": 10, "position": 2, "operation": "update", "market_maker": "OVERNIGHT",
         "side": "ask", "price": 150.75, "size": 20.0, "smart": True},
        {"id": 12, "req_id": 10, "position": 0, "operation": "delete", "side": "bid", "smart": False},
        {"id": 50, "req_id": 11, "time": T * 1000, "open": 10.0, "high": 10.5, "low": 9.5, "close": 10.25, "volume": 1200.5, "vwap": 10.1, "count": 17},
        {"id": 21, "req_id": 12, "tick_type": 13, "attributes": 1, "iv": 0.25, "delta": 0.5, "gamma": 0.02, "und_price": 101.5},
    ]  # fmt: skip
    for row, want in zip(rows, wanted):
        if want.get("outcome", "decoded") == "decoded" and want["id"] in (1, 2, 21, 45, 46):
            want = {"delayed": False} | want
        row["time"] = row["time"] and round(row["time"].timestamp() * 1000)
        assert {k: v for k, v in row.items() if v is not None and k != "ordinal"} == {"outcome": "decoded"} | want


def test_only_the_requests_that_are_named_are_ours(tmp_path):
    (tmp_path / "frames.bin").write_bytes(b"".join(FILE))
    counts = decode_file(tmp_path / "frames.bin", tmp_path / "out.parquet", req_ids=[8, 9])
    assert (counts["decoded"], counts["forwarded"], counts["bad"]) == (3, 16, 0)


def test_a_long_file_is_read_in_blocks(tmp_path, monkeypatch):
    from tickarrow.pipeline import decode_file as module

    data = b"".join(mixed(2_000, seed=2))
    (tmp_path / "frames.bin").write_bytes(data)
    one = decode_file(tmp_path / "frames.bin", tmp_path / "one.parquet")
    monkeypatch.setattr(module, "BLOCK", 997)
    monkeypatch.setattr(module, "RECORDS", 50)
    assert decode_file(tmp_path / "frames.bin", tmp_path / "many.parquet") == one
    assert pq.read_table(tmp_path / "one.parquet").to_pylist() == pq.read_table(tmp_path / "many.parquet").to_pylist()
    assert one["messages"] == 2_000


@pytest.mark.parametrize(("tail", "reason"), [(FILE[0][:9], "cut off"), (b"\xff\xff\xff\xff123", "framing lost")])
def test_a_damaged_end_is_the_last_row(tmp_path, tail, reason):
    (tmp_path / "frames.bin").write_bytes(FILE[0] + tail)
    counts = decode_file(tmp_path / "frames.bin", tmp_path / "out.parquet")
    assert (counts["decoded"], counts["bad"], counts[f"bad_{reason.replace(' ', '_')}"]) == (1, 1, 1)
    assert pq.read_table(tmp_path / "out.parquet")["reason"].to_pylist() == [None, reason]


def test_what_cannot_be_decoded_says_why(tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(DataError, match=r"nothing\.bin does not exist\. Name a file of length-prefixed wire frames, or a session directory"):
        decode_file(tmp_path / "nothing.bin", out)
    for content in (b"", b"\0\0", b"a text file, not frames"):
        (tmp_path / "text").write_bytes(content)
        with pytest.raises(DataError, match=r"text holds no frame: a frame is a 4-byte big-endian length and so many bytes\. Name a file"):
            decode_file(tmp_path / "text", out)
    with pytest.raises(DataError, match=r"folder .*/none of the output does not exist\. Make it"):
        decode_file(tmp_path / "text", tmp_path / "none" / "out.parquet")
    assert not list(tmp_path.glob("out*"))


def journal(folder, *chunks: bytes) -> None:
    written = Journal(folder, 4096)
    for number, data in enumerate(chunks):
        written.append(Chunk(np.frombuffer(data + bytes(64), np.uint8), 0, len(data), 1_000, number))
    written.close()


def test_a_session_s_journal_is_decoded_chunk_by_chunk(tmp_path):
    # the frame that chunk 0 tears is whole in chunk 1
    journal(tmp_path, FILE[0] + FILE[1][:7], FILE[1] + FILE[2])
    counts = decode_file(tmp_path, tmp_path / "out.parquet")
    assert (counts["decoded"], counts["bad"]) == (3, 0)
    (path,) = tmp_path.glob("chunks-*.bin")
    damaged = bytearray(path.read_bytes())
    damaged[-9] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(SessionError, match=r"chunk 1 in chunks-00000-19700101\.bin is damaged"):
        decode_file(tmp_path, tmp_path / "out.parquet")


def test_a_session_s_journal_is_decoded_at_the_versions_it_was_received_at(tmp_path):
    session = Session(tmp_path / "session")
    session.manifest["server_version"] = 157
    control, journal = session.table(CONTROL), Journal(session.directory, 4096)
    half = padded(frame(2, 6, 0, 0, "0.5"))  # before version 163 a size is a whole number
    for number in range(4):
        journal.append(Chunk(half, 0, len(half) - 64, 0, number))
        if number == 2:
            Control(kind=ControlKind.SERVER_VERSION, value=163.0).write(control, number, 0)
    journal.close()
    session.close()
    decode_file(session.directory, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["outcome"].to_pylist() == ["bad", "bad", "bad", "decoded"]
