"""Run modes: what the process asks of the system and gives back, the loop that never sleeps, and the keep-warm pass that changes nothing."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import time
from types import SimpleNamespace

import numpy as np
import pytest
from live import Live

from tickarrow.configs.runtime import RuntimeConf
from tickarrow.pipeline import runtime_mode
from tickarrow.pipeline.batch import Segment
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.runtime import Runtime
from tickarrow.pipeline.runtime_mode import Spinning, cores, entered
from tickarrow.pipeline.runtime_warm import Warm
from tickarrow.pipeline.schemas import DECISIONS
from tickarrow.pipeline.session import config_digest

ROWS = 1500
MS = 1_000_000


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    return Live(tmp_path_factory.mktemp("live") / "set", ROWS, "features.throttle_ns=0", "risk.hurdle=1e9")


def values(a):
    """The bytes of an array without those between the fields of its records."""
    return a.tobytes() if a.dtype.names is None else b"".join(values(a[name]) for name in a.dtype.names)


def contents(snapshot):
    return {(stage, name): values(a) for stage, state in snapshot.items() for name, a in state.items()}


def test_the_keep_warm_pass_changes_neither_state_nor_digests(live):
    with_it, without = live.pipeline(), live.pipeline()
    warm = Warm(with_it)
    for k in range(ROWS):
        warm()
        with_it.feed(live.chunk(k), 1)
        without.feed(live.chunk(k), 1)
        if k % 300 == 0:
            before = contents(with_it.snapshot())
            warm()
            assert contents(with_it.snapshot()) == before
    assert warm.passes > ROWS
    assert with_it.tables.decisions.rows > ROWS // 2
    assert with_it.digests() == without.digests()
    assert contents(with_it.snapshot()) == contents(without.snapshot())


def test_the_pass_reads_forest_and_state_and_writes_a_row_of_its_own(live):
    pipeline = live.pipeline()
    for k in range(300):
        pipeline.feed(live.chunk(k))
    asked = []
    predict = pipeline.engine.predict
    pipeline.engine.predict = lambda x, lo, hi, y: (asked.append((lo, hi)), predict(x, lo, hi, y))
    warm, rows = Warm(pipeline), pipeline.tables.features.segment.rows
    for _ in range(3):
        warm()
    assert asked == [(rows - k, rows - k + 1) for k in range(1, 13)]
    assert np.shares_memory(warm._kept[0], pipeline.features._arrays["state"])
    assert any(a is pipeline.act.state for a in warm._kept)


def test_the_pass_decides_with_the_same_code_in_memory_of_its_own(live):
    pipeline = live.pipeline()
    for k in range(300):
        pipeline.feed(live.chunk(k))
    warm = Warm(pipeline)
    for _ in range(100):
        warm()
    twin = warm.twin
    assert twin.act._decisions.rows == twin.features._out.rows == 100
    assert twin.features.kernel is pipeline.features.kernel
    assert twin.ensemble.kernel is pipeline.ensemble.kernel
    assert twin.act.kernel is pipeline.act.kernel
    assert np.isfinite(twin.ensemble.weights).any()

    def arrays(stage, *tables):
        return [a for a in (*stage.held().values(), *(c for t in tables for c in t.segment.columns.values())) if a.size]

    t = pipeline.tables
    theirs = [*arrays(pipeline.features, t.ticks, t.features), *arrays(pipeline.ensemble, t.predictions, t.forecasts), *arrays(pipeline.act, t.decisions)]
    own = [*arrays(twin.features, twin.ticks), *arrays(twin.ensemble, twin.predictions), *arrays(twin.act, twin.act._decisions)]
    assert not any(np.shares_memory(a, b) for a in own for b in theirs)


class Time:
    def __init__(self):
        self.ns = 10**9

    def __call__(self):
        return self.ns


def test_the_pass_comes_only_when_the_feed_is_silent(live):
    clock, pipeline = Time(), live.pipeline()
    tap = SimpleNamespace(lock_step=False, heard=10**9)
    runtime = Runtime(RuntimeConf(warm_ms=5.0), tap, pipeline, print, clock)
    passes = []
    for ms in range(1, 31):
        clock.ns += MS
        if ms in (12, 13, 14):
            tap.heard = clock.ns
        runtime.look()
        passes.append(runtime.warm.passes)
    first = [ms for ms, n in enumerate(np.diff([0, *passes]), 1) if n]
    assert first == [5, 10, 19, 24, 29]
    assert Runtime(RuntimeConf(warm_ms=0.0), tap, pipeline, print).warm is None
    assert Runtime(RuntimeConf(), tap, None, print).warm is None


def test_the_run_mode_is_not_in_the_digest_of_the_configuration():
    other = compose("run", ["runtime=realtime", "runtime.warm_ms=3", "runtime.budget.predict.p99_us=150"])
    assert config_digest(other) == config_digest(compose("run"))


def test_realtime_asks_the_system_and_gives_it_back(monkeypatch):
    asked, told = [], []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *a: asked.append((a[0], a[1], a[2].sched_priority)))
    monkeypatch.setattr(runtime_mode, "LIBC", SimpleNamespace(mlockall=lambda flags: asked.append(flags) or 0, munlockall=lambda: asked.append("unlocked")))
    policy = os.sched_getscheduler(0)
    with entered(RuntimeConf(mode="realtime", priority=42), told.append):
        assert asked[0] == (0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, 42)
        assert asked[1] & runtime_mode.MCL_CURRENT
    assert asked[2:] == [(0, policy, 0), "unlocked"]
    assert told == []


def test_a_segment_whose_pages_are_locked_is_let_go_all_the_same(tmp_path):
    segment = Segment(DECISIONS, 64, tmp_path / "one.arrow")
    runtime_mode.LIBC.mlock(ctypes.c_void_p(segment.columns["seq"].ctypes.data), ctypes.c_size_t(8))
    segment.columns["seq"][5] = 7
    segment.release()
    assert segment.columns["seq"][5] == 7


def test_what_is_not_permitted_is_told_once_and_the_run_goes_on(monkeypatch):
    def refuse(*_):
        raise PermissionError

    told = []
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(runtime_mode, "LIBC", SimpleNamespace(mlockall=lambda flags: -1, munlockall=lambda: 0))
    with entered(RuntimeConf(mode="realtime"), told.append):
        pass
    assert [t.partition(":")[2].partition(",")[0] for t in told] == [" this user may not have priority 50 of SCHED_FIFO", " memory is not locked (success)"]


@pytest.mark.parametrize(
    ("isolated", "count", "cpu", "core", "said"),
    [
        ("2-3", 8, -1, 3, []),
        ("2-3", 8, 2, 2, []),
        ("", 2, -1, -1, ["no core of this machine is isolated", "With 2 cores this mode cannot be judged."]),
        ("", 8, 1, 1, ["core 1 is not isolated"]),
    ],
)
def test_reserved_takes_an_isolated_core_and_says_when_there_is_none(monkeypatch, tmp_path, isolated, count, cpu, core, said):
    (tmp_path / "isolated").write_text(isolated + "\n")
    monkeypatch.setattr(runtime_mode, "ISOLATED", tmp_path / "isolated")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    on, told = [], []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: on.append(cpus))
    with entered(RuntimeConf(mode="reserved", cpu=cpu), told.append):
        assert on == ([{core}] if core >= 0 else [])
    assert on[-1] == set(range(count))  # as before
    assert all(any(part in t for t in told) for part in said)
    assert len(told) == min(len(said), 1)


def test_a_list_of_cores_is_read():
    assert cores("0-2,5\n") == {0, 1, 2, 5}
    assert cores("\n") == set()


def test_a_spinning_loop_hears_sockets_timers_and_is_idle_between_them():
    idle, heard = [], []

    async def main():
        loop = asyncio.get_running_loop()
        assert isinstance(loop._selector, Spinning)
        a, b = socket.socketpair()
        a.setblocking(False)
        loop._selector.idle = lambda: idle.append(1)
        loop.call_later(0.02, b.send, b"tick")
        heard.append(await loop.sock_recv(a, 10))
        started = time.monotonic()
        await asyncio.sleep(0.01)
        heard.append(time.monotonic() - started >= 0.01)
        loop._selector.idle = None
        a.close()
        b.close()

    runtime_mode.run(main(), RuntimeConf(mode="reserved"))
    assert heard == [b"tick", True]
    assert len(idle) > 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mode": "fast"}, r"runtime\.mode is 'fast': choose runtime=shared, runtime=realtime or runtime=reserved\."),
        ({"priority": 0}, r"runtime\.priority is 0: expected a priority of SCHED_FIFO, 1 to 99\."),
        ({"cpu": 4095}, r"runtime\.cpu is 4095: this process may use the cores .*"),
    ],
)
def test_a_mode_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        runtime_mode.check_mode(RuntimeConf(**wrong))
