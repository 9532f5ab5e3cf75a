"""A run that goes on with a session: the last state that fits, then the chunks of the journal after it, as if the run had never stopped.

A state that is damaged or of another run is refused with one sentence, and the one before it serves; without any the whole journal is
decided again. What was recorded after the state is compared with what comes of it now."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import Progress

from tickarrow.configs.pipeline import RunConf
from tickarrow.pipeline import restart
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError, SessionError
from tickarrow.pipeline.features import feature_digest
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import progress_columns
from tickarrow.pipeline.recorder_read import Cut
from tickarrow.pipeline.registry import Registry
from tickarrow.pipeline.replay import load_stored, stored_conf, stored_sets
from tickarrow.pipeline.restart import Place, State
from tickarrow.pipeline.restart_orders import Known, known_of
from tickarrow.pipeline.restart_session import Resumed
from tickarrow.pipeline.schemas import ControlKind, Health
from tickarrow.pipeline.session import config_digest, decisive, read_manifest, read_table
from tickarrow.pipeline.session_feed import feed_session, first_divergence, read_control
from tickarrow.pipeline.swap import add_set
from tickarrow.pipeline.universe import Universe

if TYPE_CHECKING:
    from tickarrow.pipeline.gateway import Gateway

COMPARED = ("ticks", "depth", "bars", "greeks", "decisions")


@dataclass(slots=True)
class Restart:
    """A pipeline in a session that goes on, and how it came to be."""

    session: Resumed
    pipeline: Pipeline
    events: list[Control]  # of all runs before
    after: tuple[int, int, int]  # of the journal: segments, chunks, bytes
    state_chunk: int  # the state that served follows it; -1 = none did
    replayed: int  # chunks
    market_ns: int  # begin of a simulated market, ns of its own time
    seconds: float = 0.0  # until it stands where it stood
    refused: list[str] = field(default_factory=list)  # why states before it did not serve

    @property
    def known(self) -> Known:
        """What the pipeline knows of orders and positions."""
        return known_of(self.pipeline.act, self.session.manifest["runs"][0]["began"])

    def market(self, speed: float) -> dict[str, Any]:
        """Where a simulated market and its account go on, which ended with the run before: in lock step where it ended, else it has moved on."""
        passed = round((time.time_ns() - self.session.manifest["runs"][0]["begin_ns"]) * speed)
        s = self.pipeline.act.state
        held = [(float(p), float(m)) for p, m in zip(s["position"], s["mark"])]
        run = len(self.session.manifest["runs"]) - 1
        return {"before": {"run": run, "ts": self.market_ns + passed if speed else self.pipeline.ts, "held": held}}

    def begin(self, gateway: Gateway) -> None:
        """Go on with chunks and requests where the run before ended, and say what is not known: requests of that run are answered no more,
        and the market has moved; rows that need a quote wait for one."""
        decode = self.pipeline.decode
        gateway.tap.next_chunk = gateway.tap.first_chunk = self.after[1]
        gateway.first_id = decode.first_free()
        gateway.watch.was_down()
        for request in decode.live_requests():
            self.pipeline.apply(Control(kind=ControlKind.UNSUBSCRIBE, key=request))
        if self.pipeline.act.book["killed"][0]:  # the end of a run ends its orders so; an account that was killed is killed again
            self.pipeline.apply(Control(kind=ControlKind.KILL, value=0.0))
        for row in decode.silent():
            self.pipeline.apply(Control(kind=ControlKind.HEALTH, symbol=row, value=Health.LIVE))
        self.pipeline.apply(Control(kind=ControlKind.HEALTH, symbol=-1, value=Health.LOST))


def go_on(conf: RunConf, universe: Universe, console: Console, market_ns: int = 0) -> Restart | None:
    """The session of the configuration brought back, with a line of how long it took; None = a new one begins."""
    if not conf.record.resume:
        return None
    if conf.record.path is None:
        raise ConfigError("record.resume=true goes on with a session, and record.path does not say which. Name its folder (record.path=DIR).")
    directory = Path(conf.record.path)
    if not (directory / "manifest.json").is_file():
        return None
    with Progress(*progress_columns(), console=console, transient=True) as progress:
        bar = progress.add_task("deciding again what came after the state", total=None)
        found = resume(directory, conf, universe, lambda number, first: progress.update(bar, completed=number - first), market_ns)
    for said in found.refused:
        console.print(f"{said} The one before it serves, or the journal.", style="yellow", soft_wrap=True)
    state = f"the state behind chunk {found.state_chunk:,}" if found.state_chunk >= 0 else "the journal alone"
    console.print(
        f"session {directory} goes on behind chunk {found.after[1] - 1:,}: from {state}, {found.replayed:,} chunks decided again, in {found.seconds:.2f} s",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    return found


def entry(found: Restart | None, begin_ns: int, simulated: bool) -> dict[str, Any]:
    """What the session's manifest says of a run: `began` s UTC; `begin_ns` market time that swaps are counted from; its first chunk; the chunk
    before it that a state followed (-1 = none), chunks decided again and seconds for it; states that did not serve and why; seconds of market
    time before it that nobody recorded (a real market's only)."""
    out: dict[str, Any] = {"began": time.time(), "begin_ns": begin_ns, "first_chunk": 0}
    if found is not None:
        gap = (time.time_ns() - found.pipeline.ts) / 1e9
        out |= {
            "first_chunk": found.after[1], "state_chunk": found.state_chunk, "replayed": found.replayed, "restart_s": round(found.seconds, 3),
            "refused": found.refused, "gap_s": None if simulated else round(gap, 3),
        }  # fmt: skip
    return out


def check_same(directory: Path, manifest: dict[str, Any], conf: RunConf, universe: Universe) -> None:
    """SessionError unless the run decides as the session's runs before it."""
    end = "Correct it, or begin another session (record.path=...)."
    if not stored_sets(manifest):
        raise SessionError(f"session {directory} was recorded without decisions (tickarrow record): a run cannot go on with it. {end}")
    if manifest["universe"] != universe.symbols or manifest["tick_size"] != [i.tick_size for i in universe]:
        raise SessionError(f"session {directory} has another universe: {_part(manifest['universe'])} there, {_part(universe.symbols)} here. {end}")
    if manifest["config_digest"] != config_digest(conf):
        there, here = _flat(decisive(_typed(manifest["config"]))), _flat(decisive(conf))
        name = next((k for k in here if k in there and there[k] != here[k]), "")
        said = f"{name} is {there[name]!r} there and {here[name]!r} here" if name else "it was begun by another version"
        raise SessionError(f"session {directory} has another configuration: {said}. {end}")
    if manifest["feature_digest"] != feature_digest(conf.features):
        raise SessionError(f"session {directory} has other features: the files of your own families have changed. {end}")
    if conf.model_set is not None:
        path = Registry(conf.models.registry).find(conf.model_set).resolve()
        listed = [Path(s["path"]).resolve() for s in stored_sets(manifest)]
        if path not in listed:
            names = ", ".join(s["name"] for s in stored_sets(manifest))
            raise SessionError(f"session {directory} is decided by {names}, not by {path.name!r}. Swap to it in the run (tickarrow models promote). {end}")


def _typed(stored: dict[str, Any]) -> Any:
    """A configuration of a manifest; what this version has no setting for is left out."""
    schema = OmegaConf.structured(RunConf)
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, {k: v for k, v in stored.items() if k in schema}))
    except OmegaConfBaseException:
        return {}


def _part(symbols: list[str]) -> str:
    return f"{len(symbols)} symbols from {symbols[0]} to {symbols[-1]}"


def _flat(conf: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(conf, dict):
        return {prefix[:-1]: conf}
    return {k: v for name, value in conf.items() for k, v in _flat(value, f"{prefix}{name}.").items()}


def resume(directory: Path, conf: RunConf, universe: Universe, tell: Callable[[int, int], None] | None = None, market_ns: int = 0) -> Restart:
    """Bring a session that was killed or closed back to where it stood. Kernels are warm.

    Parameters
    ----------
    directory, conf, universe : session, and the run that goes on with it
    tell : called with the number of a chunk that is decided again, and with that of the first one
    market_ns : begin of a simulated market, ns of its own time

    Raises
    ------
    SessionError
        the session is another one, or damaged, or does not give again what was recorded
    """
    begun = time.perf_counter()
    manifest = read_manifest(directory)
    check_same(directory, manifest, conf, universe)
    sets = [load_stored(s, stored_conf(manifest)) for s in stored_sets(manifest)]
    engines = [open_engine(s, conf.models) for s in sets]
    session = Resumed(directory)
    try:
        events, rows, refused = read_control(directory), session.rows(), []
        place, state = Place(-1, 0, "", 0, {}), None
        bound = restart.bound_to(feature_digest(conf.features), universe, config_digest(conf))
        for path in restart.states(directory):
            try:
                place, state = _fitting(path, bound, rows)
                break
            except SessionError as e:
                refused.append(str(e))
        recorded = {name: read_table(directory, name).slice(place.rows.get(name, 0)) for name in COMPARED}
        session.keep(place.rows)
        pipeline = Pipeline(conf, universe, sets[0], engines[0], recorded=session.table)
        opened = dict(zip([s.digest for s in sets], engines))
        for model_set in sets[1:]:
            add_set(pipeline, model_set, lambda found: opened[found.digest])
        pipeline.decode.server_version = manifest["server_version"]
        if state is not None:
            pipeline.restore(state)
        after = _replay(session, pipeline, place, events[place.rows.get("control", 0) :], tell)
        _compare(directory, pipeline, place, recorded)
        for path in restart.states(directory)[: len(refused)]:
            path.unlink()  # of chunks that a loss of power took: the same numbers come again, and it would fit them
    except BaseException:
        session.leave()
        raise
    found = Restart(session, pipeline, events, after, place.chunk, after[1] - place.chunk - 1, market_ns, refused=refused)
    found.seconds = time.perf_counter() - begun
    return found


def _fitting(path: Path, bound: dict[str, Any], rows: dict[str, int]) -> tuple[Place, State]:
    """A state that can serve; SessionError says why it cannot."""
    place, state = restart.read(path, bound)
    for name, n in place.rows.items():
        if rows.get(name, 0) < n:
            raise SessionError(f"state {path.name} stands behind {n:,} rows of {name} and the session has {rows.get(name, 0):,}: a loss of power took them.")
    segment = path.parent / place.segment
    if place.segment and not (segment.is_file() and segment.stat().st_size >= place.offset):
        raise SessionError(f"state {path.name} stands behind chunk {place.chunk} and the journal does not reach so far: a loss of power took it.")
    return place, state


class _Again:
    """A pipeline whose control events are in the journal."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.feed, self.apply = pipeline.feed, pipeline.take


def _replay(
    session: Resumed, pipeline: Pipeline, place: Place, events: list[Control], tell: Callable[[int, int], None] | None
) -> tuple[int, int, int]:
    """Decide the chunks behind a state again, and cut what was torn; segments, chunks and bytes of the journal."""
    directory = session.directory
    paths = sorted(directory.glob("chunks-*.bin"))
    cut, n_bytes = Cut(), place.bytes
    if paths:
        for chunk, _ in feed_session(_Again(pipeline), directory, cut, (place.segment, place.offset, place.chunk + 1), events):
            n_bytes += chunk.hi
            pipeline.tables.prepare()
            if tell is not None and chunk.number % 256 == 0:
                tell(chunk.number, place.chunk + 1)
    else:
        for event in events:
            pipeline.take(event)
    for path, end in cut.ends.items():
        os.truncate(path, end)
    return len(paths), pipeline.chunk + 1, n_bytes


def _compare(directory: Path, pipeline: Pipeline, place: Place, recorded: dict[str, pa.Table]) -> None:
    """SessionError with the first row that is not what was recorded."""
    for name, before in recorded.items():
        now = getattr(pipeline.tables, name)
        if said := first_divergence(before, now, prefix=True, first=place.rows.get(name, 0)):
            raise SessionError(f"session {directory} does not give again what was recorded: {said}. Begin another one (record.path=...).")

