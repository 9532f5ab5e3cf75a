"""FEATURES computed once: the rows of the stage, one entry for all that use it, nothing half-written taken for whole."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import COMMAND
from feature_ticks import TICK, stage, stream, tick_table

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.configs.pipeline import FeaturesCacheConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.jit import _kernel, depth_features
from tickarrow.pipeline import decode, features_cache, features_input, features_registry
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.features_cache import columns_of, entry_of, features_of, wide
from tickarrow.pipeline.features_input import of_source
from tickarrow.pipeline.schemas import CONTROL, DEPTH, TICKS, ControlKind
from tickarrow.pipeline.session import Session
from tickarrow.pipeline.source import open_source

CONF = FeaturesConf([FamilyConf("quote", [5.0, 300.0]), FamilyConf("volatility", [1.0, 30.0])], throttle_ns=0)
UNIVERSE = UniverseConf(symbols=["AAA", "BBB"], classes=["large", "etf"])
SOURCE = SourceConf(seed=4, duration_s=20.0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of its own, with the kernels that are compiled already."""
    kernels = _kernel.cache_home() / "kernels"
    monkeypatch.setenv("TICKARROW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    return tmp_path / "cache" / "features"


def matrix(table):
    n = len(columns_of(table))
    return np.concatenate([np.zeros((0, n), np.float32), *(b.column("x").flatten().to_numpy().reshape(-1, n) for b in table.to_batches())])


def of(source=SOURCE, conf=CONF, universe=UNIVERSE):
    return entry_of(of_source(source, universe), conf)


def test_an_entry_holds_the_rows_of_the_stage_and_every_quote():
    entry = of()
    step, decoded = stage(CONF), []
    source = open_source(SOURCE, UNIVERSE)
    rows = decode.FromRows(2, Table(TICKS))
    x, seq, mids = [], [], []
    for block in source.blocks():
        ticks = rows.step(block)
        decoded.append(len(ticks))
        at = ticks.view("kind") == 0
        mids.append((0.5 * (ticks.view("bid") + ticks.view("ask")))[at])
        due = step.step(ticks)
        x.append(due.view("x").copy())
        seq.append(due.view("seq").copy())
    assert matrix(entry.features).tobytes() == np.concatenate(x).tobytes()
    assert entry.features["seq"].to_pylist() == np.concatenate(seq).tolist()
    assert entry.quotes["mid"].to_numpy().tobytes() == np.concatenate(mids).tobytes()
    assert json.loads((entry.folder / "entry.json").read_text())["ticks"] == sum(decoded)


def test_a_second_use_reads_what_the_first_has_computed():
    first, second = of(), of()
    assert (first.fresh, second.fresh) == (True, False)
    assert matrix(second.features).tobytes() == matrix(first.features).tobytes()
    columns = wide(second.features)
    assert columns.column_names == ["seq", "ts", "symbol", *columns_of(first.features)]
    np.testing.assert_array_equal(columns["spread_bp"].to_numpy(), matrix(first.features)[:, 1])
    read = pl.read_ipc(first.folder / "features.arrow")
    assert read.height == len(first.features) > 100


def test_no_row_at_all_is_an_entry_too():
    assert len(of(dataclasses.replace(SOURCE, max_rows=1)).features) <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"conf": dataclasses.replace(CONF, throttle_ns=1)}, {"conf": FeaturesConf(CONF.families[:1], 0)},
        {"conf": FeaturesConf([FamilyConf("quote", [5.0, 301.0]), CONF.families[1]], 0)}, {"source": dataclasses.replace(SOURCE, seed=5)},
        {"universe": UniverseConf(["AAA", "BBB"], 0.05, ["large", "etf"])},
    ],
)  # fmt: skip
def test_whatever_decides_the_rows_is_in_the_name(changes):
    given = {"conf": CONF, "source": SOURCE, "universe": UNIVERSE}

    def name(conf, source, universe):
        return features_cache.key(of_source(source, universe), conf)

    assert name(**given) == name(**given) != name(**given | changes)


def test_a_change_of_a_kernel_or_a_stage_is_in_the_name(monkeypatch):
    before = features_cache.key(of_source(SOURCE, UNIVERSE), CONF)
    monkeypatch.setattr(_kernel, "cache_digest", lambda path: "other")
    assert features_cache.key(of_source(SOURCE, UNIVERSE), CONF) != before


def ticks_file(path, n=200):
    ts = np.arange(n, dtype=np.int64) * 500_000_000 + 1_767_623_400_000_000_000
    bid = 100 + np.arange(n) % 7 * 0.01
    empty = np.full(n, np.nan)
    pq.write_table(
        pa.table({
            "ts_event": ts, "ts_recv": ts, "symbol": ["AAA"] * n, "kind": ["quote"] * n, "price": empty, "size": empty, "bid": bid, "ask": bid + 0.01,
            "bid_size": np.full(n, 300.0), "ask_size": np.full(n, 100.0), "exchange": [""] * n, "conditions": [""] * n,
        }), path,
    )  # fmt: skip
    return path


def test_a_file_is_known_by_name_and_content_not_by_place(tmp_path):
    (tmp_path / "other").mkdir()
    first = features_of(ticks_file(tmp_path / "a.parquet"), CONF, UNIVERSE, quiet=True)
    assert len(first) == 200
    ticks_file(tmp_path / "other" / "a.parquet")
    names = {
        features_cache.key(of_source(SourceConf("parquet", path=str(p)), UNIVERSE), CONF)
        for p in (tmp_path / "a.parquet", tmp_path / "other" / "a.parquet")
    }
    assert len(names) == 1
    ticks_file(tmp_path / "other" / "a.parquet", 201)
    assert len(features_of(tmp_path / "other" / "a.parquet", CONF, UNIVERSE, quiet=True)) == 201
    with pytest.raises(DataError, match="does not exist"):
        features_of(tmp_path / "none.parquet", CONF, UNIVERSE)


def record(directory, **tables):
    """A closed session with these tables: (schema, columns)."""
    session = Session(directory)
    for schema, columns in tables.values():
        table, n = session.table(schema), len(next(iter(columns.values())))
        row = table.reserve(n)
        for name, column in columns.items():
            table.segment.columns[name][row : row + n] = column
        table.commit(n)
    session.manifest |= {"universe": ["AAA", "BBB"], "tick_size": [TICK, TICK]}
    session.write_manifest()
    session.close()
    return directory


def test_a_session_gives_the_features_of_its_ticks(tmp_path):
    whole = tick_table(stream(300))
    session = record(tmp_path / "session", ticks=(TICKS, {name: whole.view(name) for name in TICKS.names}))
    got = features_of(session, CONF, UNIVERSE, quiet=True)
    assert matrix(got).tobytes() == stage(CONF).step(whole).view("x").tobytes()


@pytest.mark.parametrize(("seed", "read", "depth_read"), [(4, 8192, 32768), (6, 1, 1), (7, 7, 3), (8, 3, 40)])
def test_changes_of_depth_come_between_the_ticks_as_they_did(seed, read, depth_read, tmp_path, monkeypatch):
    """Ticks and changes of each chunk, then its control events, in pieces of any size."""
    features_registry.register(depth_features.FAMILY)
    conf, rng, n, changes = FeaturesConf([FamilyConf("depth")], 0), np.random.default_rng(seed), 80, 200
    whole = tick_table(stream(n, seed=seed))
    whole.segment.columns["chunk"][:n] = np.sort(rng.integers(0, 30, n))
    after = np.sort(rng.integers(0, n, changes))  # ticks before each change, one chunk with the tick behind it
    columns = {
        "seq": after, "ts": whole.view("ts")[after], "chunk": whole.view("chunk")[after], "symbol": rng.integers(0, 2, changes),
        "position": rng.integers(0, 4, changes), "operation": rng.choice([0, 0, 0, 1, 2], changes), "side": rng.integers(0, 2, changes),
        "price": np.zeros(changes), "size": rng.integers(1, 9, changes) * 100.0,
    }  # fmt: skip
    columns["price"] = 100.0 + np.where(columns["side"] == 0, -1, 1) * (1 + columns["position"] + rng.integers(0, 2, changes)) * TICK
    at = sorted(rng.integers(-1, 30, 4).tolist())
    control = {"chunk": [c % 2**64 for c in at], "kind": [ControlKind.DEPTH_RESET] * 4, "symbol": rng.integers(0, 2, 4)}

    table = Table(DEPTH)
    running, expected = stage(conf, depth=table), []
    for chunk in range(-1, 30):
        for i in np.flatnonzero(columns["chunk"] == chunk):
            row = table.reserve(1)
            for name, column in columns.items():
                table.segment.columns[name][row] = column[i]
            table.commit(1)
        lo, hi = np.searchsorted(whole.view("chunk"), [max(chunk, 0), chunk + 1])
        expected.append(running.step(Batch(whole.segment, int(lo), int(hi))).view("x").copy())
        for c, symbol in zip(at, control["symbol"]):
            if c == chunk:
                running.apply(Control(kind=ControlKind.DEPTH_RESET, symbol=int(symbol)))

    monkeypatch.setattr(features_input, "READ", read)
    monkeypatch.setattr(features_input, "DEPTH_READ", depth_read)
    tables = {"ticks": (TICKS, {name: whole.view(name) for name in TICKS.names}), "depth": (DEPTH, columns), "control": (CONTROL, control)}
    universe, depth, blocks = features_input.of_session(record(tmp_path / "session", **tables)).open()
    again, got = stage(conf, depth=depth), []
    assert len(universe) == 2
    for ticks, events, _ in blocks:
        got.append(again.step(ticks).view("x").copy())
        for event in events:
            again.apply(event)
    np.testing.assert_array_equal(np.concatenate(got), np.concatenate(expected))
    assert np.isfinite(np.concatenate(got)).any()


JOB = textwrap.dedent("""
    import sys, time
    from tickarrow.configs.features import FamilyConf, FeaturesConf
    from tickarrow.configs.source import SourceConf
    from tickarrow.configs.universe import UniverseConf
    from tickarrow.pipeline import decode, features_cache, training_data
    from tickarrow.pipeline.features_input import of_source

    conf = FeaturesConf([FamilyConf("quote", [5.0, 300.0]), FamilyConf("volatility", [1.0, 30.0])], throttle_ns=0)
    found = of_source(SourceConf(seed=4, duration_s=20.0), UniverseConf(symbols=["AAA", "BBB"], classes=["large", "etf"]))
    def tell(what, done):
        if what.startswith("features of"):
            print("computing", flush=True)
            time.sleep(float(sys.argv[1]))
    entry = features_cache.entry_of(found, conf, tell)
    print("fresh" if entry.fresh else "found", len(entry.features))
""")


def test_of_jobs_that_start_together_one_computes_and_the_others_wait():
    jobs = [subprocess.Popen([sys.executable, "-c", JOB, "0.5"], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = sorted(job.communicate(timeout=120)[0].splitlines()[-1] for job in jobs)
    assert [s.split()[0] for s in said] == ["found", "found", "fresh"]
    assert len({s.split()[1] for s in said}) == 1


def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(home):
    job = subprocess.Popen([sys.executable, "-c", JOB, "60"], stdout=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "computing\n"
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert len(list(home.glob("*.part"))) == 1
    assert not features_cache.entries(home)
    assert of().fresh
    assert not list(home.glob("*.part"))


@pytest.mark.parametrize("file", ["features.arrow", "quotes.arrow", "entry.json"])
def test_a_damaged_entry_is_computed_again(file):
    first = of()
    os.truncate(first.folder / file, 100)
    again = of()
    assert again.fresh
    assert len(again.features) > 100


def test_the_entries_used_longest_ago_go_first_and_one_in_use_stays(home, monkeypatch):
    made = [of(dataclasses.replace(SOURCE, seed=s)).folder for s in (1, 2, 3)]
    for i, path in enumerate(made):
        os.utime(path, (1e9 + i, 1e9 + i))
    of(dataclasses.replace(SOURCE, seed=1))  # used again: now the newest
    with features_cache.locked(home, made[1].name) as mine:
        assert mine
        assert features_cache.prune(home, 0, keep=made[0].name) == 1  # of the third
    assert [p.is_dir() for p in made] == [True, True, False]
    monkeypatch.setenv("TICKARROW_FEATURES_GB", "1e-9")
    assert of(dataclasses.replace(SOURCE, seed=5)).fresh  # larger than the limit by itself: it stays until the next
    assert [path for path, _ in features_cache.entries(home)] == [of(dataclasses.replace(SOURCE, seed=5)).folder]
    monkeypatch.setenv("TICKARROW_FEATURES_GB", "much")
    with pytest.raises(ConfigError, match="TICKARROW_FEATURES_GB is 'much'"):
        features_cache.limit_bytes()


def test_an_error_of_the_input_leaves_nothing(home, tmp_path):
    with pytest.raises(ConfigError):
        of(dataclasses.replace(SOURCE, duration_s=-1.0))
    assert not list(home.glob("*.part"))


def test_the_command_lists_and_clears(home, capsys):
    entry = of()
    features_cache.main(FeaturesCacheConf())
    said = capsys.readouterr().out
    assert entry.folder.name[:8] in said
    assert "1 entries, 0.00 of 20 GB" in said
    features_cache.main(FeaturesCacheConf(clear=True))
    assert capsys.readouterr().out == f"1 entries removed from {home}\n"
    assert not features_cache.entries(home)


@pytest.mark.slow
def test_a_sweep_over_training_settings_computes_features_once(home, tmp_path):
    train = [COMMAND, "train", "-m", "training=tiny", "source.duration_s=200", "universe.symbols=[AAA,BBB]", "training.trees=2,3,4", "name=of${training.trees}"]
    started = time.time()
    done = subprocess.run(train, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(list((home.parent / "models").glob("of*/manifest.json"))) == 3
    [(entry, about)] = features_cache.entries(home)
    computed = (entry / "features.arrow").stat().st_mtime
    first, *later = sorted(p.stat().st_mtime for p in (home.parent / "models").glob("of*/manifest.json"))
    assert started < computed < first < min(later)  # the second and third job have left it as it was
    assert about["ticks"] > 100
