"""What the tests of the simulated gateway share: a source in memory, a server around it, and a raw client that knows frames only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import SimpleNamespace

import naive_simulator as naive
import numpy as np

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.simulator import Simulator
from tickarrow.pipeline.universe import Universe

START = 1_381_240_800_000_000_000  # 2013-10-08 14:00:00 UTC
SECOND = 1_000_000_000
MS = 1_000_000
NAMES = ("ts", "symbol", "kind", "mask", "bid", "bid_size", "ask", "ask_size", "price", "size")
TYPES = (np.int64, np.int32, np.uint8, np.uint8, *(np.float64,) * 6)
NAN = float("nan")


def quote(ms, symbol, bid, ask, bid_size=100.0, ask_size=100.0):
    """A quote row that gives all four values, `ms` after the start."""
    return (START + int(ms * MS), symbol, 0, 15, bid, bid_size, ask, ask_size, NAN, NAN)


def trade(ms, symbol, price, size):
    return (START + int(ms * MS), symbol, 1, 0, NAN, NAN, NAN, NAN, price, size)


class MemorySource:
    """Rows given as tuples."""

    def __init__(self, rows, symbols=("BAC", "IBM"), block=8192):
        self.rows, self.block = rows, block
        self.universe = Universe.of(symbols)
        self.start_ns = START
        self.end_ns = rows[-1][0] if rows else START
        self.bad = {}

    def blocks(self):
        for a in range(0, len(self.rows), self.block):
            part = zip(*self.rows[a : a + self.block])
            yield SimpleNamespace(**{n: np.array(c, t) for n, c, t in zip(NAMES, part, TYPES)})


def walk(n, seed=7, symbols=2, step_ms=(0, 40)):
    """A random walk of quotes with some trades, all values given."""
    rng = np.random.default_rng(seed)
    mid, ms, rows = [1000 + 500 * s for s in range(symbols)], 0.0, []
    for _ in range(n):
        s = int(rng.integers(symbols))
        ms += int(rng.integers(*step_ms))
        if rng.random() < 0.3:
            rows.append(trade(ms, s, (mid[s] + int(rng.integers(0, 2))) / 100, float(rng.integers(1, 9) * 100)))
        else:
            mid[s] += int(rng.integers(-1, 2))
            rows.append(quote(ms, s, mid[s] / 100, (mid[s] + 1) / 100, float(rng.integers(1, 9) * 100), float(rng.integers(1, 9) * 100)))
    return rows


@contextlib.asynccontextmanager
async def gateway(rows, **conf):
    """A simulator that serves the rows; yields it and its port."""
    simulator = Simulator(GatewayConf(**({"settle_ms": 30.0, "once": False} | conf)))
    port = await simulator.start()
    simulator.open(rows if isinstance(rows, MemorySource) else MemorySource(rows))
    try:
        yield simulator, port
    finally:
        await simulator.close()
    if simulator.failure is not None:
        raise simulator.failure


def stock(symbol, con_id=0):
    """The twelve contract fields of a request."""
    return [con_id, symbol, "STK", "", 0.0, "", "", "SMART", "", "USD", "", ""]


class Client:
    """Sends and receives frames; keeps every byte it got."""

    @classmethod
    async def connect(cls, port, options="", client_id=1, start=True, receive_buffer=0):
        self = cls()
        sock = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only where the protocol is named
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        self.reader, self.writer = await asyncio.open_connection(sock=sock)
        self.received, self.at, self.closed = bytearray(), 0, False
        hello = f"v157..178{' ' + options if options else ''}".encode()
        self.writer.write(b"API\0" + len(hello).to_bytes(4, "big") + hello)
        self.greeting = await self.next()
        if start:
            self.send(71, 2, client_id, "")
        return self

    def send(self, *fields):
        self.writer.write(naive.frame(*fields))

    async def next(self, timeout=5.0):
        """The next frame as a list of fields; None when the server has closed."""
        while True:
            if len(self.received) - self.at >= 4:
                end = self.at + 4 + int.from_bytes(self.received[self.at : self.at + 4], "big")
                if len(self.received) >= end:
                    body = bytes(self.received[self.at + 4 : end])
                    self.at = end
                    return body.decode().split("\0")[:-1]
            data = await asyncio.wait_for(self.reader.read(1 << 16), timeout)
            if not data:
                self.closed = True
                return None
            self.received += data

    async def until(self, *ids, matching=lambda f: True):
        """Frames up to and with the first of these message ids."""
        out = []
        while (f := await self.next()) is not None:
            out.append(f)
            if f[0] in ids and matching(f):
                return out
        raise AssertionError(f"closed before any of {ids}; got {out[-5:]}")

    async def error(self, code):
        """Text of the next error with this code."""
        return (await self.until("4", matching=lambda f: f[3] == str(code)))[-1][4]

    def subscribe(self, req, symbol, snapshot=False):
        self.send(1, 11, req, *stock(symbol), 0, "", int(snapshot), 0, "")

    def tick_by_tick(self, req, symbol, kind):
        self.send(97, req, *stock(symbol), kind, 0, 0)

    def order(self, order_id, symbol, action, quantity, limit=None, tif="DAY", ref="ref"):
        kind, price = ("MKT", "") if limit is None else ("LMT", limit)
        head = [3, order_id, *stock(symbol), "", "", action, quantity, kind, price, "", tif, "", "", "", 0, ref, 1, 0]
        self.send(*head, *[0] * 6, *[""] * 78)

    def cancel(self, order_id):
        self.send(4, 1, order_id, "")

    def close(self):
        self.writer.close()
