"""A trained model as plain arrays: what readers produce, layouts are packed from, and kernels are compared with.

Libraries differ in how they compare (`<` or `<=`), in width (float32 or float64) and in what a missing value is. A reader turns all of it
into one rule that is exact for float32 features, so that a kernel knows neither library nor operator."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

LINKS = ("identity", "logistic", "exponential")


@dataclass(frozen=True, eq=False)
class Forest:
    """One model; the nodes of all trees one behind the other.

    A row's margin is `base`, plus the leaf of tree 0, plus that of tree 1, and so on, each sum rounded to the width of `leaf`, then divided
    by `divisor` if that is not 1, then rounded to float32.
    """

    n_features: int
    base: float  # exact in the width of `leaf`
    root: Array  # int64 (trees,), node of each tree's root
    left: Array  # int64 (nodes,), child; -1 = the node is a leaf
    right: Array  # int64
    feature: Array  # int64
    cut: Float32  # a value goes right if `value >= cut`: all do with -inf, none does with NaN
    default_left: Array  # bool, where a missing value goes
    leaf: Array  # float32 or float64: the width in which the library adds
    divisor: int = 1  # trees of an averaged forest
    link: str = "identity"  # from margin to forecast, one of LINKS
    library: str = "xgboost"

    @property
    def n_trees(self) -> int:
        return self.root.size

    @functools.cached_property
    def inner(self) -> Array:
        """bool (nodes,): the node tests a feature."""
        return self.left >= 0

    @functools.cached_property
    def depth(self) -> int:
        """Levels of the deepest tree; a lone leaf has none."""
        depth, level = 0, self.root
        while (level := level[self.inner[level]]).size:
            level = np.concatenate([self.left[level], self.right[level]])
            depth += 1
        return depth

    @functools.cached_property
    def leaves(self) -> Array:
        """int64 (trees,): leaves of each tree."""
        tree = np.full(self.left.size, -1, np.int64)
        tree[self.root] = np.arange(self.n_trees)
        level = self.root
        while (level := level[self.inner[level]]).size:
            for child in (self.left, self.right):
                tree[child[level]] = tree[level]
            level = np.concatenate([self.left[level], self.right[level]])
        return np.bincount(tree[~self.inner & (tree >= 0)], minlength=self.n_trees)


class Part(Protocol):
    """Some models of a bank, in the layout of one kernel."""

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Margins of rows [lo, hi) of `x` (capacity, n_features) into this part's columns of rows [0, hi - lo) of `y` (rows, n_models)."""
        ...
