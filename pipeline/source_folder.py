"""Ticks of a folder of Parquet files, in one order of time: what `tickarrow fetch` leaves, or files of your own, one for each symbol or day.
Files are opened when their time comes; at the same time the rows of the file whose path comes first stand first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import DataError, listed, near
from tickarrow.pipeline.source import ParquetSource
from tickarrow.pipeline.source_rows import Rows
from tickarrow.pipeline.universe import Universe


class FolderSource:
    """All Parquet files below a folder as one source; opening scans each of them as `ParquetSource` does."""

    halts: Sequence[tuple[int, int, int]] = ()

    def __init__(self, conf: SourceConf, universe: UniverseConf) -> None:
        path = Path(conf.path)
        files = sorted(path.rglob("*.parquet"))
        if not files:
            raise DataError(f"source.path: {path} holds no Parquet file. Name a file of ticks or the folder of such files.")
        parts = [ParquetSource(replace(conf, path=str(f)), universe, part=True) for f in files]
        known = sorted({s for p in parts for s in p.known})
        for s in conf.symbols:
            if s not in known:
                raise DataError(f"source.symbols: {path} has no symbol {s!r}. {near(s, known)}")
        symbols = list(dict.fromkeys(conf.symbols)) or known
        self._parts = [p for p in parts if not p.empty]
        if not self._parts:
            raise DataError(f"source.day: {path} has no row of {listed(symbols)} on {conf.day}. Its files are {listed([f.name for f in files])}.")
        tick_size = universe.tick_size if conf.tick_size is None else conf.tick_size
        self.universe = Universe.of(symbols, tick_size, universe.classes)
        for p in self._parts:
            p.universe = self.universe
        self.bad: dict[str, int] = {}
        self.start_ns, self.end_ns = min(p.start_ns for p in self._parts), max(p.end_ns for p in self._parts)

    def blocks(self) -> Iterator[Rows]:
        waiting = sorted(self._parts, key=lambda p: p.start_ns)
        for p in waiting:
            p.bad = {}
        self.bad = {}
        opened: list[tuple[Iterator[Rows], Rows]] = []  # and what is left of its block
        while waiting or opened:
            # Up to here every open file has given its rows, and every other one begins later.
            until = min((int(rows.ts[-1]) for _, rows in opened), default=waiting[0].start_ns if waiting else 0)
            while waiting and waiting[0].start_ns <= until:
                blocks = waiting.pop(0).blocks()
                if (first := next(blocks, None)) is not None:
                    opened.append((blocks, first))
                    until = min(until, int(first.ts[-1]))
            ready, left = [], []
            for blocks, rows in opened:
                n = int(np.searchsorted(rows.ts, until, "right"))
                ready.append({name: column[:n] for name, column in rows.columns().items()})
                rest = Rows(**{name: column[n:] for name, column in rows.columns().items()}) if n < len(rows) else next(blocks, None)
                if rest is not None:
                    left.append((blocks, rest))
            opened = left
            for reason in {reason for p in self._parts for reason in p.bad}:
                self.bad[reason] = sum(p.bad.get(reason, 0) for p in self._parts)
            if ready:
                columns = {name: np.concatenate([r[name] for r in ready]) for name in ready[0]}
                order = np.argsort(columns["ts"], kind="stable")
                yield from Rows(**{name: column[order] for name, column in columns.items()}).pieces()
