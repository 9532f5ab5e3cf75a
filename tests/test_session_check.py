"""A session is checked: what is whole, what a kill cut, what is damaged, and how good its data are."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import tickarrow
from naive_wire import frame

from tickarrow.configs.pipeline import SessionCheckConf
from tickarrow.pipeline.batch import Batch, Chunk, Table, write_table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.record import Recording
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.schemas import GREEKS, TICKS, ControlKind, Feed, Health
from tickarrow.pipeline.session import Session, open_manifest, read_manifest, read_table, recover, state
from tickarrow.pipeline.session_check import _Recorded, check, main
from tickarrow.pipeline.session_feed import feed_session
from tickarrow.pipeline.session_quality import Quality

START = 1_767_623_400_000_000_000  # 2026-01-05T14:30:00Z
SECOND = 1_000_000_000


def record(folder, seconds=200, close=True):
    """Two symbols; AAA has a quote each second, BBB one in the first second and is asked for again after 100; one bad frame."""
    session = Session(folder)
    recording = Recording(2, session.table)
    session.manifest |= {"universe": ["AAA", "BBB"], "tick_size": [0.01, 0.01], "server_version": 178, "config": {"gateway": {"calendar": ""}}}
    session.write_manifest()
    journal = Journal(folder, 4096)
    for symbol in (0, 1):
        recording.apply(Control(kind=ControlKind.SUBSCRIBE, symbol=symbol, key=symbol + 1, value=Feed.L1))
    for number in range(seconds):
        data = frame(1, 6, 1, 1, f"10.{number % 90 + 10}", 5, 0) + frame(1, 6, 1, 2, "11.00", 7, 0)
        if number == 0:
            data += frame(1, 6, 2, 1, "20.00", 5, 0) + frame(1, 6, 2, 2, "x", 7, 0)
        if number == 100:
            recording.apply(Control(kind=ControlKind.HEALTH, symbol=1, value=Health.LOST))
            recording.apply(Control(kind=ControlKind.UNSUBSCRIBE, symbol=1, key=2))
            recording.apply(Control(kind=ControlKind.SUBSCRIBE, symbol=1, key=3, value=Feed.L1))
            data += frame(1, 6, 2, 1, "20.01", 5, 0) + frame(1, 6, 3, 1, "20.02", 5, 0)  # the first is late
        padded = np.frombuffer(data + bytes(64), np.uint8)
        chunk = Chunk(padded, 0, len(data), START + number * SECOND, number)
        journal.append(chunk)
        recording.feed(chunk)
    if close:
        journal.close()
        session.manifest |= {"chunks": journal.chunks, "chunk_bytes": journal.bytes}
        session.close()
    return session, recording


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions") / "whole"
    record(folder)
    return folder


@pytest.fixture
def session(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "session")


def test_the_quality_of_a_session_counted_by_hand(whole):
    report = check(whole).report
    aaa, bbb = report["symbols"]
    assert (report["chunks"], report["ticks"], report["late"], report["bad"]) == (200, 202, 1, 1)
    assert report["messages"] == report["decoded"] + report["late"] + report["bad"] + report["forwarded"] == 200 * 2 + 2 + 2
    assert report["bad_reasons"] == {"not_a_number": 1}
    assert report["open_s"] == 199.0
    assert (aaa["messages"], aaa["quotes"], aaa["trades"], aaa["resubscriptions"], aaa["losses"]) == (400, 200, 0, 0, 0)
    assert (aaa["longest_silence_s"], aaa["coverage"]) == (1.0, 1.0)
    assert (bbb["quotes"], bbb["resubscriptions"], bbb["losses"]) == (2, 1, 1)
    # silent for 100 s and for the last 99 s, of which 40 and 39 are beyond a minute
    assert (bbb["longest_silence_s"], bbb["coverage"]) == (100.0, round(1 - 79 / 199, 6))


def test_changes_that_did_not_fit_a_depth_book_are_counted_by_symbol():
    decode = Decode(2, Table(TICKS))
    decode.subscribe(1, 0, Feed.DEPTH)
    decode.subscribe(2, 1, Feed.DEPTH)
    # AAA: the best bid and the one behind it. BBB: a level behind the end, the deletion of one that is not there, and a good one
    changes = [(1, 0, 0, 10.0), (1, 1, 0, 9.9), (2, 3, 0, 20.0), (2, 7, 2, 0.0), (2, 0, 1, 20.1)]
    data = b"".join(frame(12, 1, request, position, operation, 1, price, 100) for request, position, operation, price in changes)
    decode.step(Chunk(np.frombuffer(data + bytes(64), np.uint8), 0, len(data), START, 0))
    report = Quality(["AAA", "BBB"], lambda ts: ts / 1e9).report(decode)
    assert [s["depth_gaps"] for s in report["symbols"]] == [0, 2]
    assert [s["gaps"] for s in report["symbols"]] == [0, 0]


def said(capsys, session, **more):
    main(SessionCheckConf(str(session), **more))
    return capsys.readouterr().out


def test_the_command_prints_and_writes_the_report(session, capsys):
    out = said(capsys, session)
    assert "404 messages = 402 decoded + 0 forwarded + 1 late + 1 bad (not a number 1)" in out
    assert out.endswith(f"whole: {session}\n")
    assert json.loads((session / "quality.json").read_text())["ticks"] == 202
    assert pq.read_table(session / "quality.parquet")["symbol"].to_pylist() == ["AAA", "BBB"]
    assert "ticks per minute" in (session / "quality.html").read_text()


def rewrite(path, column, row, value):
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    values = table.column(column).to_numpy().copy()
    values[row] = value
    table = table.set_column(table.schema.get_field_index(column), table.schema.field(column), pa.array(values, table.schema.field(column).type))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda s: rewrite(s / "ticks.arrow", "bid", 7, 3.5), "ticks row 7, column bid is 3.5, its chunk says"),
        (lambda s: rewrite(s / "ticks.arrow", "seq", 7, 9), "ticks row 7 does not follow in seq"),
        (lambda s: (s / "ticks.arrow").write_bytes(b"ARROW1 and no more"), "table ticks cannot be read"),
        (lambda s: sorted(s.glob("chunks-*"))[0].unlink(), "are missing"),
        (lambda s: sorted(s.glob("chunks-*"))[-1].unlink(), "ticks has 202 rows, its chunks give"),
        (lambda s: (s / "ticks.arrow").unlink(), "has no table ticks"),
    ],
    ids=["value", "order", "format", "first chunks", "last chunks", "table"],
)
def test_damage_is_one_sentence(session, damage, said):
    damage(session)
    with pytest.raises(SessionError, match=said):
        check(session)


def test_rows_are_compared_wherever_batches_and_segments_end(tmp_path):
    table = Table(GREEKS, keep=True, capacity=7)
    for row in range(20):
        table.reserve(1)
        table.segment.columns["iv"][table.size] = np.nan if row == 3 else row
        table.commit(1)
    whole = table.arrow().combine_chunks()
    write_table(tmp_path, "greeks", GREEKS, whole.slice(0, 18).to_batches(max_chunksize=5))  # two rows were not committed
    recorded = _Recorded(tmp_path, "greeks")
    for batch in table.batches():
        recorded.compare(batch)
    assert recorded.row == 18
    table.closed[1].columns["iv"][4] = -1.0  # row 11
    recorded = _Recorded(tmp_path, "greeks")
    recorded.compare(Batch(table.closed[0], 0, 7))
    with pytest.raises(SessionError, match=re.escape("greeks row 11, column iv is 11.0, its chunk says -1.0.")):
        recorded.compare(Batch(table.closed[1], 0, 7))


def test_progress_is_told_of_the_end_of_a_recording_and_of_its_check(tmp_path):
    session, _ = record(tmp_path / "session", close=False)
    told = []
    session.manifest |= {"chunks": 200, "chunk_bytes": 0}
    session.close(lambda *at: told.append(at))
    assert told[-1] == (202 + 5, 202 + 5)  # TICKS and five control events
    told.clear()
    check(tmp_path / "session", lambda *at: told.append(at))
    assert told == [(0, 200)]


def test_damage_ends_the_command_with_1(session):
    sorted(session.glob("chunks-*"))[0].unlink()
    done = tickarrow("session", "check", f"session={session}", cwd=session.parent)
    assert done.returncode == 1
    assert "are missing" in done.stderr
    assert "Traceback" not in done.stderr


def killed(folder, uncommitted=0):
    """A child that records and kills itself, with some rows begun."""
    child = os.fork()
    if child == 0:
        _, recording = record(folder, close=False)
        ticks = recording.tables.ticks
        ticks.segment.columns["price"][ticks.size : ticks.size + uncommitted] = 1.0
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_killed_session_is_told_recovered_and_equal(whole, tmp_path, capsys):
    folder = tmp_path / "session"
    killed(folder)
    assert state(folder, read_manifest(folder)) == "killed"
    assert check(folder).report["chunks"] == 200
    assert "not closed: its run was killed. Torn bytes of the journal: 0; rows not committed: none." in said(capsys, folder)
    assert (folder / "counters.bin").exists()
    assert "recovered: 200 chunks are whole, 0 bytes of a torn one are cut, rows not committed: none" in said(capsys, folder, repair=True)
    manifest = read_manifest(folder)
    assert (manifest["state"], manifest["chunks"], manifest["rows"]) == ("recovered", 200, read_manifest(whole)["rows"])
    for name in ("ticks", "control"):
        assert read_table(folder, name).to_pandas().equals(read_table(whole, name).to_pandas())  # NaN equals NaN there
    assert {p.name for p in folder.iterdir()} - {"quality.json", "quality.parquet", "quality.html"} == {p.name for p in whole.iterdir()} - {
        "quality.json", "quality.parquet", "quality.html"
    }  # fmt: skip
    assert [p.stat().st_size for p in sorted(folder.glob("chunks-*"))] == [p.stat().st_size for p in sorted(whole.glob("chunks-*"))]


def test_what_was_not_whole_is_cut_and_told(tmp_path):
    folder = tmp_path / "session"
    killed(folder, uncommitted=3)
    last = max(folder.glob("chunks-*"))
    end = len(last.read_bytes().rstrip(b"\0")) // 8 * 8 + 8
    with last.open("r+b") as f:
        f.seek(end + 24)
        f.write(b"half a frame")  # a payload whose header was not written
    text = "was not closed and is recovered now: 200 chunks are whole, 36 bytes of a torn one are cut, rows not committed: 3 of ticks"
    with pytest.warns(UserWarning, match=text):
        manifest = open_manifest(folder)
    assert manifest["cut"] == {"journal_bytes": 36, "rows": {"ticks": 3, "control": 0, "depth": 0, "bars": 0, "greeks": 0}}
    assert check(folder).report["cut_bytes"] == 36


def test_a_recovery_that_is_interrupted_goes_on(tmp_path, monkeypatch):
    folder = tmp_path / "session"
    killed(folder)
    from tickarrow.pipeline import session as module

    monkeypatch.setattr(module, "write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        recover(folder)
    monkeypatch.undo()
    assert recover(folder)["state"] == "recovered"
    assert check(folder).report["ticks"] == 202


def test_a_recorded_session_gives_the_same_rows_again(whole):
    again = Recording(2, partial(Table, keep=True))
    for _ in feed_session(again, whole):
        pass
    assert again.tables.ticks.arrow().to_pandas().equals(read_table(whole, "ticks").to_pandas())
    assert again.tables.control.column("chunk").tolist() == read_table(whole, "control")["chunk"].to_pylist()


RECORDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tickarrow.jit import _kernel
import test_session_check as t
_kernel.warm()
session, _ = t.record(Path(sys.argv[1]), close=False)
print("up", flush=True)
sys.stdin.read()
"""


def test_a_session_that_is_being_recorded_is_left_alone(tmp_path):
    folder, here = tmp_path / "session", os.path.dirname(__file__)
    with subprocess.Popen([sys.executable, "-c", RECORDER, str(folder), here], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "up\n"
        assert state(folder, read_manifest(folder)) == "recording"
        with pytest.raises(SessionError, match="is being recorded"):
            open_manifest(folder)
        before = sorted(p.name for p in folder.iterdir())
        assert recover(folder)["state"] == "open"
        assert sorted(p.name for p in folder.iterdir()) == before
        child.stdin.close()
