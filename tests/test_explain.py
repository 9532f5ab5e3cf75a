"""Decisions of a recorded session rebuilt and explained: equal bit for bit, by plain arithmetic too, and what differs is told."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sets_common import noise_set

from tickarrow.configs.explain import ExplainConf
from tickarrow.pipeline import explain, explain_act, explain_check, run
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError, SessionError
from tickarrow.pipeline.explain_ensemble import forecast
from tickarrow.pipeline.explain_find import Decisions
from tickarrow.pipeline.explain_watch import Watch
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.replay import stored_universe
from tickarrow.pipeline.schemas import DECISIONS, ControlKind, Gate, OrderState, Reason
from tickarrow.pipeline.session import read_manifest, read_table
from tickarrow.pipeline.source import open_source

SYMBOLS = ["AAA", "BBB", "CCC", "DDD"]
CONFIGURATIONS = ("xgb00", "xgb01", "xgb02", "xgb03", "xgb04")
BANK = {"configurations": CONFIGURATIONS, "horizons_s": (1, 5, 30)}
EAGER = [
    f"universe.symbols=[{','.join(SYMBOLS)}]", "source.max_rows=4000", "features.throttle_ns=0", "ensemble.min_rows=5", "ensemble.min_outcomes=3",
    "ensemble.prior_s=1e6", "ensemble.audit_ns=2000000000", "risk.hurdle=-1", "risk.kelly=0.25", "risk.least_value=500",
    "+risk.sectors={AAA: one, BBB: one}", "risk.sector_cap=0.02", "risk.net_cap=0.03", "costs.impact_eta=0.02", "costs.adv=50000", "risk.participation=0.01",
    "costs.effective=0.02", "costs.per_share=0.0001", "costs.minimum=0.001",
]  # fmt: skip


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    home, conf = tmp_path_factory.mktemp("sets"), compose("backtest", EAGER)
    return {"a": noise_set(home / "a", conf, 10, **BANK), "b": noise_set(home / "b", conf, 20, **BANK)}


@pytest.fixture(scope="module")
def recorded(sets, tmp_path_factory):
    """A short run with a canary, a swap of all, and a halt."""
    more = [f"model_set={sets['a'].path}", f"models.canary.set={sets['b'].path}", "models.canary.symbols=[BBB]"]
    swaps = f"models.swaps=[{{at: 40, set: {sets['b'].path}}}, {{at: 60, set: {sets['a'].path}}}]"
    halt = "source.halts=[{symbol: DDD, at_s: 30, for_s: 10}]"
    home = tmp_path_factory.mktemp("recorded")
    with contextlib.chdir(home):
        run.main(compose("run", [*EAGER, *more, swaps, halt, "record.state_s=15", f"record.path={home / 'session'}"]))
    return home / "session"


@pytest.fixture
def explained(recorded, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; what it prints and what it wrote."""
    monkeypatch.chdir(tmp_path)

    def call(session=recorded, **asked):
        explain.main(ExplainConf(session=str(session), **asked))
        path = tmp_path / "explain.json"
        return capsys.readouterr().out, json.loads(path.read_text()) if path.is_file() else None

    return call


def copied(session, to, **changed):
    """A copy of a session without its saved states, with other columns of DECISIONS, by a function of each."""
    shutil.copytree(session, to, ignore=shutil.ignore_patterns("state-*.bin"))
    table = read_table(session, "decisions")
    for name, change in changed.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(name), [change(table[name].to_numpy().copy())])
    with pa.OSFile(str(to / "decisions.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return to


def test_a_thousand_random_decisions_rebuild_equal(explained, recorded):
    decisions = read_table(recorded, "decisions")
    assert len(decisions) > 1000
    assert len(pc.unique(decisions["reason"])) >= 5
    assert set(pc.unique(decisions["model_set"]).to_pylist()) == {0, 1}
    rows = decisions.num_rows
    said, found = explained(random=1000, seed=3)
    assert 1000 <= found["rows_compared"] <= rows
    assert said == "1,000 of 1,000 rebuilt equal\n"
    assert (found["checked"], found["equal"], found["different"]) == (1000, 1000, [])
    assert len(set(found["decisions"])) == 1000
    worst = found["largest_difference_ulps"]
    for name in ("rebuilt row", "decision by plain arithmetic", "order", "weights since their refresh"):
        assert worst[name] == 0.0
    assert worst["standardised predictions"] <= explain_check.STANDARDISED


def test_fewer_decisions_than_asked_for_are_all_checked(explained, recorded):
    orders = pc.sum(pc.equal(read_table(recorded, "decisions")["reason"], Reason.ORDER)).as_py()
    assert explained(random=100000, reason="order")[0] == f"{orders:,} of {orders:,} rebuilt equal\n"


def test_an_order_is_explained_step_by_step_to_its_fill(explained, recorded):
    key = read_table(recorded, "fills")["key"][-1].as_py()
    orders = [r for r in read_table(recorded, "orders").to_pylist() if r["key"] == key]
    row = read_table(recorded, "decisions").filter(pc.field("seq") == orders[0]["seq"]).to_pylist()[0]
    said, found = explained(decision=str(row["seq"]))
    assert found["equal"]
    steps = {s["title"]: s for s in found["steps"]}
    assert list(steps)[:4] == ["quote", "position before", "control events", "features"]
    assert list(steps)[-3:] == ["decision", f"order {key}", f"fills of order {key}"]
    quote = dict(zip(steps["quote"]["columns"], steps["quote"]["rows"][0]))
    tick = read_table(recorded, "ticks").slice(row["seq"], 1).to_pylist()[0]
    assert (quote["bid"], quote["ask"]) == (tick["bid"], tick["ask"])
    assert [len(r) for r in steps["weights"]["rows"]] == [4] * 5  # name and three horizons
    chosen = next(r for r in steps["costs"]["rows"] if r[0].endswith("*"))
    cost = dict(zip(steps["costs"]["columns"], chosen))
    assert cost["cost, bp"] == row["cost"] == pytest.approx(cost["spread, bp"] + cost["fees, bp"] + cost["impact, bp"])
    assert [g[0] for g in steps["gates"]["rows"]] == [g.name for g in Gate]
    assert all((g[1] == "passed") == bool(row["verdict"] & Gate[g[0]]) for g in steps["gates"]["rows"])
    assert [r[2] for r in steps[f"order {key}"]["rows"]] == [OrderState(r["state"]).name for r in orders]
    assert sum(r[2] for r in steps[f"fills of order {key}"]["rows"]) == pytest.approx(orders[0]["quantity"])
    assert "checks hold: the recorded row is the rebuilt one bit for bit" in said
    assert f"order {key}: its life in ORDERS" in said


def test_a_late_decision_is_rebuilt_from_a_saved_state_and_from_the_begin_alike(explained, recorded, tmp_path):
    late = explained(decision="last")[1]
    assert 0 < late["state_chunk"] < read_table(recorded, "ticks")["chunk"][late["decision"]].as_py()
    whole = explained(copied(recorded, tmp_path / "without states"), decision="last")[1]
    assert whole["state_chunk"] == -1
    for a, b in zip(late["steps"], whole["steps"]):
        assert a["title"] == b["title"]
        if a["title"] != "features":  # of how long a past they are unusual
            assert a["rows"] == b["rows"]
    assert late["equal"]
    assert whole["equal"]


def test_decisions_without_an_order_are_explained_too(explained, recorded):
    for reason in pc.unique(read_table(recorded, "decisions")["reason"]).to_pylist()[1:3]:
        _, found = explained(decision="last", reason=Reason(reason).name.lower())
        assert found["equal"], Reason(reason)
        assert found["reason"] == Reason(reason).name


def test_the_first_decision_and_one_by_symbol_and_time(explained, recorded):
    rows = read_table(recorded, "decisions").to_pylist()
    assert explained(decision=str(rows[0]["seq"]))[1]["equal"]
    assert compose("explain", ["session=DIR", "decision=CCC@2026-01-05T14:31:00.5"]).decision == "CCC@2026-01-05T14:31:00.5"
    assert compose("explain", ["session=DIR", "decision=5906"]).decision == "5906"
    own = [r for r in rows if r["symbol"] == 2]
    chosen = own[len(own) // 2]
    whole = np.datetime64(chosen["ts"], "ns")
    for when in (f"{whole}"[:26], f"{whole}"[11:26]):  # to the microsecond: the last one until then
        _, found = explained(decision=f"CCC@{when}")
        assert found["symbol"] == "CCC"
        assert found["decision"] == [r["seq"] for r in own if r["ts"] <= chosen["ts"] // 1000 * 1000][-1]


def test_without_a_decision_the_last_ones_that_pass_the_filters_are_listed(explained, recorded):
    rows = read_table(recorded, "decisions").filter(pc.field("symbol") == 0).to_pylist()
    said, found = explained(symbol="AAA", rows=3)
    assert found is None
    assert f"{len(rows):,} of {read_table(recorded, 'decisions').num_rows:,} decisions" in said
    assert [int(n) for n in re.findall(r"^│ +(\d+) │", said, re.M)] == [r["seq"] for r in rows[-3:]]
    buys = explained(side="buy", reason="order", rows=1000)[0]
    assert "sell" not in buys.split("reasons:")[0]


def test_a_row_that_was_recorded_otherwise_is_told(explained, recorded, tmp_path):
    def changed(target):
        target[7] += 1.0
        return target

    session = copied(recorded, tmp_path / "altered", target=changed)
    seq = read_table(session, "decisions")["seq"][7].as_py()
    with pytest.raises(SessionError, match=rf"decision {seq} of .*altered differs: rebuilt row: target is .*, recorded .* All is in .*explain\.json"):
        explained(session, decision=str(seq))
    assert not json.loads((tmp_path / "explain.json").read_text())["equal"]
    with pytest.raises(SessionError, match=rf"decision {seq} of .*altered is the first that differs from what was recorded\. Explain that one: decision={seq}"):
        explained(session, decision="last")
    n = pc.sum(pc.equal(read_table(session, "decisions")["reason"], Reason.WARMING_UP)).as_py()
    with pytest.raises(SessionError, match=rf"1 decision of .*altered differs from what was recorded: {seq}: rebuilt row: target is"):
        explained(session, random=100000, reason="warming_up")
    found = json.loads((tmp_path / "explain.json").read_text())
    assert (found["checked"], found["equal"], found["different"][0]["decision"]) == (n, n - 1, seq)


def test_what_cannot_be_explained_is_one_sentence(explained, recorded, tmp_path):
    seq = read_table(recorded, "decisions")["seq"].to_numpy()
    missing = next(i for i in range(int(seq[-1])) if i not in seq)
    for asked, error, said in (
        ({"decision": str(missing)}, SessionError, f"has no decision {missing}: it has {len(seq):,}, numbered by their ticks, from {seq[0]} to {seq[-1]};"),
        ({"decision": "99999999999999999999999"}, SessionError, "has no decision 99999999999999999999999"),
        ({"decision": "first"}, ConfigError, "decision is 'first': expected decision=SEQ, decision=last or decision=SYMBOL@TIME"),
        ({"decision": "AAB@14:31:00"}, ConfigError, "'AAB' is not in the session's universe. Did you mean AAA"),
        ({"decision": "AAA@2020-01-01"}, SessionError, "AAA has no decision until then. The session begins at 2026-01-05"),
        ({"decision": "AAA@noon"}, ConfigError, "decision=SYMBOL@TIME is 'noon'"),
        ({"reason": "ordre"}, ConfigError, "reason is 'ordre'. Did you mean order"),
        ({"reason": "killed"}, SessionError, "has no decision with reason=killed. Its reasons are "),
        ({"side": "up"}, ConfigError, "side is 'up': expected buy or sell."),
        ({"random": 5, "decision": "last"}, ConfigError, "decision and random are both given"),
        ({"random": -1}, ConfigError, "^random is -1: expected zero or more"), ({"random": 5, "seed": -1}, ConfigError, "^seed is -1: expected zero or more"),
        ({"rows": 0}, ConfigError, "^rows is 0: expected one or more"),
    ):
        with pytest.raises(error, match=said):
            explained(**asked)
    without = copied(recorded, tmp_path / "without frames")
    for path in without.glob("chunks-*.bin"):
        path.unlink()
    with pytest.raises(SessionError, match="without frames"):
        explained(without, decision="last")
    old = copied(recorded, tmp_path / "old")
    table = read_table(recorded, "decisions").drop_columns(["verdict"])
    with pa.OSFile(str(old / "decisions.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(SessionError, match=r"was recorded by an earlier version, without DECISIONS\.verdict"):
        explained(old)


def test_an_orders_key_leads_to_its_decision_and_the_kill_switch_takes_none_from_it(recorded, tmp_path):
    universe, orders = stored_universe(read_manifest(recorded)), read_table(recorded, "orders")
    found = Decisions.read(recorded, universe)
    first = {row["key"]: row["seq"] for row in reversed(orders.to_pylist()) if row["state"] == OrderState.INTENT}
    key = next(k for k in first if k not in found.columns["seq"])
    with pytest.raises(SessionError, match=rf"has no decision {key}: .* Order {key} is of decision {first[key]}\.$"):
        found.named(str(key), np.arange(len(found)))
    # a close of the same symbol before the next tick stands in ORDERS with the same seq
    at = orders["key"].to_pylist().index(key)
    close = orders.slice(at, 1).set_column(orders.schema.get_field_index("key"), orders.schema.field("key"), [[10**9]])
    session = copied(recorded, tmp_path / "closed")
    with pa.OSFile(str(session / "orders.arrow"), "wb") as sink, pa.ipc.new_file(sink, orders.schema) as writer:
        writer.write_table(pa.concat_tables([orders, close]))
    np.testing.assert_array_equal(Decisions.read(session, universe).key, found.key)


@pytest.fixture(scope="module")
def ticks():
    conf = compose("backtest", EAGER)
    return list(open_source(conf.source, conf.universe).blocks())


@pytest.mark.parametrize(
    "more",
    [
        ["ensemble.pooled=true"], ["ensemble=research", "ensemble.window_rows=40"], ["ensemble.audit_ns=0", "ensemble.refresh_ns=0"],
        ["ensemble.shrinkage=none", "ensemble.equal_share=0", "ensemble.positive=false", "risk.profit_barrier=inf", "risk.stop_barrier=20"],
        ["ensemble.refresh_ns=5000000000", "risk.kelly=inf", "costs=ibkr_tiered", "risk.throttle_from=0.00001", "risk.throttle_to=0.0005",
         "risk.limits.daily_loss=15", "risk.limits.per_minute=12", "risk.limits.collar_trade=4"],
    ],
    ids=["pooled", "research", "all pairs at each row", "as observed, wide barriers", "few refreshes"],
)  # fmt: skip
def test_plain_arithmetic_follows_the_kernels_under_other_settings(sets, ticks, more):
    conf = compose("backtest", [*EAGER, *more])
    universe = open_source(conf.source, conf.universe).universe
    pipeline = Pipeline(conf, universe, sets["a"], open_engine(sets["a"], conf.models), recorded=partial(Table, keep=True))
    reasons, tracked = [], set()

    def take(moment):
        found = forecast(moment, pipeline.ensemble.horizons_ns, pipeline.ensemble.params[0])
        decided = explain_act.decide(moment, pipeline.act)
        checks = [*explain_check.forecast_checks(moment, found), *explain_check.decision_checks(moment, decided)]
        if found.solved:
            checks += explain_check.weight_checks(moment, found.solved)
            tracked.add(found.solved.spectrum[0].tracked)
        assert [c for c in checks if not c.ok] == []
        reasons.append(Reason(moment.decision["reason"]))

    Watch(pipeline, range(0, 4000, 7), take)
    push_and_fill(pipeline, ticks)
    assert len(set(reasons)) >= 5
    assert tracked == ({False} if "ensemble.refresh_ns=0" in more or "ensemble.refresh_ns=5000000000" in more else {False, True})


def push_and_fill(pipeline, blocks):
    """Blocks in parts; two of three intents are filled after theirs, a link is down for a while, and a kill ends it."""
    part = 0
    for rows in blocks:
        batch = pipeline.from_rows.step(rows)
        for lo in range(batch.lo, batch.hi, 97):
            pipeline.step(type(batch)(batch.segment, lo, min(lo + 97, batch.hi)))
            made, part = pipeline.intents, part + 1
            for i in range(made.lo, made.hi):
                if made.state[i] == OrderState.INTENT and part % 3:
                    row = {name: made.segment.columns[name][i].item() for name in ("symbol", "key", "side", "quantity")}
                    price, number = float(made.limit[i]), int(made.key[i])
                    pipeline.apply(Control(kind=ControlKind.EXECUTION, ts=pipeline.ts, price=price, exec_id=number, **row))
            if part in (20, 22):
                pipeline.apply(Control(kind=ControlKind.HEALTH, symbol=-1, value=2.0 if part == 20 else 0.0))
            if part == 38:
                pipeline.apply(Control(kind=ControlKind.KILL))


def test_rows_are_compared_by_their_bits():
    assert explain_check.same_bits(float("nan"), float("nan"))
    assert not explain_check.same_bits(0.0, -0.0)
    assert explain_check.ulps([1.0, 2.0], [1.0, np.nextafter(2.0, 3)]) == 1.0
    assert explain_check.ulps([1.0, np.nan], [1.0, 0.0]) == np.inf
    assert DECISIONS.names[-2] == "verdict"
