"""Labels by the decision's barriers and their weights: one call for all rows of a training."""

import numpy as np

from tickarrow.jit import _kernel, labels_barrier, labels_weights

HORIZONS = np.array([1, 5, 30, 60, 300], np.int64) * 10**9


def market(rows, seed):
    """Rows (every tenth quote) and quotes of twenty symbols: times, symbols, mids."""
    rng = np.random.default_rng(seed)
    n = rows * 10
    ts, symbol = np.cumsum(rng.integers(0, 5_000_000, n)), rng.integers(0, 20, n).astype(np.int32)
    mid = 100.0 + rng.integers(-10, 11, n) * 0.01
    return (ts[::10].copy(), symbol[::10].copy(), mid[::10].copy()), (ts, symbol, mid)


class TripleBarrier:
    """Five horizons, barriers that some paths touch."""

    params = (1, 10_000)
    param_names = ("rows",)

    def setup(self, rows):
        _kernel.warm()
        row, quote = market(rows, seed=9)
        up = np.full((rows, 5), 15.0)
        self.args = (
            *row, *quote, HORIZONS, 60 * 10**9, up, up, np.zeros(20, np.int64), np.zeros(rows * 10, np.int64), np.zeros((rows, 5), np.float32),
            np.zeros((rows, 5), np.int8), np.zeros((rows, 5), np.int64),
        )  # fmt: skip
        self.time_label(rows)

    def time_label(self, rows):
        labels_barrier.triple_barrier(*self.args)


class Deviation:
    """Five horizons."""

    params = (1, 10_000)
    param_names = ("rows",)

    def setup(self, rows):
        _kernel.warm()
        (ts, symbol, _), _ = market(rows, seed=10)
        y = np.random.default_rng(10).normal(size=(rows, 5)).astype(np.float32)
        self.args = ts, symbol, y, HORIZONS, 1.8e12, 10**9, 30.0, np.zeros(20, labels_barrier.DEVIATION_STATE), np.zeros((rows, 5))
        self.time_deviation(rows)

    def time_deviation(self, rows):
        labels_barrier.deviation(*self.args)


class Uniqueness:
    """Labels of 300 s, one horizon."""

    params = (1, 10_000)
    param_names = ("rows",)

    def setup(self, rows):
        _kernel.warm()
        (ts, symbol, _), _ = market(rows, seed=11)
        end = ts + 300 * 10**9
        self.args = ts, symbol, end, np.argsort(end, kind="stable"), np.zeros(20, labels_weights.OPEN_STATE), np.zeros(rows), np.zeros(rows)
        self.time_weights(rows)

    def time_weights(self, rows):
        labels_weights.uniqueness(*self.args)
