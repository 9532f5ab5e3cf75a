"""The one-row kernel for trees of any shape: forests grown leaf by leaf at random, many enough to leave the near caches."""

import numpy as np

from benchmarks.bench_trees_exit import FEATURES, leafwise
from tickarrow.jit import _kernel, simd
from tickarrow.jit._kernel import cpu_has
from tickarrow.pipeline.forest_jump import Jump, pack

MODELS = 40


class JumpTrees:
    """40 models x 100 trees, one row a call, another row each time; float64 leaves as LightGBM's, float32 as xgboost's."""

    params = ([1, 16], [31, 63, 127, 255], ["float64", "float32"])
    param_names = ("rows", "leaves", "width")

    def setup(self, rows, leaves, width):
        if not cpu_has(simd.NEEDS):
            raise NotImplementedError(f"needs {simd.NEEDS}")
        _kernel.warm()
        rng = np.random.default_rng(11)
        bank = [leafwise(rng, leaves, np.dtype(width)) for _ in range(MODELS)]
        self.part = Jump(pack(bank, range(MODELS)))
        self.x = rng.normal(size=(2_000, FEATURES)).astype(np.float32)
        self.x[rng.random(self.x.shape) < 0.02] = np.nan
        self.y, self.at = np.zeros((rows, MODELS), np.float32), 0
        self.time_predict(rows, leaves, width)

    def time_predict(self, rows, leaves, width):
        at = self.at
        self.part.predict(self.x, at, at + rows, self.y)
        self.at = (at + rows) % 1_900
