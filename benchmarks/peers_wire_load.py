"""Load on the path from the socket to TICKS: 100,000 events a second sustained, and 12,700 events within 10 ms.

A server of its own process sends slices of 1 ms; both processes read one monotonic clock. The delay of a message is from the sending of
its slice to the end of the decode step that held it, quote builder included, with everything in the client on one core. No peer runs it.
Not an asv module."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, PER_SLICE = 5, 100  # of the sustained load; a slice is 1 ms
BURST, BURST_SLICES = 12_700, 10
SERVER = """
import json, os, socket, sys, time
data, sizes = open(sys.argv[1], "rb").read(), json.loads(sys.argv[2])
os.sched_setaffinity(0, json.loads(sys.argv[3]))
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
c, _ = s.accept()
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
c.recv(16)
at, sent, due = 0, [], time.monotonic_ns()
for n in sizes:
    while time.monotonic_ns() < due:
        pass
    sent.append(time.monotonic_ns())
    c.sendall(data[at : at + n])
    at += n
    due += 1_000_000
c.close()
print(json.dumps(sent), flush=True)
"""


def run(bench: Any, seconds: float = SECONDS) -> Iterator[str]:
    """One line a load; RuntimeError if a message is missing, or the sustained load makes a queue that grows."""
    from benchmarks import common

    others = sorted(os.sched_getaffinity(0))[:-1]  # the last is ours: the server turns while it waits
    if not others:
        raise RuntimeError("wire: the load needs a core for the server beside ours")
    for name, slices, per_slice in (("100k/s", int(seconds * 1000), PER_SLICE), ("burst", BURST_SLICES, BURST // BURST_SLICES)):
        frames = bench.frames("mix", slices * per_slice, seed=19)
        with common.pinned():
            sent, ends, done = _measure(bench, frames, per_slice, others)
        n = len(frames)
        if done[-1] != n:
            raise RuntimeError(f"wire: {done[-1]} of {n} messages arrived under load {name}")
        delays = np.repeat(ends, np.diff(done, prepend=0)) - np.repeat(sent, per_slice)
        p50, p99, p999 = np.percentile(delays, [50, 99, 99.9]) / 1e3
        if name == "burst":
            yield f"wire - load,{name}={n}msg/10ms drained={(ends[-1] - sent[-1]) / 1e3:.0f}us p99={p99:.0f}us p99.9={p999:.0f}us"
            continue
        first, last = delays[: n // 2], delays[n // 2 :]
        if np.median(last) > 2 * np.median(first) + 1e6:
            raise RuntimeError(f"wire: the delay grows under load {name}: {np.median(first) / 1e3:.0f} us, then {np.median(last) / 1e3:.0f} us")
        yield f"wire - load,{name} p50={p50:.0f}us p99={p99:.0f}us p99.9={p999:.0f}us"


def _measure(bench: Any, frames: list[bytes], per_slice: int, cores: list[int]) -> tuple[Any, Any, Any]:
    """Time (ns) of each slice's sending; end (ns) of each decode step, and how many messages were decoded by then."""
    import json

    sizes = [sum(map(len, frames[a : a + per_slice])) for a in range(0, len(frames), per_slice)]
    hello = bench.frame(178, "20260105 14:30:00 UTC")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stream")
        path.write_bytes(hello + b"".join(frames))
        sizes[0] += len(hello)
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(path), json.dumps(sizes), json.dumps(cores)], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            ends, done = asyncio.run(_client(bench, int(server.stdout.readline())))
            sent = json.loads(server.stdout.readline())
        finally:
            server.kill()
            server.wait()
    return np.array(sent), np.array(ends), np.array(done)


async def _client(bench: Any, port: int) -> tuple[list[int], list[int]]:
    from ib_async.connection import Connection

    from tickarrow.jit import wire_message
    from tickarrow.pipeline.tap import Tap

    decode, closed, ends, done = bench.stage(), asyncio.Event(), [], []
    counts = decode._counts

    def on_chunk(chunk: Any, arrival: int) -> None:
        decode.step(chunk)
        ends.append(time.monotonic_ns())
        done.append(int(counts[wire_message.DECODED]))

    old = Connection()
    tap = Tap(old, decode, on_chunk, lambda: None, lambda end: None, lambda why: None, False, lambda version: None)
    tap.disconnected += (on_closed := lambda *_: closed.set())
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: tap, "127.0.0.1", port)
    transport.write(b"go")
    await closed.wait()
    tap.disconnected -= on_closed
    return ends, done
