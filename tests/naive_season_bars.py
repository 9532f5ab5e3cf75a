"""Slow twin of the bar columns of family `season`: profiles from a list of days."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta

NAN = math.nan
MINUTE = 60_000_000_000


def weekday(midnight):
    """Of a local midnight in New York; Monday = 0."""
    return (datetime.fromtimestamp(midnight // 10**9, UTC) - timedelta(hours=4)).weekday()


def minute(begin, opened, closed):
    """Minute of the day, or three of them, counted from the open; None = outside the profile."""
    width = MINUTE if closed - opened <= 480 * MINUTE else 3 * MINUTE
    k = math.floor((begin - opened) / width)
    return k if -60 <= k < 480 else None


def earlier_mean(days):
    """Mean over days, each 19/21 of the weight of the next; a day counts as the mean of its values."""
    values = [sum(d) / len(d) for d in days]
    weights = [(19 / 21) ** k for k in range(len(values))][::-1]
    return sum(w * v for w, v in zip(weights, values)) / sum(weights) if values else NAN


def season_bars(rows):
    """Columns of all bars of one lane.

    Parameters
    ----------
    rows : (midnight, open, close of the session, begin of the bar, volume, variance), times in ns UTC
    """
    days: dict[int | None, dict[int, list[tuple[float, float]]]] = defaultdict(dict)  # slot -> day -> bars
    out = []
    for midnight, opened, closed, begin, volume, variance in rows:
        slot = minute(begin, opened, closed)
        line = [float(weekday(midnight)), NAN, NAN]
        x = (volume, math.sqrt(variance))
        for i in range(2):
            mean = earlier_mean([[v[i] for v in values] for day, values in days[slot].items() if day < midnight])
            if slot is not None and mean > 0:
                line[1 + i] = x[i] / mean
        days[slot].setdefault(midnight, []).append(x)
        out.append(line)
    return out
