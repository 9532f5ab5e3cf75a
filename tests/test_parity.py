"""One market, every way through the pipeline: wire, file, blocks, engines, replay. The bits are the same (design contract 9)."""

from __future__ import annotations

import json

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from commands import SMALL, run, tickarrow

from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decode import FromRows
from tickarrow.pipeline.prepare import compose, load
from tickarrow.pipeline.schemas import TICKS, Feed, Reason
from tickarrow.pipeline.session import open_manifest, read_table
from tickarrow.pipeline.source import open_source

# Short warm-up and no hurdle, so that a short market also trades.
EAGER = ["ensemble.min_rows=5", "ensemble.min_outcomes=3", "ensemble.prior_s=1e6", "risk.hurdle=-1"]
STOP = ["risk.limits.daily_loss=200"]  # reached in mid-run: every way through the pipeline has it at the same decision
MARKET = ["source.max_rows=6000", "universe.symbols=[AAA,BBB,CCC,DDD]", *EAGER, *STOP, *SMALL]
SIX = ("bid", "bid_size", "ask", "ask_size", "price", "size")
KEYS = {
    "ticks", "quotes", "trades", "messages", "sent_messages", "sent_updates", "sent_trades", "bad_frames", "decisions", "orders", "fills", "engine",
    "model_set", "feature_digest", "decision_digest", "latency_us", "rss_mb", "wall_s",
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A short run with every table recorded: (summary, session)."""
    return run(*MARKET, "record.features=true", "record.predictions=true", cwd=tmp_path_factory.mktemp("recorded"))


def test_nothing_is_lost_on_the_wire(recorded):
    said, _ = recorded
    assert said["quotes"] == said["sent_updates"] > 1000
    assert said["trades"] == said["sent_trades"] > 10
    assert said["ticks"] == said["quotes"] + said["trades"]
    assert said["bad_frames"] == 0


def test_the_summary_has_its_stable_keys(recorded):
    said, _ = recorded
    assert said.keys() >= KEYS
    assert said["latency_us"].keys() == {"decode", "features", "predict", "decide", "tick_to_decision"}
    for quantiles in said["latency_us"].values():
        assert 0 < quantiles["p50"] <= quantiles["p99"] <= quantiles["p999"] <= quantiles["max"]
    assert said["decisions"] > 100
    assert said["fills"] >= said["orders"] > 0


def test_the_daily_loss_stop_comes_in_mid_run(recorded):
    reasons = recorded[0]["reasons"]
    assert reasons["order"] > 10
    assert reasons["loss_stop"] > 10


def direct(overrides):
    """TICKS of a source read without a wire."""
    conf = compose("run", overrides)
    source = open_source(conf.source, conf.universe)
    table = Table(TICKS, keep=True)
    stage = FromRows(len(source.universe), table)
    for rows in source.blocks():
        stage.step(rows)
    return table


def assert_same_ticks(session, table):
    ticks = read_table(session, "ticks")
    assert len(ticks) == table.rows
    for name in ("seq", "ts", "symbol", "kind", *SIX):
        np.testing.assert_array_equal(ticks.column(name).to_numpy(), table.column(name), err_msg=name)


def test_the_wire_gives_the_ticks_of_the_source_row_for_row(recorded):
    assert_same_ticks(recorded[1], direct(MARKET))


def test_a_halt_changes_no_decision_between_the_wire_and_the_source(tmp_path):
    halted = [*MARKET, "source.max_rows=3000", "source.halts=[{symbol: BBB, at_s: 20, for_s: 20}]", "risk.hurdle=1e9"]  # no order, so no fill differs
    _, session = run(*halted, cwd=tmp_path)
    assert_same_ticks(session, direct(halted))
    pipeline, conf = load(*halted), compose("run", halted)
    source = open_source(conf.source, conf.universe)
    for rows in source.blocks():
        pipeline.push(rows)
    recorded, (_, begin, end) = read_table(session, "decisions"), source.halts[0]
    assert recorded.filter((pc.field("ts") >= begin) & (pc.field("symbol") == 1) & (pc.field("ts") < end))["reason"].to_pylist() == [Reason.NO_QUOTE]
    for name in recorded.schema.names:
        np.testing.assert_array_equal(recorded[name].to_numpy(), pipeline.tables.decisions.column(name), err_msg=name)


def test_depth_bars_and_tick_by_tick_replay_too(tmp_path):
    feeds = ["gateway.depth_symbols=[AAA]", "gateway.bar_symbols=[BBB]", "gateway.tick_by_tick_symbols=[CCC]", "source.max_rows=2500"]
    said, session = run(*MARKET, *feeds, "source.halts=[{symbol: DDD, at_s: 20, for_s: 20}]", cwd=tmp_path)
    rows = open_manifest(session)["rows"]
    assert min(rows["depth"], said["trades"]) > 100
    assert rows["bars"] > 5
    assert set(np.unique(read_table(session, "ticks")["feed"])) == {Feed.L1, Feed.TBT_LAST, Feed.TBT_BIDASK}
    done = tickarrow("replay", f"session={session}", "engine=xgboost", cwd=tmp_path)
    assert done.stdout == f"identical {said['decision_digest']}\n", done.stderr
    depth = read_table(session, "depth")
    price = depth["price"].to_numpy().copy()
    price[5] += 0.01
    with pa.OSFile(str(tmp_path / "depth.arrow"), "wb") as sink, pa.ipc.new_file(sink, depth.schema) as writer:
        writer.write_table(depth.set_column(depth.schema.get_field_index("price"), depth.schema.field("price"), [price]).cast(depth.schema))
    (tmp_path / "depth.arrow").replace(session / "depth.arrow")
    assert "differs: depth row 5, column price: " in tickarrow("replay", f"session={session}", cwd=tmp_path).stderr


def test_a_replay_is_identical_and_a_changed_byte_is_found(recorded, tmp_path):
    said, session = recorded
    done = tickarrow("replay", f"session={session}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"identical {said['decision_digest']}\n"
    altered = tmp_path / "altered"
    altered.mkdir()
    for path in session.iterdir():
        (altered / path.name).write_bytes(path.read_bytes())
    table = read_table(altered, "decisions")
    target = table.column("target").to_numpy().copy()
    target[7] += 1.0
    with pa.OSFile(str(tmp_path / "decisions.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.set_column(table.schema.get_field_index("target"), table.schema.field("target"), [target]).cast(table.schema))
    (tmp_path / "decisions.arrow").replace(altered / "decisions.arrow")
    done = tickarrow("replay", f"session={altered}", cwd=tmp_path)
    assert done.returncode == 1
    assert "differs: decisions row 7, column target: 0.0 now, 1.0 recorded" in done.stderr


@pytest.mark.parametrize("engine", ["portable", "xgboost"])
def test_a_replay_with_another_engine_is_identical(recorded, engine, tmp_path):
    done = tickarrow("replay", f"session={recorded[1]}", f"engine={engine}", cwd=tmp_path)
    assert done.stdout == f"identical {recorded[0]['decision_digest']}\n", done.stderr


def test_the_same_seed_gives_the_same_decisions_and_another_does_not(recorded, tmp_path):
    again, _ = run(*MARKET, cwd=tmp_path)
    assert again["decision_digest"] == recorded[0]["decision_digest"]
    other, _ = run(*MARKET, "source.seed=99", cwd=tmp_path)
    assert other["decision_digest"] != recorded[0]["decision_digest"]


def test_xgboost_and_our_own_engine_decide_the_same(recorded, tmp_path):
    said, _ = run(*MARKET, "models=xgboost", cwd=tmp_path)
    assert said["engine"] == "xgboost"
    assert recorded[0]["engine"] in ("simd", "portable")
    assert said["decision_digest"] == recorded[0]["decision_digest"]


def test_features_and_predictions_do_not_depend_on_the_cut_into_blocks(recorded):
    """The source in blocks of thousands of rows gives the bits of one chunk a row."""
    session = recorded[1]
    pipeline = load(*MARKET)
    conf = compose("run", MARKET)
    seen = {"features": [], "predictions": []}
    for rows in open_source(conf.source, conf.universe).blocks():
        ticks = pipeline.from_rows.step(rows)
        features = pipeline.features.step(ticks)
        seen["features"].append(features.view("x").copy())
        seen["predictions"].append(pipeline.predict.step(features).view("y").copy())
    for name, column in (("features", "x"), ("predictions", "y")):
        now = np.concatenate(seen[name])
        stored = read_table(session, name).column(column).combine_chunks().values.to_numpy().reshape(now.shape)
        np.testing.assert_array_equal(now.view(np.uint32), stored.view(np.uint32))


def test_arrow_views_share_addresses_with_the_kernels_arrays(recorded):
    pipeline = load(*MARKET)
    conf = compose("run", MARKET)
    rows = next(iter(open_source(conf.source, conf.universe).blocks()))
    ticks = pipeline.from_rows.step(rows)
    features = pipeline.features.step(ticks)
    predictions = pipeline.predict.step(features)
    assert len(predictions) > 0
    for batch in (ticks, features, predictions):
        shown = batch.arrow()
        assert shown.num_rows == len(batch)
        for name in shown.schema.names:
            column = shown.column(name)
            values = column.values if isinstance(column, pa.FixedSizeListArray) else column
            whole = getattr(batch, name)
            assert values.buffers()[1].address == whole.ctypes.data, name


def test_everybody_reads_a_sessions_tables(recorded, tmp_path):
    said, session = recorded
    assert pl.read_ipc(session / "ticks.arrow").height == said["ticks"]
    assert len(pd.read_feather(session / "decisions.arrow")) == said["decisions"]
    done = tickarrow("session", "compact", f"session={session}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    count, symbols = duckdb.sql(f"select count(*), count(distinct symbol) from '{session / 'ticks.parquet'}'").fetchall()[0]
    assert (count, symbols) == (said["ticks"], 4)
    assert open_manifest(session)["rows"]["ticks"] == said["ticks"]


def test_decode_counts_the_messages_of_a_session(recorded, tmp_path):
    said, session = recorded
    out = tmp_path / "messages.parquet"
    done = tickarrow("decode", f"path={session}", f"out={out}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frame = pl.read_parquet(out)
    assert frame.filter(pl.col("outcome") != "private").height == said["messages"]
    decoded = frame.filter(pl.col("outcome") == "decoded")
    assert decoded.filter(pl.col("id") == 58).height == 4  # marketDataType, once a subscription; not counted as sent
    assert decoded.height == said["sent_messages"] + 4
    assert "decoded" in done.stdout


def test_a_sweep_leaves_one_row_a_job(tmp_path, recorded):
    done = tickarrow("backtest", "-m", *[o for o in MARKET if "hurdle" not in o], "risk.hurdle=-1,4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "outputs" / "backtest-multirun").glob("*/*/results.parquet")
    frame = pl.read_parquet(path)
    assert frame["risk.hurdle"].to_list() == ["-1", "4"]
    assert frame["ticks"].to_list() == [recorded[0]["ticks"]] * 2
    assert frame["decision_digest"].n_unique() == 2
    jobs = [json.loads(p.read_text()) for p in sorted(path.parent.glob("*/result.json"))]
    assert [j["orders"] for j in jobs] == frame["orders"].to_list()


def test_real_ticks_through_the_wire_equal_the_file(equity_ticks, tmp_path):
    source = ["source=parquet", f"source.path={equity_ticks}", "source.symbols=[IBM]", "source.day=2013-10-09"]
    said, session = run(*source, *SMALL, cwd=tmp_path)
    assert said["quotes"] == said["sent_updates"] > 10_000
    assert said["trades"] == said["sent_trades"] > 1000
    assert said["bad_frames"] == 0
    assert_same_ticks(session, direct(source))
