"""Control blocks: what a kernel finds at a place is the array that was put there."""

import numpy as np
import pytest

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.memory import array_in
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Segment
from tickarrow.pipeline.block import Block

pytestmark = pytest.mark.pure
PAIR = record([("name", "i8"), ("value", "f8")])


@kernel("i8, out f8[:]")
def sums(block, out):
    """Sum and one element of the arrays at places 0 to 4; the element is that of the last row and of the first of all later dimensions."""
    records, one, two, three, four = (
        array_in(block, 0, 1, PAIR), array_in(block, 1, 1, np.int32), array_in(block, 2, 2, np.float64), array_in(block, 3, 3, np.uint16),
        array_in(block, 4, 4, np.float32),
    )  # fmt: skip
    out[:] = 0.0
    for i in range(records.size):
        out[0] += records[i].value
    out[2], out[3], out[4] = one.sum(), two.sum(), three.sum()
    for x in four.flat:
        out[5] += x
    out[1] = records[records.size - 1].name
    out[6], out[7], out[8], out[9] = one[one.size - 1], two[two.shape[0] - 1, 0], three[three.shape[0] - 1, 0, 0], four[four.shape[0] - 1, 0, 0, 0]


def test_arrays_of_one_to_four_dimensions():
    rng = np.random.default_rng(1)
    records = np.zeros(3, PAIR)
    records["name"], records["value"] = [7, 8, 9], [0.5, 1.5, 2.5]
    arrays = [records, rng.integers(-9, 9, 5, np.int32), rng.integers(0, 9, (2, 3)).astype(float), rng.integers(0, 9, (4, 1, 3)).astype(np.uint16),
              rng.integers(0, 9, (2, 3, 2, 4)).astype(np.float32)]  # fmt: skip
    block, out = Block(5), np.zeros(10)
    for place, array in enumerate(arrays):
        block.put(place, array)
    sums(block.address, out)
    assert out.tolist() == [4.5, 9.0, *(float(a.sum()) for a in arrays[1:]), *(float(a[-1].flat[0]) for a in arrays[1:])]


def test_the_array_of_a_place_stays_alive_until_another_one_is_put_there():
    block = Block(1)
    block.put(0, np.arange(4.0))
    at = block.words[0]
    kept = block._kept[0]
    assert kept.ctypes.data == at
    block.put(0, np.arange(6.0))
    assert block.words[1] == 6
    assert block.words[0] != at


def test_columns_are_looked_up_once_a_segment():
    block, names = Block(3), ("seq", "ts")
    first, second = Segment(schemas.FILLS, 8, None), Segment(schemas.FILLS, 16, None)
    assert block.bind(1, first, names)
    assert not block.bind(1, first, names)
    assert block.words[5:7].tolist() == [first.columns["seq"].ctypes.data, 8]
    assert block.bind(1, second, names)
    assert block.words[10:12].tolist() == [second.columns["ts"].ctypes.data, 16]
    assert block.words[0] == 0


def test_a_view_with_gaps_is_refused():
    with pytest.raises(AssertionError):
        Block(1).put(0, np.zeros((4, 4))[:, 1])
