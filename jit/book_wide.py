"""Rows of TICKS with what the table has no room for: exchanges, conditions, cumulative volume and VWAP, for the export of a session.

The rows are those of `book.messages_update`, which is called message by message, so they are the recorded ones bit for bit."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.book import BOOK, QUOTE, messages_update
from tickarrow.jit.wire_fields import POWER
from tickarrow.jit.wire_message import DECODED, EXCHANGE, LAST_TRADE, MESSAGE, RESYNC, RT_VOLUME

BID_EXCHANGE, ASK_EXCHANGE = 32, 33  # tick types; 84 is the exchange of the last trade

EXCHANGES = record([("bid", "u8"), ("ask", "u8"), ("last", "u8")])  # letters of the exchanges, raw bytes of their text; 0 = not given


@kernel("EXCHANGES[:], i8, i8, MESSAGE[:], i8, i4[:], u1[:], out u8[:], out u8[:], out f8[:], out f8[:]")
def wide_rows(state, lo, hi, messages, j, symbol, kind, code, code2, volume, vwap):
    """Fill the four columns of rows [lo, hi). `j` is the message that made a trade row; -1 = there are only quotes."""
    for r in range(lo, hi):
        s = state[symbol[r]]
        volume[r] = vwap[r] = np.nan
        if kind[r] == QUOTE:
            code[r], code2[r] = s.bid, s.ask
            continue
        m = messages[j]
        if m.role == LAST_TRADE:
            code[r], code2[r] = m.code, m.code2
            continue
        code[r], code2[r] = s.last, np.uint64(0)
        volume[r] = np.float64(m.mantissa) / POWER[np.int64(m.scale)]
        if m.role == RT_VOLUME:
            vwap[r] = m.more[0]


@kernel(
    "EXCHANGES[:], BOOK[:], out i8[:], MESSAGE[:], i8, i8, MESSAGE[:], i8, i8, i8, i8, out u8[:], out i8[:], out i8[:], out u8[:], out i4[:], "
    "out u1[:], out u1[:], out u2[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], "
    "out u8[:], out u8[:], out f8[:], out f8[:]"
)
def wide_update(
    state, book, ends, messages, lo, hi, others, ts, chunk, seq, row,
    seq_, ts_, ts_exch_, chunk_, symbol_, kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size, code, code2, volume, vwap,
):  # fmt: skip
    """Apply messages of one chunk as `book.messages_update` does; records that say nothing are skipped.

    Parameters
    ----------
    state : (n_symbols,) EXCHANGES, updated in place
    book, ends, messages, lo, hi, others, ts, chunk, seq, row, seq_, ..., size : as in `book.messages_update`
    code, code2 : (capacity,) uint64, raw bytes: exchange and conditions of a trade, exchanges of bid and ask of a quote
    volume, vwap : (capacity,) float64, cumulative volume of the day after an L1 trade (shares), its average price; NaN = not given

    Returns
    -------
    int, index of the next row to write
    """
    seq -= row
    for j in range(lo, hi):
        m = messages[j]
        if m.outcome != DECODED and m.role != RESYNC:
            continue
        if m.role == EXCHANGE:
            s = state[m.symbol]
            if m.tick_type == BID_EXCHANGE:
                s.bid = m.code
            elif m.tick_type == ASK_EXCHANGE:
                s.ask = m.code
            else:
                s.last = m.code
            continue
        before = row
        row = messages_update(
            book, ends, messages, j, j + 1, others, ts, chunk, seq + row, row,
            seq_, ts_, ts_exch_, chunk_, symbol_, kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size,
        )  # fmt: skip
        wide_rows(state, before, row, messages, j, symbol_, kind_, code, code2, volume, vwap)
    return row
