"""Conflation as IBKR samples reqMktData: each slot of 250 ms a client gets what has changed, on the frames of `wire_encode`."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.trigger import differs_point
from tickarrow.jit.wire_encode import L1, MESSAGE_BYTES, ODD, SUBSCRIPTION, price_message, size_message, volume_message
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
    WAITING,
)


@kernel("QUOTE[:], SUBSCRIPTION[:], i8, i8, i8, i8, ?, ODD[:], out i8[:], out u1[:]")
def encode_slot(state, subs, lo, hi, slot, wait, duplicates, odd, control, out):
    """Frames of one conflation slot: for each L1 request what has changed since it was last sent.

    Parameters
    ----------
    state : (n_symbols,) QUOTE of this client
    subs : (capacity,) SUBSCRIPTION; req < 0 = unused
    lo, hi : int, requests [lo, hi)
    slot : int, number of the slot that ends
    wait : int, slots that a change of sizes or volume alone waits
    duplicates, odd, control, out : as in `encode_rows`; WAITING counts requests with a change that still waits

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
        if out.size - pos < 8 * MESSAGE_BYTES:
            control[STATUS] = FULL
            return k
        s = state[r.symbol]
        messages, updates, trades = 0, 0, 0
        last, last_size = differs_point(s.last, r.last), differs_point(s.last_size, r.last_size)
        volume = s.volume != r.volume
        send_trade = volume and (last or last_size or slot - r.volume_slot >= wait)
        bid, ask = differs_point(s.bid, r.bid), differs_point(s.ask, r.ask)
        bid_size, ask_size = differs_point(s.bid_size, r.bid_size), differs_point(s.ask_size, r.ask_size)
        quote = bid or ask or bid_size or ask_size
        send_quote = bid or ask or (quote and slot - r.quote_slot >= wait)
        if send_trade:
            if last:
                pos = price_message(out, pos, r.req, 4, s.last, s.last_size, 0, odd)
                messages += 1
            if last_size or (last and duplicates):
                pos = size_message(out, pos, r.req, 5, s.last_size, odd)
                messages += 1
            pos = volume_message(out, pos, r.req, s.volume)
            messages += 1
            trades += 1
        if send_quote:
            for side in range(2):
                p, z, changed = (s.bid, s.bid_size, bid) if side == 0 else (s.ask, s.ask_size, ask)
                if changed:
                    pos = price_message(out, pos, r.req, 1 + side, p, z, 1, odd)
                    messages += 1
                    if duplicates and (np.isnan(p) or not np.isnan(z)):
                        pos = size_message(out, pos, r.req, 3 * side, 0.0 if np.isnan(p) else z, odd)
                        messages += 1
            for side in range(2):
                z, changed = (s.bid_size, bid_size and not bid) if side == 0 else (s.ask_size, ask_size and not ask)
                if changed:
                    pos = size_message(out, pos, r.req, 3 * side, z, odd)
                    messages += 1
            updates += 1
        if pos < 0:
            control[STATUS] = UNKNOWN_NUMBER
            return k
        if send_trade:
            r.last, r.last_size, r.volume, r.volume_slot = s.last, s.last_size, s.volume, slot
        if send_quote:
            r.bid, r.bid_size, r.ask, r.ask_size, r.quote_slot = s.bid, s.bid_size, s.ask, s.ask_size, slot
        if (volume and not send_trade) or (quote and not send_quote):
            control[WAITING] += 1
        control[POSITION] = pos
        control[MESSAGES] += messages
        control[UPDATES] += updates
        control[TRADES] += trades
    return hi
