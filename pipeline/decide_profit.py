"""What the fills of a session have earned, symbol by symbol."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tickarrow.pipeline.batch import Table


@dataclass(slots=True)
class Profit:
    """Profit and loss of fills; arrays are (n_symbols,), currency. Open positions are valued at the mid, at average cost before."""

    position: npt.NDArray[np.float64]  # shares, signed
    realised: npt.NDArray[np.float64]  # before commission
    unrealised: npt.NDArray[np.float64]
    commissions: npt.NDArray[np.float64]  # reported so far

    @property
    def commission(self) -> float:
        return float(self.commissions.sum())

    @property
    def total(self) -> float:
        """Realised and unrealised, after commission."""
        return float(self.realised.sum() + self.unrealised.sum()) - self.commission


def pnl(fills: Table, mids: npt.NDArray[np.float64]) -> Profit:
    """Profit and loss per symbol, by average cost.

    Parameters
    ----------
    fills : table FILLS
    mids : (n_symbols,) last mids; NaN = a position is valued at its last fill's price
    """
    n = mids.size
    position, realised, commissions, average = (np.zeros(n) for _ in range(4))
    last = np.full(n, np.nan)
    columns = [fills.column(c).tolist() for c in ("symbol", "side", "quantity", "price", "commission")]
    for symbol, side, quantity, price, commission in zip(*columns):
        signed, held = side * quantity, position[symbol]
        closed = min(quantity, abs(held)) if held * signed < 0 else 0.0
        realised[symbol] += math.copysign(closed, held) * (price - average[symbol])
        opened = quantity - closed
        if opened > 0:
            kept = abs(held) - closed
            average[symbol] = (kept * average[symbol] + opened * price) / (kept + opened)
        position[symbol] = held + signed
        commissions[symbol] += 0.0 if math.isnan(commission) else commission
        last[symbol] = price
    value = np.where(np.isnan(mids), last, mids)
    unrealised = np.where(position == 0.0, 0.0, position * (value - average))
    return Profit(position, realised, unrealised, commissions)
