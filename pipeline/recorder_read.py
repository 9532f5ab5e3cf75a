"""Read a journal: whole, of a session that is closed or was killed; or live, while another process writes it."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tickarrow.pipeline.errors import SessionError

HEADER = struct.Struct("<QqII")  # commit (number + 1), ts, length, crc over the 20 bytes before it and the payload
CHECKED = 20  # bytes of a header that the checksum covers


@dataclass(slots=True)
class Cut:
    """Where the whole records of a journal end."""

    ends: dict[Path, int] = field(default_factory=dict)  # segment -> bytes of it that are whole records; zeros may follow
    torn: int = 0  # bytes behind the last record that are not zero: one that was being written


def _crc(header: bytes, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(header[:CHECKED]))


def _padded(length: int) -> int:
    return HEADER.size + (length + 7) // 8 * 8


def segments(directory: Path) -> list[Path]:
    """Files of the journal in order; SessionError if there are none."""
    paths = sorted(directory.glob("chunks-*.bin"))
    if not paths:
        raise SessionError(f"session {directory} has no chunks-*.bin: nothing was recorded there. Name the folder that holds manifest.json.")
    return paths


def read_journal(directory: Path, cut: Cut | None = None, start: tuple[str, int, int] = ("", 0, 0)) -> Iterator[tuple[int, int, bytes]]:
    """Chunks of a session as (number, ts, bytes), in order, up to the last whole record.

    Parameters
    ----------
    directory : session, closed or killed
    cut : filled with where the journal ends, if given
    start : file, byte in it and number of the first chunk wanted, the file "" stands for the first one

    Raises
    ------
    SessionError
        there is no journal, a record is damaged, or a number is missing
    """
    name, begin, expected = start
    paths = [path for path in segments(directory) if path.name >= name]
    if name and not (paths and paths[0].name == name and paths[0].stat().st_size >= begin):
        raise SessionError(f"session {directory}: its journal ends before chunk {expected} or has no {name}. Restore the file from a copy.")
    for path in paths:
        size = path.stat().st_size
        end, begin = begin, 0
        if size:
            with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                while end + HEADER.size <= size:
                    header = data[end : end + HEADER.size]
                    commit, ts, length, crc = HEADER.unpack(header)
                    if commit == 0:
                        break
                    if end + HEADER.size + length > size:
                        if path is paths[-1]:
                            break  # a copy that ends early
                        raise _damaged(directory, expected, path, "it is longer than the file")
                    payload = data[end + HEADER.size : end + HEADER.size + length]
                    if _crc(header, payload) != crc:
                        raise _damaged(directory, expected, path, "its checksum differs")
                    if commit - 1 != expected:
                        raise SessionError(
                            f"session {directory}: chunk {commit - 1} in {path.name} follows chunk {expected - 1}: {commit - 1 - expected} are missing. "
                            "Restore the files from a copy."
                        )
                    yield expected, ts, payload
                    expected += 1
                    end += _padded(length)
                end = min(end, size)
                torn = _last(data, end)
                if torn and (later := _next_record(data, end, torn, expected)):
                    raise _damaged(directory, expected, path, f"its header is gone, chunk {later} stands behind it")
                if cut is not None:
                    cut.ends[path], cut.torn = end, torn
                if torn and path is not paths[-1]:
                    raise _damaged(directory, expected, path, "it is torn, and another file follows")


def _damaged(directory: Path, number: int, path: Path, how: str) -> SessionError:
    return SessionError(f"session {directory}: chunk {number} in {path.name} is damaged ({how}). Restore the file from a copy.")


def _last(data: mmap.mmap, start: int) -> int:
    """Bytes behind `start` up to the last that is not zero."""
    for at in range(start, len(data), 1 << 20):
        block = data[at : at + (1 << 20)]
        if block.count(0) == len(block):
            continue
        rest = data[start:].rstrip(b"\0")
        return len(rest)
    return 0


def _next_record(data: mmap.mmap, start: int, torn: int, expected: int) -> int:
    """Number of a whole record behind a header that says nothing, 0 = none: a kill leaves none, damage does."""
    word, at = struct.pack("<Q", expected + 2), start
    while 0 <= (at := data.find(word, at + 1, start + torn)) <= len(data) - HEADER.size:
        header = data[at : at + HEADER.size]
        _, _, length, crc = HEADER.unpack(header)
        if _crc(header, data[at + HEADER.size : at + HEADER.size + length]) == crc:
            return expected + 1
    return 0


def being_written(path: Path) -> bool:
    """True while the process that made this file with a lock lives and has not closed it."""
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(file)


def follow(directory: Path, poll_s: float = 0.0002) -> Iterator[tuple[int, int, bytes]]:
    """Chunks as (number, ts, bytes) while another process appends them; ends when nobody writes any more.

    Parameters
    ----------
    directory : session, being recorded or not
    poll_s : how long to sleep when there is nothing new, seconds; the lag is at most this and the time to wake up
    """
    expected, place, at, file = 0, 0, 0, -1
    try:
        while True:
            if file >= 0 and (found := _record(file, at, expected)) is not None:
                ts, payload = found
                yield expected, ts, payload
                at += _padded(len(payload))
                expected += 1
                continue
            paths = sorted(directory.glob("chunks-*.bin"))
            if len(paths) > place:
                # The next file is there before its first record, so nothing can come to this one any more, but it may have meanwhile.
                if file >= 0 and _commit(file, at):
                    continue
                if file >= 0:
                    os.close(file)
                file, at = os.open(paths[place], os.O_RDONLY), 0
                place += 1
                continue
            if file >= 0 and not being_written(paths[-1]) and not _commit(file, at) and len(sorted(directory.glob("chunks-*.bin"))) == place:
                return
            time.sleep(poll_s)
    finally:
        if file >= 0:
            os.close(file)


def _commit(file: int, at: int) -> int:
    """Commit word at a place; 0 = no record there yet. Read by a call, not through a map: the writer cuts files when they are full."""
    return int.from_bytes(os.pread(file, 8, at), "little")


def _record(file: int, at: int, expected: int) -> tuple[int, bytes] | None:
    if _commit(file, at) == 0:
        return None
    header = os.pread(file, HEADER.size, at)  # after the commit word, so it is whole
    commit, ts, length, crc = HEADER.unpack(header)
    payload = os.pread(file, length, at + HEADER.size)
    if _crc(header, payload) != crc or commit - 1 != expected:
        raise SessionError(f"chunk {expected} at byte {at} of the journal is damaged while it is written. Stop the recording and check the disk.")
    return ts, payload
