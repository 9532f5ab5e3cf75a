"""Slow twin of family `shape`, tick clock: every value anew from the whole history of the symbol."""

from __future__ import annotations

import itertools
import math

import numpy as np
from feature_days import session
from naive_features import NAN, QUOTE, same_price, two_sided, weights


def returns(history, tick):
    """(ts, day, return in bp) of every change of the mid but those over a night."""
    out, last, day = [], None, None
    for t in history:
        if t.kind != QUOTE or not two_sided(t):
            continue
        mid = (t.bid + t.ask) / 2
        if last is None:
            last = mid
        elif not same_price(mid, last, tick):
            if session(t) == day:
                out.append((t.ts, day, 1e4 * math.log(mid / last)))
            last = mid
        day = session(t)
    return out


def few(w):
    """Fewer than four in effect, Kish's effective sample size."""
    if w.sum() < 1e-200:
        return True
    w = w / w.max()
    return w.sum() ** 2 / (w**2).sum() < 4 * (1 - 1e-6)


def moments(values, w):
    """Weighted mean, and central moments of order 2, 3, 4."""
    mean = np.average(values, weights=w)
    return mean, *(np.average((values - mean) ** k, weights=w) for k in (2, 3, 4))


def autocorrelation(pairs, now, tau):
    w = np.array(weights([t for t, _, _ in pairs], now, tau))
    if few(w):
        return NAN
    before, after = (np.array([p[i] for p in pairs]) for i in (1, 2))
    cov = np.cov(before, after, aweights=w, ddof=0)
    return NAN if min(np.ptp(before), np.ptp(after)) < 1e-9 else cov[0, 1] / math.sqrt(cov[0, 0] * cov[1, 1])


def shape(history, tick, tau_s):
    """Columns of family `shape` as of the last tick of the history of one symbol."""
    now, steps = history[-1].ts, returns(history, tick)
    pairs = [(b[0], a[2], b[2]) for a, b in itertools.pairwise(steps) if a[1] == b[1]]
    out = [autocorrelation(pairs, now, tau) for tau in tau_s]
    w, r = np.array(weights([t for t, _, _ in steps], now, tau_s[1])), np.array([r for _, _, r in steps])
    if few(w) or np.ptp(r) < 1e-9:
        return [*out, NAN, NAN]
    _, m2, m3, m4 = moments(r, w)
    return [*out, m3 / m2**1.5, m4 / m2**2 - 3]
