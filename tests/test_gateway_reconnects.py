"""Many connections that are aborted with data in flight: what a gateway holds afterwards is what it held before. And a process that
compiles nothing itself, so that it does not keep the compiler's memory."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys

import ib_async
from ib_async.connection import Connection
from incidents import fault, incident

from tickarrow.pipeline.batch import Segment
from tickarrow.pipeline.simulator_session import Session
from tickarrow.pipeline.subscriptions import Subscription
from tickarrow.pipeline.tap import Tap

COUNTED = (Connection, Tap, asyncio.Transport, asyncio.TimerHandle, ib_async.IB, Segment, Session, Subscription)
COLD = """
import pkgutil
from importlib import import_module
from rich.console import Console
from tickarrow.pipeline import prepare
pkgutil.iter_modules = lambda path: []
prepare._kernel._registry[:] = [k for k in prepare._kernel._registry if k[0].startswith("journal.")]
import_module("tickarrow.jit.journal")
made = prepare._kernel._registry
print(len(made), len(prepare._kernel.not_compiled()), end=" ")
prepare.warm_kernels(Console(stderr=True))
print(len(prepare._kernel.not_compiled()), sum(sum(k[1].stats.cache_misses.values()) for k in made))
"""


def held(gateway):
    """Live objects by kind, and what is registered, waits or is kept in tables."""
    gc.collect()
    objects = gc.get_objects()
    out = {kind.__name__: sum(issubclass(type(o), kind) for o in objects) for kind in COUNTED}
    ib, decode = gateway.ib, gateway.pipeline.decode
    events = [getattr(of, name) for of in (ib, ib.client) for name in of.events] + [gateway.tap.hasData, gateway.tap.disconnected]
    out |= {
        "tasks": len(asyncio.all_tasks()), "handlers": sum(map(len, events)), "readers": len(asyncio.get_running_loop()._selector.get_map()),
        "ids": len(gateway.watch._asked_as), "bytes of ib_async": len(ib.client._data), "requests of ib_async": len(ib.client._msgQ),
        "futures of ib_async": len(ib.wrapper._futures), "spans": len(decode._spans), "files": len(os.listdir("/proc/self/fd")),
    }  # fmt: skip
    return out


def test_what_is_held_does_not_grow_with_connections_that_are_aborted_with_data_in_flight():
    seen = []

    async def during(gateway, simulator, port):
        for reconnects in (3, 13):
            while gateway.watch.link.reconnects < reconnects:
                await asyncio.sleep(0.1)
            await asyncio.sleep(3.0)  # of the next 20 s of the market: the session is up, all data flow
            seen.append(held(gateway))

    found = incident(fault("half_open", at_s=10.0, every_s=20.0), seconds=290.0, during=during, ping_after_s=2.0, ping_timeout_s=2.0)
    assert found.socket_lost >= 13
    assert len(found.says("no answer to a question")) >= 13
    before, after = seen
    assert before["Tap"] == 1
    # a timer or a closing socket more or less may be on its way; ten of anything would be one a connection
    assert {k: (before[k], n) for k, n in after.items() if n > before[k] + 3} == {}


def test_a_process_that_begins_with_a_cold_cache_compiles_in_another_one(tmp_path):
    env = os.environ | {"TICKARROW_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COLD], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    made, cold, left, compiled_here = map(int, done.stdout.split())
    assert cold == made
    assert made > 0
    assert (left, compiled_here) == (0, 0)
