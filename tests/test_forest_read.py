"""Readers: the bits of each library on every cut, its neighbours and special values; what they refuse, by its text; the cut of one split."""

import re

import lightgbm as lgb
import naive_trees as naive
import numpy as np
import pytest
import treelite
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st
from library_models import LIGHTGBM, SKLEARN, XGBOOST, data, of_lightgbm, of_sklearn, of_xgboost, two_targets
from models_common import bits, booster

from tickarrow.pipeline import certificate, forest_read, library
from tickarrow.pipeline.errors import ModelError

LESS, LESS_EQUAL = forest_read.LESS, forest_read.LESS_EQUAL
TINY = np.array([1e-35, -1e-35, 1e-36, -1e-36, 0.0, -0.0, 2e-35, -2e-35, np.nextafter(np.float32(1e-35), 1), -np.nextafter(np.float32(1e-35), 1)], np.float32)


def rows_of(forest):
    """Probe rows, recorded rows, and rows of values around LightGBM's zero."""
    probes = certificate.probe_rows([forest])
    rng = np.random.default_rng(2)
    tiny = np.where(rng.random((300, 6)) < 0.6, rng.choice(TINY, (300, 6)), probes[rng.integers(0, len(probes), 300)])
    return np.ascontiguousarray(np.concatenate([probes[::2], data()[0][:100], tiny]), np.float32)


CASES = [(of_xgboost, k) for k in XGBOOST if k != "dart"] + [(of_lightgbm, k) for k in LIGHTGBM] + [(of_sklearn, k) for k in SKLEARN]


@pytest.mark.parametrize(("make", "kind"), CASES)
def test_every_bit_is_that_of_the_library(make, kind):
    model = library.wrap(make(kind))
    forest = model.forest("m")
    assert forest.library == model.library
    assert forest.leaf.dtype == (np.float32 if model.library == "xgboost" else np.float64)
    assert forest.divisor == (8 if "rf" in kind or kind in ("RandomForestRegressor", "ExtraTreesRegressor") else 1)
    rows = rows_of(forest)
    rows = rows[model.accepts(rows)]
    assert len(rows) > 100
    np.testing.assert_array_equal(bits(naive.margins(forest, rows)), bits(model.margins(rows)))


def test_a_forest_is_what_xgboost_dumps():
    model = booster(1, depth=3, n_trees=4)
    forest = library.wrap(model).forest("m")
    dump = model.trees_to_dataframe()
    assert (forest.n_trees, forest.depth) == (4, 3)
    assert forest.leaves.sum() == int((dump.Feature == "Leaf").sum())
    leaves = dump[dump.Feature == "Leaf"].Gain.to_numpy(np.float32)
    np.testing.assert_array_equal(np.sort(forest.leaf[~forest.inner]), np.sort(leaves))
    splits = dump[dump.Feature != "Leaf"]
    np.testing.assert_array_equal(np.sort(forest.cut[forest.inner]), np.sort(splits.Split.to_numpy(np.float32)))


def test_the_base_of_a_link_is_a_margin():
    # logistic: log(p / (1 - p)) of the base score p = 0.2; poisson: log of 2.5
    for objective, score, margin in (("binary:logistic", 0.2, np.log(0.25)), ("count:poisson", 2.5, np.log(2.5)), ("reg:squarederror", 2.5, 2.5)):
        x, y = data()
        model = xgb.train({"objective": objective, "base_score": score, "nthread": 1}, xgb.DMatrix(x, (y > 0) * 1.0), 2)
        assert library.wrap(model).forest("m").base == pytest.approx(margin, rel=1e-7)


def lightgbm_stump(threshold, decision_type):
    """Text of a LightGBM model of one split on feature 0: left 1, right 2."""
    text = of_lightgbm().model_to_string()
    head = text[: text.index("\nTree=0")]
    tree = (
        f"\nTree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nsplit_gain=1\nthreshold={threshold}\ndecision_type={decision_type}\nleft_child=-1\n"
        "right_child=-2\nleaf_value=1 2\nleaf_weight=1 1\nleaf_count=1 1\ninternal_value=0\ninternal_weight=0\ninternal_count=2\nis_linear=0\nshrinkage=1\n\n\n"
    )
    head = re.sub(r"tree_sizes=.*", f"tree_sizes={len(tree) - 1}", head)
    return f"{head}\n{tree}end of trees\n"


@pytest.mark.parametrize("threshold", ["inf", "1e-35", "-1e-35", "1.0000000180025095e-35", "-1.0000000180025095e-35", "0", "-0.0", "1e-36", "-1e-36", "1e-300",
                                       "0.1", "1.7976931348623157e308", "-1.7976931348623157e308", "3.4028234663852886e38", "1e-45"])  # fmt: skip
@pytest.mark.parametrize("decision_type", [2, 8, 10, 0])
def test_a_split_of_lightgbm_sends_every_value_where_the_library_does(threshold, decision_type):
    model = library.LightgbmModel(lightgbm_stump(threshold, decision_type))
    forest = model.forest("m")
    t = np.float32(min(max(float(threshold), -3.4e38), 3.4e38))
    values = np.concatenate([
        TINY, [t, np.nextafter(t, np.float32(np.inf)), np.nextafter(t, np.float32(-np.inf)), np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3.4028235e38],
    ])  # fmt: skip
    rows = np.zeros((len(values), 6), np.float32)
    rows[:, 0] = values
    np.testing.assert_array_equal(naive.margins(forest, rows), model.margins(rows))


def test_an_infinite_threshold_of_lightgbm_occurs_in_training():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 2))
    y = np.zeros(400)
    x[:100, 0], y[:100] = np.nan, 5.0  # only missing differs
    model = lgb.train({"num_threads": 1, "verbosity": -1, "num_leaves": 2, "min_data_in_leaf": 5}, lgb.Dataset(x, y), 1)
    forest = library.wrap(model).forest("m")
    assert np.isnan(forest.cut[forest.inner]).any() or np.isfinite(forest.cut[forest.inner]).all()
    rows = np.array([[np.nan, 0], [np.inf, 0], [0, 0], [-np.inf, 0]], np.float32)
    np.testing.assert_array_equal(naive.margins(forest, rows), library.wrap(model).margins(rows))


def test_a_zero_that_is_missing_and_goes_where_its_value_says_is_read():
    for threshold, decision_type in ((0.5, 6), (-0.5, 4), (0.0, 6)):  # default left and 0 <= t, or default right and 0 > t
        model = library.LightgbmModel(lightgbm_stump(threshold, decision_type))
        rows = np.zeros((len(TINY) + 4, 6), np.float32)
        rows[:, 0] = [*TINY, np.nan, 1.0, -1.0, 0.5]
        np.testing.assert_array_equal(naive.margins(model.forest("m"), rows), model.margins(rows))


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
value = st.floats(width=32, allow_nan=False)


@given(st.one_of(finite, value, st.just(np.inf), st.just(-np.inf)), value)
def test_a_value_goes_right_of_the_cut_exactly_if_it_is_greater_than_the_threshold(t, x):
    x = np.float32(x)
    cut = forest_read.cuts(np.array([t]), np.array([LESS_EQUAL]), False)[0]
    with np.errstate(over="ignore", under="ignore"):
        around = np.nextafter(cut, np.float32(-np.inf)), np.nextafter(cut, np.float32(np.inf))
    for v in (x, cut, *around):
        if not np.isnan(v):
            assert (v >= cut) == (float(v) > t)


@given(value, value)
def test_a_value_goes_right_of_the_cut_exactly_if_it_is_not_less(t, x):
    cut = forest_read.cuts(np.array([t], np.float32), np.array([LESS]), False)[0]
    assert (np.float32(x) >= cut) == (not np.float32(x) < np.float32(t))
    assert not (cut == 0 and np.signbit(cut))


def test_cuts_of_hand_computed_thresholds():
    # float32(0.1) is above 0.1, float32(0.3) is above 0.3, 0.5 is itself: the next float32 above it goes right
    t = np.array([0.1, 0.3, 0.5, np.inf, -np.inf, np.nan, 1e300])
    got = forest_read.cuts(t, np.full(7, LESS_EQUAL), False)
    np.testing.assert_array_equal(got, np.array([0.1, 0.3, 0.50000006, np.nan, -3.4028235e38, -np.inf, np.inf], np.float32))
    assert forest_read.cuts(np.array([0.7]), np.array([LESS_EQUAL]), False)[0] == np.nextafter(np.float32(0.7), np.float32(1))  # float32(0.7) is below


DART = "model 'a/h0' is a 'dart' booster: its trees have weights. Only the library itself runs it (models=xgboost)."
CATEGORICAL = "model 'a/h0', tree 0, has a categorical split: expected numerical ones. Only the library itself runs it (models=xgboost)."
OUTPUTS = "model 'a/h0' has more than one output: expected one forecast. Train one model per target."


def categorical_xgboost():
    x, y = data(missing=False)
    x[:, 1] = np.abs(x[:, 1])
    matrix = xgb.DMatrix(x, y, feature_types=["q", "c", "q", "q", "q", "q"], enable_categorical=True)
    return xgb.train({"nthread": 1, "tree_method": "hist"}, matrix, 2)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda: of_xgboost("dart"), DART),
        (categorical_xgboost, CATEGORICAL),
        (lambda: of_lightgbm("categorical"), CATEGORICAL),
        (lambda: of_sklearn("categorical"), CATEGORICAL),
        (two_targets, OUTPUTS),
        (lambda: of_lightgbm("classes"), OUTPUTS),
        (
            lambda: of_lightgbm("linear"),
            "model 'a/h0' cannot be read by treelite: LightGBM models with linear trees (linear_tree=True) are not supported. "
            "Only the library itself runs it (models=xgboost).",
        ),
        (
            lambda: of_lightgbm("zero as missing"),
            "model 'a/h0' takes zeros as missing and sends them elsewhere than their value says. Only the library itself runs it (models=xgboost).",
        ),
        (
            lambda: of_sklearn("GradientBoostingRegressor init"),
            "model 'a/h0' cannot be read by treelite: Custom init estimator not supported. Only the library itself runs it (models=xgboost).",
        ),
        (
            lambda: of_sklearn("GradientBoostingClassifier exponential"),
            "model 'a/h0' has the link 'HalfLogitLink': expected one of identity, logistic, exponential. Train it with another objective.",
        ),
        (
            lambda: xgb.train({"nthread": 1}, xgb.DMatrix(*data()), 0),
            "model 'a/h0' has no trees. Only the library itself runs it (models=xgboost).",
        ),
    ],
)  # fmt: skip
def test_what_the_engines_cannot_do_is_named(model, text):
    with pytest.raises(ModelError) as e:
        library.wrap(model()).forest("a/h0")
    assert re.sub(r"tree \d+", "tree 0", str(e.value)) == text


def test_an_infinite_leaf_is_refused():
    builder = treelite.model_builder.ModelBuilder(
        threshold_type="float32", leaf_output_type="float32",
        metadata=treelite.model_builder.Metadata(
            num_feature=1, task_type="kRegressor", average_tree_output=False, num_target=1, num_class=[1], leaf_vector_shape=(1, 1)
        ),
        tree_annotation=treelite.model_builder.TreeAnnotation(num_tree=1, target_id=[0], class_id=[0]),
        postprocessor=treelite.model_builder.PostProcessorFunc(name="identity"), base_scores=[0.0],
    )  # fmt: skip
    builder.start_tree()
    builder.start_node(0)
    builder.leaf(np.inf)
    builder.end_node()
    builder.end_tree()
    with pytest.raises(ModelError) as e:
        forest_read.read(builder.commit(), "m", "xgboost", "identity", lambda _: 0.0)
    assert str(e.value) == "model 'm', tree 0, has an infinite or missing leaf. Train it on finite data."
