"""Warm restarts: a run that was killed goes on from its last state and the journal, and decides what one decides that never stopped."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from commands import COMMAND, START_S, tickarrow
from rich.console import Console
from sets_common import noise_set
from test_parity import EAGER

from tickarrow.pipeline import reference, restart, restart_run
from tickarrow.pipeline.batch import PAD, Chunk
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError, SessionError
from tickarrow.pipeline.features import feature_columns
from tickarrow.pipeline.models import load_set
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import compose, warm_kernels
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.recorder_read import read_journal
from tickarrow.pipeline.replay import replay, stored_universe
from tickarrow.pipeline.restart import Place, Saver, read, states, write
from tickarrow.pipeline.restart_orders import Known, missed
from tickarrow.pipeline.router_ledger import Executed, Ledger
from tickarrow.pipeline.router_life import exec_number
from tickarrow.pipeline.schemas import ControlKind, Health, OrderState, Side
from tickarrow.pipeline.session import Session, read_manifest, read_table
from tickarrow.pipeline.session_check import check
from tickarrow.pipeline.session_feed import read_control
from tickarrow.pipeline.swap import add_set
from tickarrow.pipeline.universe import Universe

BOUND = {"configuration": "a" * 32, "universe": ["AAA", "BBB"]}


def file_of(path, n=1000):
    state = {"act": {"state": np.arange(n), "book": np.zeros(1, np.dtype([("a", "i4"), ("b", "f8")], align=True))}, "predict": {"route": np.zeros(0, np.uint8)}}
    buffer = restart._Buffer()
    buffer.fill(state)
    arrays = [{**e, "type": np.lib.format.dtype_to_descr(e["type"])} for e in buffer.entries]
    place = Place(7, 8, "chunks-00000-20260105.bin", 96, {"ticks": 3}, 55)
    write(path, {"bound": BOUND, "place": dataclasses.asdict(place), "arrays": arrays}, memoryview(buffer.memory)[: buffer.size])
    return place, state


def test_a_state_file_gives_back_what_was_written(tmp_path):
    place, state = file_of(tmp_path / "state-1.bin")
    at, found = read(tmp_path / "state-1.bin", BOUND)
    assert at == place
    for stage, arrays in state.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[stage][name], array)
            assert found[stage][name].dtype == array.dtype


def test_a_state_with_any_byte_changed_or_cut_is_refused(tmp_path):
    path, rng = tmp_path / "state-1.bin", random.Random(1)
    file_of(path, 60)
    whole = path.read_bytes()
    for at in [*range(30), *(rng.randrange(len(whole)) for _ in range(60)), len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(SessionError, match=r"^state state-1.bin is (none of this version: it begins with|damaged or was not written to its end)"):
            read(path)
    for end in (0, 10, 20, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(SessionError, match=r"^state state-1.bin is "):
            read(path)


def test_a_state_of_another_run_is_refused(tmp_path):
    file_of(tmp_path / "state-1.bin")
    with pytest.raises(SessionError, match=r"^state state-1.bin is of another run: its configuration is a+, here it is b+\.$"):
        read(tmp_path / "state-1.bin", BOUND | {"configuration": "b" * 32})
    with pytest.raises(SessionError, match=r"its universe is \['AAA', 'BBB'\], here it is \['AAA'\]\.$"):
        read(tmp_path / "state-1.bin", BOUND | {"universe": ["AAA"]})


class Memory:
    """A ledger's storage."""

    def read(self):
        return b""

    def replace(self, data):
        pass

    write = replace

    def sync(self):
        pass

    close = sync


def test_what_orders_did_meanwhile_is_told_once():
    """Row 0: known 100 shares, order 3 (50 left) filled 50 and one more execution of before the session; row 1: somebody sold 7; row 2: order 4 is gone."""
    ledger = Ledger(Memory(), lambda: 200.0)
    ledger.moved(11, 80.0)
    for name, key, shares, ts in (("a.1", 1, 20.0, 50.0), ("b.1", 3, 30.0, 190.0), ("c.1", 3, 20.0, 200.0)):
        ledger.execution(name, Executed(name + ".01", key, 11, shares, 10.0, ts))
    ledger.moved(12, -7.0)
    known = Known(100.0, [100.0, 0.0, 0.0], frozenset(), {3: (0, 1, 50.0, 10.0, 60.0), 4: (2, -1, 9.0, 20.0, 30.0)}, 5)

    def moved(con_id, shares):
        return Control(kind=ControlKind.EXECUTION, symbol={11: 0, 12: 1, 13: 2}[con_id], side=Side.SELL, quantity=abs(shares))

    found = missed(known, ledger, {11: 0, 12: 1, 13: 2}, set(), exec_number, moved)
    assert [(e.kind, e.symbol, e.key, e.quantity) for e in found] == [
        (ControlKind.KEYS, 0, 5, pytest.approx(np.nan, nan_ok=True)),
        (ControlKind.EXECUTION, 0, 3, 30.0), (ControlKind.EXECUTION, 0, 3, 20.0), (ControlKind.EXECUTION, 1, 0, 7.0), (ControlKind.ORDER_STATE, 2, 4, 30.0),
    ]  # fmt: skip
    assert found[-1].state == OrderState.CANCELLED
    assert ledger.next_key == 5


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A session of two runs: with a model swap, killed once it has written a state, with orders and positions; (folder, session, overrides)."""
    home = tmp_path_factory.mktemp("restart")
    conf = compose("backtest", [])
    a, b = (noise_set(home / name, conf, seed) for name, seed in (("a", 10), ("b", 20)))
    session = home / "session"
    args = [
        "source.max_rows=12000", "universe.symbols=[AAA,BBB,CCC,DDD]", *EAGER, f"model_set={a.path}", f"models.swaps=[{{at: '45', set: '{b.path}'}}]",
        "models=portable", "record.state_s=10", f"record.path={session}", "record.resume=true",
    ]  # fmt: skip
    child = subprocess.Popen([COMMAND, "run", *args], cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + START_S
    while not states(session) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert states(session)
    done = tickarrow("run", *args, cwd=home)
    assert done.returncode == 0, done.stderr
    assert f"session {session} goes on behind chunk " in done.stderr
    return home, session, args


@pytest.mark.slow
def test_a_killed_run_goes_on_and_its_session_is_one(recorded):
    _, session, _ = recorded
    manifest = read_manifest(session)
    _, second = manifest["runs"]
    assert second["state_chunk"] >= 0
    assert second["replayed"] == second["first_chunk"] - second["state_chunk"] - 1
    events = read_control(session)
    assert events[-1].chunk < manifest["chunks"]
    gap = [e for e in events if e.kind == ControlKind.HEALTH and e.symbol == -1]
    assert [e.value for e in gap] == [Health.LOST, Health.LIVE]
    assert gap[0].chunk == second["first_chunk"] - 1
    assert sum(e.kind == ControlKind.MODEL_SWAP for e in events) == 1
    executions = [e.exec_id for e in events if e.kind == ControlKind.EXECUTION]
    assert len(executions) == len(set(executions)) > 20
    keys = read_table(session, "orders").to_pandas()
    assert not keys[keys.state == OrderState.INTENT].key.duplicated().any()
    assert check(session).report["chunks"] == manifest["chunks"]
    assert replay(session) == manifest["decision_digest"]
    assert "prediction_digest" not in manifest  # nobody has seen all of them


def contents(array):
    """The fields of an array, as bytes: what pads a record is nobody's. The session's place in a list that is looked up anew is left out."""
    if array.dtype.names is None:
        return array.tobytes()
    return {name: contents(np.ascontiguousarray(array[name])) for name in array.dtype.names if name != "session"}


class Live:
    """A run in this process over the chunks and events of a recorded session, in a session of its own."""

    def __init__(self, source, folder, conf, begun):
        self.conf, self.folder = conf, folder
        self.events, self.chunks = read_control(source), list(read_journal(source))
        if begun is None:
            manifest = read_manifest(source)
            session = Session(folder)
            self.lock = session._lock
            sets = [load_set(s["path"], feature_columns(conf.features), manifest["feature_digest"]) for s in manifest["model_sets"]]
            self.pipeline = Pipeline(conf, stored_universe(manifest), sets[0], open_engine(sets[0], conf.models), recorded=session.table)
            for s in sets[1:]:
                add_set(self.pipeline, s, lambda found: open_engine(found, conf.models))
            kept = ("config", "config_digest", "universe", "tick_size", "engine", "server_version", "feature_digest", "model_sets")
            session.manifest |= {k: manifest[k] for k in kept} | {"runs": [{"began": 0.0, "begin_ns": 0}]}
            session.write_manifest()
            self.pipeline.decode.server_version = manifest["server_version"]
            after, self.next, self.applied, self.digest = (0, 0, 0), 0, 0, manifest["config_digest"]
        else:
            self.pipeline, self.lock, self.digest = begun.pipeline, begun.session._lock, begun.session.manifest["config_digest"]
            after, self.next, self.applied = begun.after, begun.after[1], begun.pipeline.tables.control.rows
        self.journal = Journal(folder, 1 << 20, after=after)
        self.saver = Saver(self.pipeline, self.journal, folder, 7.0, self.digest)

    def go(self, to):
        """Decide the chunks before `to`."""
        for number, ts, data in self.chunks[self.next : to]:
            while self.applied < len(self.events) and self.events[self.applied].chunk < number:
                self.pipeline.apply(self.events[self.applied])
                self.applied += 1
            buffer = np.zeros(len(data) + PAD, np.uint8)
            buffer[: len(data)] = np.frombuffer(data, np.uint8)
            chunk = Chunk(buffer, 0, len(data), ts, number)
            self.journal.append(chunk)
            self.pipeline.feed(chunk)
            self.pipeline.tables.prepare()
            self.saver.look()
            self.next = number + 1

    def kill(self):
        """What a kill leaves: nothing is closed."""
        self.saver.close(last=False)
        self.journal._tasks.put(None)
        os.close(self.lock)


@pytest.mark.slow
def test_a_run_that_is_killed_anywhere_decides_what_one_decides_that_never_stopped(recorded, tmp_path):
    """Three random cuts: the last state, the one before it (the last is damaged), and no state at all."""
    _, source, args = recorded
    conf = compose("run", args)
    warm_kernels(features=conf.features)
    manifest, rng = read_manifest(source), random.Random(os.environ.get("TICKARROW_SEED", "5"))
    universe = stored_universe(manifest)
    swapped = next(e.chunk for e in read_control(source) if e.kind == ControlKind.MODEL_SWAP)
    folder, run, n = tmp_path / "live", None, manifest["chunks"]
    run = Live(source, folder, conf, None)
    cuts = sorted([rng.randrange(n // 8, swapped), rng.randrange(swapped + 1, n - 10), rng.randrange(swapped + 1, n)])
    for k, cut in enumerate(cuts):
        run.go(cut)
        run.kill()
        last = states(folder)[0]
        if k == 1:
            last.write_bytes(last.read_bytes()[:-7])
        elif k == 2:
            for path in states(folder):
                path.unlink()
        found = restart_run.resume(folder, conf, universe)
        assert len(found.refused) == (k == 1)
        assert last.exists() == (k == 0)  # what was refused is gone, or a later restart might find that it fits
        assert found.after[1] == cut
        assert found.replayed == cut - 1 - found.state_chunk
        assert (found.state_chunk < 0) == (k == 2)
        live, now = run.pipeline.held(), found.pipeline.held()
        assert live.keys() == now.keys()
        for stage, arrays in live.items():
            for name, array in arrays.items():
                assert contents(array) == contents(now[stage][name]), (stage, name)
        found.session.write_manifest()
        run = Live(source, folder, conf, found)
    run.go(n)
    assert run.pipeline.digests()["decision_digest"] == manifest["decision_digest"]
    for name in ("ticks", "orders", "fills", "control", "decisions"):
        before, now = read_table(source, name), getattr(run.pipeline.tables, name)
        assert before.num_rows == now.rows
        for column in before.column_names:
            np.testing.assert_array_equal(before[column].to_numpy(), now.column(column), err_msg=f"{name}.{column}")
    run.kill()


@pytest.mark.slow
def test_all_stages_by_their_plain_reference_decide_the_same_bits(recorded):
    """The first chunks of a session by Python and NumPy alone, without numba; switched over in their midst, on the same state."""
    _, source, args = recorded
    conf = compose("run", args)
    warm_kernels(features=conf.features)
    manifest, events = read_manifest(source), read_control(source)
    first = load_set(manifest["model_sets"][0]["path"], feature_columns(conf.features), manifest["feature_digest"])
    engines = [open_engine(first, dataclasses.replace(conf.models, engine=name)) for name in ("portable", "xgboost")]
    pipelines = [Pipeline(conf, stored_universe(manifest), first, engine) for engine in engines]
    applied = 0
    for number, ts, data in read_journal(source):
        if number == 300:
            assert reference.use(pipelines[1], reference.STAGES).startswith("by their plain reference: decode (about ")
        if number == 700 or pipelines[0].swaps.due <= ts:
            break
        buffer = np.zeros(len(data) + PAD, np.uint8)
        buffer[: len(data)] = np.frombuffer(data, np.uint8)
        while applied < len(events) and events[applied].chunk < number:
            for p in pipelines:
                p.take(events[applied])
            applied += 1
        for p in pipelines:
            p.feed(Chunk(buffer, 0, len(data), ts, number))
    compiled, plain = (p.tables for p in pipelines)
    assert type(pipelines[1].act.kernel) is type(lambda: 0)
    assert compiled.decisions.rows > 30
    for name in ("ticks", "features", "predictions", "forecasts", "decisions", "orders"):
        a, b = getattr(compiled, name), getattr(plain, name)
        assert a.rows == b.rows
        for column in a.schema.names:
            np.testing.assert_array_equal(a.column(column), b.column(column), err_msg=f"{name}.{column}")
    with pytest.raises(ConfigError, match=r"^reference: 'acts' is no stage that has one\. Did you mean act\?"):
        reference.use(pipelines[0], ["acts"])


@pytest.mark.slow
def test_what_does_not_go_on_is_told(recorded, tmp_path):
    _, session, args = recorded
    universe = stored_universe(read_manifest(session))
    before = {p.name: p.stat().st_size for p in session.iterdir()}
    with pytest.raises(SessionError, match=r"has another configuration: risk.hurdle is -1.0 there and 3.0 here. Correct it, or begin another session"):
        restart_run.resume(session, compose("run", [*args, "risk.hurdle=3"]), universe)
    other = noise_set(tmp_path / "other", compose("backtest", []), 30)
    with pytest.raises(SessionError, match=r"is decided by a, b, not by 'other'\. Swap to it in the run"):
        restart_run.resume(session, compose("run", [*args, f"model_set={other.path}"]), universe)
    with pytest.raises(SessionError, match="has another universe: 4 symbols from AAA to DDD there, 3 symbols from AAA to CCC here"):
        restart_run.resume(session, compose("run", args), Universe(universe.instruments[:3]))
    assert {p.name: p.stat().st_size for p in session.iterdir()} == before
    with pytest.raises(ConfigError, match=r"record.resume=true goes on with a session, and record.path does not say which"):
        restart_run.go_on(compose("run", ["record.resume=true"]), universe, Console())
    assert restart_run.go_on(compose("run", ["record.resume=true", f"record.path={tmp_path / 'new'}"]), universe, Console()) is None


@pytest.mark.slow
def test_a_session_that_was_closed_goes_on_too(recorded, tmp_path):
    _, source, args = recorded
    session = tmp_path / "closed"
    shutil.copytree(source, session)
    manifest = read_manifest(session)
    found = restart_run.resume(session, compose("run", args), stored_universe(manifest))
    assert (found.replayed, found.after[1], found.after[2]) == (0, manifest["chunks"], manifest["chunk_bytes"])  # the last state is of its end
    assert read_manifest(session)["state"] == "open"
    found.session.close()
    assert read_manifest(session)["rows"] == manifest["rows"]
    assert found.pipeline.digests()["decision_digest"] == manifest["decision_digest"]


def test_a_state_that_the_journal_does_not_reach_is_refused(tmp_path):
    place, _ = file_of(tmp_path / "state-1.bin")
    with pytest.raises(SessionError, match=r"state-1.bin stands behind 3 rows of ticks and the session has 2: a loss of power took them"):
        restart_run._fitting(tmp_path / "state-1.bin", BOUND, {"ticks": 2})
    with pytest.raises(SessionError, match=r"state-1.bin stands behind chunk 7 and the journal does not reach so far"):
        restart_run._fitting(tmp_path / "state-1.bin", BOUND, {"ticks": 3})
    (tmp_path / place.segment).write_bytes(bytes(96))
    assert restart_run._fitting(tmp_path / "state-1.bin", BOUND, {"ticks": 3})[0] == place
