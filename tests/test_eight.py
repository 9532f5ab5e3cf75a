"""Eight doubles side by side, lane by lane against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tickarrow.jit import eight
from tickarrow.jit._kernel import kernel
from tickarrow.jit.eight import abs8, all8, get8, pick8, put8, sqrt8, sum8, word8

pytestmark = [pytest.mark.pure, pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")]
FLOATS = arrays(float, (2, 8), elements=st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, -3.0])))


@kernel("f8[:,:], out f8[:,:], out i8[:]")
def everything(a, out, words):
    x, y = get8(a, 0), get8(a, 1)
    put8(out, 0, x + y)
    put8(out, 1, x - y)
    put8(out, 2, x * y)
    put8(out, 3, x / y)
    put8(out, 4, -x)
    put8(out, 5, sqrt8(x))
    put8(out, 6, abs8(x))
    put8(out, 7, pick8(x < y, x, all8(7.0)))
    words[0], words[1], words[2] = word8(x < y), word8(x <= y), word8(x > y)
    words[3], words[4] = word8(x >= y), word8(x == y)
    words[5], words[6] = word8((x < y) | (x == y)), word8((x <= y) & (x >= y))


@kernel("f8[:,:], i8")
def total(a, i):
    return sum8(get8(a, i))


def bits(flags):
    return sum(1 << k for k, f in enumerate(flags) if f)


@given(FLOATS)
def test_every_operation_is_numpys_in_each_lane(a):
    out, words = np.empty((8, 8)), np.empty(7, np.int64)
    everything(a, out, words)
    x, y = a
    with np.errstate(all="ignore"):
        expected = [x + y, x - y, x * y, x / y, -x, np.sqrt(x), np.abs(x), np.where(x < y, x, 7.0)]
        flags = [x < y, x <= y, x > y, x >= y, x == y, x <= y, x == y]
    for got, lanes in zip(out, expected):
        np.testing.assert_array_equal(got, lanes)
        np.testing.assert_array_equal(np.signbit(got)[lanes == 0], np.signbit(lanes)[lanes == 0])
    assert words.tolist() == [bits(f) for f in flags]
    assert bits([True] * 8) == eight.ALL


def test_the_lanes_are_added_halves_upon_halves():
    # (1e16 + -1e16) + (1 + 1) = 2, and 0 beside it; one after the other 1e16 + 1 would lose the ones
    a = np.zeros((2, 8))
    a[1] = [1e16, 0, 1, 0, -1e16, 0, 1, 0]
    assert total(a, 1) == 2.0
    assert total(a, 0) == 0.0
