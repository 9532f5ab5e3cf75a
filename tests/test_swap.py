"""Swaps, canaries, shadows: which set predicted which row, however the stream is cut, and what is refused, by its text."""

from __future__ import annotations

import dataclasses
from functools import partial

import naive_decide as naive
import numpy as np
import pytest
from decide import due_rows, market, predictions_of, predictions_table, ticks_table, windows
from sets_common import S, noise_set
from test_ensemble import HORIZONS, PRIOR, SMALL, make
from test_parity import EAGER

from tickarrow.configs.models import CanaryConf, SwapConf
from tickarrow.pipeline import schemas, shadow, swap
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decide_view import view
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict import Served
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.schemas import NO_CHUNK, ControlKind
from tickarrow.pipeline.source import open_source

SYMBOLS = ["AAA", "BBB", "CCC", "DDD"]
OVERRIDES = ["source.max_rows=3000", f"universe.symbols=[{','.join(SYMBOLS)}]", *EAGER]


@pytest.fixture(scope="module")
def conf():
    return compose("backtest", OVERRIDES)


@pytest.fixture(scope="module")
def ticks(conf):
    """(source, its blocks)."""
    source = open_source(conf.source, conf.universe)
    return source, list(source.blocks())


@pytest.fixture(scope="module")
def sets(conf, tmp_path_factory):
    """Two sets of the same configurations, one of others, and two that do not fit."""
    home = tmp_path_factory.mktemp("sets")
    return {
        "a": noise_set(home / "a", conf, 10), "b": noise_set(home / "b", conf, 20),
        "c": noise_set(home / "c", conf, 30, ("xgb01", "xgb02", "xgb03")),
        "slow": noise_set(home / "slow", conf, 40, horizons_s=(1, 60)), "foreign": noise_set(home / "foreign", conf, 50, digest="2" * 32),
    }  # fmt: skip


@pytest.fixture
def pipeline_of(conf, sets):
    """Makes a pipeline of a set whose predictions are kept."""

    def build(name="a", record=True):
        recorded = compose("backtest", [*OVERRIDES, f"record.predictions={str(record).lower()}"])
        table = partial(Table, keep=True, capacity=8192)
        universe = open_source(recorded.source, recorded.universe).universe
        return Pipeline(recorded, universe, sets[name], open_engine(sets[name], recorded.models), recorded=table, simulate_fills=True)

    return build


def models_conf(sets, swaps=(), shadows=(), canary=None, symbols=()):
    """The `models` group with swaps [(seconds, name)]."""
    c = compose("backtest", OVERRIDES).models
    c.swaps = [SwapConf(str(at), str(sets[name].path)) for at, name in swaps]
    c.shadow = [str(sets[name].path) for name in shadows]
    c.canary = CanaryConf(str(sets[canary].path) if canary else None, list(symbols))
    return c


def push(pipeline, blocks, cut):
    """All rows, in parts of `cut`."""
    for rows in blocks:
        batch = pipeline.from_rows.step(rows)
        for lo in range(batch.lo, batch.hi, cut):
            pipeline.step(type(batch)(batch.segment, lo, min(lo + cut, batch.hi)))
    return pipeline


def decided(pipeline, column):
    return pipeline.tables.decisions.column(column)


def margins(model_set, x):
    return np.stack([m.margins(x) for m in model_set.models], 1)


def features_of(pipeline_of, blocks):
    """Rows of FEATURES, which no set changes."""
    pipeline, seen = pipeline_of(), []
    for rows in blocks:
        batch = pipeline.features.step(pipeline.from_rows.step(rows))
        seen.append((batch.view("ts").copy(), batch.view("symbol").copy(), batch.view("x").copy()))
    return [np.concatenate(part) for part in zip(*seen)]


@pytest.fixture(scope="module")
def middle(ticks):
    """Times in the middle of the market, seconds after its begin: of no row, and of a row."""
    source, blocks = ticks
    ts = np.concatenate([b.ts for b in blocks])
    return (int(ts[1200]) - source.start_ns) / 1e9 + 1e-6, (int(ts[2000]) - source.start_ns) / 1e9


@pytest.mark.parametrize("cut", [1, 700, 8192])
def test_rows_before_a_swap_are_of_the_old_set_and_rows_from_it_on_of_the_new_one(pipeline_of, sets, ticks, middle, cut):
    source, blocks = ticks
    pipeline = pipeline_of()
    swap.plan(pipeline, models_conf(sets, [(middle[1], "a"), (middle[0], "b")]), source.start_ns)  # and back; the order of asking says nothing
    push(pipeline, blocks, cut)
    ts, _, x = features_of(pipeline_of, blocks)
    at = [source.start_ns + round(s * 1e9) for s in middle]
    of_b = (ts >= at[0]) & (ts < at[1])
    assert 50 < of_b.sum() < len(ts) - 50
    expected = np.where(of_b[:, None], margins(sets["b"], x), margins(sets["a"], x))
    np.testing.assert_array_equal(pipeline.tables.predictions.column("y").view(np.uint32), expected.view(np.uint32))
    np.testing.assert_array_equal(decided(pipeline, "model_set"), of_b)
    control = pipeline.tables.control
    assert control.column("kind").tolist() == [ControlKind.MODEL_SWAP] * 2
    assert control.column("value").tolist() == [1.0, 0.0]
    assert control.column("symbol").tolist() == [-1, -1]
    every = np.concatenate([b.ts for b in blocks])
    assert control.column("chunk").tolist() == [np.searchsorted(every, t) - 1 for t in at]  # the last row before: a chunk is a row here
    assert pipeline.model_set is sets["a"]


def test_a_swap_to_other_configurations_does_not_depend_on_the_cut(pipeline_of, sets, ticks, middle):
    source, blocks = ticks
    digests, kept = [], []
    for cut in (1, 333, 8192):
        pipeline = pipeline_of(record=False)
        swap.plan(pipeline, models_conf(sets, [(middle[0], "c"), (middle[1], "b")]), source.start_ns)
        push(pipeline, blocks, cut)
        digests.append(pipeline.digests())
        kept.append([view(pipeline.ensemble, k, 0).prior for k in range(len(SYMBOLS))])
    assert digests[0] == digests[1] == digests[2]
    np.testing.assert_array_equal(kept[0], np.tile(sets["b"].ic, (len(SYMBOLS), 1, 1)))
    assert pipeline.predict.sets[0].table is pipeline.predict.sets[2].table  # as many models
    assert np.bincount(decided(pipeline, "model_set")).min() > 50
    assert digests[0] != push(pipeline_of(record=False), blocks, 8192).digests()


def test_intents_of_a_block_with_a_swap_are_those_of_its_parts(pipeline_of, sets, ticks, middle):
    source, blocks = ticks
    pipeline = pipeline_of()
    swap.plan(pipeline, models_conf(sets, [(middle[0], "b")]), source.start_ns)
    seen = decisions = 0
    for rows in blocks:
        made = pipeline.push(rows)
        decisions += len(made)
        seen += len(pipeline.intents)
    assert decisions == pipeline.tables.decisions.rows
    assert seen == pipeline.tables.orders.rows
    assert seen > 0


def test_the_canary_decides_for_its_symbols_alone(pipeline_of, sets, ticks):
    source, blocks = ticks
    _, symbol, x = features_of(pipeline_of, blocks)
    of_b = np.isin(symbol, [1, 3])
    expected = np.where(of_b[:, None], margins(sets["b"], x), margins(sets["a"], x))
    runs = []
    for cut in (1, 50, 8192):
        pipeline = pipeline_of()
        swap.plan(pipeline, models_conf(sets, canary="b", symbols=["BBB", "DDD"]), source.start_ns)
        push(pipeline, blocks, cut)
        np.testing.assert_array_equal(pipeline.tables.predictions.column("y").view(np.uint32), expected.view(np.uint32))
        np.testing.assert_array_equal(decided(pipeline, "model_set"), of_b)
        runs.append(pipeline.digests())
    assert runs[0] == runs[1] == runs[2]
    control = pipeline.tables.control
    assert list(zip(control.column("chunk"), control.column("symbol"), control.column("value"))) == [(NO_CHUNK, 1, 1.0), (NO_CHUNK, 3, 1.0)]
    alone = {name: push(pipeline_of(name), blocks, 8192) for name in ("a", "b")}
    for column in ("edge", "p_up", "horizon"):  # the forecast of a symbol depends on its own set alone
        both = np.where(of_b, decided(alone["b"], column), decided(alone["a"], column))
        np.testing.assert_array_equal(decided(pipeline, column), both, err_msg=column)


def test_a_shadow_changes_no_decision_and_its_disagreement_is_that_of_its_definition(pipeline_of, sets, ticks, middle):
    source, blocks = ticks
    plain = pipeline_of()
    swap.plan(plain, models_conf(sets, [(middle[0], "b")]), source.start_ns)
    push(plain, blocks, 8192)
    ts, _, x = features_of(pipeline_of, blocks)
    first = ts < source.start_ns + round(middle[0] * 1e9)
    y_c = margins(sets["c"], x).astype(float)
    for cut in (1, 8192):
        pipeline = pipeline_of()
        swap.plan(pipeline, models_conf(sets, [(middle[0], "b")], shadows=["c", "a"]), source.start_ns)
        push(pipeline, blocks, cut)
        assert pipeline.digests() == plain.digests()
        for s in pipeline.shadows:
            s.stop()
        said = pipeline.shadows[0].summary()
        assert (said["name"], said["rows"], said["missed"]) == ("c", len(ts), 0)
        assert said["ns_per_row"] > 0
        for period, rows, live in zip(pipeline.shadows[0].periods, (first, ~first), ("a", "b")):
            y = margins(sets[live], x).astype(float)
            table = period.found.table()
            assert [(r["configuration"], r["horizon_s"]) for r in table] == [("xgb01", 1.0), ("xgb01", 5.0), ("all", 1.0), ("all", 5.0)]
            for k, r in enumerate(table):
                h = k % 2
                one, two = (y[rows, 2 + h], y_c[rows, h]) if k < 2 else (y[rows][:, h::2].mean(1), y_c[rows][:, h::2].mean(1))
                assert r["rows"] == rows.sum()
                assert r["max_abs"] == pytest.approx(np.abs(one - two).max(), rel=1e-9)
                assert r["mean_abs"] == pytest.approx(np.abs(one - two).mean(), rel=1e-9)
                assert r["correlation"] == pytest.approx(np.corrcoef(one, two)[0, 1], abs=1e-9)
                assert r["sign_agreement"] == pytest.approx((np.sign(one) == np.sign(two)).mean())
        assert all(r["max_abs"] == 0.0 and r["sign_agreement"] == 1.0 for r in pipeline.shadows[1].periods[0].found.table())  # itself


def test_a_shadow_beside_the_loop_counts_what_it_misses(pipeline_of, sets, ticks, tmp_path, monkeypatch):
    monkeypatch.setattr(shadow, "RING", 64)
    pipeline = pipeline_of()
    swap.plan(pipeline, models_conf(sets, shadows=["b"]), 0, beside=True)
    push(pipeline, ticks[1], 8192)
    s = pipeline.shadows[0]
    s.start()
    s.stop()
    n = pipeline.tables.decisions.rows
    assert (s.worked, s.summary()["missed"]) == (64, n - 64)
    (written,) = shadow.write(pipeline.shadows, tmp_path)
    assert written["name"] == "b"
    assert {p.name for p in tmp_path.iterdir()} == {"shadow.json", "shadow.parquet"}


def test_predictions_are_margins_after_the_links_of_their_models(conf, tmp_path):
    plain = noise_set(tmp_path / "plain", conf, 60, ("one",))
    entries = [dataclasses.replace(e, link=link) for e, link in zip(plain.entries, ("logistic", "exponential"))]
    x = np.random.default_rng(5).normal(size=(20, len(plain.columns))).astype(np.float32)
    y = [np.zeros((20, 2), np.float32) for _ in range(2)]
    for model_set, out in zip((plain, dataclasses.replace(plain, entries=entries)), y):
        Served(model_set, open_engine(plain, conf.models), Table(schemas.predictions_schema(2, ""))).predict(x, 5, 20, out)
    m = y[0][:15].astype(float)
    np.testing.assert_allclose(y[1][:15], np.stack([1 / (1 + np.exp(-m[:, 0])), np.exp(m[:, 1])], 1), rtol=1e-6)
    np.testing.assert_array_equal(y[1][15:], 0.0)


def test_missing_predictions_are_not_compared(sets):
    found = shadow.Disagreement(sets["a"], sets["b"])
    y = np.zeros((3, 4), np.float32)
    y[0, 0] = np.nan
    found.add(y, y)
    assert [r["rows"] for r in found.table()] == [2, 3, 3, 3, 2, 3]
    assert {r["correlation"] for r in found.table()} == {None}  # of constants


def test_a_snapshot_after_a_swap_goes_on_as_if_it_had_not_been_taken(pipeline_of, sets, ticks, middle):
    source, blocks = ticks
    plan = models_conf(sets, [(middle[0], "c")])
    whole, first, second = (pipeline_of(record=False) for _ in range(3))
    for p in (whole, first):
        swap.plan(p, plan, source.start_ns)
    swap.open_set(second, str(sets["c"].path), plan)  # the same list of sets
    push(whole, blocks, 8192)
    ts = np.concatenate([b.ts for b in blocks])
    rows = whole.tables.ticks
    at = int(np.searchsorted(ts, source.start_ns + round(middle[1] * 1e9)))
    segment = rows.segment
    first.step(type(rows.empty())(segment, 0, at))
    second.restore(first.snapshot())
    made = second.step(type(rows.empty())(segment, at, rows.size))
    n = len(made)
    assert n > 50
    for column in ("edge", "cost", "horizon", "p_up", "target", "reason", "model_set"):
        np.testing.assert_array_equal(decided(second, column), decided(whole, column)[-n:], err_msg=column)


def refused(pipeline, name_or_path, conf):
    before = list(pipeline.predict.sets)
    with pytest.raises(ModelError) as e:
        swap.open_set(pipeline, name_or_path, conf)
    assert pipeline.predict.sets == before
    return str(e.value)


def test_what_does_not_fit_is_refused_by_name(pipeline_of, sets, tmp_path):
    pipeline, c = pipeline_of(), models_conf(sets)
    assert refused(pipeline, str(sets["slow"].path), c) == (
        "model set 'slow' forecasts 1, 60 s, the running set 'a' 1, 5 s: sets of one session have the same horizons. "
        "Train it again with these (training.horizons_s)."
    )
    assert refused(pipeline, str(sets["foreign"].path), c).startswith("model set 'foreign' was trained on other features: the columns have the same names")
    assert refused(pipeline, str(sets["c"].path), c) == (
        "model set 'c' has 6 models, the recorded table of predictions is of 4. Record without predictions (record.predictions=false)."
    )
    c.registry = str(tmp_path)
    assert refused(pipeline, "promoted", c).startswith(f"no model set of {tmp_path} is promoted.")
    assert refused(pipeline, "nine", c).startswith("model set 'nine' is neither a folder with a manifest.json nor a set in")
    assert swap.open_set(pipeline, str(sets["a"].path), c) == 0  # it is there
    with pytest.raises(ModelError, match=r"canary: model set 'c' has other configurations than 'a' \(xgb01, xgb02, xgb03\)\."):
        swap.plan(pipeline_of(record=False), models_conf(sets, canary="c", symbols=["AAA"]), 0)


def test_another_target_under_the_same_name_is_refused(sets):
    other = dataclasses.replace(sets["b"], entries=[dataclasses.replace(e, target="barrier") for e in sets["b"].entries])
    with pytest.raises(ModelError, match="configuration 'xgb00' forecasts barrier in bp, that of the running set 'a' forward mid return in bp"):
        swap.check_forecasts(sets["a"], other)
    swap.check_forecasts(sets["c"], dataclasses.replace(other, configurations=["new0", "new1"]))


@pytest.mark.parametrize(
    ("canary", "symbols", "said"),
    [
        (None, ["AAA"], "models.canary.symbols names symbols but no set decides for them. Name one: models.canary.set=NAME."),
        ("b", [], "models.canary.set names a set but no symbols. Name them: 'models.canary.symbols=[AAA]'."),
        ("b", ["AAB"], "models.canary.symbols: 'AAB' is not in the universe. Did you mean AAA"),
    ],
)
def test_a_canary_needs_a_set_and_symbols(pipeline_of, sets, canary, symbols, said):
    with pytest.raises(ConfigError) as e:
        swap.plan(pipeline_of(), models_conf(sets, canary=canary, symbols=symbols), 0)
    assert str(e.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("90", 1000 * S + 90 * S), ("0.25", 1000 * S + S // 4), ("1970-01-01T00:00:01", S), ("1970-01-01T01:00:00+01:00", 0),
        ("2026-01-05T14:35:00.123456Z", 1_767_623_700_123_456_000),
    ],
)  # fmt: skip
def test_a_time_is_seconds_after_the_begin_or_a_date(text, ns):
    assert swap.time_ns(text, 1000 * S, "at") == ns


@pytest.mark.parametrize("text", ["soon", "nan", "inf", ""])
def test_what_is_no_time_is_named(text):
    with pytest.raises(ConfigError) as e:
        swap.time_ns(text, 0, "models.swaps[0].at")
    assert str(e.value) == f"models.swaps[0].at is {text!r}. Give seconds after the begin (90) or a date and time (2026-01-05T15:30:00)."


def test_a_loop_of_ones_own_has_no_begin():
    assert swap.time_ns("1970-01-01T00:00:01", None, "at") == S
    with pytest.raises(ConfigError, match=r"at is '90' seconds, and your own loop has no begin to count from\. Give a date and time"):
        swap.time_ns("90", None, "at")


def test_events_wait_for_their_time_and_an_offer_for_the_next_chunk():
    seen = []
    swaps = swap.Swaps(lambda event: seen.append(event.value))
    assert swaps.due == swap.FOREVER
    for ns, value in ((30, 3.0), (10, 1.0), (10, 2.0)):
        swaps.schedule(ns, Control(value=value))
    assert swaps.due == 10
    swaps.begin(12)
    assert (seen, swaps.due) == ([1.0, 2.0], 30)
    swaps.offer(Control(value=9.0))
    assert swaps.due == swap.NOW
    swaps.begin(13)
    assert (seen, swaps.due) == ([1.0, 2.0, 9.0], 30)
    swaps.begin(99)
    assert (seen[-1], swaps.due) == (3.0, swap.FOREVER)


# --- state of the ensemble


def stream(seed, n=90, missing=0.1):
    ticks = market(seed, n, 2)
    return ticks, predictions_of(seed, due_rows(ticks), PRIOR.size, missing)


def stepped(stage, ticks, y, at, kept, prior):
    """Forecasts with a swap before tick `at`; `y`: predictions of the old configurations and of the new ones, all rows of each."""
    table = ticks_table(ticks)
    before, after = (list(windows(predictions_table(ticks, of), table, [at])) for of in y)
    stage.step(*before[0])
    stage.adopt(prior, np.array(kept))
    stage.step(*after[1])
    return np.stack([stage._out.column(c) for c in ("alpha", "sigma", "ic")], axis=2)


@pytest.mark.parametrize("seed", range(6))
def test_configurations_that_change_places_keep_their_state(seed):
    ticks, y = stream(seed)
    now = type(SMALL)(**{**SMALL.__dict__, "refresh_ns": 0})
    order = [2, 0, 1]
    moved = y.reshape(len(y), 3, 2)[:, order].reshape(len(y), 6)
    got = stepped(make(now), ticks, (y, moved), 45, order, PRIOR[order])
    expected, _ = naive.ensemble(now, HORIZONS, PRIOR, 2, ticks, y)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("seed", range(6))
def test_a_new_configuration_begins_with_the_ic_of_its_set_and_one_that_left_is_forgotten(seed):
    ticks, y = stream(seed, missing=0.0)  # else outcomes are entered at other times without those that left
    now = type(SMALL)(**{**SMALL.__dict__, "refresh_ns": 0})
    prior = np.array([[0.4, 0.3], [0.2, 0.1]])
    rows = sum(t[5] is not None for t in ticks[:45])
    after = y[:, [2, 3, 0, 1]]  # the second one stays and is the first now; the other one is new
    got = stepped(make(now), ticks, (y, after), 45, [1, -1], prior)
    as_if = after.copy()
    as_if[:rows, 2:] = np.nan  # it has predicted nothing until now
    as_if[:rows, :2] = y[:rows, 2:4]
    expected, _ = naive.ensemble(now, HORIZONS, prior, 2, ticks, as_if)
    np.testing.assert_allclose(got[rows:], expected[rows:], rtol=1e-6, atol=1e-9, equal_nan=True)


def test_another_prior_of_one_symbol_is_used_at_its_next_row():
    ticks, y = stream(3)
    stage = make()
    stage.adopt(PRIOR + 0.1, np.arange(3), 1)
    for batch, window in windows(predictions_table(ticks, y), ticks_table(ticks), ()):
        stage.step(batch, window)
    got = np.stack([stage._out.column(c) for c in ("alpha", "sigma", "ic")], axis=2)
    symbol = stage._out.column("symbol")
    for s, prior in ((0, PRIOR), (1, PRIOR + 0.1)):
        expected, _ = naive.ensemble(SMALL, HORIZONS, prior, 2, ticks, y)
        np.testing.assert_allclose(got[symbol == s], expected[symbol == s], rtol=1e-6, atol=1e-9, equal_nan=True)
