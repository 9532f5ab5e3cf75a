"""Orders, cancels and the kill switch go before data: what they wait for is one read at most, however much has come."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from ib_async.connection import Connection
from naive_wire import frame

from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.gateway import Gateway
from tickarrow.pipeline.schemas import TICKS, Feed
from tickarrow.pipeline.tap import LOCK_STEP_BYTES, READ_BYTES, Tap

HELLO = frame(178, "20260105 14:30:00 UTC")
ROWS = 12_000


def flood(lock_step):
    """Some 2 MB of quotes that change; in lock step with a clock frame behind each."""
    out = [frame(1, 6, 7, 1, f"{10 + k % 50 / 100:.2f}", 100 + k, 1) + (frame(9001, 1000 + k, k) if lock_step else b"") for k in range(ROWS)]
    return HELLO + b"".join(out) * (1 if lock_step else 4)


@pytest.mark.parametrize("lock_step", [False, True])
def test_a_cancel_waits_for_one_read_at_most_under_a_flood(lock_step):
    decode, happened, sizes = Decode(1, Table(TICKS)), [], []
    decode.subscribe(7, 0, Feed.L1)
    loop, data = asyncio.new_event_loop(), flood(lock_step)

    def on_chunk(chunk, _):
        happened.append("chunk")
        sizes.append(chunk.hi - chunk.lo)
        decode.step(chunk)

    def on_read():
        happened.append("read")
        loop.call_soon(happened.append, "cancel")  # as a timer, a signal or an answer on another socket asks for it

    async def main():
        tap = Tap(Connection(), decode, on_chunk, on_read, lambda end: None, happened.append, lock_step, lambda version: None)
        here, there = socket.socketpair()
        transport, _ = await loop.create_connection(lambda: tap, sock=here)
        sender = threading.Thread(target=lambda: there.sendall(data))
        sender.start()
        while len(sizes) < ROWS if lock_step else sum(sizes) < len(data) - len(HELLO):
            await asyncio.sleep(0)
        sender.join()
        transport.close()
        there.close()

    loop.run_until_complete(main())
    loop.close()
    happened = [h for h, before in zip(happened, ["", *happened]) if h != "chunk" or before != "chunk"]
    reads = happened.count("read")
    assert reads > 3
    assert set(happened) == {"chunk", "read", "cancel"}  # framing was not lost
    for k, what in enumerate(happened[:-1]):
        assert what != "read" or happened[k + 1] == "cancel"
    assert max(sizes) <= (LOCK_STEP_BYTES if lock_step else READ_BYTES) + 100  # the piece of a frame that was left is in the next
    assert reads >= len(data) // (LOCK_STEP_BYTES if lock_step else READ_BYTES)


def test_the_orders_of_a_chunk_leave_before_the_next_is_looked_at():
    happened = []
    pipeline = SimpleNamespace(feed=lambda chunk, _: happened.append(f"feed {chunk.number}"), intents=[1], apply=lambda e: happened.append(f"apply {e}"))
    gateway = SimpleNamespace(
        _failure=None, _controls=[], pipeline=pipeline, journal=SimpleNamespace(append=lambda chunk: happened.append(f"journal {chunk.number}")),
        orders=SimpleNamespace(send=lambda intents: happened.append("send")), _acknowledge=lambda number: None, fail=lambda e: happened.append(e),
    )  # fmt: skip
    gateway._apply_controls = lambda: Gateway._apply_controls(gateway)
    for number in range(2):
        gateway._controls.append(f"kill {number}")
        Gateway._on_chunk(gateway, SimpleNamespace(number=number, data=np.zeros(0, np.uint8), lo=0, hi=0, ts=0), 0)
    assert happened == [f"{what} {k}".replace("send 0", "send").replace("send 1", "send") for k in (0, 1) for what in ("apply kill", "journal", "feed", "send")]
