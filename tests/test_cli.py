"""The command line: help, and every mistake a user can make as one sentence and exit code 1."""

from __future__ import annotations

import socket

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SMALL, tickarrow


def fails(*args, cwd):
    """Run a command that must fail with one sentence; that sentence."""
    done = tickarrow(*args, cwd=cwd)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert "Error executing job" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("tickarrow: ")]
    assert len(lines) == 1, done.stderr
    return lines[0].removeprefix("tickarrow: ")


@pytest.fixture
def ticks(tmp_path):
    """A small tick file of two symbols."""
    n = 40
    table = pa.table({
        "ts_event": pa.array(1_381_161_600_000_000_000 + np.arange(n) * 1_000_000_000), "ts_recv": pa.nulls(n, pa.int64()),
        "symbol": ["AAA", "BBB"] * (n // 2), "kind": ["quote"] * n, "price": pa.nulls(n, pa.float64()), "size": pa.nulls(n, pa.float64()),
        "bid": pa.array(np.full(n, 10.0)), "ask": pa.array(np.full(n, 10.01)), "bid_size": pa.array(np.full(n, 100.0)),
        "ask_size": pa.array(np.full(n, 100.0)), "exchange": pa.nulls(n, pa.string()), "conditions": pa.nulls(n, pa.string()),
    })  # fmt: skip
    path = tmp_path / "ticks.parquet"
    pq.write_table(table, path)
    return path


def rewrite(path, change):
    table = change(pq.read_table(path))
    pq.write_table(table, path)


def test_help_lists_the_commands(tmp_path):
    done = tickarrow("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in ("run", "replay", "train", "backtest", "decode", "market", "session export", "session compact"):
        assert f"\n  {command} " in done.stdout


def test_help_of_a_command_shows_its_settings(tmp_path):
    done = tickarrow("run", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "throttle_ns:" in done.stdout
    assert "hurdle:" in done.stdout


def test_the_users_own_folders_do_not_shadow_ours(tmp_path):
    for folder in ("configs", "conf", "jit"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "pipeline.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "conf" / "run.yaml").write_text("shadowed: true")
    done = tickarrow("run", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "shadowed" not in done.stdout + done.stderr


def test_an_experiment_is_a_set_of_overrides_under_a_name(tmp_path):
    done = tickarrow("backtest", "--cfg", "hydra", "experiment=hurdle", cwd=tmp_path)
    assert "risk.hurdle: 0,0.5,1,2" in done.stdout, done.stderr
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text("# @package _global_\nrisk: {hurdle: 7.5}\n")
    done = tickarrow("backtest", "--config-dir", "own", "--cfg", "job", "experiment=mine", cwd=tmp_path)
    assert "hurdle: 7.5" in done.stdout, done.stderr


def test_no_command_prints_the_usage(tmp_path):
    done = tickarrow(cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("usage: tickarrow COMMAND")


def test_an_unknown_command_names_the_known_ones(tmp_path):
    assert fails("walk", cwd=tmp_path).startswith("unknown command 'walk'. Commands: run, kill, record, replay,")
    assert fails("session", cwd=tmp_path).startswith("unknown command 'session'. Commands: run, kill, record, replay,")
    assert fails("session", "walk", cwd=tmp_path).startswith("unknown command 'session walk'.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run", "risk.hurdel=2"], "Could not override 'risk.hurdel'"),
        (["run", "risk.hurdle=high"], "Value 'high' of type 'str' could not be converted to Float"),
        (["run", "models=nonesuch"], "'models/nonesuch'"),
        (["run", "models.engine=quantum"], "quantum"),
        (["replay"], "session is not set. Give it on the command line: session=VALUE"),
        (["decode", "path=nowhere.bin", "out=x.parquet"], "nowhere.bin"),
        (["replay", "session=nowhere"], "nowhere is no session: it has no manifest.json"),
        (["session", "export", "session=nowhere", "out=out"], "nowhere is no session: it has no manifest.json"),
        (["session", "compact", "session=nowhere"], "nowhere is no session: it has no manifest.json"),
        (["run", "source=parquet", "source.path=nowhere.parquet"], "nowhere.parquet"),
        (["run", "model_set=nonesuch"], "nonesuch"),
        (["backtest", "fills.kind=magic"], "fills.kind is 'magic'; the only fill model is 'next_quote'"),
        (["backtest", "-m", "fills.kind=magic,mystery"], "the only fill model is 'next_quote'"),
        (["run", "record.path=/dev/null/x", *SMALL], "/dev/null/x: Not a directory. Make room, or choose a folder that can be written"),
        (["backtest", "hydra.run.dir=/dev/null/x"], "/dev/null/x: Not a directory. Make room, or choose a folder that can be written"),
        (["backtest", "source.start=2500-01-01"], "source.start is '2500-01-01'. Choose a time from 1970 to 2261"),
        (["backtest", "source.start=1960-01-01"], "source.start is '1960-01-01'. Choose a time from 1970 to 2261"),
        (["backtest", "universe.classes=[]"], "universe.classes is empty"),
        (["run", "+riskk.hurdle=2"], "there is no setting riskk. See all of them: tickarrow run --help"),
        (["backtest", "+risk.hurdel=2"], "there is no setting risk.hurdel."),
        (["run", "source=training", "source.max_rows=20000", *SMALL], "source is what the default model set was trained on. Choose another seed"),
        (["backtest", "fills.kind=magic,mystery", "-m"], "the only fill model is 'next_quote'"),
        (["train", "name=../up"], "name='../up' cannot name a folder"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "",
)
def test_a_wrong_setting_is_one_sentence(args, said, tmp_path):
    assert said in fails(*args, cwd=tmp_path)


def test_an_unknown_symbol_names_the_known_ones(ticks, tmp_path):
    said = fails("run", "source=parquet", f"source.path={ticks}", "source.symbols=[AAA,NOPE]", cwd=tmp_path)
    assert "NOPE" in said
    assert "AAA" in said


def test_a_day_without_rows_says_which_days_there_are(ticks, tmp_path):
    said = fails("run", "source=parquet", f"source.path={ticks}", "source.day=2001-01-02", cwd=tmp_path)
    assert "2001-01-02" in said
    assert "2013-10-07" in said


def test_a_file_without_a_column_names_it(ticks, tmp_path):
    rewrite(ticks, lambda t: t.drop_columns(["ask_size"]))
    said = fails("backtest", "source=parquet", f"source.path={ticks}", cwd=tmp_path)
    assert "ask_size" in said


def test_rows_that_a_source_leaves_out_are_told(ticks, tmp_path):
    bids = [10.0] * 39 + [-5.0]
    rewrite(ticks, lambda t: t.set_column(t.schema.get_field_index("bid"), "bid", [bids]))
    for command in ("run", "backtest"):
        done = tickarrow(command, "source=parquet", f"source.path={ticks}", *SMALL, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "1 rows of the source were left out: quote_price 1" in done.stderr


def test_time_out_of_order_names_the_row(ticks, tmp_path):
    rewrite(ticks, lambda t: pa.concat_tables([t.slice(20), t.slice(0, 20)]))
    said = fails("train", "name=never", "source=parquet", f"source.path={ticks}", cwd=tmp_path)
    assert "order" in said
    assert "20" in said


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = fails("run", f"gateway.port={port}", *SMALL, "source.max_rows=500", cwd=tmp_path)
    assert str(port) in said
    assert "in use" in said


def test_a_gateway_that_refuses_is_named(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = fails("run", "gateway=paper", f"gateway.port={port}", *SMALL, cwd=tmp_path)
    assert said == (
        f"gateway 127.0.0.1:{port} refused the connection. Is IB Gateway running with the API port open? Try: tickarrow run (the simulated gateway)"
    )


def test_a_model_set_of_other_features_names_the_first_difference(tmp_path):
    small = [*SMALL, "source.max_rows=500"]
    done = tickarrow("backtest", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    from tickarrow.jit._kernel import cache_home

    newest = max((cache_home() / "models").glob("default-*/manifest.json"), key=lambda p: p.stat().st_mtime).parent
    said = fails("backtest", *small, f"model_set={newest}", "features.families=[{name: quote}]", cwd=tmp_path)
    assert "was trained on other features" in said
