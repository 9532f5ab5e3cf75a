"""A session: the directory of one run, with everything that is needed to replay it (design contract 11)."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import mmap
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tickarrow.configs.pipeline import CompactConf
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Table, write_table
from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.recorder import SPARE
from tickarrow.pipeline.recorder_read import Cut, being_written, read_journal

FORMAT = 2
TABLES = 64  # of a session, at most
COUNTERS = 8192  # words a table: segment, its rows, rows of each segment before it; for readers of another process and after a kill
VERSIONED = ("tickarrow", "numpy", "numba", "llvmlite", "pyarrow", "xgboost", "treelite", "tl2cgen", "ib_async", "hydra-core")


def versions() -> dict[str, str]:
    """Versions of what can change a result, and the CPU that kernels are compiled for."""
    import llvmlite.binding as llvm

    found = {"python": platform.python_version(), "cpu": llvm.get_host_cpu_name()}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def decisive(conf: Any) -> Any:
    """A configuration as plain data, without the fields that cannot change a decision (`metadata={"digest": False}`)."""
    if dataclasses.is_dataclass(conf):
        return {f.name: decisive(getattr(conf, f.name)) for f in dataclasses.fields(conf) if f.metadata.get("digest", True)}
    if isinstance(conf, list | tuple):
        return [decisive(c) for c in conf]
    return conf


def config_digest(conf: Any) -> str:
    """BLAKE2b-128 over the resolved configuration, without what cannot change a decision (design contract 8)."""
    return hashlib.blake2b(json.dumps(decisive(conf), sort_keys=True).encode(), digest_size=16).hexdigest()


class Session:
    """A session being recorded: makes the tables in its directory and closes them with a manifest.

    At every moment the directory holds enough to open it after a kill: the manifest says what it was told at the start, tables (also
    of requests, in CONTROL) and journal are mapped files. The lock on `counters.bin` ends with the process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / "manifest.json").exists() or any(directory.glob("chunks-*.bin")):
            raise SessionError(f"{directory} already holds a session. Choose another folder (record.path=...) or remove it.")
        self.directory = directory
        self.tables: list[Table] = []
        (directory / "counters.bin").write_bytes(bytes(TABLES * COUNTERS * 8))  # written, so that a full disk shows now
        self._counters = np.memmap(directory / "counters.bin", np.int64, "r+", shape=(TABLES, COUNTERS))
        self._lock = os.open(directory / "counters.bin", os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.manifest: dict[str, Any] = {"format": FORMAT, "state": "open", "versions": versions(), "tables": []}

    def table(self, schema: pa.Schema, *, lazy: bool = False) -> Table:
        """A table whose memory is a mapped file of the session; a lazy one has none before its first row."""
        table = Table(schema, self.directory, counter=self._counters[len(self.tables)], lazy=lazy)
        self.tables.append(table)
        self.manifest["tables"].append(table.name)
        return table

    def write_manifest(self) -> None:
        write_manifest(self.directory, self.manifest)

    def close(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Turn the tables into plain Arrow IPC files and say in the manifest that the session is complete; `progress` is called with the
        rows written and all of them."""
        done, total = 0, sum(t.rows for t in self.tables)

        def tell(rows: int) -> None:
            nonlocal done
            done += rows
            if progress is not None:
                progress(done, total)

        for table in self.tables:
            table.close(tell)
        self.manifest["state"] = "closed"
        self.manifest["rows"] = {t.name: t.rows for t in self.tables}
        self.write_manifest()
        (self.directory / "counters.bin").unlink()
        os.close(self._lock)


def write_manifest(directory: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest as a whole: a reader never sees half of it."""
    part = directory / "manifest.part"
    part.write_text(json.dumps(manifest, indent=1, default=str) + "\n")
    os.replace(part, directory / "manifest.json")


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a session in any state; SessionError says what is wrong with it."""
    path = directory / "manifest.json"
    if not path.is_file():
        raise SessionError(f"{directory} is no session: it has no manifest.json. Name the session/ folder of a run's output directory.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except ValueError as e:
        raise SessionError(f"{path} is damaged: {e}. Restore it from a copy.") from None
    if manifest.get("format") != FORMAT:
        raise SessionError(f"{path} has format {manifest.get('format')}, this version reads {FORMAT}. Use the tickarrow that recorded it.")
    return manifest


def state(directory: Path, manifest: dict[str, Any]) -> str:
    """`closed`, `recovered`, `recording` (its process lives), or `killed`."""
    if manifest["state"] != "open":
        return str(manifest["state"])
    counters = directory / "counters.bin"
    return "recording" if counters.is_file() and being_written(counters) else "killed"


def open_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a session that is complete; one that was killed is recovered first, with a warning that says what was cut."""
    manifest = read_manifest(directory)
    now = state(directory, manifest)
    if now == "recording":
        raise SessionError(f"session {directory} is being recorded. Wait for the end of its run, or read it live (tickarrow.pipeline.session_live).")
    if now == "killed":
        manifest = recover(directory)
        warnings.warn(f"session {directory} was not closed and is recovered now: {cut_text(manifest)}", stacklevel=2)
    return manifest


def committed_rows(counters: npt.NDArray[np.int64], place: int) -> list[int]:
    """Committed rows of each segment of a session's table."""
    segment, rows = int(counters[place, 0]), int(counters[place, 1])
    return [*(int(n) for n in counters[place, 2 : 2 + segment]), rows]


def read_counters(directory: Path) -> npt.NDArray[np.int64]:
    """The counters of a session that is not closed, mapped."""
    path = directory / "counters.bin"
    if not path.is_file() or path.stat().st_size != TABLES * COUNTERS * 8:
        raise SessionError(f"session {directory} was not closed and its counters.bin is missing or cut. Decode its journal instead (tickarrow decode).")
    return np.memmap(path, np.int64, "r", shape=(TABLES, COUNTERS))


def segment_path(directory: Path, name: str, segment: int) -> Path:
    return directory / f"{name}-{segment:05d}.arrow"


def open_segment(directory: Path, name: str, segment: int) -> pa.RecordBatch:
    """A segment of a table that is not closed, mapped, all of its capacity."""
    path = segment_path(directory, name, segment)
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except (OSError, pa.ArrowInvalid) as e:
        raise SessionError(f"{path} cannot be read: {e}. Restore the file from a copy.") from None


def uncommitted(directory: Path, place: int, name: str) -> int:
    """Rows behind the committed ones of a table that a kernel had begun to write."""
    counts, last = committed_rows(read_counters(directory), place), 0
    if segment_path(directory, name, len(counts) - 1).is_file():
        for column in open_segment(directory, name, len(counts) - 1).slice(counts[-1]).columns:
            if not pa.types.is_fixed_size_list(column.type):
                written = np.flatnonzero(column.to_numpy())
                last = max(last, int(written[-1]) + 1 if len(written) else 0)
    return last


def recover(directory: Path) -> dict[str, Any]:
    """Close a killed session: its tables cut to the committed rows, its journal behind the last whole record.

    Returns
    -------
    the manifest, state `recovered`, with what was cut. Interrupted, it can be called again.
    """
    manifest = read_manifest(directory)
    if state(directory, manifest) != "killed":
        return manifest
    cut, chunks, n_bytes = Cut(), 0, 0
    if any(directory.glob("chunks-*.bin")):
        for number, _, data in read_journal(directory, cut):
            chunks, n_bytes = number + 1, n_bytes + len(data)
    rows, lost = {}, {}
    for place, name in enumerate(manifest["tables"]):
        if not (directory / f"{name}.arrow").is_file():
            lost[name] = uncommitted(directory, place, name)
            table = read_table(directory, name)
            write_table(directory, name, table.schema, table.to_batches())
        rows[name] = read_table(directory, name).num_rows
    manifest |= {"state": "recovered", "rows": rows, "chunks": chunks, "chunk_bytes": n_bytes, "cut": {"journal_bytes": cut.torn, "rows": lost}}
    for path, end in cut.ends.items():
        os.truncate(path, end)
    write_manifest(directory, manifest)
    for name in manifest["tables"]:
        for path in directory.glob(f"{name}-[0-9]*.arrow"):
            path.unlink()
    for name in (SPARE, "long.bin", "counters.bin"):
        (directory / name).unlink(missing_ok=True)
    return manifest


def cut_text(manifest: dict[str, Any]) -> str:
    """What a recovered session holds and what was cut of it, in words."""
    cut = manifest["cut"]
    rows = ", ".join(f"{n} of {name}" for name, n in cut["rows"].items() if n) or "none"
    return f"{manifest['chunks']:,} chunks are whole, {cut['journal_bytes']} bytes of a torn one are cut, rows not committed: {rows}"


def read_table(directory: Path, name: str) -> pa.Table:
    """A table of a session, mapped, not read; of one that is not closed, the rows committed so far."""
    path = directory / f"{name}.arrow"
    if path.is_file():
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    names = read_manifest(directory)["tables"]
    if name not in names or not (directory / "counters.bin").is_file():
        raise SessionError(f"session {directory} has no table {name}: it was not recorded (record.predictions=true, record.features=true).")
    counts = committed_rows(read_counters(directory), names.index(name))
    if not segment_path(directory, name, 0).is_file():  # lazy: nothing came to it
        return getattr(schemas, name.upper()).empty_table()
    # A session that is about to go on has an empty last segment whose file is not made yet.
    return pa.Table.from_batches([open_segment(directory, name, k).slice(0, n) for k, n in enumerate(counts) if n or k == 0])


def table_batches(directory: Path, name: str) -> Iterator[pa.RecordBatch]:
    """What `read_table` gives, batch by batch; the pages of one leave the memory when the next is asked for."""
    path = directory / f"{name}.arrow"
    if not path.is_file():
        yield from read_table(directory, name).to_batches()
        return
    with path.open("rb") as f:
        file = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    reader = pa.ipc.open_file(pa.py_buffer(file))
    for k in range(reader.num_record_batches):
        yield reader.get_batch(k)
        file.madvise(mmap.MADV_DONTNEED)


def main(conf: CompactConf) -> None:
    """tickarrow session compact."""
    for path in compact(Path(conf.session)):
        print(f"{path}  {path.stat().st_size:,} bytes")


def compact(directory: Path) -> list[Path]:
    """Write each table of a closed session as Parquet beside it; DuckDB, Polars and pandas read them in one line."""
    written = []
    for name in open_manifest(directory)["tables"]:
        out = directory / f"{name}.parquet"
        pq.write_table(read_table(directory, name), out, compression="zstd")
        written.append(out)
    return written
