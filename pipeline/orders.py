"""ORDERS -> the gateway, and what comes back -> control events.

An order carries its own key in `orderRef`; fills are known by their execId, never by orderId alone, which a gateway reuses after a
restart. What ib_async reports (status, execution, commission) becomes a `Control` event: numbered by the last decided chunk and
applied between chunks only, so that a replay sees the same (design contract 7)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import ib_async

from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.schemas import ControlKind, OrderState, Side

STATES = {
    "PreSubmitted": OrderState.SUBMITTED,
    "Submitted": OrderState.SUBMITTED,
    "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELLED,
    "ApiCancelled": OrderState.CANCELLED,
    "Inactive": OrderState.REJECTED,
}  # not ib_async's ValidationError: it marks a warning (399: held until the open), and the order lives on
ACKNOWLEDGE_S = 10.0  # an order without an answer for so long is asked for
UNSET = 1e300  # an amount above this is IBKR's 1.79e308: not known


def exec_number(exec_id: str) -> int:
    """A broker's execId as a positive int64, for a fixed-width column."""
    return int.from_bytes(hashlib.blake2b(exec_id.encode(), digest_size=8).digest(), "little") >> 1


class Orders:
    """Send intents through ib_async and report their life.

    Parameters
    ----------
    ib : connected session
    contracts : contract of each row of the universe
    tag : first part of `orderRef`, unique per run
    report : called with each control event
    seconds : the clock of acknowledgements
    """

    def __init__(
        self, ib: ib_async.IB, contracts: list[Any], tag: str, report: Callable[[Control], None], seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self.ib, self.contracts, self.tag, self.report, self.seconds = ib, contracts, tag, report, seconds
        self._unanswered: dict[int, float] = {}  # own key -> when it was sent
        self.sent = 0
        self._trades: dict[int, Any] = {}  # own key -> Trade
        self._states: dict[int, OrderState] = {}
        self._symbols: dict[int, int] = {}  # own key -> row of the universe
        self._cancelled: set[int] = set()  # keys that we have asked to cancel
        self._executed: dict[str, tuple[str, int, int, float, float, int]] = {}  # execId before its correction: execId, row, side, quantity, price, key
        self._paid: set[str] = set()  # execIds whose commission is reported
        self._start = self._positions()
        ib.orderStatusEvent += self._on_status
        ib.execDetailsEvent += self._on_execution
        ib.commissionReportEvent += self._on_commission

    def send(self, intents: Batch) -> None:
        """Give the new rows of ORDERS to the gateway."""
        for i in range(intents.lo, intents.hi):
            key, state = int(intents.key[i]), int(intents.state[i])
            if state == OrderState.CANCEL_INTENT:
                self._cancelled.add(key)
                self._cancel(self._trades.get(key))
            elif state == OrderState.INTENT and not self.ib.client.isReady():
                self.report(Control(kind=ControlKind.ORDER_STATE, symbol=int(intents.symbol[i]), key=key, state=OrderState.REJECTED))
            elif state == OrderState.INTENT:
                self._symbols[key] = int(intents.symbol[i])
                action = "BUY" if intents.side[i] == Side.BUY else "SELL"
                order = ib_async.LimitOrder(action, float(intents.quantity[i]), float(intents.limit[i]), orderRef=f"{self.tag}-{key}", tif="DAY")
                self._trades[key] = self.ib.placeOrder(self.contracts[int(intents.symbol[i])], order)
                self._unanswered[key] = self.seconds()
                self.sent += 1

    def _cancel(self, trade: Any) -> None:
        if trade is not None and self.ib.client.isReady() and not trade.isDone() and trade.orderStatus.status != "PendingCancel":
            self.ib.cancelOrder(trade.order)

    def unacknowledged(self, now: float) -> bool:
        """Whether an order was sent and never answered: it may be lost, or work unseen."""
        return any(now - sent > ACKNOWLEDGE_S for sent in self._unanswered.values())

    def read_again(self, last: bool = False) -> list[int]:
        """Compare with what a new session says of orders and executions, and report what happened meanwhile.

        Parameters
        ----------
        last : orders that the session does not know are reported as cancelled

        Returns
        -------
        own keys of the orders that it does not know
        """
        for fill in self.ib.fills():
            key, row = self._key(fill.execution.orderRef, fill.contract)
            if row >= 0:
                self._execution(key, row, fill.execution)
                self._commission(key, row, fill.commissionReport)
        found = set()
        for trade in self.ib.trades():
            key, row = self._find(trade)
            if row >= 0 and (trade.order.permId or trade.orderStatus.permId):  # else it is what we have sent, not what the gateway says
                found.add(key)
                self._trades[key] = trade
                self._on_status(trade)
                if key in self._cancelled:
                    self._cancel(trade)
        over = (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED)
        missing = []
        for key, trade in self._trades.items():
            if key in found or self._states.get(key) in over:
                continue
            row, filled = self._symbols[key], sum(e[3] for e in self._executed.values() if e[5] == key)
            if filled >= trade.order.totalQuantity:
                self._report_state(key, row, OrderState.FILLED, trade.orderStatus.permId)
            else:
                missing.append(key)
                if last:
                    trade.orderStatus.status = "Cancelled"
                    self._report_state(key, row, OrderState.CANCELLED, trade.orderStatus.permId)
        return missing

    def _positions(self) -> dict[int, float]:
        """Shares of each of our symbols that the gateway reports, by row."""
        rows = {c.conId: i for i, c in enumerate(self.contracts)}
        held: dict[int, float] = {}
        for p in self.ib.positions():
            if p.contract.conId in rows:
                row = rows[p.contract.conId]
                held[row] = held.get(row, 0.0) + float(p.position)
        return held

    def differences(self) -> list[str]:
        """Where the gateway's positions have moved by something else than our executions, in sentences."""
        now, moved = self._positions(), dict.fromkeys(range(len(self.contracts)), 0.0)
        for _, row, side, quantity, _, _ in self._executed.values():
            moved[row] += side * quantity
        said = []
        for row, ours in moved.items():
            theirs = now.get(row, 0.0) - self._start.get(row, 0.0)
            if abs(theirs - ours) > 1e-6:
                said.append(
                    f"position of {self.contracts[row].symbol}: the gateway says {theirs:+g} shares since the start, our executions give {ours:+g}. "
                    "Somebody else trades it, or an execution is lost: look at it in TWS."
                )
        return said

    @property
    def working(self) -> int:
        """Orders that the gateway may still fill."""
        return sum(not trade.isDone() for trade in self._trades.values())

    def _find(self, trade: Any) -> tuple[int, int]:
        """Own key and universe row of a trade; (0, -1) if it is not ours."""
        return self._key(trade.order.orderRef, trade.contract)

    def _key(self, reference: str, contract: Any) -> tuple[int, int]:
        tag, _, key = reference.rpartition("-")
        if tag != self.tag or not key.isdigit():
            return 0, -1
        row = next((i for i, c in enumerate(self.contracts) if c.conId == contract.conId), -1)
        return int(key), row

    def _on_status(self, trade: Any) -> None:
        key, row = self._find(trade)
        state = STATES.get(trade.orderStatus.status)
        if row < 0 or state is None or self._states.get(key) == state:
            return
        self._report_state(key, row, state, trade.orderStatus.permId)

    def _report_state(self, key: int, row: int, state: OrderState, perm_id: int) -> None:
        self._states[key] = state
        self._unanswered.pop(key, None)
        self.report(Control(kind=ControlKind.ORDER_STATE, symbol=row, key=key, state=state, perm_id=perm_id))

    def _on_execution(self, trade: Any, fill: Any) -> None:
        key, row = self._find(trade)
        if row >= 0:
            self._execution(key, row, fill.execution)

    def _execution(self, key: int, row: int, e: Any) -> None:
        """Report an execution once. The last part of an execId numbers corrections: a new one takes the place of the old."""
        side, quantity, price = Side.BUY if e.side == "BOT" else Side.SELL, float(e.shares), float(e.price)
        base = e.execId.rpartition(".")[0] or e.execId
        before = self._executed.get(base)
        if before is not None:
            if before[0] >= e.execId:
                return
            _, row, old, shares, paid, _ = before
            self.report(
                Control(kind=ControlKind.EXECUTION, symbol=row, side=-old, quantity=shares, price=paid, perm_id=e.permId, exec_id=exec_number(f"-{before[0]}"))
            )
        self._unanswered.pop(key, None)
        self._executed[base] = (e.execId, row, side, quantity, price, key)
        self.report(
            Control(
                kind=ControlKind.EXECUTION, symbol=row, key=key, side=side, quantity=quantity, price=price, perm_id=e.permId, exec_id=exec_number(e.execId)
            )
        )  # fmt: skip

    def _on_commission(self, trade: Any, fill: Any, report: Any) -> None:
        key, row = self._find(trade)
        if row >= 0:
            self._commission(key, row, report)

    def _commission(self, key: int, row: int, report: Any) -> None:
        if report.execId and abs(report.commission) < UNSET and report.execId not in self._paid:
            self._paid.add(report.execId)
            self.report(
                Control(kind=ControlKind.COMMISSION, symbol=row, key=key, value=float(report.commission), exec_id=exec_number(report.execId))
            )
