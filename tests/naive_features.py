"""Slow twins of the feature kernels: each value is computed anew from the whole history of the symbol, by its definition."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np

NAN = math.nan
QUOTE, TRADE = 0, 1


class Tick(NamedTuple):
    """One row of TICKS."""

    ts: int
    symbol: int
    kind: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    price: float
    size: float


def same(a, b):
    return all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a, b))


def due(ticks, throttle_ns):
    """Indices of the due ticks."""
    out = []
    for i, t in enumerate(ticks):
        if t.kind != QUOTE:
            continue
        before = [u for u in ticks[:i] if u.symbol == t.symbol and u.kind == QUOTE]
        fired = [j for j in out if ticks[j].symbol == t.symbol]
        if before and same(before[-1][3:7], t[3:7]):
            continue
        if fired and t.ts - ticks[fired[-1]].ts < throttle_ns:
            continue
        out.append(i)
    return out


def div(a, b):
    return a / b if b != 0 else NAN


def ln(x):
    return math.log(x) if x > 0 else NAN


def weights(times, now, tau):
    return [math.exp(-(now - t) * 1e-9 / tau) for t in times]


def decayed(times, values, now, tau):
    """Decaying sum."""
    return math.fsum(w * v for w, v in zip(weights(times, now, tau), values))


def mean_and_std(times, values, now, tau):
    w = np.array(weights(times, now, tau))
    v = np.array(values)
    mean = (w * v).sum() / w.sum()
    return mean, math.sqrt((w * (v - mean) ** 2).sum() / w.sum())


def same_price(a, b, tick):
    return round((a - b) / tick, 4) == 0.0


def two_sided(t):
    return not math.isnan(t.bid + t.ask)


def quote(history, tick, tau_s):
    """Family `quote` as of the last tick of the history of one symbol, which is a quote."""
    now = history[-1]
    quotes = [t for t in history if t.kind == QUOTE]
    known = [t for t in quotes if two_sided(t)]
    sized = [t for t in known if t.bid_size + t.ask_size > 0]
    trades = [t for t in history if t.kind == TRADE]
    mids = [(t.bid + t.ask) / 2 for t in known]
    out = dict.fromkeys(["spread_ticks", "spread_bp", "mid_return", "micro_dev", "imbalance", "smoothed", "z"], NAN)
    out |= dict.fromkeys(["quote_age", "trade_age", "quote_slope", "depth", "depth_rel"], NAN)
    total = now.bid_size + now.ask_size

    def imbalance(t):
        return (t.bid_size - t.ask_size) / (t.bid_size + t.ask_size)

    if sized:
        out["smoothed"] = mean_and_std([t.ts for t in sized], [imbalance(t) for t in sized], now.ts, tau_s[0])[0]
    if two_sided(now):
        spread, mid = now.ask - now.bid, mids[-1]
        ticks = [round((t.ask - t.bid) / tick, 3) for t in known]
        out["spread_ticks"] = ticks[-1]
        out["spread_bp"] = spread / mid * 10_000
        if len(mids) > 1:
            out["mid_return"] = math.log(mids[-1]) - math.log(mids[-2])
        mean, std = mean_and_std([t.ts for t in known], ticks, now.ts, tau_s[1])
        if len(set(ticks)) > 1:
            out["z"] = div(ticks[-1] - mean, std)
        if total > 0:
            out["imbalance"] = imbalance(now)
            micro = now.bid * now.ask_size / total + now.ask * now.bid_size / total
            out["micro_dev"] = (micro - mid) / spread if ticks[-1] != 0 else NAN
            out["depth"] = math.log(total)
            depths = [math.log(t.bid_size + t.ask_size) for t in sized]
            out["depth_rel"] = depths[-1] - mean_and_std([t.ts for t in sized], depths, now.ts, tau_s[1])[0]
        out["quote_slope"] = div(math.log(now.ask) - math.log(now.bid), ln(now.bid_size) + ln(now.ask_size))
    if len(quotes) > 1:
        stood = quotes[-2]
        for t in reversed(quotes[:-1]):
            if not same(t[3:7], quotes[-2][3:7]):
                break
            stood = t
        out["quote_age"] = math.log1p((now.ts - stood.ts) * 1e-9)
    if trades:
        out["trade_age"] = math.log1p((now.ts - trades[-1].ts) * 1e-9)
    return list(out.values())


def ofi_step(a, b):
    """e_n of Cont, Kukanov and Stoikov case by case."""
    if b.bid > a.bid:
        bid = b.bid_size
    elif b.bid == a.bid:
        bid = b.bid_size - a.bid_size
    else:
        bid = -a.bid_size
    if b.ask < a.ask:
        ask = b.ask_size
    elif b.ask == a.ask:
        ask = b.ask_size - a.ask_size
    else:
        ask = -a.ask_size
    return bid - ask


def trade_signs(trades, tick):
    """Lee-Ready sign of each trade, 0 = not known."""
    out = []
    for i, t in enumerate(trades):
        twice = round((2 * t.price - t.bid - t.ask) / tick, 4) if not math.isnan(t.price + t.bid + t.ask) else 0
        if math.isnan(t.price):
            out.append(0)
        elif twice:
            out.append(1 if twice > 0 else -1)
        else:
            prices = [u.price for u in trades[: i + 1] if not math.isnan(u.price)]
            steps = [b - a for a, b in pairwise(prices) if a != b]
            out.append(0 if not steps else 1 if steps[-1] > 0 else -1)
    return out


def slope(x, y, w):
    x, y, w = np.array(x), np.array(y), np.array(w)
    if len(set(x)) < 2:
        return NAN
    dx, dy = x - (w * x).sum() / w.sum(), y - (w * y).sum() / w.sum()
    return (w * dx * dy).sum() / (w * dx * dx).sum()


def vpin(sizes, signs):
    """Every share fifth is one item of a long tape, cut into buckets."""
    if len(sizes) < 50:
        return NAN
    bucket = round(sum(sizes[:50])) // 5  # ten mean trades, in shares
    tape = np.repeat(np.array(signs[50:], int), [round(q) for q in sizes[50:]])
    whole = len(tape) // bucket
    if whole == 0:
        return NAN
    return float(np.abs(tape[: whole * bucket].reshape(whole, bucket).sum(1))[-50:].mean() / bucket)


def large(sizes):
    """Sizes above the running 0.9 quantile (of log size, steps of 0.05), others 0."""
    level, out = math.log(sizes[0]), [0.0]
    for q in sizes[1:]:
        out.append(q if math.log(q) > level + 0.045 else 0.0)
        level += 0.05 * (0.9 - (math.log(q) <= level))
    return out


def flow(history, tick, tau_s):
    """Family `flow` as of the last tick of the history of one symbol."""
    now = history[-1].ts
    quotes = [t for t in history if t.kind == QUOTE and not math.isnan(sum(t[3:7]))]
    trades = [t for t in history if t.kind == TRADE and t.size > 0]
    steps = [ofi_step(a, b) for a, b in pairwise(quotes)]
    step_ts = [t.ts for t in quotes[1:]]
    signs, sizes, ts = trade_signs(trades, tick), [t.size for t in trades], [t.ts for t in trades]
    slow = tau_s[-1]
    out = []
    for tau in tau_s:
        mean = div(decayed(ts, sizes, now, slow), decayed(ts, [1.0] * len(ts), now, slow))
        out.append(decayed(step_ts, steps, now, tau) / (decayed(ts, sizes, now, tau) + mean))
    for tau in tau_s:
        out.append(div(decayed(ts, [g * q for g, q in zip(signs, sizes)], now, tau), decayed(ts, sizes, now, tau)))
    known = [(t, g) for t, g in zip(ts, signs) if g]
    out.append(known[-1][1] if known else NAN)
    auto = NAN
    before, after, pair_ts = [g for _, g in known[:-1]], [g for _, g in known[1:]], [t for t, _ in known[1:]]
    if len(set(before)) == len(set(after)) == 2:
        cov = np.cov(before, after, aweights=weights(pair_ts, now, slow), ddof=0)
        auto = cov[0, 1] / math.sqrt(cov[0, 0] * cov[1, 1])
    out.append(auto)
    run = 0
    for _, g in reversed(known):
        if g != known[-1][1]:
            break
        run += 1
    out.append(run or NAN)
    out.append(vpin(sizes, signs))
    mid = [(t.bid + t.ask) / 2 for t in trades]
    flows, roots, changes, at = [], [], [], []
    for i in range(1, len(trades)):
        if signs[i - 1] and not math.isnan(mid[i] + mid[i - 1]):
            flows.append(signs[i - 1] * sizes[i - 1])
            roots.append(signs[i - 1] * math.sqrt(trades[i - 1].price * sizes[i - 1]))
            changes.append((mid[i] / mid[i - 1] - 1) * 1e4)
            at.append(ts[i])
    for tau in tau_s[-2:]:
        out.append(slope(flows, changes, weights(at, now, tau)))
    out.append(div(decayed(at, [a * b for a, b in zip(roots, changes)], now, slow), decayed(at, [a * a for a in roots], now, slow)))
    total = sum(map(Fraction, sizes))
    out.append(float(sum(g * Fraction(q) for g, q in zip(signs, sizes)) / total) if total else NAN)
    volume = decayed(ts, sizes, now, slow)
    out.append(div(decayed(ts, large(sizes), now, slow), volume) if sizes else NAN)
    out.append(div(decayed(ts, [q if q < 100 else 0.0 for q in sizes], now, slow), volume))
    return out


def volatility(history, tick, tau_s):
    """Family `volatility` as of the last tick of the history of one symbol."""
    now = history[-1].ts
    quotes = [t for t in history if t.kind == QUOTE and two_sided(t)]
    path = [((t.bid + t.ask) / 2, t.ts) for t in quotes[:1]]
    for t in quotes[1:]:
        if not same_price((t.bid + t.ask) / 2, path[-1][0], tick):
            path.append(((t.bid + t.ask) / 2, t.ts))
    y = [1e4 * math.log(m) for m, _ in path]
    r, ts = np.diff(y), [t for _, t in path[1:]]
    seen, slow = len(quotes) > 1, tau_s[-1]
    rv = [decayed(ts, r**2, now, tau) for tau in tau_s]
    out = [math.sqrt(v) if seen else NAN for v in rv]
    bv = [math.pi / 2 * decayed(ts[1:], abs(r[1:] * r[:-1]), now, tau) for tau in tau_s[-2:]]
    out += bv if len(r) > 1 else [NAN] * len(bv)
    out.append(max(0.0, 1 - bv[-1] / rv[-1]) if len(r) > 1 else NAN)
    out.append(decayed(ts, np.where(r > 0, r, 0) ** 2, now, slow) if seen else NAN)
    out.append(decayed(ts, np.where(r < 0, r, 0) ** 2, now, slow) if seen else NAN)
    noise = NAN
    if len(r) > 4:
        y = np.array(y)
        five = decayed(ts[4:], (y[5:] - y[:-5]) ** 2, now, slow) / 5
        one = decayed(ts[4:], r[4:] ** 2, now, slow)
        noise = 1 - (five - one / 5) / (4 / 5) / one
    out.append(noise)
    if len(tau_s) > 1:
        out.append(math.sqrt(div(rv[-2], rv[-1])) if rv[-1] else NAN)
    return out
