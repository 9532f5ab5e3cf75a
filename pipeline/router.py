"""The life of our orders: intent -> written ahead -> sent -> acknowledged -> over. It knows no socket; `Channel` is one.

Our key is in `orderRef`, IBKR's is permId, a fill's is execId; the orderId is for sending only. After a lost session everything that is not
over is unknown until the gateway has said twice what there is: open orders, completed orders, executions, positions. Until then no new order
goes out; cancels always do. Nothing is ever sent twice: what was lost is reported, and decided again if it is still wanted."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, deque
from collections.abc import Callable

from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.decide_act import DUST, Control
from tickarrow.pipeline.router_channel import Channel, Intent, Refusal
from tickarrow.pipeline.router_compare import Compared
from tickarrow.pipeline.router_ledger import Ledger, OwnOrder
from tickarrow.pipeline.router_price import NEAR, Grid, bracket_prices, passive_price
from tickarrow.pipeline.schemas import PARTS, ControlKind, OrderState, Reason

PROFIT, STOP = PARTS, 2 * PARTS  # are added to the key of an entry
TOLD = 50  # so many different reasons of refusals are told
UNSETTLED = Refusal("orders and positions are not yet compared with the gateway", Reason.UNSETTLED)
WHOLE = "a position with a bracket is closed as a whole, and opened from nothing"


class Router(Compared):
    """Every order goes through `submit`, every cancel through `cancel`.

    Parameters
    ----------
    channel : where orders go
    ledger : what is known of orders and positions, on disk too
    con_ids : IBKR's number of each row of the universe
    names : symbol of each row
    conf : styles, pacing and patience
    report : takes each control event
    tell : takes one line for the user
    seconds : the clock
    grids : prices and sizes that each row may have; empty = cents and whole shares
    quote : bid and ask of a row now, currency; passive orders need it
    """

    def __init__(
        self, channel: Channel, ledger: Ledger, con_ids: list[int], names: list[str], conf: OrdersConf, report: Callable[[Control], None],
        tell: Callable[[str], None], seconds: Callable[[], float], grids: list[Grid] | None = None,
        quote: Callable[[int], tuple[float, float]] = lambda row: (math.nan, math.nan),
    ) -> None:  # fmt: skip
        super().__init__(channel, ledger, con_ids, names, conf, report, tell, seconds)
        self.grids, self.quote = grids or [Grid()] * len(con_ids), quote
        self.checks: list[Callable[[Intent], str]] = []  # each says why an intent must not go out, or ""
        self.may_cost: Callable[[int, int, float], bool] = lambda row, side, price: True  # whether an order may have this price now
        self.refused: Counter[str] = Counter()  # why intents did not go out, and how often
        self.stopped = ""  # why no new order goes out; "" = they do
        self._cancels: deque[OwnOrder] = deque()
        self._tokens, self._counted_at = float(conf.requests), seconds()

    # --- orders that are wanted

    @property
    def busy(self) -> bool:
        """Whether a chunk may bring something to do, also without new intents."""
        return bool(self._queue or self._cancels) or (self.conf.style == "passive" and bool(self._live))

    def send(self, intents: Batch, closing: bool = False) -> None:
        """Take the new rows of ORDERS, and let passive orders follow their quote; `closing`: these close positions, whatever else is refused."""
        self.follow()
        for i in range(intents.lo, intents.hi):
            if intents.state[i] == OrderState.CANCEL_INTENT:
                self.cancel(int(intents.key[i]))
            elif intents.state[i] == OrderState.INTENT and int(intents.key[i]) not in self.ledger.orders:  # what came between two chunks comes twice
                key, row, side = int(intents.key[i]), int(intents.symbol[i]), int(intents.side[i])
                self.submit(Intent(key, row, side, float(intents.quantity[i]), float(intents.limit[i]), closing))
        self.pump()

    def submit(self, intent: Intent) -> str:
        """The one way of an order: checked, written ahead, and sent by `pump` when it is its turn; why not, or ""."""
        con_id, grid = self.con_ids[intent.row], self.grids[intent.row]
        held = self.ledger.positions.get(con_id, 0.0)
        parts = [o for o in self.working if o.is_part and o.con_id == con_id]
        bracketed = bool(self.conf.profit_bp or self.conf.stop_bp)
        shares = intent.quantity
        if (parts or (bracketed and abs(held) > DUST)) and held * intent.side < 0:
            shares = min(shares, abs(held))  # what closes it does not turn it
        made = dataclasses.replace(intent, quantity=grid.size(shares), limit=grid.not_beyond(intent.limit, intent.side))
        why = self._refusal(made, held, bool(parts) or bracketed) or next((said for check in self.checks if not made.closing and (said := check(made))), "")
        if why:
            self._note(why)
            self.ledger.used(key=intent.key)
            self.report(Control(0, 0, ControlKind.ORDER_STATE, intent.row, intent.key, intent.side, OrderState.REJECTED, intent.quantity, intent.limit,
                                _code(why)))  # fmt: skip
            return why
        order = self._write(OwnOrder(made.key, con_id, made.side, made.quantity, made.limit, 0, held=held, closing=made.closing))
        if bracketed and abs(held) <= DUST:
            for number, kind, price in zip((PROFIT, STOP), ("LMT", "STP"), bracket_prices(made.side, made.limit, self.conf, grid)):
                if not math.isnan(price):
                    self._write(OwnOrder(made.key + number, con_id, -made.side, made.quantity, price, 0, kind, entry_id=order.order_id))
        self._queue[order.key] = order
        for part in parts:
            self.cancel(part.key)
        return ""

    def _write(self, order: OwnOrder) -> OwnOrder:
        order.order_id, order.since = max(self.channel.next_id(), self.ledger.next_id), self.seconds()
        self.ledger.intent(order)
        self._live[order.key] = self._by_id[order.order_id] = order
        return order

    def _refusal(self, intent: Intent, held: float, whole: bool) -> str:
        closes = held * intent.side < 0 and intent.quantity <= abs(held) + DUST
        if intent.closing and not closes:
            return "it would do more than close the position"
        if self.stopped and not intent.closing:
            return self.stopped
        if not (self.connected and self.settled):
            return UNSETTLED
        if intent.key < self.ledger.next_key:
            return f"key {intent.key} is used"
        if any(o.stray and o.con_id == self.con_ids[intent.row] for o in self.working):
            return "an order of an earlier run still works"
        if not intent.quantity:
            return "its size is less than the least that the contract may have"
        if whole and not (closes and intent.quantity >= abs(held) - DUST) and (abs(held) > DUST or self._bracket_of(intent.row)):
            return WHOLE
        return ""

    def _bracket_of(self, row: int) -> bool:
        return any(o.is_part and o.con_id == self.con_ids[row] for o in self.working)

    def _note(self, why: str) -> None:
        self.refused[why] += 1
        if self.refused[why] == 1 and why != UNSETTLED and len(self.refused) <= TOLD:  # the link itself has been told
            self.tell(f"an order is refused: {why}")

    def _refuse(self, order: OwnOrder, why: str, state: OrderState = OrderState.REJECTED) -> None:
        """An order that waits for its turn does not go out, nor its bracket."""
        del self._queue[order.key]
        if why:
            self._note(why)
        for o in self._family(order):
            self._over(o, state, code=_code(why))

    def _family(self, entry: OwnOrder) -> list[OwnOrder]:
        """An order with what goes out with it, in the order of sending."""
        return [o for part in (0, PROFIT, STOP) if (o := self.ledger.orders.get(entry.key + part)) is not None]

    def cancel(self, key: int) -> None:
        """An order shall end, whatever else is going on."""
        order = self.ledger.orders.get(key)
        if order is None or order.over:
            return
        order.cancel = True
        if order.entry in self._queue:
            self._refuse(self._queue[order.entry], "", OrderState.CANCELLED)
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
        """No new order goes out from now on, also none that waits for its turn; "" = they go again. Cancels always do, and what is `closing`."""
        self.stopped = reason
        for order in list(self._queue.values()) if reason else ():
            if not order.closing:
                self._refuse(order, reason)

    def _may(self, requests: float) -> bool:
        """Whether so many requests may be sent now; they are counted if so."""
        now, rate = self.seconds(), float(self.conf.requests)
        self._tokens = min(rate, self._tokens + (now - self._counted_at) * rate)
        self._counted_at = now
        return not rate or self._tokens >= min(requests, rate)

    def pump(self) -> None:
        """Send what may be sent now: cancels first, and new orders only while requests for cancels are left."""
        now = self.seconds()
        while self.connected and self._cancels and self._may(1.0):
            order = self._cancels.popleft()
            if not order.over:
                order.cancelled_at = now
                self._tokens -= 1.0
                if not self.channel.cancel(order):
                    self._over(order, OrderState.CANCELLED)
                    for part in () if order.is_part else self._family(order)[1:]:  # they are behind it, and would be alone
                        self.cancel(part.key)
        if self.connected and self.settled and self._queue:
            self.ledger.sync()  # all that waits was written when it came
            for order in list(self._queue.values()):
                if self._bracketed(order):
                    order.since = now  # a bracket ends for its sake: given up now it would leave a position without a stop
                elif now - order.since > self.conf.wait_s:
                    self._refuse(order, f"it has waited for {self.conf.wait_s:g} s")
                elif not self._waits(order):
                    family = self._family(order)
                    if abs(self.ledger.positions.get(order.con_id, 0.0) - order.held) > DUST:
                        self._refuse(order, "the position has changed since it was decided")
                    elif now > order.since and not (order.closing or self.may_cost(self.rows[order.con_id], order.side, order.limit)):
                        self._refuse(order, "the market has changed since it was decided")
                    elif self._may(len(family) + self.conf.reserved):
                        self._send(family, now)
                    else:
                        break

    def _bracketed(self, order: OwnOrder) -> bool:
        """Whether a bracket of its contract still works, which has to end first."""
        return any(o.is_part and o.con_id == order.con_id and o.entry != order.key for o in self.working)

    def _waits(self, order: OwnOrder) -> bool:
        """Whether something has to come first: executions that its position lacks, or what its margin would be."""
        if any(o.con_id == order.con_id and o.entry != order.key and o.filled > o.executed + DUST for o in self.pending):
            return True
        if not self.conf.margin_share or order.closing or order.margin_known:
            return False
        if not any(o.margin_asked for o in self._queue.values()) and self._may(1.0 + self.conf.reserved):  # an answer knows what is sent, not what waits
            order.margin_asked = True
            self._tokens -= 1.0
            self.channel.ask_margin(order)
        return True

    def judged(self, key: int, margin: float, equity: float, why: str = "") -> None:
        """What the margin would be after an order that waits for it.

        Parameters
        ----------
        key : own key
        margin, equity : initial margin and equity with loan afterwards, currency
        why : the gateway would not take it
        """
        order = self._queue.get(key)
        if order is None:
            return
        if not why and not margin <= self.conf.margin_share * equity:
            why = f"initial margin would be more than {self.conf.margin_share:.0%} of equity with loan"
        if why:
            self._refuse(order, why)
        else:
            order.margin_known = True
        self.pump()

    def _send(self, family: list[OwnOrder], now: float) -> None:
        del self._queue[family[0].key]
        self._tokens -= len(family)
        for o in family:
            price = math.nan if o.is_part else self._price(o, 0.0)
            o.price, o.priced = o.limit if math.isnan(price) else price, now
            o.state, o.since, o.sent_at = OrderState.SENT, now, now
            self.channel.place(o, o is family[-1])
            self.ledger.state(o)

    # --- orders that follow the quote

    def _price(self, o: OwnOrder, age: float) -> float:
        """What its style wants, currency, `age` seconds after it was sent; NaN = nothing to follow."""
        row, crosses = self.rows[o.con_id], self.conf.cross_s
        if self.conf.style != "passive" or o.closing or (crosses and age >= crosses):
            return o.limit
        return passive_price(o.side, *self.quote(row), o.limit, self.conf, self.grids[row])

    def follow(self) -> None:
        """Passive orders get a new price where their quote has moved away."""
        now = self.seconds()
        if self.conf.style != "passive" or not (self.connected and self.settled):
            return
        for o in self.working:
            rests = o.state == OrderState.SUBMITTED and not (o.is_part or o.cancel or o.stray or o.changing or o.fixed)
            if not rests or now - o.priced < self.conf.reprice_s:
                continue
            price, step = self._price(o, now - o.sent_at), self.grids[self.rows[o.con_id]].step(o.price)
            least = step * (1.0 if price == o.limit else self.conf.reprice_ticks) * (1 - NEAR)
            if not abs(price - o.price) >= least or (o.side * (price - o.price) > 0 and not self.may_cost(self.rows[o.con_id], o.side, price)):
                continue
            if self._may(1.0 + self.conf.reserved):
                self._tokens -= 1.0
                o.price, o.priced, o.changing, o.since = price, now, True, now
                self.channel.change(o)

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
        for order in list(self._queue.values()):
            self._refuse(order, UNSETTLED)

    def look(self) -> None:
        """What time brings: silence that means something, and turns of what waits."""
        now = self.seconds()
        if self.connected and self.settled:
            doubtful = any(now - at > self.conf.acknowledge_s for _, at in self._told.values())
            for o in self._live.values():
                waits = o.state == OrderState.SENT or o.changing or o.filled > o.executed + DUST
                if o.state == OrderState.SENT and now - o.since > self.conf.acknowledge_s:
                    self.tell(
                        f"order {o.key} has no answer after {self.conf.acknowledge_s:g} s: it is looked for. "
                        "Is the API read-only in TWS, or does TWS wait for a confirmation?"
                    )
                doubtful |= waits and now - o.since > self.conf.acknowledge_s
                doubtful |= not o.over and o.cancelled_at >= 0 and now - o.cancelled_at > self.conf.acknowledge_s
            if doubtful:
                for o in self.working:
                    o.cancelled_at = -1.0
                self.doubt()
        self.pump()


def _code(why: str) -> float:
    """What ORDERS holds of a refusal."""
    return math.nan if not why else float(why.code if isinstance(why, Refusal) else Reason.REFUSED)
