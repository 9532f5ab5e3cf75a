"""A short form of forest_equal.py: every shape of model that is supported, every engine, the libraries' own bits."""

import forest_equal
import numpy as np
import pytest

from tickarrow.pipeline.predict_engines_forest import ForestEngine

SLOW = {"xgboost, 2,000 trees", "lightgbm 255 leaves", "lightgbm 127 leaves", "scikit-learn RandomForest", "xgboost, 250 features, shapes of all kinds"}
QUICK = [c for c in forest_equal.CASES if c.name not in SLOW]


@pytest.fixture
def recorded(monkeypatch):
    """Instead of the generated market: a day of it would take longer than all comparisons."""
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(size=(2_000, 41)) * 8).astype(np.float32) / 4
    monkeypatch.setattr(forest_equal, "recorded", lambda: x)
    monkeypatch.setattr(forest_equal, "TRAINED", 600)


@pytest.mark.parametrize("case", QUICK, ids=lambda c: c.name)
def test_the_engines_give_the_bits_of_the_library(case, recorded, tmp_path):
    if "lightgbm" in case.name or case.name == "mixed bank":
        pytest.importorskip("lightgbm")
    case = case._replace(engines=tuple(e for e in case.engines if e != "treelite_c"))  # a C compiler a model takes seconds
    for state in forest_equal.run(case, 300, {}, tmp_path):
        assert state["rows"] == 300
        assert "portable" in state["differ"]
        assert state["margins"] > 0
        assert not any(state["differ"].values())


def test_a_run_goes_on_where_it_was_unless_the_models_are_others(recorded, tmp_path):
    case, state = forest_equal.CASES[1]._replace(engines=("portable",)), {}
    assert [s["rows"] for s in forest_equal.run(case, 200, state, tmp_path)] == [200]
    assert [s["margins"] for s in forest_equal.run(case, 300, state, tmp_path)] == [300 * case.n_models]
    assert list(forest_equal.run(case, 300, state, tmp_path)) == []
    state["now"]["model_set"] = "another"
    assert [s["rows"] for s in forest_equal.run(case, 100, state, tmp_path)] == [100]


def test_a_wrong_bit_is_counted(recorded, tmp_path, monkeypatch):
    def wrong(self, x, lo, hi, y):
        predict(self, x, lo, hi, y)
        y[3, 1] = np.nextafter(y[3, 1], np.float32(np.inf))

    case, state = forest_equal.CASES[1]._replace(engines=("portable",)), {}
    list(forest_equal.run(case, 100, state, tmp_path))
    predict = ForestEngine.predict
    engines = forest_equal.engines_of

    def spoiled(*asked):
        monkeypatch.setattr(ForestEngine, "predict", predict)
        found = engines(*asked)
        monkeypatch.setattr(ForestEngine, "predict", wrong)
        return found

    monkeypatch.setattr(forest_equal, "engines_of", spoiled)
    (after,) = forest_equal.run(case, 200, state, tmp_path)
    assert after["differ"]["portable"] == 1
