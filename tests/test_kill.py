"""The kill switch: in virtual time against the simulated gateway, and with real processes whose main loop is stuck."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace

import ib_async
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from incidents import incident
from kill_latency import Bench

from tickarrow.configs.kill import KillCommandConf, KillConf
from tickarrow.pipeline import kill, kill_page, kill_switch
from tickarrow.pipeline.errors import ConfigError, GatewayError, SessionError
from tickarrow.pipeline.kill_flatten import Flatten, closing_order
from tickarrow.pipeline.kill_guard import Guard
from tickarrow.pipeline.kill_page import Page, Run
from tickarrow.pipeline.kill_switch import KillSwitch
from tickarrow.pipeline.router_ledger import FileStorage
from tickarrow.pipeline.schemas import ControlKind, OrderState, Reason, Side

OPEN = (OrderState.INTENT, OrderState.SENT, OrderState.SUBMITTED)


# --- the price of a closing order


def test_a_closing_order_is_priced_beyond_the_touch():
    # 1 % below 100.00 is 99.00; 1 % above 100.03 is 101.0303, which on a grid of a cent is 101.04 for a buyer
    assert closing_order(300.0, 100.0, 100.03, 0.01, 100.0) == (Side.SELL, 300.0, 99.0)
    assert closing_order(-7.9, 100.0, 100.03, 0.01, 100.0) == (Side.BUY, 7.0, 101.04)


@pytest.mark.parametrize(("shares", "bid", "ask"), [(0.5, 9.0, 9.1), (0.0, 9.0, 9.1), (5.0, math.nan, 9.1), (-5.0, 9.0, math.nan), (5.0, 0.0, 9.1)])
def test_less_than_a_share_and_a_missing_quote_close_nothing(shares, bid, ask):
    assert closing_order(shares, bid, ask, 0.01, 50.0) is None


@given(st.integers(-1000, 1000).filter(bool), st.integers(1, 100_000), st.integers(1, 50), st.sampled_from([0.01, 0.05, 0.25]), st.floats(0, 500))
def test_a_closing_order_is_marketable_on_the_grid_and_never_larger(shares, bid_ticks, spread, tick, collar):
    bid, ask = bid_ticks * tick, (bid_ticks + spread) * tick
    side, quantity, limit = closing_order(float(shares), bid, ask, tick, collar)
    assert side == -np.sign(shares)
    assert quantity == abs(shares)
    assert abs(limit / tick - round(limit / tick)) < 1e-6
    assert limit >= ask - 1e-9 if side > 0 else 0 < limit <= max(bid, tick) + 1e-9


# --- files


def test_a_request_says_what_is_asked_for(tmp_path):
    assert kill_page.requested(tmp_path) is None
    (tmp_path / kill_page.KILL).touch()
    assert kill_page.requested(tmp_path) == (False, "file KILL")
    kill_page.request(tmp_path, False, "later")
    assert kill_page.requested(tmp_path) == (False, "file KILL")  # the first one stays
    kill_page.request(tmp_path, True, "and close")
    assert kill_page.requested(tmp_path) == (True, "and close")
    kill_page.request(tmp_path, True, "once more")
    assert kill_page.requested(tmp_path) == (True, "and close")
    (tmp_path / kill_page.KILL).write_text("fat finger\n")
    assert kill_page.requested(tmp_path) == (False, "fat finger")


def test_a_latch_stays_until_it_is_removed_and_counts_when_it_is_damaged(tmp_path):
    path = tmp_path / "state" / "killed.json"
    assert kill_page.latched(path) == ""
    kill_page.latch(path, "first")
    kill_page.latch(path, "second")
    assert "(first)" in kill_page.latched(path)
    path.write_text("{")
    assert kill_page.latched(path) == f"killed ({path} is there)"


def test_one_process_closes_positions_and_the_next_when_it_has_died(tmp_path):
    (tmp_path / kill_page.CLAIM).touch()  # of one that has died
    mine = kill_page.claim(tmp_path)
    assert mine >= 0
    assert kill_page.claim(tmp_path) == -1
    os.close(mine)
    mine = kill_page.claim(tmp_path)
    assert mine >= 0
    os.close(mine)


def test_a_guard_sees_that_another_run_has_gone_on_with_the_session(tmp_path):
    page = Page(tmp_path / kill_page.PAGE, 1)
    page.set("beat", 7)
    assert page.present
    later = Page(tmp_path / kill_page.PAGE, 2)
    assert (later.present, page.present, page.get("beat"), later.get("beat")) == (True, False, 7, 0)


def test_what_has_no_quote_is_closed_when_one_comes():
    """7 shares without a quote for 5 s, at looks four times a second: a try lasts `again_s`, whether or not an order could be sent."""
    quotes, placed, told, now = {0: (math.nan, 10.01, 0.01)}, [], [], [100.0]
    router = SimpleNamespace(connected=True, settled=True, working=0, rows={11: 0}, names=["AAA"], ledger=SimpleNamespace(positions={11: 7.0}))
    flatten = Flatten(KillConf(), router, quotes.__getitem__, lambda *order: placed.append(order), told.append, lambda: now[0])
    for _ in range(28):
        if now[0] >= 105.0:
            quotes[0] = (10.0, 10.01, 0.01)
        flatten.look()
        now[0] += 0.25
    assert placed == [(0, Side.SELL, 7.0, 9.95)]  # 50 bp below 10.00
    assert told == ["kill switch: AAA has no quote: its +7 shares are not closed before one comes"]


# --- the run


def killed(folder, flatten, at=20.0, seconds=60.0, guard=None, **conf):
    """Run against the simulated gateway, killed by a file; (what happened, switch, orders of the gateway at the kill)."""
    kept = {}

    async def during(gateway, simulator, port):
        loop = asyncio.get_running_loop()
        switch = kept["switch"] = KillSwitch(gateway, KillConf(flatten_after_s=3.0, again_s=2.0), folder, folder, gateway.pipeline.act)
        switch.ready()
        await asyncio.sleep(at)
        kept["before"] = {k: replace(o) for k, o in simulator.feed.matching.orders.items()}
        kept["at"] = loop.time()
        if guard is None:
            (folder / kill_page.KILL).write_text("flatten" if flatten else "")
        else:
            await guard(switch, simulator)
        await asyncio.sleep(seconds - at - 1.0)
        switch.close()

    found = incident(seconds=seconds, during=during, **conf)
    return found, kept["switch"], kept["before"]


def far_off(act):
    """What decides, with quotes at which a closing order is not filled."""
    return SimpleNamespace(state={"bid": act.state["bid"] * 1.05, "ask": act.state["ask"] * 0.95})


def closed(orders):
    return [o for o in orders.values() if o.done]


def test_a_kill_cancels_all_refuses_new_orders_and_keeps_positions(tmp_path):
    found, switch, before = killed(tmp_path, flatten=False, latency_ms=3000.0)
    orders, after = found.simulator.feed.matching.orders, found.desk
    assert any(not o.done for o in before.values()) or len(orders) > len(before)  # some were open or on their way
    assert all(o.done for o in orders.values())
    assert [e.kind for _, e in after.events].count(ControlKind.KILL) == 1
    t = next(t for t, e in after.events if e.kind == ControlKind.KILL)
    assert {reason for when, reason, _ in found.rows() if when > t + 5.0} == {Reason.KILLED}
    assert any(abs(shares) > 0 for shares, _ in found.simulator.feed.matching.positions.values())
    assert found.says("kill switch: file KILL")
    assert switch.page.get("main_at") > switch.page.get("killed_at") > 0
    assert "(file KILL)" in kill_page.latched(switch.latch)
    again = after.replayed()
    for name in ("decisions", "orders", "fills"):
        for column in getattr(after, name).schema.names:
            np.testing.assert_array_equal(getattr(again, name).column(column), getattr(after, name).column(column))


def test_a_kill_that_flattens_closes_every_position_and_replays(tmp_path):
    found, switch, before = killed(tmp_path, flatten=True)
    matching = found.simulator.feed.matching
    assert any(o.filled for o in before.values())
    assert all(shares == 0.0 for shares, _ in matching.positions.values())
    assert all(o.done for o in matching.orders.values())
    assert switch.page.get("flat") == 1
    assert found.says("kill switch: no position is left")
    closing = [e for _, e in found.desk.events if e.kind == ControlKind.CLOSE]
    assert closing
    assert not found.says("is used")  # each closing order was given to the router once
    assert (found.desk.act.state["position"] == 0.0).all()
    again = found.desk.replayed()
    for name in ("decisions", "orders", "fills"):
        for column in getattr(again, name).schema.names:
            np.testing.assert_array_equal(getattr(again, name).column(column), getattr(found.desk, name).column(column))


def test_a_run_that_goes_on_from_the_state_of_a_killed_one_is_armed(tmp_path):
    async def again(switch, simulator):
        (tmp_path / kill_page.KILL).touch()
        await asyncio.sleep(5.0)
        switch.close()
        assert switch.act.book["killed"][0] == 1
        (tmp_path / kill_page.KILL).unlink()
        switch.latch.unlink()
        switch.gateway.orders.router.refuse_new("")
        switch.gateway.orders.router.checks.clear()
        KillSwitch(switch.gateway, switch.conf, tmp_path, tmp_path, switch.act).ready()

    found, _, before = killed(tmp_path, flatten=False, guard=again)
    assert [e.kind for _, e in found.desk.events if e.kind in (ControlKind.KILL, ControlKind.REARM)] == [ControlKind.KILL, ControlKind.REARM]
    assert len(found.simulator.feed.matching.orders) > len(before)
    np.testing.assert_array_equal(found.desk.replayed().decisions.column("reason"), found.desk.decisions.column("reason"))


def test_a_position_that_cannot_be_closed_is_told(tmp_path):
    async def without_quotes(switch, simulator):
        switch.act = SimpleNamespace(state={"bid": np.full(3, np.nan), "ask": np.full(3, np.nan)})
        (tmp_path / kill_page.KILL).write_text("flatten")

    found, switch, _ = killed(tmp_path, flatten=True, guard=without_quotes)
    assert found.says("has no quote: its")
    assert len(found.says("positions are left after 5 tries")) == 1
    assert switch.page.get("flat") == 2


@pytest.mark.parametrize(("latency_ms", "flatten"), [(20_000.0, False), (20.0, True), (20.0, False)], ids=["orders", "positions", "nothing"])
def test_the_guard_outlives_a_run_that_leaves_it_something(tmp_path, monkeypatch, latency_ms, flatten):
    monkeypatch.setattr(kill_switch, "GOODBYE_S", 0.2)
    slow = subprocess.Popen(["sleep", "300"], stdin=subprocess.PIPE)
    ended = []

    async def end(switch, simulator):
        switch.act = far_off(switch.act)
        (tmp_path / kill_page.KILL).write_text("flatten" if flatten else "")
        await asyncio.sleep(2.0)
        switch._guard = slow
        switch.close()
        ended.extend([slow.poll() is not None, switch.page.get("stopped")])

    try:
        found, _, _ = killed(tmp_path, flatten, guard=end, latency_ms=latency_ms)
    finally:
        slow.kill()
        slow.wait()
    left = latency_ms > 1000.0 or flatten
    assert ended == [not left, not left]
    assert bool(found.says("left to the guard of the kill switch (process ")) == left


def test_a_killed_account_stays_killed_in_the_next_run_until_it_is_rearmed(tmp_path):
    kill_page.latch(tmp_path / "killed-DU0000001-1.json", "yesterday")
    found, _, _ = killed(tmp_path, flatten=False, guard=lambda switch, simulator: asyncio.sleep(0))
    assert found.says("(yesterday): no order goes out. Re-arm it when this run has ended: tickarrow kill session=")
    late = [o for o in found.desk.orders.column("state").tolist() if o == OrderState.INTENT]
    assert len(found.simulator.feed.matching.orders) <= 3  # what was decided before the switch was there, in this test
    assert all(o.done for o in found.simulator.feed.matching.orders.values()), late
    done = kill.main(KillCommandConf(session=str(tmp_path), rearm=True))
    assert done == {"rearmed": True}
    assert kill_page.latched(tmp_path / "killed-DU0000001-1.json") == ""


def test_a_living_run_is_not_rearmed_and_what_is_no_session_is_told(tmp_path):
    with pytest.raises(SessionError, match=r"is no session of a run that sends orders: it has no kill.bin"):
        kill.main(KillCommandConf(session=str(tmp_path)))
    Page(tmp_path / kill_page.PAGE, 1)
    Run(os.getpid(), "127.0.0.1", 1, "DU1", 1, 1001, str(tmp_path / "latch.json")).write(tmp_path)
    with pytest.raises(ConfigError, match="is alive and stays killed"):
        kill.main(KillCommandConf(session=str(tmp_path), rearm=True))


# --- the guard, in the same virtual time


def guarded(tmp_path, flatten, stuck_for=30.0, latency_ms=200.0):
    """A guard acts alone while the run does nothing: its loop is taken out of the game."""
    kept = {}

    async def guard(switch, simulator):
        g = kept["guard"] = Guard(tmp_path)
        g.say = lambda event, **more: kept.setdefault("said", []).append((event, more))
        g.run = Run.read(tmp_path)
        await g.connect()
        switch._timer.cancel()
        switch.check = lambda: None  # the main loop is stuck
        switch._noticed = lambda: None
        g.kill(flatten, "test")
        await asyncio.sleep(stuck_for)
        del switch.check
        switch._look()
        await asyncio.sleep(2.0)
        g.ib.disconnect()

    found, switch, before = killed(tmp_path, flatten, guard=guard, seconds=70.0, latency_ms=latency_ms)
    return found, switch, before, kept["said"]


def test_the_guard_cancels_everything_of_everybody_and_the_run_follows_when_it_wakes_up(tmp_path):
    found, switch, _, said = guarded(tmp_path, False)
    page, orders = switch.page, found.simulator.feed.matching.orders
    assert said[0][0] == "cancel everything"
    assert said[-1][0] == "no order is open"
    assert 0 < page.get("guard_first") <= page.get("guard_last")
    assert page.get("main_at") > page.get("guard_first")
    assert page.get("open_orders") == 0
    assert all(o.done for o in orders.values())
    assert any(abs(shares) for shares, _ in found.simulator.feed.matching.positions.values())


def test_the_guard_closes_positions_when_the_run_cannot_and_nobody_does_it_twice(tmp_path):
    found, switch, _, said = guarded(tmp_path, True)
    assert all(shares == 0.0 for shares, _ in found.simulator.feed.matching.positions.values())
    assert "no position is left" in [event for event, _ in said]
    assert all(o.done for o in found.simulator.feed.matching.orders.values())
    assert switch.page.get("flat") == 1
    assert not [e for _, e in found.desk.events if e.kind == ControlKind.CLOSE]


def test_a_run_that_is_only_late_closes_its_positions_itself(tmp_path):
    found, _, _, said = guarded(tmp_path, True, stuck_for=0.5, latency_ms=0.0)
    assert all(shares == 0.0 for shares, _ in found.simulator.feed.matching.positions.values())
    assert "close" not in [event for event, _ in said]
    assert [e for _, e in found.desk.events if e.kind == ControlKind.CLOSE]


def test_a_run_that_wakes_up_leaves_the_closing_to_the_guard_that_has_begun_it(tmp_path):
    async def guard(switch, simulator):
        g = Guard(tmp_path)
        g.say = lambda event, **more: None
        g.run, act = Run.read(tmp_path), switch.act
        await g.connect()
        switch.act = far_off(act)
        switch.look()
        switch._timer.cancel()
        check, switch.check, switch._noticed = switch.check, lambda: None, lambda: None  # the main loop is stuck
        g.kill(True, "test")
        while not g._closing:
            await asyncio.sleep(0.1)
        switch.check, switch.act = check, act
        switch._look()
        await asyncio.sleep(15.0)
        g.ib.disconnect()

    found, switch, _ = killed(tmp_path, True, guard=guard, latency_ms=200.0)
    assert all(shares == 0.0 for shares, _ in found.simulator.feed.matching.positions.values())
    assert switch.page.get("flat") == 1
    assert not [e for _, e in found.desk.events if e.kind == ControlKind.CLOSE]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "asked for after the kill"])
def test_the_guard_closes_positions_that_a_run_has_died_over(tmp_path, later):
    async def guard(switch, simulator):
        g, act = Guard(tmp_path), switch.act
        g.say = lambda event, **more: None
        g.run = Run.read(tmp_path)
        await g.connect()
        if later:
            g.kill(False, "test")
            await asyncio.sleep(5.0)
            assert g._acting.done()
        switch.act = far_off(act)
        g.kill(True, "test")
        while not switch.page.get("closing"):
            await asyncio.sleep(0.1)
        switch._timer.cancel()  # the run dies
        switch.check, switch._noticed = lambda: None, lambda: None
        os.close(switch._claim)
        switch._claim = -1
        await asyncio.sleep(0.3)
        assert any(not o.done for o in simulator.feed.matching.orders.values())
        switch.page.marks["bid"], switch.page.marks["ask"] = act.state["bid"], act.state["ask"]
        g.gone = True
        await asyncio.sleep(15.0)
        g.ib.disconnect()

    found, switch, _ = killed(tmp_path, True, guard=guard, latency_ms=200.0)
    assert all(shares == 0.0 for shares, _ in found.simulator.feed.matching.positions.values())
    assert all(o.done for o in found.simulator.feed.matching.orders.values())
    assert switch.page.get("flat") == 1


@pytest.mark.parametrize("next_run", [False, True])
def test_a_guard_without_a_run_goes_when_the_next_run_of_the_account_comes(tmp_path, next_run):
    said, sent = [], []

    async def guard(switch, simulator):
        (tmp_path / "sent-orders-DU0000001-1.log").touch()
        storage = FileStorage(tmp_path / "sent-orders-DU0000001-1.log", synced=False) if next_run else None
        g = Guard(tmp_path)
        g.say = lambda event, **more: said.append(event)
        run = Run.read(tmp_path)
        assert run.ledger == str(tmp_path / "sent-orders-DU0000001-1.lock")
        g.run, g.gone = replace(run, pid=1 << 30), True  # that process has ended
        await g.connect()
        g.ib.client.reqGlobalCancel = lambda: sent.append(1)
        g.act("the run is gone", killed=False)
        await asyncio.sleep(10.0)
        assert g._acting.done()
        g.ib.disconnect()
        if storage is not None:
            storage.close()

    killed(tmp_path, flatten=False, guard=guard, latency_ms=20_000.0)  # the run goes on trading: it stands for the next one
    assert bool(sent) != next_run
    assert said == ["cancel everything", "another run has taken the orders over" if next_run else "no order is open"]


def test_a_main_loop_that_gives_no_sign_is_killed(tmp_path):
    page = Page(tmp_path / kill_page.PAGE, 1)
    Run(1, "127.0.0.1", 1, "DU1", 1, 1001, str(tmp_path / "latch.json"), KillConf(stuck_s=10.0)).write(tmp_path)

    async def main():
        guard = Guard(tmp_path)
        guard.say = lambda event, **more: None
        guard.run = Run.read(tmp_path)
        acted = []
        guard.act = lambda why, killed: acted.append((why, killed))
        page.set("beat", time.monotonic_ns() - 9_000_000_000)
        guard.look()
        assert acted == []
        page.set("beat", time.monotonic_ns() - 11_000_000_000)
        guard.look()
        return acted

    acted = asyncio.run(main())
    assert acted[0][0].startswith("the main loop gave no sign for 11.")
    assert acted[0][1]
    assert page.killed
    assert "the main loop gave no sign" in kill_page.requested(tmp_path)[1]


# --- real processes; bounds are a hundred times what is measured (python tests/kill_latency.py)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench(tmp_path_factory.mktemp("kill"), 20.0)
    yield made
    made.close()


@pytest.mark.parametrize(("mode", "method"), [("flood", "command"), ("stuck", "signal")])
def test_a_kill_of_a_running_process_ends_its_orders(bench, mode, method):
    found = bench.trial(mode, method)
    assert found["guard"] < 20_000.0 if method == "command" else 5_000.0
    assert found["none open"] >= found["guard"] > 0.0


def test_a_run_that_dies_leaves_no_order(bench):
    bench.trials += 1
    bench.tell(str(bench.trials))
    bench.wait("ready")
    directory = bench.folder / str(bench.trials)
    page = Page(directory / kill_page.PAGE)
    page.set("open_orders", -1)
    bench.run.kill()
    bench.run.wait()
    until = time.monotonic() + 30.0
    while "no order is open" not in (log := (directory / "kill.log").read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    assert page.get("open_orders") == 0, log
    assert '"why": "the run is gone"' in log
    assert not page.killed  # the next run may trade


def test_the_command_acts_by_itself_when_nobody_is_left(bench, tmp_path, capsys):
    Page(tmp_path / kill_page.PAGE, 1)
    run = Run(bench.run.pid, "127.0.0.1", bench.port, "DU0000001", 1, 1001, str(tmp_path / "latch.json"))  # of a process that is dead
    run.write(tmp_path)

    async def order():
        ib = ib_async.IB()
        await ib.connectAsync("127.0.0.1", bench.port, 5, timeout=30)
        trade = ib.placeOrder(ib_async.Stock("AAA", "SMART", "USD"), ib_async.LimitOrder("BUY", 7, 1.0))
        for _ in range(1000):
            if trade.orderStatus.status == "Submitted":
                break
            await asyncio.sleep(0.01)
        ib.disconnect()
        return trade.orderStatus.status

    assert asyncio.run(order()) == "Submitted"
    done = kill.main(KillCommandConf(session=str(tmp_path), reason="nobody there"))
    assert done["by"] == "this command"
    assert done["open_orders"] == 0
    assert json.loads(capsys.readouterr().out) == done
    assert "(nobody there)" in kill_page.latched(tmp_path / "latch.json")
    replace(run, port=1).write(tmp_path)
    with pytest.raises(GatewayError, match=r"gateway 127.0.0.1:1 cannot be reached .* nothing was cancelled. Cancel in TWS"):
        kill.main(KillCommandConf(session=str(tmp_path)))
