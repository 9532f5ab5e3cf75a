"""Our exp and log on whole columns."""

import numpy as np

from tickarrow.jit import math


class Math:
    """One ufunc call; 1 row shows the cost of the call itself."""

    params = (1, 256, 65_536)
    param_names = ("rows",)

    def setup(self, rows):
        rng = np.random.default_rng(7)
        self.decay = -rng.exponential(0.1, rows)
        self.price = rng.uniform(1.0, 500.0, rows)
        self.out = np.empty(rows)
        self.time_exp(rows)
        self.time_log(rows)

    def time_exp(self, rows):
        math.exp(self.decay, out=self.out)

    def time_log(self, rows):
        math.log(self.price, out=self.out)
