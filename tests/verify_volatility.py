"""Family `volatility`, tick clock, against pandas, wickra and numpy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import wickra
from feature_run import run
from feature_ticks import NAN, START, TICK, stream
from naive_features import QUOTE
from verify import Check

from tickarrow.jit.volatility import FAMILY

NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]
ENDLESS = (1e15, 2e15, 3e15, 4e15)  # s; all weights are 1 to 1e-12
SLOW = 300
EVERY = 9  # a comparison over the whole history is made at every ninth row


@cache
def ticks():
    """A stream in which the price jumps by 12 ticks at one row of twelve: without jumps the jump share is 0."""
    rng, out, level = np.random.default_rng(47), [], 0
    for t in stream(1_200, symbols=1, seed=47, mean_gap_s=0.4):
        level += 12 * int(rng.choice([-1, 0, 1], p=[1 / 24, 11 / 12, 1 / 24]))
        out.append(t._replace(bid=round(t.bid + level * TICK, 2), ask=round(t.ask + level * TICK, 2)))
    return tuple(out)


@cache
def ours(tau_s=FAMILY.tau_s):
    return run(FAMILY, list(ticks()), tau_s)[1]


def column(name, tau_s=FAMILY.tau_s):
    return ours(tau_s)[:, NAMES.index(name)]


@cache
def path():
    """Times of the rows; mid at the first row and after each change, times of the changes, number of changes up to each row."""
    q = pd.DataFrame([t for t in ticks() if t.kind == QUOTE])
    twice = ((q.bid + q.ask) / TICK).round()
    moved = twice.diff().fillna(0.0) != 0.0
    assert not moved.all()
    return q.ts.to_numpy(), np.r_[twice[0], twice[moved]] * TICK / 2, q.ts[moved].to_numpy(), moved.cumsum().to_numpy()


def returns():
    return 1e4 * np.diff(np.log(path()[1]))


def sums(values, tau, skipped=0):
    """Decaying sum of the values of changes, those after the first `skipped`, at every EVERY-th row, NaN at the others and before them."""
    at, _, ts, n = path()
    out = np.full(len(at), NAN)
    for i in range(0, len(at), EVERY):
        if n[i] > skipped:
            w = np.exp(-(at[i] - ts[skipped : n[i]]) * 1e-9 / tau)
            out[i] = np.sum(w * values[: n[i] - skipped])
    return out


def realised(tau):
    """pandas' mean at the latest change times the sum of the weights, decayed to the row."""
    *_, ts, n = path()
    mean = pd.Series(returns() ** 2).ewm(halflife=pd.Timedelta(tau * np.log(2), "s"), times=pd.to_datetime(ts - START)).mean().to_numpy()
    return np.sqrt(mean[np.maximum(n - 1, 0)] * sums(np.ones(len(ts)), tau))


def squares(tau):
    return sums(returns() ** 2, tau)


def pairs():
    r = returns()
    return np.pi / 2 * np.abs(r[1:] * r[:-1])


def bipower_of_pandas(tau):
    *_, ts, n = path()
    mean = pd.Series(pairs()).ewm(halflife=pd.Timedelta(tau * np.log(2), "s"), times=pd.to_datetime(ts[1:] - START)).mean().to_numpy()
    return column(f"bipower_{tau}s"), mean[np.maximum(n - 2, 0)] * sums(np.ones(len(ts) - 1), tau, 1)


def bipower_of_wickra(name):
    """All changes so far as one window."""
    at, mid, _, n = path()
    theirs = np.full(len(at), NAN)
    for i in range(0, len(at), 25):
        if n[i] > 2:
            indicator = wickra.BipowerVariation(int(n[i]))
            theirs[i] = 1e8 * [indicator.update(m) for m in mid[: n[i] + 1].tolist()][-1]
    return column(name, ENDLESS), theirs


def jump_share():
    share = 1.0 - sums(pairs(), SLOW, 1) / squares(SLOW)
    assert np.nanmax(share) > 0.1
    return np.maximum(0.0, share)


def noise():
    """X = (C - A / 5) / (1 - 1 / 5), C and A over the changes from the fifth on."""
    y = 1e4 * np.log(path()[1])
    coarse, fine = sums((y[5:] - y[:-5]) ** 2 / 5, SLOW, 4), sums(returns()[4:] ** 2, SLOW, 4)
    return 1.0 - (coarse - fine / 5) / (1 - 1 / 5) / fine


RETURNS = "returns are 1e-4 of the price and known to 1e-12; "
HALF_LIFE = RETURNS + "the half-life is rounded to ns, 1.5e-9 of the shortest"
CLOSED = RETURNS + "numpy sums the whole history at the row, we update: rounding of both"
CHECKS = [
    *(Check(f"rv_{tau}s", "pandas ewm(times=)", lambda tau=tau: (column(f"rv_{tau}s"), realised(tau)), 1e-7, 1e-11, HALF_LIFE) for tau in (1, 5, 30, 300)),
    *(Check(f"bipower_{tau}s", "pandas ewm(times=)", lambda tau=tau: bipower_of_pandas(tau), 1e-8, 1e-11, HALF_LIFE) for tau in (30, 300)),
    *(Check(f"bipower_{tau}s", "wickra BipowerVariation", lambda tau=tau: bipower_of_wickra(f"bipower_{tau}s"), 1e-8, 1e-10,
            "windows so long that all weights are equal, its window is all changes, its returns are not in bp: times 1e8; " + RETURNS) for tau in (30, 300)),
    Check("jump_share_300s", "numpy", lambda: (column("jump_share_300s"), jump_share()), 1e-9, 1e-10, CLOSED),
    Check("semivar_up_300s", "numpy", lambda: (column("semivar_up_300s"), sums(np.maximum(returns(), 0.0) ** 2, SLOW)), 1e-9, 1e-10, CLOSED),
    Check("semivar_down_300s", "numpy", lambda: (column("semivar_down_300s"), sums(np.minimum(returns(), 0.0) ** 2, SLOW)), 1e-9, 1e-10, CLOSED),
    Check("noise_300s", "numpy", lambda: (column("noise_300s"), noise()), 1e-9, 1e-10, CLOSED),
    Check("rv_ratio_30s_300s", "numpy", lambda: (column("rv_ratio_30s_300s"), np.sqrt(squares(30) / squares(SLOW))), 1e-9, 1e-11, CLOSED),
]  # fmt: skip
