"""What the simulated gateway answers to each request of a client, as IB Gateway does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tickarrow.jit.wire_encode import ALL_LAST, BID_ASK, L1, LAST, MIDPOINT
from tickarrow.pipeline import simulator_frames as frames
from tickarrow.pipeline.simulator_frames import Order, frame
from tickarrow.pipeline.universe import Instrument

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_session import Session

FEEDS = {"Last": LAST, "AllLast": ALL_LAST, "BidAsk": BID_ASK, "MidPoint": MIDPOINT}
# Position of the reqId in requests that are not served, as far as they have one.
REQUEST_ID = {10: 2, 20: 1, 22: 2, 50: 2, 52: 2, 54: 2, 55: 2, 67: 2, 68: 2, 74: 2, 78: 1, 79: 1, 81: 1, 83: 1, 84: 1, 86: 1, 87: 1, 88: 1,
              92: 1, 94: 1, 96: 1, 100: 1, 102: 1, 104: 1}  # fmt: skip
SILENT = {11, 14, 15, 23, 25, 51, 53, 56, 57, 59, 63, 64, 75, 77, 89, 90, 93, 95}  # cancels and settings without an answer


class Request(list[str]):
    """Fields of a request; a field that is not there or not a number is the client's fault."""

    def number(self, i: int) -> float:
        return float(self[i]) if self[i] else float("nan")

    def whole(self, i: int) -> int:
        return int(self[i] or 0)


def instrument(s: Session, request: Request, at: int) -> Instrument | None:
    """Instrument of the twelve contract fields from `at` on: by number, else by symbol."""
    con_id, symbol, kind = request.whole(at), request[at + 1] or request[at + 10], request[at + 2]
    if kind not in ("", "STK") or request[at + 9] not in ("", "USD"):
        return None
    return s.simulator.instruments.get(con_id or symbol)


def market_data(s: Session, request: Request) -> None:
    req, i = request.whole(2), instrument(s, request, 3)
    snapshot = request[17] == "1"
    if refused(s, req, i):
        return
    assert i is not None
    s.send(frame(81, req, i.tick_size, "9c0001", 3) + frame(58, 1, req, 1))
    if snapshot:
        s.snapshots.append((req, i.row))
        serve_snapshots(s, patient=s.lock is None and not s.feed.over)
    else:
        s.encoder.add(req, i.row, L1, False, s.feed.slot)
        if s.encoder.present(req, i.row) and s.lock is not None:
            s.lock.clock(s.feed.now)
    s.feed.open_soon()


def serve_snapshots(s: Session, patient: bool = True) -> None:
    """Answer snapshot requests whose symbol has a quote; all of them if not patient."""
    for req, row in s.snapshots.copy():
        quote = s.feed.state[row]
        if not patient or s.feed.over or not (np.isnan(quote["bid"]) or np.isnan(quote["ask"])):
            s.snapshots.remove((req, row))
            s.encoder.present(req, row)
            s.send(frame(57, 1, req))


def tick_by_tick(s: Session, request: Request) -> None:
    req, i, kind = request.whole(1), instrument(s, request, 2), request[14]
    if refused(s, req, i):
        return
    assert i is not None
    if kind not in FEEDS:
        s.error(req, 321, f"Error validating request: tick type {kind!r} is none of {', '.join(FEEDS)}")
        return
    s.encoder.add(req, i.row, FEEDS[kind], request[16] == "1", s.feed.slot)
    s.feed.open_soon()


def refused(s: Session, req: int, i: Instrument | None) -> bool:
    if req in s.encoder.requests:
        s.error(req, 322, "Error processing request: Duplicate ticker id")
    elif i is None:
        s.error(req, 200, "No security definition has been found for the request")
    else:
        return False
    return True


def cancel_data(s: Session, request: Request) -> None:
    req = request.whole(2 if request[0] == "2" else 1)
    if req in s.encoder.requests:
        s.encoder.remove(req)
    elif any(req == r for r, _ in s.snapshots):
        s.snapshots = [w for w in s.snapshots if w[0] != req]
    else:
        s.error(req, 300, f"Can't find EId with tickerId:{req}")


def contract_details(s: Session, request: Request) -> None:
    req, i = request.whole(2), instrument(s, request, 3)
    if i is None:
        s.error(req, 200, "No security definition has been found for the request")
        return
    s.send(frames.contract_details(req, i, s.version) + frame(52, 1, req))


def place_order(s: Session, request: Request) -> None:
    order_id, i = request.whole(1), instrument(s, request, 2)
    side = {"BUY": 1, "SELL": -1, "SSHORT": -1}.get(request[16], 0)
    kind = request[18]
    limit = request.number(19) if kind == "LMT" else side * np.inf
    tif = request[21] or "DAY"
    order = Order(
        s.client_id, order_id, 0, i.row if i else -1, side, request.number(17), kind, limit, tif, request[26], s.simulator.account
    )
    what_if = len(request) > 84 and request[84] == "1"
    if any(len(request) > at and request[at] not in ("", "0") for at in (28, 64, 76, 82)) or request[27] == "0":
        order.kind = f"{kind} with parent, hedge, algo or transmit=False"
    s.feed.submit(s, lambda: s.feed.matching.place(s, order, i, s.feed.now, what_if=what_if))
    s.feed.open_soon()


def cancel_order(s: Session, request: Request) -> None:
    order_id = request.whole(2)
    s.feed.submit(s, lambda: s.feed.matching.cancel(s, order_id))


def cancel_all(s: Session, request: Request) -> None:
    s.feed.submit(s, s.feed.matching.cancel_all)


def open_orders(s: Session, request: Request) -> None:
    everybody = request[0] == "16"
    for o in s.feed.matching.working(lambda o: everybody or o.client_id == s.client_id):
        s.send(frames.open_order(o, s.simulator.universe.instruments[o.row], s.version) + frames.order_status(o))
    s.send(frame(53, 1))


def executions(s: Session, request: Request) -> None:
    req, client_id, symbol, side = request.whole(2), request.whole(3), request[6], request[9]
    for e in s.feed.matching.executions:
        i = s.simulator.universe.instruments[e.order.row]
        sides = ("", "BUY" if e.order.side > 0 else "SELL")
        if client_id in (0, e.order.client_id) and symbol in ("", i.symbol) and side in sides:
            s.send(frames.exec_details(req, e, i, s.version) + frames.commission_report(e))
    s.send(frame(55, 1, req))


def positions(s: Session, request: Request) -> None:
    for row, (shares, average) in s.feed.matching.positions.items():
        if shares:
            s.send(frame(61, 3, s.simulator.account, *frames.contract(s.simulator.universe.instruments[row]), shares, average))
    s.send(frame(62, 1))


def account(s: Session, request: Request) -> None:
    if request[2] == "1":
        account = s.simulator.account
        s.send(frame(6, 2, "NetLiquidation", s.simulator.conf.cash, "USD", account) + frame(54, 1, account))


def account_multi(s: Session, request: Request) -> None:
    req = request.whole(2)
    s.send(frame(73, 1, req, s.simulator.account, "", "NetLiquidation", s.simulator.conf.cash, "USD") + frame(74, 1, req))


def account_summary(s: Session, request: Request) -> None:
    req = request.whole(2)
    s.send(frame(63, 1, req, s.simulator.account, "NetLiquidation", s.simulator.conf.cash, "USD") + frame(64, 1, req))


def current_time(s: Session, request: Request) -> None:
    now = s.feed.now if s.lock is not None else time.time_ns()
    s.send(frame(49, 1, now // 1_000_000_000))


Answer = Callable[["Session", Request], None]
ANSWERS: dict[int, Answer] = {
    1: market_data, 2: cancel_data, 5: open_orders, 6: account, 7: executions,
    8: lambda s, r: s.send(frame(9, 1, s.next_id())), 9: contract_details, 16: open_orders,
    17: lambda s, r: s.send(frame(15, 1, s.simulator.account)), 49: current_time, 61: positions, 62: account_summary,
    76: account_multi, 97: tick_by_tick, 98: cancel_data,
    99: lambda s, r: s.send(frame(102)),
}  # fmt: skip
# Take effect after the order latency.
LATER: dict[int, Answer] = {3: place_order, 4: cancel_order, 58: cancel_all}
FEED_REQUESTS = {1, 2, 97, 98}  # change which rows a client gets
