"""Prices and sizes of orders against decimal arithmetic."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.router_price import Grid, bracket_prices, passive_price

# Price steps that grow with the price, as a market rule of IBKR says them.
LADDER = ((0.0, 0.0001), (1.0, 0.01), (1000.0, 0.5))
STEPS = [Decimal("0.0001"), Decimal("0.01"), Decimal("0.5")]


def on_grid(price, rounding):
    step = STEPS[sum(price >= Decimal(str(low)) for low, _ in LADDER) - 1]
    return max((price / step).to_integral_value(rounding), 1) * step


@given(st.decimals("0.0001", "5000", places=5), st.sampled_from([1, -1]))
def test_a_limit_is_the_nearest_allowed_price_that_is_no_worse(price, side):
    grid = Grid(LADDER)
    assert grid.not_beyond(float(price), side) == float(on_grid(price, ROUND_FLOOR if side > 0 else ROUND_CEILING))
    got = Decimal(repr(grid.nearest(float(price))))
    assert abs(got - price) <= abs(on_grid(price, ROUND_HALF_EVEN) - price) + Decimal("1e-9")


@given(st.decimals("0", "10000", places=6), st.sampled_from(["1", "0.0001", "100", "0.25"]))
def test_a_size_is_the_largest_allowed_one(shares, step):
    assume(shares / Decimal(step) % 1 < Decimal("0.999998"))  # nearer to the next step is on it
    got = Grid(size_step=float(step), least=float(step)).size(float(shares))
    want = (shares / Decimal(step)).to_integral_value(ROUND_FLOOR) * Decimal(step)
    assert got == pytest.approx(float(want), abs=1e-9)
    assert Decimal(repr(got)) % Decimal(step) == 0


@given(st.integers(1, 500), st.integers(0, 5), st.integers(0, 4), st.integers(-3, 8), st.sampled_from([1, -1]))
def test_a_passive_price_is_its_side_improved_and_never_crosses(bid, spread, improve, room, side):
    """In cents: the own side, better by `improve`, at least a cent before the other side, never worse than its own side or beyond the limit."""
    ask = bid + spread
    worst = (ask if side > 0 else bid) + side * room
    own, other = (bid, ask) if side > 0 else (ask, bid)
    best = [own + side * k for k in range(improve + 1) if side * (other - own - side * k) >= 1] or [own]
    want = min(max(best), worst) if side > 0 else max(min(best), worst)
    got = passive_price(side, bid / 100, ask / 100, worst / 100, OrdersConf(improve_ticks=improve), Grid())
    assert got == max(want, 1) / 100


def test_there_is_nothing_to_follow_without_a_quote():
    conf = OrdersConf()
    assert math.isnan(passive_price(1, math.nan, 10.0, 11.0, conf, Grid()))
    assert math.isnan(passive_price(1, 10.02, 10.0, 11.0, conf, Grid()))
    assert passive_price(1, 10.0, math.nan, 11.0, conf, Grid()) == 10.0


def test_a_bracket_of_a_hand_computed_entry():
    # 10.03 + 0.5 % = 10.08015, - 0.4 % = 9.98988; of a sale the other way round
    conf = OrdersConf(profit_bp=50.0, stop_bp=40.0)
    assert bracket_prices(1, 10.03, conf, Grid()) == (10.08, 9.99)
    assert bracket_prices(-1, 10.03, conf, Grid()) == (9.98, 10.07)
    profit, stop = bracket_prices(1, 10.03, OrdersConf(stop_bp=40.0), Grid())
    assert math.isnan(profit)
    assert stop == 9.99


@pytest.mark.parametrize(("worst", "below"), [(2.0, 1.99), (1.0, 0.9995), (0.9999, 0.9998)])
def test_a_bracket_is_at_least_a_step_from_its_entry(worst, below):
    """5 bp of these prices are less than a step, but below 1.00, where the step is 0.0001: rounded back, a stop would go off at once."""
    conf = OrdersConf(profit_bp=5.0, stop_bp=5.0) if worst != 0.9999 else OrdersConf(profit_bp=0.1, stop_bp=0.1)
    above = {2.0: 2.01, 1.0: 1.01, 0.9999: 1.0}[worst]
    assert bracket_prices(1, worst, conf, Grid(LADDER)) == (above, below)
    assert bracket_prices(-1, worst, conf, Grid(LADDER)) == (below, above)
