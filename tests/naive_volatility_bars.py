"""Slow twin of the bar columns of family `volatility`, from the whole history of a lane; bars are `feature_bars.Bar`."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from statistics import stdev, variance

NAN = math.nan


def ln(a, b):
    return math.log(a / b)


def average_true_range(bars):
    """Wilder's, units, in exact fractions."""
    ranges = [Fraction(max(b.high - b.low, abs(b.high - a.close), abs(b.low - a.close))) for a, b in pairwise(bars)]
    if len(ranges) < 14:
        return NAN
    out = sum(ranges[:14]) / 14
    for x in ranges[14:]:
        out = (13 * out + x) / 14
    return float(out)


def volatility_bars(bars):
    """Columns as of the last bar."""
    out, n = [NAN] * 7, len(bars)
    window = bars[-20:]
    if n >= 20:
        squares = math.fsum(ln(b.high, b.low) ** 2 for b in window) / 20
        body = math.fsum(ln(b.close, b.open) ** 2 for b in window) / 20
        rogers = math.fsum(ln(b.high, b.close) * ln(b.high, b.open) + ln(b.low, b.close) * ln(b.low, b.open) for b in window) / 20
        out[0] = 1e4 * math.sqrt(squares / (4 * math.log(2)))
        out[1] = 1e4 * math.sqrt(squares / 2 - (2 * math.log(2) - 1) * body)
        out[2] = 1e4 * math.sqrt(max(rogers, 0.0))
    if n >= 21:
        k = 0.34 / (1.34 + 21 / 19)
        gaps = variance([ln(b.open, a.close) for a, b in pairwise(bars[-21:])])
        out[3] = 1e4 * math.sqrt(gaps + k * variance([ln(b.close, b.open) for b in window]) + (1 - k) * max(rogers, 0.0))
    if n >= 15:
        out[4] = average_true_range(bars) / 100
        out[5] = 1e4 * average_true_range(bars) / bars[-1].close
    if n >= 60:
        out[6] = stdev(math.sqrt(b.variance) for b in bars[-60:])
    return out
