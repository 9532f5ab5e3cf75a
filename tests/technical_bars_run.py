"""Bars for the tests of the bar clock of family `technical`, and a walk over them that gives every call what it must not depend on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from naive_technical_bars import Bar

from tickarrow.jit import event
from tickarrow.jit import technical_bars as kernels

BASE, UNIT = 1_000_000, 0.0001  # 100.00 with ticks of 0.01


def market(n, lanes, seed=1, step=300):
    """price (n, 4, lanes), flow (n, 5, lanes): random walks with ranges and volume in every bar."""
    rng = np.random.default_rng(seed)
    close = np.cumsum(rng.integers(-step, step + 1, (n, lanes)), 0)
    start = np.vstack([np.zeros((1, lanes), np.int64), close[:-1]])
    high, low = np.maximum(start, close) + rng.integers(0, 200, (n, lanes)), np.minimum(start, close) - rng.integers(0, 200, (n, lanes))
    flow = np.zeros((n, 5, lanes))
    flow[:, 0] = rng.integers(1, 5000, (n, lanes))
    flow[:, 1] = flow[:, 0] * (BASE + (high + low + close) / 3) * UNIT
    return np.ascontiguousarray(np.stack([start, high, low, close], axis=1)), flow


@st.composite
def bars(draw, most=70):
    """Bars of one lane: few prices, so that equal closes, highs and ranges of 0 are frequent; bars without a trade; fractional volume."""
    out, last = [], BASE + 100 * draw(st.integers(-5, 5))
    span = draw(st.sampled_from([0, 1, 3, 300]))
    for _ in range(draw(st.integers(1, most))):
        if draw(st.integers(0, 3)) == 0:
            out.append(Bar(last, last, last, last, 0.0, 0.0))
            continue
        four = [last + 50 * draw(st.integers(-span, span)) for _ in range(4)]
        volume = draw(st.sampled_from([0.0, 1.0, 100.0, 250.5, 1e6]))
        last = four[3]
        out.append(Bar(four[0], max(four), min(four), last, volume, volume * four[2] * UNIT))
    return out


def arrays(lanes, first):
    """price, flow and n of lanes of bars, each of which starts at call `first` of its own; a lane that is over repeats its last bar."""
    calls = max(f + len(b) for f, b in zip(first, lanes))
    price, flow = np.full((calls, 4, len(lanes)), 77), np.full((calls, 5, len(lanes)), np.nan)
    n = np.full((calls, len(lanes)), -1)
    for k, (f, own) in enumerate(zip(first, lanes)):
        for i in range(f, calls):
            b = own[min(i - f, len(own) - 1)]
            price[i, :, k], flow[i, :2, k], n[i, k] = np.array(b[:4]) - BASE, b[4:], i - f
    return price, flow, n


def walk(price, flow, n=None, pos=0, cuts=(), state=None):
    """Columns after every call, (calls, lanes, 32).

    Parameters
    ----------
    n : (calls, lanes), None = all lanes start at the first call
    pos : number of the first call
    cuts : lanes are given in pieces, cut there
    state : f and q to start with; None = what an earlier life might have left behind
    """
    calls, _, lanes = price.shape
    n = np.arange(calls)[:, None] + np.zeros(lanes, np.int64) if n is None else n
    f, q = (np.full((kernels.F_ROWS, lanes), np.nan), np.full((kernels.Q_ROWS, lanes), 987_654_321)) if state is None else state
    clock, when = np.zeros(1, event.CLOCK)[0], np.zeros((2, lanes), np.int64)
    base, unit = np.full(lanes, BASE), np.full(lanes, UNIT)
    out, result = np.full((lanes, 32), 77.0), np.empty((calls, lanes, 32))
    edges = [0, *sorted(cuts), lanes]
    for i in range(calls):
        for lo, hi in pairwise(edges):
            with np.errstate(all="ignore"):
                kernels.technical_bars(
                    f, q, np.ascontiguousarray(price[i]), np.ascontiguousarray(flow[i]), base, unit, np.ascontiguousarray(n[i]), when, clock,
                    lo, hi, pos + i, out,
                )  # fmt: skip
        result[i] = out
    return result
