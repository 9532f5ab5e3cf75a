"""Stage TICKS -> FEATURES: the trigger says which ticks are due, each feature family writes its columns of their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.features import FeaturesConf
from tickarrow.jit import trigger
from tickarrow.pipeline.batch import Batch, Columns, Table
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.features_registry import Family, Running, choose, family, feature_columns, feature_digest, register
from tickarrow.pipeline.schemas import features_schema
from tickarrow.pipeline.stage import Snapshot

__all__ = ["Family", "Features", "family", "feature_columns", "feature_digest", "features_table", "register"]

TRIGGER_INPUTS = ("seq", "ts", "symbol", "kind", "bid", "bid_size", "ask", "ask_size")


def features_table(conf: FeaturesConf, **options: Any) -> Table:
    """A FEATURES table with the columns of the configuration; options of `Table`."""
    return Table(features_schema(feature_columns(conf), feature_digest(conf)), **options)


class Features:
    """TICKS -> FEATURES, one row for each tick that is due.

    Parameters
    ----------
    conf : families, windows, columns, throttle
    n_symbols : rows of the universe
    tick_size : (n_symbols,) float64, currency
    table : FEATURES, made with the same configuration
    """

    def __init__(self, conf: FeaturesConf, n_symbols: int, tick_size: npt.NDArray[np.float64], table: Table) -> None:
        tick = np.ascontiguousarray(tick_size, np.float64)
        if tick.shape != (n_symbols,) or not (tick > 0.0).all():
            raise ConfigError(f"features: tick_size must be {n_symbols} positive numbers, one a symbol, and is {tick.tolist()}.")
        self.families: list[Running] = []
        offset = 0
        for c in choose(conf):
            self.families.append(Running(c, offset, n_symbols, tick))
            offset += len(c.wanted)
        width = table.segment.columns["x"].shape[1]
        if width != offset:
            raise ConfigError(f"features: the table has {width} columns, the configuration {offset}. Make it with features_table(conf).")
        self.columns, self.digest = feature_columns(conf), feature_digest(conf)
        self.due = np.zeros(n_symbols, trigger.DUE_STATE)
        self.throttle_ns = conf.throttle_ns
        self._out = table
        self._inputs = Columns(*TRIGGER_INPUTS)

    def step(self, ticks: Batch) -> Batch:
        """Update all families with the batch; ticks that are due get a row of FEATURES."""
        table, lo, hi = self._out, ticks.lo, ticks.hi
        row = table.reserve(hi - lo)  # not yet visible to readers
        inputs, out = self._inputs.of(ticks.segment), table.segment.columns
        n = trigger.due_update(self.due, *inputs, lo, hi, self.throttle_ns, row, out["seq"], out["ts"], out["symbol"])
        first = int(inputs[0][lo]) - lo if hi > lo else 0
        for f in self.families:
            f.update(ticks, first, table, row, row + n)
        return table.commit(n)

    def flush(self) -> Batch:
        """Nothing is held back."""
        return self._out.empty()

    def snapshot(self) -> Snapshot:
        """State of the trigger and of each family."""
        return {"due": self.due.copy()} | {f"{i}.{f.name}": f.state.copy() for i, f in enumerate(self.families)}

    def restore(self, saved: Snapshot) -> None:
        """Back to a snapshot."""
        self.due[...] = saved["due"]  # copy into the standing array: a loaded one has lost its record type
        for i, f in enumerate(self.families):
            f.state[...] = saved[f"{i}.{f.name}"]
