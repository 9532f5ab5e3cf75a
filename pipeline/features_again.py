"""A user's file of features run again as it would have run earlier: the files of ticks that it reads while it is run end at a row.

A kernel knows only ticks that have come, but the module around it can read a whole day and hand its kernels what it found as constants:
the day's mean, the next price. The columns of such a file do not change when later ticks are kept from the kernels, so they are kept
from the file too."""

from __future__ import annotations

import builtins
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tickarrow.jit._kernel import cache_home
from tickarrow.pipeline import features_registry, features_user
from tickarrow.pipeline.features_user import UserFile
from tickarrow.pipeline.source_rows import order_key, times

# What opens a file by its name, as far as it is installed; a reader in C++ or Rust does not come through `open`.
READERS = {
    "pyarrow.parquet": ("read_table", "ParquetFile", "ParquetDataset", "read_pandas"),
    "pyarrow.dataset": ("dataset",),
    "pyarrow.feather": ("read_table", "read_feather"),
    "pyarrow.csv": ("read_csv",),
    "pyarrow": ("OSFile", "memory_map", "input_stream"),
    "pandas": ("read_parquet", "read_csv", "read_feather", "read_hdf"),
    "polars": ("read_parquet", "scan_parquet", "read_csv", "scan_csv", "read_ipc", "scan_ipc"),
    "numpy": ("memmap", "fromfile", "load", "loadtxt", "genfromtxt"),
}
NAMES = ("source", "path", "file", "fname", "filename", "where", "filepath_or_buffer", "path_or_paths")  # of a reader's first argument
CODE = (".py", ".pyc", ".nbi", ".nbc", ".so")


@contextmanager
def reading(instead: Mapping[Path, Path]) -> Iterator[list[Path]]:
    """Inside, a reader that is given a file of `instead` reads the other one; gives the data files that are read, in order."""
    instead = {k.resolve(): v.resolve() for k, v in instead.items()}
    seen: list[Path] = []
    skip = (str(cache_home().resolve()), sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/etc")

    def other(name: Any) -> Any:
        if not isinstance(name, str | os.PathLike) or isinstance(name, bytes):
            return name
        path = Path(name).expanduser().resolve()
        code = path.suffix in CODE or "site-packages" in path.parts or "dist-packages" in path.parts or str(path).startswith(skip)
        if not code and path.is_file() and path not in seen and path not in instead.values():
            seen.append(path)
        return str(instead[path]) if path in instead else name

    def through(function: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **options: Any) -> Any:
            if args:
                return function(other(args[0]), *args[1:], **options)
            return function(**{k: other(v) if k in NAMES else v for k, v in options.items()})

        return read

    with ExitStack() as stack:

        def put(module: Any, name: str) -> None:
            before = getattr(module, name)
            setattr(module, name, through(before))
            stack.callback(setattr, module, name, before)

        for module in (builtins, io):
            put(module, "open")
        for name, functions in READERS.items():
            try:
                reader = import_module(name)
            except ImportError:
                continue
            for f in functions:
                if hasattr(reader, f):
                    put(reader, f)
        yield seen


@contextmanager
def again(file: UserFile, instead: Mapping[Path, Path]) -> Iterator[tuple[UserFile, list[Path]]]:
    """Inside, the file as it is where other files are read instead, and the data files it reads; its families stand under their names.
    ConfigError: it fails there."""
    modules, families, loaded = dict(sys.modules), dict(features_registry._families), dict(features_user._files)
    try:
        with reading(instead) as seen:
            new = features_user.run(file.path, file.code, file.module.__name__)
        features_registry._families.update({f.name: f for f in new.families})
        features_user._files[file.path] = new
        yield new, seen
    finally:
        for name in [n for n in sys.modules if n.startswith(file.module.__name__)]:
            del sys.modules[name]
        sys.modules.update({n: m for n, m in modules.items() if n.startswith(file.module.__name__)})
        for kept, before in ((features_registry._families, families), (features_user._files, loaded)):
            kept.clear()
            kept.update(before)  # type: ignore[arg-type]


def cut_copy(path: Path, last_ns: int, out: Path) -> None:
    """Rows of a Parquet file of ticks up to a time, as a file of its own."""
    table = pq.read_table(path)
    received = "ts_recv" in table.schema.names and bool(times(table.column("ts_recv"))[1].any())
    key = order_key(table.schema, received)
    ts, known = times(table.column(key))
    pq.write_table(table.filter(pa.array(known & (ts <= last_ns))), out)
