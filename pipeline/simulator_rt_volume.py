"""RTVolume of the simulated gateway: for a market-data request with generic tick 233 a message 46, tick type 48, of each trade, behind
the messages of L1: price;size;time in ms;volume of the day;average price of the day;one market maker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tickarrow.jit.wire_encode_market import TRADE, VOLUME_UNIT
from tickarrow.pipeline.simulator_bars import size_text
from tickarrow.pipeline.simulator_encoder import Columns
from tickarrow.pipeline.simulator_frames import FRACTIONAL_SIZES, frame, text

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_feed import Feed
    from tickarrow.pipeline.simulator_session import Session

GENERIC = "233"
RT_VOLUME = 48
DECIMALS = 8  # of the average price


class RtVolume:
    """Requests of a feed for RTVolume, and the amounts behind the average price: counted from the first request on, then also those before."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.requests: dict[tuple[Session, int], int] = {}  # -> row of the symbol
        self.rows = 0  # that the feed has sent
        self._counting = False
        self._amount, self._shares = (np.zeros(len(feed.source.universe)) for _ in range(2))  # of trades with a price

    def add(self, session: Session, req: int, symbol: int) -> None:
        """Serve a request from the next trade on."""
        if not self._counting:
            self._counting, left = True, self.rows
            for r in self.feed.source.blocks() if left else ():
                n = min(left, len(r.ts))
                self._count((r.ts, r.symbol, r.kind, r.mask, r.bid, r.bid_size, r.ask, r.ask_size, r.price, r.size), 0, n)
                left -= n
                if not left:
                    break
        self.requests[session, req] = symbol

    def wants(self, symbol: int) -> bool:
        return symbol in self.requests.values()

    def sent(self, c: Columns, lo: int, hi: int) -> None:
        """The feed has sent the rows [lo, hi)."""
        self.rows += hi - lo
        if self._counting:
            self._count(c, lo, hi)

    def _count(self, c: Columns, lo: int, hi: int) -> None:
        symbol, price, size = (c[k][lo:hi] for k in (1, 8, 9))
        priced = (c[2][lo:hi] == TRADE) & ~np.isnan(price)
        np.add.at(self._amount, symbol[priced], price[priced] * size[priced])
        np.add.at(self._shares, symbol[priced], size[priced])

    def update(self, c: Columns, row: int) -> None:
        """Say what this row has traded, if it has."""
        if c[2][row] != TRADE:
            return
        symbol = int(c[1][row])
        for (s, req), wanted in list(self.requests.items()):
            if s.closed or req not in s.encoder.requests:
                del self.requests[s, req]
            elif wanted == symbol and not s.silent(symbol):
                s.send_data([frame(46, 6, req, RT_VOLUME, self._text(s, c, row, symbol))])

    def _text(self, s: Session, c: Columns, row: int, symbol: int) -> str:
        volume, shares = int(self.feed.state["volume"][symbol]), self._shares[symbol]
        whole = s.version < FRACTIONAL_SIZES
        total = f"{volume // VOLUME_UNIT}.{0 if whole else volume % VOLUME_UNIT:08d}".rstrip("0").rstrip(".")
        vwap = round(float(self._amount[symbol] / shares), DECIMALS) if shares else np.nan
        size = size_text(float(c[9][row]), s.version)
        return ";".join([
            text(float(c[8][row])), text(size) if isinstance(size, float) else str(size), str(int(c[0][row]) // 1_000_000), total, text(vwap), "true",
        ])  # fmt: skip
