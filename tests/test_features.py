"""The stage TICKS -> FEATURES: columns and digest, rows, cuts, snapshots, a user's own family, and what a user can get wrong."""

import dataclasses
import hashlib
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import feature_ticks as make
import naive_features as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import tickarrow.conf
from tickarrow.configs.features import BarsConf, CrossConf, FamilyConf, FeaturesConf
from tickarrow.jit import flow, moments, quote, volatility
from tickarrow.pipeline import features_registry
from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.features import Features, feature_columns, feature_digest, features_table, register
from tickarrow.pipeline.schemas import Kind
from tickarrow.pipeline.universe import Universe

pytestmark = pytest.mark.pure
ALL = ("quote", "flow", "volatility")


def conf(*families, throttle_ns=0):
    return FeaturesConf([f if isinstance(f, FamilyConf) else FamilyConf(f) for f in families], throttle_ns)


def core():
    loaded = OmegaConf.load(Path(tickarrow.conf.__file__).parent / "features" / "core.yaml")
    del loaded["defaults"]
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(FeaturesConf), loaded))


def run(stage, batches):
    """Rows of all batches: seq, ts, symbol and x as bytes of one row each."""
    out = []
    for b in batches:
        rows = stage.step(b)
        out += [(int(rows.seq[i]), int(rows.ts[i]), int(rows.symbol[i]), rows.x[i].tobytes()) for i in range(rows.lo, rows.hi)]
    return out


def contents(snapshot):
    """Bytes of every field; the padding between fields means nothing."""
    return {k: fields(v) for k, v in snapshot.items()}


def fields(array):
    """Bytes of every field of a record array, whatever is nested in it."""
    if array.dtype.names is None:
        return array.tobytes()
    return {name: fields(array[name]) for name in array.dtype.names}


def through_a_file(array):
    """As a session keeps it: the record type is lost."""
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    loaded = np.load(file)
    assert loaded.dtype.type is not np.record
    return loaded


def test_core_has_41_columns_in_order_of_the_families():
    columns = feature_columns(core())
    assert len(columns) == 41
    assert columns == [c.name for f in (quote, flow, volatility) for c in f.columns(f.TAU_S)]
    assert {"spread_ticks", "imbalance_5s", "ofi_1s", "kyle_30s", "vpin", "rv_300s", "noise_300s"} <= set(columns)
    assert core().throttle_ns == 250_000_000


def test_windows_default_to_those_of_the_family():
    ticks = FamilyConf("volatility", [], [c.name for c in volatility.columns(volatility.TAU_S)])
    assert feature_columns(conf("quote", "flow", ticks)) == feature_columns(core())
    assert feature_digest(conf("quote", "flow", ticks)) == feature_digest(core())


def test_rows_are_the_due_ticks_and_values_those_of_the_families():
    ticks = make.stream(300)
    stage = make.stage(core())
    rows = stage.step(make.tick_table(ticks, first=1000))
    due = naive.due(ticks, 250_000_000)
    assert rows.view("seq").tolist() == [1000 + i for i in due]
    assert rows.view("ts").tolist() == [ticks[i].ts for i in due]
    assert rows.view("symbol").tolist() == [ticks[i].symbol for i in due]
    parts = [(naive.quote, quote.TAU_S), (naive.flow, flow.TAU_S), (naive.volatility, volatility.TAU_S)]
    want = np.hstack([make.expected(twin, ticks, due, tau_s) for twin, tau_s in parts])
    np.testing.assert_allclose(rows.view("x"), want, rtol=2e-6, atol=1e-9)


@given(make.streams(), st.integers(1, 9), st.sampled_from([0, 250_000_000]))
def test_the_rows_do_not_depend_on_the_cut(ticks, size, throttle_ns):
    batch = make.tick_table(ticks)
    whole = run(make.stage(conf(*ALL, throttle_ns=throttle_ns), capacity=128), [batch])
    parts = run(make.stage(conf(*ALL, throttle_ns=throttle_ns), capacity=128), make.cuts(batch, size))
    assert whole == parts


def test_tick_by_tick_and_block_have_equal_bits():
    ticks = make.stream(1500, symbols=3)
    batch = make.tick_table(ticks)
    one = run(make.stage(core(), symbols=3), make.cuts(batch, 1))
    assert one == run(make.stage(core(), symbols=3), [batch])
    assert len(one) > 50


@given(make.streams(), st.integers(0, 40))
def test_a_restored_stage_goes_on_like_one_that_never_stopped(ticks, at):
    batch = make.tick_table(ticks)
    at = min(at, len(batch))
    head, tail = Batch(batch.segment, 0, at), Batch(batch.segment, at, batch.hi)
    first, second = make.stage(conf(*ALL), capacity=128), make.stage(conf(*ALL), capacity=128)
    run(first, [head])
    second.restore({k: through_a_file(v) for k, v in first.snapshot().items()})
    assert run(first, [tail]) == run(second, [tail])


def test_a_snapshot_is_a_copy():
    stage, batch = make.stage(conf("quote")), make.tick_table(make.stream(50))
    stage.step(Batch(batch.segment, 0, 20))
    saved = stage.snapshot()
    before = contents(saved)
    stage.step(Batch(batch.segment, 20, 50))
    assert contents(saved) == before
    assert set(saved) == {"state", "clock", "throttle_ns"}


def test_an_empty_batch_changes_nothing():
    stage, batch = make.stage(conf(*ALL)), make.tick_table(make.stream(50))
    stage.step(Batch(batch.segment, 0, 20))
    before = contents(stage.snapshot())
    for at in (0, 20, batch.segment.capacity):
        assert len(stage.step(Batch(batch.segment, at, at))) == 0
    assert contents(stage.snapshot()) == before
    assert len(stage.flush()) == 0


def test_rows_go_on_over_segments_of_both_tables():
    ticks = make.stream(300)
    want = run(make.stage(conf(*ALL)), [make.tick_table(ticks)])
    a, b = make.tick_table(ticks[:180]), make.tick_table(ticks[180:], first=180)  # two segments of TICKS
    stage = make.stage(conf(*ALL), keep=True, capacity=32)
    assert run(stage, [*make.cuts(a, 20), *make.cuts(b, 20)]) == want
    assert len(stage._out.closed) > 2
    assert stage._out.rows == len(want)


def test_chosen_columns_keep_their_values_in_the_listed_order():
    ticks = make.stream(200)
    whole = make.stage(conf(*ALL)).step(make.tick_table(ticks))
    names = feature_columns(conf(*ALL))
    some = conf(FamilyConf("flow", [], ["vpin", "ofi_5s"]), FamilyConf("quote", [], ["depth", "spread_bp"]))
    assert feature_columns(some) == ["vpin", "ofi_5s", "depth", "spread_bp"]
    part = make.stage(some).step(make.tick_table(ticks))
    np.testing.assert_array_equal(part.view("x"), whole.view("x")[:, [names.index(c) for c in feature_columns(some)]])


def test_x_is_an_arrow_column_over_the_same_addresses():
    stage = make.stage(core())
    rows = stage.step(make.tick_table(make.stream(50)))
    arrow = rows.arrow().column("x")
    assert arrow.values.buffers()[1].address == rows.x.ctypes.data
    field = stage._out.schema.field("x")
    assert field.metadata[b"columns"].decode().split(",") == stage.columns == feature_columns(core())
    assert stage._out.schema.metadata[b"digest"].decode() == stage.digest == feature_digest(core())


def test_no_infinity_reaches_a_column():
    huge = [
        naive.Tick(make.START + i, 0, Kind.QUOTE, 1e-300, 1e300 * (i + 1), 1e300, 1e-300, make.NAN, make.NAN) for i in range(3)
    ]  # fmt: skip
    rows = make.stage(conf(*ALL)).step(make.tick_table(huge))
    assert len(rows) == 3
    assert not np.isinf(rows.view("x")).any()


@pytest.mark.parametrize(
    ("value", "single"),
    [(1.5, 1.5), (-3.4e38, -3.4e38), (3.5e38, make.NAN), (-np.inf, make.NAN), (make.NAN, make.NAN), (1.2e-38, 1.2e-38), (-1.1e-38, 0.0), (5e-324, 0.0)],
)
def test_a_column_is_what_float32_holds_as_a_normal_number(value, single):
    np.testing.assert_equal(np.float32(moments.single_point(value)), np.float32(single))


def test_the_digest_covers_column_family_version_and_windows(monkeypatch):
    base = feature_digest(core())
    assert len(base) == 32
    assert feature_digest(conf("flow", "quote", "volatility")) != base  # order
    assert feature_digest(conf(FamilyConf("quote", [5.0, 301.0]), "flow", "volatility")) != base
    # a window that no wanted column carries in its name is a parameter all the same
    fast, slower = (conf(FamilyConf("quote", [tau, 300.0], ["depth"])) for tau in (5.0, 6.0))
    assert feature_digest(fast) != feature_digest(slower)
    newer = dataclasses.replace(quote.FAMILY, version=quote.FAMILY.version + 1)
    monkeypatch.setitem(features_registry._families, "quote", newer)
    assert feature_digest(core()) != base


def test_the_digest_follows_the_written_rule():
    h = hashlib.blake2b(digest_size=16)
    for column in ("depth", "imbalance"):
        h.update(f"{column}\0quote\0002\0tau_s={(5.0).hex()},{(300.0).hex()};calendar=XNYS\n".encode())
    assert feature_digest(conf(FamilyConf("quote", [], ["depth", "imbalance"]))) == h.hexdigest()


def test_a_user_registers_a_family_of_his_own(monkeypatch):
    monkeypatch.setattr(features_registry, "_families", dict(features_registry._families))
    user = importlib.import_module("user_family")
    register(user.FAMILY)
    both = conf("quote", FamilyConf("count", [], ["last_bid", "quotes"]))
    assert feature_columns(both)[-2:] == ["last_bid", "quotes"]
    ticks = make.stream(200)
    rows = make.stage(both).step(make.tick_table(ticks))
    for i, seq in zip(range(rows.lo, rows.hi), rows.view("seq")):
        t = ticks[int(seq)]
        assert rows.x[i, -2] == np.float32(t.bid)
        assert rows.x[i, -1] == sum(u.symbol == t.symbol and u.kind == Kind.QUOTE for u in ticks[: int(seq) + 1])
    with pytest.raises(ConfigError, match=r"family 'count' is already registered. Choose another name for the new family."):
        register(dataclasses.replace(user.FAMILY, version=4))


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (conf("flwo"), "features: unknown family 'flwo' (features.families). Did you mean flow? The file of your own goes into features.files."),
        (conf(FamilyConf("quote", [], ["sprd"])), "features: family 'quote' has no column 'sprd' with windows of 5, 300 s. "),
        (conf(FamilyConf("flow", [7.0], ["ofi_1s"])), "features: family 'flow' has no column 'ofi_1s' with windows of 7 s. Did you mean ofi_7s"),
        (conf(), "features: no columns. Name at least one family in features.families, or choose features=core."),
        (conf("flow", FamilyConf("flow", [9.0])), "features: column 'trade_sign' is listed twice, by 'flow' and by 'flow'. Name each"),
        (conf(FamilyConf("quote", [], ["depth", "depth"])), "features: column 'depth' is listed twice, by 'quote' and by 'quote'."),
        (conf(FamilyConf("flow", [-1.0, 5.0])), "features: family 'flow' has tau_s=-1; a window is a positive number of seconds, for"),
        (conf(FamilyConf("flow", [0.0])), "features: family 'flow' has tau_s=0; a window is a positive number of seconds"),
        (conf(FamilyConf("flow", [float("nan")])), "features: family 'flow' has tau_s=nan; a window is a positive number of seconds"),
        (conf(FamilyConf("quote", [5.0])), "features: family 'quote' takes 2 windows and tau_s lists 1 (5). Correct tau_s."),
        (conf(FamilyConf("flow", [5.0, 1.0])), "features: windows of family 'flow' must rise and tau_s is 5, 1. Sort them, each once."),
        (conf(FamilyConf("flow", [float(i) for i in range(1, 10)])), "features: family 'flow' takes 8 windows at most and tau_s lists 9"),
        (FeaturesConf([FamilyConf("quote")], bars=BarsConf("time", 0.0)), "features.bars.every is 0. Give a positive number: seconds, trades,"),
        (FeaturesConf([FamilyConf("quote")], bars=BarsConf("hour")), "features.bars.rule is 'hour'. Choose one of time, ticks, volume, dollar."),
        (FeaturesConf([FamilyConf("quote")], bars=BarsConf(price="last")), "features.bars.price is 'last'. Choose trade, or mid for symbols"),
        (FeaturesConf([FamilyConf("quote")], cross=CrossConf(0.5)), "features.cross.every_s is 0.5. Give whole seconds between two passes, 1"),
        (conf(FamilyConf("season", [5.0])), "features: family 'season' takes no windows and tau_s lists 5. Leave it out."),
        (conf("quote", throttle_ns=-1), "features: throttle_ns=-1 is negative. Give ns of event time; 0 = every quote change."),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_named(bad, text):
    with pytest.raises(ConfigError) as e:
        feature_columns(bad)
    assert str(e.value).startswith(text)
    with pytest.raises(ConfigError):
        feature_digest(bad)


def test_a_wrong_tick_size_or_table_is_named():
    with pytest.raises(ConfigError, match=r"features: tick sizes must be positive and are \[0.0\]."):
        Features(core(), Universe.of(["A"], 0.0), features_table(core()))
    with pytest.raises(ConfigError, match=r"features: the table has 12 columns, the configuration 41\. Make it with features_table"):
        Features(core(), Universe.of(["A"]), features_table(conf("quote")))


DIGEST = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import feature_ticks as make
from tickarrow.configs.features import BarsConf, FamilyConf, FeaturesConf
from tickarrow.pipeline.features_registry import BUILT_IN
stage = make.stage(FeaturesConf([FamilyConf(f.name) for f in BUILT_IN], 0, BarsConf(every=0.5)), symbols=4)
rows = stage.step(make.tick_table(make.stream(1200, symbols=4)))
print(hashlib.blake2b(rows.view("x").tobytes()).hexdigest())
"""


def test_the_bits_are_the_same_with_the_compiler_off():
    def bits(off):
        env = os.environ | {"NUMBA_DISABLE_JIT": off}
        command = [sys.executable, "-W", "ignore", "-c", DIGEST, str(Path(__file__).parent)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.strip()

    assert len(bits("0")) == 2 * hashlib.blake2b().digest_size
    assert bits("0") == bits("1")
