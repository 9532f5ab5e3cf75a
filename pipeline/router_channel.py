"""What passes between the router and a gateway, in plain data: a session of ib_async or a model of one stands behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from tickarrow.pipeline.router_ledger import OwnOrder
from tickarrow.pipeline.schemas import OrderState, Reason


@dataclass(slots=True)
class Intent:
    """An order that is wanted."""

    key: int  # own key, new
    row: int  # of the universe
    side: int  # Side
    quantity: float  # shares
    limit: float  # currency
    closing: bool = False  # it closes a position at once, and passes where others are refused


class Refusal(str):
    """Why an intent must not go out: a sentence, and its code for ORDERS."""

    code: Reason

    def __new__(cls, text: str, code: Reason) -> Refusal:
        made = super().__new__(cls, text)
        made.code = code
        return made


@dataclass(slots=True)
class Said:
    """What the gateway says of one of our orders."""

    key: int
    con_id: int
    state: OrderState | None  # None = nothing that matters
    side: int
    quantity: float
    limit: float
    filled: float = 0.0
    order_id: int = 0
    perm_id: int = 0
    kind: str = "LMT"  # or STP, whose price is in `limit`


@dataclass(slots=True)
class Execution:
    """An execution of one of our orders, as the gateway says."""

    exec_id: str
    key: int
    con_id: int
    side: int
    quantity: float
    price: float
    perm_id: int = 0


@dataclass(slots=True)
class Answer:
    """All that a gateway says when it is asked, positions last."""

    open: list[Said] = field(default_factory=list)
    completed: list[Said] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    positions: dict[int, tuple[float, float]] = field(default_factory=dict)  # conId -> shares, average cost


class Channel(Protocol):
    """A session with a gateway."""

    def next_id(self) -> int:
        """The next order id; the router takes a higher one if it has used it."""
        ...

    def place(self, order: OwnOrder, transmit: bool) -> None:
        """Send an order at its `price`; one that is not transmitted waits at the gateway for the last of its bracket."""
        ...

    def change(self, order: OwnOrder) -> None:
        """Give an order that works its new `price`: the same order, never a second one."""
        ...

    def ask_margin(self, order: OwnOrder) -> None:
        """What the account's margin would be after an order; `Router.judged` hears it."""
        ...

    def cancel(self, order: OwnOrder) -> bool:
        """Whether the cancel is sent; False = the order itself was still here, and is gone."""
        ...

    def cancel_everybodys(self) -> None:
        """One request that ends all orders of the account, whoever has sent them."""
        ...
