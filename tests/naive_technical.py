"""Slow twin of the tick clock of family `technical`: each value anew from the whole history of the symbol, in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

from naive_features import NAN, QUOTE, TRADE, decayed, same_price, two_sided
from naive_season import session_of


def changes(history, tick, rows):
    """Times and bp of the changes of the mid within a session; None before the second mid of one."""
    path = [((t.bid + t.ask) / 2, t.ts) for t in history if t.kind == QUOTE and two_sided(t)]
    out, last, session, known = [], None, None, False
    for mid, ts in path:
        if session_of(ts, rows) != session:
            last, session = mid, session_of(ts, rows)
            continue
        known = True
        if not same_price(mid, last, tick):
            out.append((ts, 1e4 * math.log(mid / last)))
            last = mid
    return out if known else None


def prices(history, tick, rows):
    """(session, time, price in 1/100 tick, weight) of the trades, or of the mids of a symbol that has none."""
    trades = [t for t in history if t.kind == TRADE and t.size > 0 and t.price > 0]
    if trades:
        return [(session_of(t.ts, rows), t.ts, Fraction(round(t.price / tick * 100)), Fraction(t.size)) for t in trades]
    out, last = [], None
    for t in history:
        if t.kind == QUOTE and two_sided(t):
            mid, k = (t.bid + t.ask) / 2, session_of(t.ts, rows)
            new = last is None or not same_price(mid, last, tick) or out[-1][0] != k
            out.append((k, t.ts, Fraction(round(mid / tick * 100)), Fraction(int(new))))
            last = mid if new else last
    return out


def technical(history, tick, tau_s, rows):
    """Columns as of the last tick of the history of one symbol, which is a quote."""
    now = history[-1].ts
    r = changes(history, tick, rows)
    out = {f"ew_return_{t:g}s": NAN if r is None else decayed([a for a, _ in r], [b for _, b in r], now, t) for t in tau_s}
    out |= dict.fromkeys(["vwap_dist", "open_range", "overnight_gap"], NAN)
    seen, k = prices(history, tick, rows), session_of(now, rows)
    regular = [(j, p, ts - rows[j, 1]) for j, ts, p, _ in seen if rows[j, 1] <= ts < rows[j, 2]]
    today = [(p, q) for j, _, p, q in seen if j == k]
    if today:
        vwap = sum(p * q for p, q in today) / sum(q for _, q in today)
        out["vwap_dist"] = float(10_000 * (today[-1][0] / vwap - 1))
    first = [p for j, p, after in regular if j == k and after < 15 * 60 * 10**9]
    if len(set(first)) > 1:
        out["open_range"] = float((today[-1][0] - min(first)) / (max(first) - min(first)))
    mine, before = [p for j, p, _ in regular if j == k], [p for j, p, _ in regular if j < k]
    if mine and before:
        out["overnight_gap"] = float(10_000 * (mine[0] / before[-1] - 1))
    return out
