"""Weights of the ensemble: what correlation, missing models, tracking, staggering and a swap do to them."""

import dataclasses
import math

import numpy as np
import pytest
from decide import START, due_rows, market, predictions_of, predictions_table, ticks_table, windows
from hypothesis import given
from hypothesis import strategies as st
from naive_corr import pack, unpack

from tickarrow.configs.ensemble import EnsembleConf
from tickarrow.jit import corr, ensemble_state, ensemble_weights
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Ensemble, forecasts_schema

pytestmark = pytest.mark.pure
S = 1_000_000_000
NAN = math.nan
HORIZONS = np.array([1 * S, 4 * S], np.int64)
CONF = EnsembleConf(
    moments_tau_s=60.0, ic_tau_s=60.0, correlation_tau_s=60.0, min_rows=2.0, min_outcomes=2.0, prior_s=1e6, settle_every_ns=S // 2,
    refresh_ns=0, audit_ns=0,
)  # fmt: skip


def with_(**changes):
    return dataclasses.replace(CONF, **changes)


def make(conf, prior, n_symbols=1, horizons=HORIZONS):
    return Ensemble(conf, n_symbols, horizons[: prior.shape[1]], prior, Table(forecasts_schema(prior.shape[1]), keep=True, capacity=2048))


def step(stage, ticks, y, cuts=()):
    for rows, window in windows(predictions_table(ticks, y), ticks_table(ticks), cuts):
        stage.step(rows, window)
    return np.stack([stage._out.column(c) for c in ("alpha", "sigma", "ic")], axis=2)


def stream(n, width, copies=1, seed=5, common=1.0):
    """n quotes of a symbol, one each 250 ms, all due; `width` predictions that share a part, each `copies` times."""
    rng = np.random.default_rng(seed)
    mid = 100 + 0.01 * np.cumsum(rng.integers(-2, 3, n))
    ticks = [(START + i * S // 4, 0, True, m - 0.01, m + 0.01, i) for i, m in enumerate(mid)]
    y = rng.normal(size=(n, width)) + common * rng.normal(size=(n, 1))
    return ticks, np.repeat(y, copies, axis=1).astype(np.float32)


def test_intervals_of_hand_computed_times():
    # intervals of 10 ns: row 0 of 4 turns at 10, 20, ..., row 1 2.5 ns (rounded down to 2) earlier, row 3 7 ns earlier
    first = [[t for t in range(1, 25) if (at := lambda x, k=k: ensemble_state.interval_point(x, 10, k, 4))(t) != at(t - 1)] for k in range(4)]
    assert first == [[10, 20], [8, 18], [5, 15], [3, 13, 23]]
    assert ensemble_state.interval_point(17, 0, 1, 4) == 17


@given(st.integers(0, 2**61), st.integers(1, 10**10), st.integers(0, 99))
def test_a_row_turns_once_in_each_length(ts, length, place):
    assert ensemble_state.interval_point(ts + length, length, place, 100) == ensemble_state.interval_point(ts, length, place, 100) + 1


def test_a_burst_of_all_symbols_refreshes_its_share_of_them():
    # 20 symbols quote at the same instants, each tenth of the length of an interval: two of them are refreshed each time
    stage, ticks = make(with_(refresh_ns=S), np.full((4, 1), 0.1), 20), []
    for k in range(23):
        ticks += [(START + k * S // 10, symbol, True, 99.9, 100.1, k * 20 + symbol) for symbol in range(20)]
    y, turns = predictions_of(1, len(ticks), 4), []
    for rows, window in windows(predictions_table(ticks, y), ticks_table(ticks), range(0, len(ticks), 20)):
        before = stage.symbols["refreshed"].copy()
        stage.step(rows, window)
        turns.append(np.flatnonzero(stage.symbols["refreshed"] != before))
    assert len(turns[0]) == 20
    assert [len(t) for t in turns[1:]] == [2] * 22
    np.testing.assert_array_equal(np.sort(np.concatenate(turns[1:11])), np.arange(20))


def test_weights_of_a_hand_computed_row():
    # One horizon, ICs 0.3 and 0.1 that no outcome changes (shrunk by nothing: 1e12 observations). z of two earlier refreshes and this one:
    # (1, 1), (1, -1), (1, 1): sums 3, 1, 3, correlation 1/3. No shrinkage, and an edge that all are below (T = 3: 1 + sqrt(2 / 3) squared
    # is 3.3) makes the cleaned correlation the identity: w = (0.3, 0.1), promised variance 0.1. Observed: 0.1 + 2 x 0.03 / 3 = 0.12. So
    # w = (0.3, 0.1) x 0.1 / 0.12 = (0.25, 1 / 12), w'ic = 0.075 + 1 / 120 = 1 / 12.
    stage = make(with_(correlation_tau_s=1e12, prior_s=1e12, shrinkage="none", positive=False, equal_share=0.0), np.array([[0.3], [0.1]]))
    for k, z in enumerate([(1.0, 1.0), (1.0, -1.0), (1.0, 1.0)]):
        refresh(stage, START + k * 2 * S, z)  # a whole horizon apart
    np.testing.assert_allclose(stage.weights[0, :2, 0], [0.25, 1 / 12], rtol=1e-9)
    np.testing.assert_allclose(stage.weights[0, 2:, 0], [0.075, 1 / 120], rtol=1e-9)


def refresh(stage, ts, z):
    """A refresh of symbol 0 with given standardised predictions of the first horizon."""
    stage.work[: len(z), 0] = z
    ensemble_weights.refresh(
        stage.symbols[0], stage.groups, stage.horizons, stage.settled, stage.tracks, stage.factors[0], stage.windows[0], stage.prior[0],
        0, stage.horizons_ns, ts, stage.params[0], stage.weights[0], stage.work, stage.sample,
    )  # fmt: skip


def test_two_observed_variances_of_hand_computed_weights():
    # Two models that always agree, promised to be independent: w = (0.2, 0.2), promise w'ic = 0.08 for ICs of 0.2. Observed variance
    # 0.16: half of each. And ICs of 1 that contradict each other: w'ic = 4 with an observed variance of 2 is worth 1 at most.
    c, state = pack([np.ones((2, 2)), np.eye(2)]), np.zeros((corr.STATE_ROWS, 8))
    weights = np.zeros((2, 8))
    weights[:, 0], weights[:, 1] = 0.2, 1.0
    state[corr.STRENGTH, :2] = 0.08, 4.0
    ensemble_weights.scale(c, state, weights)
    np.testing.assert_allclose(weights[:, :3], [[0.1, 0.25, 0.0]] * 2, rtol=1e-12)
    np.testing.assert_allclose(state[corr.STRENGTH, :3], [0.04, 1.0, 0.0], rtol=1e-12)


def test_a_missing_model_is_left_out_lane_by_lane():
    matrix = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    c, ic, z = pack([matrix] * 3), np.full((3, 8), 0.1), np.full((3, 8), NAN)
    z[:, 0], z[:, 1] = (1.0, NAN, 0.0), 1.0  # lane 2: nothing there
    ensemble_weights.leave_out(z, 3, c, ic)
    np.testing.assert_array_equal(unpack(c, 0), [[1, 0, 0.2], [0, 1, 0], [0.2, 0, 1]])
    np.testing.assert_array_equal(ic[:, 0], [0.1, 0.0, 0.1])
    for lane in (1, 2):
        np.testing.assert_array_equal(unpack(c, lane), matrix)
        np.testing.assert_array_equal(ic[:, lane], 0.1)


@pytest.mark.parametrize("equal", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shrinkage", ["oas", "none"])
def test_copies_of_a_model_forecast_what_one_does(equal, shrinkage):
    conf = with_(equal_share=equal, shrinkage=shrinkage)
    ticks, y = stream(120, 1)
    one = step(make(conf, np.array([[0.2]])), ticks, y)
    ticks, y = stream(120, 1, copies=5)
    five = step(make(conf, np.full((5, 1), 0.2)), ticks, y)
    np.testing.assert_allclose(five, one, rtol=1e-6)
    assert np.isfinite(one[-50:]).all()


def test_independent_models_are_worth_more_than_one():
    # of four independent models with an IC of 0.2 the forecast has one of 0.4; what correlation remains in 900 rows costs little
    ticks, y = stream(900, 4, common=0.0)
    got = step(make(with_(correlation_tau_s=600.0), np.full((4, 1), 0.2)), ticks, y)
    assert got[-1, 0, 2] == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("equal", [0.0, 0.5])
def test_a_model_that_is_never_there_changes_little_for_the_others(equal):
    ticks, y = stream(200, 3)
    for nothing in (NAN, 7.0):  # missing, or always the same
        more = np.column_stack([y, np.full(len(y), nothing, np.float32)])
        prior = np.full((3, 1), 0.2)
        without = step(make(with_(equal_share=equal, shrinkage="none"), prior), ticks, y)
        with_it = step(make(with_(equal_share=equal, shrinkage="none"), np.vstack([prior, [[0.4]]])), ticks, more)
        # nearly: the edge and the mean of the eigenvalues below it are those of four configurations
        alpha, ic = without[-100:, 0, 0], without[-100:, 0, 2]
        assert np.abs(with_it[-100:, 0, 0] - alpha).max() < 0.1 * alpha.std()
        np.testing.assert_allclose(with_it[-100:, 0, 2], ic, rtol=0.01)


def test_no_prediction_at_all_is_no_forecast_and_harms_nothing():
    ticks, y = stream(200, 4)
    y[50:70] = NAN
    got = step(make(with_(audit_ns=10 * S), np.full((4, 1), 0.2)), ticks, y)[:, 0]
    assert np.isnan(got[50:70, [0, 2]]).all()
    assert np.isfinite(got[70:]).all()


def test_tracked_pairs_forecast_nearly_what_all_pairs_do():
    ticks, y = stream(250, 12)
    prior = np.linspace(0.02, 0.3, 12)[:, None]
    exact = step(make(CONF, prior), ticks, y)[:, 0]
    stage = make(with_(audit_ns=10**18), prior)
    tracked = step(stage, ticks, y)[:, 0]
    assert np.nanmax(np.abs(tracked[60:] - exact[60:])) < 0.02 * np.nanstd(exact[60:, 0])
    assert (tracked != exact).any()


@pytest.mark.parametrize("pooled", [False, True])
def test_a_swap_carries_the_correlation_of_the_configurations_that_stay(pooled):
    # configurations in another order from the middle on: the forecasts are those of a run that had that order from the start
    conf, order = with_(pooled=pooled), np.array([2, 0, 3, 1])
    prior = np.array([[0.3, 0.1], [0.1, NAN], [0.5, 0.2], [0.2, 0.2]])
    ticks = market(11, 160, 2)
    y = predictions_of(11, due_rows(ticks), prior.size)
    turned = y.reshape(-1, 4, 2)[:, order].reshape(y.shape)
    expected = step(make(conf, prior[order], 2), ticks, turned)
    stage = make(conf, prior, 2)
    (a, b), _ = windows(predictions_table(ticks, y), ticks_table(ticks), [80])
    _, (c, d) = windows(predictions_table(ticks, turned), ticks_table(ticks), [80])
    stage.step(a, b)
    stage.adopt(prior[order], order)
    stage.step(c, d)
    got = np.stack([stage._out.column(k) for k in ("alpha", "sigma", "ic")], axis=2)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


def test_a_swap_gives_a_new_configuration_no_correlation():
    ticks, y = stream(100, 3)
    stage = make(CONF, np.full((3, 1), 0.2))
    step(stage, ticks, y)
    before = unpack(stage.factors[0, :6], 0)
    stage.adopt(np.full((4, 1), 0.2), np.array([1, -1, 0, 2]))
    after = unpack(stage.factors[0, :10], 0)
    expected = np.zeros((4, 4))
    expected[np.ix_([0, 2, 3], [0, 2, 3])] = before[np.ix_([1, 0, 2], [1, 0, 2])]
    np.testing.assert_array_equal(after, expected)
    assert stage.factors[0, 10 + corr.WEIGHT, 0] > 50
