"""Frames of a generated market at times of our choice, sent by another process through a socket into a pipeline: what `tickarrow doctor
latency` measures. The loop, the tap and the pipeline are those of a run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ib_async.connection import Connection

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.configs.runtime import RuntimeConf
from tickarrow.pipeline import doctor_send, runtime_mode
from tickarrow.pipeline.batch import Chunk
from tickarrow.pipeline.errors import GatewayError
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.runtime import Runtime
from tickarrow.pipeline.schemas import Feed
from tickarrow.pipeline.simulator_encoder import Encoder, new_quotes
from tickarrow.pipeline.simulator_frames import frame
from tickarrow.pipeline.source import Source
from tickarrow.pipeline.tap import Tap

FIRST = 1000  # reqId of the first symbol
VERSION = 178
START_S = 60.0  # for the other process to begin
Floats = npt.NDArray[np.float64]
COLUMNS = ("ts", "symbol", "kind", "mask", "bid", "bid_size", "ask", "ask_size", "price", "size")


@dataclass
class Frames:
    """Updates in order: when each is to be sent (ns after the start), and its bytes."""

    due: npt.NDArray[np.int64]
    data: list[bytes]


@dataclass
class Took:
    """Latencies of one feed, microseconds, one value an update that led to a decision; `wake` one a read."""

    whole: Floats  # from the time an update was to be sent to the decision
    decided: Floats  # from the arrival of its bytes to the decision
    wake: Floats  # from the time to the arrival
    late: dict[str, float]  # of the sender itself: p50, p99, max


def frames_of(source: Source, due: npt.NDArray[np.int64]) -> Frames:
    """The first rows of a source as frames of the wire, one write each, to be sent at these times (ns after the start)."""
    data: list[bytes] = []
    out: list[bytes] = []
    encoder = Encoder(new_quotes(len(source.universe)), SimulatorConf(), False, out.append, day=True)
    for row in range(len(source.universe)):
        encoder.add(FIRST + row, row, 0, False, 0)
    for rows in source.blocks():
        columns: Any = tuple(getattr(rows, c) for c in COLUMNS)
        for k in range(len(rows.ts)):
            if len(data) == len(due):
                return Frames(due, data)
            encoder.rows(columns, k, k + 1, 0)
            if out:
                data.append(b"".join(out))
                out.clear()
    return Frames(due[: len(data)], data)


def sparse(n_symbols: int, rate: float, seconds: float) -> npt.NDArray[np.int64]:
    """Times of updates that come when they like: Poisson, `rate` a second and symbol, ns."""
    n = max(round(n_symbols * rate * seconds), 1)
    gaps = np.random.default_rng(7).exponential(1e9 / (n_symbols * rate), n)
    return np.cumsum(gaps).astype(np.int64)


def bursts(n_symbols: int, rate: float, seconds: float) -> npt.NDArray[np.int64]:
    """As many updates at once as there are symbols, `rate` times a second, ns."""
    return np.repeat(np.arange(max(round(rate * seconds), 1)) * round(1e9 / rate), n_symbols).astype(np.int64)


def write(frames: Frames, path: Path) -> None:
    """The file that the sender reads; updates of one time are one write."""
    edges = np.flatnonzero(np.append(True, np.diff(frames.due) > 0))
    sizes = np.add.reduceat([len(d) for d in frames.data], edges)
    pairs = np.column_stack([frames.due[edges], sizes]).astype("<i8")
    path.write_bytes(struct.pack("<q", len(pairs)) + pairs.tobytes() + b"".join(frames.data))


def measure(pipeline: Pipeline, frames: Frames, conf: RuntimeConf, tell: Callable[[str], None]) -> Took:
    """Send frames through a socket into the pipeline, in the loop of a run mode."""
    for row in range(len(pipeline.universe)):
        pipeline.decode.subscribe(FIRST + row, row, Feed.L1)
    took: Took = runtime_mode.run(_measure(pipeline, frames, conf, tell), conf)
    return took


async def _measure(pipeline: Pipeline, frames: Frames, conf: RuntimeConf, tell: Callable[[str], None]) -> Took:
    n = len(frames.data)
    ends = np.cumsum([len(d) for d in frames.data])
    arrived, decided = np.zeros(n, np.int64), np.full(n, -1, np.int64)  # ns, of updates
    seen = bytes_seen = 0
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_chunk(chunk: Chunk, arrival: int) -> None:
        nonlocal seen, bytes_seen
        lo = chunk.lo
        rows = len(pipeline.feed(chunk, arrival))
        now = time.perf_counter_ns()
        bytes_seen += chunk.lo - lo
        last = seen
        while last < n and ends[last] <= bytes_seen:
            last += 1
        arrived[seen:last] = arrival
        if rows:
            decided[seen:last] = now
        seen = last
        if seen == n and not done.done():
            done.set_result(None)

    def lost(why: str) -> None:
        if not done.done():
            done.set_exception(GatewayError(f"doctor latency: the sender was lost: {why}"))

    tap = Tap(Connection(), pipeline.decode, on_chunk, pipeline.tables.prepare, lambda end: None, lost, False, lambda version: None)
    runtime = Runtime(conf, tap, pipeline, tell)
    here, there = socket.socketpair()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "frames"
        write(frames, path)
        there.sendall(frame(VERSION, "20260105 14:30:00 UTC"))
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: tap, sock=here)
        stack.callback(transport.close)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-S", doctor_send.__file__, str(there.fileno()), str(path), pass_fds=[there.fileno()],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        there.close()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            stack.enter_context(runtime_mode.entered(conf, tell))  # after the child: it has another core
            runtime.begin()
            child.stdin.write(b"\n")
            start = int(await asyncio.wait_for(child.stdout.readline(), START_S))
            await done
            late = json.loads(await child.stdout.read())
        finally:
            runtime.end()
            pipeline.budget = None
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    due, led = start + frames.due, decided >= 0
    reads = np.append(True, np.diff(arrived) > 0)  # the first update of a read
    return Took((decided - due)[led] / 1e3, (decided - arrived)[led] / 1e3, (arrived - due)[reads] / 1e3, {k: v / 1e3 for k, v in late.items()})
