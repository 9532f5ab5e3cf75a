"""One symbol of the generated market: arrivals, trades and quotes as integer arithmetic on one state record.

Fixed point: `Qn` means that the stored integer is the value times 2**n. Rates are Q12 events/s, the hidden value is Q16 ticks, log2
volatilities in states are Q24, weights Q16, shares that are compared with one byte Q8, with 16 bits Q16."""

import numpy as np

from tickarrow.jit._kernel import kernel, record

u64 = np.uint64
i64 = np.int64

GRID = 100_000_000  # ns between two steps of the hub
SECOND = 1_000_000_000
NEVER = 1 << 62  # a time that does not come
SESSION_S = 23_400  # the day shape repeats after a session of 6.5 hours
SHAPE_PARTS = 12  # intervals of the day shape; its tables have one entry more
PRINTS = 24  # highest number of prints of one aggressor
ROOM = 40  # rows that must be free before an event: its prints and its quote
VALUE_FLOOR = 2 << 16  # lowest hidden value: two ticks, Q16
LN2 = 45_426  # ln 2, Q16
FRACTION = (1 << 30) - 1
SECTORS = 7

TRADE_SIZE, SIZE_CHANGE, QUEUE, KICK = range(4)  # quantile tables of a symbol, 256 entries each; KICK is Q4

HUB_STEP = record([
    ("market", "i8"), ("sector", "i8", (SECTORS,)),  # normals, sd NORMAL_SD of pipeline/market.py
    ("slow", "i8"), ("fast", "i8"),  # log2 volatility, Q16
    ("shock", "i8"), ("shock_jump", "i8"), ("shock_delay", "i8"),  # size Q8 (0 = none), signed size Q8, ns after the step
])  # fmt: skip

# Named like the fields of MarketClass in pipeline/market.py, where their meaning stands; here is how they are scaled.
PARAMETERS = record([
    ("key", "u8"), ("sector", "i8"), ("tick_numerator", "i8"), ("tick_denominator", "i8"), ("lot", "i8"),
    # arrivals: rates Q12 events/s
    ("rate", "i8"), ("rate_cap", "i8"), ("kick", "i8"), ("shock", "i8"),
    ("fast_add", "i8"), ("medium_add", "i8"), ("slow_add", "i8"),  # per event
    ("fast_decay", "i8"), ("medium_decay", "i8"), ("slow_decay", "i8"),  # halvings per ns Q40, the same, share per step Q20
    ("shock_medium", "i8"), ("shock_jump", "i8"),  # Q16, Q16 ticks
    # hidden value and activity: weights Q16
    ("value_step", "i8"),  # Q16 ticks a step at one sd of `normal_point`, itself Q20
    ("beta_market", "i8"), ("beta_sector", "i8"), ("beta_own", "i8"), ("lag", "i8"),
    ("value_vol", "i8"), ("weight_slow", "i8"), ("weight_fast", "i8"), ("weight_own", "i8"),
    ("own_decay", "i8"), ("own_step", "i8"),  # like those of the hub
    # trades
    ("trade", "i8"), ("trade_pull", "i8"), ("run", "i8"), ("run_mask", "i8"),  # Q16, Q15, Q8, count
    ("prints", "i8"), ("inside", "i8"), ("outside", "i8"), ("drain", "i8"),  # Q8
    # quotes
    ("pull", "i8"), ("pull_cap", "i8"), ("improve", "i8"), ("improve_pull", "i8"),  # Q16, Q16, Q16, Q15
    ("improve_step", "i8"), ("follow", "i8"), ("lock", "i8"),  # Q8, Q16, Q16
    ("queue", "i8"), ("queue_pull", "i8"), ("revert", "i8"), ("fleeting", "i8"),  # shares, Q16, Q16, Q8
    ("cancel_cap", "i8"), ("cancel_level", "i8"), ("cancel_pull", "i8"), ("gap", "i8"), ("both", "i8"),  # shares, then Q8
])  # fmt: skip
SYMBOL_STATE = record([
    ("time", "i8"), ("grid", "i8"),  # ns since the start: now, and when the next step of the hub is due
    ("random0", "u8"), ("random1", "u8"), ("random2", "u8"), ("random3", "u8"),  # xoshiro256++
    ("bid", "i8"), ("ask", "i8"), ("bid_size", "i8"), ("ask_size", "i8"),  # ticks, shares
    ("value", "i8"), ("lag_market", "i8"), ("lag_sector", "i8"), ("own", "i8"),  # Q16 ticks, normals, normals, Q24
    ("rate", "i8"), ("fast", "i8"), ("medium", "i8"), ("slow", "i8"),  # events/s by origin, Q12
    ("fast_rest", "i8"), ("medium_rest", "i8"),  # part of a table step of decay not yet applied, Q30
    ("shock_time", "i8"), ("shock", "i8"), ("shock_jump", "i8"),  # ns, Q12, Q16 ticks
    ("direction", "i8"), ("repeats", "i8"),  # +-1 of the last aggressor, how often it still repeats
    ("last_move", "i8"),  # +-1: side of the last depletion or lock
    ("fleeting_bid", "i8"), ("fleeting_ask", "i8"),  # shares that leave at the next event of the side
    ("depleted", "i8"),  # by the running event: +1 the ask, -1 the bid, 0 none
])  # fmt: skip
EVENT = record([
    ("ts", "i8"), ("kind", "i8"), ("bid", "i8"), ("ask", "i8"), ("bid_size", "i8"), ("ask_size", "i8"), ("price", "i8"), ("shares", "i8"),
])  # fmt: skip
QUOTE, TRADE = 0, 1  # Kind of pipeline/schemas.py


@kernel("u8", inline=True)
def mix_point(x):
    """SplitMix64: the output that follows state `x` (Steele, Lea and Flood 2014). A hash of a counter is a random number of its own."""
    x = x + u64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> u64(30))) * u64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> u64(27))) * u64(0x94D049BB133111EB)
    return x ^ (x >> u64(31))


@kernel("SYMBOL_STATE", inline=True)
def draw_point(s):
    """Next 64 bits of the symbol's own xoshiro256++ (Blackman and Vigna 2019)."""
    s0, s1, s2, s3 = s.random0, s.random1, s.random2, s.random3
    r = s0 + s3
    out = ((r << u64(23)) | (r >> u64(41))) + s0
    t = s1 << u64(17)
    s2 ^= s0
    s3 ^= s1
    s.random1 = s1 ^ s2
    s.random0 = s0 ^ s3
    s.random2 = s2 ^ t
    s.random3 = (s3 << u64(45)) | (s3 >> u64(19))
    return out


@kernel("u8", inline=True)
def normal_point(r):
    """Sum of the four 16-bit parts of `r`, centred: near normal, mean 0, sd 37,837."""
    part = u64(0xFFFF)
    return i64(r & part) + i64((r >> u64(16)) & part) + i64((r >> u64(32)) & part) + i64(r >> u64(48)) - 131_070


@kernel("i8, i8[:]", inline=True)
def power_point(y, power):
    """2**y of Q16 `y`, Q16; `power` is the table of 2**-(i/1024). |y| is held below 14."""
    y = min(max(y, -(14 << 16)), 14 << 16)
    n = y >> 16
    b = power[1023 - ((y & 0xFFFF) >> 6)] * 2  # 2**f = 2 * 2**-(1 - f)
    return b << n if n >= 0 else b >> -n


@kernel("i8, i8, i8[:]", inline=True)
def decay_point(x, halvings, power):
    """`x` after Q40 `halvings`, whole table steps of 2**-10 only; the caller carries the rest, or bursts would never decay."""
    whole = halvings >> 40
    return ((x * power[(halvings >> 30) & 1023]) >> 16) >> (whole if whole < 60 else 60)


@kernel("u8, i8[:]", inline=True)
def wait_point(r, exponential):
    """Exponential waiting time of mean 1, Q16: multiples of ln 2 by trailing one bits, the part below ln 2 by table."""
    wait = i64(0)
    ones = r >> u64(44)
    while ones & u64(1):
        wait += LN2
        ones >>= u64(1)
    return wait + exponential[i64(r & u64(1023))]


@kernel("i8, i8, i8", inline=True)
def lots_point(size, lot, least):
    """`size` in whole lots, at least `least`."""
    return max(size // lot * lot, least)


@kernel("SYMBOL_STATE, PARAMETERS, HUB_STEP, i8[:], i8[:], i8[:,:]", inline=True)
def grid_step(s, p, hub, kick, power, day):
    """The symbol at a step of the hub: activity, hidden value, and the shock if it answers one (half of the symbols do, 0 to 4 ms late)."""
    step = s.time // GRID
    s.grid = (step + 1) * GRID
    s.slow -= (s.slow * p.slow_decay) >> 20
    s.own += -((s.own * p.own_decay) >> 20) + ((normal_point(mix_point(p.key ^ mix_point(u64(2 * step)))) * p.own_step) >> 16)
    level = ((hub.slow * p.weight_slow) >> 16) + ((hub.fast * p.weight_fast) >> 16) + (((s.own >> 8) * p.weight_own) >> 16)  # log2, Q16

    at = (step // 10) % SESSION_S * SHAPE_PARTS
    part = at // SESSION_S
    rest = at - part * SESSION_S
    activity = day[0, part] + (day[0, part + 1] - day[0, part]) * rest // SESSION_S
    volatility = day[1, part] + (day[1, part + 1] - day[1, part]) * rest // SESSION_S
    s.rate = max((((p.rate * power_point(level, power)) >> 16) * activity) >> 16, 40)
    volatility = (power_point((level * p.value_vol) >> 16, power) * volatility) >> 16

    s.lag_market += ((hub.market - s.lag_market) * p.lag) >> 16
    s.lag_sector += ((hub.sector[p.sector] - s.lag_sector) * p.lag) >> 16
    own = normal_point(mix_point(p.key ^ mix_point(u64(2 * step + 1))))
    move = (s.lag_market * p.beta_market + s.lag_sector * p.beta_sector + own * p.beta_own) >> 16
    s.value = max(s.value + ((((move * volatility) >> 16) * p.value_step) >> 20), VALUE_FLOOR)

    if hub.shock > 0:
        r = mix_point(p.key ^ mix_point(u64(3_000_000_000) + u64(step)))
        s.shock_time = min(s.time + hub.shock_delay + i64(r & u64(0x3FFFFF)), s.grid - 1)
        s.shock = s.shock_jump = 0
        if (r >> u64(24)) & u64(1):
            s.shock = (((hub.shock * p.shock) >> 8) * kick[i64((r >> u64(32)) & u64(255))]) >> 7  # own size: peaks of symbols fall apart
            s.shock_jump = (hub.shock_jump * p.shock_jump) >> 8


@kernel("EVENT, SYMBOL_STATE, i8, i8, i8", inline=True)
def event_point(e, s, kind, price, shares):
    """Write one event with the quote in force."""
    e.ts, e.kind, e.price, e.shares = s.time, kind, price, shares
    e.bid, e.ask, e.bid_size, e.ask_size = s.bid, s.ask, s.bid_size, s.ask_size


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8, ?, i8[:], EVENT[:], i8", inline=True)
def trade_update(s, p, r, pressure, inside, sizes, events, n):
    """An aggressor: its prints on one stamp from event `n` on, and what they take from the queue. Returns the next free event."""
    u2, u3, u4 = i64((r >> u64(16)) & u64(0xFFFF)), i64((r >> u64(32)) & u64(0xFFFF)), i64(r >> u64(48))
    if s.repeats > 0:
        s.repeats -= 1
    else:
        s.direction = 1 if u2 < 32_768 + ((pressure * p.trade_pull) >> 16) else -1
        if (u2 & 255) < p.run:
            s.repeats = u4 & p.run_mask
    up = s.direction > 0

    price = s.ask if up else s.bid
    if inside:
        price = s.bid + 1 + ((u4 >> 8) * (s.ask - s.bid - 1) >> 8)
    elif (u4 & 255) >= 256 - p.outside:
        price = s.ask + 1 if up else max(s.bid - 1, 1)

    prints = 1
    while prints < PRINTS and (u3 & 255) < p.prints:
        u3 = ((u3 * 40_503 + 12_345) >> 3) & 0xFFFF
        prints += 1
    for _ in range(prints):
        u4 = (u4 * 25_173 + 13_849) & 0xFFFF
        size = sizes[u4 >> 8]
        event_point(events[n], s, TRADE, price, size)
        n += 1
        if inside:
            continue
        taken = (((size * p.drain) >> 8) + p.lot - 1) // p.lot * p.lot  # the rest is refilled at once
        if up:
            s.ask_size -= taken
        else:
            s.bid_size -= taken
        if s.ask_size < p.lot or s.bid_size < p.lot:
            s.depleted = s.direction
            break
    return n


@kernel("SYMBOL_STATE, PARAMETERS, u8, i8, i8[:]", inline=True)
def improve_update(s, p, r, pressure, queues):
    """Someone quotes inside the spread, sooner on the side that the value pulls to or that was depleted last."""
    u3, u4 = i64((r >> u64(32)) & u64(0xFFFF)), i64(r >> u64(48))
    up = u3 < 32_768 + ((pressure * p.improve_pull) >> 16) + s.last_move * p.follow
    ticks = 1
    while ticks < s.ask - s.bid - 1 and (u4 & 255) < p.improve_step:
        ticks += 1
        u4 = (u4 * 25_173 + 13_849) & 0xFFFF
    size = lots_point(queues[i64((r >> u64(40)) & u64(255))] >> 1, p.lot, p.lot)
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
    if pressure > 0:
        s.bid += 1
        s.bid_size = size
        s.last_move = 1
    else:
        s.ask -= 1
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
    lean = (pressure * p.queue_pull) >> 16
    target = (p.queue * max(65_536 + (lean if bid else -lean), 1_500)) >> 16
    change = changes[u4 >> 8]
    if fleeting > 0:
        size -= max(min(fleeting, size - p.lot), 0)
        fleeting = 0
    elif ((u1 * 13) & 255) < p.fleeting and not locked:
        size += change
        fleeting = change
    elif u3 * (target + size) < ((target + size) << 15) + p.revert * (target - size) and not locked:
        size += change
    else:
        passed = -pressure if bid else pressure
        level = p.cancel_level + ((passed * p.cancel_pull) >> 16 if passed > 0 else 0)
        size -= size if (u4 & 255) < level else min(change, p.cancel_cap)
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
    size = lots_point(queues[i64((r >> u64(20)) & u64(255))], p.lot, p.lot)
    other = lots_point(queues[i64((r >> u64(36)) & u64(255))] >> 1, p.lot, p.lot)
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


@kernel("SYMBOL_STATE, PARAMETERS, i8[:,:], i8[:], i8[:], i8[:,:], HUB_STEP[:], i8, i8, EVENT[:], i8")
def symbol_update(s, p, tables, exponential, power, day, hub, first, end, events, n):
    """Events of one symbol until `end`, written from event `n` on.

    Parameters
    ----------
    s, p : SYMBOL_STATE (updated in place), PARAMETERS
    tables : (4, 256) int64, quantile tables TRADE_SIZE, SIZE_CHANGE, QUEUE (shares), KICK (Q4)
    exponential, power : (1024,) int64, Q16, of jit/market_tables.py
    day : (2, 13) int64, Q16, activity and volatility over the session
    hub : steps from number `first` on
    end : int, ns since the start, a multiple of GRID
    events : (capacity,) EVENT

    Returns
    -------
    int, next free event; -1 if `events` is full, the state is then useless and the caller goes back to its copy

    References
    ----------
    Hawkes process with exponential kernels by thinning (Ogata 1981); the rest is measured, see the classes in pipeline/market.py.
    """
    if s.time == 0 and s.grid == 0:
        event_point(events[n], s, QUOTE, 0, 0)  # opening quote
        n += 1
    while True:
        if s.time == s.grid:  # blocks end on the grid: their length changes nothing
            if s.time >= end:
                return n
            grid_step(s, p, hub[s.time // GRID - first], tables[KICK], power, day)
        rate = s.rate + s.fast + s.medium + s.slow
        r = draw_point(s)
        dt = ((wait_point(r, exponential) * SECOND) >> 4) // rate
        bound = min(s.grid, s.shock_time)
        early = s.time + dt < bound
        if not early:
            dt = bound - s.time
        s.fast_rest += dt * p.fast_decay
        s.fast = decay_point(s.fast, s.fast_rest, power)
        s.fast_rest &= FRACTION
        s.medium_rest += dt * p.medium_decay
        s.medium = decay_point(s.medium, s.medium_rest, power)
        s.medium_rest &= FRACTION
        s.time += dt
        if not early:
            if bound == s.shock_time:
                s.shock_time = NEVER
                s.fast = max(s.fast, min(s.shock, p.rate_cap))
                s.medium += (min(s.shock, p.rate_cap) * p.shock_medium) >> 16
                s.value = max(s.value + s.shock_jump, VALUE_FLOOR)
            continue
        if i64((r >> u64(12)) & u64(0xFFFFFF)) * rate > (s.rate + s.fast + s.medium + s.slow) << 24:
            continue  # thinned: the rate fell while waiting
        if n + ROOM >= events.size:
            return -1
        if s.fast < p.rate_cap:
            s.fast += p.fast_add
            s.medium += p.medium_add
            s.slow += p.slow_add

        r = draw_point(s)
        spread = s.ask - s.bid
        pressure = ((s.value - ((s.ask + s.bid) << 15)) * p.pull) >> 16  # Q16 gap between the value and the mid
        pressure = min(max(pressure, -p.pull_cap), p.pull_cap)
        u1, u2, u4 = i64(r & u64(0xFFFF)), i64((r >> u64(16)) & u64(0xFFFF)), i64(r >> u64(48))
        if u1 < p.trade and spread > 0:
            inside = spread > 1 and (u4 & 255) < p.inside
            n = trade_update(s, p, r, pressure, inside, tables[TRADE_SIZE], events, n)
            if inside:
                continue  # a print between the quotes changes none
        elif spread > 1 and u2 < min((spread - 1) * p.improve, 62_000):
            improve_update(s, p, r, pressure, tables[QUEUE])
        elif spread == 1 and u2 < p.lock and abs(pressure) > 58_000:
            lock_update(s, p, r, pressure, tables[QUEUE])
        else:
            resize_update(s, p, r, pressure, tables[SIZE_CHANGE])
        if s.depleted != 0:
            deplete_update(s, p, r, tables[QUEUE], tables[KICK])
        event_point(events[n], s, QUOTE, 0, 0)
        n += 1
