"""What a stage is: a table in, a table out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from tickarrow.pipeline.batch import Batch

Snapshot = dict[str, npt.NDArray[Any]]


class Stage(Protocol):
    """Allocates in `__init__`, nothing in `step`. Time is the batch's `ts`. The result does not depend on how rows were cut into batches."""

    def step(self, batch: Batch) -> Batch:
        """Process the batch and return the new rows of the output table; an empty batch changes nothing."""
        ...

    def flush(self) -> Batch:
        """Rows that were held back, at the end of the stream."""
        ...

    def snapshot(self) -> Snapshot:
        """Copies of all state that a later result depends on."""
        ...

    def restore(self, saved: Snapshot) -> None:
        """Back to a snapshot."""
        ...
