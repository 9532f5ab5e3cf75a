"""What a live loop does beside its ticks: it keeps the latency budget, and collects garbage when the feed is silent. In lock step there is
no silence and no wall clock: latencies are counted, nothing follows from them, and the collector is off until the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tickarrow.configs.runtime import RuntimeConf
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.runtime_budget import Budget
from tickarrow.pipeline.runtime_collect import Collection
from tickarrow.pipeline.runtime_mode import Spinning
from tickarrow.pipeline.runtime_warm import Warm
from tickarrow.pipeline.tap import Tap

LOOK_S = 0.005  # between two looks at whether the feed is silent, without a keep-warm pass
LEAST_S = 0.001  # a timer of the loop is not finer


class Runtime:
    """The loop of one connected session, from `begin` to `end`.

    Parameters
    ----------
    conf : group `runtime`
    tap : says when bytes came last
    pipeline : decides, within the latency budget; None = nothing is decided
    tell : takes one line for the user
    clock : ns, of silence and pauses
    """

    def __init__(
        self, conf: RuntimeConf, tap: Tap, pipeline: Pipeline | None, tell: Callable[[str], None], clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.conf, self.tap, self._clock = conf, tap, clock
        self.budget = None if pipeline is None else Budget(conf.budget, pipeline, tell, acts=not tap.lock_step)
        if pipeline is not None:
            pipeline.budget = self.budget
        self.collection = Collection(conf.collect, clock)
        self.warm = Warm(pipeline) if pipeline is not None and conf.warm_ms > 0 else None
        self._warm_ns, self._warmed = round(conf.warm_ms * 1e6), 0
        self._idle: asyncio.Task[None] | None = None
        self._selector: Spinning | None = None

    def begin(self) -> None:
        """From now on; called in the loop, before anything is subscribed: the first collection walks over all that was loaded."""
        self.collection.begin()
        if self.tap.lock_step:
            return
        if self.budget is not None:
            self.budget.begin()
        if isinstance(selector := getattr(asyncio.get_running_loop(), "_selector", None), Spinning):
            self._selector, selector.idle = selector, self.look
        else:
            self._idle = asyncio.ensure_future(self._look())

    def end(self) -> None:
        """The loop is over, whether or not it began."""
        if self._idle is not None:
            self._idle.cancel()
        if self._selector is not None:
            self._selector.idle = None
        self.collection.end()

    async def _look(self) -> None:
        every = max(self.conf.warm_ms / 1e3, LEAST_S) if self.warm is not None else LOOK_S
        while True:
            await asyncio.sleep(every)
            self.look()

    def look(self) -> None:
        """Use the moment if the feed is silent. What is ready on the socket was read before a timer's turn, so no data wait."""
        now = self._clock()
        silent = now - self.tap.heard
        if not self.collection.idle(silent) and self.warm is not None and silent >= self._warm_ns and now - self._warmed >= self._warm_ns:
            self._warmed = now
            self.warm()

    def report(self) -> dict[str, Any]:
        """What the summary says of it."""
        said = {"mode": self.conf.mode, "warm_passes": self.warm.passes if self.warm is not None else 0, "collect": self.collection.report()}
        return said if self.budget is None else said | {"budget": self.budget.report()}
