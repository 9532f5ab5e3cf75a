"""The journal: what was written is read back, whatever happened to the end of the file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import zlib
from concurrent.futures import wait

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kill_recorder import trials

from tickarrow.jit import journal
from tickarrow.pipeline import recorder
from tickarrow.pipeline.batch import Chunk
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.recorder import DAY_NS, Journal
from tickarrow.pipeline.recorder_read import HEADER, Cut, follow, read_journal

FIRST = "chunks-00000-19700101.bin"


def append(journal, number, piece, ts=None):
    data = np.frombuffer(b"__" + piece + b"\0" * 64, np.uint8)
    journal.append(Chunk(data, 2, 2 + len(piece), 1000 + number if ts is None else ts, number))


def write(folder, pieces, segment_bytes=1 << 16):
    journal = Journal(folder, segment_bytes)
    for number, piece in enumerate(pieces):
        append(journal, number, piece)
    journal.close()
    return journal


@pytest.mark.pure
@given(st.binary(max_size=300), st.integers(0, 8), st.binary(max_size=30))
def test_the_checksum_is_that_of_zlib_and_the_copy_is_whole(data, lo, before):
    lo = min(lo, len(data))
    words = np.full(2 + (len(data) - lo + 7) // 8, 7, np.uint64)
    register = np.uint64(zlib.crc32(before) ^ 0xFFFFFFFF)
    got = journal.copy_crc(register, np.frombuffer(data or b"_", np.uint8), lo, len(data), words, 1)
    assert int(got) ^ 0xFFFFFFFF == zlib.crc32(data[lo:], zlib.crc32(before))
    assert words[0] == 7
    assert words[1:].tobytes().startswith(data[lo:] + bytes(-(len(data) - lo) % 8))


@pytest.mark.pure
def test_the_checksum_of_the_digits():
    # CRC-32 of "123456789" is 0xCBF43926, the check value of its definition.
    words = np.zeros(2, np.uint64)
    assert int(journal.copy_crc(journal.ONES, np.frombuffer(b"123456789", np.uint8), 0, 9, words, 0)) ^ 0xFFFFFFFF == 0xCBF43926


def test_a_record_lies_as_it_is_described(tmp_path):
    write(tmp_path, [b"abc"])
    body = (1).to_bytes(8, "little") + (1000).to_bytes(8, "little") + (3).to_bytes(4, "little")
    crc = zlib.crc32(body + b"abc").to_bytes(4, "little")
    assert (tmp_path / FIRST).read_bytes() == body + crc + b"abc" + bytes(5)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=20), st.sampled_from([100, 5000, 1 << 16]))
def test_a_journal_reads_back_as_it_was_written(tmp_path_factory, pieces, segment_bytes):
    folder = tmp_path_factory.mktemp("journal")
    written = write(folder, pieces, segment_bytes)
    assert list(read_journal(folder)) == [(i, 1000 + i, p) for i, p in enumerate(pieces)]
    assert (written.chunks, written.bytes) == (len(pieces), sum(map(len, pieces)))
    assert all(p.name.startswith("chunks-") for p in folder.iterdir())


def test_a_chunk_longer_than_a_segment_gets_its_own(tmp_path):
    pieces = [b"short", os.urandom(100_000), b"after"]
    write(tmp_path, pieces, 4096)
    assert [p for _, _, p in read_journal(tmp_path)] == pieces
    assert len(list(tmp_path.iterdir())) == 2  # the long one took what was left of its last page, too


def test_a_new_day_is_a_new_file(tmp_path):
    written = Journal(tmp_path, 4096)
    for number, ts in enumerate([DAY_NS - 1, DAY_NS, DAY_NS + 1, DAY_NS - 1]):  # the clock may step back
        append(written, number, b"x", ts)
    written.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chunks-00000-19700101.bin", "chunks-00001-19700102.bin", "chunks-00002-19700101.bin"]
    assert [ts for _, ts, _ in read_journal(tmp_path)] == [DAY_NS - 1, DAY_NS, DAY_NS + 1, DAY_NS - 1]


@given(st.integers(1, 40))
def test_a_torn_last_record_is_left_out(tmp_path_factory, lost):
    folder = tmp_path_factory.mktemp("journal")
    write(folder, [b"first", b"second", b"the third, of 16"])
    path = folder / FIRST
    path.write_bytes(path.read_bytes()[:-lost])
    assert [p for _, _, p in read_journal(folder)] == [b"first", b"second"]


@pytest.mark.parametrize("written", ["payload", "payload and length"])
def test_a_record_without_its_commit_word_does_not_exist(tmp_path, written):
    write(tmp_path, [b"first", b"second"])
    path, cut = tmp_path / FIRST, Cut()
    whole = path.stat().st_size
    header = bytes(24) if written == "payload" else bytes(8) + HEADER.pack(0, 7, 12, 99)[8:]
    with path.open("ab") as f:
        f.write(header + b"half of it" + bytes(4096))
    assert [p for _, _, p in read_journal(tmp_path, cut)] == [b"first", b"second"]
    assert (cut.ends, cut.torn) == ({path: whole}, 34)


@pytest.mark.parametrize("at", [8, 16, 20, 24])
def test_a_damaged_record_is_named(tmp_path, at):
    write(tmp_path, [b"first", b"second"])
    path = tmp_path / FIRST
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(SessionError, match=rf"chunk 0 in {FIRST} is damaged \(its checksum differs\)"):
        list(read_journal(tmp_path))


def test_a_record_whose_commit_word_was_lost_is_no_end(tmp_path):
    write(tmp_path, [b"first", b"second", b"third"])
    path = tmp_path / FIRST
    data = bytearray(path.read_bytes())
    data[32:40] = bytes(8)  # the header of chunk 1 begins behind 24 + 8 bytes
    path.write_bytes(data)
    with pytest.raises(SessionError, match=r"chunk 1 in .* is damaged \(its header is gone, chunk 2 stands behind it\)"):
        list(read_journal(tmp_path))


def test_a_missing_file_of_the_journal_is_named(tmp_path):
    write(tmp_path, [b"x" * 3000, b"y" * 3000, b"z" * 3000], 4096)
    (tmp_path / "chunks-00001-19700101.bin").unlink()
    with pytest.raises(SessionError, match=r"chunk 2 in chunks-00002-19700101\.bin follows chunk 0: 1 are missing"):
        list(read_journal(tmp_path))


def test_a_folder_without_a_journal_is_refused(tmp_path):
    with pytest.raises(SessionError, match=r"has no chunks-\*.bin"):
        list(read_journal(tmp_path))


def test_a_full_disk_is_told_before_a_chunk_is_lost(tmp_path, monkeypatch):
    written = Journal(tmp_path, 4096)
    append(written, 0, b"x" * 3000)
    write_zeros = os.write

    def full(file, data):
        if threading.current_thread().name == "journal":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_zeros(file, data)

    monkeypatch.setattr(recorder.os, "write", full)
    written.prepare()
    wait([written._spare])  # until the second thread has tried
    with pytest.raises(OSError, match="No space left on device") as said:
        written.prepare()
    assert said.value.filename == str(tmp_path)
    append(written, 1, b"y" * 500)  # still has room
    written.close()
    assert [len(p) for _, _, p in read_journal(tmp_path)] == [3000, 500]
    assert [p.name for p in tmp_path.iterdir()] == [FIRST]


def test_the_live_segment_is_synced_by_the_second_thread_if_asked(tmp_path, monkeypatch):
    synced, sync = [], os.fdatasync
    monkeypatch.setattr(recorder.os, "fdatasync", lambda file: (synced.append(threading.current_thread().name), sync(file)))
    written = Journal(tmp_path, 4096, sync_s=0.01)
    append(written, 0, b"x")
    while not synced:
        threading.Event().wait(0.005)
    written.close()
    assert set(synced) == {"journal"}


WRITER = """
import sys, time
import numpy as np
from pathlib import Path
from tickarrow.jit import _kernel
from tickarrow.pipeline.batch import Chunk
from tickarrow.pipeline.recorder import Journal
_kernel.warm()
written = Journal(Path(sys.argv[1]), 1 << 16)
print("up", flush=True)
sys.stdin.readline()
data = np.zeros(700, np.uint8)
for number in range(2000):
    data[:] = number % 251
    if number % 4 == 0:
        time.sleep(0.0002)
    written.append(Chunk(data, 0, number % 600, time.time_ns(), number))
    written.prepare()
written.close()
"""


def test_another_process_reads_the_journal_while_it_is_written(tmp_path):
    import time

    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "up\n"
        child.stdin.write("go\n")
        child.stdin.flush()
        lag, seen = [], []
        for number, ts, data in follow(tmp_path):
            lag.append(time.time_ns() - ts)
            seen.append((number, len(data), set(data)))
    assert seen == [(n, n % 600, {n % 251} if n % 600 else set()) for n in range(2000)]
    assert len(list(tmp_path.iterdir())) > 5  # it was rolled meanwhile
    assert np.median(lag) < 50e6, "the reader is far behind"


def test_whatever_was_acknowledged_before_a_kill_is_read_back(tmp_path):
    done = trials(20, tmp_path, seed=1)
    assert done.lost == 0
    assert done.damaged == 0
    assert done.acknowledged > 0
