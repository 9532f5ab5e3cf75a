"""What IBKR says of the contracts of a universe: their numbers, and what prices and sizes they may have."""

from __future__ import annotations

import dataclasses
from typing import Any

import ib_async

from tickarrow.pipeline.errors import GatewayError
from tickarrow.pipeline.patience import within
from tickarrow.pipeline.router_price import Grid

CENT = 0.01  # currency, where nothing is said
TRIES = 3  # of ib_async, which waits for a market rule for a second


async def look_up(ib: ib_async.IB, contracts: list[Any], where: str, timeout: float | None, grids: bool) -> list[Grid]:
    """Fill in the number of each contract; GatewayError names one that is not known.

    Parameters
    ----------
    contracts : with symbol, exchange and currency; conId is set
    where : the gateway, for the error
    timeout : seconds for each answer; None = any
    grids : ask for the market rules too

    Returns
    -------
    Grid of each contract, or none
    """
    made: list[Grid] = []
    rules: dict[int, tuple[tuple[float, float], ...]] = {}
    for contract in contracts:
        found = await within(timeout, ib.reqContractDetailsAsync(contract))
        if not found:
            raise GatewayError(f"{where} does not know the symbol {contract.symbol!r}. Remove it from the universe or check its spelling.")
        contract.conId = found[0].contract.conId
        if grids:
            number = rule_number(found[0])
            if number and number not in rules:
                rules[number] = await market_rule(ib, number)
            made.append(grid_of(found[0], rules.get(number, ())))
    return made


def rule_number(details: Any) -> int:
    """Number of the market rule of a contract on SMART; 0 = none is named."""
    numbers = dict(zip(details.validExchanges.split(","), details.marketRuleIds.split(",")))
    return int(found) if (found := numbers.get("SMART", "")).isdigit() else 0


async def market_rule(ib: ib_async.IB, number: int) -> tuple[tuple[float, float], ...]:
    """Price steps of a market rule: (from this price on, step), ascending; none if the gateway does not say."""
    for _ in range(TRIES):
        if said := await ib.reqMarketRuleAsync(number):
            return tuple(sorted((float(p.lowEdge), float(p.increment)) for p in said if p.increment > 0))
    return ()


def grid_of(details: Any, steps: tuple[tuple[float, float], ...]) -> Grid:
    """Prices and sizes that a contract may have: by its market rule, else by its smallest step. Sizes are not said before server version 164."""
    grid = Grid(steps or ((0.0, float(details.minTick) or CENT),))
    size_step, least = float(details.sizeIncrement), float(details.minSize)
    return dataclasses.replace(grid, size_step=size_step if 0 < size_step < 1e9 else 1.0, least=least if 0 < least < 1e9 else 1.0)
