"""What of the machine bounds latency, read from the system, and what the forest costs in cold and in warm caches."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.runtime_mode import isolated
from tickarrow.pipeline.runtime_warm import Warm

PR_GET_TIMERSLACK = 30
FLUSH_BYTES = 48 << 20  # walked to empty the caches
TIMES = 100
SLEEP_S = 0.001
Floats = npt.NDArray[np.float64]
SEEN = {
    "governor": "devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "huge_pages": "kernel/mm/transparent_hugepage/enabled",
    "clock": "devices/system/clocksource/clocksource0/current_clocksource",
}


def machine(system: Path = Path("/sys"), processes: Path = Path("/proc")) -> dict[str, Any]:
    """Facts of the machine; None = the system does not say."""

    def text(path: Path) -> str | None:
        try:
            return path.read_text().strip()
        except OSError:
            return None

    said: dict[str, Any] = {name: text(system / path) for name, path in SEEN.items()}
    if said["huge_pages"] is not None:
        said["huge_pages"] = said["huge_pages"].partition("[")[2].partition("]")[0]
    return said | {
        "cores": os.cpu_count(), "allowed_cores": len(os.sched_getaffinity(0)), "isolated_cores": sorted(isolated()), "load": round(os.getloadavg()[0], 2),
        "virtual": "hypervisor" in (text(processes / "cpuinfo") or ""), "timer_slack_us": ctypes.CDLL(None).prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) / 1e3,
        "realtime_permitted": _may_go_first(), "realtime_share_us": text(processes / "sys/kernel/sched_rt_runtime_us"),
    }  # fmt: skip


def _may_go_first() -> bool:
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        os.sched_setscheduler(0, policy, parameter)
    except PermissionError:
        return False
    return True


def notes(found: dict[str, Any]) -> list[str]:
    """One sentence on each fact that costs latency."""
    out = []
    if found["load"] > found["cores"] / 2:
        out.append(f"Other work runs here (load {found['load']:g} on {found['cores']} cores): tails are those of the scheduler. Measure on a quiet machine.")
    if found["governor"] not in (None, "performance"):
        out.append(f"The CPU governor is {found['governor']}: a core that was idle starts slowly. Set performance (cpupower frequency-set -g performance).")
    if found["virtual"]:
        out.append("This is a virtual machine: an idle core is given back to the host, and waking it takes longer than on bare metal.")
    if not found["isolated_cores"]:
        few = f" With {found['cores']} cores runtime=reserved cannot be judged." if found["cores"] <= 2 else ""
        out.append(f"No core is isolated (isolcpus): runtime=reserved would be put aside when others need its core.{few}")
    if not found["realtime_permitted"]:
        out.append("This user may not use SCHED_FIFO: runtime=realtime would be as shared. Allow it with CAP_SYS_NICE or LimitRTPRIO.")
    if found["huge_pages"] == "never":
        out.append("Huge pages are off: set transparent_hugepage to madvise, large forests gain a little.")
    if found["clock"] not in (None, "tsc", "kvm-clock", "arch_sys_counter"):
        out.append(f"The clock source is {found['clock']}: each stamp costs up to a microsecond. tsc is the fast one.")
    return out


def slack() -> Floats:
    """By how much sleeps of a millisecond are too long, us."""
    out = np.zeros(TIMES)
    for i in range(TIMES):
        started = time.perf_counter_ns()
        time.sleep(SLEEP_S)
        out[i] = (time.perf_counter_ns() - started) / 1e3 - SLEEP_S * 1e6
    return out


def forest(pipeline: Pipeline) -> dict[str, Floats]:
    """What one row takes through the bank, us: in flushed caches, after some ms of sleep, the same with the keep-warm pass, and again and again."""
    warm, engine = Warm(pipeline), pipeline.engine
    segment, y = pipeline.tables.features.segment, np.zeros((1, pipeline.model_set.n_models), np.float32)
    large = np.zeros(FLUSH_BYTES, np.uint8)

    def sleep_warm() -> None:
        for _ in range(3):
            time.sleep(0.002)
            warm()
        time.sleep(0.001)

    before: dict[str, Callable[[], Any]] = {
        "flushed": lambda: int(large[::64].max()), "after 5 ms": lambda: time.sleep(0.005), "kept warm": sleep_warm, "hot": lambda: None,
    }  # fmt: skip
    out = {}
    for name, prepare in before.items():
        out[name] = np.zeros(TIMES)
        for i in range(TIMES):
            prepare()
            row = i % max(segment.rows, 1)
            started = time.perf_counter_ns()
            engine.predict(segment.columns["x"], row, row + 1, y)
            out[name][i] = (time.perf_counter_ns() - started) / 1e3
    return out
