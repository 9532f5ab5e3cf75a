"""Family `intensity` against sums over all events."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from feature_run import run
from feature_ticks import stream
from naive_features import QUOTE, TRADE
from verify import Check

from tickarrow.jit.intensity import FAMILY

NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]
EXACT = "both are sums of positive terms; the recursion multiplies one rounded decay per tick into each"


@cache
def ours():
    """(times of the rows, columns, times of all trades, times of all quotes) of 800 s of one symbol."""
    ticks = stream(2_000, symbols=1, seed=11, mean_gap_s=0.4)
    rows, v, _ = run(FAMILY, ticks)
    at = np.array([t.ts for t in ticks])
    kind = np.array([t.kind for t in ticks])
    return at[rows], v, at[kind == TRADE], at[kind == QUOTE]


def counts(events, tau):
    """exp(-(t - t_i) / tau) summed over all events i up to each row t, (rows, events) at once."""
    age = (ours()[0][:, None] - events[None, :]) * 1e-9
    return np.where(age >= 0, np.exp(-np.maximum(age, 0) / tau), 0.0).sum(axis=1)


def fano():
    """pandas: trades grouped by second, all seconds filled in, ewm with its bias; asked at the end of each second."""
    times, v, trades, _ = ours()
    seconds = np.arange(times[0] // 10**9 + 1, times[-1] // 10**9)
    n = pd.Series(trades // 10**9).value_counts().reindex(seconds, fill_value=0).astype(float)
    fading = n.ewm(alpha=1 - np.exp(-1 / 300))
    table = fading.var(bias=True) / fading.mean()
    return v[:, NAMES.index("fano_300s")], table.iloc[1:].reindex(times // 10**9 - 1).to_numpy()


def column(name, theirs):
    return lambda: (ours()[1][:, NAMES.index(name)], theirs())


def ratio(a, b):
    return lambda: a() / np.where(b() > 0, b(), np.nan)


def count(which, tau):
    return lambda: counts(ours()[2 + which], tau)


def _checks():
    parts = [(f"{what}_intensity_{tau}s", count(which, tau)) for which, what in enumerate(("trade", "quote")) for tau in (1, 5, 30, 300)]
    parts += [
        ("quotes_per_trade_30s", lambda: counts(ours()[3], 30) / (1 + counts(ours()[2], 30))),
        ("trade_acceleration_1s_30s", ratio(count(0, 1), count(0, 30))),
        ("quote_acceleration_1s_30s", ratio(count(1, 1), count(1, 30))),
    ]
    return [
        *(Check(name, "numpy sum over all events", column(name, theirs), 1e-10, 1e-14, EXACT) for name, theirs in parts),
        Check("fano_300s", "pandas ewm var, mean", fano, 1e-9, 1e-12, "pandas updates mean and variance, we sums: rounding of both"),
    ]


CHECKS = _checks()
