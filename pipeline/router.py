"""The life of our orders: intent -> written ahead -> sent -> acknowledged -> over. It knows no socket; `Channel` is one.

Our key is in `orderRef`, IBKR's is permId, a fill's is execId; the orderId is for sending only. After a lost session everything that is not
over is unknown until the gateway has said twice what there is: open orders, completed orders, executions, positions. Until then no new order
goes out; cancels always do. Nothing is ever sent twice: what was lost is reported, and decided again if it is still wanted."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.decide_act import DUST, Control
from tickarrow.pipeline.router_channel import Answer, Channel, Intent
from tickarrow.pipeline.router_ledger import Ledger, OwnOrder
from tickarrow.pipeline.router_life import Lives
from tickarrow.pipeline.schemas import ControlKind, OrderState, Side

RETRY_S = 2.0  # between two questions for the same
LOST_S = 5.0  # what was sent is not taken as lost before
LATE_ASKS = 5  # so often is asked for executions that a state speaks of
TOLD = 50  # so many different reasons of refusals are told
UNSETTLED = "orders and positions are not yet compared with the gateway"


class Router(Lives):
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
        super().__init__(ledger, con_ids, names, report, tell, seconds)
        self.channel, self.conf, self.paced = channel, conf, paced
        self.checks: list[Callable[[Intent], str]] = []  # each says why an intent must not go out, or ""
        self.refused: Counter[str] = Counter()  # why intents did not go out, and how often
        self.stopped = ""  # why no new order goes out; "" = they do
        self.connected = self.settled = False
        self.sent = 0
        self._queue: deque[OwnOrder] = deque()  # written ahead, wait for their turn
        self._cancels: deque[OwnOrder] = deque()
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
            self._note_refusal(why)
            self.ledger.used(key=intent.key)
            self.report(Control(0, 0, ControlKind.ORDER_STATE, intent.row, intent.key, intent.side, OrderState.REJECTED, intent.quantity, intent.limit))
            return why
        order_id = max(self.channel.next_id(), self.ledger.next_id)
        order = OwnOrder(intent.key, self.con_ids[intent.row], intent.side, intent.quantity, intent.limit, order_id, since=self.seconds())
        self.ledger.intent(order)
        self._live[order.key] = self._by_id[order_id] = order
        self._queue.append(order)
        return ""

    def _note_refusal(self, why: str) -> None:
        self.refused[why] += 1
        if self.refused[why] == 1 and why != UNSETTLED and len(self.refused) <= TOLD:  # the link itself has been told
            self.tell(f"an order is refused: {why}")

    def _refusal(self, intent: Intent) -> str:
        if self.stopped:
            return self.stopped
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

    def cancel_all(self, everybodys: bool = False) -> None:
        """All our orders that may be filled shall end; `everybodys`: and all of the account, with one request that waits for nothing."""
        if everybodys and self.connected:
            self._tokens -= 1.0
            self.channel.cancel_everybodys()
        for key in [o.key for o in self.working]:
            self.cancel(key)

    def refuse_new(self, reason: str) -> None:
        """No new order goes out from now on, also none that waits for its turn; "" = they go again. Cancels always do."""
        self.stopped = reason
        while reason and self._queue:
            self._note_refusal(reason)
            self._over(self._queue.popleft(), OrderState.REJECTED)

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
                if not self.channel.cancel(order):
                    self._over(order, OrderState.CANCELLED)
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
