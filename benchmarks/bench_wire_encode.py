"""Frames of source rows: one call per batch; 1 row is what lock step sends after an acknowledgement."""

import numpy as np

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.jit import _kernel
from tickarrow.jit.wire_encode import L1, encode_rows
from tickarrow.jit.wire_encode_market import CONTROL_SLOTS, EVERY_ROW, POSITION, market_update
from tickarrow.jit.wire_encode_slot import encode_slot
from tickarrow.pipeline.simulator_encoder import Encoder, new_quotes

SYMBOLS = 20


def rows(n, seed=7):
    """Columns of quotes with 30 % trades over 20 symbols, all values given."""
    rng = np.random.default_rng(seed)
    ts = 1_381_240_800_000_000_000 + np.cumsum(rng.integers(0, 10**8, n))
    symbol, kind = rng.integers(0, SYMBOLS, n).astype(np.int32), (rng.random(n) < 0.3).astype(np.uint8)
    mid, nothing = rng.integers(1000, 20000, n), np.full(n, np.nan)
    sizes = [rng.integers(1, 900, n) * 100.0 for _ in range(3)]
    bid, bid_size, ask, ask_size = (np.where(kind == 0, c, nothing) for c in (mid / 100, sizes[0], (mid + 1) / 100, sizes[1]))
    price, size = (np.where(kind == 1, c, nothing) for c in (mid / 100, sizes[2]))
    return ts, symbol, kind, np.where(kind == 0, 15, 0).astype(np.uint8), bid, bid_size, ask, ask_size, price, size


class WireEncode:
    """One L1 request per symbol."""

    params = (1, 16, 1024)
    param_names = ("rows",)

    def setup(self, rows_):
        _kernel.warm()
        self.n, self.columns = rows_, rows(rows_)
        self.encoder = Encoder(new_quotes(SYMBOLS), SimulatorConf(), False, lambda data: None)
        for symbol in range(SYMBOLS):
            self.encoder.add(10 + symbol, symbol, L1, False, 0)
        self.market, self.control = new_quotes(SYMBOLS), np.zeros(CONTROL_SLOTS, np.int64)
        self.time_encode_rows(rows_)
        self.time_market_update(rows_)
        self.time_encode_slot(rows_)

    def time_encode_rows(self, rows_):
        e = self.encoder
        e.control[POSITION] = 0
        encode_rows(e.state, e.first, e.subs, *self.columns, 0, self.n, EVERY_ROW, False, True, False, False, e.odd, e.control, e.out)

    def time_market_update(self, rows_):
        market_update(self.market, *self.columns, 0, self.n, 2**62, self.control)

    def time_encode_slot(self, rows_):
        e = self.encoder
        e.control[POSITION] = 0
        encode_slot(e.state, e.subs, 0, min(self.n, len(e.subs)), 3, 3, 0, True, False, False, e.odd, e.control, e.out)
