"""Prices and sizes that a contract may have, and the prices that the styles of an order want: arithmetic only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tickarrow.configs.orders import OrdersConf

NEAR = 1e-6  # of a tick: what is nearer than this is on the grid


@dataclass(frozen=True, slots=True)
class Grid:
    """What prices and sizes a contract may have."""

    steps: tuple[tuple[float, float], ...] = ((0.0, 0.01),)  # (from this price on, price step), currency, ascending
    size_step: float = 1.0  # shares
    least: float = 1.0  # shares

    def step(self, price: float) -> float:
        """The price step at a price, currency."""
        return next((step for low, step in reversed(self.steps) if price >= low - NEAR * step), self.steps[0][1])

    def _ticks(self, n: float, step: float) -> float:
        """n steps as the nearest double of the decimal, which n * 0.01 is not."""
        inverse = round(1.0 / step)
        return n / inverse if inverse and abs(inverse * step - 1.0) < 1e-9 else n * step

    def not_beyond(self, price: float, side: int) -> float:
        """The nearest allowed price that is no worse for the side (+1 buys: not above, -1 sells: not below), at least one step."""
        step = self.step(price)
        n = price / step
        return self._ticks(max(math.floor(n + NEAR) if side > 0 else math.ceil(n - NEAR), 1), step)

    def nearest(self, price: float) -> float:
        """The nearest allowed price, at least one step."""
        step = self.step(price)
        return self._ticks(max(round(price / step), 1), step)

    def size(self, shares: float) -> float:
        """The largest allowed size up to `shares`; 0 = none."""
        if self.size_step > 0:
            inverse = round(1.0 / self.size_step)
            n = math.floor(shares / self.size_step + NEAR)
            shares = n / inverse if inverse and abs(inverse * self.size_step - 1.0) < 1e-9 else n * self.size_step
        return shares if shares >= self.least - NEAR else 0.0


def passive_price(side: int, bid: float, ask: float, worst: float, conf: OrdersConf, grid: Grid) -> float:
    """Price of an order that waits at its own side of the quote, not beyond its worst price.

    Parameters
    ----------
    side : +1 buys, -1 sells
    bid, ask : currency; NaN = side missing
    worst : currency, the limit of the intent
    conf : `improve_ticks` better than the own side, as far as the other side is not reached
    grid : the contract's price steps

    Returns
    -------
    float, currency; NaN where the own side is missing or the quote is crossed: there is nothing to follow
    """
    own, other = (bid, ask) if side > 0 else (ask, bid)
    if not own > 0 or side * (other - own) < 0:
        return math.nan
    step = grid.step(own)
    price = own + side * conf.improve_ticks * step
    if side * (other - price) < step * (1 - NEAR):  # NaN: nobody is on the other side
        price = max(own, other - step) if side > 0 else min(own, other + step)
    return grid.not_beyond(min(price, worst) if side > 0 else max(price, worst), side)


def bracket_prices(side: int, worst: float, conf: OrdersConf, grid: Grid) -> tuple[float, float]:
    """Prices of the profit order and of the stop of an entry, currency, at least a step from its own; NaN = none is wanted."""
    return _away(side * conf.profit_bp, worst, grid), _away(-side * conf.stop_bp, worst, grid)


def _away(bp: float, worst: float, grid: Grid) -> float:
    if not bp:
        return math.nan
    price = worst * (1 + bp * 1e-4)
    step = grid.step(price)
    return grid.nearest(price if abs(price - worst) > step else worst + math.copysign(step, bp))
