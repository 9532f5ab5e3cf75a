"""Tables whose memory is ours: the same addresses for kernels and Arrow, windows inside one segment, closed files for everybody."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.schemas import DECISIONS, FILLS, ORDERS, TICKS, TIMING, column_digest, features_schema

SCHEMAS = [TICKS, DECISIONS, ORDERS, FILLS, TIMING, features_schema(["a", "b", "c"], "digest")]


def fill(table, n, value):
    lo = table.reserve(n)
    for column in table.segment.columns.values():
        column[lo : lo + n] = value
    return table.commit(n)


def address(array: pa.Array) -> int:
    values = array.values if isinstance(array, pa.FixedSizeListArray) else array
    return int(values.buffers()[1].address)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: s.metadata[b"table"].decode())
@pytest.mark.parametrize("recorded", [False, True], ids=["memory", "mapped"])
def test_arrow_and_numpy_see_the_same_addresses(schema, recorded, tmp_path):
    table = Table(schema, tmp_path if recorded else None, capacity=64)
    batch = fill(table, 5, 3)
    for name in schema.names:
        assert address(batch.arrow().column(name)) == batch.segment.columns[name].ctypes.data
        assert address(batch.arrow().column(name)) % 8 == 0
    table.segment.columns["seq"][0] = 77
    assert batch.arrow().column("seq")[0].as_py() == 77


def test_a_window_never_crosses_a_segment():
    table = Table(TICKS, capacity=10, keep=True)
    a, b = fill(table, 7, 1), fill(table, 7, 2)
    assert (a.lo, a.hi, b.lo, b.hi) == (0, 7, 0, 7)
    assert a.segment is not b.segment
    assert table.rows == 14
    assert table.column("bid").tolist() == [1.0] * 7 + [2.0] * 7


def test_more_rows_than_a_segment_holds_are_refused():
    with pytest.raises(ValueError, match="11 rows do not fit a segment of 10"):
        Table(TICKS, capacity=10).reserve(11)


@pytest.mark.parametrize("recorded", [False, True], ids=["memory", "mapped"])
def test_a_segment_made_ahead_of_need_changes_nothing(tmp_path, recorded):
    table = Table(TICKS, tmp_path if recorded else None, keep=True, capacity=10)
    for value in range(5):
        fill(table, 4, value)
        table.prepare()
    assert table.column("bid").tolist() == [v for v in range(5) for _ in range(4)]
    assert table.counter.tolist() == [2, 4]
    fill(table, 4, 5)
    table.prepare()
    table.close()
    if recorded:
        assert [p.name for p in tmp_path.iterdir()] == ["ticks.arrow"]


def test_a_stream_recycles_two_segments_and_copies_survive():
    table = Table(TICKS, capacity=4)
    first = fill(table, 4, 1)
    kept = first.copy()
    segments = {id(first.segment)} | {id(fill(table, 4, v).segment) for v in range(2, 9)}
    assert len(segments) == 2
    assert kept.column("bid").to_pylist() == [1.0] * 4


def test_uncommitted_rows_are_not_visible():
    table = Table(TICKS, capacity=8)
    table.reserve(3)
    table.bid[0:3] = 5.0
    assert table.rows == 0
    assert len(table.empty()) == 0
    assert table.arrow().num_rows == 0


def test_another_reader_maps_live_rows_through_the_counter(tmp_path):
    counter = np.zeros(2, np.int64)
    table = Table(TICKS, tmp_path, capacity=16, counter=counter)
    fill(table, 3, 4)
    seen = pa.ipc.open_file(pa.memory_map(str(tmp_path / "ticks-00000.arrow"))).get_batch(0)
    assert counter.tolist() == [0, 3]
    assert seen.slice(0, 3).column("bid").to_pylist() == [4.0] * 3
    fill(table, 2, 9)
    assert counter.tolist() == [0, 5]
    assert seen.slice(3, 2).column("bid").to_pylist() == [9.0] * 2


@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_closed_table_holds_the_committed_rows_in_order(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("table")
    table = Table(features_schema(["a", "b"], ""), folder, capacity=10)
    expected = []
    for value, n in enumerate(sizes):
        fill(table, n, value)
        expected += [value] * n
    table.close()
    assert [p.name for p in folder.iterdir()] == ["features.arrow"]
    assert pl.read_ipc(folder / "features.arrow")["seq"].to_list() == expected
    frame = pd.read_feather(folder / "features.arrow")
    assert [list(x) for x in frame["x"]] == [[v, v] for v in expected]


def test_the_digest_sees_every_bit_but_one_nan():
    a = np.array([1.0, np.nan])
    other_nan = a.copy()
    other_nan.view(np.int64)[1] ^= 1
    assert np.isnan(other_nan[1])
    assert column_digest([a]) == column_digest([other_nan])
    assert column_digest([a]) != column_digest([np.array([-1.0, np.nan])])
    assert column_digest([np.array([0.0])]) != column_digest([np.array([-0.0])])


@pytest.mark.parametrize("recorded", [False, True])
def test_a_lazy_table_takes_no_memory_before_its_first_row(tmp_path, recorded):
    table = Table(TICKS, tmp_path if recorded else None, keep=True, capacity=4, lazy=True)
    assert (table.capacity, table.rows, len(table.column("seq")), list(tmp_path.iterdir())) == (0, 0, 0, [])
    table.prepare()
    assert list(tmp_path.iterdir()) == []
    assert len(table.empty()) == 0
    for k in range(3):
        row = table.reserve(3)
        table.segment.columns["seq"][row : row + 3] = range(3 * k, 3 * k + 3)
        assert list(table.commit(3).view("seq")) == [3 * k, 3 * k + 1, 3 * k + 2]
    assert (list(table.column("seq")), len(table.closed)) == (list(range(9)), 2)
    table.close()


def test_a_lazy_table_that_stayed_empty_closes_as_an_empty_file(tmp_path):
    Table(TICKS, tmp_path, lazy=True).close()
    with pa.memory_map(str(tmp_path / "ticks.arrow")) as source:
        assert pa.ipc.open_file(source).read_all().num_rows == 0


def test_a_forked_process_makes_segments_too(tmp_path):
    def record(folder):
        table = Table(TIMING, folder, capacity=8)
        for _ in range(3):
            fill(table, 5, 1)
            table.prepare()

    (tmp_path / "parent").mkdir()
    record(tmp_path / "parent")  # its second thread is running now
    (tmp_path / "child").mkdir()
    child = os.fork()
    if child == 0:
        record(tmp_path / "child")
        os._exit(0)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)
