"""Model sets of a running pipeline: which it holds, which one decides, and the swaps that wait for their time (design contract 7).

A swap is the control event MODEL_SWAP: applied between two chunks, journalled with the set's index in the session's list, applied again
by a replay. It waits here until the first chunk from its market time on; one that another thread offers is due with the next chunk."""

from __future__ import annotations

import datetime
import math
from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError, ModelError, near
from tickarrow.pipeline.models import ModelSet, load_set
from tickarrow.pipeline.predict import Served
from tickarrow.pipeline.predict_engines import Engine, open_engine
from tickarrow.pipeline.registry import Registry
from tickarrow.pipeline.schemas import ControlKind
from tickarrow.pipeline.shadow import Shadow

if TYPE_CHECKING:
    from tickarrow.pipeline.pipeline import Pipeline

NOW, FOREVER = -(2**62), 2**62  # ns: before and after every time
MOST = 256  # sets of a session: DECISIONS.model_set is a byte


class Swaps:
    """Control events that wait for a market time or for the next chunk. `due` is all that a chunk looks at."""

    def __init__(self, apply: Callable[[Control], None]) -> None:
        self.due = FOREVER  # ns; the first chunk from then on is preceded by an event
        self._apply = apply
        self._scheduled: list[tuple[int, int, Control]] = []  # time, order in which it was asked for
        self._offered: deque[Control] = deque()

    def schedule(self, ns: int, event: Control) -> None:
        """Apply an event before the first chunk whose time is `ns` or later."""
        insort(self._scheduled, (ns, len(self._scheduled), event), key=lambda entry: entry[:2])
        self.due = min(self.due, self._scheduled[0][0])

    def offer(self, event: Control) -> None:
        """Apply an event before the next chunk; from any thread."""
        self._offered.append(event)
        self.due = NOW

    @property
    def offered(self) -> bool:
        """Whether an offer still waits for its chunk."""
        return bool(self._offered)

    def begin(self, ts: int) -> None:
        """Apply what is due before a chunk of time `ts`."""
        ready = [entry for entry in self._scheduled if entry[0] <= ts]
        del self._scheduled[: len(ready)]
        self.due = self._scheduled[0][0] if self._scheduled else FOREVER  # before the offers are taken: one that comes now sets it anew
        for _, _, event in ready:
            self._apply(event)
        while self._offered:
            self._apply(self._offered.popleft())


def step_in_parts(pipeline: Pipeline, ticks: Batch) -> Batch:
    """Step a block of TICKS in the parts between the swaps that are due in it; the decisions of all parts."""
    t, mark, lo = pipeline.tables, pipeline.act.mark(), ticks.lo
    for table in (t.decisions, t.orders):
        table.reserve(min(len(ticks), table.capacity))  # all parts in one segment
    first = t.decisions.size
    while lo < ticks.hi:
        pipeline.swaps.begin(int(ticks.ts[lo]))
        later = np.flatnonzero(ticks.ts[lo : ticks.hi] >= pipeline.swaps.due)
        hi = lo + int(later[0]) if later.size else ticks.hi
        pipeline.step_part(Batch(ticks.segment, lo, hi))
        lo = hi
    pipeline.act.show_since(mark)
    return Batch(t.decisions.segment, first, t.decisions.size)


def add_set(pipeline: Pipeline, model_set: ModelSet, open_it: Callable[[ModelSet], Engine]) -> int:
    """Index of a set in the pipeline's list. A new one is checked and its engine opened; ModelError says why it does not fit."""
    sets = pipeline.predict.sets
    for i, served in enumerate(sets):
        if served.model_set.digest == model_set.digest:
            return i
    check_fit(pipeline, model_set)
    engine = open_it(model_set)
    x, y = np.zeros((1, len(model_set.columns)), np.float32), np.zeros((1, model_set.n_models), np.float32)
    table = next((s.table for s in sets if s.model_set.n_models == model_set.n_models), None)
    served = Served(model_set, engine, table or Table(schemas.predictions_schema(model_set.n_models, model_set.digest)))
    served.predict(x, 0, 1, y)  # the first call resolves types and touches memory: not in a tick
    if pipeline.predict.watch is not None:
        pipeline.predict.watch(served)
    sets.append(served)
    return len(sets) - 1


def open_set(pipeline: Pipeline, name_or_path: str, conf: ModelsConf) -> int:
    """Load a set by name or path, check it and open its engine; its index in the pipeline's list."""
    path = Registry(conf.registry).find(name_or_path)
    model_set = load_set(str(path), pipeline.features.columns, pipeline.features.digest)
    return add_set(pipeline, model_set, lambda found: open_engine(found, conf))


def check_fit(pipeline: Pipeline, model_set: ModelSet) -> None:
    """ModelError unless the set can take the place of the one that decides now, in this session."""
    name = model_set.name
    check_forecasts(pipeline.model_set, model_set)
    if pipeline.tables.predictions.keep and model_set.n_models != pipeline.predict.sets[0].model_set.n_models:
        raise ModelError(
            f"model set {name!r} has {model_set.n_models} models, the recorded table of predictions is of {pipeline.predict.sets[0].model_set.n_models}. "
            "Record without predictions (record.predictions=false)."
        )
    if len(pipeline.predict.sets) >= MOST:
        raise ModelError(f"model set {name!r} is number {MOST + 1} of the session, which holds {MOST}. Begin another session.")


def check_forecasts(now: ModelSet, model_set: ModelSet) -> None:
    """ModelError unless two sets forecast at the same horizons, and configurations of one name the same target in the same unit."""
    name = model_set.name
    if not np.array_equal(model_set.horizons_ns, now.horizons_ns):
        raise ModelError(
            f"model set {name!r} forecasts {seconds_text(model_set.horizons_ns)}, the running set {now.name!r} {seconds_text(now.horizons_ns)}: "
            "sets of one session have the same horizons. Train it again with these (training.horizons_s)."
        )
    n = now.horizons_ns.size
    for i, configuration in enumerate(model_set.configurations):
        if configuration in now.configurations:
            there, here = model_set.entries[i * n], now.entries[now.configurations.index(configuration) * n]
            if (there.target, there.unit) != (here.target, here.unit):
                raise ModelError(
                    f"model set {name!r}: configuration {configuration!r} forecasts {there.target} in {there.unit}, that of the running set {now.name!r} "
                    f"{here.target} in {here.unit}: what is known of one says nothing of the other. Give it another name or the same target."
                )


def check_canary(now: ModelSet, canary: ModelSet) -> None:
    """ModelError unless both sets can decide side by side, each for its symbols: the ensemble holds the same configurations for all."""
    if canary.configurations != now.configurations:
        raise ModelError(
            f"canary: model set {canary.name!r} has other configurations than {now.name!r} ({', '.join(canary.configurations)}). "
            "Run it as a shadow first (models.shadow) or swap all symbols to it."
        )


def kept_places(before: list[str], after: list[str]) -> npt.NDArray[np.int64]:
    """Where each configuration stood before; -1 = it is new."""
    return np.array([before.index(name) if name in before else -1 for name in after], np.int64)


def seconds_text(horizons_ns: npt.NDArray[np.int64]) -> str:
    return f"{', '.join(f'{h / 1e9:g}' for h in horizons_ns)} s"


def forecast_text(model_set: ModelSet) -> str:
    """What the models of a set forecast, each once."""
    return "; ".join(dict.fromkeys(f"{e.target}, {e.unit}" for e in model_set.entries))


def plan(pipeline: Pipeline, conf: ModelsConf, begin_ns: int | None, *, beside: bool = False, applied: list[Control] | None = None) -> None:
    """Load all other sets of a configuration: the canary decides for its symbols at once, a swap waits for its time, a shadow never decides.

    Parameters
    ----------
    begin_ns : ns UTC, what times in seconds are counted from; None = there is no market yet that begins
    beside : shadows have a thread of their own; the caller starts and stops it
    applied : events of earlier runs of the session, None = it begins: what they have swapped stays swapped
    """
    pipeline.shadows += [_shadow(pipeline, name, conf, beside) for name in conf.shadow]
    if conf.canary.symbols and conf.canary.set is None:
        raise ConfigError("models.canary.symbols names symbols but no set decides for them. Name one: models.canary.set=NAME.")
    if conf.canary.set is not None:
        symbols = pipeline.universe.symbols
        if not conf.canary.symbols:
            raise ConfigError("models.canary.set names a set but no symbols. Name them: 'models.canary.symbols=[AAA]'.")
        for symbol in conf.canary.symbols:
            if symbol not in symbols:
                raise ConfigError(f"models.canary.symbols: {symbol!r} is not in the universe. {near(symbol, symbols)}")
        index = open_set(pipeline, conf.canary.set, conf)
        check_canary(pipeline.model_set, pipeline.predict.sets[index].model_set)
        for symbol in conf.canary.symbols if applied is None else ():
            pipeline.apply(Control(kind=ControlKind.MODEL_SWAP, symbol=symbols.index(symbol), value=float(index)))
    for i, swap in enumerate(conf.swaps):
        ns = time_ns(swap.at, begin_ns, f"models.swaps[{i}].at")
        event = Control(kind=ControlKind.MODEL_SWAP, symbol=-1, value=float(open_set(pipeline, swap.set, conf)))
        if pipeline.ts < ns or not any((e.kind, e.symbol, e.value) == (event.kind, -1, event.value) and e.ts < ns for e in applied or ()):
            pipeline.swaps.schedule(ns, event)


def _shadow(pipeline: Pipeline, name_or_path: str, conf: ModelsConf, beside: bool) -> Shadow:
    """A set in the shadow, with an engine of its own: it may predict while the same set decides."""
    path = Registry(conf.registry).find(name_or_path)
    model_set = load_set(str(path), pipeline.features.columns, pipeline.features.digest)
    check_forecasts(pipeline.model_set, model_set)
    return Shadow(Served(model_set, open_engine(model_set, conf), pipeline.tables.predictions), pipeline.model_set, beside)


def time_ns(text: str, begin_ns: int | None, where: str) -> int:
    """Seconds after `begin_ns`, or a date and time (UTC unless it says otherwise), as ns UTC."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if math.isfinite(seconds):
            if begin_ns is None:
                raise ConfigError(f"{where} is {text!r} seconds, and your own loop has no begin to count from. Give a date and time (2026-01-05T15:30:00).")
            return begin_ns + round(seconds * 1e9)
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{where} is {text!r}. Give seconds after the begin (90) or a date and time (2026-01-05T15:30:00).") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=datetime.UTC)
    since = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def listed_sets(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The session's list of sets as its manifest holds it; DECISIONS.model_set and MODEL_SWAP are indexes into it."""
    return [{"name": s.model_set.name, "path": str(s.model_set.path), "digest": s.model_set.digest} for s in pipeline.predict.sets]
