"""The exit kernel: batches of rows through trees of any shape, leaf by leaf grown at random on one cut grid."""

import numpy as np

from tickarrow.jit import _kernel, simd
from tickarrow.jit._kernel import cpu_has
from tickarrow.pipeline.forest import Forest
from tickarrow.pipeline.forest_exit import Exit, pack

MODELS, TREES, FEATURES, CUTS = 8, 100, 32, 64


def leafwise(rng, leaves, dtype):
    """A model of random trees with so many leaves each, on one grid of cuts."""
    grid = np.linspace(-2, 2, CUTS).astype(np.float32)
    nodes = 2 * leaves - 1
    left, right = np.full((TREES, nodes), -1), np.full((TREES, nodes), -1)
    for t in range(TREES):
        there = [0]
        for made in range(1, nodes, 2):
            at = there.pop(int(rng.integers(len(there))))
            left[t, at], right[t, at] = t * nodes + made, t * nodes + made + 1
            there += [made, made + 1]
    size = TREES * nodes
    return Forest(
        n_features=FEATURES, base=0.0, root=np.arange(TREES) * nodes, left=left.reshape(-1), right=right.reshape(-1),
        feature=rng.integers(0, FEATURES, size), cut=rng.choice(grid, size), default_left=rng.random(size) < 0.5,
        leaf=rng.normal(size=size).astype(dtype),
    )  # fmt: skip


class ExitTrees:
    """8 models x 100 trees; float64 leaves as LightGBM's, float32 as xgboost's; `one by one` is the leaf add without permutes."""

    params = ([1, 100, 2_048], [31, 255], ["float64", "float32"], ["one by one", "permutes"])
    param_names = ("rows", "leaves", "width", "adds")

    def setup(self, rows, leaves, width, adds):
        if adds == "permutes" and not cpu_has(simd.NEEDS):
            raise NotImplementedError(f"needs {simd.NEEDS}")
        _kernel.warm()
        rng = np.random.default_rng(11)
        bank = [leafwise(rng, leaves, np.dtype(width)) for _ in range(MODELS)]
        self.part = Exit(pack(bank, range(MODELS)), adds == "permutes")
        self.x = rng.normal(size=(rows, FEATURES)).astype(np.float32)
        self.x[rng.random(self.x.shape) < 0.02] = np.nan
        self.y = np.zeros((rows, MODELS), np.float32)
        self.time_predict(rows, leaves, width, adds)

    def time_predict(self, rows, leaves, width, adds):
        self.part.predict(self.x, 0, rows, self.y)
