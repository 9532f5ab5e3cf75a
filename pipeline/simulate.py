"""tickarrow simulate: the simulated gateway by itself, for any client, with faults if they are configured.

It listens until Ctrl-C, shows who is connected and what goes wrong, and prints what it has sent."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tickarrow.configs.pipeline import SimulateConf
from tickarrow.jit import _kernel
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.simulator import Simulator
from tickarrow.pipeline.simulator_frames import utc
from tickarrow.pipeline.source import Source, open_source

STATUS_S = 0.5  # between two looks


def main(conf: SimulateConf) -> dict[str, Any]:
    """Serve until the user stops it; the counts."""
    if conf.gateway.kind != "simulator":
        raise ConfigError(f"gateway.kind is {conf.gateway.kind!r}: tickarrow simulate is a gateway itself. Choose gateway=simulator.")
    console = Console(stderr=True)
    simulator = Simulator(conf.gateway, conf.costs)
    source = open_source(conf.source, conf.universe)
    with console.status("compiling kernels (once per machine)"):
        _kernel.warm()
    counts = asyncio.run(_serve(simulator, source, console))
    show(Console(), counts | {"left out": sum(source.bad.values())})
    return counts


async def _serve(simulator: Simulator, source: Source, console: Console) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    for s in signal.SIGINT, signal.SIGTERM:
        loop.add_signal_handler(s, simulator.done.set)
    port = await simulator.start()
    try:
        simulator.open(source)
        speed = f"speed {simulator.conf.speed:g}x" if simulator.conf.speed else "as fast as the clients read"
        console.print(
            f"listening on {simulator.conf.host}:{port}, paper account {simulator.account}, {len(source.universe)} symbols, {speed}, Ctrl-C to end",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        await _watch(simulator, console)
    finally:
        await simulator.close()
    if simulator.failure is not None:
        raise simulator.failure
    return simulator.counts()


async def _watch(simulator: Simulator, console: Console) -> None:
    """Show how it goes until it is over; each fault is a line of its own."""
    said, before, at = 0, 0, time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not simulator.done.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(simulator.done.wait(), STATUS_S)
            begun = simulator.faults.begun if simulator.faults is not None else []
            for seconds, kind in begun[said:]:
                live.console.print(f"{seconds:10.1f} s  {kind}", highlight=False)
            said = len(begun)
            messages, now = simulator.sent[0], time.monotonic()
            live.update(status(simulator, (messages - before) / (now - at)), refresh=True)
            before, at = messages, now


def status(simulator: Simulator, rate: float) -> str:
    """One line: clients, lines, messages per second, market time, faults."""
    ready = [s for s in simulator.sessions if s.ready]
    lines = sum(len(s.encoder.requests) for s in ready)
    feed, faults = simulator.feed, simulator.faults
    market = "is over, begins anew for the next client" if feed.over else f"{utc(feed.now):%H:%M:%S} UTC" if feed.begun else "opens with the first subscription"
    text = f"{len(ready)} clients, {lines} lines, {rate:,.0f} messages/s, market {market}"
    if faults is not None:
        coming = faults.coming
        text += f", {len(faults.begun)} faults" + (f", next {coming[1]} at {coming[0]:g} s" if coming else "")
    return text


def show(console: Console, counts: dict[str, Any]) -> None:
    """The counts as a table; then one row per client and per fault."""
    table = Table(show_header=False, box=None)
    for name, value in counts.items():
        if not isinstance(value, dict):
            table.add_row(name.replace("_", " "), f"{value:,}")
    for name, of in ("client", counts["clients"]), ("fault", counts["faults"]):
        for key, values in of.items():
            table.add_row(f"{name} {key}", ", ".join(f"{v:,} {k.replace('_', ' ')}" for k, v in values.items() if v))
    console.print(table)
