"""Read memory so that it is in the caches when it is needed; nothing is written to it."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.memory import array_at

LINE = 64  # bytes


@kernel("i8[:], i8[:]")
def touch(address, size):
    """Read one byte of each cache line of some pieces of memory.

    Parameters
    ----------
    address : (n,) int64, where they begin; the caller keeps them alive
    size : (n,) int64, bytes

    Returns
    -------
    int64, sum of the bytes read: a result, so that the reads stay
    """
    total = 0
    for k in range(address.size):
        piece = array_at(address[k], size[k], np.uint8)
        for i in range(0, size[k], LINE):
            total += np.int64(piece[i])
    return total
