"""Slow twin of the bar columns of family `shape`, from the whole history of a lane; bars are `feature_bars.Bar`."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np

NAN = math.nan


def variance_ratio(closes, q):
    """Lo and MacKinlay (1988), 1-bar and overlapping q-bar returns, unbiased."""
    y = [math.log(c / closes[0]) for c in closes]
    count = len(y) - 1
    drift = (y[-1] - y[0]) / count
    one = math.fsum((b - a - drift) ** 2 for a, b in pairwise(y)) / (count - 1)
    many = math.fsum((b - a - q * drift) ** 2 for a, b in zip(y, y[q:])) / (q * (count - q + 1) * (1 - q / count))
    return many / one if len(set(closes)) > 1 else NAN


def shape_bars(bars):
    """Columns as of the last bar."""
    out, n = [NAN] * 5, len(bars)
    closes = [b.close for b in bars]
    if n >= 241:
        out[0], out[1] = (variance_ratio(closes[-241:], q) for q in (5, 20))
        changes = [Fraction(b, a) for a, b in pairwise(closes[-241:])]
        smaller, equal = sum(x < changes[-1] for x in changes), sum(x == changes[-1] for x in changes)
        out[4] = (smaller + equal / 2) / 240
    if n >= 21:
        up = math.fsum(b.volume for a, b in pairwise(bars[-21:]) if b.close > a.close)
        down = math.fsum(b.volume for a, b in pairwise(bars[-21:]) if b.close < a.close)
        out[2] = up / down if down else NAN
    if n >= 61:
        sizes = [abs(math.log(b / a)) for a, b in pairwise(closes[-61:])]
        volumes = [b.volume for b in bars[-60:]]
        exact = {max(Fraction(a, b), Fraction(b, a)) for a, b in pairwise(closes[-61:])}
        if len(exact) > 1 and len(set(volumes)) > 1:
            out[3] = float(np.corrcoef(sizes, volumes)[0, 1])
    return out
