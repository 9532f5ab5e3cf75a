"""tickarrow session check: is everything there, whole and consistent, and how good is it?

Every checksum and number of the journal is checked, the tables against their counters and schemas, and TICKS bit for bit against what
the chunks decode to now. A session that was killed is not damaged: the check says what a recovery will cut, `repair=true` does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from tickarrow.configs.pipeline import SessionCheckConf
from tickarrow.pipeline import schemas, session_quality
from tickarrow.pipeline.batch import Batch, Chunk, Segment, Table
from tickarrow.pipeline.calendar import Hours
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import SERVER_VERSION, Decode
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.prepare import progress_columns, warm_kernels
from tickarrow.pipeline.recorder_read import Cut, read_journal
from tickarrow.pipeline.session import cut_text, read_manifest, read_table, recover, state, table_batches, uncommitted
from tickarrow.pipeline.session_feed import feed_session
from tickarrow.pipeline.session_quality import Quality


def main(conf: SessionCheckConf) -> None:
    """Check, print, and write the quality report; SessionError says what is damaged."""
    directory, console = Path(conf.session), session_quality.wide()
    manifest = read_manifest(directory)
    now = state(directory, manifest)
    if now == "recording":
        raise SessionError(f"session {directory} is being recorded. Check it when its run has ended.")
    warm_kernels(Console(stderr=True))
    if now == "killed" and conf.repair:
        manifest, now = recover(directory), "recovered"
    found = shown(directory, Console(stderr=True))
    if now == "killed":
        console.print(f"not closed: its run was killed. {_would_cut(directory, manifest, found.cut)} Recover it: repair=true", soft_wrap=True)
    elif now == "recovered":
        console.print(f"recovered: {cut_text(manifest)}", soft_wrap=True)
    session_quality.show(console, found.report)
    if now != "killed":
        session_quality.write(directory, found.report, found.quality)
    console.print(f"whole: {directory}", soft_wrap=True, highlight=False)


@dataclass(slots=True)
class Found:
    """What a check saw."""

    report: dict[str, Any]
    quality: Quality
    cut: Cut


class _Recorded:
    """The rows of a recorded table, compared with those decoded again as they come."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.batches: Iterator[pa.RecordBatch] = table_batches(directory, name)
        self.batch: pa.RecordBatch | None = next(self.batches, None)
        self.row = self.offset = 0  # of the table and of the batch

    def compare(self, now: Batch) -> None:
        """The next rows, as far as they were recorded."""
        at = now.lo
        while at < now.hi and self.batch is not None:
            n = min(now.hi - at, self.batch.num_rows - self.offset)
            for k, name in enumerate(self.batch.schema.names):
                a, b = self.batch.column(k).to_numpy()[self.offset : self.offset + n], now.segment.columns[name][at : at + n]
                differs = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
                if a.dtype.kind == "f" and differs.any():
                    differs &= ~(np.isnan(a) & np.isnan(b))
                if differs.any():
                    i = int(np.argmax(differs))
                    raise SessionError(
                        f"session {self.directory} is damaged: {self.name} row {self.row + i:,}, column {name} is {a[i]}, its chunk says {b[i]}. "
                        f"Restore {self.name}.arrow from a copy."
                    )
            at, self.row, self.offset = at + n, self.row + n, self.offset + n
            if self.offset == self.batch.num_rows:
                self.batch, self.offset = next(self.batches, None), 0


class _Again:
    """Decodes a session again and compares its tables a full segment at a time: rows of one chunk cost more to compare than to decode."""

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        symbols, first = manifest["universe"], next(read_journal(directory), (0, 0, b""))
        self.ticks = Table(schemas.TICKS, keep=True)
        beside = [Table(schema, keep=True, lazy=True) for schema in (schemas.DEPTH, schemas.BARS, schemas.GREEKS)]
        self.decode = Decode(len(symbols), self.ticks, *beside)
        self.decode.server_version = manifest.get("server_version", SERVER_VERSION)
        self.quality = Quality(symbols, Hours(manifest["config"]["gateway"]["calendar"], first[1]).open_s)
        self.tables = [(table, _Recorded(directory, table.name)) for table in (self.ticks, *beside)]

    def feed(self, chunk: Chunk, arrival_ns: int = 0) -> Batch:
        self.quality.chunk(chunk.ts, chunk.hi - chunk.lo)
        ticks = self.decode.step(chunk)
        for table, recorded in self.tables:
            if table.closed:
                self._take(table, recorded, table.closed)
                table.closed.clear()
        return ticks

    def apply(self, event: Control) -> None:
        self.quality.control(event)
        self.decode.apply(event)

    def finish(self) -> None:
        """Compare what is in the open segments."""
        for table, recorded in self.tables:
            self._take(table, recorded, [table.segment])

    def _take(self, table: Table, recorded: _Recorded, segments: list[Segment]) -> None:
        for segment in segments:
            rows = Batch(segment, 0, segment.rows)
            if table is self.ticks:
                self.quality.rows(rows)
            recorded.compare(rows)


def check(directory: Path, progress: Callable[[int, int | None], None] | None = None) -> Found:
    """Check a session that nobody writes.

    Parameters
    ----------
    directory : session
    progress : called with the chunks done and all of them; None = it was not closed, nobody counted them

    Raises
    ------
    SessionError
        the first damage
    """
    manifest = read_manifest(directory)
    for name in manifest["tables"]:
        _check_table(directory, manifest, name)
    again, cut = _Again(directory, manifest), Cut()
    for chunk, _ in feed_session(again, directory, cut):
        if progress is not None and chunk.number % 1024 == 0:
            progress(chunk.number, manifest.get("chunks"))
    again.finish()
    for table, _ in again.tables:
        rows = read_table(directory, table.name).num_rows
        if rows > table.rows or (rows < table.rows and manifest["state"] == "closed"):
            raise SessionError(
                f"session {directory} is damaged: {table.name} has {rows:,} rows, its chunks give {table.rows:,}. Restore it from a copy."
            )
    report = again.quality.report(again.decode)
    if manifest["state"] != "open" and report["chunks"] != manifest["chunks"]:
        raise SessionError(f"session {directory} is damaged: it has {report['chunks']:,} chunks, its manifest says {manifest['chunks']:,}. Restore the rest.")
    report["cut_bytes"] = manifest["cut"]["journal_bytes"] if "cut" in manifest else cut.torn
    report["sent"] = session_quality.sent(manifest)
    return Found(report, again.quality, cut)


def shown(directory: Path, console: Console) -> Found:
    """Check, and show how far it is."""
    with Progress(*progress_columns(), console=console, transient=True) as progress:
        bar = progress.add_task("checking", total=None)
        return check(directory, lambda done, total: progress.update(bar, completed=done, total=total))


def _check_table(directory: Path, manifest: dict[str, Any], name: str) -> None:
    try:
        table = read_table(directory, name)
    except (pa.ArrowInvalid, OSError) as e:
        raise SessionError(f"session {directory} is damaged: table {name} cannot be read ({e}). Restore {name}.arrow from a copy.") from None
    expected = getattr(schemas, name.upper(), None)
    if expected is not None and not table.schema.equals(expected):
        raise SessionError(f"session {directory}: the columns of table {name} are not those of this version. Use the tickarrow that recorded it.")
    if manifest["state"] != "open" and table.num_rows != manifest["rows"][name]:
        raise SessionError(f"session {directory} is damaged: {name} has {table.num_rows:,} rows, its manifest says {manifest['rows'][name]:,}.")
    if "seq" in table.column_names:
        row, before = 0, np.zeros(0, np.int64)
        for batch in table_batches(directory, name):
            seq = np.concatenate([before, batch.column("seq").to_numpy().astype(np.int64)])
            steps = np.diff(seq)
            wrong = steps != 1 if name == "ticks" else steps < 0
            if wrong.any():
                at = row + int(np.argmax(wrong)) + 1 - len(before)
                raise SessionError(f"session {directory} is damaged: {name} row {at:,} does not follow in seq.")
            row, before = row + batch.num_rows, seq[-1:]


def _would_cut(directory: Path, manifest: dict[str, Any], cut: Cut) -> str:
    torn = {name: uncommitted(directory, place, name) for place, name in enumerate(manifest["tables"]) if not (directory / f"{name}.arrow").is_file()}
    rows = ", ".join(f"{n} of {name}" for name, n in torn.items() if n) or "none"
    return f"Torn bytes of the journal: {cut.torn}; rows not committed: {rows}."
