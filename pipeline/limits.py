"""Pre-trade limits: what `act` and the router ask before an order exists or goes out, at market time, and the daily loss stop.

State that decides is in arrays that `act` updates in event order, so a backtest, a live run and its replay refuse the same intents."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from tickarrow.configs.limits import LimitsConf
from tickarrow.jit import limits
from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.calendar import DAY, sessions
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.schemas import Reason
from tickarrow.pipeline.stage import Snapshot

AHEAD = 30 * DAY  # hours are looked up this far ahead
AMOUNTS = ("order_shares", "order_value", "position_shares", "position_value", "gross_value", "net_value", "daily_loss", "collar_quote", "collar_trade")
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
FIX = "Correct it in conf/risk or on the command line."
TEXTS = {
    Reason.RESTRICTED: "the symbol is restricted",
    Reason.RESTART_WINDOW: "the gateway restarts at this time of the day",
    Reason.LOSS_STOP: "the daily loss stop is on",
    Reason.SESSION_WINDOW: "nothing is opened at this time of the session",
    Reason.OLD_QUOTE: "the quote is too old",
    Reason.PRICE_COLLAR: "the limit price is too far from the market",
    Reason.ORDER_SIZE: "too many shares in one order",
    Reason.ORDER_VALUE: "too large a value in one order",
    Reason.POSITION_LIMIT: "the position would be too large",
    Reason.GROSS_LIMIT: "the gross value would be too large",
    Reason.NET_LIMIT: "the net value would be too large",
    Reason.ORDER_RATE: "too many orders in so short a time",
    Reason.SELF_CROSS: "it would trade with an order of our own",
    Reason.HALTED: "the symbol is halted",
    Reason.NOT_LIVE: "the quote or the link is not live",
    Reason.CROSSED: "the quote is crossed",
    Reason.NO_QUOTE: "a side of the quote is missing",
}


class Limits:
    """Parameters and state of the limits over one universe.

    Parameters
    ----------
    conf : the limits
    symbols : names of the rows; a symbol of a list that is not among them is never traded anyway
    """

    def __init__(self, conf: LimitsConf, symbols: Sequence[str]) -> None:
        check(conf)
        self.conf = conf
        self.params = np.zeros(1, limits.LIMITS_PARAMS)
        self.params[0] = (
            conf.order_shares, conf.order_value, conf.position_shares, conf.position_value, conf.gross_value, conf.net_value,
            1e-4 * conf.collar_quote, 1e-4 * conf.collar_trade, conf.daily_loss, min(conf.quote_age_s * 1e9, limits.FOREVER), conf.per_second,
            conf.per_minute,
        )  # fmt: skip
        self.state = np.zeros(len(symbols), limits.LIMITS_STATE)
        self.state["trade"] = math.nan
        self.state["quoted"] = limits.NEVER
        for names, code in ((conf.close_only, limits.CLOSE_ONLY), (conf.restricted, limits.NOTHING)):
            self.state["listed"][np.isin(list(symbols), list(names))] = code
        self.book = np.zeros(1, limits.LIMITS_BOOK)
        self.book["day"] = self.book["day_end"] = limits.NEVER
        self.times = self.ring()
        self.days = np.zeros(1, np.int64)
        self.edges, self.closed = np.full(1, limits.NEVER), np.zeros(1, np.uint8)
        self._known = (int(limits.FOREVER), int(limits.NEVER))  # hours are known from, until

    def ring(self) -> npt.NDArray[np.int64]:
        """Room for the times of the last orders, for `rate_point`."""
        return np.zeros(max(self.conf.per_second, self.conf.per_minute, 1), np.int64)

    @property
    def stopped(self) -> bool:
        """Whether the daily loss stop is on."""
        return bool(self.book["stopped"][0])

    def cover(self, ticks: Batch) -> None:
        """Know the hours of these rows of TICKS."""
        lo, hi = ticks.lo, ticks.hi
        if hi > lo:
            ts = ticks.segment.columns["ts"]
            if not self._known[0] <= ts[lo] <= ts[hi - 1] < self._known[1]:
                self.prepare(int(ts[lo]), int(ts[hi - 1]))

    def prepare(self, first_ns: int, last_ns: int) -> None:
        """Look up the hours for a stretch of time: a live run does it before its first tick, because it takes a second."""
        conf = self.conf
        try:
            days = sessions(conf.calendar, first_ns, last_ns + AHEAD)
        except ConfigError as e:
            raise ConfigError(str(e).replace("features.calendar", "risk.limits.calendar")) from None
        self.days = np.ascontiguousarray(days[:, :2].min(1))
        self.edges, self.closed = windows(conf, days, first_ns - 2 * DAY, last_ns + AHEAD + 2 * DAY)
        self.book["day_end"] = limits.NEVER  # looked up anew at the next tick
        self._known = (first_ns, last_ns + AHEAD)

    def day_of(self, ts_ns: int) -> int:
        """Begin of the session day of a moment, ns UTC."""
        if not self._known[0] <= ts_ns < self._known[1]:
            self.prepare(ts_ns, ts_ns)
        return int(self.days[max(limits.last_point(self.days, ts_ns), 0)])

    def closed_at(self, ts_ns: int) -> int:
        """FREE, CLOSE_ONLY or NOTHING at a moment of the rows covered last, ns UTC."""
        return int(self.closed[max(limits.last_point(self.edges, ts_ns), 0)])

    def snapshot(self) -> Snapshot:
        book = self.book.copy()
        book["day_end"] = limits.NEVER  # looked up, no state
        return {"limits": self.state.copy(), "limits_book": book, "limits_times": self.times.copy()}

    def restore(self, saved: Snapshot) -> None:
        for name in ("trade", "quoted"):  # the lists are the configuration's
            self.state[name] = saved["limits"][name]
        self.book[...] = saved["limits_book"]
        self.times[...] = saved["limits_times"]
        self.book["day_end"] = limits.NEVER


def windows(conf: LimitsConf, days: npt.NDArray[np.int64], first_ns: int, last_ns: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """When what may be sent.

    Parameters
    ----------
    conf : sessions, restart
    days : (n, 4) int64, as `calendar.sessions` gives
    first_ns, last_ns : ns UTC, of the restart windows

    Returns
    -------
    edges : (n,) int64, ns UTC, rising; the first is before everything
    closed : (n,) uint8, from each edge on: FREE, CLOSE_ONLY or NOTHING
    """
    changes: list[tuple[int, int, int]] = []  # moment, what it is of, +1 begins and -1 ends
    if conf.calendar:
        early, late = round(conf.first_minutes * 60e9), round(conf.last_minutes * 60e9)
        for opens, closes in days[:, 1:3].tolist():
            if opens + early < closes - late:
                changes += [(opens + early, limits.CLOSE_ONLY, 1), (closes - late, limits.CLOSE_ONLY, -1)]
    if conf.restart:
        zone = ZoneInfo(conf.restart_zone)
        begin, end = (datetime.strptime(t, "%H:%M").time() for t in conf.restart)
        day, last = (datetime.fromtimestamp(t // 10**9, UTC).astimezone(zone).date() for t in (first_ns, last_ns))
        while day <= last:
            over = day + timedelta(days=int(end <= begin))
            at = [round(datetime.combine(d, t, zone).timestamp()) * 10**9 for d, t in ((day, begin), (over, end))]
            changes += [(at[0], limits.NOTHING, 1), (at[1], limits.NOTHING, -1)]
            day += timedelta(days=1)
    open_now, restarting = int(not conf.calendar), 0
    edges, closed = [int(limits.NEVER)], [limits.FREE if open_now else limits.CLOSE_ONLY]
    for at_ns, what, step in sorted(changes):
        open_now, restarting = (open_now + step, restarting) if what == limits.CLOSE_ONLY else (open_now, restarting + step)
        edges.append(at_ns)
        closed.append(limits.NOTHING if restarting else limits.FREE if open_now else limits.CLOSE_ONLY)
    return np.array(edges, np.int64), np.array(closed, np.uint8)


def lines(conf: LimitsConf) -> list[tuple[str, str]]:
    """What is printed of the limits before a run: name and value."""

    def amount(value: float, unit: str) -> str:
        return "no limit" if math.isinf(value) else f"{value:,.10g} {unit}".rstrip()

    def count(value: int) -> str:
        return f"{value:,}" if value else "any number"

    def names(symbols: Sequence[str]) -> str:
        return ", ".join(symbols) or "none"

    hours = f"{conf.calendar}, not in its first {conf.first_minutes:g} and last {conf.last_minutes:g} minutes" if conf.calendar else "always"
    return [
        ("order", f"{amount(conf.order_shares, 'shares')}, value {amount(conf.order_value, '')}"),
        ("position", f"{amount(conf.position_shares, 'shares')}, value {amount(conf.position_value, '')}"),
        ("gross value", amount(conf.gross_value, "")),
        ("net value", amount(conf.net_value, "")),
        ("orders", f"{count(conf.per_second)} a second, {count(conf.per_minute)} a minute"),
        ("price", f"{amount(conf.collar_quote, 'bp')} from the mid, {amount(conf.collar_trade, 'bp')} from the last trade"),
        ("quote age", amount(conf.quote_age_s, "s")),
        ("restricted", names(conf.restricted)),
        ("close only", names(conf.close_only)),
        ("opened", hours),
        ("no orders", f"{' to '.join(conf.restart)} {conf.restart_zone}" if conf.restart else "never"),
        ("daily loss", amount(conf.daily_loss, "")),
    ]


def check(conf: LimitsConf) -> None:
    """ConfigError names the first setting that is out of range."""

    def wrong(name: str, expected: str) -> ConfigError:
        return ConfigError(f"risk.limits.{name} is {getattr(conf, name)!r}: expected {expected}. {FIX}")

    for name in (*AMOUNTS, "quote_age_s"):
        if not getattr(conf, name) > 0:
            raise wrong(name, "a positive number, or inf for no limit")
    for name in ("per_second", "per_minute", "first_minutes", "last_minutes"):
        if not 0 <= getattr(conf, name) < 100_000:
            raise wrong(name, "zero or more, and less than 100,000")
    if conf.restart and (len(conf.restart) != 2 or conf.restart[0] == conf.restart[1] or not all(CLOCK.fullmatch(t) for t in conf.restart)):
        raise wrong("restart", "[] or two times such as ['23:45', '00:45']")
    try:
        ZoneInfo(conf.restart_zone)
    except (KeyError, OSError, ValueError):
        raise wrong("restart_zone", "a time zone such as America/New_York") from None
    if conf.resume_day:
        try:
            date.fromisoformat(conf.resume_day)
        except ValueError:
            raise wrong("resume_day", "'' or a day such as 2026-01-31") from None
    if both := sorted(set(conf.restricted) & set(conf.close_only)):
        raise ConfigError(f"risk.limits has {both[0]!r} in restricted and in close_only: expected one of them. {FIX}")
