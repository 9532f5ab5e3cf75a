"""The features stage on a seeded stream of 100 symbols: the families of `core`, all families, each alone."""

from time import perf_counter_ns

import numpy as np

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.jit import _kernel
from tickarrow.pipeline import features_registry, schemas
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.features import Features, features_table
from tickarrow.pipeline.universe import Universe

SYMBOLS = 100
TICKS = 40_960


def ticks(n=TICKS, seed=7):
    """TICKS of a random walk: 100 symbols in turn by chance, 30 % trades, 4 ticks a second and symbol."""
    rng = np.random.default_rng(seed)
    table = Table(schemas.TICKS)
    c = table.segment.columns
    mid = np.full(SYMBOLS, 10_000)
    last = np.tile([99.99, 300.0, 100.01, 200.0], (SYMBOLS, 1))
    c["seq"][:n] = np.arange(n)
    c["ts"][:n] = 1_700_000_000_000_000_000 + np.cumsum(rng.exponential(2.5e6, n)).astype(np.int64)
    c["symbol"][:n] = rng.integers(0, SYMBOLS, n)
    c["kind"][:n] = rng.random(n) < 0.3
    c["price"][:n] = c["size"][:n] = np.nan
    for i in range(n):
        s = c["symbol"][i]
        if c["kind"][i]:
            c["price"][i] = last[s, rng.choice([0, 2])]
            c["size"][i] = rng.integers(1, 9) * 50
        else:
            mid[s] += rng.integers(-1, 2)
            half = rng.integers(1, 3)
            last[s] = (mid[s] - half) / 100, rng.integers(1, 20) * 100, (mid[s] + half) / 100, rng.integers(1, 20) * 100
        c["bid"][i], c["bid_size"][i], c["ask"][i], c["ask_size"][i] = last[s]
    return table.commit(n)


class _Stream:
    """The stream in batches, again and again; its time goes on, so that no tick comes before the last one."""

    def begin(self, rows):
        _kernel.warm()
        whole = ticks()
        self.ts = whole.view("ts")
        self.span = self.ts[-1] - self.ts[0]
        self.batches = [Batch(whole.segment, lo, lo + rows) for lo in range(0, TICKS, rows)]
        self.next = 0
        return whole

    def batch(self):
        batch = self.batches[self.next]
        self.next += 1
        if self.next == len(self.batches):  # 0.2 ns a tick
            self.next = 0
            self.ts += self.span
        return batch


class FeaturesStep(_Stream):
    """`Features.step` of one batch; 1 row is the tick path. Throttled as configured, or every quote change a row."""

    params = ((1, 16, 256, 4096), (250_000_000, 0))
    param_names = ("rows", "throttle_ns")
    families = ("quote", "flow", "volatility")

    def setup(self, rows, throttle_ns):
        conf = FeaturesConf([FamilyConf(name) for name in self.families], throttle_ns)
        whole = self.begin(rows)
        self.stage = Features(conf, Universe.of([f"S{i}" for i in range(SYMBOLS)]), features_table(conf))
        self.stage.step(whole)
        self.ts += self.span
        self.stage.step(self.batch())

    def time_step(self, rows, throttle_ns):
        self.stage.step(self.batch())


class Family(FeaturesStep):
    """The same with one family alone, every quote change a row."""

    params = ((1, 16, 256), tuple(f.name for f in features_registry.BUILT_IN))
    param_names = ("rows", "family")

    def setup(self, rows, family):
        self.families = (family,)
        super().setup(rows, 0)


class All(FeaturesStep):
    """All built-in families; no market depth."""

    families = tuple(f.name for f in features_registry.BUILT_IN)


def main():
    """Print ns per tick of each case, the best of some passes over the stream."""
    for bench in (FeaturesStep(), All()):
        measure(bench)


def measure(bench):
    for throttle_ns in bench.params[1]:
        for rows in bench.params[0]:
            bench.setup(rows, throttle_ns)
            calls = min(TICKS // rows, 4096)
            best = np.inf
            for _ in range(7):
                started = perf_counter_ns()
                for _ in range(calls):
                    bench.time_step(rows, throttle_ns)
                best = min(best, (perf_counter_ns() - started) / (calls * rows))
            print(f"{type(bench).__name__} rows={rows} throttle_ns={throttle_ns} {best:.0f} ns per tick")


if __name__ == "__main__":
    main()
