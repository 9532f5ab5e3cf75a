"""Framing: what is sound, where frames begin again, and that nobody is given what is not a frame."""

from __future__ import annotations

import logging
import random
import struct

import naive_wire as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutate_wire import compare
from test_wire import decode, mixed, split

from tickarrow.jit import wire, wire_frames, wire_message

OURS = {q: q for q in range(100)}
GOOD = [naive.frame(2, 6, 7, 0, k) for k in range(1, 30)]
ERROR = naive.frame(4, 2, -1, 2104, "Market data farm connection is OK:usfarm", "")


def captured() -> tuple[bytes, list[bytes]]:
    """A frame of the shape captured in ib_insync#393: its length ends within the last of the frames that it swallows."""
    inner = [naive.frame(2, 6, 39, k, z) for k, z in ((3, 20), (0, 2), (3, 13), (0, 5), (3, 20))]
    inner += [naive.frame(46, 6, 39, 45, 1631702490), naive.frame(2, 6, 39, 8, 12345)]
    head = b"21\0006\00052\00011\0000.12502290549746\0"
    return struct.pack(">I", len(head) + sum(map(len, inner[:-1])) + 6) + head + b"".join(inner), inner


WITHOUT = [getattr(wire_message, name) for name in ("NOTHING", "VOLUME", "MIDPOINT", "HALT", "DATA_TYPE", "LAST_TIME", "EXCHANGE", "RESYNC")]


def quantities(messages) -> list[float]:
    """Of the messages that have one: the others leave there what another message has put."""
    return messages["quantity"][~np.isin(messages["role"], WITHOUT)].tolist()


def test_after_the_captured_frame_everything_arrives_and_ib_async_alone_hears_nothing():
    from ib_async import IB

    bad, inner = captured()
    stream = bad + b"".join(GOOD)
    pos, messages, status, counts, samples = decode(stream, OURS)
    assert (pos, status) == (len(stream), wire.MORE)
    assert messages["role"][0] == wire_message.RESYNC
    assert messages["quantity"][0] == counts[wire.SKIPPED] == len(bad) - sum(map(len, inner))
    assert counts[wire_message.DECODED] == len(inner) + len(GOOD)
    assert (counts[wire.RESYNCS], counts[wire_message.BAD]) == (1, 1)
    assert tuple(samples[0]) == (0, counts[wire.SKIPPED], wire_message.LOST_FRAMING)

    ib, heard = IB(), []
    ib.client.decoder.handlers = {k: lambda fields: heard.append(fields) for k in ib.client.decoder.handlers}
    ib.client._serverVersion = ib.client.decoder.serverVersion = 178
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)
    ib.client.conn.hasData.emit(stream)
    assert [f for f in heard if f[0] == "2"] == []


@pytest.mark.parametrize("length", [0, 1, 3, 9, 20, 40, 60, 300, 513, 5_000, 70_000, (16 << 20) + 1, 905_982_777, 2**32 - 1])
def test_after_a_corrupt_length_every_following_frame_arrives(length):
    data = GOOD[0] + length.to_bytes(4, "big") + GOOD[1][4:] + b"".join(GOOD[2:])
    pos, messages, status, counts, _ = decode(data, OURS)
    assert (pos, status) == (len(data), wire.MORE)
    got = quantities(messages)
    assert got == [1.0, *range(3, 30)]
    assert counts[wire.RESYNCS] + counts[wire_message.BAD] >= 1


def test_garbage_between_frames_is_skipped():
    data = GOOD[0] + b"GARBAGE!" + b"".join(GOOD[1:])
    _, messages, _, counts, _ = decode(data, OURS)
    assert quantities(messages) == list(range(1, 30))
    assert (counts[wire.RESYNCS], counts[wire.SKIPPED]) == (1, 8)


def test_a_swallowed_frame_of_others_is_found_inside_the_refused_one():
    long = naive.frame(4, 2, -1, 2104, "x" * 200, "")
    data = (len(long) + 30).to_bytes(4, "big") + long[4:] + ERROR + b"".join(GOOD)
    _, spans, _, _ = split(data, OURS, capacity=99)
    assert b"".join(data[a:b] for a, b in spans) == ERROR
    assert quantities(decode(data, OURS)[1]) == list(range(1, 30))


@pytest.mark.pure
@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        (GOOD[0], wire_frames.SOUND),
        (ERROR, wire_frames.SOUND),
        (naive.frame(9001, 5, 6), wire_frames.SOUND),
        (naive.frame(9001, 5), wire_frames.REFUSED),
        (naive.frame(200, "what", "is", "this"), wire_frames.REFUSED),  # of a later version, perhaps
        (naive.frame(2, 6, 7, 0), wire_frames.REFUSED),
        (naive.frame(2, 6, 7, 0, 5)[:-1] + b"x", wire_frames.REFUSED),
        (naive.frame("x", 6, 7, 0, 5), wire_frames.REFUSED),
        (naive.frame("02", 6, 7, 0, 5), wire_frames.REFUSED),
        (naive.frame(5, "an\x01order"), wire_frames.REFUSED),
        (naive.frame(1, 6, 7, 1, "0." + "1" * 600, 5, 0), wire_frames.REFUSED),
        (b"\0\0\0\1\0", wire_frames.SKIP),
        (b"12345678901", wire_frames.SKIP),
    ],
)
def test_verdicts(frame, verdict):
    data = np.frombuffer(frame + GOOD[0] + GOOD[1] + bytes(64), np.uint8).copy()
    assert wire_frames.weigh(data, 0, data.size - 64, 3) == (verdict, len(frame))


@pytest.mark.pure
def test_what_cannot_be_told_yet_waits():
    def weigh(data):
        return wire_frames.weigh(np.frombuffer(data + bytes(64), np.uint8).copy(), 0, len(data), 3)

    assert weigh(GOOD[0][:-1]) == (wire_frames.WAIT, 0)
    assert weigh(b"\0\0\0\x10") == (wire_frames.WAIT, 0)
    unknown = b"\0\0\3\0" + b"500\0text"  # an id of a later version, perhaps, until prefixes show that it swallows frames
    assert weigh(unknown) == (wire_frames.WAIT, 0)
    assert weigh(unknown + GOOD[0] + GOOD[1]) == (wire_frames.SKIP, len(unknown))
    assert weigh(b"\xff\xff\xff\xff" + GOOD[0]) == (wire_frames.ADRIFT, 0)  # one sound frame is no proof
    assert weigh(b"\xff\xff\xff\xff" + GOOD[0] + GOOD[1]) == (wire_frames.SKIP, 4)
    assert weigh(b"\xff\xff\xff\xff" + naive.frame(9001, 5, 6)) == (wire_frames.SKIP, 4)  # a clock frame is


def test_no_bytes_of_a_refused_frame_reach_ib_async_unless_it_can_read_them():
    odd = [naive.frame(200, 1, 2), naive.frame("x", 1), naive.frame(4, 2, -1)[:-1] + b"x", naive.frame(4, 2)]
    data = b"".join(o + ERROR for o in odd)
    _, spans, _, _ = split(data, {}, capacity=99)
    assert b"".join(data[a:b] for a, b in spans) == odd[0] + ERROR * 3 + odd[3] + ERROR
    assert decode(data, {})[3][wire_message.BAD] == 2


def damaged(seed: int, n: int, damages: int) -> bytes:
    """A stream with bytes overwritten, inserted and taken out; sound at its end."""
    r, data = random.Random(seed), bytearray(b"".join(mixed(n, seed)))
    for _ in range(damages):
        at, k = r.randrange(len(data) - 40), r.choice([1, 1, 2, 4, r.randrange(30)])
        what = r.random()
        if what < 0.4:
            data[at : at + k] = r.randbytes(k)
        elif what < 0.7:
            data[at:at] = r.choice([r.randbytes(k), data[at - k : at]])
        else:
            del data[at : at + k]
    return bytes(data) + b"".join(GOOD)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_stream_is_walked_as_the_rules_say(seed):
    compare(damaged(seed, 60, 1 + seed % 6), 178)


@given(st.integers(0, 10**6), st.lists(st.integers(0, 3_000), max_size=4))
def test_a_damaged_stream_gives_the_same_however_it_is_cut(seed, cuts):
    data = damaged(seed, 60, 3)
    whole = decode(data, OURS)
    _, spans, _, _ = split(data, OURS, capacity=999)
    forwarded = b"".join(data[a:b] for a, b in spans)
    pieces, sent, lo, counts = [], b"", 0, np.zeros(wire.N_COUNTS, np.int64)
    for hi in [*sorted(c % len(data) for c in cuts), len(data)]:
        if hi <= lo:
            continue
        pos, messages, _, more, _ = decode(data[lo:hi], OURS)
        split_pos, spans, _, _ = split(data[:hi], OURS, lo, capacity=999)
        assert split_pos == lo + pos  # both walk alike
        sent += b"".join(data[a:b] for a, b in spans)
        pieces.append(messages.copy())
        counts += more
        lo += pos
    got = np.concatenate(pieces)
    for name in ("role", "symbol"):
        np.testing.assert_array_equal(got[name], whole[1][name])
    np.testing.assert_array_equal(quantities(got), quantities(whole[1]))
    assert counts.tolist() == whole[3].tolist()
    assert sent == forwarded


def test_random_damage_costs_few_frames():
    """300 damages of 1 to 29 bytes, 400 messages each: what is lost is what was damaged, and at most a few more."""
    r, lost = random.Random(2), 0
    for _ in range(300):
        frames = mixed(400, r.randrange(10**6), ours=105)
        data = bytearray(b"".join(frames))
        at, k = r.randrange(len(data) - 2_000), r.randrange(1, 30)
        what = r.choice(["delete", "insert", "overwrite"])
        if what == "delete":
            del data[at : at + k]
        elif what == "insert":
            data[at:at] = r.randbytes(k)
        else:
            data[at : at + k] = r.randbytes(k)
        _, _, _, counts, _ = decode(bytes(data), {q: q for q in range(105)})
        lost += len(frames) - counts[wire_message.DECODED] - counts[wire_message.FORWARDED]
    assert lost / 300 < 2.5
