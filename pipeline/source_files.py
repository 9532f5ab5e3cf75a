"""What the importers share: a source over the files of another program, rows in the tick-file format, CSV files with bad lines counted.
What each format means is in the module named after it: source_lean.py, source_lobster.py, source_dbn.py."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import ConfigError, DataError, near
from tickarrow.pipeline.source_rows import VALUES, Rows, map_rows
from tickarrow.pipeline.universe import Universe

Array = npt.NDArray[Any]

SECOND = 1_000_000_000
TABLE_ROWS = 65_536  # of a table that is handed on
DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")

TICK_FILE = pa.schema(
    [pa.field("ts_event", pa.int64(), metadata={"unit": "ns UTC"}), pa.field("ts_recv", pa.int64(), metadata={"unit": "ns UTC"})]
    + [pa.field(name, pa.string()) for name in ("symbol", "kind")]
    + [pa.field(name, pa.float64()) for name in ("price", "size", "bid", "ask", "bid_size", "ask_size")]
    + [pa.field(name, pa.string()) for name in ("exchange", "conditions")],
    metadata={"table": "ticks"},
)


class ImportedSource(ABC):
    """A source over the files of another program: `tables` of the subclass, mapped as any table of ticks."""

    key = "ts_event"
    halts: Sequence[tuple[int, int, int]] = ()

    def __init__(self, conf: SourceConf, universe: UniverseConf, symbols: Sequence[str]) -> None:
        tick_size = universe.tick_size if conf.tick_size is None else conf.tick_size
        self.universe = Universe.of(symbols, tick_size, universe.classes)
        self.start_ns = self.end_ns = 0
        self.bad: dict[str, int] = {}

    @abstractmethod
    def tables(self) -> Iterator[pa.Table]:
        """Tables of ticks of the files, in order of time."""

    def blocks(self) -> Iterator[Rows]:
        self.bad = {}
        for table in self.tables():
            yield from map_rows(table, self.key, self.universe.symbols, self.bad).pieces()


class DailySource(ImportedSource):
    """A source with files of their own for each day: `read_day` of the subclass. The day read last is kept."""

    days: list[str]
    _held: tuple[str, pa.Table, dict[str, int]] = "", TICK_FILE.empty_table(), {}

    @abstractmethod
    def read_day(self, day: str, bad: dict[str, int]) -> list[pa.Table]:
        """Tables of a day's files; lines left out are counted in `bad`."""

    def _day(self, day: str) -> tuple[pa.Table, dict[str, int]]:
        """All rows of a day in order, and the lines left out."""
        if self._held[0] != day:
            bad: dict[str, int] = {}
            self._held = day, merged(self.read_day(day, bad)), bad
        return self._held[1:]

    def _find_ends(self, where: Path) -> None:
        """`start_ns` and `end_ns` from the first and last day; DataError if one of them has no row."""
        ends = {day: self._day(day)[0]["ts_event"] for day in (self.days[-1], self.days[0])}  # the first day is read last and kept
        for day, ts in ends.items():
            if not len(ts):
                raise DataError(f"{where}: the files of {day} hold no row that can be read. Choose another day (source.day).")
        self.start_ns, self.end_ns = ends[self.days[0]][0].as_py(), ends[self.days[-1]][-1].as_py()

    def tables(self) -> Iterator[pa.Table]:
        for day in self.days:
            table, bad = self._day(day)
            for reason, n in bad.items():
                self.bad[reason] = self.bad.get(reason, 0) + n
            yield from slices(table)


def ticks(ts: Array, symbol: str, kind: str, exchange: pa.Array | str | None = None, conditions: pa.Array | str | None = None, **values: Array) -> pa.Table:
    """Rows of one symbol and kind as TICK_FILE says; NaN is null, what is not given is null."""
    n = len(ts)

    def text(column: pa.Array | str | None) -> pa.Array:
        return column.cast(pa.string()) if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(np.full(n, column, object), pa.string())

    columns: dict[str, Any] = {name: pa.array(values[name], pa.float64(), from_pandas=True) if name in values else pa.nulls(n, pa.float64()) for name in VALUES}
    columns |= {"ts_event": pa.array(ts, pa.int64()), "ts_recv": pa.nulls(n, pa.int64()), "symbol": text(symbol), "kind": text(kind)}
    columns |= {"exchange": text(exchange), "conditions": text(conditions)}
    return pa.table({name: columns[name] for name in TICK_FILE.names}, TICK_FILE)


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables in order as one; at the same time the rows of an earlier table come first."""
    table = pa.concat_tables(tables)
    ts = table["ts_event"].to_numpy()
    return table if len(tables) < 2 or (ts[1:] >= ts[:-1]).all() else table.take(pa.array(np.argsort(ts, kind="stable")))


def slices(table: pa.Table) -> Iterator[pa.Table]:
    """Consecutive windows of a table."""
    for lo in range(0, len(table), TABLE_ROWS):
        yield table.slice(lo, TABLE_ROWS)


def read_csv(file: IO[bytes], name: str, columns: Sequence[str], texts: Sequence[str], time: str, bad: dict[str, int]) -> pa.Table:
    """A CSV file without a header: float64, and text where `texts` says so. An empty field is null. Lines of another number of fields,
    with something that is not a number, or without a time are left out and counted as `bad_line`."""
    wrong: list[str] = []

    def skip(row: Any) -> str:
        wrong.append(row.text)
        return "skip"

    types = {c: pa.string() if c in texts else pa.float64() for c in columns}
    data = file.read()
    if not data.strip():
        return pa.table({c: pa.array([], t) for c, t in types.items()})

    def parsed(column_types: dict[str, pa.DataType]) -> pa.Table:
        wrong.clear()
        return pyarrow.csv.read_csv(
            pa.BufferReader(data), read_options=pyarrow.csv.ReadOptions(column_names=list(columns), use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=skip),
            convert_options=pyarrow.csv.ConvertOptions(column_types=column_types, null_values=[""], strings_can_be_null=True),
        )  # fmt: skip

    try:
        table = parsed(types)
    except pa.ArrowInvalid:  # a field is no number: find the lines, which costs time
        try:
            table = parsed(dict.fromkeys(columns, pa.string()))
        except pa.ArrowException as e:
            raise DataError(f"{name} cannot be read as CSV: {str(e).splitlines()[0]}") from None
        right = np.ones(len(table), bool)
        for c in columns:
            if c not in texts:
                number = pc.match_substring_regex(table[c].combine_chunks(), r"^-?[0-9]*[.]?[0-9]+([eE][-+]?[0-9]+)?$").fill_null(True)
                right &= number.to_numpy(zero_copy_only=False)
        bad["bad_line"] = bad.get("bad_line", 0) + int((~right).sum())
        table = pa.table({c: column.cast(types[c]) for c, column in zip(columns, table.filter(pa.array(right)).columns)})
    timed = table.filter(table[time].is_valid())
    if left := len(wrong) + len(table) - len(timed):
        bad["bad_line"] = bad.get("bad_line", 0) + left
    return timed


def chosen(conf: SourceConf, known: Sequence[str], where: str) -> list[str]:
    """The symbols that the configuration wants, all if it names none; DataError for one that is not there."""
    by_case = {k.upper(): k for k in known}
    for s in map(str, conf.symbols):
        if s not in known and s.upper() not in by_case:
            raise DataError(f"source.symbols: {where} has no symbol {s!r}. {near(s, known)}")
    return list(dict.fromkeys(s if s in known else by_case[s.upper()] for s in map(str, conf.symbols))) or list(known)


def day_text(conf: SourceConf) -> str | None:
    """`source.day` as YYYY-MM-DD."""
    if conf.day is None:
        return None
    m = DAY.fullmatch(str(conf.day))
    if not m:
        raise ConfigError(f"source.day is {conf.day!r}, not a date like 2013-10-08.")
    return "-".join(m.groups())
