"""Where ticks come from when no market is connected: the seeded generated market, or files of recorded ticks. The simulator
sends the rows of a source over the wire; a backtest takes them directly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.jit.market_state import SESSION_S
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.market import LATEST_OPEN_S, SESSION_NS, Halt, Market, check_classes, seeded_halts
from tickarrow.pipeline.source_rows import NEEDED, ROWS, Rows, check_columns, check_order, map_rows, order_key, plain, times
from tickarrow.pipeline.universe import Universe

__all__ = ["ROWS", "GeneratedSource", "ParquetSource", "Rows", "Source", "open_source"]

SECOND = 1_000_000_000
READ = 8 * ROWS  # rows read at a time
QUARTER = 900 * SECOND  # every time zone is a multiple of 15 minutes from UTC
NEW_YORK = ZoneInfo("America/New_York")
LAST_YEAR = 2261  # int64 nanoseconds end in April 2262
LISTED = 10  # symbols or days named in an error

# Files of other programs: module and class, loaded when they are used.
IMPORTERS = {
    "lean": ("tickarrow.pipeline.source_lean", "LeanSource"),
    "lobster": ("tickarrow.pipeline.source_lobster", "LobsterSource"),
    "dbn": ("tickarrow.pipeline.source_dbn", "DbnSource"),
}


class Source(Protocol):
    """Rows in time order, the same at each call of `blocks`."""

    universe: Universe
    start_ns: int  # ns UTC
    end_ns: int
    bad: dict[str, int]  # rows left out by the latest `blocks`, by reason
    halts: Sequence[tuple[int, int, int]]  # row of the universe, begin and end in ns UTC, as far as the source knows of any

    def blocks(self) -> Iterator[Rows]:
        """All rows from the beginning, in blocks of at most 8,192."""
        ...


def open_source(conf: SourceConf, universe: UniverseConf) -> Source:
    """The source that the configuration names. What is wrong with it is said here, before anything starts."""
    if conf.kind == "generated":
        return GeneratedSource(conf, universe)
    if conf.kind == "parquet" and Path(conf.path).is_dir() and conf.path:
        from tickarrow.pipeline.source_folder import FolderSource

        return FolderSource(conf, universe)
    if conf.kind == "parquet":
        return ParquetSource(conf, universe)
    if conf.kind in IMPORTERS:
        module, name = IMPORTERS[conf.kind]
        source: Source = getattr(import_module(module), name)(conf, universe)
        return source
    raise ConfigError(f"source.kind is {conf.kind!r}. Choose source=generated, source=parquet, source={', source='.join(IMPORTERS)}.")


class GeneratedSource:
    """The seeded market of jit/market.py over the symbols of the universe."""

    def __init__(self, conf: SourceConf, universe: UniverseConf) -> None:
        self.universe = Universe.from_conf(universe)
        check_classes(self.universe)
        if conf.duration_s <= 0 or conf.max_rows < 0:
            raise ConfigError(
                f"source.duration_s is {conf.duration_s:g} and source.max_rows {conf.max_rows}: a generated session needs a duration "
                "above 0 s and at least 0 rows (0 = no limit)."
            )
        if conf.duration_s > SESSION_S or conf.days < 1:
            raise ConfigError(
                f"source.duration_s is {conf.duration_s:g} and source.days {conf.days}: a session has at most {SESSION_S} s and there is at "
                "least one. For a longer market choose more days."
            )
        self.seed, self.max_rows = conf.seed, conf.max_rows
        self._opens, closes = _opens(_time(conf.start), conf.days)
        lengths = [min(SESSION_NS if close is None else close - t, SESSION_NS) for t, close in zip(self._opens, closes)]
        self._day_ns = [min(round(conf.duration_s * SECOND), n) for n in lengths]
        self._early = [day for day, n in enumerate(self._day_ns) if n == lengths[day] < SESSION_NS]
        self.start_ns, self.end_ns = self._opens[0], self._opens[-1] + self._day_ns[-1]
        self._halts = self._configured(conf) + seeded_halts(conf.seed, self.universe, self._day_ns, conf.halt_rate)
        self._halts.sort()
        for a, b in pairwise(self._halts):
            if a[0] == b[0] and b[1] <= a[2]:
                name = self.universe.symbols[a[0]]
                raise ConfigError(f"source.halts: two halts of {name} touch each other. Move one, or set source.halt_rate=0.")
        self.halts: Sequence[tuple[int, int, int]] = [(row, self._utc(begin), self._utc(end)) for row, begin, end in self._halts]
        self.bad: dict[str, int] = {}

    def _utc(self, t: int) -> int:
        """ns UTC of a time on the market's clock."""
        return self._opens[t // SESSION_NS] + t % SESSION_NS

    def _configured(self, conf: SourceConf) -> list[Halt]:
        """The halts of the configuration on the market's clock."""
        out = []
        for h in conf.halts:
            begin, end = int(h.at_s), int(h.at_s) + int(h.for_s)
            last = self._day_ns[min(max(h.day, 1), conf.days) - 1] // SECOND - 2
            if not (1 <= h.day <= conf.days and LATEST_OPEN_S < begin < end <= last and h.at_s == begin and h.for_s == int(h.for_s)):
                raise ConfigError(
                    f"source.halts: {h.symbol} cannot halt at {h.at_s:g} s for {h.for_s:g} s on day {h.day}. Give whole seconds after second "
                    f"{LATEST_OPEN_S} that end by second {last}, and a day from 1 to {conf.days}."
                )
            first = (h.day - 1) * SESSION_S
            out.append((self.universe.row(h.symbol), (first + begin) * SECOND, (first + end) * SECOND))
        return out

    def blocks(self) -> Iterator[Rows]:
        market = Market(self.seed, self.universe, self._opens, day_ns=self._day_ns, halts=self._halts, early=self._early)
        left = self.max_rows or np.iinfo(np.int64).max
        while left > 0 and not market.done:
            n = market.step()
            n = min(int(np.searchsorted(market.columns["ts"][:n], self._opens[market.day] + self._day_ns[market.day])), left)
            left -= n
            yield from Rows(**{name: column[:n].copy() for name, column in market.columns.items()}).pieces()


def _time(text: str) -> int:
    """ISO 8601 time as ns UTC."""
    try:
        t = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"source.start is {text!r}, not a time like 2026-01-05T14:30:00Z.") from None
    t = t.replace(tzinfo=UTC) if t.tzinfo is None else t
    if not 1970 <= t.year <= LAST_YEAR:
        raise ConfigError(f"source.start is {text!r}. Choose a time from 1970 to {LAST_YEAR}: times are int64 nanoseconds.")
    return (t - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _opens(start_ns: int, days: int) -> tuple[list[int], list[int | None]]:
    """The start, and the same New York time on the trading days of the New York Stock Exchange after it; and when each closes early,
    None = it does not. A later day that closes before this time is left out."""
    if days == 1:
        return [start_ns], [None]
    from exchange_calendars import get_calendar  # late: it takes a second, and one day needs no calendar

    first = datetime.fromtimestamp(start_ns // SECOND, NEW_YORK)
    calendar = get_calendar("XNYS", start=first.date(), end=first.date() + timedelta(days=2 * days + 20))
    hours = zip(calendar.sessions, calendar.opens_nanos.tolist(), calendar.closes_nanos.tolist())
    early = {d.date(): close for d, begin, close in hours if close - begin < SESSION_NS}
    opens, closes = [start_ns], [early.get(first.date())]
    for d in (s.date() for s in calendar.sessions if s.date() > first.date()):
        opens.append(int(datetime.combine(d, first.time(), NEW_YORK).timestamp()) * SECOND)
        closes.append(early.get(d))
    kept = [k for k, close in enumerate(closes) if close is None or close - opens[k] >= 60 * SECOND or k == 0][:days]
    closes[0] = None if closes[0] is not None and closes[0] - start_ns < 60 * SECOND else closes[0]
    return [opens[k] for k in kept], [closes[k] for k in kept]


class ParquetSource:
    """A Parquet file of recorded ticks, read row group by row group.

    Opening reads the symbol and time columns once: it finds the symbols, the row groups that hold selected rows, and whether the
    selected rows are in order (by `ts_recv` if the file has one, else `ts_event`).

    Parameters
    ----------
    part : the file is one of several: it need not have every symbol nor the day; `empty` says that it has no row of them
    """

    halts: Sequence[tuple[int, int, int]] = ()

    def __init__(self, conf: SourceConf, universe: UniverseConf, *, part: bool = False) -> None:
        self._part = part
        self.path = Path(conf.path)
        self.bad: dict[str, int] = {}
        if not conf.path:
            raise ConfigError("source.path is not set. Name the Parquet file of ticks: source.path=FILE.")
        if not self.path.exists():
            raise DataError(f"source.path: {self.path} does not exist. Name a Parquet file of ticks.")
        zone = zone_of(conf.timezone)
        self._span = None if conf.day is None else day_span(conf.day, zone)
        self._wanted = list(dict.fromkeys(conf.symbols))
        with self._file() as file:
            schema = file.schema_arrow
            check_columns(schema, str(self.path))
            self._key = order_key(schema, _has_times(file, "ts_recv"))
            self._scan(file, conf.day, zone)
        tick_size = universe.tick_size if conf.tick_size is None else conf.tick_size
        self.universe = Universe.of(self._wanted or self.known, tick_size, universe.classes)

    @contextmanager
    def _file(self) -> Iterator[pq.ParquetFile]:
        try:
            with pq.ParquetFile(self.path) as file:
                yield file
        except (pa.ArrowException, OSError) as e:
            raise DataError(f"{self.path} cannot be read as a Parquet file: {str(e).splitlines()[0]}") from None

    def _selected(self, batch: pa.RecordBatch) -> pa.Array:
        """Which rows are of the wanted symbols and day; a row without a symbol is selected only if all symbols are."""
        chosen = pa.array(np.ones(len(batch), bool))
        if self._wanted:
            chosen = pc.is_in(plain(batch["symbol"]), value_set=pa.array(self._wanted, pa.string()))
        if self._span is not None:
            ts, valid = times(batch[self._key])
            chosen = pc.and_(chosen, pa.array(valid & (ts >= self._span[0]) & (ts < self._span[1])))
        return chosen

    def _scan(self, file: pq.ParquetFile, day: str | None, zone: ZoneInfo) -> None:
        known: dict[str, None] = {}
        quarters: set[int] = set()  # where rows of the wanted symbols are
        self._groups: list[int] = []
        first, last, number = None, np.iinfo(np.int64).min, 0
        for group in range(file.num_row_groups):
            selected = 0
            for batch in file.iter_batches(READ, row_groups=[group], columns=["symbol", self._key]):
                names = plain(batch["symbol"])
                known.update(dict.fromkeys(s for s in names.unique().to_pylist() if s is not None))
                ts, valid = times(batch[self._key])
                mine = valid
                if self._wanted:
                    mine = valid & pc.is_in(names, value_set=pa.array(self._wanted, pa.string())).to_numpy(zero_copy_only=False)
                quarters.update(np.unique(ts[mine] // QUARTER).tolist())
                chosen = valid & self._selected(batch).to_numpy(zero_copy_only=False)
                if chosen.any():
                    selected += int(chosen.sum())
                    first = int(ts[chosen][0]) if first is None else first
                    last = check_order(ts[chosen], number + np.flatnonzero(chosen), last, self._key, str(self.path))
                number += len(batch)
            if selected:
                self._groups.append(group)
        self.known, self.empty = list(known), first is None
        for s in self._wanted:
            if s not in known and not self._part:
                raise DataError(f"source.symbols: {self.path} has no symbol {s!r}. It has {_list(self.known)}.")
        if first is None and not self._part:
            days = sorted({f"{datetime.fromtimestamp(q * QUARTER // SECOND, zone):%Y-%m-%d}" for q in quarters})
            if not days:
                raise DataError(f"{self.path} has no row with a time. Name a file with ticks (source.path).")
            of = f" of {_list(self._wanted)}" if self._wanted else ""
            raise DataError(f"source.day: {self.path} has no row{of} on {day}. It has {_list(days)} ({zone.key}).")
        self.start_ns, self.end_ns = first or 0, last

    def blocks(self) -> Iterator[Rows]:
        self.bad = {}
        columns = [self._key, *(c for c in NEEDED if c != "ts_event")]
        with self._file() as file:
            for group in self._groups:
                for batch in file.iter_batches(READ, row_groups=[group], columns=columns):
                    if self._wanted or self._span is not None:
                        batch = batch.filter(self._selected(batch))
                    yield from map_rows(batch, self._key, self.universe.symbols, self.bad).pieces()


def _has_times(file: pq.ParquetFile, column: str) -> bool:
    """Whether a column is there and not null throughout."""
    if column not in file.schema_arrow.names:
        return False
    return any(batch.column(0).null_count < len(batch) for batch in file.iter_batches(READ, columns=[column]))


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name; ConfigError if this system does not know it."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"source.timezone: this system knows no time zone {name!r}. Use a name like America/New_York; if it is one, install tzdata."
        ) from None


def day_span(text: str, zone: ZoneInfo) -> tuple[int, int]:
    """Begin and end of a local date in ns UTC."""
    try:
        day = date.fromisoformat(str(text))
    except ValueError:
        raise ConfigError(f"source.day is {text!r}, not a date like 2013-10-08.") from None
    midnights = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (day, day + timedelta(days=1)))
    begin, end = (int(m.timestamp()) * SECOND for m in midnights)
    return begin, end


def _list(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
