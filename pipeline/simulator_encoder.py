"""Market data of one client of the simulated gateway: what it asked for, and the frames for it, written by kernels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.jit.wire_encode import L1, SUBSCRIPTION, encode_rows
from tickarrow.jit.wire_encode_market import (
    CLOCK,
    CONTROL_SLOTS,
    FULL,
    MESSAGES,
    POSITION,
    QUOTE,
    STATUS,
    TRADES,
    UNKNOWN_NUMBER,
    UPDATES,
    VOLUME_UNIT,
    WAITING,
)  # fmt: skip
from tickarrow.jit.wire_encode_number import ODD
from tickarrow.jit.wire_encode_slot import ALL, encode_slot
from tickarrow.pipeline import simulator_frames as frames

Array = npt.NDArray[Any]
Columns = tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array, Array]  # of Rows, in order
OUT_BYTES = 1 << 20
HALTED = 49  # tick type: 1 = the exchange has halted trading, 0 = it goes on


def new_quotes(n: int) -> Array:
    """Quotes of symbols of which nothing is known, without resting orders."""
    state = np.zeros(n, QUOTE)
    for name in ("bid", "bid_size", "ask", "ask_size", "last", "last_size", "bid_left", "ask_left", "open", "high", "low"):
        state[name] = np.nan
    state["buy_limit"], state["sell_limit"] = -np.inf, np.inf
    state["buy_stop"], state["sell_stop"] = np.inf, -np.inf
    return state


class Encoder:
    """Market data of one client: what it asked for, and the frames for it.

    Parameters
    ----------
    state : (n_symbols,) QUOTE of the market at this moment, copied
    conf : duplicates, conflation
    conflated : L1 requests are served once a slot
    append : takes the frames
    whole : sizes are whole numbers, for server versions below 163
    day : prices of the day and the time of the last trade are sent too
    halted : rows of the symbols whose trading is halted, kept by the market
    """

    def __init__(
        self, state: Array, conf: SimulatorConf, conflated: bool, append: Callable[[bytes], None], whole: bool = False, day: bool = False,
        halted: Collection[int] = (),
    ) -> None:  # fmt: skip
        self.state, self.conf, self.conflated, self.append = state.copy(), conf, conflated, append
        self.whole, self.day, self.halted = whole, day, halted
        self.first = np.full(len(state), -1, np.int32)
        self.subs = np.zeros(64, SUBSCRIPTION)
        self.subs["req"] = -1
        self.requests: dict[int, int] = {}  # reqId -> row of `subs`, oldest first
        self.odd = np.zeros(64, ODD)
        self._next_odd = 1
        self.control = np.zeros(CONTROL_SLOTS, np.int64)
        self.out = np.zeros(OUT_BYTES, np.uint8)

    def add(self, req: int, symbol: int, feed: int, ignore_size: bool, slot: int) -> None:
        """Serve a request from the next row on."""
        k = int(np.argmax(self.subs["req"] < 0))
        if self.subs["req"][k] >= 0:
            k = len(self.subs)
            self.subs = np.concatenate([self.subs, np.zeros(k, SUBSCRIPTION)])
            self.subs["req"][k:] = -1
        s, now = self.subs[k], self.state[symbol]
        s["req"], s["symbol"], s["feed"], s["ignore_size"] = req, symbol, feed, ignore_size
        for name in ("bid", "bid_size", "ask", "ask_size", "last", "last_size", "volume", "open", "high", "low", "last_time"):
            s[name] = self._size(float(now[name])) if name.endswith("_size") else now[name]
        s["volume"] -= s["volume"] % VOLUME_UNIT if self.whole else 0
        s["quote_slot"] = s["volume_slot"] = slot
        self.requests[req] = k
        self._chain(symbol)

    def remove(self, req: int) -> None:
        k = self.requests.pop(req)
        self.subs["req"][k] = -1
        self._chain(int(self.subs["symbol"][k]))

    def _chain(self, symbol: int) -> None:
        """Link the requests of a symbol, oldest first."""
        mine = [k for k in self.requests.values() if self.subs["symbol"][k] == symbol]
        self.first[symbol] = mine[0] if mine else -1
        for k, after in zip(mine, [*mine[1:], -1]):
            self.subs["next"][k] = after

    def rows(self, columns: Columns, lo: int, hi: int, clock: int) -> None:
        """Frames of the rows [lo, hi)."""
        while lo < hi:
            lo = encode_rows(
                self.state, self.first, self.subs, *columns, lo, hi,
                clock, self.conflated, self.conf.duplicate_sizes, self.whole, self.day, self.odd, self.control, self.out,
            )  # fmt: skip
            self._settle()
        self._take()

    def slot(self, slot: int, part: int = ALL) -> bool:
        """Frames of a conflation slot, or of a part of it; whether a change still waits."""
        self.control[WAITING] = 0
        lo, hi = 0, len(self.subs)
        while lo < hi:
            lo = encode_slot(
                self.state, self.subs, lo, hi, slot, self.conf.quote_slots, part,
                self.conf.duplicate_sizes, self.whole, self.day, self.odd, self.control, self.out,
            )  # fmt: skip
            self._settle()
        self._take()
        return bool(self.control[WAITING])

    def _settle(self) -> None:
        """Give the kernel what it stopped for: room, or the text of a number."""
        if self.control[STATUS] == FULL:
            if self.control[POSITION] == 0:
                self.out = np.zeros(2 * len(self.out), np.uint8)
            self._take()
        elif self.control[STATUS] == UNKNOWN_NUMBER:
            x = float(self.odd[0]["value"])
            digits = frames.text(x)
            digits = digits if len(digits) <= 32 else repr(x)
            entry = self.odd[self._next_odd]
            entry["value"], entry["length"] = x, len(digits)
            entry["text"][: len(digits)] = np.frombuffer(digits.encode(), np.uint8)
            self._next_odd = self._next_odd % (len(self.odd) - 1) + 1

    def _take(self) -> None:
        if n := int(self.control[POSITION]):
            self.append(self.out[:n].tobytes())
            self.control[POSITION] = 0

    def clock(self, ts: int) -> None:
        """A clock frame by itself."""
        self.append(frames.frame(frames.CLOCK, ts, int(self.control[CLOCK])))
        self.control[CLOCK] += 1

    def tell(self, reqs: Iterable[int], tick: int, value: float) -> None:
        """A generic tick for these requests."""
        for req in reqs:
            self.append(frames.frame(45, 6, req, tick, f"{value:.1f}"))
            self.control[MESSAGES] += 1

    def halt(self, symbol: int, halted: bool) -> bool:
        """Tell the L1 requests of a symbol that its trading is halted or goes on; whether there are such."""
        told = [req for req, k in self.requests.items() if self.subs["symbol"][k] == symbol and self.subs["feed"][k] == L1]
        self.tell(told, HALTED, float(halted))
        return bool(told)

    def present(self, req: int, symbol: int) -> bool:
        """The volume so far, halted or not, the prices of the day and the quote in force; whether there is a quote."""
        s = self.state[symbol]
        volume = int(s["volume"])
        digits = f"{volume // VOLUME_UNIT}.{0 if self.whole else volume % VOLUME_UNIT:08d}".rstrip("0").rstrip(".")
        out = [frames.frame(2, 6, req, 8, digits), frames.frame(45, 6, req, HALTED, f"{symbol in self.halted:.1f}")]
        if self.day:
            out += self._day(req, s)
        for price, size, tick, size_tick in ("bid", "bid_size", 1, 0), ("ask", "ask_size", 2, 3), ("last", "last_size", 4, 5):
            p, z = float(s[price]), self._size(float(s[size]))
            if np.isnan(p):
                continue
            out.append(frames.frame(1, 6, req, tick, p, z, int(tick < 4)))
            if self.conf.duplicate_sizes and not np.isnan(z):
                out.append(frames.frame(2, 6, req, size_tick, z))
        self.append(b"".join(out))
        self.control[MESSAGES] += len(out)
        quoted = not (np.isnan(s["bid"]) and np.isnan(s["ask"]))
        self.control[UPDATES] += quoted
        return quoted

    def _size(self, x: float) -> float:
        return float(np.floor(x)) if self.whole else x

    def _day(self, req: int, s: Any) -> list[bytes]:
        """Time of the last trade, high, low, close of the day before and open; -1 = not known. A source holds no day before."""
        out = [frames.frame(46, 6, req, 45, int(s["last_time"]))] if s["last_time"] else []
        for tick, name in (6, "high"), (7, "low"), (9, ""), (14, "open"):
            p = float(s[name]) if name else np.nan
            out.append(frames.frame(1, 6, req, tick, -1 if np.isnan(p) else p, 0, 0))
        return out

    @property
    def tick_by_tick(self) -> int:
        """Tick-by-tick requests."""
        return sum(int(self.subs["feed"][k]) != L1 for k in self.requests.values())

    @property
    def sent(self) -> tuple[int, int, int]:
        """Market-data messages, quote updates and trades sent."""
        return int(self.control[MESSAGES]), int(self.control[UPDATES]), int(self.control[TRADES])
