"""Databento files (DBN, plain or zstd), read with Databento's own decoder: the extra `tickarrow[dbn]`.

Schemas trades, mbp-1, tbbo, bbo, cmbp-1, tcbbo and cbbo. Prices are in units of 1e-9. A trade record with a book carries the book before the
trade: it is a quote row only where it differs from the symbol's last, then the trade row. The key of the order is `ts_recv`, the capture time.
Symbols are those of the file's metadata, valid by date, or of the mapping records of a live stream."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import ConfigError, DataError, listed
from tickarrow.pipeline.source import day_span, zone_of
from tickarrow.pipeline.source_files import TICK_FILE, ImportedSource, chosen, day_text
from tickarrow.pipeline.source_rows import check_order

try:
    import databento_dbn as dbn
except ImportError as e:
    raise ConfigError("source=dbn needs Databento's decoder. Install it: pip install 'tickarrow[dbn]'") from e

Array = npt.NDArray[Any]

BLOCK = 1 << 20  # bytes decoded at a time
ZSTD = b"\x28\xb5\x2f\xfd"
SCALE = 1e9
SCHEMAS = ("trades", "mbp-1", "tbbo", "bbo-1s", "bbo-1m", "cmbp-1", "tcbbo", "cbbo-1s", "cbbo-1m")
BOOKS = (dbn.MBP1Msg, dbn.CMBP1Msg)
SAMPLED = (dbn.BBOMsg, dbn.CBBOMsg)
TRADE = 1  # kind of a record: a trade without a book, a trade with the book before it, a book
TRADE_IN_BOOK, BOOK = 2, 3
COLUMNS = ("kind", "instrument", "publisher", "ts_event", "ts_recv", "price", "size", "side", "bid", "ask", "bid_size", "ask_size")


class DbnSource(ImportedSource):
    """Quotes and trades of a DBN file, decoded in blocks. Opening decodes it once: it finds the symbols, the days and the order."""

    key = "ts_recv"

    def __init__(self, conf: SourceConf, universe: UniverseConf) -> None:
        self.path = Path(conf.path)
        if not conf.path:
            raise ConfigError("source.path is not set. Name a file of Databento: source.path=FILE.dbn.zst.")
        if not self.path.is_file():
            raise DataError(f"source.path: {self.path} {'is a folder' if self.path.is_dir() else 'does not exist'}. Name one file of Databento.")
        zone, day = zone_of(conf.timezone), day_text(conf)
        self._span = None if day is None else day_span(day, zone)
        self._names: dict[int, list[tuple[int, int, str]]] = {}  # by instrument: from, until (ns UTC), symbol
        self._wanted: pa.Array | None = None
        known: set[str] = set()
        days: set[int] = set()
        self.bad: dict[str, int] = {}
        spans: dict[str, list[int]] = {}
        last, number = np.iinfo(np.int64).min, 0
        for r in self._records():
            names = self._symbols(r)
            known.update(np.unique(names[names != ""]).tolist())
            ts = r["ts_recv"]
            quarter = ts // (900 * 10**9)
            days.update(np.unique(quarter).tolist())
            inside = np.ones(len(ts), bool) if self._span is None else (ts >= self._span[0]) & (ts < self._span[1])
            inside &= names != ""
            last = check_order(ts[inside], number + np.flatnonzero(inside), last, "ts_recv", str(self.path))
            number += len(ts)
            for name in np.unique(names[inside]).tolist():
                mine = ts[inside & (names == name)]
                spans.setdefault(name, [int(mine[0]), 0])[1] = int(mine[-1])
        if not known:
            raise DataError(f"{self.path} holds no quote or trade of a symbol that its metadata name. Name a file with {listed(SCHEMAS)}.")
        wanted = chosen(conf, sorted(known), str(self.path))
        mine_ = [spans[s] for s in wanted if s in spans]
        if not mine_:
            there = sorted({f"{datetime.fromtimestamp(q * 900, zone):%Y-%m-%d}" for q in days})
            raise DataError(f"source.day: {self.path} has no row of {listed(wanted)} on {day}. It has {listed(there)} ({zone.key}).")
        super().__init__(conf, universe, wanted)
        self.start_ns, self.end_ns = min(a for a, _ in mine_), max(b for _, b in mine_)

    def _records(self) -> Iterator[dict[str, Array]]:
        """Columns of the records of each block; records of other kinds are counted as `other_record`."""
        with self.path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            decoder = dbn.DBNDecoder(compression=dbn.Compression.ZSTD if start == ZSTD else dbn.Compression.NONE)
            try:
                while block := file.read(BLOCK):
                    decoder.write(block)
                    if rows := self._rows(decoder.decode()):
                        yield {name: np.array(column, object if name == "side" else np.int64) for name, column in zip(COLUMNS, zip(*rows))}
            except dbn.DBNError as e:
                raise DataError(f"{self.path} cannot be read as a DBN file: {e}. Get it again.") from None
            if left := len(decoder.buffer()):
                self.bad["cut_off"] = self.bad.get("cut_off", 0) + (left > 0)

    def _rows(self, records: list[Any]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        none = dbn.UNDEF_PRICE
        for r in records:
            if isinstance(r, BOOKS):
                kind = TRADE_IN_BOOK if r.action == "T" else BOOK
                rows.append((
                    kind, r.instrument_id, r.publisher_id, r.ts_event, _time(r), r.price, r.size, str(r.side),
                    r.bid_px_00, r.ask_px_00, r.bid_sz_00, r.ask_sz_00,
                ))  # fmt: skip
            elif isinstance(r, dbn.TradeMsg):
                rows.append((TRADE, r.instrument_id, r.publisher_id, r.ts_event, _time(r), r.price, r.size, str(r.side), none, none, 0, 0))
            elif isinstance(r, SAMPLED):
                rows.append((BOOK, r.instrument_id, r.publisher_id, r.ts_recv, r.ts_recv, 0, 0, "N", r.bid_px_00, r.ask_px_00, r.bid_sz_00, r.ask_sz_00))
            elif isinstance(r, dbn.Metadata):
                self._mappings(r)
            elif isinstance(r, dbn.SymbolMappingMsg):
                self._names.setdefault(r.instrument_id, []).append((-(2**63), 2**63 - 1, r.stype_out_symbol))
            else:
                self.bad["other_record"] = self.bad.get("other_record", 0) + 1
        return rows

    def _mappings(self, m: Any) -> None:
        """Symbols by instrument and date from the metadata."""
        if m.schema is not None and str(m.schema) not in SCHEMAS:
            raise DataError(f"{self.path} is of schema {str(m.schema)!r}, which has no quotes or trades of the best level. Choose one of {', '.join(SCHEMAS)}.")
        self._names = {}
        for name, intervals in m.mappings.items():
            for i in intervals:
                symbol, instrument = (i["symbol"], name) if str(m.stype_out) != "instrument_id" else (name, i["symbol"])
                begin, end = (round(datetime(d.year, d.month, d.day, tzinfo=UTC).timestamp()) * 10**9 for d in (i["start_date"], i["end_date"]))
                if instrument.isdigit():
                    self._names.setdefault(int(instrument), []).append((begin, end, symbol))

    def _symbols(self, r: dict[str, Array]) -> Array:
        """Symbol of each record, "" = none is known."""
        names = np.full(len(r["kind"]), "", object)
        for instrument in np.unique(r["instrument"]).tolist():
            mine = r["instrument"] == instrument
            for begin, end, symbol in self._names.get(instrument, ()):
                names[mine & (r["ts_recv"] >= begin) & (r["ts_recv"] < end)] = symbol
        return names

    def tables(self) -> Iterator[pa.Table]:
        books: dict[str, tuple[Any, ...]] = {}  # the latest of each symbol
        wanted = self.universe.symbols
        for r in self._records():
            names = self._symbols(r)
            if n := int((names == "").sum()):
                self.bad["no_symbol"] = self.bad.get("no_symbol", 0) + n
            keep = np.isin(names, wanted)
            if self._span is not None:
                keep &= (r["ts_recv"] >= self._span[0]) & (r["ts_recv"] < self._span[1])
            r = {name: column[keep] for name, column in r.items()} | {"symbol": names[keep]}
            if len(r["symbol"]):
                yield _table(r, books)


def _time(r: Any) -> int:
    """Capture time; the event's where there is none."""
    return int(r.ts_recv) if r.ts_recv != dbn.UNDEF_TIMESTAMP else int(r.ts_event)


def _table(r: dict[str, Array], books: dict[str, tuple[Any, ...]]) -> pa.Table:
    """Rows of the records: a quote, a trade, or a quote and the trade behind it."""
    quote = r["kind"] == BOOK
    book = list(zip(r["bid"].tolist(), r["ask"].tolist(), r["bid_size"].tolist(), r["ask_size"].tolist()))
    for i in np.flatnonzero(r["kind"] != TRADE).tolist():
        symbol = r["symbol"][i]
        quote[i] = quote[i] or books.get(symbol) != book[i]
        books[symbol] = book[i]
    q, t = np.flatnonzero(quote), np.flatnonzero(r["kind"] != BOOK)
    at = np.concatenate([q, t])
    order = np.argsort(np.concatenate([q * 2, t * 2 + 1]), kind="stable")
    at, is_quote = at[order], np.concatenate([np.ones(len(q), bool), np.zeros(len(t), bool)])[order]

    def values(name: str, rows: Array, scale: float = 1.0, sentinel: Array | None = None) -> pa.Array:
        column = r[name][at] / scale
        if sentinel is not None:  # 0 with size 0: no quote at this side
            column = np.where(sentinel, 0.0, column)
        return pa.array(column, pa.float64(), mask=~rows)

    none = {side: r[side][at] == dbn.UNDEF_PRICE for side in ("bid", "ask")}
    columns: dict[str, Any] = {
        "ts_event": pa.array(r["ts_event"][at], pa.int64()), "ts_recv": pa.array(r["ts_recv"][at], pa.int64()),
        "symbol": pa.array(r["symbol"][at], pa.string()), "kind": pa.array(np.where(is_quote, "quote", "trade")),
        "price": pa.array(r["price"][at] / SCALE, pa.float64(), mask=is_quote | (r["price"][at] == dbn.UNDEF_PRICE)), "size": values("size", ~is_quote),
        "bid": values("bid", is_quote, SCALE, none["bid"]), "ask": values("ask", is_quote, SCALE, none["ask"]),
        "bid_size": values("bid_size", is_quote, 1.0, none["bid"]), "ask_size": values("ask_size", is_quote, 1.0, none["ask"]),
        "exchange": pa.array(r["publisher"][at]).cast(pa.string()),
        "conditions": pa.array([None if q else f"aggressor={s}" for q, s in zip(is_quote, r["side"][at])], pa.string()),
    }  # fmt: skip
    return pa.table({name: columns[name] for name in TICK_FILE.names}, TICK_FILE)
