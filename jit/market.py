"""The generated market: best quotes and trades of correlated symbols from a seed, in integers only, so that every machine gives the
same bytes. Hub and spokes: the hub (factors, volatility, shocks) depends on the seed, a symbol on the seed, its name and its class;
no symbol depends on another, and nothing on the length of a block. Floating point appears once, when prices in ticks become the
double nearest to their decimal text. One symbol is in jit/market_symbol.py, its tables are in jit/market_tables.py."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.market_state import (
    EVENT,
    GRID,
    HUB_SECOND,
    HUB_STEP,
    NO_QUOTE,
    PARAMETERS,
    PAUSE,
    QUOTE,
    SECOND,
    SECTORS,
    STEPS,
    SYMBOL_STATE,
    TRADE,
    mix_point,
    normal_point,
)
from tickarrow.jit.market_symbol import symbol_update

u64 = np.uint64
i64 = np.int64

ALL_GIVEN = 15  # mask of a quote row: both prices, both sizes

HUB_PARAMETERS = record([
    ("key", "u8"), ("slow_decay", "i8"), ("fast_decay", "i8"), ("quick_decay", "i8"),  # of log2 volatility, Q20 a second
    ("slow_step", "i8"), ("fast_step", "i8"), ("quick_step", "i8"),  # innovation, Q24 at one sd of `normal_point`, itself Q16
    ("shock", "i8"),  # probability a second, Q32
])  # fmt: skip
HUB_STATE = record([("slow", "i8"), ("fast", "i8"), ("quick", "i8")])  # log2 volatility, Q24


@kernel("u8, u8", inline=True)
def hash_point(key, count):
    """The random word number `count` of a key."""
    return mix_point(key ^ mix_point(count))


@kernel("HUB_PARAMETERS, i8, HUB_STEP", inline=True)
def hub_step(p, step, out):
    """The factors of 0.1 s: hashes of (seed, step)."""
    count = u64(step) * u64(16)
    out.market = normal_point(hash_point(p.key, count))
    for k in range(SECTORS):
        out.sector[k] = normal_point(hash_point(p.key, count + u64(1 + k)))


@kernel("HUB_STATE, HUB_PARAMETERS, i8, i8[:], HUB_SECOND", inline=True)
def hub_second(state, p, second, shock, out):
    """Volatilities and the shock of one second; only the volatilities remember the seconds before."""
    count = u64(second) * u64(16 * STEPS)
    state.slow += -((state.slow * p.slow_decay) >> 20) + ((normal_point(hash_point(p.key, count + u64(8))) * p.slow_step) >> 16)
    state.fast += -((state.fast * p.fast_decay) >> 20) + ((normal_point(hash_point(p.key, count + u64(9))) * p.fast_step) >> 16)
    state.quick += -((state.quick * p.quick_decay) >> 20) + ((normal_point(hash_point(p.key, count + u64(11))) * p.quick_step) >> 16)
    out.slow = state.slow >> 8
    out.fast = state.fast >> 8
    out.quick = state.quick >> 8
    out.shock = out.shock_jump = out.shock_delay = 0
    r = hash_point(p.key, count + u64(10))
    if i64(r >> u64(32)) < p.shock:
        out.shock = shock[i64(r & u64(255))] * 16
        out.shock_jump = out.shock if (r >> u64(8)) & u64(1) else -out.shock
        out.shock_delay = i64((r >> u64(9)) & u64(0x7FFFF)) * 1900  # below a second


@kernel("EVENT[:], i8[:], i8, i8", inline=True)
def earlier_point(events, cursor, a, b):
    """Whether the next event of symbol `a` comes before that of `b`; ties in symbol order."""
    ta, tb = events[cursor[a]].ts, events[cursor[b]].ts
    return ta < tb or (ta == tb and a < b)


@kernel("EVENT[:], i8[:], out i8[:], i8, i8", inline=True)
def sift_point(events, cursor, heap, root, count):
    """Move the symbol at `root` of the heap down to its place."""
    while True:
        least = 2 * root + 1
        if least >= count:
            return
        if least + 1 < count and earlier_point(events, cursor, heap[least + 1], heap[least]):
            least += 1
        if not earlier_point(events, cursor, heap[least], heap[root]):
            return
        heap[root], heap[least] = heap[least], heap[root]
        root = least


@kernel(
    "HUB_STATE[:], SYMBOL_STATE[:], HUB_PARAMETERS[:], PARAMETERS[:], i8[:,:,:], i8[:,:], PAUSE[:,:], i8[:], i8[:], i8[:], i8[:,:], i8, i8, i8,"
    "HUB_STEP[:], HUB_SECOND[:], EVENT[:], out i8[:], out i8[:], out i8[:],"
    "out i8[:], out i4[:], out u1[:], out u1[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:], out f8[:]"
)
def market_update(
    hub_state, state, hub_parameters, parameters, tables, parents, pauses, shock, exponential, power, day, start, begin, end,
    steps, seconds, events, cursor, ends, heap,
    ts, symbol, kind, mask, bid, bid_size, ask, ask_size, price, size,
):  # fmt: skip
    """All symbols from `begin` to `end`, merged in time: first the hub, then symbol by symbol, then a heap of their next events.

    Parameters
    ----------
    hub_state, state : (1,) HUB_STATE and (n_symbols,) SYMBOL_STATE, updated in place
    hub_parameters, parameters : (1,) HUB_PARAMETERS and (n_symbols,) PARAMETERS
    tables : (n_symbols, 4, 256) int64; parents : (2, 256) int64; see `symbol_update`
    pauses : (n_symbols, k) PAUSE, those that a symbol does not have begin at NEVER
    shock : (256,) int64, Q4, sizes of shocks
    exponential, power, day : see `symbol_update`
    start : int, ns UTC of the time 0 of the market's clock
    begin, end : int, ns of that clock, whole seconds
    steps, seconds : (>= those of the block,) HUB_STEP and HUB_SECOND, scratch
    events : (capacity,) EVENT, scratch
    cursor, ends, heap : (n_symbols,) int64, scratch
    ts .. size : (capacity,) columns of `Rows` (pipeline/source.py): ns UTC, row of the universe, Kind, given sides, currency, shares.
        Prices are ticks * numerator / denominator of the tick size: one rounding, so the double nearest to the decimal text.

    Returns
    -------
    int, rows written; -1 if `capacity` is too small: the states are then useless and the caller goes back to its copies
    """
    first = begin // GRID
    for step in range(first, end // GRID):
        hub_step(hub_parameters[0], step, steps[step - first])
    for second in range(begin // SECOND, end // SECOND):
        hub_second(hub_state[0], hub_parameters[0], second, shock, seconds[second - begin // SECOND])

    n = i64(0)
    count = i64(0)
    for k in range(state.size):
        cursor[k] = n
        n = symbol_update(
            state[k], parameters[k], tables[k], parents, pauses[k], exponential, power, day, steps, seconds, begin, end, events, n
        )
        if n < 0:
            return -1
        ends[k] = n
        if n > cursor[k]:
            heap[count] = k
            count += 1

    for root in range(count // 2 - 1, -1, -1):
        sift_point(events, cursor, heap, root, count)
    row = 0
    while count > 0:
        k = heap[0]
        e = events[cursor[k]]
        numerator, denominator = parameters[k].tick_numerator, float(parameters[k].tick_denominator)
        ts[row], symbol[row], kind[row] = start + e.ts, k, TRADE if e.kind == TRADE else QUOTE
        if e.kind == TRADE:
            mask[row] = 0
            bid[row] = bid_size[row] = ask[row] = ask_size[row] = np.nan
            price[row], size[row] = float(e.price * numerator) / denominator, e.shares
        elif e.kind == NO_QUOTE:
            mask[row] = ALL_GIVEN
            bid[row] = bid_size[row] = ask[row] = ask_size[row] = price[row] = size[row] = np.nan
        else:
            mask[row] = ALL_GIVEN
            bid[row], bid_size[row] = float(e.bid * numerator) / denominator, e.bid_size
            ask[row], ask_size[row] = float(e.ask * numerator) / denominator, e.ask_size
            price[row] = size[row] = np.nan
        row += 1
        cursor[k] += 1
        if cursor[k] == ends[k]:
            count -= 1
            heap[0] = heap[count]
        sift_point(events, cursor, heap, 0, count)
    return row
