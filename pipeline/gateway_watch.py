"""The watch over a gateway's data and link: asks for what the subscription table holds, listens for silence, reconnects, and says how
healthy everything is. It runs between chunks only; what it finds reaches the pipeline as control events, so a replay sees the same."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickarrow.pipeline.calendar import Hours
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.link import Action, Link, LinkState
from tickarrow.pipeline.schemas import ControlKind, Feed, Flag, Health
from tickarrow.pipeline.subscriptions import Subscription, Subscriptions

if TYPE_CHECKING:
    from tickarrow.pipeline.gateway import Gateway

RESTING = Flag.HALTED | Flag.FROZEN  # a symbol that is silent for a reason
PERIOD_S = 0.25  # market time between two looks
SHORTEST_S = 0.01  # wall time between two looks


@dataclass(slots=True)
class SubscriptionStatus:
    """What a person may want to know of a subscription; seconds, NaN = not yet."""

    symbol: str
    asked: Feed
    served: Feed
    health: Health
    silent_s: float
    expected_s: float
    generation: int
    resubscriptions: int
    refusal: str


@dataclass(slots=True)
class Status:
    """A gateway at a moment."""

    link: LinkState
    why: str  # the link is not up
    reconnects: int
    lines: tuple[int, int]  # used, of the account
    tick_by_tick: tuple[int, int]
    requests_left: float  # for data, this second
    resubscriptions: int
    late_frames: int  # of ids that were given up
    subscriptions: list[SubscriptionStatus]


class Watch:
    """Watches one gateway.

    Parameters
    ----------
    gateway : its client sends the requests
    table : what is wanted
    """

    def __init__(self, gateway: Gateway, table: Subscriptions) -> None:
        self.gateway, self.table, self.conf = gateway, table, gateway.conf
        self.link = Link(gateway.conf)
        self.hours = Hours(gateway.conf.calendar, time.time_ns())
        self._asked_as: dict[int, Feed] = {}  # every reqId of this session
        self._health = [Health.LIVE] * len(gateway.universe)  # as the pipeline knows it
        self._link_health = Health.LIVE
        self._tokens, self._counted_at = float(self.conf.data_requests), -math.inf
        self._reads, self._read_at = -1, -math.inf

    # --- asking

    def ask(self, now: float, unpaced: bool = False) -> bool:
        """Ask for what is due, within the share of requests that data may take; whether nothing is left to ask."""
        wall = self.gateway.loop_time()
        self._tokens = min(float(self.conf.data_requests), self._tokens + (wall - self._counted_at) * self.conf.data_requests)
        self._counted_at = wall
        for request in self.table.ended:
            self._cancel(request)
        self.table.ended.clear()
        while unpaced or self._tokens >= 2.0:
            s = self.table.due(now)
            if s is None:
                return True
            if s.req_id >= 0:
                self._cancel(s.req_id)
            self._ask(s, now)
        return False

    def _ask(self, s: Subscription, now: float) -> None:
        client, contract = self.gateway.ib.client, self.gateway.contracts[s.symbol]
        request = client.getReqId()
        self._asked_as[request] = s.feed
        self.table.asked(s, request, now)
        self.gateway.apply(Control(kind=ControlKind.SUBSCRIBE, symbol=s.symbol, key=request, value=s.feed))
        if s.feed == Feed.L1:
            client.reqMktData(request, contract, self.conf.generic_ticks, False, False, [])
        elif s.feed == Feed.DEPTH:
            client.reqMktDepth(request, contract, self.conf.depth_rows, True, [])
        elif s.feed == Feed.BAR_5S:
            client.reqRealTimeBars(request, contract, 5, "TRADES", True, [])
        else:
            client.reqTickByTickData(request, contract, "Last" if s.feed == Feed.TBT_LAST else "BidAsk", 0, False)
        self._tokens -= 1.0

    def _cancel(self, request: int) -> None:
        client, feed = self.gateway.ib.client, self._asked_as[request]
        self.gateway.apply(Control(kind=ControlKind.UNSUBSCRIBE, key=request))
        if feed == Feed.L1:
            client.cancelMktData(request)
        elif feed == Feed.DEPTH:
            client.cancelMktDepth(request, True)
        elif feed == Feed.BAR_5S:
            client.cancelRealTimeBars(request)
        else:
            client.cancelTickByTickData(request)
        self._tokens -= 1.0

    def begin(self, now: float) -> None:
        """The first session is there."""
        self.link.up(now)
        self._report_link()

    def was_down(self) -> None:
        """The pipeline knows the link as lost: an earlier run has ended."""
        self._link_health = Health.LOST

    # --- looking

    def look(self, now: float) -> None:
        """One look at everything."""
        if self.gateway.tap.reads != self._reads:
            self._reads, self._read_at = self.gateway.tap.reads, now
        self.act(self.link.look(now, self._read_at), now)
        up = self.link.state == LinkState.UP
        decode = self.gateway.pipeline.decode
        watched = up and self.hours.is_open(time.time_ns())
        for said in self.table.look(now, watched, decode.heard, lambda row: bool(decode.in_force(row) & RESTING)):
            self.gateway.tell(said)
        if up:
            self.ask(now)
            self.gateway.look_at_orders()
        self.report()

    def act(self, action: Action, now: float) -> None:
        """Do what the link asks for."""
        if action == Action.CONNECT:
            self.gateway.reconnect()
        elif action == Action.PING:
            self.gateway.ib.client.reqIds(1)  # TWS answers it by itself, also when IBKR is out of reach
        elif action == Action.DROP:
            self.gateway.drop(self.link.why)
        elif action == Action.RESUBSCRIBE:
            self.table.ask_all(now)
        elif action == Action.VERIFY:
            self.table.verify(now)
        elif action == Action.GIVE_UP:
            self.gateway.give_up(self.link.why)

    def down(self, now: float, why: str) -> None:
        """The session is over."""
        self.link.down(now, why)
        for request in self.table.forget_ids():
            self.gateway.apply(Control(kind=ControlKind.UNSUBSCRIBE, key=request))
        self._asked_as.clear()
        self.report()

    def up(self, now: float) -> None:
        """A new session is there, orders and positions are read."""
        self.link.reconnects += 1
        self.link.up(now)
        if self.conf.market_data_type != 1:
            self.gateway.ib.client.reqMarketDataType(self.conf.market_data_type)
        self.table.ask_all(now)
        self.look(now)

    def version(self, version: int) -> None:
        """A session begins, at this server version: a replay must read its frames with the same tables."""
        if version != self.gateway.pipeline.decode.server_version:
            self.gateway.apply(Control(kind=ControlKind.SERVER_VERSION, value=version))

    def report(self) -> None:
        """Tell the pipeline what has changed."""
        self._report_link()
        for row, health in enumerate(self.table.health()):
            if health != self._health[row]:
                self._health[row] = health
                self.gateway.apply(Control(kind=ControlKind.HEALTH, symbol=row, value=health))

    def _report_link(self) -> None:
        orders = self.gateway.orders
        settled = orders is None or orders.router.settled
        link = Health.LIVE if self.link.state == LinkState.UP and settled else Health.LOST
        if link != self._link_health:
            self._link_health = link
            self.gateway.apply(Control(kind=ControlKind.HEALTH, symbol=-1, value=link))

    # --- errors

    def error(self, request: int, code: int, text: str, now: float) -> bool:
        """An error of IBKR; whether it is one of data or of the link."""
        if request < 0:
            lost = self.link.state == LinkState.LOST
            self.act(self.link.code(code, text, now), now)
            if lost and self.link.state == LinkState.UP and self.gateway.orders is not None:
                self.gateway.orders.router.doubt()  # what became of them behind TWS is not known
            return True
        s = self.table.of(request)
        if s is not None and code == 317:
            self.gateway.apply(Control(kind=ControlKind.DEPTH_RESET, symbol=s.symbol))
        said = self.table.error(request, code, text, now)
        if said:
            self.gateway.tell(said)
        if said is not None and self.link.state == LinkState.UP:
            self.report()
        return said is not None or request in self._asked_as

    def status(self, now: float) -> Status:
        """Everything at this moment."""
        t = self.table
        each = [
            SubscriptionStatus(
                self.gateway.universe.symbols[s.symbol], s.wanted, s.feed, s.health, now - s.heard if math.isfinite(s.heard) else math.nan, s.gap,
                s.generation, s.resubscriptions, s.refusal,
            )
            for s in t.all
        ]  # fmt: skip
        return Status(
            self.link.state, self.link.why, self.link.reconnects, (t.lines_used, t.lines), (t.tick_by_tick_used, t.tick_by_tick),
            max(self._tokens, 0.0), sum(s.resubscriptions for s in each), self.gateway.pipeline.decode.counts()["late"], each,
        )  # fmt: skip
