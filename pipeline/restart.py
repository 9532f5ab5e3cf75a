"""The state of a pipeline on disk: written beside the loop each so often, read by a restart.

A file is whole or refused: a text line that names the format, the length of a JSON header, the header (what the state is bound to, where it
stands in the journal and the tables, the arrays), the arrays, and a BLAKE2b-128 over all of it. The loop only copies into memory that
is there; a thread writes, syncs and renames (docs/decisions/0031). The last two files are kept."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import descr_to_dtype, dtype_to_descr

from tickarrow.jit._kernel import JIT_FOLDER
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.settings import check_setting

if TYPE_CHECKING:
    from tickarrow.pipeline.pipeline import Pipeline
    from tickarrow.pipeline.recorder import Journal
    from tickarrow.pipeline.universe import Universe

MAGIC = b"tickarrow state 1\n"
KEPT = 2  # files: the one before is there while, and if, the last one is not
ALIGN = 64
NAME = "state-{:012d}.bin"  # by the number of the chunk that it follows
State = dict[str, dict[str, npt.NDArray[Any]]]  # by stage


def code_digest() -> str:
    """Digest of all kernels: another formula makes another state of the same shape."""
    h = hashlib.blake2b(digest_size=16)
    for path in sorted(JIT_FOLDER.glob("*.py")):
        h.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return h.hexdigest()


@dataclass(slots=True)
class Place:
    """Where a state stands: everything before is in it, nothing after."""

    chunk: int  # the last one decided
    ts: int  # its time
    segment: str  # file of the journal that holds the next chunk, or ends before it
    offset: int  # its byte there
    rows: dict[str, int]  # committed rows of each table
    bytes: int = 0  # of the chunks before


def bound_to(feature_digest: str, universe: Universe, config_digest: str) -> dict[str, Any]:
    """What a state is good for, by name; a restart compares it."""
    return {
        "version": version("tickarrow"), "configuration": config_digest, "feature set": feature_digest, "universe": universe.symbols,
        "tick sizes": [i.tick_size for i in universe], "kernels": code_digest(),
    }  # fmt: skip


def _pieces(state: State) -> Iterator[tuple[str, str, npt.NDArray[Any]]]:
    for stage, arrays in state.items():
        for name, array in arrays.items():
            yield stage, name, array


class _Buffer:
    """Memory that a state is copied into; it grows when the state does."""

    def __init__(self) -> None:
        self.memory = np.zeros(0, np.uint8)
        self.entries: list[dict[str, Any]] = []
        self.size = 0

    def fill(self, state: State) -> None:
        """Copy all arrays, one behind the other."""
        self.entries, at = [], 0
        for stage, name, array in _pieces(state):
            self.entries.append({"stage": stage, "name": name, "type": array.dtype, "shape": array.shape, "offset": at})
            at += -(-array.nbytes // ALIGN) * ALIGN
        if at > len(self.memory):
            self.memory = np.zeros(at + at // 4, np.uint8)
            self.memory[:] = 0  # touched now
        for entry, (_, _, array) in zip(self.entries, _pieces(state)):
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.size else np.zeros(0, np.uint8)
            self.memory[entry["offset"] : entry["offset"] + raw.size] = raw
        self.size = at


def write(path: Path, header: dict[str, Any], body: memoryview | bytes) -> None:
    """A state file, there whole or not at all, also after a loss of power."""
    text = json.dumps(header).encode()
    head = MAGIC + len(text).to_bytes(8, "little") + text
    head += b" " * (-len(head) % ALIGN)
    digest = hashlib.blake2b(head, digest_size=16)
    digest.update(body)
    part = path.with_suffix(".part")
    with part.open("wb") as f:
        f.write(head)
        f.write(body)
        f.write(digest.digest())
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path, bound: dict[str, Any] | None = None) -> tuple[Place, State]:
    """A state file.

    Parameters
    ----------
    path : the file
    bound : what it has to be good for, `bound_to`; None = whatever

    Raises
    ------
    SessionError
        in one sentence why it is not used
    """
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise SessionError(f"state {path.name} cannot be read: {e.strerror}.") from None
    if not raw.startswith(MAGIC):
        raise SessionError(f"state {path.name} is none of this version: it begins with {raw[:20]!r}, expected {MAGIC!r}.")
    digest = hashlib.blake2b(memoryview(raw)[:-16], digest_size=16).digest()
    if len(raw) < len(MAGIC) + 24 or digest != raw[-16:]:
        raise SessionError(f"state {path.name} is damaged or was not written to its end: its checksum differs.")
    length = int.from_bytes(raw[len(MAGIC) : len(MAGIC) + 8], "little")
    header = json.loads(raw[len(MAGIC) + 8 : len(MAGIC) + 8 + length])
    if bound is not None:
        for name, wanted in bound.items():
            if (found := header["bound"].get(name)) != wanted:
                raise SessionError(f"state {path.name} is of another run: its {name} is {_short(found)}, here it is {_short(wanted)}.")
    begin = -(-(len(MAGIC) + 8 + length) // ALIGN) * ALIGN
    state: State = {}
    for entry in header["arrays"]:
        dtype = descr_to_dtype(_descr(entry["type"]))
        at, count = begin + entry["offset"], int(np.prod(entry["shape"], dtype=np.int64))
        state.setdefault(entry["stage"], {})[entry["name"]] = np.frombuffer(raw, dtype, count, at).reshape(entry["shape"])
    return Place(**header["place"]), state


def _descr(found: Any) -> Any:
    """A description of a type as NumPy wants it: JSON has no tuples."""
    if isinstance(found, str):
        return found
    return [(name, _descr(kind), *(tuple(s) for s in shape)) for name, kind, *shape in found]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def states(directory: Path) -> list[Path]:
    """State files of a session, the last one first."""
    return sorted(directory.glob("state-*.bin"), reverse=True)


@dataclass(slots=True)
class Saved:
    """What writing states has cost."""

    files: int = 0
    bytes: int = 0  # of the last one
    pause_us: float = 0.0  # the longest copy, in the loop
    write_ms: float = 0.0  # the longest write and sync, beside it


class Saver:
    """Writes the state of a pipeline each so often.

    Parameters
    ----------
    pipeline : between two chunks when `look` is called
    journal : holds the chunks that come after a state
    directory : folder of the session
    every_s : seconds of market time between two states; 0 = only at the end
    config_digest : of the run
    """

    def __init__(self, pipeline: Pipeline, journal: Journal, directory: Path, every_s: float, config_digest: str) -> None:
        check_setting("record.state_s", every_s)
        self.pipeline, self.journal, self.directory = pipeline, journal, directory
        self.every_ns = round(every_s * 1e9)
        self.due = pipeline.ts + self.every_ns if self.every_ns else 2**62  # ns; all that an idle moment looks at
        self.saved = Saved()
        self.failure: OSError | None = None  # of the thread
        self._bound = bound_to(pipeline.features.digest, pipeline.universe, config_digest)
        self._buffers = [_Buffer(), _Buffer()]
        for b in self._buffers:
            b.fill(pipeline.held())  # the memory is there before the first tick
        self._free: queue.SimpleQueue[_Buffer] = queue.SimpleQueue()
        for b in self._buffers:
            self._free.put(b)
        self._tasks: queue.SimpleQueue[tuple[_Buffer, Place] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="state", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Take a state if one is due; called when nothing waits."""
        if self.pipeline.ts >= self.due:
            if self.due > self.every_ns:  # the first one, of a pipeline that had no time yet, is one period later
                self.take()
            self.due = self.pipeline.ts + self.every_ns

    def take(self) -> bool:
        """Copy the state and let it be written; False where two are still being written."""
        if self.failure is not None:
            raise self.failure
        try:
            buffer = self._free.get_nowait()
        except queue.Empty:
            return False
        begun = time.perf_counter()
        p = self.pipeline
        buffer.fill(p.held())
        segment, offset = self.journal.place
        self._tasks.put((buffer, Place(p.chunk, p.ts, segment, offset, p.tables.rows(), self.journal.bytes)))
        self.saved.pause_us = max(self.saved.pause_us, 1e6 * (time.perf_counter() - begun))
        return True

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            buffer, place = task
            begun = time.perf_counter()
            try:
                arrays = [{**entry, "type": dtype_to_descr(entry["type"])} for entry in buffer.entries]  # not in the loop: it takes some ms
                header = {"bound": self._bound, "place": asdict(place), "arrays": arrays}
                write(self.directory / NAME.format(place.chunk + 1), header, memoryview(buffer.memory)[: buffer.size])  # type: ignore[arg-type]
                for old in states(self.directory)[KEPT:]:
                    old.unlink()
                self.saved.files += 1
                self.saved.bytes = buffer.size
                self.saved.write_ms = max(self.saved.write_ms, 1e3 * (time.perf_counter() - begun))
            except OSError as e:
                self.failure = e
            self._free.put(buffer)

    def close(self, last: bool = True) -> None:
        """Write the state of this moment and end; a failure of the thread is raised. `last` is false where the pipeline is in mid-chunk."""
        if not self._thread.is_alive():
            return
        if last and self.failure is None:
            while not self.take():
                time.sleep(0.001)
        self._tasks.put(None)
        self._thread.join()
        if self.failure is not None:
            raise self.failure
