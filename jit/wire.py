"""The walk over the frames of a connection: which are ours, what they say, which bytes are for others.

A frame is a 4-byte big-endian length and a payload of NUL-terminated fields. By (message id, reqId) it is ours or not; ours are
decoded in place into MESSAGE records or, if malformed, counted by reason; all others are for ib_async and stay untouched. The usual
forms of the frequent messages are read without a branch on their lengths; whatever is unusual goes to `judge`, which decides alone.
Where framing is lost the walk finds it again by itself (wire_frames.py)."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.wire_fields import (
    ALL, CLOCK, LIVE, OPTION, POWER, RETIRED, SUBSCRIPTION, TICK_BY_TICK, TICK_GENERIC, TICK_PRICE, TICK_SIZE, TICK_STRING, U,
    decimal_point, id_point, integer_point, load8, ones, size_point, small_point, subscription_point, text_point, trailing, zeros64,
)  # fmt: skip
from tickarrow.jit.wire_frames import ADRIFT, FIELDS, REFUSED, SHORTEST, SKIP, SOUND, WAIT, length_point, readable, weigh
from tickarrow.jit.wire_judge import judge
from tickarrow.jit.wire_message import (
    BAD, BID_ASK, DECODED, DELAYED_TYPE, FIRST_SECOND, FORWARDED, LAST_SECOND, LAST_TIME, LAST_TRADE, LATE, LIVE_TYPE, LOST_FRAMING, MESSAGE,
    NO_ID, NO_NUL, NOTHING, PRICE_ROLE, PRIVATE, REASONS, RESYNC, ROLE_SIDE, SIZE_ROLE, WHOLE_SIZES, no_ask, no_quote,
)  # fmt: skip

# Why a walk over frames stopped.
MORE, AT_CLOCK, AT_END, LOST, FULL = 0, 1, 2, 3, 4

# Counters of `decode`: frames by outcome, then bad ones by reason, then how often framing was lost and found again, and bytes skipped so.
N_OUTCOMES = 5
RESYNCS = N_OUTCOMES + len(REASONS)
SKIPPED = RESYNCS + 1
N_COUNTS = SKIPPED + 1
SAMPLES = 8  # bad frames of a session that are kept


@kernel("out u1[:], i8, i8", inline=True)
def _nuls(data, start, n):
    """Bit j is set where data[start + j] is NUL, for the first 64 bytes of a payload of n."""
    z = zeros64(data, start)
    return z & (ALL >> U(np.int64(64) - n)) if n < 64 else z


@kernel("i8, out u1[:], i8, u8", inline=True)
def _req_id(id_, data, start, z):
    """reqId of a frame with NULs `z` (-1 if it is not there or not a plain number), and the NULs from its own on."""
    if id_ != TICK_BY_TICK and id_ != OPTION:
        z = z & (z - U(1))
    first = start + trailing(z) + 1
    z = z & (z - U(1))
    if z == U(0):
        return np.int64(-1), z
    return integer_point(data, first, start + trailing(z)), z


@kernel("i8, u8", inline=True)
def _next(start, z):
    """Where the first NUL of z stands, and the NULs behind it."""
    return start + trailing(z), z & (z - U(1))


@kernel("out u1[:], i8, u8, MESSAGE", inline=True)
def _quick_price(data, start, z, m):
    """Type, price, size and attributes of a tickPrice whose NULs from the reqId's on are `z`; False if anything is unusual."""
    a, z = _next(start, z)
    b, z = _next(start, z)
    kind = small_point(data, a + 1, b)
    a, z = _next(start, z)
    price, scale, odd = decimal_point(data, b + 1, a)
    m.price = np.float64(price) / POWER[U(scale)]
    b, z = _next(start, z)
    size, scale, odd_size = size_point(data, a + 1, b)
    m.quantity = np.float64(size) / POWER[U(scale)]
    attributes = small_point(data, b + 1, start + trailing(z))
    m.role, m.side = PRICE_ROLE[U(kind & 127)], ROLE_SIDE[U(kind & 127)]
    m.tick_type, m.delayed = LIVE_TYPE[U(kind & 127)], DELAYED_TYPE[U(kind & 127)]
    m.attributes, m.empty = attributes, 0
    no_quote(m)
    return odd | odd_size == U(0) and 0 <= kind < 128 and 0 <= attributes <= 0xFFFF


@kernel("out u1[:], i8, u8, MESSAGE", inline=True)
def _quick_size(data, start, z, m):
    """Type and size of a tickSize, as `_quick_price`."""
    a, z = _next(start, z)
    b, z = _next(start, z)
    kind = small_point(data, a + 1, b)
    size, scale, odd = size_point(data, b + 1, start + trailing(z))
    m.quantity = np.float64(size) / POWER[U(scale)]
    m.mantissa, m.scale = size, scale
    m.role, m.side = SIZE_ROLE[U(kind & 127)], ROLE_SIDE[U(kind & 127)]
    m.tick_type, m.delayed = LIVE_TYPE[U(kind & 127)], DELAYED_TYPE[U(kind & 127)]
    return odd == U(0) and 0 <= kind < 128


@kernel("out u1[:], i8, u8, MESSAGE", inline=True)
def _quick_tick(data, start, z, m):
    """Type, time, prices, sizes and attributes of a tick-by-tick message of type 1 to 3, as `_quick_price`."""
    a, z = _next(start, z)
    b, z = _next(start, z)
    kind = small_point(data, a + 1, b)
    a, z = _next(start, z)
    time = integer_point(data, b + 1, a)
    b, z = _next(start, z)
    mantissa, scale, odd = decimal_point(data, a + 1, b)
    m.price = np.float64(mantissa) / POWER[U(scale)]
    a, z = _next(start, z)
    if kind == 3:
        mantissa, scale, more = decimal_point(data, b + 1, a)
        m.ask = np.float64(mantissa) / POWER[U(scale)]
        b, z = _next(start, z)
        odd |= more
        mantissa, scale, more = size_point(data, a + 1, b)
        m.quantity = np.float64(mantissa) / POWER[U(scale)]
        a, z = _next(start, z)
        odd |= more
        mantissa, scale, more = size_point(data, b + 1, a)
        m.ask_size = np.float64(mantissa) / POWER[U(scale)]
        b = start + trailing(z)
        m.role = BID_ASK
        no_ask(m)
    else:
        mantissa, scale, more = size_point(data, b + 1, a)
        m.quantity = np.float64(mantissa) / POWER[U(scale)]
        b, z = _next(start, z)
        m.role = LAST_TRADE
        e, z = _next(start, z)
        m.code, m.code2 = text_point(data, b + 1, e), text_point(data, e + 1, start + trailing(z))
    odd |= more
    attributes = small_point(data, a + 1, b)
    no_quote(m)
    m.time, m.attributes, m.tick_type, m.side, m.delayed = time, attributes, kind, 0, 0
    return odd == U(0) and 1 <= kind <= 3 and 0 <= attributes <= 0xFFFF and FIRST_SECOND <= time < LAST_SECOND


@kernel("i8, out u1[:], i8, i8, i8, u8, MESSAGE", inline=True)
def _quick(id_, data, start, end, total, z, m):
    """Decode a frame of ours with `total` NULs, if it is as usual; False leaves it to `judge`."""
    if end - start > 64 or data[U(end - 1)] != 0:
        return False
    if id_ == TICK_BY_TICK:
        return total == 9 and _quick_tick(data, start, z, m)
    version = start + (np.int64(2) if id_ < TICK_GENERIC else np.int64(3))  # one digit, as ever
    if data[U(version + 1)] != 0 or data[U(version)] < 48 or data[U(version)] > 57:
        return False
    if id_ == TICK_PRICE:
        return total == 7 and _quick_price(data, start, z, m)
    if id_ == TICK_SIZE:
        return total == 5 and _quick_size(data, start, z, m)
    if id_ == TICK_STRING:
        a, z = _next(start, z)
        b, z = _next(start, z)
        m.time = integer_point(data, b + 1, start + trailing(z))
        m.tick_type, m.role, m.delayed = 45, LAST_TIME, 0
        return total == 5 and b - a == 3 and (load8(data, a) & U(0xFFFF00)) == U(0x353400) and FIRST_SECOND <= m.time < LAST_SECOND
    return False


@kernel("out i8[:], out i8[:,:], i8, i8, i8", inline=True)
def _count_bad(counts, samples, start, end, reason):
    """One bad frame data[start:end] more; the session's first are kept."""
    k = counts[BAD]
    if k < samples.shape[0]:
        samples[k, 0], samples[k, 1], samples[k, 2] = start, end, reason
    counts[BAD] += 1
    counts[N_OUTCOMES + reason] += 1


@kernel("out u1[:], i8, i8, i8, i8, u8", inline=True)
def _usual(data, start, end, id_, version, total):
    """True if a frame of ours with `total` NULs in its first 64 bytes is sound and as short as most are."""
    return end - start <= 64 and ((FIELDS[version, U(id_)] >> (total & U(63))) & U(1)) != U(0) and data[U(end - 1)] == 0


@kernel("out u1[:], i8, i8, i8, SUBSCRIPTION[:], i8, i8, MESSAGE[:], out i8[:], out i8[:], out i8[:,:]")
def decode(data, pos, hi, ts, subscriptions, every, version, messages, ends, counts, samples):
    """Walk the complete frames of data[pos:hi] and decode those of ours.

    Parameters
    ----------
    data : (n,) uint8, readable to 64 bytes behind `hi`
    pos, hi : int, bytes [pos, hi); `pos` is a length prefix
    ts : int, ns, time of the bytes; noted in the subscriptions
    subscriptions : (2**k,) SUBSCRIPTION, hash table by reqId; `ts` and `frames` are updated
    every : int, not 0 = every frame gets a record, also without effect, forwarded or bad; 1 = and every reqId is ours
    version : int, row of VERSIONS
    messages : (capacity,) MESSAGE, filled from 0 on
    ends : (MAX_FIELDS,) int64, room of its own
    counts : (N_COUNTS,) int64, frames by outcome, then bad ones by reason, RESYNCS and SKIPPED; added to
    samples : (SAMPLES, 3) int64, start, end and reason of the session's first bad frames

    Returns
    -------
    pos : int, behind the last frame walked
    n : int, records filled
    status : int, MORE (no complete frame left), LOST (framing is lost at pos, and more bytes must come to find it again) or FULL (messages)
    """
    n, status = np.int64(0), np.int64(MORE)
    decoded = np.int64(0)
    capacity = np.int64(messages.size)
    plodding = every != 0 or version == WHOLE_SIZES  # every field checked and filled
    while hi - pos >= 4:
        if n >= capacity:
            status = np.int64(FULL)
            break
        start = pos + 4
        length = length_point(data, pos)
        end = start + length
        m = messages[U(n)]
        id_ = id_point(load8(data, start))
        req_id, slot, usual = np.int64(-1), np.int64(-1), False
        if 0 < id_ < CLOCK and SHORTEST <= length <= hi - start:
            z = _nuls(data, start, length)
            total = ones(z)
            usual = _usual(data, start, end, id_, version, U(total))
            req_id, z = _req_id(id_, data, start, z)
            slot = subscription_point(subscriptions, req_id)
            if slot >= 0 and not plodding and subscriptions[U(slot)].state == LIVE:
                m.id, m.symbol, m.feed = id_, subscriptions[U(slot)].symbol, subscriptions[U(slot)].feed
                if _quick(id_, data, start, end, total, z, m):
                    subscriptions[U(slot)].ts = ts
                    subscriptions[U(slot)].frames += 1
                    decoded += 1
                    n += np.int64(m.role != NOTHING)  # no branch: the role is different with every message
                    pos = end
                    continue
        verdict = np.int64(SOUND)
        if not usual:
            verdict, end = weigh(data, pos, hi, version)
            if verdict == WAIT:
                break
            if verdict == ADRIFT:
                status = np.int64(LOST)
                break
        outcome, reason = np.int64(FORWARDED), np.int64(0)
        m.role = NOTHING
        if verdict == SKIP:
            outcome, reason, id_, req_id = np.int64(BAD), np.int64(LOST_FRAMING), np.int64(0), np.int64(-1)
            m.role, m.quantity, m.symbol = RESYNC, np.float64(end - pos), 0
            counts[RESYNCS] += 1
            counts[SKIPPED] += end - pos
        elif id_ >= CLOCK and verdict == SOUND:
            outcome = np.int64(PRIVATE)
        elif slot >= 0 and subscriptions[U(slot)].state == RETIRED:
            outcome = np.int64(LATE)
        elif slot >= 0 or (every == 1 and req_id >= 0):
            m.id = id_
            if slot >= 0:
                m.symbol, m.feed = subscriptions[U(slot)].symbol, subscriptions[U(slot)].feed
            reason = judge(data, start, end, version, m, ends)
            outcome = np.int64(DECODED if reason == 0 else BAD)
        elif verdict == REFUSED and not readable(data, start, end):
            outcome, reason = np.int64(BAD), np.int64(NO_NUL if data[end - 1] != 0 else NO_ID)
        if outcome == DECODED:
            decoded += 1
            if slot >= 0:
                subscriptions[U(slot)].ts = ts
                subscriptions[U(slot)].frames += 1
        elif outcome == BAD:
            _count_bad(counts, samples, pos, end, reason)
        else:
            counts[outcome] += 1
        if every != 0:
            m.at, m.req_id, m.id, m.outcome, m.reason = pos, req_id, id_, outcome, reason
            n += 1
        elif outcome == DECODED or verdict == SKIP:
            n += np.int64(m.role != NOTHING)
        pos = end
    counts[DECODED] += decoded
    return pos, n, status


@kernel("out u1[:], i8, i8, SUBSCRIPTION[:], i8, out i8[:,:], out i8[:]")
def split(data, pos, hi, subscriptions, version, spans, private):
    """Walk the complete frames of data[pos:hi] and note which bytes are for others; stop behind a private frame.

    What is skipped because framing was lost, and a refused frame that ib_async could not read as one message, is for nobody.

    Parameters
    ----------
    data : (n,) uint8, readable to 64 bytes behind `hi`
    pos, hi : int, bytes [pos, hi); `pos` is a length prefix
    subscriptions : (2**k,) SUBSCRIPTION, hash table by reqId
    version : int, row of VERSIONS
    spans : (capacity, 2) int64, bytes [start, end) of runs of frames that are not ours
    private : (3,) int64, numbers of the private frame: market time (ns) and number of a clock frame; sent messages, updates and trades
        of an end frame

    Returns
    -------
    pos : int, behind the last frame walked
    n : int, spans filled
    ours : int, frames of ours walked
    status : int, MORE (no complete frame left), AT_CLOCK, AT_END, LOST (framing is lost at pos) or FULL (spans)
    """
    n, ours = np.int64(0), np.int64(0)
    joined = np.int64(-1)  # end of the last span
    while hi - pos >= 4:
        start = pos + 4
        length = length_point(data, pos)
        end = start + length
        id_ = id_point(load8(data, start))
        slot, verdict = np.int64(-1), np.int64(WAIT)
        if 0 < id_ < CLOCK and SHORTEST <= length <= hi - start:
            z = _nuls(data, start, length)
            if _usual(data, start, end, id_, version, U(ones(z))):
                verdict = np.int64(SOUND)
            req_id, _ = _req_id(id_, data, start, z)
            slot = subscription_point(subscriptions, req_id)
        if verdict == WAIT:
            verdict, end = weigh(data, pos, hi, version)
            if verdict == WAIT:
                break
            if verdict == ADRIFT:
                return pos, n, ours, np.int64(LOST)
        if verdict == SKIP:
            pos = end
            continue
        if id_ >= CLOCK and verdict == SOUND:
            k, value = np.int64(-1), np.int64(0)
            for i in range(start, end):  # up to 19 digits: ns of market time do not fit the 16 of `integer_point`
                if data[i] == 0:
                    if k >= 0:
                        private[k] = value
                    k += 1
                    value = np.int64(0)
                else:
                    value = value * 10 + (np.int64(data[i]) - 48)
            return end, n, ours, np.int64(AT_CLOCK if id_ == CLOCK else AT_END)
        if slot >= 0:
            ours += 1
        elif verdict == SOUND or readable(data, start, end):
            if joined == pos:
                spans[n - 1, 1] = end
            else:
                if n >= spans.shape[0]:
                    return pos, n, ours, np.int64(FULL)
                spans[n, 0], spans[n, 1] = pos, end
                n += 1
            joined = end
        pos = end
    return pos, n, ours, np.int64(MORE)
