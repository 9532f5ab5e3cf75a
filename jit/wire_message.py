"""Market-data messages of the IBKR wire as records, and the strict decoder of one frame: field by field, with every check.

Field tables and malformed frames are those of IBKR's TWS API at server version 163 to 178, as ib_async 2.1 reads it (its `Decoder`).
The walk over frames and the quick way for usual ones are in wire.py."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.wire_fields import (
    EXACT, NOT_A_NUMBER, PLAIN, POWER, TICK_BY_TICK, TICK_GENERIC, TICK_PRICE, TICK_SIZE, TICK_STRING, UNUSUAL, number,
)  # fmt: skip

MAX_FIELDS = 16  # field ends that are remembered; the longest message of ours has 9

# Outcomes of a frame.
DECODED, FORWARDED, LATE, BAD, PRIVATE = 0, 1, 2, 3, 4

# Reasons of a bad frame; the texts are in this order.
NO_NUL, FIELD_COUNT, TBT_TYPE, NEGATIVE_SIZE, TIME_RANGE, LOST_FRAMING, CUT_OFF, NOT_A_TIME = 1, 2, 5, 6, 7, 8, 9, 10
REASONS = (
    "", "no final NUL", "wrong field count", "not a number", "unusual number", "unknown type of tick by tick", "negative size", "time outside 2000 to 2100",
    "framing lost", "cut off", "not a date or time",
)  # fmt: skip

# What a message says of its symbol.
NOTHING, QUOTE_PRICE, QUOTE_SIZE, LAST_PRICE, VOLUME, RT_VOLUME, BID_ASK, LAST_TRADE = 0, 1, 2, 3, 4, 5, 6, 7

MESSAGE = record([
    ("price", "f8"), ("quantity", "f8"), ("ask", "f8"), ("ask_size", "f8"),  # of BID_ASK price and quantity are the bid's; NaN = missing
    ("mantissa", "i8"),  # size or cumulative volume = mantissa / 10**scale
    ("time", "i8"),  # exchange time: s, of RT_VOLUME ms; 0 = not given
    ("at", "i8"), ("req_id", "i8"),  # offset of the frame
    ("symbol", "i4"), ("attributes", "i4"), ("tick_type", "i4"),  # of tick-by-tick its type 1 to 4
    ("id", "u1"), ("role", "u1"), ("side", "u1"), ("scale", "u1"),  # side 0 bid, 1 ask
    ("empty", "u1"), ("feed", "u1"), ("outcome", "u1"), ("reason", "u1"),  # empty: a price came with an empty size
])  # fmt: skip

PRICE_ROLE, SIZE_ROLE, ROLE_SIDE = np.zeros(128, np.uint8), np.zeros(128, np.uint8), np.zeros(128, np.uint8)
PRICE_ROLE[[1, 2, 4]] = QUOTE_PRICE, QUOTE_PRICE, LAST_PRICE
SIZE_ROLE[[0, 3, 8]] = QUOTE_SIZE, QUOTE_SIZE, VOLUME
ROLE_SIDE[[2, 3]] = 1

FIRST_SECOND, LAST_SECOND = 946_684_800, 4_102_444_800  # 2000 and 2100


@kernel("MESSAGE", inline=True)
def no_quote(m):
    """Price -1 or 0 with size 0 is IBKR's "no quote"; read as a price it would drag the mid below zero."""
    if m.quantity == 0.0 and (m.price == -1.0 or m.price == 0.0):
        m.price = m.quantity = np.nan


@kernel("MESSAGE", inline=True)
def no_ask(m):
    """The same for the ask of a BID_ASK message."""
    if m.ask_size == 0.0 and (m.ask == -1.0 or m.ask == 0.0):
        m.ask = m.ask_size = np.nan


@kernel("out u1[:], i8, i8, out i8[:]")
def field_ends(data, start, end, ends):
    """Offsets of the NULs of data[start:end] into `ends` as far as it goes; returns how many there are."""
    n = np.int64(0)
    for i in range(start, end):
        if data[i] == 0:
            if n < ends.size:
                ends[n] = i
            n += 1
    return n


@kernel("out u1[:], i8, i8, ?")
def _price(data, start, end, strict):
    """Value and reason. Where nothing depends on the value an unusual number is accepted as NaN."""
    mantissa, scale, shape = number(data, start, end)
    if shape != PLAIN or abs(mantissa) > EXACT:
        unusual = shape != NOT_A_NUMBER
        return np.nan, np.int64(0 if unusual and not strict else (UNUSUAL if unusual else NOT_A_NUMBER))
    return np.float64(mantissa) / POWER[scale], np.int64(0)


@kernel("out u1[:], i8, i8, ?, MESSAGE")
def _size(data, start, end, strict, m):
    """Value and reason of a size that may not be negative; mantissa and scale go to the message, which may exceed 2**53."""
    mantissa, scale, shape = number(data, start, end)
    m.mantissa = mantissa
    m.scale = scale
    if shape == NOT_A_NUMBER:
        return np.nan, np.int64(NOT_A_NUMBER)
    if data[start] == 45 and not (shape == PLAIN and mantissa == 0):
        return np.nan, np.int64(NEGATIVE_SIZE)
    if shape == UNUSUAL or (mantissa > EXACT and m.role != VOLUME and m.role != RT_VOLUME):
        return np.nan, np.int64(UNUSUAL if strict else 0)
    return np.float64(mantissa) / POWER[scale], np.int64(0)


@kernel("out u1[:], i8, i8")
def _whole(data, start, end):
    """Value and reason of a non-negative integer of at most 16 digits; unlike `integer_point` also in the first bytes of a buffer."""
    value, i = np.int64(0), start
    while i < end and i - start < 16 and 48 <= np.int64(data[i]) <= 57:
        value = value * 10 + (np.int64(data[i]) - 48)
        i += 1
    if i == end and end > start:
        return value, np.int64(0)
    _, _, shape = number(data, start, end)
    return np.int64(0), np.int64(UNUSUAL if shape == UNUSUAL else NOT_A_NUMBER)


@kernel("out u1[:], i8, i8, MESSAGE")
def _rt_volume(data, start, end, m):
    """`price;size;ms;totalVolume;vwap;single`; price, size, time and vwap may be empty. Returns the reason."""
    a, k = start, 0
    for i in range(start, end + 1):
        if i < end and data[i] != 59:
            continue
        reason, given = np.int64(0), i > a
        if k == 0 and given:
            m.price, reason = _price(data, a, i, True)
        elif k == 1 and given:
            m.quantity, reason = _size(data, a, i, False, m)
        elif k == 2 and given:
            m.time, reason = _whole(data, a, i)
            if reason == 0 and not FIRST_SECOND * 1000 <= m.time < LAST_SECOND * 1000:
                reason = np.int64(TIME_RANGE)
        elif k == 3:
            volume, reason = _size(data, a, i, True, m)
            m.ask_size = volume
        elif k == 4 and given:
            _, reason = _price(data, a, i, False)
        if reason != 0:
            return reason
        a = i + 1
        k += 1
    return np.int64(0 if k == 6 else FIELD_COUNT)


@kernel("out u1[:], i8, i8, out i8[:], MESSAGE")
def judge(data, start, end, ends, m):
    """Decode one frame of ours field by field, with every check: for unusual frames, and to say what is wrong with a bad one.

    Parameters
    ----------
    data : (n,) uint8
    start, end : int, the payload data[start:end]
    ends : (MAX_FIELDS,) int64, room for the field ends
    m : MESSAGE with its id set, filled

    Returns
    -------
    int, reason; 0 = decoded
    """
    n = field_ends(data, start, end, ends)
    m.price = m.quantity = m.ask = m.ask_size = np.nan
    m.mantissa = m.time = 0
    m.attributes = m.tick_type = 0
    m.role, m.side, m.scale, m.empty = NOTHING, 0, 0, 0
    if data[end - 1] != 0:
        return np.int64(NO_NUL)
    if n < 4:
        return np.int64(FIELD_COUNT)
    if m.id == TICK_BY_TICK:
        kind, reason = _whole(data, ends[1] + 1, ends[2])
        if reason != 0 or kind < 1 or kind > 4:
            return np.int64(TBT_TYPE)
        m.tick_type = kind
        if n != (5 if kind == 4 else 9):
            return np.int64(FIELD_COUNT)
        m.time, reason = _whole(data, ends[2] + 1, ends[3])
        if reason != 0:
            return reason
        if not FIRST_SECOND <= m.time < LAST_SECOND:
            return np.int64(TIME_RANGE)
        m.price, reason = _price(data, ends[3] + 1, ends[4], True)
        if reason != 0 or kind == 4:
            return reason
        a = 4
        if kind == 3:
            m.role = BID_ASK
            m.ask, reason = _price(data, ends[4] + 1, ends[5], True)
            if reason != 0:
                return reason
            m.ask_size, reason = _size(data, ends[6] + 1, ends[7], True, m)
            if reason != 0:
                return reason
            no_ask(m)
            a = 5
        else:
            m.role = LAST_TRADE
        m.quantity, reason = _size(data, ends[a] + 1, ends[a + 1], True, m)
        if reason != 0:
            return reason
        no_quote(m)
        a = 7 if kind == 3 else 5
        attributes, reason = _whole(data, ends[a] + 1, ends[a + 1])
        if attributes > 0xFFFF:
            reason = np.int64(UNUSUAL)
        m.attributes = attributes
        return reason
    if n != (7 if m.id == TICK_PRICE else 5):
        return np.int64(FIELD_COUNT)
    _, reason = _whole(data, ends[0] + 1, ends[1])
    if reason != 0:
        return reason
    kind, reason = _whole(data, ends[2] + 1, ends[3])
    if kind > 0xFFFF:
        reason = np.int64(UNUSUAL)
    if reason != 0:
        return reason
    m.tick_type = kind
    a, b = ends[3] + 1, ends[4]
    if m.id == TICK_STRING:
        if kind == 48 or kind == 77:
            m.role = RT_VOLUME
            return _rt_volume(data, a, b, m)
        return np.int64(0)
    if m.id == TICK_GENERIC:
        if a < b:
            m.price, reason = _price(data, a, b, False)
        return reason
    if kind < 128:
        m.role = PRICE_ROLE[kind] if m.id == TICK_PRICE else SIZE_ROLE[kind]
        m.side = ROLE_SIDE[kind]
    used = m.role != NOTHING
    if m.id == TICK_SIZE:
        m.quantity, reason = _size(data, a, b, used, m)
        return reason
    if a < b:
        m.price, reason = _price(data, a, b, used)
        if reason != 0:
            return reason
    else:
        m.role, used = NOTHING, False  # an absent price says nothing, and its size comes again by itself
    if ends[4] + 1 < ends[5]:
        m.quantity, reason = _size(data, ends[4] + 1, ends[5], used, m)
        if reason != 0:
            return reason
        no_quote(m)
    else:
        m.empty = 1
    attributes, reason = _whole(data, ends[5] + 1, ends[6])
    if attributes > 0xFFFF:
        reason = np.int64(UNUSUAL)
    m.attributes = attributes
    return reason
