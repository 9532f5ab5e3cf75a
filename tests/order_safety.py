"""Orders against a model gateway that knows the truth, in virtual time: no socket, no sleep, one seed = one history.

    python tests/order_safety.py 10000                 # seeds 0 to 9,999
    python tests/order_safety.py 500 resume=FILE       # goes on behind the last seed of FILE, 500 seeds further, and notes there how far it came

Faults: the socket breaks or the process is killed before or after any step of an order's life, the machine loses its power, the gateway restarts and
rolls its ids back, messages on their way arrive or do not, orders are never acknowledged, states and executions come late, twice or in another
order, executions are corrected, somebody else trades. After each event: no order twice, none sent that is not on disk or before the comparison, no
id used again, every execution counted once. Whenever the router says that it has compared and all is quiet: no order lost, none unknown, positions equal."""

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
from tickarrow.pipeline.schemas import ControlKind, OrderState

CON_IDS = [101, 102, 103]
STEPS = ("intent", "write", "sync", "place", "placed", "arrive", "submitted", "partial", "filled", "cancel", "cancelling", "cancelled", "asked", "answered")
END_S, QUIET_S = 60.0, 110.0  # faults until, then time to come to rest
FOUND_S = 80.0  # what was swallowed is found within
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

    def __init__(self, order, client_id, perm_id):
        self.key, self.con_id, self.side, self.quantity, self.limit = order.key, order.con_id, order.side, order.quantity, order.limit
        self.order_id, self.client_id, self.perm_id, self.filled, self.status, self.mute = order.order_id, client_id, perm_id, 0.0, "PendingSubmit", False

    @property
    def over(self):
        return self.status in ("Filled", "Cancelled")

    def said(self):
        state = {"Submitted": OrderState.SUBMITTED, "Filled": OrderState.FILLED, "Cancelled": OrderState.CANCELLED}.get(self.status)
        return Said(self.key, self.con_id, state, self.side, self.quantity, self.limit, self.filled, self.order_id, self.perm_id)


class World:
    """One seed: gateway, client process, and what goes wrong."""

    def __init__(self, seed):
        self.random = r = random.Random(seed)
        self.now, self.events, self.number, self.disk = 1000.0, [], 0, Memory(self)
        self.orders, self.executions, self.positions, self.ids, self.valid_id = {}, [], dict.fromkeys(CON_IDS, 0.0), set(), 1
        self.perm = 5000
        self.session = 0  # number of the socket; 0 = there is none
        self.sessions, self.process, self.alive, self.open_at = 0, 0, False, 0.0
        self.steps, self.count = Counter(), Counter()
        self.hidden = Counter()  # by execId
        self.late = 0  # executions that the gateway has not yet said
        self.in_flight = 0
        kinds = ("cut", "cut", "kill", "kill", "power", "restart")
        self.plan = {(r.choice(STEPS), r.randrange(1, 12)): r.choice(kinds) for _ in range(r.choice((0, 1, 2, 4, 6)))}
        self.rates = {k: r.choice((0.0, 0.0, p)) for k, p in (
            ("mute", 0.1), ("refuse", 0.15), ("twice", 0.5), ("late", 0.3), ("status_first", 0.5), ("correct", 0.2), ("manual", 0.5), ("no_status", 0.2),
            ("cancel_lost", 0.2), ("survives", 0.6), ("wrongly", 0.1), ("unanswered", 0.2))}  # fmt: skip
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
            self.counted, self.key = set(), 1
            self.router = Router(self, self.ledger, CON_IDS, ["AAA", "BBB", "CCC"], OrdersConf(), self.report, lambda text: None, lambda: self.now)
        except Killed:
            return
        self.at(self.random.uniform(0, 1), self.connect, self.process)
        self.at(0.3, self.look, self.process)
        self.at(0.3, self.decide, self.process)

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
        self.router.submit(Intent(key, row, self.random.choice((-1, 1)), float(self.random.choice((100, 200, 500))), 10.0))
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

    def place(self, order):
        self.step("place")
        if not self.router.settled:
            raise Broken(f"order {order.key} is sent before orders and positions were compared")
        if b'["intent", %d,' % order.key not in self.disk.data[: self.disk.safe]:
            raise Broken(f"order {order.key} is sent and not on disk")
        self.up(self.placed, Order(order, 1, 0))
        self.step("placed")

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

    def placed(self, o):
        self.step("arrive")
        if o.order_id in self.ids:
            raise Broken(f"order id {o.order_id} is used twice")
        if o.key in self.orders:
            raise Broken(f"order {o.key} is at the gateway twice")
        self.ids.add(o.order_id)
        self.valid_id = max(self.valid_id, o.order_id + 1)
        if self.chance("refuse"):
            self.down("error", o.order_id, 201, "Order rejected")
            return
        if self.chance("wrongly"):
            self.count["wrongly refused"] += 1
            self.down("error", o.order_id, 10999, "something, and the order lives on")
        self.perm += 1
        o.perm_id = self.perm
        self.orders[o.key] = o
        self.count["orders"] += 1
        o.mute = self.chance("mute")
        if o.mute:
            self.count["mute"] += 1
        self.at(self.random.uniform(0.01, 0.5), self.accept, o)

    def accept(self, o):
        if o.over:
            return
        o.status = "Submitted"
        self.say(o)
        self.step("submitted")
        self.at(self.random.expovariate(0.8), self.fill, o)

    def say(self, o):
        if not o.mute and not self.chance("no_status"):
            for _ in range(1 + self.chance("twice")):
                self.down("said", o.said())
            if self.chance("twice"):
                self.down("said", o.said(), after=self.random.uniform(0.1, 3))  # the same once more, when it is old

    def fill(self, o):
        if o.over:
            return
        if self.random.random() < 0.3:
            return  # the price went away: it waits for its cancel
        shares = o.quantity - o.filled
        if shares > 50 and self.random.random() < 0.6:
            shares = float(self.random.randrange(1, int(shares)))
        o.filled += shares
        o.status = "Filled" if o.filled >= o.quantity else "Submitted"
        self.positions[o.con_id] += o.side * shares
        e = Execution(f"0001.{len(self.executions):04d}.01", o.key, o.con_id, o.side, shares, 10.0, o.perm_id)
        self.executions.append(e)
        self.count["fills"] += 1
        first = self.chance("status_first")
        if first:
            self.say(o)
        self.tell_execution(o, e)
        if not first:
            self.say(o)
        self.down("position", o.con_id, self.positions[o.con_id])
        if self.chance("correct") and shares > 10:
            self.at(self.random.uniform(0.1, 5), self.correct, o, e)
        self.step("filled" if o.over else "partial")
        if not o.over:
            self.at(self.random.expovariate(1.0), self.fill, o)

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
        elif o.status == "PendingSubmit" and self.random.random() < 0.5:
            self.at(0.1, self.cancelled, order_id)  # it is not yet where it can be cancelled
        else:
            o.status = "Cancelled"
            self.say(o)
            if not o.mute:
                self.down("error", order_id, 202, "Order Canceled")
            self.step("cancelled")

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
            answer.open = [o.said() for o in self.orders.values() if not o.over]

        def completed():
            answer.completed = [o.said() for o in self.orders.values() if o.over]

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
        self.positions[con_id] += self.random.choice((-100.0, 100.0, 30.0))
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
        counted = Counter(e.exec_id.rpartition(".")[0] for e in self.ledger.executions.values())
        if counted and max(counted.values()) > 1:
            raise Broken("an execution is in the positions twice")
        if self.router.settled and self.quiet():
            self.count["compared"] += 1
            self.compare()

    def rest(self):
        return self.alive and self.session and self.router.settled

    def quiet(self):
        """Whether the client can know everything: nothing is on its way, nothing was kept from it."""
        r = self.router
        silent = any(o.mute for o in self.orders.values() if not o.over) or any(o.status == "PendingSubmit" for o in self.orders.values())
        return self.session and not self.in_flight and not self.late and not silent and not self.kept() and not r._told and not r._queue

    def kept(self):
        """States and executions that the gateway has swallowed are found by the next question only."""
        swallowed = any(self.rates[k] for k in ("no_status", "mute", "manual", "cancel_lost"))
        return swallowed and self.now < self.faults_until + FOUND_S

    def compare(self):
        """0 lost, 0 unknown, positions equal."""
        for o in self.orders.values():
            ours = self.ledger.orders.get(o.key)
            if not o.over and (ours is None or ours.over):
                raise Broken(f"order {o.key} works at the gateway and the router does not know it")
            if ours is not None and o.over and not ours.over:
                raise Broken(f"order {o.key} is {o.status} and the router takes it as working")
            if ours is not None and abs(ours.executed - o.filled) > 1e-6:
                raise Broken(f"order {o.key}: {o.filled} shares are filled, the router counts {ours.executed}")
        for o in self.ledger.orders.values():
            if not o.over and o.state != OrderState.INTENT and o.key not in self.orders:
                raise Broken(f"order {o.key} is taken as working and the gateway has never had it")
        for row, con_id in enumerate(CON_IDS):
            if abs(self.positions[con_id] - self.held[row]) > 1e-6:
                raise Broken(f"position of {con_id} is {self.positions[con_id]}, the pipeline holds {self.held[row]}")
        for key, state in self.known.items():
            truth = self.orders.get(key)
            if state in FINAL and truth is not None and not truth.over:
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
