"""Position size: fractional Kelly, volatility target, per-name cap, drawdown throttle, whole lots."""

import math

import naive_decide as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.configs.risk import RiskConf
from tickarrow.jit import sizing

pytestmark = pytest.mark.pure


def test_size_of_a_hand_computed_target():
    # 5,896,800 trading seconds a year; over 58.968 s a year is 100,000 horizons: 7.905694 bp x sqrt(1e5) = 25 % a year: 0.005 / 0.25
    assert sizing.target_point(5.0, 7.905694, 58.968, math.inf, 0.005, 0.05) == pytest.approx(0.02, rel=1e-6)
    assert sizing.target_point(5.0, 7.905694, 58.968, math.inf, 0.005, 0.01) == 0.01
    # a quarter of 1 bp / (100 bp)^2: 0.25 x 0.0001 / 0.0001
    assert sizing.target_point(1.0, 100.0, 58.968, 0.25, 100.0, 100.0) == pytest.approx(0.25, rel=1e-12)


def test_full_kelly_maximises_the_growth_of_wealth():
    # log growth of a bet of f of nav on a return of mean m and variance v, to second order: f m - f^2 v / 2
    m, v = 3e-4, (40e-4) ** 2
    bets = np.linspace(0, 100, 100_001)
    best = bets[np.argmax(bets * m - bets**2 * v / 2)]
    assert sizing.kelly_point(3.0, 40.0, 1.0) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize(("quantity", "lot", "expected"), [(333.3, 1.0, 333.0), (333.3, 100.0, 300.0), (99.9, 100.0, 0.0), (0.0, 1.0, 0.0)])
def test_whole_lots(quantity, lot, expected):
    assert sizing.lots_point(quantity, lot) == expected


@pytest.mark.parametrize(("drawdown", "expected"), [(0.0, 1.0), (0.05, 1.0), (0.075, 0.75), (0.1, 0.5), (0.15, 0.0), (0.5, 0.0)])
def test_the_throttle_is_a_line(drawdown, expected):
    assert sizing.throttle_point(drawdown, 0.05, 0.15) == pytest.approx(expected, rel=1e-12)


def test_a_throttle_without_a_slope_is_a_step():
    assert [sizing.throttle_point(d, 0.1, 0.1) for d in (0.0999, 0.1, 0.1001)] == [1.0, 1.0, 0.0]


@given(st.floats(0, 100), st.floats(0.1, 100), st.floats(1, 3600), st.sampled_from([0.1, 1.0, math.inf]), st.floats(1e-4, 0.1), st.floats(0.001, 1))
def test_size_is_its_definition_under_each_cap(edge, sigma, seconds, kelly, vol_target, name_cap):
    got = sizing.target_point(edge, sigma, seconds, kelly, vol_target, name_cap)
    assert got == pytest.approx(naive.target(RiskConf(kelly=kelly, vol_target=vol_target, name_cap=name_cap), edge, sigma, seconds), rel=1e-12)
    assert got <= min(name_cap, sizing.volatility_point(sigma, seconds, vol_target), sizing.kelly_point(edge, sigma, kelly))


@given(st.lists(st.floats(-2e5, 2e5), max_size=8), st.floats(0, 0.2), st.floats(0, 0.2))
def test_the_throttle_of_a_history_of_gains(gains, start, width):
    risk = RiskConf(throttle_from=start, throttle_to=start + width)
    peak = max([0.0, *gains])
    drawdown = (peak - ([0.0, *gains])[-1]) / (risk.nav + peak)
    assert sizing.throttle_point(drawdown, start, start + width) == pytest.approx(naive.throttle(risk, gains), abs=1e-6 if width > 1e-6 else 1.0)
