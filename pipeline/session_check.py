"""tickarrow session check: is everything there, whole and consistent, and how good is it?

Every checksum and number of the journal is checked, the tables against their counters and schemas, and TICKS bit for bit against what
the chunks decode to now. A session that was killed is not damaged: the check says what a recovery will cut, `repair=true` does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from tickarrow.configs.pipeline import SessionCheckConf
from tickarrow.pipeline import schemas, session_quality
from tickarrow.pipeline.batch import Batch, Chunk, Table
from tickarrow.pipeline.calendar import Hours
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import SERVER_VERSION, Decode
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.prepare import warm_kernels
from tickarrow.pipeline.recorder_read import Cut, read_journal
from tickarrow.pipeline.session import cut_text, read_manifest, read_table, recover, state, uncommitted
from tickarrow.pipeline.session_feed import feed_session, first_divergence
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
    found = check(directory)
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


class _Again:
    """Decodes a session again and compares TICKS as they come."""

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        symbols, first = manifest["universe"], next(read_journal(directory), (0, 0, b""))
        self.beside = [Table(schema, keep=True, lazy=True) for schema in (schemas.DEPTH, schemas.BARS, schemas.GREEKS)]
        self.decode = Decode(len(symbols), Table(schemas.TICKS), *self.beside)
        self.decode.server_version = manifest.get("server_version", SERVER_VERSION)
        self.quality = Quality(symbols, Hours(manifest["config"]["gateway"]["calendar"], first[1]).open_s)
        self.recorded = read_table(directory, "ticks").to_batches()
        self.directory, self.row, self.place, self.offset = directory, 0, 0, 0

    def feed(self, chunk: Chunk, arrival_ns: int = 0) -> Batch:
        self.quality.chunk(chunk.ts, chunk.hi - chunk.lo)
        ticks = self.decode.step(chunk)
        self.quality.rows(ticks)
        self._compare(ticks)
        return ticks

    def apply(self, event: Control) -> None:
        self.quality.control(event)
        self.decode.apply(event)

    def _compare(self, ticks: Batch) -> None:
        """The next rows of TICKS, as far as they were recorded."""
        at = ticks.lo
        while at < ticks.hi and self.place < len(self.recorded):
            batch = self.recorded[self.place]
            n = min(ticks.hi - at, batch.num_rows - self.offset)
            for k, name in enumerate(schemas.TICKS.names):
                a, b = batch.column(k).to_numpy()[self.offset : self.offset + n], ticks.segment.columns[name][at : at + n]
                differs = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
                if differs.any() and not (a.dtype.kind == "f" and np.array_equal(a, b, equal_nan=True)):
                    i = int(np.flatnonzero(differs)[0])
                    raise SessionError(
                        f"session {self.directory} is damaged: ticks row {self.row + i:,}, column {name} is {a[i]}, its chunk says {b[i]}. "
                        "Restore ticks.arrow from a copy."
                    )
            at, self.row, self.offset = at + n, self.row + n, self.offset + n
            if self.offset == batch.num_rows:
                self.place, self.offset = self.place + 1, 0


def check(directory: Path) -> Found:
    """Check a session that nobody writes.

    Raises
    ------
    SessionError
        the first damage
    """
    manifest = read_manifest(directory)
    for name in manifest["tables"]:
        _check_table(directory, manifest, name)
    again, cut = _Again(directory, manifest), Cut()
    for _ in feed_session(again, directory, cut):
        pass
    for table in again.beside:
        if said := first_divergence(read_table(directory, table.name), table, prefix=manifest["state"] != "closed"):
            raise SessionError(f"session {directory} is damaged: {said}. Restore {table.name}.arrow from a copy.")
    report = again.quality.report(again.decode)
    rows, ticks = read_table(directory, "ticks").num_rows, report["ticks"]
    if rows > ticks or (rows < ticks and manifest["state"] == "closed"):
        raise SessionError(f"session {directory} is damaged: ticks has {rows:,} rows, its chunks give {ticks:,}. Restore it from a copy.")
    if manifest["state"] != "open" and report["chunks"] != manifest["chunks"]:
        raise SessionError(f"session {directory} is damaged: it has {report['chunks']:,} chunks, its manifest says {manifest['chunks']:,}. Restore the rest.")
    report["cut_bytes"] = manifest["cut"]["journal_bytes"] if "cut" in manifest else cut.torn
    report["sent"] = session_quality.sent(manifest)
    return Found(report, again.quality, cut)


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
        steps = np.diff(table.column("seq").to_numpy().astype(np.int64))
        wrong = steps != 1 if name == "ticks" else steps < 0
        if wrong.any():
            raise SessionError(f"session {directory} is damaged: {name} row {int(np.argmax(wrong)) + 1:,} does not follow in seq.")


def _would_cut(directory: Path, manifest: dict[str, Any], cut: Cut) -> str:
    torn = {name: uncommitted(directory, place, name) for place, name in enumerate(manifest["tables"]) if not (directory / f"{name}.arrow").is_file()}
    rows = ", ".join(f"{n} of {name}" for name, n in torn.items() if n) or "none"
    return f"Torn bytes of the journal: {cut.torn}; rows not committed: {rows}."
