"""The limits where orders leave: asked again of every intent, whoever made it, with what the ledger and the gateway say of positions and
orders; and the session day of the loss stop, kept in the ledger over a restart."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

import numpy as np

from tickarrow.jit import limits
from tickarrow.pipeline.decide_act import Act, Control
from tickarrow.pipeline.limits import TEXTS
from tickarrow.pipeline.router import Router
from tickarrow.pipeline.router_channel import Intent, Refusal
from tickarrow.pipeline.schemas import ControlKind, Flag, Reason

STOPPED = (
    "daily loss stop: nothing is opened for the rest of the session day, positions are closed as decided. "
    "To begin the day anew, stop and start with risk.limits.resume_day=YYYY-MM-DD, the date of that start."
)
KEEP_S = 60.0  # the day's gain is written at least so often while a position is held


class RouterLimits:
    """The check of one router; its positions and orders are the ledger's, its quotes those of `act`.

    Parameters
    ----------
    act : quotes, marks, hours and the loss stop
    router : gets the check
    market_ns : time of the stream, ns UTC
    """

    def __init__(self, act: Act, router: Router, market_ns: Callable[[], int]) -> None:
        self.act, self.router, self.market_ns = act, router, market_ns
        self.book, self.times = np.zeros(1, limits.LIMITS_BOOK), act.limits.ring()
        self._written: tuple[float, ...] = ()
        self._written_at = -math.inf
        self._was_stopped = False
        router.checks.append(self.check)
        router.may_cost = self.may_cost
        router.mark_of = lambda row: float(act.state["mark"][row])

    def check(self, intent: Intent) -> str:
        """Why an intent must not go out, or ""."""
        reason = self.reason(intent)
        if reason != Reason.ORDER:
            return Refusal(TEXTS[reason], reason)
        limits.count_point(self.book[0], self.times, self.market_ns())
        return ""

    def reason(self, intent: Intent) -> Reason:
        """The first limit that an intent breaks; ORDER = none."""
        act, lim, now = self.act, self.act.limits, self.market_ns()
        s, own, side = act.state[intent.row], lim.state[intent.row], intent.side
        if why := self._quote(intent.row):
            return why
        position, gross, net = 0.0, 0.0, 0.0
        buys, sells = self._working()
        held = self.router.ledger.positions
        for con_id in sorted(held.keys() | buys.keys() | sells.keys()):
            row, shares = self.router.rows.get(con_id, -1), held.get(con_id, 0.0)
            most, least = shares + buys.get(con_id, 0.0), shares - sells.get(con_id, 0.0)
            if row == intent.row:
                position = most if side > 0 else least
            elif row >= 0 and (most or least):  # what is not of the universe has no price here
                mark = float(act.state[row].mark)
                gross += max(abs(most), abs(least)) * mark
                net += (most if side > 0 else -least) * mark
        for o in self.router.working:
            if o.con_id == self.router.con_ids[intent.row] and o.side != side and o.kind != "STP" and side * (intent.limit - o.limit) >= 0.0:
                return Reason.SELF_CROSS
        code = limits.limits_point(
            lim.params[0], side, intent.quantity, intent.limit, position, gross, net, float(s.bid), float(s.ask), float(own.trade),
            now - int(own.quoted), int(own.listed), lim.closed_at(now), int(lim.stopped),
        )  # fmt: skip
        if not code and not limits.rate_point(self.book[0], self.times, lim.params[0], now):
            return Reason.ORDER_RATE
        return Reason(code)

    def may_cost(self, row: int, side: int, price: float) -> bool:
        """Whether an order that works may get a worse price, and one that has waited may go out: what is asked of every new one, also where it
        only reduces a position."""
        s, lim, now = self.act.state[row], self.act.limits, self.market_ns()
        own = lim.state[row]
        return not self._quote(row) and not limits.limits_point(
            lim.params[0], side, 1.0, price, -2.0 * side, 0.0, 0.0, float(s.bid), float(s.ask), float(own.trade), now - int(own.quoted), int(own.listed),
            lim.closed_at(now), int(lim.stopped),
        )  # fmt: skip

    def _quote(self, row: int) -> Reason:
        """What is wrong with the data of a row; ORDER = nothing."""
        s, book = self.act.state[row], self.act.book[0]
        if s.quote_flags & Flag.HALTED:
            return Reason.HALTED
        if book.link or s.health or s.quote_flags & self.act.params[0].not_live:
            return Reason.NOT_LIVE
        if not 0.0 < s.bid <= s.ask:
            return Reason.CROSSED if s.bid > s.ask else Reason.NO_QUOTE
        return Reason.ORDER

    def _working(self) -> tuple[dict[int, float], dict[int, float]]:
        """conId -> shares that our orders may still buy, and sell; legs of a bracket only close what they belong to."""
        sides: tuple[dict[int, float], dict[int, float]] = ({}, {})
        for o in self.router.pending:
            if not o.is_part:
                of = sides[o.side < 0]
                of[o.con_id] = of.get(o.con_id, 0.0) + o.left
        return sides

    # --- the session day over a restart

    def resume(self, now_ns: int) -> None:
        """Go on with the day that an earlier run has left in the ledger, once positions are taken over."""
        if not self.router.ledger.day:
            return
        day, kept, stopped, held = self.router.ledger.day
        today, conf = self.act.limits.day_of(now_ns), self.act.limits.conf
        then = {int(con_id): (shares, mark) for con_id, shares, mark in held}
        lifted = stopped and conf.resume_day == f"{datetime.fromtimestamp(now_ns / 1e9):%Y-%m-%d}"
        anew = day != today or lifted
        gain = -sum(shares * mark for shares, mark in then.values()) if anew else kept
        now = self.router.ledger.positions
        for con_id in then.keys() | now.keys():  # bought meanwhile: at the cost that the gateway says; what is gone: at the last mid
            shares, mark = then.get(con_id, (0.0, 0.0))
            more = now.get(con_id, 0.0) - shares
            gain -= more * (mark if more * shares < 0.0 else self.router.cost_of(con_id) or mark)
        self.router.report(Control(kind=ControlKind.LOSS_STOP, key=today, value=gain, quantity=float(bool(stopped) and not anew)))
        self._was_stopped = bool(stopped) and not anew
        if self._was_stopped:
            self.router.tell(STOPPED)
        elif lifted:
            self.router.tell("daily loss stop: the day begins anew, as risk.limits.resume_day says")

    def look(self) -> None:
        """Say that the stop is on, and keep the day in the ledger where it has changed."""
        act, book = self.act, self.act.limits.book[0]
        if self.act.limits.stopped and not self._was_stopped:
            self.router.tell(STOPPED)
        self._was_stopped = self.act.limits.stopped
        if math.isinf(act.limits.conf.daily_loss) or not self.router.settled or book.day == limits.NEVER:
            return
        kept = float((act.state["cash"] - act.state["commission"]).sum() - book.begin)
        now, seconds = (float(book.day), kept, float(book.stopped)), self.router.seconds()
        held = [(c, float(s["position"]), float(s["mark"])) for c, s in zip(self.router.con_ids, act.state) if s["position"]]
        if now != self._written or (held and seconds - self._written_at >= KEEP_S):
            self._written, self._written_at = now, seconds
            self.router.ledger.keep_day(int(book.day), kept, int(book.stopped), held)
