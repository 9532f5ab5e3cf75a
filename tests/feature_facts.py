"""What a stream of ticks holds at each row of FEATURES, worked out from the ticks alone: which inputs were there, how often and how long ago.
`tests/feature_data.py` explains missing values with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from feature_book import FIELDS, books

from tickarrow.pipeline.calendar import sessions
from tickarrow.pipeline.schemas import Flag, Kind

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
NEVER = 1 << 62
FORGOTTEN = 400  # windows after which a decaying sum is as good as none; the kernels stop at 460


class Facts:
    """Facts at rows of one file, each a (rows,) bool array.

    Parameters
    ----------
    t : columns of TICKS, times in order
    at : indices of the ticks that made a row
    tick_size : currency
    of_mid : bars are those of mids
    depth : columns of DEPTH, if the file has a book
    """

    def __init__(
        self, t: dict[str, np.ndarray], at: np.ndarray, tick_size: float, of_mid: bool, n_symbols: int, depth: dict[str, np.ndarray] | None = None
    ) -> None:
        self.n_symbols, self.depth, self.row = n_symbols, depth, at
        self.order = np.argsort(t["symbol"], kind="stable")
        self.t = {name: column[self.order] for name, column in t.items()}  # sorted by symbol, then time
        place = np.empty(len(self.order), np.int64)
        place[self.order] = np.arange(len(self.order))
        self.at, self.tick, self.of_mid = place[at], tick_size, of_mid
        ts, symbol = self.t["ts"], self.t["symbol"]
        self.days = sessions("XNYS", int(ts.min()), int(ts.max()))
        self.session = np.searchsorted(self.days[:, :2].min(1), ts, "right") - 1
        self.first = np.searchsorted(symbol, symbol)  # where the symbol of each tick begins
        self.span = int(ts.max() - ts.min()) + 1
        self.key = symbol.astype(np.int64) * self.span + (ts - ts.min())
        self.ts, self.base = ts[self.at], ts.min()
        self.mid = (self.t["bid"] + self.t["ask"]) / 2
        quote = self.t["kind"] == Kind.QUOTE
        self.trade = ~quote & (self.t["size"] > 0)
        self.priced = self.trade & ~np.isnan(self.t["price"])
        self.two = quote & (self.mid > 0)
        self.sized = self.two & (self.t["bid_size"] > 0) & (self.t["ask_size"] > 0)
        self.quote = quote
        self.gap = (self.t["flags"] & Flag.GAP) != 0

    def now(self, event: np.ndarray) -> np.ndarray:
        """The row's own tick is such."""
        return event[self.at]

    def count(self, event: np.ndarray, since: np.ndarray | None = None, until: np.ndarray | None = None) -> np.ndarray:
        """Events of the symbol in [since, until], ns; by default all up to the row."""
        total = np.concatenate([[0], np.cumsum(event)])
        lo, base = self.first[self.at], self.t["symbol"][self.at].astype(np.int64) * self.span
        hi = self.at + 1
        if until is not None:
            hi = np.maximum(np.searchsorted(self.key, base + np.minimum(until - self.base, self.span - 1), "right"), lo)
            hi = np.minimum(hi, self.at + 1)
        if since is not None:
            lo = np.minimum(np.maximum(np.searchsorted(self.key, base + np.maximum(since - self.base, 0)), lo), hi)
        return total[hi] - total[lo]

    def recent(self, event: np.ndarray, seconds: float, least: int = 1) -> np.ndarray:
        return self.count(event, self.ts - round(seconds * SECOND)) >= least

    def today(self, event: np.ndarray, least: int = 1, older_s: float = 0.0) -> np.ndarray:
        """So many events in this session, each so many seconds old."""
        begin = np.where(self.session[self.at] < 0, self.base, self.days[np.maximum(self.session[self.at], 0), :2].min(1))
        return self.count(event, begin, self.ts - round(older_s * SECOND) if older_s else None) >= least

    def _before(self, event: np.ndarray) -> np.ndarray:
        """Indices of events and of those before them of the same symbol, as two arrays."""
        i = np.flatnonzero(event)
        same = self.t["symbol"][i[1:]] == self.t["symbol"][i[:-1]]
        return np.stack([i[1:][same], i[:-1][same]])

    def mark(self, indices: np.ndarray) -> np.ndarray:
        out = np.zeros(len(self.order), bool)
        out[indices] = True
        return out

    @cached_property
    def change(self) -> np.ndarray:
        """The mid differs from the one before in the session: 1 up, -1 down."""
        i, j = self._before(self.two)
        step = self.mid[i] - self.mid[j]
        out = np.zeros(len(self.order), np.int8)
        out[i] = np.where((np.abs(step) > 1e-6 * self.tick) & (self.session[i] == self.session[j]), np.sign(step), 0)
        return out

    @cached_property
    def spread_varied(self) -> np.ndarray:
        i, j = self._before(self.two)
        spread = self.t["ask"] - self.t["bid"]
        near = self.t["ts"][i] - self.t["ts"][j] < 3000 * SECOND  # else the one is nothing beside the other
        return self.mark(i[near & (np.abs(spread[i] - spread[j]) > 1e-3 * self.tick)])

    @cached_property
    def sign(self) -> np.ndarray:
        """Whether the sign of a trade is known; 1 and -1 by the quote, 2 by the tick rule."""
        i, j = self._before(self.priced)
        moved = np.cumsum(self.mark(i[self.t["price"][i] != self.t["price"][j]]))
        ruled = moved - np.where(self.first > 0, moved[self.first - 1], 0) > 0
        off = (self.t["price"] - self.mid) / self.tick
        side = np.where(np.abs(np.nan_to_num(off)) > 1e-4, np.sign(np.nan_to_num(off)), 0)
        return np.where(self.priced, np.where(side != 0, side, 2 * ruled), 0)

    @cached_property
    def impact(self) -> np.ndarray:
        """Trades that tell the effect of the one before."""
        i, j = self._before(self.trade)
        return self.mark(i[(self.sign[j] != 0) & (self.mid[i] > 0) & (self.mid[j] > 0)])

    @cached_property
    def two_flows(self) -> np.ndarray:
        """Trades that tell the effect of the one before, whose signed size differs from that of the one ahead of it."""
        i, j = self._before(self.trade)
        flow = np.where(np.abs(self.sign) == 1, self.sign * self.t["size"], np.nan)
        at = np.full(len(self.order), -1)
        at[i] = j
        k = at[j]
        near = self.t["ts"][i] - self.t["ts"][j] < 300 * SECOND  # else the one is nothing beside the other
        return self.mark(i[(k >= 0) & near & self.impact[i] & self.impact[j] & (np.abs(flow[j] - flow[k]) > 0)])

    @cached_property
    def counted_trade(self) -> np.ndarray:
        """Trades after the second in which the symbol's session begins, which is not whole."""
        ts, symbol = self.t["ts"], self.t["symbol"]
        anew = np.r_[True, (np.diff(symbol) != 0) | (np.diff(self.session) != 0)]
        begin = ts[np.maximum.accumulate(np.where(anew, np.arange(len(ts)), 0))]
        return self.trade & (ts // SECOND > begin // SECOND)

    @cached_property
    def quote_flow(self) -> np.ndarray:
        """Quotes of which just one side, with sizes before and after, differs from the quote before: 1 a buying, -1 a selling change."""
        i, j = self._before(self.quote)
        side = {s: (np.sign(self.t[s][i] - self.t[s][j]), np.sign(self.t[f"{s}_size"][i] - self.t[f"{s}_size"][j])) for s in ("bid", "ask")}
        bid, ask = (np.where(price != 0, price, size * way) for way, (price, size) in zip((1, -1), side.values(), strict=True))
        out = np.zeros(len(self.order), np.int8)
        out[i] = np.where(self.sized[i] & self.sized[j] & ((bid == 0) != (ask == 0)), bid + ask, 0)
        return out

    def vpin_known(self) -> np.ndarray:
        """Fifty trades, and a bucket of ten mean ones after them."""
        size = np.where(self.trade, np.minimum(np.nan_to_num(self.t["size"]), 1e8), 0.0)
        total, n = np.concatenate([[0.0], np.cumsum(size)]), np.concatenate([[0], np.cumsum(self.trade)])
        lo, hi = self.first[self.at], self.at + 1
        fifty = np.minimum(np.searchsorted(n, n[lo] + 50), len(n) - 1)
        return (n[hi] - n[lo] > 50) & (total[hi] - total[fifty] > (total[fifty] - total[lo]) / 5 * 1.001)

    @cached_property
    def price(self) -> np.ndarray:
        return self.mid if self.of_mid else self.t["price"]

    @cached_property
    def bar_price(self) -> np.ndarray:
        """Ticks with a price for the bars."""
        return self.two if self.of_mid else self.priced & (self.t["price"] > 0)

    # Bars of one minute

    @cached_property
    def _minutes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Price events; number of the bar of each tick, minutes without a tick of any symbol left out; first of each symbol."""
        event = self.bar_price
        minute = self.t["ts"] // MINUTE
        rank = np.searchsorted(np.unique(minute), minute)
        begin = np.full(self.n_symbols, 1 << 40)
        np.minimum.at(begin, self.t["symbol"][event], rank[event])
        return event, rank, begin

    def closed(self, bars: int) -> np.ndarray:
        """So many bars of the symbol have closed."""
        _, rank, begin = self._minutes
        return rank[self.at] - begin[self.t["symbol"][self.at]] >= bars

    @cached_property
    def _lanes(self) -> dict[int, pd.DataFrame]:
        event, rank, begin = self._minutes
        price = self.price
        volume = np.zeros(len(price)) if self.of_mid else self.t["size"]
        frame = pd.DataFrame({"symbol": self.t["symbol"][event], "bar": rank[event], "price": price[event], "volume": volume[event]})
        out = {}
        for symbol, part in frame.groupby("symbol"):
            bars = part.groupby("bar").agg(close=("price", "last"), high=("price", "max"), low=("price", "min"), volume=("volume", "sum"))
            bars = bars.reindex(range(begin[symbol], rank.max() + 1))
            bars["close"] = bars.close.ffill()
            out[symbol] = bars.assign(high=bars.high.fillna(bars.close), low=bars.low.fillna(bars.close), volume=bars.volume.fillna(0.0))
        return out

    def of_bars(self, holds) -> np.ndarray:
        """holds(bars of a symbol), a bool a bar, at the bar that closed last before each row."""
        _, rank, begin = self._minutes
        out = np.zeros(len(self.at), bool)
        symbol = self.t["symbol"][self.at]
        for s in np.unique(symbol):
            if s in self._lanes:
                mine = np.flatnonzero(symbol == s)
                bar = rank[self.at[mine]] - begin[s] - 1
                out[mine] = (bar >= 0) & np.asarray(holds(self._lanes[s]), bool)[np.maximum(bar, 0)]
        return out

    def usual(self, event: np.ndarray) -> np.ndarray:
        """The bar that closed last before the row begins at a minute after the open at which the symbol had a bar with the event on a day before."""
        _, rank, begin = self._minutes
        symbol, ts = self.t["symbol"], self.t["ts"]
        minutes = np.unique(ts // MINUTE) * MINUTE
        day = np.searchsorted(self.days[:, :2].min(1), self._first_ticks, "right") - 1  # the bar of a minute is in the session of its ticks
        slot = np.where(day >= 0, (minutes - self.days[np.maximum(day, 0), 1]) // MINUTE + 60, -1)
        slot = np.where((slot >= 0) & (slot < 540), slot, -1)
        earliest = np.full((self.n_symbols, 541), NEVER)  # day of the first such bar; the last column is that of no slot
        held = event & (rank >= begin[symbol])
        np.minimum.at(earliest, (symbol[held], slot[rank[held]]), day[rank[held]])
        bar = np.maximum(rank[self.at] - 1, 0)
        return self.closed(1) & (slot[bar] >= 0) & (earliest[symbol[self.at], slot[bar]] < day[bar])

    @cached_property
    def _first_ticks(self) -> np.ndarray:
        """Time of the first tick of any symbol in each minute that has one."""
        ts = np.sort(self.t["ts"])
        return ts[np.unique(ts // MINUTE, return_index=True)[1]]

    def gapped(self) -> np.ndarray:
        """A price in regular hours of an earlier session and one of this; mids until the symbol has a trade."""
        ts, day = self.t["ts"], self.days[np.maximum(self.session, 0)]
        regular = (self.session >= 0) & (ts >= day[:, 1]) & (ts < day[:, 2])
        begin = np.where(self.session[self.at] < 0, self.base, self.days[np.maximum(self.session[self.at], 0), :2].min(1))
        both = [(self.today(e) & (self.count(e, None, begin - 1) > 0)) for e in (regular & self.priced & (self.t["price"] > 0), regular & self.two)]
        return np.where(self.count(self.trade) > 0, both[0], both[1])

    # The depth book

    @cached_property
    def book(self) -> np.ndarray:
        """State of the book at each row."""
        if self.depth is None:
            return np.zeros(len(self.at), FIELDS)
        lost = np.flatnonzero(self.gap)
        return books(self.depth, list(zip(self.order[lost].tolist(), self.t["symbol"][lost].tolist(), strict=True)), self.row, self.t["symbol"][self.at])

    # The cross-section

    @cached_property
    def _streaks(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last ticks of the times in which a symbol had quotes without a break."""
        ts, symbol, quoted = self.t["ts"], self.t["symbol"], np.flatnonzero(self.two)
        if not quoted.size:
            return quoted, quoted
        anew = np.r_[True, (np.diff(ts[quoted]) > 290 * SECOND) | (np.diff(symbol[quoted]) != 0)]
        return quoted[anew], quoted[np.r_[anew[1:], True]]

    def after(self, event: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """For `live`: a pass has seen the first such event of the streak."""

        def known(begins: np.ndarray) -> np.ndarray:
            i = np.flatnonzero(event)
            if not i.size:
                return np.full(len(begins), NEVER)
            found = np.searchsorted(i, begins, "right")
            nearest = i[np.minimum(found, len(i) - 1)]
            same = (found < len(i)) & (self.t["symbol"][nearest] == self.t["symbol"][begins])
            return np.where(same, self.t["ts"][nearest] + 2 * SECOND, NEVER)

        return known

    def bars_since(self, bars: int) -> Callable[[np.ndarray], np.ndarray]:
        """For `live`: so many bars of the symbol have closed."""

        def known(begins: np.ndarray) -> np.ndarray:
            rank = self._minutes[2][self.t["symbol"][begins]] + bars
            return np.where(rank < len(self._first_ticks), self._first_ticks[np.minimum(rank, len(self._first_ticks) - 1)], NEVER)

        return known

    def live(self, seconds: float, least: int = 3, known: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
        """The symbol and others, `least` in all, have had quotes without a break for so long, and what `known` asks for: times by streak."""
        ts, symbol = self.t["ts"], self.t["symbol"]
        begins, ends = self._streaks
        if not begins.size:
            return np.zeros(len(self.at), bool)
        passes = np.sort(ts)  # a streak counts from the first pass after its begin: the first tick of any symbol in another second
        found = np.minimum(np.searchsorted(passes, (ts[begins] // SECOND + 1) * SECOND), len(passes) - 1)
        ready, over = passes[found] + round((seconds + 3) * SECOND), ts[ends] + 290 * SECOND
        if known is not None:
            ready = np.maximum(ready, known(begins))
        both = ready < over
        pass_at = passes[np.maximum(np.searchsorted(passes, self.ts // SECOND * SECOND) - 1, 0)]  # the last pass is not older than this
        n = np.searchsorted(np.sort(ready[both]), pass_at, "right") - np.searchsorted(np.sort(over[both]), pass_at)
        streak = np.searchsorted(begins, self.at, "right") - 1
        start = begins[np.maximum(streak, 0)]
        own = (streak >= 0) & (symbol[start] == symbol[self.at]) & (pass_at >= ready[np.maximum(streak, 0)])
        return own & self.recent(self.two, 290) & (n >= least)

    def samples(self, least: int) -> np.ndarray:
        """So many bars of the symbol have closed of which both ends are in a time with an index: three symbols live without a break."""
        (begins, ends), ts, closes = self._streaks, self.t["ts"], self._first_ticks
        if not begins.size:
            return np.zeros(len(self.at), bool)
        passes = np.sort(ts)
        found = np.minimum(np.searchsorted(passes, (ts[begins] // SECOND + 1) * SECOND), len(passes) - 1)
        ready, over = passes[found] + 3 * SECOND, ts[ends] + 290 * SECOND
        ready, over = ready[ready < over], over[ready < over]
        times = np.concatenate([ready, over])
        order = np.argsort(times, kind="stable")
        n = np.cumsum(np.r_[np.ones(len(ready), np.int64), -np.ones(len(over), np.int64)][order])
        enough = n >= 3
        run = np.cumsum(~enough)  # one number throughout a time with three
        at = np.searchsorted(times[order], closes, "right") - 1
        inside = (at >= 0) & enough[np.maximum(at, 0)]
        of = np.where(inside, run[np.maximum(at, 0)], -1)
        sample = np.r_[False, (of[1:] >= 0) & (of[1:] == of[:-1])]
        total = np.r_[0, np.cumsum(sample)]
        _, rank, begin = self._minutes
        mine, first = rank[self.at], np.minimum(begin[self.t["symbol"][self.at]] + 2, len(closes))
        return total[mine + 1] - total[np.minimum(first, mine + 1)] >= least

    def open_range(self) -> np.ndarray:
        """Two prices in the first 15 minutes of this session."""
        i, j = self._before(self.bar_price)
        price = self.price
        moved = self.mark(i[np.abs(price[i] - price[j]) > 1e-6 * self.tick])
        begin = self.days[np.maximum(self.session[self.at], 0), 1]
        later = begin + 15 * MINUTE - 1
        enough = self.count(moved, begin, np.minimum(later, self.ts)) >= 2
        return (self.session[self.at] >= 0) & enough

    @cached_property
    def has(self) -> dict[str, bool]:
        """What the file has at all."""
        return {"trades": bool(self.trade.any()), "quotes": bool(self.two.any()), "sizes": bool(self.sized.any())}


def every(facts: Sequence[np.ndarray], n: int) -> np.ndarray:
    out = np.ones(n, bool)
    for f in facts:
        out &= f
    return out
