"""Pre-trade limits: one formula for the decision and for the router, the count of orders in a moving window, and the daily loss stop.

Every comparison is written so that an amount that is not a number refuses. Amounts are not converted between currencies."""

import numpy as np

from tickarrow.jit._kernel import kernel, record

# Reason of the schemas; a test compares them. 0 = the order may go.
RESTRICTED, RESTART_WINDOW, LOSS_STOP, SESSION_WINDOW, OLD_QUOTE, PRICE_COLLAR = range(19, 25)
ORDER_SIZE, ORDER_VALUE, POSITION_LIMIT, GROSS_LIMIT, NET_LIMIT, ORDER_RATE, NOT_TURNED = range(25, 32)
FREE, CLOSE_ONLY, NOTHING = range(3)  # what may be sent for a symbol, or at a time
SECOND, MINUTE = 1_000_000_000, 60_000_000_000
FOREVER = np.int64(2**62)
NEVER = np.int64(-(2**62))

# One row: configs/limits.py. Collars are fractions of the price, age in ns, counts 0 = any number.
LIMITS_PARAMS = record(
    [
        ("order_shares", "f8"), ("order_value", "f8"), ("position_shares", "f8"), ("position_value", "f8"), ("gross_value", "f8"),
        ("net_value", "f8"), ("collar_quote", "f8"), ("collar_trade", "f8"), ("daily_loss", "f8"), ("quote_age", "i8"), ("per_second", "i8"),
        ("per_minute", "i8"),
    ]
)  # fmt: skip
# One row per symbol: price of its last trade, time of its latest quote, what may be sent for it.
LIMITS_STATE = record([("trade", "f8"), ("quoted", "i8"), ("listed", "i8")])
# One row. `day`: begin of the session day; `begin`: gain of the book then, currency; `stopped`: its loss stop is on;
# `sent`: orders so far, the last of them with their times in a ring.
LIMITS_BOOK = record([("begin", "f8"), ("day", "i8"), ("day_end", "i8"), ("sent", "i8"), ("stopped", "i8")])


@kernel("i8, f8, f8", inline=True)
def opens_point(side, quantity, position):
    """Whether an order of `quantity` shares on `side` does more than reduce `position` (shares, signed)."""
    against = float(side) * position
    return not (against < 0.0 and quantity <= -against)


@kernel("LIMITS_PARAMS, i8, f8, f8, f8, f8, f8, f8, f8, f8, i8, i8, i8, i8", inline=True)
def limits_point(par, side, quantity, price, position, gross, net, bid, ask, trade, age, listed, closed, stopped):
    """The first limit that an order breaks; the rate is `rate_point`'s.

    Parameters
    ----------
    par : LIMITS_PARAMS
    side : int, +1 buys, -1 sells
    quantity, price : float64, shares; limit price, currency
    position : float64, shares, signed, with what working orders on the same side will add
    gross, net : float64, currency, of all other symbols: sum of absolute values; sum of values on `side` less those against it
    bid, ask : float64, currency, the quote in force, uncrossed
    trade : float64, currency, last trade; NaN or 0 = none yet
    age : int, ns, of the quote
    listed, closed : int, FREE, CLOSE_ONLY or NOTHING: of the symbol, and at this time
    stopped : int, 1 = the daily loss stop is on

    Returns
    -------
    int, Reason; 0 = none
    """
    sign = float(side)
    if listed == NOTHING:
        return RESTRICTED
    if closed == NOTHING:
        return RESTART_WINDOW
    opens = opens_point(side, quantity, position)
    if opens:
        if stopped:
            return LOSS_STOP
        if listed != FREE:
            return RESTRICTED
        if closed != FREE:
            return SESSION_WINDOW
    if age > par.quote_age:
        return OLD_QUOTE
    mid = 0.5 * (bid + ask)
    if not sign * (price - mid) <= par.collar_quote * mid:
        return PRICE_COLLAR
    if trade > 0.0 and not sign * (price - trade) <= par.collar_trade * trade:
        return PRICE_COLLAR
    if opens:
        if not quantity <= par.order_shares:
            return ORDER_SIZE
        if not quantity * price <= par.order_value:
            return ORDER_VALUE
        after = sign * position + quantity  # on the order's side, which it opens
        if not (after <= par.position_shares and after * mid <= par.position_value):
            return POSITION_LIMIT
        if not gross + after * mid <= par.gross_value:
            return GROSS_LIMIT
        if not net + after * mid <= par.net_value:
            return NET_LIMIT
    return 0


@kernel("LIMITS_BOOK, i8[:], LIMITS_PARAMS, i8", inline=True)
def rate_point(book, times, par, now):
    """Whether one more order at `now` stays within `per_second` orders in any second and `per_minute` in any minute.

    Parameters
    ----------
    book : LIMITS_BOOK
    times : (n,) int64, ns, of the last n orders; order k is at k % n, n >= both counts
    par : LIMITS_PARAMS
    now : int, ns
    """
    if 0 < par.per_second <= book.sent and now - times[(book.sent - par.per_second) % times.size] < SECOND:
        return False
    return not (0 < par.per_minute <= book.sent and now - times[(book.sent - par.per_minute) % times.size] < MINUTE)


@kernel("LIMITS_BOOK, out i8[:], i8", inline=True)
def count_point(book, times, now):
    """Count an order.

    Parameters
    ----------
    book, times : as in `rate_point`, updated
    now : int, ns
    """
    times[book.sent % times.size] = now
    book.sent += 1


@kernel("i8[:], i8", inline=True)
def last_point(edges, now):
    """Index of the last of the rising `edges` (ns) that is not after `now`; -1 = none is."""
    lo = 0
    hi = edges.size
    while lo < hi:
        middle = (lo + hi) // 2
        if edges[middle] <= now:
            lo = middle + 1
        else:
            hi = middle
    return lo - 1


@kernel("LIMITS_BOOK, i8[:], i8, f8", inline=True)
def day_point(book, days, now, gain):
    """A session day begins where one does: its gains count from `gain`, its loss stop is off.

    Parameters
    ----------
    book : LIMITS_BOOK, updated
    days : (n,) int64, begins of session days, ns, rising
    now : int, ns
    gain : float64, currency, of the book before anything of `now`
    """
    at = last_point(days, now)
    day = days[at] if at >= 0 else NEVER
    if day != book.day:
        book.day = day
        book.begin = gain
        book.stopped = 0
    book.day_end = days[at + 1] if at + 1 < days.size else FOREVER
