"""Framing: whether a frame is what its length says, and where frames begin again when one is not.

A frame is *sound* if its length is possible for its message id, its last byte is NUL, and where the field table of the id is fixed it
has as many fields; others must be texts of a known message, without control characters. What is not sound is refused, and the bytes
from the second one on are searched, the inside of the refused frame first, for a place where two frames in a row are sound. One is
enough where the refused frame's own length leads, and for a private frame of our simulator, whose fields are all checked.

All of this is a function of the bytes from the refused frame on. A place that cannot be judged before more bytes come ends the search
until they have come, so that the result does not depend on how a stream is cut into reads, nor on who walks it, `split` or `decode`.

A false place needs, twice in a row and without a gap, two or three zero bytes, a length that ends exactly on a NUL, a known id in its
canonical form between prefix and NUL, as many NULs as the id has fields, and digits where its version or reqId stands. In texts, whose
zero bytes are field ends, a prefix is at least one empty field and two characters, so 8,000 bytes or more, or two empty fields and one
character; that the frame it promises ends on the right NUL and the next four bytes promise another is left to chance, about 1 to 10**6
for each such place. A frame that was sound by chance would still have to be decoded: every field of ours is checked."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.wire_fields import (
    ALL, CLOCK, DEPTH_CHANGE, DEPTH_CHANGE_L2, END, MARKET_DATA_TYPE, OPTION, REAL_TIME_BAR, TICK_BY_TICK, TICK_GENERIC, TICK_PRICE, TICK_SIZE,
    TICK_STRING, U, load8, ones, zeros64,
)  # fmt: skip
from tickarrow.jit.wire_message import VERSIONS

SHORTEST, LONG, LONGEST = 2, 64 << 10, 16 << 20  # bytes of a payload: at least, of most messages at most, of any
SHORT = 512  # of a message of a fixed form, except those that hold a text of any length
IDS = 128  # message ids of the text protocol are smaller

# Messages that ib_async 2.1 knows (its `Decoder`), those that may be long, and how many fields those of a fixed form have.
KNOWN = [*range(1, 22), 45, 46, 47, *range(49, 60), *range(61, 108)]
LONG_IDS = [5, 10, 11, 16, 17, 18, 19, 20, 51, 67, 75, 78, 79, 80, 82, 83, 84, 85, 86, 89, 96, 97, 98, 101, 104, 105, 106]
FIXED = {
    TICK_PRICE: (7,), TICK_SIZE: (5,), DEPTH_CHANGE: (8,), DEPTH_CHANGE_L2: (10,), OPTION: (12,), TICK_GENERIC: (5,), TICK_STRING: (5,),
    REAL_TIME_BAR: (11,), MARKET_DATA_TYPE: (4,), TICK_BY_TICK: (5, 9),
    9: (3,), 15: (3,), 49: (3,), 52: (3,), 53: (2,), 54: (3,), 55: (3,), 57: (3,), 62: (2,), 81: (5,),
}  # fmt: skip
ERROR, ERROR_WITH_JSON = 4, 166  # the message, and the server version from which on it has one field more

LIMIT = np.zeros(IDS, np.int64)  # longest payload; 0 = unknown id
LIMIT[KNOWN] = LONG
LIMIT[LONG_IDS] = LONGEST
FIELDS = np.zeros((len(VERSIONS), IDS), np.uint64)  # bit n is set where n fields are right; 0 = any number
MOST_FIELDS = np.zeros((len(VERSIONS), IDS), np.int64)
for _row, _version in enumerate(VERSIONS):
    for _id, _counts in (FIXED | {ERROR: (5, 6) if _version >= ERROR_WITH_JSON else (5,)}).items():
        FIELDS[_row, _id] = sum(1 << n for n in _counts)
        MOST_FIELDS[_row, _id] = max(_counts)

MOST_BYTES = np.full(IDS, LONGEST, np.int64)  # of a sound frame
MOST_BYTES[[i for i in FIXED if i not in (TICK_STRING, 15)]] = SHORT

# Verdicts on the frame at a position.
WAIT = 0  # not complete, or not yet to be judged
SOUND = 1
REFUSED = 2  # not sound, but a sound one follows where its length leads
SKIP = 3  # not sound; frames begin again elsewhere
ADRIFT = 4  # not sound; where frames begin again is not known before more bytes come

UNREADABLE, UNSEEN = -1, -2  # no id, and an id that has not come whole


@kernel("out u1[:], i8", inline=True)
def length_point(data, pos):
    """Length of the payload at a prefix."""
    w = load8(data, pos)
    w = ((w & U(0xFF)) << U(24)) | ((w & U(0xFF00)) << U(8)) | ((w >> U(8)) & U(0xFF00)) | ((w >> U(24)) & U(0xFF))
    return np.int64(w)


@kernel("out u1[:], i8, i8, i8")
def id_of(data, start, end, hi):
    """Message id of a payload, UNREADABLE, or UNSEEN where the bytes up to `hi` do not tell yet. At most five digits, the first not 0."""
    value = np.int64(0)
    for i in range(start, min(end, start + 6)):
        if i >= hi:
            return np.int64(UNSEEN)
        c = np.int64(data[i])
        if c == 0:
            return value if i > start else np.int64(UNREADABLE)
        if c < 48 or c > 57 or (c == 48 and i == start):
            return np.int64(UNREADABLE)
        value = value * 10 + (c - 48)
    return np.int64(UNREADABLE)


@kernel("out u1[:], i8, i8")
def nuls(data, start, end):
    """Number of NULs of data[start:end]."""
    n, i = np.int64(0), start
    while i < end:
        z = zeros64(data, i)
        if end - i < 64:
            z = z & (ALL >> U(np.int64(64) - (end - i)))
        n += ones(z)
        i += 64
    return n


@kernel("out u1[:], i8, i8")
def plain_text(data, start, end):
    """True if no byte is a control character other than NUL, tab and ends of lines, and no field begins with one behind two empty ones:
    length prefixes of swallowed frames mostly do."""
    odd = False
    for i in range(start, min(start + 3, end)):
        c = np.int64(data[i])
        odd |= (0 < c < 9) | (13 < c < 32)
    for i in range(start + 3, end):
        c = np.int64(data[i])
        odd |= (0 < c < 9) | (13 < c < 32) | ((0 < c < 32) & (data[i - 1] == 0) & (data[i - 2] == 0) & (data[i - 3] == 0))
    return not odd


@kernel("out u1[:], i8, i8, i8")
def private_point(data, start, end, id_):
    """True if a private frame is what it must be: two or three numbers of at most 19 digits."""
    fields, a = np.int64(0), start
    for i in range(start, end):
        c = np.int64(data[i])
        if c == 0:
            if i == a or i - a > 19:
                return False
            fields += 1
            a = i + 1
        elif c < 48 or c > 57:
            return False
    return a == end and fields == (3 if id_ == CLOCK else 4 if id_ == END else 0)


@kernel("out u1[:], i8, i8, i8, i8")
def sound_point(data, start, end, id_, version):
    """True if a complete frame is sound."""
    if id_ >= CLOCK:
        return private_point(data, start, end, id_)
    if id_ < 0 or id_ >= IDS or LIMIT[id_] == 0 or data[end - 1] != 0 or end - start > MOST_BYTES[id_]:
        return False
    right = FIELDS[version, id_]
    if right != U(0):
        n = nuls(data, start, end)
        return n < 64 and ((right >> U(n)) & U(1)) != U(0)
    return plain_text(data, start, end)


@kernel("out u1[:], i8, i8, i8, i8, i8")
def hopeless(data, start, end, hi, id_, version):
    """True if a frame that has come up to `hi` < end cannot become sound."""
    if id_ == UNSEEN:
        return False
    if id_ < 0:
        return True
    if id_ >= CLOCK:
        return end - start > 100
    if id_ >= IDS:
        return not plain_text(data, start, hi)
    most = MOST_FIELDS[version, id_]
    if most == 0:
        return not plain_text(data, start, hi)
    return end - start > MOST_BYTES[id_] or nuls(data, start, hi) >= most


@kernel("out u1[:], i8, i8, i8, i8")
def _candidate(data, pos, hi, version, most):
    """Length with prefix of a frame of at most so many bytes that begins at pos: 0 = it cannot be told yet, -1 = none does."""
    if hi - pos < 4:
        return np.int64(0 if data[pos] <= 1 else -1)
    length = length_point(data, pos)
    start = pos + 4
    end = start + length
    if length < SHORTEST or length > most:
        return np.int64(-1)
    id_ = id_of(data, start, end, hi)
    if id_ == UNSEEN:
        return np.int64(0)
    if id_ < CLOCK and (id_ < 0 or id_ >= IDS or length > LIMIT[id_]):
        return np.int64(-1)
    if end > hi:
        return np.int64(-1 if hopeless(data, start, end, hi, id_, version) else 0)
    if not sound_point(data, start, end, id_, version):
        return np.int64(-1)
    if id_ < CLOCK and FIELDS[version, id_] != U(0):  # its second field is a number: a version or a reqId
        i = start
        while data[i] != 0:
            i += 1
        first = i + 1
        i = first
        while i < end and 48 <= np.int64(data[i]) <= 57:
            i += 1
        if i >= end or i == first or data[i] != 0:
            return np.int64(-1)
    return length + np.int64(4)


@kernel("out u1[:], i8, i8, i8, i8, ?")
def search(data, pos, hi, led, version, patient):
    """Where frames begin again behind the refused one at `pos`.

    Parameters
    ----------
    data : (n,) uint8, readable to 64 bytes behind `hi`
    pos, hi : int, bytes [pos, hi)
    led : int, where the refused frame's own length leads; -1 if that means nothing
    version : int, row of VERSIONS
    patient : bool, wait at a place that cannot be judged yet; else pass it by

    Returns
    -------
    int, first place, or -1: more bytes must come
    """
    for q in range(pos + 1, hi):
        if data[q] > 1:  # no length begins so
            continue
        n = _candidate(data, q, hi, version, LONG)  # a long frame may be the second, but does not begin anew: texts look like its prefix
        if n == 0 and patient:
            return np.int64(-1)
        if n <= 0:
            continue
        if q == led or id_of(data, q + 4, q + n, hi) >= CLOCK:
            return np.int64(q)
        second = _candidate(data, q + n, hi, version, LONGEST) if q + n < hi else np.int64(0)
        if second > 0:
            return np.int64(q)
        if second == 0 and patient:
            return np.int64(-1)
    return np.int64(-1)


@kernel("out u1[:], i8, i8, i8")
def weigh(data, pos, hi, version):
    """Judge the frame at a position.

    Parameters
    ----------
    data : (n,) uint8, readable to 64 bytes behind `hi`
    pos, hi : int, bytes [pos, hi), at least a prefix
    version : int, row of VERSIONS

    Returns
    -------
    verdict : int, WAIT, SOUND, REFUSED, SKIP or ADRIFT
    next : int, where the walk goes on; pos where it cannot
    """
    length = length_point(data, pos)
    start = pos + 4
    end = start + length
    led = np.int64(-1)
    if SHORTEST <= length <= LONGEST:
        id_ = id_of(data, start, end, hi)
        if id_ == UNSEEN:
            return np.int64(WAIT), pos
        if length <= (LIMIT[id_] if 0 <= id_ < IDS and LIMIT[id_] > LONG else np.int64(LONG)):
            led = end
            if end <= hi:
                if sound_point(data, start, end, id_, version):
                    return np.int64(SOUND), end
            elif not hopeless(data, start, end, hi, id_, version):
                return np.int64(WAIT), pos
    q = search(data, pos, hi, led, version, True)
    if q < 0:
        return np.int64(ADRIFT), pos
    return np.int64(REFUSED if q == led else SKIP), q


@kernel("out u1[:], i8, i8")
def readable(data, start, end):
    """True if a refused frame may go to ib_async: it has an id and a last NUL, so that it is read there as one message."""
    return data[end - 1] == 0 and id_of(data, start, end, end) >= 0
