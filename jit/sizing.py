"""How much of a symbol: fractional Kelly, volatility target, per-name cap, drawdown throttle, whole lots."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel

YEAR_S = 252.0 * 23400.0  # trading seconds of a year: 252 days of 6.5 hours


@kernel("f8, f8", inline=True)
def lots_point(quantity, lot):
    """Largest multiple of `lot` that is not above `quantity` (shares, >= 0)."""
    return np.floor(quantity / lot) * lot


@kernel("f8, f8, f8", inline=True)
def kelly_point(edge, sigma, fraction):
    """Position of fractional Kelly, fraction of nav: `fraction` x mean / variance.

    Parameters
    ----------
    edge : float64, expected return over the horizon, basis points, >= 0
    sigma : float64, standard deviation of that return, basis points, > 0
    fraction : float64, of the full Kelly bet; inf = no limit

    References
    ----------
    Kelly (1956), A new interpretation of information rate; Thorp (2006), The Kelly criterion in blackjack, sports betting and the stock market.
    """
    if fraction == np.inf:
        return np.inf
    return fraction * 1e4 * edge / (sigma * sigma)


@kernel("f8, f8, f8", inline=True)
def volatility_point(sigma, horizon_s, vol_target):
    """Position whose annual volatility is `vol_target`, fraction of nav.

    Parameters
    ----------
    sigma : float64, standard deviation of the return over the horizon, basis points, > 0
    horizon_s : float64, seconds of trading time
    vol_target : float64, annual, fraction of nav

    References
    ----------
    Moreira and Muir (2017), Volatility-managed portfolios: exposure proportional to 1 / volatility.
    """
    return vol_target / (1e-4 * sigma * math.sqrt(YEAR_S / horizon_s))


@kernel("f8, f8, f8, f8, f8, f8", inline=True)
def target_point(edge, sigma, horizon_s, kelly, vol_target, name_cap):
    """Size of a position before the book is looked at, fraction of nav: the least of Kelly's, the volatility target's and the per-name cap.

    Parameters
    ----------
    edge, sigma, kelly : as in `kelly_point`
    horizon_s, vol_target : as in `volatility_point`
    name_cap : float64, fraction of nav
    """
    return min(min(kelly_point(edge, sigma, kelly), volatility_point(sigma, horizon_s, vol_target)), name_cap)


@kernel("f8, f8, f8", inline=True)
def throttle_point(drawdown, start, stop):
    """Share of its size that a position keeps in a drawdown: 1 up to `start`, 0 from `stop`, a line between them.

    Parameters
    ----------
    drawdown, start, stop : float64, fraction of the highest equity, start <= stop

    References
    ----------
    Grossman and Zhou (1993), Optimal investment strategies for controlling drawdowns: exposure proportional to what is left of the cushion.
    """
    if drawdown <= start:
        return 1.0
    if drawdown >= stop:
        return 0.0
    return (stop - drawdown) / (stop - start)
