"""Bars: the builder tick by tick, and the families' columns of the bars that close; 1 is a tick alone or a lane that closes alone."""

import numpy as np

from tickarrow.jit import _kernel, bars, event, liquidity_bars, season_bars, shape_bars, technical_bars, volatility_bars
from tickarrow.jit._kernel import kernel
from tickarrow.jit.bars import BAR_STATE, bar_step
from tickarrow.jit.event import EVENT

LANES = 256
KERNELS = {
    "liquidity": (liquidity_bars, liquidity_bars.liquidity_bars),
    "season": (season_bars, season_bars.season_bars),
    "shape": (shape_bars, shape_bars.shape_bars),
    "technical": (technical_bars, technical_bars.technical_bars),
    "volatility": (volatility_bars, volatility_bars.volatility_bars),
}


@kernel("BAR_STATE[:], EVENT[:], i8, i8, ?, f8")
def build(state, events, rows, rule, of_mid, threshold):
    """The builder on the first `rows` events; number of bars that are full."""
    n = 0
    for i in range(rows):
        if bar_step(state[events[i].symbol], events[i], rule, of_mid, threshold):
            n += 1
    return n


def events(n, seed=7):
    """(n,) EVENT of 100 symbols, three trades to seven quotes."""
    rng, e = np.random.default_rng(seed), np.zeros(n, EVENT)
    e["symbol"] = rng.integers(0, 100, n)
    e["is_trade"] = rng.random(n) < 0.3
    e["is_quote"] = ~e["is_trade"]
    e["moved"] = e["is_quote"] & (rng.random(n) < 0.5)
    e["mid"] = 100 + rng.integers(-50, 51, n) * 0.01
    e["price"] = np.where(e["is_trade"], e["mid"], np.nan)
    e["quantity"], e["signed"], e["tick_size"], e["r"] = 100.0, 100.0, 0.01, e["moved"]
    return e


class Builder:
    """Ticks into the open bars of 100 symbols."""

    params = ((1, 16, 256), ("time", "volume"))
    param_names = ("rows", "rule")

    def setup(self, rows, rule):
        _kernel.warm()
        self.events, self.state = events(256), np.zeros(100, BAR_STATE)
        self.rule = bars.TIME if rule == "time" else bars.SHARES

    def time_step(self, rows, rule):
        build(self.state, self.events, rows, self.rule, False, 1e18)


class Close:
    """The open bars of some lanes become closed ones."""

    params = (1, 16, 256)
    param_names = ("lanes",)

    def setup(self, lanes):
        _kernel.warm()
        self.state = np.zeros(LANES, BAR_STATE)
        self.state["priced"] = True
        self.arrays = np.zeros((4, LANES), np.int64), np.zeros((5, LANES)), np.zeros((2, LANES), np.int64), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)

    def time_close(self, lanes):
        bars.bars_close(self.state, 0, lanes, 0, 1, *self.arrays)


class Columns:
    """The columns of one family for the bars of some of 256 lanes, rings full."""

    params = ((1, 16, 256), tuple(KERNELS))
    param_names = ("lanes", "family")

    def setup(self, lanes, family):
        _kernel.warm()
        module, self.kernel = KERNELS[family]
        rng = np.random.default_rng(7)
        f, q, out = np.zeros((module.F_ROWS, LANES)), np.zeros((module.Q_ROWS, LANES), np.int64), np.zeros((LANES, len(module.BAR_COLUMNS)))
        base, unit, when, clock = np.full(LANES, 1_000_000), np.full(LANES, 1e-4), np.zeros((2, LANES), np.int64), np.zeros(1, event.CLOCK)[0]
        close = np.zeros(LANES, np.int64)
        for i in range(256):
            path = close + np.cumsum(rng.integers(-100, 101, (5, LANES)), axis=0)
            price, close = np.stack([path[0], path.max(0), path.min(0), path[-1]]), path[-1]
            flow = rng.integers(1, 50, (5, LANES)) * 100.0
            self.args = f, q, price, flow, base, unit, np.full(LANES, i), when, clock
            self.kernel(*self.args, 0, LANES, i, out)
        self.out = out

    def time_columns(self, lanes, family):
        self.kernel(*self.args, 0, lanes, 256, self.out)
