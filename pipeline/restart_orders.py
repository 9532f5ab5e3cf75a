"""What orders and positions have done while no pipeline saw it: told to a pipeline that a restart has brought back, once each.

The ledger of orders (router_ledger.py) outlives a kill by itself and is settled with the gateway first; the pipeline stands where the
journal ends. The difference becomes control events, so that a replay sees the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickarrow.pipeline.decide_act import DUST, Act, Control
from tickarrow.pipeline.schemas import ControlKind, OrderState, Side

if TYPE_CHECKING:
    from tickarrow.pipeline.router_ledger import Executed, Ledger


@dataclass(slots=True, frozen=True)
class Known:
    """What a pipeline knows of its orders.

    Parameters
    ----------
    began : seconds UTC, the session's begin: executions before it are in the positions without their ids
    positions : shares by row of the universe
    executed : hashes of the execIds that are in them
    orders : own key -> row, Side, shares that may still be filled, limit, shares ordered
    next_key : keys below are used
    """

    began: float
    positions: list[float]
    executed: frozenset[int]
    orders: dict[int, tuple[int, int, float, float, float]]
    next_key: int


def known_of(act: Act, began: float) -> Known:
    """What the stage `act` knows."""
    s = act.state
    orders = {
        int(s["key"][row]): (row, int(s["side"][row]), float(s["quantity"][row]), float(s["limit"][row]), float(s["ordered"][row]))
        for row in range(len(s)) if s["working"][row]
    }  # fmt: skip
    return Known(began, s["position"].tolist(), frozenset(act.executed), orders, int(act.book["next_key"][0]))


def missed(
    known: Known, ledger: Ledger, rows: dict[int, int], working: set[int], number: Callable[[str], int], moved: Callable[[int, float], Control]
) -> list[Control]:
    """Control events that bring a pipeline from what it knows to what the ledger holds, which is settled with the gateway.

    Parameters
    ----------
    known, ledger : both sides
    rows : conId -> row of the universe
    working : own keys that the gateway may still fill
    number : hash of an execId
    moved : the event of a position that somebody else has changed, of conId and shares
    """
    ledger.used(key=known.next_key - 1)
    events = [Control(kind=ControlKind.KEYS, key=ledger.next_key)]
    filled: dict[int, float] = {}
    for con_id, row in rows.items():
        apart = ledger.positions.get(con_id, 0.0) - known.positions[row]
        new = [e for e in ledger.executions.values() if e.con_id == con_id and e.ts >= known.began and number(e.exec_id) not in known.executed]
        if new and abs(sum(e.shares for e in new) - apart) <= DUST:
            for e in new:
                filled[e.key] = filled.get(e.key, 0.0) + abs(e.shares)
                events.append(_execution(e, row, number(e.exec_id)))
        elif abs(apart) > DUST:
            events.append(moved(con_id, apart))
    for key, (row, side, left, limit, ordered) in known.orders.items():
        if key not in working and left - filled.get(key, 0.0) > DUST:
            events.append(Control(kind=ControlKind.ORDER_STATE, symbol=row, key=key, side=side, state=OrderState.CANCELLED, quantity=ordered, price=limit))
    return events


def _execution(e: Executed, row: int, number: int) -> Control:
    side = Side.BUY if e.shares > 0 else Side.SELL
    return Control(kind=ControlKind.EXECUTION, symbol=row, key=e.key, side=side, quantity=abs(e.shares), price=e.price, exec_id=number)
