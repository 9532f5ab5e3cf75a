"""Slow twin of the bar columns of family `liquidity`, from the whole history of a lane; bars are `feature_bars.Bar`."""

from __future__ import annotations

import math
from itertools import pairwise

NAN = math.nan


def illiquidity(a, b):
    """|log return| in bp per million of currency; None without volume."""
    return 1e4 * abs(math.log(b.close / a.close)) / (b.notional / 1e6) if b.notional > 0 else None


def spread(a, b):
    """Corwin and Schultz (2012) for two bars, bp."""
    high, low = b.high, b.low
    if low > a.close:
        high, low = high - (low - a.close), a.close
    elif high < a.close:
        high, low = a.close, low + (a.close - high)
    beta = math.log(a.high / a.low) ** 2 + math.log(high / low) ** 2
    gamma = math.log(max(a.high, high) / min(a.low, low)) ** 2
    k = 3 - 2 * math.sqrt(2)
    alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
    return 1e4 * max(2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)), 0.0)


def liquidity_bars(bars):
    """Columns as of the last bar."""
    if len(bars) < 21:
        return [NAN, NAN]
    pairs = list(pairwise(bars[-21:]))
    known = [x for a, b in pairs if (x := illiquidity(a, b)) is not None]
    return [math.fsum(known) / len(known) if known else NAN, math.fsum(spread(a, b) for a, b in pairs) / 20]
