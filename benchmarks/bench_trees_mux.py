"""The mux kernel: batches of rows through complete trees; random trees on one cut grid, or on a grid for each model. Masks alone beside it."""

import numpy as np

from tickarrow.jit import _kernel, trees_leaf, trees_mask
from tickarrow.pipeline import forest_mask
from tickarrow.pipeline.forest import Forest
from tickarrow.pipeline.forest_mux import Mux, pack

MODELS, TREES, FEATURES, CUTS = 16, 100, 48, 100


def complete(rng, depth, grid):
    """A model of random complete trees, its cuts from a grid (features, cuts)."""
    nodes, inner = (2 << depth) - 1, (1 << depth) - 1
    heap = np.arange(nodes)
    first = nodes * np.arange(TREES)[:, None]
    left, right = (np.where(heap < inner, first + 2 * heap + side, -1) for side in (1, 2))
    feature = rng.integers(0, FEATURES, (TREES, nodes))
    return Forest(
        n_features=FEATURES, base=0.0, root=first.reshape(-1), left=left.reshape(-1), right=right.reshape(-1), feature=feature.reshape(-1),
        cut=grid[feature, rng.integers(0, CUTS, feature.shape)].reshape(-1), default_left=rng.random(feature.size) < 0.5,
        leaf=rng.normal(size=feature.size).astype(np.float32),
    )  # fmt: skip


def bank(rng, depth, grids):
    """Models that share one grid or have each their own."""
    one = rng.normal(size=(FEATURES, CUTS)).astype(np.float32)
    return [complete(rng, depth, one if grids == "shared" else rng.normal(size=one.shape).astype(np.float32)) for _ in range(MODELS)]


def rows(rng, n):
    x = rng.normal(size=(n, FEATURES)).astype(np.float32)
    x[rng.random(x.shape) < 0.02] = np.nan
    return x


class MuxTrees:
    """16 models x 100 trees; `shuffles` is the leaf add without AVX-512. Separate grids: two digits."""

    params = ([1, 100, 2_048], [4, 6, 8], ["shared", "separate"], ["shuffles", "permutes"])
    param_names = ("rows", "depth", "grids", "adds")

    def setup(self, n, depth, grids, adds):
        if adds == "permutes" and not trees_leaf.can_permute():
            raise NotImplementedError("needs AVX-512 VBMI and GFNI")
        _kernel.warm()
        rng = np.random.default_rng(12)
        self.part = Mux(pack(bank(rng, depth, grids), range(MODELS), adds == "permutes"))
        self.x, self.y = rows(rng, n), np.zeros((n, MODELS), np.float32)
        self.time_predict(n, depth, grids, adds)

    def time_predict(self, n, depth, grids, adds):
        self.part.predict(self.x, 0, self.x.shape[0], self.y)


class Masks:
    """The mask table of one block of 128 or 256 rows."""

    params = ([2, 4], ["shared", "separate"])
    param_names = ("words", "grids")

    def setup(self, words, grids):
        _kernel.warm()
        rng = np.random.default_rng(13)
        arrays = forest_mask.dictionary(bank(rng, 6, grids)).arrays
        self.args = (rows(rng, 64 * words), 0, 64 * words, words, *forest_mask.inputs(arrays), *forest_mask.room(arrays, words))
        self.time_masks(words, grids)

    def time_masks(self, words, grids):
        trees_mask.masks(*self.args)
