"""Python's garbage collector in a live loop. What is there at the start is frozen and automatic collection is off; what the loop leaves
behind is collected when the feed is silent, never in a burst. A tick leaves nothing behind (tests/test_runtime_allocation.py): it is
requests, reconnects and orders that make cycles."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from tickarrow.configs.runtime import CollectConf
from tickarrow.pipeline.settings import check_group


def _runs() -> int:
    return sum(int(s["collections"]) for s in gc.get_stats())


class Collection:
    """The collector of a process that runs a live loop.

    Parameters
    ----------
    conf : when it may run, and how long
    clock : ns, of pauses and silence
    """

    def __init__(self, conf: CollectConf, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        check_group("runtime.collect", conf)
        self.conf, self._clock = conf, clock
        self.passes = self.found = self.longest_ns = self.total_ns = self.over = self.automatic = 0
        self._last = 0
        self._before = 0  # runs of the collector in this process that are not automatic ones of the loop
        self._on = False

    def begin(self) -> None:
        """Freeze what is there; from now on nothing is collected but by `idle` and `collect`."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self._on, self._last, self._before = True, self._clock(), _runs()

    def end(self) -> None:
        """Back to automatic collection; the next job of a sweep would never get this one's memory."""
        if self._on:
            self._on, self.automatic = False, self.automatic + _runs() - self._before
            gc.unfreeze()
            gc.enable()

    def idle(self, silent_ns: int) -> bool:
        """Collect if the feed is silent for long enough and the last collection is long enough ago; whether it was."""
        if silent_ns < self.conf.gap_ms * 1e6 or self._clock() - self._last < self.conf.every_s * 1e9:
            return False
        self.collect()
        return True

    def collect(self) -> int:
        """Collect now: an idle moment that the caller declares. Returns the pause, ns."""
        started = self._clock()
        runs = _runs()
        self.found += gc.collect()
        self._before += _runs() - runs
        self._last = self._clock()
        pause = self._last - started
        self.passes += 1
        self.total_ns += pause
        self.longest_ns = max(self.longest_ns, pause)
        self.over += pause > self.conf.pause_ms * 1e6
        if 2 * pause > self.conf.pause_ms * 1e6:
            gc.freeze()  # what has survived lives long: the next collection does not walk over it again
        return pause

    def report(self) -> dict[str, Any]:
        """What the summary says: collections, objects found, pauses in ms, those that were too long, automatic collections (none)."""
        return {
            "collections": self.passes, "objects": self.found, "longest_pause_ms": round(self.longest_ns / 1e6, 3),
            "total_pause_ms": round(self.total_ns / 1e6, 3), "over_limit": self.over, "automatic": self.automatic,
        }  # fmt: skip
