"""Tables whose memory is ours, and windows on them.

A `Table` is a sequence of segments of equal capacity; a `Segment` is a set of preallocated, aligned, fixed-width columns: kernels see
cached NumPy views, Arrow readers one standing `RecordBatch` over the same addresses, cut on demand. With a directory the columns lie
inside a memory-mapped Arrow IPC file, so recording costs page-cache writes only and another process maps the same rows.
A `Batch` is a window `[lo, hi)` of one segment (design contract 1). No validity bitmaps: missing is NaN."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.pipeline.errors import SessionError

Array = npt.NDArray[Any]

SEGMENT_ROWS = 65_536
PAGE = 4096
LIBC = ctypes.CDLL(None)
SECOND = ThreadPoolExecutor(1, "segments")  # makes mapped segments ahead of use: writing their zeros takes some ms


def _after_fork() -> None:
    """A fork has no threads: with the old executor it would wait for its next segment for ever."""
    global SECOND
    SECOND = ThreadPoolExecutor(1, "segments")


os.register_at_fork(after_in_child=_after_fork)
PAD = 64  # bytes behind a chunk that may be read: the wire kernel loads 8 at a time


@dataclass(slots=True)
class Chunk:
    """A piece of received bytes, the input of the decode stage: `data[lo:hi]` under one arrival stamp (design contracts 2 and 3).

    `data` is padded by at least `PAD` bytes past `hi`. `number` is gap-free. In lock step `hi` is just behind a clock frame
    and `ts` is its market time.
    """

    data: npt.NDArray[np.uint8]
    lo: int
    hi: int
    ts: int
    number: int


def _flat(t: pa.DataType) -> tuple[np.dtype[Any], int]:
    """NumPy type of one value and values per row."""
    if pa.types.is_fixed_size_list(t):
        return np.dtype(t.value_type.to_pandas_dtype()), t.list_size
    return np.dtype(t.to_pandas_dtype()), 1


class Segment:
    """Columns of one segment; attributes are named like the columns. `rows` is given for a file that is there and holds so many."""

    def __init__(self, schema: pa.Schema, capacity: int, path: Path | None, rows: int | None = None) -> None:
        self.schema, self.capacity, self.path, self.rows = schema, capacity, path, rows or 0
        flat = [_flat(f.type) for f in schema]
        if path is None:
            sizes = [dtype.itemsize * width * capacity for dtype, width in flat]
            offsets = np.concatenate([[0], np.cumsum([-(-s // 64) * 64 for s in sizes])]).astype(int)
            raw = np.zeros(int(offsets[-1]) + 64, np.uint8)
            start = -raw.ctypes.data % 64
            memory = raw[start:]
            bodies = [memory[o : o + s] for o, s in zip(offsets, sizes)]
        else:
            if rows is None:
                self._make(path)
            bodies = self._map(path)
        for body in bodies if rows is None else ():
            body[::PAGE] = 0  # a first touch costs up to some ms where the system backs memory with huge pages: not in a tick
        self.columns: dict[str, Array] = {}
        for f, (dtype, width), body in zip(schema, flat, bodies):
            column = body.view(dtype)
            self.columns[f.name] = column.reshape(self.capacity, width) if pa.types.is_fixed_size_list(f.type) else column
        self.__dict__.update(self.columns)  # an attribute of the instance is found ten times faster than through __getattr__
        self.standing = pa.RecordBatch.from_arrays([self._wrap(f.type, b) for f, b in zip(schema, bodies)], schema=schema)

    def _wrap(self, t: pa.DataType, body: Array) -> pa.Array:
        if pa.types.is_fixed_size_list(t):
            values = pa.Array.from_buffers(t.value_type, self.capacity * t.list_size, [None, pa.py_buffer(body)], null_count=0)
            return pa.FixedSizeListArray.from_arrays(values, type=t)
        return pa.Array.from_buffers(t, self.capacity, [None, pa.py_buffer(body)], null_count=0)

    def _make(self, path: Path) -> None:
        """Write an IPC file of a capacity's worth of zeros."""
        zeros = []
        for f in self.schema:
            dtype, width = _flat(f.type)
            zeros.append(self._wrap(f.type, np.zeros(dtype.itemsize * width * self.capacity, np.uint8)))
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(zeros, schema=self.schema))

    def _map(self, path: Path) -> list[Array]:
        """Map the file and find each column's body through the Arrow reader itself."""
        with path.open("r+b") as f:
            self._file = mmap.mmap(f.fileno(), 0)
        memory = np.frombuffer(self._file, np.uint8)
        whole = pa.py_buffer(memory)
        found = pa.ipc.open_file(pa.BufferReader(whole)).get_batch(0)
        self.capacity = found.num_rows
        bodies = []
        for column in found.columns:
            body = (column.values if pa.types.is_fixed_size_list(column.type) else column).buffers()[1]
            offset = body.address - whole.address
            dtype, width = _flat(column.type)
            bodies.append(memory[offset : offset + dtype.itemsize * width * self.capacity])
        return bodies

    def release(self) -> None:
        """Let the system have the memory of a mapped segment back; its rows stay in the file and come again when they are read."""
        memory = np.frombuffer(self._file, np.uint8)
        LIBC.munlock(ctypes.c_void_p(memory.ctypes.data), ctypes.c_size_t(memory.size))  # runtime=realtime locks all pages
        self._file.madvise(mmap.MADV_DONTNEED)

    def __getattr__(self, name: str) -> Array:
        raise AttributeError(f"no column {name!r}")


class Batch:
    """Window `[lo, hi)` of a segment. Columns are attributes and whole (index them with lo and hi); `view(name)` is the window."""

    __slots__ = ("hi", "lo", "segment")

    def __init__(self, segment: Segment, lo: int, hi: int) -> None:
        self.segment, self.lo, self.hi = segment, lo, hi

    def __len__(self) -> int:
        return self.hi - self.lo

    def __getattr__(self, name: str) -> Array:
        return getattr(self.segment, name)  # type: ignore[no-any-return]

    def view(self, name: str) -> Array:
        """The window of one column, no copy."""
        return self.segment.columns[name][self.lo : self.hi]

    def arrow(self) -> pa.RecordBatch:
        """The window as a RecordBatch over the same addresses, valid until the segment is recycled."""
        return self.segment.standing.slice(self.lo, self.hi - self.lo)

    def copy(self) -> pa.RecordBatch:
        """The window as a RecordBatch of its own."""
        columns = []
        for f in self.segment.schema:
            rows = self.view(f.name).copy()
            if pa.types.is_fixed_size_list(f.type):
                columns.append(pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1), f.type.value_type), type=f.type))
            else:
                columns.append(pa.array(rows, f.type))
        return pa.RecordBatch.from_arrays(columns, schema=self.segment.schema)


class Table:
    """A growing table: `reserve` room, let a kernel write from row `size`, `commit` what was written.

    Columns of the open segment are attributes; where a column is named `size` take it from `segment`.

    Parameters
    ----------
    schema : columns; the name is in its metadata under `table`
    directory : folder of the session, None = memory only
    keep : memory only: keep closed segments (results), or recycle two of them (streams)
    capacity : rows of a segment
    counter : int64[2 + segments], where a reader of another process finds (segment, its rows, rows of each segment before it);
        None = not shared
    lazy : no memory and no file before the first row is reserved: for a table that most sessions never fill
    begun : rows of each segment that earlier runs have left in `directory`; new rows go into the next one
    """

    def __init__(
        self, schema: pa.Schema, directory: Path | None = None, *, keep: bool = False, capacity: int = SEGMENT_ROWS, counter: Array | None = None,
        lazy: bool = False, begun: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.schema, self.directory, self.keep = schema, directory, keep or directory is not None
        lazy = lazy and not begun
        self.capacity = 0 if lazy else capacity  # of the open segment
        self.name = schema.metadata[b"table"].decode()
        self.counter = np.zeros(2, np.int64) if counter is None else counter
        assert directory is not None or not begun
        self.closed: list[Segment] = []
        self.rows = sum(begun)  # committed rows of the whole session
        self._spare: Segment | Future[Segment] | None = None
        self._count = 0  # segments begun
        self._rows = capacity  # of a segment that is made
        for rows in begun:
            self.closed.append(Segment(schema, 0, self._path(), rows))
            self._count += 1
        self.segment = Segment(schema, 0, None) if lazy else self._new()
        self._bind()

    def _new(self) -> Segment:
        made = Segment(self.schema, self._rows, self._path())
        self._count += 1
        return made

    def _path(self) -> Path | None:
        return None if self.directory is None else self.directory / f"{self.name}-{self._count:05d}.arrow"

    def _bind(self) -> None:
        self.size = self.segment.rows
        # In this order: who reads the number of the new segment reads none of the old one's rows for it.
        self.counter[1] = self.size
        self.counter[0] = len(self.closed)

    def __getattr__(self, name: str) -> Array:
        return getattr(self.__dict__["segment"], name)  # type: ignore[no-any-return]

    def reserve(self, n: int) -> int:
        """Make room for `n` rows in one segment and return the first free row. What is written there is not yet visible."""
        if self.size + n > self.capacity:
            if n > self._rows:
                raise ValueError(f"table {self.name}: {n} rows do not fit a segment of {self._rows}")
            self._rotate()
        return self.size

    def _rotate(self) -> None:
        old = self.segment
        if self.capacity == 0:
            self.segment, self.capacity = self._new(), self._rows
        elif self.keep:
            if len(self.counter) > 2:
                if len(self.closed) + 2 >= len(self.counter):
                    raise SessionError(f"table {self.name} has {self.rows:,} rows, all that a session holds. Record in shorter sessions (record.until).")
                self.counter[2 + len(self.closed)] = old.rows
            self.closed.append(old)
            if old.path is not None:
                SECOND.submit(old.release)  # a day of rows would fill the memory
            self.segment, self._spare = self._take_spare(), None
        else:
            self.segment = self._take_spare()
            self.segment.rows = 0
            self._spare = old
        self._bind()

    def _take_spare(self) -> Segment:
        if isinstance(self._spare, Future):
            return self._spare.result()
        return self._spare if self._spare is not None else self._new()

    def prepare(self) -> None:
        """Have the next segment made once this one is half full; called when nothing waits, so that no tick pays for it (some ms)."""
        if self._spare is None and 2 * self.size > self.capacity:
            self._spare = self._new() if self.directory is None else SECOND.submit(self._new)
        elif isinstance(self._spare, Future) and self._spare.done():
            self._spare = self._spare.result()

    def commit(self, n: int) -> Batch:
        """Publish the `n` rows written from row `size` on, and return them."""
        lo = self.size
        self.size = self.segment.rows = lo + n
        self.rows += n
        self.counter[1] = self.size
        return Batch(self.segment, lo, self.size)

    def empty(self) -> Batch:
        return Batch(self.segment, self.size, self.size)

    def place(self, row: int) -> tuple[Segment, int] | None:
        """Segment of a committed row of the whole session, and its row there; None if it is no longer held."""
        at = self.rows
        for s in (self.segment, *reversed(self.closed)):
            at -= s.rows
            if row >= at:
                return (s, row - at) if row - at < s.rows else None
        return None

    def batches(self) -> Iterator[Batch]:
        """All committed rows that are still held, one batch a segment."""
        for s in [*self.closed, self.segment]:
            if s.rows:
                yield Batch(s, 0, s.rows)

    def _released(self, tell: Callable[[int], None] | None) -> Iterator[pa.RecordBatch]:
        """The batches of a table of files, each out of the memory when the next is asked for."""
        for b in self.batches():
            yield b.arrow()
            b.segment.release()
            if tell is not None:
                tell(len(b))

    def column(self, name: str) -> Array:
        """One column of all rows held, as a copy."""
        parts = [b.view(name) for b in self.batches()]
        return np.concatenate(parts) if parts else self.segment.columns[name][:0].copy()

    def arrow(self) -> pa.Table:
        """All rows held as an Arrow table over the same memory."""
        return pa.Table.from_batches([b.arrow() for b in self.batches()], schema=self.schema)

    def close(self, tell: Callable[[int], None] | None = None) -> None:
        """Write the committed rows as one plain Arrow IPC file `<name>.arrow` and remove the segment files; `tell` gets the rows of each
        segment when they are written."""
        if self.directory is None:
            return
        write_table(self.directory, self.name, self.schema, self._released(tell))
        spare = self._spare
        if isinstance(spare, Future):
            spare = spare.result() if spare.exception() is None else None
        for s in [*self.closed, self.segment, spare]:
            if s is not None and s.path is not None:
                s.path.unlink(missing_ok=True)
                s.path = None


def write_table(directory: Path, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """A closed table of a session, there whole or not at all."""
    part = directory / f"{name}.part"
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    os.replace(part, directory / f"{name}.arrow")
