"""Slow twin of family `season`, from its definition and a table of sessions."""

from __future__ import annotations

import math
from fractions import Fraction

NAMES = ("day_sin", "day_cos", "minutes_from_open", "minutes_to_close", "session_phase")


def session_of(ts, rows):
    """Number of the last session that has begun, None = none has."""
    begun = [k for k, (midnight, start, *_) in enumerate(rows.tolist()) if min(midnight, start) <= ts]
    return begun[-1] if begun else None


def season(ts, rows):
    """Columns of a row at a time."""
    k = session_of(ts, rows)
    if k is None:
        return dict.fromkeys(NAMES, math.nan)
    midnight, start, end, _ = rows[k].tolist()
    angle = math.tau * (math.floor(Fraction(ts - midnight, 60_000_000_000)) % 1440) / 1440
    after, before = Fraction(ts - start, 60_000_000_000), Fraction(end - ts, 60_000_000_000)
    phase = 0 if after < 0 else 4 if before <= 0 else 1 if after < 30 else 3 if before <= 30 else 2
    return dict(zip(NAMES, (math.sin(angle), math.cos(angle), float(after), float(before), float(phase))))
