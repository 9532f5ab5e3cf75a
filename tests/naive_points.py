"""Slow twins of the scalar formulas, from their definitions; named like the ufuncs."""

from __future__ import annotations

import math
from fractions import Fraction

NAN = math.nan


def missing(*values):
    return any(math.isnan(v) for v in values)


def mid(bid, ask):
    return NAN if missing(bid, ask) or bid + ask <= 0 else (bid + ask) / 2


def spread_ticks(bid, ask, tick_size):
    return NAN if missing(mid(bid, ask)) else round(float(Fraction(ask) - Fraction(bid)) / tick_size * 65536) / 65536


def spread_bp(bid, ask):
    return NAN if missing(mid(bid, ask)) else float(20_000 * (Fraction(ask) - Fraction(bid)) / (Fraction(ask) + Fraction(bid)))


def weighted(bid, bid_size, ask, ask_size):
    """Exact microprice, each side weighted with the size of the other."""
    pairs = (Fraction(bid), Fraction(ask_size)), (Fraction(ask), Fraction(bid_size))
    return sum(p * w for p, w in pairs) / sum(w for _, w in pairs)


def micro(bid, bid_size, ask, ask_size):
    if missing(mid(bid, ask), bid_size, ask_size) or bid_size + ask_size <= 0:
        return NAN
    return float(weighted(bid, bid_size, ask, ask_size))


def micro_dev(bid, bid_size, ask, ask_size):
    if bid == ask or missing(micro(bid, bid_size, ask, ask_size)):
        return NAN
    between = (Fraction(bid) + Fraction(ask)) / 2
    return float((weighted(bid, bid_size, ask, ask_size) - between) / (Fraction(ask) - Fraction(bid)))


def imbalance(bid_size, ask_size):
    if missing(bid_size, ask_size) or bid_size + ask_size <= 0:
        return NAN
    bought = bid_size / (bid_size + ask_size)
    return 2 * bought - 1


def depth(bid_size, ask_size):
    return NAN if missing(bid_size, ask_size) or bid_size + ask_size <= 0 else math.log(bid_size + ask_size)


def slope(bid, bid_size, ask, ask_size):
    four = (bid, bid_size, ask, ask_size)
    if missing(*four) or min(four) <= 0 or bid_size * ask_size == 1:
        return NAN
    return (math.log(ask) - math.log(bid)) / math.log(bid_size * ask_size)


def log_return(price, before):
    return NAN if missing(price, before) or min(price, before) <= 0 else math.log(price) - math.log(before)


def return_bp(price, before):
    return log_return(price, before) * 10_000


def ofi(*quotes):
    if missing(*quotes):
        return NAN
    b0, bs0, a0, as0, b, bs, a, s = quotes
    # what came to the bid or left it, less the same of the ask
    bid = bs if b > b0 else bs - bs0 if b == b0 else -bs0
    ask = s if a < a0 else s - as0 if a == a0 else -as0
    return bid - ask


def trade_sign(price, bid, ask, tick_size, tick_sign):
    if missing(price, bid, ask):
        return tick_sign
    away = round((price - (bid + ask) / 2) / tick_size, 4)
    return tick_sign if away == 0 else math.copysign(1.0, away)


def effective_spread(price, mid, sign):
    return NAN if missing(price, mid, sign) or mid <= 0 else float(20_000 * Fraction(sign) * (Fraction(price) - Fraction(mid)) / Fraction(mid))


def realised_spread(price, mid, later, sign):
    return NAN if missing(price, mid, later, sign) or mid <= 0 else float(20_000 * Fraction(sign) * (Fraction(price) - Fraction(later)) / Fraction(mid))


def impact(mid, later, sign):
    return NAN if missing(mid, later, sign) or mid <= 0 else effective_spread(later, mid, sign)


def age(dt):
    return math.log1p(max(dt, 0) / 1e9)


def decay(dt, tau_s):
    return math.exp(-max(dt, 0) / 1e9 / tau_s)
