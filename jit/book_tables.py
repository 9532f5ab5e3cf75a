"""Messages of other tables than TICKS become their rows: changes of depth, bars of five seconds, option computations.

`book.messages_update` puts these messages aside, with the number of TICKS rows before each in `at` and the flags of its symbol in
`req_id`. They are few: at most three symbols of a hundred have depth, and a bar comes every five seconds."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.book import DELAYED, FROZEN, HALTED, STALE, UNCERTAIN
from tickarrow.jit.depth import DEPTH_STATE, LEVEL, depth_lost, depth_point
from tickarrow.jit.wire_message import BAR, DEPTH, GREEK, MESSAGE, RESYNC

OF_SYMBOL = DELAYED | FROZEN | HALTED | STALE
BAR_NS = 5_000_000_000
SECOND_NS = 1_000_000_000


@kernel(
    "DEPTH_STATE[:], LEVEL[:,:,:], MESSAGE[:], i8, i8, i8, i8, i8, out u8[:], out i8[:], out u8[:], out i4[:], out u2[:], out i4[:], out u1[:], "
    "out u1[:], out u1[:], out f8[:], out f8[:], out u8[:]"
)
def depth_rows(
    state, levels, messages, lo, hi, ts, chunk, row, seq_, ts_, chunk_, symbol_, flags_, position_, operation_, side_, smart_, price_, size_, code_
):
    """Apply the DEPTH messages to the books and write a row of DEPTH for each; after a RESYNC every book is uncertain.

    Parameters
    ----------
    state : (n_symbols,) DEPTH_STATE, updated in place
    levels : (n_symbols, 2, n_levels) LEVEL, updated in place
    messages : (capacity,) MESSAGE that were put aside
    lo, hi : int, messages [lo, hi)
    ts, chunk : int, ns UTC and number of the chunk
    row : int, index in the columns of the first row to write; the caller guarantees room
    seq_, ..., code_ : (capacity,), columns of DEPTH

    Returns
    -------
    int, index of the next row to write
    """
    for j in range(lo, hi):
        m = messages[j]
        if m.role == RESYNC:
            depth_lost(state, levels, 0, state.size)
        if m.role != DEPTH:
            continue
        operation, i = np.int64(m.attributes), np.int64(m.symbol)
        flags = depth_point(state, levels, i, np.int64(m.side), m.time, operation & 0xFF, m.price, m.quantity, m.code)
        seq_[row], ts_[row], chunk_[row], symbol_[row] = m.at, ts, chunk, i
        flags_[row] = flags | m.req_id & OF_SYMBOL
        position_[row], operation_[row], side_[row], smart_[row] = m.time, operation & 0xFF, m.side, operation >> 8
        price_[row], size_[row], code_[row] = m.price, m.quantity, m.code
        row += 1
    return row


@kernel(
    "MESSAGE[:], i8, i8, i8, i8, i8, out u8[:], out i8[:], out u8[:], out i4[:], out i8[:], out i8[:], out u2[:], "
    "out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:]"
)
def bar_rows(
    messages, lo, hi, ts, chunk, row,
    seq_, ts_, chunk_, symbol_, ts_open_, ts_close_, flags_, open_, high_, low_, close_, volume_, wap_, count_,
):  # fmt: skip
    """Write a row of BARS for each BAR message. Arguments as in `depth_rows`."""
    for j in range(lo, hi):
        m = messages[j]
        if m.role != BAR:
            continue
        seq_[row], ts_[row], chunk_[row], symbol_[row] = m.at, ts, chunk, m.symbol
        ts_open_[row] = m.time * SECOND_NS
        ts_close_[row] = m.time * SECOND_NS + BAR_NS
        flags_[row] = m.req_id & (OF_SYMBOL | UNCERTAIN)
        open_[row], high_[row], low_[row], close_[row] = m.price, m.quantity, m.ask, m.ask_size
        volume_[row], wap_[row], count_[row] = m.more[0], m.more[1], m.more[2]
        row += 1
    return row


@kernel(
    "MESSAGE[:], i8, i8, i8, i8, i8, out u8[:], out i8[:], out u8[:], out i4[:], out u1[:], out u2[:], out i4[:], "
    "out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:]"
)
def greek_rows(
    messages, lo, hi, ts, chunk, row,
    seq_, ts_, chunk_, symbol_, kind_, flags_, attributes_, iv_, delta_, gamma_, vega_, theta_, opt_price_, und_price_, pv_dividend_,
):  # fmt: skip
    """Write a row of GREEKS for each GREEK message. Arguments as in `depth_rows`."""
    for j in range(lo, hi):
        m = messages[j]
        if m.role != GREEK:
            continue
        seq_[row], ts_[row], chunk_[row], symbol_[row], kind_[row] = m.at, ts, chunk, m.symbol, m.tick_type
        flags_[row] = m.req_id & (OF_SYMBOL | UNCERTAIN) | (DELAYED if m.delayed else 0)
        attributes_[row] = m.attributes
        iv_[row], delta_[row], gamma_[row], vega_[row] = m.price, m.quantity, m.ask, m.ask_size
        theta_[row], opt_price_[row], und_price_[row], pv_dividend_[row] = m.more[0], m.more[1], m.more[2], m.more[3]
        row += 1
    return row
