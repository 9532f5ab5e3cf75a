"""tickarrow replay: the same pipeline over a recorded session's chunks and control events, compared bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import Progress

from tickarrow.configs.pipeline import PipelineConf, ReplayConf
from tickarrow.pipeline import reference
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.features import feature_columns, feature_digest
from tickarrow.pipeline.models import MANIFEST, ModelSet, load_set
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import progress_columns, warm_kernels
from tickarrow.pipeline.registry import Registry
from tickarrow.pipeline.schemas import ControlKind
from tickarrow.pipeline.session import open_manifest, read_manifest, read_table, versions
from tickarrow.pipeline.session_feed import feed_session, first_divergence, read_control
from tickarrow.pipeline.swap import add_set
from tickarrow.pipeline.universe import Instrument, Universe


def main(conf: ReplayConf) -> None:
    """tickarrow replay; SessionError with the first divergence."""
    digest = replay(Path(conf.session), conf.engine, Console(stderr=True), conf.reference)
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


def replay(directory: Path, engine: str | None = None, console: Console | None = None, by_reference: Sequence[str] = ()) -> str:
    """Decide on a session again and compare TICKS, DEPTH, BARS, GREEKS, PREDICTIONS and DECISIONS with what was recorded.

    Parameters
    ----------
    directory : session, closed or recovered; one that was killed is recovered first
    engine : engine to use, None = the recorded one
    by_reference : stages that run by their plain reference, see reference.py

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
    if not stored_sets(manifest):
        raise SessionError(f"session {directory} was recorded without decisions (tickarrow record): there is nothing to replay. Try: tickarrow session check")
    conf = stored_conf(manifest)
    conf.models.engine = engine or manifest["engine"]
    warm_kernels(console, conf.features)
    pipeline = pipeline_of(conf, manifest, read_control(directory))
    if said := reference.use(pipeline, by_reference):
        console.print(said, style="yellow", soft_wrap=True)
    for name, now in versions().items():
        if manifest["versions"].get(name) != now:
            console.print(f"recorded with {name} {manifest['versions'].get(name)}, replayed with {now}", style="dim")
    with Progress(*progress_columns(), console=console, transient=True) as progress:
        bar = progress.add_task("replaying", total=manifest["chunks"])
        for chunk, _ in feed_session(pipeline, directory):
            if chunk.number % 1024 == 0:
                progress.update(bar, completed=chunk.number)
    recovered = manifest["state"] == "recovered"
    for name in ("ticks", "depth", "bars", "greeks", "decisions"):
        if said := first_divergence(read_table(directory, name), getattr(pipeline.tables, name), prefix=recovered):
            raise SessionError(f"replay of {directory} differs: {said}")
    digests = pipeline.digests()
    for name, digest in () if recovered else digests.items():
        if (stored := manifest.get(name, digest)) != digest:  # a session of several runs has no prediction digest
            raise SessionError(f"replay of {directory} differs: {name} is {digest}, recorded {stored}, though TICKS and DECISIONS are equal.")
    return digests["decision_digest"]


def stored_universe(manifest: dict[str, Any]) -> Universe:
    """The universe of a session."""
    return Universe(tuple(Instrument(s, i, tick) for i, (s, tick) in enumerate(zip(manifest["universe"], manifest["tick_size"]))))


def stored_sets(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The session's list of model sets; sessions of earlier versions have one. Empty = it was recorded without decisions."""
    if (one := manifest.get("model_set")) is not None:
        return [{"name": Path(one["path"]).name} | one]
    return list(manifest.get("model_sets", []))


def load_stored(stored: dict[str, Any], conf: PipelineConf) -> ModelSet:
    """A set of a session, from where it was or from where the registry has it now; SessionError if it is no longer the same."""
    path: Path | None = Path(stored["path"])
    if not (Path(stored["path"]) / MANIFEST).is_file():
        path = Registry(conf.models.registry).by_digest(stored["digest"])
    if path is None:
        raise SessionError(
            f"model set {stored['name']!r} of the session is neither in {stored['path']} nor, by its digest {stored['digest']}, "
            f"in {Registry(conf.models.registry).folder}. Restore its folder."
        )
    found = load_set(str(path), feature_columns(conf.features), feature_digest(conf.features))
    if found.digest != stored["digest"]:
        raise SessionError(f"model set {path} is no longer the one of the session: its digest is {found.digest}, recorded {stored['digest']}.")
    return found


def pipeline_of(conf: PipelineConf, manifest: dict[str, Any], events: Sequence[Control], keep: bool = True) -> Pipeline:
    """A pipeline as it was at the begin of a session, with every set that its control events swap to; `keep`: TICKS of all its time, too."""
    universe, sets = stored_universe(manifest), stored_sets(manifest)
    swapped = {int(e.value) for e in events if e.kind == ControlKind.MODEL_SWAP}
    first = load_stored(sets[0], conf)
    pipeline = Pipeline(conf, universe, first, open_engine(first, conf.models), recorded=partial(Table, keep=True) if keep else None)
    for index in range(1, max(swapped, default=0) + 1):
        if index in swapped:
            add_set(pipeline, load_stored(sets[index], conf), lambda found: open_engine(found, conf.models))
        else:  # prepared, but its time did not come
            pipeline.predict.sets.append(pipeline.predict.sets[0])
    pipeline.decode.server_version = manifest["server_version"]
    return pipeline
