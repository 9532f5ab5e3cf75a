"""Feature family `season`: what time it is for the exchange (5 columns of the tick clock, which follow from the row and its session, so that
there is no state), and what is usual at that time (3 of the bar clock, see `season_bars.py`)."""

from decimal import Decimal, localcontext

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.season_bars import BAR_COLUMNS, F_ROWS, Q_ROWS, season_bars

MINUTE = 60_000_000_000  # ns
MINUTES = 1440  # of a day
EDGE = 30 * MINUTE  # length of the first and of the last phase of a session
PI = "3.14159265358979323846264338327950288419716939937511"

SEASON_STATE = record([("nothing", "i8")])  # a record cannot be empty


def _circle() -> np.ndarray:
    """(1440, 2): sine and cosine of the minutes of a day, the nearest float64 to each. Not of libm, which differs between machines."""
    quarter = [0.0]
    with localcontext() as c:
        c.prec = 50
        angle = 2 * Decimal(PI) / MINUTES
        powers = [Decimal(1)]
        for n in range(1, 24):
            powers.append(powers[-1] * angle / n)
        sin1, cos1 = powers[1] - powers[3], powers[0] - powers[2]
        for n in range(4, 24, 4):
            cos1 += powers[n] - powers[n + 2]
            sin1 += powers[n + 1] - powers[n + 3]
        sin, cos = Decimal(0), Decimal(1)
        for _ in range(MINUTES // 4):  # a turn by one minute; 360 of them keep more than 45 digits
            sin, cos = sin * cos1 + cos * sin1, cos * cos1 - sin * sin1
            quarter.append(float(sin))
    half = quarter + quarter[-2:0:-1]
    whole = np.array(half + [0.0 - x for x in half])
    return np.stack([whole, np.roll(whole, -MINUTES // 4)], axis=1)


CIRCLE = _circle()


@kernel("SEASON_STATE, EVENT, i8[:]")
def season_step(s, e, w):
    """Nothing to bring forward: the columns are those of the row alone."""


@kernel("SEASON_STATE, EVENT, i8[:], out f8[:], i8")
def season_emit(s, e, w, v, at):
    """Write the columns for the row in `e`.

    Parameters
    ----------
    s : SEASON_STATE, not read
    e : EVENT; the time and the session of the row are read
    w : (0,) int64, no windows
    v : (n,) float64, columns are written to v[at] ... v[at + 4]
    at : int64

    Notes
    -----
    0 day_sin            sin(2 pi k / 1440), k the minute of the exchange's day that the row is in, 0 from midnight
    1 day_cos            cos(2 pi k / 1440)
    2 minutes_from_open  (t - open) / 60 s; negative before the open, and goes on past the close until the next session begins
    3 minutes_to_close   (close - t) / 60 s; the close of this day, also an early one; negative from the close on
    4 session_phase      0 before the open, 1 first 30 minutes, 2 middle, 3 last 30 minutes, 4 from the close on

    A lunch break is a part of the session. A session shorter than an hour has no middle, and its last phase is what the first one leaves. On days
    without trading the session before them goes on. NaN: all, before the first session that the calendar knows.
    """
    if e.session < 0:
        for k in range(5):
            v[at + k] = np.nan
        return
    minute = (e.ts - e.midnight) // MINUTE % MINUTES
    v[at] = CIRCLE[minute, 0]
    v[at + 1] = CIRCLE[minute, 1]
    v[at + 2] = float(e.ts - e.open) / MINUTE
    v[at + 3] = float(e.close - e.ts) / MINUTE
    phase = 2.0
    if e.ts < e.open:
        phase = 0.0
    elif e.ts >= e.close:
        phase = 4.0
    elif e.ts - e.open < EDGE:
        phase = 1.0
    elif e.close - e.ts <= EDGE:
        phase = 3.0
    v[at + 4] = phase


def columns(tau_s):
    """Columns of `season_emit`; there are no windows."""
    nan = "NaN before the first session of the calendar"
    return [
        Column("day_sin", "1", "sin(2 pi k / 1440), k minute of the exchange's day", "", "", nan, "numpy sin, pandas tz_convert"),
        Column("day_cos", "1", "cos(2 pi k / 1440)", "", "", nan, "numpy cos, pandas tz_convert"),
        Column("minutes_from_open", "min", "(t - open) / 60 s; negative before the open", "", "session", nan, "exchange_calendars session_open"),
        Column("minutes_to_close", "min", "(close - t) / 60 s; early closes; negative from the close on", "", "session", nan,
               "exchange_calendars session_close"),
        Column("session_phase", "1", "0 before the open, 1 first 30 min, 2 middle, 3 last 30 min, 4 from the close on", "", "session", nan,
               "exchange_calendars is_open_at_time"),
    ]  # fmt: skip


FAMILY = Family(
    "season", 1, columns, state=SEASON_STATE, step=season_step, emit=season_emit, f_rows=F_ROWS, q_rows=Q_ROWS, bars=season_bars, bar_columns=BAR_COLUMNS
)
