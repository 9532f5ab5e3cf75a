"""Family `quote` against wickra, pandas and numpy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import wickra
from feature_run import run
from feature_ticks import NAN, START, TICK, stream
from naive_features import QUOTE
from verify import Check

from tickarrow.jit.quote import FAMILY

NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]


@cache
def ticks():
    """A stream in which every tenth quote is sent again 1 us later."""
    rng = np.random.default_rng(41)
    out = []
    for t in stream(1_000, symbols=1, seed=41, mean_gap_s=0.5):
        out += [t, t._replace(ts=t.ts + 1_000)] if t.kind == QUOTE and rng.random() < 0.1 else [t]
    return tuple(out)


@cache
def ours():
    rows, v, _ = run(FAMILY, list(ticks()))
    assert rows == [i for i, t in enumerate(ticks()) if t.kind == QUOTE]
    return v


def column(name):
    return ours()[:, NAMES.index(name)]


@cache
def quotes():
    """One line a row, and the columns made of it by pandas."""
    q = pd.DataFrame([t for t in ticks() if t.kind == QUOTE])
    q["mid"] = (q.bid + q.ask) / 2
    q["spread"] = ((q.ask - q.bid) / TICK).round()
    q["total"] = q.bid_size + q.ask_size
    return q


def each(indicator):
    """The indicator after each quote."""
    q = quotes()
    return np.array([indicator.update([a], [b], [c], [d]) for a, b, c, d in q[["bid", "bid_size", "ask", "ask_size"]].to_numpy().tolist()])


def ewm(values, tau):
    return values.ewm(halflife=pd.Timedelta(tau * np.log(2), "s"), times=pd.to_datetime(quotes().ts - START)).mean()


def micro_dev():
    q = quotes()
    return ((each(wickra.Microprice()) - q.mid) / (q.ask - q.bid)).to_numpy()


def spread_z():
    s = quotes().spread
    mean = ewm(s, 300)
    deviation = np.sqrt(ewm(s * s, 300) - mean * mean)
    return ((s - mean) / deviation).where(s.expanding().std() > 0.1).to_numpy()


def quote_age():
    q = quotes()
    fields = ["bid", "bid_size", "ask", "ask_size"]
    since = q.ts.groupby((q[fields] != q[fields].shift()).any(axis=1).cumsum()).transform("first").to_numpy()
    return np.r_[NAN, np.log1p((q.ts.to_numpy()[1:] - since[:-1]) * 1e-9)]


def trade_age():
    last, out = NAN, []
    for t in ticks():
        last = last if t.kind == QUOTE else t.ts
        out += [np.log1p((t.ts - last) * 1e-9)] if t.kind == QUOTE else []
    return np.array(out)


def quote_slope():
    q = quotes()
    return ((np.log(q.ask) - np.log(q.bid)) / (np.log(q.bid_size) + np.log(q.ask_size))).to_numpy()


def depth_rel():
    depth = np.log(quotes().total)
    return (depth - ewm(depth, 300)).to_numpy()


def imbalance_mean():
    q = quotes()
    return ewm((q.bid_size - q.ask_size) / q.total, 5).to_numpy()


PRICES = "differences of prices: rounding of a price is 1e-14 of it, 1e-10 of a spread"
HALF_LIFE = "the half-life is rounded to ns, 3e-10 of the shorter one"
CHECKS = [
    Check("spread_ticks", "wickra QuotedSpread", lambda: (column("spread_ticks"), each(wickra.QuotedSpread()) * quotes().mid.to_numpy() / 1e4 / TICK),
          1e-9, 1e-9, "its unit is bp of the mid; " + PRICES),
    Check("spread_bp", "wickra QuotedSpread", lambda: (column("spread_bp"), each(wickra.QuotedSpread())), 1e-9, 1e-9, PRICES),
    Check("mid_return", "pandas diff of ln m", lambda: (column("mid_return"), np.log(quotes().mid).diff().to_numpy()), 1e-9, 1e-14,
          "rounding of a logarithm, 1e-15"),
    Check("micro_dev", "wickra Microprice", lambda: (column("micro_dev"), micro_dev()), 1e-9, 1e-9,
          "it gives the price, numpy its distance to the mid in spreads; " + PRICES),
    Check("imbalance", "wickra OrderBookImbalanceTop1", lambda: (column("imbalance"), each(wickra.OrderBookImbalanceTop1())), 1e-12, 1e-14, "one division"),
    Check("imbalance_5s", "pandas ewm(times=)", lambda: (column("imbalance_5s"), imbalance_mean()), 1e-8, 1e-10, HALF_LIFE),
    Check("spread_z_300s", "pandas ewm(times=)", lambda: (column("spread_z_300s"), spread_z()), 1e-9, 1e-9,
          "moments of pandas' means of s and s^2; rounding of both"),
    Check("quote_age", "pandas groupby", lambda: (column("quote_age"), quote_age()), 1e-9, 1e-12, "rounding of a logarithm"),
    Check("trade_age", "numpy log1p", lambda: (column("trade_age"), trade_age()), 1e-9, 1e-12, "rounding of a logarithm"),
    Check("quote_slope", "numpy log", lambda: (column("quote_slope"), quote_slope()), 1e-9, 1e-13, PRICES),
    Check("depth", "numpy log", lambda: (column("depth"), np.log(quotes().total.to_numpy())), 1e-12, 1e-14, "rounding of a logarithm"),
    Check("depth_rel_300s", "pandas ewm(times=)", lambda: (column("depth_rel_300s"), depth_rel()), 1e-9, 1e-11, "the half-life is rounded to ns, 5e-12 of it"),
]  # fmt: skip
