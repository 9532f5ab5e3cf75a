"""The bar clock of family `technical` beside TA-Lib, scipy, pandas and wickra."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import talib
import wickra
from scipy import stats
from technical_bars_run import BASE, market, walk
from verify import Check

from tickarrow.jit import technical_bars as kernels

N = 500
NAMES = [c.name for c in kernels.BAR_COLUMNS]
ROUNDING = "both are float64 from the first value on: rounding only"
SQUARES = "TA-Lib's variance is a difference of sums of squares: about 1e-16 (price / deviation)^2"


@functools.cache
def data():
    """Ours by name, and high, low, close in whole units, volume: equal moves are equal for TA-Lib as well, which is not so in currency."""
    price, flow = market(N, 1, seed=3)
    ours = walk(price, flow)[:, 0]
    _, high, low, close = ((BASE + price[:, k, 0]).astype(float) for k in range(4))
    return dict(zip(NAMES, ours.T)), high, low, close, flow[:, 0, 0].copy()


def check(column, library, theirs, rtol=1e-9, atol=1e-9, why=ROUNDING):
    """`theirs` is called with high, low, close and volume."""
    return Check(column, library, lambda: (data()[0][column], np.asarray(theirs(*data()[1:]), float)), rtol, atol, why)


def _bands(which):
    def of(h, low, c, v):
        upper, middle, lower = talib.BBANDS(c, 20, 2, 2)
        return (c - lower) / (upper - lower) if which == "b" else 1e4 * (upper - lower) / middle

    return of


def _windows(x, n, of):
    out = np.full(x.size, np.nan)
    out[n - 1 :] = [of(w) for w in np.lib.stride_tricks.sliding_window_view(x, n)]
    return out


def _vwap(h, low, c, v):
    vwap = np.asarray(wickra.RollingVWAP(60).batch(h, low, c, v), float)
    return 1e4 * (c / vwap - 1)


def _range(h, low, c, n):
    top, bottom = pd.Series(h).rolling(n).max(), pd.Series(low).rolling(n).min()
    return (c - bottom) / (top - bottom)


_SLOPE = "TA-Lib's line is a running total: rounding of the total, 1e-16 of it"
CHECKS = [
    *(check(f"roc_{w}", "TA-Lib ROC", lambda h, low, c, v, w=w: 100 * talib.ROC(c, w), why=ROUNDING + "; theirs is percent") for w in (1, 5, 10, 20, 60)),
    *(
        check(name, "TA-Lib MACD", lambda h, low, c, v, k=k: 1e4 * talib.MACD(c, 12, 26, 9)[k] / c, why=ROUNDING + "; theirs is in units of price")
        for k, name in enumerate(("macd", "macd_signal", "macd_hist"))
    ),
    check("rsi_14", "TA-Lib RSI", lambda h, low, c, v: talib.RSI(c, 14)),
    check("cmo_14", "TA-Lib CMO", lambda h, low, c, v: talib.CMO(c, 14)),
    check("bollinger_b_20", "TA-Lib BBANDS", _bands("b"), 1e-7, 1e-7, SQUARES),
    check("bollinger_width_20", "TA-Lib BBANDS", _bands("width"), 1e-7, 1e-7, SQUARES),
    check("adx_14", "TA-Lib ADX", lambda h, low, c, v: talib.ADX(h, low, c, 14)),
    check("di_plus_14", "TA-Lib PLUS_DI", lambda h, low, c, v: talib.PLUS_DI(h, low, c, 14)),
    check("di_minus_14", "TA-Lib MINUS_DI", lambda h, low, c, v: talib.MINUS_DI(h, low, c, 14)),
    check("stoch_k_14", "TA-Lib STOCH", lambda h, low, c, v: talib.STOCH(h, low, c, 14, 3, 0, 3, 0)[0]),
    check("stoch_d_14", "TA-Lib STOCH", lambda h, low, c, v: talib.STOCH(h, low, c, 14, 3, 0, 3, 0)[1]),
    check("cci_20", "TA-Lib CCI", lambda h, low, c, v: talib.CCI(h, low, c, 20)),
    check("mfi_14", "TA-Lib MFI", lambda h, low, c, v: talib.MFI(h, low, c, v, 14)),
    check("obv_slope_20", "TA-Lib OBV", lambda h, low, c, v: talib.LINEARREG_SLOPE(talib.OBV(c, v), 20) / talib.SMA(v, 20), why=_SLOPE),
    check("ad_slope_20", "TA-Lib AD", lambda h, low, c, v: talib.LINEARREG_SLOPE(talib.AD(h, low, c, v), 20) / talib.SMA(v, 20), why=_SLOPE),
    check("williams_r_14", "TA-Lib WILLR", lambda h, low, c, v: talib.WILLR(h, low, c, 14)),
    check("aroon_25", "TA-Lib AROONOSC", lambda h, low, c, v: talib.AROONOSC(h, low, 25)),
    check("slope_20", "TA-Lib LINEARREG_SLOPE", lambda h, low, c, v: 1e4 * talib.LINEARREG_SLOPE(np.log(c), 20), why=ROUNDING + " of the logs"),
    check("r2_20", "scipy linregress", lambda h, low, c, v: _windows(np.log(c), 20, lambda y: stats.linregress(np.arange(20.0), y).rvalue ** 2)),
    *(check(f"price_z_{w}", "scipy zscore", lambda h, low, c, v, w=w: _windows(c, w, lambda y: stats.zscore(y)[-1])) for w in (20, 60, 240)),
    *(check(f"range_pos_{w}", "pandas rolling", lambda h, low, c, v, w=w: _range(h, low, c, w)) for w in (20, 60, 240)),
    *(check(f"range_pos_{w}", "TA-Lib STOCHF", lambda h, low, c, v, w=w: talib.STOCHF(h, low, c, w, 1, 0)[0] / 100) for w in (20, 60, 240)),
    check("vwap_dist_60", "wickra RollingVWAP", _vwap, why=ROUNDING + "; theirs takes each bar at its typical price, so the bars' notional is that here"),
]
