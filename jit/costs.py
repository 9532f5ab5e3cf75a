"""What a trade costs, term by term, in currency and in basis points of the mid. Numbers come from a dated table (conf/costs) as one record.

Sums are written out in one order, so that whoever adds the terms again gets the same bits."""

import numpy as np

from tickarrow.jit._kernel import kernel, record

TIERS = 5
# One table on one day; currency per share or contract unless it says otherwise. `up_to`: shares a month at which a tier ends, the last inf.
# `month`: shares of this month before the order. `clearing_most`, `max_share`, `sec`: fraction of the value, `pass_through` of the
# commission, `taf_most` currency per order. `multiplier`: currency per point of price. `effective`: spread paid, fraction of the quoted.
FEES = record(
    [
        ("up_to", "f8", (TIERS,)), ("per_share", "f8", (TIERS,)), ("month", "f8"), ("minimum", "f8"), ("max_share", "f8"), ("clearing", "f8"),
        ("clearing_most", "f8"), ("remove", "f8"), ("add", "f8"), ("pass_through", "f8"), ("regulatory", "f8"), ("taf", "f8"), ("taf_most", "f8"),
        ("sec", "f8"), ("multiplier", "f8"), ("effective", "f8"),
    ]
)  # fmt: skip


@kernel("FEES, f8, f8", inline=True)
def value_point(fees, quantity, price):
    """Value of an order, currency.

    Parameters
    ----------
    fees : FEES
    quantity : float64, shares or contracts, > 0
    price : float64, currency per point, > 0
    """
    return quantity * price * fees.multiplier


@kernel("FEES, f8, f8", inline=True)
def commission_point(fees, quantity, price):
    """Commission of one order, currency: per share by marginal tiers, with a minimum, capped by a share of its value.

    Parameters
    ----------
    fees, quantity, price : as in `value_point`. The cap has the last word: 1,000 shares at 0.25 pay 2.50, not 5.00.

    References
    ----------
    IBKR Pro pricing, US stocks; numbers, sources and dates in conf/costs.
    """
    left = quantity
    done = fees.month
    total = 0.0
    for i in range(TIERS):
        if done < fees.up_to[i]:
            step = min(left, fees.up_to[i] - done)
            total += fees.per_share[i] * step
            left -= step
            done += step
            if left <= 0.0:
                break
    return min(max(total, fees.minimum), fees.max_share * value_point(fees, quantity, price))


@kernel("FEES, f8, f8", inline=True)
def clearing_point(fees, quantity, price):
    """Clearing fee (NSCC, DTC), currency: per share, capped by a share of the value. Parameters as in `value_point`."""
    return min(fees.clearing * quantity, fees.clearing_most * value_point(fees, quantity, price))


@kernel("FEES, f8, i8", inline=True)
def exchange_point(fees, quantity, adds):
    """Exchange fee, currency; negative is a rebate.

    Parameters
    ----------
    fees, quantity : as in `value_point`
    adds : int, 1 for an order that rests in the book, 0 for a marketable one
    """
    return (fees.add if adds else fees.remove) * quantity


@kernel("FEES, f8", inline=True)
def pass_through_point(fees, commission):
    """What the broker passes through of NYSE's and FINRA's fees, currency: a share of `commission` (currency)."""
    return fees.pass_through * commission


@kernel("FEES, f8", inline=True)
def regulatory_point(fees, quantity):
    """Fee per share or contract of both sides, currency: the consolidated audit trail, or a futures regulator's."""
    return fees.regulatory * quantity


@kernel("FEES, f8, i8", inline=True)
def taf_point(fees, quantity, side):
    """FINRA trading activity fee, currency: per share sold, with a cap per order; 0 for a purchase.

    Parameters
    ----------
    fees, quantity : as in `value_point`
    side : int, +1 buys, -1 sells
    """
    if side > 0:
        return 0.0
    return min(fees.taf * quantity, fees.taf_most)


@kernel("FEES, f8, f8, i8", inline=True)
def sec_point(fees, quantity, price, side):
    """SEC section 31 fee, currency: a share of the value sold; 0 for a purchase. Parameters as in `value_point` and `taf_point`."""
    if side > 0:
        return 0.0
    return fees.sec * value_point(fees, quantity, price)


@kernel("FEES, f8, f8, i8", inline=True)
def both_sides_point(fees, quantity, price, adds):
    """What a purchase and a sale pay alike, currency: commission, clearing, exchange, pass-through and regulatory fee, in this order."""
    commission = commission_point(fees, quantity, price)
    total = commission + clearing_point(fees, quantity, price)
    total += exchange_point(fees, quantity, adds)
    total += pass_through_point(fees, commission)
    return total + regulatory_point(fees, quantity)


@kernel("FEES, f8, f8, i8, i8", inline=True)
def fees_point(fees, quantity, price, side, adds):
    """Commission and all fees of one order, currency: `both_sides_point`, then the trading activity fee and section 31."""
    total = both_sides_point(fees, quantity, price, adds) + taf_point(fees, quantity, side)
    return total + sec_point(fees, quantity, price, side)


@kernel("f8, f8, f8", inline=True)
def half_spread_point(bid, ask, effective):
    """Half of the spread that a marketable order is expected to pay, basis points of the mid.

    Parameters
    ----------
    bid, ask : float64, currency. NaN = side missing; of a crossed quote the result is negative
    effective : float64, effective spread, fraction of the quoted one
    """
    return effective * 5e3 * (ask - bid) / (0.5 * (bid + ask))


@kernel("FEES, f8, f8, i8, i8", inline=True)
def fees_bp_point(fees, quantity, price, side, adds):
    """`fees_point` in basis points of the value."""
    return 1e4 * fees_point(fees, quantity, price, side, adds) / value_point(fees, quantity, price)


@kernel("FEES, f8, f8, f8, i8", inline=True)
def one_way_point(fees, bid, ask, quantity, side):
    """Cost of a marketable order without its impact, basis points of the mid: half the effective spread, commission and fees.

    Parameters
    ----------
    fees : FEES
    bid, ask : float64, currency, bid <= ask
    quantity : float64, shares or contracts, > 0
    side : int, +1 buys, -1 sells
    """
    return half_spread_point(bid, ask, fees.effective) + fees_bp_point(fees, quantity, 0.5 * (bid + ask), side, 0)


@kernel("FEES, f8, f8, f8", inline=True)
def round_trip_point(fees, bid, ask, quantity):
    """Cost of a marketable order and of one that takes it back at the same quote, without their impact, basis points of the mid: the
    effective spread, and commission and fees of a purchase and a sale. Parameters as in `one_way_point`."""
    price = 0.5 * (bid + ask)
    bought = both_sides_point(fees, quantity, price, 0)
    sold = bought + taf_point(fees, quantity, -1) + sec_point(fees, quantity, price, -1)
    return 2.0 * half_spread_point(bid, ask, fees.effective) + 1e4 * (bought + sold) / value_point(fees, quantity, price)


@kernel("FEES[:], f8[:], f8[:], f8[:], out f8[:]")
def round_trip(fees, bid, ask, quantity, out):
    """`round_trip_point` of whole columns.

    Parameters
    ----------
    fees : (1,) FEES
    bid, ask, quantity : (n,) float64, as in `one_way_point`
    out : (n,) float64, basis points of the mid; NaN for a one-sided or crossed quote and for no quantity
    """
    for i in range(quantity.size):
        known = 0.0 < bid[i] <= ask[i] and quantity[i] > 0.0  # IBKR's price of no quote is -1
        out[i] = round_trip_point(fees[0], bid[i], ask[i], quantity[i]) if known else np.nan
