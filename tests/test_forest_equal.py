"""A short form of forest_equal.py: every shape of model that is supported, every engine, the libraries' own bits."""

import forest_equal
import numpy as np
import pytest

SLOW = {"xgboost, 2,000 trees", "lightgbm 255 leaves", "lightgbm 127 leaves", "scikit-learn RandomForest", "xgboost, 250 features, shapes of all kinds"}
QUICK = [c for c in forest_equal.CASES if c.name not in SLOW]


@pytest.fixture
def recorded(monkeypatch):
    """Instead of the generated market: a day of it would take longer than all comparisons."""
    rng = np.random.default_rng(3)
    monkeypatch.setattr(forest_equal, "recorded", lambda: np.round(rng.normal(size=(2_000, 41)) * 8).astype(np.float32) / 4)
    monkeypatch.setattr(forest_equal, "TRAINED", 600)


@pytest.mark.parametrize("case", QUICK, ids=lambda c: c.name)
def test_the_engines_give_the_bits_of_the_library(case, recorded, tmp_path):
    if "lightgbm" in case.name or case.name == "mixed bank":
        pytest.importorskip("lightgbm")
    case = case._replace(engines=tuple(e for e in case.engines if e != "treelite_c"))  # a C compiler a model takes seconds
    for done, found in forest_equal.run(case, 300, {}, tmp_path):
        assert done == 300
        assert "portable" in found
        assert all(margins > 0 and differ == 0 for margins, differ in found.values())


def test_a_run_goes_on_where_it_was(recorded, tmp_path):
    case = forest_equal.CASES[1]._replace(engines=("portable",))
    (first,) = forest_equal.run(case, 200, {}, tmp_path / "one")
    (second,) = forest_equal.run(case, 300, {"rows": first[0], "found": dict(first[1])}, tmp_path / "two")
    assert (first[0], second[0]) == (200, 300)
    assert second[1]["portable"][0] == 300 * case.n_models


def test_a_wrong_bit_is_counted():
    class Wrong:
        def predict(self, x, lo, hi, y):
            y[:] = 1.0

    margins = np.array([[1.0, np.nextafter(np.float32(1), np.float32(2))], [1.0, 5.0]], np.float32)
    assert forest_equal.mismatches(Wrong(), np.zeros((2, 3), np.float32), margins, np.ones((2, 2), bool)) == 2
    assert forest_equal.mismatches(Wrong(), np.zeros((2, 3), np.float32), margins, np.array([[True, True], [True, False]])) == 1
