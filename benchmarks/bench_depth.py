"""Depth: the decode stage on chunks of changes of depth, books and rows included, and the feature family; 1 change is the tick path."""

import random
from time import perf_counter_ns

import numpy as np

from benchmarks import bench_wire
from tickarrow.jit import _kernel, depth_features
from tickarrow.jit._kernel import kernel
from tickarrow.jit.depth_features import DEPTH_FEATURES_STATE, depth_change, depth_emit
from tickarrow.jit.event import BOOK_CHANGE, EVENT
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


@kernel("DEPTH_FEATURES_STATE[:], BOOK_CHANGE[:], EVENT[:], f8[:], i8[:], i8, i8, i8, out f8[:]")
def walk(state, changes, e, rate, w, lo, hi, emits, v):
    """The family on changes [lo, hi), with its columns after each change if `emits`."""
    for i in range(lo, hi):
        c = changes[i]
        s = state[c.symbol]
        depth_change(s, c, rate, w)
        if emits != 0:
            e[0].ts = c.ts
            depth_emit(s, e[0], w, v, 0)


def ladders(n, seed=1):
    """(n,) BOOK_CHANGE of full books of ten levels: sizes change; one in four is a deletion that the next insertion makes good."""
    r, out = random.Random(seed), np.zeros(n, BOOK_CHANGE)
    ts, refill = 1_700_000_000_000_000_000, None
    for k in range(n):
        ts += r.randrange(100_000_000)
        i, side, position, operation = r.randrange(SYMBOLS), r.randrange(2), r.randrange(LEVELS), 1
        if k < SYMBOLS * 2 * LEVELS:
            i, side, position, operation = k // (2 * LEVELS), k // LEVELS % 2, k % LEVELS, 0
        elif refill is not None:
            (i, side, position), operation, refill = refill, 0, None
        elif k < n - 1 and r.random() < 0.25:
            operation, refill = 2, (i, side, position)
        price = (15_000 + (1 + position if side else -position)) / 100
        out[k] = (ts, i, 0, position, operation, side, price, r.randrange(1, 50) * 100, 0.01)
    return out


class DepthFeatures:
    """Changes of the book through the family alone, and with its 14 columns after each change."""

    params = ((1, 16, 256), (0, 1))
    param_names = ("changes", "emits")

    def setup(self, changes, emits):
        _kernel.warm()
        self.changes, self.e, self.v = ladders(SYMBOLS * 2 * LEVELS + 8_192), np.zeros(1, EVENT), np.zeros(14)
        self.e["tick_size"] = 0.01
        self.state = np.zeros(SYMBOLS, DEPTH_FEATURES_STATE)
        self.rate, self.w = np.array([-1e-9 / t for t in depth_features.TAU_S]), np.arange(2)
        self.built = SYMBOLS * 2 * LEVELS
        self.span = self.changes["ts"][-1] - self.changes["ts"][self.built]
        walk(self.state, self.changes, self.e, self.rate, self.w, 0, self.built, 1, self.v)
        self.next = self.built

    def time_walk(self, changes, emits):
        if self.next == self.changes.size:
            self.next = self.built  # time goes on, so that no change comes before the last one
            self.changes["ts"] += self.span
        walk(self.state, self.changes, self.e, self.rate, self.w, self.next, self.next + changes, emits, self.v)
        self.next += changes


def main():
    """Print ns per change of each case, the best of some passes."""
    for emits in DepthFeatures.params[1]:
        for changes in DepthFeatures.params[0]:
            bench, best, calls = DepthFeatures(), np.inf, 8_000 // changes
            bench.setup(changes, emits)
            for _ in range(9):
                started = perf_counter_ns()
                for _ in range(calls):
                    bench.time_walk(changes, emits)
                best = min(best, (perf_counter_ns() - started) / (calls * changes))
            print(f"depth features changes={changes} emits={emits} {best:.0f} ns per change")


if __name__ == "__main__":
    main()
