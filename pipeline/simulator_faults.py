"""Faults of the simulated gateway: what goes wrong, when, and for whom. Scripted by market time, repeated, or by chance for each frame.

Everything that is drawn comes from `fault_seed`, so equal requests give equal bytes. What a fault damaged, added, lost or kept back is
counted by its kind."""

from __future__ import annotations

import asyncio
import difflib
import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tickarrow.configs.gateway import FaultConf
from tickarrow.jit.wire_encode import L1
from tickarrow.pipeline import simulator_faults_fields, simulator_faults_link, simulator_faults_orders  # noqa: F401  they register their faults
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.simulator_encoder import Encoder
from tickarrow.pipeline.simulator_faults_bytes import FRAME_FAULTS, Armed, FrameFault, Pipe
from tickarrow.pipeline.simulator_faults_market import FAULTS
from tickarrow.pipeline.simulator_feed import FAR, Feed
from tickarrow.pipeline.simulator_gate import Gate

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator import Simulator
    from tickarrow.pipeline.simulator_rules import Request
    from tickarrow.pipeline.simulator_session import Session

IN_LOCK_STEP = {"halt"}  # all others need the wall clock, or break the clock frames


def about(kind: str) -> str:
    """One line: what a fault does."""
    text = (FRAME_FAULTS.get(kind) or FAULTS[kind]).__doc__ or ""
    return text.splitlines()[0]


KINDS = {kind: about(kind) for kind in [*FAULTS, *FRAME_FAULTS]}


class Zone(NamedTuple):
    """What a fault keeps back."""

    rows: set[int] | None  # symbols, None = all
    tick_by_tick: bool  # only these requests


class Faults:
    """The faults of a simulator: their schedule on the market's clock, and what is going on.

    Parameters
    ----------
    simulator : whose configuration names them
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator, self.conf = simulator, simulator.conf.faults
        for c in self.conf:
            _check(c)
        self.tally: dict[str, Counter[str]] = defaultdict(Counter)  # of clients that are gone
        self.zones: dict[str, Zone] = {}  # by fault at work
        self.interceptors: dict[str, Callable[[Session, int, Request], bool]] = {}  # see requests first; True: it is dealt with
        self.outlive: Callable[[Gate, int], None] | None = None  # what becomes of a cancelled request
        self.begun: list[tuple[float, str]] = []  # market seconds and kind of what has come
        self._heap: list[tuple[int, int, str, Callable[[], None]]] = []
        self._n = 0
        self._standing: dict[str, tuple[FrameFault, set[int] | None, float]] = {}  # frame faults that also hit who connects now
        self._connections: Counter[int] = Counter()

    def begin(self, feed: Feed) -> None:
        """A market begins: the schedule starts anew."""
        self.feed = feed
        self._heap.clear()
        self.zones.clear()
        self.interceptors.clear()
        self.outlive = None
        self._standing.clear()
        for i, c in enumerate(self.conf):
            rows = self.rows(c)
            if c.probability:
                self.arm_all(f"{c.kind} {i}", FRAME_FAULTS[c.kind], rows, c.probability)
            else:
                self._push(feed.source.start_ns + round(c.at_s * 1e9), c.kind, partial(self._come, i, c))

    # schedule

    @property
    def next_ts(self) -> int:
        """Market time of what comes next."""
        return self._heap[0][0] if self._heap else FAR

    @property
    def coming(self) -> tuple[float, str] | None:
        """Market seconds and kind of the next fault."""
        start = self.feed.source.start_ns
        return min((((ts - start) / 1e9, kind) for ts, _, kind, _ in self._heap if kind), default=None)

    def fire(self) -> None:
        """What comes next."""
        ts, _, _, action = heapq.heappop(self._heap)
        self.feed.now = max(self.feed.now, ts)
        action()

    def finish(self) -> None:
        """The market is over: what has begun ends, what has not begun does not come."""
        while self._heap:
            _, _, kind, action = heapq.heappop(self._heap)
            if not kind:
                action()

    def _push(self, ts: int, kind: str, action: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._heap, (ts, self._n, kind, action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it so many market seconds from now, at the market's end at the latest."""
        self._push(self.feed.now + round(seconds * 1e9), "", action)

    def wall(self, seconds: float) -> float:
        """Seconds of so many market seconds; at speed 0 nothing but the wall clock tells how long a connection is dead."""
        return seconds / (self.simulator.conf.speed or 1.0)

    def after_wall(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it so many market seconds from now, whether the market moves or not."""
        asyncio.get_running_loop().call_later(self.wall(seconds), self.simulator.guard, action)

    def _come(self, i: int, c: FaultConf) -> None:
        self.begun.append(((self.feed.now - self.feed.source.start_ns) / 1e9, c.kind))
        self.tally[c.kind]["times"] += 1
        if c.every_s:
            self._push(self.feed.now + round(c.every_s * 1e9), c.kind, partial(self._come, i, c))
        if c.kind in FAULTS:
            FAULTS[c.kind](self, c, f"{c.kind} {i}")
            return
        name = f"{c.kind} {i}"
        if c.for_s:
            self.arm_all(name, FRAME_FAULTS[c.kind], self.rows(c))
            self.after(c.for_s, partial(self.disarm, name))
        else:
            for s in self.sessions:
                s.pipe.armed.append(self._armed(s, name, FRAME_FAULTS[c.kind], self.rows(c), left=c.count))

    def arm_all(self, name: str, function: FrameFault, rows: set[int] | None, probability: float = 0.0) -> None:
        """Let a fault hit the frames of everybody, also of who connects from now on, until `disarm`."""
        self._standing[name] = (function, rows, probability)
        for s in self.sessions:
            s.pipe.armed.append(self._armed(s, name, *self._standing[name]))

    def disarm(self, name: str) -> None:
        self._standing.pop(name)
        for s in self.sessions:
            s.pipe.armed = [a for a in s.pipe.armed if a.name != name]

    def _armed(self, s: Session, name: str, function: FrameFault, rows: set[int] | None, probability: float = 0.0, left: int = -1) -> Armed:
        return Armed(name, function, self.draw(name, s), rows, probability, left)

    def draw(self, name: str, s: Session) -> random.Random:
        """Numbers for a fault and a client, the same again for the same seed."""
        return random.Random(f"{self.simulator.conf.fault_seed} {name} {s.client_id} {self._connections[s.client_id]} {len(self.begun)}")

    # clients

    @property
    def sessions(self) -> list[Session]:
        return list(self.feed.clients.values())

    def connect(self, s: Session, encoder: Encoder, shadow: Callable[[], Encoder]) -> Gate:
        """Put a new client under the faults."""
        s.pipe, s.faulty = Pipe(s, s.tally), True
        self._connections[s.client_id] += 1
        s.pipe.armed = [self._armed(s, name, *standing) for name, standing in self._standing.items()]
        gate = Gate(encoder, shadow, self.reasons, s.tally)
        gate.outlive = self.outlive
        return gate

    def leave(self, s: Session) -> None:
        for kind, counter in s.tally.items():
            self.tally[kind].update(counter)

    def refuses(self, lock_step: bool) -> str:
        """Why a client cannot be served with these faults; empty if it can."""
        kinds = sorted({c.kind for c in self.conf} - IN_LOCK_STEP)
        if lock_step and kinds:
            return f"Lock step and the fault {kinds[0]} exclude each other: set a speed (gateway.speed=1), or leave the fault out."
        return ""

    # for the faults

    def rows(self, c: FaultConf) -> set[int] | None:
        """Symbols that a fault hits; None = all."""
        if unknown := [x for x in c.symbols if x not in self.simulator.instruments]:
            raise ConfigError(f"gateway.faults: {c.kind} names the symbol {unknown[0]}, which is not in the universe. Choose one that is served.")
        return {self.simulator.instruments[x].row for x in c.symbols} or None

    def reasons(self, row: int, feed: int) -> list[str]:
        """Faults at work that keep back the data of a symbol and feed."""
        return [name for name, z in self.zones.items() if (z.rows is None or row in z.rows) and not (z.tick_by_tick and feed == L1)]

    def withhold(self, name: str, rows: set[int] | None, tick_by_tick: bool = False) -> None:
        """Data of these symbols stop, for those who asked and those who will."""
        self.zones[name] = Zone(rows, tick_by_tick)
        for s in self.sessions:
            s.gate.withhold(name, self.feed.slot)

    def release(self, name: str, data: bool) -> None:
        """Who asks from now on gets data; who asked before gets them only with `data`."""
        zone = self.zones.pop(name)
        if not data:
            self.drop_streams(zone.rows)
        for s in self.sessions if data else ():
            self.closes(s, s.gate.release(name, self.feed.slot))

    def drop_streams(self, rows: set[int] | None) -> None:
        """Depth, bars and RTVolume of these symbols go on only for who asks again."""
        depth, bars = self.feed.depth.requests, self.feed.bars.requests
        for gone in [k for k, d in depth.items() if rows is None or d.symbol in rows]:
            del depth[gone]
        for gone in [k for k, b in bars.items() if rows is None or b.symbol in rows]:
            del bars[gone]
        volumes = self.feed.rt_volume.requests
        for asked in [k for k, symbol in volumes.items() if rows is None or symbol in rows]:
            del volumes[asked]

    def requests(self, s: Session, rows: set[int] | None, l1: bool = True) -> list[int]:
        """Requests of a client for these symbols, oldest first."""
        return [req for req, a in s.gate.requests.items() if (rows is None or a.symbol in rows) and not (l1 and a.feed != L1)]

    def intercepts(self, s: Session, message: int, request: Request) -> bool:
        """Whether a fault deals with a request; the gateway does not answer it then."""
        return any(i(s, message, request) for i in list(self.interceptors.values()))

    def stop_intercepting(self, name: str) -> None:
        del self.interceptors[name]

    def closes(self, s: Session, sent: bool) -> None:
        """In lock step what was sent outside of the rows gets a clock frame."""
        if sent and s.lock is not None:
            s.lock.clock(self.feed.now)

    def notice(self, code: int, text: str) -> None:
        """A message of the system to everybody."""
        for s in self.sessions:
            s.error(-1, code, text)

    def counts(self) -> dict[str, dict[str, int]]:
        """By kind: how often it came (`times`), frames that it hit, frames lost, messages, updates and trades kept back."""
        total: dict[str, Counter[str]] = defaultdict(Counter)
        for tally in [self.tally, *(s.tally for s in self.simulator.sessions if s.ready)]:
            for kind, counter in tally.items():
                total[kind].update(counter)
        return {kind: dict(total[kind]) for kind in sorted(total)}


def _check(c: FaultConf) -> None:
    if c.kind not in KINDS:
        near = difflib.get_close_matches(c.kind, KINDS, 3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Choose one of {', '.join(KINDS)}."
        raise ConfigError(f"gateway.faults: there is no fault {c.kind!r}. {hint}")
    if not all(0 <= s < math.inf for s in (c.at_s, c.for_s, c.every_s)) or not 0 <= c.probability <= 1 or c.count < 1:
        raise ConfigError(f"gateway.faults: {c.kind} has at_s, for_s or every_s below 0 or not finite, probability outside 0..1 or count below 1. Correct it.")
    if c.probability and (c.kind not in FRAME_FAULTS or c.at_s or c.every_s or c.for_s):
        raise ConfigError(f"gateway.faults: {c.kind} cannot come with a probability here. Use it for faults of single frames, without at_s, every_s and for_s.")
    if c.every_s and c.for_s >= c.every_s:
        raise ConfigError(f"gateway.faults: {c.kind} lasts {c.for_s:g} s and comes every {c.every_s:g} s. Make for_s the shorter one.")
