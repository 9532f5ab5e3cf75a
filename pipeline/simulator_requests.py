"""What the simulated gateway answers to each request of a client, as IB Gateway does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tickarrow.jit.wire_encode import ALL_LAST, BID_ASK, L1, LAST, MIDPOINT
from tickarrow.pipeline import simulator_bars as bars
from tickarrow.pipeline import simulator_frames as frames
from tickarrow.pipeline.simulator_depth import cancel_depth, market_depth
from tickarrow.pipeline.simulator_frames import Order, frame
from tickarrow.pipeline.simulator_rt_volume import GENERIC
from tickarrow.pipeline.simulator_rules import NO_CONTRACT, Request, instrument, refused

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_session import Session

FEEDS = {"Last": LAST, "AllLast": ALL_LAST, "BidAsk": BID_ASK, "MidPoint": MIDPOINT}
# Position of the reqId in requests that are not served, as far as they have one.
REQUEST_ID = {22: 2, 52: 2, 54: 2, 55: 2, 67: 2, 68: 2, 74: 2, 78: 1, 79: 1, 81: 1, 83: 1, 84: 1, 86: 1, 88: 1, 92: 1, 94: 1, 100: 1, 102: 1,
              104: 1}  # fmt: skip
SILENT = {14, 23, 53, 56, 57, 63, 64, 75, 77, 89, 90, 93, 95}  # cancels and settings without an answer


def market_data(s: Session, request: Request) -> None:
    req, i = request.whole(2), instrument(s, request, 3)
    snapshot = request[17] == "1"
    rules = s.simulator.rules
    if refused(s, req, rules.new_id(s, req), None if i else NO_CONTRACT, None if snapshot else rules.line()):
        return
    assert i is not None
    s.send(frame(81, req, i.tick_size, "9c0001", 3))
    s.tell_data_type(req, 1)
    if snapshot:
        s.snapshots.append((req, i.row))
        serve_snapshots(s, patient=s.lock is None and not s.feed.over)
    else:
        s.encoder.add(req, i.row, L1, False, s.feed.slot)
        if GENERIC in request[16].split(","):
            s.feed.rt_volume.add(s, req, i.row)
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
    rules = s.simulator.rules
    wrong = None if kind in FEEDS else (321, f"Error validating request: tick type {kind!r} is none of {', '.join(FEEDS)}")
    if refused(s, req, rules.new_id(s, req), None if i else NO_CONTRACT, wrong):
        return
    assert i is not None
    if refused(s, req, rules.line(), rules.tick_by_tick(s, i.row, kind)):
        return
    s.encoder.add(req, i.row, FEEDS[kind], request[16] == "1", s.feed.slot)
    s.feed.open_soon()


def cancel_data(s: Session, request: Request) -> None:
    req = request.whole(2 if request[0] == "2" else 1)
    if req in s.encoder.requests:
        s.encoder.remove(req)
        s.feed.rt_volume.requests.pop((s, req), None)
    elif any(req == r for r, _ in s.snapshots):
        s.snapshots = [w for w in s.snapshots if w[0] != req]
    else:
        s.error(req, 300, f"Can't find EId with tickerId:{req}")


def contract_details(s: Session, request: Request) -> None:
    req, i = request.whole(2), instrument(s, request, 3)
    if i is None:
        s.error(req, *NO_CONTRACT)
        return
    s.send(frames.contract_details(req, i, s.version) + frame(52, 1, req))


def market_rule(s: Session, request: Request) -> None:
    number = request.whole(1)
    ticks = {frames.market_rule_id(i.tick_size): i.tick_size for i in s.simulator.universe}
    if number in ticks:
        s.send(frames.market_rule(number, ticks[number]))
    else:
        s.error(-1, 321, f"Error validating request: market rule {number} is not known")


def place_order(s: Session, request: Request) -> None:
    order_id, i = request.whole(1), instrument(s, request, 2)
    side = {"BUY": 1, "SELL": -1, "SSHORT": -1}.get(request[16], 0)
    kind = request[18]
    late = int(s.version < 177)  # one field more in front of those from 42 on
    oca_type = request.whole(46 + late) if len(request) > 46 + late else 0
    order = Order(
        s.client_id, order_id, 0, i.row if i else -1, side, request.number(17), kind,
        request.number(19) if "LMT" in kind else side * np.inf, request[21] or "DAY", request[26], s.simulator.account,
        stop=request.number(20) if kind.startswith("STP") else np.nan, parent_id=request.whole(28), oca_group=request[22],
        oca_type=oca_type, transmit=request[27] != "0",
    )  # fmt: skip
    what_if = len(request) > 84 + late and request[84 + late] == "1"
    unserved = {32: "trigger method", 37: "goodAfterTime", 64 + late: "delta neutral", 72 + late: "scale", 76 + late: "hedge",
                82 + late: "algo", 89 + late: "conditions"}  # fmt: skip
    if found := [name for at, name in unserved.items() if request.given(at)]:
        order.kind = f"{kind} with {', '.join(found)}"
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
    req, client_id, account, since, symbol, kind, exchange, side = (request.whole(2), request.whole(3), *request[4:10])
    try:
        first = bars.time_ns(since) if since else 0
    except ValueError:
        s.error(req, 321, f"Error validating request: time {since!r} is not like 20131008-14:00:00")
        return
    for e in s.feed.matching.executions:
        i = s.simulator.universe.instruments[e.order.row]
        sides = ("", "BUY", "BOT") if e.order.side > 0 else ("", "SELL", "SLD")
        wanted = client_id in (0, e.order.client_id) and account in ("", s.simulator.account) and e.ts >= first
        if wanted and symbol in ("", i.symbol) and kind in ("", "STK") and exchange in ("", "SIM", "SMART") and side in sides:
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


def completed_orders(s: Session, request: Request) -> None:
    for o in s.feed.matching.orders.values():
        if o.done and o.perm_id:
            s.send(frames.completed_order(o, s.simulator.universe.instruments[o.row], s.version))
    s.send(frame(102))


def data_type(s: Session, request: Request) -> None:
    """What the client accepts when a symbol has no live data; with live data nothing changes, as at IBKR."""
    if (kind := request.whole(2)) not in (1, 2, 3, 4):
        s.error(-1, 321, f"Error validating request: market data type {kind} is none of 1, 2, 3, 4")
    else:
        s.data_type = kind


def current_time(s: Session, request: Request) -> None:
    now = s.feed.now if s.lock is not None else time.time_ns()
    s.send(frame(49, 1, now // 1_000_000_000))


def bind_orders(s: Session, request: Request) -> None:
    """Orders that are entered by hand get ids of client 0 only; there is nobody here to enter any."""
    if s.client_id != 0:
        s.error(-1, 321, "Error validating request: only the default client (id 0) can bind orders automatically.")


Answer = Callable[["Session", Request], None]
ANSWERS: dict[int, Answer] = {
    1: market_data, 2: cancel_data, 5: open_orders, 6: account, 7: executions, 15: bind_orders,
    8: lambda s, r: s.send(frame(9, 1, s.next_id())), 9: contract_details, 10: market_depth, 11: cancel_depth, 16: open_orders,
    17: lambda s, r: s.send(frame(15, 1, s.simulator.account)), 20: bars.historical_data, 25: bars.cancel_historical, 49: current_time,
    50: bars.real_time_bars, 51: bars.cancel_bars, 59: data_type, 61: positions, 62: account_summary, 76: account_multi,
    87: bars.head_timestamp, 91: market_rule, 96: bars.historical_ticks, 97: tick_by_tick, 98: cancel_data, 99: completed_orders,
}  # fmt: skip
# Take effect after the order latency.
LATER: dict[int, Answer] = {3: place_order, 4: cancel_order, 58: cancel_all}
FEED_REQUESTS = {1, 2, 10, 11, 50, 51, 97, 98}  # change which rows a client gets
