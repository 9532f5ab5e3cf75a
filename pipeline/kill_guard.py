"""The second process of a kill switch: with a connection of its own it cancels everything when it is told to, or when the run cannot.

IBKR lets a client cancel orders of its own only, whatever its id; the one request that ends everybody's is reqGlobalCancel, and any client may
send it. So the guard needs no special id, and what it cancels includes orders that a person or another program has placed in the login.

`python -m tickarrow.pipeline.kill_guard SESSION` is that process. Its standard input is a pipe of the run: the numbers of the signals that the
run gets, written by the interpreter's own handler, so they come while the run's main thread is stuck; its end is the end of the run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ib_async

from tickarrow.pipeline import kill_page
from tickarrow.pipeline.kill_flatten import closing_order
from tickarrow.pipeline.kill_page import PAGE, Page, Run
from tickarrow.pipeline.patience import within

LOOK_S = 0.1  # between two looks at the signs of life
AGAIN_S = 0.25  # everything is cancelled again so soon while orders are open
ANSWER_S = 1.0  # so long a run that lives may take to say that it closes the positions itself: its orders are in its ledger and session
CALM_S = 1.0  # what the run has sent before it refused new orders is at the gateway within so long
RETRY_S = 1.0  # between two attempts to connect
GIVE_UP_S = 3600.0  # the guard of a run that is gone waits for its gateway no longer
TIMEOUT_S = 5.0  # of a request
OVER = ("Filled", "Cancelled", "ApiCancelled", "Inactive")


class Guard:
    """Watches one run.

    Parameters
    ----------
    directory : of the session
    """

    def __init__(self, directory: Path) -> None:
        self.directory, self.page = directory, Page(directory / PAGE)
        self.ib = ib_async.IB()
        self.run: Run | None = None
        self.more = 0  # is added to the client id: the guard's own is taken by the guard
        self.gone = False  # the process of the run has ended
        self.why = ""  # everything is cancelled
        self._acting: asyncio.Task[None] | None = None
        self._closing: dict[int, Any] = {}  # conId -> the last closing order
        self._rounds = 0  # of closing orders
        self._claim = -1  # positions are closed here

    def say(self, event: str, **more: Any) -> None:
        """One line of the log."""
        print(json.dumps({"utc": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}", "event": event, **more}), flush=True)

    # --- the connection

    @property
    def client_id(self) -> int:
        assert self.run is not None
        return self.run.guard_id + self.more

    async def connect(self) -> None:
        """Connect with the guard's id; ConnectionError or TimeoutError if it is not possible."""
        assert self.run is not None
        await self.ib.connectAsync(self.run.host, self.run.port, self.client_id, timeout=TIMEOUT_S, account=self.run.account,
                                   fetchFields=ib_async.StartupFetch(0))  # fmt: skip

    async def keep_connected(self) -> None:
        """Connect again whenever the connection is lost."""
        told = ""
        while True:
            if not self.ib.isConnected():
                try:
                    await self.connect()
                    self.say("connected", client_id=self.client_id, pid=os.getpid())
                    told = ""
                    if self.why:
                        self.cancel_everything()
                except (OSError, TimeoutError, ConnectionError) as e:
                    if str(e) != told:
                        told = str(e)
                        self.say("not connected", why=told or type(e).__name__)
            await asyncio.sleep(RETRY_S)

    def cancel_everything(self) -> bool:
        """One request, past the pace of ib_async; whether it went out."""
        if not self.ib.client.isReady() or self.relieved:
            return False
        self.ib.client.MaxRequests = 0
        self.ib.client.reqGlobalCancel()
        now = time.monotonic_ns()
        if not self.page.get("guard_first"):
            self.page.set("guard_first", now)
        self.page.set("guard_last", now)
        return True

    @property
    def relieved(self) -> bool:
        """Whether the run is gone and the next one of its account and client has come: it cancels what it finds, and trades."""
        return self.gone and self.run is not None and kill_page.taken_over(self.run)

    async def open_orders(self) -> int:
        """How many orders of the login are open."""
        trades = await within(TIMEOUT_S, self.ib.reqAllOpenOrdersAsync())
        n = sum(t.orderStatus.status not in OVER for t in trades)
        self.page.set("open_orders", n)
        return n

    # --- what it watches

    def woken(self) -> None:
        """Signals of the run, or its end."""
        data = kill_page.drain(0)
        if data == b"":
            asyncio.get_running_loop().remove_reader(0)
            self.gone = True
            if not self.page.get("stopped"):
                self.act("the run is gone", killed=False)
        elif data and (found := {signal.SIGUSR1, signal.SIGUSR2} & set(data)):
            self.kill(signal.SIGUSR2 in found, "signal to the run")

    def noticed(self, file: int) -> None:
        kill_page.drain(file)
        self.look_for_request()

    def look_for_request(self) -> None:
        if (asked := kill_page.requested(self.directory)) is not None:
            self.kill(*asked)

    def kill(self, flatten: bool, why: str) -> None:
        """Now, whoever asked."""
        self.page.trip(flatten)
        self.act(why, killed=True)
        kill_page.request(self.directory, flatten, why)

    def look(self) -> None:
        """Signs of life."""
        page, now = self.page, time.monotonic_ns()
        if self.ib.isConnected():
            page.set("guard_beat", now)
        self.look_for_request()
        if page.killed:
            self.act("the run", killed=True)
        beat = page.get("beat")
        if self.run is not None and beat and self.run.kill.stuck_s and now - beat > self.run.kill.stuck_s * 1e9 and not self.gone:
            self.kill(False, f"the main loop gave no sign for {(now - beat) / 1e9:.1f} s")

    # --- what it does

    def act(self, why: str, killed: bool) -> None:
        """Cancel everything at once, and go on until nothing is open. What is asked for later is to close the positions."""
        if self.why:
            if killed and self.closes and (self._acting is None or self._acting.done()):
                self._acting = asyncio.ensure_future(self.go_on(True, bool(self.page.get("main_at"))))
            return
        self.why = why
        sent = self.cancel_everything()
        self.say("cancel everything", why=why, sent=sent, after_ms=(time.monotonic_ns() - self.page.get("killed_at")) / 1e6 if killed else None)
        if killed and self.run is not None:
            kill_page.latch(Path(self.run.latch), why)
        self._acting = asyncio.ensure_future(self.go_on(killed))

    @property
    def closes(self) -> bool:
        """Whether there are positions to be closed, by whomever."""
        return self.run is not None and bool(self.page.get("flatten") or self.run.kill.flatten) and not self.page.get("flat")

    async def go_on(self, killed: bool, answered: bool = False) -> None:
        """Until no order is open and the run has answered; then the positions, if the run does not do it or has died over it."""
        page, clock, alone = self.page, asyncio.get_running_loop().time, False
        began, calm_at, silent_at = clock(), float("inf"), 0.0
        while page.present:
            if self.relieved:
                self.say("another run has taken the orders over")
                return
            run = self.run
            try:
                n = await self.open_orders()
                if self.gone and not alone:
                    alone, began = True, clock()  # from here on closing orders of the run are as any other
                closing = self._rounds or (page.get("closing") and not alone)
                if page.get("main_at") and not answered:
                    answered = True
                    if not closing:
                        self.cancel_everything()  # what was on its way before the run refused new orders
                elif n and not closing:
                    self.cancel_everything()
                patient = run is not None and clock() - began < (run.kill.flatten_after_s if n else 0.0 if self.gone else ANSWER_S)
                if killed and self.closes and (self._rounds or not ((answered and not alone) or patient)):
                    await self.close_positions()
            except (OSError, TimeoutError, ConnectionError) as e:
                if not silent_at:
                    silent_at = clock()
                    self.say("no answer", why=str(e) or type(e).__name__)
                elif self.gone and clock() - silent_at > GIVE_UP_S:
                    self.say("given up: look at the orders in TWS")
                    return
                await asyncio.sleep(AGAIN_S)
                continue
            silent_at = 0.0
            if answered or self.gone:
                calm_at = min(calm_at, clock() + CALM_S)
            if n == 0 and clock() >= calm_at and not (killed and self.closes):
                self.say("no order is open")
                return
            await asyncio.sleep(AGAIN_S)

    async def close_positions(self) -> None:
        """One round of what the run's own loop would do, by the quotes that it left behind. A closing order that may still work keeps its place."""
        run, page, clock = self.run, self.page, asyncio.get_running_loop().time
        assert run is not None
        if self._claim < 0:
            self._claim = kill_page.claim(self.directory)
            if self._claim < 0:
                return  # the run does it
        page.set("closing", 1)
        self._rounds += 1
        positions = await within(TIMEOUT_S, self.ib.reqPositionsAsync())
        marks = {int(m["con_id"]): m for m in page.marks}
        held = {p.contract.conId: float(p.position) for p in positions if p.account == run.account and p.contract.conId in marks and abs(p.position) >= 1}
        if not held or self._rounds > run.kill.tries:
            page.set("flat", 2 if held else 1)
            self.say("positions are left" if held else "no position is left")
            return
        for con_id, shares in held.items():
            before, m = self._closing.get(con_id), marks[con_id]
            order = closing_order(shares, float(m["bid"]), float(m["ask"]), float(m["tick"]), run.kill.collar_bp)
            if order is None or (before is not None and not before.isDone()):
                self.say("not closed", con_id=con_id, shares=shares, why="no quote" if order is None else "an earlier closing order may work")
                continue
            side, quantity, limit = order
            made = ib_async.LimitOrder("BUY" if side > 0 else "SELL", quantity, limit, orderRef=f"ta{self.client_id}-close", tif="DAY", account=run.account)
            self._closing[con_id] = self.ib.placeOrder(ib_async.Contract(conId=con_id, exchange="SMART"), made)
            self.say("close", con_id=con_id, side=side, quantity=quantity, limit=limit, round=self._rounds)
        until = clock() + run.kill.again_s
        while (working := [t for t in self._closing.values() if not t.isDone()]) and clock() < until:
            await asyncio.sleep(0.05)
        for t in working:
            self.ib.cancelOrder(t.order)
        await asyncio.sleep(AGAIN_S)

    # --- its life

    async def watch(self) -> None:
        """Until the run is over and nothing is left to do."""
        loop = asyncio.get_running_loop()
        loop.add_reader(0, self.woken)
        for number, flatten in ((signal.SIGUSR1, False), (signal.SIGUSR2, True)):
            loop.add_signal_handler(number, self.kill, flatten, "signal to the guard")
        if (notify := kill_page.watch(self.directory)) >= 0:
            loop.add_reader(notify, self.noticed, notify)
        while self.run is None and not self.gone:
            self.run = Run.read(self.directory)
            await asyncio.sleep(LOOK_S / 2)
        if self.run is None:
            return
        connecting = asyncio.ensure_future(self.keep_connected())
        try:
            while self.page.present and not (self.gone and (self._acting is None or self._acting.done())):
                self.look()
                await asyncio.sleep(LOOK_S)
        finally:
            connecting.cancel()
            with contextlib.suppress(ConnectionError):
                self.ib.disconnect()


def main(arguments: list[str]) -> int:
    """Run the guard as a process of its own."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the run; the end of standard input ends this process
    os.set_blocking(0, False)
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)
    asyncio.run(Guard(Path(arguments[0])).watch())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
