"""Faults in the market data of the simulated gateway: farms, subscriptions, permissions, halts. One function each, `(faults, conf, name)`.

The texts of the notices are IBKR's. The first line of a docstring is what the guide says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tickarrow.configs.gateway import FaultConf
from tickarrow.pipeline.simulator_encoder import HALTED
from tickarrow.pipeline.simulator_faults_bytes import Piece, Pipe, changed, fields_of, request_of
from tickarrow.pipeline.simulator_gate import Gate
from tickarrow.pipeline.simulator_rules import Request, instrument

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_faults import Faults
    from tickarrow.pipeline.simulator_session import Session

MARKET_DATA = {1: (2, 3), 97: (1, 2), 10: (2, 3), 50: (2, 3)}  # requests -> where the reqId and the contract stand
# (is a generic tick, tick type) -> tick type of delayed data
DELAYED = {(False, 0): 69, (False, 1): 66, (False, 2): 67, (False, 3): 70, (False, 4): 68, (False, 5): 71, (False, 6): 72, (False, 7): 73,
           (False, 8): 74, (False, 9): 75, (False, 14): 76, (False, 45): 88, (True, 49): 90}  # fmt: skip

Fault = Callable[["Faults", FaultConf, str], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """Register a fault under the name of its function."""
    FAULTS[function.__name__] = function
    return function


@fault
def farm_flap(f: Faults, c: FaultConf, name: str) -> None:
    """2103, for `for_s` no data, 2104; then data go on (`data`), or a subscription stays dead until it is asked for under a new id."""
    f.notice(2103, "Market data farm connection is broken:usfarm")
    f.withhold(name, f.rows(c))

    def end() -> None:
        f.notice(2104, "Market data farm connection is OK:usfarm")
        f.release(name, c.data)

    f.after(c.for_s, end)


@fault
def displaced(f: Faults, c: FaultConf, name: str) -> None:
    """10197, a competing session: every subscription is gone, and for `for_s` new ones are refused with it."""
    rows, text = f.rows(c), "No market data during competing live session"

    def refuse(s: Session, message: int, request: Request) -> bool:
        if (asked := _market_data(s, message, request, rows)) is not None:
            s.error(asked, 10197, text)
        return asked is not None

    for s in f.sessions:
        lost = f.requests(s, rows, l1=False)
        for req in lost:
            s.error(req, 10197, text)
        s.gate.forget(lost, name, f.feed.slot)
    f.drop_streams(rows)
    f.interceptors[name] = refuse
    f.after(c.for_s, partial(f.stop_intercepting, name))


@fault
def subscription_lost(f: Faults, c: FaultConf, name: str) -> None:
    """10182: `count` subscriptions are gone until they are asked for again."""
    for s in f.sessions:
        asked = f.requests(s, f.rows(c), l1=False)
        lost = sorted(f.draw(name, s).sample(asked, min(c.count, len(asked))))
        for req in lost:
            s.error(req, 10182, "Failed to request live updates (disconnected).")
        s.gate.forget(lost, name, f.feed.slot)


@fault
def no_permission(f: Faults, c: FaultConf, name: str) -> None:
    """For `for_s` (0 = for good) requests are refused with 354, or, with `data`, answered with 10167 and delayed data."""
    rows = f.rows(c)

    granted: set[tuple[int, int]] = set()  # client and request with delayed data

    def refuse(s: Session, message: int, request: Request) -> bool:
        asked = _market_data(s, message, request, rows)
        if asked is not None and c.data and message == 1:
            s.error(asked, 10167, "Requested market data is not subscribed. Displaying delayed market data.")
            granted.add((s.client_id, asked))
            return False
        if asked is not None:
            s.error(asked, 354, "Requested market data is not subscribed.")
        return asked is not None

    def denied(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
        return to_delayed(pipe, frames, k) if (pipe.session.client_id, request_of(fields_of(frames[k]))) in granted else None

    f.interceptors[name] = refuse
    if c.data:
        f.arm_all(name, denied, None)
    if c.for_s:
        f.after(c.for_s, partial(f.stop_intercepting, name))


def _market_data(s: Session, message: int, request: Request, rows: set[int] | None) -> int | None:
    """The reqId of a request for market data of these symbols, None if it is something else."""
    if message not in MARKET_DATA:
        return None
    at, contract = MARKET_DATA[message]
    i = instrument(s, request, contract)
    return request.whole(at) if i is not None and (rows is None or i.row in rows) else None


@fault
def delayed(f: Faults, c: FaultConf, name: str) -> None:
    """Market data type 3 (58) and tick types 66 to 76 for `for_s`, no tick-by-tick; then live again. The data are not 15 minutes old."""
    rows = f.rows(c)
    _data_type(f, rows, 3)
    f.withhold(name, rows, tick_by_tick=True)
    f.arm_all(name, to_delayed, rows)

    def end() -> None:
        f.disarm(name)
        f.release(name, True)
        _data_type(f, rows, 1)
        for s in f.sessions:
            for req in f.requests(s, rows):
                s.gate.present(req, s.symbol_of(req))

    f.after(c.for_s, end)


def to_delayed(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """A frame of market data with the tick type for delayed data."""
    fields = fields_of(frames[k])
    if fields[0] == b"58":
        return changed(frames[k], {3: b"3"})
    tick = DELAYED.get((fields[0] == b"45", int(fields[3]))) if fields[0] in (b"1", b"2", b"45", b"46") else None
    return None if tick is None else changed(frames[k], {3: b"%d" % tick})


@fault
def frozen(f: Faults, c: FaultConf, name: str) -> None:
    """Market data type 2 (58): for `for_s` only the last quote for who asks, then live again."""
    rows = f.rows(c)
    _data_type(f, rows, 2)
    f.withhold(name, rows)

    def end() -> None:
        _data_type(f, rows, 1)
        f.release(name, True)

    f.after(c.for_s, end)


def _data_type(f: Faults, rows: set[int] | None, kind: int) -> None:
    for s in f.sessions:
        for req in f.requests(s, rows):
            s.tell_data_type(req, kind)
        s.flush()  # before the frames that follow are changed


@fault
def stale_req(f: Faults, c: FaultConf, name: str) -> None:
    """From now on ticks of a cancelled request go on for `for_s`."""

    def outlive(gate: Gate, req: int) -> None:
        f.tally[c.kind]["requests"] += 1
        f.after(c.for_s, partial(gate.bury, req))

    f.outlive = outlive
    for s in f.sessions:
        s.gate.outlive = outlive


@fault
def halt(f: Faults, c: FaultConf, name: str) -> None:
    """A trading halt of the symbols: tick 49 is 1, for `for_s` no data, then tick 49 is 0 and the quote in force. Also in lock step."""
    rows = f.rows(c)
    f.withhold(name, rows)
    for s in f.sessions:
        told = f.requests(s, rows)
        s.gate.tell(told, HALTED, 1.0)
        f.closes(s, bool(told))
    f.after(c.for_s, partial(f.release, name, True))
