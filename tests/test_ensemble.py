"""Ensemble: standardising, outcome tracking and forecasts against their definitions over the whole history, and by hand."""

import math

import naive_decide as naive
import numpy as np
import pytest
from decide import START, due_rows, market, predictions_of, predictions_table, ticks_table, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.configs.ensemble import EnsembleConf
from tickarrow.jit import ensemble, ensemble_state, ensemble_weights
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decide import Ensemble, forecasts_schema
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.prepare import compose

pytestmark = pytest.mark.pure
S = 1_000_000_000
SMALL = EnsembleConf(
    moments_tau_s=5.0, ic_tau_s=20.0, correlation_tau_s=15.0, min_rows=2.0, min_outcomes=2.0, prior_s=10.0, settle_every_ns=S // 2,
    max_pending=4, audit_ns=0,
)  # fmt: skip
FOREVER = {"moments_tau_s": 1e12, "ic_tau_s": 1e12, "prior_s": 0.0, "refresh_ns": 0}  # no decay, no prior
HORIZONS = np.array([1 * S, 4 * S], np.int64)
PRIOR = np.array([[0.3, 0.1], [0.0, math.nan], [0.5, -0.2]])


def make(conf=SMALL, n_symbols=2, horizons=HORIZONS, prior=PRIOR):
    return Ensemble(conf, n_symbols, horizons, prior, Table(forecasts_schema(len(horizons)), keep=True, capacity=512))


def forecasts(stage, ticks, y, cuts=()):
    for rows, window in windows(predictions_table(ticks, y), ticks_table(ticks), cuts):
        stage.step(rows, window)
    return np.stack([stage._out.column(c) for c in ("alpha", "sigma", "ic")], axis=2)


BANK = np.array([[0.3, 0.1], [0.0, math.nan], [0.5, -0.2], [0.1, 0.2], [0.2, 0.3], [0.4, 0.1]])
# Of these streams a few refreshes in a hundred solve all pairs, the others track four.
WAYS_OF_A_STAGE = [{}, {"audit_ns": 8 * S}, {"audit_ns": 8 * S, "pooled": True, "refresh_ns": 0},
                 {"audit_ns": 8 * S, "window_rows": 12, "shrinkage": "ledoit_wolf"}]  # fmt: skip


def bits(a):
    return np.where(np.isnan(a), np.nan, a).tobytes()


def skill(ic, observations, prior, strength):
    """What `skill_point` makes of one configuration whose tracked IC is given: (shrunk IC, [tracked, observations, mean, total, shrunk])."""
    state, track, params = np.zeros(1, ensemble_state.HORIZON_STATE), np.zeros((7, 8)), np.zeros(1, ensemble_state.ENSEMBLE_PARAMS)
    track[[0, 1, 4, 5, 6], 0] = 100.0, observations, 1.0, 1.0, ic
    params["ic_tau"], params["prior"] = 1e9, 3.0 * strength
    out, made = np.zeros((1, 8)), np.zeros((5, 8))
    ensemble_weights.skill_point(state[0], 0, track, np.full((1, 8), prior), 1, 0, 3, 0, params[0], out, made)
    return out[0, 0], made[:, 0]


def test_shrunk_ic_of_a_hand_computed_case():
    # IC 0.1 from 99 observations: se^2 = 0.99 / 99 = 0.01 = IC^2, so half of it is left
    assert skill(0.1, 99.0, math.nan, 1e9)[0] == pytest.approx(0.05, rel=1e-12)  # no prior
    assert skill(-0.1, 99.0, math.nan, 0.0)[0] == 0.0
    assert skill(0.1, 0.0, math.nan, 0.0)[0] == 0.0


def test_prior_and_tracked_ic_are_weighted_by_their_observations():
    # (25 x 0.4 + 74 x 0) / 99 = 0.10101; se^2 = (1 - 0.010203) / 99 = 0.0099980
    ic = 10 / 99
    got, made = skill(0.4, 25.0, 0.0, 74.0)
    assert got == pytest.approx(ic**3 / (ic**2 + (1 - ic**2) / 99), rel=1e-12)
    np.testing.assert_allclose(made, [0.4, 25.0, ic, 99.0, got], rtol=1e-12)


# Effective observations: fewer than a thousandth of one never occur, and with 5e-324 of them the mean of an IC rounds to 1.
OBSERVATIONS = st.one_of(st.just(0.0), st.floats(1e-3, 1e6))


@given(st.floats(-1, 1), OBSERVATIONS, st.one_of(st.floats(-1, 1), st.just(math.nan)), OBSERVATIONS)
def test_pooled_ic_equals_its_definition(ic, observations, prior, strength):
    got = skill(ic, observations, prior, strength)[0]
    assert got == pytest.approx(naive.pooled_ic(ic, observations, prior, strength), rel=1e-12, abs=1e-300)


def test_standardise_uses_the_moments_before_the_prediction():
    # no decay: after 1 and 3 the mean is 2 and the variance 1, so 4.5 is 2.5 deviations above; 100 is clipped; NaN and inf are missing
    # nine models, all alike: one of them lies in the second row of eight
    moments, rows = np.zeros((6, 8)), np.zeros((2, 8))
    seen = []
    for p in (1.0, 3.0, 4.5, math.nan, math.inf, 100.0):
        ensemble.standardise_point(np.full(9, p, np.float32), moments, 1.0, 2.0, 5.0, rows.reshape(-1), rows)
        np.testing.assert_array_equal(rows.ravel(), [rows[0, 0]] * 9 + [np.nan] * 7)
        seen.append(rows[0, 0])
    np.testing.assert_array_equal(seen[:2], [np.nan, np.nan])
    assert seen[2] == pytest.approx(2.5, rel=1e-12)
    np.testing.assert_array_equal(seen[3:], [np.nan, np.nan, 5.0])
    np.testing.assert_array_equal(moments[:2].ravel(), [4.0] * 9 + [0.0] * 7)


def test_outcomes_that_never_differ_say_nothing_about_skill():
    # the mid stands still after it moved by an odd amount long ago: rounding must not look like a correlation
    conf = EnsembleConf(**{**SMALL.__dict__, "refresh_ns": 0, "prior_s": 0.0})
    moves = [(i, 100 + 0.0371 * i, float(i % 3)) for i in range(9)]
    still = [(10_000 + i, 100.1337, float(i % 5)) for i in range(60)]
    ticks, y = quotes(*moves, *still)
    got = forecasts(make(conf, 1, np.array([S]), np.array([[math.nan]])), ticks, y)[:, 0]
    np.testing.assert_array_equal(got[-40:, 2], 0.0)
    np.testing.assert_allclose(got[-40:, 1], 0.0, atol=1e-9)


def quotes(*rows):
    """(seconds, mid, prediction or None) -> ticks and predictions of one model."""
    ticks, y = [], []
    for seconds, mid, p in rows:
        ticks.append((START + round(seconds * S), 0, True, mid - 0.01, mid + 0.01, None if p is None else len(y)))
        y += [] if p is None else [[p]]
    return ticks, np.array(y, np.float32)


def test_forecast_of_a_hand_computed_stream():
    # Without decay. Predictions 1 and 3 have no z yet (two rows are needed). 4.5: z = 2.5. 2.0: mean (1 + 3 + 4.5) / 3 = 2.8333,
    # squares 4.16667 + 2.02778 = 6.16667, sd sqrt(2.05556) = 1.43372, z = -0.58124. Outcomes after 1 s: 100 -> 101 = 100 bp for the
    # first z (the quote at exactly its due time counts), 101 -> 100.495 = -50 bp for the second.
    conf = EnsembleConf(**FOREVER, min_rows=1.9, min_outcomes=1.9, settle_every_ns=S)
    ticks, y = quotes((0, 100, 1.0), (0, 100, 3.0), (1, 100, 4.5), (2, 101, 2.0), (3, 100.495, None), (3.5, 200, 2.0))
    got = forecasts(make(conf, 1, np.array([S]), np.array([[math.nan]])), ticks, y)[:, 0]
    np.testing.assert_array_equal(got[:2], np.nan)
    # Two outcomes with rising z and y: correlation 1, se 0, so the IC stays 1. sigma = sqrt((100^2 + 50^2) / 2) = 79.0569.
    # 5th prediction: mean 10.5 / 4 = 2.625, squares 6.16667 + 3/4 x (2 - 2.83333)^2 = 6.6875, z = -0.625 / sqrt(1.671875) = -0.48337
    assert got[4, 1] == pytest.approx(79.0569415, rel=1e-8)
    assert got[4, 2] == pytest.approx(1.0, rel=1e-12)
    assert got[4, 0] == pytest.approx(79.0569415 * -0.625 / math.sqrt(1.671875), rel=1e-8)


def test_an_outcome_counts_the_mid_in_force_at_its_time():
    # entered at 1 s (mid 100), due at 2 s: quotes at 1.5, 2.0 (two, the later one counts), 2.1. One-sided quotes do not change the mid.
    conf = EnsembleConf(**FOREVER, min_rows=1.9, min_outcomes=0.9, settle_every_ns=10 * S)
    before = [(0, 100, 1.0), (0, 100, 3.0), (1, 100, 4.0), (1.5, 101, None), (2, 90, None), (2, 102, None)]
    ticks, y = quotes(*before, (2, 1, None), (2.1, 70, 1.0))
    ticks[6] = (*ticks[6][:3], math.nan, 5.0, None)
    got = forecasts(make(conf, 1, np.array([S]), np.array([[0.1]])), ticks, y)[:, 0]
    assert got[-1, 1] == pytest.approx(200.0, rel=1e-9)


def test_a_full_ring_forgets_its_oldest_prediction():
    # Two places; entered at 1, 2 and 3 s with mids of 100, 110 and 121, due ten seconds later at 121: 1000 and 0 bp, the 2100 of the first are lost.
    conf = EnsembleConf(**FOREVER, min_rows=1.9, min_outcomes=1.9, settle_every_ns=S, max_pending=2)
    ticks, y = quotes((0, 100, 1.0), (0, 100, 3.0), (1, 100, 4.0), (2, 110, 2.0), (3, 121, 1.0), (14, 150, None), (15, 150, 2.0))
    stage = make(conf, 1, np.array([10 * S]), np.array([[0.1]]))
    assert forecasts(stage, ticks, y)[-1, 0, 1] == pytest.approx(math.sqrt(1000.0**2 / 2), rel=1e-9)
    assert stage.dropped == 1


WAYS = st.fixed_dictionaries({
    "refresh_ns": st.sampled_from([0, S // 4, S]), "positive": st.booleans(), "equal_share": st.sampled_from([0.0, 0.5, 1.0]),
    "pooled": st.booleans(),
})  # fmt: skip
CORRELATIONS = st.sampled_from([("oas", 0), ("none", 0), ("ledoit_wolf", 7), ("ledoit_wolf", 40), ("oas", 7), ("none", 7)])


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 90), WAYS, CORRELATIONS)
def test_forecasts_equal_their_definition_over_the_whole_history(seed, n, ways, correlation):
    conf = EnsembleConf(**{**SMALL.__dict__, **ways, "shrinkage": correlation[0], "window_rows": correlation[1]})
    ticks = market(seed, n, 2)
    y = predictions_of(seed, due_rows(ticks), PRIOR.size)
    stage = make(conf)
    got = forecasts(stage, ticks, y)
    expected, dropped = naive.ensemble(conf, HORIZONS.tolist(), PRIOR.tolist(), 2, ticks, y)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    assert stage.dropped == dropped


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 120), st.lists(st.integers(0, 120), max_size=20), st.sampled_from(WAYS_OF_A_STAGE))
def test_bits_do_not_depend_on_how_the_stream_is_cut(seed, n, cuts, ways):
    conf = EnsembleConf(**{**SMALL.__dict__, **ways})
    ticks = market(seed, n, 3)
    y = predictions_of(seed, due_rows(ticks), BANK.size)
    whole = forecasts(make(conf, 3, prior=BANK), ticks, y)
    assert bits(whole) == bits(forecasts(make(conf, 3, prior=BANK), ticks, y, cuts))
    assert bits(whole) == bits(forecasts(make(conf, 3, prior=BANK), ticks, y, range(n)))


def test_a_symbol_does_not_see_another_unless_they_are_pooled():
    ticks = market(3, 150, 3)
    y = predictions_of(3, due_rows(ticks), BANK.size)
    of = np.array([t[1] for t in ticks if t[5] is not None])
    for pooled in (False, True):
        conf = EnsembleConf(**{**SMALL.__dict__, "audit_ns": 8 * S, "pooled": pooled})
        whole = forecasts(make(conf, 3, prior=BANK), ticks, y)
        for symbol in range(3):
            renumbered = iter(range(len(ticks)))
            alone = [(*t[:5], None if t[5] is None else next(renumbered)) for t in ticks if t[1] == symbol]
            same = bits(whole[of == symbol]) == bits(forecasts(make(conf, 3, prior=BANK), alone, y[of == symbol]))
            assert same is not pooled


@pytest.mark.parametrize("ways", WAYS_OF_A_STAGE)
def test_a_restored_snapshot_continues_with_the_same_bits(ways):
    conf = EnsembleConf(**{**SMALL.__dict__, **ways})
    ticks = market(8, 160, 2)
    y = predictions_of(8, due_rows(ticks), BANK.size)
    rows, table = predictions_table(ticks, y), ticks_table(ticks)
    (a, b), (c, d) = windows(rows, table, [80])
    first, second = make(conf, prior=BANK), make(conf, prior=BANK)
    first.step(a, b)
    saved = {k: np.array(v.tolist(), v.dtype).reshape(v.shape) for k, v in first.snapshot().items()}
    first.step(c, d)
    second.restore(saved)
    second.step(c, d)
    n = len(second._out.column("alpha"))
    for name in ("alpha", "sigma", "ic"):
        assert bits(first._out.column(name)[-n:]) == bits(second._out.column(name))
    assert n > 20


def test_an_empty_batch_changes_nothing():
    stage, ticks = make(), market(1, 40, 2)
    y = predictions_of(1, due_rows(ticks), PRIOR.size)
    rows, table = predictions_table(ticks, y), ticks_table(ticks)
    stage.step(rows, table)
    before = stage.snapshot()
    rows.lo, table.lo = rows.hi, table.hi
    assert len(stage.step(rows, table)) == 0
    for name, saved in stage.snapshot().items():
        assert saved.tobytes() == before[name].tobytes()


@pytest.mark.parametrize(("setting", "text"), [
    ({"ic_tau_s": 0.0}, "ensemble.ic_tau_s is 0.0: expected a positive number. Correct it in conf/ensemble or on the command line."),
    ({"equal_share": 1.5}, "ensemble.equal_share is 1.5: expected 0 (decorrelated weights) to 1 (equal weights). "
     "Correct it in conf/ensemble or on the command line."),
    ({"shrinkage": "lw"}, "ensemble.shrinkage is 'lw': expected none, oas, ledoit_wolf. Correct it in conf/ensemble or on the command line."),
    ({"shrinkage": "ledoit_wolf"}, "ensemble.shrinkage is 'ledoit_wolf' and ensemble.window_rows is 0: expected a window, from whose rows this "
     "intensity is made. Set ensemble=research, or ensemble.shrinkage=oas."),
    ({"min_rows": -1.0}, "ensemble.min_rows is -1.0: expected zero or more. Correct it in conf/ensemble or on the command line."),
])  # fmt: skip
def test_a_setting_out_of_range_is_named(setting, text):
    with pytest.raises(ConfigError) as e:
        make(EnsembleConf(**setting))
    assert str(e.value) == text


def test_the_research_values_fit_together():
    conf = compose("backtest", ["ensemble=research"]).ensemble
    assert (conf.shrinkage, conf.window_rows) == ("ledoit_wolf", 256)
    assert make(conf).windows.shape == (2, 256, 4, 8)


def test_a_prior_of_another_shape_is_named():
    with pytest.raises(ModelError, match=r"validation ICs of shape \(3, 2\) for 5 horizons: expected one row per configuration"):
        make(horizons=np.arange(1, 6) * S)


def test_a_set_too_large_for_the_ensemble_is_named():
    with pytest.raises(ModelError) as e:
        make(horizons=np.arange(1, 10) * S, prior=np.zeros((3, 9)))
    assert str(e.value) == (
        "the model set has 3 configurations and 9 horizons: the ensemble takes at most 64 and 8. Train or compile a smaller set."
    )
