"""What FEATURES for research are computed from: a session, or a source. What identifies it, and its rows of TICKS."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import DataError
from tickarrow.pipeline.schemas import DEPTH, TICKS, ControlKind
from tickarrow.pipeline.session import decisive, open_manifest, read_table, table_batches
from tickarrow.pipeline.session_feed import read_control
from tickarrow.pipeline.universe import Universe

READ = 8_192  # rows of a session that are computed at a time
DEPTH_READ = 32_768  # rows of DEPTH that come with them at most

# Rows of TICKS, control events that come behind them, share of the input that is done with them.
Blocks = Iterator[tuple[Batch, list[Control], float]]


@dataclass(frozen=True)
class Input:
    """Rows of TICKS and who they are."""

    name: str  # for people
    identity: dict[str, Any]  # plain data: the same for the same rows
    open: Callable[[], tuple[Universe, Table | None, Blocks]]  # symbols, DEPTH, rows


def of_session(directory: Path) -> Input:
    """TICKS and DEPTH of a session that is complete."""
    manifest = open_manifest(directory)
    said = hashlib.blake2b((directory / "manifest.json").read_bytes(), digest_size=16).hexdigest()
    identity = {"session": said, "ticks": (directory / "ticks.arrow").stat().st_size}

    def opened() -> tuple[Universe, Table | None, Blocks]:
        from tickarrow.pipeline.replay import stored_universe

        depth = Table(DEPTH) if manifest["rows"].get("depth") else None
        return stored_universe(manifest), depth, _session_blocks(directory, manifest["rows"]["ticks"], depth)

    return Input(str(directory), identity, opened)


def _session_blocks(directory: Path, total: int, depth: Table | None) -> Blocks:
    """Ticks in their order. When a block is yielded, those rows of DEPTH that came before its last tick are in their table."""
    ticks, done, taken = Table(TICKS), 0, 0
    changes, resets = DEPTH.empty_table(), []
    if depth is not None:
        changes = read_table(directory, "depth").combine_chunks()
        resets = [e for e in read_control(directory) if e.kind == ControlKind.DEPTH_RESET]
    depth_seq, depth_chunk = changes["seq"].to_numpy(), changes["chunk"].to_numpy().astype(np.int64)

    def take(until: int) -> None:
        nonlocal taken
        if depth is not None and until > taken:
            _append(depth, changes.slice(taken, until - taken))
            taken = until

    for rows in table_batches(directory, "ticks"):
        chunk, lo = rows["chunk"].to_numpy().astype(np.int64), 0
        needed = np.searchsorted(depth_seq, rows["seq"].to_numpy(), "right")  # rows of DEPTH that came before a tick
        while lo < len(rows):
            while resets and resets[0].chunk < chunk[lo]:
                before = int(np.searchsorted(depth_chunk, resets[0].chunk, "right"))
                while taken < before:
                    take(min(taken + DEPTH_READ, before))
                    yield ticks.empty(), [], done / total
                yield ticks.empty(), [resets.pop(0)], done / total
            hi = min(lo + READ, len(rows), int(np.searchsorted(needed, taken + DEPTH_READ, "right")))
            if resets:
                hi = min(hi, int(np.searchsorted(chunk, resets[0].chunk, "right")))
            take(int(needed[hi - 1]) if hi > lo else taken + DEPTH_READ)
            yield _append(ticks, rows.slice(lo, hi - lo)), [], (done + hi) / total
            lo = hi
        done += len(rows)


def _append(table: Table, rows: pa.Table | pa.RecordBatch) -> Batch:
    """Copy rows to the end of a table."""
    n = len(rows)
    row = table.reserve(n)
    for name in table.schema.names:
        table.segment.columns[name][row : row + n] = rows[name].to_numpy()
    return table.commit(n)


def of_source(source: SourceConf, universe: UniverseConf) -> Input:
    """What a source gives, decoded as in a backtest. A file is known by name, size and content, a generated market by its settings."""
    identity = {"source": decisive(source), "universe": decisive(universe), "files": [] if source.kind == "generated" else content(source)}

    def blocks(opened: Any) -> Blocks:
        from tickarrow.pipeline.decode import FromRows

        decode = FromRows(len(opened.universe), Table(TICKS))
        span = max(opened.end_ns - opened.start_ns, 1)
        for rows in opened.blocks():
            ticks = decode.step(rows)
            if len(ticks):
                yield ticks, [], min(1.0, (int(ticks.ts[ticks.hi - 1]) - opened.start_ns) / span)

    def opened() -> tuple[Universe, Table | None, Blocks]:
        from tickarrow.pipeline.source import open_source

        found = open_source(source, universe)
        return found.universe, None, blocks(found)

    return Input(f"seed {source.seed}" if source.kind == "generated" else source.path, identity, opened)


def content(source: SourceConf) -> list[tuple[str, int, str]]:
    """Name, size and BLAKE2b-128 of each file of a source, in order of their names."""
    path = Path(source.path)
    if not path.exists() or not source.path:
        raise DataError(f"source.path: {source.path or 'it'} does not exist. Name a file of ticks or the folder of such files.")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    if source.kind == "lean" and source.symbols:  # a data folder may hold years of a whole market
        wanted = {s.lower() for s in source.symbols}
        files = [p for p in files if p.parent.name in wanted]
    out = []
    for p in files:
        with p.open("rb") as f:
            digest = hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        out.append((p.name if p == path else str(p.relative_to(path)), p.stat().st_size, digest))
    return out


def defaults(what: Path | None) -> tuple[FeaturesConf, UniverseConf]:
    """Settings where none are given: those of the session, else those of `tickarrow backtest`."""
    from tickarrow.pipeline.prepare import compose

    conf = compose("backtest")
    if what is not None:
        from tickarrow.pipeline.replay import stored_conf

        manifest = open_manifest(what)
        if "features" in manifest.get("config", {}):
            return stored_conf(manifest).features, conf.universe
    return conf.features, conf.universe


def is_session(path: Path) -> bool:
    return (path / "manifest.json").is_file()


