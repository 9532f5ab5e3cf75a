"""Parquet files of an export, partitioned as Hive does it: `<kind>/date=YYYY-MM-DD/symbol=X/part-00000.parquet`.

Rows are gathered per kind and sorted into row groups by date and symbol, so memory is bounded by what is gathered; a bounded number of
files is open. A kind's folder gets its name when it is complete."""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Array = npt.NDArray[Any]

GATHERED = 262_144  # rows of a kind that are gathered before they are written
OPEN_FILES = 256
DAY_NS = 86_400_000_000_000
BY_DATE = -1  # in place of a row of the universe: the file is in the folder of the date


class Files:
    """The files of one export.

    Parameters
    ----------
    out : folder
    symbols : of the universe's rows
    """

    def __init__(self, out: Path, symbols: list[str]) -> None:
        self.out, self.symbols = out, symbols
        self._gathered: dict[str, list[tuple[Array, pa.RecordBatch]]] = {}
        self._writers: OrderedDict[Path, pq.ParquetWriter] = OrderedDict()
        self._parts: dict[Path, int] = {}  # files begun in a folder

    def add(self, kind: str, ts: Array, symbol: Array, batch: pa.RecordBatch) -> None:
        """Rows of a kind with their time (ns) and symbol (row of the universe, or BY_DATE)."""
        gathered = self._gathered.setdefault(kind, [])
        gathered.append((np.stack([ts // DAY_NS, symbol.astype(np.int64)]), batch))
        if sum(len(b) for _, b in gathered) >= GATHERED:
            self._write(kind)

    def _write(self, kind: str) -> None:
        gathered = self._gathered[kind]
        keys = np.concatenate([k for k, _ in gathered], axis=1)
        table = pa.Table.from_batches([b for _, b in gathered]).unify_dictionaries().combine_chunks()
        gathered.clear()
        order = np.lexsort((keys[1], keys[0]))
        table, keys = table.take(pa.array(order)), keys[:, order]
        starts = np.flatnonzero(np.any(np.diff(keys, axis=1, prepend=keys[:, :1] - 1) != 0, axis=0))
        for start, stop in zip(starts, [*starts[1:], keys.shape[1]]):
            self._writer(kind, int(keys[0, start]), int(keys[1, start]), table.schema).write_table(table.slice(start, stop - start))

    def _writer(self, kind: str, day: int, symbol: int, schema: pa.Schema) -> pq.ParquetWriter:
        folder = self._part(kind) / f"date={np.datetime64(day, 'D')}"
        if symbol != BY_DATE:
            folder /= f"symbol={quote(self.symbols[symbol], safe='')}"
        writer = self._writers.get(folder)
        if writer is None:
            if len(self._writers) >= OPEN_FILES:
                self._writers.popitem(last=False)[1].close()
            folder.mkdir(parents=True, exist_ok=True)
            n = self._parts[folder] = self._parts.get(folder, -1) + 1
            writer = self._writers[folder] = pq.ParquetWriter(folder / f"part-{n:05d}.parquet", schema, compression="zstd")
        self._writers.move_to_end(folder)
        return writer

    def _part(self, kind: str) -> Path:
        return self.out / f".{kind}.part"

    def close(self) -> list[Path]:
        """Write what is gathered and name the folders; returns those of the kinds that have rows."""
        for kind, gathered in self._gathered.items():
            if gathered:
                self._write(kind)
        self._close_writers()
        for kind in self._gathered:
            os.replace(self._part(kind), self.out / kind)
        return [self.out / kind for kind in self._gathered]

    def _close_writers(self) -> None:
        while self._writers:
            self._writers.popitem()[1].close()

    def discard(self) -> None:
        """Remove what has no name: after `close` there is nothing."""
        self._close_writers()
        for kind in self._gathered:
            shutil.rmtree(self._part(kind), ignore_errors=True)
