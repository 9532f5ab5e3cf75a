"""Margins of complete trees, one row at a time: 80 models, one call for each row."""

from __future__ import annotations

import numpy as np

from tickarrow.jit import _kernel, simd
from tickarrow.pipeline.forest import Forest
from tickarrow.pipeline.forest_lines import Lines, pack

N_MODELS, N_TREES, N_ROWS = 80, 25, 256


def _forest(rng: np.random.Generator, depth: int, cuts: np.ndarray) -> Forest:
    """Complete trees with cuts of a grid (features, cuts)."""
    inner, size = (1 << depth) - 1, (2 << depth) - 1
    node = np.arange(size)
    parent = np.tile(node < inner, N_TREES)
    first = np.repeat(np.arange(N_TREES) * size, size)
    feature = np.where(parent, rng.integers(0, cuts.shape[0], parent.size), 0)
    return Forest(
        n_features=cuts.shape[0], base=0.5, root=np.arange(N_TREES) * size,
        left=np.where(parent, first + np.tile(2 * node + 1, N_TREES), -1), right=np.where(parent, first + np.tile(2 * node + 2, N_TREES), -1),
        feature=feature, cut=np.where(parent, cuts[feature, rng.integers(0, cuts.shape[1], parent.size)], 0).astype(np.float32),
        default_left=parent & (rng.random(parent.size) < 0.5), leaf=np.where(parent, 0, rng.normal(size=parent.size)).astype(np.float32),
    )  # fmt: skip


class OneRow:
    """80 models x 25 trees; the rows take turns, so that other lines are read each time."""

    params = ("depth 6", "depth 8", "200 features", "own grids")
    param_names = ("bank",)

    def setup(self, bank):
        if not _kernel.cpu_has(simd.NEEDS):
            raise NotImplementedError("the processor has no AVX-512 VBMI")
        rng = np.random.default_rng(5)
        features = 200 if bank == "200 features" else 96
        grids = np.sort(rng.normal(size=(N_MODELS if bank == "own grids" else 1, features, 120)).astype(np.float32), axis=2)
        forests = [_forest(rng, 8 if bank == "depth 8" else 6, grids[m % len(grids)]) for m in range(N_MODELS)]
        _kernel.warm()
        self.part = Lines(pack(forests, range(N_MODELS)))
        self.x = rng.normal(size=(N_ROWS, features)).astype(np.float32)
        self.x[rng.random(self.x.shape) < 0.02] = np.nan
        self.y = np.zeros((N_ROWS, N_MODELS), np.float32)
        self.row = 0
        self.time_predict(bank)

    def time_predict(self, bank):
        self.row = (self.row + 1) % N_ROWS
        self.part.predict(self.x, self.row, self.row + 1, self.y)
