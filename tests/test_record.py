"""tickarrow record: market data without decisions, to the end of the market, of the time, or of patience."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
from commands import COMMAND, SMALL, START_S, output, tickarrow

from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.record import deadline
from tickarrow.pipeline.session import open_manifest
from tickarrow.pipeline.session_check import check

NOON = datetime(2026, 1, 5, 12, 0, 0)


@pytest.mark.parametrize(
    ("until", "seconds"),
    [(None, None), ("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0), ("2d", 172_800.0), ("12:05", 300.0), ("11:59", 86_340.0), ("12:00:01", 1.0)],
)
def test_the_end_is_a_duration_or_the_next_such_time(until, seconds):
    assert deadline(until, NOON) == seconds


@pytest.mark.parametrize("until", ["tea", "25:00", "5", "-3s", "12:60"])
def test_another_end_is_refused(until):
    with pytest.raises(ConfigError, match=re.escape(f"record.until is '{until}'. Give a local time (16:05) or a duration")):
        deadline(until, NOON)


def test_a_market_is_recorded_and_reported_with_nothing_left_out(tmp_path):
    done = tickarrow("record", "source.max_rows=5000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = output(tmp_path, "record") / "session"
    manifest, report = open_manifest(session), json.loads((session / "quality.json").read_text())
    assert report["messages"] == report["decoded"] + report["forwarded"] + report["late"] + report["bad"]
    assert report["bad"] == report["late"] == 0
    # the simulator says what it sent: messages, updates, trades; the type of its data, said once of each request, is not counted there
    assert manifest["sent"][0] + len(report["symbols"]) == report["decoded"]
    assert manifest["sent"][1:] == [sum(s[k] for s in report["symbols"]) for k in ("quotes", "trades")]
    assert report["ticks"] == manifest["rows"]["ticks"] == 5000
    assert f"{report['messages']:,} messages = {report['decoded']:,} decoded" in done.stdout
    refused = tickarrow("replay", f"session={session}", cwd=tmp_path)
    assert refused.returncode == 1
    assert "was recorded without decisions (tickarrow record): there is nothing to replay. Try: tickarrow session check" in refused.stderr


def test_depth_bars_and_tick_by_tick_are_accounted_for_too(tmp_path):
    session = tmp_path / "session"
    args = ["gateway.depth_symbols=[BAC,IBM]", "gateway.bar_symbols=[BAC,IBM]", "gateway.tick_by_tick_symbols=[BAC]", "universe.symbols=[BAC,IBM,AAPL]"]
    args += ["gateway.speed=60", "source.duration_s=120", "source.max_rows=0", f"record.path={session}"]
    done = tickarrow("record", *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report, rows = json.loads((session / "quality.json").read_text()), open_manifest(session)["rows"]
    assert report["bad"] == 0
    assert report["sent"]["messages"] == report["decoded"] + report["late"]
    assert "messages of market data: all came" in done.stdout
    # 24 bars each at most, less those before the subscription, which a busy machine delays, and before the first trade
    assert 0 < rows["bars"] <= 2 * 24
    assert rows["depth"] > 100
    assert report["sent"]["messages"] > rows["bars"] + rows["depth"] + rows["ticks"] / 2


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=["asked to end", "killed"])
def test_a_recording_that_is_ended_from_outside_is_whole(tmp_path, sent):
    session = tmp_path / "session"
    args = ["record", f"record.path={session}", "gateway.speed=200", "source.duration_s=23400", "source.max_rows=0", "record.segment_mb=1"]
    child = subprocess.Popen([COMMAND, *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + START_S
    while len(list(session.glob("chunks-*.bin"))) < 2 and time.monotonic() < end and child.poll() is None:
        time.sleep(0.05)
    child.send_signal(sent)
    out, said = child.communicate(timeout=100)
    if sent == signal.SIGTERM:
        assert child.returncode == 0, said
        assert "written to" in said
        assert "messages = " in out
        assert open_manifest(session)["state"] == "closed"
    else:
        with pytest.warns(UserWarning, match="was not closed and is recovered now"):
            assert open_manifest(session)["state"] == "recovered"
    report = check(session).report
    assert report["chunks"] == open_manifest(session)["chunks"] > 5
    assert report["ticks"] >= open_manifest(session)["rows"]["ticks"] > 1000
    assert report["bad"] == 0


def test_the_time_ends_a_recording(tmp_path):
    args = ["record.until=1s", "gateway.speed=50", "source.duration_s=23400", f"record.path={tmp_path / 'session'}"]
    done = tickarrow("record", *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert open_manifest(tmp_path / "session")["state"] == "closed"


def test_a_recording_ends_when_asked_to_before_its_gateway_has_answered(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(1.0)
        args = ["record", "gateway=paper", f"gateway.port={mute.getsockname()[1]}", "gateway.timeout_s=500", "record.path=session"]
        process, client = subprocess.Popen([COMMAND, *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), None
        try:
            while client is None and process.poll() is None:
                with contextlib.suppress(TimeoutError):
                    client, _ = mute.accept()
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
            if client is not None:
                client.close()
    assert process.returncode == 130, said
    assert said.endswith("tickarrow: interrupted\n")
    assert open_manifest(tmp_path / "session")["state"] == "closed"


def child_of(pid):
    """Process id of the simulated gateway that a command has started; 0 = not yet."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid and b"simulator.json" in stat.with_name("cmdline").read_bytes():
                return int(stat.parent.name)
    return 0


@pytest.mark.parametrize(
    "args",
    [["record", "gateway.speed=2"], ["record", "gateway.speed=2", "faults=night"], ["run", "gateway.speed=2", *SMALL], ["run", *SMALL]],
    ids=["record", "record with faults", "run", "run in lock step"],
)
def test_a_simulator_that_dies_ends_the_command_at_once(tmp_path, args):
    session = tmp_path / "session"
    args = [*args, f"record.path={session}", "source.duration_s=20000", "source.max_rows=0"]
    process = subprocess.Popen([COMMAND, *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + START_S
        while not b"".join(p.read_bytes()[:8192] for p in session.glob("chunks-*.bin")).strip(b"\0") and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        simulator = child_of(process.pid)
        assert simulator  # 0 is the group of the tests themselves
        os.kill(simulator, signal.SIGKILL)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert re.search(r"^tickarrow: (the simulated gateway ended in mid-run with code -9|gateway 127.0.0.1:\d+ closed the connection)\. .*$", said, re.M), said
    assert "Traceback" not in said
    assert check(session).report["ticks"] > 0


def test_what_the_simulator_does_wrong_is_recorded_and_reported(tmp_path):
    session = tmp_path / "session"
    done = tickarrow("record", "faults=night", "gateway.speed=50", "source.duration_s=150", "source.max_rows=0", f"record.path={session}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "connected again after" in done.stderr
    assert all(s["resubscriptions"] >= 1 for s in check(session).report["symbols"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("gateway.depth_symbols=[NOPE]", "gateway.depth_symbols names 'NOPE', which is not in the universe"),
     ("gateway.lines=5", "20 market data lines, the account has 5"),
     ("record.segment_mb=0", "record.segment_mb is 0: a segment of the journal has at least 1 MB")],
)  # fmt: skip
def test_what_keeps_a_recording_from_beginning_is_told(tmp_path, wrong, said):
    done = tickarrow("record", wrong, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "nothing was recorded" not in done.stderr
