"""What we know of orders and positions, compared with what the gateway has: after every connect, on any doubt, and from time to time.

Nothing is concluded from one answer: what is missing, moved or without its position in two answers alike is. Until then no new order goes out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.decide_act import DUST, Control
from tickarrow.pipeline.restart_orders import missed
from tickarrow.pipeline.router_channel import Answer, Channel
from tickarrow.pipeline.router_ledger import Ledger, OwnOrder
from tickarrow.pipeline.router_life import Lives, exec_number
from tickarrow.pipeline.schemas import ControlKind, OrderState, Side

RETRY_S = 2.0  # between two questions for the same
LOST_S = 5.0  # what was sent is not taken as lost before
LATE_ASKS = 5  # so often is asked for executions that a state speaks of
Open = tuple[set[int], dict[int, float], set[int]]  # keys that are missing, shares by which positions differ, keys of brackets that do not fit


class Compared(Lives):
    """Orders and positions that are compared with a gateway.

    Parameters
    ----------
    channel : where orders go
    ledger, con_ids, names, report, tell, seconds : as of `Lives`
    conf : how often
    """

    def __init__(
        self, channel: Channel, ledger: Ledger, con_ids: list[int], names: list[str], conf: OrdersConf, report: Callable[[Control], None],
        tell: Callable[[str], None], seconds: Callable[[], float],
    ) -> None:  # fmt: skip
        super().__init__(ledger, con_ids, names, report, tell, seconds)
        self.channel, self.conf = channel, conf
        self.connected = self.settled = False
        self._queue: dict[int, OwnOrder] = {}  # by own key: written ahead, wait for their turn; a bracket's entry stands for all of it
        self._ask_at, self._asks, self._asking, self._compared_at = 0.0, 0, False, 0.0
        self._open: Open = (set(), {}, set())  # what the last answer left open

    @abstractmethod
    def pump(self) -> None:
        """Send what may be sent now."""

    def doubt(self, after: float = 0.0) -> None:
        """Compare everything with the gateway in so many seconds, and send no new order before."""
        at = self.seconds() + after
        self._ask_at = at if self.settled else min(at, self._ask_at)
        self.settled, self._asks, self._open = False, 0, (set(), {}, set())

    def due(self) -> bool:
        """Whether the gateway is to be asked now; the question is taken as asked."""
        at = self._compared_at + self.conf.compare_s if self.settled else self._ask_at
        if not self.connected or self._asking or self.seconds() < at:
            return False
        self._asking = True
        return True

    def unanswered(self) -> None:
        """The question was not answered: ask again."""
        self._asking, self._ask_at, self._compared_at = False, self.seconds() + RETRY_S, self.seconds()

    def answered(self, answer: Answer) -> None:
        """Settle what can be settled; what is still open in a second answer is decided."""
        now, self._asking, self._asks = self.seconds(), False, self._asks + 1
        for e in answer.executions:
            self.ledger.used(key=e.key)
            self.executed(e)
        for said in (*answer.open, *answer.completed):
            self.ledger.used(said.key, said.order_id)
            self.said(said, asked=True)
        named = {said.key for said in (*answer.open, *answer.completed)}
        for order in self.working:
            if order.cancel and order.key in named:
                self.cancel(order.key)
        missing = {o.key for o in self.working if o.key not in named and o.entry not in self._queue}
        late = any(o.filled > o.executed + DUST for o in self._live.values())
        held = self.ledger.positions
        apart = {c: answer.positions.get(c, (0.0, 0.0))[0] - held.get(c, 0.0) for c in answer.positions.keys() | held.keys()}
        apart = {c: shares for c, shares in apart.items() if abs(shares) > DUST}
        alone = {o.key for o in self.working if self._alone(o, answer)}
        before, self._open = self._open, (missing, apart, alone)
        young = any(now - self.ledger.orders[k].since < LOST_S for k in missing)
        self._compared_at = now
        unclear = missing or apart or late or alone
        if self.settled:
            if unclear:
                self.doubt(RETRY_S)
            return
        if unclear and (self._asks < 2 or before != self._open or young or (late and self._asks < LATE_ASKS)):
            self._ask_at = now + RETRY_S
            return
        for key in missing:
            self.tell(f"order {key} is not known to the gateway: taken as cancelled. Look at it in TWS.")
            self.channel.cancel(self.ledger.orders[key])  # the first of a bracket may wait there, untransmitted, for the last
            self._over(self.ledger.orders[key], OrderState.CANCELLED, assumed=True)
        for key in alone - missing:
            self.tell(f"order {key} of a bracket would open a position: its own is gone or smaller. It is cancelled.")
            self.cancel(key)
        for o in list(self._live.values()):
            o.filled = min(o.filled, o.executed)  # asked often enough
            self._leave(o)
        for con_id, (_, cost) in answer.positions.items():
            if cost > 0.0:  # of a position that is closed the gateway says 0
                self._costs[con_id] = cost
        for con_id, shares in apart.items():
            self._move(con_id, shares)
        if not self._taken_over:
            self._take_over()
        self.settled, self._asks = True, 0
        self._told.clear()
        self.pump()

    def _alone(self, o: OwnOrder, answer: Answer) -> bool:
        """Whether a part of a bracket would do more than close what is held."""
        entry = self.ledger.orders.get(o.entry)
        if not o.is_part or o.cancel or (entry is not None and not entry.over) or o.entry in self._queue:
            return False
        held = answer.positions.get(o.con_id, (0.0, 0.0))[0]
        return o.quantity - max(o.filled, o.executed) > max(-held * o.side, 0.0) + DUST

    def _move(self, con_id: int, shares: float) -> None:
        """Somebody else has traded."""
        self.ledger.moved(con_id, shares)
        self._moved[con_id] = self.seconds()
        if con_id in self.rows and self._taken_over:
            name = self.names[self.rows[con_id]]
            self.tell(f"position of {name}: {shares:+g} shares are not of our executions, and are taken over. Somebody else trades it: look at it in TWS.")
            self._report_moved(con_id, shares)

    def _report_moved(self, con_id: int, shares: float) -> None:
        self.report(self._moved_event(con_id, shares))

    def _moved_event(self, con_id: int, shares: float) -> Control:
        side, row = Side.BUY if shares > 0 else Side.SELL, self.rows[con_id]
        cost, mark = self.cost_of(con_id), self.mark_of(row)
        smaller = (self.ledger.positions.get(con_id, 0.0) - shares) * shares < 0.0
        # What is gone went near the mid: at its cost, or at 0, its gain or loss would be gone from the book too.
        price = mark if mark > 0.0 and (smaller or not cost > 0.0) else cost
        return Control(kind=ControlKind.EXECUTION, symbol=row, side=side, quantity=abs(shares), price=price, value=0.0)

    def _take_over(self) -> None:
        """Report what earlier runs and others have left: keys that are used, positions, orders that still work."""
        self._taken_over = True
        if (known := self.ledger.known) is not None:
            self._paid |= {e.exec_id for e in self.ledger.executions.values() if e.ts < known.began}
            for event in missed(known, self.ledger, self.rows, {o.key for o in self.working}, exec_number, self._moved_event):
                self.report(event)
            for order in self.working:
                if order.key not in known.orders:
                    self._report(order)
            return
        self._paid |= {e.exec_id for e in self.ledger.executions.values()}
        if self.ledger.next_key > 1:
            self.report(Control(kind=ControlKind.KEYS, key=self.ledger.next_key))
        for con_id in self.con_ids:
            if abs(shares := self.ledger.positions.get(con_id, 0.0)) > DUST:
                self._report_moved(con_id, shares)
        for order in self.working:
            self._report(order)
