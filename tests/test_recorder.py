"""The journal: what was written is read back, whatever happened to the end of the file."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.pipeline.batch import Chunk
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.recorder import HEADER, Journal, read_journal


def write(folder, pieces, file_bytes=1 << 20):
    journal = Journal(folder, file_bytes)
    for number, piece in enumerate(pieces):
        data = np.frombuffer(b"__" + piece + b"\0" * 64, np.uint8)
        journal.append(Chunk(data, 2, 2 + len(piece), 1000 + number, number))
    journal.close()


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=20), st.sampled_from([64, 500, 1 << 20]))
def test_a_journal_reads_back_as_it_was_written(tmp_path_factory, pieces, file_bytes):
    folder = tmp_path_factory.mktemp("journal")
    write(folder, pieces, file_bytes)
    assert list(read_journal(folder)) == [(i, 1000 + i, p) for i, p in enumerate(pieces)]


@given(st.integers(1, HEADER.size + 9))
def test_a_torn_last_record_is_left_out(tmp_path_factory, lost):
    folder = tmp_path_factory.mktemp("journal")
    write(folder, [b"first", b"second", b"the third"])
    path = folder / "chunks-00000.bin"
    path.write_bytes(path.read_bytes()[:-lost])
    assert [p for _, _, p in read_journal(folder)] == [b"first", b"second"]


def test_a_chunk_that_does_not_fit_the_disk_is_no_success(tmp_path, monkeypatch):
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, parts: writev(fd, [b"".join(parts)[:30]]))  # room for 30 bytes more
    with pytest.raises(OSError, match="No space left on device"):
        write(tmp_path, [b"longer than what is left"])
    assert list(read_journal(tmp_path)) == []


def test_a_damaged_record_is_named(tmp_path):
    write(tmp_path, [b"first", b"second"])
    path = tmp_path / "chunks-00000.bin"
    path.write_bytes(path.read_bytes().replace(b"first", b"fIrst"))
    with pytest.raises(SessionError, match=r"chunk 0 in chunks-00000.bin is damaged \(its checksum differs\)"):
        list(read_journal(tmp_path))


def test_a_missing_file_of_the_journal_is_named(tmp_path):
    write(tmp_path, [b"x" * 50, b"y" * 50, b"z" * 50], file_bytes=80)
    (tmp_path / "chunks-00001.bin").unlink()
    with pytest.raises(SessionError, match=r"chunk 2 in chunks-00002.bin follows chunk 0: 1 are missing"):
        list(read_journal(tmp_path))


def test_a_folder_without_a_journal_is_refused(tmp_path):
    with pytest.raises(SessionError, match=r"has no chunks-\*.bin"):
        list(read_journal(tmp_path))
