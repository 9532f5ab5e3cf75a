"""What the doctor measures: times that are fixed before, a stall that is in the latency of all that queued, facts and notes of a machine."""

from __future__ import annotations

import json
import struct
import time

import numpy as np
import pytest
from live import Live

from tickarrow.configs.runtime import RuntimeConf
from tickarrow.pipeline import doctor, doctor_feed, doctor_machine
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.prepare import compose

MS = 1_000_000
STALL_S = 0.2
QUIET = {
    "governor": "performance", "huge_pages": "madvise", "clock": "tsc", "cores": 8, "allowed_cores": 8, "isolated_cores": [3], "load": 0.1, "virtual": False,
    "timer_slack_us": 50.0, "realtime_permitted": True, "realtime_share_us": "950000",
}  # fmt: skip


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    return Live(tmp_path_factory.mktemp("live") / "set", 3000, "features.throttle_ns=0", "risk.hurdle=1e9")


def test_times_are_fixed_before_anything_is_sent():
    due = doctor_feed.sparse(100, 4.0, 50.0)
    assert len(due) == 20_000
    assert np.diff(due).min() >= 0
    assert np.diff(due).mean() == pytest.approx(2.5 * MS, rel=0.03)
    assert np.diff(due).std() == pytest.approx(2.5 * MS, rel=0.03)  # Poisson: the deviation is the mean
    np.testing.assert_array_equal(doctor_feed.bursts(3, 4.0, 0.5), [0, 0, 0, 250 * MS, 250 * MS, 250 * MS])


def test_updates_of_one_time_are_one_write(tmp_path):
    doctor_feed.write(doctor_feed.Frames(np.array([0, 0, 5, 5, 9]), [b"a", b"bc", b"d", b"e", b"fgh"]), tmp_path / "f")
    raw = (tmp_path / "f").read_bytes()
    assert struct.unpack("<7q", raw[:56]) == (3, 0, 3, 5, 2, 9, 3)
    assert raw[56:] == b"abcdefgh"


def test_a_stall_is_in_the_latency_of_all_that_queued_behind_it(live):
    pipeline, told = live.pipeline(), []
    feed, stalled = pipeline.feed, []

    def slow(chunk, arrival):
        out = feed(chunk, arrival)
        if chunk.number == 20:
            stalled.append(chunk.number)
            time.sleep(STALL_S)
        return out

    pipeline.feed = slow
    due = np.arange(300, dtype=np.int64) * 2 * MS
    took = doctor_feed.measure(pipeline, doctor_feed.frames_of(live.source, due), RuntimeConf(warm_ms=2.0), told.append)
    assert stalled == [20]
    assert len(took.whole) == len(took.decided) > 100
    assert (took.whole > took.decided).all()  # us; the way through the socket
    assert (took.decided > 0).all()
    assert took.whole.max() >= STALL_S * 1e6
    queued = np.sum(took.whole > STALL_S / 2 * 1e6)  # sent in the first half of the stall, one each 2 ms; not all of them were due
    assert queued > 15
    assert np.sum(took.decided > STALL_S * 1e6) < queued  # from the arrival it would look like the bad luck of one
    assert len(took.wake) > 10
    assert set(took.late) == {"p50", "p99", "max"}
    assert told == []
    assert pipeline.budget is None


def test_facts_of_a_machine_are_read_from_the_system(tmp_path):
    for path, text in {
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n", "sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n", "proc/cpuinfo": "flags : fpu hypervisor\n",
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = doctor_machine.machine(tmp_path / "sys", tmp_path / "proc")
    assert (found["governor"], found["huge_pages"], found["clock"], found["virtual"]) == ("powersave", "never", "hpet", True)
    assert found["timer_slack_us"] >= 0
    nothing = doctor_machine.machine(tmp_path / "none", tmp_path / "none")
    assert (nothing["governor"], nothing["huge_pages"], nothing["virtual"]) == (None, None, False)


@pytest.mark.parametrize(
    ("fact", "begins"),
    [
        ({}, None),
        ({"load": 5.0}, "Other work runs here (load 5 on 8 cores)"),
        ({"governor": "powersave"}, "The CPU governor is powersave"),
        ({"governor": None}, None),
        ({"virtual": True}, "This is a virtual machine"),
        ({"isolated_cores": []}, "No core is isolated (isolcpus): runtime=reserved would be put aside when others need its core."),
        ({"isolated_cores": [], "cores": 2}, "No core is isolated (isolcpus): runtime=reserved would be put aside when others need its core. With 2 cores"),
        ({"realtime_permitted": False}, "This user may not use SCHED_FIFO"),
        ({"huge_pages": "never"}, "Huge pages are off"),
        ({"clock": "hpet"}, "The clock source is hpet"),
    ],
)
def test_what_costs_latency_is_one_sentence(fact, begins):
    said = doctor_machine.notes(QUIET | fact)
    assert len(said) == (begins is not None)
    assert all(text.startswith(begins) for text in said)


def test_the_forest_is_timed_in_each_state_of_the_caches(live, monkeypatch):
    monkeypatch.setattr(doctor_machine, "TIMES", 3)
    pipeline = live.pipeline()
    for k in range(50):
        pipeline.feed(live.chunk(k))
    before = pipeline.digests()
    took = doctor_machine.forest(pipeline)
    assert list(took) == ["flushed", "after 5 ms", "kept warm", "hot"]
    assert all(len(us) == 3 and us.min() > 0 for us in took.values())
    assert pipeline.digests() == before
    assert doctor_machine.slack().min() >= 0


def test_quantiles_are_values_that_occurred():
    us = np.arange(1, 1001) / 2
    assert doctor.quantiles(us) == {"n": 1000, "p50": 250.0, "p99": 495.0, "p999": 499.5, "max": 500.0}
    assert doctor.quantiles(us[:0]) == {"n": 0, "p50": None, "p99": None, "p999": None, "max": None}


def test_what_it_found_is_shown_and_drawn(tmp_path, capsys):
    from rich.console import Console

    latency = {"wake-up": doctor.quantiles(np.arange(1.0, 2001.0)), "sent to decision": doctor.quantiles(np.array([3.0]))}
    doctor.show(Console(width=160), {"latency_us": latency, "machine": QUIET, "symbols": 4, "engine": "simd", "mode": "shared", "notes": ["A note."]})
    said = capsys.readouterr().out
    assert "1,998.0" in said
    assert "~3.0" in said  # of fewer than 1,000 values
    assert "A note." in said
    pytest.importorskip("plotly")
    doctor._page_maker()(tmp_path / "page.html", {"wake-up": np.arange(1.0, 2001.0), "one": np.array([3.0])})
    page = (tmp_path / "page.html").read_text()
    assert json.dumps("wake-up") in page
    assert '"type":"log"' in page


def test_no_time_and_no_rate_are_refused():
    with pytest.raises(ConfigError, match=r"^seconds is 0\.0: expected a number above 0\.$"):
        doctor.main(compose("doctor_latency", ["seconds=0"]))
