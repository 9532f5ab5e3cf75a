"""Feature families: what each one is, how a configuration names its columns, and the digest a model set must match.

A family is a kernel, its state record, and column names that follow from its windows. The built-in ones are registered here; a user
registers his own with a kernel in his own file:

    register(Family("mine", 1, mine_update, MINE_STATE, ("ts", "symbol", "kind", "bid"), (30.0,), lambda tau_s: ["mine_30s"]))

The kernel takes `(state, rate, where, tick_size, *inputs, lo, hi, first, row_seq, row_lo, row_hi, x)`, see `jit/quote.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.jit import flow, quote, volatility
from tickarrow.jit.moments import MAX_TAU
from tickarrow.pipeline.batch import Batch, Columns, Table
from tickarrow.pipeline.errors import ConfigError


@dataclass(frozen=True)
class Family:
    """One feature family."""

    name: str
    version: int  # raised when a formula changes: part of the digest
    kernel: Callable[..., None]
    state: np.dtype[Any]  # record of one symbol; zeros are the state before the first tick
    inputs: tuple[str, ...]  # columns of TICKS that the kernel takes, in order
    tau_s: tuple[float, ...]  # windows if the configuration names none, seconds
    columns: Callable[[Sequence[float]], list[str]]  # windows -> names, in the order of the kernel
    windows: int = 0  # exact number of windows; 0 = 1 to 8, or none if `tau_s` is empty


_families: dict[str, Family] = {}


def register(new: Family) -> Family:
    """Make a family known under its name; a name is registered once."""
    if new.name in _families and _families[new.name] is not new:
        raise ConfigError(f"features: family {new.name!r} is already registered. Choose another name for the new family.")
    _families[new.name] = new
    return new


def family(name: str) -> Family:
    """The registered family of that name."""
    try:
        return _families[name]
    except KeyError:
        known = ", ".join(sorted(_families))
        raise ConfigError(
            f"features: unknown family {name!r} (features.families). Known are {known}; register your own with "
            "tickarrow.pipeline.features_registry.register."
        ) from None


register(Family("quote", quote.VERSION, quote.quote_update, quote.QUOTE_STATE, quote.INPUTS, quote.TAU_S, quote.columns, windows=2))
register(Family("flow", flow.VERSION, flow.flow_update, flow.FLOW_STATE, flow.INPUTS, flow.TAU_S, flow.columns))
register(
    Family(
        "volatility", volatility.VERSION, volatility.volatility_update, volatility.VOLATILITY_STATE, volatility.INPUTS, volatility.TAU_S,
        volatility.columns,
    )
)  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """A family with its windows and the columns that are wanted."""

    family: Family
    tau_s: tuple[float, ...]
    all: tuple[str, ...]
    wanted: tuple[str, ...]


def _windows(f: Family, conf: FamilyConf) -> tuple[float, ...]:
    tau_s = tuple(float(t) for t in conf.tau_s) or f.tau_s
    listed = ", ".join(f"{t:g}" for t in tau_s)
    for t in tau_s:
        if not 0.0 < t < inf:
            raise ConfigError(f"features: family {f.name!r} has tau_s={t:g}; a window is a positive number of seconds, for example 30.0.")
    if f.windows and len(tau_s) != f.windows:
        raise ConfigError(f"features: family {f.name!r} takes {f.windows} windows and tau_s lists {len(tau_s)} ({listed}). Correct tau_s.")
    if len(tau_s) > MAX_TAU:
        raise ConfigError(
            f"features: family {f.name!r} takes {MAX_TAU} windows at most and tau_s lists {len(tau_s)} ({listed}). Drop some."
        )
    if any(b <= a for a, b in pairwise(tau_s)):
        raise ConfigError(f"features: windows of family {f.name!r} must rise and tau_s is {listed}. Sort them, each once.")
    return tau_s


def choose(conf: FeaturesConf) -> list[Chosen]:
    """Families, windows and columns that a configuration names; ConfigError says what is wrong with it."""
    out: list[Chosen] = []
    owner: dict[str, str] = {}
    for c in conf.families:
        f = family(c.name)
        tau_s = _windows(f, c)
        names = f.columns(tau_s)
        for column in c.columns:
            if column not in names:
                raise ConfigError(f"features: family {f.name!r} has no column {column!r}. With these windows it has {', '.join(names)}.")
        wanted = tuple(c.columns) or tuple(names)
        for column in wanted:
            if column in owner:
                raise ConfigError(
                    f"features: column {column!r} is listed twice, by {owner[column]!r} and by {f.name!r}. "
                    "Name each column once (columns of features.families)."
                )
            owner[column] = f.name
        out.append(Chosen(f, tau_s, tuple(names), wanted))
    if not owner:
        raise ConfigError("features: no columns. Name at least one family in features.families, or choose features=core.")
    if conf.throttle_ns < 0:
        raise ConfigError(f"features: throttle_ns={conf.throttle_ns} is negative. Give ns of event time; 0 = every quote change.")
    return out


def feature_columns(conf: FeaturesConf) -> list[str]:
    """Ordered columns of the matrix `x`."""
    return [column for c in choose(conf) for column in c.wanted]


def feature_digest(conf: FeaturesConf) -> str:
    """BLAKE2b-128 over the ordered (column, family, family version, parameters), design contract 8."""
    h = hashlib.blake2b(digest_size=16)
    for c in choose(conf):
        parameters = "tau_s=" + ",".join(t.hex() for t in c.tau_s)
        for column in c.wanted:
            h.update("\0".join((column, c.family.name, str(c.family.version), parameters)).encode() + b"\n")
    return h.hexdigest()


class Running:
    """A chosen family with the state of all symbols."""

    def __init__(self, chosen: Chosen, offset: int, n_symbols: int, tick_size: npt.NDArray[np.float64]) -> None:
        self.name, self._kernel, self._inputs = chosen.family.name, chosen.family.kernel, Columns(*chosen.family.inputs)
        self.state = np.zeros(n_symbols, chosen.family.state)
        where = np.full(len(chosen.all), -1, np.int32)
        for i, column in enumerate(chosen.wanted):
            where[chosen.all.index(column)] = offset + i
        rate = np.array([-1e-9 / t for t in chosen.tau_s])
        self._fixed = (self.state, rate, where, tick_size)

    def update(self, ticks: Batch, first: int, table: Table, row_lo: int, row_hi: int) -> None:
        """State of all ticks, columns of the due rows [row_lo, row_hi): one kernel call. `first` is the seq of the segment's row 0."""
        out = table.segment.columns
        self._kernel(*self._fixed, *self._inputs.of(ticks.segment), ticks.lo, ticks.hi, first, out["seq"], row_lo, row_hi, out["x"])
