"""A feature family as a user writes it in a file of his own: the number of quotes of the symbol so far, and the last bid."""

import numpy as np

from tickarrow.jit._kernel import kernel, record

COUNT_STATE = record([("quotes", "i8")])


@kernel("COUNT_STATE[:], f8[:], i4[:], f8[:], i4[:], u1[:], f8[:], i8, i8, i8, u8[:], i8, i8, out f4[:,:]")
def count_update(state, rate, where, tick_size, symbol, kind, bid, lo, hi, first, row_seq, row_lo, row_hi, x):
    j = row_lo
    for i in range(lo, hi):
        s = state[symbol[i]]
        if kind[i] == 0:
            s.quotes += 1
        if j < row_hi and np.int64(row_seq[j]) - first == i:
            if where[0] >= 0:
                x[j, where[0]] = s.quotes
            if where[1] >= 0:
                x[j, where[1]] = bid[i]
            j += 1
