"""Figures of forecasts against scipy and scikit-learn, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tickarrow.pipeline import training_metrics as metrics

VALUES = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=40)


@given(VALUES)
def test_rank_ic_is_spearmans_correlation(pairs):
    a, b = np.array(pairs, float).T
    np.testing.assert_array_equal(metrics.ranks(a), rankdata(a))
    got = metrics.correlation(metrics.ranks(a), metrics.ranks(b))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert got is None
    else:
        assert got == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def sample(n=3000, seed=5):
    rng = np.random.default_rng(seed)
    f = rng.normal(size=n)
    return f, rng.random(n) < 1 / (1 + np.exp(0.3 - 0.8 * f))


def test_the_map_to_probabilities_is_a_logistic_regression():
    f, up = sample()
    got = metrics.logistic(f * 7, up)
    want = LogisticRegression(C=1.0, tol=1e-10).fit((f / f.std())[:, None], up)  # its penalty is the prior, and not on the intercept
    assert got.intercept == pytest.approx(want.intercept_[0], rel=1e-4)
    assert got.slope * 7 * f.std() == pytest.approx(want.coef_[0, 0], rel=1e-4)
    p = got.probability(f * 7)
    np.testing.assert_allclose(p, want.predict_proba((f / f.std())[:, None])[:, 1], rtol=1e-4)
    assert metrics.log_loss(p, up) == pytest.approx(log_loss(up, p))
    assert got.probability(np.array([1e9]))[0] == p.max()  # beyond what it has seen it says no more
    assert metrics.logistic(np.ones(8), np.arange(8) < 5) == metrics.Platt(pytest.approx(np.log(6 / 4)), 0.0)  # (5 + 1) of (8 + 2)
    far = metrics.logistic(np.arange(-20.0, 20.0), np.arange(-20.0, 20.0) >= 0)  # separable: finite, and right
    assert (far.probability(np.array([-9.0, 9.0])).round(1) == [0.1, 0.9]).all()


def test_calibration_of_a_hand_computed_forecast():
    f = np.array([4.0, 1.0, 3.0, 2.0])
    o = np.array([8.0, 2.0, 6.0, 4.0])  # twice the forecast
    assert metrics.slope(f, o) == pytest.approx(2.0)
    assert metrics.slope(np.ones(4), o) is None
    low, high = metrics.reliability(f, o, np.array([1, -1, 0, 1]), np.array([0.9, 0.2, 0.5, 0.6]), bins=2)
    assert (low["n"], low["forecast"], low["outcome"], low["share_up"]) == (2, 1.5, 3.0, 0.5)
    assert low["probability_up"] == pytest.approx(0.4)
    assert (high["forecast"], high["outcome"], high["share_up"], high["probability_up"]) == (3.5, 7.0, 1.0, 0.9)


def test_what_a_hand_computed_forecast_leaves_after_costs():
    # rows 0 and 1 exceed their cost of 2: gross +3 and -(-1) = 1 for the short; row 2 does not; of row 3 no cost is known
    got = metrics.after_costs(np.array([5.0, -4.0, 1.0, 9.0]), np.array([3.0, -1.0, 7.0, 7.0]), np.array([2.0, 2.0, 2.0, np.nan]))
    assert got == {"mean_forecast_bp": 4.75, "cost_bp": 2.0, "trade_share": 0.5, "trades": 2, "gross_bp": 2.0, "net_bp": 0.0}
    assert metrics.after_costs(np.ones(2), np.ones(2), np.full(2, 2.0))["net_bp"] is None


def test_a_fold_is_judged_by_all_figures():
    f, up = sample()
    rng = np.random.default_rng(6)
    o = (0.5 * f + rng.normal(size=f.size)).astype(np.float32)
    side = np.where(up, 1, -1).astype(np.int8)
    side[:100] = 0
    platt = metrics.logistic(f[100:], up[100:])
    args = f.astype(np.float32), o, side, 0.0, platt, 0.5, np.full(f.size, 0.01), np.full(f.size, np.nan), np.full(f.size, 2.0)
    got, bins = metrics.fold_figures(*args)
    assert got["ic"] == pytest.approx(np.corrcoef(f, o)[0, 1], abs=1e-6)
    assert got["effective_n"] == pytest.approx(30.0)
    assert got["ic_se"] == pytest.approx(np.sqrt((1 - got["ic"] ** 2) / 30))
    assert got["log_loss"] < got["base_log_loss"] == pytest.approx(np.log(2))
    assert got["slope"] == pytest.approx(0.5, abs=0.1)
    assert (got["trades"], got["net_bp"]) == (0, None)  # not a return: nothing to trade
    assert sum(b["n"] for b in bins) == f.size
    assert len(bins) == 10


def test_stability_of_importance_is_the_mean_rank_correlation():
    same, other = np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])
    assert metrics.stability([same, 2 * same]) == pytest.approx(1.0)
    assert metrics.stability([same, same, other]) == pytest.approx((1 - 1 - 1) / 3)
    assert metrics.stability([same]) is None
    assert metrics.mean_of([1.0, None, 3.0]) == 2.0
