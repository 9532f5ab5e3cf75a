"""Generated market: one kernel call is a block of market time; rows/s is what a session costs."""

from time import process_time

from tickarrow.jit import _kernel
from tickarrow.pipeline.market import Market
from tickarrow.pipeline.universe import Universe

CLASSES = ["etf", "small", "large", "small"]
SECOND = 10**9


class Block:
    """Five seconds of market time from the open, all symbols merged."""

    params = (1, 20, 100)
    param_names = ("symbols",)

    def setup(self, symbols):
        _kernel.warm()
        self.market = Market(1, Universe.of([f"S{i}" for i in range(symbols)], 0.01, CLASSES), 0)
        self.market.step()
        self.saved = self.market.time, self.market.hub_state.copy(), self.market.state.copy()
        self.rows = self.time_block(symbols)

    def time_block(self, symbols):
        m = self.market
        m.time = self.saved[0]
        m.hub_state[...], m.state[...] = self.saved[1:]
        return m.step()


class Rows:
    """Rows a second of CPU over the first minutes of a session."""

    params = (1, 20)
    param_names = ("symbols",)
    unit = "rows/s"

    def setup(self, symbols):
        _kernel.warm()
        self.universe = Universe.of([f"S{i}" for i in range(symbols)], 0.01, CLASSES)
        self.track_rows_per_second(symbols)

    def track_rows_per_second(self, symbols):
        market, rows = Market(1, self.universe, 0), 0
        start = process_time()
        while market.time < 120 * SECOND:
            rows += market.step()
        return rows / (process_time() - start)
