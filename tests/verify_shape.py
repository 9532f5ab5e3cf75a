"""Family `shape`, tick clock, against statsmodels, pandas and scipy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from feature_run import run
from feature_ticks import stream
from naive_shape import returns
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW
from verify import Check

from tickarrow.jit.shape import FAMILY

NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]
ENDLESS = (1e15, 2e15)  # s; all weights are 1 to 1e-12
WEIGHTED = "numpy recomputes all moments at every row, we update them: rounding of both"
EQUAL = "windows so long that all weights are equal; rounding of both"


@cache
def ticks():
    return tuple(stream(1_200, symbols=1, seed=21, mean_gap_s=0.5))


@cache
def ours(tau_s=FAMILY.tau_s):
    """Times of the rows, columns, number of returns up to each row, returns as (ts, r)."""
    rows, v, _ = run(FAMILY, list(ticks()), tau_s)
    steps = returns(ticks(), 0.01)
    ts, r = np.array([s[0] for s in steps]), np.array([s[2] for s in steps])
    at = np.array([ticks()[i].ts for i in rows])
    return at, v, np.searchsorted(ts, at, side="right"), ts, r


def compare(column, value, tau_s=FAMILY.tau_s, least=8, every=7):
    """Ours and value(returns, ages in s) of every seventh row with enough returns."""
    at, v, n, ts, r = ours(tau_s)
    picked = [i for i in range(0, len(at), every) if n[i] >= least]
    theirs = [value(r[: n[i]], (at[i] - ts[: n[i]]) * 1e-9) for i in picked]
    return v[picked, NAMES.index(column)], np.array(theirs)


def weighted_corr(tau):
    return lambda r, age: DescrStatsW(np.column_stack([r[:-1], r[1:]]), weights=np.exp(-age[1:] / tau)).corrcoef[0, 1]


def of_powers(kind):
    """Skewness or kurtosis from pandas' time-weighted means of r, r**2, r**3, r**4."""
    _, v, n, ts, r = ours()
    times, halflife = pd.to_datetime(ts), pd.Timedelta(300 * np.log(2), "s")
    a, b, c, d = (pd.Series(r**k).ewm(halflife=halflife, times=times).mean().to_numpy() for k in (1, 2, 3, 4))
    m2, m3, m4 = b - a * a, c - 3 * a * b + 2 * a**3, d - 4 * a * c + 6 * a * a * b - 3 * a**4
    with np.errstate(invalid="ignore"):
        table = {"skewness_300s": m3 / m2**1.5, "kurtosis_300s": m4 / m2**2 - 3}[kind]
    picked = n >= 8
    return v[picked, NAMES.index(kind)], table[n[picked] - 1]


CHECKS = [
    *(
        Check(c, "statsmodels DescrStatsW", lambda c=c, tau=tau: compare(c, weighted_corr(tau)), 1e-9, 1e-12, WEIGHTED)
        for c, tau in (("return_autocorr_30s", 30), ("return_autocorr_300s", 300))
    ),
    *(
        Check(c, "pandas Series.autocorr", lambda c=c: compare(c, lambda r, _: pd.Series(r).autocorr(1), ENDLESS), 1e-9, 1e-11, EQUAL)
        for c in ("return_autocorr_30s", "return_autocorr_300s")
    ),
    Check("skewness_300s", "scipy.stats skew", lambda: compare("skewness_300s", lambda r, _: stats.skew(r), ENDLESS), 1e-9, 1e-11, EQUAL),
    Check("kurtosis_300s", "scipy.stats kurtosis", lambda: compare("kurtosis_300s", lambda r, _: stats.kurtosis(r), ENDLESS), 1e-9, 1e-11, EQUAL),
    *(
        Check(c, "pandas ewm(times=)", lambda c=c: of_powers(c), 1e-7, 1e-9, "the half-life is rounded to ns, 5e-12 of it; rounding of both")
        for c in ("skewness_300s", "kurtosis_300s")
    ),
]  # fmt: skip
