"""The first hundred seeds of the order-safety simulation, and that it notices a router that breaks its promises."""

from __future__ import annotations

import re
from collections import Counter

import order_safety
import pytest

from tickarrow.pipeline import router
from tickarrow.pipeline.router import Router
from tickarrow.pipeline.router_ledger import Ledger


def test_no_order_is_lost_doubled_or_unknown_whatever_goes_wrong():
    total = Counter()
    for seed in range(100):
        world = order_safety.World(seed)
        world.run()
        total += world.count
    assert min(total[k] for k in ("cut", "kill", "power", "restart", "manual", "corrections", "mute", "cancel lost")) >= 10
    assert min(total[k] for k in ("changes", "change refused", "changed too late", "change lost", "parts", "margin asked")) >= 10
    assert {w.split(" at ")[1] for w in total if " at " in w} == set(order_safety.STEPS)
    assert total["orders"] > 1000
    assert total["compared"] > 1000


OF = {"change": "passive", "changing": "passive", "changed": "passive", "margin": "margin", "judged": "margin"}  # the style that has such steps


@pytest.mark.parametrize("kind", ["cut", "kill", "power", "restart"])
@pytest.mark.parametrize("step", order_safety.STEPS)
def test_a_fault_at_each_step_of_an_orders_life_alone(step, kind):
    hit, style = 0, OF.get(step, "bracket")
    for nth in (1, 4):
        world = order_safety.World(1000 + nth, style)
        world.plan = {(step, nth): kind}
        world.run()
        hit += world.count[f"{kind} at {step}"]
    assert hit >= (1 if step in ("asked", "answered", "changed") else 2)  # where a session is calm it asks only once


def broken(monkeypatch, of, name, made, style):
    monkeypatch.setattr(of, name, made)
    for seed in range(100, 180) if style else range(60):
        try:
            order_safety.World(seed, style).run()
        except order_safety.Broken as e:
            return str(e)
    return "nothing"


def test_a_seed_is_one_history():
    a, b = order_safety.World(3), order_safety.World(3)
    a.run()
    b.run()
    assert (a.count, a.disk.data, a.held) == (b.count, b.disk.data, b.held)


@pytest.mark.parametrize(("of", "name", "made", "said"), [
    (Ledger, "sync", lambda self: None, "sent and not on disk"),
    (Router, "doubt", lambda self, after=0.0: setattr(self, "settled", True), "before orders and positions were compared|position|order|settled"),
    (Router, "executed", lambda self, e: None, "filled|position"),
    (Router, "_come_back", lambda self, o: None, "does not know it|position|filled"),
    (Ledger, "_intent", lambda self, order: self.orders.__setitem__(order.key, order), "is used twice|position"),
    (Router, "_move", lambda self, con_id, shares: None, "position|told"),
    (Router, "_alone", lambda self, o, answer: False, "would open a position"),
    (Router, "_bracketed", lambda self, order: False, "while a bracket works"),
    (router, "passive_price", lambda side, bid, ask, worst, conf, grid: worst + side, "beyond its limit"),
])  # fmt: skip
def test_a_router_without_one_of_its_rules_is_found_out(monkeypatch, of, name, made, said):
    style = "bracket" if name in ("_alone", "_bracketed") else None
    assert re.search(said, broken(monkeypatch, of, name, made, style))
