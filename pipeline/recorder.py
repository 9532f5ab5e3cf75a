"""The journal: raw chunks on disk before they are decoded, so that whatever happens later, what came over the wire is kept.

A journal is `chunks-00000.bin`, `chunks-00001.bin`, ...; a record is a header (chunk, ts, length, crc32 of the bytes) and the bytes.
A record can be decoded by itself: a frame that the end of a read cut in two is whole in the chunk that completed it.
One `writev` on an append-only file a chunk; a killed process loses nothing that was written, a torn last record is recognised."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from tickarrow.pipeline.batch import Chunk
from tickarrow.pipeline.errors import SessionError

HEADER = struct.Struct("<QqII")
FILE_BYTES = 64 << 20


class Journal:
    """Append chunks to the journal of a session directory."""

    def __init__(self, directory: Path, file_bytes: int = FILE_BYTES) -> None:
        self.directory, self.file_bytes = directory, file_bytes
        self.chunks = self.bytes = 0
        self._files = 0
        self._fd = -1
        self._left = 0
        self._header = bytearray(HEADER.size)

    def append(self, chunk: Chunk) -> None:
        """Write one chunk; it is in the file system's memory when this returns."""
        data = chunk.data.data[chunk.lo : chunk.hi]
        size = HEADER.size + len(data)
        if size > self._left:
            self._next()
        HEADER.pack_into(self._header, 0, chunk.number, chunk.ts, len(data), zlib.crc32(data))
        if os.writev(self._fd, (self._header, data)) < size:  # the system writes what fits and calls it a success
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.directory))
        self._left -= size
        self.chunks += 1
        self.bytes += len(data)

    def _next(self) -> None:
        self.close()
        path = self.directory / f"chunks-{self._files:05d}.bin"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._files += 1
        self._left = self.file_bytes

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_journal(directory: Path) -> Iterator[tuple[int, int, bytes]]:
    """Chunks of a session as (number, ts, bytes), in order.

    Raises
    ------
    SessionError
        there is no journal, a record is damaged, or a number is missing
    """
    paths = sorted(directory.glob("chunks-*.bin"))
    if not paths:
        raise SessionError(f"session {directory} has no chunks-*.bin: nothing was recorded there. Name the folder that holds manifest.json.")
    expected = 0
    for path in paths:
        with path.open("rb") as f:
            while head := f.read(HEADER.size):
                if len(head) < HEADER.size:
                    return  # torn by a kill: the record was never complete
                number, ts, length, crc = HEADER.unpack(head)
                data = f.read(length)
                if len(data) < length:
                    return
                if zlib.crc32(data) != crc:
                    raise SessionError(f"session {directory}: chunk {number} in {path.name} is damaged (its checksum differs). Restore the file from a copy.")
                if number != expected:
                    raise SessionError(f"session {directory}: chunk {number} in {path.name} follows chunk {expected - 1}: {number - expected} are missing.")
                expected += 1
                yield number, ts, data
