"""Bytes of the wire to TICKS: the decode call alone, the stage around it, the walk of the tap, and source rows without a wire."""

import random
import struct

import numpy as np

from tickarrow.jit import _kernel, wire_step
from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decode import Decode, FromRows
from tickarrow.pipeline.schemas import TICKS, Feed
from tickarrow.pipeline.source_rows import Rows

SYMBOLS = 100
L1, LAST, BIDASK = 3, 3 + SYMBOLS, 3 + 2 * SYMBOLS  # first reqId of each feed
PADDING = 64
MIX = {"price": 40, "size": 35, "trade": 10, "bidask": 10, "string": 5}  # per cent


def frame(*fields):
    body = "".join(f"{f}\0" for f in fields).encode()
    return struct.pack(">I", len(body)) + body


def frames(kind, n, seed=1):
    """Frames of one kind, or `mix`, over 100 symbols: prices around 150, sizes 1 to 5000."""
    r, out = random.Random(seed), []
    for k in range(n):
        s, p, z = r.randrange(SYMBOLS), 150 + r.randrange(-500, 500) / 100, r.randrange(1, 5000)
        what = r.choices(list(MIX), list(MIX.values()))[0] if kind == "mix" else kind
        time = 1_795_353_372 + k // 500
        if what == "price":
            out.append(frame(1, 6, L1 + s, r.choice([1, 2, 4]), f"{p:.2f}", z, r.choice([0, 1])))
        elif what == "size":
            out.append(frame(2, 6, L1 + s, r.choice([0, 3, 5, 8]), z))
        elif what == "trade":
            exchange, conditions = r.choice(["NYSE", "ISLAND", "ARCA", "FINRA", "BATS"]), r.choice(["", " O X", " F I", "   I"])
            out.append(frame(99, LAST + s, 2, time, f"{p:.2f}", z, 0, exchange, conditions))
        elif what == "bidask":
            out.append(frame(99, BIDASK + s, 3, time, f"{p:.2f}", f"{p + 0.01:.2f}", z, z + 100, 0))
        else:
            out.append(frame(46, 6, L1 + s, 45, time))
    return out


def padded(data):
    return np.frombuffer(data + bytes(PADDING), np.uint8)


def stage(table=None, owned=SYMBOLS):
    """A decode stage with three requests per symbol of the first `owned` ones."""
    _kernel.warm()
    decode = Decode(SYMBOLS, Table(TICKS) if table is None else table)
    for first, feed in ((L1, Feed.L1), (LAST, Feed.TBT_ALL), (BIDASK, Feed.TBT_BIDASK)):
        for s in range(owned):
            decode.subscribe(first + s, s, feed)
    return decode


class Wire:
    """One chunk of mixed messages; 53 are a packet of 1,460 bytes."""

    params = (1, 53, 2048)
    param_names = ("messages",)

    def setup(self, messages):
        self.data = padded(b"".join(frames("mix", messages)))
        self.decode, self.hi = stage(), self.data.size - PADDING
        self.chunk = Chunk(self.data, 0, self.hi, 1, 0)
        self.time_stage(messages)
        self.time_decode_call(messages)
        self.time_split(messages)

    def time_stage(self, messages):
        self.chunk.lo = 0
        self.decode.step(self.chunk)

    def time_decode_call(self, messages):
        wire_step.step(self.decode._address, 0, self.hi, 1, 0, 0)

    def time_split(self, messages):
        self.decode.split(self.data, 0, self.hi)


class SourceRows:
    """Rows of a tick file straight to TICKS."""

    params = (1, 256, 8192)
    param_names = ("rows",)

    def setup(self, rows):
        _kernel.warm()
        r = np.random.default_rng(7)
        kind = (r.random(rows) < 0.3).astype(np.uint8)
        trade, quote = np.where(kind == 1, 1.0, np.nan), np.where(kind == 0, 1.0, np.nan)
        mid = r.integers(1000, 20000, rows) / 100
        self.rows = Rows(
            ts=np.arange(rows), symbol=r.integers(0, SYMBOLS, rows).astype(np.int32), kind=kind, mask=np.where(kind == 0, 15, 0).astype(np.uint8),
            bid=mid * quote, bid_size=100 * quote, ask=(mid + 0.01) * quote, ask_size=200 * quote, price=mid * trade, size=100 * trade,
        )  # fmt: skip
        self.from_rows = FromRows(SYMBOLS, Table(TICKS))
        self.time_from_rows(rows)

    def time_from_rows(self, rows):
        self.from_rows.step(self.rows)
