"""Slow twins of the market facts: loops over rows, written from the definitions in FACTS."""

import math
from collections import Counter
from itertools import pairwise


def acf(x, lag):
    n, mean = len(x), math.fsum(x) / len(x)
    v = math.fsum((a - mean) ** 2 for a in x) / n
    if n <= lag + 10 or v == 0:
        return math.nan
    return math.fsum((x[i] - mean) * (x[i + lag] - mean) for i in range(n - lag)) / (n - lag) / v


def peak(ts, width):
    return max(sum(t <= u < t + width for u in ts) for t in ts)


def counts(ts, begin, end, width):
    n = (end - begin) // width
    c = Counter((t - begin) // width for t in ts)
    return [c[k] for k in range(n)]


def at(rows, time):
    """Latest value of (time, value) rows at or before a time."""
    got = math.nan
    for t, v in rows:
        if t <= time:
            got = v
    return got


def ofi(quotes):
    """quotes: (bid, bid size, ask, ask size); the four cases of the paper one by one."""
    out = [0.0]
    for (b0, bs0, a0, as0), (b1, bs1, a1, as1) in pairwise(quotes):
        bid = bs1 if b1 > b0 else -bs0 if b1 < b0 else bs1 - bs0
        ask = as1 if a1 < a0 else -as0 if a1 > a0 else as1 - as0
        out.append(bid - ask)
    return out


def signs(rows):
    """rows: ("q", bid, ask) or ("t", price) in integer ticks; sign of each trade."""
    out, quote, previous, direction = [], None, None, 0
    for kind, *v in rows:
        if kind == "q":
            quote = v
            continue
        (price,) = v
        if previous is not None and price != previous:
            direction = 1 if price > previous else -1
        previous = price
        twice = 2 * price - sum(quote) if quote else 0
        out.append((twice > 0) - (twice < 0) or direction)
    return out


def spread_shares(quotes, end):
    """quotes: (time, ticks); share of time at each width."""
    held = Counter()
    for (t, width), until in zip(quotes, [t for t, _ in quotes[1:]] + [end]):
        held[width] += until - t
    total = sum(held.values())
    return {width: t / total for width, t in held.items()}


def correlation(x, y):
    mx, my = math.fsum(x) / len(x), math.fsum(y) / len(y)
    xy = math.fsum((a - mx) * (b - my) for a, b in zip(x, y))
    xx, yy = math.fsum((a - mx) ** 2 for a in x), math.fsum((b - my) ** 2 for b in y)
    return xy / math.sqrt(xx * yy) if xx > 0 and yy > 0 else math.nan
