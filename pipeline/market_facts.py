"""Facts of a market: what one symbol did in one session, as numbers that two sessions can be compared by.

`FACTS` says what each number is. A share or a correlation is compared by difference, a quantity by ratio; a fact without a rule is
shown and not judged. Prices are in ticks, times in seconds unless the name says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.schemas import Kind

Array = npt.NDArray[Any]

SECOND = 1_000_000_000
SKIP_S = 60  # the opening minute is left out where prices are sampled: the book is still filling
HALF_HOUR_S = 1800
SHARE, RATIO, SHOWN = "difference", "ratio", ""  # how a fact is compared


@dataclass(frozen=True)
class Day:
    """One symbol in one session. Columns as those of Rows; quote rows hold the whole quote, rows without one are left out."""

    begin: int  # ns
    end: int
    tick: float  # currency
    ts: Array  # (n,) ns
    kind: Array  # (n,) Kind
    bid: Array  # (n,) currency, NaN in trade rows, like the next three
    bid_size: Array
    ask: Array
    ask_size: Array
    price: Array  # (n,) currency, NaN in quote rows, like the size
    size: Array

    @property
    def seconds(self) -> int:
        return (self.end - self.begin) // SECOND

    @property
    def quote(self) -> Array:
        return np.asarray(self.kind == Kind.QUOTE)

    def where(self, chosen: Array, **other: Any) -> Day:
        """The day with some of its rows."""
        columns = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name not in ("begin", "end", "tick")}
        return replace(self, **(columns | other))


def _table(rows: Sequence[tuple[str, str, str]]) -> dict[str, tuple[str, str]]:
    return {name: (rule, text) for name, rule, text in rows}


FACTS = _table([
    ("rate", RATIO, "rows per second"),
    ("trades_per_quote", RATIO, "trade rows per quote row"),
    ("p99_second", RATIO, "99th percentile of the rows in a second"),
    *[(f"peak_{name}", RATIO, f"most rows in {name} that begins with a row") for name in ("1s", "100ms", "10ms", "1ms")],
    ("iat_0", SHARE, "share of times between rows that are 0"),
    ("iat_1ms", SHARE, "share of times between rows below 1 ms"),
    ("iat_p75_ms", SHOWN, "75th percentile of the time between rows, ms"),
    ("iat_p95_ms", SHOWN, "95th percentile of the time between rows, ms"),
    ("empty_seconds", SHARE, "share of seconds without a row"),
    *[(f"fano_{name}", SHOWN, f"variance over mean of the rows in {name}") for name in ("100ms", "1s", "10s", "60s")],
    *[(f"count_acf_{n}", SHARE, f"autocorrelation of the root of rows a second at {n} s") for n in (1, 5, 30, 300)],
    ("spread_mean", SHOWN, "ticks, weighted by time"),
    *[(f"spread_{n}", SHARE, f"share of time at {n} ticks") for n in (1, 2, 3, 4)],
    ("spread_5", SHARE, "share of time at 5 ticks or more"),
    *[(f"spread_bps_p{q}", RATIO, f"{q}th percentile of the quotes' spread, basis points of the mid") for q in (5, 50, 95, 99)],
    ("locked", SHARE, "share of quotes with bid equal to ask"),
    ("crossed", SHARE, "share of quotes with bid above ask"),
    *[(f"best_size_p{q}", SHOWN, f"{q}th percentile of the best bid's size") for q in (5, 50, 95)],
    ("imbalance_sd", SHARE, "standard deviation of (bid size - ask size) / (bid size + ask size) over quotes"),
    *[(f"imbalance_acf_{n}", SHARE, f"its autocorrelation at {n} s, sampled each second") for n in (1, 10, 60)],
    ("trade_size_p50", SHOWN, "median size of a trade"),
    ("trade_size_p95", SHOWN, "95th percentile of it"),
    ("mid_moves", SHOWN, "changes of the mid per second"),
    *[(f"mid_move_{n}", SHARE, f"share of mid changes by {n} half ticks") for n in (1, 2)],
    ("reversal", SHARE, "share of mid changes against the one before"),
    *[(f"sign_acf_{n}", SHARE, f"autocorrelation of trade signs at {n} trades (Lee and Ready 1991)") for n in (1, 5, 10, 50)],
    *[(f"trades_{name}", SHARE, f"share of trades {name.replace('_', ' ')}") for name in ("at_bid", "at_ask", "inside", "outside")],
    ("ofi_r2_1s", SHARE, "R2 of mid change against order-flow imbalance in 1 s (Cont, Kukanov and Stoikov 2014), flow cut at its 0.5 and 99.5 %"),
    ("ofi_r2_10s", SHARE, "the same in 10 s"),
    ("sd_60s", SHOWN, "standard deviation of the mid's change in 60 s, ticks"),
    *[(f"signature_{name}", SHOWN, f"variance of the mid's change a second in {name}, over that in 300 s") for name in ("100ms", "1s", "10s", "60s")],
    ("return_acf_1", SHARE, "autocorrelation of 1 s mid changes at 1 s"),
    ("abs_acf_1s", SHARE, "autocorrelation of absolute 1 s mid changes at 1 s"),
    ("abs_acf_60s", SHARE, "autocorrelation of absolute 60 s mid changes at 60 s"),
    *[(f"kurtosis_{n}s", SHOWN, f"kurtosis of {n} s mid changes, a normal has 3") for n in (1, 10, 60)],
    ("rows_first", SHARE, "share of rows in the first half hour"),
    ("rows_last", SHARE, "share of rows in the last whole half hour"),
    ("moves_first", SHARE, "share of the sum of absolute 1 s mid changes in the first half hour"),
    ("moves_last", SHARE, "the same in the last whole half hour"),
])  # fmt: skip


def facts(day: Day) -> dict[str, float]:
    """All facts of a day by name; NaN where the day does not show one."""
    out = dict.fromkeys(FACTS, np.nan)
    if len(day.ts) > 1:
        out |= _arrivals(day)
    q = quotes(day)
    trades = ~day.quote
    if trades.any():
        out |= _trades(day, trades)
    if len(q.ts) > 100:
        out |= _spreads(q)
        out |= _sizes(q)
        out |= _moves(q)
    return out


def quotes(day: Day) -> Day:
    """The quote rows alone."""
    return day.where(day.quote)


def acf(x: Array, lag: int) -> float:
    """Autocorrelation: mean product of centred values `lag` apart over the mean square."""
    x = np.asarray(x, float) - np.mean(x)
    v = float(np.mean(x * x)) if len(x) > lag + 10 else 0.0
    return float(np.mean(x[:-lag] * x[lag:])) / v if v > 0 else np.nan


def peak(ts: Array, width: int) -> int:
    """Most times in [t, t + width) over all t of `ts`."""
    return int((np.searchsorted(ts, ts + width, "left") - np.arange(len(ts))).max())


def counts(day: Day, width: int) -> Array:
    """Rows in each whole `width` ns of the day."""
    n = (day.end - day.begin) // width
    return np.bincount((day.ts - day.begin) // width, minlength=n)[:n]


def shares(x: Array, seconds: int = HALF_HOUR_S) -> Array:
    """Sums of a per-second series over whole half hours, as shares of their total."""
    n = len(x) // seconds
    parts = x[: n * seconds].reshape(n, seconds).sum(1)
    return np.asarray(parts / max(parts.sum(), 1e-300))


def at(t: Array, values: Array, grid: Array) -> Array:
    """Value in force at each time of the grid: that of the latest row at or before it; NaN before the first."""
    i = np.searchsorted(t, grid, "right") - 1
    return np.where(i >= 0, values[np.maximum(i, 0)], np.nan)


def mid(q: Day) -> Array:
    """Mid of each quote in ticks, rounded to half ticks."""
    return np.asarray(np.round((q.bid + q.ask) / q.tick) / 2)


def changes(q: Day, step: int, begin: int | None = None) -> Array:
    """Change of the mid, in ticks, over each `step` ns from the second minute on."""
    first = q.begin + SKIP_S * SECOND if begin is None else begin
    m = at(q.ts, mid(q), np.arange(first, q.end, step))
    return np.diff(m[np.isfinite(m)])


def ofi(q: Day) -> Array:
    """Order-flow imbalance of each quote against the one before it (Cont, Kukanov and Stoikov 2014); 0 for the first."""
    e = np.zeros(len(q.ts))
    up, down = q.bid[1:] >= q.bid[:-1], q.bid[1:] <= q.bid[:-1]
    e[1:] = np.where(up, q.bid_size[1:], 0) - np.where(down, q.bid_size[:-1], 0)
    up, down = q.ask[1:] >= q.ask[:-1], q.ask[1:] <= q.ask[:-1]
    e[1:] += np.where(up, q.ask_size[:-1], 0) - np.where(down, q.ask_size[1:], 0)
    return e


def signs(day: Day) -> tuple[Array, Array]:
    """Sign of each trade (+1 buyer, -1 seller, 0 unknown) and the quote row before it (-1 = none).

    Lee and Ready (1991): against the mid in force; at the mid, or without a quote, by the last different price.
    """
    q, trades = quotes(day), ~day.quote
    before = np.cumsum(day.quote)[trades] - 1
    price = day.price[trades]
    sign = np.zeros(len(price))
    known = before >= 0
    if known.any():
        sign[known] = np.sign(np.round((2 * price[known] - (q.bid + q.ask)[before[known]]) / day.tick, 6))
    step = np.sign(np.diff(price, prepend=price[:1]))
    latest = np.maximum.accumulate(np.where(step != 0, np.arange(len(step)), 0)) if len(step) else np.zeros(0, int)
    return np.where(sign == 0, step[latest], sign), before


def _arrivals(day: Day) -> dict[str, float]:
    gap = np.diff(day.ts)
    second = counts(day, SECOND)
    half_hours = shares(second.astype(float))
    quote = int(day.quote.sum())
    out = {
        "rate": len(day.ts) / day.seconds,
        "trades_per_quote": (len(day.ts) - quote) / quote if quote else np.nan,
        "p99_second": float(np.percentile(second, 99)),
        "iat_0": float((gap == 0).mean()),
        "iat_1ms": float((gap < 1_000_000).mean()),
        "iat_p75_ms": float(np.percentile(gap, 75)) / 1e6,
        "iat_p95_ms": float(np.percentile(gap, 95)) / 1e6,
        "empty_seconds": float((second == 0).mean()),
    }
    for name, width in (("1s", SECOND), ("100ms", SECOND // 10), ("10ms", SECOND // 100), ("1ms", SECOND // 1000)):
        out[f"peak_{name}"] = peak(day.ts, width)
    for name, width in (("100ms", SECOND // 10), ("1s", SECOND), ("10s", 10 * SECOND), ("60s", 60 * SECOND)):
        c = counts(day, width)
        out[f"fano_{name}"] = float(c.var() / c.mean()) if len(c) and c.any() else np.nan
    for lag in (1, 5, 30, 300):
        out[f"count_acf_{lag}"] = acf(np.sqrt(second), lag)
    if len(half_hours) > 1:
        out |= {"rows_first": float(half_hours[0]), "rows_last": float(half_hours[-1])}
    return out


def _trades(day: Day, trades: Array) -> dict[str, float]:
    sign, before = signs(day)
    out = {f"trade_size_p{p}": float(np.percentile(day.size[trades], p)) for p in (50, 95)}
    out |= {f"sign_acf_{lag}": acf(sign, lag) for lag in (1, 5, 10, 50)}
    known = before >= 0
    if known.any():
        q, row = quotes(day), before[known]
        price, bid, ask = (np.round(x / day.tick, 4) for x in (day.price[trades][known], q.bid[row], q.ask[row]))
        out |= {"trades_at_bid": float((price == bid).mean()), "trades_at_ask": float((price == ask).mean())}
        out |= {"trades_inside": float(((price > bid) & (price < ask)).mean())}
        out |= {"trades_outside": float(((price < np.minimum(bid, ask)) | (price > np.maximum(bid, ask))).mean())}
    return out


def _spreads(q: Day) -> dict[str, float]:
    width = np.round((q.ask - q.bid) / q.tick).astype(int)
    held = np.diff(q.ts, append=q.end).astype(float)
    held /= held.sum()
    bps = (q.ask - q.bid) / (q.ask + q.bid) * 2e4
    out = {"spread_mean": float((held * width).sum()), "locked": float((width == 0).mean()), "crossed": float((width < 0).mean())}
    out |= {f"spread_{n}": float(held[width == n].sum()) for n in (1, 2, 3, 4)} | {"spread_5": float(held[width >= 5].sum())}
    return out | {f"spread_bps_p{p}": float(np.percentile(bps, p)) for p in (5, 50, 95, 99)}


def _sizes(q: Day) -> dict[str, float]:
    if not np.isfinite(q.bid_size).all() or (q.bid_size == q.bid_size[0]).all():
        return {}
    total = q.bid_size + q.ask_size
    imbalance = (q.bid_size - q.ask_size) / np.where(total > 0, total, 1)
    sampled = at(q.ts, imbalance, np.arange(q.begin + SKIP_S * SECOND, q.end, SECOND))
    sampled = sampled[np.isfinite(sampled)]
    out = {f"best_size_p{p}": float(np.percentile(q.bid_size, p)) for p in (5, 50, 95)}
    out |= {"imbalance_sd": float(imbalance.std())} | {f"imbalance_acf_{lag}": acf(sampled, lag) for lag in (1, 10, 60)}
    flow, m = np.concatenate([[0.0], np.cumsum(ofi(q))]), mid(q)
    for name, step in (("1s", SECOND), ("10s", 10 * SECOND)):
        grid = np.arange(q.begin + SKIP_S * SECOND, q.end, step)
        x, y = np.diff(flow[np.searchsorted(q.ts, grid, "right")]), np.diff(at(q.ts, m, grid))
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]
        if len(x) > 10:
            x = np.clip(x, *np.percentile(x, [0.5, 99.5]))
            out[f"ofi_r2_{name}"] = float(np.corrcoef(x, y)[0, 1] ** 2) if x.std() > 0 and y.std() > 0 else np.nan
    return out


def _moves(q: Day) -> dict[str, float]:
    step = np.diff(np.round(2 * mid(q)))
    step = step[step != 0]
    out = {"mid_moves": len(step) / q.seconds}
    if len(step) > 1:
        out |= {f"mid_move_{n}": float((np.abs(step) == n).mean()) for n in (1, 2)}
        out |= {"reversal": float((step[1:] * step[:-1] < 0).mean())}
    m = at(q.ts, mid(q), np.arange(q.begin + SKIP_S * SECOND, q.end, SECOND))
    m = m[np.isfinite(m)]
    if len(m) <= 600:
        return out
    rate = {n: float((m[n:] - m[:-n]).var()) / n for n in (1, 10, 60, 300)}
    out |= {"sd_60s": (60 * rate[60]) ** 0.5}
    if rate[300] > 0:
        out |= {f"signature_{n}s": rate[n] / rate[300] for n in (1, 10, 60)}
        out["signature_100ms"] = float(changes(q, SECOND // 10).var()) * 10 / rate[300]
    second, minute = np.diff(m), np.diff(m[::60])
    out |= {"return_acf_1": acf(second, 1), "abs_acf_1s": acf(np.abs(second), 1), "abs_acf_60s": acf(np.abs(minute), 1)}
    for n, r in ((1, second), (10, np.diff(m[::10])), (60, minute)):
        r = r - r.mean()
        out[f"kurtosis_{n}s"] = float((r**4).mean() / (r**2).mean() ** 2) if r.any() else np.nan
    half_hours = shares(np.abs(changes(q, SECOND, q.begin)))
    if len(half_hours) > 1:
        out |= {"moves_first": float(half_hours[0]), "moves_last": float(half_hours[-1])}
    return out
