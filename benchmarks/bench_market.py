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
    """Rows a second of CPU over the first minutes of a session of 100 symbols, at two loads: the quiet one is a market of 2013, the busy
    one has thirty times its arrivals."""

    params = ("quiet", "busy")
    param_names = ("load",)
    unit = "rows/s"

    def setup(self, load):
        _kernel.warm()
        self.universe = Universe.of([f"S{i}" for i in range(100)], 0.01, CLASSES)
        self.times, self.seconds = (30, 30) if load == "busy" else (1, 300)
        self.track_rows_per_second(load)

    def track_rows_per_second(self, load):
        market, rows = Market(1, self.universe, 0, day_ns=self.seconds * SECOND), 0
        market.parameters["rate"] *= self.times
        start = process_time()
        while not market.done:
            rows += market.step()
        return rows / (process_time() - start)
