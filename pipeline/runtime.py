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
from tickarrow.pipeline.tap import Tap

LOOK_S = 0.005  # between two looks at whether the feed is silent


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
        self._idle: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """From the first tick on; called in the loop, when all that is slow is done."""
        self.collection.begin()
        if not self.tap.lock_step:
            self._idle = asyncio.ensure_future(self._look())

    def end(self) -> None:
        """The loop is over, whether or not it began."""
        if self._idle is not None:
            self._idle.cancel()
        self.collection.end()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Use the moment if the feed is silent. What is ready on the socket was read before a timer's turn, so no data wait."""
        self.collection.idle(self._clock() - self.tap.heard)

    def report(self) -> dict[str, Any]:
        """What the summary says of it."""
        said = {"collect": self.collection.report()}
        return said if self.budget is None else said | {"budget": self.budget.report()}
