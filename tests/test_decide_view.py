"""What an ensemble tells of itself: against the forecasts it made, NumPy over the whole history, and by hand."""

import dataclasses
import math

import naive_corr
import naive_decide as naive
import numpy as np
import pytest
from decide import START, predictions_table, ticks_table, windows

from tickarrow.configs.ensemble import EnsembleConf
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Ensemble, forecasts_schema
from tickarrow.pipeline.decide_view import view

pytestmark = pytest.mark.pure
S = 1_000_000_000
HORIZONS = np.array([S, 3 * S], np.int64)
PRIOR = np.array([[0.3, 0.1], [0.1, math.nan], [0.2, 0.2]])
# nothing decays, each row refreshes and enters its outcome
CONF = EnsembleConf(
    moments_tau_s=1e12, ic_tau_s=1e12, correlation_tau_s=1e12, min_rows=2.0, min_outcomes=2.0, prior_s=50.0, settle_every_ns=S,
    refresh_ns=0, audit_ns=0,
)  # fmt: skip


def minute(conf):
    """A minute of one symbol, a quote a second: (forecasts (rows, H, 3), view after each row, z of each row (rows, n, H), mids)."""
    rng = np.random.default_rng(4)
    mids = 100 + 0.01 * np.cumsum(rng.integers(-5, 6, 60))
    ticks = [(START + i * S, 0, True, m - 0.01, m + 0.01, i) for i, m in enumerate(mids)]
    y = (rng.normal(size=(60, 6)) + rng.normal(size=(60, 1))).astype(np.float32)
    stage = Ensemble(conf, 1, HORIZONS, PRIOR, Table(forecasts_schema(2), keep=True, capacity=64))
    views, zs = [], []
    for rows, window in windows(predictions_table(ticks, y), ticks_table(ticks), range(60)):
        stage.step(rows, window)
        if len(rows):
            views.append(view(stage, 0, START + len(views) * S))
            zs.append(stage.z[:6].reshape(3, 2).copy())
    return np.stack([stage._out.column(c) for c in ("alpha", "sigma", "ic")], axis=2), views, np.array(zs), mids


@pytest.fixture(scope="module")
def seen():
    return minute(CONF)


def test_weights_and_ics_are_those_of_the_forecast(seen):
    forecasts, views, zs, _ = seen
    assert len(views) == 60
    for row in range(10, 60):
        v = views[row]
        alpha = v.sigma * (v.weights * zs[row]).sum(0)
        np.testing.assert_allclose(alpha, forecasts[row, :, 0], rtol=1e-12)
        np.testing.assert_array_equal(v.sigma, forecasts[row, :, 1])
        np.testing.assert_allclose(np.sqrt(v.gains.sum(0)), forecasts[row, :, 2], rtol=1e-12)
        np.testing.assert_allclose(v.gains, v.weights * v.ic, rtol=1e-12)  # the row refreshed


def test_tracked_ics_and_their_errors_are_those_of_numpy(seen):
    _, views, zs, mids = seen
    v = views[-1]
    for h, ahead in enumerate((1, 3)):
        # an outcome is known one row after it is due
        z, y = zs[: 59 - ahead, :, h], 1e4 * (mids[ahead:59] / mids[: 59 - ahead] - 1)
        there = ~np.isnan(z).any(1)
        expected = [np.corrcoef(z[there, c], y[there])[0, 1] for c in range(3)]
        np.testing.assert_allclose(v.tracked[:, h], expected, rtol=1e-9)
        # one each second: the first counts whole, the others as a third of one at three seconds
        n = 1 + (there.sum() - 1) / ahead
        np.testing.assert_allclose(v.observations[:, h], n, rtol=1e-9)
        np.testing.assert_allclose(v.tracked_error[:, h], np.sqrt((1 - np.square(expected)) / n), rtol=1e-9)
        for c in range(3):
            prior = PRIOR[c, h]
            assert v.ic[c, h] == pytest.approx(naive.pooled_ic(expected[c], n, prior, 50 / ahead), rel=1e-9)
            known, mean = (n, expected[c]) if math.isnan(prior) else (n + 50 / ahead, (n * expected[c] + 50 / ahead * prior) / (n + 50 / ahead))
            assert v.ic_error[c, h] == pytest.approx(math.sqrt((1 - mean**2) / known), rel=1e-9)


def test_correlation_and_spectrum_are_those_of_numpy(seen):
    _, views, zs, _ = seen
    v = views[-1]
    for h, share in enumerate((1.0, 1 / 3)):
        history = [(1.0, z) for z in zs[:, :, h]]
        there = sum(not np.isnan(z).all() for _, z in history)
        c, t = naive_corr.moments(history, (1 + (there - 1) * share) / there)
        np.testing.assert_allclose(v.correlation[h], c, rtol=1e-10)
        assert v.independent[h] == pytest.approx(t, rel=1e-9)
        assert v.intensity[h] == pytest.approx(naive_corr.oas(c, t), rel=1e-9)
        assert v.edge[h] == pytest.approx(naive_corr.edge(3, t), rel=1e-9)
        np.testing.assert_allclose(v.eigenvalues[h], np.linalg.eigvalsh(c)[::-1], rtol=1e-10)
        np.testing.assert_array_equal(v.kept[h], v.eigenvalues[h] > v.edge[h])


def test_research_weights_are_scikit_learns_ledoit_wolf():
    covariance_module = pytest.importorskip("sklearn.covariance")
    research = dataclasses.replace(CONF, window_rows=24, shrinkage="ledoit_wolf", positive=False, equal_share=0.0)
    forecasts, views, zs, _ = minute(research)
    for row in (30, 59):
        v, z = views[row], zs[row - 23 : row + 1, :, 0]  # one second: each row is an independent one
        x = (z - z.mean(0)) / z.std(0)
        fitted = covariance_module.LedoitWolf().fit(x)
        assert v.independent[0] == pytest.approx(24, rel=1e-12)
        assert v.intensity[0] == pytest.approx(fitted.shrinkage_, rel=1e-9)
        observed = np.corrcoef(z, rowvar=False)
        np.testing.assert_allclose(v.correlation[0], observed, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose((1 - v.intensity[0]) * v.correlation[0] + v.intensity[0] * np.eye(3), fitted.covariance_, rtol=1e-9, atol=1e-12)
        # eigenvalues of noise become their mean, what is above the edge stays
        values, vectors = np.linalg.eigh(fitted.covariance_)
        low = np.linalg.eigvalsh(observed) <= naive_corr.edge(3, 24)
        values[low] = values[low].mean()
        w = vectors @ (vectors.T @ v.ic[:, 0] / values)
        w *= min(1.0, (w @ v.ic[:, 0]) / (w @ observed @ w))
        np.testing.assert_allclose(v.weights[:, 0], w, rtol=1e-8)
        assert v.sigma[0] * w @ zs[row, :, 0] == pytest.approx(forecasts[row, 0, 0], rel=1e-8)


def test_before_the_first_outcome_only_the_prior_is_known(seen):
    v = seen[1][0]
    assert v.observed == START
    assert np.isnan(v.tracked).all()
    assert np.isnan(v.tracked_error).all()
    assert not v.observations.any()
    assert np.isnan(v.sigma).all()
    # 50 observations of 0.3: sqrt(0.91 / 50); without a prior nothing
    assert v.ic_error[0, 0] == pytest.approx(math.sqrt(0.91 / 50), rel=1e-12)
    assert np.isnan(v.ic_error[1, 1])
    assert v.ic[1, 1] == 0.0


def test_to_look_changes_nothing():
    stage = Ensemble(CONF, 2, HORIZONS, PRIOR, Table(forecasts_schema(2), keep=True, capacity=64))
    before = {k: v.tobytes() for k, v in stage.snapshot().items()}
    got = view(stage, 1, START)
    assert before == {k: v.tobytes() for k, v in stage.snapshot().items()}
    np.testing.assert_array_equal(got.correlation, [np.eye(3)] * 2)  # nothing seen yet
    assert not got.weights.any()
