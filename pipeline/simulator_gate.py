"""Market data of a client of the simulated gateway that faults withhold: encoded all the same, but only counted.

So the gateway can say of every message whether it was sent or which fault kept it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from tickarrow.jit.wire_encode import ALL_LAST, L1, LAST
from tickarrow.jit.wire_encode_market import MESSAGES, TRADES
from tickarrow.jit.wire_encode_slot import ALL
from tickarrow.pipeline.simulator_encoder import HALTED, Array, Columns, Encoder
from tickarrow.pipeline.simulator_faults_bytes import kind_of


@dataclass(slots=True)
class Asked:
    """A request for market data, and what keeps its data back: the oldest reason counts."""

    symbol: int
    feed: int
    ignore_size: bool
    reasons: list[str] = field(default_factory=list)
    volume: int = 0  # of the symbol when the data stopped


class Gate:
    """The encoder of a session with faults: same calls, but a request may be served into counters.

    Parameters
    ----------
    live : writes what is sent
    shadow : makes an encoder whose frames nobody gets
    reasons : names of the faults that keep back data of a symbol (its row) and feed at present
    tally : counters of the session by kind of fault
    """

    def __init__(self, live: Encoder, shadow: Callable[[], Encoder], reasons: Callable[[int, int], list[str]], tally: dict[str, Counter[str]]) -> None:
        self.live, self.tally = live, tally
        self._shadow, self._reasons = shadow, reasons
        self._withheld: dict[str, Encoder] = {}
        self.requests: dict[int, Asked] = {}
        self._gone: dict[int, Asked] = {}  # forgotten and not asked again, under a number that no request has
        self._next_gone = 1 << 40
        self.outlive: Callable[[Gate, int], None] | None = None  # told of a cancelled request, which goes on until `bury`
        self._cancelled: dict[int, Asked] = {}

    def add(self, req: int, symbol: int, feed: int, ignore_size: bool, slot: int) -> None:
        """Serve a request, or withhold its data. One that is asked for again is no longer missed."""
        self.bury(req)
        missed = {**self.requests, **self._gone}
        for other in (k for k, a in missed.items() if (a.symbol, a.feed) == (symbol, feed) and a.reasons):
            if other in (e := self._encoder(missed[other])).requests:
                e.remove(other)
            self._gone.pop(other, None)
        asked = Asked(symbol, feed, ignore_size, self._reasons(symbol, feed), int(self.live.state[symbol]["volume"]))
        self.requests[req] = asked
        self._encoder(asked).add(req, symbol, feed, ignore_size, slot)

    def remove(self, req: int) -> None:
        """Cancel a request."""
        asked = self.requests.pop(req)
        if self.outlive is not None and not asked.reasons:
            self._cancelled[req] = asked
            self.outlive(self, req)
        else:
            self._end(req, asked)

    def bury(self, req: int) -> None:
        """A request that outlived its cancel ends."""
        if (asked := self._cancelled.pop(req, None)) is not None:
            self._end(req, asked)

    def _end(self, req: int, asked: Asked) -> None:
        if req in (e := self._encoder(asked)).requests:
            e.remove(req)

    def _encoder(self, asked: Asked) -> Encoder:
        """Where the data of a request go."""
        if not asked.reasons:
            return self.live
        reason = asked.reasons[0]
        if reason not in self._withheld:
            self._withheld[reason] = self._shadow()
        e = self._withheld[reason]
        if not e.requests:
            e.state[...] = self.live.state
        return e

    def withhold(self, reason: str, slot: int) -> None:
        """Keep back the data that this fault hits from now on."""
        for req, asked in self.requests.items():
            if reason in self._reasons(asked.symbol, asked.feed):
                self._move(req, asked, [*asked.reasons, reason], slot)

    def forget(self, reqs: Iterable[int], reason: str, slot: int) -> None:
        """The gateway no longer knows these requests; what they would have got is still counted, until somebody asks again."""
        for req in list(reqs):
            asked = self.requests.pop(req)
            self._end(req, asked)
            self._next_gone += 1
            asked.reasons = [reason]
            self._gone[self._next_gone] = asked
            self._encoder(asked).add(self._next_gone, asked.symbol, asked.feed, asked.ignore_size, slot)

    def tell(self, reqs: Iterable[int], tick: int, value: float) -> None:
        """A generic tick for these requests, withheld or not."""
        self.live.tell(reqs, tick, value)

    def halt(self, symbol: int, halted: bool) -> bool:
        """As Encoder; those whose data are withheld are told when they go on."""
        for reason, e in self._withheld.items():
            e.halt(symbol, halted)
            self._count(reason, e)
        return self.live.halt(symbol, halted)

    def release(self, reason: str, slot: int) -> bool:
        """The data of the requests that only this fault kept back go on, with the quote in force; whether there are such."""
        free = False
        for req, asked in self.requests.items():
            if reason in asked.reasons:
                self._move(req, asked, [r for r in asked.reasons if r != reason], slot)
                if not asked.reasons:
                    free = True
                    self._resume(req, asked)
        return free

    def _move(self, req: int, asked: Asked, reasons: list[str], slot: int) -> None:
        before = self._encoder(asked)
        if not asked.reasons:
            asked.volume = int(self.live.state[asked.symbol]["volume"])
        asked.reasons = reasons
        after = self._encoder(asked)
        if after is not before and req in before.requests:
            before.remove(req)
            after.add(req, asked.symbol, asked.feed, asked.ignore_size, slot)

    def _resume(self, req: int, asked: Asked) -> None:
        if asked.feed != L1:
            return
        self.live.present(req, asked.symbol)
        now = self.live.state[asked.symbol]
        printed = any(a.symbol == asked.symbol and a.feed in (LAST, ALL_LAST) for a in self.requests.values())
        # A client that knew the volume sees one trade of all that it has missed.
        self.live.control[TRADES] += int(now["volume"]) > asked.volume and not printed and not np.isnan(float(now["last"]))

    # as Encoder

    @property
    def state(self) -> Array:
        return self.live.state

    @property
    def first(self) -> Array:
        return self.live.first

    @property
    def sent(self) -> tuple[int, int, int]:
        """Market-data messages, quote updates and trades sent."""
        return self.live.sent

    @property
    def tick_by_tick(self) -> int:
        """Tick-by-tick requests."""
        return sum(a.feed != L1 for a in self.requests.values())

    def rows(self, columns: Columns, lo: int, hi: int, clock: int) -> None:
        self.live.rows(columns, lo, hi, clock)
        for reason, e in self._withheld.items():
            if e.requests:
                e.rows(columns, lo, hi, 0)
                self._count(reason, e)

    def slot(self, slot: int, part: int = ALL) -> bool:
        waiting = self.live.slot(slot, part)
        for reason, e in self._withheld.items():
            if e.requests:
                waiting |= e.slot(slot, part)
                self._count(reason, e)
        return waiting

    def _count(self, reason: str, e: Encoder) -> None:
        counter = self.tally[kind_of(reason)]
        for name, n in zip(("messages", "updates", "trades"), e.sent):
            counter[name] += n
        e.control[MESSAGES : TRADES + 1] = 0

    def silent(self, symbol: int) -> bool:
        """Whether a fault keeps back the data of a symbol at present."""
        return bool(self._reasons(symbol, L1))

    def clock(self, ts: int) -> None:
        self.live.clock(ts)

    def present(self, req: int, symbol: int) -> bool:
        """The quote in force, unless a fault keeps it back."""
        asked = self.requests.get(req)
        reasons = self._reasons(symbol, L1) if asked is None else asked.reasons
        if any(not r.startswith("frozen ") for r in reasons):
            if any(r.startswith("halt ") for r in reasons):
                self.tell([req], HALTED, 1.0)
            return False
        return self.live.present(req, symbol)
