"""Exponentially decaying sums in event time, and what else the feature families share. A sum decays by exp(-dt/tau) between two
events, so its state is one number, and the result depends on the event times only."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.math import exp_point

MAX_TAU = 8  # windows a family can hold
FORGOTTEN = 1e-200  # a weight below this is no weight: the history is more than 460 tau old
FLOAT32_MAX = 3.4028234663852886e38
FLOAT32_MIN = 1.1754943508222875e-38  # smallest normal number
SAME = 1e-6  # ticks: two prices nearer than this are one; means of decimal prices carry rounding errors
ROUNDING = 1e-24  # a variance below this share of the squared mean is the rounding of the mean


@kernel("f8, f8, f8", inline=True)
def moved_point(price, before, tick_size):
    """Whether a price differs from an earlier one by more than rounding; NaN differs from nothing."""
    return abs(price - before) > SAME * tick_size


@kernel("f8, f8, f8, f8, f8", inline=True)
def sign_point(price, bid, ask, tick_size, tick_sign):
    """Sign of a trade: +1 bought, -1 sold, 0 not known.

    Parameters
    ----------
    price, bid, ask : float64, the trade and the quote in force; NaN = missing
    tick_size : float64
    tick_sign : float64, direction of the last change of the trade price, this trade included; 0 = none yet

    References
    ----------
    Lee and Ready (1991), Inferring trade direction from intraday data: quote rule, tick rule at the mid or without a quote.
    """
    above = (price - bid) - (ask - price)  # twice the distance to the mid
    if above > 2.0 * SAME * tick_size:
        return 1.0
    if above < -2.0 * SAME * tick_size:
        return -1.0
    return tick_sign


@kernel("f8, f8, f8, f8, f8, f8, f8, f8", inline=True)
def ofi_point(bid0, bid_size0, ask0, ask_size0, bid, bid_size, ask, ask_size):
    """Order-flow imbalance of a quote (without suffix) against the one before (suffix 0), shares.

    Parameters
    ----------
    bid0, ask0, bid, ask : float64, currency
    bid_size0, ask_size0, bid_size, ask_size : float64, shares; both quotes are complete

    References
    ----------
    Cont, Kukanov and Stoikov (2014), The price impact of order book events: e_n. An unchanged quote gives 0.
    """
    e = 0.0
    if bid >= bid0:
        e += bid_size
    if bid <= bid0:
        e -= bid_size0
    if ask <= ask0:
        e -= ask_size
    if ask >= ask0:
        e += ask_size0
    return e


@kernel("i8, f8", inline=True)
def decay_point(dt, rate):
    """exp(-dt/tau).

    Parameters
    ----------
    dt : int64, ns; 0 or less gives exactly 1
    rate : float64, -1e-9 / tau with tau in seconds
    """
    if dt <= 0:
        return 1.0
    return exp_point(float(dt) * rate)


@kernel("f8, f8", inline=True)
def ratio_point(numerator, denominator):
    """numerator / denominator; NaN where the denominator is not above `FORGOTTEN`."""
    if denominator > FORGOTTEN:
        return numerator / denominator
    return np.nan


@kernel("f8", inline=True)
def single_point(value):
    """A feature as a model gets it: what float32 cannot hold becomes NaN, so that no infinity reaches a model, and what it holds as a denormal
    number becomes 0, because a processor takes a hundred cycles for each of them (a sum that has decayed for 88 windows is one)."""
    size = abs(value)
    if size < FLOAT32_MIN:
        return 0.0
    return value if size <= FLOAT32_MAX else np.nan
