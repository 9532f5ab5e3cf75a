"""Forecasts -> DECISIONS and order intents: positions, budgets, working orders, and the control events that change them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.costs import CostsConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.configs.risk import RiskConf
from tickarrow.jit import act, act_state
from tickarrow.pipeline.batch import Batch, Segment, Table
from tickarrow.pipeline.block import Block
from tickarrow.pipeline.costs import fees
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.limits import Limits
from tickarrow.pipeline.schemas import CONTROL, DECISIONS, NO_CHUNK, PARTS, ControlKind, Flag, Health, OrderState, Reason
from tickarrow.pipeline.stage import Snapshot, copied

DUST = 1e-9  # shares; less than this is left of an order = nothing


@dataclass(slots=True)
class Control:
    """An input that is not market data (design contract 7); fields are the columns of CONTROL, unused ones stay at their default."""

    chunk: int = 0  # last chunk decided before the event
    ts: int = 0  # ns UTC
    kind: int = ControlKind.TIMER
    symbol: int = 0  # row of the universe; HEALTH: -1 = the link; MODEL_SWAP: -1 = all
    key: int = 0  # own order key; SUBSCRIBE, UNSUBSCRIBE: reqId
    side: int = 0  # Side
    state: int = OrderState.INTENT
    quantity: float = math.nan  # shares
    price: float = math.nan  # currency
    value: float = math.nan  # COMMISSION: currency; ORDER_STATE: Reason; LIMIT: gross cap, of nav; MODEL_SWAP: index of the set; HEALTH; SUBSCRIBE: Feed
    perm_id: int = 0  # broker key
    exec_id: int = 0  # hash of the broker's execId; 0 = not known

    def write(self, control: Table, chunk: int, ts: int) -> None:
        """Date and journal it: a row of CONTROL, numbered by the chunk before it (-1 = none was)."""
        self.chunk, self.ts = NO_CHUNK if chunk < 0 else chunk, ts
        i = control.reserve(1)
        for name in CONTROL.names:
            control.segment.columns[name][i] = getattr(self, name)
        control.commit(1)


TICK_COLUMNS = ("seq", "ts", "symbol", "kind", "bid", "ask")
ACT_TICK_COLUMNS = (*TICK_COLUMNS, "flags", "price")
DECISION_COLUMNS = tuple(DECISIONS.names)
NOT_LIVE = Flag.FROZEN | Flag.UNCERTAIN | Flag.STALE  # a quote with one of these is not traded on
FORECAST_COLUMNS = ("seq", "ts", "symbol", "alpha", "sigma", "ic")


class Act:
    """Forecasts and the ticks they come from -> DECISIONS; new rows of ORDERS are in `intents`.

    Parameters
    ----------
    risk, costs, orders : limits and targets, fee table, order type
    n_symbols : rows of the universe
    horizons_ns : (n_horizons,) int64
    tick_size : (n_symbols,) price increment, currency
    decisions, intents, fills : tables DECISIONS, ORDERS, FILLS
    simulate_fills : fill intents here, at the symbol's next quote
    adv : (n_symbols,) average daily volume, shares; without it `costs.adv` is every symbol's
    sector : (n_symbols,) int32, number of its sector, -1 = none; without it no symbol has one
    symbols : their names, for the lists of the limits
    """

    def __init__(
        self, risk: RiskConf, costs: CostsConf, orders: OrdersConf, n_symbols: int, horizons_ns: npt.NDArray[np.int64],
        tick_size: npt.NDArray[np.float64], decisions: Table, intents: Table, fills: Table, simulate_fills: bool,
        adv: npt.NDArray[np.float64] | None = None, sector: npt.NDArray[np.int32] | None = None, symbols: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        _check(risk, costs, orders)
        if simulate_fills and (orders.style != "marketable" or orders.profit_bp or orders.stop_bp or orders.tif in ("IOC", "FOK")):
            raise ConfigError("orders: fills at the next quote are those of marketable orders. Choose orders=limit, or run it on a gateway (tickarrow run).")
        self.horizons_ns = np.ascontiguousarray(horizons_ns, np.int64)
        self.state = np.zeros(n_symbols, act_state.ACT_STATE)
        for name in ("bid", "ask", "mark"):
            self.state[name] = np.nan
        self.book = np.zeros(1, act_state.BOOK)
        self.book["next_key"] = 1
        self.book["gross_cap"] = risk.gross_cap
        self.params = np.zeros(1, act_state.ACT_PARAMS)
        self.params[0] = (
            risk.nav, risk.vol_target, risk.name_cap, risk.hurdle, risk.pool_share, risk.resize_band, risk.profit_barrier,
            risk.stop_barrier, risk.lot, costs.impact_eta, risk.kelly, risk.participation, risk.net_cap, risk.sector_cap,
            risk.throttle_from, risk.throttle_to, risk.least_value, orders.limit_offset_ticks,
            round(orders.ttl_s * 1e9), NOT_LIVE if risk.allow_delayed else NOT_LIVE | Flag.DELAYED, simulate_fills,
        )  # fmt: skip
        self.fees = fees(costs)
        self.adv = np.full(n_symbols, costs.adv) if adv is None else np.ascontiguousarray(adv, np.float64)
        self.sector = np.full(n_symbols, -1, np.int32) if sector is None else np.ascontiguousarray(sector, np.int32)
        self.limits = Limits(risk.limits, symbols or [""] * n_symbols)
        self.grid = np.zeros(n_symbols, act_state.GRID)
        inverse = np.rint(1.0 / np.asarray(tick_size, np.float64))
        decimal = np.abs(inverse * tick_size - 1.0) < 1e-9
        self.grid["multiplier"] = np.where(decimal, 1.0, tick_size)
        self.grid["divisor"] = np.where(decimal, inverse, 1.0)
        self.events = np.zeros(256 + 2 * n_symbols, act_state.EVENT)
        self._decisions, self._orders, self._fills = decisions, intents, fills
        self.kernel, self._block = act.act_update, Block(act_state.PLACES)
        self._bind()
        self.executed: set[int] = set()  # exec ids that are in the positions
        self._unpaid: dict[int, int] = {}  # exec id -> its row of FILLS, commission not yet reported
        self._early: dict[int, float] = {}  # commissions that came before their execution
        self._first = self._since = self.mark()  # where `intents` begin; where those of the next step do

    def _bind(self) -> None:
        """The arrays in the control block, where some have changed their place."""
        limits = self.limits
        for place, array in enumerate((
            self.state, self.book, self.params, self.fees, self.grid, self.adv, self.sector, self.horizons_ns, limits.state, limits.book, limits.params,
            limits.times, limits.days, limits.edges, limits.closed, self.events,
        )):  # fmt: skip
            self._block.put(place, array)
        self._hours = limits.edges  # other ones are looked up in the course of a run

    def step(self, forecasts: Batch, ticks: Batch) -> Batch:
        """Decide on the forecasts, row for row."""
        out, block, n = self._decisions, self._block, forecasts.hi - forecasts.lo
        room = 3 * n + 2 * self.state.size
        if room > self.events.size:  # a larger block than ever before
            self.events = np.zeros(room, act_state.EVENT)
            self._bind()
        self.limits.cover(ticks)
        if self.limits.edges is not self._hours:
            self._bind()
        to = out.reserve(n)
        block.bind(act_state.AT_TICKS, ticks.segment, ACT_TICK_COLUMNS)
        block.bind(act_state.AT_FORECASTS, forecasts.segment, FORECAST_COLUMNS)
        block.bind(act_state.AT_DECISIONS, out.segment, DECISION_COLUMNS)
        count = self.kernel(block.address, ticks.lo, ticks.hi, forecasts.lo, forecasts.hi, to)
        if count:
            self._append(self.events[:count])
        self._first, self._since = self._since, self.mark()
        return out.commit(n)

    def _append(self, events: npt.NDArray[Any]) -> None:
        """Write the events of a step to ORDERS and FILLS."""
        for table, rows in ((self._orders, events[events["is_fill"] == 0]), (self._fills, events[events["is_fill"] == 1])):
            if not rows.size:
                continue
            at = slice(table.reserve(rows.size), table.size + rows.size)
            for name in ("seq", "ts", "symbol", "key", "side", "quantity"):
                table.segment.columns[name][at] = rows[name]
            if table is self._orders:
                table.limit[at] = rows["price"]
                table.perm_id[at] = 0
                table.state[at] = rows["state"]
                table.reason[at] = Reason.ORDER
            else:
                table.price[at] = rows["price"]
                table.commission[at] = rows["commission"]
                table.exec_id[at] = rows["key"]  # one fill an order, no broker
            table.commit(rows.size)

    @property
    def intents(self) -> Batch:
        """Rows of ORDERS of the last step and since."""
        segment, first = self._first
        return Batch(self._orders.segment, first if segment is self._orders.segment else 0, self._orders.size)

    def mark(self) -> tuple[Segment, int]:
        """Where the rows of the next step begin."""
        return self._orders.segment, self._orders.size

    def show_since(self, mark: tuple[Segment, int]) -> None:
        """`intents` are the rows since a mark: of several steps."""
        self._first = mark

    def apply(self, event: Control) -> None:
        """Apply a control event between chunks. Rows of ORDERS it makes stand in `intents` at once and after the next step."""
        if event.kind == ControlKind.EXECUTION:
            self._execute(event)
        elif event.kind == ControlKind.COMMISSION:
            self._pay(event)
        elif event.kind == ControlKind.ORDER_STATE:
            self._order_state(event)
        elif event.kind == ControlKind.KEYS:
            self.book["next_key"] = event.key
        elif event.kind == ControlKind.KILL:
            self._kill(event)
        elif event.kind == ControlKind.CLOSE:
            self._close(event)
        elif event.kind == ControlKind.REARM:
            self.book["killed"] = 0
        elif event.kind == ControlKind.LIMIT:
            if not event.value >= 0.0:
                raise ConfigError(f"limit: the gross cap is {event.value}: expected a fraction of nav, zero or more.")
            self.book["gross_cap"] = event.value
        elif event.kind == ControlKind.LOSS_STOP:
            book = self.limits.book[0]
            book.day, book.stopped = event.key, event.quantity == 1.0
            book.begin = sum((self.state["cash"] - self.state["commission"]).tolist()) - event.value
        elif event.kind == ControlKind.MODEL_SWAP:
            self.state["model_set"][slice(None) if event.symbol < 0 else event.symbol] = int(event.value)
        elif event.kind == ControlKind.HEALTH:
            where = self.book[0] if event.symbol < 0 else self.state[event.symbol]
            where["link" if event.symbol < 0 else "health"] = Health(int(event.value))
        self._first = self._since

    def _execute(self, event: Control) -> None:
        if event.exec_id in self.executed:
            return  # the gateway repeats executions after a reconnect
        s = self.state[event.symbol]
        signed = event.side * event.quantity
        s.position += signed
        s.cash -= signed * event.price
        if math.isnan(s.mark):
            s.mark = event.price
        if s.working and s.key == event.key:
            s.quantity -= event.quantity
            s.hold_until = s.since + s.hold_ns
            s.working = s.quantity > DUST
        commission = math.nan
        if event.exec_id:
            self.executed.add(event.exec_id)
            if event.exec_id in self._early:
                commission = self._early.pop(event.exec_id)
                s.commission += commission
            else:
                self._unpaid[event.exec_id] = self._fills.rows
        self._write(
            self._fills, symbol=event.symbol, ts=event.ts, key=event.key, side=event.side, quantity=event.quantity, price=event.price,
            commission=commission, exec_id=event.exec_id,
        )  # fmt: skip

    def _pay(self, event: Control) -> None:
        if event.exec_id in self._unpaid:
            if (place := self._fills.place(self._unpaid.pop(event.exec_id))) is not None:
                place[0].columns["commission"][place[1]] = event.value
            self.state[event.symbol].commission += event.value
        elif event.exec_id not in self.executed:
            self._early[event.exec_id] = event.value

    def _order_state(self, event: Control) -> None:
        s = self.state[event.symbol]
        known = s.key == event.key
        if known and s.working and not s.cancelling and event.quantity > 0:  # the router may send less, and change the price
            s.quantity -= s.ordered - event.quantity
            s.ordered, s.limit = event.quantity, event.price
        side, quantity, limit = (s.side, s.ordered, s.limit) if known else (event.side, event.quantity, event.price)
        self._write(
            self._orders, symbol=event.symbol, ts=event.ts, key=event.key, side=side, quantity=quantity, limit=limit, perm_id=event.perm_id,
            state=event.state, reason=Reason.ORDER if math.isnan(event.value) else Reason(int(event.value)),
        )  # fmt: skip
        if event.key >= PARTS:  # it waits for the position's end, and nothing waits for it
            return
        if not s.working and event.state == OrderState.SUBMITTED:
            # Of an earlier run, or it came back: the router cancels it, nothing is sent before it is over.
            s.key, s.side, s.ordered, s.quantity, s.limit, s.since, s.hold_ns = event.key, side, quantity, event.quantity, limit, event.ts, 0
            s.working, s.cancelling, s.done = 1, 1, 0
            return
        if not (known and s.working):
            return
        if event.state in (OrderState.CANCELLED, OrderState.REJECTED):
            s.working = 0
        elif event.state == OrderState.FILLED:
            # Its executions may come after the state: until then a new order would double the position.
            s.working, s.done, s.since = s.quantity > DUST, 1, event.ts

    def _kill(self, event: Control) -> None:
        self.book["killed"] = event.value != 0.0
        self._orders.reserve(min(self._orders.capacity, 4 * self.state.size))  # so that the cancels and the next step share a segment
        for symbol, s in enumerate(self.state if self.book["killed"][0] else ()):
            if s.working and not s.cancelling and not s.done:
                s.cancelling = 1
                self._write(
                    self._orders, symbol=symbol, ts=event.ts, key=s.key, side=s.side, quantity=s.ordered, limit=s.limit, perm_id=0,
                    state=OrderState.CANCEL_INTENT, reason=Reason.ORDER,
                )  # fmt: skip

    def _close(self, event: Control) -> None:
        """Order what the kill switch asks for; the kernel leaves an order alone that counts as being cancelled."""
        s, ts = self.state[event.symbol], event.ts
        if s.working:
            return
        s.key, self.book["next_key"] = int(self.book["next_key"][0]), int(self.book["next_key"][0]) + 1
        s.side, s.ordered, s.quantity, s.limit, s.since, s.hold_ns = event.side, event.quantity, event.quantity, event.price, ts, 0
        s.working, s.cancelling, s.done = 1, 1, 0
        row = {"side": event.side, "quantity": event.quantity, "limit": event.price, "perm_id": 0, "state": OrderState.INTENT}
        self._write(self._orders, symbol=event.symbol, ts=ts, key=s.key, reason=Reason.ORDER, **row)

    def _write(self, table: Table, **row: Any) -> None:
        """Append one row, dated by the last tick that was decided."""
        i = table.reserve(1)
        table.seq[i] = self.book["seq"][0]
        for name, value in row.items():
            table.segment.columns[name][i] = value
        table.commit(1)

    def flush(self) -> Batch:
        return self._decisions.empty()

    def quote(self, row: int) -> tuple[float, float]:
        """Bid and ask of a row, currency; NaN = side missing."""
        return float(self.state[row].bid), float(self.state[row].ask)

    def mids(self) -> npt.NDArray[np.float64]:
        """(n_symbols,) last mid of each symbol's uncrossed quotes, currency; NaN = none yet."""
        return self.state["mark"].copy()

    def held(self) -> Snapshot:
        return {
            "state": self.state, "book": self.book, "executed": np.array(sorted(self.executed), np.int64),
            "unpaid": np.array(list(self._unpaid), np.int64), "unpaid_row": np.array(list(self._unpaid.values()), np.int64),
            "early": np.array(list(self._early), np.int64), "early_commission": np.array(list(self._early.values()), np.float64),
            **self.limits.snapshot(),
        }  # fmt: skip

    def snapshot(self) -> Snapshot:
        return copied(self.held())

    def restore(self, saved: Snapshot) -> None:
        self.state[...] = saved["state"]
        self.book[...] = saved["book"]
        self.limits.restore(saved)
        self.executed = set(saved["executed"].tolist())
        self._unpaid = dict(zip(saved["unpaid"].tolist(), saved["unpaid_row"].tolist()))
        self._early = dict(zip(saved["early"].tolist(), saved["early_commission"].tolist()))


def sectors(risk: RiskConf, symbols: Sequence[str]) -> npt.NDArray[np.int32]:
    """(n_symbols,) number of each symbol's sector; -1 = none."""
    if unknown := sorted(set(risk.sectors) - set(symbols)):
        raise ConfigError(f"risk.sectors has {unknown[0]!r}, which is not in the universe. Correct it in conf/risk or on the command line.")
    numbers = {name: i for i, name in enumerate(sorted(set(risk.sectors.values())))}
    return np.array([numbers[risk.sectors[s]] if s in risk.sectors else -1 for s in symbols], np.int32)


def _check(risk: RiskConf, costs: CostsConf, orders: OrdersConf) -> None:
    """ConfigError names the first setting that is out of range; `fees` checks the other costs."""
    groups = {"risk": risk, "orders": orders}
    positive = (
        "risk.nav", "risk.vol_target", "risk.name_cap", "risk.profit_barrier", "risk.stop_barrier", "risk.lot", "risk.kelly", "risk.participation",
        "orders.ttl_s", "orders.wait_s", "orders.acknowledge_s", "orders.compare_s", "orders.reprice_ticks",
    )  # fmt: skip
    least_zero = (
        "risk.gross_cap", "risk.pool_share", "risk.resize_band", "risk.net_cap", "risk.sector_cap", "risk.throttle_from",
        "risk.throttle_to", "risk.least_value", "orders.limit_offset_ticks", "orders.requests", "orders.reserved",
        "orders.improve_ticks", "orders.reprice_s", "orders.cross_s", "orders.profit_bp", "orders.stop_bp", "orders.margin_share",
    )  # fmt: skip
    for setting in (*positive, *least_zero):
        group, name = setting.split(".")
        value = getattr(groups[group], name)
        if not (value > 0 if setting in positive else value >= 0):
            expected = "a positive number" if setting in positive else "zero or more"
            raise ConfigError(f"{setting} is {value}: expected {expected}. Correct it in conf/{group} or on the command line.")
    choices = {"orders.style": ("marketable", "passive"), "orders.tif": ("DAY", "GTC", "IOC", "FOK"), "orders.bracket_tif": ("DAY", "GTC")}
    for setting, allowed in choices.items():
        if (value := getattr(orders, setting.partition(".")[2])) not in allowed:
            raise ConfigError(f"{setting} is {value!r}: expected one of {', '.join(allowed)}. Correct it in conf/orders or on the command line.")
    if orders.style == "passive" and orders.tif in ("IOC", "FOK"):
        raise ConfigError(f"orders.tif is {orders.tif}: a passive order waits at its side of the quote. Choose orders.tif=DAY or orders.style=marketable.")
    if 0 < orders.requests <= orders.reserved:
        raise ConfigError(
            f"orders.reserved is {orders.reserved} of {orders.requests} orders.requests: expected less, or no order would go out. "
            "Correct it in conf/orders or on the command line."
        )
    if costs.multiplier != 1:
        raise ConfigError(f"costs.multiplier is {costs.multiplier}: positions are sized in shares, expected 1. Choose a fee table of shares.")
    if not risk.hurdle >= -1:
        raise ConfigError(f"risk.hurdle is {risk.hurdle}: expected -1 (no cost counts) or more, 0 = a round trip is earned. Correct it in conf/risk.")
    if risk.throttle_to < risk.throttle_from:
        raise ConfigError(f"risk.throttle_to is {risk.throttle_to}: expected {risk.throttle_from} (risk.throttle_from) or more. Correct it in conf/risk.")
    if risk.pool_share > 1:
        raise ConfigError(f"risk.pool_share is {risk.pool_share}: expected 0 (each horizon alone) to 1 (only the pooled drift).")
