"""LOBSTER files: TICKER_YYYY-MM-DD_START_END_message_LEVEL.csv and the orderbook file beside it, line by line. Times are seconds after
midnight in New York with up to nine decimals, prices are multiplied by 10,000.

Of the order book the best level becomes a quote when it changes, behind the trade of the same event. Executions of visible (type 4) and hidden
(5) orders and cross trades (6) become trades; the direction is that of the resting order, so the aggressor is the other side.
A halt (7 with price -1) is a quote without prices; with 0 (quoting) or 1 (trading) the book's quote comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import ConfigError, DataError, listed
from tickarrow.pipeline.source import day_span, zone_of
from tickarrow.pipeline.source_files import SECOND, DailySource, chosen, day_text, read_csv, ticks
from tickarrow.pipeline.source_rows import check_order

Array = npt.NDArray[Any]

NAME = re.compile(r"(?P<symbol>.+)_(?P<day>\d{4}-\d\d-\d\d)_\d+_\d+_message_(?P<level>\d+)\.csv")
SCALE = 10_000.0
NONE = 9_999_999_999.0  # price of a level that is not there: this for asks, its negative for bids
MESSAGE = ["time", "type", "order", "size", "price", "direction"]
VISIBLE, HIDDEN, CROSS, HALT = 4, 5, 6, 7
TRADES = np.array([VISIBLE, HIDDEN, CROSS])


class LobsterSource(DailySource):
    """Quotes and trades of the pairs of files of some symbols and days, a day at a time."""

    def __init__(self, conf: SourceConf, universe: UniverseConf) -> None:
        path = Path(conf.path)
        if not conf.path:
            raise ConfigError("source.path is not set. Name a LOBSTER message file or the folder of such files: source.path=FOLDER.")
        if not path.exists():
            raise DataError(f"source.path: {path} does not exist. Name a LOBSTER message file or the folder of such files.")
        files = sorted(path.glob("*_message_*.csv")) if path.is_dir() else [path]
        found = {(m["day"], m["symbol"]): f for f in files if (m := NAME.fullmatch(f.name))}
        if not found:
            raise DataError(f"source.path: {path} is no LOBSTER message file and holds none. Their names are TICKER_YYYY-MM-DD_START_END_message_LEVEL.csv.")
        super().__init__(conf, universe, chosen(conf, sorted({symbol for _, symbol in found}), str(path)))
        symbols, day = self.universe.symbols, day_text(conf)
        self.files = {k: f for k, f in sorted(found.items()) if k[1] in symbols and day in (None, k[0])}
        if not self.files:
            days = sorted({d for d, symbol in found if symbol in symbols})
            raise DataError(f"source.day: {path} has no file of {listed(symbols)} on {day}. It has {listed(days)}.")
        self.days = sorted({d for d, _ in self.files})
        self.zone = zone_of(conf.timezone)
        self._find_ends(path)

    def read_day(self, day: str, bad: dict[str, int]) -> list[pa.Table]:
        return [self._pair(symbol, day, self.files[day, symbol], bad) for symbol in self.universe.symbols if (day, symbol) in self.files]

    def _pair(self, symbol: str, day: str, path: Path, bad: dict[str, int]) -> pa.Table:
        """Rows of a message file and its order book."""
        book_path = path.with_name(path.name.replace("_message_", "_orderbook_"))
        if not book_path.exists():
            raise DataError(f"{path.name} has no order book beside it: {book_path} does not exist. Put the two files of the pair into one folder.")
        with path.open("rb") as file:
            head = file.readline().count(b",") + 1
        columns = [*MESSAGE, *(f"more{i}" for i in range(head - len(MESSAGE)))]
        left: dict[str, int] = {}
        with path.open("rb") as file:
            m = read_csv(file, str(path), columns, columns[len(MESSAGE) :], "time", left)
        with book_path.open("rb") as file:
            levels = (file.readline().count(b",") + 1) // 4
            file.seek(0)
            names = [f"{name}{k}" for k in range(max(levels, 1)) for name in ("ask", "ask_size", "bid", "bid_size")]
            b = read_csv(file, str(book_path), names, names[4:], "ask0", left)
        if len(m) != len(b) or left:  # a line that is missing in one of them moves all that follow
            raise DataError(
                f"{path.name} has {len(m):,} events and its order book {len(b):,} states, with {sum(left.values()):,} lines that cannot be read. "
                "The two files of a pair belong together line by line: get them again."
            )
        seconds, kind, price = (m[c].to_numpy() for c in ("time", "type", "price"))
        ts = day_span(day, self.zone)[0] + np.rint(seconds * SECOND).astype(np.int64)
        check_order(ts, np.arange(len(ts)), np.iinfo(np.int64).min, "time", path.name)
        known = np.isin(kind, (1, 2, 3, 4, 5, 6, 7))
        if n := int((~known).sum()):
            bad["unknown_event"] = bad.get("unknown_event", 0) + n

        quote: dict[str, Array] = {}
        for side, none in (("ask", NONE), ("bid", -NONE)):
            p, size = np.array(b[f"{side}0"].to_numpy()), np.array(b[f"{side}_size0"].to_numpy())
            absent = p == none
            p, size = np.where(absent, 0.0, p / SCALE), np.where(absent, 0.0, size)  # 0 with size 0: no quote at this side
            quote |= {side: p, f"{side}_size": size}
        halt = np.zeros(len(ts), bool)  # in force
        marks = np.flatnonzero(kind == HALT)
        for i, k in enumerate(marks):
            halt[k : marks[i + 1] if i + 1 < len(marks) else None] = price[k] == -1
        for column in quote.values():
            column[halt] = np.nan
        rows = np.array([quote[c] for c in ("bid", "bid_size", "ask", "ask_size")])
        changed = np.ones(len(ts), bool)
        changed[1:] = ~((rows[:, 1:] == rows[:, :-1]) | (np.isnan(rows[:, 1:]) & np.isnan(rows[:, :-1]))).all(axis=0)
        quotes = ticks(ts[changed], symbol, "quote", "XNAS|XNAS", None, **{c: v[changed] for c, v in quote.items()})

        traded = np.isin(kind, TRADES)
        visible = pa.array(np.select([kind == VISIBLE, kind == HIDDEN], ["visible", "hidden"], "cross")[traded])
        aggressor = pa.array(np.where(m["direction"].to_numpy() < 0, ";buy", ";sell")[traded])
        conditions = pc.if_else(pc.equal(visible, "cross"), visible, pc.binary_join_element_wise(visible, aggressor, ""))
        trades = ticks(ts[traded], symbol, "trade", "XNAS", conditions, price=price[traded] / SCALE, size=m["size"].to_numpy()[traded])
        # The trade of an event stands before the quote that it leaves: order by event, then kind.
        order = np.argsort(np.concatenate([np.flatnonzero(traded) * 2, np.flatnonzero(changed) * 2 + 1]), kind="stable")
        return pa.concat_tables([trades, quotes]).take(pa.array(order))
