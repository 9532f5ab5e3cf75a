"""History of the IBKR wire: one frame of many rows as records. Bars (17, 90), midpoints (96), quotes (97) and trades (98) of the past.

Field tables are those of IBKR's TWS API at server version 157 to 178, as ib_async 2.1 reads it (its `Decoder`). A frame is accepted
only as a whole: its count of rows matches its fields, every field is what it must be, and the last one ends with the frame."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.wire_fields import UNUSUAL
from tickarrow.jit.wire_judge import LONGEST_WHOLE, field_ends, price_point, whole
from tickarrow.jit.wire_message import FIELD_COUNT, FIRST_SECOND, LAST_SECOND, NEGATIVE_SIZE, NO_NUL, NOT_A_TIME, TIME_RANGE

BARS, BAR_UPDATE, MIDPOINTS, QUOTES, TRADES = 17, 90, 96, 97, 98

# How the time of a bar was written: seconds since 1970 UTC, a date, a date and time of the clock in `zone`.
EPOCH, DATE, LOCAL = 0, 1, 2

HISTORY = record([
    ("req_id", "i8"), ("rows", "i8"), ("done", "i8"),  # done: the answer to the request is complete
    ("start_at", "i4"), ("start_len", "i4"), ("end_at", "i4"), ("end_len", "i4"),  # of BARS: texts of the range, as offsets into the data
])  # fmt: skip
HISTORY_TICK = record([
    ("time", "i8"),  # s
    ("price", "f8"), ("quantity", "f8"), ("ask", "f8"), ("ask_size", "f8"),  # of QUOTES price and quantity are the bid's; NaN = missing
    ("attributes", "i4"),  # QUOTES: 1 ask past high, 2 bid past low (not as in tick by tick); TRADES: 1 past limit, 2 unreported
    ("exchange_at", "i4"), ("exchange_len", "i4"), ("conditions_at", "i4"), ("conditions_len", "i4"),  # texts as offsets into the data
])  # fmt: skip
HISTORY_BAR = record([
    ("time", "i8"),  # s, begin of the bar; of DATE and LOCAL as if the clock were UTC
    ("open", "f8"), ("high", "f8"), ("low", "f8"), ("close", "f8"), ("volume", "f8"), ("wap", "f8"),  # NaN = missing
    ("count", "i8"),  # trades; -1 = missing
    ("zone_at", "i4"), ("zone_len", "i4"),  # name of the time zone as offset into the data; length 0 = none
    ("form", "u1"),
])  # fmt: skip

QUESTION, MINUS, BLANK, COLON = 63, 45, 32, 58
FIRST_YEAR, LAST_YEAR = 1900, 2099  # daily bars go back further than ticks
DAYS = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365], np.int64)  # before a month, in a common year


@kernel("out u1[:], i8, i8")
def value_point(data, start, end):
    """Value and reason of a price: empty, `?` and IBKR's unset number are missing."""
    if end == start or (end == start + 1 and data[start] == QUESTION):
        return np.nan, np.int64(0)
    return price_point(data, start, end, True)


@kernel("out u1[:], i8, i8")
def amount_point(data, start, end):
    """Value and reason of a size that may not be negative; empty is missing."""
    value, reason = value_point(data, start, end)
    if reason == 0 and value < 0.0:
        return np.nan, np.int64(NEGATIVE_SIZE)
    return value, reason


@kernel("out u1[:], i8, i8")
def total_point(data, start, end):
    """As `amount_point`; -1 is what bars without trades say of their volume: missing."""
    value, reason = value_point(data, start, end)
    if reason == 0 and value < 0.0:
        return np.nan, np.int64(0 if value == -1.0 else NEGATIVE_SIZE)
    return value, reason


@kernel("out u1[:], i8, i8")
def count_point(data, start, end):
    """Value and reason of a number of trades; empty and -1 are missing (-1)."""
    if end == start or (end == start + 2 and data[start] == MINUS and data[start + 1] == 49):
        return np.int64(-1), np.int64(0)
    return whole(data, start, end, LONGEST_WHOLE)


@kernel("out u1[:], i8, i8")
def _two(data, i, most):
    """Two digits from index i if they are at most `most`, else -1."""
    a, b = np.int64(data[i]) - 48, np.int64(data[i + 1]) - 48
    if a < 0 or a > 9 or b < 0 or b > 9 or a * 10 + b > most:
        return np.int64(-1)
    return a * 10 + b


@kernel("out u1[:], i8, i8, HISTORY_BAR")
def bar_time(data, start, end, bar):
    """Time of a bar: epoch seconds, `yyyymmdd`, or `yyyymmdd hh:mm:ss` with one or two blanks and perhaps the name of a time zone behind.

    Returns
    -------
    int, reason; 0 = `time`, `form` and the zone of the bar are filled
    """
    n = end - start
    bar.zone_at = bar.zone_len = 0
    bar.form = EPOCH
    bar.time = 0
    i = start
    while i < end and 48 <= np.int64(data[i]) <= 57:
        i += 1
    if i == end and n != 8:
        bar.time, reason = whole(data, start, end, LONGEST_WHOLE)
        if reason != 0:
            return np.int64(NOT_A_TIME)
        return np.int64(0 if FIRST_SECOND <= bar.time < LAST_SECOND else TIME_RANGE)
    if i != start + 8:
        return np.int64(NOT_A_TIME)
    year = _two(data, start, 99) * 100 + _two(data, start + 2, 99)
    month, day = _two(data, start + 4, 12), _two(data, start + 6, 31)
    if month < 1 or day < 1:
        return np.int64(NOT_A_TIME)
    leap = np.int64(year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    if day > DAYS[month] - DAYS[month - 1] + (leap if month == 2 else 0):
        return np.int64(NOT_A_TIME)
    if year < FIRST_YEAR or year > LAST_YEAR:
        return np.int64(TIME_RANGE)
    before = year - 1
    days = 365 * before + before // 4 - before // 100 + before // 400 - 719_162 + DAYS[month - 1] + day - 1  # since 1970-01-01
    days += leap if month > 2 else 0
    bar.time = days * 86_400
    bar.form = DATE
    if n == 8:
        return np.int64(0)
    bar.form = LOCAL
    i = start + 9
    if data[start + 8] == BLANK and i < end and data[i] == BLANK:
        i += 1
    if data[start + 8] != BLANK or end - i < 8 or data[i + 2] != COLON or data[i + 5] != COLON:
        return np.int64(NOT_A_TIME)
    hours, minutes, seconds = _two(data, i, 23), _two(data, i + 3, 59), _two(data, i + 6, 59)
    if hours < 0 or minutes < 0 or seconds < 0:
        return np.int64(NOT_A_TIME)
    bar.time += hours * 3600 + minutes * 60 + seconds
    i += 8
    if i < end:
        if data[i] != BLANK or i + 1 == end:
            return np.int64(NOT_A_TIME)
        bar.zone_at, bar.zone_len = i + 1, end - i - 1
    return np.int64(0)


@kernel("out u1[:], out i8[:], i8, i8, HISTORY_TICK")
def _tick(data, ends, k, id_, row):
    """One row of MIDPOINTS, QUOTES or TRADES whose fields are k, k + 1, ...; returns the reason."""
    row.price = row.quantity = row.ask = row.ask_size = np.nan
    row.attributes = 0
    row.exchange_at = row.exchange_len = row.conditions_at = row.conditions_len = 0
    row.time, reason = whole(data, ends[k - 1] + 1, ends[k], LONGEST_WHOLE)
    if reason != 0:
        return reason
    if not FIRST_SECOND <= row.time < LAST_SECOND:
        return np.int64(TIME_RANGE)
    if id_ != MIDPOINTS:  # where the others have their mask it has a field that says nothing
        attributes, reason = whole(data, ends[k] + 1, ends[k + 1], LONGEST_WHOLE)
        if reason != 0:
            return reason
        if attributes > 0xFFFF:
            return np.int64(UNUSUAL)
        row.attributes = attributes
    row.price, reason = value_point(data, ends[k + 1] + 1, ends[k + 2])
    if reason != 0:
        return reason
    a = k + 3
    if id_ == QUOTES:
        row.ask, reason = value_point(data, ends[k + 2] + 1, ends[k + 3])
        if reason != 0:
            return reason
        row.ask_size, reason = amount_point(data, ends[k + 4] + 1, ends[k + 5])
        if reason != 0:
            return reason
        a = k + 4
    row.quantity, reason = amount_point(data, ends[a - 1] + 1, ends[a])
    if reason != 0:
        return reason
    if id_ == QUOTES:  # -1 or 0 with size 0 is a side without a quote
        if row.quantity == 0.0 and (row.price == -1.0 or row.price == 0.0):
            row.price = row.quantity = np.nan
        if row.ask_size == 0.0 and (row.ask == -1.0 or row.ask == 0.0):
            row.ask = row.ask_size = np.nan
    elif id_ == TRADES:
        row.exchange_at, row.exchange_len = ends[k + 3] + 1, ends[k + 4] - ends[k + 3] - 1
        row.conditions_at, row.conditions_len = ends[k + 4] + 1, ends[k + 5] - ends[k + 4] - 1
    return np.int64(0)


@kernel("out u1[:], out i8[:], i8, i8, HISTORY_BAR")
def _bar(data, ends, k, id_, row):
    """One bar whose fields are k, k + 1, ...; returns the reason. BAR_UPDATE begins with the count and has another order."""
    a = k + (1 if id_ == BAR_UPDATE else 0)
    reason = bar_time(data, ends[a - 1] + 1, ends[a], row)
    if reason != 0:
        return reason
    high, low, close, volume, wap, count = (a + 3, a + 4, a + 2, a + 6, a + 5, k) if id_ == BAR_UPDATE else (a + 2, a + 3, a + 4, a + 5, a + 6, a + 7)
    row.open, reason = value_point(data, ends[a] + 1, ends[a + 1])
    if reason != 0:
        return reason
    row.high, reason = value_point(data, ends[high - 1] + 1, ends[high])
    if reason != 0:
        return reason
    row.low, reason = value_point(data, ends[low - 1] + 1, ends[low])
    if reason != 0:
        return reason
    row.close, reason = value_point(data, ends[close - 1] + 1, ends[close])
    if reason != 0:
        return reason
    row.volume, reason = total_point(data, ends[volume - 1] + 1, ends[volume])
    if reason != 0:
        return reason
    row.wap, reason = value_point(data, ends[wap - 1] + 1, ends[wap])
    if reason != 0:
        return reason
    row.count, reason = count_point(data, ends[count - 1] + 1, ends[count])
    if row.count < 0 and row.wap == -1.0:  # bars that are not of trades
        row.wap = np.nan
    return reason


@kernel("out u1[:], i8, i8, out i8[:], HISTORY_TICK[:], HISTORY_BAR[:], HISTORY[:]")
def history(data, start, end, ends, ticks, bars, head):
    """Decode one frame of history.

    Parameters
    ----------
    data : (n,) uint8
    start, end : int, the payload data[start:end]; its id is one of BARS, BAR_UPDATE, MIDPOINTS, QUOTES, TRADES
    ends : (NULs of the payload,) int64, room for the field ends
    ticks : (a fourth of the NULs,) HISTORY_TICK, filled by MIDPOINTS, QUOTES and TRADES
    bars : (an eighth of the NULs,) HISTORY_BAR, filled by BARS and BAR_UPDATE
    head : (1,) HISTORY, filled

    Returns
    -------
    int, reason of `wire_message.REASONS`; 0 = decoded. A frame that is refused leaves nothing of use.
    """
    h = head[0]
    h.req_id = -1
    h.rows = h.done = 0
    h.start_at = h.start_len = h.end_at = h.end_len = 0
    if end == start or data[end - 1] != 0:
        return np.int64(NO_NUL)
    n = field_ends(data, start, end, ends)
    if n < 4:
        return np.int64(FIELD_COUNT)
    id_, reason = whole(data, start, ends[0], LONGEST_WHOLE)
    if reason != 0:
        return reason
    h.req_id, reason = whole(data, ends[0] + 1, ends[1], LONGEST_WHOLE)
    if reason != 0:
        return reason
    if id_ == BAR_UPDATE:
        h.rows = h.done = 1
        return _bar(data, ends, 2, id_, bars[0]) if n == 10 else np.int64(FIELD_COUNT)
    first, width, behind = (5, 8, 0) if id_ == BARS else (3, 4 if id_ == MIDPOINTS else 6, 1)
    if n < first + behind:
        return np.int64(FIELD_COUNT)
    rows, reason = whole(data, ends[first - 2] + 1, ends[first - 1], LONGEST_WHOLE)
    if reason != 0:
        return reason
    if rows > n or first + rows * width + behind != n:
        return np.int64(FIELD_COUNT)
    h.rows = rows
    if id_ == BARS:
        h.done = 1
        h.start_at, h.start_len = ends[1] + 1, ends[2] - ends[1] - 1
        h.end_at, h.end_len = ends[2] + 1, ends[3] - ends[2] - 1
        for j in range(rows):
            reason = _bar(data, ends, first + j * width, id_, bars[j])
            if reason != 0:
                return reason
        return np.int64(0)
    for j in range(rows):
        reason = _tick(data, ends, first + j * width, id_, ticks[j])
        if reason != 0:
            return reason
    h.done, reason = whole(data, ends[n - 2] + 1, ends[n - 1], LONGEST_WHOLE)
    return reason
