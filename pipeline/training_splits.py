"""Splits of training rows in time: walk-forward and combinatorial, purged by the ends of the labels and embargoed.

Both are splitters as scikit-learn has them (`get_n_splits`, `split(X)`), so its tools take them too. A label that lasts has two times, so
the splitter is made of the rows' times and cannot be one that only counts rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of the rows. What is in none of the four is not used in it (rows before a window)."""

    train: Ints
    test: Ints
    purged: Ints  # their label and one of a tested row overlap
    embargoed: Ints  # they come too near to one


class Splitter(Protocol):
    """What folds come from."""

    def folds(self) -> Iterator[Fold]: ...
    def get_n_splits(self, x: Any = None, y: Any = None, groups: Any = None) -> int: ...


class _Blocks:
    """Rows in time order, cut into parts of about the same number of rows; rows of one time stay together."""

    def __init__(self, ts: Ints, end: Ints, parts: int, embargo_ns: int) -> None:
        if ts.size != end.size or (np.diff(ts) < 0).any() or (end < ts).any():
            raise ValueError("times of rows must ascend, and a label must not end before it begins")
        even = np.linspace(0, ts.size, parts + 1).round().astype(np.int64)
        even[1:-1] = np.searchsorted(ts, ts[even[1:-1]]) if ts.size else 0
        self.ts, self.end, self.embargo_ns, self.bounds = ts, end, embargo_ns, even

    def _fold(self, groups: Sequence[int], among: slice) -> Fold:
        """Test some parts, train on the others among these rows."""
        n = self.ts.size
        tested = np.zeros(n, bool)
        overlaps, near = np.zeros(n, bool), np.zeros(n, bool)
        for g in groups:
            part = slice(int(self.bounds[g]), int(self.bounds[g + 1]))
            if part.start == part.stop:
                continue
            tested[part] = True
            begin, last = self.ts[part.start], self.end[part].max()
            overlaps |= (self.end >= begin) & (self.ts <= last)
            near |= (self.end >= begin - self.embargo_ns) & (self.ts <= last + self.embargo_ns)
        other = np.zeros(n, bool)
        other[among] = True
        other &= ~tested
        parts = other & ~near, tested, other & overlaps, other & near & ~overlaps
        return Fold(*(np.flatnonzero(p) for p in parts))

    def _pairs(self, x: Any, folds: Iterator[Fold]) -> Iterator[tuple[Ints, Ints]]:
        if x is not None and len(x) != self.ts.size:
            raise ValueError(f"{len(x)} rows for {self.ts.size} times")
        for fold in folds:
            yield fold.train, fold.test


class WalkForward(_Blocks):
    """Each part but the first is tested by what was learned before it.

    Parameters
    ----------
    ts, end : (n,) int64 ns, ascending: time of each row and of the end of its label
    n_splits : parts that are tested
    embargo_ns : least time between the labels of training and tested rows; 0 = they only must not overlap
    window : parts before the tested one that are trained on; 0 = all
    """

    def __init__(self, ts: Ints, end: Ints, n_splits: int = 5, embargo_ns: int = 0, window: int = 0) -> None:
        super().__init__(ts, end, n_splits + 1, embargo_ns)
        self.n_splits, self.window = n_splits, window

    def get_n_splits(self, x: Any = None, y: Any = None, groups: Any = None) -> int:
        return self.n_splits

    def folds(self) -> Iterator[Fold]:
        for k in range(1, self.n_splits + 1):
            first = max(0, k - self.window) if self.window else 0
            yield self._fold([k], slice(int(self.bounds[first]), int(self.bounds[k])))

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[tuple[Ints, Ints]]:
        return self._pairs(X, self.folds())


class Combinatorial(_Blocks):
    """Every choice of `test_groups` of `n_groups` parts is tested by what was learned from the others.

    Parameters
    ----------
    ts, end, embargo_ns : as in `WalkForward`

    References
    ----------
    Lopez de Prado (2018), Advances in Financial Machine Learning, section 12.3: combinatorial purged cross-validation.
    """

    def __init__(self, ts: Ints, end: Ints, n_groups: int = 5, test_groups: int = 2, embargo_ns: int = 0) -> None:
        super().__init__(ts, end, n_groups, embargo_ns)
        self.n_groups, self.test_groups = n_groups, test_groups

    def get_n_splits(self, x: Any = None, y: Any = None, groups: Any = None) -> int:
        return math.comb(self.n_groups, self.test_groups)

    def folds(self) -> Iterator[Fold]:
        for groups in itertools.combinations(range(self.n_groups), self.test_groups):
            yield self._fold(groups, slice(0, self.ts.size))

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[tuple[Ints, Ints]]:
        return self._pairs(X, self.folds())


def stopping(rows: Ints, ts: Ints, end: Ints, share: float, embargo_ns: int) -> tuple[Ints, Ints]:
    """Training rows in two: those to learn from, and the latest, which tell when to stop. What lies between is purged and embargoed.

    Returns
    -------
    learn, stop : int64; stop is empty without a share
    """
    first = rows.size - round(share * rows.size)
    if first >= rows.size:
        return rows, rows[:0]
    first = int(np.searchsorted(ts[rows], ts[rows[first]]))
    learn = rows[:first]
    return learn[end[learn] < ts[rows[first]] - embargo_ns], rows[first:]


def overlap(fold: Fold, ts: Ints, end: Ints) -> tuple[int, int] | None:
    """A training row whose label overlaps with that of a tested row, and that row; None where the split is clean."""
    test = fold.test[np.argsort(ts[fold.test], kind="stable")]
    if not test.size or not fold.train.size:
        return None
    longest = np.maximum.accumulate(end[test])
    before = np.searchsorted(ts[test], end[fold.train], side="right") - 1  # newest tested row that begins before the label ends
    bad = np.flatnonzero((before >= 0) & (longest[np.maximum(before, 0)] >= ts[fold.train]))
    if not bad.size:
        return None
    row, most = int(fold.train[bad[0]]), int(before[bad[0]]) + 1
    return row, int(test[:most][end[test[:most]] >= ts[row]][0])
