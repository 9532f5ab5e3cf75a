"""IBKR's limits, which the simulated gateway enforces: lines, tick-by-tick and depth subscriptions, ids, and how fast historical data
may be asked for. Limits of a login hold for all of its clients together. 0 in the configuration = no limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.pipeline.universe import Instrument

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_session import Session

Refusal = tuple[int, str] | None  # error code and text
DUPLICATE = 322, "Error processing request: Duplicate ticker id"
NO_CONTRACT = 200, "No security definition has been found for the request"
PACING = "Historical Market Data Service error message:Historical data request pacing violation"


class Request(list[str]):
    """Fields of a request; a field that is not there or not a number is the client's fault."""

    def number(self, i: int) -> float:
        return float(self[i]) if self[i] else float("nan")

    def whole(self, i: int) -> int:
        return int(self[i] or 0)

    def given(self, i: int) -> bool:
        """Whether the field is there and says something."""
        return i < len(self) and self[i] not in ("", "0")


def instrument(s: Session, request: Request, at: int) -> Instrument | None:
    """Instrument of the twelve contract fields from `at` on: by number, else by symbol."""
    con_id, symbol, kind = request.whole(at), request[at + 1] or request[at + 10], request[at + 2]
    if kind not in ("", "STK") or request[at + 9] not in ("", "USD"):
        return None
    return s.simulator.instruments.get(con_id or symbol)


def refused(s: Session, req: int, *rules: Refusal) -> bool:
    """Say the first rule that a request breaks."""
    for rule in rules:
        if rule is not None:
            s.error(req, *rule)
            return True
    return False


class Rules:
    """What the gateway counts over all clients.

    Parameters
    ----------
    conf : the limits
    sessions : all connections
    """

    def __init__(self, conf: SimulatorConf, sessions: set[Session]) -> None:
        self.conf, self.sessions = conf, sessions
        self._tick_by_tick: dict[Hashable, float] = {}  # (symbol, kind) -> seconds of the latest request
        self._historical: deque[tuple[float, Hashable, Hashable]] = deque()  # of ten minutes: seconds, contract and kind, whole request

    def new_id(self, s: Session, req: int) -> Refusal:
        """A request id may not be that of another open request of the client."""
        used = req in s.encoder.requests or any(req == r for r, _ in s.snapshots)
        return DUPLICATE if used or (s, req) in s.feed.bars.requests or (s, req) in s.feed.depth.requests else None

    def line(self) -> Refusal:
        """Whether another line is free. L1, tick-by-tick and bars that go on are lines, snapshots are none."""
        limit = self.conf.lines
        used = sum(len(s.encoder.requests) for s in self._ready()) + sum(len(f.bars.requests) for f in {s.feed for s in self._ready()})
        return (101, "Max number of tickers has been reached") if limit and used >= limit else None

    def tick_by_tick(self, s: Session, symbol: int, kind: str) -> Refusal:
        """Whether another tick-by-tick subscription is free and the instrument's last one of this kind long enough ago."""
        limit, wait = self.conf.tick_by_tick, self.conf.tick_by_tick_s
        used = sum(x.encoder.tick_by_tick for x in self._ready())
        if limit and used >= limit:
            return 10190, "Max number of tick-by-tick requests has been reached"
        now = s.seconds()
        if wait and now - self._tick_by_tick.get((symbol, kind), -wait) < wait:
            return 10189, f"Failed to request tick-by-tick data:No more than 1 request of an instrument within {wait:g} seconds"
        if s.counted:
            self._tick_by_tick[symbol, kind] = now
        return None

    def depth(self) -> Refusal:
        limit = self.conf.depth
        used = sum(len(f.depth.requests) for f in {s.feed for s in self._ready()})
        return (309, f"Max number ({limit}) of market depth requests has been reached") if limit and used >= limit else None

    def historical(self, s: Session, contract: Hashable, request: Hashable, weight: int = 1) -> Refusal:
        """IBKR's pacing of historical data; what is refused does not count.

        Parameters
        ----------
        contract : contract, exchange and kind of data
        request : everything that makes two requests identical
        weight : a request for bid and ask counts twice
        """
        now, c = s.seconds(), self.conf
        while self._historical and now - self._historical[0][0] >= 600.0:
            self._historical.popleft()
        same = sum(now - t < 2.0 and of == contract for t, of, _ in self._historical)
        identical = any(now - t < c.historical_identical_s and what == request for t, _, what in self._historical)
        if (
            (c.historical_identical_s and identical)
            or (c.historical_per_2s and same >= c.historical_per_2s)
            or (c.historical_per_10min and len(self._historical) + weight > c.historical_per_10min)
        ):
            return 162, PACING
        if s.counted:
            self._historical.extend([(now, contract, request)] * weight)
        return None

    def historical_open(self) -> Refusal:
        """Whether another historical request may stay open."""
        kept = sum(r.kept for f in {s.feed for s in self._ready()} for r in f.bars.requests.values())
        if self.conf.historical_open and kept >= self.conf.historical_open:
            return 162, "Historical Market Data Service error message:Max number of simultaneous historical data requests has been reached"
        return None

    def _ready(self) -> list[Session]:
        return [s for s in self.sessions if s.ready]
