"""Market depth of the simulated gateway: the quote of the source as the first level, and behind it levels that follow from its price
alone, one tick apart. A moving quote becomes inserts, updates and deletes as IBKR sends them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tickarrow.pipeline.simulator_bars import size_text
from tickarrow.pipeline.simulator_frames import frame
from tickarrow.pipeline.simulator_rules import NO_CONTRACT, Request, instrument, refused

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_feed import Feed
    from tickarrow.pipeline.simulator_session import Session

INSERT, UPDATE, DELETE = 0, 1, 2
ASK, BID = 0, 1  # side on the wire
MAKERS = ("SIM", "ARCA", "BATS", "NSDQ")
MOST_ROWS = 60
Level = tuple[float, float]  # price, shares


@dataclass(slots=True)
class Ladder:
    """What a client knows of a symbol's depth."""

    symbol: int
    rows: int
    smart: bool
    levels: dict[int, list[Level]] = field(default_factory=lambda: {ASK: [], BID: []})


def ladder(price: float, size: float, side: int, tick: float, rows: int) -> list[Level]:
    """Levels of a side, best first: the quote, then one level a tick with 100 to 1,600 shares, the same for the same price at any time."""
    if np.isnan(price):
        return []
    first = round(price / tick)
    out = [(price, 0.0 if np.isnan(size) else size)]
    for k in range(1, rows):
        at = first + k if side == ASK else first - k
        if at <= 0:
            break
        out.append((round(at * tick, 8), 100.0 * (1 + (at * 2654435761 + side * 40503 >> 13) % 16)))
    return out


def changes(old: list[Level], new: list[Level]) -> list[tuple[int, int, Level]]:
    """Operations (position, operation, level) that turn one ladder into the other: deletes from behind, then inserts and updates."""
    prices = {p for p, _ in new}
    out: list[tuple[int, int, Level]] = []
    book = list(old)
    for k in range(len(book) - 1, -1, -1):
        if book[k][0] not in prices:
            out.append((k, DELETE, (book.pop(k)[0], 0.0)))
    for k, level in enumerate(new):
        if k >= len(book) or book[k][0] != level[0]:
            out.append((k, INSERT, level))
            book.insert(k, level)
        elif book[k] != level:
            out.append((k, UPDATE, level))
            book[k] = level
    return out


class Depth:
    """Requests of a feed for market depth."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.requests: dict[tuple[Session, int], Ladder] = {}

    def wants(self, symbol: int) -> bool:
        return any(d.symbol == symbol for d in self.requests.values())

    def update(self, symbol: int) -> None:
        """Say what the quote of a symbol has changed."""
        for (s, req), d in list(self.requests.items()):
            if s.closed:
                del self.requests[s, req]
            elif d.symbol == symbol and not s.silent(symbol):
                s.send_data(self.frames(s, req, d))

    def frames(self, s: Session, req: int, d: Ladder) -> list[bytes]:
        quote: Any = self.feed.state[d.symbol]
        tick = self.feed.source.universe.instruments[d.symbol].tick_size
        out = []
        for side, price, size in (BID, "bid", "bid_size"), (ASK, "ask", "ask_size"):
            new = ladder(float(quote[price]), float(quote[size]), side, tick, d.rows)
            for position, operation, (p, z) in changes(d.levels[side], new):
                shares = size_text(z, s.version)
                if d.smart:
                    maker = MAKERS[round(p / tick) % len(MAKERS)]
                    out.append(frame(13, 1, req, position, maker, operation, side, p, shares, 1))
                else:
                    out.append(frame(12, 1, req, position, operation, side, p, shares))
            d.levels[side] = new
        return out


def market_depth(s: Session, request: Request) -> None:
    req, i = request.whole(2), instrument(s, request, 3)
    rows, smart = request.whole(15), request[16] == "1"
    wrong = None if 0 < rows <= MOST_ROWS else (321, f"Error validating request: {rows} rows of market depth; ask for 1 to {MOST_ROWS}")
    rules = s.simulator.rules
    if refused(s, req, rules.new_id(s, req), None if i else NO_CONTRACT, wrong, rules.depth()):
        return
    assert i is not None
    depth = s.feed.depth
    depth.requests[s, req] = d = Ladder(i.row, rows, smart)
    s.send_data(depth.frames(s, req, d))
    s.feed.open_soon()


def cancel_depth(s: Session, request: Request) -> None:
    req = request.whole(2)
    if s.feed.depth.requests.pop((s, req), None) is None:
        s.error(req, 310, f"Can't find the subscribed market depth with tickerId:{req}")
