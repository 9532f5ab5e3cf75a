"""Bars: built tick by tick, closed by time (all lanes at once) or by ticks, volume, money (each lane on its own).

A driver holds, for S symbols (lanes), zeros at the start unless said otherwise:

    bar    (S,) BAR_STATE, or one nested in the record of each symbol     the open bar
    price  (4, S) int64, flow (5, S) float64, when (2, S) int64           the bar that closed last, rows named below
    n      (S,) int64, -1 at the start                                    bars of the lane closed before that one; -1 = none has closed
    base   (S,) int64, unit (S,) float64 = tick_size / UNITS              currency = (base + price) * unit

and calls, at each tick,

    if rule == TIME and bars_due(clock, e.ts):                            # before clock_step: the clock still tells the session of the bar
        bars_close(bar, 0, S, clock.next_bar - every_ns, clock.next_bar, price, flow, when, n, base)
        X_bars(f, q, price, flow, base, unit, n, when, clock, 0, S, clock.bars, out)    # of every family with bars
        clock.bars += 1
    if rule == TIME:
        bars_next(clock, e.ts, every_ns)
    clock_step(...), event_step(...)
    if bar_step(bar[k], e, rule, of_mid, threshold):                      # k = e.symbol; never true for TIME
        bar_close(bar[k], k, bar[k].begin, e.ts, price, flow, when, n, base)
        X_bars(f, q, price, flow, base, unit, n, when, clock, k, k + 1, n[k], out)
        clock.bars += 1

So `pos` is `clock.bars` before it is raised where all lanes close together, and the lane's own n where each closes alone.
Boundaries of time are multiples of `every_ns` since 1970 in UTC; see docs/decisions/0016 for why no timer closes a bar.
"""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import CLOCK, EVENT

# The bar that has just closed, as kernels of the bar clock see it: arrays (rows, n_symbols), a lane is a symbol.
OPEN, HIGH, LOW, CLOSE = range(4)  # rows of `price` int64: units from `base`; currency = (base + price) * unit
VOLUME, NOTIONAL, TRADES, SIGNED, VARIANCE = range(5)  # rows of `flow` float64: shares, currency, number, shares, bp^2 of mid changes
BEGIN, END = range(2)  # rows of `when` int64, ns UTC
UNITS = 100  # to a tick: mids and prices between ticks are exact

TIME, TICKS, SHARES, MONEY = range(4)  # rules: what closes a bar
LEAST, MOST = 0.5, 2.0**52  # units: a price lies between, so that it is positive when it is rounded to units

BAR_STATE = record(
    [
        ("anchor", "i8"),  # first price of the lane, units
        ("open", "i8"),  # units from `base`, also the next three
        ("high", "i8"),
        ("low", "i8"),
        ("close", "i8"),
        ("volume", "f8"),
        ("notional", "f8"),
        ("trades", "f8"),
        ("signed", "f8"),
        ("variance", "f8"),
        ("begin", "i8"),  # ns, of the first row in the bar; kept for the rules other than TIME
        ("bars", "i8"),  # closed
        ("priced", "?"),  # the lane has a price
        ("moved", "?"),  # a price came in this bar; else the four are the last price
        ("begun", "?"),  # `begin` is set
    ]
)


@kernel("BAR_STATE, EVENT, i8, ?, f8", inline=True)
def bar_step(s, e, rule, of_mid, threshold):
    """Put one tick into the open bar of its symbol.

    Parameters
    ----------
    s : BAR_STATE of the symbol, updated in place
    e : EVENT of the tick
    rule : int64, TIME, TICKS, SHARES or MONEY
    of_mid : bool, prices are the mids of quotes; else those of trades
    threshold : float64, trades, shares or currency that fill a bar; not read for TIME

    Returns
    -------
    bool, the bar is full and this tick was its last. What it has above the threshold is not carried to the next bar. A lane without a
    price keeps its bar open.

    Notes
    -----
    A trade without a price (NaN, not above half a unit, beyond 2**52 units) or with an infinite size enters nothing, so that notional over volume
    is a price. Every change of the mid enters the variance, whatever makes the prices.
    """
    if rule != TIME and not s.begun:
        s.begin = e.ts
        s.begun = True
    scale = UNITS / e.tick_size
    traded = False
    x = e.mid * scale
    if e.is_trade:
        x = e.price * scale
        traded = LEAST < x < MOST and e.quantity < np.inf
        if traded:
            s.volume += e.quantity
            s.notional += e.price * e.quantity
            s.trades += 1.0
            s.signed += e.signed
    elif e.moved:
        s.variance += e.r * e.r
    if (e.is_quote and LEAST < x < MOST) if of_mid else traded:
        units = np.int64(np.rint(x))
        if not s.priced:
            s.anchor = units
            s.priced = True
        units = units - s.anchor
        if not s.moved:
            s.moved = True
            s.open = units
            s.high = units
            s.low = units
        s.high = max(s.high, units)
        s.low = min(s.low, units)
        s.close = units
    if rule == TIME or not s.priced:
        return False
    filled = s.trades
    if rule == SHARES:
        filled = s.volume
    elif rule == MONEY:
        filled = s.notional
    return filled >= threshold


@kernel("BAR_STATE, i8, i8, i8, out i8[:,:], out f8[:,:], out i8[:,:], out i8[:], out i8[:]", inline=True)
def bar_close(s, lane, begin, end, price, flow, when, n, base):
    """Move the open bar of a lane to the closed ones and begin a new one, flat at the last price; a lane without a price keeps n = -1.

    Parameters
    ----------
    s : BAR_STATE of the lane, updated in place
    lane : int64
    begin, end : int64, ns UTC, of the bar
    price : (4, S) int64, flow : (5, S) float64, when : (2, S) int64, n, base : (S,) int64; column `lane` is written
    """
    if not s.priced:
        n[lane] = -1
        return
    n[lane] = s.bars
    base[lane] = s.anchor
    when[BEGIN, lane] = begin
    when[END, lane] = end
    price[OPEN, lane] = s.open
    price[HIGH, lane] = s.high
    price[LOW, lane] = s.low
    price[CLOSE, lane] = s.close
    flow[VOLUME, lane] = s.volume
    flow[NOTIONAL, lane] = s.notional
    flow[TRADES, lane] = s.trades
    flow[SIGNED, lane] = s.signed
    flow[VARIANCE, lane] = s.variance
    s.bars += 1
    s.open = s.close
    s.high = s.close
    s.low = s.close
    s.volume = 0.0
    s.notional = 0.0
    s.trades = 0.0
    s.signed = 0.0
    s.variance = 0.0
    s.moved = False
    s.begun = False


@kernel("BAR_STATE[:], i8, i8, i8, i8, out i8[:,:], out f8[:,:], out i8[:,:], out i8[:], out i8[:]")
def bars_close(state, lo, hi, begin, end, price, flow, when, n, base):
    """`bar_close` of lanes [lo, hi).

    Parameters
    ----------
    state : (S,) BAR_STATE, updated in place
    lo, hi : int64, lanes
    begin, end : int64, ns UTC, of the bars
    price : (4, S) int64, flow : (5, S) float64, when : (2, S) int64, n, base : (S,) int64; columns [lo, hi) are written
    """
    for lane in range(lo, hi):
        bar_close(state[lane], lane, begin, end, price, flow, when, n, base)


@kernel("CLOCK, i8", inline=True)
def bars_due(c, ts):
    """Whether the bars of all lanes end before a tick at `ts` enters: it is the first at or after the boundary.

    Parameters
    ----------
    c : CLOCK; next_bar 0 = no tick yet
    ts : int64, ns UTC, after 1970
    """
    return c.next_bar != 0 and ts >= c.next_bar


@kernel("CLOCK, i8, i8", inline=True)
def bars_next(c, ts, every_ns):
    """Set the boundary behind a tick at `ts`. Intervals without a tick of any symbol are stepped over: they make no bars.

    Parameters
    ----------
    c : CLOCK, next_bar is updated; time that goes backwards changes nothing
    ts : int64, ns UTC, after 1970
    every_ns : int64, length of a bar
    """
    if ts >= c.next_bar:
        c.next_bar = ts - ts % every_ns + every_ns
