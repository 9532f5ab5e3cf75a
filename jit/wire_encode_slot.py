"""Conflation as IBKR samples reqMktData: each slot of 250 ms a client gets what has changed, on the frames of `wire_encode`."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.trigger import differs_point
from tickarrow.jit.wire_encode import L1, MESSAGE_BYTES, ODD, SUBSCRIPTION, price_message, size_message, time_message, volume_message
from tickarrow.jit.wire_encode_market import (
    DONE,
    FULL,
    MESSAGES,
    POSITION,
    QUOTE,
    STATUS,
    TRADES,
    UNKNOWN_NUMBER,
    UPDATES,
    VOLUME_UNIT,
    WAITING,
)

ALL, TRADE_PART, QUOTE_PART = 0, 1, 2  # what of a slot is written


@kernel("QUOTE[:], SUBSCRIPTION[:], i8, i8, i8, i8, i8, ?, ?, ?, ODD[:], out i8[:], out u1[:]")
def encode_slot(state, subs, lo, hi, slot, wait, part, duplicates, whole, day, odd, control, out):
    """Frames of one conflation slot: for each L1 request what has changed since it was last sent.

    Parameters
    ----------
    state : (n_symbols,) QUOTE of this client
    subs : (capacity,) SUBSCRIPTION; req < 0 = unused
    lo, hi : int, requests [lo, hi)
    slot : int, number of the slot that ends
    wait : int, slots that a change of sizes or volume alone waits
    part : ALL, or TRADE_PART and later QUOTE_PART of the same slot, which IBKR sometimes sends as two packets
    duplicates, whole, day, odd, control, out : as in `encode_rows`; WAITING counts requests with a change that still waits

    Returns
    -------
    int, request behind the last one written, as in `encode_rows`

    References
    ----------
    A recording of 81 minutes: changes only; 4, 5, 8, then 1, 2, then 0, 3; sizes and volume alone wait for the third slot.
    """
    control[STATUS] = DONE
    for k in range(lo, hi):
        r = subs[k]
        if r.req < 0 or r.feed != L1:
            continue
        pos = control[POSITION]
        if out.size - pos < 12 * MESSAGE_BYTES:
            control[STATUS] = FULL
            return k
        s = state[r.symbol]
        messages, updates, trades = 0, 0, 0
        total, z, bs, az = s.volume, s.last_size, s.bid_size, s.ask_size
        if whole:
            total, z, bs, az = total - total % VOLUME_UNIT, np.floor(z), np.floor(bs), np.floor(az)
        last, last_size = differs_point(s.last, r.last), differs_point(z, r.last_size)
        volume = part != QUOTE_PART and total != r.volume
        send_trade = volume and (last or last_size or slot - r.volume_slot >= wait)
        bid, ask = differs_point(s.bid, r.bid), differs_point(s.ask, r.ask)
        bid_size, ask_size = differs_point(bs, r.bid_size), differs_point(az, r.ask_size)
        quote = part != TRADE_PART and (bid or ask or bid_size or ask_size)
        send_quote = quote and (bid or ask or slot - r.quote_slot >= wait)
        if send_trade:
            if day and s.last_time != r.last_time:
                pos = time_message(out, pos, r.req, s.last_time)
                messages += 1
            if last:
                pos = price_message(out, pos, r.req, 4, s.last, z, 0, odd)
                messages += 1
            if last_size or (last and duplicates):
                pos = size_message(out, pos, r.req, 5, z, odd)
                messages += 1
            pos = volume_message(out, pos, r.req, total)
            messages += 1
            trades += 1
            if day:
                for tick, new, old in ((14, s.open, r.open), (6, s.high, r.high), (7, s.low, r.low)):
                    if differs_point(new, old):
                        pos = price_message(out, pos, r.req, tick, new, 0.0, 0, odd)
                        messages += 1
        if send_quote:
            for side in range(2):
                p, size, changed = (s.bid, bs, bid) if side == 0 else (s.ask, az, ask)
                if changed:
                    pos = price_message(out, pos, r.req, 1 + side, p, size, 1, odd)
                    messages += 1
                    if duplicates and (np.isnan(p) or not np.isnan(size)):
                        pos = size_message(out, pos, r.req, 3 * side, 0.0 if np.isnan(p) else size, odd)
                        messages += 1
            for side in range(2):
                size, changed = (bs, bid_size and not bid) if side == 0 else (az, ask_size and not ask)
                if changed:
                    pos = size_message(out, pos, r.req, 3 * side, size, odd)
                    messages += 1
            updates += 1
        if pos < 0:
            control[STATUS] = UNKNOWN_NUMBER
            return k
        if send_trade:
            r.last, r.last_size, r.volume, r.volume_slot = s.last, z, total, slot
            r.open, r.high, r.low, r.last_time = s.open, s.high, s.low, s.last_time
        if send_quote:
            r.bid, r.bid_size, r.ask, r.ask_size, r.quote_slot = s.bid, bs, s.ask, az, slot
        if (volume and not send_trade) or (quote and not send_quote):
            control[WAITING] += 1
        control[POSITION] = pos
        control[MESSAGES] += messages
        control[UPDATES] += updates
        control[TRADES] += trades
    return hi
