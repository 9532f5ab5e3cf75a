"""Depth: the decode stage on chunks of changes of depth, books and rows included; 1 change is the tick path."""

import random

from benchmarks import bench_wire
from tickarrow.pipeline.batch import Chunk, Table
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.schemas import TICKS, Feed

SYMBOLS, LEVELS = 3, 10


def frames(n, seed=1):
    """Changes of depth (message 13) of three symbols: books of ten levels a side, then updates, and inserts with deletes."""
    r, out = random.Random(seed), []
    held = {}
    while len(out) < n:
        i, side = r.randrange(SYMBOLS), r.randrange(2)
        levels = held.get((i, side), 0)
        operation = 0 if levels < LEVELS else r.choice([1, 1, 1, 2])
        position = r.randrange(levels + (operation == 0))
        held[i, side] = levels + (operation == 0) - (operation == 2)
        out.append(bench_wire.frame(13, 1, i, position, "ARCA", operation, side, f"{150 + r.randrange(100) / 100:.2f}", r.randrange(1, 5000), 1))
    return out


class Depth:
    """One chunk of changes."""

    params = (1, 16, 256)
    param_names = ("changes",)

    def setup(self, changes):
        bench_wire.stage()  # compile here
        data = bench_wire.padded(b"".join(frames(1_000)))
        self.decode = Decode(SYMBOLS, Table(TICKS))
        for i in range(SYMBOLS):
            self.decode.subscribe(i, i, Feed.DEPTH)
        self.decode.step(Chunk(data, 0, data.size - bench_wire.PADDING, 1, 0))  # full books
        self.data = bench_wire.padded(b"".join(f for f in frames(8_000, 2) if f.split(b"\0")[-6] == b"1")[: 1 << 20])
        ends, pos = [], 0
        while len(ends) < changes:
            pos += 4 + int.from_bytes(self.data[pos : pos + 4].tobytes(), "big")
            ends.append(pos)
        self.chunk = Chunk(self.data, 0, pos, 1, 1)
        self.time_stage(changes)

    def time_stage(self, changes):
        self.chunk.lo = 0
        self.decode.step(self.chunk)
