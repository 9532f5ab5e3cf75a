"""Runs one feature family over ticks, bars or passes by calling its kernels one by one: columns in float64, before they are rounded for a model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from feature_ticks import START, TICK

from tickarrow.jit import bars, event

SECOND = 1_000_000_000
DAY = 86_400_000_000_000
MIDNIGHT = START // DAY * DAY + 5 * 3_600_000_000_000 - DAY  # of New York, in winter


def sessions(days=30, first=MIDNIGHT):
    """(days, 4) int64: a session from 9:30 to 16:00 New York time on every day, the first on the weekday it falls on."""
    midnight = first + DAY * np.arange(days)
    weekday = (midnight // DAY + 3) % 7  # 1970-01-01 was a Thursday
    return np.ascontiguousarray(np.stack([midnight, midnight + DAY * 19 // 48, midnight + DAY * 2 // 3, weekday], axis=1), np.int64)


def run(family, ticks, tau_s=(), symbols=2, days=None, feed=0):
    """Columns of the tick clock at every quote row.

    Parameters
    ----------
    family : Family
    ticks : list of `naive_features.Tick`
    tau_s : windows; empty = the family's own
    days : sessions, (n, 4) int64

    Returns
    -------
    indices of the quote rows; v (n, n_columns) float64; `state`, the records of the symbols
    """
    tau_s = tuple(tau_s) or family.tau_s
    names = family.columns(tau_s)
    days = sessions() if days is None else days
    rate, w = np.array([-1e-9 / t for t in tau_s]), np.arange(len(tau_s))
    clock, e = np.zeros(1, event.CLOCK)[0], np.zeros(1, event.EVENT)[0]
    clock.session = -1
    shared, state = np.zeros(symbols, event.EVENT_STATE), np.zeros(symbols, family.state)
    rows, out = [], []
    for i, t in enumerate(ticks):
        e.ts, e.symbol, e.kind, e.feed, e.quality = t.ts, t.symbol, t.kind, feed, getattr(t, "flags", 0)
        e.bid, e.bid_size, e.ask, e.ask_size, e.price, e.quantity, e.tick_size = *t[3:9], TICK
        event.clock_step(clock, days, t.ts)
        event.event_step(shared[t.symbol], e, clock, rate)
        family.step(state[t.symbol], e, w)
        if e.is_quote:
            v = np.full(len(names), 77.0)
            family.emit(state[t.symbol], e, w, v, 0)
            rows.append(i)
            out.append(v)
    return rows, np.array(out).reshape(-1, len(names)), state


def run_depth(family, items, tau_s=(), symbols=2, tick=TICK):
    """Columns of a family that reads the depth book, after every item.

    Parameters
    ----------
    items : list of `naive_depth_features.Change` and `Row`, in time order

    Returns
    -------
    (n, n_columns) float64; `state`, the records of the symbols
    """
    tau_s = tuple(tau_s) or family.tau_s
    rate, w = np.array([-1e-9 / t for t in tau_s]), np.arange(len(tau_s))
    e, c = np.zeros(1, event.EVENT)[0], np.zeros(1, event.BOOK_CHANGE)[0]
    e.tick_size = c.tick_size = tick
    state = np.zeros(symbols, family.state)
    out = np.full((len(items), len(family.columns(tau_s))), 77.0)
    for i, item in enumerate(items):
        e.ts, e.symbol, e.quality = item.ts, item.symbol, item.flags
        if hasattr(item, "operation"):
            c.ts, c.symbol, c.quality, c.position, c.operation, c.side, c.price, c.quantity = item
            family.change(state[item.symbol], c, rate, w)
        else:
            family.step(state[item.symbol], e, w)
        family.emit(state[item.symbol], e, w, out[i], 0)
    return out, state


def named(family, ticks, tau_s=(), **options):
    """Values of the last quote row by column name."""
    tau_s = tuple(tau_s) or family.tau_s
    return SimpleNamespace(**dict(zip((c.name for c in family.columns(tau_s)), run(family, ticks, tau_s, **options)[1][-1].tolist())))


def run_bars(family, price, flow, begin=None, every_ns=60_000_000_000, base=10_000 * 100, first=None):
    """Columns of the bar clock after every bar, all lanes at once.

    Parameters
    ----------
    family : Family
    price : (n, 4, lanes) int64, units from `base`; flow : (n, 5, lanes) float64
    first : (lanes,) number of the first bar of each lane, None = 0

    Returns
    -------
    (n, lanes, n_columns) float64
    """
    n, _, lanes = price.shape
    first = np.zeros(lanes, np.int64) if first is None else first
    f, q = np.zeros((family.f_rows, lanes)), np.zeros((family.q_rows, lanes), np.int64)
    out, result = np.full((lanes, len(family.bar_columns)), np.nan), []
    clock = np.zeros(1, event.CLOCK)[0]
    clock.session = -1
    days = sessions()
    begin = days[1, event.OPEN] if begin is None else begin
    for i in range(n):
        end = begin + (i + 1) * every_ns
        event.clock_step(clock, days, end)
        when = np.ascontiguousarray(np.broadcast_to(np.array([[end - every_ns], [end]]), (2, lanes)), np.int64)
        family.bars(
            f, q, np.ascontiguousarray(price[i]), np.ascontiguousarray(flow[i]), np.full(lanes, base), np.full(lanes, TICK / 100),
            np.maximum(i - first, -1), when, clock, 0, lanes, i, out,
        )  # fmt: skip
        result.append(np.where((i >= first)[:, None], out, np.nan))
    return np.array(result)


def run_cross(family, ticks, symbols=3, sector=None, index=-1, every_ns=60_000_000_000, trades=0):
    """Columns of the cross-section after every pass, with bars of time, or of `trades` trades if that is not 0.

    Parameters
    ----------
    family : Family
    ticks : list of `naive_features.Tick`
    sector : (symbols,) codes; None = all in one
    index : symbol of the index, -1 = mean

    Returns
    -------
    boundaries of the passes, list of ns; (n_passes, symbols, n_columns) float64
    """
    sector = np.zeros(symbols, np.int32) if sector is None else np.asarray(sector, np.int32)
    f, q = np.zeros((family.f_rows, symbols)), np.zeros((family.q_rows, symbols), np.int64)
    w, e, clock = np.zeros(0, np.int64), np.zeros(1, event.EVENT)[0], np.zeros(1, event.CLOCK)[0]
    clock.session = -1
    shared, days = np.zeros(symbols, event.EVENT_STATE), sessions()
    bar = np.zeros(symbols, bars.BAR_STATE)
    closed = np.zeros((4, symbols), np.int64), np.zeros((5, symbols)), np.zeros((2, symbols), np.int64)
    n, base = np.full(symbols, -1, np.int64), np.zeros(symbols, np.int64)
    price, flow, when = closed
    out, times, result = np.full((symbols, len(family.pass_columns)), np.nan), [], []

    def bars_closed(lo, hi, at):
        if family.bars is not None:
            family.bars(f, q, price, flow, base, np.full(symbols, TICK / bars.UNITS), n, when, clock, lo, hi, at, flow)
        clock.bars += 1

    for t in ticks:
        if not trades and bars.bars_due(clock, t.ts):
            bars.bars_close(bar, 0, symbols, clock.next_bar - every_ns, clock.next_bar, *closed, n, base)
            bars_closed(0, symbols, clock.bars)
        bars.bars_next(clock, t.ts, every_ns)
        event.clock_step(clock, days, t.ts)
        if t.ts >= clock.next_pass:
            if clock.next_pass > 0:
                family.passes(f, q, sector, index, clock, out)
                times.append(int(clock.next_pass))
                result.append(out.copy())
                clock.passes += 1
            clock.next_pass = (t.ts // SECOND + 1) * SECOND
        k = t.symbol
        e.ts, e.symbol, e.kind = t.ts, k, t.kind
        e.bid, e.bid_size, e.ask, e.ask_size, e.price, e.quantity, e.tick_size = *t[3:9], TICK
        event.event_step(shared[k], e, clock, np.zeros(0))
        family.lane_step(f, q, e, w)
        if bars.bar_step(bar[k], e, bars.TICKS if trades else bars.TIME, False, float(trades)):
            bars.bar_close(bar[k], k, bar[k].begin, e.ts, *closed, n, base)
            bars_closed(k, k + 1, n[k])
    return times, np.array(result).reshape(len(result), symbols, len(family.pass_columns))
