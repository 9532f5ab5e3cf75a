"""The simulated gateway's market: rows of a source to every client that asks, at the pace of a clock (lock step: simulator_lockstep.py).

Market time is the source's. Orders and cancels take effect at a market time of their own, between the rows before and after it. The
rows wait for the slowest client (back-pressure), so no tick is lost at any speed."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.jit.wire_encode_market import ALL_BUT_LAST, CONTROL_SLOTS, EVERY_ROW, NO_CLOCK, TRIGGER, market_update
from tickarrow.jit.wire_encode_slot import ALL, QUOTE_PART, TRADE_PART
from tickarrow.pipeline.simulator_bars import Bars
from tickarrow.pipeline.simulator_depth import Depth
from tickarrow.pipeline.simulator_encoder import Columns, new_quotes
from tickarrow.pipeline.simulator_history import History
from tickarrow.pipeline.simulator_orders import MARKET_OVER, Matching
from tickarrow.pipeline.simulator_requests import serve_snapshots
from tickarrow.pipeline.simulator_rt_volume import RtVolume

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_faults import Faults
    from tickarrow.pipeline.simulator_lockstep import LockStep
    from tickarrow.pipeline.simulator_session import Session
    from tickarrow.pipeline.source import Rows, Source

Array = npt.NDArray[Any]
FAR = 2**62  # later than every market time
SPLIT_S = 0.13e-3, 0.4e-3  # between two packets of a slot, as recorded
BLOCK = 1024  # rows sent to ordinary clients between two looks at their requests


class Feed:
    """One market: its rows, its orders, and the clients that follow it."""

    def __init__(self, source: Source, conf: SimulatorConf, fees: npt.NDArray[Any], faults: Faults | None = None) -> None:
        self.source, self.conf, self.faults = source, conf, faults
        self.latency_ns = round(conf.latency_ms * 1e6)
        self.slot_ns = round(conf.conflation_ms * 1e6)
        self.state = new_quotes(len(source.universe))
        self.clients: dict[int, Session] = {}
        self.matching = Matching(conf, fees, source.universe, self.state, self.clients)
        self.now = source.start_ns  # market time
        self.begun = self.over = False
        self.lock_step = False  # paced by its one client
        self.idle = True  # no row is being sent by the clock: what is asked for takes effect at once
        self.slot = 0
        self.history, self.bars, self.depth = History(source), Bars(self), Depth(self)
        self.rt_volume = RtVolume(self)
        self.queue: deque[tuple[int, Callable[[], None]]] = deque()  # requests that take effect later, in this order
        self._timers: list[tuple[int, int, Callable[[], None]]] = []  # heap of market time, number, action
        self._timed = 0
        self.changed = asyncio.Event()
        self._blocks = iter(source.blocks())
        self._columns: Columns
        self._lo = self._n = 0
        self._control = np.zeros(CONTROL_SLOTS, np.int64)
        self._random = random.Random(0)  # of split packets
        self._opens_at: float | None = None  # loop time
        self._anchor: float | None = None  # loop time of the source's start
        self._dirty = False  # something changed in the open conflation slot, or waits
        self.halted: set[int] = set()  # rows of the symbols that are halted now
        for row, begin, end in source.halts:
            # Behind the row that takes the quote away and before those of the reopening, so that no row is decided on otherwise than without a wire.
            self.at(begin + 1, partial(self._halt, row, True))
            self.at(end, partial(self._halt, row, False))

    def go_on(self, run: int, after_ns: int, held: dict[int, tuple[float, float]]) -> None:
        """A market that has been open in earlier runs is this far when it opens, and the account holds this: row -> shares, average price."""
        self.matching.run = run
        self.matching.positions |= held
        while after_ns and (ts := self.peek()) is not None and ts <= after_ns:
            self._lo = market_update(self.state, *self._columns, self._lo, self._n, after_ns + 1, self._control)
        self.now = max(self.now, after_ns)

    # rows

    def peek(self) -> int | None:
        """Market time of the next row, None at the end."""
        while self._lo >= self._n:
            r: Rows | None = next(self._blocks, None)
            if r is None:
                return None
            self._columns = (r.ts, r.symbol, r.kind, r.mask, r.bid, r.bid_size, r.ask, r.ask_size, r.price, r.size)
            self._lo, self._n = 0, len(r.ts)
        return int(self._columns[0][self._lo])

    def send_rows(self, until: int, limit: int, lock: LockStep | None = None) -> None:
        """Apply the rows before `until`, at most `limit`, up to one that fills an order; every client gets its frames."""
        c, lo = self._columns, self._lo
        limit = 1 if self.depth.requests or self.rt_volume.requests else limit  # they follow every row
        end = market_update(self.state, *c, lo, min(self._n, lo + limit), until, self._control)
        filling = bool(self._control[TRIGGER])
        self._lo, self.now = end, int(c[0][end - 1])
        symbol = int(c[1][end - 1])
        deep = self.depth.wants(symbol) or self.rt_volume.wants(symbol)
        self.rt_volume.sent(c, lo, end)
        clock = NO_CLOCK if lock is None else ALL_BUT_LAST if filling or deep else EVERY_ROW
        for s in self.clients.values():
            s.encoder.rows(c, lo, end, clock)
        if lock is not None:
            first = lock.session.encoder.first
            served = c[0][lo:end] if (first >= 0).all() else c[0][lo:end][first[c[1][lo:end]] >= 0]
            lock.times.extend(served.tolist())
        if deep:
            self.depth.update(symbol)
            self.rt_volume.update(c, end - 1)
        if filling:
            self.matching.match(symbol, self.now)
        if (filling or deep) and lock is not None and lock.session.encoder.first[symbol] >= 0:
            lock.session.encoder.clock(self.now)  # behind what the row has changed

    def at(self, ts: int, action: Callable[[], None]) -> None:
        """Do something at a market time, before the rows of that time; never, if the market ends before."""
        heapq.heappush(self._timers, (ts, self._timed, action))
        self._timed += 1
        self.changed.set()

    def _halt(self, row: int, halted: bool) -> None:
        """The exchange halts a symbol, or lets it trade again."""
        (self.halted.add if halted else self.halted.discard)(row)
        for s in self.clients.values():
            if s.encoder.halt(row, halted) and s.lock is not None:
                s.lock.clock(self.now)

    def effect(self) -> int:
        """Market time of what takes effect next."""
        return min(self.queue[0][0] if self.queue else FAR, self._timers[0][0] if self._timers else FAR)

    def apply_next(self) -> None:
        """What is due first takes effect: a timer, else the oldest request in the queue."""
        if self._timers and self._timers[0][0] == self.effect():
            ts, _, action = heapq.heappop(self._timers)
            self.now = self.matching.now = max(self.now, ts)
            action()
        else:
            self.apply_request()

    def apply_request(self) -> None:
        """The oldest request in the queue takes effect."""
        ts, action = self.queue.popleft()
        self.now = self.matching.now = max(self.now, ts)
        action()

    @property
    def listened(self) -> bool:
        """Whether a client wants to hear of the rows."""
        return bool(self.bars.requests or self.depth.requests) or any(s.encoder.requests or s.snapshots for s in self.clients.values())

    def submit(self, session: Session, action: Callable[[], None]) -> None:
        """An order, a cancel: takes effect after the order latency."""
        if session.lock is not None:
            if session.lock.ended:
                action()
            else:
                self.queue.append((session.lock.decision_ts() + self.latency_ns, action))
        else:
            self.queue.append((self.market_now() + self.latency_ns, action))
            if self.idle:
                self.apply_all()
            self.changed.set()

    def apply_all(self) -> None:
        """Every request that waits takes effect."""
        while self.queue:
            self.apply_request()

    @property
    def fault_ts(self) -> int:
        """Market time of what the faults do next."""
        return FAR if self.faults is None else self.faults.next_ts

    def fire(self) -> None:
        """What the faults do next takes effect."""
        assert self.faults is not None
        self.faults.fire()

    # clock of ordinary clients

    def open_soon(self) -> None:
        """The market opens when the clients have been quiet for a moment, so that the subscriptions of a start all see its first row."""
        if self._anchor is None:
            self._opens_at = asyncio.get_running_loop().time() + self.conf.settle_ms / 1e3
        self.changed.set()

    def market_now(self) -> int:
        if self.conf.speed == 0 or self._anchor is None:
            return self.now
        return self.source.start_ns + round((asyncio.get_running_loop().time() - self._anchor) * 1e9 * self.conf.speed)

    async def run(self) -> None:
        """Send the whole source to ordinary clients."""
        await self._opened()
        self.begun, self.idle = True, False
        while (ts := self.peek()) is not None:
            if self.conf.speed == 0 and not self.listened:
                await self._stand_still()
                continue
            end = self._slot_end(ts)
            effect = self.effect()
            now = FAR if self.conf.speed == 0 else self.market_now()
            fault = self.fault_ts
            due = min(ts, effect, fault, end if self._dirty else FAR)
            if due > now:
                if self.conf.skip_s and due - now > self.conf.skip_s * 1e9:
                    self._skip(due - now)
                else:
                    await self._sleep(due - now)
                continue
            if self._dirty and end == due:
                await self._send_slot()
            elif fault == due:
                self.fire()
            elif effect == due:
                self.apply_next()
            else:
                self.send_rows(min(effect, end, fault, now + 1), BLOCK)
                self._dirty = bool(self.slot_ns)
            await self._drain()
        while self._dirty:
            await self._send_slot()
        if self.faults is not None:
            self.faults.finish()
        if self.conf.speed > 0:
            await asyncio.sleep(self.conf.latency_ms / 1e3)  # orders that answer the last rows
        self.idle = True
        self.apply_all()
        self.over = True
        leaving = [s for s in self.clients.values() if s.wants_end]
        if leaving:
            self.end()
        for s in leaving:
            s.send_end()
        await self._drain()

    def end(self) -> None:
        """The last row is behind: what still waits is cancelled, nothing more is accepted."""
        self.matching.cancel_all(MARKET_OVER)
        self.matching.over = self.over = True

    async def _opened(self) -> None:
        loop = asyncio.get_running_loop()
        while self._opens_at is None or (left := self._opens_at - loop.time()) > 0:
            self.changed.clear()
            if self._opens_at is None:
                await self.changed.wait()
            else:
                await asyncio.sleep(left)
        self._anchor = loop.time()

    async def _stand_still(self) -> None:
        """Nobody listens: the market waits."""
        self.idle = True
        self.apply_all()
        self.changed.clear()
        await self._drain()
        await self.changed.wait()
        self.idle = False

    async def _sleep(self, market_ns: int) -> None:
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), min(market_ns / 1e9 / self.conf.speed, 0.5))

    def _skip(self, market_ns: int) -> None:
        """Put the market's clock forward."""
        assert self._anchor is not None
        self._anchor -= market_ns / 1e9 / self.conf.speed

    async def _drain(self) -> None:
        for s in list(self.clients.values()):
            serve_snapshots(s)
            s.flush()
            await s.drain(alone=len(self.clients) == 1)
        await asyncio.sleep(0)

    def _slot_end(self, ts: int) -> int:
        if not self.slot_ns:
            return FAR
        if not self._dirty:
            self.slot = (ts - self.source.start_ns) // self.slot_ns
        return self.source.start_ns + (self.slot + 1) * self.slot_ns

    async def _send_slot(self) -> None:
        """Frames of the open slot in one packet, or now and then those of the quotes in a packet a moment after those of the trades."""
        parts = [ALL]
        if self._random.random() < self.conf.split_packets:
            parts = [TRADE_PART, QUOTE_PART]
        for part in parts:
            waiting = [s.encoder.slot(self.slot, part) for s in self.clients.values()]
            if part == TRADE_PART and self.conf.speed > 0:
                for s in self.clients.values():
                    s.flush()
                await asyncio.sleep(self._random.uniform(*SPLIT_S) / self.conf.speed)
            self._dirty = any(waiting) or (part == QUOTE_PART and self._dirty)
        self.slot += 1
