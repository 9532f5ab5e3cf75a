"""The strict decoder of one frame of ours: field by field, with every check, for every message.

A frame is malformed where IBKR's field table says otherwise: wrong number of fields, no number where one must be, a time outside 2000
to 2100, a negative size, a code that does not exist, a price that is not finite. What nothing depends on may be unusual. No sentinel
passes: -1 or 0 with size 0 is no quote, -1 and -2 of option computations, IBKR's unset values and absent fields are missing (NaN)."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.wire_decimal import NOT_FINITE, UNSET, decimal
from tickarrow.jit.wire_fields import (
    DEPTH_CHANGE, DEPTH_CHANGE_L2, MARKET_DATA_TYPE, NOT_A_NUMBER, OPTION, PLAIN, REAL_TIME_BAR, TICK_BY_TICK, TICK_GENERIC, TICK_PRICE,
    TICK_SIZE, TICK_STRING, UNSET_INTEGER, UNUSUAL, scan,
)  # fmt: skip
from tickarrow.jit.wire_message import (
    AUCTION_IMBALANCE, BAR, BID_ASK, DATA_TYPE, DELAYED_TYPE, DEPTH, EXCHANGE, FIELD_COUNT, FIRST_SECOND, GREEK, HALT, LAST_SECOND, LAST_TIME,
    LAST_TRADE, LIVE_TYPE, MESSAGE, MIDPOINT, NEGATIVE_SIZE, NO_NUL, NOTHING, OUT_OF_RANGE, PRICE_ROLE, REGULATORY_IMBALANCE,
    ROLE_SIDE, RT_VOLUME, SIZE_ROLE, TBT_TYPE, TIME_RANGE, TYPES, VOLUME, WHOLE_SIZES, no_ask, no_quote,
)  # fmt: skip

OK = 0
LONGEST_WHOLE = 10**16 - 1  # the largest value that is read as a whole number


@kernel("out u1[:], i8, i8, out i8[:]")
def field_ends(data, start, end, ends):
    """Offsets of the first NULs of data[start:end] into ends[:MAX_FIELDS]; returns how many NULs there are."""
    n = np.int64(0)
    for i in range(start, end):
        if data[i] == 0:
            if n < ends.size:
                ends[n] = i
            n += 1
    return n


@kernel("out u1[:], i8, i8, ?")
def price_point(data, start, end, strict):
    """Value and reason of a number that may be negative. Not strict: it may also be absent, unusual or not finite, which is missing."""
    if start == end and not strict:
        return np.nan, np.int64(OK)
    value, _, _, shape = decimal(data, start, end)
    if shape == PLAIN:
        return value, np.int64(OK)
    if shape == UNSET or (not strict and shape != NOT_A_NUMBER):
        return np.nan, np.int64(OK)
    return np.nan, shape


@kernel("out u1[:], i8, i8, ?, i8, MESSAGE")
def _size(data, start, end, strict, version, m):
    """Value and reason of a size, which is not negative; its mantissa and scale go to the message. Strictness as for a price."""
    m.mantissa, m.scale = 0, 0
    if start == end and not strict:
        return np.nan, np.int64(OK)
    value, mantissa, scale, shape = decimal(data, start, end)
    if shape != PLAIN:
        if shape == UNSET or (not strict and shape != NOT_A_NUMBER):
            return np.nan, np.int64(OK)
        return np.nan, shape
    if value == np.float64(UNSET_INTEGER) or abs(value) == 9223372036854775808.0:
        return np.nan, np.int64(OK)  # how IBKR's own clients read an absent size
    if value < 0.0 and not (m.tick_type == AUCTION_IMBALANCE or m.tick_type == REGULATORY_IMBALANCE):
        return np.nan, np.int64(NEGATIVE_SIZE)
    if version == WHOLE_SIZES and scale > 0 and strict:
        return np.nan, np.int64(UNUSUAL)
    if scale < 0:  # at least 10**18
        return value, np.int64(UNUSUAL if strict else OK)
    m.mantissa, m.scale = mantissa, scale
    return value, np.int64(OK)


@kernel("out u1[:], i8, i8, i8")
def whole(data, start, end, most):
    """Value and reason of a non-negative integer of at most 16 digits; unlike `integer_point` also in the first bytes of a buffer."""
    value, i = np.int64(0), start
    while i < end and i - start < 16 and 48 <= np.int64(data[i]) <= 57:
        value = value * 10 + (np.int64(data[i]) - 48)
        i += 1
    if i == end and end > start:
        return (value, np.int64(OK)) if value <= most else (np.int64(0), np.int64(OUT_OF_RANGE))
    _, _, _, _, _, shape = scan(data, start, end)
    return np.int64(0), np.int64(UNUSUAL if shape == PLAIN else NOT_A_NUMBER)


@kernel("out u1[:], i8, i8, i8")
def _time(data, start, end, unit):
    """Value and reason of an exchange time in 1/unit seconds."""
    value, reason = whole(data, start, end, LONGEST_WHOLE)
    if reason == OK and not FIRST_SECOND * unit <= value < LAST_SECOND * unit:
        reason = np.int64(TIME_RANGE)
    return value, reason


@kernel("out u1[:], i8, i8")
def _text(data, start, end):
    """The first eight bytes of a text as they stand."""
    word = np.uint64(0)
    for i in range(min(end - start, np.int64(8))):
        word |= np.uint64(data[start + i]) << np.uint64(8 * i)
    return word


@kernel("out u1[:], i8, i8, i8, MESSAGE")
def _rt_volume(data, start, end, version, m):
    """`price;size;ms;totalVolume;vwap;single`; price, size, time and vwap may be empty. Returns the reason."""
    m.role = RT_VOLUME
    a, k = start, 0
    for i in range(start, end + 1):
        if i < end and data[i] != 59:
            continue
        reason, given = np.int64(OK), i > a
        if k == 0 and given:
            m.price, reason = price_point(data, a, i, True)
        elif k == 1:
            m.quantity, reason = _size(data, a, i, False, version, m)
        elif k == 2 and given:
            m.time, reason = _time(data, a, i, np.int64(1000))
        elif k == 3:
            volume, reason = _size(data, a, i, True, version, m)
            if np.isnan(volume):
                m.role = NOTHING  # an unset volume is no volume
        elif k == 4:
            m.more[0], reason = price_point(data, a, i, False)
        if reason != OK:
            return reason
        a = i + 1
        k += 1
    return np.int64(OK if k == 6 else FIELD_COUNT)


@kernel("out u1[:], i8, MESSAGE, out i8[:]")
def _tick_by_tick(data, version, m, ends):
    """99: reqId, type, time, then by type; its number of fields is 9, or 5 for a midpoint."""
    m.time, reason = _time(data, ends[2] + 1, ends[3], np.int64(1))
    if reason != OK:
        return reason
    m.price, reason = price_point(data, ends[3] + 1, ends[4], True)
    if reason != OK:
        return reason
    if m.tick_type == 4:
        m.role = MIDPOINT
        return reason
    a = 4
    if m.tick_type == 3:
        m.role = BID_ASK
        m.ask, reason = price_point(data, ends[4] + 1, ends[5], True)
        if reason != OK:
            return reason
        m.ask_size, reason = _size(data, ends[6] + 1, ends[7], True, version, m)
        if reason != OK:
            return reason
        no_ask(m)
        a = 5
    else:
        m.role = LAST_TRADE
    m.quantity, reason = _size(data, ends[a] + 1, ends[a + 1], True, version, m)
    if reason != OK:
        return reason
    no_quote(m)
    a = 7 if m.tick_type == 3 else 5
    m.attributes, reason = whole(data, ends[a] + 1, ends[a + 1], np.int64(0xFFFF))
    if m.tick_type != 3:
        m.code, m.code2 = _text(data, ends[6] + 1, ends[7]), _text(data, ends[7] + 1, ends[8])
    return reason


@kernel("out u1[:], MESSAGE, out i8[:]")
def _option(data, m, ends):
    """21: reqId, type, tickAttrib, iv, delta, option price, dividends, gamma, vega, theta, price of the underlying."""
    m.attributes, reason = whole(data, ends[2] + 1, ends[3], np.int64(0xFFFF))
    for k in range(8):
        value, odd = price_point(data, ends[3 + k] + 1, ends[4 + k], False)
        if reason == OK:
            reason = odd
        if value == (-1.0 if k == 0 or k == 2 or k == 3 or k == 7 else -2.0):
            value = np.nan  # not computed
        if k == 0:
            m.price = value
        elif k == 1:
            m.quantity = value
        elif k == 2:
            m.more[1] = value
        elif k == 3:
            m.more[3] = value
        elif k == 4:
            m.ask = value
        elif k == 5:
            m.ask_size = value
        elif k == 6:
            m.more[0] = value
        else:
            m.more[2] = value
    if 10 <= m.tick_type <= 13:
        m.role = GREEK
    return reason


@kernel("out u1[:], i8, MESSAGE, out i8[:]")
def _depth(data, version, m, ends):
    """12: version, reqId, position, operation, side, price, size; 13: a market maker behind the position, and at the end smart depth or not."""
    m.role = DEPTH
    m.time, reason = whole(data, ends[2] + 1, ends[3], np.int64(0x7FFF))
    if reason != OK:
        return reason
    a = 3
    if m.id == DEPTH_CHANGE_L2:
        m.code = _text(data, ends[3] + 1, ends[4])
        a = 4
    operation, reason = whole(data, ends[a] + 1, ends[a + 1], np.int64(2))
    if reason != OK:
        return reason
    side, reason = whole(data, ends[a + 1] + 1, ends[a + 2], np.int64(1))
    if reason != OK:
        return reason
    m.side = 1 - side
    m.price, reason = price_point(data, ends[a + 2] + 1, ends[a + 3], True)
    if reason != OK:
        return reason
    m.quantity, reason = _size(data, ends[a + 3] + 1, ends[a + 4], True, version, m)
    if reason != OK:
        return reason
    no_quote(m)
    if m.id == DEPTH_CHANGE_L2:
        smart, reason = whole(data, ends[a + 4] + 1, ends[a + 5], np.int64(1))
        operation |= smart << 8
    m.attributes = operation
    return reason


@kernel("out u1[:], i8, MESSAGE, out i8[:]")
def _bar(data, version, m, ends):
    """50: version, reqId, time, open, high, low, close, volume, WAP, count; the last three are -1 in bars of anything but trades."""
    m.role = BAR
    m.time, reason = _time(data, ends[2] + 1, ends[3], np.int64(1))
    if reason != OK:
        return reason
    m.price, reason = price_point(data, ends[3] + 1, ends[4], True)
    if reason != OK:
        return reason
    m.quantity, reason = price_point(data, ends[4] + 1, ends[5], True)
    if reason != OK:
        return reason
    m.ask, reason = price_point(data, ends[5] + 1, ends[6], True)
    if reason != OK:
        return reason
    m.ask_size, reason = price_point(data, ends[6] + 1, ends[7], True)
    if reason != OK:
        return reason
    volume, reason = price_point(data, ends[7] + 1, ends[8], True)
    if reason != OK:
        return reason
    without = volume == -1.0
    if not without:
        m.more[0], reason = _size(data, ends[7] + 1, ends[8], True, version, m)
        if reason != OK:
            return reason
    average, reason = price_point(data, ends[8] + 1, ends[9], False)
    if reason != OK:
        return reason
    if not (without and average == -1.0):
        m.more[1] = average
    if without and ends[10] - ends[9] == 3 and data[ends[9] + 1] == 45 and data[ends[9] + 2] == 49:
        return reason
    count, reason = whole(data, ends[9] + 1, ends[10], np.int64(UNSET_INTEGER))
    if count != UNSET_INTEGER:
        m.more[2] = np.float64(count)
    return reason


@kernel("out u1[:], MESSAGE, out i8[:]")
def _string(data, m, ends):
    """46, other than RTVolume: times and exchange letters by tick type; other texts say nothing here."""
    a, b = ends[3] + 1, ends[4]
    reason = np.int64(OK)
    if m.tick_type == 45:
        if a < b and not (b - a == 1 and data[a] == 48):  # "0": not known
            m.time, reason = _time(data, a, b, np.int64(1))
            m.role = LAST_TIME
    elif m.tick_type == 32 or m.tick_type == 33 or m.tick_type == 84:
        m.role, m.side, m.code = EXCHANGE, (1 if m.tick_type == 33 else 0), _text(data, a, b)
    return reason


@kernel("out u1[:], i8, i8, i8, MESSAGE, out i8[:]")
def judge(data, start, end, version, m, ends):
    """Decode one frame of ours field by field, with every check: for unusual frames, and to say what is wrong with a bad one.

    Parameters
    ----------
    data : (n,) uint8
    start, end : int, the payload data[start:end]
    version : int, row of VERSIONS
    m : MESSAGE with its id set, filled
    ends : (MAX_FIELDS,) int64, room of its own

    Returns
    -------
    int, reason; 0 = decoded
    """
    n = field_ends(data, start, end, ends)
    m.price = m.quantity = m.ask = m.ask_size = np.nan
    m.more[0] = m.more[1] = m.more[2] = m.more[3] = np.nan
    m.mantissa = m.time = 0
    m.code = m.code2 = 0
    m.attributes = m.tick_type = 0
    m.role, m.side, m.scale, m.empty, m.delayed = NOTHING, 0, 0, 0, 0
    if data[end - 1] != 0:
        return np.int64(NO_NUL)
    id_ = np.int64(m.id)
    if n < 4:
        return np.int64(FIELD_COUNT)
    if id_ == TICK_BY_TICK:
        kind, reason = whole(data, ends[1] + 1, ends[2], np.int64(4))
        if reason != OK or kind < 1:
            return np.int64(TBT_TYPE)
        if n != (5 if kind == 4 else 9):
            return np.int64(FIELD_COUNT)
        m.tick_type = kind
        return _tick_by_tick(data, version, m, ends)
    if n != (
        7 if id_ == TICK_PRICE else 8 if id_ == DEPTH_CHANGE else 10 if id_ == DEPTH_CHANGE_L2 else 12 if id_ == OPTION else 11 if id_ == REAL_TIME_BAR
        else 4 if id_ == MARKET_DATA_TYPE else 5
    ):  # fmt: skip
        return np.int64(FIELD_COUNT)
    first = 1 if id_ == OPTION else 2  # 21 has no version of its own
    if first == 2:
        _, reason = whole(data, ends[0] + 1, ends[1], np.int64(0xFFFF))
        if reason != OK:
            return reason
    if id_ == DEPTH_CHANGE or id_ == DEPTH_CHANGE_L2:
        return _depth(data, version, m, ends)
    if id_ == REAL_TIME_BAR:
        return _bar(data, version, m, ends)
    kind, reason = whole(data, ends[first] + 1, ends[first + 1], np.int64(0xFFFF))
    if reason != OK:
        return reason
    if id_ == MARKET_DATA_TYPE:
        m.role, m.tick_type = DATA_TYPE, kind
        return np.int64(OK if 1 <= kind <= 4 else OUT_OF_RANGE)
    known = kind < TYPES
    m.tick_type = LIVE_TYPE[kind] if known else kind
    m.delayed = DELAYED_TYPE[kind] if known else 0
    if id_ == OPTION:
        return _option(data, m, ends)
    a, b = ends[3] + 1, ends[4]
    if id_ == TICK_STRING:
        return _rt_volume(data, a, b, version, m) if kind == 48 or kind == 77 else _string(data, m, ends)
    if id_ == TICK_GENERIC:
        m.price, reason = price_point(data, a, b, False)
        if m.tick_type == 49 and not np.isnan(m.price):
            m.role = HALT
        return reason
    if known:
        m.role = PRICE_ROLE[kind] if id_ == TICK_PRICE else SIZE_ROLE[kind]
        m.side = ROLE_SIDE[kind]
    used = m.role != NOTHING
    if id_ == TICK_SIZE:
        m.quantity, reason = _size(data, a, b, used, version, m)
        if m.role == VOLUME and np.isnan(m.quantity):
            m.role = NOTHING
        return reason
    if a < b:
        m.price, reason = price_point(data, a, b, used)
        if reason != OK:
            return reason
    else:
        m.role, used = NOTHING, False  # an absent price says nothing, and its size comes again by itself
    if ends[4] + 1 < ends[5]:
        m.quantity, reason = _size(data, ends[4] + 1, ends[5], used, version, m)
        if reason != OK:
            return reason
        no_quote(m)
    else:
        m.empty = 1
    m.attributes, reason = whole(data, ends[5] + 1, ends[6], np.int64(0xFFFF))
    return reason
