"""Faults of single frames: what a session of the simulated gateway writes passes a `Pipe` on its way to the socket, which damages it.

A session has a pipe only where faults are configured. A fault of a frame is a function `(pipe, frames, k)` of the frames of one write and
the place of the one it hits; it returns the pieces that go out instead, or None if it cannot hit this frame (the next one is tried)."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_rules import Request
    from tickarrow.pipeline.simulator_session import Session

DRIP_S = 0.01  # between two bytes of a frame that drips
# Position of the reqId in messages that have one.
REQUEST_AT = {b"1": 2, b"2": 2, b"45": 2, b"46": 2, b"12": 2, b"13": 2, b"50": 2, b"57": 2, b"58": 2, b"99": 1, b"21": 1, b"81": 1}
# What ib_insync#393 captured: a truncated option message without its last fields.
TORN = b"21\x006\x0052\x0011\x000.12502290549746\0"


@dataclass(slots=True)
class Piece:
    """Bytes to be written; with a pause one at a time, so many seconds apart."""

    data: bytes
    pause: float | None = None


FrameFault = Callable[["Pipe", list[bytes], int], list[Piece] | None]
FRAME_FAULTS: dict[str, FrameFault] = {}


def frame_fault(function: FrameFault) -> FrameFault:
    """Register a fault under the name of its function; the first line of its docstring is what the guide says."""
    FRAME_FAULTS[function.__name__] = function
    return function


def kind_of(name: str) -> str:
    """Kind of a fault at work: a name is the kind and a number."""
    return name.partition(" ")[0]


def split(data: bytes) -> list[bytes]:
    """Whole frames, each with its length prefix."""
    out, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        out.append(data[at:end])
        at = end
    return out


def fields_of(frame: bytes) -> list[bytes]:
    return frame[4:-1].split(b"\0")


def request_of(fields: list[bytes]) -> int:
    """The reqId of a message, -1 = it has none."""
    at = REQUEST_AT.get(fields[0], 0)
    return int(fields[at]) if at else -1


def joined(fields: list[bytes]) -> bytes:
    body = b"".join(f + b"\0" for f in fields)
    return len(body).to_bytes(4, "big") + body


def changed(frame: bytes, change: dict[int, bytes]) -> list[Piece]:
    fields = fields_of(frame)
    for at, value in change.items():
        fields[at] = value
    return [Piece(joined(fields))]


@dataclass(slots=True)
class Armed:
    """A fault that waits for frames to hit."""

    name: str
    function: FrameFault
    rng: random.Random
    rows: set[int] | None  # symbols that it hits, None = every frame
    probability: float = 0.0
    left: int = 1  # frames still to be hit; below 0 = all until it is disarmed


class Pipe:
    """The way of a session's frames to its transport."""

    def __init__(self, session: Session, tally: dict[str, Counter[str]]) -> None:
        self.session, self.tally = session, tally
        self.armed: list[Armed] = []
        self.rng = random.Random(0)  # of the fault that is at work
        self.later: list[bytes] = []  # frames that come behind the next one
        self.muted_orders: set[int] = set()
        self.muted_fills: set[bytes] = set()
        self.asked_for = False  # what is written now answers a question
        self.holding: list[str] = []  # faults for which everything waits
        self.deaf = False  # what the client sends is not read
        self._held: list[bytes] = []
        self._slow: deque[Piece] = deque()
        self._task: asyncio.Task[None] | None = None
        self.ended: Callable[[], None] | None = None  # how a fault closes the connection, after this write
        self.closed_by = ""  # the fault that has closed it

    def write(self, data: bytes) -> None:
        """Send whole frames, each through the faults that are armed."""
        # A client that has not asked for data yet is left alone: it is connecting.
        hit = (self.armed or self.later) and self.session.gate.requests
        pieces = self._damaged(split(data)) if hit else [Piece(data)]
        if self.holding:
            self._held += [p.data for p in pieces]
        elif self._slow or any(p.pause is not None for p in pieces):
            self._slow += pieces
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._trickle())
        elif out := b"".join(p.data for p in pieces):
            self.session.transport.write(out)
        if self.ended is not None:
            self.session.closed = True
            self.empty()
            self.ended()

    def _damaged(self, frames: list[bytes]) -> list[Piece]:
        out: list[Piece] = []
        for k, frame in enumerate(frames):
            pieces, late = None, self.later
            self.later = []
            for a in self.armed:
                if not (a.probability and a.rng.random() >= a.probability) and pieces is None and self._meant(a, frame):
                    self.rng = a.rng
                    pieces = a.function(self, frames, k)
                    if pieces is not None:
                        self.tally[kind_of(a.name)]["frames"] += 1
                        self.closed_by = kind_of(a.name) if self.ended is not None else ""
                        a.left -= a.left > 0
            out += [Piece(frame)] if pieces is None else pieces
            out += [Piece(x) for x in late]
            if self.ended is not None:
                self.tally[self.closed_by]["lost"] += len(frames) - k - 1
                break
        self.armed = [a for a in self.armed if a.left]
        return out

    def _meant(self, a: Armed, frame: bytes) -> bool:
        if a.left == 0:
            return False
        if a.rows is None:
            return True
        return self.session.symbol_of(request_of(fields_of(frame))) in a.rows

    async def _trickle(self) -> None:
        """Write the slow pieces, and behind them what has come meanwhile."""
        while self._slow:
            piece = self._slow[0]
            if piece.pause is None:
                self.session.transport.write(self._slow.popleft().data)
                continue
            self.session.transport.write(piece.data[:1])
            piece.data = piece.data[1:]
            if not piece.data:
                self._slow.popleft()
            await asyncio.sleep(piece.pause)

    def answer_question(self, message: int, request: Request) -> None:
        """Answer what the client asks for, past the faults that keep back what it has not asked for."""
        self.session.flush()
        self.asked_for = True
        self.session.answer(message, request)
        self.session.flush()
        self.asked_for = False

    def lose(self, data: bytes) -> None:
        """Frames for a connection that is closed already: the fault that closed it has lost them."""
        if self.closed_by:
            self.tally[self.closed_by]["lost"] += len(split(data))

    def hold(self, kind: str) -> None:
        """Let everything wait until `release`."""
        self.holding.append(kind)

    def release(self, kind: str) -> None:
        """Send what waited, in one piece, unless it waits for something else too."""
        self.holding.remove(kind)
        if not self.holding and not self.session.transport.is_closing():
            data, self._held = b"".join(self._held), []
            if self._slow:
                self._slow.append(Piece(data))
            else:
                self.session.transport.write(data)

    def empty(self) -> None:
        """The connection is about to close: what trickles goes out at once; what is held is lost."""
        if self._task is not None:
            self._task.cancel()
        if self.holding:
            self.tally[kind_of(self.holding[0])]["lost"] += sum(len(split(x)) for x in self._held)
        out = [*(p.data for p in self._slow), *(self.later if self.ended is None else ())]
        if out and not self.holding and not self.session.transport.is_closing():
            self.session.transport.write(b"".join(out))
        self._held, self._slow, self.later = [], deque(), []


# the connection


@frame_fault
def cut(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """The connection is closed in the middle of a frame."""
    pipe.ended = pipe.session.transport.close
    return [Piece(frames[k][: max(1, pipe.rng.randrange(len(frames[k])))])]


@frame_fault
def reset(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """The connection is reset (RST) in the middle of a frame."""

    def abort() -> None:
        sock = pipe.session.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        pipe.session.transport.abort()

    pipe.ended = abort
    return [Piece(frames[k][: max(1, pipe.rng.randrange(len(frames[k])))])]


@frame_fault
def fragment(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """A frame is written byte by byte."""
    return [Piece(frames[k], 0.0)]


@frame_fault
def drip(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """A frame comes slowly: one byte every 10 ms."""
    return [Piece(frames[k], DRIP_S)]


# framing


@frame_fault
def garbage(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """One to 29 random bytes stand before a frame."""
    return [Piece(pipe.rng.randbytes(pipe.rng.randint(1, 29)) + frames[k])]


@frame_fault
def bad_length(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """A torn frame claims to be longer and ends inside a later one (ib_insync#393): the next length is read from text, some 900 MB."""
    last = min(k + 6, len(frames) - 1)
    inside = frames[last].index(b"\0", 4) + 1  # behind the id, as captured
    length = len(TORN) + sum(len(f) for f in frames[k:last]) + inside
    return [Piece(length.to_bytes(4, "big") + TORN + frames[k])]


@frame_fault
def truncated_field(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """The last field of a frame is missing."""
    return [Piece(joined(fields_of(frames[k])[:-1]))]


@frame_fault
def long_field(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """The last field of a frame has 300 characters."""
    return [Piece(joined([*fields_of(frames[k])[:-1], b"9" * 300]))]


# order of the frames


@frame_fault
def duplicate(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """A frame comes twice."""
    return [Piece(frames[k] * 2)]


@frame_fault
def reorder(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """A frame comes behind the one that follows it."""
    pipe.later.append(frames[k])
    return []
