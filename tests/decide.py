"""Random streams for the tests of the decide stages, and the tables that hold them."""

import itertools
import math

import numpy as np

from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.decide import forecasts_schema

START = 1_700_000_000_000_000_000
NAN = math.nan
FLAGS = [8, 16, 32, 64, 128, 256, 4096, 48]  # delayed, frozen, halted, pre-open, uncertain, stale, gap, frozen and halted


def market(seed, n, n_symbols, due=0.7, dirty=0.1):
    """[(ts, symbol, is_quote, bid, ask, row or None, flags)]: repeated times, one-sided, crossed, empty and flagged quotes, trades, one long gap."""
    rng = np.random.default_rng(seed)
    level = rng.integers(2000, 9000, n_symbols)
    quote = [(NAN, NAN)] * n_symbols
    ts, row, out = START, 0, []
    gap = rng.integers(n)
    for i in range(n):
        ts += int(rng.choice([0, 0, 1, 200_000_000, 400_000_000, 1_500_000_000])) + (3_600_000_000_000 if i == gap else 0)
        symbol = int(rng.integers(n_symbols))
        is_quote = bool(rng.random() < 0.85)
        if is_quote:
            level[symbol] += rng.integers(-3, 4)
            bid, ask = level[symbol] / 100, (level[symbol] + rng.integers(0, 3)) / 100
            if rng.random() < dirty:
                bid, ask = [(NAN, ask), (bid, NAN), (NAN, NAN), (ask + 0.02, bid)][rng.integers(4)]
            quote[symbol] = (float(bid), float(ask))
        is_due = is_quote and rng.random() < due
        flags = int(rng.choice(FLAGS)) if is_quote and rng.random() < dirty else 0
        out.append((ts, symbol, is_quote, *quote[symbol], row if is_due else None, flags))
        row += is_due
    return out


def predictions_of(seed, n, n_models, missing=0.1):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, n_models)).astype(np.float32)
    y[rng.random(y.shape) < missing] = np.nan
    y[rng.random(y.shape) < missing / 10] = np.inf
    return y


def forecasts_of(seed, n, n_horizons, missing=0.15, scale=4.0):
    """(n, n_horizons, 3): alpha, sigma, ic."""
    rng = np.random.default_rng(seed)
    shape = (n, n_horizons)
    f = np.stack([rng.normal(size=shape) * scale, rng.uniform(2, 20, shape), rng.uniform(0, 0.2, shape)], axis=2)
    f[rng.random(f.shape[:2]) < missing, :2] = np.nan
    if n and missing:
        f[rng.random(n) < missing] = np.nan
    return f


def ticks_table(ticks, first_seq=0):
    table = Table(schemas.TICKS, capacity=max(len(ticks), 1))
    table.reserve(len(ticks))
    for i, (ts, symbol, is_quote, bid, ask, _, *flags) in enumerate(ticks):
        table.seq[i], table.ts[i], table.symbol[i] = first_seq + i, ts, symbol
        table.kind[i] = schemas.Kind.QUOTE if is_quote else schemas.Kind.TRADE
        table.bid[i], table.ask[i] = bid, ask
        table.flags[i] = sum(flags)
        table.price[i] = NAN if is_quote else bid
    return table.commit(len(ticks))


def rows_table(schema, ticks, **columns):
    """Rows for the ticks that are due, with seq, ts and symbol of their tick."""
    due = [i for i, t in enumerate(ticks) if t[5] is not None]
    table = Table(schema, capacity=max(len(due), 1))
    table.reserve(len(due))
    for r, i in enumerate(due):
        table.seq[r], table.ts[r], table.symbol[r] = i, ticks[i][0], ticks[i][1]
        for name, values in columns.items():
            table.segment.columns[name][r] = values[r]
    return table.commit(len(due))


def predictions_table(ticks, y):
    return rows_table(schemas.predictions_schema(y.shape[1], ""), ticks, y=y)


def forecasts_table(ticks, f):
    return rows_table(forecasts_schema(f.shape[1]), ticks, alpha=f[:, :, 0], sigma=f[:, :, 1], ic=f[:, :, 2])


def windows(rows, ticks, cuts):
    """Cut both batches at tick positions; each row goes with its tick."""
    edges = sorted({0, len(ticks), *[c for c in cuts if c <= len(ticks)]})
    for a, b in itertools.pairwise(edges):
        lo, hi = np.searchsorted(rows.view("seq"), [a, b])
        yield Batch(rows.segment, int(lo), int(hi)), Batch(ticks.segment, a, b)


def due_rows(ticks):
    return sum(t[5] is not None for t in ticks)
