"""Checks of family `quality`."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from feature_run import run
from feature_ticks import NAN, START, TICK
from naive_features import QUOTE, TRADE, Tick
from naive_quality import quality
from verify import Check

from tickarrow.jit.quality import FAMILY
from tickarrow.pipeline.schemas import Feed, Flag

NAMES = [c.name for c in FAMILY.columns(())]
FEED = Feed.FILE


class Flagged(Tick):
    """A tick with flags."""

    flags = 0


def flagged(tick, flags):
    out = Flagged(*tick)
    out.flags = int(flags)
    return out


@functools.cache
def rows():
    """Ours (n, 8), and the quotes as a table: prices of a few levels, every flag now and then."""
    rng = np.random.default_rng(6)
    ticks = []
    for i in range(800):
        bid, ask = (round(99.99 + TICK * int(k), 2) for k in rng.integers(0, 3, 2))
        ask = NAN if rng.random() < 0.1 else ask
        flags = sum(int(f) for f in Flag if rng.random() < 0.06)
        kind = QUOTE if rng.random() < 0.8 else TRADE
        ticks.append(flagged(Tick(START + i * 137_000_000, i % 2, kind, bid, 1.0, ask, 1.0, bid if kind == TRADE else NAN, 5.0), flags))
    found, v, _ = run(FAMILY, ticks, feed=int(FEED))
    table = pd.DataFrame([t._asdict() | {"bits": t.flags} for t in ticks])
    gap = table.ts.astype("Int64").where((table.bits & int(Flag.GAP)) > 0)
    table["since"] = ((table.ts - gap.groupby(table.symbol).ffill()) / 1e9).astype(float)
    twins = [quality([t for t in ticks[: i + 1] if t.symbol == ticks[i].symbol], TICK, FEED) for i in found]
    return v, table.iloc[found], pd.DataFrame(twins)


def any_of(*flags):
    return lambda q, _: ((q.bits & sum(map(int, flags))) > 0).to_numpy(float)


def check(column, library, theirs, rtol=1e-15, why="0 or 1"):
    def values():
        v, quotes, twins = rows()
        return v[:, NAMES.index(column)], np.asarray(theirs(quotes, twins), float)

    return Check(column, library, values, rtol, rtol, why)


def sided(compare):
    return lambda q, _: np.where((q.bid + q.ask).isna(), NAN, compare(q.bid, q.ask))


CHECKS = [
    check("is_crossed", "pandas", sided(lambda b, a: b > a)),
    check("is_locked", "pandas", sided(lambda b, a: b == a)),
    check("is_halted", "pandas", any_of(Flag.HALTED)),
    check("is_delayed", "pandas", any_of(Flag.DELAYED, Flag.FROZEN)),
    check("is_stale", "pandas", any_of(Flag.STALE, Flag.UNCERTAIN)),
    check("has_gap", "pandas", any_of(Flag.GAP)),
    check("feed_code", "numpy", lambda q, _: np.full(len(q), float(FEED)), why="a whole number"),
    check("since_gap", "pandas ffill", lambda q, _: np.log1p(q.since), 1e-14, "ln(1 + s) of short times"),
    *(check(name, "twin", lambda _, t, name=name: t[name], 1e-14) for name in NAMES),
]
