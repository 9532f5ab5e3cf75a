"""Feature family `technical`, bar clock: momentum and technical analysis of bars (32 columns), all lanes at once."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.event import CLOCK
from tickarrow.jit.feature import Column
from tickarrow.jit.technical_bars_price import cci_lanes, enter_lanes, oscillator_lanes, place_lanes, regression_lanes, roc_lanes, z_lanes
from tickarrow.jit.technical_bars_rows import (
    COLUMNS, F_ROWS, PRICE_Z_240, Q_ROWS, RANGE_20, RAW_K, VALUES,
)  # fmt: skip
from tickarrow.jit.technical_bars_volume import lines_lanes, money_flow_lanes, vwap_lanes
from tickarrow.jit.technical_bars_wilder import direction_lanes, macd_lanes, strength_lanes


def _bars(name, unit, formula, reference, window, bars, missing="", verifier="TA-Lib", feed="any"):
    """A column that is warm at bar number `bars` of its lane."""
    warm_up = f"NaN before the {bars}{'th' if bars == 11 else {1: 'st', 2: 'nd'}.get(bars % 10, 'th')} bar" + (f", and {missing}" if missing else "")
    return Column(name, unit, formula, reference, f"{window} bars", warm_up, verifier, feed)


_WILDER, _CHANDE, _ACHELIS, _VWAP = "Wilder (1978)", "Chande and Kroll (1994)", "Achelis (2000)", "Berkowitz, Logue and Noser (1988)"
_LINE = "1e4 (EMA12 - EMA26) / c"
_STILL, _FLAT, _EMPTY = "where the price has stood still for hundreds of bars", "where all closes of the window are equal", "without volume in the window"

# c, h, l, v: close, high, low, volume of a bar; x = (h + l + c) / 3; a bar without a trade has h = l = c = last price and v = 0.
BAR_COLUMNS = (
    *(_bars(f"roc_{w}", "bp", f"1e4 (c / c_{w} - 1), c_{w} of {w} bars ago", "", str(w), w + 1, f"where c_{w} <= 0", "TA-Lib ROC") for w in (1, 5, 10, 20, 60)),
    _bars("macd", "bp", _LINE, "Appel (1979)", "12/26", 26, "where c <= 0", "TA-Lib MACD"),
    _bars("macd_signal", "bp", "1e4 EMA9(EMA12 - EMA26) / c", "Appel (1979)", "12/26/9", 34, "where c <= 0", "TA-Lib MACD"),
    _bars("macd_hist", "bp", "macd - macd_signal", "Appel (1979)", "12/26/9", 34, "where c <= 0", "TA-Lib MACD"),
    _bars("rsi_14", "%", "100 G / (G + L), Wilder means of gains and losses of the close", _WILDER, "14", 15, _STILL, "TA-Lib RSI"),
    _bars("bollinger_b_20", "1", "(c - lower) / (upper - lower), bands 2 deviations about the mean", "Bollinger (2001)", "20", 20, _FLAT, "TA-Lib BBANDS"),
    _bars("bollinger_width_20", "bp", "1e4 (upper - lower) / mean", "Bollinger (2001)", "20", 20, "where the mean is <= 0", "TA-Lib BBANDS"),
    _bars("adx_14", "%", "Wilder mean of 100 |DI+ - DI-| / (DI+ + DI-)", _WILDER, "14", 28, _STILL, "TA-Lib ADX"),
    _bars("di_plus_14", "%", "100 S(max(h - h_1, 0) where it exceeds l_1 - l) / S(true range), Wilder sums", _WILDER, "14", 15, _STILL, "TA-Lib PLUS_DI"),
    _bars("di_minus_14", "%", "100 S(max(l_1 - l, 0) where it exceeds h - h_1) / S(true range), Wilder sums", _WILDER, "14", 15, _STILL, "TA-Lib MINUS_DI"),
    _bars("stoch_k_14", "%", "mean of 3 of 100 (c - min l) / (max h - min l)", "Lane (1984)", "14/3", 16, "where one of 3 has no range", "TA-Lib STOCH"),
    _bars("stoch_d_14", "%", "mean of 3 of stoch_k_14", "Lane (1984)", "14/3/3", 18, "where one of 5 has no range", "TA-Lib STOCH"),
    _bars("cci_20", "1", "(x - mean x) / (0.015 mean |x - mean x|)", "Lambert (1980)", "20", 20, "where all x are equal", "TA-Lib CCI"),
    _bars("mfi_14", "%", "100 S(x v, x > x_1) / S(x v, x != x_1)", "Quong and Soudack (1989)", "14", 15, _EMPTY, "TA-Lib MFI", "trades"),
    _bars("obv_slope_20", "1", "slope of the line through on-balance volume / mean v", "Granville (1963)", "20", 20, _EMPTY, "TA-Lib OBV", "trades"),
    _bars("ad_slope_20", "1", "slope of the line through S(v ((c - l) - (h - c)) / (h - l)), / mean v", _ACHELIS, "20", 20, _EMPTY, "TA-Lib AD", "trades"),
    _bars("williams_r_14", "%", "-100 (max h - c) / (max h - min l)", "Williams (1973)", "14", 14, "where the range is 0", "TA-Lib WILLR"),
    _bars("aroon_25", "%", "100 (bars since min l - bars since max h) / 25, of 26 bars, the later of equals", "Chande (1995)", "25", 26, "", "TA-Lib AROONOSC"),
    _bars("cmo_14", "%", "100 (G - L) / (G + L), Wilder means as in TA-Lib", _CHANDE, "14", 15, _STILL, "TA-Lib CMO"),
    _bars("slope_20", "bp", "1e4 slope of the least-squares line through ln c, per bar", "", "20", 20, "where a close is <= 0", "TA-Lib LINEARREG_SLOPE"),
    _bars("r2_20", "1", "R^2 of the line of slope_20", "", "20", 20, _FLAT, "scipy linregress"),
    *(_bars(f"price_z_{w}", "1", "(c - mean) / population deviation of c", "", str(w), w, _FLAT, "scipy zscore") for w in (20, 60, 240)),
    *(_bars(f"range_pos_{w}", "1", "(c - min l) / (max h - min l)", "", str(w), w, "where the range is 0", "pandas rolling") for w in (20, 60, 240)),
    _bars("vwap_dist_60", "bp", "1e4 (c / VWAP - 1), VWAP = S(notional) / S(v)", _VWAP, "60", 60, _EMPTY, "wickra RollingVWAP", "trades"),
)  # fmt: skip


@kernel("out f8[:,:], out i8[:,:], i8[:,:], f8[:,:], i8[:], f8[:], i8[:], i8[:,:], CLOCK, i8, i8, i8, out f8[:,:]")
def technical_bars(f, q, price, flow, base, unit, n, when, clock, lo, hi, pos, out):
    """Write the columns of the bars that have closed in lanes [lo, hi).

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64, updated in place
    price : (4, S) int64, OPEN HIGH LOW CLOSE, units from `base`, within 2**35 of it (3e8 ticks)
    flow : (5, S) float64, of which VOLUME, shares, and NOTIONAL, currency, are read
    base : (S,) int64, units
    unit : (S,) float64, currency
    n : (S,) int64, bars of the lane closed before this one: 0 = the lane begins anew; negative = it has no price yet, columns are NaN
    when, clock : not read
    pos : number of this call for these lanes; slot of the bar in all rings
    out : (S, 32) float64; NaN while not warm, and where a denominator is 0

    Notes
    -----
    Windows of prices are exact (integers), windows of volume are sums of the window's own values, recursive means forget:
    nothing drifts. No value depends on the other lanes.
    """
    enter_lanes(f, q, price, base, lo, hi, pos)
    roc_lanes(f, n, lo, hi, pos)
    macd_lanes(f, n, lo, hi, pos)
    strength_lanes(f, n, lo, hi, pos)
    direction_lanes(f, n, lo, hi, pos)
    for k in range(3):  # 20 bars last: Bollinger bands are of the last call
        z_lanes(f, q, n, lo, hi, pos, (240, 60, 20)[k], PRICE_Z_240 - k)
    for k in range(4):
        place_lanes(f, q, price, n, lo, hi, pos, (14, 20, 60, 240)[k], (3, 4, 5, 7)[k], RAW_K + (pos & 3) if k == 0 else VALUES + RANGE_20 + k - 1)
    oscillator_lanes(f, q, n, lo, hi, pos)
    cci_lanes(f, n, lo, hi, pos)
    regression_lanes(f, n, lo, hi, pos)
    vwap_lanes(f, flow, unit, n, lo, hi, pos)
    money_flow_lanes(f, n, lo, hi, pos)
    lines_lanes(f, n, lo, hi, pos)
    for i in range(lo, hi):
        for k in range(COLUMNS):
            out[i, k] = f[VALUES + k, i]
