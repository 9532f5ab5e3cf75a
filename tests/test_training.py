"""Training: split and purge, one cut grid, determinism, figures, errors by their text."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.configs.costs import CostsConf
from tickarrow.configs.training import ConfigurationConf, TrainingConf
from tickarrow.pipeline import training, training_data, training_metrics
from tickarrow.pipeline.costs import shipped
from tickarrow.pipeline.errors import ConfigError, DataError

COLUMNS = ["a", "b", "c", "d", "e", "f"]
FAMILIES = ["quote", "quote", "flow", "flow", "volatility", "volatility"]
DIGEST = "0" * 32


def tiny(**changes):
    configurations = [
        ConfigurationConf(depth=3, eta=0.3, subsample=0.7, seed=1),
        ConfigurationConf(depth=2, eta=0.3, objective="absoluteerror", families=["flow"], seed=2),
    ]
    conf = TrainingConf(horizons_s=[1.0, 5.0], trees=4, max_bin=32, nthread=1, max_rows=5_000, configurations=configurations)
    return dataclasses.replace(conf, **changes)


def rows(n=2_000, seed=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = np.stack([2 * x[:, 0] + x[:, 2] + rng.normal(size=n), x[:, 3] + rng.normal(size=n)], 1).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    return x, y, np.arange(n, dtype=np.int64) * 100_000_000


def made(n=2_000, conf=None):
    return training_data.rows_of(conf or tiny(), *rows(n))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    told = []
    found = training.train(
        tiny(), made(), COLUMNS, FAMILIES, DIGEST, tmp_path_factory.mktemp("sets") / "tiny", lambda *a: told.append(a), {"seed": 7}
    )
    return found, told


def test_a_model_set_holds_what_was_trained(trained):
    found, told = trained
    assert found.configurations == ["xgb00", "xgb01"]
    assert found.horizons_ns.tolist() == [1_000_000_000, 5_000_000_000]
    assert (found.columns, found.feature_digest) == (COLUMNS, DIGEST)
    assert {(e.library, e.link, e.target, e.unit) for e in found.entries} == {("xgboost", "identity", "forward mid return", "bp")}
    assert [p.name for p in found.files] == ["xgb00_h0.ubj", "xgb00_h1.ubj", "xgb01_h0.ubj", "xgb01_h1.ubj"]
    assert [m.booster.num_boosted_rounds() for m in found.models] == [4, 4, 4, 4]
    assert told == [("xgb00/h0", 0, 4), ("xgb00/h1", 1, 4), ("xgb01/h0", 2, 4), ("xgb01/h1", 3, 4), ("saving", 4, 4)]
    made_from = found.manifest["training"]
    assert (made_from["rows"], made_from["purged"], made_from["tail_rows"]) == (1450, 50, 500)  # 5 s of 0.1 s rows are purged
    assert found.trained_on({"seed": 7})
    assert not found.trained_on({"seed": 8})


def test_metrics_are_those_of_the_untouched_tail(trained):
    found, _ = trained
    x, y, _ = rows()
    for m, model in enumerate(found.models):
        h = m % 2
        p, o = model.margins(x[1500:]).astype(float), y[1500:, h].astype(float)
        said = found.manifest["metrics"][found.names[m]]
        assert said["n"] == 500
        assert said["ic"] == pytest.approx(np.corrcoef(p, o)[0, 1])
        assert said["r2"] == pytest.approx(1 - ((o - p) ** 2).sum() / ((o - y[:1450, h].astype(float).mean()) ** 2).sum())
        assert found.ic[m // 2, h] == said["ic"]
    assert found.ic[0, 0] > 0.5  # the first label is mostly 2 * a + c
    assert found.ic[1, 0] > 0.2  # of which a model of the family 'flow' sees c


def test_all_models_share_one_cut_grid_and_keep_to_their_families(trained):
    found, _ = trained
    cuts = [set() for _ in COLUMNS]
    for m, forest in enumerate(found.forests):
        inner = forest.left >= 0
        used = set(forest.feature[inner].tolist())
        assert used <= ({2, 3} if m >= 2 else set(range(6)))
        for f, t in zip(forest.feature[inner], forest.cut[inner]):
            cuts[f].add(float(t))
    assert max(len(c) for c in cuts) <= tiny().max_bin
    assert len(found.manifest["cut_grid"]) == 32


def test_two_trainings_give_one_digest_and_another_seed_another(trained, tmp_path):
    found, _ = trained
    again = training.train(tiny(), made(), COLUMNS, FAMILIES, DIGEST, tmp_path / "again")
    assert again.digest == found.digest
    conf = tiny()
    other = dataclasses.replace(conf, configurations=[dataclasses.replace(conf.configurations[0], seed=9), conf.configurations[1]])
    assert training.train(other, made(), COLUMNS, FAMILIES, DIGEST, tmp_path / "other").digest != found.digest


def test_two_threads_are_deterministic_too(tmp_path):
    conf = tiny(nthread=2)
    digests = {training.train(conf, made(), COLUMNS, FAMILIES, DIGEST, tmp_path / str(i)).digest for i in range(2)}
    assert len(digests) == 1


def test_figures_of_a_hand_computed_forecast():
    # errors 0, 1, 0: sum of squares 1; around the training mean 1: 0 + 1 + 4 = 5
    forecast, outcome = np.array([1, 1, 3], np.float32), np.array([1, 2, 3], np.float32)
    got = training_metrics.judge(forecast, outcome, 1.0)
    assert got == {"r2": pytest.approx(0.8), "ic": pytest.approx(np.sqrt(3) / 2), "n": 3}
    assert training_metrics.judge(np.ones(3, np.float32), outcome, 1.0)["ic"] is None
    assert training_metrics.judge(forecast, np.ones(3, np.float32), 1.0) == {"r2": None, "ic": None, "n": 3}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.floats(0.0, 0.9))
def test_no_training_label_reaches_into_the_tail(steps, share):
    ts = np.cumsum(np.array(steps, np.int64)) * 1_000_000_000
    conf = tiny(tail=share)
    seen, tail = training_data.split(conf, ts)
    assert seen.start == 0
    assert seen.stop <= tail.start
    assert tail.stop == ts.size
    if tail.start < ts.size:
        assert (ts[seen] + 5_000_000_000 < ts[tail.start]).all()
        assert tail.start == round((1 - share) * ts.size)


@given(st.integers(0, 500), st.integers(0, 40))
def test_thinning_keeps_every_so_many_rows_of_those_that_do_not_fit(n, room):
    k = training_data.stride(n, room)
    assert k == min(k for k in (2**i for i in range(10)) if len(range(0, n, k)) <= max(room, 1))


def test_rows_without_a_label_at_every_horizon_are_left_out():
    second = 1_000_000_000
    ts = np.arange(20, dtype=np.int64) * second
    history = training_data.History(
        ts=ts, symbol=np.zeros(20, np.int32), mid=np.full(20, 100.0), spread=np.full(20, 0.02), x=np.arange(40, dtype=np.float32).reshape(20, 2),
        quote_ts=ts, quote_symbol=np.zeros(20, np.int32), quote_mid=100.0 + np.arange(20) * 0.01,
    )  # fmt: skip
    kept = training_data.build_rows(tiny(gap_s=2.0), history)
    assert kept.ts.tolist() == ts[:15].tolist()  # the last five have no quote five seconds later
    np.testing.assert_array_equal(kept.x, history.x[:15])
    # mid 100 + 0.01 i against the row's mid of 100: (i + h) basis points
    np.testing.assert_allclose(kept.y, [[i + 1, i + 5] for i in range(15)], rtol=1e-5)
    np.testing.assert_allclose(kept.cost, 2.0)  # the spread: 0.02 of 100
    kept = training_data.build_rows(tiny(gap_s=2.0, max_rows=4), history, CostsConf(per_share=0.005, minimum=1.0, max_share=0.01))
    assert kept.ts.tolist() == [0, 4 * second, 9 * second, 14 * second]
    assert kept.x.flags.c_contiguous
    np.testing.assert_allclose(kept.cost, 3.0)  # and twice 1.00 for 200 shares
    table = shipped("ibkr_fixed")
    kept = training_data.build_rows(tiny(gap_s=2.0, max_rows=4), history, table)
    # 200 shares of 20,000: 1.00 and 0.0144 for the audit trail each way, 0.039 (FINRA) and 0.412 (SEC) for the sale: 2.4798
    np.testing.assert_allclose(kept.cost, 2.0 + 1.2399)


def test_too_few_rows_are_refused_with_the_counts(tmp_path):
    with pytest.raises(DataError) as e:
        training.train(tiny(), made(150), COLUMNS, FAMILIES, DIGEST, tmp_path / "few")
    assert str(e.value) == (
        "training needs 50 labelled rows before the purge and 50 in the tail: there are 62 and 38 (of 150). "
        "Use a longer source or shorter horizons (training.horizons_s)."
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"objective": "logistic"},
            "training.configurations[0]: objective 'logistic' is not one of squarederror, pseudohubererror, absoluteerror.",
        ),
        (
            {"families": ["depth"]},
            "training.configurations[0] names the feature family 'depth', the features have quote, flow, volatility. Name one of these.",
        ),
        ({"depth": 0}, "training.configurations[0]: depth 0 is out of range. Give 1 to 8, more only for models=xgboost."),
        ({"subsample": 0.0}, "training.configurations[0]: subsample is 0.0: expected a share above 0, at most 1."),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path, change, text):
    conf = tiny(configurations=[ConfigurationConf(**change)])
    with pytest.raises(ConfigError) as e:
        training.train(conf, made(), COLUMNS, FAMILIES, DIGEST, tmp_path / "wrong")
    assert str(e.value) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"tail": 2.0}, "training.tail is 2.0: expected a share above 0 and below 1. "),
        ({"max_bin": 0}, "training.max_bin is 0: expected 2 or more. "),
        ({"trees": 0}, "training.trees is 0: expected a positive number. "),
        ({"horizons_s": [1.0, -5.0]}, "training.horizons_s is [1.0, -5.0]: expected positive numbers of seconds. "),
    ],
)
def test_a_setting_out_of_range_is_named(tmp_path, change, text):
    with pytest.raises(ConfigError) as e:
        training.train(tiny(**change), made(), COLUMNS, FAMILIES, DIGEST, tmp_path / "wrong")
    assert str(e.value) == text + "Correct it in conf/training or on the command line."


def test_no_configuration_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="training: no configurations or no horizons"):
        training.train(tiny(configurations=[]), made(), COLUMNS, FAMILIES, DIGEST, tmp_path / "none")


def test_the_shipped_banks_differ_in_every_configuration():
    from pathlib import Path

    from omegaconf import OmegaConf

    import tickarrow.conf

    folder = Path(next(iter(tickarrow.conf.__path__))) / "training"
    for file, configurations, horizons in (("default.yaml", 16, 5), ("tiny.yaml", 2, 2)):
        text = (folder / file).read_text()
        assert text.startswith("# ")
        given_ = OmegaConf.create(text)
        assert given_.pop("defaults") == ["schema"]
        conf = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TrainingConf), given_))
        assert isinstance(conf, TrainingConf)
        assert len(conf.horizons_s) == horizons
        without_seed = {str(dataclasses.replace(c, seed=0)) for c in conf.configurations}
        assert len(without_seed) == len({c.seed for c in conf.configurations}) == len(conf.configurations) == configurations
        assert conf.max_rows <= 200_000


def test_a_generated_market_becomes_training_rows():
    from tickarrow.configs.features import FamilyConf, FeaturesConf
    from tickarrow.configs.source import SourceConf
    from tickarrow.configs.universe import UniverseConf

    features = FeaturesConf(families=[FamilyConf("quote", [5.0, 300.0]), FamilyConf("flow", [1.0, 5.0, 30.0, 300.0])])
    assert training.column_families(features) == ["quote"] * 12 + ["flow"] * 18
    universe = UniverseConf(symbols=["AAA", "BBB"], classes=["large", "etf"])
    history = training_data.collect(SourceConf(seed=4, duration_s=30.0), universe, features, tiny(max_rows=10_000))
    assert history.x.shape == (history.ts.size, 30)
    assert history.ts.size > 20
    assert (np.diff(history.ts) >= 0).all()
    assert (np.diff(history.quote_ts) >= 0).all()
    # the mid of each row is that of one of the symbol's quotes at its time
    for ts, symbol, mid in list(zip(history.ts, history.symbol, history.mid))[:50]:
        there = (history.quote_ts == ts) & (history.quote_symbol == symbol)
        assert mid in history.quote_mid[there]
    first = training.default_set_path(tiny(), SourceConf(seed=4), universe, features)
    assert first.name.startswith("default-")
    assert first == training.default_set_path(tiny(), SourceConf(seed=4), universe, features)
    assert first != training.default_set_path(tiny(trees=5), SourceConf(seed=4), universe, features)
    assert first != training.default_set_path(tiny(), SourceConf(seed=5), universe, features)
