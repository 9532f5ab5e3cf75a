"""tickarrow kill: end all orders of a session at once, close positions if asked to, refuse new orders until it is re-armed.

It asks the run and its guard; where neither answers it connects by itself and cancels everything. For a script that cannot wait for an
interpreter to start: `touch SESSION/KILL`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from tickarrow.configs.kill import KillCommandConf
from tickarrow.pipeline import kill_page
from tickarrow.pipeline.errors import ConfigError, GatewayError, SessionError
from tickarrow.pipeline.kill_guard import AGAIN_S, TIMEOUT_S, Guard
from tickarrow.pipeline.kill_page import KILL, PAGE, Page, Run

POLL_S = 0.01
FLAT = {1: "no position is left", 2: "positions are left: close them in TWS"}


def main(conf: KillCommandConf) -> dict[str, Any]:
    """Kill or re-arm; what was done."""
    directory, console = Path(conf.session), Console(stderr=True)
    if not (directory / PAGE).is_file():
        raise SessionError(f"{directory} is no session of a run that sends orders: it has no {PAGE}. Name the session/ folder of tickarrow run.")
    run = Run.read(directory)
    return rearm(directory, run, console) if conf.rearm else kill(conf, directory, run, console)


def alive(run: Run | None, page: Page) -> bool:
    """Whether the process of a run is there."""
    if run is None or page.get("stopped"):
        return False
    try:
        os.kill(run.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def rearm(directory: Path, run: Run | None, console: Console) -> dict[str, Any]:
    """Remove the latch of the account, so that the next run sends orders."""
    if alive(run, Page(directory / PAGE)):
        raise ConfigError(f"the run of {directory} is alive and stays killed. Stop it first (Ctrl-C), then re-arm and start again.")
    before = kill_page.latched(Path(run.latch)) if run is not None else ""
    if run is not None:
        Path(run.latch).unlink(missing_ok=True)
    (directory / KILL).unlink(missing_ok=True)
    account = f"account {run.account}, client {run.client_id}" if run is not None else "it had not connected"
    console.print(f"re-armed: {account}; it was {before}" if before else f"it was not killed: {account}", soft_wrap=True, highlight=False)
    return {"rearmed": bool(before)}


def kill(conf: KillCommandConf, directory: Path, run: Run | None, console: Console) -> dict[str, Any]:
    """Ask for the kill, wait for what is done, and do it here where nobody answers."""
    page = Page(directory / PAGE)
    asked_at = time.monotonic_ns()
    kill_page.request(directory, conf.flatten, conf.reason or "tickarrow kill")
    until, living = time.monotonic() + conf.wait_s, alive(run, page)

    def answered() -> bool:
        return bool(page.get("main_at") or page.get("guard_first"))

    while living and not answered() and time.monotonic() < until:
        time.sleep(POLL_S)
    said: dict[str, Any] = {"by": "nobody", "cancels_after_ms": None, "open_orders": None, "positions": ""}
    if living and answered():
        first = min(t for t in (page.get("main_at"), page.get("guard_first")) if t)
        said["by"] = "the guard" if first == page.get("guard_first") else "the run"
        if first > asked_at:  # else it was killed before
            said["cancels_after_ms"] = round((first - asked_at) / 1e6, 3)
        patience = time.monotonic() + (run.kill.flatten_after_s + run.kill.tries * run.kill.again_s if run is not None and conf.flatten else 0.0) + conf.wait_s
        while time.monotonic() < patience and not (page.get("open_orders") == 0 and (page.get("flat") in (1, 2) or not conf.flatten)):
            time.sleep(POLL_S)
        if page.get("guard_first"):
            said["open_orders"] = page.get("open_orders")
    elif run is not None:
        logging.getLogger("ib_async").setLevel(logging.CRITICAL)
        kill_page.latch(Path(run.latch), conf.reason or "tickarrow kill")
        try:
            said |= {"by": "this command", "open_orders": asyncio.run(alone(directory, run, conf.flatten))}
        except (OSError, TimeoutError, ConnectionError) as e:
            raise GatewayError(
                f"the run does not answer and gateway {run.host}:{run.port} cannot be reached ({e or 'no answer'}): nothing was cancelled. Cancel in TWS. "
                "The next run of the account is killed."
            ) from None
    if conf.flatten:
        said["positions"] = FLAT.get(page.get("flat"), "not yet closed")
    after = "" if said["cancels_after_ms"] is None else f" after {said['cancels_after_ms']:.1f} ms"
    text = f"cancelled by {said['by']}{after}" if said["by"] != "nobody" else "the run has not connected yet: it starts killed"
    text += f"; open orders: {said['open_orders']}" if said["open_orders"] is not None else ""
    text += f"; {said['positions']}" if said["positions"] else ""
    console.print(f"{text}\nno new orders until: tickarrow kill session={directory} rearm=true", soft_wrap=True, highlight=False)
    print(json.dumps(said))
    return said


async def alone(directory: Path, run: Run, flatten: bool) -> int:
    """What the guard would do, from here; orders that are open afterwards."""
    guard = Guard(directory)
    guard.run, guard.more = run, 1
    guard.say = lambda event, **more: None  # type: ignore[method-assign]
    await guard.connect()
    try:
        guard.cancel_everything()
        left = await guard.open_orders()
        for _ in range(20):
            if not left:
                break
            await asyncio.sleep(0.1)
            left = await guard.open_orders()
        until = time.monotonic() + (run.kill.tries + 1) * (run.kill.again_s + TIMEOUT_S)
        while flatten and not guard.page.get("flat") and time.monotonic() < until:
            await guard.close_positions()
            await asyncio.sleep(AGAIN_S)  # another process does it
        return left
    finally:
        guard.ib.disconnect()
