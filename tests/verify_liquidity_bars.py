"""Bar columns of family `liquidity` against independent implementations."""

from __future__ import annotations

import functools

import feature_bars
import numpy as np
import wickra
from verify import Check

from tickarrow.jit import liquidity_bars as kernels

N = 400


@functools.cache
def bars():
    return feature_bars.walk(N, 11)


@functools.cache
def ours():
    return feature_bars.columns(feature_bars.family(kernels, kernels.liquidity_bars), [bars()])[:, 0]


def amihud():
    close = np.array([b.close for b in bars()]) * feature_bars.UNIT
    notional = np.array([b.notional for b in bars()])
    return ours()[:, 0], 1e10 * np.array(wickra.AmihudIlliquidity(20).batch(close, notional / close, np.ones(N, bool)))


def corwin_schultz():
    """Whole arrays: the formula once for all pairs, then a moving mean."""
    high, low, close = (np.array([getattr(b, k) for b in bars()], float) for k in ("high", "low", "close"))
    gap = np.maximum(low[1:] - close[:-1], 0) + np.minimum(high[1:] - close[:-1], 0)
    up, down = high[1:] - gap, low[1:] - gap
    beta = np.log(high[:-1] / low[:-1]) ** 2 + np.log(up / down) ** 2
    gamma = np.log(np.maximum(high[:-1], up) / np.minimum(low[:-1], down)) ** 2
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / (3 - 2 * np.sqrt(2)) - np.sqrt(gamma / (3 - 2 * np.sqrt(2)))
    spread = np.maximum(2 * np.expm1(alpha) / (1 + np.exp(alpha)), 0)
    mean = np.convolve(spread, np.ones(20) / 20, "valid")
    return ours()[:, 1], 1e4 * np.concatenate([np.full(20, np.nan), mean])


CHECKS = [
    Check("amihud_20b", "wickra AmihudIlliquidity", amihud, 1e-11, 1e-11, "notional over the close, times it again; running sum"),
    Check("corwin_schultz_20b", "numpy", corwin_schultz, 1e-12, 1e-12, "no library has it: whole arrays; A has 6 times the rounding of ln(H/L)"),
]  # fmt: skip
