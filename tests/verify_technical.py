"""Checks of the tick clock of family `technical`."""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd
import wickra
from feature_run import run, sessions
from feature_ticks import NAN, TICK, stream
from naive_features import QUOTE, TRADE, Tick
from verify import Check

from tickarrow.jit import event
from tickarrow.jit.technical import FAMILY, TAU_S

NAMES = [c.name for c in FAMILY.columns(TAU_S)]
DAYS = sessions()
NEW_YORK = -300  # minutes from UTC, in winter
RANGE = 15 * 60 * 10**9


def at(seconds):
    """Time from the open of the second session."""
    return int(DAYS[1, event.OPEN]) + round(seconds * 1e9)


def offer(seconds, bid, ask):
    return Tick(at(seconds), 0, QUOTE, bid, 100.0, ask, 100.0, NAN, NAN)


def traded(seconds, price, size=100.0):
    return Tick(at(seconds), 0, TRADE, NAN, NAN, NAN, NAN, price, size)


@functools.cache
def ticks():
    """Six days of one symbol from 8:30 to 16:30 local time, every trade with a quote behind it, a jump over night."""
    rng = np.random.default_rng(9)
    out, price = [], 10_000
    for day in range(1, 7):
        seconds = np.sort(rng.uniform(-3600, 7 * 3600, 250)) + (DAYS[day, event.OPEN] - DAYS[1, event.OPEN]) / 1e9
        price += int(rng.integers(-300, 300))
        for s in seconds:
            price += int(rng.integers(-4, 5))
            out += [traded(s, round(price * TICK, 2), float(rng.integers(1, 400))), offer(s, round((price - 1) * TICK, 2), round((price + 1) * TICK, 2))]
    return out


@functools.cache
def ours():
    return run(FAMILY, ticks())[1]


def candles(trades):
    price = [t.price for t in trades]
    return price, price, price, price, [t.size for t in trades], [t.ts // 1_000_000 for t in trades]


def vwap():
    trades = [t for t in ticks() if t.kind == TRADE]
    return 1e4 * (np.array([t.price for t in trades]) / np.array(wickra.SessionVwap(NEW_YORK).batch(*candles(trades))) - 1)


def session_of(t):
    return int(np.searchsorted(DAYS[:, event.MIDNIGHT], t.ts, "right")) - 1


def opening():
    """A range of wickra takes a number of bars: as many as a session has trades in its first 15 minutes, fed from the open on."""
    trades = [t for t in ticks() if t.kind == TRADE]
    out = []
    for k in range(1, 7):
        today = [t for t in trades if session_of(t) == k]
        since = [t.ts - DAYS[k, event.OPEN] for t in today]
        theirs = wickra.OpeningRange(sum(0 <= s < RANGE for s in since))
        for t, s in zip(today, since):
            high, low, _ = theirs.update((t.price, t.price, t.price, t.price, t.size, t.ts // 1_000_000)) if s >= 0 else (NAN,) * 3
            out.append((t.price - low) / (high - low) if high > low else NAN)
    return np.array(out)


def overnight():
    """Bars of the regular hours only; the value stands until the next session's first one, ours is missing before it."""
    trades = [t for t in ticks() if t.kind == TRADE]
    regular = [DAYS[session_of(t), event.OPEN] <= t.ts < DAYS[session_of(t), event.CLOSE] for t in trades]
    gaps = np.full(len(trades), NAN)
    gaps[regular] = wickra.OvernightGap(NEW_YORK).batch(*candles([t for t, r in zip(trades, regular) if r]))
    return 1e4 * gaps


@functools.cache
def returns(tau):
    """Decaying mean of pandas times the decaying weight: ours (n,), theirs (n,)."""
    walk = stream(1500, symbols=1, seed=12)
    rows, v, _ = run(FAMILY, walk, TAU_S)
    mids = pd.Series([(walk[i].bid + walk[i].ask) / 2 for i in rows]).round(4)
    times = pd.Series([walk[i].ts for i in rows])
    r = 1e4 * np.log(mids / mids.shift()).fillna(0.0)
    mean = r.ewm(halflife=pd.Timedelta(tau * math.log(2), "s"), times=pd.to_datetime(times)).mean()
    age = (times.to_numpy()[:, None] - times.to_numpy()[None, :]) * 1e-9
    weight = np.where(age >= 0, np.exp(-np.maximum(age, 0) / tau), 0.0).sum(1)
    theirs = (mean * weight).to_numpy(copy=True)
    theirs[0] = NAN
    return v[:, TAU_S.index(tau)], theirs


def check(column, library, theirs, rtol, atol, why):
    return Check(column, library, lambda: (ours()[:, NAMES.index(column)], theirs()), rtol, atol, why)


CHECKS = [
    *(
        Check(f"ew_return_{t:g}s", "pandas ewm(times=).mean()", functools.partial(returns, t), 1e-7, 1e-6,
              "pandas has no decaying sum: its mean times the weight; its half-life is rounded to 1 ns")
        for t in TAU_S
    ),
    check("vwap_dist", "wickra SessionVwap", vwap, 1e-9, 1e-8, "1e4 times the rounding of float64 sums against exact ones"),
    check("open_range", "wickra OpeningRange", opening, 1e-9, 1e-10, "the difference of two prices of float64 near 100"),
    check("overnight_gap", "wickra OvernightGap", overnight, 1e-9, 1e-10, "1e4 times the rounding of a ratio near 1"),
]  # fmt: skip
