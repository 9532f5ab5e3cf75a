"""Formulas of quotes and trades over whole columns, for notebooks: the same functions that the feature families compute tick by tick.

    from tickarrow.pipeline import points
    points.spread_bp(ticks["bid"], ticks["ask"])

Each takes arrays (NumPy, pandas, Polars) or numbers, broadcasts, and takes `out=` and `where=`. Missing is NaN, and no warning. The first
call on a machine compiles them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tickarrow.jit import _kernel, points_ufunc
from tickarrow.jit import math as ours
from tickarrow.jit import rolling as kernels
from tickarrow.pipeline.errors import DataError


def ready() -> None:
    """Compile or load the kernels that are not, once."""
    if not _kernel.pending():
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("compiling kernels (once per machine)")
        _kernel.warm(lambda name, done, total: progress.update(bar, completed=done, total=total))


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
        self._ufunc = ufunc

    @property
    def ufunc(self) -> Any:
        ready()
        return self._ufunc

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


def rolling(prices: Any, windows: Sequence[int] = (20, 60, 240), unit: float = 0.0001) -> npt.NDArray[np.float64]:
    """z-score and place in the range of each price among the last ones, itself included, as columns price_z and range_pos have them of bars.

    Parameters
    ----------
    prices : (rows,) or (rows, series), multiples of `unit`, none missing
    windows : rows, 2 to 255 each
    unit : currency, that of a hundredth of a tick; the prices are counted in it, so that no sum drifts

    Returns
    -------
    (rows, 2 n_windows, series): z-scores of each window, then places from 0 to 1; NaN before a window is full and where its prices are equal

    Raises
    ------
    DataError : a price is missing, or too far from the others
    """
    x = np.asarray(prices, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if not all(2 <= w < kernels.ROWS for w in windows):
        raise DataError(f"points.rolling: windows are 2 to {kernels.ROWS - 1} rows, and {list(windows)} are asked for.")
    units = np.rint((x - x[:1]) / unit)
    if not (np.abs(units) < 2**26).all():
        raise DataError("points.rolling: a price is missing or too far from the first. Fill gaps first, or give a larger unit.")
    ready()
    n, series = len(windows), x.shape[1]
    out = np.empty((len(x), 2 * n, series))
    sums, table = np.zeros((2 * n, series), np.int64), np.zeros((2 * kernels.ROWS, series), np.int64)
    kernels.rolling(np.ascontiguousarray(units, np.int64), np.array(windows, np.int64), sums, table, out)
    return out
