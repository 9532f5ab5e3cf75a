"""Faults of the simulated gateway in what it says of orders: twice, in another order, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickarrow.configs.gateway import FaultConf
from tickarrow.pipeline.simulator_faults_bytes import Piece, Pipe, fields_of, frame_fault
from tickarrow.pipeline.simulator_faults_link import QUESTIONS, REPORTS
from tickarrow.pipeline.simulator_faults_market import fault
from tickarrow.pipeline.simulator_rules import Request

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_faults import Faults
    from tickarrow.pipeline.simulator_session import Session

PLACE_ORDER = 3


@frame_fault
def duplicate_execution(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """An execution is reported twice, and so is its commission."""
    if fields_of(frames[k])[0] not in (b"11", b"59"):
        return None
    return [Piece(frames[k] * 2)]


@frame_fault
def fill_before_status(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """An execution is reported before the state of its order."""
    if fields_of(frames[k])[0] not in (b"3", b"5"):
        return None
    fill = next((j for j in range(k + 1, len(frames)) if fields_of(frames[j])[0] == b"11"), 0)
    if not fill:
        return None
    frames.insert(k, frames.pop(fill))
    return [Piece(frames[k])]


def muted(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """Nothing of an order that is never acknowledged, except where the client asks for orders or executions."""
    fields = fields_of(frames[k])
    if pipe.asked_for or fields[0] not in REPORTS:
        return None
    if fields[0] == b"59":
        return [] if fields[2] in pipe.muted_fills else None
    if int(fields[2 if fields[0] == b"11" else 1]) not in pipe.muted_orders:
        return None
    if fields[0] == b"11":
        pipe.muted_fills.add(fields[14])
    return []


@fault
def never_acknowledged(f: Faults, c: FaultConf, name: str) -> None:
    """The next `count` orders get no answer: they are lost, or, with `data`, they work and only a question for them finds them."""
    left = c.count

    def intercept(s: Session, message: int, request: Request) -> bool:
        nonlocal left
        if message == PLACE_ORDER and left > 0 and (s.client_id, order := request.whole(1)) not in f.feed.matching.orders:
            left -= 1
            f.tally[c.kind]["orders"] += 1
            s.pipe.muted_orders.add(order)
            return not c.data
        if message in QUESTIONS and s.pipe.muted_orders:
            s.pipe.answer_question(message, request)
            return True
        return False

    f.interceptors[name] = intercept
    if c.data:
        f.arm_all(name, muted, None)
