"""A pipeline as a live loop feeds it: real frames of a generated market, row by row; shared by the tests of the runtime."""

from __future__ import annotations

import numpy as np
from sets_common import noise_set

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.pipeline.batch import PAD, Chunk
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.schemas import Feed
from tickarrow.pipeline.simulator_encoder import Encoder, new_quotes
from tickarrow.pipeline.source import open_source

COLUMNS = ("ts", "symbol", "kind", "mask", "bid", "bid_size", "ask", "ask_size", "price", "size")
FIRST = 100  # reqId of the first symbol


class Taken(bytearray):
    def append(self, data):
        self.extend(data)


class Live:
    """A pipeline over `rows` rows of a generated market, one chunk a row, as frames of the wire.

    Parameters
    ----------
    path : of the model set that is made
    rows : of the market
    overrides : of the configuration
    """

    def __init__(self, path, rows, *overrides):
        self.conf = compose("run", ["universe.symbols=[AAA,BBB,CCC,DDD]", f"source.max_rows={rows}", *overrides])
        self.source = open_source(self.conf.source, self.conf.universe)
        self.model_set = noise_set(path, self.conf, 5)
        n, taken = len(self.source.universe), Taken()
        encoder = Encoder(new_quotes(n), SimulatorConf(), False, taken.append, day=True)
        for i in range(n):
            encoder.add(FIRST + i, i, 0, False, 0)
        self.frames, edges, self.ts = taken, [0], []
        for block in self.source.blocks():
            columns = tuple(getattr(block, c) for c in COLUMNS)
            for k in range(len(block.ts)):
                encoder.rows(columns, k, k + 1, 0)
                edges.append(len(taken))
                self.ts.append(int(block.ts[k]))
        self.data = np.concatenate([np.frombuffer(bytes(taken), np.uint8), np.zeros(PAD, np.uint8)])
        self.edges = edges

    def pipeline(self, **options):
        """A new one, subscribed; options of `Pipeline`."""
        out = Pipeline(self.conf, self.source.universe, self.model_set, open_engine(self.model_set, self.conf.models), **options)
        for i in range(len(self.source.universe)):
            out.decode.subscribe(FIRST + i, i, Feed.L1)
        out.features.prepare(self.source.start_ns, self.source.end_ns)
        return out

    def chunk(self, k):
        """Row `k` as a chunk of bytes."""
        return Chunk(self.data, self.edges[k], self.edges[k + 1], self.ts[k], k)
