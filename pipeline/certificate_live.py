"""The certificate in production: one row in N is compared with the libraries while a session runs, by another process.

The stage copies the row and the margins that the engine gave into a ring in a shared file, which costs two small copies; it never waits
for the other process, and a row that finds the ring full is counted and let go. The other process asks the libraries, compares bit for bit,
and keeps every row that differs in a file of the session: features and both margins, as bits.

`python -m tickarrow.pipeline.certificate_live RING SET DIGEST OUT SESSION` is that process; RING is a file descriptor that it inherits, SESSION the
process that it works for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tickarrow.configs.models import ModelsConf
from tickarrow.pipeline import certificate
from tickarrow.pipeline.errors import ConfigError, ModelError, TickarrowError
from tickarrow.pipeline.forest import Array, Float32
from tickarrow.pipeline.models import ModelSet, read_set

if TYPE_CHECKING:
    from tickarrow.pipeline.predict import Served

OFFERED, CHECKED, MISMATCHES, STOP = range(4)  # words at the begin of the ring, each written by one side
HEAD = 64  # bytes
SLOTS = 512  # rows that may wait
KEPT = 1000  # rows that differ and are kept
WAIT_S = 0.02  # between two looks at the ring
REAL = 1000  # one row in so many, with a real gateway
FILE = "live-mismatches.jsonl"


def ring(file: Any, n_features: int, n_models: int) -> tuple[Array, Float32, Float32]:
    """Map a ring, a file that both sides have open.

    Returns
    -------
    head : (8,) int64, see OFFERED
    rows : (SLOTS, n_features) float32
    margins : (SLOTS, n_models) float32
    """
    memory: Array = np.memmap(file, np.uint8, "r+", shape=(HEAD + 4 * SLOTS * (n_features + n_models),))
    body = memory[HEAD:].view(np.float32)
    split = SLOTS * n_features
    return memory[:HEAD].view(np.int64), body[:split].reshape(SLOTS, n_features), body[split:].reshape(SLOTS, n_models)


class LiveCheck:
    """A sampled comparison of an engine with the libraries of its set, in a process of its own.

    Parameters
    ----------
    every : one row in so many is compared
    folder : where rows that differ are kept
    """

    def __init__(self, model_set: ModelSet, every: int, folder: Path) -> None:
        self.model_set, self.every, self.path = model_set, every, folder / FILE
        self.rows = 0  # that were predicted
        self.let_go = 0  # of the sample, because the ring was full
        self._next = every - 1  # rows until the next of the sample
        self._offered = self._told = 0
        self._told_end = False
        self._ring = tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)  # noqa: SIM115  nameless: nothing stays behind
        self._head, self._x, self._y = ring(self._ring, len(model_set.columns), model_set.n_models)
        arguments = [str(self._ring.fileno()), str(model_set.path), model_set.digest, str(self.path), str(os.getpid())]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tickarrow.pipeline.certificate_live", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            pass_fds=[self._ring.fileno()],
            start_new_session=True,  # Ctrl-C is for the session: this one ends when it has compared what waits
        )  # fmt: skip

    def offer(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Take the rows of the sample from rows [lo, hi) of `x` with the margins in rows [0, hi - lo) of `y`."""
        n = hi - lo
        self.rows += n
        while self._next < n:
            r = self._next
            self._next += self.every
            if self._offered - int(self._head[CHECKED]) >= SLOTS:
                self.let_go += 1
                continue
            slot = self._offered % SLOTS
            self._x[slot] = x[lo + r]
            self._y[slot] = y[r]
            self._offered += 1
            self._head[OFFERED] = self._offered  # last: what is offered is whole
        self._next -= n

    def news(self) -> str | None:
        """A sentence if there is something that was not told yet: mismatches, or that nothing is compared any more."""
        if self._child.poll() and not self._told_end:
            self._told_end = True
            return f"rows of model set {self.model_set.name!r} are no longer compared with its libraries: {self._last_words()}"
        found = int(self._head[MISMATCHES])
        if found <= self._told:
            return None
        self._told = found
        return (
            f"{found} of {int(self._head[CHECKED])} rows of the sample differ from the library in model set {self.model_set.name!r}: {self.path}. "
            f"Stop and run: tickarrow verify model_set={self.model_set.name}"
        )

    def report(self) -> dict[str, Any]:
        """What a session's manifest says of it."""
        out = {
            "model_set": self.model_set.digest, "every": self.every, "rows": self.rows, "offered": self._offered, "let_go": self.let_go,
            "checked": int(self._head[CHECKED]), "mismatches": int(self._head[MISMATCHES]),
        }  # fmt: skip
        if self._child.poll():
            out["why"] = self._last_words()
        return out

    def close(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Let the other process finish what waits, end it, and report."""
        self._head[STOP] = 1
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        report = self.report()
        self._ring.close()
        assert self._child.stdout is not None
        self._child.stdout.close()
        return report

    def _last_words(self) -> str:
        if not hasattr(self, "_said"):
            assert self._child.stdout is not None
            self._said = (self._child.stdout.read().strip().splitlines() or [f"it ended with code {self._child.returncode}"])[-1]
        return self._said


class LiveChecks:
    """A check beside each set of a session.

    Parameters
    ----------
    every : one row in so many of each set is compared; 0 = none
    folder : of the session
    """

    def __init__(self, every: int, folder: Path) -> None:
        self.every, self.folder = every, folder
        self.checks: list[LiveCheck] = []

    def watch(self, served: Served) -> None:
        """Begin to compare what a set predicts."""
        if self.every:
            served.check = LiveCheck(served.model_set, self.every, self.folder)
            self.checks.append(served.check)

    def news(self) -> list[str]:
        """Sentences about what was not told yet."""
        return [said for check in self.checks if (said := check.news())]

    def close(self) -> list[dict[str, Any]]:
        """Finish, and report of each set."""
        return [check.close() for check in self.checks]


def check_every(conf: ModelsConf, simulated: bool) -> int:
    """One row in how many is compared in a session; 0 = none."""
    if conf.check_every is None:
        return 0 if simulated else REAL
    if conf.check_every < 0:
        raise ConfigError(f"models.check_every is {conf.check_every}: expected a number of rows, or 0 for no check.")
    return conf.check_every


def follow(head: Array, rows: Float32, margins: Float32, model_set: ModelSet, out: Path, parent: int) -> None:
    """Compare what is offered until the other side says stop or is gone."""
    checked = int(head[CHECKED])
    while True:
        stop = bool(head[STOP])  # before what was offered is read: nothing is offered after it
        offered = int(head[OFFERED])
        if offered == checked:
            if stop or os.getppid() != parent:
                return
            time.sleep(WAIT_S)
            continue
        slots = np.arange(checked, offered) % SLOTS
        x, ours = rows[slots], margins[slots]
        theirs = certificate.oracle_margins(model_set, x)
        differ = (ours.view(np.uint32) != theirs.view(np.uint32)) & certificate.accepted(model_set, x)
        wrong = np.flatnonzero(differ.any(axis=1))
        if wrong.size:
            keep(out, model_set.names, x, ours, theirs, differ, wrong[: max(0, KEPT - int(head[MISMATCHES]))])
            head[MISMATCHES] += wrong.size
        checked = offered
        head[CHECKED] = checked


def keep(out: Path, names: list[str], x: Float32, ours: Float32, theirs: Float32, differ: Array, wrong: Array) -> None:
    """Append rows that differ: a line of JSON each, floats as the hexadecimal of their little-endian bytes."""
    with out.open("a") as f:
        for r in wrong:
            models = {names[m]: [ours[r, m].tobytes().hex(), theirs[r, m].tobytes().hex()] for m in np.flatnonzero(differ[r])}
            f.write(json.dumps({"row": x[r].tobytes().hex(), "models": models}) + "\n")


def main(arguments: list[str]) -> int:
    """Entry of the other process; 1 and a last line on standard output if the libraries cannot be asked."""
    descriptor, folder, digest, out, parent = arguments  # the parent is told: it may have died before this process asks who that is
    try:
        model_set = read_set(Path(folder))
        if model_set.digest != digest:
            raise ModelError(f"model set {model_set.name!r} is not the one that serves: its folder has changed.")
        with os.fdopen(int(descriptor), "r+b") as file:
            head, rows, margins = ring(file, len(model_set.columns), model_set.n_models)
        certificate.oracle_margins(model_set, np.zeros((1, rows.shape[1]), np.float32))
        follow(head, rows, margins, model_set, Path(out), int(parent))
    except (TickarrowError, OSError) as e:
        print(e, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    os.nice(10)  # the session goes first
    sys.exit(main(sys.argv[1:]))
