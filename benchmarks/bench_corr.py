"""Correlation, spectrum and weights of one symbol: eight lanes of n configurations, one kernel call."""

import numpy as np

from tickarrow.jit import _kernel, corr, eigen
from tickarrow.pipeline.forest_rank import aligned


class Lanes:
    """Arrays of a symbol after 400 observations with one strong and two weak common factors."""

    def __init__(self, n, seed=7):
        rng = np.random.default_rng(seed)
        rows = n * (n + 1) // 2
        self.sums, self.c = aligned((rows, 8), float), aligned((rows, 8), float)
        self.state, self.parameters = aligned((corr.STATE_ROWS, 8), float), aligned((2, 8), float)
        self.top, self.leading = aligned((4, 8), float), aligned((4 * n, 8), float)
        self.values, self.vectors = aligned((n, 8), float), aligned((n * n, 8), float)
        self.scratch = aligned((eigen.scratch_rows(n), 8), float)
        self.ic, self.weights, self.z = aligned((n, 8), float), aligned((n, 8), float), aligned((n, 8), float)
        self.ic[:] = rng.uniform(0, 0.1, (n, 8))
        self.parameters[0], self.parameters[1] = 0.995, 1.0
        load = np.stack([0.7 + 0.2 * rng.random((n, 8)), 0.3 * rng.standard_normal((n, 8)), 0.2 * rng.standard_normal((n, 8))])
        for _ in range(400):
            self.z[:] = (load * rng.standard_normal((3, 1, 8))).sum(0) + 0.5 * rng.standard_normal((n, 8))
            self.update()
        self.full()
        eigen.lead(self.values, self.vectors, self.top, self.leading)

    def update(self):
        corr.update(self.z, self.parameters, 0, self.parameters, 1, self.sums, self.state, self.c, self.scratch)

    def full(self):
        return eigen.full(self.c, self.values, self.vectors, self.scratch)

    def track(self):
        return eigen.track(self.c, self.state, corr.EDGE, 0.2, self.top, self.leading, self.scratch)

    def weigh(self):
        corr.weights(self.top, self.leading, self.ic, 0.2, True, self.state, self.weights, self.scratch)


class Spectrum:
    """One symbol of n configurations; the figures are for all eight lanes."""

    params = (4, 16, 64)
    param_names = ("configurations",)

    def setup(self, n):
        _kernel.warm()
        self.lanes = Lanes(n)
        self.lanes.weigh()

    def time_update(self, n):
        self.lanes.update()

    def time_full(self, n):
        self.lanes.full()

    def time_track(self, n):
        self.lanes.track()

    def time_weights(self, n):
        self.lanes.weigh()


class Window:
    """Ledoit-Wolf covariance of a window of 16 columns."""

    params = (1, 64, 256)
    param_names = ("rows",)

    def setup(self, rows):
        _kernel.warm()
        rng = np.random.default_rng(7)
        self.x = rng.standard_normal((rows, 1)) + rng.standard_normal((rows, 16))
        self.centred, self.covariance = aligned((16 * -(-rows // 8), 8), float), np.empty((16, 16))

    def time_window(self, rows):
        corr.shrink(self.covariance, corr.window(self.x, float(rows), self.centred, self.covariance))
