"""One client of the simulated gateway: framing, handshake, pacing, and which request is answered when."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING

from tickarrow.pipeline import simulator_frames as frames
from tickarrow.pipeline.simulator_encoder import Encoder
from tickarrow.pipeline.simulator_frames import FIRST_VERSION, SERVER_VERSION, frame
from tickarrow.pipeline.simulator_lockstep import LockStep
from tickarrow.pipeline.simulator_requests import ANSWERS, FEED_REQUESTS, LATER, REQUEST_ID, SILENT
from tickarrow.pipeline.simulator_rules import Request

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator import Simulator
    from tickarrow.pipeline.simulator_faults_bytes import Pipe
    from tickarrow.pipeline.simulator_gate import Gate

MAX_FRAME = 1 << 24  # bytes; a longer length means that framing is lost
WRITE_AHEAD = 1 << 18  # bytes the transport holds before rows wait
UNREAD_S = 5.0  # a client that reads nothing for so long may not hold up others
VIOLATIONS = 3  # of the pacing rule, then IBKR disconnects
START_API = 71
FARMS = ((2104, "Market data farm connection is OK:usfarm"), (2106, "HMDS data farm connection is OK:ushmds"),
         (2158, "Sec-def data farm connection is OK:secdefnj"))  # fmt: skip


def _discard(data: bytes) -> None:
    """Where frames go that are only counted."""


class Session(asyncio.Protocol):
    """A connection from its first byte to its last."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator: Simulator = simulator
        self.client_id = -1
        self.version = 0
        self.lock: LockStep | None = None
        self.encoder: Encoder | Gate
        self.gate: Gate  # the encoder, where faults are configured
        self.pipe: Pipe  # damages what is written, where faults are configured
        self.faulty = False
        self.tally: dict[str, Counter[str]] = defaultdict(Counter)  # of the faults, by kind
        self.wants_end = False
        self.snapshots: list[tuple[int, int]] = []  # reqId, symbol: waiting for a quote
        self.data_type = 1  # what the client accepts: 1 live, 2 frozen, 3 delayed, 4 delayed and frozen
        self.closed = False
        self.ready = False  # startApi is answered
        self.sent_log = simulator.take_sent_log()
        self.side_frames = 0  # messages of market data that the encoder does not write: depth, 5-second bars, what the data are
        self._options: set[str] = set()
        self._data = bytearray()
        self._out: list[bytes] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._times: deque[float] = deque()  # of the requests of the last second
        self._violations = 0

    # connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(WRITE_AHEAD)
        self.simulator.sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.faulty:
            self.pipe.empty()
        self._flowing.set()
        self.simulator.leave(self)

    def pause_writing(self) -> None:
        self._flowing.clear()

    def resume_writing(self) -> None:
        self._flowing.set()
        self.simulator.guard(self.advance)

    @property
    def stalled(self) -> bool:
        """The client does not read, or is gone."""
        return self.closed or not self._flowing.is_set()

    async def drain(self, alone: bool) -> None:
        """Wait until the client reads; one that does not is disconnected, as IBKR does, unless it holds up nobody but itself."""
        if self._flowing.is_set():
            return
        try:
            await asyncio.wait_for(self._flowing.wait(), None if alone else UNREAD_S)
        except TimeoutError:
            self.simulator.overrun += 1
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self.faulty and self.pipe.deaf:
            return
        self.simulator.guard(self.advance)

    def advance(self) -> None:
        """Answer every complete request, then send what the clock allows."""
        pos, data = 0, self._data
        while not self.closed and len(data) - pos >= 4 and (self.version == 0 or self.simulator.opened):
            if self.version == 0 and pos == 0 and data[:4] == b"API\0":
                pos = 4
                continue
            n = int.from_bytes(data[pos : pos + 4], "big")
            if (self.version == 0 and pos != 4) or not 0 < n <= MAX_FRAME:
                self._lose(f"Bad message length {n}: the framing is lost, the connection is closed.")
                break
            if len(data) - pos - 4 < n:
                break
            if self.version == 0:
                if not self._greet(bytes(data[pos + 4 : pos + 4 + n])):
                    break
            else:
                self._receive(bytes(data[pos + 4 : pos + 4 + n]))
            pos += 4 + n
        if self.version or self.closed:
            del data[:pos]
        if self.lock is not None and not self.closed:
            self.lock.pump()
        self.flush()

    def _lose(self, why: str) -> None:
        self.simulator.bad_frames += 1
        if self.version:
            self.error(-1, 507, why)
        self.close()

    def close(self) -> None:
        """Send what is pending, then close."""
        self.flush()
        if self.faulty:
            self.pipe.empty()
        self.closed = True
        self.transport.close()

    def send(self, data: bytes) -> None:
        self._out.append(data)

    def tell_data_type(self, request: int, kind: int) -> None:
        """Say what the data of a request are: 1 live, 2 frozen, 3 delayed, 4 delayed and frozen."""
        self.send_data([frame(58, 1, request, kind)])

    def send_data(self, messages: list[bytes]) -> None:
        """Send market data that the encoder does not write."""
        self.side_frames += len(messages)
        self._out += messages

    def error(self, request: int, code: int, message: str) -> None:
        self.send(frames.error(request, code, message, self.version))

    def flush(self) -> None:
        if self._out and (self.faulty or not self.closed):
            data = b"".join(self._out)
            self._out.clear()
            if self.sent_log is not None:
                self.sent_log.note(len(data))
            if not self.faulty:
                self.transport.write(data)
            elif self.closed:
                self.pipe.lose(data)
            else:
                self.pipe.write(data)
        self._out.clear()

    # handshake

    def _greet(self, body: bytes) -> bool:
        """`vMIN..MAX options`, with or without final NUL; the answer goes alone."""
        try:
            versions, *options = body.rstrip(b"\0").decode().split(" ")
            low, _, high = versions.removeprefix("v").partition("..")
            first, last = int(low), int(high or low)
        except ValueError:
            first, last, options = 0, 0, []
        self._options = {o for text in options for o in text.split(",")}
        if not first <= SERVER_VERSION or last < FIRST_VERSION:
            self._lose("")
            return False
        if "+LOCKSTEP" in self._options and not self.simulator.opened:
            return False  # its connection time is the market's
        self.version = min(SERVER_VERSION, last)
        now = self.simulator.start_ns if "+LOCKSTEP" in self._options else time.time_ns()
        self.send(frame(self.version, f"{frames.utc(now):%Y%m%d %H:%M:%S} UTC"))
        self.flush()
        return True

    def _start_api(self, client_id: int) -> None:
        lock_step = "+LOCKSTEP" in self._options
        conf, faults = self.simulator.conf, self.simulator.faults
        if client_id in self.simulator.feed.clients:
            self.error(-1, 326, "Unable to connect as the client id is already in use. Retry with a unique client id.")
            self.close()
        elif self.simulator.feed.clients and (lock_step or self.simulator.feed.lock_step):
            self.error(-1, 326, "A client in lock step needs the simulated gateway for itself: disconnect the other client first.")
            self.close()
        elif lock_step and conf.conflation_ms:
            self.error(-1, 321, "Lock step sends every row: set gateway.conflation_ms=0.")
            self.close()
        elif faults is not None and (why := faults.refuses(lock_step)):
            self.error(-1, 321, why)
            self.close()
        else:
            self.client_id = client_id
            self.feed = self.simulator.join(self, lock_step)
            whole, day = self.version < frames.FRACTIONAL_SIZES, conf.day_ticks and not lock_step
            encoder = partial(Encoder, self.feed.state, conf, conf.conflation_ms > 0, whole=whole, day=day, halted=self.feed.halted)
            if faults is None:
                self.encoder = encoder(self.send)
            else:
                self.encoder = self.gate = faults.connect(self, encoder(self.send), partial(encoder, _discard))
            self.wants_end = lock_step or "+END" in self._options
            self.ready = True
            self.send(frame(15, 1, self.simulator.account) + frame(9, 1, self.next_id()))
            for code, message in FARMS:
                self.error(-1, code, message)
            if lock_step:
                self.lock = LockStep(self.feed, self)
                self.lock.start()

    def next_id(self) -> int:
        """Above all order ids of the client; after a restart that rolled them back, above those since then."""
        first, before = self.simulator.rolled_back
        mine = (order for client, order in self.feed.matching.orders if client == self.client_id and (client, order) not in before)
        return max(mine, default=first - 1) + 1

    def silent(self, symbol: int) -> bool:
        """Whether a fault keeps back the data of a symbol."""
        return self.faulty and self.gate.silent(symbol)

    def symbol_of(self, req: int) -> int:
        """Row of the symbol of a market-data request, -1 = none."""
        asked = self.gate.requests.get(req)
        return -1 if asked is None else asked.symbol

    # requests

    def _receive(self, body: bytes) -> None:
        """One frame of the client: an acknowledgement or a request."""
        if body[-1] != 0:
            self._bad("it does not end with NUL")
            return
        request = Request(body[:-1].decode(errors="replace").split("\0"))
        try:
            message = request.whole(0)
            if message == frames.ACKNOWLEDGE and self.lock is not None:
                if not self.lock.acknowledge(request.whole(1)):
                    self._bad("it acknowledges a clock frame that was not sent or is acknowledged already")
            elif self.ready == (message == START_API):
                self._bad("startApi must come first, and once")
            elif self._paced():
                self.simulator.requests += 1
                if message == START_API:
                    self._start_api(request.whole(2))
                else:
                    self._answer(message, request)
        except (ValueError, IndexError) as e:
            self._bad(f"a field of message {request[0]!r} is missing or not a number ({e})")

    def _answer(self, message: int, request: Request) -> None:
        if self.simulator.faults is None or not self.simulator.faults.intercepts(self, message, request):
            self.answer(message, request)

    def answer(self, message: int, request: Request) -> None:
        """What the gateway does with a request when nothing goes wrong."""
        if message in LATER:
            LATER[message](self, request)
        elif message in ANSWERS:
            answer = ANSWERS[message]
            if self.lock is None or self.lock.acknowledged < 0:
                answer(self, request)
            elif message in FEED_REQUESTS:
                # Which rows a client gets must not depend on how far the market has run ahead of it.
                self.feed.submit(self, lambda: answer(self, request))
            else:
                self.lock.pump()  # the answer comes behind all that was free to go
                answer(self, request)
        elif message not in SILENT:
            self.simulator.unknown_requests += 1
            at = REQUEST_ID.get(message, 0)
            req = request.whole(at) if at else -1
            self.error(req, 505, f"Fatal Error: Unknown message id: {message}. The simulated gateway does not serve it.")

    def _bad(self, why: str) -> None:
        self.simulator.bad_frames += 1
        self.error(-1, 320, f"Server error when reading an API client request: {why}.")

    @property
    def counted(self) -> bool:
        """Whether the client's requests count: in lock step those before the market begins do not."""
        return self.lock is None or self.lock.acknowledged >= 0

    def seconds(self) -> float:
        """The seconds in which rules count: of the market in lock step, else of the clock, as often faster as the market is."""
        if self.lock is not None:
            return self.lock.decision_ts() / 1e9
        return time.monotonic() * (self.simulator.conf.speed or 1.0)

    def _paced(self) -> bool:
        """Whether the request keeps IBKR's rule, in market time in lock step; a client waits on its own clock, so that counts else."""
        limit = self.simulator.conf.pacing
        if limit == 0 or not self.counted or ("+LOCKSTEP" in self._options and self.lock is None):
            return True
        now = time.monotonic() if self.lock is None else self.seconds()
        while self._times and now - self._times[0] > 1.0:
            self._times.popleft()
        self._times.append(now)
        if len(self._times) <= limit:
            return True
        self.simulator.paced += 1
        self._violations += 1
        self.error(-1, 100, f"Max rate of messages per second has been exceeded:max={limit} rec={len(self._times)} ({self._violations})")
        self._times.clear()
        if self._violations == VIOLATIONS:
            self.close()
        return False

    def send_end(self) -> None:
        self.send(frame(frames.END, *self.encoder.sent))
        self.flush()
