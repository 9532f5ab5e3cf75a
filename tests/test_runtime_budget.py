"""A budget that is broken by injected slowness: what is told, what the plan does and takes back, and a replay that decides the same."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from live import Live

from tickarrow.configs.runtime import BudgetConf, RuntimeConf, StageBudget
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.runtime import Runtime
from tickarrow.pipeline.runtime_budget import Budget
from tickarrow.pipeline.schemas import CONTROL, ControlKind, Side

ROWS = 6000
MS = 1_000_000
HELD = 3  # the last symbol, which the plan would leave out first


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    return Live(tmp_path_factory.mktemp("live") / "set", ROWS, "features.throttle_ns=0", "risk.hurdle=1e9")


class Slow:
    """A clock, and an engine that takes `ns` of it."""

    def __init__(self):
        self.now, self.ns = 1, 0

    def __call__(self):
        return self.now

    def slow(self, engine):
        predict = engine.predict

        def slower(*arguments):
            self.now += self.ns
            predict(*arguments)

        engine.predict = slower


SMALL = {"predict": StageBudget(150.0), "window_s": 12.0, "min_rows": 20, "recover_s": 10.0, "plan": ["shadows", "throttle", "symbols"]}


def conf(**more):
    return BudgetConf(**SMALL | more)


def run(live, slow_until, held=(), acts=True, **more):
    """A pipeline whose engine is slow until a row; what it was told, its budget, and rows decided by each symbol after it was broken."""
    clock = Slow()
    pipeline, told = live.pipeline(clock=clock), []
    clock.slow(pipeline.engine)
    pipeline.shadows.append(SimpleNamespace(paused=False, take=lambda *_: None))
    budget = pipeline.budget = Budget(conf(**more), pipeline, told.append, acts)
    for symbol in held:
        pipeline.apply(Control(kind=ControlKind.EXECUTION, symbol=symbol, key=99, side=Side.BUY, quantity=100.0, price=10.0, exec_id=7))
    for k in range(ROWS):
        clock.ns = 200_000 if k < slow_until else 20_000
        pipeline.feed(live.chunk(k), clock())
    return pipeline, budget, told


def again(live, pipeline):
    """A replay: the same chunks and the control events of a run, without a budget."""
    events = [{n: v.item() for n, v in zip(CONTROL.names, row)} for row in zip(*(pipeline.tables.control.column(n) for n in CONTROL.names))]
    out, at = live.pipeline(), 0
    for k in range(ROWS):
        while at < len(events) and (events[at]["chunk"] == 2**64 - 1 or events[at]["chunk"] < k):
            out.apply(Control(**events[at]))
            at += 1
        out.feed(live.chunk(k))
    return out


def test_a_slow_stage_is_told_and_degrades_by_plan_and_a_replay_decides_the_same(live):
    pipeline, budget, told = run(live, ROWS, held=[HELD])
    assert re.fullmatch(
        r"latency: predict took more than 150 us in 100\.0 % of the last \d+ decisions, where 1 % may\. From now on: shadows rest\.", told[0]
    )
    assert told[1].endswith("From now on: a symbol is decided for each 125 ms at most.")
    assert told[2].endswith("From now on: symbols left out: 1.")
    assert len(told) == 3  # the plan is at its end: it is counted, not told again and again
    assert pipeline.shadows[0].paused
    assert pipeline.features.throttle_ns == 125 * MS
    assert np.flatnonzero(pipeline.features.left_out).tolist() == [2]  # of AAA, BBB, CCC; DDD has a position
    kinds = pipeline.tables.control.column("kind")
    assert set(kinds) == {ControlKind.EXECUTION, ControlKind.THROTTLE, ControlKind.FEWER_SYMBOLS}
    said = budget.report()
    assert said["stages"]["predict"]["breaches"] > 3
    assert said["stages"]["predict"]["p50"] == pytest.approx(200, rel=1 / 64)
    assert said["stages"]["decide"]["breaches"] == 0
    assert said["steps"] == 3
    end = pipeline.tables.control.column("ts").max()
    decisions = pipeline.tables.decisions
    after = decisions.column("ts") > end
    assert 2 not in decisions.column("symbol")[after]
    assert {0, 1, 3} <= set(decisions.column("symbol")[after])
    for symbol in (0, 1, 3):
        assert np.diff(decisions.column("ts")[after & (decisions.column("symbol") == symbol)]).min() >= 125 * MS
    assert again(live, pipeline).digests() == pipeline.digests()


def test_what_was_given_up_comes_back_when_stages_are_fast_for_long_enough(live):
    pipeline, _, told = run(live, 1500)
    assert [t.startswith("latency: all stages") for t in told].count(True) == 3
    assert told[-1] == "latency: all stages are far below their limits again. All is as before."
    assert not pipeline.shadows[0].paused
    assert pipeline.features.throttle_ns == 0
    assert not pipeline.features.left_out.any()
    control = pipeline.tables.control
    back = control.column("ts")[control.column("value") == 0.0]
    assert back.size == 3  # two symbols, then the throttle
    assert back.min() - control.column("ts")[control.column("value") == 1.0].max() > 10_000 * MS
    assert set(pipeline.tables.decisions.column("symbol")[-500:]) == {0, 1, 2, 3}
    assert again(live, pipeline).digests() == pipeline.digests()


def test_a_step_that_was_taken_back_too_early_waits_longer_the_next_time(live):
    _, budget, _ = run(live, 0, plan=["throttle"])
    patience = []
    for _ in range(5):
        budget._degrade()
        patience.append(budget._patience)
        budget.taken.clear()
    assert patience == [1, 2, 4, 8, 8]


def test_a_symbol_that_is_left_out_and_gets_a_late_fill_is_decided_for_again(live):
    pipeline = live.pipeline()
    budget = pipeline.budget = Budget(conf(plan=["symbols"]), pipeline, lambda text: None, True)
    budget._degrade()
    for k in range(100):
        pipeline.feed(live.chunk(k))
    assert np.flatnonzero(pipeline.features.left_out).tolist() == [2, 3]
    pipeline.apply(Control(kind=ControlKind.EXECUTION, symbol=HELD, key=99, side=Side.BUY, quantity=100.0, price=10.0, exec_id=7))
    for k in range(100, 300):
        pipeline.feed(live.chunk(k), 1)
    assert np.flatnonzero(pipeline.features.left_out).tolist() == [2]


def test_after_a_restart_what_was_given_up_comes_back(live):
    before, pipeline = live.pipeline(), live.pipeline()
    before.apply(Control(kind=ControlKind.THROTTLE, value=500e6))
    before.apply(Control(kind=ControlKind.FEWER_SYMBOLS, symbol=2, value=1.0))
    pipeline.restore(before.snapshot())
    assert pipeline.features.throttle_ns == 500 * MS
    Budget(conf(), pipeline, print, True).begin()
    pipeline.feed(live.chunk(0))
    assert pipeline.features.throttle_ns == 0
    assert not pipeline.features.left_out.any()
    control = pipeline.tables.control
    assert list(zip(control.column("kind"), control.column("symbol"))) == [(ControlKind.THROTTLE, 0), (ControlKind.FEWER_SYMBOLS, 2)]
    Budget(conf(), pipeline, print, True).begin()
    assert not pipeline.swaps.offered


def test_in_lock_step_the_time_of_the_wall_decides_nothing(live):
    pipeline, budget, told = run(live, ROWS, acts=False)
    assert len(told) == 1
    assert "From now on" not in told[0]
    assert pipeline.tables.control.rows == 0
    assert not budget.report()["acts"]
    assert pipeline.digests() == again(live, pipeline).digests()
    tap = SimpleNamespace(lock_step=True, heard=0)
    assert not Runtime(RuntimeConf(), tap, pipeline, told.append).budget.acts


def test_a_throttled_pipeline_goes_on_from_its_snapshot_as_it_was(live):
    one, other = live.pipeline(), live.pipeline()
    one.apply(Control(kind=ControlKind.THROTTLE, value=125e6))
    one.apply(Control(kind=ControlKind.FEWER_SYMBOLS, symbol=1, value=1.0))
    for k in range(500):
        one.feed(live.chunk(k))
    other.restore(one.snapshot())
    assert other.features.throttle_ns == 125 * MS
    rows = one.tables.decisions.rows
    for k in range(500, 1000):
        one.feed(live.chunk(k))
        other.feed(live.chunk(k))
    for name in ("ts", "symbol", "edge"):
        np.testing.assert_array_equal(one.tables.decisions.column(name)[rows:], other.tables.decisions.column(name))
    assert 1 not in one.tables.decisions.column("symbol")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"plan": ["less"]}, r"runtime\.budget\.plan is \['less'\]: expected a list of shadows, symbols, throttle, in the order in which they are taken\."),
        ({"keep": ["AAB"]}, r"runtime\.budget\.keep: 'AAB' is not in the universe\. .*"),
        ({"predict": StageBudget(-1.0)}, r"runtime\.budget\.predict\.p99_us is -1\.0: expected microseconds, or 0 for no limit\."),
        ({"recover_share": 0.0}, r"runtime\.budget\.recover_share is 0\.0: expected a share of the limit, above 0 and at most 1\."),
    ],
)
def test_a_budget_that_means_nothing_is_refused(live, wrong, said):
    with pytest.raises(ConfigError, match=said):
        Budget(conf(**wrong), live.pipeline(), print, True)
