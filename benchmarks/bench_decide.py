"""The decide stages: 100 symbols, 16 configurations, 5 horizons; one row is the tick path."""

import numpy as np

from tickarrow.configs.costs import CostsConf
from tickarrow.configs.ensemble import EnsembleConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.configs.risk import RiskConf
from tickarrow.jit import _kernel
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.decide import Act, Ensemble, forecasts_schema

SYMBOLS, CONFIGURATIONS = 100, 16
HORIZONS = np.array([1, 5, 30, 60, 300], np.int64) * 1_000_000_000
MODELS = CONFIGURATIONS * HORIZONS.size
ROWS = 6400  # before the data repeat


class Market:
    """Blocks of quotes, `rows` symbols in turn each, 2.5 ms apart: four a second and symbol. Every quote is due."""

    def __init__(self, rows: int, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        self.rows, self.next = rows, 0
        self.blocks = ROWS // rows
        n = rows * self.blocks
        ticks, predictions = Table(schemas.TICKS, capacity=n), Table(schemas.predictions_schema(MODELS, ""), capacity=n)
        level = np.tile(rng.integers(3000, 9000, SYMBOLS), -(-n // SYMBOLS))[:n] + np.cumsum(rng.integers(-1, 2, n))
        ticks.reserve(n), predictions.reserve(n)
        for table in (ticks, predictions):
            table.symbol[:n] = np.arange(n) % SYMBOLS
        ticks.kind[:n] = schemas.Kind.QUOTE
        ticks.bid[:n], ticks.ask[:n] = level / 100, (level + 2) / 100
        predictions.y[:n] = rng.normal(size=(n, MODELS)) + rng.normal(size=(n, 1))
        self.ticks, self.predictions = ticks.commit(n), predictions.commit(n)
        self.seq = 0

    def block(self):
        """The next block as (predictions, ticks), dated on from the last."""
        lo = self.next * self.rows
        hi = lo + self.rows
        self.next = (self.next + 1) % self.blocks
        for table in (self.ticks, self.predictions):
            table.seq[lo:hi] = range(self.seq, self.seq + self.rows)
            table.ts[lo:hi] = table.seq[lo:hi].astype(np.int64) * 2_500_000
        self.seq += self.rows
        return Batch(self.predictions.segment, lo, hi), Batch(self.ticks.segment, lo, hi)


class _Decide:
    params = (1, 16, 100)
    param_names = ("rows",)
    timeout = 120
    warmup = 40_000  # rows before timing: every horizon has outcomes, positions are open
    conf = EnsembleConf()

    def setup(self, rows):
        _kernel.warm()
        prior = np.random.default_rng(3).uniform(0.02, 0.15, (CONFIGURATIONS, HORIZONS.size))
        tables = [Table(s) for s in (forecasts_schema(HORIZONS.size), schemas.DECISIONS, schemas.ORDERS, schemas.FILLS)]
        costs = CostsConf(per_share=0.005, minimum=1.0, max_share=0.01)
        self.ensemble = Ensemble(self.conf, SYMBOLS, HORIZONS, prior, tables[0])
        self.act = Act(RiskConf(), costs, OrdersConf(), SYMBOLS, HORIZONS, np.full(SYMBOLS, 0.01), *tables[1:], True)
        self.market = Market(rows)
        for _ in range(self.warmup // rows):
            predictions, ticks = self.market.block()
            self.act.step(self.ensemble.step(predictions, ticks), ticks)
        predictions, self.ticks = self.market.block()
        self.forecasts = self.ensemble.step(predictions, self.ticks)


class EnsembleStep(_Decide):
    """Predictions -> forecasts; each call is a new block of market time, so outcomes mature. A symbol has a row each 250 ms, so
    every row refreshes its weights.
    Dating the block is in the figure (`Blocks` times it alone)."""

    def time_step(self, rows):
        self.ensemble.step(*self.market.block())


class EnsembleBetween(EnsembleStep):
    """The same between two refreshes: no weights are solved."""

    conf = EnsembleConf(refresh_ns=10**18)


class EnsembleAudit(EnsembleStep):
    """The same where every refresh solves all eigenpairs, as if none could be tracked."""

    conf = EnsembleConf(audit_ns=0)


class ActStep(_Decide):
    """Forecasts -> decisions with simulated fills; the same block again and again."""

    def time_step(self, rows):
        self.act.step(self.forecasts, self.ticks)


class Blocks(_Decide):
    """Only what `EnsembleStep` does besides the stage."""

    warmup = 0

    def time_block(self, rows):
        self.market.block()
