"""NumPy ufuncs of the formulas of a decision, for what-if tables: the functions that `act` computes, term by term.
`tickarrow.pipeline.points_act` gives them ready to use. Not for the hot path."""

import numpy as np

from tickarrow.jit._kernel import kernel, ufunc
from tickarrow.jit.barrier import barrier_point, barrier_value_point, barrier_within_point
from tickarrow.jit.costs import (
    FEES, clearing_point, commission_point, exchange_point, fees_point, half_spread_point, one_way_point, pass_through_point, regulatory_point,
    sec_point, taf_point,
)  # fmt: skip
from tickarrow.jit.impact import impact_point, sigma_day_point
from tickarrow.jit.sizing import kelly_point, lots_point, target_point, throttle_point, volatility_point

TERMS = 8  # of a bill: commission, clearing, exchange, pass-through, regulatory, TAF, section 31, all


@ufunc("f8, f8, f8")
def half_spread(bid, ask, effective):
    """Half of the effective spread, bp of the mid; `effective`: fraction of the quoted spread."""
    return half_spread_point(bid, ask, effective)


@ufunc("f8, f8, f8, f8")
def impact(quantity, adv, sigma_day, eta):
    """eta sigma_day sqrt(quantity / adv), in the unit of sigma_day (Almgren et al. 2005; Toth et al. 2011); inf without volume."""
    known = quantity + adv + sigma_day + eta
    return impact_point(quantity, adv, sigma_day, eta) if known == known else known


@ufunc("f8, f8")
def sigma_day(sigma, seconds):
    """Standard deviation of a day's return from that of `seconds` of trading."""
    return sigma_day_point(sigma, seconds)


@ufunc("f8, f8, f8, f8")
def barrier(drift, variance, up, down):
    """Probability that Brownian motion reaches +up before -down (Karlin and Taylor 1975)."""
    known = drift + variance + up + down
    return barrier_point(drift, variance, up, down) if known == known else known


@ufunc("f8, f8, f8, f8, f8")
def barrier_within(drift, variance, up, down, time):
    """Probability that it does so within `time`; the other side's: (-drift, variance, down, up, time)."""
    known = drift + variance + up + down + time
    return barrier_within_point(drift, variance, up, down, time) if known == known else known


@ufunc("f8, f8, f8")
def barrier_value(drift, up, down):
    """Mean of a path that ends at +up, at -down or after one unit of time; all in its standard deviations (Karlin and Taylor 1975)."""
    known = drift + up + down
    _, _, value = barrier_value_point(drift, up, down)
    return value if known == known else known


@ufunc("f8, f8, f8")
def kelly(edge, sigma, fraction):
    """Fractional Kelly, fraction of nav; edge and sigma in bp over the horizon (Kelly 1956; Thorp 2006)."""
    return kelly_point(edge, sigma, fraction)


@ufunc("f8, f8, f8")
def volatility(sigma, horizon_s, vol_target):
    """Position of an annual volatility, fraction of nav; sigma in bp over the horizon (Moreira and Muir 2017)."""
    return volatility_point(sigma, horizon_s, vol_target)


@ufunc("f8, f8, f8, f8, f8, f8")
def target(edge, sigma, horizon_s, kelly, vol_target, name_cap):
    """The least of Kelly's position, the volatility target's and the name cap, fraction of nav."""
    known = edge + sigma + horizon_s + kelly + vol_target + name_cap
    return target_point(edge, sigma, horizon_s, kelly, vol_target, name_cap) if known == known else known


@ufunc("f8, f8, f8")
def throttle(drawdown, start, stop):
    """Share of its size that a position keeps in a drawdown (Grossman and Zhou 1993)."""
    known = drawdown + start + stop
    return throttle_point(drawdown, start, stop) if known == known else known


@ufunc("f8, f8")
def lots(quantity, lot):
    """Largest multiple of `lot` that is not above `quantity`."""
    return lots_point(quantity, lot)


@kernel("FEES[:], f8[:], f8[:], i8[:], i8, out f8[:,:]")
def bill(fees, quantity, price, side, adds, out):
    """Commission and fees of each order, term by term.

    Parameters
    ----------
    fees : (1,) FEES
    quantity, price : (n,) float64, shares or contracts, currency; NaN gives NaN
    side : (n,) int64, +1 buys, -1 sells
    adds : int, 1 for orders that rest in the book, 0 for marketable ones
    out : (n, TERMS) float64, currency
    """
    f = fees[0]
    for i in range(quantity.size):
        known = quantity[i] + price[i]
        if known != known:
            for term in range(TERMS):
                out[i, term] = known
            continue
        commission = commission_point(f, quantity[i], price[i])
        out[i, 0] = commission
        out[i, 1] = clearing_point(f, quantity[i], price[i])
        out[i, 2] = exchange_point(f, quantity[i], adds)
        out[i, 3] = pass_through_point(f, commission)
        out[i, 4] = regulatory_point(f, quantity[i])
        out[i, 5] = taf_point(f, quantity[i], side[i])
        out[i, 6] = sec_point(f, quantity[i], price[i], side[i])
        out[i, 7] = fees_point(f, quantity[i], price[i], side[i], adds)


@kernel("FEES[:], f8[:], f8[:], f8[:], i8[:], out f8[:]")
def one_way(fees, bid, ask, quantity, side, out):
    """Cost of each marketable order without impact, bp of the mid; NaN for a one-sided or crossed quote and for no quantity. Columns as in `bill`."""
    for i in range(quantity.size):
        known = 0.0 < bid[i] <= ask[i] and quantity[i] > 0.0
        out[i] = one_way_point(fees[0], bid[i], ask[i], quantity[i], side[i]) if known else np.nan
