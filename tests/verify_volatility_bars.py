"""Bar columns of family `volatility` against independent implementations."""

from __future__ import annotations

import functools

import feature_bars
import numpy as np
import pandas as pd
import talib
import wickra
from feature_ticks import TICK
from verify import Check

from tickarrow.jit import volatility_bars as kernels

N = 400
NAMES = [c.name for c in kernels.BAR_COLUMNS]


@functools.cache
def bars():
    return feature_bars.walk(N, 12)


@functools.cache
def columns():
    return feature_bars.columns(feature_bars.family(kernels, kernels.volatility_bars), [bars()])[:, 0]


def ours(name):
    return columns()[:, NAMES.index(name)]


def prices(*names):
    return [np.array([getattr(b, k) for b in bars()]) * feature_bars.UNIT for k in names]


def per_bar(name, indicator, *names):
    """wickra annualises with 252 bars a year and gives percent: 1 a year and 100 times it are bp a bar."""
    return ours(name), 100 * np.array(indicator(20, 1).batch(*prices(*names)))


def parkinson():
    return per_bar("parkinson_20b", wickra.ParkinsonVolatility, "high", "low")


def garman_klass():
    return per_bar("garman_klass_20b", wickra.GarmanKlassVolatility, "open", "high", "low", "close")


def rogers_satchell():
    return per_bar("rogers_satchell_20b", wickra.RogersSatchellVolatility, "open", "high", "low", "close")


def yang_zhang():
    return per_bar("yang_zhang_20b", wickra.YangZhangVolatility, "open", "high", "low", "close")


def atr():
    return ours("atr_14b"), talib.ATR(*prices("high", "low", "close"), 14) / TICK


def natr():
    return ours("natr_14b"), 100 * talib.NATR(*prices("high", "low", "close"), 14)


def volatility_of_volatility():
    return ours("vol_of_vol_60b"), pd.Series([b.variance for b in bars()]).pow(0.5).rolling(60).std().to_numpy()


RUNNING = "running sums of squared logarithms of prices there, anew at each bar here"
CHECKS = [
    Check("parkinson_20b", "wickra ParkinsonVolatility", parkinson, 1e-11, 1e-11, RUNNING),
    Check("garman_klass_20b", "wickra GarmanKlassVolatility", garman_klass, 1e-11, 1e-11, RUNNING),
    Check("rogers_satchell_20b", "wickra RogersSatchellVolatility", rogers_satchell, 1e-11, 1e-11, RUNNING),
    Check("yang_zhang_20b", "wickra YangZhangVolatility", yang_zhang, 1e-11, 1e-11, RUNNING),
    Check("atr_14b", "TA-Lib ATR", atr, 1e-11, 1e-11, "prices in currency there, exact units here: 1e-16 of the price in a range of 1e-4 of it"),
    Check("natr_14b", "TA-Lib NATR", natr, 1e-11, 1e-11, "as atr_14b"),
    Check("vol_of_vol_60b", "pandas rolling std", volatility_of_volatility, 1e-11, 1e-11, "pandas updates the variance by adding and removing"),
]
