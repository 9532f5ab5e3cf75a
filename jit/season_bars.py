"""Family `season`, bar clock: the day of the week, and a bar's volume and volatility against what is usual at its minute (3 columns)."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.bars import BEGIN, VARIANCE, VOLUME
from tickarrow.jit.event import CLOCK
from tickarrow.jit.feature import Column
from tickarrow.jit.moments import FORGOTTEN

MINUTE = 60_000_000_000  # ns
SLOTS = 540  # of a day: from 60 before the open to 480 after it
BEFORE = 60
LONG_DAY = 480 * MINUTE  # a session longer than this has slots of 3 minutes, so that 540 of them hold it whole
EARLIER = 19.0 / 21.0  # a day's weight against that of the day after it: 1 - 2 / (20 + 1)

# Rows of f: of each slot the weight and the mean of both quantities over earlier days; their sums over today's bars of the slot that is open
WEIGHT, MEANS, VOLATILITIES, TODAY = 0, SLOTS, 2 * SLOTS, 3 * SLOTS
F_ROWS = TODAY + 2
SLOT, MIDNIGHT, BARS = range(3)  # rows of q: the slot that is open and its day, -1 = none; bars in it
Q_ROWS = 3

NAN = "NaN until one earlier day, and more than 60 min before or 480 min after the open (3 times that in sessions longer than 8 h)"
BAR_COLUMNS = (
    Column("day_of_week", "1", "Monday = 0", "", "", "NaN before the first session of the calendar", "pandas day_of_week"),
    Column(
        "volume_profile_20d", "1", "volume / EW mean over earlier days of the bars that begin in the same minute after the open",
        "Andersen and Bollerslev (1997)", "20 days", NAN,
        "wickra VolumeByTimeProfile; pandas groupby ewm", "every trade",
    ),
    Column(
        "volatility_profile_20d", "1", "sqrt(sum r^2 within the bar) / EW mean over earlier days, as volume_profile_20d",
        "Andersen and Bollerslev (1997)", "20 days", NAN,
        "wickra VolumeByTimeProfile; pandas groupby ewm",
    ),
)  # fmt: skip


@kernel("i8, i8, i8", inline=True)
def slot_point(ts, opened, closed):
    """Slot of a time of day, -1 = outside; all ns UTC."""
    width = MINUTE if closed - opened <= LONG_DAY else 3 * MINUTE
    slot = (ts - opened + BEFORE * width) // width
    return slot if 0 <= slot < SLOTS else -1


@kernel("out f8[:,:], out i8[:,:], i8", inline=True)
def fold_point(f, q, k):
    """Today's bars of the open slot of lane k become a day of its profile: their mean, with weight 1."""
    slot = q[SLOT, k]
    if slot < 0 or q[BARS, k] == 0:
        return
    weight = 1.0 + EARLIER * f[WEIGHT + slot, k]
    f[WEIGHT + slot, k] = weight
    for i in range(2):
        row = MEANS + i * SLOTS + slot
        f[row, k] += (f[TODAY + i, k] / float(q[BARS, k]) - f[row, k]) / weight


@kernel("out f8[:,:], out i8[:,:], i8[:,:], f8[:,:], i8[:], f8[:], i8[:], i8[:,:], CLOCK, i8, i8, i8, out f8[:,:]")
def season_bars(f, q, price, flow, base, unit, n, when, clock, lo, hi, pos, out):
    """Columns of the bars that closed in lanes [lo, hi), see `BAR_COLUMNS`.

    Parameters
    ----------
    f : (F_ROWS, S) float64, q : (Q_ROWS, S) int64, updated in place
    price : (4, S) int64, flow : (5, S) float64, base : (S,) int64, unit : (S,) float64, n : (S,) int64, when : (2, S) int64, clock : CLOCK,
        lo, hi, pos : see `bars`; the clock tells the session in which the bar ended
    out : (S, 3) float64. All NaN before the first session; 1 and 2 without an earlier day at that minute, where the mean of the earlier days is 0,
        and outside the profile

    Notes
    -----
    A slot is a minute of the day counted from the open, 60 before it to 480 after it, so that a change of summer time moves nothing; a session of
    more than eight hours has slots of three minutes. A bar belongs to the slot in which it begins. Earlier days weigh 19/21 for each day in
    which the slot had a bar. A day enters as the mean of its bars in the slot, and only when the slot is over: a bar is never compared with its
    own day. Bars longer than a minute meet the same slots every day if their length divides the day.
    Memory: 13 KB a lane.

    References
    ----------
    Andersen and Bollerslev (1997), Intraday periodicity and volatility persistence in financial markets.
    """
    for k in range(lo, hi):
        if n[k] < 0:
            continue
        if n[k] == 0:
            for i in range(SLOTS):
                f[WEIGHT + i, k] = 0.0
                f[MEANS + i, k] = 0.0
                f[VOLATILITIES + i, k] = 0.0
            q[SLOT, k] = -1
        for i in range(3):
            out[k, i] = np.nan
        slot = np.int64(-1)
        if clock.session >= 0:
            out[k, 0] = float(clock.weekday)
            slot = slot_point(when[BEGIN, k], clock.open, clock.close)
        if slot != q[SLOT, k] or clock.midnight != q[MIDNIGHT, k]:
            fold_point(f, q, k)
            q[SLOT, k], q[MIDNIGHT, k], q[BARS, k] = slot, clock.midnight, 0
            f[TODAY, k] = 0.0
            f[TODAY + 1, k] = 0.0
        if slot < 0:
            continue
        volatility = np.sqrt(flow[VARIANCE, k])
        if f[WEIGHT + slot, k] > FORGOTTEN:
            if f[MEANS + slot, k] > FORGOTTEN:
                out[k, 1] = flow[VOLUME, k] / f[MEANS + slot, k]
            if f[VOLATILITIES + slot, k] > FORGOTTEN:
                out[k, 2] = volatility / f[VOLATILITIES + slot, k]
        f[TODAY, k] += flow[VOLUME, k]
        f[TODAY + 1, k] += volatility
        q[BARS, k] += 1
