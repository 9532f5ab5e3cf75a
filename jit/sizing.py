"""How many shares: volatility target, caps, whole lots."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel

YEAR_S = 252.0 * 23400.0  # trading seconds of a year: 252 days of 6.5 hours


@kernel("f8, f8", inline=True)
def lots_point(quantity, lot):
    """Largest multiple of `lot` that is not above `quantity` (shares, >= 0)."""
    return np.floor(quantity / lot) * lot


@kernel("f8, f8, f8, f8, f8, f8, f8", inline=True)
def target_point(sigma, horizon_s, price, nav, vol_target, name_cap, lot):
    """Size of a position whose annual volatility is `vol_target` of nav, at most `name_cap` of nav, in whole lots.

    Parameters
    ----------
    sigma : float64, standard deviation of the return over the horizon, basis points, > 0
    horizon_s : float64, seconds of trading time
    price, nav : float64, currency
    vol_target : float64, annual, fraction of nav
    name_cap : float64, fraction of nav
    lot : float64, shares

    Returns
    -------
    float64, shares, >= 0; 0 if less than one lot is left

    References
    ----------
    Moreira and Muir (2017), Volatility-managed portfolios: exposure proportional to 1 / volatility.
    """
    annual = 1e-4 * sigma * math.sqrt(YEAR_S / horizon_s)
    value = min(vol_target / annual, name_cap) * nav
    return lots_point(value / price, lot)
