"""Orders against a model gateway that knows the truth, in virtual time: no socket, no sleep, one seed = one history.

    python tests/order_safety.py 10000                 # seeds 0 to 9,999
    python tests/order_safety.py 500 resume=FILE       # goes on behind the last seed of FILE, 500 seeds further, and notes there how far it came

Faults: the socket breaks or the process is killed before or after any step of an order's life, the machine loses its power, the gateway restarts and
rolls its ids back, messages on their way arrive or do not, orders are never acknowledged, states and executions come late, twice or in another
order, executions are corrected, somebody else trades. Seeds take turns with the styles of orders: marketable, passive ones that
follow the quote, brackets, those that end at once, orders whose margin is asked for. After each event: no order twice, none sent that is not on disk or before
the comparison, no id used again, no change that would make a second order, no closing order beside a bracket, every execution counted once.
Whenever the router says that it has compared and all is quiet: no order lost, none unknown, positions equal. At the end: no bracket without its position."""

from __future__ import annotations

import contextlib
import heapq
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.router import Router
from tickarrow.pipeline.router_channel import Answer, Execution, Intent, Said
from tickarrow.pipeline.router_ledger import Ledger
from tickarrow.pipeline.schemas import PARTS, ControlKind, OrderState

CON_IDS = [101, 102, 103]
STEPS = (
    "intent", "write", "sync", "place", "placed", "arrive", "submitted", "partial", "filled", "cancel", "cancelling", "cancelled", "asked", "answered",
    "change", "changing", "changed", "margin", "judged",
)  # fmt: skip
STYLES = {
    "marketable": OrdersConf(),
    "passive": OrdersConf(style="passive", reprice_s=0.3, cross_s=3.0),
    "bracket": OrdersConf(profit_bp=50.0, stop_bp=50.0),
    "stop": OrdersConf(style="passive", stop_bp=50.0, reprice_s=0.3),
    "ioc": OrdersConf(tif="IOC"),
    "margin": OrdersConf(margin_share=0.5, profit_bp=50.0),
}
END_S, QUIET_S = 60.0, 110.0  # faults until, then time to come to rest
FOUND_S = 80.0  # what was swallowed is found within
FOUND_SOON_S = 20.0  # that a cancel has no answer too: acknowledge_s, and two questions
FINAL = (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED)


class Killed(Exception):
    """The process is gone."""


class Broken(AssertionError):
    """A promise is broken."""


class Memory:
    """A disk: a loss of power takes what was not synced, or some of it."""

    def __init__(self, world):
        self.world, self.data, self.safe = world, b"", 0

    def read(self):
        return self.data

    def replace(self, data):
        self.data, self.safe = data, len(data)

    def write(self, data):
        try:
            self.world.step("write")
        except Killed:
            self.data += data[: self.world.random.randrange(len(data) + 1)]  # torn
            raise
        self.data += data

    def sync(self):
        self.world.step("sync")
        self.safe = len(self.data)


class Order:
    """The gateway's truth of one order."""

    def __init__(self, order, transmit):
        self.key, self.con_id, self.side, self.quantity, self.price = order.key, order.con_id, order.side, order.quantity, order.price
        self.order_id, self.perm_id, self.filled, self.status, self.mute = order.order_id, 0, 0.0, "PendingSubmit", False
        self.kind, self.entry_id, self.transmit, self.children, self.ended = order.kind, order.entry_id, transmit, [], 0.0

    @property
    def over(self):
        return self.status in ("Filled", "Cancelled")

    @property
    def known(self):
        """Whether the gateway tells of it: it is transmitted."""
        return self.perm_id > 0

    def said(self):
        state = {"Submitted": OrderState.SUBMITTED, "Filled": OrderState.FILLED, "Cancelled": OrderState.CANCELLED, "Held": OrderState.SUBMITTED}
        return Said(self.key, self.con_id, state.get(self.status), self.side, self.quantity, self.price, self.filled, self.order_id, self.perm_id, self.kind)


class World:
    """One seed: gateway, client process, and what goes wrong."""

    def __init__(self, seed, style=None):
        self.random = r = random.Random(seed)
        self.conf, self.bid, self.asked_for = STYLES[style or list(STYLES)[seed % len(STYLES)]], 10.0, 0
        self.now, self.events, self.number, self.disk = 1000.0, [], 0, Memory(self)
        self.orders, self.executions, self.positions, self.ids, self.valid_id = {}, [], dict.fromkeys(CON_IDS, 0.0), set(), 1
        self.perm = 5000
        self.session = 0  # number of the socket; 0 = there is none
        self.restarts = 0  # of the gateway
        self.sessions, self.process, self.alive, self.open_at = 0, 0, False, 0.0
        self.steps, self.count = Counter(), Counter()
        self.hidden = Counter()  # by execId
        self.late = 0  # executions that the gateway has not yet said
        self.in_flight = 0
        kinds = ("cut", "cut", "kill", "kill", "power", "restart")
        self.plan = {(r.choice(STEPS), r.randrange(1, 12)): r.choice(kinds) for _ in range(r.choice((0, 1, 2, 4, 6)))}
        self.rates = {k: r.choice((0.0, 0.0, p)) for k, p in (
            ("mute", 0.1), ("refuse", 0.15), ("twice", 0.5), ("late", 0.3), ("status_first", 0.5), ("correct", 0.2), ("manual", 0.5), ("no_status", 0.2),
            ("cancel_lost", 0.2), ("survives", 0.6), ("wrongly", 0.1), ("unanswered", 0.2), ("change_refused", 0.2), ("change_lost", 0.1),
            ("orphan", 0.2))}  # fmt: skip
        for _ in range(r.choice((0, 1, 3))):
            self.at(r.uniform(1, END_S), self.fault, r.choice(("cut", "restart", "kill", "power")))
        self.at(0.0, self.start)
        if self.rates["manual"]:
            for _ in range(3):
                self.at(r.uniform(0, END_S), self.manual)
        if r.random() < 0.3:
            self.positions[CON_IDS[0]] = float(r.randrange(-300, 300, 100))

    # --- time

    def at(self, after, what, *args):
        self.number += 1
        heapq.heappush(self.events, (self.now + after, self.number, what, args))

    def run(self):
        """The whole history; Broken says what went wrong."""
        end = self.now + END_S + QUIET_S
        self.faults_until = self.now + END_S
        while self.events and self.events[0][0] < end:
            self.now, _, what, args = heapq.heappop(self.events)
            with contextlib.suppress(Killed):
                what(*args)
            self.check()
        if not self.rest():
            raise Broken(f"not at rest {QUIET_S:g} s after the last fault: connected {self.router.connected}, settled {self.router.settled}")
        self.compare()
        for o in self.orders.values():
            entry = next((e for e in self.orders.values() if o in e.children), None)
            if o.known and not o.over and o.status != "Held" and (entry is None or entry.over) and o.entry_id:
                if o.quantity - o.filled > max(-self.positions[o.con_id] * o.side, 0.0) + 1e-6:
                    raise Broken(f"order {o.key} of a bracket would open a position: {self.positions[o.con_id]} is held")

    def chance(self, name):
        return self.now < self.faults_until and self.random.random() < self.rates[name]

    # --- faults

    def step(self, name):
        """A step of an order's life: what is planned for it goes wrong now."""
        self.steps[name] += 1
        fault = self.plan.pop((name, self.steps[name]), None) if self.now < self.faults_until else None
        if fault:
            self.count[f"{fault} at {name}"] += 1
            self.fault(fault, inside=name in ("intent", "write", "sync", "place", "placed", "cancel", "cancelling"))

    def fault(self, kind, inside=False):
        self.count[kind] += 1
        if kind in ("cut", "restart"):
            self.cut()
        if kind == "restart":
            self.valid_id = 1  # rolled back
            self.restarts += 1
            for key in [k for k, o in self.orders.items() if not o.known]:
                del self.orders[key]  # what was not transmitted is gone
            self.open_at = self.now + self.random.uniform(1, 15)
            for o in self.orders.values():
                o.mute = False
        if kind in ("kill", "power") and self.alive:
            self.alive = False
            self.process += 1
            self.cut()
            if kind == "power":
                keep = self.random.randrange(self.disk.safe, len(self.disk.data) + 1)
                self.disk.data = self.disk.data[:keep]
            self.at(self.random.uniform(0.5, 10), self.start)
            if inside:
                raise Killed

    def cut(self):
        """The socket breaks; the client hears of it a little later."""
        if self.session:
            self.session = 0
            self.at(self.random.uniform(0, 0.5), self.noticed, self.process)
            self.at(self.random.uniform(1, 5), self.connect, self.process)

    def noticed(self, process):
        if process == self.process and self.alive and not self.session and self.router.connected:
            self.router.lost()

    # --- the client process

    def start(self):
        """A process begins: all it knows is on the disk."""
        self.alive = True
        try:
            self.ledger = Ledger(self.disk, lambda: self.now)
            self.held, self.known, self.working = dict.fromkeys(range(len(CON_IDS)), 0.0), {}, {}
            self.counted, self.key, self.agreed, self.seen = set(), 1, set(), 0
            tell = Counter().update  # nobody reads it
            self.router = Router(self, self.ledger, CON_IDS, ["AAA", "BBB", "CCC"], self.conf, self.report, tell, lambda: self.now, quote=self.quote)
        except Killed:
            return
        self.at(self.random.uniform(0, 1), self.connect, self.process)
        self.at(0.3, self.look, self.process)
        self.at(0.3, self.decide, self.process)
        self.at(0.3, self.tick, self.process)

    def quote(self, row):
        return self.bid, self.bid + 0.02

    def tick(self, process):
        """The market moves, and orders that follow it are looked at."""
        if process != self.process:
            return
        self.at(self.random.uniform(0.05, 0.4), self.tick, process)
        self.bid = round(max(self.bid + self.random.choice((-0.01, 0.0, 0.01)), 9.0), 2)
        self.router.follow()
        self.router.pump()

    def connect(self, process):
        if process != self.process or not self.alive or self.session:
            return
        if self.now < self.open_at:
            self.at(1.0, self.connect, process)
            return
        if self.router.connected:
            self.router.lost()
        self.sessions += 1
        self.session = self.sessions
        self.arrives = self.comes = self.now
        self.router.up()

    def look(self, process):
        if process != self.process:
            return
        self.at(0.25, self.look, process)
        self.router.look()
        if self.router.due():
            self.step("asked")
            self.up(self.ask)

    def decide(self, process):
        if process != self.process or self.now > self.faults_until:
            return
        self.at(self.random.expovariate(1.5), self.decide, process)
        row = self.random.randrange(len(CON_IDS))
        if row in self.working:
            if self.random.random() < 0.6:
                self.router.cancel(self.working[row])
            return
        key, self.key = self.key, self.key + 1
        self.step("intent")
        self.working[row] = key
        side, shares = self.random.choice((-1, 1)), float(self.random.choice((100, 200, 500)))
        held = self.held[row]
        if held and self.random.random() < 0.7:
            side, shares = (-1 if held > 0 else 1), abs(held)  # as a pipeline closes a position
        self.router.submit(Intent(key, row, side, shares, round(self.bid + 0.03 if side > 0 else self.bid - 0.01, 2)))
        self.router.pump()

    def report(self, event):
        """What the pipeline would be told."""
        if event.kind == ControlKind.KEYS:
            self.key = max(self.key, event.key)
        elif event.kind == ControlKind.EXECUTION:
            if event.exec_id and event.exec_id in self.counted:
                raise Broken(f"an execution of key {event.key} is counted twice")
            self.counted.add(event.exec_id)
            self.held[event.symbol] += event.side * event.quantity
        elif event.kind == ControlKind.ORDER_STATE and event.key >= PARTS:
            self.known[event.key] = OrderState(event.state)  # nothing waits for a part of a bracket
        elif event.kind == ControlKind.ORDER_STATE:
            self.known[event.key] = OrderState(event.state)
            if event.state in FINAL:
                if self.working.get(event.symbol) == event.key:
                    del self.working[event.symbol]
            else:
                self.working.setdefault(event.symbol, event.key)

    # --- the channel: what the client sends

    def next_id(self):
        return self.valid_id  # a gateway that restarted says a low one

    def up(self, what, *args):
        """A message to the gateway: in order, and perhaps still read when the socket breaks."""
        if not self.session:
            return
        self.arrives = max(self.arrives, self.now + self.random.uniform(0.001, 0.1))
        self.in_flight += 1
        self.at(self.arrives - self.now, self.reach, self.session, what, args)

    def reach(self, session, what, args):
        self.in_flight -= 1
        if session == self.session:
            what(*args)
        elif self.chance("survives"):  # it is read from a socket that is gone, at once or much later
            self.in_flight += 1
            self.at(self.random.choice((0.0, 3.0, 12.0)) * self.random.random(), self.survive, what, args)

    def survive(self, what, args):
        self.in_flight -= 1
        self.count["survived"] += 1
        what(*args)

    def down(self, what, *args, after=0.0):
        """A message to the client: in order, if not held back by a fault."""
        session = self.session
        if not session:
            return
        at = self.now + self.random.uniform(0.001, 0.05) + after
        if not after:
            at = self.comes = max(self.comes, at)
        self.in_flight += 1
        self.at(at - self.now, self.come, session, what, args)

    def come(self, session, what, args):
        self.in_flight -= 1
        if session == self.session:
            getattr(self.router, what)(*args)

    def place(self, order, transmit):
        self.step("place")
        if not self.router.settled:
            raise Broken(f"order {order.key} is sent before orders and positions were compared")
        if b'["intent", %d,' % order.key not in self.disk.data[: self.disk.safe]:
            raise Broken(f"order {order.key} is sent and not on disk")
        if order.kind == "LMT" and order.side * (order.price - order.limit) > 1e-9:
            raise Broken(f"order {order.key} is sent at {order.price}, which is beyond its limit {order.limit}")
        if not order.is_part and any(o.is_part and not o.over and o.con_id == order.con_id and o.entry != order.key for o in self.ledger.orders.values()):
            raise Broken(f"order {order.key} is sent while a bracket works")
        if any(o.con_id == order.con_id and o.filled > o.executed + 1e-6 for o in self.ledger.orders.values()):
            raise Broken(f"order {order.key} is sent on a position of which an execution is still to come")
        self.up(self.placed, Order(order, transmit), self.restarts)
        self.step("placed")

    def change(self, order):
        self.step("change")
        if order.side * (order.price - order.limit) > 1e-9:
            raise Broken(f"order {order.key} is changed to {order.price}, which is beyond its limit {order.limit}")
        self.up(self.changed, order.order_id, order.key, order.price, self.restarts)
        self.step("changing")

    def ask_margin(self, order):
        self.step("margin")
        self.up(self.margin, order.key)

    def cancel(self, order):
        self.step("cancel")
        self.up(self.cancelled, order.order_id)
        self.step("cancelling")
        return True

    def cancel_everybodys(self):
        self.step("cancel")
        self.up(self.cancel_all_orders)
        self.step("cancelling")

    # --- the gateway

    def placed(self, o, restarts):
        if restarts != self.restarts:
            return  # a gateway that is gone has read it
        self.step("arrive")
        if o.order_id in self.ids:
            raise Broken(f"order id {o.order_id} is used twice")
        if o.key in self.orders:
            raise Broken(f"order {o.key} is at the gateway twice")
        self.ids.add(o.order_id)
        self.valid_id = max(self.valid_id, o.order_id + 1)
        entry = next((e for e in self.orders.values() if e.order_id == o.entry_id), None) if o.entry_id else None
        if o.entry_id and (entry is None or entry.status == "Cancelled"):
            self.down("error", o.order_id, 135 if entry is None else 201, "no parent")
            return
        if not o.entry_id and o.transmit and self.chance("refuse"):
            self.down("error", o.order_id, 201, "Order rejected")
            return
        if self.chance("wrongly"):
            self.count["wrongly refused"] += 1
            self.down("error", o.order_id, 10999, "something, and the order lives on")
        self.orders[o.key] = o
        o.mute = self.chance("mute")
        if o.mute:
            self.count["mute"] += 1
        if entry is not None:
            entry.children.append(o)
        if o.transmit:
            self.transmit(o, entry)

    def transmit(self, o, entry):
        """An order goes to the market, with those that have waited for it."""
        family = [o] if entry is None else [e for e in (entry, *entry.children) if not e.known]
        for e in family:
            self.perm += 1
            e.perm_id = self.perm
            if e.entry_id and entry.status != "Filled":
                e.status = "Held"
                self.count["parts"] += 1
                self.say(e)
            else:
                self.count["orders"] += not e.entry_id
                self.at(self.random.uniform(0.01, 0.5), self.accept, e)

    def accept(self, o):
        if o.over:
            return
        o.status = "Submitted"
        self.say(o)
        self.step("submitted")
        if self.conf.tif == "IOC" and not o.entry_id:
            self.fill(o)
            if not o.over:
                self.end(o)
            return
        self.at(self.random.expovariate(0.8 if not o.entry_id else 0.1), self.fill, o)

    def changed(self, order_id, key, price, restarts):
        if restarts != self.restarts:
            return
        self.step("changed")
        o = next((o for o in self.orders.values() if o.order_id == order_id), None)
        if o is None:
            raise Broken(f"a change of order {key} would be a second order: the gateway does not know the first")
        if o.over:
            self.count["changed too late"] += 1
            self.down("error", order_id, 104, "Cannot modify a filled order")
        elif self.chance("change_refused"):
            self.count["change refused"] += 1
            self.down("error", order_id, 110, "The price does not conform")
        elif self.chance("change_lost"):
            self.count["change lost"] += 1
        elif o.price == price:
            self.down("error", order_id, 103, "Duplicate order id")
        else:
            self.count["changes"] += 1
            o.price = price
            self.say(o)

    def margin(self, key):
        self.asked_for += 1
        answers = {0: (1.0, 0.5), 1: (float("nan"), float("nan"))}
        margin, equity = answers.get(self.asked_for % 20, (1.0, 100.0))
        self.count["margin asked"] += 1
        self.down("judged", key, margin, equity)
        self.step("judged")

    def say(self, o):
        if not o.mute and not self.chance("no_status"):
            for _ in range(1 + self.chance("twice")):
                self.down("said", o.said())
            if self.chance("twice"):
                self.down("said", o.said(), after=self.random.uniform(0.1, 3))  # the same once more, when it is old

    def fill(self, o):
        if o.over or not o.known:
            return
        if self.random.random() < (0.7 if o.entry_id else 0.3):
            return  # the price went away: it waits for its cancel
        shares = o.quantity - o.filled
        if shares > 50 and self.random.random() < 0.6:
            shares = float(self.random.randrange(1, int(shares)))
        o.filled += shares
        o.status, o.ended = "Filled" if o.filled >= o.quantity else "Submitted", self.now
        self.positions[o.con_id] += o.side * shares
        e = Execution(f"0001.{len(self.executions):04d}.01", o.key, o.con_id, o.side, shares, 10.0, o.perm_id)
        self.executions.append(e)
        self.count["fills"] += 1
        first = self.chance("status_first")
        self.shrink(o, shares)
        if first:
            self.say(o)
        self.tell_execution(o, e)
        if not first:
            self.say(o)
        self.down("position", o.con_id, self.positions[o.con_id])
        if self.chance("correct") and shares > 10:
            self.at(self.random.uniform(0.1, 5), self.correct, o, e)
        for child in o.children if o.over else ():
            self.activate(child)
        self.step("filled" if o.over else "partial")
        if not o.over and self.conf.tif != "IOC":
            self.at(self.random.expovariate(1.0), self.fill, o)

    def activate(self, child):
        if child.status == "Held":
            child.status = "PendingSubmit"
            self.at(self.random.uniform(0.01, 0.1), self.accept, child)

    def shrink(self, o, shares):
        """What one part of a bracket fills the other loses."""
        entry = next((e for e in self.orders.values() if o in e.children), None)
        for other in entry.children if entry is not None else ():
            if other is not o and not other.over:
                other.quantity -= shares
                if other.quantity <= other.filled:
                    self.end(other)
                else:
                    self.say(other)

    def tell_execution(self, o, e):
        if o.mute:
            return
        for _ in range(1 + self.chance("twice")):
            if self.chance("late"):
                self.hold_back(e)
            else:
                self.down("executed", e)

    def hold_back(self, e):
        """The gateway says nothing of an execution for a while, whoever asks."""
        self.late += 1
        hidden = self.random.uniform(0.1, 8)
        self.hidden[e.exec_id] += 1
        self.at(hidden, self.let_go, e)

    def let_go(self, e):
        self.late -= 1
        self.hidden[e.exec_id] -= 1
        self.down("executed", e)

    def correct(self, o, e):
        """The price of an execution was wrong."""
        made = Execution(e.exec_id[:-1] + "2", e.key, e.con_id, e.side, e.quantity, 10.5, e.perm_id)
        self.executions[self.executions.index(e)] = made
        self.count["corrections"] += 1
        self.tell_execution(o, made)

    def cancelled(self, order_id):
        if self.chance("cancel_lost"):
            self.count["cancel lost"] += 1
            return
        o = next((o for o in self.orders.values() if o.order_id == order_id), None)
        if o is None:
            self.down("error", order_id, 10147, "not found")
        elif o.over:
            self.down("error", order_id, 10148, f"state: {o.status}")
        elif o.status == "PendingSubmit" and o.known and self.random.random() < 0.5:
            self.at(0.1, self.cancelled, order_id)  # it is not yet where it can be cancelled
        else:
            self.end(o)
            self.step("cancelled")

    def end(self, o):
        """An order is cancelled, and what it leaves of its bracket closes what it has opened."""
        o.status, o.ended = "Cancelled", self.now
        if o.known:
            self.say(o)
        if not o.mute:
            self.down("error", o.order_id, 202, "Order Canceled")
        for child in o.children:
            if child.over:
                continue
            child.quantity = min(child.quantity, o.filled)
            if child.quantity <= 0 or self.chance("orphan"):  # whether it outlives its entry is not certain
                self.end(child)
            else:
                self.activate(child)

    def cancel_all_orders(self):
        for o in list(self.orders.values()):
            if not o.over:
                self.cancelled(o.order_id)

    def ask(self):
        """Four answers, one after the other; what happens in between is in the later ones only."""
        answer, session = Answer(), self.session
        if self.chance("unanswered"):
            self.at(5.0, self.no_answer, session, self.process)
            return

        def orders():
            answer.open = [o.said() for o in self.orders.values() if not o.over and o.known]

        def completed():
            answer.completed = [o.said() for o in self.orders.values() if o.over and o.known]

        def executions():
            answer.executions = [e for e in self.executions if not self.hidden[e.exec_id]]

        def positions():
            answer.positions = {c: (p, 10.0) for c, p in self.positions.items() if p}
            self.down("answered", answer)
            self.step("answered")

        after = 0.0
        for part in (orders, completed, executions, positions):
            after += self.random.uniform(0, 0.1)
            self.at(after, lambda part=part: part() if session == self.session else None)

    def no_answer(self, session, process):
        if session == self.session and process == self.process and self.alive:
            self.router.unanswered()

    def manual(self):
        """Somebody trades in TWS."""
        con_id = self.random.choice(CON_IDS)
        self.positions[con_id] += self.random.choice((-100.0, 100.0, 30.0, -self.positions[con_id]))
        self.count["manual"] += 1
        if self.session:
            self.down("position", con_id, self.positions[con_id], after=self.random.choice((0.0, 2.0)))

    # --- what is promised

    def check(self):
        """After each event."""
        if not self.alive:
            return
        if self.router.settled and self.router._taken_over:
            for row, con_id in enumerate(CON_IDS):
                if abs(self.held[row] - self.ledger.positions.get(con_id, 0.0)) > 1e-6:
                    raise Broken(f"the pipeline was told {self.held[row]} shares, the router counts {self.ledger.positions.get(con_id, 0.0)}")
        if len(self.ledger.executions) != self.seen:
            self.seen = len(self.ledger.executions)
            if len({e.exec_id.rpartition(".")[0] for e in self.ledger.executions.values()}) != self.seen:
                raise Broken("an execution is in the positions twice")
        if self.router.settled and self.quiet():
            self.count["compared"] += 1
            self.compare()

    def rest(self):
        return self.alive and self.session and self.router.settled

    def quiet(self):
        """Whether the client can know everything: nothing is on its way, nothing was kept from it."""
        r = self.router
        if not self.session or self.in_flight or self.late or r._told or r._queue or self.kept():
            return False
        return not any(self.silent(o) for key, o in self.orders.items() if key not in self.agreed and o.known)

    def silent(self, o):
        """Whether an order has changed, or may, without a word."""
        return o.status == "PendingSubmit" or (o.mute and (not o.over or self.now - o.ended < FOUND_SOON_S))

    def kept(self):
        """States and executions that the gateway has swallowed are found by the next question only."""
        swallowed = any(self.rates[k] for k in ("no_status", "mute", "manual", "cancel_lost", "change_lost"))
        return swallowed and self.now < self.faults_until + FOUND_S

    def compare(self):
        """0 lost, 0 unknown, positions equal."""
        for key, o in self.orders.items():
            if key in self.agreed:
                continue
            ours = self.ledger.orders.get(key)
            if not o.over and o.known and (ours is None or ours.over):
                raise Broken(f"order {o.key} works at the gateway and the router does not know it")
            if ours is not None and o.over and not ours.over:
                raise Broken(f"order {o.key} is {o.status} and the router takes it as working")
            if ours is not None and abs(ours.executed - o.filled) > 1e-6:
                raise Broken(f"order {o.key}: {o.filled} shares are filled, the router counts {ours.executed}")
            if o.over:
                self.agreed.add(key)  # it stays over, on both sides
        for o in self.router.working:
            if o.key in self.agreed or (o.state != OrderState.INTENT and o.key not in self.orders):
                raise Broken(f"order {o.key} is taken as working and the gateway has it no more, or never had it")
        for row, con_id in enumerate(CON_IDS):
            if abs(self.positions[con_id] - self.held[row]) > 1e-6:
                raise Broken(f"position of {con_id} is {self.positions[con_id]}, the pipeline holds {self.held[row]}")
        for key, state in self.known.items():
            truth = self.orders.get(key) if key not in self.agreed else None
            if state in FINAL and truth is not None and truth.known and not truth.over:
                raise Broken(f"order {key} was reported as over and works")


def main(arguments):
    """Run seeds, say what happened, exit with 1 at the first broken promise."""
    seeds, note = int(arguments[0]), next((Path(a.partition("=")[2]) for a in arguments[1:] if a.startswith("resume=")), None)
    first = int(note.read_text()) if note is not None and note.is_file() else 0
    total, began = Counter(), time.perf_counter()
    for seed in range(first, first + seeds):
        world = World(seed)
        try:
            world.run()
        except Exception as e:
            print(f"seed {seed}, {world.now - 1000:.3f} s: {type(e).__name__}: {e}")
            raise
        total += world.count
        if note is not None and seed % 100 == 99:
            note.write_text(str(seed + 1))
    if note is not None:
        note.write_text(str(first + seeds))
    print(f"seeds {first} to {first + seeds - 1}: 0 duplicate, 0 lost, 0 unknown orders, positions equal; {time.perf_counter() - began:.1f} s")
    print(", ".join(f"{n:,} {what}" for what, n in sorted(total.items()) if " at " not in what))
    planned = {what: n for what, n in total.items() if " at " in what}
    print(f"{sum(planned.values()):,} faults inside {len({what.split(' at ')[1] for what in planned})} of {len(STEPS)} steps of an order's life")


if __name__ == "__main__":
    main(sys.argv[1:])
