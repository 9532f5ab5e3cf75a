"""How the process of a live loop stands to the others of its machine (group `runtime`).

`shared` is an ordinary process. `realtime` goes before all ordinary ones (SCHED_FIFO) and keeps its pages (mlockall). `reserved` owns a
core and never sleeps on it. What the system does not permit is told in one sentence, and the run goes on without it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from tickarrow.configs.runtime import RuntimeConf
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.settings import check_group

MODES = ("shared", "realtime", "reserved")
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
ISOLATED = Path("/sys/devices/system/cpu/isolated")
LIBC = ctypes.CDLL(None, use_errno=True)


def cores(text: str) -> set[int]:
    """Numbers in a list of the kernel's, such as `2-3,6`."""
    out: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        out |= set(range(int(first), int(last or first) + 1))
    return out


def isolated() -> set[int]:
    """Cores that the scheduler leaves to who asks for them."""
    with contextlib.suppress(OSError, ValueError):
        return cores(ISOLATED.read_text())
    return set()


def check_mode(conf: RuntimeConf) -> None:
    """ConfigError names what is wrong."""
    check_group("runtime", conf)
    there = os.sched_getaffinity(0)
    if conf.cpu >= 0 and conf.cpu not in there:
        raise ConfigError(f"runtime.cpu is {conf.cpu}: this process may use the cores {', '.join(map(str, sorted(there)))}.")


class Spinning(selectors.EpollSelector):
    """Waits without sleeping: a sleeping core takes 10 to 50 us to wake up. `idle` is called between two looks while nothing comes."""

    idle: Callable[[], object] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            if found := super().select(0):
                return found
            if time.monotonic() >= end:
                return []
            if self.idle is not None:
                self.idle()


def run(main: Coroutine[Any, Any, Any], conf: RuntimeConf) -> Any:
    """`asyncio.run` in the loop of the mode."""
    check_mode(conf)
    factory = (lambda: asyncio.SelectorEventLoop(Spinning())) if conf.mode == "reserved" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


@contextlib.contextmanager
def entered(conf: RuntimeConf, tell: Callable[[str], None]) -> Iterator[None]:
    """The mode is in force for this thread, and is left at the end: another job of a sweep may follow in this process."""
    cores_before = os.sched_getaffinity(0)
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        if conf.mode == "realtime":
            _go_first(conf, tell)
            _keep_pages(tell)
        cpu = _own_core(conf, tell) if conf.mode == "reserved" else conf.cpu
        if cpu >= 0:
            os.sched_setaffinity(0, {cpu})
        yield
    finally:
        os.sched_setaffinity(0, cores_before)
        if conf.mode == "realtime":
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(0, policy, parameter)
            LIBC.munlockall()


def _go_first(conf: RuntimeConf, tell: Callable[[str], None]) -> None:
    try:  # its children and threads are ordinary: the simulator must not compete with it
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(conf.priority))
    except PermissionError:
        tell(
            f"runtime=realtime: this user may not have priority {conf.priority} of SCHED_FIFO, so other work can delay a tick by milliseconds. "
            "Allow it with CAP_SYS_NICE or LimitRTPRIO."
        )


def _keep_pages(tell: Callable[[str], None]) -> None:
    most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    free = most == resource.RLIM_INFINITY or os.geteuid() == 0
    # With a limit later pages are left alone: what comes when it is reached would fail.
    if LIBC.mlockall(MCL_ONFAULT | (MCL_CURRENT | MCL_FUTURE if free else MCL_CURRENT)):
        why = os.strerror(ctypes.get_errno()).lower()
        tell(f"runtime=realtime: memory is not locked ({why}), so a page may have to come from the disk. Allow it with CAP_IPC_LOCK or LimitMEMLOCK=infinity.")


def _own_core(conf: RuntimeConf, tell: Callable[[str], None]) -> int:
    """The core to spin on; -1 = any."""
    mine = isolated() & os.sched_getaffinity(0)
    if conf.cpu >= 0 and conf.cpu in mine:
        return conf.cpu
    count = os.cpu_count() or 1
    few = f" With {count} cores this mode cannot be judged." if count <= 2 else ""
    if conf.cpu < 0 and mine:
        return max(mine)
    which = f"core {conf.cpu} is not" if conf.cpu >= 0 else "no core of this machine is"
    tell(f"runtime=reserved: {which} isolated (isolcpus), so whoever spins there is put aside for milliseconds when others need it.{few}")
    return conf.cpu
