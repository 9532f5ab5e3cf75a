"""Kill a recording process at random moments and look for what it had acknowledged.

    python tests/kill_recorder.py 1000 [STATE.json]      # goes on where it was interrupted; STATE holds the counts

A child records a session: chunks of a known pattern in a journal of small segments, a row of a table for each. It says through a
shared page which chunk it has appended last. It is killed with SIGKILL after a random time, at a random chunk, or while it closes
the session. Then the session is recovered in another process: every acknowledged chunk and row must be there, bit for bit."""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tickarrow.jit import _kernel, journal
from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.recorder_read import read_journal
from tickarrow.pipeline.schemas import TIMING
from tickarrow.pipeline.session import Session, read_table, recover, state

assert journal  # its kernels are compiled before the first fork
APPENDED, COMMITTED, CLOSING, CLOSED = range(4)  # words of the shared page
ROWS = 37  # of a segment of the table
PATTERN = np.random.default_rng(0).integers(0, 256, 70_000, np.uint8)


@dataclass
class Done:
    """What the trials found."""

    trials: int = 0
    acknowledged: int = 0  # chunks
    rows: int = 0  # acknowledged rows
    lost: int = 0  # acknowledged chunks or rows that were not read back
    damaged: int = 0  # trials after which the session did not open
    torn: int = 0  # sessions with bytes of a record without its commit word
    closing: int = 0  # killed while closing
    rotations: int = 0  # journal segments begun


def pattern(number: int) -> tuple[int, int]:
    """Bytes [lo, hi) of PATTERN that are chunk `number`; now and then longer than a segment."""
    length = 20_000 if number % 97 == 96 else number * 7919 % 1500
    lo = number * 31 % 50_000
    return lo, lo + length


def record(folder: Path, page: mmap.mmap, chunks: int) -> None:
    """The child: never returns."""
    words = np.frombuffer(page, np.int64)
    session = Session(folder)
    table = Table(TIMING, folder, capacity=ROWS, counter=session._counters[0])
    session.tables.append(table)
    session.manifest["tables"].append(table.name)
    session.write_manifest()
    written = Journal(folder, 16_384)
    for number in range(chunks):
        lo, hi = pattern(number)
        written.append(Chunk(PATTERN, lo, hi, number * 1_000_000_000_000, number))
        words[APPENDED] = number + 1
        row = table.reserve(1)
        for column in table.segment.columns.values():
            column[row] = number + 1
        table.commit(1)
        words[COMMITTED] = number + 1
        written.prepare()
        table.prepare()
    words[CLOSING] = 1
    written.close()
    session.close()
    words[CLOSED] = 1
    time.sleep(10)


def trial(seed: int, folder: Path, done: Done) -> None:
    """Kill one child and count what is left."""
    rng = random.Random(seed)
    chunks = rng.randrange(1, 800)
    how, delay, number = rng.choice(("time", "chunk", "closing")), rng.uniform(0, 0.08), rng.randrange(chunks)
    page = mmap.mmap(-1, 4096)
    child = os.fork()
    if child == 0:
        try:
            record(folder, page, chunks)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    words = struct.Struct("<4q")
    began = time.monotonic()
    while time.monotonic() - began < 30:
        at = words.unpack_from(page)
        if at[CLOSED] or (how == "time" and time.monotonic() - began > delay):
            break
        if (how == "chunk" and at[APPENDED] > number) or (how == "closing" and at[CLOSING]):
            time.sleep(rng.uniform(0, 0.004) if how == "closing" else 0)
            break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    appended, committed, closing, closed = words.unpack_from(page)
    done.trials += 1
    done.acknowledged += appended
    done.rows += committed
    done.closing += closing and not closed
    if not (folder / "manifest.json").is_file():
        done.lost += appended
        return
    try:
        manifest = recover(folder)
        assert state(folder, manifest) == ("closed" if closed else manifest["state"])
        found = 0
        if any(folder.glob("chunks-*.bin")):
            for n, ts, data in read_journal(folder):
                lo, hi = pattern(n)
                found += ts == n * 1_000_000_000_000 and data == PATTERN[lo:hi].tobytes()
        rows = read_table(folder, "timing")
        expected = np.arange(1, len(rows) + 1)
        right = min((int(np.argmin(np.append(rows.column(c).to_numpy() == expected, False))) for c in rows.column_names), default=0)
    except (SessionError, OSError, pa.ArrowInvalid, AssertionError):
        traceback.print_exc()
        print(f"seed {seed}, killed by {how}", file=sys.stderr)
        done.damaged += 1
        return
    done.lost += max(0, appended - found) + max(0, committed - right)
    done.torn += manifest.get("cut", {}).get("journal_bytes", 0) > 0
    done.rotations += len(list(folder.glob("chunks-*.bin")))


def trials(n: int, folder: Path, seed: int, done: Done | None = None, tell: bool = False, state_file: Path | None = None) -> Done:
    """Kill until `n` trials are done, counted on from `done`."""
    _kernel.warm()
    done = done or Done()
    while done.trials < n:
        where = folder / "trial"
        trial(seed * 1_000_003 + done.trials, where, done)
        shutil.rmtree(where, ignore_errors=True)
        if state_file is not None:
            state_file.write_text(json.dumps(asdict(done)))
        if tell and done.trials % 50 == 0:
            print(done, flush=True)
    return done


def main() -> None:
    n = int(sys.argv[1])
    state_file = Path(sys.argv[2] if len(sys.argv) > 2 else "kill_recorder.json")
    done = Done(**json.loads(state_file.read_text())) if state_file.is_file() else None
    with tempfile.TemporaryDirectory() as folder:
        done = trials(n, Path(folder), 1, done, True, state_file)
    print(done)
    raise SystemExit(done.lost + done.damaged > 0)


if __name__ == "__main__":
    main()
