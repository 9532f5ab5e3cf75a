"""The life of our orders: intent -> written ahead -> sent -> acknowledged -> over. It knows no socket; `Channel` is one.

Our key is in `orderRef`, IBKR's is permId, a fill's is execId; the orderId is for sending only. After a lost session everything that is not
over is unknown until the gateway has said twice what there is: open orders, completed orders, executions, positions. Until then no new order
goes out; cancels always do. Nothing is ever sent twice: what was lost is reported, and decided again if it is still wanted."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.decide_act import DUST, Control
from tickarrow.pipeline.router_channel import Answer, Channel, Execution, Intent, Said
from tickarrow.pipeline.router_ledger import OVER, Executed, Ledger, OwnOrder
from tickarrow.pipeline.schemas import ControlKind, OrderState, Side

RETRY_S = 2.0  # between two questions for the same
LOST_S = 5.0  # what was sent is not taken as lost before
LATE_ASKS = 5  # so often is asked for executions that a state speaks of
UNSETTLED = "orders and positions are not yet compared with the gateway"
WARNINGS = {105, 165, 329, 399, 404, 492, 10167}  # the order lives on
CANCELLED_CODE = 202
NOT_CANCELLED = {161, 10147, 10148}  # a cancel came too late, or for what the gateway does not know


def exec_number(exec_id: str) -> int:
    """A broker's execId as a positive int64, for a fixed-width column."""
    return int.from_bytes(hashlib.blake2b(exec_id.encode(), digest_size=8).digest(), "little") >> 1


class Router:
    """Every order goes through `submit`, every cancel through `cancel`.

    Parameters
    ----------
    channel : where orders go
    ledger : what is known of orders and positions, on disk too
    con_ids : IBKR's number of each row of the universe
    names : symbol of each row
    conf : pacing and patience
    report : takes each control event
    tell : takes one line for the user
    seconds : the clock
    paced : whether requests are counted
    """

    def __init__(
        self, channel: Channel, ledger: Ledger, con_ids: list[int], names: list[str], conf: OrdersConf, report: Callable[[Control], None],
        tell: Callable[[str], None], seconds: Callable[[], float], paced: bool = True,
    ) -> None:  # fmt: skip
        self.channel, self.ledger, self.conf, self.report, self.tell, self.seconds, self.paced = channel, ledger, conf, report, tell, seconds, paced
        self.con_ids, self.names, self.rows = con_ids, names, {c: i for i, c in enumerate(con_ids)}
        self.checks: list[Callable[[Intent], str]] = []  # each says why an intent must not go out, or ""
        self.connected = self.settled = False
        self.sent = 0
        self._taken_over = False  # positions of earlier runs are reported
        self._queue: deque[OwnOrder] = deque()  # written ahead, wait for their turn
        self._cancels: deque[OwnOrder] = deque()
        self._live = dict(ledger.orders)  # own key -> orders that may be filled, or whose executions are not all here
        self._by_id = {o.order_id: o for o in ledger.orders.values()}
        self._paid = {e.exec_id for e in ledger.executions.values()}  # execIds whose commission is reported, or of no interest
        self._told: dict[int, tuple[float, float]] = {}  # conId -> shares the gateway said, since when; where ours differ
        self._moved: dict[int, float] = {}  # conId -> when somebody else has moved its position
        self._costs: dict[int, float] = {}
        self._ask_at, self._asks, self._asking, self._compared_at = 0.0, 0, False, 0.0
        self._open: tuple[set[int], dict[int, float]] = (set(), {})  # what the last answer left open
        self._tokens, self._counted_at = float(conf.requests), seconds()

    # --- orders that are wanted

    def send(self, intents: Batch) -> None:
        """Take the new rows of ORDERS."""
        for i in range(intents.lo, intents.hi):
            if intents.state[i] == OrderState.CANCEL_INTENT:
                self.cancel(int(intents.key[i]))
            elif intents.state[i] == OrderState.INTENT:
                self.submit(Intent(int(intents.key[i]), int(intents.symbol[i]), int(intents.side[i]), float(intents.quantity[i]), float(intents.limit[i])))
        self.pump()

    def submit(self, intent: Intent) -> str:
        """The one way of an order: checked, written ahead, and sent by `pump` when it is its turn; why not, or ""."""
        why = self._refusal(intent) or next((said for check in self.checks if (said := check(intent))), "")
        if why:
            self.ledger.used(key=intent.key)
            self.report(Control(0, 0, ControlKind.ORDER_STATE, intent.row, intent.key, intent.side, OrderState.REJECTED, intent.quantity, intent.limit))
            return why
        order_id = max(self.channel.next_id(), self.ledger.next_id)
        order = OwnOrder(intent.key, self.con_ids[intent.row], intent.side, intent.quantity, intent.limit, order_id, since=self.seconds())
        self.ledger.intent(order)
        self._live[order.key] = self._by_id[order_id] = order
        self._queue.append(order)
        return ""

    def _refusal(self, intent: Intent) -> str:
        if not (self.connected and self.settled):
            return UNSETTLED
        if intent.key < self.ledger.next_key:
            return f"key {intent.key} is used"
        if any(o.stray and o.con_id == self.con_ids[intent.row] for o in self.working):
            return "an order of an earlier run still works"
        return ""

    def cancel(self, key: int) -> None:
        """An order shall end, whatever else is going on."""
        order = self.ledger.orders.get(key)
        if order is None or order.over:
            return
        order.cancel = True
        if order in self._queue:
            self._queue.remove(order)
            self._over(order, OrderState.CANCELLED)
        elif self.connected and order.cancelled_at < 0 and order not in self._cancels:
            self._cancels.append(order)
            self.pump()

    def cancel_all(self) -> None:
        """All that may be filled shall end."""
        for key in [o.key for o in self.working]:
            self.cancel(key)

    def pump(self) -> None:
        """Send what may be sent now: cancels first, and new orders only while requests for cancels are left."""
        now = self.seconds()
        rate = float(self.conf.requests)
        self._tokens = min(rate, self._tokens + (now - self._counted_at) * rate)
        self._counted_at = now
        free = not (self.paced and rate)
        while self.connected and self._cancels and (free or self._tokens >= 1.0):
            order = self._cancels.popleft()
            if not order.over:
                order.cancelled_at = now
                self._tokens -= 1.0
                self.channel.cancel(order)
        if self.connected and self.settled and self._queue:
            self.ledger.sync()  # all that waits was written when it came
        while self.connected and self.settled and self._queue and (free or self._tokens >= 1.0 + self.conf.reserved):
            order = self._queue[0]
            if now - order.since > self.conf.wait_s:
                self._queue.popleft()
                self._over(order, OrderState.REJECTED)
                continue
            self._queue.popleft()
            self._tokens -= 1.0
            order.state, order.since, order.sent_at = OrderState.SENT, now, now
            self.channel.place(order)
            self.ledger.state(order)
            self.sent += 1

    @property
    def working(self) -> list[OwnOrder]:
        """Orders that the gateway may still fill."""
        return [o for o in self._live.values() if not o.over]

    # --- sessions

    def up(self) -> None:
        """A session begins: ask before anything is sent."""
        self.connected = True
        for order in self.working:
            order.cancelled_at = -1.0
        self._ask_at = self.seconds()
        self.doubt()

    def lost(self) -> None:
        """The session is over: what was sent is unknown, what was not is refused."""
        self.connected = self.settled = self._asking = False
        self._cancels.clear()
        self._told.clear()
        for order in self._queue:
            self._over(order, OrderState.REJECTED)
        self._queue.clear()

    def doubt(self, after: float = 0.0) -> None:
        """Compare everything with the gateway in so many seconds, and send no new order before."""
        at = self.seconds() + after
        self._ask_at = at if self.settled else min(at, self._ask_at)
        self.settled, self._asks, self._open = False, 0, (set(), {})

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
        missing = {o.key for o in self.working if o.key not in named and o not in self._queue}
        late = any(o.filled > o.executed + DUST for o in self._live.values())
        held = self.ledger.positions
        apart = {c: answer.positions.get(c, (0.0, 0.0))[0] - held.get(c, 0.0) for c in answer.positions.keys() | held.keys()}
        apart = {c: shares for c, shares in apart.items() if abs(shares) > DUST}
        before, self._open = self._open, (missing, apart)
        young = any(now - self.ledger.orders[k].since < LOST_S for k in missing)
        self._compared_at = now
        unclear = missing or apart or late
        if self.settled:
            if unclear:
                self.doubt(RETRY_S)
            return
        if unclear and (self._asks < 2 or before != self._open or young or (late and self._asks < LATE_ASKS)):
            self._ask_at = now + RETRY_S
            return
        for key in missing:
            self.tell(f"order {key} is not known to the gateway: taken as cancelled. Look at it in TWS.")
            self._over(self.ledger.orders[key], OrderState.CANCELLED, assumed=True)
        for o in list(self._live.values()):
            o.filled = min(o.filled, o.executed)  # asked often enough
            self._leave(o)
        for con_id, (_, cost) in answer.positions.items():
            self._costs[con_id] = cost
        for con_id, shares in apart.items():
            self._move(con_id, shares)
        if not self._taken_over:
            self._take_over()
        self.settled, self._asks = True, 0
        self._told.clear()
        self.pump()

    def _move(self, con_id: int, shares: float) -> None:
        """Somebody else has traded."""
        self.ledger.moved(con_id, shares)
        self._moved[con_id] = self.seconds()
        if con_id in self.rows and self._taken_over:
            name = self.names[self.rows[con_id]]
            self.tell(f"position of {name}: {shares:+g} shares are not of our executions, and are taken over. Somebody else trades it: look at it in TWS.")
            self._report_moved(con_id, shares)

    def _report_moved(self, con_id: int, shares: float) -> None:
        side = Side.BUY if shares > 0 else Side.SELL
        self.report(
            Control(kind=ControlKind.EXECUTION, symbol=self.rows[con_id], side=side, quantity=abs(shares), price=self._costs.get(con_id, 0.0), value=0.0)
        )

    def _take_over(self) -> None:
        """Report what earlier runs and others have left: keys that are used, positions, orders that still work."""
        self._taken_over = True
        self._paid |= {e.exec_id for e in self.ledger.executions.values()}
        if self.ledger.next_key > 1:
            self.report(Control(kind=ControlKind.KEYS, key=self.ledger.next_key))
        for con_id in self.con_ids:
            if abs(shares := self.ledger.positions.get(con_id, 0.0)) > DUST:
                self._report_moved(con_id, shares)
        for order in self.working:
            self._report(order)

    # --- what the gateway says

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
        if said.filled > o.filled:
            o.filled, o.since = said.filled, self.seconds()
            self._live[o.key] = o
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

    def _adopt(self, said: Said) -> OwnOrder:
        """An order with our mark that the ledger does not know as open."""
        o = OwnOrder(said.key, said.con_id, said.side, said.quantity, said.limit, said.order_id, said.perm_id, stray=True, cancel=True)
        o.executed = sum(e.shares for e in self.ledger.executions.values() if e.key == o.key) * o.side
        self.ledger.intent(o)
        self._live[o.key] = self._by_id[o.order_id] = o
        self.tell(f"order {o.key} of an earlier run is open at the gateway: it is cancelled.")
        return o

    def _come_back(self, o: OwnOrder) -> None:
        """What was taken as over lives: end it."""
        self.tell(f"order {o.key} was taken as over and is open at the gateway: it is cancelled.")
        o.state, o.stray, o.assumed, o.cancelled_at, o.since = OrderState.SUBMITTED, True, False, -1.0, self.seconds()
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

    def look(self) -> None:
        """What time brings: silence that means something, and turns of what waits."""
        now = self.seconds()
        if self.connected and self.settled:
            doubtful = any(now - at > self.conf.acknowledge_s for _, at in self._told.values())
            for o in self._live.values():
                waits = o.state == OrderState.SENT or o.filled > o.executed + DUST
                doubtful |= waits and now - o.since > self.conf.acknowledge_s
                doubtful |= not o.over and o.cancelled_at >= 0 and now - o.cancelled_at > self.conf.acknowledge_s
            if doubtful:
                for o in self.working:
                    o.cancelled_at = -1.0
                self.doubt()
        self.pump()

    def _over(self, o: OwnOrder, state: OrderState, assumed: bool = False) -> None:
        o.state, o.assumed, o.since = state, assumed, self.seconds()
        self.ledger.state(o)
        self._report(o)
        self._leave(o)

    def _leave(self, o: OwnOrder) -> None:
        """Nothing more is expected of an order that is over and whose executions are here."""
        if o.over and o.filled <= o.executed + DUST:
            self._live.pop(o.key, None)

    def _report(self, o: OwnOrder) -> None:
        row = self.rows.get(o.con_id, -1)
        if row >= 0 and self._taken_over:
            left = max(o.quantity - o.executed, 0.0) if o.stray and not o.over else o.quantity
            self.report(Control(0, 0, ControlKind.ORDER_STATE, row, o.key, o.side, o.state, left, o.limit, perm_id=o.perm_id))
