"""Historical data, historical ticks and 5-second bars of the simulated gateway: what is asked for, and the frames of the answer.

The past is that of the source up to market time; a client in lock step gets it up to the clock frame that it decides at."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from tickarrow.pipeline.simulator_frames import FRACTIONAL_SIZES, frame, utc
from tickarrow.pipeline.simulator_history import SECOND, Bar, Past, begin, make_bars
from tickarrow.pipeline.simulator_rules import NO_CONTRACT, Request, instrument, refused

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_feed import Feed
    from tickarrow.pipeline.simulator_session import Session

STEP = 5 * SECOND  # real-time bars, and updates of a bar that is kept up to date
MOST_TICKS = 1000  # of a request for historical ticks; those of its last second come along
SHOWN = ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK")
SIZES: dict[str, int | str] = {f"{n} secs": n for n in (1, 5, 10, 15, 30)}
SIZES |= {"1 min": 60} | {f"{n} mins": 60 * n for n in (2, 3, 5, 10, 15, 20, 30)} | {"1 hour": 3600}
SIZES |= {f"{n} hours": 3600 * n for n in (2, 3, 4, 8)} | {"1 day": 86_400, "1 week": "week", "1W": "week", "1 month": "month", "1M": "month"}
UNITS = {"S": 1, "D": 86_400, "W": 7 * 86_400, "M": 30 * 86_400, "Y": 365 * 86_400}  # seconds
INVALID = "Error validating request: "


def time_ns(text: str) -> int:
    """Time of a request in ns UTC: `20131008 14:00:00 ZONE`, without a zone or as `20131008-14:00:00` UTC. ValueError for any other."""
    day, _, rest = text.replace("-", " ").partition(" ")
    clock, _, zone = rest.strip().partition(" ")
    try:
        t = datetime.datetime.strptime(day + clock, "%Y%m%d%H:%M:%S").replace(tzinfo=ZoneInfo(zone.strip() or "UTC"))
    except (ZoneInfoNotFoundError, OSError) as e:
        raise ValueError(str(e)) from None
    if not 1970 < t.year < 2262:
        raise ValueError(f"{text}: int64 nanoseconds reach from 1970 to 2262")
    return int(t.timestamp()) * SECOND


def time_text(ns: int, form: int, daily: bool = False) -> str:
    """Time of an answer: form 1 a date and time, 2 seconds since 1970; of a bar of a day or more the date."""
    if daily:
        return f"{utc(ns):%Y%m%d}"
    return str(ns // SECOND) if form == 2 else f"{utc(ns):%Y%m%d %H:%M:%S} UTC"


def size_text(x: float, version: int) -> float | int:
    return x if version >= FRACTIONAL_SIZES else int(x)


@dataclass(frozen=True, slots=True)
class Stream:
    """Bars that go on: real-time ones, or a historical request that is kept up to date."""

    symbol: int
    what: str
    regular: bool
    kept: bool = False
    size: int | str = 5
    form: int = 1


class Bars:
    """Requests of a feed for bars that go on; every five seconds of market time each of them gets its bar."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.requests: dict[tuple[Session, int], Stream] = {}
        self._armed = False

    def add(self, s: Session, req: int, stream: Stream) -> None:
        self.requests[s, req] = stream
        self._arm()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            self.feed.at(begin(self.feed.now, STEP // SECOND) + STEP, self._send)

    def _send(self) -> None:
        self._armed = False
        for (s, req), stream in list(self.requests.items()):
            if s.closed:
                del self.requests[s, req]
            elif s.silent(stream.symbol):
                continue
            elif stream.kept:
                s.send(_update(self.feed, s.version, req, stream))
            else:
                s.send_data(_five_seconds(self.feed, s.version, req, stream))
        if self.requests:
            self._arm()


def _five_seconds(feed: Feed, version: int, req: int, stream: Stream) -> list[bytes]:
    """The bar of the five seconds that are over; without a trade the price before them. Nothing before the first price."""
    lo, hi = feed.now - STEP, feed.now
    past = feed.history.past(stream.symbol, hi - 1).between(lo, hi, before=1)
    past = past.regular() if stream.regular else past
    if found := make_bars(past, stream.what, 5, lo, hi):
        b = found[0]
    else:
        _, prices = past.line(stream.what)
        if not len(prices):
            return []
        p = float(prices[-1])
        b = Bar(lo, p, p, p, p, 0.0, p, 0)
    return [frame(50, 3, req, lo // SECOND, b.open, b.high, b.low, b.close, size_text(b.volume, version), b.average, b.count)]


def _update(feed: Feed, version: int, req: int, stream: Stream) -> bytes:
    """The bar that is being made, or has just been finished."""
    hi = feed.now
    lo = begin(hi - 1, stream.size)
    past = feed.history.past(stream.symbol, hi - 1).between(lo, hi, before=1)
    past = past.regular() if stream.regular else past
    if not (found := make_bars(past, stream.what, stream.size, lo, hi)):
        return b""
    b = found[-1]
    date = time_text(b.ts, stream.form, not (isinstance(stream.size, int) and stream.size < 86_400))
    return frame(90, req, b.count, date, b.open, b.close, b.high, b.low, b.average, size_text(b.volume, version))


def _until(s: Session) -> int:
    """Up to when the client may know the market."""
    if s.lock is not None:
        return s.lock.decision_ts() - (s.lock.acknowledged < 0)
    return s.feed.market_now() if s.feed.begun else s.feed.source.start_ns - 1


def historical_data(s: Session, request: Request) -> None:
    req, i = request.whole(1), instrument(s, request, 2)
    end, bar, duration, regular, what, form, kept = (*request[15:18], request[18] == "1", request[19], request.whole(20), request[21] == "1")
    number, _, unit = duration.partition(" ")
    until = _until(s)
    try:
        hi = time_ns(end) if end else until + 1
    except ValueError:
        s.error(req, 10314, "End Date/Time: The date, time, or time-zone entered is invalid. Write 20131008 14:00:00 US/Eastern or -, in UTC.")
        return
    wrong = None
    if bar not in SIZES:
        wrong = 321, f"{INVALID}bar size {bar!r} is none of {', '.join(SIZES)}"
    elif not (number.isdecimal() and unit in UNITS):
        wrong = 321, f"{INVALID}duration {duration!r} is not a number and one of S, D, W, M, Y"
    elif what not in SHOWN:
        wrong = 321, f"{INVALID}whatToShow {what!r} is none of {', '.join(SHOWN)}"
    elif form not in (1, 2):
        wrong = 321, f"{INVALID}date format {form} is neither 1 nor 2"
    elif kept and end:
        wrong = 321, f"{INVALID}a request that is kept up to date has no end time"
    rules = s.simulator.rules
    if refused(s, req, rules.new_id(s, req), None if i else NO_CONTRACT, wrong):
        return
    assert i is not None
    key, weight = (i.row, request[9], what), 1 + (what == "BID_ASK")
    if refused(s, req, rules.historical(s, key, tuple(request[2:]), weight), rules.historical_open() if kept else None):
        return
    lo = max(hi - int(number) * UNITS[unit] * SECOND, 0)
    past = s.feed.history.past(i.row, until)
    size = SIZES[bar]
    found = make_bars(past.regular() if regular else past, what, size, lo, min(hi, until + 1))
    if not found and not kept:
        s.error(req, 162, f"Historical Market Data Service error message:HMDS query returned no data: {i.symbol}@SMART {what.title()}")
        return
    daily = not (isinstance(size, int) and size < 86_400)
    fields: list[object] = [17, req, time_text(lo, 1), time_text(hi, 1), len(found)]
    for b in found:
        fields += [time_text(b.ts, form, daily), b.open, b.high, b.low, b.close, size_text(b.volume, s.version), b.average, b.count]
    s.send(frame(*fields))
    if kept:
        stream = Stream(i.row, what, regular, True, size, form)
        if s.lock is None or s.lock.acknowledged < 0:
            s.feed.bars.add(s, req, stream)
        else:
            s.feed.submit(s, lambda: s.feed.bars.add(s, req, stream))  # when it begins must not depend on how far the market is ahead
        s.feed.open_soon()


def cancel_historical(s: Session, request: Request) -> None:
    req = request.whole(2)
    if s.feed.bars.requests.pop((s, req), None) is None:
        s.error(req, 366, f"No historical data query found for ticker id:{req}")
    else:
        s.error(req, 162, f"Historical Market Data Service error message:API historical data query cancelled: {req}")


def head_timestamp(s: Session, request: Request) -> None:
    """When the data of a contract begin."""
    req, i = request.whole(1), instrument(s, request, 2)
    regular, what, form = request[15] == "1", request[16], request.whole(17)
    wrong = None if what in SHOWN else (321, f"{INVALID}whatToShow {what!r} is none of {', '.join(SHOWN)}")
    rules = s.simulator.rules
    if refused(s, req, None if i else NO_CONTRACT, wrong):
        return
    assert i is not None
    if refused(s, req, rules.historical(s, (i.row, "head", what), ("head", *request[2:]))):
        return
    past = s.feed.history.past(i.row, _until(s))
    ts, _ = (past.regular() if regular else past).line("MIDPOINT" if what == "BID_ASK" else what)
    if not len(ts):
        s.error(req, 162, f"Historical Market Data Service error message:No head time stamp: {i.symbol}@SMART {what.title()}")
        return
    s.send(frame(88, req, time_text(int(ts[0]), form)))


def historical_ticks(s: Session, request: Request) -> None:
    req, i = request.whole(1), instrument(s, request, 2)
    start, end, number, what = request[15], request[16], request.whole(17), request[18]
    regular, ignore_size = request[19] == "1", request[20] == "1"
    until, wrong = _until(s), None
    lo, hi = 0, until + 1
    try:
        lo, hi = time_ns(start) if start else lo, time_ns(end) if end else hi
    except ValueError:
        wrong = 10187, "Failed to request historical ticks:Invalid start or end time"
    if bool(start) == bool(end):
        wrong = 10187, "Failed to request historical ticks:Exactly one of start and end time is needed"
    elif not 0 < number <= MOST_TICKS:
        wrong = 10187, f"Failed to request historical ticks:Number of ticks must be from 1 to {MOST_TICKS}"
    elif what not in ("TRADES", "MIDPOINT", "BID_ASK"):
        wrong = 321, f"{INVALID}whatToShow {what!r} is none of TRADES, MIDPOINT, BID_ASK"
    rules = s.simulator.rules
    if refused(s, req, None if i else NO_CONTRACT, wrong):
        return
    assert i is not None
    if refused(s, req, rules.historical(s, (i.row, request[9], what), tuple(request[2:]), 1 + (what == "BID_ASK"))):
        return
    past = s.feed.history.past(i.row, until).between(lo, min(hi, until + 1))
    s.send(_ticks(past.regular() if regular else past, req, what, number, bool(start), ignore_size, s.version))


def _ticks(past: Past, req: int, what: str, number: int, first: bool, ignore_size: bool, version: int) -> bytes:
    """The first or last `number` ticks, and the others of the second at which they are cut."""
    if what == "TRADES":
        at = np.flatnonzero(~np.isnan(past.price))
    else:
        at = np.flatnonzero(~np.isnan(past.bid + past.ask))
        moved = np.ones(len(at), bool)
        if what == "MIDPOINT" or ignore_size:
            moved[1:] = (np.diff(past.bid[at]) != 0) | (np.diff(past.ask[at]) != 0)
        at = at[moved]
    seconds = (past.trade_ts if what == "TRADES" else past.quote_ts)[at] // SECOND
    if len(at) > number:
        cut = seconds <= seconds[number - 1] if first else seconds >= seconds[-number]
        at, seconds = at[cut], seconds[cut]
    fields: list[object] = [{"TRADES": 98, "BID_ASK": 97, "MIDPOINT": 96}[what], req, len(at)]
    for t, k in zip(seconds.tolist(), at.tolist()):
        if what == "TRADES":
            fields += [t, 0, float(past.price[k]), size_text(float(past.size[k]), version), "SIM", ""]
        elif what == "MIDPOINT":
            fields += [t, 0, (float(past.bid[k]) + float(past.ask[k])) / 2.0, 0]
        else:
            sizes = (size_text(float(np.nan_to_num(x[k])), version) for x in (past.bid_size, past.ask_size))
            fields += [t, 0, float(past.bid[k]), float(past.ask[k]), *sizes]
    return frame(*fields, 1)


def real_time_bars(s: Session, request: Request) -> None:
    req, i = request.whole(2), instrument(s, request, 3)
    size, what, regular = request.whole(15), request[16], request[17] == "1"
    wrong = None
    if size != 5:
        wrong = 321, f"{INVALID}real-time bars are of 5 seconds, not {size}"
    elif what not in SHOWN[:4]:
        wrong = 321, f"{INVALID}whatToShow {what!r} is none of {', '.join(SHOWN[:4])}"
    rules = s.simulator.rules
    if refused(s, req, rules.new_id(s, req), None if i else NO_CONTRACT, wrong, rules.line()):
        return
    assert i is not None
    s.feed.bars.add(s, req, Stream(i.row, what, regular))
    s.feed.open_soon()


def cancel_bars(s: Session, request: Request) -> None:
    req = request.whole(2)
    if s.feed.bars.requests.pop((s, req), None) is None:
        s.error(req, 300, f"Can't find EId with tickerId:{req}")
