"""Targets of the plan that the project grew from, beside what is measured: `plan TARGET limit measured times`, times better than asked.

The plan asks for a system of 100 symbols, 16 models and 5 horizons. One session of `tickarrow run` in real time gives the latencies of its
stages, processor time, memory and pauses (live_day.py: 100 generated symbols, sampled as IBKR samples them, the simulated gateway in a process
of its own); what can be done in a second is measured with as much as is there. Not an asv module."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench_pipeline, live_day

SECONDS = 60.0  # of the session in real time
SYMBOLS = 100
MESSAGES = 1000  # a second, the load that the plan names


def run(seconds: float = SECONDS, rounds: int = 300) -> Iterator[str]:
    """One line a target."""
    live = live_day.run([f"universe.symbols=[{','.join(live_day.names())}]", f"source.duration_s={seconds}", "source.max_rows=0"], "burst")

    def p(stage: str, q: float) -> float:
        return float(np.percentile(live.stages[stage], q)) / 1e3

    # TIMING has the time of all symbols that were due at once, so each of these is at least that of a symbol.
    yield _at_most("model inference of a symbol, p95", 100.0, p("predict", 95), "ms")
    yield _at_most("features of a symbol, p95", 25.0, p("features", 95), "ms")
    yield _at_most("market data of a symbol, p95", 5.0, p("decode", 95), "ms")
    yield _at_most("ensemble and decision of a symbol, p95", 10.0, p("decide", 95), "ms")
    yield _at_most("total, from the gateway's write to the decision, p99", 350.0, float(np.percentile(live.sent, 99)) / 1e3, "ms")
    symbols, at_once = _symbols(rounds)
    yield _at_least("symbols a second", 50.0, symbols, "/s")
    yield _at_most("100 symbols at once", 350.0, at_once, "ms")
    yield _at_least("orders a second", 10.0, _orders(), "/s")
    yield _at_least("market data messages a second", 1000.0, _messages(), "/s")
    yield _at_most("peak memory", 8192.0, live.rss_mb, "MB")
    yield _at_most(f"memory asked for a second at {MESSAGES} messages", 100.0, _allocated() * MESSAGES / 1e6, "MB/s")
    yield _at_most("longest pause of the garbage collector", 10.0, live.summary["runtime"]["collect"]["longest_pause_ms"], "ms")
    yield _at_most(f"processor at {SYMBOLS} symbols, mean", 25.0, 100 * live.cpu, "% of a core")


def _at_most(target: str, limit: float, measured: float, unit: str) -> str:
    return f"plan {target}: <= {limit:g} {unit}, measured {measured:.3g} {unit}, {limit / measured if measured else float('inf'):,.0f} x"


def _at_least(target: str, limit: float, measured: float, unit: str) -> str:
    return f"plan {target}: >= {limit:g} {unit}, measured {measured:,.0f} {unit}, {measured / limit:,.0f} x"


def _symbols(rounds: int) -> tuple[float, float]:
    """Symbols decided a second, one by one, and ms for 100 of them in one step; from their ticks to their decisions."""
    one, many = bench_pipeline.TickToDecision(), bench_pipeline.TickToDecision()
    spent = []
    for bench, rows in ((one, 1), (many, SYMBOLS)):
        bench.setup(rows)
        times = []
        for _ in range(rounds):
            t = time.perf_counter_ns()
            bench.time_tick_to_decision(rows)
            times.append(time.perf_counter_ns() - t)
        spent.append(float(np.median(times)))
    return 1e9 / spent[0], spent[1] / 1e6


def _orders(n: int = 2000) -> float:
    """Orders a second through the router, each written to the disk before it is sent, to a gateway that answers nothing."""
    from tickarrow.configs.orders import OrdersConf
    from tickarrow.pipeline.router import Router
    from tickarrow.pipeline.router_channel import Answer, Intent
    from tickarrow.pipeline.router_ledger import FileStorage, Ledger

    class Channel:
        sent = 0

        def next_id(self) -> int:
            return 1

        def place(self, order: Any, transmit: bool) -> None:
            self.sent += 1

    with tempfile.TemporaryDirectory() as folder:
        channel: Any = Channel()
        ledger = Ledger(FileStorage(Path(folder, "orders.log"), synced=True), time.monotonic)
        router = Router(channel, ledger, [7], ["AAA"], OrdersConf(requests=0), lambda event: None, print, time.monotonic)
        router.up()
        router.answered(Answer())
        started = time.perf_counter()
        for key in range(1, n + 1):
            if why := router.submit(Intent(key, 0, 1, 10.0, 9.99)):
                raise RuntimeError(f"plan: an order was refused: {why}")
            router.pump()
        took = time.perf_counter() - started
    if channel.sent != n:
        raise RuntimeError(f"plan: {channel.sent} of {n} orders were sent")
    return n / took


def _messages(n: int = 200_000) -> float:
    """Messages of the wire decoded a second, 1,460 bytes at a time."""
    from benchmarks import bench_wire
    from tickarrow.pipeline.batch import PAD, Chunk

    frames = b"".join(bench_wire.frames("mix", n, seed=17))
    data = np.concatenate([np.frombuffer(frames, np.uint8), np.zeros(PAD, np.uint8)])
    decode, at, number = bench_wire.stage(), 0, 0
    started = time.perf_counter()
    while at < len(frames):
        chunk = Chunk(data, at, min(len(frames), at + 1460), 1_767_623_400_000_000_000 + number, number)
        decode.step(chunk)
        if chunk.lo == at:
            break
        at, number = chunk.lo, number + 1
    took = time.perf_counter() - started
    if decode.counts()["messages"] != n:
        raise RuntimeError(f"plan: {decode.counts()['messages']} of {n} messages were decoded")
    return n / took


def _allocated(calls: int = 500) -> float:
    """Bytes of Python objects that a tick with its decision needs for a moment; nothing of them stays (tests/test_runtime_allocation.py)."""
    bench = bench_pipeline.TickToDecision()
    bench.setup(1)
    tracemalloc.start()
    spent = []
    for _ in range(calls):
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        bench.time_tick_to_decision(1)
        spent.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    return float(np.mean(spent))
