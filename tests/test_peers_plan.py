"""benchmarks/peers_plan.py: what it counts is counted, and a line says how far from its target it is."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
plan = pytest.importorskip("benchmarks.peers_plan")


def test_a_target_stands_beside_what_is_measured():
    assert plan._at_most("pause", 10.0, 0.5, "ms") == "plan pause: <= 10 ms, measured 0.5 ms, 20 x"
    assert plan._at_least("orders", 10.0, 312.4, "/s") == "plan orders: >= 10 /s, measured 312 /s, 31 x"


def test_every_order_and_message_is_counted():
    assert plan._orders(20) > 0
    assert plan._messages(2000) > 0


def test_every_target_of_the_plan_is_there(monkeypatch):
    us = np.array([10.0, 20.0])
    live = SimpleNamespace(
        stages=dict.fromkeys(("predict", "features", "decode", "decide"), us), sent=us, rss_mb=600.0, cpu=0.02,
        summary={"runtime": {"collect": {"longest_pause_ms": 2.0}}},
    )  # fmt: skip
    monkeypatch.setattr(plan.live_day, "run", lambda overrides, feed: live)
    monkeypatch.setattr(plan, "_symbols", lambda rounds: (10_000.0, 0.7))
    monkeypatch.setattr(plan, "_orders", lambda: 300.0)
    monkeypatch.setattr(plan, "_messages", lambda: 4e6)
    monkeypatch.setattr(plan, "_allocated", lambda: 1000.0)
    lines = list(plan.run())
    assert len(lines) == 13
    assert lines[-1] == "plan processor at 100 symbols, mean: <= 25 % of a core, measured 2 % of a core, 12 x"
