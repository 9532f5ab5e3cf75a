"""A tick leaves nothing behind: Python's heap, numba's, Arrow's and C's are counted over real frames through `Pipeline.feed`; and the
garbage collector, which therefore has nothing to do in a burst, runs only when the feed is silent."""

from __future__ import annotations

import ctypes
import gc
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from live import Live
from numba.core.runtime import _nrt_python, rtsys

from tickarrow.configs.runtime import BudgetConf, CollectConf, StageBudget
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.runtime_budget import Budget
from tickarrow.pipeline.runtime_collect import Collection

TICKS = 2000  # of a part
PARTS = 3
MS = 1_000_000


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A decision on every quote change: all of the path, at every tick."""
    return Live(tmp_path_factory.mktemp("live") / "set", 4 * TICKS + 500, "features.throttle_ns=0", "risk.hurdle=1e9")


class Heap(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]]


mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Heap


def counts():
    pool = pa.default_memory_pool()
    return np.array([sys.getallocatedblocks(), mallinfo().uordblks, pool.bytes_allocated(), pool.num_allocations(), *rtsys.get_allocation_stats()])


def test_a_tick_leaves_nothing_behind_in_any_heap(live):
    pipeline = live.pipeline()
    pipeline.budget = Budget(BudgetConf(predict=StageBudget(1e6)), pipeline, print, acts=True)
    for k in range(TICKS):
        pipeline.feed(live.chunk(k), 1)
    _nrt_python.memsys_enable_stats()
    gc.collect()
    gc.disable()
    counts()
    seen, decided = [counts()], pipeline.tables.decisions.rows
    for part in range(1, PARTS + 1):
        for k in range(part * TICKS, (part + 1) * TICKS):
            pipeline.feed(live.chunk(k), 1)
        seen.append(counts())
    unreachable = gc.collect()
    gc.enable()
    _nrt_python.memsys_disable_stats()
    assert pipeline.tables.decisions.rows - decided > PARTS * TICKS // 2
    assert unreachable == 0  # no cycles: the collector had nothing to do
    python, heap, *others = np.diff(seen, axis=0).T
    for of in others:  # Arrow's bytes and allocations, numba's allocations and frees
        assert not of.any()
    assert abs(np.median(python)) < TICKS / 100  # blocks; a dictionary may grow once
    assert abs(np.median(heap)) < TICKS / 10  # bytes


def test_what_a_tick_needs_for_a_moment_is_small(live):
    pipeline = live.pipeline()
    for k in range(500):
        pipeline.feed(live.chunk(k), 1)
    tracemalloc.start()
    peaks = []
    for k in range(500, 700):
        chunk = live.chunk(k)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        pipeline.feed(chunk, 1)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert np.median(peaks) < 2048  # bytes: views and numbers, nothing that grows with the universe or the bank


class Time:
    """A clock that a test sets."""

    def __init__(self):
        self.ns = 1

    def __call__(self):
        return self.ns


@pytest.fixture
def collection():
    time = Time()
    made = Collection(CollectConf(every_s=10.0, gap_ms=20.0, pause_ms=10.0), time)
    made.time = time
    made.begin()
    yield made
    made.end()


def cycle():
    one = []
    one.append(one)


def test_the_collector_runs_in_a_gap_of_the_feed_and_never_in_a_burst(collection):
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 10_000
    cycle()
    collection.time.ns += 9_000 * MS
    assert not collection.idle(500 * MS)  # the last one is not long enough ago
    collection.time.ns += 1_000 * MS
    assert not collection.idle(19 * MS)  # the feed is not silent
    assert collection.report()["collections"] == 0
    assert collection.idle(20 * MS)
    assert not collection.idle(500 * MS)
    assert collection.report()["collections"] == 1
    assert collection.found >= 1
    collection.end()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert collection.report()["automatic"] == 0


def test_a_long_pause_is_counted_and_its_survivors_are_not_looked_at_again(collection, monkeypatch):
    def slow(ms):
        def collect():
            collection.time.ns += ms * MS
            return 3

        return collect

    kept = [[] for _ in range(1000)]
    frozen = gc.get_freeze_count()
    monkeypatch.setattr(gc, "collect", slow(4))
    assert collection.collect() == 4 * MS
    assert gc.get_freeze_count() == frozen
    monkeypatch.setattr(gc, "collect", slow(12))
    collection.collect()
    assert gc.get_freeze_count() >= frozen + len(kept)
    assert collection.report() | {"automatic": 0} == {
        "collections": 2, "objects": 6, "longest_pause_ms": 12.0, "total_pause_ms": 16.0, "over_limit": 1, "automatic": 0,
    }  # fmt: skip


def test_a_setting_that_means_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"runtime\.collect\.gap_ms is -1\.0: expected milliseconds, from 0 on\."):
        Collection(CollectConf(gap_ms=-1.0))
