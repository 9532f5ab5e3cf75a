"""Training rows that are too many for the memory: they stay in the mapped files of the feature cache and are read day by day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xgboost

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

BLOCK = 65_536  # rows that are in memory at a time
DAY_NS = 86_400_000_000_000


class Stored:
    """Some rows of `x` of FEATURES. Indexing copies rows; nothing else takes memory."""

    def __init__(self, features: pa.Table, rows: Ints | None = None) -> None:
        width = features.schema.field("x").type.list_size
        self._parts = [batch.column("x").flatten().to_numpy().reshape(-1, width) for batch in features.to_batches()]
        self._first = np.cumsum([0, *(len(p) for p in self._parts)])
        self._features = features
        self.rows = np.arange(len(features), dtype=np.int64) if rows is None else rows
        self.shape = self.rows.size, width

    def __len__(self) -> int:
        return self.shape[0]

    def select(self, rows: Ints) -> Stored:
        """Some of these rows."""
        return Stored(self._features, self.rows[rows])

    def __getitem__(self, which: slice | Ints) -> Float32:
        rows = self.rows[which]
        out = np.empty((rows.size, self.shape[1]), np.float32)
        part = np.searchsorted(self._first, rows, side="right") - 1
        for k in np.unique(part):
            mine = part == k
            out[mine] = self._parts[k][rows[mine] - self._first[k]]
        return out


Matrix = Float32 | Stored  # x of training rows


def blocks(rows: Ints, ts: Ints | None = None) -> Iterator[Ints]:
    """Rows in order, in parts of one day and no more than a block."""
    days = rows[:0] if ts is None else np.flatnonzero(np.diff(ts[rows] // DAY_NS)) + 1
    for day in np.split(rows, days):
        for lo in range(0, day.size, BLOCK):
            yield day[lo : lo + BLOCK]


class Days(xgboost.DataIter):  # type: ignore[misc]  # xgboost does not say its types
    """Blocks of rows for xgboost, which keeps their bins and not their values.

    Parameters
    ----------
    masked : columns that are missing throughout
    cache_prefix : path that files of bins begin with; none = the bins stay in memory
    """

    def __init__(self, x: Stored, rows: Ints, ts: Ints, masked: npt.NDArray[np.bool_] | None, cache_prefix: str | None) -> None:
        self._x, self._masked, self._blocks, self._next = x, masked, list(blocks(rows, ts)), 0
        super().__init__(cache_prefix=cache_prefix, release_data=True)

    def next(self, input_data: Callable[..., Any]) -> bool:
        if self._next == len(self._blocks):
            return False
        x = self._x[self._blocks[self._next]]
        if self._masked is not None:
            x[:, self._masked] = np.nan
        input_data(data=x)
        self._next += 1
        return True

    def reset(self) -> None:
        self._next = 0
