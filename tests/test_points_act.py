"""The formulas of a decision over columns: the bits of the scalar functions, broadcasting, missing values, shipped fee tables."""

import inspect
import math

import naive_decide as naive
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_costs import TABLES, shipped

from tickarrow.jit import act_ufunc, barrier, costs, impact, sizing
from tickarrow.pipeline import points_act as public
from tickarrow.pipeline.errors import ConfigError

pytestmark = pytest.mark.pure
NAN = math.nan
MADE = {
    n.removesuffix("_point"): f for m in (barrier, impact, sizing) for n, f in vars(m).items()
    if n.endswith("_point") and n not in ("exp_point", "expm1_point", "mills_point", "image_point", "side_point", "barrier_value_point")
} | {"half_spread": costs.half_spread_point, "barrier_value": lambda drift, up, down: barrier.barrier_value_point(drift, up, down)[2]}  # fmt: skip
number = st.one_of(st.floats(0.01, 100.0), st.just(NAN))


def test_every_formula_is_public():
    formulas = {n: f for n, f in vars(public).items() if isinstance(f, public.Formula)}
    assert set(formulas) == set(MADE)
    assert all(f.__doc__ and f.ufunc is getattr(act_ufunc, n) for n, f in formulas.items())
    assert len(public.TERMS) == act_ufunc.TERMS


@pytest.mark.parametrize("name", sorted(MADE))
@given(data=st.data())
def test_a_ufunc_gives_the_bits_of_its_point(name, data):
    n = len(inspect.signature(getattr(MADE[name], "py_func", MADE[name])).parameters)
    rows = data.draw(st.lists(st.tuples(*[number] * n), min_size=1, max_size=5))
    expected = np.array([NAN if any(map(math.isnan, row)) else MADE[name](*row) for row in rows])
    got = getattr(public, name)(*map(np.array, zip(*rows)))
    assert np.where(np.isnan(got), NAN, got).tobytes() == np.where(np.isnan(expected), NAN, expected).tobytes()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="np.vectorize stands in for the ufunc")
def test_a_formula_broadcasts_and_obeys_out_and_where():
    out = np.full((2, 2), 7.0)
    assert public.impact([[1e4], [4e4]], 1e6, [100.0, 200.0], 1.0, out=out, where=[True, False]) is out
    np.testing.assert_allclose(out, [[10.0, 7.0], [20.0, 7.0]])


@pytest.mark.parametrize("name", TABLES)
def test_a_bill_has_the_terms_of_the_definition_for_each_order(name):
    conf = shipped(name, as_of="2026-05-01", month_volume=900.0)
    table = public.fee_table(name, as_of="2026-05-01", month_volume=900.0)
    quantity, price, side = np.array([[1.0], [1000.0], [NAN]]), np.array([25.0, 0.25, 5000.0]), np.array([1, -1, -1])
    for adds in (False, True):
        got = public.bill(table, quantity, price, side, adds)
        assert list(got) == list(public.TERMS)
        assert all(v.shape == (3, 3) and np.isnan(v[2]).all() for v in got.values())
        for i in range(2):
            for j in range(3):
                expected = naive.fee_terms(conf, quantity[i, 0], price[j], side[j], adds)
                expected["total"] = sum(expected.values())
                assert {term: v[i, j] for term, v in got.items()} == pytest.approx(expected, rel=1e-12)


def test_the_cost_of_orders_of_growing_size():
    # 99.99 / 100.01: 1 bp and 1.00 of 1,000; of 10,000; 2.50 of 50,000; nothing known without an ask
    table = public.fee_table("ibkr_fixed", regulatory=[])
    got = public.one_way(table, 99.99, [100.01, 100.01, 100.01, NAN], [10, 100, 500, 500], 1)
    np.testing.assert_allclose(got, [11.0, 2.0, 1.5, NAN], rtol=1e-9)
    # in and out again without the fees of sales: twice that
    table = public.fee_table("ibkr_fixed", regulatory=[], taf=[], sec=[])
    np.testing.assert_allclose(public.round_trip(table, 99.99, [100.01, 100.01, 100.01, NAN], [10, 100, 500, 500]), [22.0, 4.0, 3.0, NAN], rtol=1e-9)


def test_a_quote_that_is_none_and_an_order_of_nothing_cost_nothing_known():
    table = public.fee_table("ibkr_fixed")
    bid, ask, quantity = [100.01, -1.0, 0.0, -1.0, NAN, 99.99, 100.0], [99.99, -1.0, 0.02, 0.02, 100.0, 100.01, 100.0], [100, 100, 100, 100, 100, 0, 100]
    for got in (public.round_trip(table, bid, ask, quantity), public.one_way(table, bid, ask, quantity, 1)):
        assert np.isnan(got).tolist() == [True] * 6 + [False]  # crossed, IBKR's no quote, one-sided three times, nothing; a spread of 0


@pytest.mark.parametrize(("name", "other", "text"), [
    ("free", {}, "fee_table: there is no table 'free' in conf/costs: expected one of ibkr_fixed, ibkr_futures, ibkr_micros, ibkr_tiered."),
    ("ibkr_fixed", {"clearing": "much"}, "fee_table: Value 'much' of type 'str' could not be converted to Float. The settings are those of "
     "tickarrow.configs.costs.CostsConf."),
])  # fmt: skip
def test_what_is_not_there_is_said(name, other, text):
    with pytest.raises(ConfigError) as e:
        public.fee_table(name, **other)
    assert str(e.value) == text
