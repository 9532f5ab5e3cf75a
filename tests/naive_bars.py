"""Slow twin of the bar builder: bars cut out of the whole list of ticks by their definition."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

from naive_features import QUOTE, TRADE, same_price, trade_signs, two_sided


class Bar(NamedTuple):
    """A closed bar; prices in hundredths of a tick from zero."""

    number: int
    begin: int
    end: int
    open: int
    high: int
    low: int
    close: int
    volume: float
    notional: float
    trades: int
    signed: float
    variance: float


class Entry(NamedTuple):
    """What a tick brings to the bar of its symbol."""

    at: int  # position among all ticks
    ts: int
    price: int | None  # hundredths of a tick
    volume: float = 0.0
    notional: float = 0.0
    trades: int = 0
    signed: float = 0.0
    variance: float = 0.0


def entries(ticks, symbol, of_mid, tick):
    """One entry for each row of the symbol."""
    own = [(i, t) for i, t in enumerate(ticks) if t.symbol == symbol]
    unit = Fraction(str(tick)) / 100
    trades = [t for _, t in own if t.kind == TRADE and t.size > 0]
    signs = iter(trade_signs(trades, tick))
    out, last = [], math.nan
    for i, t in own:
        if t.kind == QUOTE:
            mid = (t.bid + t.ask) / 2
            square = 0.0
            if two_sided(t) and not math.isnan(last) and not same_price(mid, last, tick):
                square = (1e4 * math.log(mid / last)) ** 2
            if two_sided(t) and (square or math.isnan(last)):
                last = mid
            exact = (Fraction(str(t.bid)) + Fraction(str(t.ask))) / 2 if two_sided(t) else None
            out.append(Entry(i, t.ts, round(exact / unit) if of_mid and two_sided(t) else None, variance=square))
            continue
        sign = next(signs) if t.size > 0 else 0
        if t.size > 0 and not math.isnan(t.price):
            price = None if of_mid else round(Fraction(str(t.price)) / unit)
            out.append(Entry(i, t.ts, price, t.size, t.price * t.size, 1, sign * t.size))
        else:
            out.append(Entry(i, t.ts, None))
    return out


def bar(number, begin, end, inside, last):
    """One bar of its entries; `last` = price before it."""
    prices = [e.price for e in inside if e.price is not None] or [last]
    sums = [math.fsum(e[k] for e in inside) for k in range(3, 8)]
    return Bar(number, begin, end, prices[0], max(prices), min(prices), prices[-1], *sums)


def last_price(before):
    return next((e.price for e in reversed(before) if e.price is not None), None)


def time_bars(ticks, symbol, every_ns, of_mid, tick):
    """Closed bars of a symbol among all ticks."""
    interval = list(accumulate((t.ts // every_ns for t in ticks), max))
    mine, out = entries(ticks, symbol, of_mid, tick), []
    for k in sorted(set(interval))[:-1]:
        before = [e for e in mine if interval[e.at] < k]
        inside = [e for e in mine if interval[e.at] == k]
        if last_price(before + inside) is None:
            continue
        if not out:  # what came before the first price waits for it
            before, inside = [], before + inside
        out.append(bar(len(out), k * every_ns, (k + 1) * every_ns, inside, last_price(before)))
    return out


def filled_bars(ticks, symbol, rule, threshold, of_mid, tick):
    """Closed bars of a symbol by "trades", "volume" or "notional"."""
    out, inside, last = [], [], None
    for e in entries(ticks, symbol, of_mid, tick):
        inside.append(e)
        known = last_price(inside)
        if sum(getattr(x, rule) for x in inside) >= threshold and (known is not None or last is not None):
            out.append(bar(len(out), inside[0].ts, e.ts, inside, last))
            inside, last = [], out[-1].close
    return out
