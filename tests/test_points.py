"""The scalar formulas against their twins and hand-computed values; the ufuncs of them broadcast, obey `out=` and `where=`, and give the same bits."""

import inspect
import math

import naive_points
import numba
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import flow, moments, points, points_ufunc
from tickarrow.pipeline import points as public

pytestmark = pytest.mark.pure
NAN = math.nan
MADE = {
    "ofi": flow.ofi_point, "trade_sign": moments.sign_point, "decay": moments.decay_point,
    **{n.removesuffix("_point"): f for n, f in vars(points).items() if n.endswith("_point") and n != "log_point"},
}  # fmt: skip
needs_ufunc = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="np.vectorize stands in for the ufunc")

price = st.one_of(st.integers(9_990, 10_010).map(lambda t: round(t * 0.01, 2)), st.sampled_from([NAN, 0.0, -0.01, 1e-9, 1e9]))
size = st.sampled_from([NAN, 0.0, 1.0, 3.0, 100.0, 1e7])
sign = st.sampled_from([-1.0, 0.0, 1.0])
ns = st.sampled_from([-5, 0, 1, 1_000_000_000, 10**15])
DRAWN = {"bid": price, "ask": price, "price": price, "mid": price, "later": price, "before": price, "tick_size": st.just(0.01), "sign": sign}
DRAWN |= {"tick_sign": sign, "dt": ns, "tau_s": st.sampled_from([0.5, 300.0])}


def arguments(name):
    names = list(inspect.signature(getattr(naive_points, name)).parameters) if name != "ofi" else ["bid", "bid_size", "ask", "ask_size"] * 2
    return st.tuples(*(DRAWN.get(n, size) for n in names))


def scalar(name, values):
    """The `_point` function's value."""
    if name == "decay":
        return moments.decay_point(values[0], -1e-9 / values[1])
    if name == "ofi" and any(math.isnan(v) for v in values):
        return NAN
    return MADE[name](*values)


def test_every_point_has_a_ufunc_a_twin_and_a_public_name():
    twins = {n for n, f in vars(naive_points).items() if inspect.isfunction(f)} - {"missing", "weighted"}
    formulas = {n: f for n, f in vars(public).items() if isinstance(f, public.Formula)}
    assert twins == set(MADE) == set(formulas) - {"exp", "expm1", "log"}
    assert all(f.__doc__ and f.ufunc is getattr(points_ufunc, n) for n, f in formulas.items() if n in MADE)


@pytest.mark.parametrize("name", sorted(MADE))
@given(data=st.data())
def test_a_point_equals_its_definition(name, data):
    values = data.draw(arguments(name))
    np.testing.assert_allclose(scalar(name, values), getattr(naive_points, name)(*values), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(MADE))
@given(data=st.data())
def test_a_ufunc_gives_the_bits_of_its_point(name, data):
    rows = data.draw(st.lists(arguments(name), min_size=1, max_size=9))
    columns = [np.array(c) for c in zip(*rows)]
    expected = np.array([scalar(name, row) for row in rows], float)
    assert getattr(public, name)(*columns).tobytes() == np.where(np.isnan(expected), np.nan, expected).tobytes()


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("mid", (99.99, 100.01), 100.0),
        ("mid", (-3.0, 1.0), NAN),
        ("spread_ticks", (99.99, 100.03, 0.01), 4.0),
        ("spread_ticks", (100.01, 100.0, 0.01), -1.0),  # crossed
        ("spread_bp", (99.99, 100.01), 2.0),  # 1e4 x 0.02 / 100
        ("micro", (100.0, 200.0, 100.04, 600.0), 100.01),  # (100.04 x 200 + 100.00 x 600) / 800
        ("micro", (100.0, 0.0, 100.04, 0.0), NAN),
        ("micro_dev", (100.0, 200.0, 100.04, 600.0), -0.25),  # (100.01 - 100.02) / 0.04
        ("micro_dev", (100.0, 200.0, 100.0, 600.0), NAN),  # locked
        ("imbalance", (300.0, 100.0), 0.5),  # 200 / 400
        ("imbalance", (0.0, 0.0), NAN),
        ("depth", (800.0, 200.0), math.log(1000)),
        ("slope", (100.0, 100.0, 101.0, 10.0), math.log(1.01) / math.log(1000)),
        ("slope", (100.0, 1.0, 101.0, 1.0), NAN),  # ln 1 + ln 1
        ("log_return", (110.0, 100.0), math.log(1.1)),
        ("return_bp", (101.0, 100.0), 1e4 * math.log(1.01)),
        ("return_bp", (101.0, 0.0), NAN),
        ("ofi", (99.99, 200.0, 100.02, 500.0, 100.0, 300.0, 100.02, 400.0), 400.0),  # 300 - (400 - 500)
        ("ofi", (99.99, 200.0, 100.02, 500.0, 99.98, 300.0, 100.01, 400.0), -600.0),  # -200 - 400
        ("ofi", (99.99, 200.0, 100.02, NAN, 99.98, 300.0, 100.01, 400.0), NAN),
        ("trade_sign", (100.01, 99.99, 100.01, 0.01, -1.0), 1.0),
        ("trade_sign", (100.0, 99.99, 100.01, 0.01, -1.0), -1.0),  # at the mid: tick rule
        ("trade_sign", (100.0, NAN, 100.01, 0.01, 1.0), 1.0),
        ("effective_spread", (100.01, 100.0, 1.0), 2.0),  # 2e4 x 0.01 / 100
        ("realised_spread", (100.01, 100.0, 100.02, 1.0), -2.0),  # 2e4 x (100.01 - 100.02) / 100
        ("impact", (100.0, 100.02, 1.0), 4.0),  # = 2 - -2
        ("age", (2_000_000_000,), math.log(3)),
        ("age", (-1,), 0.0),
        ("decay", (3_000_000_000, 1.5), math.exp(-2)),
    ],
)
def test_a_hand_computed_value(name, values, expected):
    assert getattr(public, name)(*values) == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_where_picks_the_rows_and_the_others_keep_what_was_there():
    bid, ask = np.array([99.99, 99.98, NAN]), np.array([[100.01], [100.03]])
    np.testing.assert_allclose(public.mid(bid, ask), [[100.0, 99.995, NAN], [100.01, 100.005, NAN]])
    out = np.full((2, 3), 7.0)
    assert public.mid(bid, ask, out=out, where=bid < 99.99) is out
    np.testing.assert_allclose(out, [[7.0, 99.995, 7.0], [7.0, 100.005, 7.0]])
    np.testing.assert_allclose(public.mid(99.98, 100.0, where=np.array([True, False])), [99.99, NAN])


@needs_ufunc
def test_out_takes_the_result():
    out = np.zeros(2)
    assert public.mid([99.98, 1.0], [100.0, 2.0], out=out) is out
    np.testing.assert_allclose(out, [99.99, 1.5])


@needs_ufunc
def test_other_number_types_are_taken_as_float64():
    assert public.imbalance(np.array([300], np.uint16), np.float32([100])).dtype == np.float64
    with pytest.raises(TypeError):
        public.mid(np.array([1 + 2j]), 1.0)


@needs_ufunc
def test_columns_of_pandas_and_polars_are_taken_and_missing_values_do_not_warn(recwarn):
    bid, ask = [99.99, NAN], [100.01, 100.02]
    for series in (pd.Series, pl.Series):
        got = public.spread_bp(series(bid), series(ask))
        assert type(got) is series
        np.testing.assert_allclose(got, [2.0, NAN])
    assert not recwarn.list
