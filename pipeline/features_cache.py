"""FEATURES for research, computed once: `features_of("DIR/session")`, or of a file of ticks, and what training reads.

An entry is a folder below `features/` of the cache, named by all that decides its bits: the feature digest and settings, the code of stages
and kernels, and the input. In it lie `features.arrow` (FEATURES) and `quotes.arrow` (mid and spread of every quote row), plain Arrow IPC
files that are mapped, not read. One process computes an entry, others that want it wait at its lock; it gets its name when it is whole. The
entries used longest ago go when all of them are larger than TICKARROW_FEATURES_GB (20)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from tickarrow.configs.features import FeaturesConf
from tickarrow.configs.pipeline import FeaturesCacheConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.jit import _kernel
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.features import Features, driver_of, feature_columns, feature_digest, features_table
from tickarrow.pipeline.features_input import Input, defaults, is_session, of_session, of_source
from tickarrow.pipeline.features_registry import family
from tickarrow.pipeline.schemas import Kind
from tickarrow.pipeline.session import decisive

FORMAT = 2
ROWS = 65_536  # of a record batch of an entry
DECIDING = ("features", "decode", "source", "market", "universe", "calendar")  # stems of the modules of pipeline that make a row
Told = Callable[[str, float], None]  # gets what is being done and the share of it that is done, 0 to 1

FILES = ("features.arrow", "quotes.arrow")
QUOTES = pa.schema([
    pa.field(n, t, False) for n, t in (("seq", pa.uint64()), ("ts", pa.int64()), ("symbol", pa.int32()), ("mid", pa.float64()), ("spread", pa.float64()))
])  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """FEATURES and quotes of one input, mapped."""

    features: pa.Table  # seq, ts, symbol, x (n, n_features) float32
    quotes: pa.Table  # seq, ts, symbol, mid and spread (float64, currency, NaN = a side is missing): every quote row
    fresh: bool  # computed by this call
    folder: Path


def features_of(
    what: str | Path | SourceConf, conf: FeaturesConf | None = None, universe: UniverseConf | None = None, *, quiet: bool = False
) -> pa.Table:
    """FEATURES of a session or of ticks, from the cache or computed now.

    Parameters
    ----------
    what : folder of a session, a Parquet file or folder of ticks, or the settings of any source
    conf : features; none = those of the session, else of `tickarrow backtest`
    universe : of a source; none = that of `tickarrow backtest`
    quiet : no progress bar

    Returns
    -------
    Arrow table over mapped files: seq, ts, symbol, x. Names of the columns of x: `columns_of`; a column for each: `wide`

    Raises
    ------
    TickarrowError : the input or the settings do not fit; the text says what to do
    """
    path = None if isinstance(what, SourceConf) else Path(what)
    session = path is not None and is_session(path)
    if conf is None or universe is None:
        given = defaults(path if session else None)
        conf, universe = conf or given[0], universe or given[1]
    if path is None:
        found = of_source(what, universe)  # type: ignore[arg-type]
    else:
        found = of_session(path) if session else of_source(SourceConf("parquet", path=str(path)), universe)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), transient=True) as progress:
        bar = progress.add_task("features", total=1.0)
        return entry_of(found, conf, lambda what, done: progress.update(bar, description=what, completed=done)).features


def columns_of(features: pa.Table) -> list[str]:
    """Names of the columns of x."""
    names: str = features.schema.field("x").metadata[b"columns"].decode()
    return names.split(",")


def wide(features: pa.Table) -> pa.Table:
    """FEATURES with a float32 column for each feature in place of x; a copy."""
    names = columns_of(features)
    parts = [batch.column("x").flatten().to_numpy().reshape(-1, len(names)) for batch in features.to_batches()]
    x = np.concatenate([np.zeros((0, len(names)), np.float32), *parts])
    fixed = {name: features[name] for name in ("seq", "ts", "symbol")}
    return pa.table(fixed | {name: np.ascontiguousarray(x[:, i]) for i, name in enumerate(names)})


def entry_of(found: Input, conf: FeaturesConf, progress: Told | None = None) -> Entry:
    """The entry of an input under a configuration; computed if it is not there."""
    tell = progress or (lambda what, done: None)
    home, name = folder(), key(found, conf)
    home.mkdir(parents=True, exist_ok=True)
    if not whole(home / name):
        tell("features: waiting for another process that computes them", 0.0)
    with locked(home, name):
        fresh = not whole(home / name)
        if fresh:
            compute(found, conf, home / name, tell)
        os.utime(home / name)  # used now
        features, quotes = (_mapped(home / name / file) for file in FILES)
    if fresh:
        prune(home, limit_bytes(), name)
    return Entry(features, quotes, fresh, home / name)


def folder() -> Path:
    return _kernel.cache_home() / "features"


def limit_bytes() -> int:
    """What the entries may take together."""
    text = os.environ.get("TICKARROW_FEATURES_GB", "20")
    try:
        return round(float(text) * 1e9)
    except ValueError:
        raise ConfigError(f"TICKARROW_FEATURES_GB is {text!r}. Give the size of the feature cache in GB, for example 20.") from None


def key(found: Input, conf: FeaturesConf) -> str:
    """Name of an entry."""
    h = hashlib.blake2b(digest_size=16)
    here = Path(__file__).resolve().parent
    for path in sorted(p for stem in DECIDING for p in here.glob(f"{stem}*.py")):
        h.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for path in sorted(_kernel_files(conf)):
        h.update(_kernel.cache_digest(path).encode())
    said = [FORMAT, found.identity, decisive(conf), feature_digest(conf), np.__version__, version("exchange_calendars")]
    h.update(json.dumps(said, sort_keys=True).encode())
    return h.hexdigest()


def _kernel_files(conf: FeaturesConf) -> set[Path]:
    """Modules whose kernels make a row: those of the families, of the driver, of the decoder and of the generated market."""
    names = ("book", "event", "trigger", "bars", "market", "market_event", "market_symbol")
    out = {_kernel.JIT_FOLDER / f"{name}.py" for name in names}
    for c in conf.families:
        for value in vars(family(c.name)).values():
            code = getattr(getattr(value, "py_func", value), "__code__", None)
            if code is not None:
                out.add(Path(code.co_filename).resolve())
    return out


@contextmanager
def locked(home: Path, name: str, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of an entry; False without waiting if another process has it. A lock ends with its process."""
    path = home / f"{name}.lock"
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue  # removed with its entry while we waited
            yield True
            return


def whole(entry: Path) -> bool:
    """Whether an entry is there with files of the size that they were written with."""
    try:
        sizes = json.loads((entry / "entry.json").read_text())["bytes"]
        return all((entry / file).stat().st_size == sizes[file] for file in FILES)
    except (OSError, ValueError, KeyError):
        return False


def _mapped(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


class _File:
    """Rows of one file of an entry, collected into batches of a size that readers like."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema, self._n = schema, 0
        self._parts: list[pa.RecordBatch] = []
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def add(self, rows: pa.RecordBatch) -> None:
        if len(rows):
            self._parts.append(rows)
            self._n += len(rows)
        if self._n >= ROWS:
            self._write()

    def _write(self) -> None:
        for batch in pa.Table.from_batches(self._parts, self.schema).combine_chunks().to_batches():
            self._writer.write_batch(batch)
        self._parts, self._n = [], 0

    def close(self) -> None:
        self._write()
        self._writer.close()
        self._file.close()


def compute(found: Input, conf: FeaturesConf, entry: Path, tell: Told) -> None:
    """Make an entry: under another name until all of it is written."""
    part = entry.with_suffix(".part")
    for old in (part, entry):
        shutil.rmtree(old, ignore_errors=True)
    started, counts = time.time(), [0, 0]
    universe, depth, blocks = found.open()
    driver_of(conf)
    _kernel.warm(lambda name, done, total: tell("compiling kernels (once per machine)", done / total))
    table = features_table(conf)
    stage = Features(conf, universe, table, depth)
    part.mkdir()
    try:
        features, quotes = _File(part / FILES[0], table.schema), _File(part / FILES[1], QUOTES)
        for ticks, events, done in blocks:
            features.add(stage.step(ticks).copy())
            for event in events:
                stage.apply(event)
            at = ticks.view("kind") == Kind.QUOTE
            bid, ask = ticks.view("bid")[at], ticks.view("ask")[at]
            quotes.add(pa.record_batch([*(ticks.view(c)[at] for c in QUOTES.names[:3]), 0.5 * (bid + ask), ask - bid], schema=QUOTES))
            counts[0] += len(ticks)
            counts[1] += int(at.sum())
            tell(f"features of {found.name}", done)
        features.close()
        quotes.close()
        about = {
            "input": found.name, "columns": feature_columns(conf), "digest": feature_digest(conf), "ticks": counts[0], "quotes": counts[1],
            "bytes": {file: (part / file).stat().st_size for file in FILES}, "seconds": round(time.time() - started, 3),
        }  # fmt: skip
        (part / "entry.json").write_text(json.dumps(about, indent=1) + "\n")
        os.rename(part, entry)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def entries(home: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Entries and what they say of themselves, the one used longest ago first."""
    out = []
    for path in home.glob("?" * 32):
        try:
            out.append((path.stat().st_mtime, path, json.loads((path / "entry.json").read_text())))
        except (OSError, ValueError):
            continue  # removed by another process just now
    return [(path, about) for _, path, about in sorted(out, key=lambda e: e[:2])]


def prune(home: Path, limit: int, keep: str = "") -> int:
    """Remove the entries used longest ago until the others fit the limit, and what killed writers left; one in use stays.

    Returns
    -------
    int, entries removed
    """
    for part in home.glob("*.part"):
        with locked(home, part.stem, wait=False) as mine:
            if mine:
                shutil.rmtree(part, ignore_errors=True)
    listed, removed = entries(home), 0
    total = sum(sum(about["bytes"].values()) for _, about in listed)
    for path, about in listed:
        if total <= limit:
            break
        if path.name == keep:
            continue
        with locked(home, path.name, wait=False) as mine:
            if mine:
                shutil.rmtree(path, ignore_errors=True)  # `entry.json` may go last: sizes are compared
                (home / f"{path.name}.lock").unlink()
                total -= sum(about["bytes"].values())
                removed += 1
    return removed


def main(conf: FeaturesCacheConf) -> None:
    """tickarrow features cache."""
    home = folder()
    if conf.clear:
        print(f"{prune(home, 0)} entries removed from {home}")
        return
    grid = Grid("input", "columns", "ticks", "MB", "seconds", "used", "folder", box=None, pad_edge=False)
    listed = entries(home)
    for path, about in reversed(listed):
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
        size = sum(about["bytes"].values()) / 1e6
        grid.add_row(about["input"], str(len(about["columns"])), f"{about['ticks']:,}", f"{size:,.1f}", f"{about['seconds']:.1f}", used, path.name)
    console = Console()
    if listed:
        console.print(grid)
    total = sum(sum(about["bytes"].values()) for _, about in listed) / 1e9
    console.print(f"{len(listed)} entries, {total:.2f} of {limit_bytes() / 1e9:g} GB in {home}", soft_wrap=True)
