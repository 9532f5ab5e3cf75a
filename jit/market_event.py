"""What can happen to one symbol of the generated market: a trade, a better quote, a lock, a change of size, an empty queue, a pause."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.market_state import (
    CLOSE,
    EVENT,
    HALT,
    HUB_STEP,
    NO_QUOTE,
    OPEN,
    PARAMETERS,
    PRINTS,
    QUOTE,
    SWEEP,
    SYMBOL_STATE,
    TRADE,
    VALUE_FLOOR,
    WIDE,
    mix_point,
    normal_point,
)

u64 = np.uint64
i64 = np.int64


@kernel("i8, i8, i8", inline=True)
def lots_point(size, lot, least):
    """`size` in whole lots, at least `least`."""
    return max(size // lot * lot, least)


@kernel("SYMBOL_STATE, PARAMETERS, i8, ?", inline=True)
def shown_point(s, p, size, bid):
    """Size of a new best quote in whole lots: more on the side of the large order that is being worked."""
    lean = s.parent * p.parent_lean
    return lots_point((size * (65_536 + (lean if bid else -lean))) >> 16, p.lot, p.lot)


@kernel("EVENT, SYMBOL_STATE, i8, i8, i8", inline=True)
def event_point(e, s, kind, price, shares):
    """Write one event with the quote in force."""
    e.ts, e.kind, e.price, e.shares = s.time, kind, price, shares
    e.bid, e.ask, e.bid_size, e.ask_size = s.bid, s.ask, s.bid_size, s.ask_size


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8, i8[:,:]", inline=True)
def side_update(s, p, r, pressure, parents):
    """Side of an aggressor: of the large order that is being worked, or by the pressure.

    When a large order ends the next begins: its side is a fair coin, its length heavy-tailed, and the hidden value takes its whole
    effect at once, the root of its length. So the value stays a martingale, trades go one way for long, and the mid follows early.
    """
    q = mix_point(r)
    if s.parent_left <= 0:
        k = i64(q & u64(255))
        s.parent = 1 if (q >> u64(8)) & u64(1) else -1
        s.parent_left = parents[0, k]
        s.value = max(s.value + ((s.parent * parents[1, k] * p.parent_jump) >> 4), VALUE_FLOOR)
    if i64((q >> u64(16)) & u64(255)) < p.parent:
        s.parent_left -= 1
        return s.parent
    return 1 if i64((r >> u64(16)) & u64(0xFFFF)) < 32_768 + ((pressure * p.trade_pull) >> 16) else -1


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8, ?, i8[:], EVENT[:], i8", inline=True)
def trade_update(s, p, r, side, inside, sizes, events, n):
    """An aggressor: its prints on one stamp from event `n` on, and what they take from the queue. Returns the next free event."""
    u3, u4 = i64((r >> u64(32)) & u64(0xFFFF)), i64(r >> u64(48))
    up = side > 0
    price = s.ask if up else s.bid
    if inside:  # in its own half of the spread
        better = 1 + ((u4 >> 8) * (s.ask - s.bid - 1) >> 9)
        price = s.ask - better if up else s.bid + better
    elif (u4 & 255) >= 256 - p.outside:
        price = s.ask + 1 if up else max(s.bid - 1, 1)

    sweep = u3 < p.sweep  # fills of one large order: the queue is taken once, hidden size gives the rest
    prints = 1
    while prints < PRINTS and (u3 & 255) < p.prints:
        u3 = ((u3 * 40_503 + 12_345) >> 3) & 0xFFFF
        prints += 1
    if sweep:
        prints *= SWEEP
    for _ in range(prints):
        u4 = (u4 * 25_173 + 13_849) & 0xFFFF
        size = sizes[u4 >> 8]
        event_point(events[n], s, TRADE, price, size)
        n += 1
        if inside or s.depleted != 0:
            continue
        taken = (((size * p.drain) >> 8) + p.lot - 1) // p.lot * p.lot  # the rest is refilled at once
        if up:
            s.ask_size -= taken
        else:
            s.bid_size -= taken
        if s.ask_size < p.lot or s.bid_size < p.lot:
            s.depleted = side
            if not sweep:
                break
    return n


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8", inline=True)
def improve_side(s, p, r, pressure):
    """+1: the bid improves, -1: the ask; sooner the side that the value pulls to or that follows the last depletion."""
    u3 = i64((r >> u64(32)) & u64(0xFFFF))
    return 1 if u3 < 32_768 + ((pressure * p.improve_pull) >> 16) + s.last_move * p.follow else -1


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8, i8[:]", inline=True)
def improve_update(s, p, r, side, queues):
    """Someone quotes inside the spread."""
    u4 = i64(r >> u64(48))
    up = side > 0
    ticks = 1
    while ticks < s.ask - s.bid - 1 and (u4 & 255) < p.improve_step:
        ticks += 1
        u4 = (u4 * 25_173 + 13_849) & 0xFFFF
    size = shown_point(s, p, queues[i64((r >> u64(40)) & u64(255))] >> 1, up)
    if up:
        s.bid += ticks
        s.bid_size = size
    else:
        s.ask -= ticks
        s.ask_size = size


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8, i8[:]", inline=True)
def lock_update(s, p, r, pressure, queues):
    """A one-tick spread locks when the value has passed a side; the rate is lifted, so that the lock is resolved within a burst."""
    size = lots_point(queues[i64((r >> u64(40)) & u64(255))] >> 2, p.lot, p.lot)
    ticks = 2 if i64((r >> u64(32)) & u64(255)) < p.cross else 1  # the second tick crosses it
    if pressure > 0:
        s.bid += ticks
        s.bid_size = size
        s.last_move = 1
    else:
        s.ask -= min(ticks, s.ask - 1)
        s.ask_size = size
        s.last_move = -1
    s.fast = max(s.fast, min(p.kick * 12, p.rate_cap))


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8, i8[:]", inline=True)
def resize_update(s, p, r, pressure, changes):
    """The size of one side changes: a fleeting order comes or leaves, or an order is added or cancelled around a target that leans
    with the pressure. A cancelled queue may be depleted."""
    u1, u2, u3, u4 = i64(r & u64(0xFFFF)), i64((r >> u64(16)) & u64(0xFFFF)), i64((r >> u64(32)) & u64(0xFFFF)), i64(r >> u64(48))
    locked = s.ask <= s.bid
    bid = s.last_move < 0 if locked else u2 < 32_768  # of a lock, the side against the value goes
    size = s.bid_size if bid else s.ask_size
    fleeting = s.fleeting_bid if bid else s.fleeting_ask
    lean = ((pressure * p.queue_pull) >> 16) + s.parent * p.parent_lean
    target = (p.queue * max(65_536 + (lean if bid else -lean), 1_500)) >> 16
    change = changes[u4 >> 8]
    if fleeting > 0:
        size -= max(min(fleeting, size - p.lot), 0)
        fleeting = 0
    elif ((u1 * 13) & 255) < p.fleeting and not locked:
        size += change
        fleeting = change
    elif u3 * (target + size) < ((target + size) << 15) + p.revert * (target - size) and not locked:
        if 4 * size < target:  # a thin queue fills fast
            change = max(change, ((target - size) * p.refill) >> 16)
        size += change // p.lot * p.lot
    else:
        passed = max(-pressure if bid else pressure, 0)  # the value is beyond this side
        level = p.cancel_level + ((passed * p.cancel_pull) >> 16)
        size -= size if (u4 & 255) < level else max(min(change, p.cancel_cap) // p.lot * p.lot, p.lot)
        if size < p.lot:
            s.depleted = -1 if bid else 1
            fleeting = 0
    if bid:
        s.bid_size, s.fleeting_bid = size, fleeting
    else:
        s.ask_size, s.fleeting_ask = size, fleeting


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8[:], i8[:]", inline=True)
def deplete_update(s, p, r, queues, kick):
    """An empty queue moves the price by one tick or more, shows the next queue and excites the market."""
    u1, u3 = i64(r & u64(0xFFFF)), i64((r >> u64(32)) & u64(0xFFFF))
    gap = 1
    while gap < 30 and (u1 & 255) < p.gap:
        gap += 1
        u1 = (u1 * 25_173 + 13_849) & 0xFFFF
    size = shown_point(s, p, queues[i64((r >> u64(20)) & u64(255))], s.depleted < 0)
    other = shown_point(s, p, queues[i64((r >> u64(36)) & u64(255))] >> 1, s.depleted > 0)
    both = (u3 & 255) < p.both  # the other side follows in the same message
    s.last_move = s.depleted
    if s.depleted > 0:
        s.fleeting_ask = 0
        s.ask += gap
        s.ask_size = size
        s.bid_size = max(s.bid_size, p.lot)
        if both:
            s.bid += gap
            s.bid_size = other
    else:
        gap = min(gap, s.bid - 1)  # no price below one tick
        s.fleeting_bid = 0
        s.bid -= gap
        s.bid_size = size
        s.ask_size = max(s.ask_size, p.lot)
        if both:
            s.ask -= gap
            s.ask_size = other
    # A kick lifts the rate to a level. If it added to it, a name in which every third event moves the mid would explode.
    s.fast = max(s.fast, min((kick[i64((r >> u64(28)) & u64(255))] * p.kick) >> 4, p.rate_cap))
    s.depleted = 0


@kernel("SYMBOL_STATE, PARAMETERS, i8", inline=True)
def quote_update(s, p, wide):
    """A new quote around the hidden value, `wide` times the usual spread."""
    spread = p.spread * wide
    s.bid = max((s.value - (spread << 15) + 32_768) >> 16, 1)
    s.ask = s.bid + spread
    s.bid_size = s.ask_size = p.lot if wide > 1 else lots_point(p.queue, p.lot, p.lot)
    s.fleeting_bid = s.fleeting_ask = 0


@kernel("EVENT, SYMBOL_STATE, PARAMETERS, i8", inline=True)
def cross_point(e, s, p, times):
    """The print of an auction at the tick nearest to the hidden value; `times` the usual size, moved by up to a half."""
    r = mix_point(p.key ^ mix_point(u64(6_000_000_000) + u64(s.time // 100_000_000)))
    size = lots_point((p.auction * times * (64 + i64(r & u64(127)))) >> 7, p.lot, p.lot)
    event_point(e, s, TRADE, (s.value + 32_768) >> 16, size)


@kernel("SYMBOL_STATE, PARAMETERS, HUB_STEP, i8, EVENT[:], i8", inline=True)
def pause_update(s, p, hub, kind, events, n):
    """A pause begins. A halt takes the quote away. A close is an auction's print. An open shows a wide quote first, and after the
    first session the value has moved overnight. Returns the next free event."""
    r = mix_point(p.key ^ mix_point(u64(5_000_000_000) + u64(s.time // 100_000_000)))
    if kind == HALT:
        event_point(events[n], s, NO_QUOTE, 0, 0)
    elif kind == CLOSE:
        s.time += i64(r >> u64(36))  # below 0.27 s
        cross_point(events[n], s, p, 4)
    else:
        if s.time > 0:
            own = normal_point(mix_point(r))
            move = (hub.market * p.beta_market + hub.sector[p.sector] * p.beta_sector + own * p.beta_own) >> 16
            s.value = max(s.value + ((move * p.value_step) >> 12), VALUE_FLOOR)  # 256 steps of 0.1 s: a night like 110 minutes
        quote_update(s, p, WIDE)
        event_point(events[n], s, QUOTE, 0, 0)
    return n + 1


@kernel("SYMBOL_STATE, PARAMETERS, EVENT[:], i8", inline=True)
def resume_update(s, p, events, n):
    """A pause ends, less than 0.27 s after its second begins: an auction prints where the class has one, then the quote is back."""
    s.time += i64(mix_point(p.key ^ mix_point(u64(7_000_000_000) + u64(s.time // 100_000_000))) >> u64(36))
    if p.auction > 0:
        cross_point(events[n], s, p, 1)
        n += 1
    quote_update(s, p, 1)
    event_point(events[n], s, QUOTE, 0, 0)
    return n + 1
