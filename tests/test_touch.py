"""One byte of each cache line is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit.touch import touch

pytestmark = pytest.mark.pure


@given(st.lists(st.integers(0, 300), max_size=4))
def test_the_sum_is_that_of_every_64th_byte(sizes):
    pieces = [np.arange(n, dtype=np.uint8) for n in sizes]
    address, size = np.array([p.ctypes.data for p in pieces], np.int64), np.array(sizes, np.int64)
    assert touch(address, size) == sum(int(p[::64].astype(np.int64).sum()) for p in pieces)
