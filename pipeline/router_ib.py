"""The router's session through ib_async: what it sends, and what IBKR says in the router's words.

ib_async marks an order as cancelled on many errors, also when it lives on: such a mark is not believed, the error itself goes to the router."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ib_async

from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.decide_act import Control
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.limits_router import RouterLimits
from tickarrow.pipeline.patience import within
from tickarrow.pipeline.router import Router
from tickarrow.pipeline.router_channel import Answer, Execution, Said
from tickarrow.pipeline.router_ledger import FileStorage, Ledger, OwnOrder
from tickarrow.pipeline.router_price import Grid
from tickarrow.pipeline.schemas import PARTS, OrderState, Side

STATES = {
    "PreSubmitted": OrderState.SUBMITTED,
    "Submitted": OrderState.SUBMITTED,
    "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELLED,
    "ApiCancelled": OrderState.CANCELLED,
    "Inactive": OrderState.REJECTED,
}
ALLOWED = 50  # requests of all kinds per second, says IBKR; ib_async stops at 45
SETTLE_LOOK_S = 0.05  # between two looks whether a question for orders and positions is due
UNSET = 1e300  # an amount above this is IBKR's 1.79e308: not known


def open_ledger(conf: OrdersConf, account: str, client_id: int, session: Path | None) -> Ledger:
    """The ledger of a client of an account, to be closed at the end.

    Parameters
    ----------
    conf : where ledgers are, if not in their usual place
    account, client_id : one ledger each
    session : folder of the session of a simulated market, which ends with its run; None = a real gateway
    """
    return Ledger(FileStorage(ledger_file(ledger_folder(conf, session), account, client_id), synced=session is None))


def ledger_file(folder: Path, account: str, client_id: int) -> Path:
    return folder / f"sent-orders-{account}-{client_id}.log"


def ledger_folder(conf: OrdersConf, session: Path | None) -> Path:
    """Where the ledgers are, and what else must be known of an account after a run; see `open_ledger`."""
    usual = session or Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tickarrow"
    return usual if conf.ledger is None else Path(conf.ledger)


class Orders:
    """A router on an ib_async session.

    Parameters
    ----------
    ib : connected session
    contracts : contract of each row of the universe
    account : whose orders and positions: a login may have several
    tag : first part of `orderRef`, the same in every run of a client
    ledger : what is known of orders and positions
    conf : pacing and patience
    report : called with each control event
    tell : called with each line for the user
    seconds : market seconds
    waits : whether the market goes on while an answer is awaited; in lock step it does not
    grids : prices and sizes that each contract may have
    pipeline : its quotes are followed, and its limits asked; None = without
    """

    def __init__(
        self, ib: ib_async.IB, contracts: list[Any], account: str, tag: str, ledger: Ledger, conf: OrdersConf, report: Callable[[Control], None],
        tell: Callable[[str], None], seconds: Callable[[], float], waits: bool, grids: list[Grid], pipeline: Any,
    ) -> None:  # fmt: skip
        if conf.margin_share and not waits:
            raise ConfigError(
                f"orders.margin_share is {conf.margin_share:g}: a market in lock step does not wait for the answer. "
                "Set it to 0, or give the market a clock (gateway.speed=1)."
            )
        self.ib, self.account, self.tag = ib, account, tag
        self._margins: set[asyncio.Task[None]] = set()  # questions for margin that are not answered
        self._market_seconds, self._waited = seconds, 0.0
        self._session = 0  # number of the present one: an answer of an earlier one is no answer
        self._contracts = {c.conId: c for c in contracts}
        quote = pipeline and pipeline.quote
        self.router = Router(self, ledger, list(self._contracts), [c.symbol for c in contracts], conf, report, tell, self.seconds, grids, quote)
        self.limits = pipeline and RouterLimits(pipeline.act, self.router, lambda: int(pipeline.ts))
        ib.openOrderEvent += self._on_status
        ib.orderStatusEvent += self._on_status
        ib.execDetailsEvent += self._on_execution
        ib.commissionReportEvent += self._on_commission
        ib.positionEvent += self._on_position

    def seconds(self) -> float:
        """Market seconds. A market in lock step stands still while orders are settled, so what was waited for then counts too."""
        return self._market_seconds() + self._waited

    # --- what goes out

    def send(self, intents: Batch) -> None:
        """Give the new rows of ORDERS to the router."""
        self.router.send(intents)

    def next_id(self) -> int:
        return int(self.ib.client.getReqId())

    def _made(self, order: OwnOrder, transmit: bool = True) -> ib_async.Order:
        """The order in IBKR's words."""
        conf, part = self.router.conf, order.key // PARTS
        stop = order.kind == "STP"
        return ib_async.Order(
            orderId=order.order_id, action="BUY" if order.side == Side.BUY else "SELL", totalQuantity=order.quantity, orderType=order.kind,
            lmtPrice=ib_async.util.UNSET_DOUBLE if stop else order.price, auxPrice=order.price if stop else ib_async.util.UNSET_DOUBLE,
            tif=conf.bracket_tif if part else "DAY" if order.closing else conf.tif, outsideRth=conf.outside_rth, account=self.account,
            orderRef=f"{self.tag}-{order.entry}" + (f".{part}" if part else ""), parentId=order.entry_id, transmit=transmit,
        )  # fmt: skip

    def place(self, order: OwnOrder, transmit: bool) -> None:
        self.ib.placeOrder(self._contracts[order.con_id], self._made(order, transmit))

    def change(self, order: OwnOrder) -> None:
        """The same order id with another price. ib_async's own `placeOrder` refuses it where it takes the order as over, rightly or not."""
        if self.ib.client.isReady():
            self.ib.client.placeOrder(order.order_id, self._contracts[order.con_id], self._made(order))

    def ask_margin(self, order: OwnOrder) -> None:
        task = asyncio.ensure_future(self._margin(order))
        self._margins.add(task)
        task.add_done_callback(self._margins.discard)

    async def _margin(self, order: OwnOrder) -> None:
        made = self._made(dataclasses.replace(order, price=order.limit, entry_id=0))
        try:
            said = await within(self.router.conf.wait_s, self.ib.whatIfOrderAsync(self._contracts[order.con_id], made))
            margin, equity = (float(x) for x in (said.initMarginAfter, said.equityWithLoanAfter))
            if max(margin, equity) > UNSET:
                raise ValueError
        except (TimeoutError, ConnectionError):
            return  # it waits no longer
        except (AttributeError, ValueError):  # the request was refused, and answered with nothing
            self.router.judged(order.key, math.nan, math.nan, "the gateway does not say what margin it would take, or would not take it")
            return
        self.router.judged(order.key, margin, equity)

    def cancel(self, order: OwnOrder) -> bool:
        """A cancel goes before everything that ib_async holds back; an order that is still there is taken back, and so is a change of it."""
        client = self.ib.client
        if not order.order_id or not client.isReady():
            return True
        for message in client._msgQ:
            if message.startswith(f"3\0{order.order_id}\0"):
                client._msgQ.remove(message)
                if order.state != OrderState.SUBMITTED:  # a cancel that came before its order would not end it
                    return False
                break
        self._first(lambda: client.cancelOrder(order.order_id, ""))
        return True

    def cancel_everybodys(self) -> None:
        if self.ib.client.isReady():
            self._first(self.ib.client.reqGlobalCancel)

    def _first(self, send: Callable[[], None]) -> None:
        """Send before what ib_async holds back, out of the few requests of each second that it does not use."""
        client = self.ib.client
        waiting, client._msgQ = client._msgQ, deque()
        usual, client.MaxRequests = client.MaxRequests, client.MaxRequests and ALLOWED
        try:
            send()
        finally:
            client.MaxRequests = usual
            client._msgQ.extend(waiting)

    @property
    def working(self) -> int:
        """Orders that the gateway may still fill and that end with the run: those of brackets end with their positions."""
        return len([o for o in self.router.working if not o.is_part])

    def tell_brackets(self) -> None:
        """Say what stays when the run ends."""
        if left := [o for o in self.router.working if o.is_part]:
            self.router.tell(f"{len(left)} orders of brackets stay at the gateway with their positions.")

    # --- questions

    async def ask(self, timeout: float | None) -> None:
        """One question for everything; an answer that does not come is asked for again."""
        session = self._session
        try:
            opened = await within(timeout, self.ib.reqOpenOrdersAsync())
            completed = await within(timeout, self.ib.reqCompletedOrdersAsync(False))
            fills = await within(timeout, self.ib.reqExecutionsAsync())
            positions = await within(timeout, self.ib.reqPositionsAsync())
        except (TimeoutError, ConnectionError):
            if session == self._session:
                self.router.unanswered()
            raise
        if session != self._session or not self.ib.client.isReady():
            raise ConnectionError("the socket broke while orders and positions were read")
        answer = Answer()
        answer.open = [said for t in opened if (said := self._said(t)) is not None]
        answer.completed = [said for t in completed if (said := self._said(t)) is not None]
        answer.executions = [e for f in fills if (e := self._execution(f)) is not None]
        for p in positions:
            if p.account == self.account:
                answer.positions[p.contract.conId] = (float(p.position), float(p.avgCost))
        self.router.answered(answer)
        for f in fills:
            self._paid(f, f.commissionReport)

    async def settle(self, timeout: float | None, speed: float) -> None:
        """Ask until orders and positions are compared; ConnectionError or TimeoutError where no answer comes."""
        self._session += 1
        self.ib.client.updateReqId(self.router.ledger.next_id)
        self.router.up()
        while not self.router.settled:
            if self.router.due():
                await self.ask(timeout)
            else:
                before = self._market_seconds()
                await asyncio.sleep(SETTLE_LOOK_S / speed)
                if self._market_seconds() == before:
                    self._waited += SETTLE_LOOK_S
        if self._session == 1 and self.limits:
            self.limits.resume(time.time_ns())

    def look(self) -> None:
        """What time brings."""
        self.router.look()
        if self.limits:
            self.limits.look()

    # --- what comes in

    def _key(self, reference: str) -> int:
        """Own key; 0 = not ours."""
        tag, _, keys = reference.rpartition("-")
        key, _, part = keys.partition(".")
        return int(key) + PARTS * int(part or 0) if tag == self.tag and key.isdigit() and (not part or part.isdigit()) else 0

    def _said(self, trade: Any) -> Said | None:
        order, status = trade.order, trade.orderStatus
        key = self._key(order.orderRef)
        if not key or order.account not in ("", self.account):
            return None
        side = Side.BUY if order.action == "BUY" else Side.SELL
        filled = max(float(status.filled or 0.0), _amount(order.filledQuantity))
        quantity = _amount(order.totalQuantity) or filled
        price = _amount(order.auxPrice if order.orderType == "STP" else order.lmtPrice)
        return Said(key, trade.contract.conId, STATES.get(status.status), side, quantity, price, filled, order.orderId,
                    order.permId or status.permId, order.orderType)  # fmt: skip

    def _on_status(self, trade: Any) -> None:
        if trade.log and trade.log[-1].errorCode:
            return  # ib_async's own conclusion from an error
        if not (trade.order.permId or trade.orderStatus.permId):
            return  # what we have sent, not what the gateway says
        said = self._said(trade)
        if said is not None:
            self.router.said(said)

    def _execution(self, fill: Any) -> Execution | None:
        e = fill.execution
        key = self._key(e.orderRef)
        if not key or e.acctNumber not in ("", self.account):
            return None
        side = Side.BUY if e.side == "BOT" else Side.SELL
        return Execution(e.execId, key, fill.contract.conId, side, float(e.shares), float(e.price), e.permId)

    def _on_execution(self, trade: Any, fill: Any) -> None:
        e = self._execution(fill)
        if e is not None:
            self.router.executed(e)

    def _on_commission(self, trade: Any, fill: Any, report: Any) -> None:
        self._paid(fill, report)

    def _paid(self, fill: Any, report: Any) -> None:
        e = self._execution(fill)
        if e is not None and report.execId and abs(report.commission) < UNSET:
            self.router.paid(report.execId, e.key, e.con_id, float(report.commission))

    def _on_position(self, position: Any) -> None:
        if self.router.settled and position.account == self.account:
            self.router.position(position.contract.conId, float(position.position))


def _amount(value: Any) -> float:
    """A number of IBKR; its 1.79e308 stands for none."""
    number = float(value)
    return number if abs(number) < UNSET else 0.0
