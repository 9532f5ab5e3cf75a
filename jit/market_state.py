"""State, parameters and random numbers of the generated market's symbols: integers of fixed point.

`Qn` means that the stored integer is the value times 2**n. Rates are Q12 events/s, the hidden value is Q16 ticks, log2 volatilities in
states are Q24, weights Q16, shares that are compared with one byte Q8, with 16 bits Q16."""

import numpy as np

from tickarrow.jit._kernel import kernel, record

u64 = np.uint64
i64 = np.int64

GRID = 100_000_000  # ns between two steps of the factors
SECOND = 1_000_000_000
STEPS = 10  # of the factors in a second
NEVER = 1 << 62  # a time that does not come
SESSION_S = 23_400  # a session has 6.5 hours; the market's clock goes from one to the next without a night between
SHAPE_PARTS = 12  # intervals of the day shape; its tables have one entry more
PRINTS = 24  # highest number of prints of one aggressor
SWEEP = 16  # a sweep has so many times the prints
ROOM = PRINTS * SWEEP + 8  # rows that must be free before an event: its prints and its quote, or what a pause writes
VALUE_FLOOR = 2 << 16  # lowest hidden value: two ticks, Q16
LN2 = 45_426  # ln 2, Q16
FRACTION = (1 << 30) - 1
SECTORS = 7

TRADE_SIZE, SIZE_CHANGE, QUEUE, KICK = range(4)  # quantile tables of a symbol, 256 entries each; KICK is Q4

HALT, OPEN, CLOSE = range(3)  # kinds of a pause
WIDE = 4  # an indicative quote before the open is so many times as wide

HUB_STEP = record([("market", "i8"), ("sector", "i8", (SECTORS,))])  # normals, sd NORMAL_SD of pipeline/market_classes.py
HUB_SECOND = record([
    ("slow", "i8"), ("fast", "i8"), ("quick", "i8"),  # log2 volatility, Q16
    ("shock", "i8"), ("shock_jump", "i8"), ("shock_delay", "i8"),  # size Q8 (0 = none), signed size Q8, ns after the second begins
])  # fmt: skip
PAUSE = record([("begin", "i8"), ("end", "i8"), ("kind", "i8")])  # whole seconds of the market's clock in ns; HALT, OPEN or CLOSE

# Named like the fields of MarketClass in pipeline/market_classes.py, where their meaning stands; here is how they are scaled.
PARAMETERS = record([
    ("key", "u8"), ("sector", "i8"), ("tick_numerator", "i8"), ("tick_denominator", "i8"), ("lot", "i8"),
    # arrivals: rates Q12 events/s
    ("rate", "i8"), ("rate_cap", "i8"), ("kick", "i8"), ("shock", "i8"),
    ("fast_add", "i8"), ("medium_add", "i8"), ("slow_add", "i8"),  # per event
    ("fast_decay", "i8"), ("medium_decay", "i8"), ("slow_decay", "i8"),  # halvings per ns Q40, the same, share per second Q20
    ("shock_medium", "i8"), ("shock_jump", "i8"),  # Q16, Q16 ticks
    # hidden value and activity: weights Q16
    ("value_step", "i8"),  # Q16 ticks a step at one sd of `normal_point`, itself Q20
    ("beta_market", "i8"), ("beta_sector", "i8"), ("beta_own", "i8"), ("lag", "i8"),
    ("value_vol", "i8"), ("weight_slow", "i8"), ("weight_fast", "i8"), ("weight_quick", "i8"), ("weight_own", "i8"),
    ("own_decay", "i8"), ("own_step", "i8"),  # like those of the hub
    # trades
    ("trade", "i8"), ("trade_pull", "i8"), ("parent", "i8"), ("parent_jump", "i8"), ("parent_lean", "i8"),  # Q16, Q15, Q8, Q16 ticks, Q16
    ("sweep", "i8"), ("prints", "i8"), ("inside", "i8"), ("outside", "i8"), ("drain", "i8"),  # Q16, then Q8
    # quotes
    ("pull", "i8"), ("pull_cap", "i8"), ("improve", "i8"), ("improve_pull", "i8"),  # Q16, Q16, Q16, Q15
    ("improve_step", "i8"), ("follow", "i8"), ("lock", "i8"), ("cross", "i8"),  # Q8, Q16, Q16, Q8
    ("queue", "i8"), ("queue_pull", "i8"), ("revert", "i8"), ("fleeting", "i8"),  # shares, Q16, Q16, Q8
    ("refill", "i8"),  # Q16
    ("cancel_cap", "i8"), ("cancel_level", "i8"), ("cancel_pull", "i8"), ("gap", "i8"), ("both", "i8"),  # shares, then Q8
    ("spread", "i8"), ("auction", "i8"),  # ticks, shares
])  # fmt: skip
SYMBOL_STATE = record([
    ("time", "i8"), ("grid", "i8"),  # ns of the market's clock: now, and the end of the second
    ("step", "i8"),  # next step of the factors that the value has not taken
    ("paused", "i8"), ("pause", "i8"),  # whether the symbol is silent; pauses begun so far
    ("random0", "u8"), ("random1", "u8"), ("random2", "u8"), ("random3", "u8"),  # xoshiro256++
    ("bid", "i8"), ("ask", "i8"), ("bid_size", "i8"), ("ask_size", "i8"),  # ticks, shares
    ("value", "i8"), ("lag_market", "i8"), ("lag_sector", "i8"), ("own", "i8"),  # Q16 ticks, normals, normals, Q24
    ("volatility", "i8"),  # of the value, Q16
    ("rate", "i8"), ("fast", "i8"), ("medium", "i8"), ("slow", "i8"),  # events/s by origin, Q12
    ("fast_rest", "i8"), ("medium_rest", "i8"),  # part of a table step of decay not yet applied, Q30
    ("shock_time", "i8"), ("shock", "i8"), ("shock_jump", "i8"),  # ns, Q12, Q16 ticks
    ("parent", "i8"), ("parent_left", "i8"),  # +-1 of the large order that is being worked, how many trades it still has
    ("last_move", "i8"),  # +-1: side of the last depletion or lock
    ("fleeting_bid", "i8"), ("fleeting_ask", "i8"),  # shares that leave at the next event of the side
    ("depleted", "i8"),  # by the running event: +1 the ask, -1 the bid, 0 none
])  # fmt: skip
EVENT = record([
    ("ts", "i8"), ("kind", "i8"), ("bid", "i8"), ("ask", "i8"), ("bid_size", "i8"), ("ask_size", "i8"), ("price", "i8"), ("shares", "i8"),
])  # fmt: skip
QUOTE, TRADE, NO_QUOTE = 0, 1, 2  # Kind of pipeline/schemas.py; a quote with both sides missing


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
