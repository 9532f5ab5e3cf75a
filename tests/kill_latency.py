"""Time from a kill to the last cancel, in real processes: a simulated gateway that sends as fast as it can, a run that decides on every quote
and has orders at work, and its guard.

`python tests/kill_latency.py [trials=50]` prints p50, p99 and the worst for a run in the flood and for one whose main loop sleeps, each
killed by a file, by a signal to it and by one to its guard. The last cancel is the request that ends all orders; the gateway's word that none
is open is awaited too."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np
from commands import COMMAND

METHODS = ("file", "signal", "guard")
MODES = ("flood", "stuck")
BUSY_S = 30.0  # a stuck main loop sleeps for so long unless the trial is over before


async def run(port: int, folder: Path) -> None:
    """A run that is told by its standard input what to do: `N` = trial N begins, `stuck` = block the loop until the file `go` is there, `end`."""
    from incidents import SYMBOLS, Desk, Disk

    from tickarrow.configs.gateway import GatewayConf
    from tickarrow.configs.kill import KillConf
    from tickarrow.pipeline.gateway import Gateway
    from tickarrow.pipeline.kill_switch import KillSwitch
    from tickarrow.pipeline.router_ledger import Ledger
    from tickarrow.pipeline.universe import Instrument, Universe

    logging.getLogger("ib_async").setLevel(logging.CRITICAL)
    desk, began = Desk(), time.monotonic()
    desk.fed, desk.decided, desk.events = (deque(maxlen=1) for _ in range(3))  # nothing is replayed here
    universe = Universe(tuple(Instrument(s, i, 0.01) for i, s in enumerate(SYMBOLS)))
    gateway = Gateway(GatewayConf(kind="ib", speed=1.0, timeout_s=30.0, silent_s=1e9), universe, desk, None, lock_step=False, simulated=False,
                      ledger=lambda account: Ledger(Disk()))  # fmt: skip
    gateway.tell = lambda text: None
    await gateway.connect("127.0.0.1", port)
    commands: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(0, lambda: commands.put_nowait(sys.stdin.readline().strip()))
    say("connected")
    switch = None
    while (command := await commands.get()) not in ("end", ""):
        if command == "stuck":
            say("stuck")
            until = time.monotonic() + BUSY_S
            while not (switch.directory / "go").exists() and time.monotonic() < until:
                time.sleep(0.05)  # as a kernel or a lock that does not return: no callback runs
            continue
        if switch is not None:
            while gateway.orders.working:  # else they are left to the guard
                await asyncio.sleep(0.01)
            switch.close()
            gateway.orders.router.checks.clear()
            gateway.orders.router.refuse_new("")
        while not gateway.orders.router.settled:  # the simulated gateway closes a connection that is not read for five seconds
            await asyncio.sleep(0.01)
        directory = folder / command
        directory.mkdir()
        switch = gateway.kill = KillSwitch(gateway, KillConf(stuck_s=0.0), directory, directory, desk.act)
        switch.ready()
        switch.start_guard()
        while not switch.page.get("guard_beat") or not gateway.orders.working:
            await asyncio.sleep(0.01)
        say("ready")
    if switch is not None:
        switch.close()
    say(f"{desk.ticks.rows} ticks in {time.monotonic() - began:.0f} s")
    gateway.disconnect()


def say(text: str) -> None:
    print(text, flush=True)


class Bench:
    """The simulated gateway and the run, as processes."""

    def __init__(self, folder: Path, speed: float) -> None:
        from test_gateway import start_simulator

        self.folder = folder
        # what is wanted takes a second of market time to happen, so orders are always at work
        settings = [f"gateway.speed={speed}", "gateway.latency_ms=1000", "gateway.once=false", "gateway.pacing=0", "universe.symbols=[AAA,BBB,CCC]",
                    "source.duration_s=23400", "source.days=250"]  # fmt: skip
        self.simulator, self.port = start_simulator(folder, *settings)
        self.run = subprocess.Popen([sys.executable, __file__, "--run", str(self.port), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.trials = 0
        self.wait("connected")

    def wait(self, word: str) -> None:
        line = self.run.stdout.readline().strip()
        assert line == word, (line, word)

    def tell(self, word: str) -> None:
        self.run.stdin.write(word + "\n")
        self.run.stdin.flush()

    def trial(self, mode: str, method: str) -> dict[str, float]:
        """Milliseconds from one kill to the guard's cancel of everything, to the run's own, and to the gateway's word that none is open."""
        from tickarrow.pipeline.kill_page import KILL, PAGE, Page

        self.trials += 1
        directory = self.folder / str(self.trials)
        self.tell(str(self.trials))
        self.wait("ready")
        page = Page(directory / PAGE)
        guard = json.loads((directory / "kill.log").read_text().splitlines()[0])["pid"]
        if mode == "stuck":
            self.tell("stuck")
            self.wait("stuck")
            time.sleep(0.1)
        page.set("open_orders", -1)
        began = time.monotonic_ns()
        if method == "file":
            (directory / KILL).touch()
        elif method == "command":
            subprocess.run([COMMAND, "kill", f"session={directory}"], check=True, capture_output=True)
        else:
            os.kill(self.run.pid if method == "signal" else guard, signal.SIGUSR1)
        until = time.monotonic() + BUSY_S

        def await_word(name: str, good) -> float:
            while not good(page.get(name)) and time.monotonic() < until:
                time.sleep(0.002)
            assert good(page.get(name)), f"{name} did not come; {(directory / 'kill.log').read_text()}"
            return (page.get(name) - began) / 1e6

        out = {"guard": await_word("guard_first", bool)}
        await_word("open_orders", lambda n: n == 0)
        out["none open"] = (time.monotonic_ns() - began) / 1e6
        if mode == "stuck":
            assert not page.get("main_at"), "the main loop was not stuck"
            (directory / "go").touch()
        out["run"] = await_word("main_at", bool)
        return out

    def close(self) -> str:
        """End everything; how many ticks the run has seen."""
        from test_gateway import stop

        said = ""
        if self.run.poll() is None:
            self.tell("end")
            said = self.run.stdout.readline().strip()
            self.run.wait(30)
        self.run.stdin.close()
        self.run.stdout.close()
        stop(self.simulator)
        return said


def main(arguments: list[str]) -> None:
    trials = int(dict(a.split("=") for a in arguments).get("trials", 50))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), 0.0)
        try:
            for mode in MODES:
                for method in METHODS:
                    found = [bench.trial(mode, method) for _ in range(trials)]
                    for name in found[0]:
                        x = np.array([f[name] for f in found])
                        p50, p99 = np.percentile(x, [50, 99])
                        print(f"{mode:6} {method:7} {name:10} p50 {p50:9.2f} ms  p99 {p99:9.2f} ms  max {x.max():9.2f} ms  of {trials}", flush=True)
        finally:
            print(bench.close())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        asyncio.run(run(int(sys.argv[2]), Path(sys.argv[3])))
    else:
        main(sys.argv[1:])

