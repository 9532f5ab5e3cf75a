"""Slow twin of family `liquidity`, tick clock: every value anew from the whole history of the symbol."""

from __future__ import annotations

import itertools
import math

import numpy as np
from feature_days import session
from naive_features import NAN, QUOTE, TRADE, decayed, div, same_price, trade_signs, two_sided, weights

HORIZON = 5_000_000_000


def mid_of(t):
    return (t.bid + t.ask) / 2


def settlement(history, i):
    """(row, mid) that settle the trade in row i: the first row 5 s later, the last mid of the session before it; None = not yet, or never."""
    for j in range(i + 1, len(history)):
        if session(history[j]) != session(history[i]):
            return None
        if history[j].ts >= history[i].ts + HORIZON:
            known = [mid_of(t) for t in history[:j] if t.kind == QUOTE and two_sided(t) and session(t) == session(history[i])]
            return (j, known[-1]) if known else None
    return None


def price_changes(trades, tick):
    """(ts, day, change in bp, money) of every trade price against the one before it on the same day."""
    out = []
    for a, b in itertools.pairwise(trades):
        if session(a) == session(b):
            r = 0.0 if same_price(a.price, b.price, tick) else 1e4 * math.log(b.price / a.price)
            out.append((b.ts, session(b), r, b.price * b.size))
    return out


def runs(changes):
    """Pairs of changes that follow each other on one day."""
    return [(b[0], a[2], b[2]) for a, b in itertools.pairwise(changes) if a[1] == b[1]]


def roll(pairs, now, tau):
    if len(pairs) < 2:
        return NAN
    at, before, after = (np.array(v) for v in zip(*pairs))
    cov = np.cov(before, after, aweights=weights(at.astype(np.int64).tolist(), now, tau), ddof=0)[0, 1]
    return 2 * math.sqrt(-cov) if cov < -1e-11 else 0.0


def liquidity(history, tick, tau_s):
    """Columns of family `liquidity` as of the last tick of the history of one symbol."""
    now, slow = history[-1].ts, tau_s[1]
    trades = [t for t in history if t.kind == TRADE and t.size > 0]
    sign = dict(zip((id(t) for t in trades), trade_signs(trades, tick)))
    signed = [(i, t, sign[id(t)]) for i, t in enumerate(history) if sign.get(id(t)) and two_sided(t)]
    spread = [2e4 * g * (t.price - mid_of(t)) / mid_of(t) for _, t, g in signed]
    out = []
    for tau in tau_s:
        ts, q = [t.ts for _, t, _ in signed], [t.size for _, t, _ in signed]
        out.append(div(decayed(ts, np.array(q) * spread, now, tau), decayed(ts, q, now, tau)))
    settled = [(history[found[0]].ts, t, g, found[1]) for i, t, g in signed if (found := settlement(history, i))]
    ts, q = [ts for ts, *_ in settled], [t.size for _, t, _, _ in settled]
    realised = [t.size * 2e4 * g * (t.price - later) / mid_of(t) for _, t, g, later in settled]
    impact = [t.size * 2e4 * g * (later - mid_of(t)) / mid_of(t) for _, t, g, later in settled]
    out += [div(decayed(ts, values, now, slow), decayed(ts, q, now, slow)) for values in (realised, impact)]
    changes = price_changes([t for t in trades if not math.isnan(t.price)], tick)
    out.append(roll(runs(changes), now, slow))
    ts = [c[0] for c in changes]
    cost = [1e6 * abs(r) / money for _, _, r, money in changes]
    return [*out, div(decayed(ts, cost, now, slow), decayed(ts, [1.0] * len(ts), now, slow))]
