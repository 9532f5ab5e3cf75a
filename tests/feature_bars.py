"""Bars for the tests of families on the bar clock: drawn, seeded, and written down by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from feature_run import run_bars
from feature_ticks import TICK
from hypothesis import strategies as st

from tickarrow.jit.feature import Family

BASE = 1_000_000  # 100.00 in units of a hundredth of a cent
UNIT = TICK / 100


class Bar(NamedTuple):
    """A bar of one symbol; prices in units from zero."""

    open: int
    high: int
    low: int
    close: int
    volume: float = 0.0
    notional: float = 0.0
    variance: float = 0.0


def family(module, kernel):
    """The bar clock of a module as a family of its own."""
    return Family(module.__name__, 1, f_rows=module.F_ROWS, q_rows=module.Q_ROWS, bars=kernel, bar_columns=module.BAR_COLUMNS)


def arrays(lanes):
    """Lists of Bar, one a lane -> price (n, 4, lanes) int64 from BASE, flow (n, 5, lanes) float64."""
    price = np.array([[list(b[:4]) for b in lane] for lane in lanes], np.int64).reshape(len(lanes), -1, 4) - BASE
    flow = np.zeros((*price.shape[:2], 5))
    for i, lane in enumerate(lanes):
        flow[i, :, [0, 1, 4]] = np.array([b[4:] for b in lane]).reshape(-1, 3).T
    return np.ascontiguousarray(price.transpose(1, 2, 0)), np.ascontiguousarray(flow.transpose(1, 2, 0))


def columns(of, lanes, first=None, **options):
    """Columns of a family after every bar: (n, lanes, columns)."""
    return run_bars(of, *arrays(lanes), base=BASE, first=first, **options)


def last(of, bars, **options):
    """Columns after the last of the bars of one lane, by name."""
    return SimpleNamespace(**dict(zip((c.name for c in of.bar_columns), columns(of, [bars], **options)[-1, 0].tolist())))


def walk(n, seed, step=300, still=0.0, quiet=0.0):
    """n bars of a random walk.

    Parameters
    ----------
    step : units, largest move of a price within a bar
    still : share of bars that are flat at the last close, without volume
    quiet : share of the other bars that have no volume although they move
    """
    rng, out, close = np.random.default_rng(seed), [], BASE
    for _ in range(n):
        if rng.random() < still:
            out.append(Bar(close, close, close, close))
            continue
        path = close + np.cumsum(rng.integers(-step, step + 1, 5))
        volume = 0.0 if rng.random() < quiet else float(rng.integers(1, 50) * 100)
        out.append(Bar(*map(int, (path[0], path.max(), path.min(), path[-1])), volume, volume * float(path.mean()) * UNIT, float(rng.exponential(2.0))))
        close = int(path[-1])
    return out


@st.composite
def lanes(draw, most, least=1, count=2):
    """Bars of some lanes and the number of the first bar of each."""
    n = draw(st.integers(least, most))
    shapes = st.tuples(st.integers(0, 2**32), st.sampled_from([1, 40, 300, 20_000]), st.sampled_from([0.0, 0.3, 0.97]), st.sampled_from([0.0, 0.5, 1.0]))
    made = [walk(n, *draw(shapes)) for _ in range(count)]
    return made, np.array([draw(st.sampled_from([0, 0, 1, 7])) for _ in range(count)])


def expected(twin, made, first):
    """The twin's values after every bar: (n, lanes, columns); NaN before a lane's first bar."""
    n = len(made[0])
    return np.array([[twin(lane[f : i + 1]) if i >= f else twin([]) for lane, f in zip(made, first)] for i in range(n)], float)
