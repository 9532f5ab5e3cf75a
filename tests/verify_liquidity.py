"""Family `liquidity`, tick clock, against wickra, pandas and numpy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import wickra
from feature_run import run
from feature_ticks import NAN, START
from naive_features import QUOTE, TRADE, Tick
from verify import Check

from tickarrow.jit.liquidity import FAMILY

NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]
ENDLESS = (1e15, 2e15)  # s; all weights are 1 to 1e-12
SECOND = 1_000_000_000


def _price(ticks):
    return round(ticks / 100, 2)


@cache
def ticks():
    """A trade at every second at the bid or the ask, a quote half a second later: the mid 5 s later is that of the fifth trade after."""
    rng = np.random.default_rng(31)
    out, mid, half = [], 10_000, 1
    for i in range(600):
        quote = (_price(mid - half), 100.0, _price(mid + half), 100.0)
        if i == 0:
            out.append(Tick(START, 0, QUOTE, *quote, NAN, NAN))
        price = _price(mid + half * int(rng.choice([-1, 1])))
        out.append(Tick(START + (i + 1) * SECOND, 0, TRADE, *quote, price, float(rng.integers(1, 9) * 25)))
        mid, half = mid + int(rng.integers(-1, 2)), int(rng.integers(1, 4))
        out.append(Tick(START + (i + 1) * SECOND + SECOND // 2, 0, QUOTE, _price(mid - half), 100.0, _price(mid + half), 100.0, NAN, NAN))
    return tuple(out)


@cache
def ours(tau_s=FAMILY.tau_s):
    """Columns of the row after each trade."""
    return run(FAMILY, list(ticks()), tau_s)[1][1:]


@cache
def trades():
    """price, size, bought, mid of the trades."""
    t = [t for t in ticks() if t.kind == TRADE]
    mid = np.array([(x.bid + x.ask) / 2 for x in t])
    price = np.array([x.price for x in t])
    return price, np.array([x.size for x in t]), price > mid, mid


def each(indicator, *columns):
    """The indicator after each trade, NaN while it is not ready."""
    return np.array([NAN if (x := indicator.update(*row)) is None else x for row in zip(*(c.tolist() for c in columns))], float)


@cache
def effective():
    return each(wickra.EffectiveSpread(), *trades())


@cache
def realised():
    """Of trade i, known when trade i + 5 comes."""
    return each(wickra.RealizedSpread(5), *trades())[5:]


def column(name, tau_s=FAMILY.tau_s):
    return ours(tau_s)[:, NAMES.index(name)]


def volume_weighted(values, sizes, tau):
    """Decaying mean of one value a second; the row half a second later has the same."""
    weight = sizes * np.exp(np.arange(len(values)) / tau)
    return np.cumsum(weight * values) / np.cumsum(weight)


def effective_spread(tau):
    return column(f"effective_spread_{tau}s"), volume_weighted(effective(), trades()[1], tau)


def settled(name, values):
    return column(name)[5:], volume_weighted(values(), trades()[1][:-5], 300)


def changes():
    return np.diff(1e4 * np.log(trades()[0]))


def roll_of_wickra():
    """All trades so far as one window; fed with log prices in bp, so that its changes are ours."""
    price, size, bought, _ = trades()
    theirs = np.full(len(price), NAN)
    for n in range(200, len(price), 25):
        theirs[n] = each(wickra.RollMeasure(n), 2e4 + 1e4 * np.log(price[: n + 1] / price[0]), size[: n + 1], bought[: n + 1])[-1]
    return column("roll_spread_300s", ENDLESS), theirs


def roll_of_numpy():
    r = changes()
    theirs = np.full(len(r) + 1, NAN)
    for n in range(3, len(r) + 1):
        cov = np.cov(r[1:n], r[: n - 1], aweights=np.exp((np.arange(1, n) - n) / 300), ddof=0)[0, 1]
        theirs[n] = 2 * np.sqrt(max(-cov, 0.0))
    return column("roll_spread_300s"), theirs


def amihud_of_wickra():
    price, size, bought, _ = trades()
    theirs = np.full(len(price), NAN)
    for n in range(1, len(price), 25):
        theirs[n] = 1e10 * each(wickra.AmihudIlliquidity(n), price[: n + 1], size[: n + 1], bought[: n + 1])[-1]
    return column("amihud_300s", ENDLESS), theirs


def amihud_of_pandas():
    price, size, *_ = trades()
    cost = pd.Series(1e6 * np.abs(changes()) / (price * size)[1:])
    times = pd.to_datetime(START + np.arange(2, len(price) + 1) * SECOND)
    mean = cost.ewm(halflife=pd.Timedelta(300 * np.log(2), "s"), times=times).mean()
    return column("amihud_300s"), np.concatenate([[NAN], mean])


MEAN = "wickra gives the spread of each trade, numpy their decaying mean: rounding of prices, 1e-14 of a price is 1e-10 bp"
WINDOW = "windows so long that all weights are equal, its window is all trades; "
CHECKS = [
    Check("effective_spread_30s", "wickra EffectiveSpread", lambda: effective_spread(30), 1e-9, 1e-9, MEAN),
    Check("effective_spread_300s", "wickra EffectiveSpread", lambda: effective_spread(300), 1e-9, 1e-9, MEAN),
    Check("realised_spread_300s", "wickra RealizedSpread", lambda: settled("realised_spread_300s", realised), 1e-9, 1e-9, MEAN),
    Check(
        "price_impact_300s", "wickra EffectiveSpread less RealizedSpread", lambda: settled("price_impact_300s", lambda: effective()[:-5] - realised()),
        1e-9, 1e-9, MEAN,
    ),
    Check(
        "roll_spread_300s", "wickra RollMeasure", roll_of_wickra, 1e-4, 1e-6,
        WINDOW + "it takes one mean of all changes, we one of each side of the pairs: (range of r / n)**2 of n > 200 changes",
    ),
    Check("roll_spread_300s", "numpy cov(aweights=)", roll_of_numpy, 1e-9, 1e-9, "rounding of both"),
    Check("amihud_300s", "wickra AmihudIlliquidity", amihud_of_wickra, 1e-9, 1e-12, WINDOW + "its unit is 1 per currency: times 1e10"),
    Check("amihud_300s", "pandas ewm(times=)", amihud_of_pandas, 1e-9, 1e-12, "the half-life is rounded to ns, 5e-12 of it"),
]  # fmt: skip
