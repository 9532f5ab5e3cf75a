"""What a run leaves behind and says when it does not come to its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import COMMAND, SMALL, START_S, as_in_foreground, tickarrow

from tickarrow.pipeline import run
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.session_live import LiveSession


def decided(session):
    """Whether a session that is being written holds a decision."""
    try:
        return bool(LiveSession(session).new("decisions"))
    except (SessionError, OSError):  # it does not stand yet
        return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_session_that_was_not_closed_is_not_written_over_and_is_replayed_as_far_as_it_goes(tmp_path, sent):
    session = tmp_path / "kept here"
    args = ["run", *SMALL, f"record.path={session}"]
    child = subprocess.Popen(
        [COMMAND, *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=as_in_foreground
    )
    deadline = time.monotonic() + START_S
    while not decided(session) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(sent)
    _, said = child.communicate(timeout=60)
    if sent == signal.SIGINT:
        assert child.returncode == 130
        assert said.endswith("tickarrow: interrupted\n")
    assert json.loads((session / "manifest.json").read_text())["state"] == "open"
    before = {p.name: p.stat().st_size for p in session.iterdir()}
    again = tickarrow(*args, cwd=tmp_path)
    assert again.returncode == 1
    assert f"{session} already holds a session. Choose another folder (record.path=...) or remove it." in again.stderr
    assert {p.name: p.stat().st_size for p in session.iterdir()} == before
    replayed = tickarrow("replay", f"session={session}", cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stderr
    assert f"session {session} was not closed and is recovered now: " in replayed.stderr
    manifest = json.loads((session / "manifest.json").read_text())
    assert manifest["state"] == "recovered"
    assert manifest["rows"]["decisions"] > 0
    assert replayed.stdout == f"{manifest['chunks']:,} chunks, identical as far as it was recorded\n"


def test_what_breaks_in_the_simulator_in_mid_run_is_told(tmp_path):
    n, path = 4000, tmp_path / "ticks.parquet"
    empty = pa.nulls(n, pa.float64())
    quotes = {name: np.full(n, value) for name, value in {"bid": 10.0, "ask": 10.01, "bid_size": 100.0, "ask_size": 100.0}.items()}
    ts = 1_381_161_600_000_000_000 + np.arange(n) * 50_000_000
    pq.write_table(pa.table({"ts_event": ts, "symbol": ["AAA", "BBB"] * (n // 2), "kind": ["quote"] * n, "price": empty, "size": empty, **quotes}), path,
                   row_group_size=1000)  # fmt: skip
    group = pq.ParquetFile(path).metadata.row_group(3)
    bid = next(c for i in range(group.num_columns) if (c := group.column(i)).path_in_schema == "bid")
    with path.open("r+b") as f:  # a column that opening the source does not read
        f.seek(bid.dictionary_page_offset or bid.data_page_offset)
        f.write(b"\xff" * bid.total_compressed_size)
    done = tickarrow("run", "source=parquet", f"source.path={path}", *SMALL, cwd=tmp_path)
    assert done.returncode == 1
    assert f"tickarrow: {path} cannot be read as a Parquet file" in done.stderr
    assert "closed the connection" not in done.stderr


def test_a_run_in_the_same_process_gives_its_memory_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run.main(compose("run", [*SMALL, "source.max_rows=300", f"record.path={tmp_path / 'session'}"]))
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_misspelt_kind_of_gateway_is_not_taken_for_a_real_one(tmp_path):
    said = tickarrow("run", "gateway.kind=Simulator", "gateway.port=7496", cwd=tmp_path)
    assert said.returncode == 1
    assert "gateway.kind is 'Simulator'. Choose gateway=simulator, or gateway=paper or live (kind ib)." in said.stderr


def test_what_the_simulator_refuses_is_told(tmp_path):
    done = tickarrow("run", "gateway.conflation_ms=250", *SMALL, cwd=tmp_path)
    assert done.returncode == 1
    assert "Lock step sends every row: set gateway.conflation_ms=0." in done.stderr


def test_the_simulator_may_take_its_time_to_read_a_source(tmp_path):
    done = tickarrow("run", "gateway.timeout_s=0.01", "source.max_rows=300", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# A simulator that leaves a process of its own behind, which has its standard output.
LEAVES = """#!/bin/sh
echo '{"event": "listening", "port": 4242}'
sleep 300 &
echo $! > left
cat > /dev/null
echo '{"event": "done", "requests": 7}'
"""


def test_what_a_simulator_leaves_behind_does_not_hold_up_the_end(tmp_path, monkeypatch):
    simulator = tmp_path / "simulator"
    simulator.write_text(LEAVES)
    simulator.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(simulator))
    monkeypatch.setattr(run, "ENDING_S", 1.0)
    conf, ended = compose("run"), {}

    async def begin_and_end():
        async with asyncio.timeout(60), run.simulator_child(conf, ended, pytest.fail) as port:
            assert port == 4242

    try:
        asyncio.run(begin_and_end())
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)
    assert ended["requests"] == 7


def test_a_ctrl_c_that_comes_with_the_simulators_port_is_not_lost(monkeypatch):
    began = []

    async def start():
        this = asyncio.current_task()

        async def port(child):
            this.cancel()
            return 4242

        monkeypatch.setattr(run, "_port", port)
        async with run.simulator_child(compose("run"), {}, began.append):
            await asyncio.sleep(0)
            began.append("goes on")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(start())
    assert not began
