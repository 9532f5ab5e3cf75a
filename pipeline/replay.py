"""tickarrow replay: the same pipeline over a recorded session's chunks and control events, compared bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import Progress

from tickarrow.configs.pipeline import PipelineConf, ReplayConf
from tickarrow.pipeline.batch import PAD, Chunk, Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.features import feature_columns, feature_digest
from tickarrow.pipeline.models import load_set
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict import open_engine
from tickarrow.pipeline.prepare import progress_columns, warm_kernels
from tickarrow.pipeline.recorder_read import read_journal
from tickarrow.pipeline.schemas import CONTROL, NO_CHUNK
from tickarrow.pipeline.session import open_manifest, read_manifest, read_table, versions
from tickarrow.pipeline.universe import Instrument, Universe


def main(conf: ReplayConf) -> None:
    """tickarrow replay; SessionError with the first divergence."""
    digest = replay(Path(conf.session), conf.engine, Console(stderr=True))
    manifest = read_manifest(Path(conf.session))
    recovered = manifest["state"] == "recovered"
    print(f"{manifest['chunks']:,} chunks, identical as far as it was recorded" if recovered else f"identical {digest}")


def stored_conf(manifest: dict[str, Any]) -> PipelineConf:
    """The stages' configuration of a session."""
    schema = OmegaConf.structured(PipelineConf)
    stored = {k: v for k, v in manifest["config"].items() if k in schema}
    conf = OmegaConf.to_object(OmegaConf.merge(schema, stored))
    assert isinstance(conf, PipelineConf)
    return conf


def replay(directory: Path, engine: str | None = None, console: Console | None = None) -> str:
    """Decide on a session again and compare TICKS, DEPTH, BARS, GREEKS, PREDICTIONS and DECISIONS with what was recorded.

    Parameters
    ----------
    directory : session, closed or recovered; one that was killed is recovered first
    engine : engine to use, None = the recorded one

    Returns
    -------
    str, the decision digest; that of a recovered session is of all its chunks, of which the last may not have been decided before

    Raises
    ------
    SessionError
        the first divergence, or what is wrong with the session
    """
    console = console or Console(stderr=True)
    manifest = open_manifest(directory)
    conf = stored_conf(manifest)
    conf.models.engine = engine or manifest["engine"]
    warm_kernels(console)
    pipeline = _pipeline(conf, manifest)
    for name, now in versions().items():
        if manifest["versions"].get(name) != now:
            console.print(f"recorded with {name} {manifest['versions'].get(name)}, replayed with {now}", style="dim")
    with Progress(*progress_columns(), console=console, transient=True) as progress:
        bar = progress.add_task("replaying", total=manifest["chunks"])
        for done in _feed(pipeline, directory):
            if done % 1024 == 0:
                progress.update(bar, completed=done)
    recovered = manifest["state"] == "recovered"
    for name in ("ticks", "depth", "bars", "greeks", "decisions"):
        if said := first_divergence(read_table(directory, name), getattr(pipeline.tables, name), prefix=recovered):
            raise SessionError(f"replay of {directory} differs: {said}")
    digests = pipeline.digests()
    for name, digest in () if recovered else digests.items():
        if manifest[name] != digest:
            raise SessionError(f"replay of {directory} differs: {name} is {digest}, recorded {manifest[name]}, though TICKS and DECISIONS are equal.")
    return digests["decision_digest"]


def _pipeline(conf: PipelineConf, manifest: dict[str, Any]) -> Pipeline:
    universe = Universe(tuple(Instrument(s, i, tick) for i, (s, tick) in enumerate(zip(manifest["universe"], manifest["tick_size"]))))
    stored = manifest["model_set"]
    model_set = load_set(stored["path"], feature_columns(conf.features), feature_digest(conf.features))
    if model_set.digest != stored["digest"]:
        raise SessionError(f"model set {stored['path']} is no longer the one of the session: its digest is {model_set.digest}, recorded {stored['digest']}.")
    return Pipeline(conf, universe, model_set, open_engine(model_set, conf.models), recorded=partial(Table, keep=True))


def read_control(directory: Path) -> list[Control]:
    """The control events of a session, in order."""
    events = [Control(**row) for row in read_table(directory, "control").select(CONTROL.names).to_pylist()]
    for event in events:
        event.chunk = -1 if event.chunk == NO_CHUNK else event.chunk
    return events


def _feed(pipeline: Pipeline, directory: Path) -> Iterator[int]:
    """Push chunks and control events in their recorded order; yields the number of chunks done."""
    events = read_control(directory)
    applied = 0
    buffer = np.zeros(1 << 20, np.uint8)
    for number, ts, data in read_journal(directory):
        while applied < len(events) and events[applied].chunk < number:
            pipeline.apply(events[applied])
            applied += 1
        if len(data) + PAD > len(buffer):
            buffer = np.zeros(2 * len(data) + PAD, np.uint8)
        buffer[: len(data)] = np.frombuffer(data, np.uint8)
        pipeline.feed(Chunk(buffer, 0, len(data), ts, number))
        yield number + 1
    for event in events[applied:]:
        pipeline.apply(event)


def first_divergence(recorded: pa.Table, now: Table, prefix: bool = False) -> str:
    """The first row and column in which two tables differ bit for bit; empty if none does. `prefix`: what was recorded may end early."""
    first, text = min(len(recorded), now.rows), ""
    if len(recorded) != now.rows and not (prefix and len(recorded) < now.rows):
        text = f"{now.name} has {now.rows:,} rows, recorded {len(recorded):,}"
    for name in now.schema.names:
        a, b = recorded.column(name).to_numpy(), now.column(name)
        n = min(len(a), len(b), first)
        nan = np.isnan(a[:n]) & np.isnan(b[:n]) if a.dtype.kind == "f" else np.zeros(n, bool)
        differs = np.flatnonzero((a[:n].view(f"u{a.itemsize}") != b[:n].view(f"u{b.itemsize}")) & ~nan)
        if len(differs) and differs[0] < first:
            first = int(differs[0])
            text = f"{now.name} row {first:,}, column {name}: {b[first]} now, {a[first]} recorded"
    return text
