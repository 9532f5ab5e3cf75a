"""Promotions while `tickarrow run` goes: swapped to, rolled back, refused; the session replays bit for bit."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import numpy as np
import pytest
from commands import COMMAND, output, tickarrow
from sets_common import noise_set
from test_parity import EAGER

from tickarrow.pipeline import registry_diff
from tickarrow.pipeline.errors import ModelError, SessionError
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.registry import Registry
from tickarrow.pipeline.replay import replay
from tickarrow.pipeline.schemas import ControlKind
from tickarrow.pipeline.session import read_table
from tickarrow.pipeline.session_feed import read_control
from tickarrow.pipeline.session_live import LiveSession

MARKET = ["universe.symbols=[AAA,BBB,CCC,DDD]", *EAGER]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A registry: a is promoted; b fits; c forecasts at another horizon."""
    home, conf = tmp_path_factory.mktemp("registry"), compose("run", MARKET)
    noise_set(home / "a", conf, 10)
    noise_set(home / "b", conf, 20)
    noise_set(home / "c", conf, 40, horizons_s=(1, 60))
    Registry(home).promote("a")
    return home


def wait_for(true, child, what):
    deadline = time.monotonic() + 120
    while not true():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_running_session_follows_promotions_refuses_what_does_not_fit_and_replays(home, tmp_path):
    session, registry = tmp_path / "session", Registry(home)
    live = ["gateway.speed=4", "source.duration_s=1200", "source.max_rows=0", "models.follow_s=0.05", "models.follow=true"]
    args = ["run", *MARKET, *live, f"models.registry={home}", "model_set=promoted", "models.shadow=[b]", f"record.path={session}"]
    child = subprocess.Popen([COMMAND, *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen, sets = None, []

    def decided(index):
        def true():
            nonlocal seen
            if seen is None:
                seen = LiveSession(session) if (session / "manifest.json").is_file() else None
                return False
            sets.extend(v for batch in seen.new("decisions") for v in batch["model_set"].to_pylist())
            return sets[-1:] == [index]

        return true

    def told(text):
        return lambda: any(text in note for note in json.loads((session / "manifest.json").read_text()).get("notes", []))

    try:
        wait_for(decided(0), child, "no decision")
        assert tickarrow("models", "promote", "b", f"models.registry={home}", cwd=tmp_path).returncode == 0
        wait_for(decided(1), child, "no swap")
        registry.promote("c")
        wait_for(told("model set 'c' forecasts 1, 60 s"), child, "not refused")
        registry.rollback()  # to b, which decides
        registry.rollback()
        wait_for(decided(0), child, "no rollback")
    finally:
        child.send_signal(2)
        _, said = child.communicate(timeout=60)
    assert "model set 'b' is promoted, checked and loaded: it decides from the next chunk on" in said
    assert "what is promoted is not used, 'b' goes on: model set 'c' forecasts 1, 60 s, the running set 'b' 1, 5 s:" in said
    done = tickarrow("replay", f"session={session}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("chunks, identical as far as it was recorded\n")
    manifest = json.loads((session / "manifest.json").read_text())
    assert [s["name"] for s in manifest["model_sets"]] == ["a", "b"]
    events = [(e.kind, e.value) for e in read_control(session) if e.kind in (ControlKind.MODEL_SWAP, ControlKind.MODEL_REFUSED)]
    assert events == [(ControlKind.MODEL_SWAP, 1.0), (ControlKind.MODEL_REFUSED, 0.0), (ControlKind.MODEL_SWAP, 0.0)]
    changes = np.flatnonzero(np.diff(read_table(session, "decisions")["model_set"].to_numpy().astype(int)))
    assert len(changes) == 2


def test_a_scheduled_swap_in_lock_step_is_reproducible_and_replay_refuses_a_set_that_changed(home, tmp_path, capsys):
    sets = tmp_path / "sets"
    shutil.copytree(home, sets)
    where, canary = f"models.registry={sets}", ["models.canary.set=b", "models.canary.symbols=[CCC]"]
    swaps = "models.swaps=[{at: 20, set: b}, {at: 30, set: a}]"
    args = ["source.max_rows=2500", where, "model_set=a", *canary, swaps, "models.shadow=[b]", "models.check_every=10"]
    done = tickarrow("run", *MARKET, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = output(tmp_path)
    said, session = json.loads((folder / "summary.json").read_text()), folder / "session"
    assert tickarrow("replay", f"session={session}", cwd=tmp_path).stdout == f"identical {said['decision_digest']}\n"
    assert (said["quotes"], said["trades"], said["bad_frames"]) == (said["sent_updates"], said["sent_trades"], 0)  # no tick is lost
    assert [(s["name"], s["decisions"] > 20) for s in said["model_sets"]] == [("a", True), ("b", True)]
    (of_b,) = said["shadows"]
    assert (of_b["name"], of_b["rows"] + of_b["missed"]) == ("b", said["decisions"])
    assert of_b["ns_per_row"] > 0
    assert {a["name"] for a in of_b["against"]} == {"a", "b"}
    assert (session / "shadow.parquet").is_file()
    assert [(c["every"], c["mismatches"], c["checked"] + c["let_go"] > 5) for c in said["live_checks"]] == [(10, 0, True)] * 2
    decisions = read_table(session, "decisions")
    after = (decisions["ts"].to_numpy() - decisions["ts"][0].as_py()) / 1e9
    of_canary = decisions["symbol"].to_numpy() == 2
    expected = np.where(after < 15, of_canary, (after > 25) & (after < 28))
    sure = (after < 15) | ((after > 25) & (after < 28)) | (after > 35)
    np.testing.assert_array_equal(decisions["model_set"].to_numpy()[sure], expected[sure])
    registry_diff.main(compose("models_diff", ["a=a", "b=b", f"path={session}", where]))
    shown = [[cell.strip() for cell in line.split("│")] for line in capsys.readouterr().out.splitlines()]
    rows = {(row[1], row[2]): row[3] for row in shown if len(row) == 9}
    assert rows["xgb00", "1 s"] == rows["all", "5 s"] == f"{said['decisions']:,}"
    (sets / "b").rename(sets / "moved")
    assert replay(session) == said["decision_digest"]  # found by its digest
    file = next((sets / "moved" / "models").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model set 'moved' is damaged: models/.* is not the file that was saved"):
        replay(session)
    shutil.rmtree(sets / "moved")
    with pytest.raises(SessionError, match=f"model set 'b' of the session is neither in {sets / 'b'} nor, by its digest .*, in {sets}"):
        replay(session)
