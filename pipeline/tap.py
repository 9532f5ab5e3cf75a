"""The tap on the socket of an ib_async client.

`Tap` takes the place of `ib.client.conn` (a public attribute): asyncio receives straight into our ring, the wire kernel reads it in
place. Frames whose reqId is ours become TICKS; all others go unchanged to ib_async. The bytes are cut into chunks: one read under one
stamp, or, in lock step with our simulator, up to and including a clock frame (design contracts 2 and 6)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import numpy as np
from ib_async.connection import Connection

from tickarrow.pipeline.batch import PAD, Chunk
from tickarrow.pipeline.decode import CLOCK, END, LOST, Decode

RING_BYTES = 4 << 20
# What is read at once is decided on before the loop turns to anything else: orders, cancels and the kill switch wait for it, so it has a
# bound. A second of 100 symbols as IBKR samples them is 160 KB; a few hundred rows in lock step, where each row is a chunk.
READ_BYTES, LOCK_STEP_BYTES = 256 << 10, 16 << 10
LONG = 64 << 10  # bytes of a frame that is suspect if it does not become complete
STALL_S, LOST_S, LOST_BYTES = 1.0, 2.0, 1 << 20  # after which such a frame is passed by, and after which lost framing is given up


class Tap(Connection, asyncio.BufferedProtocol):  # type: ignore[misc]
    """The socket of an ib_async client, read by our kernel.

    Parameters
    ----------
    old : the connection it replaces; its two documented events are kept
    decode : knows which reqIds are ours
    on_chunk : called with each chunk and the `perf_counter_ns` of its arrival
    on_read : called when all chunks of a read are handed over
    on_end : called with the three counters of the simulator's end frame
    on_lost : called with one sentence when the framing of the stream is lost for good: the connection must be made anew
    lock_step : chunks end at clock frames
    on_version : called with the server version that the gateway offers, before any of its messages
    on_resync : called with the number of bytes that were dropped because no frame became complete in them for a second. What the decoder
        skips by itself is not told here: it is in its rows

    Notes
    -----
    Where the length of a frame is impossible the decoder searches for the next frames; it may have to wait for more bytes. A length that
    is possible but wrong leads beyond the data, and the wait for its end would swallow what comes. Both are looked at again a second later.
    """

    def __init__(
        self, old: Connection, decode: Decode, on_chunk: Callable[[Chunk, int], None], on_read: Callable[[], None],
        on_end: Callable[[tuple[int, int, int]], None], on_lost: Callable[[str], None], lock_step: bool, on_version: Callable[[int], None],
        on_resync: Callable[[int], None] = lambda skipped: None,
    ) -> None:  # fmt: skip
        self.on_version, self.on_resync = on_version, on_resync
        self._timer: asyncio.TimerHandle | None = None
        self.decode, self.on_chunk, self.on_read, self.on_end, self.on_lost, self.lock_step = decode, on_chunk, on_read, on_end, on_lost, lock_step
        self._ring = np.zeros(RING_BYTES + PAD, np.uint8)
        self._view = memoryview(self._ring)[:RING_BYTES]  # type: ignore[arg-type]
        self.next_chunk = self.first_chunk = 0  # of the session, and of this run
        self.reads = 0
        self.heard = 0  # `perf_counter_ns` of the last read
        super().__init__()
        self.hasData, self.disconnected = old.hasData, old.disconnected

    def reset(self) -> None:
        super().reset()
        self._read = self._walked = self._write = 0  # start of the open chunk, of the next frame, of free room
        self._greeted = False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._go_on()
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        # Far more than comes at once: one read empties the socket, so that a quote is not torn between two stamps.
        return self._view[self._write : self._write + (LOCK_STEP_BYTES if self.lock_step else READ_BYTES)]

    def buffer_updated(self, nbytes: int) -> None:
        arrival, ts = time.perf_counter_ns(), time.time_ns()
        self.heard = arrival
        self.reads += 1
        self._write += nbytes
        self._drain(arrival, ts)

    def _drain(self, arrival: int, ts: int) -> None:
        """Forward what is not ours, hand over the chunks that are complete."""
        if not self._greeted and not self._greet():
            return
        while True:
            split = self.decode.split(self._ring, self._walked, self._write)
            if len(split.forward):
                self.hasData.emit(b"".join(bytes(self._view[a:b]) for a, b in split.forward))
            if split.pos > self._walked:
                self._go_on()
            self._walked = split.pos
            if split.status == CLOCK:
                if split.clock_number != self.next_chunk - self.first_chunk:
                    self.on_lost(f"clock frame {split.clock_number} came where {self.next_chunk - self.first_chunk} was due")
                    return
                self._hand_over(self._walked, split.clock_ts, arrival)
                arrival = time.perf_counter_ns()  # market time moves on only by our acknowledgement: the next chunk arrives now
            elif split.status == END:
                self.on_end(split.end)
            else:
                break
        if not self.lock_step and self._walked > self._read:
            self._hand_over(self._write, ts, arrival)
        self.on_read()
        self._make_room()
        if split.status == LOST or self._suspect():
            self.look(time.monotonic(), split.status == LOST)

    def _suspect(self) -> bool:
        """A long frame has begun and is not complete."""
        return self._write - self._walked >= 4 and int.from_bytes(self._view[self._walked : self._walked + 4], "big") > LONG

    def _go_on(self) -> None:
        """A frame was walked: nothing is stuck."""
        self._stuck = 0.0  # since when; 0 = not at all
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self, now: float, lost: bool) -> None:
        """Decide on bytes in which no frame becomes complete: wait, pass them by, or give up.

        Parameters
        ----------
        now : monotonic seconds
        lost : framing is lost; else a long frame is awaited, which may well be right
        """
        self._stuck = self._stuck or now
        waiting = self._write - self._walked
        if now - self._stuck >= STALL_S and not self.lock_step:
            found = self.decode.resync(self._ring, self._walked, self._write)
            if found >= 0:
                skipped = found - self._walked
                self._read = self._walked = found
                self._go_on()
                self.on_resync(skipped)
                self._drain(time.perf_counter_ns(), time.time_ns())
                return
        if lost and (now - self._stuck >= LOST_S or waiting > LOST_BYTES or self.lock_step):
            self._go_on()
            self.on_lost(f"the framing of the stream is lost: no frame in {waiting} bytes")
        elif self._timer is None and self.transport is not None:
            self._timer = asyncio.get_running_loop().call_later(STALL_S, self._look_again, lost)  # no byte may come by then

    def _look_again(self, lost: bool) -> None:
        self._timer = None
        self.look(time.monotonic(), lost)

    def _greet(self) -> bool:
        """Pass the handshake's answer on; it comes before any message and comes alone, and its first field is the server version."""
        if self._write < 4:
            return False
        end = 4 + int.from_bytes(self._view[:4], "big")
        if self._write < end:
            return False
        hello = bytes(self._view[:end])
        version = hello[4:].split(b"\0")[0]
        if version.isdigit():
            self.on_version(int(version))
        self.hasData.emit(hello)
        self._greeted = True
        self._read = self._walked = end
        return True

    def _hand_over(self, end: int, ts: int, arrival: int) -> None:
        chunk = Chunk(self._ring, self._read, end, ts, self.next_chunk)
        self.next_chunk += 1
        self.on_chunk(chunk, arrival)
        self._read = chunk.lo

    def _make_room(self) -> None:
        if self._read == self._write:
            self._read = self._walked = self._write = 0
        elif self._write > RING_BYTES // 2:
            if self._read == 0 and self._write == RING_BYTES:
                self.on_lost(f"a chunk is longer than {RING_BYTES} bytes")
                return
            kept = self._write - self._read
            self._ring[:kept] = self._ring[self._read : self._write].copy()
            self._walked -= self._read
            self._read, self._write = 0, kept
