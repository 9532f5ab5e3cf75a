"""tickarrow explain: why a decision of a recorded session is what it is.

The session's chunks and control events are decided again up to it. Before its tick the state is copied; from that and the tick every number
is computed a second time by plain arithmetic (explain_ensemble.py, explain_act.py), step by step, and compared: the recorded row with the
rebuilt one bit for bit, the rebuilt one with plain arithmetic to stated errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from tickarrow.configs.explain import ExplainConf
from tickarrow.pipeline import explain_show, restart
from tickarrow.pipeline.errors import ConfigError, SessionError
from tickarrow.pipeline.explain_act import Decided, decide
from tickarrow.pipeline.explain_check import Check, decision_checks, equal_rows, forecast_checks, row_check, weight_checks
from tickarrow.pipeline.explain_ensemble import Forecast, forecast
from tickarrow.pipeline.explain_find import Decisions, drawn
from tickarrow.pipeline.explain_watch import Moment, Watch, refresh_rows
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.prepare import output_directory, progress_columns, warm_kernels
from tickarrow.pipeline.replay import pipeline_of, stored_conf, stored_sets, stored_universe
from tickarrow.pipeline.restart import Place
from tickarrow.pipeline.schemas import DECISIONS
from tickarrow.pipeline.session import open_manifest, read_table
from tickarrow.pipeline.session_feed import feed_session, read_control

SHOWN = 10  # differing decisions of many


@dataclass(slots=True)
class Explained:
    """One decision, rebuilt, with the arithmetic behind it."""

    moment: Moment
    forecast: Forecast
    solving: Forecast  # of the row with whose predictions its weights were computed: often the same
    decided: Decided
    checks: list[Check] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether everything agrees."""
        return all(c.ok for c in self.checks)


def main(conf: ExplainConf) -> None:
    """Explain one, check many, or list; SessionError if one does not come out as it was recorded."""
    directory, console = Path(conf.session), Console(stderr=True)
    manifest = open_manifest(directory)
    if not stored_sets(manifest):
        raise SessionError(f"session {directory} was recorded without decisions (tickarrow record): there is nothing to explain.")
    for name, least, expected in (("random", 0, "zero or more"), ("seed", 0, "zero or more"), ("rows", 1, "one or more")):
        if (value := getattr(conf, name)) < least:
            raise ConfigError(f"{name} is {value}: expected {expected}.")
    if conf.random and conf.decision is not None:
        raise ConfigError("decision and random are both given: explain one decision, or check many (random=1000).")
    found = Decisions.read(directory, stored_universe(manifest))
    rows = found.passing(conf)
    if conf.decision is None and not conf.random:
        explain_show.listing(found, rows, conf.rows)
        return
    chosen = drawn(rows, conf.random, conf.seed) if conf.random else np.array([found.named(str(conf.decision), rows)])
    session = Rebuilding(directory, manifest, found, conf.engine, console)
    if conf.random:
        _check_many(session, chosen)
    else:
        _explain_one(session, int(chosen[0]))


def _explain_one(session: Rebuilding, row: int) -> None:
    kept: list[Explained] = []
    session.run(np.array([row]), kept.append)
    story = explain_show.story(kept[0], session.pipeline, session.found, row, session.events, session.begin)
    written = explain_show.show(story, output_directory())
    if not kept[0].equal:
        wrong = next(c for c in kept[0].checks if not c.ok)
        raise SessionError(f"decision {kept[0].moment.seq} of {session.directory} differs: {wrong.name}: {wrong.text}. All is in {written}.")


def _check_many(session: Rebuilding, rows: npt.NDArray[np.int64]) -> None:
    wrong: list[tuple[int, str]] = []
    apart: dict[str, float] = {}

    def done(e: Explained) -> None:
        for c in e.checks:
            name = c.name.split(" of horizon")[0]
            apart[name] = max(apart.get(name, 0.0), c.apart)
        if bad := next((c for c in e.checks if not c.ok), None):
            wrong.append((e.moment.seq, f"{bad.name}: {bad.text}"))

    before = session.run(rows, done)
    explain_show.write(output_directory(), {
        "session": str(session.directory), "checked": len(rows), "equal": len(rows) - len(wrong), "rows_compared": before, "largest_difference_ulps": apart,
        "decisions": session.found.columns["seq"][rows].tolist(), "different": [{"decision": seq, "what": text} for seq, text in wrong],
    })  # fmt: skip
    print(f"{len(rows) - len(wrong):,} of {len(rows):,} rebuilt equal")
    if wrong:
        some = "; ".join(f"{seq}: {text}" for seq, text in wrong[:SHOWN])
        verb = "decision of {} differs" if len(wrong) == 1 else "decisions of {} differ"
        raise SessionError(f"{len(wrong):,} {verb.format(session.directory)} from what was recorded: {some}.")


class Rebuilding:
    """Replays a session as far as some decisions go, and takes them apart.

    Parameters
    ----------
    directory, manifest : session, closed or recovered
    found : its decisions
    engine : None = the recorded one
    console : for the progress
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], found: Decisions, engine: str | None, console: Console) -> None:
        self.directory, self.manifest, self.found, self.console = directory, manifest, found, console
        conf = stored_conf(manifest)
        conf.models.engine = engine or manifest["engine"]
        warm_kernels(console, conf.features)
        self.events = read_control(directory)
        self.begin = -1  # chunk behind which the state stands that it went on from; -1 = the session's begin
        self.pipeline: Pipeline = pipeline_of(conf, manifest, self.events, keep=False)

    def run(self, rows: npt.NDArray[np.int64], done: Callable[[Explained], None]) -> int:
        """Rebuild rows of DECISIONS, ascending; `done` is told of each. How many rows were compared, with those between.

        Raises
        ------
        SessionError : the session ends before, or a row before them is not what was recorded
        """
        columns, ticks = self.found.columns, read_table(self.directory, "ticks")
        seqs, last = columns["seq"].astype(np.int64), int(rows[-1])
        chunk = ticks["chunk"].to_numpy()[seqs]
        length = int(self.pipeline.conf.ensemble.refresh_ns)
        watched = np.union1d(rows, refresh_rows(columns, chunk, rows, self.events, length, len(self.pipeline.universe)))
        asked = set(seqs[rows].tolist())

        def take(moment: Moment) -> None:
            if moment.seq in asked:
                asked.remove(moment.seq)
                at = int(np.searchsorted(seqs, moment.seq))
                done(self.explain(moment, {name: column[at].item() for name, column in columns.items()}))

        place = self._from_state(int(chunk[watched[0]]))
        self.begin = place.chunk
        Watch(self.pipeline, seqs[watched].tolist(), take, history=int(columns["symbol"][last]) if len(rows) == 1 else -1)
        made, first = self.pipeline.tables.decisions, place.rows.get("decisions", 0)
        start, events = (place.segment, place.offset, place.chunk + 1), self.events[place.rows.get("control", 0) :]
        with Progress(*progress_columns(), console=self.console, transient=True) as progress:
            bar = progress.add_task("rebuilding", total=last + 1 - first)
            for n, _ in feed_session(self.pipeline, self.directory, None, start, events):
                if n.number % 256 == 0:
                    progress.update(bar, completed=min(made.rows, last + 1 - first))
                if first + made.rows > last:
                    break
        end = first + made.rows
        if end <= last:
            raise SessionError(
                f"session {self.directory}: its frames end before decision {seqs[last]}, after {end:,} decisions. Restore its chunks-*.bin from a copy."
            )
        same = equal_rows({n: c[first:] for n, c in columns.items()}, {n: made.column(n)[: last + 1 - first] for n in DECISIONS.names})
        between = first + np.flatnonzero(~same)
        between = between[~np.isin(between, rows)]  # those that were asked for are told one by one
        if len(between):
            other = seqs[between[0]]
            raise SessionError(f"decision {other} of {self.directory} is the first that differs from what was recorded. Explain that one: decision={other}")
        if asked:
            raise SessionError(f"decision {min(asked)} of {self.directory} was recorded and is not made now: its tick is another one. See: tickarrow replay")
        return last + 1 - first

    def _from_state(self, chunk: int) -> Place:
        """Bring the pipeline to the last state that the session holds before a chunk, if one fits; where it stands then."""
        bound = restart.bound_to(str(self.manifest["feature_digest"]), self.pipeline.universe, str(self.manifest["config_digest"]))
        for path in restart.states(self.directory):
            try:
                place, state = restart.read(path, bound)
            except SessionError:  # damaged, or of other kernels: the one before it, or the whole journal
                continue
            if place.chunk < chunk and place.rows.get("control", 0) <= len(self.events):
                self.pipeline.restore(state)
                return place
        return Place(-1, 0, "", 0, {})

    def explain(self, moment: Moment, recorded: dict[str, Any]) -> Explained:
        """Plain arithmetic and all comparisons."""
        p = self.pipeline
        par, horizons = p.ensemble.params[0], p.ensemble.horizons_ns
        first = row_check("rebuilt row", DECISIONS.names, recorded, moment.decision)
        found = solving = forecast(moment, horizons, par)
        checks = [first]
        source = moment
        if not moment.refreshed and moment.refresh is not None:
            source, solving = moment.refresh, forecast(moment.refresh, horizons, par)
            same = bool(np.array_equal(source.after.weights, moment.after.weights, equal_nan=True))
            checks.append(Check("weights since their refresh", same, 0.0 if same else np.inf, 0.0, "" if same else "they have changed"))
        if solving.solved is None:
            checks.append(Check("refresh", False, np.inf, 0.0, "no row was found with whose predictions the weights were computed"))
        else:
            checks += weight_checks(source, solving.solved)
        decided = decide(moment, p.act)
        return Explained(moment, found, solving, decided, [*checks, *forecast_checks(moment, found), *decision_checks(moment, decided)])
