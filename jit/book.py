"""Quote and trade state per symbol: messages of the wire, or rows of a file, become rows of TICKS.

IBKR sends the sides of a quote as separate messages. An update of a symbol is what its quote messages in one chunk say together; it
also ends when a (side, kind) repeats with another value and when a trade of the symbol comes. Its row holds the quote after it. Rows
stand in the order in which updates and trades close; those open at the end of the chunk follow in the order of their first message.
A trade is a tick-by-tick Last or AllLast message, or on L1 an increase of the cumulative volume at the latest last price."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.wire_fields import POWER, POWER_INT, U
from tickarrow.jit.wire_message import (
    BAR, BID_ASK, DATA_TYPE, DEPTH, GREEK, HALT, LAST_PRICE, LAST_TIME, LAST_TRADE, MESSAGE, QUOTE_PRICE, QUOTE_SIZE, RESYNC, RT_VOLUME, VOLUME,
)  # fmt: skip

# Integer codes of pipeline/schemas.py.
QUOTE, TRADE = 0, 1
L1, TBT_LAST, TBT_ALL, TBT_BIDASK, FILE = 0, 1, 2, 3, 4
CONFLATED, PAST_LIMIT, UNREPORTED, DELAYED, FROZEN, HALTED, PRE_OPEN, UNCERTAIN = 1, 2, 4, 8, 16, 32, 64, 128
STALE, BID_PAST_LOW, ASK_PAST_HIGH, AUTO_EXECUTE, GAP = 256, 512, 1024, 2048, 4096
OF_PRICE = PAST_LIMIT | PRE_OPEN | BID_PAST_LOW | ASK_PAST_HIGH | AUTO_EXECUTE  # told with each price of the quote
FLAGS = 0xFFFF
SENT = 16  # shift of the sides of the quote (1 bid, 2 ask) that were ever sent
MISSING = 18  # shift of those that are to be sent anew since data was lost
ANY_PRICE = 1 << 20  # no side was ever sent, so any price ends the uncertainty
SAID_DELAYED = 21  # shift of DELAYED as the latest marketDataType says; a price whose tick type is a delayed one is delayed too
SUBSCRIPTION, LINK = 1, 2  # who is silent

INT_MAX = 2**63 - 1
NOBODY = -1

BOOK = record([
    ("quote", "f8", (4,)),  # in force: bid, bid_size, ask, ask_size; NaN = missing
    ("last", "f8"),  # latest last price
    ("mantissa", "i8"),  # cumulative volume = mantissa / 10**scale
    ("ts_exch", "i8"),  # of the open update, ns
    ("before", "i4"), ("after", "i4"),  # symbols whose open updates began before and after this one's
    ("scale", "u1"), ("source", "u1"),  # tick type that the cumulative volume comes from; 0 = none seen
    ("held", "u1"), ("feed", "u1"),  # values that the open update holds, bit k = quote[k]; 0 = no open update
    ("last_subscribed", "i4"),  # tick-by-tick Last and AllLast subscriptions: with one, L1 makes no trades
    ("last_time", "i8"),  # exchange time of the latest last price on L1, s; 0 = not given
    ("marks", "u4"),  # flags in force, the next row carries them; above them the bits below
    ("last_flags", "u1"),  # of the latest last price
    ("silent", "u1"),  # why STALE is on: SUBSCRIPTION, LINK
])  # fmt: skip


def new_book(n_symbols):
    """State of symbols of which nothing is known yet."""
    book = np.zeros(n_symbols, BOOK)
    book["quote"] = np.nan
    book["last"] = np.nan
    book["before"] = book["after"] = NOBODY
    return book


@kernel("f8, f8", inline=True)
def _same(a, b):
    """Equal, or both missing."""
    return a == b or (np.isnan(a) and np.isnan(b))


@kernel(
    "BOOK, i8, i8, i8, i8, i8, i8, i8, i8, i8, f8, f8, out u8[:], out i8[:], out i8[:], out u8[:], out i4[:], out u1[:], out u1[:], out u2[:], "
    "out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:]",
    inline=True,
)
def _put(
    s, row, seq, ts, ts_exch, chunk, symbol, kind, feed, flags, trade_price, trade_size,
    seq_, ts_, ts_exch_, chunk_, symbol_, kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size,
):  # fmt: skip
    """Write one row with the quote in force."""
    r = U(row)  # unsigned: no test for indices from the end
    seq_[r], ts_[r], ts_exch_[r], chunk_[r] = seq, ts, ts_exch, chunk
    symbol_[r], kind_[r], feed_[r], flags_[r] = symbol, kind, feed, flags & FLAGS
    if flags & GAP != 0:
        s.marks = np.int64(s.marks) & ~GAP  # only the first row after a loss has it
    bid[r], bid_size[r], ask[r], ask_size[r] = s.quote[0], s.quote[1], s.quote[2], s.quote[3]
    price[r], size[r] = trade_price, trade_size


@kernel("BOOK[:], i8, out i8[:]", inline=True)
def _open(book, i, ends):
    """The symbol's update begins: last in the order. `ends` = first and last symbol of it."""
    s = book[U(i)]
    s.before, s.after = ends[1], NOBODY
    if ends[1] >= 0:
        book[U(ends[1])].after = i
    else:
        ends[0] = i
    ends[1] = i


@kernel("BOOK[:], i8, out i8[:]", inline=True)
def _close(book, i, ends):
    """The symbol's update is over: out of the order."""
    s = book[U(i)]
    s.held = 0
    if s.before >= 0:
        book[U(s.before)].after = s.after
    else:
        ends[0] = s.after
    if s.after >= 0:
        book[U(s.after)].before = s.before
    else:
        ends[1] = s.before


@kernel("i8", inline=True)
def attribute_flags(attributes):
    """Flags of a tickPrice's attributes: 1 canAutoExecute, 2 pastLimit, 4 preOpen."""
    return (attributes & 1) << 11 | attributes & PAST_LIMIT | (attributes & 4) << 4


@kernel("i8, i8", inline=True)
def _delayed(marks, delayed):
    """Whether data is delayed: the latest price has a delayed tick type, or the latest marketDataType says so."""
    return (marks & ~DELAYED) | (delayed | (marks >> SAID_DELAYED & 1)) << 3


@kernel("BOOK, i8, i8, i8", inline=True)
def _priced(s, sides, attributes, delayed):
    """Sides of the quote (1 bid, 2 ask, 3 both) were sent: their flags, and whether the quote is certain again."""
    marks = (_delayed(np.int64(s.marks), delayed) & ~(OF_PRICE | ANY_PRICE | sides << MISSING)) | attributes | sides << SENT
    if marks & UNCERTAIN != 0 and (marks >> MISSING) & 3 == 0:
        marks &= ~UNCERTAIN
    s.marks = marks


@kernel("BOOK", inline=True)
def _priced_last(s):
    """A last price was sent: for an instrument without quotes, such as an index, that ends the uncertainty."""
    if s.marks & ANY_PRICE != 0:
        s.marks = np.int64(s.marks) & ~(UNCERTAIN | ANY_PRICE)


@kernel("BOOK, MESSAGE")
def state_point(s, m):
    """What a message says of the state of its symbol: halted or not, live, delayed or frozen, time of the last trade."""
    marks = np.int64(s.marks)
    if m.role == LAST_TIME:
        s.last_time = m.time
    elif m.role == HALT:
        if m.price > 0.0:
            marks |= HALTED
        elif m.price == 0.0:  # -1 is unknown: it neither begins nor ends a halt
            marks &= ~HALTED
    else:  # DATA_TYPE
        kind = np.int64(m.tick_type)
        marks &= ~(DELAYED | FROZEN | 1 << SAID_DELAYED)
        if kind == 3 or kind == 4:
            marks |= DELAYED | 1 << SAID_DELAYED
        if kind == 2 or kind == 4:
            marks |= FROZEN
    s.marks = marks


@kernel("BOOK[:], i8, i8")
def book_lost(book, lo, hi):
    """Data of symbols [lo, hi) was lost: their next row has GAP, and UNCERTAIN is on until each side that was ever sent is sent anew."""
    for i in range(lo, hi):
        s = book[U(i)]
        sent = (np.int64(s.marks) >> SENT) & 3
        s.marks = np.int64(s.marks) | UNCERTAIN | GAP | sent << MISSING | (ANY_PRICE if sent == 0 else 0)


@kernel("BOOK, i8, i8, i8", inline=True)
def volume_point(s, mantissa, scale, source):
    """Increase of the cumulative volume; 0 if it is the first, not larger, or from a lesser source.

    Parameters
    ----------
    s : BOOK, its volume is updated
    mantissa, scale : int, the volume is mantissa / 10**scale
    source : int, tick type: 8, or 48 or 77, the first of which replaces 8 for good

    Notes
    -----
    The difference is taken in integers and divided once, so it is the correctly rounded difference of the two decimals; only where
    the integers do not fit 64 bits is it the difference of the rounded volumes.
    """
    if s.source != source:
        if s.source == 0 or s.source == 8:
            s.source, s.mantissa, s.scale = source, mantissa, scale
        return 0.0
    old, shift, top = s.mantissa, scale - np.int64(s.scale), max(scale, np.int64(s.scale))
    new, before = mantissa, old
    fits = True
    if shift > 0:
        fits = old <= INT_MAX // POWER_INT[shift]
        before = old * POWER_INT[shift] if fits else np.int64(0)
    elif shift < 0:
        fits = mantissa <= INT_MAX // POWER_INT[-shift]
        new = mantissa * POWER_INT[-shift] if fits else np.int64(0)
    if fits:
        increase = np.float64(new - before) / POWER[top]
    else:
        increase = np.float64(mantissa) / POWER[scale] - np.float64(old) / POWER[np.int64(s.scale)]
    s.mantissa, s.scale = mantissa, scale
    return max(increase, 0.0)


@kernel(
    "BOOK[:], out i8[:], MESSAGE[:], i8, i8, MESSAGE[:], i8, i8, i8, i8, out u8[:], out i8[:], out i8[:], out u8[:], out i4[:], out u1[:], out u1[:], "
    "out u2[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:]"
)
def messages_update(
    book, ends, messages, lo, hi, others, ts, chunk, seq, row,
    seq_, ts_, ts_exch_, chunk_, symbol_, kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size,
):  # fmt: skip
    """Apply messages of one chunk; write the rows of the updates and trades that close.

    Parameters
    ----------
    book : (n_symbols,) BOOK, updated in place
    ends : (3,) int64, first and last symbol in the order of open updates, NOBODY if there is none, and the messages in `others`;
        updated in place
    messages : (capacity,) MESSAGE, with the symbol's row; the caller guarantees the range
    lo, hi : int, messages [lo, hi)
    others : (capacity,) MESSAGE, takes the messages of other tables than TICKS, with `at` = rows of TICKS before it and
        `req_id` = flags in force; the caller guarantees room for hi - lo
    ts, chunk : int, ns UTC and number of the chunk
    seq, row : int, row number of TICKS and index in the columns of the first row to write
    seq_, ..., size : (capacity,), columns of TICKS

    Returns
    -------
    int, index of the next row to write
    """
    seq -= row
    for j in range(lo, hi):
        m = messages[U(j)]
        role = m.role
        i = np.int64(m.symbol)
        s = book[U(i)]
        if role == QUOTE_PRICE or role == QUOTE_SIZE or role == BID_ASK:
            p = 2 * np.int64(m.side)
            first, second = m.price, m.quantity
            given = np.int64(3) << p
            if role == QUOTE_SIZE:
                first = s.quote[p]
                given = np.int64(2) << p
                if second == 0.0 and np.isnan(first):
                    second = np.nan  # the duplicate of a "no quote" price's size
            held = np.int64(s.held)
            ends_here = ((held >> p) & 1 != 0 and not _same(s.quote[p], first)) or (
                (held >> p) & 2 != 0 and not _same(s.quote[p + 1], second)
            )
            if role == BID_ASK:
                given = np.int64(15)
                ends_here |= (held & 4 != 0 and not _same(s.quote[2], m.ask)) or (held & 8 != 0 and not _same(s.quote[3], m.ask_size))
            if ends_here:
                _put(s, row, seq + row, ts, s.ts_exch, chunk, i, QUOTE, s.feed, np.int64(s.marks), np.nan, np.nan, seq_, ts_, ts_exch_, chunk_, symbol_,
                     kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size)  # fmt: skip
                row += 1
                _close(book, i, ends)
                held = np.int64(0)
            if held == 0:
                _open(book, i, ends)
            s.quote[p], s.quote[p + 1] = first, second
            s.ts_exch, s.feed = np.int64(0), L1
            if role == BID_ASK:
                s.quote[2], s.quote[3] = m.ask, m.ask_size
                s.ts_exch, s.feed = m.time * np.int64(1_000_000_000), TBT_BIDASK
                _priced(s, 3, (np.int64(m.attributes) & 3) << 9, np.int64(m.delayed))
            elif role == QUOTE_PRICE:
                if m.empty != 0:
                    given = np.int64(1) << p  # the size is missing until it comes by itself
                _priced(s, 1 + np.int64(m.side), attribute_flags(np.int64(m.attributes)), np.int64(m.delayed))
            s.held = held | given
            continue
        trade_price, trade_size, ts_exch, feed, flags = s.last, 0.0, np.int64(0), L1, CONFLATED | np.int64(s.last_flags)
        if role == LAST_PRICE:
            s.last = m.price
            s.last_flags = np.int64(m.attributes) & PAST_LIMIT
            s.marks = _delayed(np.int64(s.marks), np.int64(m.delayed))
            _priced_last(s)
            continue
        if role == VOLUME or role == RT_VOLUME:
            ts_exch = s.last_time * np.int64(1_000_000_000)
            if role == RT_VOLUME:
                if not np.isnan(m.price):
                    s.last = trade_price = m.price
                    s.last_flags, flags = np.int64(0), CONFLATED
                    _priced_last(s)
                ts_exch = m.time * np.int64(1_000_000)
            trade_size = volume_point(s, m.mantissa, np.int64(m.scale), np.int64(m.tick_type))
            if not trade_size > 0.0 or s.last_subscribed > 0:
                continue
        elif role == LAST_TRADE:
            trade_price, trade_size, ts_exch = m.price, m.quantity, m.time * np.int64(1_000_000_000)
            feed = TBT_LAST if m.tick_type == 1 else TBT_ALL
            flags = (PAST_LIMIT if m.attributes & 1 else 0) | (UNREPORTED if m.attributes & 2 else 0)
            _priced_last(s)
        elif role == HALT or role == DATA_TYPE or role == LAST_TIME:
            state_point(s, m)
            continue
        elif role == DEPTH or role == BAR or role == GREEK or role == RESYNC:
            if role == RESYNC:
                book_lost(book, 0, book.size)
            k = ends[2]
            others[U(k)] = m
            others[U(k)].at, others[U(k)].req_id = seq + row, np.int64(s.marks) & FLAGS
            ends[2] = k + 1
            continue
        else:
            continue
        if s.held != 0:
            _put(s, row, seq + row, ts, s.ts_exch, chunk, i, QUOTE, s.feed, np.int64(s.marks), np.nan, np.nan, seq_, ts_, ts_exch_, chunk_, symbol_, kind_,
                 feed_, flags_, bid, bid_size, ask, ask_size, price, size)  # fmt: skip
            row += 1
            _close(book, i, ends)
        flags |= np.int64(s.marks) & ~PAST_LIMIT  # that bit is the trade's own
        _put(s, row, seq + row, ts, ts_exch, chunk, i, TRADE, feed, flags, trade_price, trade_size, seq_, ts_, ts_exch_, chunk_, symbol_,
             kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size)  # fmt: skip
        row += 1
    return row


@kernel(
    "BOOK[:], out i8[:], i8, i8, i8, i8, out u8[:], out i8[:], out i8[:], out u8[:], out i4[:], out u1[:], out u1[:], out u2[:], out f8[:], "
    "out f8[:], out f8[:], out f8[:], out f8[:], out f8[:]"
)
def chunk_close(
    book, ends, ts, chunk, seq, row, seq_, ts_, ts_exch_, chunk_, symbol_, kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size
):
    """End of a chunk: write the rows of the open updates in the order of their first messages. Arguments as in `messages_update`."""
    seq -= row
    i = ends[0]
    while i >= 0:
        s = book[U(i)]
        _put(s, row, seq + row, ts, s.ts_exch, chunk, i, QUOTE, s.feed, np.int64(s.marks), np.nan, np.nan, seq_, ts_, ts_exch_, chunk_, symbol_, kind_, feed_,
             flags_, bid, bid_size, ask, ask_size, price, size)  # fmt: skip
        row += 1
        s.held = 0
        i = np.int64(s.after)
    ends[0] = ends[1] = NOBODY
    return row


@kernel("f8, f8, BOOK, i8", inline=True)
def _side(price, size, s, p):
    """One side of a source row becomes the quote in force; a missing price, or -1 or 0 with size 0, has no size either."""
    if size == 0.0 and (np.isnan(price) or price == 0.0 or price == -1.0):
        price = size = np.nan
    s.quote[p], s.quote[p + 1] = price, size


@kernel(
    "BOOK[:], i8[:], i4[:], u1[:], u1[:], f8[:], f8[:], f8[:], f8[:], f8[:], f8[:], i8, i8, i8, i8, out u8[:], out i8[:], out i8[:], out u8[:], "
    "out i4[:], out u1[:], out u1[:], out u2[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:]"
)
def rows_update(
    book, in_ts, in_symbol, in_kind, mask, in_bid, in_bid_size, in_ask, in_ask_size, in_price, in_size, lo, hi, seq, row,
    seq_, ts_, ts_exch_, chunk_, symbol_, kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size,
):  # fmt: skip
    """Rows of a tick file, one row of TICKS each, with the values that the wire gives when every row is a chunk of its own.

    Parameters
    ----------
    book : (n_symbols,) BOOK, updated in place
    in_ts, in_symbol, in_kind : (n,) int64 ns UTC, int32, uint8 of the source rows
    mask : (n,) uint8, quote rows: 1 bid, 2 bid_size, 4 ask, 8 ask_size are given; the others are unchanged
    in_bid, ..., in_size : (n,) float64, NaN = missing. Trade rows: price NaN = at the latest last price
    lo, hi : int, source rows [lo, hi)
    seq, row : int, row number of TICKS and index in the columns of the first row to write; the chunk is the row number
    seq_, ..., size : (capacity,), columns of TICKS

    Returns
    -------
    int, index of the next row to write
    """
    for j in range(lo, hi):
        i = np.int64(in_symbol[j])
        s = book[U(i)]
        trade_price, trade_size = np.nan, np.nan
        if in_kind[j] == QUOTE:
            given = np.int64(mask[j])
            if given & 3 != 0:
                _side(in_bid[j] if given & 1 else s.quote[0], in_bid_size[j] if given & 2 else s.quote[1], s, 0)
            if given & 12 != 0:
                _side(in_ask[j] if given & 4 else s.quote[2], in_ask_size[j] if given & 8 else s.quote[3], s, 2)
        else:
            if not np.isnan(in_price[j]):
                s.last = in_price[j]
            trade_price, trade_size = s.last, in_size[j]
        _put(s, row, seq, in_ts[j], np.int64(0), seq, i, np.int64(in_kind[j]), FILE, np.int64(s.marks), trade_price, trade_size, seq_, ts_, ts_exch_, chunk_,
             symbol_, kind_, feed_, flags_, bid, bid_size, ask, ask_size, price, size)  # fmt: skip
        row += 1
        seq += 1
    return row
