"""The control block of a kernel: what it would be given in each call, by address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit.memory import SLOT
from tickarrow.pipeline.batch import Segment


class Block:
    """Arrays and integers at the places of a kernel that takes them by `array_in` (jit/memory.py).

    Parameters
    ----------
    places : how many there are
    """

    def __init__(self, places: int) -> None:
        self.words = np.zeros(SLOT * places, np.int64)
        self.address: int = self.words.ctypes.data
        self._kept: dict[int, npt.NDArray[Any]] = {}  # the addresses are theirs
        self._bound: dict[int, Segment] = {}

    def put(self, place: int, value: npt.NDArray[Any] | int) -> None:
        """An array, C-contiguous and of at most four dimensions, or an integer."""
        slot = self.words[SLOT * place : SLOT * place + SLOT]
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            slot[0], slot[1 : 1 + value.ndim] = value.ctypes.data, value.shape
            self._kept[place] = value
        else:
            slot[0] = value

    def bind(self, first: int, segment: Segment, names: Sequence[str]) -> bool:
        """Columns of the segment in use, at the places from `first` on; True if another one was in use until now."""
        if self._bound.get(first) is segment:
            return False
        self._bound[first] = segment
        for place, name in enumerate(names, first):
            self.put(place, segment.columns[name])
        return True
