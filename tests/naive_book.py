"""Slow independent twin of the book kernels: messages of the wire, or rows of a file, to rows of TICKS with dicts and sets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal

from naive_wire import Said

NAN = math.nan


@dataclass
class Symbol:
    quote: list[float] = field(default_factory=lambda: [NAN] * 4)
    last: float = NAN
    volume: Decimal | None = None
    source: int = 0
    state: set[str] = field(default_factory=set)  # flags that hold until they are told otherwise
    of_price: set[str] = field(default_factory=set)  # told with the latest price of the quote
    past: bool = False  # the latest last price is past its limit
    sent: set[int] = field(default_factory=set)  # sides
    missing: set[int] | None = None  # sides to be sent anew since data was lost; None = nothing was lost
    data_type: int = 1
    delayed: bool = False  # the latest price has a delayed tick type
    last_time: int = 0  # s

    def lose(self) -> None:
        self.state |= {"gap"}
        self.missing = set(self.sent)

    def priced(self, sides: set[int], flags: set[str]) -> None:
        self.sent |= sides
        self.of_price = flags
        if self.missing is not None:
            self.missing -= sides
            if not self.missing:
                self.missing = None

    def last_priced(self) -> None:
        if self.missing is not None and not self.sent:
            self.missing = None

    def told(self, m: Said) -> None:
        """Halted or not, live or not, time of the last trade."""
        if m.what == "last time":
            self.last_time = m.time
        elif m.what == "data type":
            self.data_type, self.delayed = m.type, False
            self.state = self.state - {"frozen"} | ({"frozen"} if m.type in (2, 4) else set())
        elif m.values[0] >= 0:
            self.state = self.state - {"halted"} | ({"halted"} if m.values[0] > 0 else set())

    def flags(self, own: set[str] = frozenset(), trade: bool = False) -> int:
        names = self.state | (self.of_price - {"past"} if trade else self.of_price) | own | ({"uncertain"} if self.missing is not None else set())
        if self.delayed or self.data_type > 2:
            names = names | {"delayed"}
        self.state = self.state - {"gap"}
        return sum(FLAGS[n] for n in names)


FLAGS = {
    "conflated": 1, "past": 2, "unreported": 4, "delayed": 8, "frozen": 16, "halted": 32, "pre": 64, "uncertain": 128, "stale": 256, "low": 512,
    "high": 1024, "auto": 2048, "gap": 4096,
}  # fmt: skip


def named(bits: int, *names: str) -> set[str]:
    return {n for k, n in enumerate(names) if bits >> k & 1}


def same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)


LOST = "data of all symbols was lost"


def ticks(chunks: list[list[Said | str]], ours: dict[int, int], tick_by_tick: set[int] = frozenset(), aside: list[tuple] | None = None) -> list[tuple]:
    """Rows (chunk, symbol, kind, ts_exch, flags, bid, bid_size, ask, ask_size, price, size) of chunks of messages.

    `aside` takes (rows before it, message) of the messages of other tables.
    """
    symbols: dict[int, Symbol] = {i: Symbol() for i in ours.values()}
    rows: list[tuple] = []
    for number_, chunk in enumerate(chunks):
        updates: dict[int, dict] = {}  # open updates in the order of their first messages

        def close(i, updates=updates, number_=number_):
            if i in updates:
                update = updates.pop(i)
                rows.append((number_, i, 0, update["time"], symbols[i].flags(), *symbols[i].quote, NAN, NAN))

        for m in chunk:
            if m == LOST:
                for s in symbols.values():
                    s.lose()
                continue
            i = ours[m.req_id]
            s = symbols[i]
            if m.what in ("price", "size", "bidask"):
                if m.what == "price":
                    given = dict(zip((2 * m.side, 2 * m.side + 1), m.values))
                elif m.what == "size":
                    v = m.values[0]
                    given = {2 * m.side + 1: NAN if v == 0 and s.quote[2 * m.side] != s.quote[2 * m.side] else v}
                else:
                    given = dict(enumerate(m.values))
                held = updates.get(i, {"values": {}})["values"]
                if any(k in held and not same(held[k], v) for k, v in given.items()):
                    close(i)
                update = updates.setdefault(i, {"values": {}, "time": 0})
                for k, v in given.items():
                    s.quote[k] = v
                    if not (m.empty and k % 2):
                        update["values"][k] = v
                update["time"] = m.time * 10**9 if m.what == "bidask" else 0
                if m.what != "size":
                    s.delayed = m.delayed
                if m.what == "price":
                    s.priced({m.side}, named(m.attributes, "auto", "past", "pre"))
                elif m.what == "bidask":
                    s.priced({0, 1}, named(m.attributes, "low", "high"))
            elif m.what in ("halt", "data type", "last time"):
                s.told(m)
            elif m.what in ("depth", "bar", "greek") and aside is not None:
                aside.append((len(rows), m))
            elif m.what == "last":
                s.delayed = m.delayed
                s.last, s.past = m.values[0], bool(m.attributes & 2)
                s.last_priced()
            elif m.what == "trade":
                s.last_priced()
                close(i)
                rows.append((number_, i, 1, m.time * 10**9, s.flags(named(m.attributes, "past", "unreported"), True), *s.quote, *m.values))
            elif m.what in ("volume", "rtvolume"):
                if m.what == "rtvolume" and m.values[0] == m.values[0]:
                    s.last, s.past = m.values[0], False
                    s.last_priced()
                if s.source != m.type:
                    if s.source in (0, 8):
                        s.source, s.volume = m.type, m.volume
                    continue
                increase = m.volume - s.volume
                s.volume = m.volume
                if increase > 0 and i not in tick_by_tick:
                    close(i)
                    time = m.time * 10**6 if m.what == "rtvolume" else s.last_time * 10**9
                    own = {"conflated", "past"} if s.past else {"conflated"}
                    rows.append((number_, i, 1, time, s.flags(own, True), *s.quote, s.last, float(increase)))
        for i in list(updates):
            close(i)
    return rows


def rows(source: list[dict]) -> list[tuple]:
    """TICKS of source rows: (symbol, kind, bid, bid_size, ask, ask_size, price, size)."""
    state: dict[int, Symbol] = {}
    out = []
    for r in source:
        s = state.setdefault(r["symbol"], Symbol())
        if r["kind"] == 1:
            if r["price"] == r["price"]:
                s.last = r["price"]
            out.append((r["symbol"], 1, *s.quote, s.last, r["size"]))
            continue
        for side, names in ((0, ("bid", "bid_size")), (1, ("ask", "ask_size"))):
            new = [r[n] if r["mask"] >> (2 * side + k) & 1 else s.quote[2 * side + k] for k, n in enumerate(names)]
            if r["mask"] >> (2 * side) & 3:
                if new[1] == 0 and (new[0] != new[0] or new[0] in (-1, 0)):
                    new = [NAN, NAN]
                s.quote[2 * side : 2 * side + 2] = new
        out.append((r["symbol"], 0, *s.quote, NAN, NAN))
    return out
