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

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.gateway import Gateway
from tickarrow.pipeline.schemas import TICKS, Feed
from tickarrow.pipeline.tap import LOCK_STEP_BYTES, READ_BYTES, Tap
from tickarrow.pipeline.universe import Universe

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


def test_the_kill_switch_is_looked_at_before_a_chunk_and_its_orders_leave_before_the_next():
    happened = []

    async def main():
        pipeline = SimpleNamespace(
            feed=lambda chunk, _: happened.append(f"feed {chunk.number}"), intents=[1], apply=lambda e: happened.append(f"apply {e}"),
            decode=Decode(1, Table(TICKS)),
        )  # fmt: skip
        journal = SimpleNamespace(append=lambda chunk: happened.append(f"journal {chunk.number}"), prepare=lambda: None)
        gateway = Gateway(GatewayConf(), Universe(()), pipeline, journal, lock_step=False, simulated=True, ledger=None)
        gateway.orders = SimpleNamespace(send=lambda intents: happened.append("send"), router=SimpleNamespace(busy=False))
        gateway.kill = SimpleNamespace(check=lambda: happened.append("kill switch"))
        for number in range(2):
            gateway._controls.append(number)
            gateway._on_chunk(Chunk(np.zeros(64, np.uint8), 0, 0, 0, number), 0)

    asyncio.run(main())
    assert happened == [
        "kill switch", "apply 0", "journal 0", "feed 0", "send",
        "kill switch", "apply 1", "journal 1", "feed 1", "send",
    ]  # fmt: skip
