"""Slow twin of family `intensity`: every value anew from the whole history of the symbol."""

from __future__ import annotations

import numpy as np
from feature_days import session
from naive_features import NAN, QUOTE, TRADE, decayed, div

SECOND = 1_000_000_000


def fano(trades, today):
    """Variance over mean of the trades in each closed second of the day but the first, weighted by age."""
    now = today[-1].ts // SECOND
    seconds = np.arange(today[0].ts // SECOND + 1, now)
    if len(seconds) < 2:
        return NAN
    n = np.array([sum(t.ts // SECOND == second for t in trades) for second in seconds], float)
    weight = np.exp((seconds - now) / 300)
    mean = np.average(n, weights=weight)
    return div(np.average((n - mean) ** 2, weights=weight), mean)


def intensity(history, tick, tau_s):
    """Columns of family `intensity` as of the last tick of the history of one symbol."""
    now = history[-1].ts
    trades = [t for t in history if t.kind == TRADE and t.size > 0]
    today = [t for t in history if session(t) == session(history[-1])]
    count = {
        what: [decayed([t.ts for t in ticks], [1.0] * len(ticks), now, tau) for tau in tau_s]
        for what, ticks in (("trade", trades), ("quote", [t for t in history if t.kind == QUOTE]))
    }
    return [
        *count["trade"], *count["quote"], count["quote"][2] / (1 + count["trade"][2]), div(count["trade"][0], count["trade"][2]),
        div(count["quote"][0], count["quote"][2]), fano([t for t in trades if session(t) == session(history[-1])], today),
    ]  # fmt: skip
