"""Read the tables of a session while another process records it: new rows as Arrow batches over the same memory, microseconds late.

`recorder_read.follow` does the same for the raw chunks."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.session import committed_rows, open_segment, read_counters, read_manifest, read_table, state


class LiveSession:
    """A session that is being recorded, or was.

    Parameters
    ----------
    directory : session
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = read_manifest(directory)
        self._counters = read_counters(directory) if (directory / "counters.bin").is_file() else None
        self._seen = dict.fromkeys(self.manifest["tables"], 0)
        self._begun: dict[str, tuple[int, int]] = {}  # table -> segment in use and rows seen of it
        self._open: dict[str, pa.RecordBatch] = {}  # table -> its segment in use, all of the capacity

    @property
    def recording(self) -> bool:
        """Whether its process lives and has not closed it."""
        return state(self.directory, read_manifest(self.directory)) == "recording"

    def new(self, name: str) -> list[pa.RecordBatch]:
        """Rows that were committed to a table since the last call; call it again when `recording` has become false."""
        if name not in self._seen:
            raise SessionError(f"session {self.directory} records no table {name}. It has: {', '.join(self._seen)}.")
        batches = self._mapped(name) if self._counters is not None else self._closed(name)
        self._seen[name] += sum(b.num_rows for b in batches)
        return batches

    def _mapped(self, name: str) -> list[pa.RecordBatch]:
        assert self._counters is not None
        counts = committed_rows(self._counters, self.manifest["tables"].index(name))
        segment, seen = self._begun.get(name, (0, 0))
        found: list[pa.RecordBatch] = []
        while segment < len(counts):
            if counts[segment] > seen:
                try:
                    whole = self._open[name] if name in self._open else open_segment(self.directory, name, segment)
                except SessionError:
                    return [*found, *self._closed(name, sum(b.num_rows for b in found))]  # the session was closed meanwhile
                self._open[name] = whole
                found.append(whole.slice(seen, counts[segment] - seen))
                seen = counts[segment]
            if segment + 1 == len(counts):
                break
            segment, seen = segment + 1, 0
            self._open.pop(name, None)
        self._begun[name] = (segment, seen)
        return found

    def _closed(self, name: str, more: int = 0) -> list[pa.RecordBatch]:
        self._counters = None
        batches: list[pa.RecordBatch] = read_table(self.directory, name).slice(self._seen[name] + more).to_batches()
        return batches
