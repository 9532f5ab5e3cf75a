"""Checks of feature columns against independent implementations: what `test_<family>.py` asserts and `docs/features.md` lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Check(NamedTuple):
    """One column against one independent implementation."""

    column: str  # with the default windows of its family
    library: str  # "TA-Lib ATR"; "twin" = the slow twin of tests/naive_*.py
    values: Callable[[], tuple[np.ndarray, np.ndarray]]  # ours, theirs, (n,) float64; NaN of theirs = not compared
    rtol: float
    atol: float
    why: str  # what limits the agreement

    def largest_error(self) -> float:
        """Largest |ours - theirs| / (atol / rtol + |theirs|); at most `rtol` if the check holds."""
        ours, theirs = self.values()
        known = ~np.isnan(theirs)
        assert known.any(), f"{self.column}: {self.library} gives no value to compare with"
        assert not np.isnan(ours[known]).any(), f"{self.column} is NaN where {self.library} has a value"
        return float(np.max(np.abs(ours[known] - theirs[known]) / (self.atol / self.rtol + np.abs(theirs[known]))))
