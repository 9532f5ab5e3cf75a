"""Faults of the gateway as a whole: farms, connectivity, restart, subscriptions, halts. One function each, `(faults, conf, name)`.

The texts of the notices are IBKR's. The first line of a docstring is what the guide says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tickarrow.configs.gateway import FaultConf
from tickarrow.jit.wire_encode import L1
from tickarrow.pipeline.simulator_gate import HALTED

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_faults import Faults
    from tickarrow.pipeline.simulator_session import Session

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


def _lost(f: Faults, c: FaultConf, name: str, code: int, text: str, data: bool, forget: bool) -> None:
    f.notice(1100, "Connectivity between IB and Trader Workstation has been lost.")
    f.withhold(name, None)

    def end() -> None:
        f.notice(code, f"Connectivity between IB and Trader Workstation has been restored - {text}")
        f.release(name, data)
        for s in f.sessions if forget else ():
            s.gate.forget(s.gate.requests, name, f.feed.slot)

    f.after(c.for_s, end)


@fault
def lost_1101(f: Faults, c: FaultConf, name: str) -> None:
    """1100, for `for_s` no data, 1101: every subscription is gone until it is asked for again."""
    _lost(f, c, name, 1101, "data lost.", data=False, forget=True)


@fault
def lost_1102(f: Faults, c: FaultConf, name: str) -> None:
    """1100, for `for_s` no data, 1102: data go on (`data`), or are said to be maintained and stay silent."""
    _lost(f, c, name, 1102, "data maintained.", data=c.data, forget=False)


@fault
def restart(f: Faults, c: FaultConf, name: str) -> None:
    """Every connection is closed, for `for_s` the port refuses; orders and positions are kept, order ids begin at `count` again."""
    f.tally[c.kind]["connections"] += len(f.simulator.sessions)
    f.simulator.restart(f.wall(c.for_s), c.count)


@fault
def half_open(f: Faults, c: FaultConf, name: str) -> None:
    """For `for_s` (0 = until the client closes) nothing is sent or read, then what has waited; client ids stay in use until then."""
    for s in f.sessions:
        assert s.pipe is not None
        f.tally[c.kind]["connections"] += 1
        s.pipe.hold(name)
        s.pipe.deaf = True
        if c.for_s:
            s.transport.pause_reading()  # so that the end of the connection is not noticed either
            f.after_wall(c.for_s, partial(_wake, s, name))


def _wake(s: Session, name: str) -> None:
    assert s.pipe is not None
    s.pipe.deaf = False
    s.pipe.release(name)
    if not s.transport.is_closing():
        s.transport.resume_reading()
    s.advance()


@fault
def halt(f: Faults, c: FaultConf, name: str) -> None:
    """A trading halt of the symbols: tick 49 is 1, for `for_s` no data, then tick 49 is 0 and the quote in force. Also in lock step."""
    rows = f.rows(c)
    f.withhold(name, rows)
    for s in f.sessions:
        told = [req for req, a in s.gate.requests.items() if a.feed == L1 and (rows is None or a.symbol in rows)]
        s.gate.tell(told, HALTED, 1.0)
        f.closes(s, bool(told))
    f.after(c.for_s, partial(f.release, name, True))
