"""What `tickarrow fetch` has on disk, and how an interrupted run finds where it was.

    OUT/ticks/SYMBOL/DAY.parquet       trades and quotes of a day in the tick-file format; `source.path=OUT/ticks` reads them
    OUT/midpoints/SYMBOL/DAY.parquet   midpoints of a day
    OUT/bars/SIZE/SYMBOL/DAY.parquet   bars of a day
    OUT/parts/SYMBOL/DAY/KIND-BEGIN-NEXT.parquet   a page of ticks: from second BEGIN, the next page begins at NEXT

A page is renamed into place when it is whole, so the names alone say what is there; a page whose NEXT is the end of the day is the last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tickarrow.pipeline.history import HISTORY_SCHEMAS, MIDPOINTS, QUOTES, TRADES
from tickarrow.pipeline.source_files import TICK_FILE, merged, ticks

IDS = {"TRADES": TRADES, "BID_ASK": QUOTES, "MIDPOINT": MIDPOINTS}
ROW_KIND = {"TRADES": "trade", "BID_ASK": "quote"}  # in a tick file


def write_table(path: Path, table: pa.Table) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    pq.write_table(table, part, compression="zstd")
    os.replace(part, path)


class Files:
    """The folder of a download."""

    def __init__(self, out: Path) -> None:
        self.out = out
        out.mkdir(parents=True, exist_ok=True)

    def day(self, symbol: str, day: str) -> Path:
        return self.out / "ticks" / quote(symbol, safe="") / f"{day}.parquet"

    def midpoints(self, symbol: str, day: str) -> Path:
        return self.out / "midpoints" / quote(symbol, safe="") / f"{day}.parquet"

    def bars(self, symbol: str, day: str, size: str) -> Path:
        return self.out / "bars" / size.replace(" ", "_") / quote(symbol, safe="") / f"{day}.parquet"

    def _parts(self, symbol: str, day: str) -> Path:
        return self.out / "parts" / quote(symbol, safe="") / day

    def kinds(self, symbol: str, day: str) -> set[str]:
        """Kinds of ticks that the files of a day hold already."""
        kinds = {"MIDPOINT"} if self.midpoints(symbol, day).exists() else set()
        path = self.day(symbol, day)
        if path.exists():
            kinds |= set((pq.read_schema(path).metadata or {}).get(b"kinds", b"").decode().split(","))
        return kinds & set(IDS)

    def add_page(self, symbol: str, day: str, kind: str, begin: int, following: int, table: pa.Table) -> None:
        write_table(self._parts(symbol, day) / f"{kind}-{begin}-{following}.parquet", table)

    def pages(self, symbol: str, day: str, kind: str, begin: int) -> tuple[list[Path], int]:
        """Pages that follow each other from the begin of the day, and where the next one begins; others are removed."""
        found: dict[int, tuple[int, Path]] = {}
        folder = self._parts(symbol, day)
        for path in sorted(folder.glob(f"{kind}-*-*.parquet")):
            a, b = map(int, path.stem.split("-")[1:])
            found[a] = (b, path)
        chain, at = [], begin
        while at in found:
            following, path = found.pop(at)
            chain.append(path)
            at = following
        for _, path in found.values():
            path.unlink()
        return chain, at

    def finish(self, symbol: str, day: str, kinds: Iterable[str], begin: int) -> None:
        """Make the files of a day of its pages; kinds that an older file of the day has stay in it."""
        tables = {kind: self._read(symbol, day, kind, begin) for kind in kinds}
        if "MIDPOINT" in tables:
            write_table(self.midpoints(symbol, day), tables.pop("MIDPOINT"))
        if tables:
            rows = {kind: as_ticks(symbol, kind, table) for kind, table in tables.items()}
            path = self.day(symbol, day)
            for kind in self.kinds(symbol, day) & set(ROW_KIND) - set(rows):
                old = pq.read_table(path)
                rows[kind] = old.filter(pc.equal(old["kind"], ROW_KIND[kind])).cast(TICK_FILE)
            # In one second quotes stand before trades: IBKR says the second only.
            table = merged([rows[kind] for kind in ("BID_ASK", "TRADES") if kind in rows])
            write_table(path, table.replace_schema_metadata({"table": "ticks", "kinds": ",".join(sorted(rows))}))
        shutil.rmtree(self._parts(symbol, day), ignore_errors=True)

    def _read(self, symbol: str, day: str, kind: str, begin: int) -> pa.Table:
        schema = HISTORY_SCHEMAS[IDS[kind]]
        paths, _ = self.pages(symbol, day, kind, begin)
        tables = [t for t in (pq.read_table(p) for p in paths) if len(t)]
        return pa.concat_tables([t.unify_dictionaries().cast(schema) for t in tables]).unify_dictionaries() if tables else schema.empty_table()


def as_ticks(symbol: str, kind: str, table: pa.Table) -> pa.Table:
    """Rows of history in the tick-file format; the flags of a row stand in its conditions."""
    ts = table["ts"].cast(pa.int64()).to_numpy()
    names = ("bid", "ask", "bid_size", "ask_size") if kind == "BID_ASK" else ("price", "size")
    values = {name: table[name].to_numpy() for name in names}
    marks = ("bid_past_low", "ask_past_high") if kind == "BID_ASK" else ("past_limit", "unreported")
    conditions = pa.nulls(len(table), pa.string()) if kind == "BID_ASK" else table["conditions"].cast(pa.string()).combine_chunks()
    for mark in marks:
        with_mark = pc.if_else(conditions.is_null(), mark, pc.binary_join_element_wise(conditions, mark, ";"))
        conditions = pc.if_else(table[mark].combine_chunks(), with_mark, conditions)
    if kind == "BID_ASK":
        for side in ("bid", "ask"):  # in a tick file a null side is unchanged; here it is a side without a quote: 0 with size 0
            gone = np.isnan(values[side])
            for name in (side, f"{side}_size"):
                values[name] = np.where(gone, 0.0, values[name])
    return ticks(ts, symbol, ROW_KIND[kind], None if kind == "BID_ASK" else table["exchange"], conditions, **values)
