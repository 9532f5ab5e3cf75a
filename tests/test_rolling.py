"""Rolling statistics against fractions, pandas, and a window computed by hand."""

import math

import naive_rolling
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tickarrow.jit import rolling as kernels
from tickarrow.pipeline import points
from tickarrow.pipeline.errors import DataError

pytestmark = pytest.mark.pure


def ours(x, windows):
    x, n = np.ascontiguousarray(x, np.int64), len(windows)
    out, series = np.full((len(x), 2 * n, x.shape[1]), 77.0), x.shape[1]
    kernels.rolling(x, np.array(windows), np.zeros((2 * n, series), np.int64), np.zeros((2 * kernels.ROWS, series), np.int64), out)
    return out


values = hnp.arrays(np.int64, st.tuples(st.integers(0, 30), st.integers(1, 3)), elements=st.integers(-5, 5) | st.integers(-(2**26), 2**26))


@given(values, st.lists(st.integers(2, 17), min_size=1, max_size=3))
def test_every_value_equals_its_definition(x, windows):
    np.testing.assert_allclose(ours(x, windows), naive_rolling.rolling(x, windows), rtol=1e-9, atol=1e-9)


def test_a_window_computed_by_hand():
    # 1 4 4 7: mean 4, deviation sqrt((9 + 0 + 0 + 9) / 4) = 3 / sqrt 2, so z = sqrt 2; 7 is the highest; then 4 4 7 5: mean 5, place (5 - 4) / 3
    got = ours([[1], [4], [4], [7], [5]], [4])[:, :, 0]
    assert np.isnan(got[:3]).all()
    assert got[3].tolist() == [pytest.approx(math.sqrt(2)), 1.0]
    assert got[4].tolist() == [0.0, pytest.approx(1 / 3)]


def test_a_window_of_equal_values_has_no_value():
    assert np.isnan(ours([[5], [5], [5]], [2])).all()


def test_long_windows_are_those_of_pandas_and_do_not_drift():
    x = 10**8 + np.cumsum(np.random.default_rng(3).integers(-300, 301, (700, 2)), 0)
    got, frame = ours(x, (20, 60, 240, 255)), pd.DataFrame(x - 10**8)
    for k, w in enumerate((20, 60, 240, 255)):
        r = frame.rolling(w)
        np.testing.assert_allclose(got[:, k], (frame - r.mean()) / r.std(ddof=0), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(got[:, 4 + k], (frame - r.min()) / (r.max() - r.min()), rtol=1e-12)
    np.testing.assert_array_equal(got[-1], ours(x[-255:], (20, 60, 240, 255))[-1])


def test_prices_of_a_notebook_are_counted_in_units():
    prices = 100 + np.cumsum(np.random.default_rng(4).integers(-3, 4, (300, 2)), 0) / 100
    got = points.rolling(prices, (20, 240))
    np.testing.assert_allclose(got, naive_rolling.rolling(np.rint(prices * 100).astype(np.int64), [20, 240]), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(points.rolling(prices[:, 0], (20,))[:, :, 0], got[:, [0, 2], 0])


@pytest.mark.parametrize(("prices", "windows", "text"), [([1.0, math.nan], (2,), "missing or too far"), ([1.0, 2.0], (256,), "windows are 2 to 255 rows")])
def test_what_cannot_be_rolled_is_told(prices, windows, text):
    with pytest.raises(DataError, match=f"points.rolling: .*{text}"):
        points.rolling(prices, windows)
