"""Ticks for the tests of the feature families: hypothesis strategies, a seeded stream, and tables and rows made of them."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.features import Features, family, features_table
from tickarrow.pipeline.universe import Universe

TICK = 0.01
NAN = math.nan
START = 1_700_000_000_000_000_000
FIELDS = ("ts", "symbol", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size")

gap = st.sampled_from([0, 0, 1_000, 3_000_000, 250_000_000, 900_000_000, 7_000_000_000])  # ns
level = st.integers(9_995, 10_005)  # ticks
size = st.sampled_from([1.0, 50.0, 100.0, 100.0, 300.0, 1200.0])


def _price(ticks):
    return round(ticks * TICK, 2)


@st.composite
def streams(draw, most=40, symbols=2):
    """Ticks of some symbols in time order: repeated times, repeated quotes, missing sides and sizes, crossed and locked quotes."""
    out, now = [], START
    last = [(NAN,) * 4] * symbols
    for _ in range(draw(st.integers(0, most))):
        now += draw(gap)
        s = draw(st.integers(0, symbols - 1))
        what = draw(st.sampled_from("qqqqrnmttt"))
        if what == "q":
            bid = draw(level)
            last[s] = (_price(bid), draw(size), _price(bid + draw(st.sampled_from([1, 1, 2, 3, 0, -1]))), draw(size))
        elif what == "n":
            last[s] = (last[s][0], last[s][1], NAN, NAN)
        elif what == "m":
            last[s] = (last[s][0], draw(st.sampled_from([NAN, 0.0])), last[s][2], last[s][3])
        if what == "t":
            price = draw(st.one_of(level.map(_price), level.map(lambda p: round((p + 0.5) * TICK, 3)), st.just(NAN)))
            out.append(Tick(now, s, TRADE, *last[s], price, draw(size)))
        else:
            out.append(Tick(now, s, QUOTE, *last[s], NAN, NAN))
    return out


def stream(n, symbols=2, seed=5, mean_gap_s=0.1):
    """A longer seeded stream without missing values: a random walk of the mid, trades at and between the sides."""
    rng = np.random.default_rng(seed)
    out, now, mid = [], START, np.full(symbols, 10_000)
    last = [(_price(9_999), 300.0, _price(10_001), 200.0)] * symbols
    for _ in range(n):
        now += int(rng.exponential(mean_gap_s * 1e9))
        s = int(rng.integers(symbols))
        if rng.random() < 0.4:
            bid, ask = last[s][0], last[s][2]
            price = float(rng.choice([bid, ask, ask, round((bid + ask) / 2, 3)]))
            out.append(Tick(now, s, TRADE, *last[s], price, float(rng.choice([5, 20, 50, 100, 200, 200, 400, 3000]))))
        else:
            mid[s] += rng.integers(-1, 2)
            half = int(rng.integers(1, 3))
            last[s] = (_price(mid[s] - half), float(rng.integers(1, 9) * 100), _price(mid[s] + half), float(rng.integers(1, 9) * 100))
            out.append(Tick(now, s, QUOTE, *last[s], NAN, NAN))
    return out


def tick_table(ticks, first=0):
    """TICKS holding the ticks, and their batch; the first has seq `first`."""
    table = Table(schemas.TICKS)
    columns, n = table.segment.columns, len(ticks)
    columns["seq"][:n] = np.arange(first, first + n)
    for i, name in enumerate(FIELDS):
        columns[name][:n] = [t[i] for t in ticks]
    return table.commit(n)


def cuts(batch, size):
    """The batch in pieces of `size` rows."""
    return [Batch(batch.segment, lo, min(lo + size, batch.hi)) for lo in range(batch.lo, batch.hi, size)]


def every_quote(name, ticks, tau_s=(), size=10_000, columns=(), symbols=2):
    """Columns of the tick clock of one family for every quote that differs from the last one: indices of the ticks, x, the stage."""
    f = family(name)
    columns = columns or [c.name for c in f.columns(tuple(tau_s) or f.tau_s)]
    conf = FeaturesConf([FamilyConf(name, list(tau_s), list(columns))], throttle_ns=0)
    running = stage(conf, symbols)
    rows, x = [], []
    for piece in cuts(tick_table(ticks), size):
        due = running.step(piece)
        rows += due.view("seq").tolist()
        x.append(due.view("x").copy())
    return rows, np.concatenate(x) if x else np.zeros((0, len(running.columns)), np.float32), running


def stage(conf, symbols=2, depth=None, **options):
    universe = Universe.of([f"S{i}" for i in range(symbols)], TICK)
    return Features(conf, universe, features_table(conf, **options), depth)


def expected(twin, ticks, rows, tau_s):
    """The twin's values for the rows."""
    return np.array([twin([t for t in ticks[: i + 1] if t.symbol == ticks[i].symbol], TICK, tau_s) for i in rows], float)
