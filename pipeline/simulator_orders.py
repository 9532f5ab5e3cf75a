"""Matching engine of the simulated gateway: limit, market and stop orders against the quote of the source, which they do not move.

A stop order waits until a trade reaches its stop price, then it is a market or limit order. An order with transmit=False is not known to
the market, and nothing is said about it, until the order that completes its bracket is transmitted. Children wait until their parent is
filled; what one child fills the others lose, as in a one-cancels-all group.

An order that is marketable when it comes is filled at the quote, and so is its rest; one that has to wait is filled at its limit as
soon as the other side of the quote reaches it. No fill is larger than what the quote still displays; a new value of that side of the
quote shows its size anew. Everything happens at market times that the feed decides, so equal decisions give equal fills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.jit.costs import fees_point
from tickarrow.pipeline import simulator_frames as frames
from tickarrow.pipeline.simulator_frames import Execution, Order
from tickarrow.pipeline.universe import Instrument, Universe

FIRST_PERM_ID = 1_000_000_001
PERM_IDS = 1_000_000  # of a run
MARKET_OVER = "the market is over"
KINDS = ("LMT", "MKT", "STP", "STP LMT")
TIFS = ("DAY", "GTC", "IOC", "FOK")
AT_ONCE = ("IOC", "FOK")  # the rest, or all if not all can be filled, is cancelled
MARGIN = 0.25  # share of the value of a position


class Client(Protocol):
    """Who gets an answer."""

    client_id: int
    version: int

    def send(self, data: bytes) -> None:
        """Append frames to what goes to the client."""
        ...

    def error(self, request: int, code: int, message: str) -> None:
        """Send an error message."""
        ...


class Matching:
    """All orders of a market.

    Parameters
    ----------
    conf : account rules
    fees : (1,) FEES, what an execution is charged
    universe : what can be traded
    state : (n_symbols,) QUOTE of the market; the best resting limits are written to it
    clients : connected clients by their id
    """

    def __init__(self, conf: SimulatorConf, fees: npt.NDArray[Any], universe: Universe, state: npt.NDArray[Any], clients: dict[int, Any]) -> None:
        self.conf, self.fees, self.universe, self.state, self.clients = conf, fees[0], universe, state, clients
        self.orders: dict[tuple[int, int], Order] = {}  # by client id and order id
        self.executions: list[Execution] = []
        self.positions: dict[int, tuple[float, float]] = {}  # row -> shares, average price
        self.run = 0  # of the account: numbers of executions and orders go on behind those of earlier ones
        self.placed = self.fills = self.cancelled = self.rejected = 0
        self.over = False
        self.now = 0  # market time, ns
        self._transmitted = 0
        self._working: list[list[Order]] = [[] for _ in universe]  # by symbol, in order of priority
        self._stops: list[list[Order]] = [[] for _ in universe]  # waiting for their stop price, oldest first
        self._children: dict[tuple[int, int], list[Order]] = {}  # by client id and order id of the parent
        self._groups: dict[tuple[int, str], list[Order]] = {}  # one-cancels-all groups by client id and name

    def place(self, client: Client, order: Order, instrument: Instrument | None, now: int, *, what_if: bool = False) -> None:
        """An order takes effect: refuse, change or accept it, and fill what the quote allows."""
        self.now = now
        known = self.orders.get((client.client_id, order.order_id))
        if refused := self._refusal(order, instrument, known):
            self.rejected += 1
            client.error(order.order_id, *refused)
            return
        assert instrument is not None
        if what_if:
            self._what_if(client, order, instrument)
        elif known is None:
            self.placed += 1
            self.orders[client.client_id, order.order_id] = order
            if order.parent_id:
                self._children.setdefault((client.client_id, order.parent_id), []).append(order)
            if order.oca_group:
                self._groups.setdefault((client.client_id, order.oca_group), []).append(order)
            if order.transmit:
                self._transmit(order)
        else:
            self._modify(known, order)

    def _what_if(self, client: Client, order: Order, instrument: Instrument) -> None:
        """Initial margin is a quarter of the value of all positions, at their prices of purchase; equity is cash and positions."""
        touch = float(self.state[order.row]["ask" if order.side > 0 else "bid"])
        price = next((p for p in order.prices if p), 0.0 if np.isnan(touch) else touch)
        commission = self._commission(order.side, order.quantity, order.quantity * price)
        values = {row: shares * average for row, (shares, average) in self.positions.items()}
        before = MARGIN * sum(abs(v) for v in values.values())
        shares, average = self.positions.get(order.row, (0.0, 0.0))
        turned = shares + order.side * order.quantity
        values[order.row] = turned * (price if shares * turned <= 0 or abs(turned) > abs(shares) else average)
        after = MARGIN * sum(abs(v) for v in values.values())
        account = frames.Account(before, after, self.conf.cash, self.conf.cash - commission)
        client.send(frames.open_order(order, instrument, client.version, what_if=account, commission=commission))

    def _modify(self, known: Order, order: Order) -> None:
        known.quantity, known.limit, known.stop = order.quantity, order.limit, order.stop
        if not known.perm_id:
            if order.transmit:
                self._transmit(known)
        elif known.held == "child":
            self._report(known)
        else:
            for orders in self._working, self._stops:
                if known in orders[known.row]:
                    orders[known.row].remove(known)
            self._activate(known)

    def _transmit(self, order: Order) -> None:
        """An order goes to the market, with those of its bracket that have waited for it."""
        family = [order]
        parent = self.orders.get((order.client_id, order.parent_id))
        if parent is not None and not parent.perm_id:
            family = [parent, *(o for o in self._children[order.client_id, order.parent_id] if not o.perm_id)]
        for o in family:
            self._transmitted += 1
            o.perm_id, o.transmit = FIRST_PERM_ID + self.run * PERM_IDS + self._transmitted - 1, True
            above = self.orders.get((o.client_id, o.parent_id))
            o.held = "child" if above is not None and above.status != "Filled" else ""
            self._report(o)
        for o in [o for o in family if not o.held]:
            self._activate(o)

    def _activate(self, order: Order) -> None:
        """An order begins to work, or to wait for its stop price."""
        order.held = ""
        if order.waits and not self._reached(order):
            order.held = "trigger"
            self._stops[order.row].append(order)
            self._report(order)
            self._publish_limits(order.row)
            return
        self._start(order)
        self.match(order.row, self.now)
        if not order.done and order.tif in AT_ONCE:
            self._cancel(order)
        self._publish_limits(order.row)

    def _start(self, order: Order) -> None:
        """An order works from now on."""
        order.triggered, order.held, order.status = order.triggered or order.waits, "", "Submitted"
        self._working[order.row].append(order)
        self._working[order.row].sort(key=lambda o: (-o.side * o.limit, o.perm_id))
        self._report(order)
        order.resting = not self._marketable(order)

    def _reached(self, order: Order) -> bool:
        """Whether the last trade is at or beyond the stop price."""
        return order.side * (float(self.state[order.row]["last"]) - order.stop) >= 0

    def _refusal(self, order: Order, instrument: Instrument | None, known: Order | None) -> tuple[int, str] | None:
        if self.over:
            return 201, f"Order rejected - reason: {MARKET_OVER}"
        if instrument is None:
            return 200, "No security definition has been found for the request"
        if known is not None:
            if known.status == "Filled":
                return 104, "Cannot modify a filled order."
            same = (known.quantity, known.limit, known.prices, known.transmit) == (order.quantity, order.limit, order.prices, order.transmit)
            if known.done or same or (known.row, known.side, known.kind) != (order.row, order.side, order.kind):
                return 103, "Duplicate order id"
            if order.quantity <= known.filled:
                return 201, "Order rejected - reason: the new size is not above what is already filled"
        elif order.parent_id and (parent := self.orders.get((order.client_id, order.parent_id))) is None:
            return 135, f"Can't find order with id = {order.parent_id}"
        elif order.parent_id and parent is not None and parent.status == "Cancelled":
            return 201, "Order rejected - reason: the parent order is cancelled"
        if order.kind not in KINDS or order.tif not in TIFS:
            what = f"{order.kind} {order.tif}. Send {', '.join(KINDS)}; {', '.join(TIFS)}."
            return 387, f"Unsupported order type for this exchange and security type: {what}"
        if not (0 < order.quantity < np.inf):
            return 201, "Order rejected - reason: the order size must be positive"
        if order.side == 0:
            return 201, "Order rejected - reason: the action must be BUY or SELL"
        needed = [order.limit] * ("LMT" in order.kind) + [order.stop] * order.kind.startswith("STP")
        ticks = [p / instrument.tick_size for p in needed]
        if not all(np.isfinite(t) and abs(t - round(t)) < 1e-6 for t in ticks):
            return 110, "The price does not conform to the minimum price variation for this contract."
        return None

    def cancel(self, client: Client, order_id: int) -> None:
        """A cancel takes effect."""
        order = self.orders.get((client.client_id, order_id))
        if order is None:
            client.error(order_id, 10147, f"OrderId {order_id} that needs to be cancelled is not found.")
        elif order.done:
            client.error(order_id, 10148, f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.status}.")
        else:
            self._cancel(order)

    def cancel_all(self, reason: str = "") -> None:
        """Cancel every order that is not done, oldest first."""
        for order in list(self.orders.values()):
            if not order.done:
                self._cancel(order, reason)

    def _cancel(self, order: Order, reason: str = "") -> None:
        order.status, order.held, order.ended = "Cancelled", "", self.now
        for orders in self._working, self._stops:
            if order in orders[order.row]:
                orders[order.row].remove(order)
        self.cancelled += 1
        for client in self._hearers(order):
            client.send(frames.order_status(order))
        if client := self.clients.get(order.client_id):
            client.error(order.order_id, 202, f"Order Canceled - reason:{reason}")
        self._publish_limits(order.row)
        for child in self._children.get((order.client_id, order.order_id), ()):
            if child.held == "child" and order.filled > 0 and not reason:
                child.quantity = min(child.quantity, order.filled)  # it closes what the parent has opened
                self._activate(child)
            elif not child.done:
                self._cancel(child, reason)

    def match(self, row: int, now: int) -> None:
        """Start the stops that the last trade has reached, then fill the working orders of a symbol as far as its quote allows, best limit
        first, then oldest."""
        self.now = now
        reached = [o for o in self._stops[row] if self._reached(o)]
        for order in reached:
            self._stops[row].remove(order)
            self._start(order)
        quote = self.state[row]
        for order in self._working[row].copy():
            if order.done or not self._marketable(order):
                continue
            price_name, left_name = ("ask", "ask_left") if order.side > 0 else ("bid", "bid_left")
            left = float(quote[left_name])  # NaN: a price without a size limits nothing
            shares = order.remaining if np.isnan(left) else min(order.remaining, left)
            if shares > 0 and (order.tif != "FOK" or shares >= order.remaining):
                if not np.isnan(left):
                    quote[left_name] = left - shares
                self._fill(order, order.limit if order.resting and "LMT" in order.kind else float(quote[price_name]), shares, now)
        for order in reached:
            if not order.done and order.tif in AT_ONCE:
                self._cancel(order)
        self._publish_limits(row)

    def _marketable(self, order: Order) -> bool:
        price = float(self.state[order.row]["ask" if order.side > 0 else "bid"])
        return order.side * (order.limit - price) >= 0  # not when there is no quote

    def _fill(self, order: Order, price: float, shares: float, now: int) -> None:
        order.filled = round(order.filled + shares, 8)
        order.value += price * shares
        order.last_price = price
        total = self._commission(order.side, order.filled, order.value)
        commission, order.commission = round(total - order.commission, 6), total
        realized = self._book(order.row, order.side * shares, price, commission)
        self.fills += 1
        if order.remaining <= 0:
            order.status, order.ended = "Filled", now
            self._working[order.row].remove(order)
        e = Execution(order, f"{self.run:04d}.{self.fills}.01", now, price, shares, order.filled, order.average, commission, realized)
        self.executions.append(e)
        hearers = self._hearers(order)
        for client in hearers:
            client.send(frames.exec_details(-1, e, self.universe.instruments[order.row], client.version))
        self._report(order)
        for client in hearers:
            client.send(frames.commission_report(e))
        self._shrink(order, shares)
        if order.status == "Filled":
            for child in self._children.get((order.client_id, order.order_id), ()):
                if child.held == "child":
                    self._activate(child)

    def _shrink(self, order: Order, shares: float) -> None:
        """The others of a bracket or of a one-cancels-all group lose what an order has filled, or are cancelled."""
        siblings = self._children.get((order.client_id, order.parent_id), ()) if order.parent_id else ()
        group = self._groups.get((order.client_id, order.oca_group), ()) if order.oca_group else ()
        for other in [*siblings, *(o for o in group if o not in siblings)]:
            if other is order or other.done:
                continue
            if (other in group and order.oca_type not in (2, 3)) or other.remaining <= shares:
                self._cancel(other)
            else:
                other.quantity = round(other.quantity - shares, 8)
                self._report(other)

    def _commission(self, side: int, shares: float, value: float) -> float:
        """Commission and all fees of a whole order, as if it were marketable; nothing of a price that is not known."""
        return round(fees_point(self.fees, shares, value / shares, side, 0), 6) if value > 0.0 else 0.0

    def _book(self, row: int, change: float, price: float, commission: float) -> float:
        """Bring the position up to date; profit or loss of what was closed, NaN if nothing was."""
        shares, average = self.positions.get(row, (0.0, 0.0))
        closed = min(abs(change), abs(shares)) if shares * change < 0 else 0.0
        after = round(shares + change, 8)
        if after == 0:
            self.positions[row] = (0.0, 0.0)
        elif closed == 0:
            self.positions[row] = (after, (average * abs(shares) + price * abs(change)) / abs(after))
        else:
            self.positions[row] = (after, average if shares * after > 0 else price)
        if closed == 0:
            return float("nan")
        return round(closed * (price - average) * (1 if shares > 0 else -1) - commission, 6)

    def _report(self, order: Order) -> None:
        for client in self._hearers(order) if order.perm_id else ():
            client.send(frames.open_order(order, self.universe.instruments[order.row], client.version) + frames.order_status(order))

    def _hearers(self, order: Order) -> list[Any]:
        """Who is told what becomes of an order: who has placed it, and the master client. Neither of two clients may cancel the other's."""
        return [self.clients[c] for c in dict.fromkeys((order.client_id, self.conf.master_client_id)) if c in self.clients]

    def _publish_limits(self, row: int) -> None:
        """Tell the market kernel from which price on the symbol's orders want to be matched, and at which trade its stops start."""
        working, stops = self._working[row], self._stops[row]
        self.state[row]["buy_limit"] = max((o.limit for o in working if o.side > 0), default=-np.inf)
        self.state[row]["sell_limit"] = min((o.limit for o in working if o.side < 0), default=np.inf)
        self.state[row]["buy_stop"] = min((o.stop for o in stops if o.side > 0), default=np.inf)
        self.state[row]["sell_stop"] = max((o.stop for o in stops if o.side < 0), default=-np.inf)

    def free_ids(self) -> None:
        """Order ids of orders that are done may be given again, as after a restart that rolls them back; the orders are kept."""
        for key, order in list(self.orders.items()):
            if order.done and key[1] > 0:
                del self.orders[key]
                self.orders[order.client_id, -order.perm_id] = order
                self._children.pop(key, None)

    def working(self, choose: Callable[[Order], bool]) -> list[Order]:
        """Orders that the market knows and that are not done, oldest first."""
        return [o for o in self.orders.values() if o.perm_id and not o.done and choose(o)]
