"""The pre-trade limits that a decision met, in plain Python: every one of them, and the first that is broken."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit.limits import CLOSE_ONLY, NOTHING
from tickarrow.pipeline.decide import Act
from tickarrow.pipeline.schemas import Kind, Reason


@dataclass(slots=True)
class Standing:
    """What the limits knew of a symbol and of the book before a tick."""

    state: Any  # LIMITS_STATE
    book: Any  # LIMITS_BOOK
    times: npt.NDArray[np.int64]  # of the last orders, ns

    @classmethod
    def of(cls, act: Act, symbol: int) -> Standing:
        return cls(act.limits.state[symbol].copy(), act.limits.book[0].copy(), act.limits.times.copy())


def stopped(standing: Standing, act: Act, now: int, before: float, gain: float) -> bool:
    """Whether the daily loss stop is on.

    Parameters
    ----------
    standing, act : before the tick; the stage, whose settings are read
    now : ns, of the tick
    before, gain : gain of the book before the tick and after it, currency
    """
    begin, on = float(standing.book["begin"]), bool(standing.book["stopped"])
    days = act.limits.days.tolist()
    if now >= standing.book["day_end"] and (at := bisect_right(days, now) - 1) >= 0 and days[at] != standing.book["day"]:
        begin, on = before, False
    return on or not gain - begin > -float(act.limits.params[0]["daily_loss"])


def opens(side: int, quantity: float, position: float) -> bool:
    return not (side * position < 0.0 and quantity <= abs(position))


def broken(
    standing: Standing, act: Act, tick: dict[str, Any], stop: bool, side: int, quantity: float, price: float, position: float, gross: float, net: float,
    bid: float, ask: float,
) -> Reason:  # fmt: skip
    """The first limit that the order breaks; ORDER = none.

    Parameters
    ----------
    standing, act : before the tick; the stage, whose settings are read
    tick : the row of TICKS
    stop : the daily loss stop is on
    side, quantity, price : of the order
    position : shares, before it
    gross, net : currency, of the other symbols
    bid, ask : currency
    """
    par, now, own = act.limits.params[0], int(tick["ts"]), standing.state
    quote = tick["kind"] == Kind.QUOTE
    age = 0 if quote else now - int(own["quoted"])
    trade = float(own["trade"] if quote else tick["price"])
    hours, listed, mid = act.limits.closed_at(now), int(own["listed"]), 0.5 * (bid + ask)
    after = side * position + quantity
    opening = opens(side, quantity, position)
    sent, times = int(standing.book["sent"]), standing.times

    def full(most: int, length: int) -> bool:
        return 0 < most <= sent and now - int(times[(sent - most) % times.size]) < length

    rules = (
        (Reason.RESTRICTED, listed == NOTHING),
        (Reason.RESTART_WINDOW, hours == NOTHING),
        (Reason.LOSS_STOP, opening and stop),
        (Reason.RESTRICTED, opening and listed == CLOSE_ONLY),
        (Reason.SESSION_WINDOW, opening and hours == CLOSE_ONLY),
        (Reason.OLD_QUOTE, age > par["quote_age"]),
        (Reason.PRICE_COLLAR, not side * (price - mid) <= float(par["collar_quote"]) * mid),
        (Reason.PRICE_COLLAR, trade > 0.0 and not side * (price - trade) <= float(par["collar_trade"]) * trade),
        (Reason.ORDER_SIZE, opening and not quantity <= par["order_shares"]),
        (Reason.ORDER_VALUE, opening and not quantity * price <= par["order_value"]),
        (Reason.POSITION_LIMIT, opening and not (after <= par["position_shares"] and after * mid <= par["position_value"])),
        (Reason.GROSS_LIMIT, opening and not gross + after * mid <= par["gross_value"]),
        (Reason.NET_LIMIT, opening and not net + after * mid <= par["net_value"]),
        (Reason.ORDER_RATE, full(int(par["per_second"]), 1_000_000_000) or full(int(par["per_minute"]), 60_000_000_000)),
    )
    return next((reason for reason, is_broken in rules if is_broken), Reason.ORDER)
