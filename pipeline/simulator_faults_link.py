"""Faults of the simulated gateway's connections: to IBKR, to the historical farm, and to its clients. The texts of the notices are IBKR's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tickarrow.configs.gateway import FaultConf
from tickarrow.pipeline.simulator_faults_bytes import Piece, Pipe, fields_of
from tickarrow.pipeline.simulator_faults_market import fault
from tickarrow.pipeline.simulator_requests import LATER
from tickarrow.pipeline.simulator_rules import Request

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_faults import Faults
    from tickarrow.pipeline.simulator_session import Session

DATA_LOST, DATA_KEPT = 1101, 1102
LOST = "Connectivity between IB and Trader Workstation has been lost."
HISTORICAL = {20: 1, 87: 1, 96: 1}  # requests -> where the reqId stands
QUESTIONS = {5, 7, 16, 99}  # for open orders, executions, all open orders, completed orders
REPORTS = {b"3", b"5", b"11", b"59"}  # state of an order, order, execution, commission


def _lost(f: Faults, c: FaultConf, name: str, code: int, data: bool) -> None:
    """For a while no data, no report of an order, and no order or cancel arrives; then 1101 or 1102 and all of that but the data."""
    text = "data lost." if code == DATA_LOST else "data maintained."
    orders: list[tuple[Session, int, Request]] = []
    reports: list[tuple[Session, bytes]] = []

    def wait(s: Session, message: int, request: Request) -> bool:
        if message in QUESTIONS:
            s.pipe.answer_question(message, request)  # the gateway knows its orders
        elif message in LATER:
            orders.append((s, message, request))
        return message in QUESTIONS or message in LATER

    def hold(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
        if pipe.asked_for or fields_of(frames[k])[0] not in REPORTS:
            return None
        reports.append((pipe.session, frames[k]))
        return []

    def end() -> None:
        f.stop_intercepting(name)
        f.disarm(name)
        f.notice(code, f"Connectivity between IB and Trader Workstation has been restored - {text}")
        f.release(name, data)
        for s in f.sessions if code == DATA_LOST else ():
            s.gate.forget(s.gate.requests, name, f.feed.slot)
        for s, frame in reports:
            s.send(frame)
        for s, message, request in orders:
            s.answer(message, request)

    f.withhold(name, None)
    f.interceptors[name] = wait
    f.arm_all(name, hold, None)
    f.after(c.for_s, end)


@fault
def lost_1101(f: Faults, c: FaultConf, name: str) -> None:
    """1100, for `for_s` no data and no orders, 1101: every subscription is gone until it is asked for again."""
    f.notice(1100, LOST)
    _lost(f, c, name, DATA_LOST, data=False)


@fault
def lost_1102(f: Faults, c: FaultConf, name: str) -> None:
    """1100, for `for_s` no data and no orders, 1102: data go on (`data`), or are said to be maintained and stay silent."""
    f.notice(1100, LOST)
    _lost(f, c, name, DATA_KEPT, data=c.data)


@fault
def tws_broken(f: Faults, c: FaultConf, name: str) -> None:
    """2110, for `for_s` no data and no orders, then 1102 and data go on (`data`), or 1101 and every subscription is gone."""
    f.notice(2110, "Connectivity between Trader Workstation and server is broken. It will be restored automatically.")
    _lost(f, c, name, DATA_KEPT if c.data else DATA_LOST, data=c.data)


@fault
def hmds_flap(f: Faults, c: FaultConf, name: str) -> None:
    """2105, for `for_s` no historical data (162), 2106."""
    f.notice(2105, "HMDS data farm connection is broken:ushmds")

    def refuse(s: Session, message: int, request: Request) -> bool:
        if message in HISTORICAL:
            s.error(request.whole(HISTORICAL[message]), 162, "Historical Market Data Service error message:HMDS connection is broken")
        return message in HISTORICAL

    def end() -> None:
        f.stop_intercepting(name)
        f.notice(2106, "HMDS data farm connection is OK:ushmds")

    f.interceptors[name] = refuse
    f.after(c.for_s, end)


@fault
def restart(f: Faults, c: FaultConf, name: str) -> None:
    """Every connection is closed, for `for_s` the port refuses; orders and positions are kept, order ids begin at `count` again."""
    f.tally[c.kind]["connections"] += len(f.simulator.sessions)
    for s in f.sessions:
        s.pipe.closed_by = c.kind
    f.simulator.restart(f.wall(c.for_s), c.count)


@fault
def half_open(f: Faults, c: FaultConf, name: str) -> None:
    """For `for_s` (0 = until the client closes) nothing is sent or read, then what has waited; client ids stay in use until then."""
    for s in f.sessions:
        f.tally[c.kind]["connections"] += 1
        s.pipe.hold(name)
        s.pipe.deaf = True
        if c.for_s:
            s.transport.pause_reading()  # so that the end of the connection is not noticed either
            f.after_wall(c.for_s, partial(_wake, s, name))


def _wake(s: Session, name: str) -> None:
    s.pipe.deaf = False
    s.pipe.release(name)
    if not s.transport.is_closing():
        s.transport.resume_reading()
    s.advance()


@fault
def giant(f: Faults, c: FaultConf, name: str) -> None:
    """What is sent within `for_s` comes in one packet at its end."""
    held = f.sessions
    for s in held:
        s.pipe.hold(name)

    def end() -> None:
        for s in held:
            s.pipe.release(name)

    f.after(c.for_s, end)
