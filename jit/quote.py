"""Feature family `quote`: what the best bid and offer look like now, and against their recent past (12 columns)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.math import log_point
from tickarrow.jit.moments import FORGOTTEN, ROUNDING, decay_point, moved_point, store_point
from tickarrow.jit.trigger import QUOTE, differs_point

VERSION = 1
TAU_S = (5.0, 300.0)  # fast: smoothed imbalance; slow: level of spread and depth
INPUTS = ("ts", "symbol", "kind", "bid", "bid_size", "ask", "ask_size")

GRID = 65536.0  # spreads are rounded to 1/65536 tick, so that a constant spread is constant to the bit

QUOTE_STATE = record(
    [
        ("ts", "i8"),  # of the last quote row
        ("changed_ts", "i8"),  # of the last change of the quote
        ("trade_ts", "i8"),
        ("age", "i8"),  # ns for which the quote before this row stood
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        ("mid", "f8"),  # last known mid, and the one before it
        ("mid_before", "f8"),
        ("imbalance_w", "f8"),  # decaying weight and mean
        ("imbalance_mean", "f8"),
        ("spread_w", "f8"),
        ("spread_mean", "f8"),
        ("spread_m2", "f8"),  # decaying sum of squares about the mean
        ("depth_w", "f8"),
        ("depth_mean", "f8"),
        ("spread", "f8"),  # ticks, of this row
        ("depth", "f8"),  # log shares, of this row
        ("mids", "i8"),  # number of mids known, counted to 2
        ("quoted", "?"),
        ("aged", "?"),  # `age` is known
        ("traded", "?"),
        ("two_sided", "?"),  # this row has a mid
    ]
)


def columns(tau_s):
    """Names of the columns in the order of `quote_emit`."""
    fast, slow = (f"{t:g}s" for t in tau_s)
    return [
        "spread_ticks", "spread_bp", "mid_return", "micro_dev", "imbalance", f"imbalance_{fast}", f"spread_z_{slow}",
        "quote_age", "trade_age", "quote_slope", "depth", f"depth_rel_{slow}",
    ]  # fmt: skip


@kernel("QUOTE_STATE, f8[:], f8, i8, u1, f8, f8, f8, f8", inline=True)
def quote_step(s, rate, tick_size, ts, kind, bid, bid_size, ask, ask_size):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : QUOTE_STATE of the symbol, updated in place
    rate : (2,) float64, -1e-9 / tau_s
    tick_size : float64, currency
    ts : int64, ns; a time before the last one counts as no time
    kind : uint8, Kind. A trade only sets the time of the last trade
    bid, bid_size, ask, ask_size : float64, currency and shares, NaN = missing

    Notes
    -----
    Every quote row is one sample of the decaying means, also a row that repeats the quote; a missing value is no sample.
    Means and squares: West (1979), Updating mean and variance estimates, with decaying weights.
    """
    if kind != QUOTE:
        s.trade_ts = ts
        s.traded = True
        return
    changed = (
        not s.quoted
        or differs_point(bid, s.bid)
        or differs_point(bid_size, s.bid_size)
        or differs_point(ask, s.ask)
        or differs_point(ask_size, s.ask_size)
    )
    s.aged = s.quoted
    s.age = max(ts - s.changed_ts, 0)
    if changed:
        s.changed_ts = ts
    if s.quoted and ts > s.ts:
        fast = decay_point(ts - s.ts, rate[0])
        slow = decay_point(ts - s.ts, rate[1])
        s.imbalance_w *= fast
        s.spread_w *= slow
        s.spread_m2 *= slow
        s.depth_w *= slow
    if ts > s.ts or not s.quoted:
        s.ts = ts
    s.quoted = True
    s.bid, s.bid_size = bid, bid_size
    s.ask, s.ask_size = ask, ask_size

    mid = 0.5 * (bid + ask)
    s.two_sided = mid > 0.0
    s.spread = np.nan
    s.depth = np.nan
    if not s.two_sided:
        return
    s.mid_before = s.mid
    if s.mids == 0 or moved_point(mid, s.mid, tick_size):
        s.mid = mid
    s.mids = min(s.mids + 1, 2)

    x = np.rint((ask - bid) / tick_size * GRID) / GRID
    s.spread = x
    before = s.spread_w
    s.spread_w += 1.0
    delta = x - s.spread_mean
    s.spread_mean += delta / s.spread_w
    s.spread_m2 += delta * delta * (before / s.spread_w)
    total = bid_size + ask_size
    if total > 0.0:
        s.imbalance_w += 1.0
        s.imbalance_mean += ((bid_size - ask_size) / total - s.imbalance_mean) / s.imbalance_w
        s.depth = log_point(total)
        s.depth_w += 1.0
        s.depth_mean += (s.depth - s.depth_mean) / s.depth_w


@kernel("QUOTE_STATE, i8, i4[:], i8, out f4[:,:]", inline=True)
def quote_emit(s, ts, where, row, x):
    """Write the columns of a symbol as of its last quote row.

    Parameters
    ----------
    s : QUOTE_STATE of the symbol
    ts : int64, ns, time of that row
    where : (12,) int32, column of x, -1 = not wanted
    row : int64, row of x
    x : (capacity, n_features) float32

    Notes
    -----
    0 spread_ticks   (a - b) / tick
    1 spread_bp      1e4 (a - b) / m
    2 mid_return     ln(m / m'), m' the mid of the quote row before; 0 if the mid is unchanged
    3 micro_dev      (micro - m) / (a - b), micro = (a bs + b as) / (bs + as); Gatheral and Oomen (2010)
    4 imbalance      (bs - as) / (bs + as); Cao, Hansch and Wang (2009)
    5 imbalance_5s   decaying mean of 4, tau_s[0]
    6 spread_z_300s  (spread - mean) / deviation of the decaying moments of 0, tau_s[1], this row included
    7 quote_age      ln(1 + seconds for which the quote before this row stood)
    8 trade_age      ln(1 + seconds since the last trade)
    9 quote_slope    (ln a - ln b) / (ln bs + ln as); Hasbrouck and Seppi (2001)
    10 depth         ln(bs + as)
    11 depth_rel_300s  10 less its decaying mean, tau_s[1]

    NaN: 0 to 4, 6, 9 to 11 without both sides or sizes, or with a zero denominator; 2 and 7 at the first quote; 5 before the first
    two-sided quote; 6 while the spread has not varied; 8 before the first trade.
    """
    nan = np.nan
    spread_bp = mid_return = micro = imbalance = smoothed = z = quote_age = trade_age = slope = relative = nan
    total = s.bid_size + s.ask_size
    if s.two_sided:
        spread_bp = 1e4 * (s.ask - s.bid) / s.mid
        if s.mids == 2:
            mid_return = log_point(s.mid / s.mid_before)
        if total > 0.0:
            imbalance = (s.bid_size - s.ask_size) / total
            if s.spread != 0.0:
                micro = ((s.ask * s.bid_size + s.bid * s.ask_size) / total - s.mid) / (s.ask - s.bid)
        if s.bid_size > 0.0 and s.ask_size > 0.0 and s.bid > 0.0 and s.ask > 0.0:
            denominator = log_point(s.bid_size) + log_point(s.ask_size)
            if denominator != 0.0:
                slope = log_point(s.ask / s.bid) / denominator
        if s.spread_m2 > ROUNDING * s.spread_w * s.spread_mean * s.spread_mean and s.spread_m2 > FORGOTTEN:
            z = (s.spread - s.spread_mean) / np.sqrt(s.spread_m2 / s.spread_w)
        relative = s.depth - s.depth_mean
    if s.imbalance_w > FORGOTTEN:
        smoothed = s.imbalance_mean
    if s.aged:
        quote_age = log_point(1.0 + float(s.age) * 1e-9)
    if s.traded:
        trade_age = log_point(1.0 + float(max(ts - s.trade_ts, 0)) * 1e-9)
    store_point(x, row, where, 0, s.spread)
    store_point(x, row, where, 1, spread_bp)
    store_point(x, row, where, 2, mid_return)
    store_point(x, row, where, 3, micro)
    store_point(x, row, where, 4, imbalance)
    store_point(x, row, where, 5, smoothed)
    store_point(x, row, where, 6, z)
    store_point(x, row, where, 7, quote_age)
    store_point(x, row, where, 8, trade_age)
    store_point(x, row, where, 9, slope)
    store_point(x, row, where, 10, s.depth)
    store_point(x, row, where, 11, relative)


@kernel("QUOTE_STATE[:], f8[:], i4[:], f8[:], i8[:], i4[:], u1[:], f8[:], f8[:], f8[:], f8[:], i8, i8, i8, u8[:], i8, i8, out f4[:,:]")
def quote_update(state, rate, where, tick_size, ts, symbol, kind, bid, bid_size, ask, ask_size, lo, hi, first, row_seq, row_lo, row_hi, x):
    """Walk the ticks and write the family's columns of the due rows.

    Parameters
    ----------
    state : (n_symbols,) QUOTE_STATE, updated in place
    rate : (2,) float64, -1e-9 / tau_s
    where : (12,) int32, column of x of each column of the family, -1 = not wanted
    tick_size : (n_symbols,) float64, currency
    ts, symbol, kind : (capacity,) int64 ns, int32 row of `state`, uint8 Kind; the caller guarantees the range of symbol
    bid, bid_size, ask, ask_size : (capacity,) float64, NaN = missing
    lo, hi : int, rows [lo, hi) of the columns
    first : int, seq of row 0 of the columns' segment; row i is tick first + i
    row_seq : (capacity of x,) uint64, seq of the due rows
    row_lo, row_hi : int, due rows [row_lo, row_hi), all of ticks in [lo, hi)
    x : (capacity, n_features) float32
    """
    j = row_lo
    due = np.int64(row_seq[j]) - first if j < row_hi else hi
    for i in range(lo, hi):
        s = state[symbol[i]]
        quote_step(s, rate, tick_size[symbol[i]], ts[i], kind[i], bid[i], bid_size[i], ask[i], ask_size[i])
        if i == due:
            quote_emit(s, ts[i], where, j, x)
            j += 1
            due = np.int64(row_seq[j]) - first if j < row_hi else hi
