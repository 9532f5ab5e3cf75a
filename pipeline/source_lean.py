"""Ticks of QuantConnect Lean's data folder: ASSET/MARKET/RESOLUTION/SYMBOL/YYYYMMDD_trade.zip and _quote.zip, each with one CSV file
without a header. Times are milliseconds since midnight of the market's clock. Prices of equities are multiplied by 10,000, others are not.

A tick quote of an equity gives one side or both; a side of price 0 is not given. A bid and an ask of one millisecond that follow each other
become one row. Trades and quotes come as two files, so their order inside a millisecond is lost: quotes stand before trades.
A bar of a second or a minute becomes one row at its end: its close, of trades with the volume as size."""

from __future__ import annotations

import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import ConfigError, DataError, listed, near
from tickarrow.pipeline.source_files import SECOND, TICK_FILE, DailySource, chosen, day_text, merged, read_csv, ticks

Array = npt.NDArray[Any]

SCALED = {"equity": 10_000.0, "option": 10_000.0, "index": 10_000.0}  # others are in units of the quote currency
ZONES = {"fxcm": "Etc/GMT+5", "oanda": "UTC", "binance": "UTC", "coinbase": "UTC", "bitfinex": "UTC", "kraken": "UTC", "bybit": "UTC"}
BAR_S = {"tick": 0, "second": 1, "minute": 60}  # seconds of a bar

TRADE_TICK = ["ms", "price", "size", "exchange", "conditions", "suspicious"]
TRADE_BAR = ["ms", "open", "high", "low", "price", "size"]
QUOTE_TICK = ["ms", "bid", "bid_size", "ask", "ask_size", "exchange", "conditions", "suspicious"]
QUOTE_BAR = ["ms", "bid_open", "bid_high", "bid_low", "bid", "bid_size", "ask_open", "ask_high", "ask_low", "ask", "ask_size"]
TEXTS = ("exchange", "conditions", "suspicious")


class LeanSource(DailySource):
    """Trades and quotes of some symbols and days of a Lean data folder, a day at a time."""

    def __init__(self, conf: SourceConf, universe: UniverseConf) -> None:
        self.scale = SCALED.get(conf.asset, 1.0)
        self.zone = ZoneInfo(ZONES.get(conf.market, conf.timezone))
        self.folders: dict[str, Path] = {}  # by kind
        root = _root(conf)
        self.resolutions = {"trade": conf.resolution, "quote": conf.quotes or conf.resolution}
        for name, resolution in zip(("source.resolution", "source.quotes"), self.resolutions.values()):
            if resolution not in BAR_S:
                raise ConfigError(f"{name} is {resolution!r}. Choose tick, second or minute.")
        for kind, resolution in self.resolutions.items():
            self.folders[kind] = root / resolution
        known = sorted({p.name.upper() for folder in self.folders.values() if folder.is_dir() for p in folder.iterdir() if p.is_dir()})
        if not known:
            there = sorted(p.name for p in root.iterdir() if p.is_dir())
            raise DataError(f"source.resolution: {root} has no folder of symbols in {conf.resolution!r}. It has {listed(there)}.")
        super().__init__(conf, universe, chosen(conf, known, str(root)))
        self.days = self._days(day_text(conf))
        self._find_ends(root)

    def _days(self, wanted: str | None) -> list[str]:
        """YYYYMMDD of the days with a file of any symbol."""
        files = [p.name for kind in self.folders for s in self.universe.symbols for p in (self.folders[kind] / s.lower()).glob(f"????????_{kind}.zip")]
        days = sorted({name[:8] for name in files})
        if wanted is None and days:
            return days
        symbols = listed(self.universe.symbols)
        if not days:
            raise DataError(f"source.symbols: {self.folders['trade']} has no file of {symbols}. Choose another resolution (source.resolution) or symbol.")
        day = str(wanted).replace("-", "")
        if day not in days:
            shown = [f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in days]
            raise DataError(f"source.day: {self.folders['trade']} has no file of {symbols} on {wanted}. It has {listed(shown)}.")
        return [day]

    def read_day(self, day: str, bad: dict[str, int]) -> list[pa.Table]:
        return [merged([self._file(kind, symbol, day, bad) for kind in ("quote", "trade")]) for symbol in self.universe.symbols]

    def _file(self, kind: str, symbol: str, day: str, bad: dict[str, int]) -> pa.Table:
        path = self.folders[kind] / symbol.lower() / f"{day}_{kind}.zip"
        if not path.exists():
            return TICK_FILE.empty_table()
        try:
            with zipfile.ZipFile(path) as archive:
                names = [n for n in archive.namelist() if n.lower().endswith(".csv")]
                if len(names) != 1:
                    raise DataError(f"{path} holds {len(names)} CSV files. A file of Lean's data folder holds one.")
                with archive.open(names[0]) as file:
                    head = file.readline().decode("latin-1")
                with archive.open(names[0]) as file:
                    return self._rows(kind, symbol, day, read_csv(file, str(path), *self._columns(kind, head, path), "ms", bad))
        except (zipfile.BadZipFile, OSError) as e:
            raise DataError(f"{path} cannot be read as a zip file: {e}. Get it again.") from None

    def _columns(self, kind: str, head: str, path: Path) -> tuple[list[str], tuple[str, ...]]:
        """Names of the columns, and those that are text; a file may lack the last ones."""
        bars = self.resolutions[kind] != "tick"
        names = (TRADE_BAR if bars else TRADE_TICK) if kind == "trade" else (QUOTE_BAR if bars else QUOTE_TICK)
        n = head.count(",") + 1
        if kind == "quote" and not bars and n == 3:
            names = ["ms", "bid", "ask"]  # dealers quote prices without sizes
        least = {True: len(names), False: 3 if kind == "trade" else min(len(names), 5)}[bars]
        if head.strip() and not least <= n <= len(names):
            raise DataError(f"{path} has {n} columns; {kind}s of resolution {self.resolutions[kind]} have {least} to {len(names)}. Is it a file of Lean?")
        return names[:n] if head.strip() else names, tuple(t for t in TEXTS if t in names[:n])

    def _rows(self, kind: str, symbol: str, day: str, t: pa.Table) -> pa.Table:
        have = set(t.column_names)
        period = BAR_S[self.resolutions[kind]]
        noon = datetime.strptime(f"{day}12", "%Y%m%d%H").replace(tzinfo=self.zone)  # midnight may have another offset on the day that clocks change
        base = (int(noon.timestamp()) - 43_200 + period) * SECOND
        ts = base + np.rint(t["ms"].to_numpy()).astype(np.int64) * 1_000_000

        def column(name: str, scale: float = 1.0) -> Array:
            return np.array(t[name].to_numpy()) / scale if name in have else np.full(len(t), np.nan)

        conditions: Any = f"close_of_{period}s_bar" if period else None
        if "conditions" in have:
            conditions = t["conditions"].combine_chunks()
            if "suspicious" in have:
                marked = pc.binary_join_element_wise(conditions.fill_null(""), "suspicious", ";")
                conditions = pc.if_else(pc.equal(t["suspicious"].combine_chunks(), "1").fill_null(False), marked, conditions)
        exchange = t["exchange"].combine_chunks() if "exchange" in have else None
        if kind == "trade":
            return ticks(ts, symbol, kind, exchange, conditions, price=column("price", self.scale), size=column("size"))
        values = {"bid": column("bid", self.scale), "bid_size": column("bid_size"), "ask": column("ask", self.scale), "ask_size": column("ask_size")}
        for side in ("bid", "ask"):
            absent = ~(values[side] > 0)
            values[side][absent] = values[f"{side}_size"][absent] = np.nan
        return _joined(ts, symbol, exchange, conditions, values)


def _joined(ts: Array, symbol: str, exchange: pa.Array | None, conditions: Any, values: dict[str, Array]) -> pa.Table:
    """Quotes, a bid and an ask of one millisecond that follow each other as one row; the venues as BID|ASK."""
    has_bid, has_ask = ~np.isnan(values["bid"]), ~np.isnan(values["ask"])
    alone = has_bid ^ has_ask
    n = len(ts)
    linked: Array = np.zeros(n, bool)  # to the row before
    if n:
        linked[1:] = alone[1:] & alone[:-1] & (has_bid[1:] != has_bid[:-1]) & (ts[1:] == ts[:-1])
    at: Array = np.arange(n)
    begin = np.maximum.accumulate(np.where(linked, 0, at))  # of the run of rows that alternate
    second: Array = linked & ((at - begin) % 2 == 1)
    first: Array = np.zeros(n, bool)
    first[:-1] = second[1:]
    for side in ("bid", "ask"):
        from_next = first & np.isnan(values[side])
        for name in (side, f"{side}_size"):
            values[name][from_next] = values[name][np.flatnonzero(from_next) + 1]
    if exchange is not None:
        venues = exchange.fill_null("").to_numpy(zero_copy_only=False)
        bid_venue, ask_venue = np.where(has_bid, venues, ""), np.where(has_ask, venues, "")
        for venue, has in ((bid_venue, has_bid), (ask_venue, has_ask)):
            at = np.flatnonzero(first & ~has)
            venue[at] = venue[at + 1]
        exchange = pc.binary_join_element_wise(pa.array(bid_venue, pa.string()), pa.array(ask_venue, pa.string()), "|")
    keep = pa.array(~second)
    return ticks(ts, symbol, "quote", exchange, conditions, **values).filter(keep)


def _root(conf: SourceConf) -> Path:
    """The folder of the market."""
    path = Path(conf.path)
    if not conf.path:
        raise ConfigError("source.path is not set. Name Lean's data folder, the one that holds equity, forex and so on: source.path=FOLDER.")
    if not path.is_dir():
        raise DataError(f"source.path: {path} is not a folder. Name Lean's data folder, the one that holds equity, forex and so on.")
    folder = path
    for setting, name in (("source.asset", conf.asset), ("source.market", conf.market)):
        if not (folder / name).is_dir():
            raise DataError(f"{setting}: {folder} has no folder {name!r}. {near(name, sorted(p.name for p in folder.iterdir() if p.is_dir()))}")
        folder /= name
    return folder
