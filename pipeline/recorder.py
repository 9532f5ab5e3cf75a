"""The journal: raw chunks on disk before they are decoded, so that whatever happens later, what came over the wire is kept.

A journal is `chunks-00000-20260105.bin`, `chunks-00001-20260105.bin`, ...: segments in order, each of one UTC day. A segment is a
mapped file, made and zeroed ahead of use by a second thread; a record is written by one kernel call (jit/journal.py), its commit word
last, so a killed process loses nothing that was appended and a record is there whole or not at all (docs/decisions/0009).
A record can be decoded by itself: a frame that the end of a read cut in two is whole in the chunk that completed it."""

from __future__ import annotations

import fcntl
import mmap
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit import journal
from tickarrow.pipeline.batch import Chunk
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.settings import check_setting

SEGMENT_BYTES = 64 << 20
WRITE_BYTES = 4 << 20  # zeros written at a time
DAY_NS = 86_400_000_000_000
SPARE = "spare.bin"  # the next segment, until it is begun


class Segment:
    """A zeroed, mapped and locked file of the journal. The lock ends with the process: a free one says that nobody writes."""

    def __init__(self, path: Path, n_bytes: int) -> None:
        self.path, self.bytes = path, -(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            zeros = bytes(min(WRITE_BYTES, self.bytes))
            for at in range(0, self.bytes, len(zeros)):  # written, not only allocated: a first touch would cost milliseconds in a tick
                piece = zeros[: self.bytes - at]
                while piece:
                    piece = piece[os.write(self.file, piece) :]
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.map = mmap.mmap(self.file, self.bytes)
        except OSError as e:
            os.close(self.file)
            path.unlink()
            raise OSError(e.errno, os.strerror(e.errno or 0), str(path.parent)) from None
        self.words: npt.NDArray[np.uint64] = np.frombuffer(self.map, np.uint64)
        int(self.words[:: mmap.PAGESIZE // 8].sum())  # map every page now

    def finish(self, used: int) -> None:
        """Cut the file to what was written and bring it to the disk."""
        del self.words
        self.map.close()
        os.ftruncate(self.file, used)
        os.fdatasync(self.file)
        os.close(self.file)


class Journal:
    """Append chunks to the journal of a session directory.

    Parameters
    ----------
    directory : folder of the session
    segment_bytes : size of a segment; a chunk that is longer gets a segment of its own
    sync_s : bring the live segment to the disk each so many seconds, from the second thread, against a loss of power; 0 = never.
        A killed process loses nothing either way.
    after : segments, chunks and bytes of them that earlier runs have left
    """

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES, sync_s: float = 0.0, after: tuple[int, int, int] = (0, 0, 0)) -> None:
        if segment_bytes < 1:
            raise ConfigError(f"record.segment_mb is {segment_bytes >> 20}: a segment of the journal has at least 1 MB. The default is 64.")
        check_setting("record.sync_s", sync_s)
        self.directory, self.segment_bytes, self.sync_s = directory, segment_bytes, sync_s
        self._control = np.zeros(journal.N_WORDS, np.int64)
        self._words = self._control.data
        self._address: int = self._control.ctypes.data
        self._data: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._begun, self._words[journal.CHUNKS], self._words[journal.BYTES] = after  # segments, and what the chunks appended are counted with
        self._segment: Segment | None = None
        self._spare: Future[Segment] | None = None
        self._failure: OSError | None = None  # of the second thread
        self._tasks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()
        self._make_spare()

    @property
    def chunks(self) -> int:
        """Chunks of the session."""
        return int(self._words[journal.CHUNKS])

    @property
    def bytes(self) -> int:
        """Bytes of its chunks, without headers."""
        return int(self._words[journal.BYTES])

    @property
    def place(self) -> tuple[str, int]:
        """File and byte where the next chunk goes, or behind which it goes; no file yet: from the first on."""
        if self._segment is not None:
            return self._segment.path.name, 8 * self._words[journal.AT]
        left = sorted(self.directory.glob("chunks-*.bin"))  # of earlier runs
        return (left[-1].name, left[-1].stat().st_size) if left else ("", 0)

    def append(self, chunk: Chunk) -> None:
        """Write one chunk; when this returns the system has it, whatever becomes of the process."""
        if chunk.data is not self._data:
            self._data = chunk.data
            self._words[journal.DATA], self._words[journal.DATA_SIZE] = chunk.data.ctypes.data, chunk.data.size
        if not journal.append(self._address, chunk.lo, chunk.hi, chunk.ts, chunk.number):
            self._begin(chunk)
            journal.append(self._address, chunk.lo, chunk.hi, chunk.ts, chunk.number)

    def prepare(self) -> None:
        """Have the next segment made once this one is half full; called when nothing waits.

        Raises
        ------
        OSError
            the second thread could not make or sync a segment. What was appended is safe: room is made ahead of need.
        """
        if self._failure is not None:
            raise self._failure
        if self._spare is None and 2 * self._words[journal.AT] > self._words[journal.SEGMENT_WORDS]:
            self._make_spare()
        elif self._spare is not None and self._spare.done() and (e := self._spare.exception()) is not None:
            raise e

    def _make_spare(self) -> None:
        spare: Future[Segment] = Future()
        self._spare = spare

        def make() -> None:
            try:
                spare.set_result(Segment(self.directory / SPARE, self.segment_bytes))
            except BaseException as e:
                spare.set_exception(e)

        self._tasks.put(make)

    def _begin(self, chunk: Chunk) -> None:
        """Go on in a new segment of the chunk's day."""
        need = 8 * (journal.HEADER_WORDS + (chunk.hi - chunk.lo + 7) // 8)
        if self._failure is not None:
            raise self._failure
        if need > self.segment_bytes:
            new = Segment(self.directory / "long.bin", need)
        else:
            if self._spare is None:
                self._make_spare()
            assert self._spare is not None
            new, self._spare = self._spare.result(), None
        day = chunk.ts // DAY_NS
        name = f"chunks-{self._begun:05d}-{datetime.fromtimestamp(day * 86_400, UTC):%Y%m%d}.bin"
        new.path = new.path.rename(self.directory / name)  # before its first record: a killed session has no chunk under another name
        self._begun += 1
        self._retire()
        self._segment = new
        words = self._words
        words[journal.SEGMENT], words[journal.SEGMENT_WORDS], words[journal.AT] = new.words.ctypes.data, len(new.words), 0
        words[journal.DAY_START], words[journal.DAY_END] = day * DAY_NS, (day + 1) * DAY_NS

    def _retire(self) -> None:
        """Give the segment to the second thread, which cuts and syncs it."""
        if self._segment is not None:
            old, used = self._segment, 8 * self._words[journal.AT]
            self._segment = None
            self._words[journal.SEGMENT_WORDS] = 0
            self._tasks.put(lambda: old.finish(used))

    def _work(self) -> None:
        """The second thread: makes and ends segments, and syncs the live one."""
        while True:
            try:
                task = self._tasks.get(timeout=self.sync_s or None)
                if task is None:
                    return
                task()
            except queue.Empty:
                self._sync()
            except OSError as e:
                self._failure = e

    def _sync(self) -> None:
        segment = self._segment
        if segment is not None:
            try:
                os.fdatasync(segment.file)
            except OSError as e:
                self._failure = e

    def close(self) -> None:
        """Cut the last segment to its records; when this returns all of the journal is on the disk."""
        if not self._thread.is_alive():
            return
        self._retire()
        spare, self._spare = self._spare, None
        self._tasks.put(None)
        self._thread.join()
        if spare is not None and spare.exception() is None:
            spare.result().finish(0)
            spare.result().path.unlink()
        if self._failure is not None:
            raise self._failure
