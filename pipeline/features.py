"""Stage TICKS -> FEATURES: one compiled loop over the ticks updates all families and writes a row for each tick that is due."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.features import FeaturesConf
from tickarrow.jit import _kernel, bars, event
from tickarrow.jit.feature import Family
from tickarrow.pipeline import schemas
from tickarrow.pipeline.batch import Batch, Segment, Table
from tickarrow.pipeline.block import Block
from tickarrow.pipeline.calendar import sessions
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.features_driver import BARS, DEPTH, FIXED, OUT, PASSES, TICKS, Part, driver, entries, needs, put_kernels
from tickarrow.pipeline.features_registry import RULES, Chosen, choose, family, feature_columns, feature_digest, register
from tickarrow.pipeline.schemas import ControlKind, features_schema
from tickarrow.pipeline.stage import Snapshot, copied
from tickarrow.pipeline.universe import Universe

if TYPE_CHECKING:
    from tickarrow.pipeline.decide import Control

__all__ = ["Family", "Features", "family", "feature_columns", "feature_digest", "features_table", "register"]

DAY = 86_400_000_000_000
AHEAD = 30 * DAY  # sessions are looked up this far ahead
BEGIN_ANEW = 3  # operation of a BOOK_CHANGE
NEVER, FOREVER = -(2**62), 2**62
TICK_COLUMNS = tuple(name for name, _ in TICKS)
OUT_COLUMNS = ("seq", "ts", "symbol", "x")
DEPTH_COLUMNS = tuple(name.removeprefix("d_") for name, _ in DEPTH)
CHANGING = ("state", "clock", "bar", "bar_price", "bar_flow", "when", "bar_n", "base")  # and the lanes of families: what a snapshot holds


def features_table(conf: FeaturesConf, **options: Any) -> Table:
    """A FEATURES table with the columns of the configuration; options of `Table`."""
    return Table(features_schema(feature_columns(conf), feature_digest(conf)), **options)


def parts_of(chosen: list[Chosen]) -> list[Part]:
    """The families as the driver takes them."""
    ends = [0, *accumulate(len(c.tau_s) for c in chosen)]
    return [
        Part(c.family, slice(ends[i], ends[i + 1]), len(c.columns) - len(c.family.bar_columns) - len(c.family.pass_columns)) for i, c in enumerate(chosen)
    ]


def driver_of(conf: FeaturesConf) -> ModuleType:
    """The compiled loop of a configuration; new ones are compiled by the next `warm`, which a command calls with progress."""
    return driver(parts_of(choose(conf)))


class Features:
    """TICKS (and DEPTH) -> FEATURES, one row for each tick that is due.

    Parameters
    ----------
    conf : families, windows, columns, bars, cross-section, throttle
    universe : symbols and tick sizes
    table : FEATURES, made with the same configuration
    depth : DEPTH, whose new rows are taken at each step; None = no market depth
    chosen : families by other kernels than their own; None = those of `conf`
    """

    def __init__(self, conf: FeaturesConf, universe: Universe, table: Table, depth: Table | None = None, chosen: list[Chosen] | None = None) -> None:
        chosen = chosen or choose(conf)
        self.columns, self.digest = feature_columns(conf), feature_digest(conf)
        width = table.segment.columns["x"].shape[1]
        if width != len(self.columns):
            raise ConfigError(f"features: the table has {width} columns, the configuration {len(self.columns)}. Make it with features_table(conf).")
        self.conf, self.chosen, self._out = conf, chosen, table
        self._parts = parts_of(chosen)
        self._module = driver(self._parts)
        self.kernel = self._module.features_update
        _kernel.warm()
        self._arrays = self._allocate(universe, chosen)
        self._at = {name: at for at, (name, _) in enumerate(entries(self._parts))}
        self._block = Block(len(self._at))
        for name, value in self._arrays.items():
            if name in self._at:
                self._block.put(self._at[name], value)
        put_kernels(self._block, self._parts)
        self.throttle_ns = conf.throttle_ns
        self._until = NEVER  # the sessions at hand end here, ns
        self._tick_place, self._row_place = self._at[TICKS[0][0]], self._at[OUT[0][0]]  # of the first column
        self._ts: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._depth = _DepthRows(depth) if needs(self._parts)[0] else None

    def _allocate(self, universe: Universe, chosen: list[Chosen]) -> dict[str, Any]:
        """Everything the driver is given beside the columns of a batch, by the name of its argument."""
        n, conf = len(universe), self.conf
        tick_size = np.array([i.tick_size for i in universe], np.float64)
        if not (tick_size > 0.0).all():
            raise ConfigError(f"features: tick sizes must be positive and are {tick_size.tolist()}.")
        tau_s = sorted({t for c in chosen for t in c.tau_s})
        names = [column for c in chosen for column in c.names]
        offsets = [0, *accumulate(len(c.columns) for c in chosen)]
        at = {(c.family.name, name): offsets[i] + k for i, c in enumerate(chosen) for k, name in enumerate(c.names)}
        out: dict[str, Any] = {
            "state": np.zeros(n, self._module.STATE),
            "e": np.zeros(1, event.EVENT),
            "clock": np.zeros(1, event.CLOCK),
            "sessions": np.zeros((0, 4), np.int64),
            "rate": np.array([-1e-9 / t for t in tau_s]),
            "window": np.array([tau_s.index(t) for c in chosen for t in c.tau_s], np.int64),
            "tick_size": tick_size,
            "pick": (pick := np.array([at[c.family.name, name] for c in chosen for name in c.wanted], np.int64)),
            "whole": int(np.array_equal(pick, np.arange(len(names)))),  # every column, in the order of the families
            "throttle_ns": conf.throttle_ns,
            "v": np.full(len(names), np.nan),
            "change": np.zeros(1, event.BOOK_CHANGE),
            **self._bars(n, tick_size),
            **self._cross(universe),
        }
        out["clock"]["session"] = -1
        for i, c in enumerate(chosen):
            f = c.family
            out[f"f{i}"], out[f"q{i}"] = np.zeros((f.f_rows, n)), np.zeros((f.q_rows, n), np.int64)
            out[f"bars{i}"] = np.full((n, len(f.bar_columns)), np.nan)
            out[f"passes{i}"] = np.full((n, len(f.pass_columns)), np.nan)
        return out

    def _bars(self, n: int, tick_size: npt.NDArray[np.float64]) -> dict[str, Any]:
        conf = self.conf.bars
        rule = RULES.index(conf.rule)
        return {
            "bar": np.zeros(n, bars.BAR_STATE), "rule": rule, "every_ns": round(conf.every * 1e9) if rule == bars.TIME else 1,
            "threshold": np.array([float(conf.every)]), "of_mid": conf.price == "mid", "bar_price": np.zeros((4, n), np.int64), "bar_flow": np.zeros((5, n)),
            "when": np.zeros((2, n), np.int64), "bar_n": np.full(n, -1, np.int64), "base": np.zeros(n, np.int64), "unit": tick_size / bars.UNITS,
        }  # fmt: skip

    def _cross(self, universe: Universe) -> dict[str, Any]:
        conf = self.conf.cross
        for symbol in conf.sectors:
            universe.row(symbol)
        of = [conf.sectors.get(symbol, "") for symbol in universe.symbols]
        codes = {sector: code for code, sector in enumerate(dict.fromkeys(of))}
        index = universe.row(conf.index) if conf.index else -1
        return {"pass_ns": round(conf.every_s * 1e9), "sector": np.array([codes[s] for s in of], np.int32), "index": index}

    def prepare(self, first_ns: int, last_ns: int) -> None:
        """Look up the exchange's sessions for a stretch of time: a live run does it before its first tick, because it takes a second."""
        clock = self._arrays["clock"][0]
        found = sessions(self.conf.calendar, int(clock.midnight) if clock.session >= 0 else first_ns, last_ns + AHEAD)
        if clock.session >= 0:
            clock.session = np.searchsorted(found[:, event.MIDNIGHT], clock.midnight)
        self._arrays["sessions"] = np.ascontiguousarray(found)
        self._block.put(self._at["sessions"], self._arrays["sessions"])
        self._until = max(int(found[-1, event.MIDNIGHT]), last_ns + DAY)

    def step(self, ticks: Batch) -> Batch:
        """Update all families with the batch; ticks that are due get a row of FEATURES."""
        table, lo, hi = self._out, ticks.lo, ticks.hi
        row = table.reserve(hi - lo)  # not yet visible to readers
        if self._block.bind(self._tick_place, ticks.segment, TICK_COLUMNS):
            self._ts = ticks.segment.columns["ts"]
        self._block.bind(self._row_place, table.segment, OUT_COLUMNS)
        if hi > lo and self._ts[hi - 1] >= self._until:
            self.prepare(int(self._ts[lo]), int(self._ts[hi - 1]))
        if self._depth is None:
            return table.commit(self.kernel(self._block.address, lo, hi, row, 0, 0))
        n = 0
        for segment, d_lo, d_hi, middle in self._depth.windows(ticks.segment.columns["seq"], lo, hi):
            if segment is not None:
                self._block.bind(self._at[DEPTH[0][0]], segment, DEPTH_COLUMNS)
            n += self.kernel(self._block.address, lo, middle, row + n, d_lo, d_hi)
            lo = middle
        return table.commit(n)

    def apply(self, event_: Control) -> None:
        """A control event between chunks: another throttle, a symbol that is left out or comes back, a depth book that begins anew."""
        if event_.kind == ControlKind.THROTTLE:
            self._set_throttle(int(event_.value))
        elif event_.kind == ControlKind.FEWER_SYMBOLS:
            due = self._arrays["state"][event_.symbol]["due"]
            due["due"], due["due_ts"] = bool(event_.value), FOREVER if event_.value else 0
        if event_.kind != ControlKind.DEPTH_RESET or self._depth is None:
            return
        a = self._arrays
        change = a["change"][0]
        change.symbol, change.operation = event_.symbol, BEGIN_ANEW
        for i, p in enumerate(self._parts):
            if p.family.change:
                p.family.change(a["state"][event_.symbol][f"s{i}"], change, a["rate"], a["window"][p.windows])

    def follow_depth(self, other: Features) -> None:
        """Take the rows of DEPTH that another stage has not taken."""
        if self._depth is not None and other._depth is not None:
            self._depth = other._depth
            self._depth.unbind()

    def flush(self) -> Batch:
        """Nothing is held back."""
        return self._out.empty()

    def _set_throttle(self, ns: int) -> None:
        self.throttle_ns = ns
        self._block.put(self._at["throttle_ns"], ns)

    @property
    def left_out(self) -> npt.NDArray[np.bool_]:
        """(n_symbols,) whether nothing is decided for a symbol."""
        due = self._arrays["state"]["due"]
        return np.asarray(due["due"] & (due["due_ts"] == FOREVER))

    def lines(self) -> Iterator[npt.NDArray[Any]]:
        """The arrays that a tick reads or writes."""
        return iter(self._kept().values())

    def _kept(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that change from tick to tick."""
        constant = {name for name, _ in (*FIXED, *BARS, *PASSES)} - set(CHANGING) | {"change"}
        return {name: array for name, array in self._arrays.items() if name in self._at and name not in constant}

    def held(self) -> Snapshot:
        """State of the clock, the trigger, the bars and each family; not copied."""
        return {**self._kept(), "throttle_ns": np.array([self.throttle_ns])}

    def snapshot(self) -> Snapshot:
        return copied(self.held())

    def restore(self, saved: Snapshot) -> None:
        """Back to a snapshot."""
        for name, array in self._kept().items():
            array[...] = saved[name]  # copy into the standing array: a loaded one has lost its record type
        self._set_throttle(int(saved["throttle_ns"][0]))
        self._until = NEVER


class _DepthRows:
    """Rows of DEPTH that the driver has not seen, as windows of one segment each."""

    def __init__(self, table: Table | None) -> None:
        self.table = Table(schemas.DEPTH, lazy=True) if table is None else table
        self._segment: Segment = self.table.segment
        self._row = 0
        self._bound: Segment | None = None

    def windows(self, seq: npt.NDArray[np.uint64], lo: int, hi: int) -> Iterator[tuple[Segment | None, int, int, int]]:
        """Segment if another one than before, its rows [d_lo, d_hi), and the end of the window of ticks that goes with them."""
        table = self.table
        if table.segment is not self._segment:
            old, row = self._segment, self._row
            self._segment, self._row = table.segment, 0
            if old.rows > row:
                yield self._other(old), row, old.rows, lo + int(np.searchsorted(seq[lo:hi], table.segment.columns["seq"][0]))
        row, self._row = self._row, table.size
        yield self._other(self._segment), row, self._row, hi

    def unbind(self) -> None:
        """Another control block has no segment yet."""
        self._bound = None

    def _other(self, segment: Segment) -> Segment | None:
        if segment is self._bound:
            return None
        self._bound = segment
        return segment
