"""Frames that the simulated gateway writes in Python: rare ones, field by field in the order of the wire (server versions 157 to 178)."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np

from tickarrow.pipeline.universe import Instrument

UNSET = "1.7976931348623157E308"  # a double that is not given
SERVER_VERSION = 178
FIRST_VERSION = 157
CLOCK, ACKNOWLEDGE, END = 9001, 9002, 9003  # private frames, only for clients that ask


def text(x: float) -> str:
    """Shortest decimal text that reads back as `x`; empty for NaN."""
    return "" if np.isnan(x) else np.format_float_positional(x, unique=True, trim="-")


def frame(*fields: object) -> bytes:
    """One frame: length prefix, then each field in text, terminated by NUL."""
    body = "".join(f"{text(f) if isinstance(f, float) else int(f) if isinstance(f, bool) else f}\0" for f in fields).encode()
    return len(body).to_bytes(4, "big") + body


def utc(ns: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ns // 1_000_000_000, datetime.UTC)


@dataclass(slots=True)
class Order:
    """An order of a client as the gateway knows it."""

    client_id: int
    order_id: int
    perm_id: int
    row: int
    side: int  # Side
    quantity: float  # shares
    kind: str  # LMT | MKT
    limit: float  # currency; +-inf for MKT: whatever the market asks
    tif: str
    ref: str
    account: str
    status: str = "PreSubmitted"
    filled: float = 0.0
    value: float = 0.0  # currency, of what is filled
    commission: float = 0.0
    last_price: float = 0.0
    resting: bool = False  # was not marketable when it came: it is filled at its limit, others at the quote

    @property
    def remaining(self) -> float:
        return round(self.quantity - self.filled, 8)  # 1e-8 shares is the smallest part of a share here

    @property
    def average(self) -> float:
        return self.value / self.filled if self.filled else 0.0

    @property
    def done(self) -> bool:
        return self.status in ("Filled", "Cancelled")


@dataclass(frozen=True, slots=True)
class Execution:
    """A fill and its commission."""

    order: Order
    exec_id: str
    ts: int
    price: float
    shares: float
    filled: float  # of the order, with this fill
    average: float
    commission: float
    realized: float  # currency; NaN = opened or added to a position


def con_id(instrument: Instrument) -> int:
    """Contract number: the universe's, or one of our own."""
    return instrument.con_id or 90_000_001 + instrument.row


def contract(i: Instrument, exchange: str = "SMART") -> tuple[object, ...]:
    """The eleven contract fields of order, execution and position messages."""
    return (con_id(i), i.symbol, "STK", "", 0, "", "", exchange, "USD", i.symbol, i.symbol)


def contract_details(req: int, i: Instrument, version: int) -> bytes:
    tick = i.tick_size
    return frame(
        10, *(() if version >= 164 else (8,)), req, i.symbol, "STK", "", 0, "", "SMART", "USD", i.symbol, "SIM", i.symbol, con_id(i), tick,
        *(() if version >= 164 else (100,)), "", "LMT,MKT", "SMART,SIM", 1, 0, i.symbol, "SIM", "", "", "", "", "UTC", "", "", "", 0, 0,
        1, "", "", 26, "", "COMMON", *((1,) if version == 163 else ()), *((1, 1, 100) if version >= 164 else ()),
    )  # fmt: skip


def error(req: int, code: int, message: str, version: int) -> bytes:
    return frame(4, 2, req, code, message, *(("",) if version >= 166 else ()))


def order_status(o: Order) -> bytes:
    return frame(3, o.order_id, o.status, o.filled, o.remaining, o.average, o.perm_id, 0, o.last_price, o.client_id, "", 0)


def open_order(o: Order, i: Instrument, version: int, *, what_if: bool = False, commission: float = float("nan")) -> bytes:
    """openOrder; with `what_if` the answer to a whatIf order: margins of a quarter of its value, and its commission."""
    limit = 0.0 if o.kind == "MKT" else o.limit
    margin = text(0.25 * o.quantity * limit) if what_if else UNSET
    side = "BUY" if o.side > 0 else "SELL"
    f: list[Any] = [5, o.order_id, *contract(i), side, o.quantity, o.kind, limit, 0, o.tif, "", o.account, "", 0, o.ref]
    f += [o.client_id, o.perm_id, 0, 0, 0, *[""] * 5]  # outsideRth, hidden, discretionaryAmt ... faPercentage
    f += [""] if version < 177 else []
    f += [*[""] * 5, 0, "", -1, 0]  # modelCode ... auctionStrategy
    f += [*[""] * 6, 0, 0, 0, "", 0, 0, 0, "", 0, 0, "", 0, "", ""]  # startingPrice ... deltaNeutralAuxPrice
    f += [0, 0, *[""] * 5]  # continuousUpdate ... comboLegsDescrip
    f += [0, 0, 0, *[""] * 4, 0, "", "", 0, 0, ""]  # legs, smart routing, scale, hedge, clearing, delta-neutral contract, algo
    f += [0, what_if, o.status, "", "", "", margin, margin, UNSET, margin, margin, UNSET]  # margins before, change, after
    f += [commission, "", "", "USD" if what_if else "", "", 0, 0]
    f += [0, *[""] * 7, 0, *[""] * 4, 0, 0, 0, 0]  # conditions ... usePriceMgmtAlgo
    f += [""] if version >= 159 else []
    f += [""] if version >= 160 else []
    f += [0] if version >= 162 else []
    f += [""] * 5 if version >= 170 else []
    return frame(*f)


def exec_details(req: int, e: Execution, i: Instrument, version: int) -> bytes:
    o = e.order
    when = f"{utc(e.ts):%Y%m%d %H:%M:%S} UTC"
    side = "BOT" if o.side > 0 else "SLD"
    return frame(
        11, req, o.order_id, *contract(i, "SIM"), e.exec_id, when, o.account, "SIM", side, e.shares, e.price, o.perm_id, o.client_id, 0,
        e.filled, e.average, o.ref, "", "", "", 2, *((0,) if version >= 178 else ()),
    )  # fmt: skip


def commission_report(e: Execution) -> bytes:
    return frame(59, 1, e.exec_id, e.commission, "USD", UNSET if np.isnan(e.realized) else e.realized, UNSET, "")
