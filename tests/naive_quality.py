"""Slow twin of family `quality`, from its definition."""

from __future__ import annotations

import math

from naive_features import same_price

from tickarrow.pipeline.schemas import Flag


def quality(history, tick, feed):
    """Columns as of the last tick of the history of one symbol; ticks may have `flags`."""
    now = history[-1]
    flags = getattr(now, "flags", 0)
    sided = not math.isnan(now.bid + now.ask)
    same = sided and same_price(now.bid, now.ask, tick)
    gaps = [t.ts for t in history if getattr(t, "flags", 0) & Flag.GAP]
    return {
        "is_crossed": float(now.bid > now.ask and not same) if sided else math.nan,
        "is_locked": float(same) if sided else math.nan,
        "is_halted": float(bool(flags & Flag.HALTED)),
        "is_delayed": float(bool(flags & (Flag.DELAYED | Flag.FROZEN))),
        "is_stale": float(bool(flags & (Flag.STALE | Flag.UNCERTAIN))),
        "has_gap": float(bool(flags & Flag.GAP)),
        "feed_code": float(feed),
        "since_gap": math.log1p((now.ts - gaps[-1]) * 1e-9) if gaps else math.nan,
    }
