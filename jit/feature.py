"""How a feature family is declared: plain data beside its kernels. The registry reads it, the documentation is made of it, a user's
own file declares his in the same way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Column(NamedTuple):
    """One column of FEATURES."""

    name: str
    unit: str  # "ticks", "bp", "1" (a pure number), "shares", ...
    formula: str  # one line; symbols as in the guide: b, a, m (mid), p, q (trade), r (return), S(.) decaying sum
    reference: str = ""  # "Cont, Kukanov and Stoikov (2014)"
    window: str = ""  # "300 s", "20 bars", "session"
    warm_up: str = ""  # what is NaN until when
    verifier: str = ""  # the independent implementation it is tested against
    feed: str = "any"  # any | trades | every trade | depth: what the feed must give for the column to mean what it says


@dataclass(frozen=True)
class Family:
    """A feature family: kernels, the state they need, columns.

    Columns stand in this order: those of `columns` (tick clock), of `bar_columns`, of `pass_columns`.

    Tick clock, state `s` is a record of the symbol, zeros at the start:
        step(s, e, w)              bring the state forward by one tick; e EVENT, w (n_windows,) int64: `e.decay[w[k]]` is of tau_s[k]
        emit(s, e, w, v, at)       write the columns of `columns` to v[at], v[at + 1], ... (float64); e is the row that is due
        change(s, e, rate, w)      bring the state forward by one change of the depth book; e BOOK_CHANGE, rate[w[k]] = -1e-9 / tau_s[k]
    Lanes, state f (f_rows, n_symbols) float64 and q (q_rows, n_symbols) int64, zeros at the start:
        lane_step(f, q, e, w)      as step; the lane is e.symbol
        bars(f, q, price, flow, base, unit, n, when, clock, lo, hi, pos, out)
                                   bars of lanes [lo, hi) have closed, see `bars.py`; out (n_symbols, bar columns) float64
        passes(f, q, sector, index, clock, out)
                                   the cross-section is due; out (n_symbols, pass columns) float64
    """

    name: str
    version: int  # raised when a formula changes: part of the digest
    columns: Callable[[Sequence[float]], list[Column]] = lambda tau_s: []  # windows in seconds -> columns of the tick clock
    tau_s: tuple[float, ...] = ()  # windows if the configuration names none, seconds, rising
    windows: int = 0  # exact number of windows; 0 = 1 to 8, or none if `tau_s` is empty
    state: np.dtype[Any] | None = None
    step: Any = None
    emit: Any = None
    change: Any = None
    f_rows: int = 0
    q_rows: int = 0
    lane_step: Any = None
    bars: Any = None
    bar_columns: tuple[Column, ...] = ()
    passes: Any = None
    pass_columns: tuple[Column, ...] = ()
