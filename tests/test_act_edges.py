"""Steps of a decision one by one, where a number is at its edge or a symbol has its own: bands, daily volumes, horizons without a size."""

import math
from dataclasses import replace

import numpy as np
import pytest
from decide import START
from test_act import FEW, FREE, GO, HORIZONS, S, decide, make, reasons, stream, table_of

from tickarrow.jit import act
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.schemas import ControlKind

pytestmark = pytest.mark.pure
NAN = math.nan


@pytest.mark.parametrize(("sigma", "expected", "target"), [
    (12.0, "AT_TARGET", 4.0), (14.0, "ORDER", 2.0), (5.0, "AT_TARGET", 4.0), (4.9, "AT_TARGET", 4.0), (4.0, "ORDER", 10.0),
])  # fmt: skip
def test_a_position_is_resized_outside_the_band_only(sigma, expected, target):
    # Half of the target is the band. 4 shares are held; 41.18 / sigma, at most 10, are wanted: 3 (1 off, 1.5 allowed), 2 (2 off, 1 allowed),
    # 8 (4 off, just allowed) twice, 10 (6 off, 5 allowed).
    stage = make(costs=FREE, horizons=HORIZONS[:1])
    stage.apply(Control(kind=ControlKind.EXECUTION, side=1, quantity=4.0, price=100.0, exec_id=1))
    stage.state["hold_until"] = 2**62
    assert reasons(decide(stage, *stream((0, 100.0, 100.0, (50.0, sigma, 0.1))))) == [expected]
    assert stage._decisions.column("target").tolist() == [target]


def each(stage, forecast=GO):
    """A quote of 100 x 100 and a forecast of each symbol."""
    n = len(stage.state)
    return decide(stage, [(START + i, i, True, 100.0, 100.0, i) for i in range(n)], np.array([[forecast]] * n))


def test_each_symbol_takes_part_in_its_own_volume():
    # 1e-5 of 50,000 shares is half a share, of 300,000 three; of an unknown volume nothing is known
    stage = make(3, replace(FEW, participation=1e-5), FREE, horizons=HORIZONS[:1])
    stage.adv[:] = 50_000.0, 300_000.0, 0.0
    assert reasons(each(stage)) == ["PARTICIPATION_CAP", "ORDER", "ORDER"]
    assert stage._decisions.column("target").tolist() == [0.0, 3.0, 4.0]


def test_each_symbol_has_the_impact_of_its_own_volume():
    # 4 shares, in and out: 2 x 10 sqrt(23,400) x sqrt(4 / volume): 27.3642 bp of 50,000, a tenth of it of a hundred times as much
    stage = make(3, costs=replace(FREE, impact_eta=1.0), horizons=HORIZONS[:1])
    stage.adv[:] = 50_000.0, 5e6, 0.0
    each(stage)
    np.testing.assert_allclose(stage._decisions.column("cost"), [27.364210, 2.7364210, NAN], rtol=1e-7)
    # without volume nobody trades at any price: no horizon can be judged, nothing is sent
    assert reasons(stage) == ["ORDER", "ORDER", "WARMING_UP"]
    assert stage._decisions.column("horizon").tolist() == [0, 0, -1]


def test_a_horizon_without_volatility_or_forecast_is_left_out_of_the_pool_and_of_the_choice():
    # drifts of 2 bp/s over one second and 1 over five, of the same precision: 1.5; without one of them the other
    alpha, sigma, ic = np.array([2.0, 5.0, 900.0]), np.array([1.0, 5.0, 0.0]), np.array([0.1, 0.1, 0.9])
    assert act.pool_point(alpha, sigma, ic, HORIZONS) == pytest.approx(1.5, rel=1e-12)
    assert act.pool_point(alpha, np.array([0.0, 5.0, NAN]), ic, HORIZONS) == pytest.approx(1.0, rel=1e-12)
    assert act.pool_point(np.array([2.0, NAN, NAN]), sigma, ic, HORIZONS) == pytest.approx(2.0, rel=1e-12)
    stage = decide(make(costs=FREE), [(START, 0, True, 100.0, 100.0, 0)], np.array([list(zip(alpha, sigma, ic))]))
    assert table_of(stage._decisions, "horizon", "edge") == [(0, pytest.approx(0.5 * 2.0 + 0.5 * 1.5))]


def test_of_horizons_that_are_worth_the_same_the_shorter_is_taken():
    same = [(8.0 * k, 2.0 * k, 0.1) for k in (1.0, 5.0, 30.0)]  # one drift, and 4 deviations each
    stage = decide(make(risk=replace(FEW, pool_share=0.0), costs=FREE), [(START, 0, True, 100.0, 100.0, 0)], np.array([same]))
    assert stage._decisions.column("horizon").tolist() == [0]
    assert HORIZONS[0] == S
