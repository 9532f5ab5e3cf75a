"""Slow twins of the simulated gateway's bars and depth: plain Python over the rows, no code of the simulator."""

from __future__ import annotations

from statistics import fmean


def missing(x):
    return x != x


def quotes_of(rows, symbol):
    """(ts, bid, bid size, ask, ask size) in force after each quote row of a symbol."""
    out, q = [], [float("nan")] * 4
    for ts, s, kind, mask, *values in rows:
        if s == symbol and kind == 0:
            q = [v if mask >> k & 1 else old for k, (v, old) in enumerate(zip(values, q))]
            for price in 0, 2:
                if mask >> price & 1 and missing(values[price]):
                    q[price + 1] = values[price]
            shown = [q[0], float("nan") if missing(q[0]) else q[1], q[2], float("nan") if missing(q[2]) else q[3]]
            out.append((ts, *shown))
    return out


def series(rows, symbol, what):
    """(ts, value, shares) of trades, or of a side or the middle of the quote."""
    if what == "TRADES":
        return [(r[0], r[8], r[9]) for r in rows if r[1] == symbol and r[2] == 1 and not missing(r[8])]
    pick = {"BID": lambda q: q[1], "ASK": lambda q: q[3], "MIDPOINT": lambda q: (q[1] + q[3]) / 2.0}[what]
    return [(q[0], pick(q), 0.0) for q in quotes_of(rows, symbol) if not missing(pick(q))]


def bars(rows, symbol, what, seconds, lo, hi):
    """(begin, open, high, low, close, volume, average, count) of the bars of [lo, hi)."""
    step, points, out = seconds * 10**9, series(rows, symbol, what), []
    for k in range(lo // step, -(-hi // step)):
        a, b = max(k * step, lo), min((k + 1) * step, hi)
        inside = [p for p in points if a <= p[0] < b]
        if what != "TRADES":
            before = [p for p in points if p[0] < a]
            inside = before[-1:] + inside
        if not inside:
            continue
        values = [p[1] for p in inside]
        shares = sum(p[2] for p in inside)
        more = (-1.0, -1.0, -1)
        if what == "TRADES":
            wap = sum(p[1] * p[2] for p in inside) / shares if shares else fmean(values)
            more = (shares, wap, len(inside))
        out.append((k * step, values[0], max(values), min(values), values[-1], *more))
    return out


def books(frames, rows):
    """The book of one request after each of its messages: [asks, bids], each a list of (price, size), best first."""
    book = [[], []]
    for f in frames:
        position, *rest = f[3:]
        operation, side, price, size = rest if f[0] == "12" else rest[1:5]
        levels, at = book[int(side)], int(position)
        level = (float(price), float(size))
        if operation == "0":
            levels.insert(at, level)
        elif operation == "1":
            assert levels[at][0] == level[0]
            levels[at] = level
        else:
            assert levels.pop(at)[0] == level[0]
        assert at <= len(levels) <= rows
        yield [list(x) for x in book]
