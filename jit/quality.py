"""Feature family `quality`: what is to be thought of the quote itself (8 columns): crossed, locked, halted, delayed, stale, after lost data."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import SAME
from tickarrow.jit.points import age_point

# Bits of column `flags` of TICKS
DELAYED = 8 | 16  # late, or the last quote of a closed market
HALTED = 32
STALE = 128 | 256  # not refreshed since data was lost, or silent for too long
GAP = 4096

QUALITY_STATE = record(
    [
        ("gap_ts", "i8"),  # of the last row after lost data
        ("lost", "?"),  # there was one
    ]
)


@kernel("i8, i8", inline=True)
def bit_point(flags, bits):
    """1 if any of the bits is on, else 0."""
    return 1.0 if flags & bits else 0.0


@kernel("QUALITY_STATE, EVENT, i8[:]")
def quality_step(s, e, w):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : QUALITY_STATE of the symbol, updated in place
    e : EVENT
    w : (0,) int64, no windows
    """
    if np.int64(e.quality) & GAP:
        s.gap_ts = e.ts
        s.lost = True


@kernel("QUALITY_STATE, EVENT, i8[:], out f8[:], i8")
def quality_emit(s, e, w, v, at):
    """Write the columns for the row in `e`.

    Parameters
    ----------
    s : QUALITY_STATE of the symbol
    e : EVENT of the row that is due
    w : (0,) int64, no windows
    v : (n,) float64, columns are written to v[at] ... v[at + 7]
    at : int64

    Notes
    -----
    0 is_crossed  b > a; NaN without both sides
    1 is_locked   b = a; NaN without both sides
    2 is_halted   trading is halted
    3 is_delayed  the quote is delayed or frozen
    4 is_stale    the quote is stale or uncertain
    5 has_gap     this row is the symbol's first after data was lost
    6 feed_code   where the row comes from, a number of schemas.Feed
    7 since_gap   ln(1 + seconds since the symbol's last row with 5, of a quote or trade); NaN before one

    2 to 5 are of the flags of this row, 1 or 0. Two prices that differ by less than 1e-6 tick are equal.
    """
    flags = np.int64(e.quality)
    width = e.ask - e.bid
    near = SAME * e.tick_size
    crossed = locked = since = np.nan
    if width == width:
        crossed = 1.0 if width < -near else 0.0
        locked = 1.0 if abs(width) <= near else 0.0
    if s.lost:
        since = age_point(e.ts - s.gap_ts)
    v[at] = crossed
    v[at + 1] = locked
    v[at + 2] = bit_point(flags, HALTED)
    v[at + 3] = bit_point(flags, DELAYED)
    v[at + 4] = bit_point(flags, STALE)
    v[at + 5] = bit_point(flags, GAP)
    v[at + 6] = float(e.feed)
    v[at + 7] = since


def columns(tau_s):
    """Columns of `quality_emit`; there are no windows."""
    sided = "NaN without both sides"
    return [
        Column("is_crossed", "1", "1[b > a]", "", "", sided, "numpy"),
        Column("is_locked", "1", "1[b = a]", "", "", sided, "numpy"),
        Column("is_halted", "1", "flag HALTED", "", "", "", "pandas"),
        Column("is_delayed", "1", "flag DELAYED or FROZEN", "", "", "", "pandas"),
        Column("is_stale", "1", "flag STALE or UNCERTAIN", "", "", "", "pandas"),
        Column("has_gap", "1", "flag GAP: first row after data was lost", "", "", "", "pandas"),
        Column("feed_code", "1", "number of the feed, schemas.Feed", "", "", "", "pandas"),
        Column("since_gap", "1", "ln(1 + seconds since the last row with flag GAP)", "", "", "NaN before one", "pandas ffill"),
    ]


FAMILY = Family("quality", 1, columns, state=QUALITY_STATE, step=quality_step, emit=quality_emit)
