"""What a trade costs, in currency and in basis points of the mid."""

from tickarrow.jit._kernel import kernel


@kernel("f8, f8, f8, f8, f8", inline=True)
def commission_point(quantity, price, per_share, minimum, max_share):
    """Commission of one order under a fixed table: per share, with a minimum, capped by a share of its value.

    Parameters
    ----------
    quantity : float64, shares, > 0
    price : float64, currency
    per_share, minimum : float64, currency
    max_share : float64, fraction of the order's value. The cap has the last word: 1,000 shares at 0.25 pay 2.50, not 5.00.

    References
    ----------
    IBKR Pro fixed pricing, US stocks; numbers and date in conf/costs.
    """
    return min(max(per_share * quantity, minimum), max_share * quantity * price)


@kernel("f8, f8, f8, f8, f8, f8", inline=True)
def cost_point(bid, ask, quantity, per_share, minimum, max_share):
    """One-way cost of a marketable order: half the spread and the commission, basis points of the mid.

    Parameters
    ----------
    bid, ask : float64, currency, bid <= ask
    quantity : float64, shares, > 0
    per_share, minimum, max_share : as in `commission_point`
    """
    mid = 0.5 * (bid + ask)
    half_spread = 5e3 * (ask - bid) / mid
    return half_spread + 1e4 * commission_point(quantity, mid, per_share, minimum, max_share) / (quantity * mid)
