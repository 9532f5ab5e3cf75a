"""A session: the directory of one run, with everything that is needed to replay it (design contract 11)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tickarrow.configs.pipeline import CompactConf
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.errors import SessionError

FORMAT = 1
COUNTERS = 64  # tables; one cache line each: (segment, rows), for readers of another process
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


def _decisive(conf: Any) -> Any:
    """A configuration as plain data, without the fields that cannot change a decision (`metadata={"digest": False}`)."""
    if dataclasses.is_dataclass(conf):
        return {f.name: _decisive(getattr(conf, f.name)) for f in dataclasses.fields(conf) if f.metadata.get("digest", True)}
    if isinstance(conf, list | tuple):
        return [_decisive(c) for c in conf]
    return conf


def config_digest(conf: Any) -> str:
    """BLAKE2b-128 over the resolved configuration, without what cannot change a decision (design contract 8)."""
    return hashlib.blake2b(json.dumps(_decisive(conf), sort_keys=True).encode(), digest_size=16).hexdigest()


class Session:
    """A session being recorded: makes the tables in its directory and closes them with a manifest."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / "manifest.json").exists() or any(directory.glob("chunks-*.bin")):
            raise SessionError(f"{directory} already holds a session. Choose another folder (record.path=...) or remove it.")
        self.directory = directory
        self.tables: list[Table] = []
        self._counters = np.memmap(directory / "counters.bin", np.int64, "w+", shape=(COUNTERS, 8))
        self.manifest: dict[str, Any] = {"format": FORMAT, "state": "open", "versions": versions(), "tables": []}

    def table(self, schema: pa.Schema) -> Table:
        """A table whose memory is a mapped file of the session."""
        table = Table(schema, self.directory, counter=self._counters[len(self.tables), :2])
        self.tables.append(table)
        self.manifest["tables"].append(table.name)
        return table

    def write_manifest(self) -> None:
        (self.directory / "manifest.json").write_text(json.dumps(self.manifest, indent=1, default=str) + "\n")

    def close(self) -> None:
        """Turn the tables into plain Arrow IPC files and say in the manifest that the session is complete."""
        for table in self.tables:
            table.close()
        (self.directory / "counters.bin").unlink(missing_ok=True)
        self.manifest["state"] = "closed"
        self.manifest["rows"] = {t.name: t.rows for t in self.tables}
        self.write_manifest()


def open_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a closed session; SessionError says what is wrong otherwise."""
    path = directory / "manifest.json"
    if not path.is_file():
        raise SessionError(f"{directory} is no session: it has no manifest.json. Name the session/ folder of a run's output directory.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except ValueError as e:
        raise SessionError(f"{path} is damaged: {e}. Restore it from a copy.") from None
    if manifest.get("format") != FORMAT:
        raise SessionError(f"{path} has format {manifest.get('format')}, this version reads {FORMAT}. Use the tickarrow that recorded it.")
    if manifest["state"] != "closed":
        raise SessionError(f"session {directory} was not closed: its run was stopped from outside, so there are no digests to compare with.")
    return manifest


def read_table(directory: Path, name: str) -> pa.Table:
    """A closed table of a session, mapped, not read."""
    path = directory / f"{name}.arrow"
    if not path.is_file():
        raise SessionError(f"session {directory} has no table {name}: it was not recorded (record.predictions=true, record.features=true).")
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


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
