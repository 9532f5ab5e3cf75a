"""The latency budget of a live loop: a histogram of each stage, and a plan for when one takes too long.

Late decisions are worse than fewer of them, so a broken budget never queues: shadows rest, then symbols are decided for less often, then
fewer of them. What changes decisions is a control event between two chunks, in the journal like any other, so a replay decides the same.
Orders, cancels and the kill switch are not part of it: they go out with the chunk that made them (docs/decisions/0030)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.runtime import BudgetConf
from tickarrow.jit import hist
from tickarrow.pipeline.decide_act import Control
from tickarrow.pipeline.errors import ConfigError, near
from tickarrow.pipeline.schemas import ControlKind
from tickarrow.pipeline.settings import check_group
from tickarrow.pipeline.summary import QUANTILES, STAGES

if TYPE_CHECKING:
    from tickarrow.pipeline.pipeline import Pipeline

SLICES = 6  # of the window
MOST_PATIENCE = 8  # times `recover_s`
Step = tuple[str, Callable[[], None]]  # what was done, in words, and what takes it back


class Budget:
    """What each stage of a pipeline may take.

    Parameters
    ----------
    conf : limits, window and plan
    pipeline : is measured; control events of the plan are offered to it
    tell : takes one line for the user
    acts : whether the plan is followed; not in lock step, where the time of the wall must not decide anything
    """

    def __init__(self, conf: BudgetConf, pipeline: Pipeline, tell: Callable[[str], None], acts: bool) -> None:
        check_group("runtime.budget", conf)
        names = pipeline.universe.symbols
        for name in conf.keep:
            if name not in names:
                raise ConfigError(f"runtime.budget.keep: {name!r} is not in the universe. {near(name, names)}")
        limits = np.array([getattr(conf, stage).p99_us for stage in STAGES]) * 1e3
        if not (limits >= 0).all():
            wrong = STAGES[int(np.argmin(limits >= 0))]
            raise ConfigError(f"runtime.budget.{wrong}.p99_us is {getattr(conf, wrong).p99_us}: expected microseconds, or 0 for no limit.")
        self.conf, self._pipeline, self._tell, self.acts = conf, pipeline, tell, acts
        self._keep = np.isin(names, conf.keep)
        self.limit, self._calm = limits.astype(np.int64), (limits * conf.recover_share).astype(np.int64)
        n = len(STAGES)
        self.counts = np.zeros((n, hist.BUCKETS), np.int64)
        self.breaches = np.zeros(n, np.int64)  # of each stage
        self._slices, self._sums, self._clock = np.zeros((SLICES, n, 3), np.int64), np.zeros((n, 3), np.int64), np.zeros(1, np.int64)
        self._slice_ns = max(round(conf.window_s * 1e9 / SLICES), 1)
        self._ns = np.zeros(n, np.int64)
        self._words = self._ns.data
        self.taken: list[Step] = []  # steps in force
        self.steps = 0  # taken so far, again or not
        self._reached = 0  # most steps that were in force at once
        self._broken = False
        self._calm_since = self._looked = 0  # ns; 0 = not calm, not yet
        self._patience = 1  # times `recover_s`

    def begin(self) -> None:
        """What a process that is gone has given up comes back: its state was taken over with that, its reasons were not."""
        if not self.acts:
            return
        features = self._pipeline.features
        if features.throttle_ns != features.conf.throttle_ns:
            self._offer(Control(kind=ControlKind.THROTTLE, value=float(features.conf.throttle_ns)))
        self._bring_back(features.left_out)

    def took(self, ts: int, rows: int, decode: int, features: int, predict: int, decide: int, whole: int) -> None:
        """Count a chunk of time `ts` (ns) that led to so many decisions, and act if it is one too many; stages in ns."""
        words = self._words
        words[0], words[1], words[2], words[3], words[4] = decode, features, predict, decide, whole
        over = hist.budget_update(ts, self._slice_ns, self._ns, self.limit, self._calm, rows, self.counts, self._slices, self._sums, self._clock)
        if over and self._sums[:, hist.ROWS].max() >= self.conf.min_rows:
            self._breach([s for s in range(len(STAGES)) if over >> s & 1])
        elif self._broken and not over:
            self._recover(ts)
        if self.taken and ts - self._looked >= self._slice_ns:
            self._looked = ts
            self._bring_back(self._pipeline.features.left_out & self._busy())  # a late fill: someone must close the position

    def _breach(self, stages: list[int]) -> None:
        self.breaches[stages] += 1
        did = self._degrade() if self.acts else ""
        if did or not self._broken:
            rows, over = self._sums[:, hist.ROWS], self._sums[:, hist.OVER]
            said = [f"{STAGES[s]} took more than {self.limit[s] / 1e3:g} us in {100 * over[s] / rows[s]:.1f} %" for s in stages]
            self._tell(f"latency: {', '.join(said)} of the last {rows.max():,} decisions, where 1 % may. {did}".rstrip())
        self._broken, self._calm_since = True, 0
        self._forget()

    def _forget(self) -> None:
        """The window is of before a change: judge what comes from here on."""
        self._slices[:], self._sums[:] = 0, 0

    def _recover(self, ts: int) -> None:
        """Take back one step when all stages have been far below their limits for long enough."""
        if (self._sums[:, hist.WARM] * hist.ONE_IN > self._sums[:, hist.ROWS]).any():
            self._calm_since = 0
            return
        self._calm_since = self._calm_since or ts
        if ts - self._calm_since < self._patience * self.conf.recover_s * 1e9:
            return
        self._calm_since = ts
        while self.taken:
            said, take_back = self.taken.pop()
            take_back()
            if said:  # else it had changed nothing
                break
        self._forget()
        self._broken = bool(self.taken)
        self._tell("latency: all stages are far below their limits again. " + (f"Still so: {self._in_force()}." if self.taken else "All is as before."))

    # --- the plan

    def _degrade(self) -> str:
        """Take the next step of the plan that changes anything; what it does, or ""."""
        for k in range(len(self.taken), len(self.conf.plan)):
            step: Step = getattr(self, f"_{self.conf.plan[k]}")() or ("", lambda: None)
            self.taken.append(step)
            if step[0]:
                if len(self.taken) <= self._reached:  # it was taken back too early: wait longer the next time
                    self._patience = min(2 * self._patience, MOST_PATIENCE)
                self._reached = max(self._reached, len(self.taken))
                self.steps += 1
                return f"From now on: {step[0]}."
        return ""

    def _in_force(self) -> str:
        return ", ".join(said for said, _ in self.taken if said)

    def _shadows(self) -> Step | None:
        running = [s for s in self._pipeline.shadows if not s.paused]

        def pause(paused: bool) -> None:
            for s in running:
                s.paused = paused

        pause(True)
        return ("shadows rest", lambda: pause(False)) if running else None

    def _throttle(self) -> Step:
        before = self._pipeline.features.throttle_ns
        after = round(max(before * self.conf.throttle_factor, self.conf.throttle_least_ms * 1e6))

        def set_to(ns: int) -> None:
            self._offer(Control(kind=ControlKind.THROTTLE, value=float(ns)))

        set_to(after)
        return f"a symbol is decided for each {after / 1e6:g} ms at most", lambda: set_to(before)

    def _symbols(self) -> Step | None:
        """Leave out the last half of the symbols that hold nothing and wait for nothing; the universe stands in the order of importance."""
        free = np.flatnonzero(~(self._pipeline.features.left_out | self._busy() | self._keep))
        out = free[(free.size + 1) // 2 :]
        for symbol in out:
            self._offer(Control(kind=ControlKind.FEWER_SYMBOLS, symbol=int(symbol), value=1.0))
        mask = np.isin(np.arange(self._keep.size), out)
        return (f"symbols left out: {out.size}", lambda: self._bring_back(mask & self._pipeline.features.left_out)) if out.size else None

    def _bring_back(self, symbols: npt.NDArray[np.bool_]) -> None:
        for symbol in np.flatnonzero(symbols):
            self._offer(Control(kind=ControlKind.FEWER_SYMBOLS, symbol=int(symbol), value=0.0))

    def _busy(self) -> npt.NDArray[np.bool_]:
        """(n_symbols,) whether a symbol has a position or an order that works."""
        state = self._pipeline.act.state
        return np.asarray((state["position"] != 0.0) | (state["working"] != 0))

    def _offer(self, event: Control) -> None:
        self._pipeline.swaps.offer(event)

    def report(self) -> dict[str, Any]:
        """What the summary says: quantiles (us) and breaches of each stage, steps of the plan, what is still in force."""
        stages = {}
        for s, stage in enumerate(STAGES):
            found = {name: hist.hist_quantile(self.counts[s], q) for name, q in QUANTILES}
            stages[stage] = {name: None if ns < 0 else round(ns / 1e3, 1) for name, ns in found.items()} | {
                "limit": self.limit[s] / 1e3 or None, "breaches": int(self.breaches[s]),
            }  # fmt: skip
        return {"stages": stages, "acts": self.acts, "steps": self.steps, "in_force": self._in_force()}
