"""tickarrow run: a market through a gateway into the pipeline, orders back, everything recorded.

This process warms the kernels, makes sure that there is a model set (training runs in a process of its own), starts the simulated
gateway as a child unless a real one is configured, and connects. It ends with the market, or on Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn

from tickarrow.configs.pipeline import RecordCommandConf, RunConf
from tickarrow.pipeline import limits, reference, restart_run, runtime_mode, shadow, summary
from tickarrow.pipeline.certificate_live import LiveChecks, check_every
from tickarrow.pipeline.decode import SERVER_VERSION
from tickarrow.pipeline.errors import ConfigError, GatewayError
from tickarrow.pipeline.gateway import Gateway
from tickarrow.pipeline.kill_switch import switch
from tickarrow.pipeline.patience import within
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.preflight import Known
from tickarrow.pipeline.prepare import model_set_of, output_directory, progress_columns, warm_kernels
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.restart import Saver
from tickarrow.pipeline.restart_run import Restart
from tickarrow.pipeline.router_ib import ledger_folder, open_ledger
from tickarrow.pipeline.router_ledger import Ledger
from tickarrow.pipeline.runtime import Runtime
from tickarrow.pipeline.session import Session, config_digest
from tickarrow.pipeline.source import Source, open_source
from tickarrow.pipeline.swap import listed_sets, plan
from tickarrow.pipeline.swap_follow import Follow
from tickarrow.pipeline.universe import Universe

START_TIMEOUT_S, ENDING_S = 60.0, 10.0


def main(conf: RunConf) -> dict[str, Any]:
    """Run and return the summary."""
    console = Console(stderr=True)
    out = output_directory()
    if conf.gateway.kind not in ("simulator", "ib"):
        raise ConfigError(f"gateway.kind is {conf.gateway.kind!r}. Choose gateway=simulator, or gateway=paper or live (kind ib).")
    simulated = conf.gateway.kind == "simulator"
    every = check_every(conf.models, simulated)
    source = open_source(conf.source, conf.universe) if simulated else None
    universe = source.universe if source is not None else Universe.from_conf(conf.universe)
    warm_kernels(console, conf.features)
    if simulated and conf.gateway.speed > 0:  # its chunks are stamped by the wall's clock, at which its market has no hours
        conf.risk.limits.calendar, conf.risk.limits.restart = "", []
    span = _span(source, conf.gateway.speed)
    restarted = restart_run.go_on(conf, universe, console, source.start_ns if source is not None else 0)
    pipeline, session = _begin(conf, universe, out, console) if restarted is None else (restarted.pipeline, restarted.session)
    begin_ns = session.manifest["runs"][0]["begin_ns"] if restarted is not None else span[0] if span is not None else time.time_ns()
    plan(pipeline, conf.models, begin_ns, beside=True, applied=None if restarted is None else restarted.events)
    if slow := reference.use(pipeline, conf.reference):
        console.print(slow, style="yellow", soft_wrap=True)
    hours = span if span is not None else (time.time_ns(), time.time_ns())
    pipeline.features.prepare(*hours)
    pipeline.act.limits.prepare(*hours)
    session.manifest["model_sets"] = listed_sets(pipeline)
    session.manifest.setdefault("runs", []).append(restart_run.entry(restarted, begin_ns, simulated))
    session.write_manifest()
    model_set = pipeline.predict.sets[0].model_set
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)  # what matters of it reaches the user as one sentence
    checks = LiveChecks(every, session.directory)
    for served in pipeline.predict.sets:
        checks.watch(served)
    pipeline.predict.watch = checks.watch
    follow = Follow(pipeline, session) if conf.models.follow else None
    started = time.perf_counter()
    try:
        for s in pipeline.shadows:
            s.start()
        if follow is not None:
            follow.start()
        outcome = runtime_mode.run(_stream(conf, universe, pipeline, session, span, checks, console, restarted), conf.runtime)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # SIGTERM where SIGINT is ignored, see kill_switch.py
    finally:
        if follow is not None:
            follow.stop()  # first: it may add a set
        for s in pipeline.shadows:
            s.stop()
        live = checks.close()
    wall = time.perf_counter() - started
    shadows = shadow.write(pipeline.shadows, session.directory)
    session.manifest |= {**pipeline.digests(), **outcome, "shadows": shadows, "live_checks": live}
    session.close()
    counts = pipeline.decode.counts()
    said = {
        **summary.results(pipeline),
        "messages": counts["messages"],
        "bad_frames": counts["bad"],
        "sent_messages": outcome["sent"][0] if outcome["sent"] else None,
        "sent_updates": outcome["sent"][1] if outcome["sent"] else None,
        "sent_trades": outcome["sent"][2] if outcome["sent"] else None,
        "left_out": sum(outcome["simulated"].get("left_out", {}).values()),
        "model_set_path": str(model_set.path),
        "shadows": shadows,
        "live_checks": live,
        "latency_us": summary.latencies(pipeline),
        "runtime": outcome["runtime"],
        "rss_mb": summary.peak_rss_mb(),
        "wall_s": round(wall, 2),
    }
    summary.write(out / "summary.json", said)
    summary.show(Console(), said, out)
    for text in checks.news():
        console.print(text, style="red", soft_wrap=True)
    if left_out := summary.left_out(outcome["simulated"].get("left_out", {})):
        console.print(left_out, style="yellow")
    for reason, sample in pipeline.decode.bad_samples():
        console.print(f"bad frame ({reason}): {sample!r}", style="yellow")
    return said


def _span(source: Source | None, speed: float) -> tuple[int, int] | None:
    """First and last time (ns) of a simulated market by the clock that stamps its chunks: the market's own in lock step, else that of the wall."""
    if source is None or speed == 0:
        return None if source is None else (source.start_ns, source.end_ns)
    now = time.time_ns()
    return now, now + round((source.end_ns - source.start_ns) / speed)


def _begin(conf: RunConf, universe: Universe, out: Path, console: Console) -> tuple[Pipeline, Session]:
    """A pipeline in a new session."""
    model_set = model_set_of(conf, console)
    engine = open_engine(model_set, conf.models)
    session = Session(Path(conf.record.path) if conf.record.path else out / "session")
    pipeline = Pipeline(conf, universe, model_set, engine, recorded=session.table)
    session.manifest |= {
        "config": dataclasses.asdict(conf), "config_digest": config_digest(conf), "universe": universe.symbols,
        "tick_size": [i.tick_size for i in universe], "engine": engine.name, "server_version": SERVER_VERSION,
        "feature_digest": pipeline.features.digest,
    }  # fmt: skip
    return pipeline, session


async def _stream(
    conf: RunConf, universe: Universe, pipeline: Pipeline, session: Session, span: tuple[int, int] | None, checks: LiveChecks, console: Console,
    restarted: Restart | None,
) -> dict[str, Any]:
    """Connect, stream until the market ends, disconnect; what the manifest needs to know of it."""
    simulated = span is not None
    lock_step = simulated and conf.gateway.speed == 0
    journal = Journal(session.directory, conf.record.segment_mb << 20, conf.record.sync_s, (0, 0, 0) if restarted is None else restarted.after)
    # Our simulator answers when it has read its source, which takes as long as it takes; if it ends, simulator_child says so.
    answers = dataclasses.replace(conf.gateway, timeout_s=0.0) if simulated else conf.gateway

    def ledger(account: str) -> Ledger:
        found = open_ledger(conf.orders, account, conf.gateway.client_id, session.directory if simulated else None)
        found.known = None if restarted is None else restarted.known
        return found

    known = None
    if not simulated:
        said = limits.lines(conf.risk.limits)
        known = Known(pipeline.model_set, pipeline.engine.name, session.directory, conf.risk.allow_delayed, said, console)
    gateway = Gateway(answers, universe, pipeline, journal, lock_step=lock_step, simulated=simulated, ledger=ledger, orders=conf.orders, known=known)
    runtime = Runtime(conf.runtime, gateway.tap, pipeline, gateway.tell)
    saver = Saver(pipeline, journal, session.directory, conf.record.state_s, session.manifest["config_digest"])
    gateway.idle.append(saver.look)
    if restarted is not None:
        restarted.begin(gateway)
    ended: dict[str, Any] = {}
    stands = True  # the pipeline is behind its last chunk, not in it
    async with contextlib.AsyncExitStack() as stack:
        port = conf.gateway.port
        if simulated:
            going_on = {} if restarted is None else restarted.market(conf.gateway.speed)
            port = await stack.enter_async_context(simulator_child(conf, ended, gateway.fail, going_on))
        folder = ledger_folder(conf.orders, session.directory if simulated else None)
        stack.enter_context(switch(gateway, conf.kill, session.directory, folder, pipeline.act, guard=not simulated and conf.kill.guard))
        try:
            stack.enter_context(runtime_mode.entered(conf.runtime, gateway.tell))
            runtime.begin()  # before anything is subscribed: it takes some tenths of a second
            await gateway.connect(conf.gateway.host, port)
            await _with_progress(gateway, pipeline, span, checks, console)
        except Exception:
            stands = False
            raise
        finally:
            runtime.end()
            gateway.disconnect()
            saver.close(stands)
            journal.close()
    session.manifest["runs"][-1]["states"] = dataclasses.asdict(saver.saved)
    return {
        "lock_step": lock_step, "chunks": journal.chunks,
        "chunk_bytes": journal.bytes, "reads": gateway.tap.reads, "sent": list(gateway.sent) if gateway.sent else None,
        "simulated": ended, "runtime": runtime.report(),
    }  # fmt: skip


async def _with_progress(gateway: Gateway, pipeline: Pipeline, span: tuple[int, int] | None, checks: LiveChecks, console: Console) -> None:
    """Wait for the end of the market; show how far it is, and what a check found."""
    columns = [*progress_columns(), TextColumn("{task.fields[now]}")]
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        total = None if span is None else (span[1] - span[0]) / 1e9
        bar = progress.add_task("streaming", total=total, now="")
        waiting = asyncio.ensure_future(gateway.wait())
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=0.5)
                t = pipeline.tables
                done = max(0.0, (pipeline.ts - span[0]) / 1e9) if span is not None else None
                progress.update(bar, completed=done, now=f"{t.ticks.rows:,} ticks, {t.decisions.rows:,} decisions, {t.fills.rows:,} fills")
                for text in checks.news():
                    console.print(text, style="red", soft_wrap=True)
                progress.refresh()
            await waiting
        except asyncio.CancelledError:
            if span is not None:
                raise
            console.print("stopped by the user: cancelling what is working", style="dim")  # a real gateway has no end of its own
            await gateway.wind_down()
        finally:
            waiting.cancel()


@contextlib.asynccontextmanager
async def simulator_child(
    conf: RunConf | RecordCommandConf, ended: dict[str, Any], fail: Callable[[BaseException], None], going_on: dict[str, Any] | None = None
) -> AsyncIterator[int]:
    """The simulated gateway as a child process; yields its port, and fills `ended` with what it counted. If it ends too early, `fail` is told:
    nobody starts it again, and a gateway would try to reach it for ever. `going_on`: where its market and account are when it opens."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simulator.json"
        told = [k for k in ("gateway", "costs", "source", "universe") if hasattr(conf, k)]
        path.write_text(json.dumps({k: dataclasses.asdict(getattr(conf, k)) for k in told} | (going_on or {})))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tickarrow.pipeline.simulator", str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 20
        )
        watch = None
        try:
            port = await within(START_TIMEOUT_S, _port(child))
            watch = asyncio.ensure_future(_gone(child, fail))
            yield port
        except TimeoutError:
            raise GatewayError(f"the simulated gateway did not listen within {START_TIMEOUT_S:g} s. Is the machine very busy? Run it again.") from None
        except GatewayError as e:
            raise GatewayError(await _last_words(child) or str(e)) from None
        finally:
            if watch is not None:
                watch.cancel()
            with contextlib.suppress(ProcessLookupError):
                if child.stdin is not None:
                    child.stdin.close()
                try:
                    await asyncio.wait_for(child.wait(), ENDING_S)
                except TimeoutError:
                    child.kill()
                    await child.wait()
            assert child.stdout is not None
            try:
                while line := await within(ENDING_S, child.stdout.readline()):
                    ended |= json.loads(line)
            except TimeoutError:  # what it said is read; a process of its own that is left has the pipe open
                child._transport.close()  # type: ignore[attr-defined]


async def _gone(child: asyncio.subprocess.Process, fail: Callable[[BaseException], None]) -> None:
    """Wait for the end of the simulator while it is in use."""
    code = await child.wait()
    fail(GatewayError(f"the simulated gateway ended in mid-run with code {code}. Was it killed, or is the machine short of memory? Run it again."))


async def _last_words(child: asyncio.subprocess.Process) -> str | None:
    """The error with which the simulator ended in mid-run, if it said one."""
    assert child.stdout is not None
    with contextlib.suppress(TimeoutError, ValueError):
        async with asyncio.timeout(1.0):
            while line := await child.stdout.readline():
                event = json.loads(line)
                if event["event"] == "error":
                    return str(event["message"])
    return None


async def _port(child: asyncio.subprocess.Process) -> int:
    """The port that the simulator listens on, or its error."""
    assert child.stdout is not None
    while line := await child.stdout.readline():
        event = json.loads(line)
        if event["event"] == "listening":
            return int(event["port"])
        if event["event"] == "error":
            raise GatewayError(event["message"])
    raise GatewayError(
        f"the simulated gateway ended with code {await child.wait()} before it listened. Run it alone to see why: python -m tickarrow.pipeline.simulator"
    )
