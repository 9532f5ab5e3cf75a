"""When an exchange trades: the watchdog counts silence only then. Regular hours of `exchange_calendars`, with holidays, early closes and
lunch breaks; before and after them a feed may be as quiet as it likes."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.errors import ConfigError

DAYS_AHEAD = 400  # a run that lasts longer sees the exchange as closed


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
        import exchange_calendars  # takes 0.4 s: only where somebody asks
        import pandas as pd
        from exchange_calendars.errors import InvalidCalendarName

        day = pd.Timestamp(now_ns, unit="ns").normalize()
        try:
            calendar = exchange_calendars.get_calendar(name, start=day - pd.Timedelta(days=7), end=day + pd.Timedelta(days=DAYS_AHEAD))
        except InvalidCalendarName:
            raise ConfigError(f"gateway.calendar is {name!r}: no such exchange. Use an ISO code such as XNYS, or '' for always open.") from None
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
