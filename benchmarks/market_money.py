"""Does paying the spread pay on the generated market? It must not: a pipeline that shows a profit on it has look-ahead.

    python benchmarks/market_money.py                # 3 sessions to fit, 10 to score, every class: about ten minutes
    python benchmarks/market_money.py 2 3 1800 large # 2 and 3 sessions of half an hour, one class

Ridge regression of the mid's change on imbalance, order flow, signed trades, past returns and the index's returns, sampled each second;
the strongest 1 % of the predictions enter and leave by paying the spread. One row a class and horizon: mean over the scored sessions and
standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from tickarrow.jit import _kernel
from tickarrow.pipeline.market import Market
from tickarrow.pipeline.market_classes import CLASSES
from tickarrow.pipeline.market_facts import SECOND, Array, Day, at, mid, ofi, quotes, signs
from tickarrow.pipeline.schemas import Kind
from tickarrow.pipeline.universe import Universe

HORIZONS_S = (1, 5, 30, 120, 600)
TAUS_S = (1, 5, 30)  # of the decaying sums, and lags of the returns
INDEX = "etf"
STRONGEST = 99  # percentile of the fitted predictions' size
RIDGE = 0.001
FIRST_SEED = 100


def session(seed: int, seconds: int, names: Sequence[str]) -> dict[str, Day]:
    """One generated session with a symbol of each class."""
    market = Market(seed, Universe.of([f"M{n}" for n in names], 1.0, list(names)), 0, block_ns=60 * SECOND, day_ns=seconds * SECOND)
    parts = []
    while not market.done:
        n = market.step()
        parts.append({name: column[:n].copy() for name, column in market.columns.items()})
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    out = {}
    for row, name in enumerate(names):
        keep = (columns["symbol"] == row) & ((columns["kind"] == Kind.TRADE) | np.isfinite(columns["bid"]))
        out[name] = Day(0, seconds * SECOND, 1.0, *(columns[c][keep] for c in ("ts", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size")))
    return out


def decayed(t: Array, values: Array, grid: Array, tau_s: float) -> Array:
    """Sum of values, each decayed since its time, of rows at or before each time of a grid of whole seconds."""
    cell = np.searchsorted(grid, t)  # first grid time at or after the row
    inside = cell < len(grid)
    per_cell = np.bincount(cell[inside], values[inside] * np.exp(-(grid[cell[inside]] - t[inside]) / (tau_s * SECOND)), len(grid))
    out, x, keep = np.zeros(len(grid)), 0.0, np.exp(-1.0 / tau_s)
    for k in range(len(grid)):
        x = x * keep + per_cell[k]
        out[k] = x
    return out


def sampled(day: Day, index: Day | None) -> tuple[Array, dict[int, Array], dict[int, tuple[Array, Array]]]:
    """Features, mid changes by horizon in ticks, and (bid, ask) now and at each horizon, each second that has all of them."""
    q, longest = quotes(day), HORIZONS_S[-1]
    grid = np.arange(120 * SECOND, day.end - (longest + 1) * SECOND, SECOND)
    m = mid(q)
    now = at(q.ts, m, grid)
    bid, ask = (at(q.ts, x, grid) for x in (q.bid_size, q.ask_size))
    imbalance = (bid - ask) / (bid + ask)
    columns = [imbalance, imbalance * at(q.ts, q.ask - q.bid, grid) / 2]
    flow = np.clip(ofi(q) / (q.bid_size.mean() + q.ask_size.mean()) * 2, -5, 5)
    columns += [decayed(q.ts, flow, grid, tau) for tau in TAUS_S]
    trade = day.kind == Kind.TRADE
    if trade.any():
        size = day.size[trade]
        signed = np.minimum(size, np.percentile(size, 99)) * signs(day)[0]
        columns += [decayed(day.ts[trade], signed / signed.std(), grid, tau) for tau in TAUS_S]
    columns += [now - at(q.ts, m, grid - lag * SECOND) for lag in TAUS_S]
    if index is not None:
        i = quotes(index)
        columns += [at(i.ts, mid(i), grid) - at(i.ts, mid(i), grid - lag * SECOND) for lag in (1, 5)]
    x = np.stack(columns, 1)
    known = np.isfinite(x).all(1)
    future = {h: grid[known] + h * SECOND for h in (0, *HORIZONS_S)}
    prices = {h: (at(q.ts, q.bid, t), at(q.ts, q.ask, t)) for h, t in future.items()}
    return x[known], {h: at(q.ts, m, future[h]) - now[known] for h in HORIZONS_S}, prices


def score(fit: Sequence[dict[str, Day]], test: Sequence[dict[str, Day]], name: str) -> dict[int, Array]:
    """By horizon: one row (R2, correlation, gross, net) a scored session; gross and net in ticks a trade."""
    parts = [sampled(d[name], None if name == INDEX else d.get(INDEX)) for d in fit]
    x = np.concatenate([p[0] for p in parts])
    centre, spread = x.mean(0), x.std(0) + 1e-12
    z = np.clip((x - centre) / spread, -5, 5)
    inverse = np.linalg.inv(z.T @ z + RIDGE * len(z) * np.eye(z.shape[1]))
    weights = {}
    for h in HORIZONS_S:
        y = np.concatenate([p[1][h] for p in parts])
        weights[h] = inverse @ (z.T @ (y - y.mean()))
    rows: dict[int, list[tuple[float, float, float, float]]] = {h: [] for h in HORIZONS_S}
    for d in test:
        xt, yt, prices = sampled(d[name], None if name == INDEX else d.get(INDEX))
        zt = np.clip((xt - centre) / spread, -5, 5)
        bid, ask = prices[0]
        for h in HORIZONS_S:
            guess, y = zt @ weights[h], yt[h]
            chosen = np.abs(guess) > np.percentile(np.abs(z @ weights[h]), STRONGEST)
            side = np.sign(guess[chosen])
            later_bid, later_ask = prices[h]
            net = np.where(side > 0, later_bid[chosen] - ask[chosen], bid[chosen] - later_ask[chosen])
            r2 = 1 - ((y - guess) ** 2).sum() / max((y**2).sum(), 1e-12)
            ic = np.corrcoef(guess, y)[0, 1] if y.std() > 0 else np.nan
            rows[h].append((r2, ic, (side * y[chosen]).mean() if len(side) else np.nan, net.mean() if len(net) else np.nan))
    return {h: np.array(r) for h, r in rows.items()}


def main(fit: int = 3, test: int = 10, seconds: int = 23_400, names: Sequence[str] = tuple(CLASSES)) -> dict[tuple[str, int], tuple[float, float]]:
    """Print the table; net ticks and their standard error by (class, horizon)."""
    _kernel.warm()
    wanted = [INDEX, *(n for n in names if n != INDEX)]
    days = [session(FIRST_SEED + k, seconds, wanted) for k in range(fit + test)]
    out = {}
    print(f"{'class':8}{'horizon':>8}{'R2':>9}{'corr':>8}{'gross':>8}{'net':>8}{'error':>8}  ticks, {test} sessions of {seconds} s")
    for name in names:
        for h, rows in score(days[:fit], days[fit:], name).items():
            r2, ic, gross, net = np.nanmean(rows, 0)
            error = float(np.nanstd(rows[:, 3], ddof=1) / max(np.isfinite(rows[:, 3]).sum(), 1) ** 0.5)
            out[name, h] = float(net), error
            print(f"{name:8}{h:>6} s{r2:>9.4f}{ic:>8.3f}{gross:>8.2f}{net:>8.2f}{error:>8.2f}", flush=True)
    return out


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*(int(a) for a in given[:3]), **({"names": given[3:]} if len(given) > 3 else {}))
