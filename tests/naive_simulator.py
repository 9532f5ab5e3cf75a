"""Slow twins of the wire encoder and the matching engine, and a client that knows frames only: plain Python, no code of the simulator."""

from __future__ import annotations

import asyncio
import copy
import socket
import struct
from decimal import ROUND_FLOOR, Decimal
from math import floor

NO_CLOCK, EVERY_ROW, ALL_BUT_LAST = 0, 1, 2


def number(x):
    """Shortest decimal text without exponent that reads back as `x`."""
    text = format(Decimal(repr(float(x))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def frame(*fields):
    body = b"".join(str(f).encode() + b"\0" for f in fields)
    return struct.pack(">I", len(body)) + body


def frames(data):
    """Complete frames of a stream as lists of fields, and the torn rest."""
    out, at = [], 0
    while len(data) - at >= 4:
        (n,) = struct.unpack_from(">I", data, at)
        if len(data) - at - 4 < n:
            break
        out.append(data[at + 4 : at + 4 + n].decode().split("\0")[:-1])
        at += 4 + n
    return out, data[at:]


def missing(x):
    return x != x


class Quote:
    """Quote in force, last trade and day volume of a symbol."""

    def __init__(self):
        self.bid = self.bid_size = self.ask = self.ask_size = self.last = self.last_size = float("nan")
        self.open = self.high = self.low = float("nan")
        self.volume, self.last_time = Decimal(0), 0

    def apply(self, row):
        ts, _, kind, mask, bid, bid_size, ask, ask_size, price, size = row
        if kind == 1:
            self.volume += Decimal(repr(size)).quantize(Decimal("1e-8"))
            if not missing(price):
                self.last, self.last_size, self.last_time = price, size, ts // 10**9
                seen = [price] if missing(self.open) else [price, self.high, self.low]
                self.open = price if missing(self.open) else self.open
                self.high, self.low = max(seen), min(seen)
            return
        if mask & 1:
            self.bid = bid
        if mask & 2:
            self.bid_size = bid_size
        if mask & 4:
            self.ask = ask
        if mask & 8:
            self.ask_size = ask_size
        if mask & 1 and missing(bid):
            self.bid_size = float("nan")
        if mask & 4 and missing(ask):
            self.ask_size = float("nan")


def shares(x, whole):
    """A size or volume as a client of an old server version gets it."""
    if not whole or missing(x):
        return x
    return x.to_integral_value(ROUND_FLOOR) if isinstance(x, Decimal) else float(floor(x))


def day_messages(req, before, now):
    """Open, high and low that have changed: all of them at the first trade."""
    new = [(14, now.open, before[0]), (6, now.high, before[1]), (7, now.low, before[2])]
    return [(1, 6, req, tick, number(p), 0, 0) for tick, p, old in new if not missing(p) and p != old]


def side(req, tick, size_tick, price, size, price_given, size_given, duplicates):
    out = []
    if price_given:
        if missing(price):
            out.append((1, 6, req, tick, -1, 0, 0))
            size = 0.0
        else:
            out.append((1, 6, req, tick, number(price), "" if missing(size) else number(size), 1))
        if duplicates and not missing(size):
            out.append((2, 6, req, size_tick, number(size)))
    elif size_given:
        out.append((2, 6, req, size_tick, "" if missing(size) else number(size)))
    return out


def encode_rows(rows, requests, quotes, clock=NO_CLOCK, duplicates=True, number_of_clock=0, whole=False, day=False):
    """Frames of rows, and (messages, updates, trades).

    rows: tuples (ts, symbol, kind, mask, bid, bid_size, ask, ask_size, price, size); requests: tuples (req, symbol, feed, ignore_size)
    with feed 0 = L1, 1 Last, 2 AllLast, 3 BidAsk, 4 MidPoint; quotes: dict symbol -> Quote, updated.
    """
    out, messages, updates, trades = [], 0, 0, 0
    for at, row in enumerate(rows):
        ts, symbol, kind, mask, *_, price, size = row
        mine = [r for r in requests if r[1] == symbol]
        q = quotes.setdefault(symbol, Quote())
        before, of_day = (q.bid, q.ask), (q.open, q.high, q.low, q.last_time)
        q.apply(row)
        size = shares(size, whole)
        bid_size, ask_size = shares(q.bid_size, whole), shares(q.ask_size, whole)
        moved = any(a != b and not (missing(a) and missing(b)) for a, b in zip(before, (q.bid, q.ask)))
        said = []
        for req, _, feed, ignore_size in mine:
            if kind == 1 and feed == 0:
                if not missing(price):
                    if day and q.last_time != of_day[3]:
                        said.append((46, 6, req, 45, q.last_time))
                    said.append((1, 6, req, 4, number(price), number(size), 0))
                    if duplicates:
                        said.append((2, 6, req, 5, number(size)))
                volume = format(shares(q.volume, whole), "f")
                said.append((2, 6, req, 8, volume.rstrip("0").rstrip(".") if "." in volume else volume))
                if day:
                    said += day_messages(req, of_day, q)
                if not any(r[2] in (1, 2) for r in mine):
                    trades += 1
            elif kind == 1 and feed in (1, 2) and not missing(q.last):
                said.append((99, req, feed, ts // 10**9, number(q.last), number(size), 0, "SIM", ""))
                trades += 1
            elif kind == 0 and mask and feed == 0:
                said += side(req, 1, 0, q.bid, bid_size, mask & 1, mask & 2, duplicates)
                said += side(req, 2, 3, q.ask, ask_size, mask & 4, mask & 8, duplicates)
                updates += 1
            elif kind == 0 and mask and feed == 3 and (moved or not ignore_size):
                prices = [-1 if missing(p) else number(p) for p in (q.bid, q.ask)]
                sizes = [0 if missing(p) or missing(z) else number(z) for p, z in ((q.bid, bid_size), (q.ask, ask_size))]
                said.append((99, req, 3, ts // 10**9, *prices, *sizes, 0))
                updates += 1
            elif kind == 0 and mask and feed == 4 and moved and not missing(q.bid + q.ask):
                said.append((99, req, 4, ts // 10**9, number((q.bid + q.ask) / 2)))
        messages += len(said)
        if mine and (clock == EVERY_ROW or (clock == ALL_BUT_LAST and at < len(rows) - 1)):
            said.append((9001, ts, number_of_clock))
            number_of_clock += 1
        out += said
    return b"".join(frame(*f) for f in out), (messages, updates, trades)


def encode_slots(slots, req, wait, duplicates=True, whole=False, day=False):
    """Frames of a conflated request: `slots` = the symbol's Quote at the end of each slot, from slot 0 on; nothing was sent before."""
    slots = [copy.copy(q) for q in slots]
    for q in slots:
        q.volume, q.last_size, q.bid_size, q.ask_size = (shares(x, whole) for x in (q.volume, q.last_size, q.bid_size, q.ask_size))
    sent, out, quote_slot, volume_slot = Quote(), [], 0, 0

    def same(a, b):
        return a == b or (missing(a) and missing(b))

    for k, q in enumerate(slots):
        last, last_size = not same(q.last, sent.last), not same(q.last_size, sent.last_size)
        if q.volume != sent.volume and (last or last_size or k - volume_slot >= wait):
            if day and q.last_time != sent.last_time:
                out.append((46, 6, req, 45, q.last_time))
            if last:
                out.append((1, 6, req, 4, number(q.last), number(q.last_size), 0))
            if last_size or (last and duplicates):
                out.append((2, 6, req, 5, number(q.last_size)))
            volume = format(q.volume, "f")
            out.append((2, 6, req, 8, volume.rstrip("0").rstrip(".") if "." in volume else volume))
            out += day_messages(req, (sent.open, sent.high, sent.low), q) if day else []
            sent.last, sent.last_size, sent.volume, volume_slot = q.last, q.last_size, q.volume, k
            sent.open, sent.high, sent.low, sent.last_time = q.open, q.high, q.low, q.last_time
        prices = not (same(q.bid, sent.bid) and same(q.ask, sent.ask))
        sizes = not (same(q.bid_size, sent.bid_size) and same(q.ask_size, sent.ask_size))
        if prices or (sizes and k - quote_slot >= wait):
            for tick, size_tick, p, z, old in (1, 0, q.bid, q.bid_size, sent.bid), (2, 3, q.ask, q.ask_size, sent.ask):
                if not same(p, old):
                    out += side(req, tick, size_tick, p, z, True, True, duplicates)
            for size_tick, p, z, old, old_size in (
                (0, q.bid, q.bid_size, sent.bid, sent.bid_size),
                (3, q.ask, q.ask_size, sent.ask, sent.ask_size),
            ):
                if same(p, old) and not same(z, old_size):
                    out.append((2, 6, req, size_tick, "" if missing(z) else number(z)))
            sent.bid, sent.bid_size, sent.ask, sent.ask_size, quote_slot = q.bid, q.bid_size, q.ask, q.ask_size, k
    return b"".join(frame(*f) for f in out)


def match(rows, actions):
    """Fills and final states of orders, by the rules of the matching engine, one row at a time.

    rows: as in `encode_rows`; actions: (effective time, "order", id, symbol, side, quantity, limit or None[, stop]) or (effective time,
    "cancel", id), in the order in which they were sent. Returns ([(id, price, shares, ts)], {id: (state, filled)}).
    """
    quotes, shown, orders, fills = {}, {}, {}, []
    todo = list(actions)

    def marketable(o):
        q = quotes.get(o["symbol"])
        touch = (q.ask if o["side"] > 0 else q.bid) if q else float("nan")
        return not missing(touch) and (o["limit"] is None or o["side"] * (o["limit"] - touch) >= 0)

    def work(symbol, ts):
        def priority(o):
            best = float("-inf") if o["limit"] is None else -o["side"] * o["limit"]
            return (best, o["number"])

        for o in sorted((o for o in orders.values() if o["state"] == "open" and o["symbol"] == symbol), key=priority):
            if not marketable(o):
                continue
            q, key = quotes[symbol], (symbol, o["side"])
            left = o["quantity"] - o["filled"]
            shares = left if missing(shown[key]) else min(left, shown[key])
            if shares <= 0:
                continue
            shown[key] -= shares
            o["filled"] += shares
            touch = q.ask if o["side"] > 0 else q.bid
            fills.append((o["id"], o["limit"] if o["waited"] and o["limit"] is not None else touch, shares, ts))
            if o["filled"] == o["quantity"]:
                o["state"] = "Filled"

    def reached(o):
        q = quotes.get(o["symbol"])
        return q is not None and not missing(q.last) and o["side"] * (q.last - o["stop"]) >= 0

    def act(a):
        ts, what, key, *rest = a
        if what == "cancel":
            if key in orders and orders[key]["state"] in ("open", "waits"):
                orders[key]["state"] = "Cancelled"
            return
        symbol, side_, quantity, limit, *stop = rest
        o = {
            "id": key,
            "symbol": symbol,
            "side": side_,
            "quantity": quantity,
            "limit": limit,
            "filled": 0,
            "state": "open",
            "number": len(orders),
            "stop": stop[0] if stop else None,
        }
        orders[key] = o
        if o["stop"] is not None and not reached(o):
            o["state"] = "waits"
            return
        o["waited"] = not marketable(o)
        work(symbol, ts)

    for row in rows:
        while todo and todo[0][0] <= row[0]:
            act(todo.pop(0))
        symbol, kind, mask = row[1:4]
        q = quotes.setdefault(symbol, Quote())
        q.apply(row)
        if kind == 0:
            if mask & 12:
                shown[symbol, 1] = q.ask_size
            if mask & 3:
                shown[symbol, -1] = q.bid_size
            work(symbol, row[0])
        started = [o for o in orders.values() if kind == 1 and o["state"] == "waits" and o["symbol"] == symbol and reached(o)]
        for o in started:
            o["state"], o["waited"] = "open", not marketable(o)
        if started:
            work(symbol, row[0])
    for a in todo:
        act(a)
    for o in orders.values():
        if o["state"] in ("open", "waits"):
            o["state"] = "Cancelled"
    return fills, {o["id"]: (o["state"], o["filled"]) for o in orders.values()}


def stock(symbol, con_id=0):
    """The twelve contract fields of a request."""
    return [con_id, symbol, "STK", "", 0.0, "", "", "SMART", "", "USD", "", ""]


class Client:
    """Sends and receives frames; keeps every byte it got."""

    @classmethod
    async def connect(cls, port, options="", client_id=1, start=True, receive_buffer=0, version=178):
        self = cls()
        sock = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only where the protocol is named
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        self.reader, self.writer = await asyncio.open_connection(sock=sock)
        self.received, self.at, self.closed = bytearray(), 0, False
        hello = f"v157..{version}{' ' + options if options else ''}".encode()
        self.writer.write(b"API\0" + len(hello).to_bytes(4, "big") + hello)
        self.greeting = await self.next()
        if start:
            self.send(71, 2, client_id, "")
        return self

    def send(self, *fields):
        self.writer.write(frame(*fields))

    async def next(self, timeout=5.0):
        """The next frame as a list of fields; None when the server has closed."""
        while True:
            if len(self.received) - self.at >= 4:
                end = self.at + 4 + int.from_bytes(self.received[self.at : self.at + 4], "big")
                if len(self.received) >= end:
                    body = bytes(self.received[self.at + 4 : end])
                    self.at = end
                    return body.decode().split("\0")[:-1]
            data = await asyncio.wait_for(self.reader.read(1 << 16), timeout)
            if not data:
                self.closed = True
                return None
            self.received += data

    async def until(self, *ids, matching=lambda f: True):
        """Frames up to and with the first of these message ids."""
        out = []
        while (f := await self.next()) is not None:
            out.append(f)
            if f[0] in ids and matching(f):
                return out
        raise AssertionError(f"closed before any of {ids}; got {out[-5:]}")

    async def follow(self, at_clock=lambda number: None, pause=0.0):
        """In lock step, once all is asked for: every frame to the market's end, each clock frame acknowledged after `at_clock(number)`."""
        self.send(49, 1)
        await self.until("49")
        self.send(9002, 0)
        seen = []
        while not seen or seen[-1][0] != "9003":
            seen.append(await self.next())
            if seen[-1][0] == "9001":
                if pause:
                    await asyncio.sleep(pause)
                at_clock(int(seen[-1][2]))
                self.send(9002, seen[-1][2])
        return seen

    async def error(self, code):
        """Text of the next error with this code."""
        return (await self.until("4", matching=lambda f: f[3] == str(code)))[-1][4]

    def subscribe(self, req, symbol, snapshot=False, generic=""):
        self.send(1, 11, req, *stock(symbol), 0, generic, int(snapshot), 0, "")

    def tick_by_tick(self, req, symbol, kind):
        self.send(97, req, *stock(symbol), kind, 0, 0)

    def order(
        self, order_id, symbol, action, quantity, limit=None, tif="DAY", ref="ref", stop=None, parent=0, transmit=1, group="", group_type="", what_if="",
        **fields,
    ):  # fmt: skip
        """An order of the kind that its prices say; `fields` by their position in the message, as `_37="20131008"`."""
        kind = {(True, True): "MKT", (False, True): "LMT", (True, False): "STP", (False, False): "STP LMT"}[limit is None, stop is None]
        prices = ["" if limit is None else limit, "" if stop is None else stop]
        head = [3, order_id, *stock(symbol), "", "", action, quantity, kind, *prices, tif, group, "", "", 0, ref, transmit, parent]
        message = [*head, *[0] * 6, *[""] * 78]
        message[46], message[84] = group_type, what_if
        for at, value in fields.items():
            message[int(at[1:])] = value
        self.send(*message)

    def bars(self, req, symbol, duration, size, what="TRADES", end="", regular=0, form=2, kept=0):
        self.send(20, req, *stock(symbol), 0, end, size, duration, regular, what, form, kept, "")

    def ticks(self, req, symbol, number, what="TRADES", start="", end="", regular=0, ignore_size=0):
        self.send(96, req, *stock(symbol), 0, start, end, number, what, regular, ignore_size, "")

    def depth(self, req, symbol, rows=5, smart=0):
        self.send(10, 5, req, *stock(symbol), rows, smart, "")

    def cancel(self, order_id):
        self.send(4, 1, order_id, "")

    def close(self):
        self.writer.close()
