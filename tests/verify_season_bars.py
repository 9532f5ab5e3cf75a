"""Bar columns of family `season` against independent implementations."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import wickra
from feature_seasons import row, run
from verify import Check

DAYS, MINUTES = 6, 390
OFFSET = -300  # minutes of New York from UTC, in winter


@functools.cache
def bars():
    """Six days of one-minute bars, some minutes missing."""
    rng = np.random.default_rng(14)
    return [row(d, m, float(rng.integers(1, 90) * 100), float(rng.exponential(3.0))) for d in range(DAYS) for m in range(MINUTES) if rng.random() < 0.9]


@functools.cache
def columns():
    return run(bars())


@functools.cache
def table():
    data = pd.DataFrame(bars(), columns=["midnight", "open", "close", "begin", "volume", "variance"])
    data["volatility"] = np.sqrt(data.variance)
    data["local"] = pd.to_datetime(data.begin, utc=True).dt.tz_convert("America/New_York")
    return data


def weekday():
    return columns()[:, 0], table().local.dt.day_of_week.to_numpy(float)


def grouped(column, name):
    """Every minute of the day a group; each value against the ewm mean of those before it."""
    by_minute = table().groupby(table().local.dt.time)[name]
    mean = by_minute.transform(lambda x: x.ewm(span=20).mean().shift())
    return columns()[:, column], (table()[name] / mean).to_numpy()


def profile(column, name):
    """wickra's plain mean by time of day is the weighted one after a single day: the second day against the profile of the first."""
    means, theirs, data = wickra.VolumeByTimeProfile(1440, OFFSET), np.full(len(bars()), np.nan), table()
    days = data.local.dt.day.to_numpy()
    minute = (data.local.dt.hour * 60 + data.local.dt.minute).to_numpy()
    last = None
    for i, (begin, x) in enumerate(zip(data.begin, data[name])):
        if days[i] == days[0]:
            last = means.update((1.0, 1.0, 1.0, 1.0, x, begin // 10**6))
        elif days[i] == days[0] + 1 and last[minute[i]] > 0:
            theirs[i] = x / last[minute[i]]
    return columns()[:, column], theirs


MEANS = "sums of few values in another order"
ONE_DAY = "it weighs all days alike, so the second day only; " + MEANS
CHECKS = [
    Check("day_of_week", "pandas day_of_week", weekday, 1e-15, 1e-15, "whole numbers"),
    Check("volume_profile_20d", "pandas groupby ewm", lambda: grouped(1, "volume"), 1e-12, 1e-12, MEANS),
    Check("volume_profile_20d", "wickra VolumeByTimeProfile", lambda: profile(1, "volume"), 1e-12, 1e-12, ONE_DAY),
    Check("volatility_profile_20d", "pandas groupby ewm", lambda: grouped(2, "volatility"), 1e-12, 1e-12, MEANS),
    Check("volatility_profile_20d", "wickra VolumeByTimeProfile", lambda: profile(2, "volatility"), 1e-12, 1e-12, "volatilities as volumes; " + ONE_DAY),
]
