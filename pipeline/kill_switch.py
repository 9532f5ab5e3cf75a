"""The run's side of the kill switch: it sees the kill, refuses new orders, sends the cancels, closes positions, and tells the others.

A kill is a file KILL in the session's directory, SIGUSR1 (cancel) or SIGUSR2 (cancel and close), or what the guard has decided. It becomes a
control event, so a replay decides the same. SIGTERM ends the run as Ctrl-C does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickarrow.configs.kill import KillConf
from tickarrow.pipeline import kill_page
from tickarrow.pipeline.decide import Act, Control
from tickarrow.pipeline.kill_flatten import Flatten
from tickarrow.pipeline.kill_page import CLAIM, PAGE, Page, Run
from tickarrow.pipeline.router_ib import ledger_file
from tickarrow.pipeline.router_ledger import LOCK
from tickarrow.pipeline.schemas import ControlKind

if TYPE_CHECKING:
    from tickarrow.pipeline.gateway import Gateway

SIGNALS = {signal.SIGUSR1: False, signal.SIGUSR2: True}  # -> positions are closed too
ALONE = "only the run itself can end orders"
REFUSED = "the kill switch is on"
LOOK_S = 0.25  # between two signs of life
QUIET_S = 10.0  # a guard that gives no sign for so long is reported
GOODBYE_S = 5.0  # a guard ends within so long


class KillSwitch:
    """Watches for a kill and carries it out.

    Parameters
    ----------
    gateway : whose orders are ended
    conf : what a kill does
    directory : of the session
    folder : where the file is that keeps an account killed
    act : the stage that decides
    """

    def __init__(self, gateway: Gateway, conf: KillConf, directory: Path, folder: Path, act: Act) -> None:
        self.gateway, self.conf, self.directory, self.folder, self.act = gateway, conf, directory, folder, act
        self.latch = folder / "killed.json"  # of the account, when it is known
        self.page = Page(directory / PAGE, len(gateway.universe))
        (directory / CLAIM).unlink(missing_ok=True)  # of an earlier run of the session
        self.why = ""  # it is killed
        self._keeps = False  # killed before this run: positions are closed only if somebody says so now
        self._flatten: Flatten | None = None
        self._claim = -1  # positions are closed here
        self._guard: subprocess.Popen[bytes] | None = None
        self._guard_told, self._began = False, time.monotonic_ns()
        self._timer: asyncio.TimerHandle | None = None
        self._wakeup: int | None = None
        self._before: dict[int, Any] = {}  # handlers of signals
        self._notify = kill_page.watch(directory)
        self._loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._task = task  # of the run
        if self._notify >= 0:
            self._loop.add_reader(self._notify, self._noticed)
        if threading.current_thread() is threading.main_thread():
            for number in (*SIGNALS, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)

    # --- begin and end

    def ready(self) -> None:
        """Orders and positions are compared: the account is known, and whether it was killed before."""
        g, orders = self.gateway, self.gateway.orders
        assert orders is not None
        for row, (instrument, con_id) in enumerate(zip(g.universe, orders.router.con_ids)):
            self.page.marks[row] = (con_id, instrument.tick_size, float("nan"), float("nan"))
        orders.router.checks.append(lambda intent: REFUSED if self.page.killed else "")
        guard_id = self.conf.client_id if self.conf.client_id >= 0 else g.conf.client_id + 1000
        account = g.conf.account or g.ib.client.getAccounts()[0]
        self.latch = self.folder / f"killed-{account}-{g.conf.client_id}.json"
        before = kill_page.latched(self.latch)
        self._keeps = bool(before)
        conf = replace(self.conf, flatten=self.conf.flatten and not before)
        ledger = ledger_file(self.folder, account, g.conf.client_id).with_suffix(LOCK).resolve()
        Run(os.getpid(), g.host, g.port, account, g.conf.client_id, guard_id, str(self.latch.resolve()), conf, str(ledger)).write(self.directory)
        if before:
            self.page.trip(False)
            self._apply(f"{before}: no order goes out. Re-arm it when this run has ended: tickarrow kill session={self.directory} rearm=true", everybodys=False)
        elif self.act.book["killed"][0]:
            g.apply(Control(kind=ControlKind.REARM))
        self._look()

    def start_guard(self) -> None:
        """Start the second process; it connects when the account is known."""
        with (self.directory / "kill.log").open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-m", "tickarrow.pipeline.kill_guard", str(self.directory)], stdin=subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        assert self._guard.stdin is not None
        if self._before:
            # The interpreter writes the number of each signal there at once, also while the main thread is in a kernel.
            os.set_blocking(self._guard.stdin.fileno(), False)
            self._wakeup = signal.set_wakeup_fd(self._guard.stdin.fileno(), warn_on_full_buffer=False)

    def close(self) -> None:
        """The run ends: the signals mean what they meant, and the guard goes. It stays if there is something left for it, orders that may work or
        positions that were to be closed: it may be the gateway that is gone, for longer than the run."""
        if self._timer is not None:
            self._timer.cancel()
        orders = self.gateway.orders.working if self.gateway.orders is not None else 0
        left = [f"{orders} orders may work"] * bool(orders) + ["positions are still to be closed"] * self.closes
        self.page.set("stopped", 0 if left else 1)
        self.page.set("beat", 0)
        self._unhook()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._notify >= 0:
            self._loop.remove_reader(self._notify)
            os.close(self._notify)
            self._notify = -1
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1
        if self._guard is not None:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            if left:
                self.gateway.tell(f"{' and '.join(left)}: left to the guard of the kill switch (process {self._guard.pid}, kill.log in the session)")
            else:
                self._end_guard(self._guard)
            self._guard = None

    def _end_guard(self, guard: subprocess.Popen[bytes]) -> None:
        try:
            guard.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()

    def _unhook(self) -> None:
        """Signals are no longer written to the guard."""
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup)
            self._wakeup = None

    async def guarded(self) -> str:
        """What is wrong with the guard when it had time to connect; "" = nothing, or none is wanted."""
        until = self._loop.time() + QUIET_S
        while self._guard is not None and not self.page.get("guard_beat"):
            if self._loop.time() > until or self._guard.poll() is not None:
                return ALONE
            await asyncio.sleep(0.05)
        return ""

    # --- seeing it

    def _on_signal(self, number: int, frame: Any) -> None:
        if number == signal.SIGTERM:
            if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so does a shell that starts it in the background
                self._loop.call_soon_threadsafe(self._task.cancel)
            else:
                signal.raise_signal(signal.SIGINT)
            return
        kill_page.request(self.directory, SIGNALS[signal.Signals(number)], f"signal {signal.Signals(number).name}")
        self.page.trip(SIGNALS[signal.Signals(number)])
        self._loop.call_soon_threadsafe(self.check)

    def _noticed(self) -> None:
        kill_page.drain(self._notify)
        if (asked := kill_page.requested(self.directory)) is not None:
            self.page.trip(asked[0])
            self.check()

    def check(self) -> None:
        """Between chunks, before anything is decided: a kill is carried out at once."""
        if not self.why and self.page.killed and self.gateway.orders is not None:
            asked = kill_page.requested(self.directory)
            self._apply(asked[1] if asked is not None else "the guard", everybodys=True)

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)
        try:
            self.look()
        except Exception as e:
            self.gateway.fail(e)

    def look(self) -> None:
        """Several times a second, between chunks: a sign of life, the quotes, and what a kill has left to do."""
        page, now = self.page, time.monotonic_ns()
        page.set("beat", now)
        page.marks["bid"], page.marks["ask"] = self.act.state["bid"], self.act.state["ask"]
        if (asked := kill_page.requested(self.directory)) is not None:
            page.trip(asked[0])
        self.check()
        if self.why:
            self._close_positions()
        if self._guard is not None and not self._guard_told:
            ended = self._guard.poll() is not None
            if ended or now - max(page.get("guard_beat"), self._began) > QUIET_S * 1e9:
                self._guard_told = True
                self.gateway.tell(f"the guard of the kill switch {'has ended' if ended else 'gives no sign'}: {ALONE}. See kill.log in the session.")
            if ended:
                self._unhook()

    # --- carrying it out

    def _apply(self, why: str, everybodys: bool) -> None:
        self.why = why
        g = self.gateway
        assert g.orders is not None
        g.orders.router.refuse_new(REFUSED)
        g.orders.router.cancel_all(everybodys)
        g.apply(Control(kind=ControlKind.KILL))
        g.orders.send(g.pipeline.intents)
        self.page.set("main_at", time.monotonic_ns())
        kill_page.latch(self.latch, why)
        g.tell(f"kill switch: {why}")

    @property
    def closes(self) -> bool:
        """Whether it is killed and there are positions to be closed, by whomever."""
        return bool(self.why and (self.page.get("flatten") or (self.conf.flatten and not self._keeps)) and not self.page.get("flat"))

    def _close_positions(self) -> None:
        page = self.page
        if not self.closes:
            return
        assert self.gateway.orders is not None
        if self._flatten is None:
            self._claim = kill_page.claim(self.directory)
            if self._claim < 0:
                return  # the guard does it, or the command
            self._flatten = Flatten(self.conf, self.gateway.orders.router, self._quote, self._place, self.gateway.tell, self.gateway.seconds)
        if self._flatten.look():
            page.set("closing", 1)
        if self._flatten.done:
            page.set("flat", 1 if self._flatten.done == "flat" else 2)

    def _quote(self, row: int) -> tuple[float, float, float]:
        mark = self.page.marks[row]
        return float(mark["bid"]), float(mark["ask"]), float(mark["tick"])

    def _place(self, row: int, side: int, quantity: float, limit: float) -> None:
        g = self.gateway
        assert g.orders is not None
        g.apply(Control(kind=ControlKind.CLOSE, symbol=row, side=side, quantity=quantity, price=limit))
        g.orders.router.send(g.pipeline.intents, closing=True)


@contextlib.contextmanager
def switch(gateway: Gateway, conf: KillConf, directory: Path, folder: Path, act: Act, guard: bool) -> Iterator[KillSwitch]:
    """The kill switch of a gateway while it runs, with a second process or without; see `KillSwitch`."""
    made = gateway.kill = KillSwitch(gateway, conf, directory, folder, act)
    try:
        if guard:
            made.start_guard()
        yield made
    finally:
        made.close()
