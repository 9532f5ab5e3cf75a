"""What the processes of a kill switch share: a mapped page, the file KILL, and the latch that outlives the run.

KILL in the directory of a session is the request; its first word `flatten` asks for closed positions too. The page `kill.bin` holds the
signs of life and what was done, in CLOCK_MONOTONIC nanoseconds, which all processes of a machine share. The latch is a file beside the
ledger of sent orders: while it is there no run of that account and client sends orders."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.kill import KillConf

KILL, PAGE, RUN, CLAIM = "KILL", "kill.bin", "kill.json", "kill.flatten"
HEAD = np.dtype([
    ("beat", "i8"),  # ns, last sign of the main loop; 0 = it does not run yet, or no more
    ("killed_at", "i8"),  # ns, when the kill was seen first; 0 = never
    ("flatten", "i8"),  # 1 = positions are to be closed
    ("main_at", "i8"),  # ns, the main loop has refused new orders and sent its cancels
    ("guard_first", "i8"),  # ns, the guard has sent its first cancel of everything
    ("guard_last", "i8"),
    ("guard_beat", "i8"),  # ns, last sign of the guard while it is connected
    ("open_orders", "i8"),  # that the guard was told last; -1 = nothing yet
    ("closing", "i8"),  # 1 = closing orders may be open: everything is not cancelled again
    ("flat", "i8"),  # 1 = no position is left, 2 = given up
    ("stopped", "i8"),  # 1 = the run has ended in order
])  # fmt: skip
MARK = np.dtype([("con_id", "i8"), ("tick", "f8"), ("bid", "f8"), ("ask", "f8")])
LOCKS = Path("/proc/locks")  # number, FLOCK, ADVISORY, WRITE, pid, device:inode, 0, EOF
IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE = 0x8, 0x80, 0x100


@dataclass(slots=True)
class Run:
    """What another process must know of a run to act for it."""

    pid: int
    host: str
    port: int
    account: str
    client_id: int
    guard_id: int  # client id of the guard
    latch: str  # path
    kill: KillConf = field(default_factory=KillConf)
    ledger: str = ""  # path of the file that a run of this account and client has locked

    def write(self, directory: Path) -> None:
        part = directory / f"{RUN}.part"
        part.write_text(json.dumps(asdict(self), indent=1) + "\n")
        os.replace(part, directory / RUN)

    @classmethod
    def read(cls, directory: Path) -> Run | None:
        """None = the run has no gateway yet, or it is no run that trades."""
        try:
            stored: dict[str, Any] = json.loads((directory / RUN).read_text())
        except FileNotFoundError:
            return None
        return cls(**stored | {"kill": KillConf(**stored["kill"])})


class Page:
    """The mapped page: `head` is one HEAD, `marks` one MARK for each row of the universe."""

    def __init__(self, path: Path, rows: int | None = None) -> None:
        if rows is not None:
            part = path.with_suffix(".part")  # a new file: a guard of an earlier run has the old one, and sees by that that it is over
            part.write_bytes(bytes(HEAD.itemsize + rows * MARK.itemsize))
            os.replace(part, path)
        self.path = path
        self._file = path.stat().st_ino
        self._memory: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r+")
        self.head: npt.NDArray[Any] = self._memory[: HEAD.itemsize].view(HEAD)
        self.marks: npt.NDArray[Any] = self._memory[HEAD.itemsize :].view(MARK)
        self._words: npt.NDArray[np.int64] = self._memory[: HEAD.itemsize].view(np.int64)
        self._killed = HEAD.names.index("killed_at")  # type: ignore[union-attr]

    def get(self, name: str) -> int:
        return int(self.head[name][0])

    def set(self, name: str, value: int) -> None:
        self.head[name][0] = value

    @property
    def present(self) -> bool:
        """Whether it is still the page of the session: another run may go on with it."""
        try:
            return self.path.stat().st_ino == self._file
        except FileNotFoundError:
            return False

    @property
    def killed(self) -> bool:
        return bool(self._words[self._killed])

    def trip(self, flatten: bool) -> bool:
        """The kill is seen; whether for the first time."""
        if flatten:
            self.set("flatten", 1)
        if self.killed:
            return False
        self.set("killed_at", time.monotonic_ns())
        return True


def request(directory: Path, flatten: bool, why: str) -> None:
    """Ask for a kill. A request that is there stays, unless this one asks for more."""
    before = requested(directory)
    if before is not None and (before[0] or not flatten):
        return
    part = directory / f"{KILL}.{os.getpid()}"
    part.write_text(f"{'flatten' if flatten else 'cancel'} {why}\n")
    os.replace(part, directory / KILL)


def requested(directory: Path) -> tuple[bool, str] | None:
    """Whether positions are to be closed, and why; None = there is no KILL."""
    try:
        text = (directory / KILL).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError:
        return False, "file KILL, which cannot be read"
    first, _, rest = text.partition(" ")
    if first in ("flatten", "cancel"):
        return first == "flatten", rest.strip() or "file KILL"
    return False, text or "file KILL"


def latch(path: Path, why: str) -> None:
    """No run of this account and client sends orders from now on; a latch that is there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    os.write(file, json.dumps({"since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", "why": why}).encode() + b"\n")
    os.fsync(file)
    os.close(file)


def latched(path: Path) -> str:
    """Since when and why no order may go out; "" = they may. What cannot be read counts as a kill."""
    try:
        stored = json.loads(path.read_text())
        return f"killed at {stored['since']} ({stored['why']})"
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError):
        return f"killed ({path} is there)"


def claim(directory: Path) -> int:
    """Be the one that closes the positions, as two would turn them: a descriptor to hold while it may be, -1 = another process is. It is a lock, so
    the next one can when that process has died."""
    file = os.open(directory / CLAIM, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return -1
    return file


def taken_over(run: Run) -> bool:
    """Whether another run has the orders of this one, which is gone. Locks are looked up, not tried: to try would keep such a run out."""
    try:
        inode = f":{os.stat(run.ledger).st_ino}"
        locks = [line.split() for line in LOCKS.read_text().splitlines()]
    except OSError:
        return False
    return any(word[1] == "FLOCK" and word[5].endswith(inode) and int(word[4]) != run.pid for word in locks)


def watch(directory: Path) -> int:
    """A descriptor that is readable when a file appears in the directory or is written; -1 = this system cannot say."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        return -1
    file: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if file >= 0 and libc.inotify_add_watch(file, os.fsencode(directory), IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE) < 0:
        os.close(file)
        return -1
    return file


def drain(file: int) -> bytes | None:
    """What a descriptor has; b"" at its end, None when there is nothing now."""
    try:
        return os.read(file, 1 << 16)
    except BlockingIOError:
        return None
