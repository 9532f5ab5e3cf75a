"""What the router must still know after a kill: intents written ahead of sending, acknowledgements, executions, ids and keys.

One line a record: CRC-32 of its JSON in hex, a space, the JSON. A record is in the file before its consequence leaves the process; `sync` makes
sure of it against a loss of power too. A torn last line is cut when the ledger is opened, and what is over is left out then."""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tickarrow.pipeline.errors import SessionError
from tickarrow.pipeline.restart_orders import Known
from tickarrow.pipeline.schemas import PARTS, OrderState

OVER = (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED)
LOCK = ".lock"  # of the file that a run locks beside its ledger
KEPT_S = 2 * 86_400  # a gateway repeats the executions of the day; older ones need not be known


@dataclass(slots=True, eq=False)
class OwnOrder:
    """One of our orders, as far as we know."""

    key: int  # own key, in orderRef; never used twice; PARTS and more: of a part of a bracket
    con_id: int  # IBKR's number of the instrument
    side: int  # Side
    quantity: float  # shares
    limit: float  # currency, the worst price it may have; of a stop the price that starts it
    order_id: int  # IBKR's, of this client
    kind: str = "LMT"  # or STP
    perm_id: int = 0  # broker key; 0 = not known
    state: OrderState = OrderState.INTENT
    executed: float = 0.0  # shares, sum of its executions
    filled: float = 0.0  # shares, as the gateway says
    since: float = 0.0  # seconds, last change of `state` or `filled` in this run
    sent_at: float = 0.0  # seconds, in this run
    cancel: bool = False  # it shall be cancelled
    cancelled_at: float = -1.0  # seconds, a cancel was sent in this session; -1 = none was
    assumed: bool = False  # it is over because nothing else is likely: it may come back
    stray: bool = False  # of an earlier run, or came back: nothing of this run waits for it
    price: float = math.nan  # currency, at the gateway; NaN = not sent in this run
    priced: float = 0.0  # seconds, when it got it
    changing: bool = False  # the gateway has not yet said that it has it
    fixed: bool = False  # the gateway does not let it be changed
    held: float = 0.0  # shares that were held when it was wanted
    closing: bool = False  # it closes a position at once
    margin_asked: bool = False  # its margin is known, or asked for
    margin_known: bool = False
    entry_id: int = 0  # orderId of the entry of a part of a bracket

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def left(self) -> float:
        """Shares that it may still add to its position, those whose executions are still to come included."""
        return max((self.filled if self.over else self.quantity) - self.executed, 0.0)

    @property
    def entry(self) -> int:
        """Key of the entry of its bracket; of what is no part of one its own."""
        return self.key % PARTS

    @property
    def is_part(self) -> bool:
        """Whether it takes the profit or stops the loss of another."""
        return self.key >= PARTS


@dataclass(slots=True, frozen=True)
class Executed:
    """An execution that is in the positions."""

    exec_id: str
    key: int
    con_id: int
    shares: float  # signed
    price: float  # currency
    ts: float  # seconds UTC, when it was written


class Storage(Protocol):
    """Bytes that outlive the process."""

    def read(self) -> bytes: ...

    def replace(self, data: bytes) -> None:
        """Put `data` in the place of everything, or leave everything."""
        ...

    def write(self, data: bytes) -> None:
        """Append; a process that is killed afterwards has written it."""
        ...

    def sync(self) -> None:
        """What is written outlives a loss of power."""
        ...

    def close(self) -> None: ...


class FileStorage:
    """A file that one process at a time may write.

    Parameters
    ----------
    path : the file; its folder is made
    synced : whether `sync` waits for the disk
    """

    def __init__(self, path: Path, synced: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.synced = path, synced
        self._lock = os.open(path.with_suffix(LOCK), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise SessionError(f"the orders of {path} are in the hands of another run. Stop it, or choose another client (gateway.client_id=2).") from None
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)

    def read(self) -> bytes:
        return self.path.read_bytes()

    def replace(self, data: bytes) -> None:
        part = self.path.with_suffix(".part")
        made = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        _write(made, data)
        os.fsync(made)
        os.close(made)
        os.replace(part, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND)

    def write(self, data: bytes) -> None:
        _write(self._file, data)

    def sync(self) -> None:
        if self.synced:
            os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)


def _write(file: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(file, data[done:])


class Ledger:
    """Our orders, executions and positions, and a file that holds what is needed to know them again.

    Parameters
    ----------
    storage : where records go
    clock : seconds UTC
    """

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.time) -> None:
        self.storage, self.clock = storage, clock
        self.orders: dict[int, OwnOrder] = {}
        self.executions: dict[str, Executed] = {}  # by execId before its correction
        self.positions: dict[int, float] = {}  # conId -> shares
        self.next_id = self.next_key = 1  # order ids and keys below are used
        self.day: list[Any] = []  # of the daily loss stop, as it was kept last
        self.known: Known | None = None  # what the pipeline knows already, where a restart has brought it back
        self._unsynced = False
        data = storage.read()
        for record in _records(data):
            self._take(record)
        now = clock()
        self.orders = {k: o for k, o in self.orders.items() if not o.over}
        self.executions = {b: e for b, e in self.executions.items() if now - e.ts < KEPT_S}
        for o in self.orders.values():
            o.stray = o.cancel = not o.is_part  # decided on a state of the market that is gone; a bracket holds as long as its position
        storage.replace(self._compact())

    def close(self) -> None:
        """Another process may have it."""
        self.storage.close()

    def _compact(self) -> bytes:
        lines = [_line("ids", self.next_id, self.next_key)]
        for base, e in self.executions.items():
            lines.append(_line("exec", base, e.exec_id, e.key, e.con_id, e.shares, e.price, e.ts))
        held = dict(self.positions)
        for e in self.executions.values():
            held[e.con_id] = held.get(e.con_id, 0.0) - e.shares
        lines += [_line("moved", con_id, shares) for con_id, shares in held.items() if shares]
        lines += [_line("day", *self.day)] if self.day else []
        for o in self.orders.values():
            lines.append(_line("intent", o.key, o.con_id, o.side, o.quantity, o.limit, o.order_id, o.kind))
            lines.append(_line("executed", o.key, o.executed))  # some of its executions may be too old to be kept
            if o.state != OrderState.INTENT:
                lines.append(_line("state", o.key, int(o.state), o.perm_id))
        return b"".join(lines)

    def _take(self, record: list[Any]) -> None:
        what, *rest = record
        if what == "ids":
            self.next_id, self.next_key = max(self.next_id, rest[0]), max(self.next_key, rest[1])
        elif what == "intent":
            self._intent(OwnOrder(*rest))
        elif what == "executed":
            self.orders[rest[0]].executed = rest[1]
        elif what == "state":
            o = self.orders[rest[0]]
            o.state, o.perm_id = OrderState(rest[1]), rest[2]
        elif what == "exec":
            self._executed(rest[0], Executed(*rest[1:]))
        elif what == "day":
            self.day = rest
        elif what == "moved":
            self.positions[rest[0]] = self.positions.get(rest[0], 0.0) + rest[1]

    def _write(self, *record: Any) -> None:
        self.storage.write(_line(*record))
        self._unsynced = True

    def sync(self) -> None:
        """Everything written so far is safe."""
        if self._unsynced:
            self.storage.sync()
            self._unsynced = False

    def intent(self, order: OwnOrder) -> None:
        """An order will be sent."""
        self._write("intent", order.key, order.con_id, order.side, order.quantity, order.limit, order.order_id, order.kind)
        if order.executed:
            self._write("executed", order.key, order.executed)
        self._intent(order)

    def _intent(self, order: OwnOrder) -> None:
        self.orders[order.key] = order
        self.next_id, self.next_key = max(self.next_id, order.order_id + 1), max(self.next_key, order.entry + 1)

    def used(self, key: int = 0, order_id: int = 0) -> None:
        """A key and an order id must not be used any more."""
        key %= PARTS
        if key >= self.next_key or order_id >= self.next_id:
            self.next_id, self.next_key = max(self.next_id, order_id + 1), max(self.next_key, key + 1)
            self._write("ids", self.next_id, self.next_key)

    def state(self, order: OwnOrder) -> None:
        """An order's state or permId has changed."""
        self._write("state", order.key, int(order.state), order.perm_id)

    def execution(self, base: str, e: Executed) -> None:
        """An execution came; one with the same base takes the place of the earlier one."""
        self._write("exec", base, e.exec_id, e.key, e.con_id, e.shares, e.price, e.ts)
        self._executed(base, e)

    def _executed(self, base: str, e: Executed) -> None:
        before = self.executions.get(base)
        self.executions[base] = e
        change = e.shares - (before.shares if before is not None else 0.0)
        self.positions[e.con_id] = self.positions.get(e.con_id, 0.0) + change
        order = self.orders.get(e.key)
        if order is not None:
            order.executed += change * order.side

    def keep_day(self, day: int, kept: float, stopped: int, held: list[tuple[int, float, float]]) -> None:
        """The session day so far: its begin (ns), gain without the value of positions (currency), loss stop, (conId, shares, mid) of positions."""
        self.day = [day, kept, stopped, held]
        self._write("day", *self.day)

    def moved(self, con_id: int, shares: float) -> None:
        """A position has moved by something else than our executions."""
        self._write("moved", con_id, shares)
        self.positions[con_id] = self.positions.get(con_id, 0.0) + shares


def _line(*record: Any) -> bytes:
    text = json.dumps(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _records(data: bytes) -> list[list[Any]]:
    """The whole records; a torn end is left out, damage before it raises SessionError."""
    records = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1]):
        crc, _, text = line.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            if number == len(lines) - 2:
                break
            raise SessionError(
                f"the ledger of orders is damaged at line {number + 1}: what was sent is not known. "
                "Compare orders and positions in TWS, then move the file away."
            )
        records.append(json.loads(text))
    return records
