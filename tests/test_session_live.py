"""Another process reads a session's tables while they are written: the same rows, and not late."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.session import read_table
from tickarrow.pipeline.session_live import LiveSession

ROWS = 3000

WRITER = """
import sys, time
import numpy as np
from pathlib import Path
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.schemas import FILLS, TIMING
from tickarrow.pipeline.session import Session
session = Session(Path(sys.argv[1]))
tables = [Table(schema, session.directory, capacity=100, counter=session._counters[i], lazy=i == 1) for i, schema in enumerate((TIMING, FILLS))]
session.tables += tables
session.manifest["tables"] += [t.name for t in tables]
session.write_manifest()
print("up", flush=True)
sys.stdin.readline()
row = 0
while row < int(sys.argv[2]):
    n = row % 7 + 1
    for table in tables:
        lo = table.reserve(n)
        for name, column in table.segment.columns.items():
            column[lo : lo + n] = np.arange(row, row + n).astype(column.dtype)
        table.segment.columns["decode" if table.name == "timing" else "ts"][lo : lo + n] = time.time_ns()
        table.commit(n)
        table.prepare()
    row += n
    time.sleep(0.0003)
session.close()
"""


def test_new_rows_come_as_they_are_written(tmp_path):
    folder = tmp_path / "session"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(ROWS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "up\n"
        live = LiveSession(folder)
        assert live.recording
        assert live.new("timing") == live.new("fills") == []
        child.stdin.write("go\n")
        child.stdin.flush()
        seen, lag, last = {"timing": [], "fills": []}, [], False
        while True:
            for name, batches in seen.items():
                new = live.new(name)
                if new and name == "timing" and not last:
                    lag.append(time.time_ns() - new[-1].column("decode")[-1].as_py())
                batches += new
            if last:
                break
            last = child.poll() is not None
            time.sleep(0.0002)
    for name, batches in seen.items():
        table = pa.Table.from_batches(batches)
        assert table.combine_chunks().equals(read_table(folder, name).combine_chunks())
        assert table["seq"].to_pylist() == list(range(table.num_rows))
        assert table.num_rows >= ROWS
    assert len(seen["timing"]) > 20, "rows came all at once"
    assert np.median(lag) < 100e6, "the reader is far behind"
    assert not live.recording


def test_a_table_that_is_not_recorded_is_named(tmp_path):
    folder = tmp_path / "session"
    child = subprocess.run([sys.executable, "-c", WRITER, str(folder), "10"], input="go\n", stdout=subprocess.PIPE, text=True, check=True)
    assert child.returncode == 0
    live = LiveSession(folder)
    assert sum(b.num_rows for b in live.new("timing")) == 10
    with pytest.raises(SessionError, match=r"records no table depths\. It has: timing, fills\."):
        live.new("depths")
