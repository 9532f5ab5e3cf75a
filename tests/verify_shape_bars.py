"""Bar columns of family `shape` against independent implementations."""

from __future__ import annotations

import functools

import feature_bars
import numpy as np
import pandas as pd
import wickra
from arch.unitroot import VarianceRatio
from scipy.stats import percentileofscore
from verify import Check

from tickarrow.jit import shape_bars as kernels

N = 320
NAMES = [c.name for c in kernels.BAR_COLUMNS]


@functools.cache
def bars():
    return feature_bars.walk(N, 13, step=40)


@functools.cache
def columns():
    return feature_bars.columns(feature_bars.family(kernels, kernels.shape_bars), [bars()])[:, 0]


def ours(name):
    return columns()[:, NAMES.index(name)]


def closes():
    return np.array([b.close for b in bars()], float)


def volumes():
    return np.array([b.volume for b in bars()])


def returns():
    return np.diff(np.log(closes()), prepend=np.nan)


def changes():
    """Ratios of closes: in the order of the returns, and equal where those are."""
    return np.concatenate([[np.nan], closes()[1:] / closes()[:-1]])


def moving(count, function):
    """function(lo, hi) of the newest `count` bars [lo, hi) at each bar; NaN before."""
    return np.array([np.nan if i < count else function(i + 1 - count, i + 1) for i in range(N)])


def variance_ratio(q):
    return ours(f"variance_ratio_{q}b"), moving(240, lambda lo, hi: VarianceRatio(np.log(closes()[lo - 1 : hi]), lags=q).vr)


def up_down():
    change = np.diff(closes(), prepend=np.nan)

    def ratio(lo, hi):
        never = [False] * (hi - lo)
        return wickra.UpDownVolumeRatio().update(change[lo:hi].tolist(), volumes()[lo:hi].tolist(), never, never)

    return ours("up_down_volume_20b"), moving(20, ratio)


def correlation():
    return ours("corr_size_volume_60b"), pd.Series(np.abs(returns())).rolling(60).corr(pd.Series(volumes())).to_numpy()


def rank_scipy():
    return ours("return_rank_240b"), moving(240, lambda lo, hi: percentileofscore(changes()[lo:hi], changes()[hi - 1], "mean") / 100)


def rank_wickra():
    rank = np.array(wickra.RollingPercentileRank(240).batch(changes()[1:])) / 100
    return ours("return_rank_240b"), np.concatenate([[np.nan], rank])


LOGS = "logarithms of prices there, of prices over the first one here"
CHECKS = [
    Check("variance_ratio_5b", "arch VarianceRatio", lambda: variance_ratio(5), 1e-10, 1e-10, LOGS),
    Check("variance_ratio_20b", "arch VarianceRatio", lambda: variance_ratio(20), 1e-10, 1e-10, LOGS),
    Check("up_down_volume_20b", "wickra UpDownVolumeRatio", up_down, 1e-14, 1e-14, "whole numbers, sums are exact; wickra divides by 1 if no volume fell"),
    Check("corr_size_volume_60b", "pandas rolling corr", correlation, 1e-9, 1e-10, "pandas updates moments by adding and removing"),
    Check("return_rank_240b", "scipy percentileofscore", rank_scipy, 1e-14, 1e-14, "counts, mean of strict and weak"),
    Check("return_rank_240b", "wickra RollingPercentileRank", rank_wickra, 1e-14, 1e-14, "counts; in percent there"),
]
