"""CPU time of a client that reads a stream from a socket: ib_async alone, and behind our tap, with all frames ours or 5 % forwarded to it.

The server is a process of its own and sends as fast as the client reads. CPU time of the client's process, from connecting to the end of
the stream; rounds are interleaved. Not an asv module."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROUNDS = 5
OURS, PEER = 200_000, 20_000  # messages of a round
SERVER = """
import socket, sys
data = open(sys.argv[1], "rb").read()
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    with c:
        n = int(c.recv(16))
        c.sendall(data[-n:])
"""


def run(bench: Any, peer: Any, rounds: int = ROUNDS, ours: int = OURS, theirs: int = PEER) -> Iterator[str]:
    """One line a work, as `peers_wire.run`; RuntimeError if messages are missing."""
    hello = bench.frame(178, "20260105 14:30:00 UTC")
    for kind in ("mix", "bidask"):
        frames = bench.frames(kind, ours, seed=17)
        stream, tail = b"".join(frames), sum(map(len, frames[-theirs:]))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "stream")
            path.write_bytes(hello + stream)
            server = subprocess.Popen([sys.executable, "-c", SERVER, str(path)], stdout=subprocess.PIPE, text=True)
            try:
                assert server.stdout is not None
                port = int(server.stdout.readline())
                for foreign in (0, 5):
                    alone, behind = [], []
                    for _ in range(rounds):
                        alone.append(asyncio.run(_alone(bench, peer, port, tail, theirs)))
                        behind.append(asyncio.run(_behind(bench, peer, port, len(hello + stream), ours, foreign)))
                    a, b = statistics.median(alone), statistics.median(behind)
                    yield f"wire ib_async {kind},socket,forwarded={foreign}% {a:.0f}ns {b:.0f}ns {a / b:.0f}"
            finally:
                server.kill()
                server.wait()


async def _read(conn: Any, port: int, n: int) -> float:
    """CPU nanoseconds until the server has closed the connection."""
    closed = asyncio.Event()
    conn.disconnected += (on_closed := lambda *_: closed.set())
    t = time.process_time_ns()
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: conn, "127.0.0.1", port)
    transport.write(str(n).encode())
    await closed.wait()
    spent = time.process_time_ns() - t
    conn.disconnected -= on_closed
    return spent


async def _alone(bench: Any, peer: Any, port: int, n_bytes: int, n: int) -> float:
    receive, counted = peer(bench)
    client = receive.__self__.client
    client.conn.disconnected.clear()  # the end of the stream is no lost session here
    spent = await _read(client.conn, port, n_bytes)
    if not counted[0]:
        raise RuntimeError("wire: ib_async emitted no ticks from the socket")
    return spent / n


async def _behind(bench: Any, peer: Any, port: int, n_bytes: int, n: int, foreign: int) -> float:
    from tickarrow.pipeline.tap import Tap

    receive, counted = peer(bench)
    client = receive.__self__.client
    client.conn.disconnected.clear()
    decode, lost = bench.stage(owned=bench.SYMBOLS - foreign), []
    client.decoder.handlers[178] = lambda fields: None  # the handshake's answer, which the client has had
    tap = Tap(client.conn, decode, lambda chunk, arrival: decode.step(chunk), lambda: None, lambda end: None, lost.append, False, lambda version: None)
    spent = await _read(tap, port, n_bytes)
    counts = decode.counts()
    if lost or counts["messages"] != n or (counts["forwarded"] > 0) != (foreign > 0) or (foreign > 0 and not counted[0]):
        raise RuntimeError(f"wire: {counts['messages']} of {n} messages came through the tap, {counted[0]} ticks to ib_async {lost}")
    return spent / n
