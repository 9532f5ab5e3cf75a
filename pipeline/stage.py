"""What a stage is: a table in, a table out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from tickarrow.pipeline.batch import Batch

Snapshot = dict[str, npt.NDArray[Any]]


def copied(held: Snapshot) -> Snapshot:
    """Copies that no step changes."""
    return {name: array.copy() for name, array in held.items()}


class Stage(Protocol):
    """Allocates in `__init__`, nothing in `step`. Time is the batch's `ts`. The result does not depend on how rows were cut into batches."""

    def step(self, batch: Batch) -> Batch:
        """Process the batch and return the new rows of the output table; an empty batch changes nothing."""
        ...

    def flush(self) -> Batch:
        """Rows that were held back, at the end of the stream."""
        ...

    def held(self) -> Snapshot:
        """All state that a later result depends on, not copied: valid until the next step."""
        ...

    def snapshot(self) -> Snapshot:
        """Copies of it."""
        ...

    def restore(self, saved: Snapshot) -> None:
        """Back to a snapshot."""
        ...
