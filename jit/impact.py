"""What a trade moves the price by: the square-root law."""

import math

import numpy as np

from tickarrow.jit._kernel import kernel

DAY_S = 23400.0  # trading seconds of a day


@kernel("f8, f8, f8, f8", inline=True)
def impact_point(quantity, adv, sigma_day, eta):
    """Impact of an order of `quantity`, in the unit of `sigma_day`.

    Parameters
    ----------
    quantity : float64, shares, >= 0
    adv : float64, average daily volume, shares. Without volume there is nothing to trade with: 0 or less gives inf
    sigma_day : float64, standard deviation of a day's return, basis points
    eta : float64, about 1 for the price after the whole order, 2/3 of that for its mean price; 0 = no impact is charged

    References
    ----------
    Almgren, Thum, Hauptmann and Li (2005), Direct estimation of equity market impact; Toth et al. (2011), Anomalous price impact and the
    critical nature of liquidity in financial markets: sigma sqrt(Q / V) with a factor of order one.
    """
    if eta == 0.0 or quantity == 0.0:
        return 0.0
    if not adv > 0.0:
        return np.inf
    return eta * sigma_day * math.sqrt(quantity / adv)


@kernel("f8, f8", inline=True)
def sigma_day_point(sigma, seconds):
    """Standard deviation of a day's return from that of `seconds` of trading, in the unit of `sigma`: scaled with the root of time."""
    return sigma * math.sqrt(DAY_S / seconds)
