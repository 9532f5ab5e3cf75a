"""What makes forecasts of the margins that an engine gives: the link of each model, and no forecast where its library has none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tickarrow.jit import trees_link
from tickarrow.pipeline import library
from tickarrow.pipeline.forest import Float32
from tickarrow.pipeline.models import ModelEntry

CODES = {"identity": trees_link.IDENTITY, "logistic": trees_link.LOGISTIC, "exponential": trees_link.EXPONENTIAL}
BITS = {library.MISSING: trees_link.REFUSES_MISSING, library.INFINITE: trees_link.REFUSES_INFINITE}


class Links:
    """Links of the models of a set, for the stage that predicts.

    Parameters
    ----------
    entries : of the models, by index
    """

    def __init__(self, entries: Sequence[ModelEntry]) -> None:
        self.link = np.array([code(e) for e in entries], np.uint8)
        self.refuses = np.array([sum(BITS[kind] for kind in e.refuses) for e in entries], np.uint8)
        self.needed = bool(self.link.any() or self.refuses.any())  # else margins are the forecasts

    def apply(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Turn margins `y` (rows, n_models) of rows [lo, hi) of `x` into forecasts, in place; row 0 belongs to row `lo`."""
        if self.needed:
            trees_link.forecasts(x, lo, hi, self.link, self.refuses, y)


def code(entry: ModelEntry) -> int:
    """The link of a model as `jit.trees_link` has it."""
    return trees_link.LOGISTIC_XGBOOST if entry.link == "logistic" and entry.library == "xgboost" else CODES[entry.link]
