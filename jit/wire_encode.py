"""Source rows -> frames of the IBKR wire (text dialect, server versions 157 to 178), for the simulated gateway. The day
volume is kept in units of 1e-8 shares, so that its text is exact."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.wire_encode_market import (
    ALL_BUT_LAST,
    CLOCK,
    DONE,
    EVERY_ROW,
    FULL,
    GIVEN_ASK,
    GIVEN_ASK_SIZE,
    GIVEN_BID,
    GIVEN_BID_SIZE,
    MESSAGES,
    POSITION,
    QUOTE,
    SECOND,
    STATUS,
    TRADE,
    TRADES,
    UNKNOWN_NUMBER,
    UPDATES,
    VOLUME_UNIT,
    row_apply,
)
from tickarrow.jit.wire_encode_number import ODD, decimal_point, integer_point, number_point

# A market-data request of a client; those of one symbol are chained by `next` (-1 = last).
# From `bid` on: what a conflated request has sent.
SUBSCRIPTION = record(
    [
        ("req", "i8"), ("symbol", "i4"), ("next", "i4"), ("feed", "u1"), ("ignore_size", "?"),
        ("bid", "f8"), ("bid_size", "f8"), ("ask", "f8"), ("ask_size", "f8"), ("last", "f8"), ("last_size", "f8"), ("volume", "i8"),
        ("open", "f8"), ("high", "f8"), ("low", "f8"), ("last_time", "i8"), ("quote_slot", "i8"), ("volume_slot", "i8"),
    ]
)  # fmt: skip

L1, LAST, ALL_LAST, BID_ASK, MIDPOINT = 0, 1, 2, 3, 4  # feed of a request; from 1 on the tick-by-tick type of the wire
MESSAGE_BYTES = 192  # no frame written here is longer
_EXCHANGE = (83, 73, 77)  # "SIM"


@kernel("out u1[:], i8, i8", inline=True)
def frame_end(out, start, pos):
    """Fill in the length of the frame that begins at `start`; position behind it."""
    n = pos - start - 4
    out[start] = np.uint8(n >> 24)
    out[start + 1] = np.uint8((n >> 16) & 255)
    out[start + 2] = np.uint8((n >> 8) & 255)
    out[start + 3] = np.uint8(n & 255)
    return pos


@kernel("out u1[:], i8, i8, i8, i8", inline=True)
def head_point(out, pos, message, req, tick):
    """Begin a frame `message|6|req|tick|` at `pos`; position behind it."""
    out[pos + 4] = np.uint8(48 + message)
    out[pos + 5] = 0
    out[pos + 6] = 54
    out[pos + 7] = 0
    pos = integer_point(out, pos + 8, req)
    out[pos] = 0
    pos += 1
    if tick >= 10:
        out[pos] = np.uint8(48 + tick // 10)
        pos += 1
    out[pos] = np.uint8(48 + tick % 10)
    out[pos + 1] = 0
    return pos + 2


@kernel("out u1[:], i8, i8, i8, f8, f8, i8, ODD[:]")
def price_message(out, start, req, tick, price, size, attribute, odd):
    """`1|6|req|tick|price|size|attribute|`; NaN price = no quote (-1, 0), NaN size = empty field. -1 = `number_point` failed."""
    if start < 0:
        return start
    pos = head_point(out, start, 1, req, tick)
    if np.isnan(price):
        out[pos], out[pos + 1], out[pos + 2], out[pos + 3] = 45, 49, 0, 48
        pos += 4
        attribute = 0
    else:
        pos = number_point(out, pos, price, odd)
        if pos < 0:
            return pos
        out[pos] = 0
        pos += 1
        if not np.isnan(size):
            pos = number_point(out, pos, size, odd)
            if pos < 0:
                return pos
    out[pos] = 0
    out[pos + 1] = np.uint8(48 + attribute)
    out[pos + 2] = 0
    return frame_end(out, start, pos + 3)


@kernel("out u1[:], i8, i8, i8, f8, ODD[:]")
def size_message(out, start, req, tick, size, odd):
    """`2|6|req|tick|size|`; NaN size = empty field. -1 = `number_point` failed."""
    if start < 0:
        return start
    pos = head_point(out, start, 2, req, tick)
    if not np.isnan(size):
        pos = number_point(out, pos, size, odd)
        if pos < 0:
            return pos
    out[pos] = 0
    return frame_end(out, start, pos + 1)


@kernel("out u1[:], i8, i8, i8")
def volume_message(out, start, req, volume):
    """`2|6|req|8|volume|`, volume in units of 1e-8 shares."""
    if start < 0:
        return start
    pos = head_point(out, start, 2, req, 8)
    pos = decimal_point(out, pos, volume, 8)
    out[pos] = 0
    return frame_end(out, start, pos + 1)


@kernel("out u1[:], i8, i8, i8")
def time_message(out, start, req, seconds):
    """`46|6|req|45|seconds|`: when the last trade was."""
    if start < 0:
        return start
    out[start + 4], out[start + 5], out[start + 6], out[start + 7], out[start + 8] = 52, 54, 0, 54, 0
    pos = integer_point(out, start + 9, req)
    out[pos], out[pos + 1], out[pos + 2], out[pos + 3] = 0, 52, 53, 0
    pos = integer_point(out, pos + 4, seconds)
    out[pos] = 0
    return frame_end(out, start, pos + 1)


@kernel("out u1[:], i8, i8, i8, i8, f8, f8, f8, f8, ODD[:]")
def tick_by_tick_message(out, start, req, feed, ts, price, size, ask, ask_size, odd):
    """`99|req|feed|seconds|...`: a trade (price, size), a quote (price, size: the bid's), its middle. -1 = `number_point` failed."""
    if start < 0:
        return start
    out[start + 4], out[start + 5], out[start + 6] = 57, 57, 0
    pos = integer_point(out, start + 7, req)
    out[pos], out[pos + 1], out[pos + 2] = 0, np.uint8(48 + feed), 0
    pos = integer_point(out, pos + 3, ts // SECOND)
    out[pos] = 0
    pos += 1
    a = -1.0 if np.isnan(price) else price
    b = size
    if feed == BID_ASK:
        b = -1.0 if np.isnan(ask) else ask
    elif feed == MIDPOINT:
        a = (price + ask) / 2.0
    pos = number_point(out, pos, a, odd)
    if pos < 0:
        return pos
    out[pos] = 0
    pos += 1
    if feed == MIDPOINT:
        return frame_end(out, start, pos)
    pos = number_point(out, pos, b, odd)
    if pos < 0:
        return pos
    out[pos] = 0
    pos += 1
    if feed == BID_ASK:
        for x in (0.0 if np.isnan(price) or np.isnan(size) else size, 0.0 if np.isnan(ask) or np.isnan(ask_size) else ask_size):
            pos = number_point(out, pos, x, odd)
            if pos < 0:
                return pos
            out[pos] = 0
            pos += 1
        out[pos], out[pos + 1] = 48, 0
        return frame_end(out, start, pos + 2)
    out[pos], out[pos + 1] = 48, 0  # attribute mask
    out[pos + 2], out[pos + 3], out[pos + 4] = _EXCHANGE
    out[pos + 5], out[pos + 6] = 0, 0  # and no special conditions
    return frame_end(out, start, pos + 7)


@kernel("out u1[:], i8, i8, i8", inline=True)
def clock_message(out, start, ts, number):
    """`9001|ts|number|`, our private clock frame."""
    out[start + 4], out[start + 5], out[start + 6], out[start + 7], out[start + 8] = 57, 48, 48, 49, 0
    pos = integer_point(out, start + 9, ts)
    out[pos] = 0
    pos = integer_point(out, pos + 1, number)
    out[pos] = 0
    return frame_end(out, start, pos + 1)


@kernel(
    "QUOTE[:], i4[:], SUBSCRIPTION[:], i8[:], i4[:], u1[:], u1[:], f8[:], f8[:], f8[:], f8[:], f8[:], f8[:], i8, i8, i8, ?, ?, ?, ?, "
    "ODD[:], out i8[:], out u1[:]"
)
def encode_rows(
    state, first, subs, ts, symbol, kind, mask, bid, bid_size, ask, ask_size, price, size, lo, hi,
    clock, conflated, duplicates, whole, day, odd, control, out,
):  # fmt: skip
    """Frames of source rows for one client, in the order in which IBKR sends them.

    Parameters
    ----------
    state : (n_symbols,) QUOTE of this client, updated in place
    first : (n_symbols,) int32, first request of each symbol in `subs`, -1 = none
    subs : (capacity,) SUBSCRIPTION
    ts ... size : columns of source rows; `mask` says which of the four quote values are given
    lo, hi : int, rows [lo, hi)
    clock : NO_CLOCK, EVERY_ROW, or ALL_BUT_LAST: whether a clock frame follows each row of a symbol that is asked for
    conflated : L1 requests are left to `encode_slot`
    duplicates : a size message follows each price message
    whole : sizes are whole numbers (server versions below 163): the part of a share is cut off
    day : a trade also says its time (tick type 45) and a new open, high or low (14, 6, 7)
    odd : (n,) ODD, texts of numbers that have no short decimal
    control : (CONTROL_SLOTS,) int64, updated: POSITION in `out`, STATUS, CLOCK = next clock number, MESSAGES, UPDATES, TRADES
    out : (capacity,) uint8

    Returns
    -------
    int, row behind the last one written. Before `hi` STATUS says why: FULL, or UNKNOWN_NUMBER (`odd[0].value`); nothing of the
    next row is written then.

    References
    ----------
    Recorded TWS messages: a price message carries the size, the matching size message repeats it.
    """
    control[STATUS] = DONE
    for i in range(lo, hi):
        s = state[symbol[i]]
        head = first[symbol[i]]
        if head < 0:
            row_apply(s, ts[i], kind[i], mask[i], bid[i], bid_size[i], ask[i], ask_size[i], price[i], size[i])
            continue
        room, k, printed = MESSAGE_BYTES, head, False
        while k >= 0:
            room += 8 * MESSAGE_BYTES
            printed = printed or subs[k].feed == LAST or subs[k].feed == ALL_LAST
            k = subs[k].next
        pos = control[POSITION]
        if out.size - pos < room:
            control[STATUS] = FULL
            return i
        messages, updates, trades = 0, 0, 0
        k = head
        if kind[i] == TRADE:
            volume = s.volume + np.int64(size[i] * VOLUME_UNIT + 0.5)
            last, z = s.last if np.isnan(price[i]) else price[i], size[i]
            if whole:
                volume, z = volume - volume % VOLUME_UNIT, np.floor(z)
            while k >= 0 and pos >= 0:
                r = subs[k]
                if r.feed == L1 and not conflated:
                    priced = not np.isnan(price[i])
                    if priced and day and ts[i] // SECOND != s.last_time:
                        pos = time_message(out, pos, r.req, ts[i] // SECOND)
                        messages += 1
                    if priced:
                        pos = price_message(out, pos, r.req, 4, price[i], z, 0, odd)
                        messages += 1
                        if duplicates:
                            pos = size_message(out, pos, r.req, 5, z, odd)
                            messages += 1
                    pos = volume_message(out, pos, r.req, volume)
                    messages += 1
                    if priced and day:
                        for tick, old in ((14, s.open), (6, s.high), (7, s.low)):
                            if np.isnan(old) or (tick == 6 and price[i] > old) or (tick == 7 and price[i] < old):
                                pos = price_message(out, pos, r.req, tick, price[i], 0.0, 0, odd)
                                messages += 1
                    if not printed:
                        trades += 1
                elif (r.feed == LAST or r.feed == ALL_LAST) and not np.isnan(last):
                    pos = tick_by_tick_message(out, pos, r.req, r.feed, ts[i], last, z, 0.0, 0.0, odd)
                    messages += 1
                    trades += 1
                k = r.next
        else:
            m = mask[i]
            b = bid[i] if m & GIVEN_BID else s.bid
            bs = bid_size[i] if m & GIVEN_BID_SIZE else s.bid_size
            a = ask[i] if m & GIVEN_ASK else s.ask
            az = ask_size[i] if m & GIVEN_ASK_SIZE else s.ask_size
            if whole:
                bs, az = np.floor(bs), np.floor(az)
            moved = (b != s.bid and not (np.isnan(b) and np.isnan(s.bid))) or (a != s.ask and not (np.isnan(a) and np.isnan(s.ask)))
            while k >= 0 and pos >= 0 and m != 0:
                r = subs[k]
                if r.feed == L1:
                    if not conflated:
                        for side in range(2):
                            p, z, given = (b, bs, m & 3) if side == 0 else (a, az, (m >> 2) & 3)
                            if given & 1:
                                pos = price_message(out, pos, r.req, 1 + side, p, z, 1, odd)
                                messages += 1
                                if duplicates and (np.isnan(p) or not np.isnan(z)):
                                    pos = size_message(out, pos, r.req, 3 * side, 0.0 if np.isnan(p) else z, odd)
                                    messages += 1
                            elif given & 2:
                                pos = size_message(out, pos, r.req, 3 * side, z, odd)
                                messages += 1
                        updates += 1
                elif r.feed == BID_ASK:
                    if moved or not r.ignore_size:
                        pos = tick_by_tick_message(out, pos, r.req, BID_ASK, ts[i], b, bs, a, az, odd)
                        messages += 1
                        updates += 1
                elif r.feed == MIDPOINT and moved and not np.isnan(b + a):
                    pos = tick_by_tick_message(out, pos, r.req, MIDPOINT, ts[i], b, bs, a, az, odd)
                    messages += 1
                k = r.next
        if pos < 0:
            control[STATUS] = UNKNOWN_NUMBER
            return i
        if clock == EVERY_ROW or (clock == ALL_BUT_LAST and i < hi - 1):
            pos = clock_message(out, pos, ts[i], control[CLOCK])
            control[CLOCK] += 1
        control[POSITION] = pos
        control[MESSAGES] += messages
        control[UPDATES] += updates
        control[TRADES] += trades
        row_apply(s, ts[i], kind[i], mask[i], bid[i], bid_size[i], ask[i], ask_size[i], price[i], size[i])
    return hi
