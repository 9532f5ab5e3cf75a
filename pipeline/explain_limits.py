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

WORDS = ("everything", "closing", "nothing")  # what may be sent: FREE, CLOSE_ONLY, NOTHING


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


@dataclass(slots=True)
class Rule:
    """One limit and what an order is beside it."""

    reason: Reason
    broken: bool
    number: str
    limit: str


def rules(
    standing: Standing, act: Act, tick: dict[str, Any], stop: bool, side: int, quantity: float, price: float, position: float, gross: float, net: float,
    bid: float, ask: float,
) -> list[Rule]:  # fmt: skip
    """All limits in the order in which they are asked; the first that is broken is the reason.

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
    most = {name: float(par[name]) for name in par.dtype.names}

    def at_most(reason: Reason, value: float, limit: float, unit: str, asked: bool = True) -> Rule:
        return Rule(reason, asked and not value <= limit, f"{value:,.8g} {unit}" if asked else "it closes", f"at most {limit:,.8g}")

    def rate(setting: str, length: int) -> Rule:
        n = int(most[setting])
        full = 0 < n <= sent and now - int(times[(sent - n) % times.size]) < length
        return Rule(Reason.ORDER_RATE, full, f"{int((now - times[:sent] < length).sum())} sent", f"below {n}" if n else "none")

    return [
        Rule(Reason.RESTRICTED, listed == NOTHING, WORDS[listed], "not nothing"),
        Rule(Reason.RESTART_WINDOW, hours == NOTHING, WORDS[hours], "not nothing"),
        Rule(Reason.LOSS_STOP, opening and stop, "on" if stop else "off", "off, or it closes"),
        Rule(Reason.RESTRICTED, opening and listed == CLOSE_ONLY, WORDS[listed], "everything, or it closes"),
        Rule(Reason.SESSION_WINDOW, opening and hours == CLOSE_ONLY, WORDS[hours], "everything, or it closes"),
        at_most(Reason.OLD_QUOTE, float(age), most["quote_age"], "ns"),
        at_most(Reason.PRICE_COLLAR, side * (price - mid), most["collar_quote"] * mid, "beyond the mid"),
        at_most(Reason.PRICE_COLLAR, side * (price - trade), most["collar_trade"] * trade, "beyond the last trade")
        if trade > 0.0 else Rule(Reason.PRICE_COLLAR, False, "no trade yet", "none"),
        at_most(Reason.ORDER_SIZE, quantity, most["order_shares"], "shares", opening),
        at_most(Reason.ORDER_VALUE, quantity * price, most["order_value"], "of value", opening),
        at_most(Reason.POSITION_LIMIT, after, most["position_shares"], "shares", opening),
        at_most(Reason.POSITION_LIMIT, after * mid, most["position_value"], "of value", opening),
        at_most(Reason.GROSS_LIMIT, gross + after * mid, most["gross_value"], "of value", opening),
        at_most(Reason.NET_LIMIT, net + after * mid, most["net_value"], "of value", opening),
        rate("per_second", 1_000_000_000),
        rate("per_minute", 60_000_000_000),
    ]  # fmt: skip
