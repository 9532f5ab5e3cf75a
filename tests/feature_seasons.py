"""Runs the bar columns of family `season` over bars of chosen minutes of chosen days."""

from __future__ import annotations

import numpy as np
from feature_run import DAY, MIDNIGHT

from tickarrow.jit import event
from tickarrow.jit import season_bars as kernels
from tickarrow.jit.bars import BEGIN, END, VARIANCE, VOLUME

MINUTE = 60_000_000_000
FIRST = MIDNIGHT + DAY  # 14 November 2023, a Tuesday


def row(day, minute, volume=0.0, variance=0.0, hours=6.5):
    """A bar that begins `minute` minutes after the open of day `day`: (midnight, open, close, begin, volume, variance)."""
    midnight = FIRST + day * DAY
    opened = midnight + 570 * MINUTE
    return midnight, opened, opened + round(hours * 60) * MINUTE, opened + minute * MINUTE, volume, variance


def run(rows, session=0, first=0, dirty=False):
    """(n, 3) columns of one lane after every bar.

    Parameters
    ----------
    session : of the clock, -1 = before the first
    first : number of the first bar of the lane
    dirty : the state is not new at the first bar
    """
    f, q = np.full((kernels.F_ROWS, 1), 7.0 * dirty), np.full((kernels.Q_ROWS, 1), 3 * dirty, np.int64)
    flow, when, clock, out = np.zeros((5, 1)), np.zeros((2, 1), np.int64), np.zeros(1, event.CLOCK)[0], np.full((1, 3), np.nan)
    price, base, unit = np.zeros((4, 1), np.int64), np.full(1, 10_000), np.full(1, 1e-4)
    result = []
    for i, (midnight, opened, closed, begin, volume, variance) in enumerate(rows):
        clock.session, clock.midnight, clock.open, clock.close = session, midnight, opened, closed
        clock.weekday = (midnight // DAY + 3) % 7
        flow[VOLUME], flow[VARIANCE], when[BEGIN], when[END] = volume, variance, begin, begin + MINUTE
        kernels.season_bars(f, q, price, flow, base, unit, np.array([max(i - first, -1)]), when, clock, 0, 1, i, out)
        result.append(out[0].copy())
    return np.array(result)
