"""The tap where framing is lost: who is given what, when it waits, passes by and gives up, and that the journal gives the same rows."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from ib_async import IB
from ib_async.connection import Connection
from naive_wire import frame
from test_wire_frames import captured

from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.schemas import TICKS, Feed, Flag
from tickarrow.pipeline.tap import Tap

HELLO = frame(178, "20260105 14:30:00 UTC")
OURS, OTHERS = [frame(2, 6, 7, 0, k) for k in range(1, 30)], [frame(49, 1, 1_767_623_400 + k) for k in range(20)]


def tap():
    table = Table(TICKS, keep=True)
    decode = Decode(1, table)
    decode.subscribe(7, 0, Feed.L1)
    said = SimpleNamespace(chunks=[], lost=[], skipped=[], versions=[], forwarded=b"", table=table, decode=decode)

    def on_chunk(chunk, arrival):
        said.chunks.append((chunk.number, chunk.ts, bytes(chunk.data[chunk.lo : chunk.hi])))
        decode.step(chunk)

    def forward(data):
        said.forwarded += data

    said.keep, old = forward, Connection()
    old.hasData += forward
    said.tap = Tap(old, decode, on_chunk, lambda: None, lambda end: None, said.lost.append, False, said.versions.append, said.skipped.append)
    receive(said, HELLO)
    said.forwarded = b""
    return said


def receive(said, data):
    room = said.tap.get_buffer(-1)
    room[: len(data)] = data
    said.tap.buffer_updated(len(data))


def sizes(said) -> list[float]:
    return said.table.column("bid_size").tolist()


def test_ib_async_behind_the_tap_hears_every_whole_frame_of_its_own_and_nothing_else():
    bad, inner = captured()
    stream = b"".join(a + b for a, b in zip(OTHERS[:5], OURS)) + bad + b"".join(a + b for a, b in zip(OTHERS[5:], OURS[5:]))
    said = tap()
    ib, heard = IB(), []
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)
    ib.client._serverVersion = ib.client.decoder.serverVersion = 178
    ib.client.decoder.handlers = {k: lambda fields: heard.append(fields[0]) for k in ib.client.decoder.handlers}
    said.tap.hasData += ib.client._onSocketHasData
    for a in range(0, len(stream), 37):
        receive(said, stream[a : a + 37])
    assert heard.count("49") == 20
    assert said.forwarded == b"".join([*OTHERS[:5], *inner, *OTHERS[5:]])
    assert said.decode.counts()["resyncs"] == 1
    assert (said.lost, said.skipped) == ([], [])


def test_a_replay_of_the_journal_gives_the_same_rows():
    bad, _ = captured()
    stream = b"".join(OURS[:5]) + bad + b"".join(OURS[5:])
    for size in (1, 7, 40, 1000):
        said = tap()
        for a in range(0, len(stream), size):
            receive(said, stream[a : a + size])
        again = Table(TICKS, keep=True)
        decode = Decode(1, again)
        decode.subscribe(7, 0, Feed.L1)
        for number, ts, piece in said.chunks:
            decode.step(Chunk(np.frombuffer(piece + bytes(64), np.uint8), 0, len(piece), ts, number))
        for name in TICKS.names:
            np.testing.assert_array_equal(again.column(name), said.table.column(name), err_msg=name)
        assert decode.counts() == said.decode.counts()
        flags = again.column("flags")
        assert flags[-1] & Flag.UNCERTAIN
        assert np.count_nonzero(flags & Flag.GAP) == 1


def test_a_long_frame_that_never_ends_is_passed_by_after_a_second():
    said = tap()
    long = (70_000).to_bytes(4, "big") + b"17\x007\x00half of an answer"
    receive(said, OURS[0] + long)
    begun = said.tap._stuck
    said.tap.look(begun + 0.9, False)
    assert (said.skipped, sizes(said)) == ([], [1.0])
    receive(said, OURS[1] + OURS[2])
    said.tap.look(begun + 1.1, False)
    assert sizes(said)[-1] == 3.0
    assert said.skipped in ([], [len(long)])  # the decoder may have seen by the prefixes inside that it is no text
    assert said.lost == []
    receive(said, OURS[3])
    assert sizes(said)[-1] == 4.0


def test_a_long_frame_that_comes_slowly_is_left_alone():
    said = tap()
    payload = b"17\x007\x00" + b"20260105\x001.5\x00" * 9_000
    data = len(payload).to_bytes(4, "big") + payload
    receive(said, data[:50_000])
    begun = said.tap._stuck
    for k in range(1, 10):
        said.tap.look(begun + k, False)
    receive(said, data[50_000:] + OTHERS[0])
    assert said.forwarded == data + OTHERS[0]
    assert (said.lost, said.skipped) == ([], [])


@pytest.mark.parametrize("by", ["time", "bytes"])
def test_framing_that_is_not_found_again_is_given_up(by):
    said = tap()
    receive(said, OURS[0] + b"\xff" * 100)
    assert said.lost == []
    begun = said.tap._stuck
    if by == "time":
        said.tap.look(begun + 1.9, True)
        assert said.lost == []
        said.tap.look(begun + 2.1, True)
    else:
        for _ in range(11):
            receive(said, b"\xff" * 100_000)
    assert said.lost[0].startswith("the framing of the stream is lost: no frame in ")


def test_the_handshake_says_the_server_version():
    said = tap()
    said.tap.reset()
    receive(said, frame(157, "20260105 14:30:00 UTC"))
    assert said.versions == [178, 157]
