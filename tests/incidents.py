"""A gateway against the simulated one, with a fault in between, in virtual time: waiting takes none, so bounds are exact and tests short."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from test_simulator import MemorySource, quote, trade

from tickarrow.configs.costs import CostsConf
from tickarrow.configs.gateway import FaultConf, GatewayConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.configs.risk import RiskConf
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decide import Act, forecasts_schema
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.gateway import Gateway
from tickarrow.pipeline.router_ledger import Ledger
from tickarrow.pipeline.schemas import ControlKind, Feed, Flag, Health, Kind, OrderState, Reason
from tickarrow.pipeline.simulator import Simulator

SYMBOLS = ("AAA", "BBB", "CCC")
HORIZON_NS = 30_000_000_000
COSTS = CostsConf(per_share=0.005, minimum=1.0, max_share=0.01)
ORDERED = {Reason.ORDER, Reason.HORIZON_OVER}


class _Selector(selectors.DefaultSelector):
    """Where no socket is ready, time moves to the next timer."""

    now = 1000.0

    def select(self, timeout=None):
        self.now += 1e-6  # ib_async waits until more than a second has passed, by the clock
        ready = super().select(0)
        if not ready and timeout != 0:
            ready = super().select(0.0005)  # what is on its way through loopback
        if not ready and timeout is None:
            ready = super().select(1.0)
        elif not ready:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now


def run(main):
    """The result of a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class Disk:
    """What outlives a process."""

    def __init__(self, data=b""):
        self.data = data

    def read(self):
        return self.data

    def replace(self, data):
        self.data = data

    def write(self, data):
        self.data += data

    def sync(self):
        pass

    def close(self):
        pass


class Desk:
    """A pipeline without features and models: every quote row gets a forecast that is worth an order, up for ten rows, then down.

    Keeps what it was fed, so that it can be replayed.
    """

    def __init__(self, symbols=SYMBOLS, now=lambda: 0.0, orders=None):
        n = len(symbols)
        self.ticks, self.decisions, self.orders, self.fills = (
            Table(s, keep=True) for s in (schemas.TICKS, schemas.DECISIONS, schemas.ORDERS, schemas.FILLS)
        )
        self.decode = Decode(n, self.ticks)
        risk = RiskConf(nav=100_000.0, vol_target=0.01, name_cap=0.2, hurdle=-1.0)
        conf = orders or OrdersConf(ttl_s=1e9)
        self.act = Act(risk, COSTS, conf, n, np.array([HORIZON_NS]), np.full(n, 0.01), self.decisions, self.orders, self.fills, False)
        self.forecasts = Table(forecasts_schema(1))
        self.tables = SimpleNamespace(prepare=lambda: None)
        self.chunk, self.ts, self.now = -1, 0, now
        self.decided = []  # (market seconds, symbol, Reason, Flag)
        self.fed = []  # chunks and control events in their order
        self.events = []  # (market seconds, control event)
        self._rows, self._orders = [0] * n, orders

    @property
    def intents(self):
        return self.act.intents

    def quote(self, row):
        return self.act.quote(row)

    def feed(self, chunk, arrival_ns=0):
        self.fed.append((chunk.number, chunk.ts, bytes(chunk.data[chunk.lo : chunk.hi])))
        ticks = self.decode.step(chunk)
        self.chunk, self.ts = chunk.number, chunk.ts
        quotes = np.flatnonzero(ticks.view("kind") == Kind.QUOTE)
        at = self.forecasts.reserve(len(quotes))
        for name in ("seq", "ts", "symbol"):
            self.forecasts.segment.columns[name][at : at + len(quotes)] = ticks.view(name)[quotes]
        for k, symbol in enumerate(ticks.view("symbol")[quotes].tolist()):
            self._rows[symbol] += 1
            alpha = 50.0 if self._rows[symbol] // 10 % 2 == 0 else -50.0
            for name, value in (("alpha", alpha), ("sigma", 10.0), ("ic", 0.1)):
                self.forecasts.segment.columns[name][at + k, 0] = value
        decisions = self.act.step(self.forecasts.commit(len(quotes)), ticks)
        flags = ticks.view("flags")[quotes].tolist()
        for symbol, reason, flag in zip(decisions.view("symbol").tolist(), decisions.view("reason").tolist(), flags):
            self.decided.append((self.now(), symbol, Reason(reason), Flag(flag)))
        return decisions

    def apply(self, event):
        event.chunk, event.ts = max(self.chunk, 0), self.ts
        self.fed.append(replace(event))
        self.events.append((self.now(), replace(event)))
        self.decode.apply(event)
        self.act.apply(event)

    def replayed(self):
        """Another desk that was fed the same chunks and events."""
        again = Desk(SYMBOLS[: len(self._rows)], orders=self._orders)
        for item in self.fed:
            if isinstance(item, tuple):
                number, ts, data = item
                again.feed(Chunk(np.frombuffer(data + bytes(64), np.uint8), 0, len(data), ts, number))
            else:
                again.apply(replace(item))
        return again


class Incident:
    """What happened: times are market seconds since the market opened."""

    def __init__(self, gateway, simulator, desk, said, opened):
        self.gateway, self.simulator, self.desk, self.opened = gateway, simulator, desk, opened
        self.said = [str(w.message) for w in said]
        self.status = gateway.status()
        self.asked = [(t, e.symbol, e.key, Feed(int(e.value))) for t, e in desk.events if e.kind == ControlKind.SUBSCRIBE]
        self.begun = [t for t, _ in simulator.faults.begun] if simulator.faults else []

    def health(self, symbol):
        """(when, Health) of each change."""
        return [(t, Health(int(e.value))) for t, e in self.desk.events if e.kind == ControlKind.HEALTH and e.symbol == symbol]

    def rows(self, symbol=None, a=-1e9, b=1e9):
        """(when, reason, flags) of the decisions in a time."""
        return [(t, reason, flags) for t, s, reason, flags in self.desk.decided if symbol in (None, s) and a <= t < b]

    def resubscribed(self, symbol, a=0.5):
        return [t for t, s, _, _ in self.asked if s == symbol and t > a]

    def says(self, text):
        return [s for s in self.said if text in s]

    @property
    def socket_lost(self):
        return self.gateway.watch.link.reconnects


def market(seconds, symbols=SYMBOLS, step_s=0.5, silent=()):
    """Quotes of every symbol each `step_s`, a trade now and then; `silent`: (symbol, from, to) without rows."""
    rows = []
    for k in range(int(seconds / step_s)):
        for s in range(len(symbols)):
            t = k * step_s + 0.01 * s
            if any(s == i and a <= t < b for i, a, b in silent):
                continue
            mid = 1000 + 500 * s + (k // 3) % 7
            rows.append(quote(1000 * t, s, mid / 100, (mid + 1) / 100, 100.0 + k % 5, 200.0 + k % 3))
            if k % 4 == 0:
                rows.append(trade(1000 * t + 1, s, mid / 100, 100.0))
    return rows


def fault(kind, at_s=20.0, **more):
    return FaultConf(kind=kind, at_s=at_s, **more)


def incident(*faults, seconds=60.0, symbols=SYMBOLS, rows=None, halts=(), during=None, orders=None, disk=None, **conf):
    """Run a gateway against the simulated one with these faults, as many market seconds after the market has opened."""
    settings = {"speed": 1.0, "settle_ms": 30.0, "once": False, "pacing": 0, "latency_ms": 20.0, "timeout_s": 5.0, "faults": list(faults)} | conf
    made = GatewayConf(**settings)

    async def main():
        simulator = Simulator(made)
        port = await simulator.start()
        source = MemorySource(market(seconds + 60.0, symbols) if rows is None else rows, symbols)
        source.halts = halts
        simulator.open(source)
        loop = asyncio.get_running_loop()
        desk = Desk(symbols, orders=orders)
        ledger = Ledger(disk or Disk())
        gateway = Gateway(
            replace(made, port=port), simulator.universe, desk, None, lock_step=False, simulated=False, ledger=lambda account: ledger, orders=orders
        )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            desk.now = lambda: loop.time() - (simulator.feed._anchor or loop.time())
            await gateway.connect("127.0.0.1", port)
            ending = asyncio.ensure_future(gateway.wait())
            other = asyncio.ensure_future(during(gateway, simulator, port)) if during else None
            while desk.now() < seconds and not ending.done():
                await asyncio.sleep(0.25)
            if other is not None:
                await other
            if ending.done():
                ending.result()
            found = Incident(gateway, simulator, desk, said, simulator.feed._anchor)
            ending.cancel()
            gateway.disconnect()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
        await simulator.close()
        if simulator.failure is not None:
            raise simulator.failure
        return found

    return run(main())


__all__ = ["ORDERED", "Desk", "Disk", "Feed", "Flag", "Health", "Incident", "OrderState", "Reason", "fault", "incident", "market"]
