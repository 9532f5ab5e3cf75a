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
FRACTIONAL_SIZES = 163  # from this version on a size may have a fraction
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
    kind: str  # LMT | MKT | STP | STP LMT
    limit: float  # currency; +-inf for MKT and STP: whatever the market asks
    tif: str
    ref: str
    account: str
    stop: float = float("nan")  # currency, of STP and STP LMT
    parent_id: int = 0
    oca_group: str = ""
    oca_type: int = 0  # 1 = the rest of the group is cancelled, 2 and 3 = it becomes smaller
    transmit: bool = True
    triggered: bool = False  # the stop price was reached
    held: str = ""  # why it does not work yet: "child" of an order that is not filled, "trigger"
    ended: int = 0  # ns, when it was filled or cancelled
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

    @property
    def waits(self) -> bool:
        """It is a stop whose price was not reached."""
        return self.kind in ("STP", "STP LMT") and not self.triggered

    @property
    def prices(self) -> tuple[float, float]:
        """Limit and stop price as they stand in messages: 0 = none."""
        return self.limit if "LMT" in self.kind else 0.0, self.stop if self.kind.startswith("STP") else 0.0


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


def market_rule_id(tick: float) -> int:
    """Number of the rule that all prices are multiples of `tick`, currency: 26 is IBKR's for cents, others are ours."""
    return 26 if tick == 0.01 else 100_000 + round(tick * 1e6)


def market_rule(number: int, tick: float) -> bytes:
    return frame(93, number, 1, 0.0, tick)


def contract_details(req: int, i: Instrument, version: int) -> bytes:
    tick, rule = i.tick_size, market_rule_id(i.tick_size)
    return frame(
        10, *(() if version >= 164 else (8,)), req, i.symbol, "STK", "", 0, "", "SMART", "USD", i.symbol, "SIM", i.symbol, con_id(i), tick,
        *(() if version >= 164 else (100,)), "", "LMT,MKT", "SMART,SIM", 1, 0, i.symbol, "SIM", "", "", "", "", "UTC", "", "", "", 0, 0,
        1, "", "", f"{rule},{rule}", "", "COMMON", *((1,) if version == 163 else ()), *((1, 1, 100) if version >= 164 else ()),
    )  # fmt: skip


def error(req: int, code: int, message: str, version: int) -> bytes:
    return frame(4, 2, req, code, message, *(("",) if version >= 166 else ()))


def order_status(o: Order) -> bytes:
    return frame(3, o.order_id, o.status, o.filled, o.remaining, o.average, o.perm_id, o.parent_id, o.last_price, o.client_id, o.held, 0)


@dataclass(frozen=True, slots=True)
class Account:
    """What a whatIf order would do to its account, currency."""

    margin_before: float
    margin_after: float
    equity_before: float
    equity_after: float


def open_order(o: Order, i: Instrument, version: int, *, what_if: Account | None = None, commission: float = float("nan")) -> bytes:
    """openOrder; with `what_if` the answer to a whatIf order: margins, equity with loan, and its commission."""
    limit, stop = o.prices
    margins = [UNSET] * 9  # initial, maintenance, equity with loan: before, change, after
    if what_if is not None:
        w = what_if
        columns = [(w.margin_before, w.equity_before), (w.margin_after - w.margin_before, w.equity_after - w.equity_before), (w.margin_after, w.equity_after)]
        margins = [text(x) for margin, equity in columns for x in (margin, margin, equity)]
    side = "BUY" if o.side > 0 else "SELL"
    f: list[Any] = [5, o.order_id, *contract(i), side, o.quantity, o.kind, limit, stop, o.tif, o.oca_group, o.account, "", 0, o.ref]
    f += [o.client_id, o.perm_id, 0, 0, 0, *[""] * 5]  # outsideRth, hidden, discretionaryAmt ... faPercentage
    f += [""] if version < 177 else []
    f += [*[""] * 5, 0, "", -1, 0]  # modelCode ... auctionStrategy
    f += [*[""] * 6, 0, 0, 0, "", o.oca_type, 0, 0, "", o.parent_id, 0, "", 0, "", ""]  # startingPrice ... deltaNeutralAuxPrice
    f += [0, 0, *[""] * 5]  # continuousUpdate ... comboLegsDescrip
    f += [0, 0, 0, *[""] * 4, 0, "", "", 0, 0, ""]  # legs, smart routing, scale, hedge, clearing, delta-neutral contract, algo
    f += [0, what_if is not None, o.status, *margins]
    f += [commission, "", "", "USD" if what_if else "", "", 0, 0]
    f += [0, *[""] * 7, 0, *[""] * 4, 0, 0, 0, 0]  # conditions ... usePriceMgmtAlgo
    f += [""] if version >= 159 else []
    f += [""] if version >= 160 else []
    f += [0] if version >= 162 else []
    f += [""] * 5 if version >= 170 else []
    return frame(*f)


def completed_order(o: Order, i: Instrument, version: int) -> bytes:
    """An order that is filled or cancelled, as reqCompletedOrders wants it."""
    side = "BUY" if o.side > 0 else "SELL"
    f: list[Any] = [101, *contract(i), side, o.quantity, o.kind, *o.prices, o.tif, o.oca_group, o.account, "", 0, o.ref, o.perm_id]
    f += [0, 0, 0, *[""] * 4]  # outsideRth ... faPercentage
    f += [""] if version < 177 else []
    f += [*[""] * 5, 0, "", -1, *[""] * 5]  # modelCode ... stockRangeUpper
    f += ["", 0, 0, "", o.oca_type, 0, "", 0, "", ""]  # displaySize ... deltaNeutralAuxPrice
    f += [0, 0, *[""] * 3, 0, 0, 0, "", "", "", ""]  # continuousUpdate ... hedgeType
    f += ["", "", 0, 0, "", 0, o.status, 0, 0, 0]  # clearingAccount ... conditions
    f += ["", "", "", 0, 0, "", o.filled, 0, 0, "", 0, 0, 0]  # trailStopPrice ... parentPermId
    how = f"Filled Size: {text(o.filled)}" if o.status == "Filled" else "Cancelled by Trader"
    f += [f"{utc(o.ended):%Y%m%d %H:%M:%S} UTC", how]
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
