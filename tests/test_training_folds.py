"""Training on folds with two libraries: determinism, one grid, resume after a kill, planted leaks, files of the report, rows on disk."""

import dataclasses
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from rich.console import Console
from sklearn.model_selection import KFold

from tickarrow.configs.training import ConfigurationConf, TrainingConf
from tickarrow.pipeline import library, training, training_data, training_folds, training_leaks, training_report
from tickarrow.pipeline.errors import ConfigError, DataError, ModelError
from tickarrow.pipeline.training_external import Stored
from tickarrow.pipeline.training_fit import Bins, forced_bins
from tickarrow.pipeline.training_splits import Fold, WalkForward

COLUMNS = ["a", "b", "c", "d", "e", "f"]
FAMILIES = ["quote", "quote", "flow", "flow", "volatility", "volatility"]
DIGEST = "0" * 32
SECOND = 1_000_000_000


def conf_of(**changes):
    configurations = [
        ConfigurationConf(depth=3, eta=0.3, subsample=0.7, seed=1),
        ConfigurationConf(library="lightgbm", depth=4, leaves=7, eta=0.3, subsample=0.7, families=["flow"], seed=2),
        ConfigurationConf(library="lightgbm", depth=4, leaves=7, eta=0.3, objective="pseudohubererror", seed=3),
    ]
    conf = TrainingConf(
        horizons_s=[1.0, 5.0], trees=12, max_bin=32, nthread=1, split="walk_forward", folds=3, embargo_s=2.0, stop_share=0.2, patience=3,
        weights="uniqueness", leak_shifts=1, configurations=configurations,
    )  # fmt: skip
    return dataclasses.replace(conf, **changes)


def table(conf, n=2_000, seed=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = np.stack([2 * x[:, 0] + x[:, 2] + 2 * rng.normal(size=n), x[:, 3] + rng.normal(size=n)], 1).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    rows = training_data.rows_of(conf, x, y, np.arange(n, dtype=np.int64) * SECOND // 10)
    return dataclasses.replace(rows, cost=np.full(n, 2.5))


def run(conf, out, rows=None, told=None):
    return training.train(conf, rows or table(conf), COLUMNS, FAMILIES, DIGEST, out, told)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    told = []
    return run(conf_of(), tmp_path_factory.mktemp("folds") / "set", told=lambda *a: told.append(a)), told


def test_a_set_of_two_libraries_is_judged_on_folds_and_tail(trained):
    found, told = trained
    assert found.configurations == ["xgb00", "lgb01", "lgb02"]
    assert [e.library for e in found.entries] == ["xgboost"] * 2 + ["lightgbm"] * 4
    assert told[-1] == ("saving", 24, 24)  # 3 configurations, 2 horizons, 3 folds and the final models
    assert not found.path.with_name("set.parts").exists()
    metrics = pd.read_parquet(found.path / "report" / "metrics.parquet")
    assert len(metrics) == 24
    assert sorted(metrics.fold.unique()) == ["0", "1", "2", "tail"]
    folds = metrics[metrics.fold != "tail"]
    assert (folds[folds.model == "xgb00/h0"].ic > 0.5).all()
    best = folds[folds.model == "xgb00/h0"]
    assert (best.log_loss < best.base_log_loss).all()
    assert best.slope.between(0.5, 2).all()
    assert (folds.trees <= 12).all()
    for model, m in zip(found.names, found.models):  # as many trees as the folds stopped at
        stopped = folds[folds.model == model].trees.median()
        trees = m.booster.num_boosted_rounds() if m.library == "xgboost" else m.booster.num_trees()
        assert trees == max(1, round(stopped))
        said = found.manifest["metrics"][model]
        assert said["folds_ic"] == pytest.approx(folds[folds.model == model].ic.mean())
        assert said["ic"] == pytest.approx(metrics[(metrics.model == model) & (metrics.fold == "tail")].ic.item())


def test_two_trainings_give_one_digest(trained, tmp_path):
    assert run(conf_of(), tmp_path / "again").digest == trained[0].digest
    text = (trained[0].path / "models" / "lgb01_h0.txt").read_text()
    assert "[forcedbins_filename: ]" in text  # no path of this machine in a model


def test_both_libraries_cut_where_the_one_grid_says():
    conf = conf_of()
    rows = table(conf)
    with Bins(conf, rows.x, rows.ts, slice(0, 1500), slice(0, 0), FAMILIES) as bins:
        first, cuts = bins.cuts()
        grid = [set(cuts[first[k] : first[k + 1]].tolist()) for k in range(6)]
        for configuration in conf.configurations:
            target = training_folds.target_of(conf, rows, 0, slice(0, 1500), slice(0, 0))
            forest = library.wrap(bins.train(configuration, target, 12).model).forest("m")
            for k, cut in zip(forest.feature[forest.inner].tolist(), forest.cut[forest.inner].tolist()):
                assert cut in grid[k] or (configuration.library == "lightgbm" and abs(cut) < 1e-34)  # its bin around zero
                assert not configuration.families or FAMILIES[k] in configuration.families
    bounds = next(iter(forced_bins(np.array([0, 3]), np.array([1.0, 2.0, 9.0], np.float32))))
    assert bounds["bin_upper_bound"] == [np.nextafter(np.float32(1), np.float32(0)), np.nextafter(np.float32(2), np.float32(0))]


JOB = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    import test_training_folds as t
    def tell(name, done, total):
        if done == 9:
            print("nine", flush=True)
            time.sleep(60)
    t.run(t.conf_of(), Path(sys.argv[1]), told=tell)
""")


def test_a_training_that_was_killed_goes_on_where_it_stopped(trained, tmp_path, monkeypatch):
    job = subprocess.Popen([sys.executable, "-c", JOB, str(tmp_path / "set")], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
    assert job.stdout.readline() == "nine\n"
    job.send_signal(signal.SIGKILL)
    job.wait()
    job.stdout.close()
    assert not (tmp_path / "set").exists()
    there = list((tmp_path / "set.parts").iterdir())
    assert len(there) == 9
    made = []
    one = training_folds._one
    monkeypatch.setattr(training_folds, "_one", lambda *a: made.append(a) or one(*a))
    found = run(conf_of(), tmp_path / "set")
    assert len(made) == 18 - 9
    assert found.manifest["training"]["resumed"] == 9
    assert found.digest == trained[0].digest
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_another_setting_uses_no_part_of_an_earlier_training(tmp_path):
    conf = conf_of()
    said = {training_folds.key_of(training_folds.deciding(c, c.configurations[0])) for c in (conf, dataclasses.replace(conf, trees=13))}
    assert len(said) == 2


# --- leaks


def test_a_planted_column_of_the_future_is_named(tmp_path):
    conf = conf_of(leak_ic=0.9)
    rows = table(conf)
    x = rows.x.copy()
    x[:, 4] = rows.y[:, 1]
    with pytest.raises(DataError) as e:
        run(conf, tmp_path / "set", dataclasses.replace(rows, x=x))
    assert "forecasts of the 5 s label have an IC of 0.9" in str(e.value)
    assert "Column 'e' alone has 1.00." in str(e.value)


def test_a_file_of_features_that_reads_the_future_ends_a_training_before_it_begins(tmp_path, monkeypatch):
    from test_features_check import NEXT, START, user_file

    from tickarrow.pipeline import features_registry, features_user
    from tickarrow.pipeline.prepare import compose

    monkeypatch.setattr(features_user, "_files", {})
    monkeypatch.setattr(features_registry, "_families", dict(features_registry._families))
    rng, n = np.random.default_rng(3), 400
    mid = 100.0 + 0.01 * np.cumsum(rng.integers(-2, 3, n))
    path = tmp_path / "ticks.parquet"
    pd.DataFrame({
        "ts_event": START + np.arange(n) * SECOND // 10, "symbol": "AAA", "kind": "quote", "bid": mid - 0.01, "ask": mid + 0.01, "bid_size": 100.0,
        "ask_size": 100.0, "price": np.nan, "size": np.nan,
    }).to_parquet(path)  # fmt: skip
    file = user_file(tmp_path, "pyarrow.parquet as pq", NEXT, "BIDS[min(s.n, BIDS.size - 1)] - e.bid", path)
    of_file = f"features.files=[{file}]", "features.families=[{name: planted}]"
    conf = compose("train", ["source=parquet", f"source.path={path}", *of_file, "training.leak_ticks=400"])
    with pytest.raises(DataError, match=r"training: planted is .* knows what came later\. Correct it, or leave it out"):
        training.look_ahead(conf.source, conf.universe, conf.features, conf.training, Console(quiet=True))


def test_a_split_that_trains_on_tested_labels_is_named(tmp_path, monkeypatch):
    def unpurged(conf, ts, end):
        return WalkForward(ts, ts, conf.folds, 0)  # by the times of the rows, not by the ends of their labels

    monkeypatch.setattr(training_folds, "splitter_of", unpurged)
    with pytest.raises(DataError, match=r"training: fold 0 of the split leaks: the label of its training row \d+ ends at .*, which is tested"):
        run(conf_of(leak_shifts=0), tmp_path / "set")


def drifting(n=4_000, life=100):
    """Labels that overlap for 100 rows, of a random walk that no column knows; columns that change slowly."""
    rng = np.random.default_rng(11)
    walk = np.cumsum(rng.normal(size=n + life))
    x = np.cumsum(rng.normal(size=(n, 6)), axis=0).astype(np.float32)
    y = np.repeat((walk[life:] - walk[:-life]).astype(np.float32)[:, None], 2, axis=1)
    return x, y


def test_folds_that_share_labels_learn_from_labels_of_other_times():
    x, y = drifting()
    conf = conf_of(horizons_s=[5.0, 10.0], leak_shifts=2)
    rows = training_data.rows_of(conf, x, y, np.arange(len(y), dtype=np.int64) * SECOND // 10)
    seen, nothing = slice(0, len(y)), np.zeros(0, np.int64)
    mixed = [Fold(np.sort(a), np.sort(b), nothing, nothing) for a, b in KFold(3, shuffle=True, random_state=1).split(x)]
    lines = training_leaks.probe(conf, rows, seen, mixed, lambda name: None)
    with pytest.raises(DataError, match="trained on labels of other times have an IC of 0"):
        training_leaks.refuse(lines)
    clean = training_leaks.probe(conf, rows, seen, WalkForward(rows.ts, rows.labels.end.max(axis=1), 3, 5 * SECOND).folds(), lambda name: None)
    training_leaks.refuse(clean)
    assert {(line["rows"], line["labels"]) for line in clean} == {(r, s) for r in ("all", "purged", "embargoed") for s in ("true", "shifted")}


# --- report


def test_every_table_opens_in_one_line_and_says_what_was_done(trained):
    folder = trained[0].path / "report"
    for name, columns in training_report.SCHEMAS.items():
        assert list(pd.read_parquet(folder / f"{name}.parquet").columns) == list(columns)
        assert pl.read_parquet(folder / f"{name}.parquet").columns == list(columns)
    folds = pd.read_parquet(folder / "folds.parquet")
    assert set(folds.part) == {"learn", "stop", "purged", "embargoed", "test"}
    for _, fold in folds.groupby("fold"):
        of = {part: (rows.first_ns.min(), rows.last_ns.max()) for part, rows in fold.groupby("part")}
        assert of["learn"][1] < of["stop"][0] <= of["stop"][1] < of["embargoed"][0] <= of["embargoed"][1] < of["purged"][0] < of["test"][0]
        assert of["test"][0] - of["stop"][1] > 7 * SECOND  # the longest label and the embargo
    importance = pd.read_parquet(folder / "importance.parquet")
    sums = importance.groupby(["model", "fold"]).gain.sum()
    np.testing.assert_allclose(sums, 1.0)
    assert importance[importance.model == "xgb00/h0"].groupby("column").gain.mean().idxmax() == "a"
    about = json.loads((folder / "training.json").read_text())
    assert about["importance_stability"]["xgb00/h0"] > 0.3
    assert [line["part"] for line in about["horizons"]] == ["folds", "tail"] * 2
    page = (folder / "training.html").read_text()
    for title in ("Skill", "Folds", "Importance", "Calibration", "After costs", "Leaks", "embargoed", "purged", "heatmap"):
        assert title in page


def test_the_printed_tables_hold_the_figures(trained, capsys):
    training_report.show(Console(width=200), trained[0].path / "report")
    said = capsys.readouterr().out
    assert "xgb00" in said
    assert "labels of other times at 5 s" in said
    ic = trained[0].manifest["metrics"]["lgb02/h1"]["folds_ic"]
    assert f"{ic:+.2f} " in said


# --- rows that stay on disk


def test_rows_on_disk_give_the_models_of_rows_in_memory(trained, tmp_path):
    conf = conf_of()
    rows = table(conf)
    cells = pa.array(np.repeat(rows.x, 2, axis=0).reshape(-1), pa.float32())  # every other row is not wanted
    stored = pa.table({"x": pa.FixedSizeListArray.from_arrays(cells, 6)})
    with pa.OSFile(str(tmp_path / "features.arrow"), "wb") as out, pa.ipc.new_file(out, stored.schema) as file:
        for batch in stored.to_batches(max_chunksize=700):
            file.write_batch(batch)
    with pa.memory_map(str(tmp_path / "features.arrow")) as source:
        mapped = Stored(pa.ipc.open_file(source).read_all()).select(np.arange(0, 4000, 2))
    np.testing.assert_array_equal(mapped[np.array([5, 1999, 3])], rows.x[[5, 1999, 3]])
    found = run(conf, tmp_path / "set", dataclasses.replace(rows, x=mapped))
    assert found.digest == trained[0].digest
    assert found.manifest["training"]["data_digest"] == trained[0].manifest["training"]["data_digest"]


def test_rows_stay_in_the_cache_from_the_number_that_is_set():
    features = pa.table({
        "seq": pa.array(range(6), pa.uint64()), "ts": pa.array(range(6), pa.int64()), "symbol": pa.array([0] * 6, pa.int32()),
        "x": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12, dtype=np.float32)), 2),
    })  # fmt: skip
    quotes = features.select(["seq", "ts", "symbol"]).append_column("mid", pa.array([1.0] * 6)).append_column("spread", pa.array([0.1] * 6))
    assert isinstance(training_data.history_of(features, quotes, 100).x, np.ndarray)
    assert isinstance(training_data.history_of(features, quotes, 100, 7).x, np.ndarray)
    kept = training_data.history_of(features, quotes, 3, 3)
    assert isinstance(kept.x, Stored)
    np.testing.assert_array_equal(kept.x[:], [[0, 1], [4, 5], [8, 9]])  # every second, as many as there is room for
    rows = training_data.build_rows(TrainingConf(horizons_s=[1e-9], max_rows=5), kept)
    np.testing.assert_array_equal(rows.x[:], [[0, 1], [4, 5], [8, 9]])
    np.testing.assert_allclose(rows.cost, 1000.0)


# --- labels of a configuration


def history(n=400):
    rng = np.random.default_rng(2)
    ts, mid = np.arange(n, dtype=np.int64) * SECOND, 100 + 0.01 * np.cumsum(rng.integers(-2, 3, n))
    symbol = np.zeros(n, np.int32)
    return training_data.History(ts, symbol, mid, np.full(n, 0.02), np.zeros((n, 1), np.float32), ts, symbol, mid)


def test_labels_of_every_kind_fit_together():
    h = history()

    def of(label, **changes):
        conf = TrainingConf(horizons_s=[20.0], label=label, deviation_least=5.0, **changes)
        return training_data.labels_of(conf, h.ts, h.symbol, h.mid, h.quote_ts, h.quote_symbol, h.quote_mid)

    plain, scaled = of("forward_return"), of("scaled_return")
    known = np.isfinite(scaled.y)
    assert known.sum() > 300
    np.testing.assert_allclose((scaled.y * scaled.scale)[known], plain.y[known], rtol=1e-6)
    far = of("barrier_return", barriers=[1e6, 1e6])
    np.testing.assert_array_equal(far.y[known], plain.y[known])  # barriers that are never reached
    assert (far.end[known] == (h.ts + 20 * SECOND)[:, None][known]).all()
    long, short, both = (of("barrier_return", barrier_side=side) for side in (1, -1, 0))
    np.testing.assert_allclose(both.y[known], ((long.y + short.y) / 2)[known], rtol=1e-5, atol=1e-4)
    touched = known & (long.side == 1)
    assert touched.any()
    assert (long.y[touched] >= (1.5 * scaled.scale)[touched] - 1e-3).all()
    assert (short.y[known & (short.side == -1)] <= (-1.5 * scaled.scale)[known & (short.side == -1)] + 1e-3).all()
    first = of("barrier_first", barrier_side=1)
    np.testing.assert_array_equal(first.y[known], long.side[known])
    assert np.isnan(first.scale).all()


@pytest.mark.parametrize("label", ["scaled_return", "barrier_return", "barrier_first"])
def test_a_label_by_the_deviation_of_the_whole_day_is_a_leak_and_ours_is_not(label):
    from tickarrow.pipeline.features_leaks import Rows, label_leaks

    h = history()
    seq = np.arange(h.ts.size, dtype=np.uint64)
    ticks = {"seq": seq, "ts": h.ts, "symbol": h.symbol, "kind": np.zeros(seq.size, np.uint8), "bid": h.mid - 0.01, "ask": h.mid + 0.01}
    conf = TrainingConf(horizons_s=[20.0], label=label, deviation_least=5.0)
    ours = training_data.label_function(conf)

    def leaky(*history):
        y = training_data.label_function(TrainingConf(horizons_s=[20.0]))(*history)
        return (y / np.nanstd(y)).astype(np.float32)

    rows = Rows(seq, h.ts, h.symbol, h.x)
    what = np.array([20 * SECOND]), 60 * SECOND, ["AAA"]
    assert label_leaks(ticks, rows, *what, ours, past=True) == []
    assert [leak.why for leak in label_leaks(ticks, rows, *what, leaky, past=True)] == ["it depends on quotes behind its horizon"]


def test_barriers_and_memory_are_those_of_the_decision():
    from tickarrow.configs.ensemble import EnsembleConf
    from tickarrow.configs.risk import RiskConf

    conf, risk, ensemble = TrainingConf(), RiskConf(), EnsembleConf()
    assert conf.barriers == [risk.profit_barrier, risk.stop_barrier]
    assert (conf.deviation_tau_s, conf.deviation_least) == (ensemble.ic_tau_s, ensemble.min_outcomes)
    assert ensemble.settle_every_ns == training_data.SETTLE_NS


# --- settings


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"label": "up"}, "training.label is up: expected one of forward_return, scaled_return, barrier_return, barrier_first. "),
        ({"split": "random"}, "training.split is random: expected one of tail, walk_forward, combinatorial. "),
        ({"barriers": [1.0]}, "training.barriers is [1.0]: expected two positive numbers, of the profit and of the stop. "),
        ({"folds": 1}, "training.folds is 1: expected 2 or more. "),
        ({"test_groups": 3, "split": "combinatorial"}, "training.test_groups is 3: expected a positive number below training.folds. "),
    ],
)
def test_a_setting_of_the_folds_that_cannot_be_is_named(tmp_path, change, text):
    with pytest.raises(ConfigError) as e:
        run(conf_of(**change), tmp_path / "wrong", rows=table(conf_of()))
    assert str(e.value) == text + "Correct it in conf/training or on the command line."


def test_folds_without_rows_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"training: fold 0 has 0 rows to learn from, expected 20. Use fewer folds \(training.folds\)"):
        run(conf_of(embargo_s=60.0, leak_shifts=0), tmp_path / "few")


def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ModelError, match=r"Install tickarrow\[lightgbm\]"):
        run(conf_of(), tmp_path / "none")


def test_the_full_bank_has_sixteen_configurations_of_two_libraries():
    from tickarrow.pipeline.prepare import compose

    conf = compose("train").training
    assert [c.library for c in conf.configurations].count("lightgbm") == 6
    assert len({str(dataclasses.replace(c, seed=0)) for c in conf.configurations}) == len(conf.configurations) == 16
    assert len(conf.horizons_s) == 5
    assert compose("train", ["training=default"]).training.split == "tail"
    assert {c.library for c in compose("run").training.configurations} == {"xgboost"}
