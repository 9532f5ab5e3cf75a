"""Links of margins: by hand, against their definition, and in ulps against the three libraries over all of float32's range."""

import functools

import lightgbm as lgb
import mpmath
import naive_trees as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_models import of_lightgbm, of_sklearn, of_xgboost
from models_common import bits

from tickarrow.jit import trees_link
from tickarrow.pipeline import library
from tickarrow.pipeline.models import ModelEntry
from tickarrow.pipeline.predict_links import Links

CODES = {"identity": trees_link.IDENTITY, "logistic": trees_link.LOGISTIC, "exponential": trees_link.EXPONENTIAL}


def forecasts(margins, links, rows=None, refuses=None):
    """The kernel on margins (n, models)."""
    y = np.array(margins, np.float32)
    rows = np.zeros((len(y), 1), np.float32) if rows is None else rows
    flags = [sum({"missing": 1, "infinite": 2}[k] for k in names) for names in refuses or [()] * len(links)]
    trees_link.forecasts(rows, 0, len(y), np.array([CODES.get(k, k) for k in links], np.uint8), np.array(flags, np.uint8), y)
    return y


def ulps(a, b):
    """Floats between two float32 arrays; NaN is near NaN only."""
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    ordered = [np.where(v.view(np.int32) < 0, -(v.view(np.int32).astype(np.int64) & 0x7FFFFFFF), v.view(np.int32)) for v in (a, b)]
    return int(np.where(np.isnan(a), 0, np.abs(ordered[0] - ordered[1])).max())


@functools.cache
def sweep(n=60_000):
    """Margins of every magnitude and both signs, more of them where the links bend, and the ends of the range."""
    every = np.linspace(0, 0x7F800000, n).astype(np.uint32).view(np.float32)
    bend = np.linspace(0, 110, n).astype(np.float32)
    ends = np.array([np.nan, 88.7, 88.72284, 87.33655, 103.97208, 103.28, 16.6, 17.4], np.float32)
    return np.concatenate([every, -every, bend, -bend, ends, -ends])


@pytest.mark.pure
def test_links_of_hand_computed_margins():
    # 1 / (1 + e**0) = 0.5; e**0 = 1; e**1 = 2.7182817 in float32; 1 / (1 + e**-ln 3) = 3/4
    m = np.array([0.0, 1.0, np.log(3.0)], np.float32)
    assert forecasts(np.stack([m, m, m], 1), ["identity", "logistic", "exponential"]).tolist() == [
        [0.0, 0.5, 1.0], [1.0, pytest.approx(0.7310586, abs=1e-7), np.float32(2.7182817)], [m[2], pytest.approx(0.75, abs=1e-7), pytest.approx(3.0, abs=3e-7)],
    ]  # fmt: skip
    special = np.array([[np.inf] * 2, [-np.inf] * 2, [np.nan] * 2], np.float32)
    np.testing.assert_array_equal(forecasts(special, ["logistic", "exponential"]), [[1.0, np.inf], [0.0, 0.0], [np.nan, np.nan]])


value = st.floats(width=32)


@pytest.mark.pure
@given(st.lists(st.tuples(value, value, value), min_size=1, max_size=8), st.integers(0, 2), st.randoms())
def test_forecasts_follow_their_definition(margins, start, random):
    margins = np.array(margins, np.float32)
    rng = np.random.default_rng(random.randrange(1 << 30))
    rows = rng.choice(np.array([1.0, np.nan, np.inf, -np.inf], np.float32), (len(margins) + start, 3), p=[0.85, 0.05, 0.05, 0.05])
    links, refuses = ["logistic", "identity", "exponential"], [("missing",), ("missing", "infinite"), ("infinite",)]
    y = margins.copy()
    trees_link.forecasts(rows, start, len(rows), np.array([1, 0, 2], np.uint8), np.array([1, 3, 2], np.uint8), y)
    np.testing.assert_allclose(y, naive.forecasts(rows[start:], links, refuses, margins), rtol=1.2e-7, atol=1e-45)


@pytest.mark.pure
def test_links_are_within_one_ulp_of_the_exact_value():
    m = np.concatenate([np.linspace(-100, 88, 500), np.linspace(-1e-4, 1e-4, 101)]).astype(np.float32)
    with mpmath.workdps(30):
        exact = [(1 / (1 + mpmath.exp(-mpmath.mpf(float(v)))), mpmath.exp(mpmath.mpf(float(v)))) for v in m]
    want = np.array(exact, dtype=np.float64).astype(np.float32)
    got = forecasts(np.stack([m, m], 1), ["logistic", "exponential"])
    assert ulps(got[:, 0].copy(), want[:, 0].copy()) <= 1
    assert ulps(got[:, 1].copy(), want[:, 1].copy()) <= 1


@pytest.mark.parametrize(
    ("objective", "link", "bound"), [("binary:logistic", trees_link.LOGISTIC_XGBOOST, 2), ("count:poisson", trees_link.EXPONENTIAL, 1)]
)
def test_forecasts_are_within_ulps_of_xgboost(objective, link, bound):
    m = sweep()
    assert ulps(forecasts(m[:, None], [link])[:, 0].copy(), library.wrap(of_xgboost(objective)).link(m)) <= bound


@pytest.mark.parametrize(("objective", "link"), [("binary", "logistic"), ("poisson", "exponential")])
def test_forecasts_are_within_an_ulp_of_lightgbm(objective, link):
    model = lgb.Booster(model_str=of_lightgbm(objective).model_to_string())
    trees, x = model.num_trees(), np.zeros((1, 6))
    leaf = model.predict(x, pred_leaf=True).reshape(-1)
    for t in range(trees):
        model.set_leaf_output(t, int(leaf[t]), 0.0)
    m = sweep()[::400]
    m = m[np.isfinite(m)]
    want = np.empty(len(m))
    for i, v in enumerate(m):  # a margin of our choice, through the library's own output
        model.set_leaf_output(0, int(leaf[0]), float(v))
        want[i] = model.predict(x)[0]
    with np.errstate(over="ignore"):
        want = want.astype(np.float32)
    assert ulps(forecasts(m[:, None], [link])[:, 0].copy(), want) <= 1
    assert ulps(library.wrap(of_lightgbm(objective)).link(m), want) <= 1


@pytest.mark.parametrize(
    ("kind", "link"), [("GradientBoostingClassifier", "logistic"), ("HistGradientBoostingClassifier", "logistic"), ("poisson", "exponential")]
)
def test_forecasts_are_within_an_ulp_of_scikit_learn(kind, link):
    model, m = of_sklearn(kind), sweep()
    with np.errstate(over="ignore", under="ignore"):
        want = model._loss.link.inverse(m.astype(np.float64)).astype(np.float32)
    assert ulps(forecasts(m[:, None], [link])[:, 0].copy(), want) <= 1
    assert ulps(library.wrap(model).link(m), want) <= 1


def entry(link="identity", of="xgboost", refuses=()):
    return ModelEntry("m", "0" * 32, of, link, "forward mid return", "bp", list(refuses))


def test_a_set_of_identities_is_left_as_it_is():
    links = Links([entry(), entry(of="lightgbm")])
    y = np.array([[1.0, -0.0], [np.nan, 3.0]], np.float32)
    before = bits(y).copy()
    assert not links.needed
    links.apply(np.full((2, 3), np.nan, np.float32), 0, 2, y)
    np.testing.assert_array_equal(bits(y), before)


def test_each_model_has_the_link_of_its_entry():
    links = Links([entry(), entry("logistic"), entry("logistic", "lightgbm"), entry("exponential"), entry("identity", "scikit-learn", ["missing"])])
    assert links.link.tolist() == [trees_link.IDENTITY, trees_link.LOGISTIC_XGBOOST, trees_link.LOGISTIC, trees_link.EXPONENTIAL, trees_link.IDENTITY]
    x = np.zeros((3, 2), np.float32)
    x[2, 1] = np.nan
    y = np.full((2, 5), -100.0, np.float32)
    links.apply(x, 1, 3, y)
    # xgboost's logistic ends at 1 / (1 + e**88.7) = 3.0e-39; e**-100 = 3.8e-44
    np.testing.assert_allclose(y, [[-100, 3.0066e-39, 3.8e-44, 3.8e-44, -100], [-100, 3.0066e-39, 3.8e-44, 3.8e-44, np.nan]], rtol=0.03)
