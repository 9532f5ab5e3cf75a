"""Push a recorded session into something that takes chunks and control events, in the order in which it was recorded; compare what comes
of it with what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tickarrow.pipeline.batch import PAD, Batch, Chunk, Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.recorder_read import Cut, read_journal
from tickarrow.pipeline.schemas import CONTROL, NO_CHUNK
from tickarrow.pipeline.session import read_table


class Taker(Protocol):
    """`Pipeline`, or `Recording` where nothing is decided."""

    def feed(self, chunk: Chunk, arrival_ns: int = 0) -> Batch: ...

    def apply(self, event: Control) -> None: ...


def read_control(directory: Path) -> list[Control]:
    """The control events of a session, in order; `chunk` is -1 for those before the first."""
    rows: list[dict[str, Any]] = read_table(directory, "control").select(CONTROL.names).to_pylist()
    return [Control(**row | {"chunk": -1 if row["chunk"] == NO_CHUNK else row["chunk"]}) for row in rows]


def feed_session(
    taker: Taker, directory: Path, cut: Cut | None = None, start: tuple[str, int, int] = ("", 0, 0), events: list[Control] | None = None
) -> Iterator[tuple[Chunk, Batch]]:
    """Push chunks and control events in their recorded order.

    Parameters
    ----------
    taker : as it was at the session's start, or at `start`
    directory : session in any state
    cut : filled with where the journal ends, if given
    start : where in the journal to begin, see `read_journal`
    events : control events from there on; None = all of the session

    Yields
    ------
    each chunk and what the taker made of it
    """
    events = read_control(directory) if events is None else events
    applied = 0
    buffer = np.zeros(1 << 20, np.uint8)
    for number, ts, data in read_journal(directory, cut, start):
        while applied < len(events) and events[applied].chunk < number:
            taker.apply(events[applied])
            applied += 1
        if len(data) + PAD > len(buffer):
            buffer = np.zeros(2 * len(data) + PAD, np.uint8)
        buffer[: len(data)] = np.frombuffer(data, np.uint8)
        chunk = Chunk(buffer, 0, len(data), ts, number)
        yield chunk, taker.feed(chunk)
    for event in events[applied:]:
        taker.apply(event)


def first_divergence(recorded: pa.Table, now: Table, prefix: bool = False, first: int = 0) -> str:
    """The first row and column in which two tables differ bit for bit; empty if none does. `prefix`: what was recorded may end early;
    `first`: it begins with this row of the table."""
    begin, rows = first, now.rows - first
    first, text = min(len(recorded), rows), ""
    if len(recorded) != rows and not (prefix and len(recorded) < rows):
        text = f"{now.name} has {now.rows:,} rows, recorded {begin + len(recorded):,}"
    for name in now.schema.names:
        a, b = recorded.column(name).to_numpy(), now.column(name)[begin:]
        n = min(len(a), len(b), first)
        nan = np.isnan(a[:n]) & np.isnan(b[:n]) if a.dtype.kind == "f" else np.zeros(n, bool)
        differs = np.flatnonzero((a[:n].view(f"u{a.itemsize}") != b[:n].view(f"u{b.itemsize}")) & ~nan)
        if len(differs) and differs[0] < first:
            first = int(differs[0])
            text = f"{now.name} row {begin + first:,}, column {name}: {b[first]} now, {a[first]} recorded"
    return text
