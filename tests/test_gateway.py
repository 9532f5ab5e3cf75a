"""The tap on ib_async's socket and a session without lock step: an ordinary gateway, reads cut anywhere, Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from commands import ANYTIME, COMMAND, SMALL, START_S, as_in_background, as_in_foreground, output
from hypothesis import given
from hypothesis import strategies as st
from ib_async import IB
from ib_async.connection import Connection
from naive_wire import frame

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.gateway import Gateway
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.replay import replay
from tickarrow.pipeline.schemas import TICKS, Feed, OrderState
from tickarrow.pipeline.session import read_table
from tickarrow.pipeline.tap import Tap
from tickarrow.pipeline.universe import Universe

HELLO = frame(178, "20260105 14:30:00 UTC")
OURS, NOT_OURS = 7, 8
STREAM = [
    frame(9, 1, 5), frame(9001, 1000, 0), frame(1, 6, OURS, 1, "10.01", 300, 1), frame(1, 6, NOT_OURS, 1, "99.5", 1, 1), frame(2, 6, OURS, 0, 300),
    frame(9001, 2000, 1), frame(49, 1, 1767623400), frame(9001, 2000, 2), frame(1, 6, OURS, 2, "10.02", 200, 1), frame(9001, 3000, 3),
    frame(9003, 7, 2, 0),
]  # fmt: skip


def tap(lock_step):
    """A tap with one subscription, and what it said: chunks, reads, the end, losses, forwarded bytes."""
    table = Table(TICKS, keep=True)
    decode = Decode(1, table)
    decode.subscribe(OURS, 0, Feed.L1)
    said = SimpleNamespace(chunks=[], reads=0, end=None, lost=[], forwarded=b"", table=table)

    def on_chunk(chunk, arrival):
        said.chunks.append((chunk.number, chunk.ts, bytes(chunk.data[chunk.lo : chunk.hi])))
        decode.step(chunk)

    def on_read():
        said.reads += 1

    def forward(data):
        said.forwarded += data

    old = Connection()
    old.hasData += forward
    made = Tap(old, decode, on_chunk, on_read, lambda end: setattr(said, "end", end), said.lost.append, lock_step, lambda version: None)
    return made, said, forward


def receive(made, data):
    room = made.get_buffer(-1)
    room[: len(data)] = data
    made.buffer_updated(len(data))


@given(st.lists(st.integers(1, sum(map(len, STREAM)) + len(HELLO)), max_size=12))
def test_in_lock_step_chunks_end_at_clock_frames_however_reads_are_cut(cuts):
    data = HELLO + b"".join(STREAM)
    made, said, _keep = tap(True)
    edges = [0, *sorted(cuts), len(data)]
    for a, b in pairwise(edges):
        if b > a:
            receive(made, data[a:b])
    assert [(n, ts) for n, ts, _ in said.chunks] == [(0, 1000), (1, 2000), (2, 2000), (3, 3000)]
    assert b"".join(c for _, _, c in said.chunks) == b"".join(STREAM[:-1])
    assert said.forwarded == HELLO + STREAM[0] + STREAM[3] + STREAM[6]
    assert said.end == (7, 2, 0)
    assert said.table.rows == 2
    np.testing.assert_array_equal(said.table.column("ts"), [2000, 3000])
    np.testing.assert_array_equal(said.table.column("ask"), [np.nan, 10.02])
    assert said.lost == []


@given(st.lists(st.integers(1, 200), max_size=8))
def test_without_clock_frames_every_read_is_a_chunk_and_no_byte_is_lost(cuts):
    stream = [f for f in STREAM if not f[4:].startswith(b"900")]
    data = HELLO + b"".join(stream)
    made, said, _keep = tap(False)
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    for a, b in pairwise(edges):
        if b > a:
            receive(made, data[a:b])
    assert said.forwarded == HELLO + stream[0] + stream[2] + stream[4]
    assert [n for n, _, _ in said.chunks] == list(range(len(said.chunks)))
    assert said.table.column("bid")[-1] == 10.01
    assert said.table.column("ask")[-1] == 10.02
    again = Table(TICKS, keep=True)
    decode = Decode(1, again)
    decode.subscribe(OURS, 0, Feed.L1)
    for number, ts, piece in said.chunks:  # what the journal holds gives the same rows
        decode.step(Chunk(np.frombuffer(piece + bytes(64), np.uint8), 0, len(piece), ts, number))
    for name in TICKS.names:
        np.testing.assert_array_equal(again.column(name), said.table.column(name))


def test_a_missing_clock_frame_is_reported():
    made, said, _keep = tap(True)
    receive(made, HELLO + STREAM[1] + STREAM[7])
    assert said.lost == ["clock frame 2 came where 1 was due"]


def test_an_impossible_length_is_reported():
    made, said, _keep = tap(True)
    receive(made, HELLO + b"\xff\xff\xff\xff1234")
    assert said.lost == ["the framing of the stream is lost: no frame in 8 bytes"]


def start_simulator(folder, *overrides):
    """A simulated gateway that an ordinary client connects to; (process, port)."""
    conf = compose("run", ["source.max_rows=0", "source.duration_s=3600", "universe.symbols=[AAA,BBB]", *overrides])
    path = folder / "simulator.json"
    path.write_text(json.dumps({k: asdict(getattr(conf, k)) for k in ("gateway", "source", "universe")}))
    child = subprocess.Popen([sys.executable, "-m", "tickarrow.pipeline.simulator", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    event = json.loads(child.stdout.readline())
    assert event["event"] == "listening", event
    return child, event["port"]


def stop(child):
    child.stdin.close()
    child.wait(20)
    child.stdout.close()


def until_stopped(folder, port, seconds, *overrides, kill=False, by=signal.SIGINT):
    """`tickarrow run` on an ordinary gateway, killed with its positions closed if that is asked for, stopped by a signal; (exit code, standard error).
    What is stopped by SIGTERM runs as a job in the background."""
    args = ["run", "gateway=paper", "orders.ledger=orders", f"gateway.port={port}", "universe.symbols=[AAA,BBB]", "ensemble.min_rows=5", *SMALL, *ANYTIME]
    run = subprocess.Popen([COMMAND, *args, "ensemble.min_outcomes=3", *overrides], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           preexec_fn=as_in_background if by == signal.SIGTERM else as_in_foreground)  # fmt: skip
    deadline = time.monotonic() + START_S
    while not list(folder.glob("outputs/run/*/*/session/chunks-*.bin")) and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.2)
    time.sleep(seconds)
    if kill:
        (session,) = folder.glob("outputs/run/*/*/session")
        done = subprocess.run([COMMAND, "kill", f"session={session}", "flatten=true", "wait_s=60"], cwd=folder, capture_output=True, text=True, timeout=150)
        assert (done.returncode, json.loads(done.stdout)["open_orders"]) == (0, 0), done.stderr
        assert "no position is left" in done.stderr
    run.send_signal(by)
    _, said = run.communicate(timeout=60)
    return run.returncode, said


def test_an_ordinary_gateway_is_traded_until_it_is_killed_and_its_session_replays(tmp_path):
    child, port = start_simulator(tmp_path, "gateway.speed=20", "gateway.conflation_ms=250")
    try:
        code, said = until_stopped(tmp_path, port, 6, "risk.hurdle=-1", kill=True, by=signal.SIGTERM)
    finally:
        stop(child)
    assert code == 0, said
    assert "kill switch: tickarrow kill" in said
    where = output(tmp_path)
    fills = read_table(where / "session", "fills").to_pydict()
    held = {s: sum(q * d for r, q, d in zip(fills["symbol"], fills["quantity"], fills["side"]) if r == s) for s in set(fills["symbol"])}
    assert set(held.values()) <= {0.0}
    summary = json.loads((where / "summary.json").read_text())
    assert summary["decisions"] > 10
    assert summary["bad_frames"] == 0
    assert summary["sent_updates"] is None
    done = subprocess.run([COMMAND, "replay", f"session={where / 'session'}"], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.stdout == f"identical {summary['decision_digest']}\n", done.stderr


def test_ctrl_c_leaves_no_working_order_behind(tmp_path):
    # 20 s of market time between an order and its effect are one second here: at Ctrl-C some are on their way
    child, port = start_simulator(tmp_path, "gateway.speed=20", "gateway.latency_ms=20000")
    try:
        code, said = until_stopped(tmp_path, port, 10, "risk.hurdle=-1", "ensemble.min_outcomes=1")
    finally:
        stop(child)
    assert code == 0, said
    session = output(tmp_path) / "session"
    orders = read_table(session, "orders").to_pydict()
    last = dict(zip(orders["key"], orders["state"]))
    assert last, "the run decided no order"
    assert set(last.values()) <= {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED}
    assert replay(session) == json.loads((session.parent / "summary.json").read_text())["decision_digest"]


def test_a_refused_session_says_why(tmp_path):
    child, port = start_simulator(tmp_path, "gateway.once=false")
    args = ["run", "gateway=paper", "orders.ledger=orders", f"gateway.port={port}", "universe.symbols=[AAA]", *SMALL]

    async def holding_the_client_id():
        ib = IB()
        await ib.connectAsync("127.0.0.1", port, clientId=1)
        try:
            return await asyncio.to_thread(subprocess.run, [COMMAND, *args], cwd=tmp_path, capture_output=True, text=True, timeout=200)
        finally:
            ib.disconnect()

    try:
        done = asyncio.run(holding_the_client_id())
    finally:
        stop(child)
    assert done.returncode == 1
    assert "Unable to connect as the client id is already in use" in done.stderr


def test_a_port_of_another_program_is_told(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        args = ["run", "gateway=paper", f"gateway.port={silent.getsockname()[1]}", "gateway.timeout_s=0.5", "universe.symbols=[AAA]", *SMALL]
        done = subprocess.run([COMMAND, *args], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert "Is client id 1 in use, or the port another program's?" in done.stderr


def unconnected(lock_step, **pipeline):
    """A gateway whose client has no socket."""
    made = SimpleNamespace(decode=Decode(1, Table(TICKS)), intents=(), said=[], **pipeline)
    made.apply = made.said.append
    gateway = Gateway(GatewayConf(), Universe.of(["AAA"]), made, None, lock_step=lock_step, simulated=lock_step, ledger=None)
    gateway.ib.disconnect = lambda: None  # ib_async's destructor calls it, which fails without a socket
    return gateway


def test_nothing_is_decided_or_sent_after_an_error():
    fed = []

    def feed(chunk, arrival):
        fed.append(chunk.number)
        raise ValueError("the second chunk must not come")

    gateway = unconnected(True, feed=feed)
    receive(gateway.tap, HELLO + STREAM[1] + STREAM[5])
    assert fed == [0]


def test_market_data_that_the_gateway_refuses_is_told():
    gateway = unconnected(False)
    gateway.watch.table.asked(gateway.watch.table.all[0], OURS, 0.0)
    with pytest.warns(UserWarning, match=r"market data of AAA: Requested market data is not subscribed. \(code 354\)"):
        gateway.ib.wrapper.error(OURS, 354, "Requested market data is not subscribed.", "")


def test_why_orders_are_refused_is_told_once(recwarn):
    gateway = unconnected(False)
    gateway._ready = True
    gateway.ib.wrapper.error(11, 202, "Order Canceled - reason:", "")
    with pytest.warns(UserWarning, match=r"an order: Order rejected - reason: margin \(code 201\)"):
        gateway.ib.wrapper.error(11, 201, "Order rejected - reason: margin", "")
    gateway.ib.wrapper.error(12, 201, "Order rejected - reason: margin", "")
    assert len(recwarn) == 0
