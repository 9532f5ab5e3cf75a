"""Formulas of a decision over whole columns, for notebooks and what-if tables: the same functions that `act` computes row by row.

    from tickarrow.pipeline import points_act as what_if
    table = what_if.fee_table("ibkr_tiered", as_of="2026-04-04")
    what_if.bill(table, quantity=[100, 1000], price=25.0, side=-1)
    what_if.round_trip(table, bid=99.99, ask=100.01, quantity=[10, 100, 1000]) + 2 * what_if.impact(100, 5e6, 150, 0.67)

Each takes arrays or numbers and broadcasts; the ufuncs also take `out=` and `where=`. Missing is NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit import act_ufunc
from tickarrow.jit import costs as kernels
from tickarrow.pipeline.costs import fees, shipped
from tickarrow.pipeline.points import Formula, ready

TERMS = ("commission", "clearing", "exchange", "pass_through", "regulatory", "taf", "sec", "total")

barrier = Formula(act_ufunc.barrier)
barrier_value = Formula(act_ufunc.barrier_value)
barrier_within = Formula(act_ufunc.barrier_within)
half_spread = Formula(act_ufunc.half_spread)
impact = Formula(act_ufunc.impact)
kelly = Formula(act_ufunc.kelly)
lots = Formula(act_ufunc.lots)
sigma_day = Formula(act_ufunc.sigma_day)
target = Formula(act_ufunc.target)
throttle = Formula(act_ufunc.throttle)
volatility = Formula(act_ufunc.volatility)


def fee_table(name: str, **other: Any) -> npt.NDArray[Any]:
    """(1,) FEES of a table in conf/costs; `other` replaces its settings, such as `as_of` or `month_volume`."""
    return fees(shipped(name, **other))


def bill(table: npt.NDArray[Any], quantity: Any, price: Any, side: Any, adds: bool = False) -> dict[str, npt.NDArray[np.float64]]:
    """Terms of each order's commission and fees, currency, and their total.

    Parameters
    ----------
    table : (1,) FEES, of `fee_table`
    quantity, price, side : shares or contracts, currency, +1 buys and -1 sells; they broadcast
    adds : the orders rest in the book
    """
    q, p, s = np.broadcast_arrays(np.asarray(quantity, np.float64), np.asarray(price, np.float64), np.asarray(side, np.int64))
    out = np.empty((q.size, act_ufunc.TERMS))
    ready()
    act_ufunc.bill(table, *(np.ascontiguousarray(a.ravel()) for a in (q, p, s)), int(adds), out)
    return {term: out[:, i].reshape(q.shape) for i, term in enumerate(TERMS)}


def one_way(table: npt.NDArray[Any], bid: Any, ask: Any, quantity: Any, side: Any) -> npt.NDArray[np.float64]:
    """Cost of marketable orders without their impact, bp of the mid: half the effective spread, commission and fees; parameters as in `bill`."""
    b, a, q = (np.asarray(v, np.float64) for v in (bid, ask, quantity))
    b, a, q, s = np.broadcast_arrays(b, a, q, np.asarray(side, np.int64))
    out = np.empty(q.size)
    ready()
    act_ufunc.one_way(table, *(np.ascontiguousarray(v.ravel()) for v in (b, a, q, s)), out)
    return out.reshape(q.shape)


def round_trip(table: npt.NDArray[Any], bid: Any, ask: Any, quantity: Any) -> npt.NDArray[np.float64]:
    """The same of marketable orders and of those that take them back at the same quote; parameters as in `bill`."""
    b, a, q = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (bid, ask, quantity)))
    out = np.empty(q.size)
    ready()
    kernels.round_trip(table, *(np.ascontiguousarray(v.ravel()) for v in (b, a, q)), out)
    return out.reshape(q.shape)
