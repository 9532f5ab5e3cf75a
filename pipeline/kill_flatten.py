"""Closing the positions of a killed account: marketable limit orders, sent again at the present quote while something is left.

The main loop does it through its router, so that the orders are in the ledger and in the session; `closing_order` is also what the guard
uses when the main loop is stuck."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from tickarrow.configs.kill import KillConf
from tickarrow.pipeline.schemas import Side

if TYPE_CHECKING:
    from tickarrow.pipeline.router import Router

CONFIRM_S = 2.0  # a cancel of a closing order may take so long


def closing_order(shares: float, bid: float, ask: float, tick: float, collar_bp: float) -> tuple[int, float, float] | None:
    """Side, whole shares and limit of the order that closes a position; None = less than a share, or no quote to price it by."""
    quantity, side = float(math.floor(abs(shares) + 1e-9)), Side.SELL if shares > 0 else Side.BUY
    touch = bid if side == Side.SELL else ask
    if quantity == 0.0 or not touch > 0.0:
        return None
    beyond = touch * (1.0 + side * collar_bp / 1e4) / tick
    ticks = math.ceil(beyond - 1e-6) if side == Side.BUY else max(math.floor(beyond + 1e-6), 1)
    return int(side), quantity, round(ticks * tick, 10)


class Flatten:
    """Closes what the router holds, one look at a time.

    Parameters
    ----------
    conf : patience
    router : of the run; it refuses new orders already
    quote : (bid, ask, tick) of a row of the universe
    place : sends a closing order: row, side, quantity, limit
    tell : takes one line for the user
    seconds : the clock
    """

    def __init__(
        self, conf: KillConf, router: Router, quote: Callable[[int], tuple[float, float, float]], place: Callable[[int, int, float, float], None],
        tell: Callable[[str], None], seconds: Callable[[], float],
    ) -> None:  # fmt: skip
        self.conf, self.router, self.quote, self.place, self.tell, self.seconds = conf, router, quote, place, tell, seconds
        self.done = ""  # how it ended
        self._next_at = seconds() + conf.flatten_after_s  # what works then is no longer waited for
        self._sent, self._again_at = 0, 0.0  # rounds of closing orders, and when the next one is due

    def held(self) -> dict[int, float]:
        """Row -> shares."""
        positions = self.router.ledger.positions
        return {row: shares for con_id, row in self.router.rows.items() if abs(shares := positions.get(con_id, 0.0)) >= 1.0}

    def look(self) -> bool:
        """Do what is due; whether closing orders were sent."""
        r, now = self.router, self.seconds()
        if self.done or not (r.connected and r.settled):
            return False
        if r.working and now < self._next_at:
            return False
        if r.working and self._sent:
            r.cancel_all()
            self._next_at = now + CONFIRM_S
            if self._sent >= self.conf.tries:
                self._end()
            return False
        left = self.held()
        if not left:
            self.done = "flat"
            self.tell("kill switch: no position is left")
            return False
        if self._sent and now < self._again_at:
            return False  # what has no quote, or was refused, gets the time of a round too
        if self._sent >= self.conf.tries:
            self._end()
            return False
        orders = {row: closing_order(shares, *self.quote(row), self.conf.collar_bp) for row, shares in left.items()}
        for row, order in orders.items():
            if order is not None:
                self.place(row, *order)
            elif not self._sent:
                self.tell(f"kill switch: {r.names[row]} has no quote: its {left[row]:+g} shares are not closed before one comes")
        self._sent += 1
        self._next_at = self._again_at = now + self.conf.again_s
        return True

    def _end(self) -> None:
        self.done = "given up"
        left = ", ".join(f"{shares:+g} {self.router.names[row]}" for row, shares in self.held().items())
        self.tell(f"kill switch: positions are left after {self.conf.tries} tries: {left}. Close them in TWS.")
