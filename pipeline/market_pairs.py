"""Facts of two symbols in the same session: how their activity and their returns go together. Definitions stand in `PAIRS`."""

from __future__ import annotations

import numpy as np

from tickarrow.pipeline.market_facts import RATIO, SECOND, SHARE, SKIP_S, Array, Day, at, counts, peak, quotes

# name -> (how it is compared, definition)
PAIRS = {
    **{f"count_corr_{n}s": (SHARE, f"correlation of rows in {n} s (at 1 s of their roots)") for n in (1, 60, 300)},
    **{f"return_corr_{n}s": (SHARE, f"correlation of log mid returns over {n} s") for n in (1, 10, 60, 300)},
    "lead_1s": (SHARE, "correlation of the first's 1 s return with the second's in the next second"),
    "lag_1s": (SHARE, "correlation of the second's 1 s return with the first's in the next second"),
    **{f"joint_peak_{name}": (RATIO, f"most rows of both in {name}, over the sum of each one's most") for name in ("1s", "100ms", "10ms")},
}


def pair_facts(a: Day, b: Day) -> dict[str, float]:
    """All facts of a pair by name; NaN where one of the days has no quotes or no changes."""
    begin, end = max(a.begin, b.begin), min(a.end, b.end)
    out = {}
    for name, width in (("1s", SECOND), ("100ms", SECOND // 10), ("10ms", SECOND // 100)):
        out[f"joint_peak_{name}"] = peak(np.sort(np.concatenate([a.ts, b.ts])), width) / (peak(a.ts, width) + peak(b.ts, width))
    for n in (1, 60, 300):
        x, y = (counts(d, n * SECOND).astype(float) for d in (a, b))
        size = min(len(x), len(y))
        out[f"count_corr_{n}s"] = _corr(*((np.sqrt(v) if n == 1 else v)[:size] for v in (x, y)))
        x, y = (_returns(d, begin, end, n * SECOND) for d in (a, b))
        out[f"return_corr_{n}s"] = _corr(x, y)
        if n == 1:
            out |= {"lead_1s": _corr(x[:-1], y[1:]), "lag_1s": _corr(y[:-1], x[1:])}
    out["return_corr_10s"] = _corr(*(_returns(d, begin, end, 10 * SECOND) for d in (a, b)))
    return {name: out[name] for name in PAIRS}


def _returns(day: Day, begin: int, end: int, step: int) -> Array:
    q = quotes(day)
    grid = np.arange(begin + SKIP_S * SECOND, end, step)
    return np.diff(at(q.ts, np.log((q.bid + q.ask) / 2), grid)) if len(q.ts) else np.full(max(len(grid) - 1, 0), np.nan)


def _corr(x: Array, y: Array) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and x.std() > 0 and y.std() > 0 else np.nan
