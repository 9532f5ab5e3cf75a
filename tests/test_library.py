"""Models of three libraries: margins as the library has them, saving and loading, links, what is refused, by its text."""

import sys

import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from library_models import LIGHTGBM, SKLEARN, XGBOOST, data, of_lightgbm, of_sklearn, of_xgboost, two_targets
from models_common import COLUMNS, DIGEST, HORIZONS, bits

from tickarrow.pipeline import library, models
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.models import load_set


@pytest.mark.parametrize("name", [k for k in XGBOOST if k != "dart"])  # xgboost's own two ways differ in the last bits of weighted trees
def test_margins_of_xgboost_are_those_of_the_booster(name):
    model = of_xgboost(name)
    x, _ = data()
    np.testing.assert_array_equal(bits(library.wrap(model).margins(x)), bits(model.predict(xgb.DMatrix(x), output_margin=True)))


@pytest.mark.parametrize("make", [lambda: of_xgboost("dart"), lambda: of_xgboost("lossguide"), lambda: of_lightgbm("rf"), of_sklearn])
def test_a_margin_does_not_depend_on_the_rows_beside_it(make):
    model, (x, _) = library.wrap(make()), data()
    alone = [model.margins(x[i : i + 1]) for i in range(0, 500, 9)]
    np.testing.assert_array_equal(bits(np.concatenate(alone)), bits(model.margins(x)[::9]))


@pytest.mark.parametrize("name", LIGHTGBM)
def test_margins_of_lightgbm_are_rounded_once(name):
    model = of_lightgbm(name)
    x, _ = data()
    total = model.predict(x, raw_score=True)
    if "rf" in name:
        total = total / model.num_trees()  # boosting rf: the library leaves a raw score undivided
    np.testing.assert_array_equal(bits(library.wrap(model).margins(x)), bits(total.astype(np.float32)))


def test_margins_of_an_averaged_lightgbm_model_lead_to_its_forecast():
    model = of_lightgbm("rf")
    x, _ = data()
    np.testing.assert_array_equal(bits(library.wrap(model).margins(x)), bits(model.predict(x).astype(np.float32)))


@pytest.mark.parametrize("name", SKLEARN)
def test_margins_of_scikit_learn_are_rounded_once(name):
    model = of_sklearn(name)
    x, _ = data(missing=False)
    if name.endswith("Classifier"):
        want = model.decision_function(x)
    elif name == "poisson":
        want = np.log(model.predict(x))  # the margin itself is not public
        np.testing.assert_allclose(library.wrap(model).margins(x), want, rtol=1e-5, atol=1e-6)
        return
    else:
        want = model.predict(x)
    np.testing.assert_array_equal(bits(library.wrap(model).margins(x)), bits(want.astype(np.float32)))


def test_rows_that_the_library_refuses_have_no_margin():
    model = library.wrap(of_sklearn("GradientBoostingRegressor"))
    assert model.refuses == ("missing", "infinite")
    x, _ = data(missing=False)
    x = x[:5].copy()
    x[1, 2], x[3, 0] = np.nan, -np.inf
    assert model.accepts(x).tolist() == [True, False, True, False, True]
    assert np.isnan(model.margins(x)).tolist() == [False, True, False, True, False]
    assert np.isnan(model.margins(x[1:2])).all()
    assert library.wrap(of_sklearn("RandomForestRegressor")).refuses == ("infinite",)
    assert library.wrap(of_sklearn("HistGradientBoostingRegressor")).refuses == ()
    assert library.wrap(of_lightgbm("plain")).refuses == ()


@pytest.mark.parametrize("make", [of_xgboost, of_lightgbm, of_sklearn])
def test_a_saved_model_is_loaded_with_the_same_bits(make, tmp_path):
    model = library.wrap(make())
    path = model.save(tmp_path / "m.x_h0")
    assert path.name in ("m.x_h0.ubj", "m.x_h0.txt", "m.x_h0.joblib")
    again = library.load(path)
    assert (again.library, again.n_features, again.link_name, again.refuses) == (model.library, model.n_features, model.link_name, model.refuses)
    x, _ = data(missing=False)
    np.testing.assert_array_equal(bits(again.margins(x)), bits(model.margins(x)))


def test_an_xgboost_model_in_json_is_loaded_too(tmp_path):
    model = of_xgboost()
    model.save_model(tmp_path / "m.json")
    x, _ = data()
    np.testing.assert_array_equal(bits(library.load(tmp_path / "m.json").margins(x)), bits(library.wrap(model).margins(x)))


@pytest.mark.parametrize(
    ("make", "name", "link"),
    [
        (of_xgboost, "plain", "identity"), (of_xgboost, "binary:logistic", "logistic"), (of_xgboost, "count:poisson", "exponential"),
        (of_lightgbm, "plain", "identity"), (of_lightgbm, "binary", "logistic"), (of_lightgbm, "poisson", "exponential"),
        (of_lightgbm, "rf binary", "logistic"), (of_sklearn, "RandomForestRegressor", "identity"), (of_sklearn, "poisson", "exponential"),
        (of_sklearn, "GradientBoostingClassifier", "logistic"), (of_sklearn, "HistGradientBoostingClassifier", "logistic"),
    ],
)  # fmt: skip
def test_the_link_leads_from_margins_to_what_the_library_forecasts(make, name, link):
    raw = make(name)
    model = library.wrap(raw)
    assert model.link_name == link
    x, _ = data(missing=False)
    if make is of_xgboost:
        want = raw.predict(xgb.DMatrix(x))
    else:
        want = raw.predict_proba(x)[:, 1] if name.endswith("Classifier") else raw.predict(x)
    np.testing.assert_allclose(model.link(model.margins(x)), want, rtol=3e-7)


def test_a_model_that_stopped_early_is_taken_at_its_best_iteration():
    x, y = data(missing=False)
    first, last = slice(0, 300), slice(300, None)
    kind = xgb.XGBRegressor(n_estimators=60, max_depth=4, learning_rate=0.8, early_stopping_rounds=3, n_jobs=1)
    kind.fit(x[first], y[first], eval_set=[(x[last], y[last])], verbose=False)
    assert library.wrap(kind).booster.num_boosted_rounds() == kind.best_iteration + 1 < kind.get_booster().num_boosted_rounds()
    np.testing.assert_array_equal(bits(library.wrap(kind).margins(x)), bits(kind.predict(x, output_margin=True)))
    light = lgb.LGBMRegressor(n_estimators=60, learning_rate=0.8, n_jobs=1, verbose=-1)
    light.fit(x[first], y[first], eval_set=[(x[last], y[last])], callbacks=[lgb.early_stopping(3, verbose=False)])
    assert library.wrap(light).booster.num_trees() == light.best_iteration_ < 60
    np.testing.assert_array_equal(bits(library.wrap(light).margins(x)), bits(light.predict(x, raw_score=True).astype(np.float32)))


def test_one_set_holds_models_of_three_libraries_and_says_what_each_is(tmp_path):
    of = [of_xgboost("binary:logistic"), of_xgboost(), of_lightgbm(), of_sklearn("HistGradientBoostingClassifier"),
          of_sklearn("GradientBoostingRegressor"), of_lightgbm("poisson")]  # fmt: skip
    models.save_set(
        tmp_path / "three", of, configurations=["a", "b", "c"], horizons_ns=HORIZONS, columns=COLUMNS, feature_digest=DIGEST, ic=np.zeros((3, 2)),
        targets=["up", "forward mid return", "volatility"], units=["share", "bp", "bp"],
    )  # fmt: skip
    found = load_set(str(tmp_path / "three"), COLUMNS, DIGEST)
    assert [e.file for e in found.entries] == [
        "models/a_h0.ubj", "models/a_h1.ubj", "models/b_h0.txt", "models/b_h1.joblib", "models/c_h0.joblib", "models/c_h1.txt",
    ]  # fmt: skip
    assert [e.library for e in found.entries] == ["xgboost", "xgboost", "lightgbm", "scikit-learn", "scikit-learn", "lightgbm"]
    assert [e.link for e in found.entries] == ["logistic", "identity", "identity", "logistic", "identity", "exponential"]
    assert [(e.target, e.unit) for e in found.entries[::2]] == [("up", "share"), ("forward mid return", "bp"), ("volatility", "bp")]
    assert [e.refuses for e in found.entries] == [[], [], [], [], ["missing", "infinite"], []]
    assert set(found.manifest["versions"]) == {"xgboost", "lightgbm", "scikit-learn"}
    x, _ = data(missing=False)
    for model, raw in zip(found.models, of):
        np.testing.assert_array_equal(bits(model.margins(x)), bits(library.wrap(raw).margins(x)))


OUTPUTS = "model 'a/h0' has {} outputs: expected one forecast. Train one model per target."
LINK = "model 'a/h0' has the link '{}': expected one of identity, logistic, exponential. Train it with another objective."


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda: of_xgboost("binary:hinge"), LINK.format("hinge")),
        (lambda: of_lightgbm("steep"), LINK.format("sigmoid:2")),
        (two_targets, OUTPUTS.format(2)),
        (lambda: of_lightgbm("classes"), OUTPUTS.format(3)),
        (lambda: of_sklearn("RandomForestRegressor targets"), OUTPUTS.format(2)),
        (lambda: of_sklearn("HistGradientBoostingClassifier classes"), OUTPUTS.format(3)),
        (lambda: of_lightgbm("sqrt"), LINK.format("signed square")),
        (lambda: of_xgboost("gblinear"), "an xgboost model is a 'gblinear' booster: expected trees ('gbtree' or 'dart'). Train it as such."),
        (lambda: of_xgboost("narrow"), "model 'a/h0' has 3 features, the set 6 columns. Train it on the columns of the set."),
        (dict, "a model of type builtins.dict is not supported: expected one of xgboost, lightgbm or scikit-learn."),
        (
            lambda: of_sklearn("RandomForestClassifier"),
            "RandomForestClassifier of scikit-learn is not supported: expected one of RandomForestRegressor, ExtraTreesRegressor, "
            "GradientBoostingRegressor, GradientBoostingClassifier, HistGradientBoostingRegressor, HistGradientBoostingClassifier.",
        ),
    ],
)  # fmt: skip
def test_a_set_refuses_what_no_engine_can_serve(model, text, tmp_path):
    with pytest.raises(ModelError) as e:
        models.save_set(
            tmp_path / "set", [model()], configurations=["a"], horizons_ns=HORIZONS[:1], columns=COLUMNS, feature_digest=DIGEST, ic=np.zeros((1, 1))
        )
    assert str(e.value) == text


def test_without_lightgbm_its_model_still_becomes_a_forest(tmp_path, monkeypatch):
    path = library.wrap(of_lightgbm()).save(tmp_path / "m")
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    model = library.load(path)
    assert model.forest("m").n_trees == 8
    with pytest.raises(ModelError) as e:
        model.margins(data()[0])
    assert str(e.value) == "lightgbm is not installed and a model of this set needs it here. Install tickarrow[lightgbm]."


def test_without_scikit_learn_its_model_is_not_loaded(tmp_path, monkeypatch):
    path = library.wrap(of_sklearn()).save(tmp_path / "m")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModelError) as e:
        library.load(path)
    assert str(e.value) == "sklearn is not installed and a model of this set needs it here. Install tickarrow[sklearn]."


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("m.ubj", b"nothing", "cannot be read as a model: "),
        ("m.txt", b"nothing", "the text is no LightGBM model: it has no line max_feature_idx. Save the model again (Booster.save_model)."),
        ("m.joblib", b"", "cannot be read as a model: "),
        ("m.onnx", b"", "is no model file: expected .ubj or .json (xgboost), .txt (LightGBM) or .joblib (scikit-learn)."),
    ],
)
def test_a_file_that_is_no_model_is_named(name, content, text, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as e:
        library.load(tmp_path / name)
    assert text in str(e.value)
    assert "\n" not in str(e.value)
