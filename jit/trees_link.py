"""From margins to forecasts by our own exp: a link's result enters the digests, so it must not depend on the machine's libm (design
contract 9). Margins are certified bit for bit; forecasts behind a link are near those of the library, within ulps that
tests/test_trees_link.py states.

A library that refuses a row has no forecast for it. Then no engine has one: the forecast is missing, whatever the trees would say."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.math import exp_point

IDENTITY, LOGISTIC, EXPONENTIAL, LOGISTIC_XGBOOST = 0, 1, 2, 3  # append-only
REFUSES_MISSING, REFUSES_INFINITE = 1, 2  # bits
XGBOOST_MOST = float(np.float32(88.7))  # xgboost, Sigmoid: margins below -88.7 count as -88.7


@kernel("f4", inline=True)
def logistic_point(m):
    """1 / (1 + e**-m), in float64, rounded once; NaN gives NaN, +-inf give 1 and 0."""
    return np.float32(1.0 / (1.0 + exp_point(-np.float64(m))))


@kernel("f4", inline=True)
def logistic_xgboost_point(m):
    """`logistic_point` of margins that are -88.7 at least, as xgboost has it: never below 3.0e-39."""
    return np.float32(1.0 / (1.0 + exp_point(min(-np.float64(m), XGBOOST_MOST))))


@kernel("f4", inline=True)
def exponential_point(m):
    """e**m, in float64, rounded once; NaN gives NaN, above 88.72 inf, below -103.98 zero."""
    return np.float32(exp_point(np.float64(m)))


@kernel("f4[:,:], i8, i8, u1[:], u1[:], out f4[:,:]")
def forecasts(x, lo, hi, link, refuses, y):
    """Turn margins into forecasts, in place.

    Parameters
    ----------
    x : (capacity, n_features) float32, the rows that were predicted
    lo, hi : int, rows [lo, hi) of `x`
    link : (n_models,) uint8, IDENTITY, LOGISTIC, EXPONENTIAL or LOGISTIC_XGBOOST
    refuses : (n_models,) uint8, bits REFUSES_MISSING, REFUSES_INFINITE: the library has no forecast for a row with such a value
    y : (>= hi - lo, n_models) float32, in: margins, out: forecasts; row 0 belongs to row `lo`

    References
    ----------
    xgboost, src/common/math.h, Sigmoid; LightGBM, objective functions, ConvertOutput; scikit-learn, sklearn/_loss/link.py.
    """
    asked = np.uint8(0)
    for m in range(refuses.shape[0]):
        asked |= refuses[m]
    for i in range(lo, hi):
        there = np.uint8(0)
        if asked:
            for f in range(x.shape[1]):
                v = x[i, f]
                if np.isnan(v):
                    there |= np.uint8(REFUSES_MISSING)
                elif np.isinf(v):
                    there |= np.uint8(REFUSES_INFINITE)
        r = i - lo
        for m in range(link.shape[0]):
            if refuses[m] & there:
                y[r, m] = np.float32(np.nan)
            elif link[m] == LOGISTIC:
                y[r, m] = logistic_point(y[r, m])
            elif link[m] == EXPONENTIAL:
                y[r, m] = exponential_point(y[r, m])
            elif link[m] == LOGISTIC_XGBOOST:
                y[r, m] = logistic_xgboost_point(y[r, m])
