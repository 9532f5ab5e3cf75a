"""ORDERS -> the gateway, and what comes back -> control events.

An order carries its own key in `orderRef`; fills are known by their execId, never by orderId alone, which a gateway reuses after a
restart. What ib_async reports (status, execution, commission) becomes a `Control` event: numbered by the last decided chunk and
applied between chunks only, so that a replay sees the same (design contract 7)."""

from __future__ import annotations

import hashlib
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
    """

    def __init__(self, ib: ib_async.IB, contracts: list[Any], tag: str, report: Callable[[Control], None]) -> None:
        self.ib, self.contracts, self.tag, self.report = ib, contracts, tag, report
        self.sent = 0
        self._trades: dict[int, Any] = {}  # own key -> Trade
        self._states: dict[int, OrderState] = {}
        ib.orderStatusEvent += self._on_status
        ib.execDetailsEvent += self._on_execution
        ib.commissionReportEvent += self._on_commission

    def send(self, intents: Batch) -> None:
        """Give the new rows of ORDERS to the gateway."""
        for i in range(intents.lo, intents.hi):
            key, state = int(intents.key[i]), int(intents.state[i])
            if state == OrderState.CANCEL_INTENT:
                trade = self._trades.get(key)
                if trade is not None and not trade.isDone() and trade.orderStatus.status != "PendingCancel":
                    self.ib.cancelOrder(trade.order)
            elif state == OrderState.INTENT:
                action = "BUY" if intents.side[i] == Side.BUY else "SELL"
                order = ib_async.LimitOrder(action, float(intents.quantity[i]), float(intents.limit[i]), orderRef=f"{self.tag}-{key}", tif="DAY")
                self._trades[key] = self.ib.placeOrder(self.contracts[int(intents.symbol[i])], order)
                self.sent += 1

    @property
    def working(self) -> int:
        """Orders that the gateway may still fill."""
        return sum(not trade.isDone() for trade in self._trades.values())

    def _find(self, trade: Any) -> tuple[int, int]:
        """Own key and universe row of a trade; (0, -1) if it is not ours."""
        tag, _, key = trade.order.orderRef.rpartition("-")
        if tag != self.tag or not key.isdigit():
            return 0, -1
        row = next((i for i, c in enumerate(self.contracts) if c.conId == trade.contract.conId), -1)
        return int(key), row

    def _on_status(self, trade: Any) -> None:
        key, row = self._find(trade)
        state = STATES.get(trade.orderStatus.status)
        if row < 0 or state is None or self._states.get(key) == state:
            return
        self._states[key] = state
        self.report(Control(kind=ControlKind.ORDER_STATE, symbol=row, key=key, state=state, perm_id=trade.orderStatus.permId))

    def _on_execution(self, trade: Any, fill: Any) -> None:
        key, row = self._find(trade)
        if row < 0:
            return
        e = fill.execution
        side = Side.BUY if e.side == "BOT" else Side.SELL
        self.report(
            Control(
                kind=ControlKind.EXECUTION, symbol=row, key=key, side=side, quantity=float(e.shares), price=float(e.price), perm_id=e.permId,
                exec_id=exec_number(e.execId),
            )
        )  # fmt: skip

    def _on_commission(self, trade: Any, fill: Any, report: Any) -> None:
        key, row = self._find(trade)
        if row >= 0 and abs(report.commission) < UNSET:
            self.report(
                Control(kind=ControlKind.COMMISSION, symbol=row, key=key, value=float(report.commission), exec_id=exec_number(report.execId))
            )
