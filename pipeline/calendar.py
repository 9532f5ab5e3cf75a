"""When an exchange trades: sessions for the features, and hours for the watchdog, which counts silence only then. Regular hours of
`exchange_calendars`, with holidays, early closes and lunch breaks; before and after them a feed may be as quiet as it likes."""

from __future__ import annotations

import functools
from bisect import bisect_right
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.errors import ConfigError, near

DAYS_AHEAD = 400  # a run that lasts longer sees the exchange as closed
DAY = 86_400_000_000_000  # ns


def _exchange(name: str, first: Any, last: Any, setting: str) -> Any:
    """The calendar of an exchange between two days, cut to the days that `exchange_calendars` knows.

    Parameters
    ----------
    first, last : what pandas.Timestamp takes
    setting : the setting that has the name, for the message

    Raises
    ------
    ConfigError : there is no such exchange, or nothing is known of these days
    """
    import exchange_calendars  # takes 0.4 s: only where somebody asks
    import pandas as pd
    from exchange_calendars.errors import InvalidCalendarName, NoSessionsError

    make = exchange_calendars.get_calendar
    first, last = pd.Timestamp(first).normalize(), pd.Timestamp(last).normalize()
    try:
        try:
            return make(name, start=first, end=last)
        except ValueError:  # beyond the days it knows: holidays of Shanghai are published a year at a time
            kind = type(make(name))
            cut = max(first, kind.bound_min() or first), min(last, kind.bound_max() or last)
            if cut == (first, last) or cut[0] > cut[1]:
                raise
            return make(name, start=cut[0], end=cut[1])
    except InvalidCalendarName:
        meant = near(name, exchange_calendars.get_calendar_names())
        raise ConfigError(f"{setting} is {name!r}: no such exchange. Use an ISO code such as XNYS, or '' for always open. {meant}") from None
    except (ValueError, NotImplementedError, NoSessionsError) as problem:
        raise ConfigError(
            f"{setting} is {name!r}: exchange_calendars has no sessions of it from {first:%Y-%m-%d} to {last:%Y-%m-%d} ({str(problem)[:120]}). "
            "Use another exchange with the same hours, or '' for always open."
        ) from None


@functools.lru_cache(8)
def _years(name: str, first: int, last: int) -> npt.NDArray[np.int64]:
    """`sessions` of whole years, both included."""
    days = _exchange(name, f"{first}-01-01", f"{last}-12-31", "features.calendar")
    once = np.ones(len(days.sessions), bool)  # a midnight that the clock shows twice is the first, one that it skips is the moment after
    midnight = days.sessions.tz_localize(days.tz, ambiguous=once, nonexistent="shift_forward").as_unit("ns").asi8
    return np.ascontiguousarray(np.stack([midnight, days.opens_nanos, days.closes_nanos, days.sessions.day_of_week], axis=1), np.int64)


def sessions(name: str, first_ns: int, last_ns: int) -> npt.NDArray[np.int64]:
    """Trading days for the clock of `jit/event.py`.

    Parameters
    ----------
    name : ISO code such as XNYS; empty = always open: days of UTC, from midnight to midnight
    first_ns, last_ns : ns UTC; the rows begin with the session before the one that `first_ns` is in and go past `last_ns`, as far as the
        calendar is known. A tick before the first row has no session; the last row holds for ever.

    Returns
    -------
    (n, 4) int64: MIDNIGHT, OPEN and CLOSE in ns UTC, WEEKDAY of the trading day, Monday = 0. Midnight is the exchange's. Early closes are
    in CLOSE; a lunch break is part of the session. Where the exchange opens the evening before (CMES), OPEN is before MIDNIGHT.

    Raises
    ------
    ConfigError : there is no such exchange (features.calendar)
    """
    last_ns = max(first_ns, last_ns)
    if not name:
        midnight = DAY * np.arange(first_ns // DAY - 1, last_ns // DAY + 2, dtype=np.int64)
        return np.stack([midnight, midnight, midnight + DAY, (midnight // DAY + 3) % 7], axis=1)  # 1970-01-01 was a Thursday
    first, last = (datetime.fromtimestamp(t // 1_000_000_000, UTC).year for t in (first_ns, last_ns))
    days = _years(name, first - 1, last + 1)
    begin = days[:, :2].min(1)
    lo, hi = np.searchsorted(begin, [first_ns, last_ns], "right")
    return days[max(lo - 2, 0) : hi + 1].copy()


class Hours:
    """Trading hours of one exchange.

    Parameters
    ----------
    name : ISO code such as XNYS; empty = always open
    now_ns : ns UTC, about the time of the first question
    """

    def __init__(self, name: str, now_ns: int) -> None:
        self.name = name
        self._edges: list[int] = []  # opens and closes in turn, ns UTC
        if not name:
            return
        now = np.datetime64(now_ns, "ns")
        calendar = _exchange(name, now - np.timedelta64(7, "D"), now + np.timedelta64(DAYS_AHEAD, "D"), "gateway.calendar")
        columns = (calendar.opens_nanos, calendar.break_starts_nanos, calendar.break_ends_nanos, calendar.closes_nanos)
        for opens, pause, resumes, closes in zip(*(c.tolist() for c in columns)):
            self._edges += [opens, closes] if pause < 0 else [opens, pause, resumes, closes]

    def is_open(self, ts_ns: int) -> bool:
        """Whether the exchange trades at this moment (ns UTC); it does at the open, no more at the close."""
        return not self.name or bisect_right(self._edges, ts_ns) % 2 == 1

    def open_s(self, ts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Seconds that the exchange has been open up to each moment (ns UTC); only differences mean something."""
        if not self.name:
            return ts / 1e9
        lengths = np.diff(np.array(self._edges, np.int64)) / 1e9
        lengths[1::2] = 0.0  # closed
        opened: npt.NDArray[np.float64] = np.interp(ts, self._edges, np.append(0.0, np.cumsum(lengths)))
        return opened
