"""Formulas of quotes and trades over whole columns, for notebooks: the same functions that the feature families compute tick by tick.

    from tickarrow.pipeline import points
    points.spread_bp(ticks["bid"], ticks["ask"])

Each takes arrays (NumPy, pandas, Polars) or numbers, broadcasts, and takes `out=` and `where=`. Missing is NaN, and no warning. The first
import on a machine compiles them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tickarrow.jit import _kernel, points_ufunc
from tickarrow.jit import math as ours


class Formula:
    """A NumPy ufunc of a formula; `ufunc` is the bare one, for its methods.

    Parameters
    ----------
    columns : arrays or numbers, float64 or what is safely cast to it
    out : array for the result
    where : rows to compute; the others keep what `out` has, NaN without `out`

    Notes
    -----
    numba's ufuncs refuse `where` (0.68 with NumPy 2.4), and NumPy would warn of every comparison with NaN.
    """

    def __init__(self, ufunc: Any) -> None:
        functools.update_wrapper(self, ufunc, ("__name__", "__doc__"), ())
        self.ufunc = ufunc

    def __call__(self, *columns: Any, out: Any = None, where: Any = True) -> Any:
        with np.errstate(invalid="ignore", divide="ignore"):
            if where is True:
                return self.ufunc(*columns) if out is None else self.ufunc(*columns, out=out)
            values = self.ufunc(*columns)
            out = np.full(np.broadcast(values, where).shape, np.nan) if out is None else out
            np.copyto(out, values, where=where)
            return out


age = Formula(points_ufunc.age)
decay = Formula(points_ufunc.decay)
depth = Formula(points_ufunc.depth)
effective_spread = Formula(points_ufunc.effective_spread)
exp = Formula(ours.exp)
expm1 = Formula(ours.expm1)
imbalance = Formula(points_ufunc.imbalance)
impact = Formula(points_ufunc.impact)
log = Formula(ours.log)
log_return = Formula(points_ufunc.log_return)
micro = Formula(points_ufunc.micro)
micro_dev = Formula(points_ufunc.micro_dev)
mid = Formula(points_ufunc.mid)
ofi = Formula(points_ufunc.ofi)
realised_spread = Formula(points_ufunc.realised_spread)
return_bp = Formula(points_ufunc.return_bp)
slope = Formula(points_ufunc.slope)
spread_bp = Formula(points_ufunc.spread_bp)
spread_ticks = Formula(points_ufunc.spread_ticks)
trade_sign = Formula(points_ufunc.trade_sign)


def _warm() -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("compiling kernels (once per machine)")
        _kernel.warm(lambda name, done, total: progress.update(bar, completed=done, total=total))


if _kernel.pending():
    _warm()
