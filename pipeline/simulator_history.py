"""What the simulated gateway knows of the past: the rows of its source up to market time, by symbol, and bars made of them. Nothing is
kept until the first request for it; then the source is read again from its beginning."""

from __future__ import annotations

import copy
import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from tickarrow.jit.wire_encode_market import GIVEN_ASK, GIVEN_ASK_SIZE, GIVEN_BID, GIVEN_BID_SIZE, TRADE

if TYPE_CHECKING:
    from tickarrow.pipeline.source import Rows, Source

Array = npt.NDArray[Any]
SECOND = 1_000_000_000
DAY = 86_400
ZONE = ZoneInfo("America/New_York")  # of the regular trading hours
OPENS, CLOSES = 9 * 3600 + 1800, 16 * 3600  # local seconds of the day
COLUMNS = (("bid", GIVEN_BID), ("bid_size", GIVEN_BID_SIZE), ("ask", GIVEN_ASK), ("ask_size", GIVEN_ASK_SIZE))


@dataclass(frozen=True, slots=True)
class Past:
    """Quotes in force and trades of a symbol, in time order; prices in currency, sizes in shares, NaN = side missing."""

    quote_ts: Array
    bid: Array
    bid_size: Array
    ask: Array
    ask_size: Array
    trade_ts: Array
    price: Array
    size: Array

    def between(self, lo: int, hi: int, before: int = 0) -> Past:
        """Of [lo, hi), and as many rows before it."""
        q, t = np.searchsorted(self.quote_ts, (lo, hi)), np.searchsorted(self.trade_ts, (lo, hi))
        q[0], t[0] = max(q[0] - before, 0), max(t[0] - before, 0)
        quotes = (c[q[0] : q[1]] for c in (self.quote_ts, self.bid, self.bid_size, self.ask, self.ask_size))
        return Past(*quotes, *(c[t[0] : t[1]] for c in (self.trade_ts, self.price, self.size)))

    def regular(self) -> Past:
        """Of the regular trading hours only: weekdays from 9:30 to 16:00 in New York."""
        q, t = _regular(self.quote_ts), _regular(self.trade_ts)
        quotes = (c[q] for c in (self.quote_ts, self.bid, self.bid_size, self.ask, self.ask_size))
        return Past(*quotes, *(c[t] for c in (self.trade_ts, self.price, self.size)))

    def line(self, what: str) -> tuple[Array, Array]:
        """Times and values of TRADES, BID, ASK or MIDPOINT; rows without a value are left out."""
        if what == "TRADES":
            ts, values = self.trade_ts, self.price
        else:
            ts, values = self.quote_ts, {"BID": self.bid, "ASK": self.ask}.get(what, (self.bid + self.ask) / 2.0)
        there = ~np.isnan(values)
        return ts[there], values[there]


def _regular(ts: Array) -> Array:
    """Which times lie in the regular trading hours. The offset to UTC is looked up once a day: it changes on Sundays only."""
    inside = np.zeros(len(ts), bool)
    days = ts // (DAY * SECOND)
    for day in np.unique(days):
        offset = datetime.datetime.fromtimestamp(int(day) * DAY + DAY // 2, ZONE).utcoffset()
        local = ts // SECOND + int(offset.total_seconds() if offset else 0)
        weekday = (local // DAY + 3) % 7 < 5  # day 0 was a Thursday
        inside |= (days == day) & weekday & (local % DAY >= OPENS) & (local % DAY < CLOSES)
    return inside


class History:
    """The rows of a source up to a time.

    Parameters
    ----------
    source : read again from its beginning; its own counts stay as they are
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._blocks: Any = None
        self._block: Rows | None = None  # read, but not over yet
        self._parts: list[list[Past]] = [[] for _ in source.universe]
        self._last = np.full((len(source.universe), len(COLUMNS)), np.nan)  # quote in force at the end of the parts

    def past(self, symbol: int, until: int) -> Past:
        """Everything of a symbol up to and with a time."""
        if self._blocks is None:
            self._blocks = iter(copy.copy(self._source).blocks())
            self._block = next(self._blocks, None)
        while self._block is not None and self._block.ts[0] <= until:
            self._keep(self._block)
            self._block = next(self._blocks, None)
        parts = self._parts[symbol]
        if len(parts) != 1:
            names = Past.__dataclass_fields__
            empty = {n: np.zeros(0, np.int64 if n.endswith("ts") else np.float64) for n in names}
            parts[:] = [Past(**{n: np.concatenate([empty[n], *(getattr(p, n) for p in parts)]) for n in names})]
        return parts[0].between(0, until + 1)

    def _keep(self, r: Rows) -> None:
        for symbol in np.unique(r.symbol):
            mine = r.symbol == symbol
            trade = r.kind[mine] == TRADE
            mask = r.mask[mine]
            filled = []
            gone = np.zeros(len(mask), bool)
            for k, (name, bit) in enumerate(COLUMNS):
                values, given = getattr(r, name)[mine], (mask & bit != 0) & ~trade
                if bit in (GIVEN_BID_SIZE, GIVEN_ASK_SIZE):  # a missing price takes its size with it
                    values, given = np.where(gone, np.nan, values), given | gone
                else:
                    gone = given & np.isnan(values)
                at = np.maximum.accumulate(np.where(given, np.arange(len(values)), -1))
                filled.append(np.where(at >= 0, values[at], self._last[symbol, k]))
            self._last[symbol] = [f[-1] for f in filled]
            for price, size in (0, 1), (2, 3):  # a size that came before its price is kept for it, but not shown without it
                filled[size] = np.where(np.isnan(filled[price]), np.nan, filled[size])
            ts, trades = r.ts[mine], (c[mine][trade] for c in (r.ts, r.price, r.size))
            self._parts[symbol].append(Past(*(c[~trade] for c in (ts, *filled)), *trades))


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar that begins at `ts`; volume, average and count are -1 for what has none."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float = -1.0
    average: float = -1.0
    count: int = -1


def begin(ts: int, size: int | str) -> int:
    """Begin of the bar that holds a time: `size` in seconds, or week or month (UTC)."""
    if isinstance(size, int):
        return ts - ts % (size * SECOND)
    day = datetime.datetime.fromtimestamp(ts // SECOND, datetime.UTC).date()
    first = day - datetime.timedelta(days=day.weekday()) if size == "week" else day.replace(day=1)
    return (first - datetime.date(1970, 1, 1)).days * DAY * SECOND


def after(ts: int, size: int | str) -> int:
    """Begin of the bar behind the one that begins at `ts`."""
    if isinstance(size, int):
        return ts + size * SECOND
    return begin(ts + (7 if size == "week" else 31) * DAY * SECOND, size)


def make_bars(past: Past, what: str, size: int | str, lo: int, hi: int) -> list[Bar]:
    """Bars of [lo, hi) that have something to say: a trade in them, or a quote in force.

    References
    ----------
    IBKR's table of `whatToShow`: a BID_ASK bar has the time-weighted mean bid as open, the highest ask, the lowest bid, and the
    time-weighted mean ask as close.
    """
    if what == "BID_ASK":
        return _bid_ask_bars(past, size, lo, hi)
    ts, values = past.line(what)
    sizes = past.size[~np.isnan(past.price)]
    out = []
    start = begin(max(lo, int(ts[0])), size) if len(ts) else hi
    while start < hi:
        end = after(start, size)
        a, b = np.searchsorted(ts, (max(start, lo), min(end, hi)))
        here = values[a:b]
        if what == "TRADES":
            if b > a:
                shares = sizes[a:b]
                volume = float(shares.sum())
                average = float((here * shares).sum()) / volume if volume > 0 else float(here.mean())
                out.append(Bar(start, here[0], here.max(), here.min(), here[-1], round(volume, 8), round(average, 8), int(b - a)))
        elif a or b > a:
            here = np.concatenate([values[a - 1 : a], here]) if a else here
            out.append(Bar(start, here[0], here.max(), here.min(), here[-1]))
        start = end
    return out


def _bid_ask_bars(past: Past, size: int | str, lo: int, hi: int) -> list[Bar]:
    both = ~np.isnan(past.bid + past.ask)
    ts, bid, ask = past.quote_ts[both], past.bid[both], past.ask[both]
    out = []
    start = begin(max(lo, int(ts[0])), size) if len(ts) else hi
    while start < hi:
        end = after(start, size)
        lower, upper = max(start, lo), min(end, hi)
        a, b = np.searchsorted(ts, (lower, upper))
        a -= a > 0
        if b > a:
            edges = np.append(np.maximum(ts[a:b], lower), upper)
            weight = np.diff(edges).astype(np.float64) + (edges[-1] == edges[0])
            means = (round(float(np.average(x[a:b], weights=weight)), 8) for x in (bid, ask))
            first, last = means
            out.append(Bar(start, first, ask[a:b].max(), bid[a:b].min(), last))
        start = end
    return out
