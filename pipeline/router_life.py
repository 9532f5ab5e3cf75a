"""What is known of our orders, and what the gateway says of them: states, errors, executions, commissions, positions.

States come late, twice and in any order; executions are counted once, by execId, and corrected where a later part of it says so. A state that
ends an order is believed, an error only before the first acknowledgement."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from tickarrow.pipeline.decide_act import DUST, Control
from tickarrow.pipeline.router_channel import Execution, Said
from tickarrow.pipeline.router_ledger import OVER, Executed, Ledger, OwnOrder
from tickarrow.pipeline.schemas import PARTS, ControlKind, OrderState, Side

WARNINGS = {105, 165, 329, 399, 404, 492, 10167}  # the order lives on
CANCELLED_CODE = 202
CHANGED_S = 5.0  # a change is not taken as lost before
TOO_LATE = {103, 104}  # the order that is to be changed is over, or has this price already
NOT_CANCELLED = {161, 10147, 10148}  # a cancel came too late, or for what the gateway does not know


def exec_number(exec_id: str) -> int:
    """A broker's execId as a positive int64, for a fixed-width column."""
    return int.from_bytes(hashlib.blake2b(exec_id.encode(), digest_size=8).digest(), "little") >> 1


class Lives(ABC):
    """Our orders as far as we know, brought up to date by what the gateway says. `Compared` asks for more, `Router` sends.

    Parameters
    ----------
    ledger : what is known of orders and positions, on disk too
    con_ids : IBKR's number of each row of the universe
    names : symbol of each row
    report : takes each control event
    tell : takes one line for the user
    seconds : the clock
    """

    def __init__(
        self, ledger: Ledger, con_ids: list[int], names: list[str], report: Callable[[Control], None], tell: Callable[[str], None],
        seconds: Callable[[], float],
    ) -> None:  # fmt: skip
        self.ledger, self.report, self.tell, self.seconds = ledger, report, tell, seconds
        self.con_ids, self.names, self.rows = con_ids, names, {c: i for i, c in enumerate(con_ids)}
        self._taken_over = False  # positions of earlier runs are reported
        self._live = dict(ledger.orders)  # own key -> orders that may be filled, or whose executions are not all here
        self._by_id = {o.order_id: o for o in ledger.orders.values()}
        self._paid = {e.exec_id for e in ledger.executions.values()}  # execIds whose commission is reported, or of no interest
        self._told: dict[int, tuple[float, float]] = {}  # conId -> shares the gateway said, since when; where ours differ
        self._moved: dict[int, float] = {}  # conId -> when somebody else has moved its position
        self._costs: dict[int, float] = {}
        self.mark_of: Callable[[int], float] = lambda row: math.nan  # last mid of a row of the universe, NaN = not known

    def cost_of(self, con_id: int) -> float:
        """Last price of an execution, or the average cost that the gateway says; 0 = not known."""
        return self._costs.get(con_id, 0.0)

    @abstractmethod
    def doubt(self, after: float = 0.0) -> None:
        """Something does not fit: compare with the gateway."""

    @abstractmethod
    def cancel(self, key: int) -> None:
        """An order shall end."""

    @property
    def working(self) -> list[OwnOrder]:
        """Orders that the gateway may still fill."""
        return [o for o in self._live.values() if not o.over]

    @property
    def pending(self) -> list[OwnOrder]:
        """Orders that may still change a position: they work, or executions that they ended with are still to come."""
        return list(self._live.values())

    def said(self, said: Said, asked: bool = False) -> None:
        """A state of one of our orders; `asked`: in an answer, which is never old."""
        o = self.ledger.orders.get(said.key)
        if o is None:
            if said.state in OVER or said.state is None:
                return  # of an earlier run, and long over
            o = self._adopt(said)
        if said.order_id and o.order_id != said.order_id and not o.over:
            o.order_id = said.order_id
            self._by_id[o.order_id] = o
        if said.perm_id and said.perm_id != o.perm_id:
            o.perm_id = said.perm_id
            if not o.over:
                self.ledger.state(o)
        self._price_said(o, said, asked)
        if said.filled > o.filled:
            o.filled, o.since = said.filled, self.seconds()
            self._live[o.key] = o
            self._leave(o)
        if said.state is None or said.state == o.state:
            return
        if o.over and said.state == OrderState.SUBMITTED:
            if o.executed < o.quantity - DUST and (o.assumed or asked):
                self._come_back(o)
        elif said.state == OrderState.SUBMITTED:
            o.state, o.since = said.state, self.seconds()
            self.ledger.state(o)
            self._report(o)
        elif not o.over or (o.assumed and said.state != OrderState.REJECTED):
            self._over(o, said.state, assumed=said.state == OrderState.REJECTED)  # Inactive may become active again

    def _price_said(self, o: OwnOrder, said: Said, asked: bool) -> None:
        """The gateway says price and size of an order: the one it was given, or an old one; siblings in a bracket become smaller."""
        if o.over or said.state != OrderState.SUBMITTED or not said.limit:
            return
        if o.is_part and said.quantity:
            o.quantity = said.quantity
        if abs(said.limit - o.price) < DUST:
            if o.changing:
                o.changing = False
                self._report(o)
        elif not o.changing or (asked and self.seconds() - o.since > CHANGED_S):
            o.price, o.changing = said.limit, False

    def _adopt(self, said: Said) -> OwnOrder:
        """An order with our mark that the ledger does not know as open."""
        stray = said.key < PARTS
        o = OwnOrder(said.key, said.con_id, said.side, said.quantity, said.limit, said.order_id, said.kind, said.perm_id, stray=stray, cancel=True)
        o.executed = sum(e.shares for e in self.ledger.executions.values() if e.key == o.key) * o.side
        self.ledger.intent(o)
        self._live[o.key] = self._by_id[o.order_id] = o
        self.tell(f"order {o.key} of an earlier run is open at the gateway: it is cancelled.")
        return o

    def _come_back(self, o: OwnOrder) -> None:
        """What was taken as over lives: end it."""
        self.tell(f"order {o.key} was taken as over and is open at the gateway: it is cancelled.")
        o.state, o.stray, o.assumed, o.cancelled_at, o.since = OrderState.SUBMITTED, not o.is_part, False, -1.0, self.seconds()
        self._live[o.key] = o
        self.ledger.state(o)
        self._report(o)
        self.cancel(o.key)

    def error(self, order_id: int, code: int, text: str) -> None:
        """An error that names one of our orders: a refusal is believed before the first acknowledgement only."""
        o = self._by_id.get(order_id)
        if o is None or o.over or code in WARNINGS or 2100 <= code < 2200:
            return
        if code == 103:
            self.ledger.used(order_id=order_id)
        if code == CANCELLED_CODE:
            self._over(o, OrderState.CANCELLED)
        elif code not in NOT_CANCELLED and o.state == OrderState.SENT:
            self._over(o, OrderState.REJECTED, assumed=True)
        elif o.changing and code in TOO_LATE:
            o.changing = False  # it is filled or cancelled, and that is on its way
        elif o.changing:
            o.changing, o.fixed = False, True
            self.doubt()
        else:
            self.doubt()

    def executed(self, e: Execution) -> None:
        """An execution, counted once. The last part of an execId numbers corrections: a new one takes the place of the old."""
        base = e.exec_id.rpartition(".")[0] or e.exec_id
        before = self.ledger.executions.get(base)
        if before is not None and before.exec_id >= e.exec_id:
            return
        self.ledger.execution(base, Executed(e.exec_id, e.key, e.con_id, e.side * e.quantity, e.price, self.ledger.clock()))
        if e.con_id in self._told:
            self.position(e.con_id, self._told[e.con_id][0])
        self._costs[e.con_id] = e.price
        o = self.ledger.orders.get(e.key)
        if o is not None:
            o.perm_id = o.perm_id or e.perm_id
        row = self.rows.get(e.con_id, -1)
        if row >= 0 and self._taken_over:
            if before is not None:
                old = Side.BUY if before.shares > 0 else Side.SELL
                self.report(Control(0, 0, ControlKind.EXECUTION, row, 0, old * -1, OrderState.INTENT, abs(before.shares), before.price, perm_id=e.perm_id,
                                    exec_id=exec_number(f"-{before.exec_id}")))  # fmt: skip
            self.report(Control(0, 0, ControlKind.EXECUTION, row, e.key, e.side, OrderState.INTENT, e.quantity, e.price, perm_id=e.perm_id,
                                exec_id=exec_number(e.exec_id)))  # fmt: skip
        if o is not None and not o.over and o.executed >= o.quantity - DUST:
            self._over(o, OrderState.FILLED)
        if o is not None:
            self._leave(o)
        if e.con_id in self._moved and (o is None or o.sent_at <= self._moved[e.con_id]):
            self.doubt()  # it may be what has moved the position

    def paid(self, exec_id: str, key: int, con_id: int, commission: float) -> None:
        """The commission of an execution is known; of one that was taken over it is no concern of this run."""
        if con_id in self.rows and self._taken_over and exec_id not in self._paid:
            self._paid.add(exec_id)
            self.report(Control(kind=ControlKind.COMMISSION, symbol=self.rows[con_id], key=key, value=commission, exec_id=exec_number(exec_id)))

    def position(self, con_id: int, shares: float) -> None:
        """A position as the gateway says, of its own accord."""
        if abs(shares - self.ledger.positions.get(con_id, 0.0)) > DUST:
            self._told[con_id] = (shares, self._told.get(con_id, (0.0, self.seconds()))[1])
        else:
            self._told.pop(con_id, None)

    def _over(self, o: OwnOrder, state: OrderState, assumed: bool = False, code: float = math.nan) -> None:
        o.state, o.assumed, o.since = state, assumed, self.seconds()
        self.ledger.state(o)
        self._report(o, code)
        self._leave(o)

    def _leave(self, o: OwnOrder) -> None:
        """Nothing more is expected of an order that is over and whose executions are here."""
        if o.over and o.filled <= o.executed + DUST:
            self._live.pop(o.key, None)

    def _report(self, o: OwnOrder, code: float = math.nan) -> None:
        """The pipeline hears of an order; `code`: Reason why the router has refused it."""
        row = self.rows.get(o.con_id, -1)
        if row >= 0 and self._taken_over:
            left = max(o.quantity - o.executed, 0.0) if o.stray and not o.over else o.quantity
            price = o.limit if math.isnan(o.price) else o.price
            self.report(Control(0, 0, ControlKind.ORDER_STATE, row, o.key, o.side, o.state, left, price, code, perm_id=o.perm_id))
