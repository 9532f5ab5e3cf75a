"""A session of several runs: one that was killed or closed is opened again, and the next run goes on where it ends.

Tables stay what they are, segments in mapped files: those of earlier runs are mapped again, new rows go into the next segment. So nothing
of a killed session is copied or read. Rows behind a state are dropped and decided again from the journal; CONTROL is a journal itself
and is kept, TIMING is measured and is kept too. Every moment of it leaves a session that can be opened after a kill."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.recorder import SPARE
from tickarrow.pipeline.session import COUNTERS, TABLES, Session, committed_rows, read_counters, read_manifest, segment_path, state, table_batches

KEPT_TABLES = ("control", "timing")  # not made again by a replay of the chunks
CLOSED_ONLY = ("rows", "cut", "decision_digest", "prediction_digest")  # of a manifest


class Resumed(Session):
    """A session that goes on.

    Parameters
    ----------
    directory : of a session that nobody writes

    Notes
    -----
    `keep` says from which rows on the tables are made again; it comes before `table`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tables: list[Table] = []
        self.manifest = read_manifest(directory)
        self._lock = -1
        now = state(directory, self.manifest)
        if now == "recording":
            raise SessionError(f"session {directory} is being recorded. Stop its run first.")
        if now != "killed":
            _reopen(directory, self.manifest)
            self.write_manifest()
        read_counters(directory)  # is it whole?
        self._lock = os.open(directory / "counters.bin", os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in self.manifest["tables"]:
            (directory / f"{name}.arrow").unlink(missing_ok=True)  # the segments are the table now
        for name in (SPARE, "long.bin"):
            (directory / name).unlink(missing_ok=True)
        self._counters = np.memmap(directory / "counters.bin", np.int64, "r+", shape=(TABLES, COUNTERS))
        self._counts: dict[str, list[int]] = {}

    def rows(self) -> dict[str, int]:
        """Committed rows of each table."""
        return {name: sum(committed_rows(self._counters, place)) for place, name in enumerate(self.manifest["tables"])}

    def keep(self, rows: dict[str, int]) -> None:
        """Drop all rows behind these of the tables that a replay makes again."""
        for place, name in enumerate(self.manifest["tables"]):
            counts = committed_rows(self._counters, place)
            left = sum(counts) if name in KEPT_TABLES else rows.get(name, 0)
            kept: list[int] = []
            for n in counts:
                if left > 0:
                    kept.append(min(n, left))
                    left -= kept[-1]
            _cut(self._counters[place], kept)
            self._counts[name] = kept
            for path in sorted(self.directory.glob(f"{name}-[0-9]*.arrow"))[len(kept) :]:
                path.unlink()

    def table(self, schema: pa.Schema, *, lazy: bool = False) -> Table:
        """The next table, with its rows."""
        place, name = len(self.tables), schema.metadata[b"table"].decode()
        names = self.manifest["tables"]
        if place >= len(names) or names[place] != name:
            raise SessionError(
                f"session {self.directory} has the tables {', '.join(names)}, this run would record {name} as number {place + 1}: "
                "record what the session records (record.features, record.predictions), or begin another one (record.path=...)."
            )
        table = Table(schema, self.directory, counter=self._counters[place], lazy=lazy, begun=self._counts[name])
        self.tables.append(table)
        return table

    def leave(self) -> None:
        """Let it go as it is: it is killed, as before."""
        os.close(self._lock)


def _cut(counter: npt.NDArray[np.int64], kept: list[int]) -> None:
    """Closed segments of so many rows and an empty one behind; in steps of which each leaves rows of the table's begin."""
    counter[1] = 0
    for k, n in enumerate(kept):
        counter[0] = k
        counter[2 + k] = n
    counter[0] = len(kept)


def _reopen(directory: Path, manifest: dict[str, Any]) -> None:
    """Tables of a closed or recovered session become segments and counters again; the closed ones stay until the session goes on."""
    part = directory / "counters.part"
    part.write_bytes(bytes(TABLES * COUNTERS * 8))
    counters = np.memmap(part, np.int64, "r+", shape=(TABLES, COUNTERS))
    for place, name in enumerate(manifest["tables"]):
        counts: list[int] = []
        for batch in table_batches(directory, name):
            if batch.num_rows:
                with pa.OSFile(str(segment_path(directory, name, len(counts))), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                counts.append(batch.num_rows)
        _cut(counters[place], counts)
    counters.flush()
    os.replace(part, directory / "counters.bin")
    manifest["state"] = "open"
    for key in CLOSED_ONLY:
        manifest.pop(key, None)
