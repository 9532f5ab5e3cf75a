"""The ensemble where there is nothing to divide by: no variance, one model, no prediction, predictions that are each other's multiples."""

import math

import numpy as np
import pytest
from decide import START, predictions_table, ticks_table, windows

from tickarrow.configs.ensemble import EnsembleConf
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Ensemble, forecasts_schema
from tickarrow.pipeline.decide_view import view

pytestmark = pytest.mark.pure
S = 1_000_000_000
NAN = math.nan
HORIZONS = np.array([S, 4 * S], np.int64)
BASE = {
    "moments_tau_s": 60.0, "ic_tau_s": 60.0, "correlation_tau_s": 60.0, "min_rows": 2.0, "min_outcomes": 2.0, "prior_s": 1e6,
    "settle_every_ns": S // 2, "refresh_ns": 0,
}  # fmt: skip
MODES = {
    "decayed": {},
    "not shrunk": {"shrinkage": "none"},
    "any sign": {"shrinkage": "none", "positive": False, "equal_share": 0.0},
    "always all pairs": {"audit_ns": 0},
    "pooled": {"pooled": True},
    "research": {"shrinkage": "ledoit_wolf", "window_rows": 30},
    "short window": {"shrinkage": "none", "window_rows": 3, "positive": False, "equal_share": 0.0},
}
N = 100


@pytest.fixture(params=MODES, name="conf")
def _conf(request):
    return EnsembleConf(**{**BASE, **MODES[request.param]})


def run(conf, y, ic=0.2, moves=True):
    """Forecasts (rows, H, 3) of one symbol, a quote each 250 ms, and what the ensemble knows after the last; y: (rows, n), for each horizon alike."""
    n = y.shape[1]
    rng = np.random.default_rng(3)
    mids = 100 + 0.01 * np.cumsum(rng.integers(-3, 4, len(y))) * moves
    ticks = [(START + i * S // 4, 0, True, m - 0.01, m + 0.01, i) for i, m in enumerate(mids)]
    stage = Ensemble(conf, 1, HORIZONS, np.full((n, 2), ic), Table(forecasts_schema(2), keep=True, capacity=len(y)))
    for rows, window in windows(predictions_table(ticks, np.repeat(y, 2, axis=1).astype(np.float32)), ticks_table(ticks), ()):
        stage.step(rows, window)
    return np.stack([stage._out.column(c) for c in ("alpha", "sigma", "ic")], axis=2), view(stage, 0, ticks[-1][0])


def noise(width, seed=8):
    return np.random.default_rng(seed).normal(size=(N, width))


def test_one_model_has_its_own_ic_and_its_forecast_is_sigma_ic_z(conf):
    forecasts, got = run(conf, noise(1))
    np.testing.assert_array_equal(got.correlation, [[[1.0]]] * 2)
    np.testing.assert_array_equal(got.eigenvalues, [[1.0]] * 2)
    # w = ic / 1, whatever shrinks or clips a matrix of one: 0.2 from 1e6 observations
    np.testing.assert_allclose(got.weights, got.ic, rtol=1e-9)
    np.testing.assert_allclose(got.ic, 0.2, rtol=1e-3)
    np.testing.assert_allclose(forecasts[-1, :, 2], got.ic[0], rtol=1e-9)


def test_no_prediction_at_all_is_no_forecast(conf):
    for nothing in (NAN, math.inf, -math.inf):
        forecasts, got = run(conf, np.full((N, 4), nothing))
        assert np.isnan(forecasts[:, :, [0, 2]]).all()
        assert np.isnan(forecasts[:, :, 1]).all()  # and no outcome of one
        np.testing.assert_array_equal(got.correlation, [np.eye(4)] * 2)
        assert np.isfinite(got.weights).all()


def test_models_that_never_move_are_no_forecast(conf):
    forecasts, got = run(conf, np.full((N, 4), 7.5))
    assert np.isnan(forecasts[:, :, [0, 2]]).all()
    np.testing.assert_array_equal(got.correlation, [np.eye(4)] * 2)


def test_one_that_never_moves_gets_no_weight(conf):
    y = noise(4)
    y[:, 2] = -3.25
    forecasts, got = run(conf, y)
    assert not got.weights[2].any()
    np.testing.assert_array_equal(got.correlation[:, 2], [np.eye(4)[2]] * 2)
    assert np.isfinite(forecasts[-50:]).all()


def test_a_market_that_stands_still_is_a_forecast_of_nothing(conf):
    forecasts, got = run(conf, noise(4), moves=False)
    np.testing.assert_array_equal(forecasts[-20:, :, 0], 0.0)
    np.testing.assert_array_equal(forecasts[-20:, :, 1], 0.0)
    assert np.isnan(got.tracked).all()  # equal outcomes say nothing about skill


def test_copies_are_worth_one(conf):
    one, _ = run(conf, noise(1))
    many, got = run(conf, np.repeat(noise(1), 6, axis=1))
    np.testing.assert_allclose(many[-50:], one[-50:], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(got.correlation, 1.0, rtol=1e-9)


def test_opposites_are_finite_and_worth_no_more_than_certainty(conf):
    # z and -z with the same IC contradict each other: the correlation is singular, and its inverse would be infinite
    y = noise(1)
    forecasts, got = run(conf, np.column_stack([y, -y, y, -y]))
    np.testing.assert_allclose(got.correlation[:, 0], [[1, -1, 1, -1]] * 2, rtol=1e-9)
    assert np.isfinite(got.weights).all()
    assert np.isfinite(forecasts[-50:]).all()
    assert (forecasts[-50:, :, 2] <= 1).all()


def test_linear_combinations_are_finite_and_worth_no_more_than_certainty(conf):
    y = noise(3)
    forecasts, got = run(conf, np.column_stack([y, y @ noise(9)[:3]]))  # of rank three
    # each is standardised by its own past, which is no linear map: nearly of rank three
    assert (got.eigenvalues[:, 3:].sum(1) < 0.01 * 13).all()
    assert np.isfinite(got.weights).all()
    assert np.isfinite(forecasts[-50:]).all()
    assert ((forecasts[-50:, :, 2] >= 0) & (forecasts[-50:, :, 2] <= 1)).all()
