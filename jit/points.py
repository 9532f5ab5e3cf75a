"""Formulas of one quote, one trade, or two quotes in a row: scalar functions that feature families and the ufuncs of research share, so
that each has one definition. NaN in, or a denominator that is not there, gives NaN."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.math import log_point

GRID = 65536.0  # spreads are rounded to 1/65536 tick, so that a constant spread is constant to the bit


@kernel("f8, f8", inline=True)
def mid_point(bid, ask):
    """(b + a) / 2, currency; NaN without both sides and where it is not positive."""
    mid = 0.5 * (bid + ask)
    return mid if mid > 0.0 else np.nan


@kernel("f8, f8, f8", inline=True)
def spread_ticks_point(bid, ask, tick_size):
    """(a - b) / tick, to 1/65536 tick; NaN without a mid, negative if crossed."""
    if not 0.5 * (bid + ask) > 0.0:
        return np.nan
    return np.rint((ask - bid) / tick_size * GRID) / GRID


@kernel("f8, f8", inline=True)
def spread_bp_point(bid, ask):
    """1e4 (a - b) / m, bp; NaN without a mid, negative if crossed."""
    return 1e4 * (ask - bid) / mid_point(bid, ask)


@kernel("f8, f8, f8, f8", inline=True)
def micro_point(bid, bid_size, ask, ask_size):
    """Microprice (a bs + b as) / (bs + as), currency; NaN without a mid or where the sizes do not add up to more than 0.

    References
    ----------
    Gatheral and Oomen (2010), Zero-intelligence realized variance estimation; the martingale version is Stoikov (2018), The micro-price.
    """
    total = bid_size + ask_size
    if not (0.5 * (bid + ask) > 0.0 and total > 0.0):
        return np.nan
    return (ask * bid_size + bid * ask_size) / total


@kernel("f8, f8, f8, f8", inline=True)
def micro_dev_point(bid, bid_size, ask, ask_size):
    """(microprice - m) / (a - b), -0.5 to 0.5; NaN where the microprice is, and for a locked quote."""
    if ask == bid:
        return np.nan
    return (micro_point(bid, bid_size, ask, ask_size) - mid_point(bid, ask)) / (ask - bid)


@kernel("f8, f8", inline=True)
def imbalance_point(bid_size, ask_size):
    """(bs - as) / (bs + as), -1 to 1; NaN where the sizes do not add up to more than 0.

    References
    ----------
    Cao, Hansch and Wang (2009), The information content of an open limit-order book.
    """
    total = bid_size + ask_size
    if not total > 0.0:
        return np.nan
    return (bid_size - ask_size) / total


@kernel("f8, f8", inline=True)
def depth_point(bid_size, ask_size):
    """ln(bs + as); NaN where the sizes do not add up to more than 0."""
    total = bid_size + ask_size
    if not total > 0.0:
        return np.nan
    return log_point(total)


@kernel("f8, f8, f8, f8", inline=True)
def slope_point(bid, bid_size, ask, ask_size):
    """Quote slope (ln a - ln b) / (ln bs + ln as); NaN unless all four are positive, and for bs as = 1.

    References
    ----------
    Hasbrouck and Seppi (2001), Common factors in prices, order flows, and liquidity.
    """
    if not (bid > 0.0 and ask > 0.0 and bid_size > 0.0 and ask_size > 0.0):
        return np.nan
    denominator = log_point(bid_size) + log_point(ask_size)
    if denominator == 0.0:
        return np.nan
    return log_point(ask / bid) / denominator


@kernel("f8, f8", inline=True)
def log_return_point(price, before):
    """ln(p / p'); NaN unless both are positive."""
    if not (price > 0.0 and before > 0.0):
        return np.nan
    return log_point(price / before)


@kernel("f8, f8", inline=True)
def return_bp_point(price, before):
    """1e4 ln(p / p'), bp; NaN unless both are positive."""
    return 1e4 * log_return_point(price, before)


@kernel("f8, f8, f8", inline=True)
def effective_spread_point(price, mid, sign):
    """2e4 sign (p - m) / m, bp of the mid at the trade; 0 for a trade without sign, NaN unless the mid is positive.

    References
    ----------
    Huang and Stoll (1996), Dealer versus auction markets, in its form for one trade.
    """
    if not mid > 0.0:
        return np.nan
    return 2e4 * sign * (price - mid) / mid


@kernel("f8, f8, f8, f8", inline=True)
def realised_spread_point(price, mid, later, sign):
    """2e4 sign (p - m') / m, bp: what is left of the effective spread when the mid is m'; NaN unless the mid is positive.

    References
    ----------
    Huang and Stoll (1996), Dealer versus auction markets.
    """
    if not mid > 0.0:
        return np.nan
    return 2e4 * sign * (price - later) / mid


@kernel("f8, f8, f8", inline=True)
def impact_point(mid, later, sign):
    """2e4 sign (m' - m) / m, bp: effective less realised spread; NaN unless the mid is positive."""
    if not mid > 0.0:
        return np.nan
    return 2e4 * sign * (later - mid) / mid


@kernel("i8", inline=True)
def age_point(dt):
    """ln(1 + s) of a time in ns; a negative time counts as none."""
    return log_point(1.0 + float(max(dt, 0)) * 1e-9)
