"""Checks of the tick clock of family `season`."""

from __future__ import annotations

import functools

import exchange_calendars
import numpy as np
import pandas as pd
from feature_run import run
from feature_ticks import NAN
from naive_features import QUOTE, Tick
from verify import Check

from tickarrow.jit.season import FAMILY
from tickarrow.pipeline.calendar import sessions

NAMES = [c.name for c in FAMILY.columns(())]
RANGES = (
    ("XNYS", "2025-02-26", "2025-03-22"), ("XNYS", "2025-10-24", "2026-01-05"), ("XLON", "2025-12-18", "2026-04-10"), ("XHKG", "2025-12-18", "2026-01-05"),
)  # fmt: skip


@functools.cache
def rows():
    """Ours (n, 5), and theirs by column: random times of trading days with changes of the clock, early closes and holidays in between."""
    rng = np.random.default_rng(4)
    ours, theirs = [], []
    for name, begin, end in RANGES:
        first, last = pd.Timestamp(begin), pd.Timestamp(end)
        calendar = exchange_calendars.get_calendar(name, start=first - pd.Timedelta(days=10), end=last + pd.Timedelta(days=10))
        low, high = first.as_unit("ns").value, last.as_unit("ns").value
        edges = np.concatenate([calendar.opens_nanos, calendar.closes_nanos])
        edges = edges[(edges > low) & (edges < high)]
        times = np.sort(np.concatenate([rng.integers(low, high, 900), edges, edges - 1]))
        local = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).tz_convert(calendar.tz)
        keep = np.array([calendar.is_session(d) for d in local.normalize().tz_localize(None)])
        times, local = times[keep], local[keep]
        ticks = [Tick(int(t), 0, QUOTE, 99.99, 1.0, 100.01, 1.0, NAN, NAN) for t in times]
        ours.append(run(FAMILY, ticks, days=sessions(name, int(times[0]), int(times[-1])))[1])
        theirs += [of(calendar, ts) for ts in local]
    return np.concatenate(ours), {k: np.array([t[k] for t in theirs]) for k in NAMES}


def of(calendar, ts):
    """What the calendar says of a local time on a trading day."""
    day = ts.normalize().tz_localize(None)
    begin, end = calendar.session_open(day), calendar.session_close(day)
    minute, half = pd.Timedelta(minutes=1), pd.Timedelta(minutes=30)
    phase = 0.0 if ts < begin else 4.0
    if calendar.is_open_at_time(ts.tz_convert("UTC"), side="left", ignore_breaks=True):
        phase = 1.0 if ts < begin + half else 3.0 if ts >= end - half else 2.0
    angle = 2 * np.pi * (ts.hour * 60 + ts.minute) / 1440
    return dict(zip(NAMES, (np.sin(angle), np.cos(angle), (ts - begin) / minute, (end - ts) / minute, phase)))


def check(column, library, rtol, atol, why):
    return Check(column, library, lambda: (rows()[0][:, NAMES.index(column)], rows()[1][column]), rtol, atol, why)


CHECKS = [
    check("day_sin", "numpy sin, pandas tz_convert", 1e-15, 1e-15, "the angle of numpy is rounded"),
    check("day_cos", "numpy cos, pandas tz_convert", 1e-15, 1e-15, "the angle of numpy is rounded"),
    check("minutes_from_open", "exchange_calendars session_open", 1e-15, 1e-12, "one division, rounded"),
    check("minutes_to_close", "exchange_calendars session_close", 1e-15, 1e-12, "one division, rounded"),
    check("session_phase", "exchange_calendars is_open_at_time", 1e-15, 1e-15, "whole numbers"),
]
