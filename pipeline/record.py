"""tickarrow record: market data of a gateway into a session, nothing decided, all day and unattended.

It ends at `record.until`, with the simulated market, or on Ctrl-C or SIGTERM, always with a quality report. After an error too: what
was recorded until then is closed and reported before the error is told."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import re
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.table import Table as Grid

from tickarrow.configs.pipeline import RecordCommandConf
from tickarrow.pipeline import runtime_mode, schemas, session_quality
from tickarrow.pipeline.batch import Batch, Chunk, Table
from tickarrow.pipeline.calendar import Hours
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import SERVER_VERSION, Decode
from tickarrow.pipeline.errors import ConfigError, TickarrowError
from tickarrow.pipeline.gateway import Gateway
from tickarrow.pipeline.pipeline import MakeTable
from tickarrow.pipeline.prepare import output_directory, progress_columns, warm_kernels
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.run import simulator_child
from tickarrow.pipeline.runtime import Runtime
from tickarrow.pipeline.schemas import Health
from tickarrow.pipeline.session import Session, config_digest
from tickarrow.pipeline.session_check import shown
from tickarrow.pipeline.session_quality import Quality
from tickarrow.pipeline.source import open_source
from tickarrow.pipeline.universe import Universe

SHOWN = 10  # symbols of the live table, the most silent first
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(slots=True)
class RecordTables:
    """The tables of a recording."""

    ticks: Table
    control: Table
    depth: Table
    bars: Table
    greeks: Table

    def prepare(self) -> None:
        """Make next segments ahead of need."""
        self.ticks.prepare()
        self.depth.prepare()
        self.control.prepare()


class Recording:
    """What a gateway feeds when nothing is to be decided.

    Parameters
    ----------
    n_symbols : rows of the universe
    make : makes its tables, in a session or in memory
    """

    def __init__(self, n_symbols: int, make: MakeTable) -> None:
        self.tables = t = RecordTables(
            ticks=make(schemas.TICKS), control=make(schemas.CONTROL),
            depth=make(schemas.DEPTH, lazy=True), bars=make(schemas.BARS, lazy=True), greeks=make(schemas.GREEKS, lazy=True),
        )  # fmt: skip
        self.decode = Decode(n_symbols, t.ticks, t.depth, t.bars, t.greeks)
        self.intents = Table(schemas.ORDERS, lazy=True).empty()
        self.chunk, self.ts = -1, 0
        self.feed(Chunk(np.zeros(64, np.uint8), 0, 0, 0, -1))  # the first call of a kernel resolves its types: some ms

    def feed(self, chunk: Chunk, arrival_ns: int = 0) -> Batch:
        """Decode a chunk of received bytes; rows of TICKS."""
        ticks = self.decode.step(chunk)
        self.chunk, self.ts = chunk.number, chunk.ts
        return ticks

    def quote(self, row: int) -> tuple[float, float]:
        """No order needs one."""
        return math.nan, math.nan

    def apply(self, event: Control) -> None:
        """Journal a control event between chunks, and apply what of it concerns decoding."""
        event.write(self.tables.control, self.chunk, self.ts)
        self.decode.apply(event)


def deadline(until: str | None, now: datetime) -> float | None:
    """Seconds from `now` to `record.until`; None = no end."""
    if until is None:
        return None
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", until.strip()):
        return float(found[1]) * UNITS[found[2]]
    if found := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", until.strip()):
        end = now.replace(hour=int(found[1]), minute=int(found[2]), second=int(found[3] or 0), microsecond=0)
        return (end - now + timedelta(days=end <= now)).total_seconds()
    raise ConfigError(f"record.until is {until!r}. Give a local time (16:05) or a duration (90s, 30m, 8h, 2d).")


def main(conf: RecordCommandConf) -> dict[str, Any]:
    """Record and return the quality report."""
    console = Console(stderr=True)
    if conf.gateway.kind not in ("simulator", "ib"):
        raise ConfigError(f"gateway.kind is {conf.gateway.kind!r}. Choose gateway=simulator, or gateway=paper (kind ib).")
    seconds = deadline(conf.record.until, datetime.now())
    simulated = conf.gateway.kind == "simulator"
    universe = open_source(conf.source, conf.universe).universe if simulated else Universe.from_conf(conf.universe)
    warm_kernels(console)
    session = Session(Path(conf.record.path) if conf.record.path else output_directory() / "session")
    recording = Recording(len(universe), session.table)
    session.manifest |= {
        "config": dataclasses.asdict(conf), "config_digest": config_digest(conf), "universe": universe.symbols,
        "tick_size": [i.tick_size for i in universe], "server_version": SERVER_VERSION,
    }  # fmt: skip
    session.write_manifest()
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)  # what matters of it reaches the user as one sentence
    failure: BaseException | None = None
    try:
        runtime_mode.run(_stream(conf, universe, recording, session, seconds, console), conf.runtime)
    except (TickarrowError, OSError) as e:
        failure = e
    except asyncio.CancelledError:
        failure = KeyboardInterrupt()  # asked to end before it was connected
    try:
        with Progress(*progress_columns(), console=console, transient=True) as progress:
            bar = progress.add_task("closing tables", total=None)
            session.close(lambda done, total: progress.update(bar, completed=done, total=total))
    except OSError:
        raise failure or OSError from None  # no room to close it: it is recovered when it is opened next
    if failure is not None and not any(session.directory.glob("chunks-*.bin")):
        raise failure  # it did not begin: there is nothing to report
    found = shown(session.directory, console)
    written = session_quality.write(session.directory, found.report, found.quality)
    session_quality.show(session_quality.wide(), found.report)
    console.print(f"written to {session.directory}: {', '.join(written)}", soft_wrap=True, highlight=False)
    if isinstance(failure, Exception):
        raise failure
    return found.report


async def _stream(
    conf: RecordCommandConf, universe: Universe, recording: Recording, session: Session, seconds: float | None, console: Console
) -> None:
    """Connect, record until the end, disconnect."""
    simulated = conf.gateway.kind == "simulator"
    lock_step = simulated and conf.gateway.speed == 0
    journal = Journal(session.directory, conf.record.segment_mb << 20, conf.record.sync_s)
    answers = dataclasses.replace(conf.gateway, timeout_s=0.0) if simulated else conf.gateway
    gateway = Gateway(answers, universe, recording, journal, lock_step=lock_step, simulated=simulated, ledger=None)
    runtime = Runtime(conf.runtime, gateway.tap, None, gateway.tell)
    stop, loop, this = asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    connected = False

    def ask() -> None:
        if not connected and not stop.is_set():
            this.cancel()  # a start may take long: a simulator reads its whole source, a gateway may never answer
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    ended: dict[str, Any] = {}
    try:
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(simulator_child(conf, ended, gateway.fail)) if simulated else conf.gateway.port
            try:
                stack.enter_context(runtime_mode.entered(conf.runtime, gateway.tell))
                runtime.begin()  # before anything is subscribed: it takes some tenths of a second
                await gateway.connect(conf.gateway.host, port)
                connected = True
                await _until_the_end(gateway, recording, universe, stop, seconds, console)
            finally:
                runtime.end()
                gateway.disconnect()
                journal.close()
    finally:
        session.manifest |= {"lock_step": lock_step, "chunks": journal.chunks, "chunk_bytes": journal.bytes, "reads": gateway.tap.reads,
                             "sent": list(gateway.sent) if gateway.sent else None, "simulated": ended, "runtime": runtime.report()}  # fmt: skip
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _until_the_end(
    gateway: Gateway, recording: Recording, universe: Universe, stop: asyncio.Event, seconds: float | None, console: Console
) -> None:
    """Wait for the gateway's end, the user's or that of the time; show how it goes each second."""
    view = View(gateway, recording, universe)
    end = None if seconds is None else time.monotonic() + seconds
    waits = {asyncio.ensure_future(gateway.wait()), asyncio.ensure_future(stop.wait())}
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            while end is None or time.monotonic() < end:
                left = 1.0 if end is None else min(1.0, max(end - time.monotonic(), 0.0))
                done, _ = await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if done:
                    return
                if console.is_terminal:
                    live.update(view.grid(), refresh=True)
        finally:
            for task in waits:
                task.cancel()


class View:
    """The live table: what came in the last second, what is lost, who is silent, what the account has left."""

    def __init__(self, gateway: Gateway, recording: Recording, universe: Universe) -> None:
        self.gateway, self.recording = gateway, recording
        self.quality = Quality(universe.symbols, Hours(gateway.conf.calendar, time.time_ns()).open_s)
        self._segment = self._row = 0  # of TICKS, that the quality has seen
        self._events = 0
        self._before = (time.monotonic(), 0, 0)  # time, rows, messages
        self._began = time.monotonic()

    def _catch_up(self) -> None:
        ticks = self.recording.tables.ticks
        segments = [*ticks.closed, ticks.segment]
        while True:
            segment = segments[self._segment]
            if segment.rows > self._row:
                if self.quality.start < 0:
                    self.quality.chunk(int(segment.columns["ts"][0]), 0)
                self.quality.rows(Batch(segment, self._row, segment.rows))
                self._row = segment.rows
            if self._segment + 1 == len(segments):
                return
            self._segment, self._row = self._segment + 1, 0

    def grid(self) -> Grid:
        """The table now."""
        self._catch_up()
        counts, q, now = self.recording.decode.counts(), self.quality, time.monotonic()
        then, rows, messages = self._before
        self._before = (now, self.recording.tables.ticks.rows, counts["messages"])
        took = max(now - then, 1e-3)
        status = self.gateway.status()
        health = dict.fromkeys(q.symbols, Health.LIVE)
        for each in status.subscriptions:
            health[each.symbol] = max(health[each.symbol], each.health)
        grid = Grid(
            "symbol", "health", "rows", "silent s", "longest s", "gaps", "uncertain", "halted", box=None, pad_edge=False, header_style="bold",
            title=(
                f"{timedelta(seconds=int(now - self._began))}  {self._before[1]:,} ticks, {(self._before[1] - rows) / took:,.0f}/s; "
                f"{(counts['messages'] - messages) / took:,.0f} messages/s; {counts['bad']:,} bad, {counts['late']:,} late\n"
                f"link {status.link.name.lower()} {status.why}; {status.reconnects} reconnects, {status.resubscriptions} resubscriptions; "
                f"lines {_of(status.lines)}, tick-by-tick {_of(status.tick_by_tick)}, requests left {status.requests_left:.0f}"
            ), title_justify="left",
        )  # fmt: skip
        for column in grid.columns[2:]:
            column.justify = "right"
        ts = self.recording.ts if self.gateway.lock_step else time.time_ns()
        silent = np.where(q.heard < 0, np.inf, (ts - q.heard) / 1e9)
        total = q.counts["quotes"] + q.counts["trades"]
        for i in np.lexsort((-silent, np.array([-health[s] for s in q.symbols])))[:SHOWN]:
            each_of = (total[i], silent[i], q.longest[i], q.counts["gaps"][i], q.counts["uncertain"][i], q.counts["halted"][i])
            grid.add_row(q.symbols[i], health[q.symbols[i]].name.lower(), *(f"{v:,.1f}" if isinstance(v, float) else f"{v:,}" for v in each_of))
        return grid


def _of(budget: tuple[int, int]) -> str:
    used, limit = budget
    return f"{used} of {limit}" if limit < 1 << 30 else f"{used}"
