"""Slow twin of the bar clock of family `technical`: every column of the last bar, by its definition, from all bars of the lane."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np

NAN = math.nan


class Bar(NamedTuple):
    """Prices in units, exact; volume in shares; notional in currency."""

    open: int
    high: int
    low: int
    close: int
    volume: float
    notional: float


def div(a, b):
    return float(a / b) if b != 0 else NAN


def ewm(x, count, rate):
    """Recursive mean that starts as the plain mean of the first `count` values, as the weighted sum that it is."""
    if len(x) < count:
        return NAN
    after = x[count:]
    weights = [(1 - rate) ** (len(after) - 1 - i) * rate for i in range(len(after))]
    return math.fsum([w * v for w, v in zip(weights, after)] + [(1 - rate) ** len(after) * math.fsum(x[:count]) / count])


def macd(close):
    """Line and signal, units: both means of the line start at the 26th close."""
    lines = [ewm(close[14 : i + 1], 12, 2 / 13) - ewm(close[: i + 1], 26, 2 / 27) for i in range(25, len(close))]
    return (lines[-1] if lines else NAN), ewm(lines, 9, 0.2)


def wilder(x, count):
    """Wilder's sum: plain over `count` values, then 13/14 of it and the new value."""
    total = math.fsum(x[:count])
    for v in x[count:]:
        total = total * 13 / 14 + v
    return total


def strength(close):
    change = [float(b - a) for a, b in pairwise(close)]
    up, down = wilder([max(d, 0) for d in change], 14), wilder([max(-d, 0) for d in change], 14)
    if len(change) < 14 or up + down < 1e-9:
        return NAN, NAN
    return 100 * up / (up + down), 100 * (up - down) / (up + down)


def direction(bars):
    plus, minus, ranges, dx = [], [], [], []
    adx = di_plus = di_minus = NAN
    for a, b in pairwise(bars):
        rise, fall = b.high - a.high, a.low - b.low
        plus.append(float(rise if rise > max(fall, 0) else 0))
        minus.append(float(fall if fall > max(rise, 0) else 0))
        ranges.append(float(max(b.high - b.low, abs(b.high - a.close), abs(b.low - a.close))))
        if len(ranges) >= 14:
            p, m, r = (wilder(x, 13) for x in (plus, minus, ranges))
            if p + m > 1e-9:
                dx.append(100 * abs(p - m) / (p + m))
            elif len(dx) < 14:
                dx.append(0.0)
            di_plus, di_minus = (100 * p / r, 100 * m / r) if r > 1e-9 else (NAN, NAN)
            adx = wilder(dx, 14) / 14 if len(ranges) >= 27 and r > 1e-9 else NAN
    return adx, di_plus, di_minus


def place(bars, window):
    """Of the close of the last bar in the range of the window, 0 to 1."""
    if len(bars) < window:
        return NAN
    high, low = max(b.high for b in bars[-window:]), min(b.low for b in bars[-window:])
    return div(Fraction(bars[-1].close - low), high - low)


def typical(bar):
    return Fraction(bar.high + bar.low + bar.close, 3)


def cci(bars):
    if len(bars) < 20:
        return NAN
    x = [typical(b) for b in bars[-20:]]
    mean = sum(x) / 20
    return div(x[-1] - mean, Fraction(15, 1000) * sum(abs(v - mean) for v in x) / 20)


def money_flow(bars):
    if len(bars) < 15:
        return NAN
    up = down = Fraction(0)
    for a, b in pairwise(bars[-15:]):
        flow = typical(b) * Fraction(b.volume)
        up += flow if typical(b) > typical(a) else 0
        down += flow if typical(b) < typical(a) else 0
    return div(100 * up, up + down)


def line(y):
    """Slope and R^2 of the least-squares line through y, exact."""
    n, x = len(y), range(len(y))
    sxy = n * sum(a * b for a, b in zip(x, y)) - sum(x) * sum(y)
    sxx, syy = n * sum(a * a for a in x) - sum(x) ** 2, n * sum(b * b for b in y) - sum(y) ** 2
    return Fraction(sxy) / sxx, div(Fraction(sxy) ** 2, sxx * syy)


def volume_lines(bars):
    volume = sum(Fraction(b.volume) for b in bars[-20:]) / 20
    if len(bars) < 20 or volume == 0:
        return NAN, NAN
    balance, accumulation = [Fraction(0)], [Fraction(0)]
    for i, b in enumerate(bars):
        v = Fraction(b.volume)
        sign = (b.close > bars[i - 1].close) - (b.close < bars[i - 1].close) if i else 0
        balance.append(balance[-1] + sign * v)
        multiple = Fraction((b.close - b.low) - (b.high - b.close), b.high - b.low) if b.high > b.low else 0
        accumulation.append(accumulation[-1] + multiple * v)
    return float(line(balance[-20:])[0] / volume), float(line(accumulation[-20:])[0] / volume)


def aroon(bars):
    last = bars[-26:][::-1]
    if len(last) < 26:
        return NAN
    high = min(range(26), key=lambda k: (-last[k].high, k))
    low = min(range(26), key=lambda k: (last[k].low, k))
    return 100 * (low - high) / 25


def columns(bars, unit):
    """Columns of the last of the lane's bars, in order."""
    close, n = [b.close for b in bars], len(bars)
    out = {f"roc_{w}": 1e4 * div(Fraction(close[-1] - close[-1 - w]), close[-1 - w]) if n > w else NAN for w in (1, 5, 10, 20, 60)}
    lines, signal = macd([float(c) for c in close])
    out["macd"] = 1e4 * lines / close[-1] if n >= 34 or n >= 26 else NAN
    out["macd_signal"] = 1e4 * signal / close[-1]
    out["macd_hist"] = 1e4 * (lines - signal) / close[-1]
    out["rsi_14"], cmo = strength(close)
    z = {}
    for w in (20, 60, 240):
        window = [Fraction(c) for c in close[-w:]]
        mean, deviation = statistics.mean(window), math.sqrt(statistics.pvariance(window))
        z[w] = (div(float(close[-1] - mean), deviation) if n >= w else NAN), mean, deviation
    middle, deviation = z[20][1:]
    lower, upper = float(middle) - 2 * deviation, float(middle) + 2 * deviation
    out["bollinger_b_20"] = div(close[-1] - lower, upper - lower) if n >= 20 and deviation else NAN
    out["bollinger_width_20"] = 1e4 * (upper - lower) / float(middle) if n >= 20 else NAN
    out["adx_14"], out["di_plus_14"], out["di_minus_14"] = direction(bars)
    raw = [place(bars[: n - k], 14) for k in range(5)]
    slow = [sum(100 * v for v in raw[k : k + 3]) / 3 for k in range(3)]
    out["stoch_k_14"], out["stoch_d_14"] = slow[0], sum(slow) / 3
    out["cci_20"], out["mfi_14"] = cci(bars), money_flow(bars)
    out["obv_slope_20"], out["ad_slope_20"] = volume_lines(bars)
    out["williams_r_14"] = 100 * (raw[0] - 1)
    out["aroon_25"], out["cmo_14"] = aroon(bars), cmo
    slope, r2 = line([Fraction(math.log(c)) for c in close[-20:]]) if n >= 20 else (NAN, NAN)
    out["slope_20"], out["r2_20"] = 1e4 * float(slope), r2
    out |= {f"price_z_{w}": z[w][0] for w in z}
    out |= {f"range_pos_{w}": place(bars, w) for w in z}
    volume, notional = (sum(Fraction(getattr(b, k)) for b in bars[-60:]) for k in ("volume", "notional"))
    out["vwap_dist_60"] = 1e4 * float(close[-1] * Fraction(unit) * volume / notional - 1) if n >= 60 and volume else NAN
    return out


def table(bars, unit, first=0):
    """(n, 32) of all bars of a lane, those before `first` NaN."""
    rows = [list(columns(bars[: i + 1], unit).values()) if i >= first else [NAN] * 32 for i in range(len(bars))]
    return np.array(rows, float).reshape(-1, 32)
