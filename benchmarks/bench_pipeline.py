"""From a row of TICKS to its decision: 41 features, 80 models x 100 trees x depth 6, ensemble, act. 1 row is the tick path."""

import numpy as np

from benchmarks import bench_trees


def pipeline(n_symbols=100):
    """A pipeline of the default configuration over invented symbols that decides on every quote change."""
    from tickarrow.pipeline.features import feature_columns, feature_digest
    from tickarrow.pipeline.pipeline import Pipeline
    from tickarrow.pipeline.prepare import compose, warm_kernels
    from tickarrow.pipeline.universe import Universe

    conf = compose("backtest", ["features.throttle_ns=0"])
    warm_kernels()
    model_set = bench_trees.bank(columns=feature_columns(conf.features), digest=feature_digest(conf.features))
    universe = Universe.of([f"S{i:03d}" for i in range(n_symbols)])
    return Pipeline(conf, universe, model_set, bench_trees.engine(model_set, "portable"))


def quotes(n, n_symbols):
    """A block of `n` quotes of different symbols, one tick wide; rows as a source gives them."""
    from tickarrow.pipeline.source import Rows

    rng = np.random.default_rng(5)
    bid = rng.integers(2_000, 20_000, n) / 100
    nan = np.full(n, np.nan)
    return Rows(
        ts=np.full(n, 1_767_623_400_000_000_000), symbol=(np.arange(n) % n_symbols).astype(np.int32), kind=np.zeros(n, np.uint8), mask=np.full(n, 15, np.uint8),
        bid=bid, bid_size=rng.integers(1, 50, n) * 100.0, ask=bid + 0.01, ask_size=rng.integers(1, 50, n) * 100.0, price=nan, size=nan,
    )  # fmt: skip


class TickToDecision:
    """One call moves every quote a little and decides on each; market time moves 10 ms a call."""

    params = (1, 16, 100)
    param_names = ("rows",)
    timeout = 900

    def setup(self, rows):
        self.pipeline = pipeline()
        self.block = quotes(rows, 100)
        for _ in range(300):
            self.time_tick_to_decision(rows)
        if self.pipeline.tables.decisions.rows != 300 * rows:
            raise RuntimeError(f"{self.pipeline.tables.decisions.rows} decisions of {300 * rows} quotes")

    def time_tick_to_decision(self, rows):
        block = self.block
        block.ts += 10_000_000
        block.bid_size += 100.0
        self.pipeline.push(block)
