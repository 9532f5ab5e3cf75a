"""The generated market as a driver of its kernel: sessions, pauses and blocks of rows. The classes of symbols are in market_classes.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tickarrow.jit import market, market_tables
from tickarrow.jit.market_state import (
    CLOSE,
    EVENT,
    GRID,
    HALT,
    HUB_SECOND,
    HUB_STEP,
    NEVER,
    OPEN,
    PARAMETERS,
    PAUSE,
    SECOND,
    SESSION_S,
    SYMBOL_STATE,
)
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.market_classes import CLASSES, SHOCK_SIZE, Array, day_shape, hub_parameters, key, mix, opening, parameters, parents, tables
from tickarrow.pipeline.universe import Universe

COLUMNS = {"ts": "i8", "symbol": "i4", "kind": "u1", "mask": "u1"}  # of Rows in pipeline/source.py
COLUMNS |= dict.fromkeys(("bid", "bid_size", "ask", "ask_size", "price", "size"), "f8")
BLOCK_NS = 5 * SECOND  # market time of one kernel call; no result depends on it
FIRST_CAPACITY = 1 << 15  # events of one block; doubled when too small
SESSION_NS = SESSION_S * SECOND
LATEST_OPEN_S = 3  # a symbol opens within so many seconds
HALT_S = 300  # length of a seeded halt

Pause = tuple[int, int, int]  # begin, end, kind
Halt = tuple[int, int, int]  # row, begin, end; ns of the market's clock


class Market:
    """A seeded market of the universe, block by block. `step` fills the columns; a symbol depends on (seed, name, class) alone.

    Its clock counts sessions of 6.5 hours without the nights between them; a session that is cut short jumps to the next.

    Parameters
    ----------
    seed : any integer
    universe : symbols with their market class and tick size
    opens : ns UTC at which the sessions open; the day shape counts from here
    block_ns : market time of one step, whole seconds; changes no row
    day_ns : length of each session, at most 6.5 hours, or one for each; its last second is whole
    early : days, from 0, that end with an auction though they are shorter
    halts : (row, begin, end) in whole seconds of the market's clock, ns
    """

    def __init__(
        self, seed: int, universe: Universe, opens: int | Sequence[int], block_ns: int = BLOCK_NS, day_ns: int | Sequence[int] = SESSION_NS,
        halts: Sequence[Halt] = (), early: Collection[int] = (),
    ) -> None:  # fmt: skip
        check_classes(universe)
        n = len(universe)
        self.opens = [opens] if isinstance(opens, int) else list(opens)
        self.block_ns, self.time, self.day = block_ns, 0, 0
        lengths = [day_ns] * len(self.opens) if isinstance(day_ns, int) else day_ns
        self.day_ns, self.early = [-(-n // SECOND) * SECOND for n in lengths], early
        self.hub_parameters, self.hub_state = hub_parameters(seed), np.zeros(1, market.HUB_STATE)
        self.parameters, self.state = np.zeros(n, PARAMETERS), np.zeros(n, SYMBOL_STATE)
        self.tables = np.zeros((n, 4, 256), np.int64)
        by_class = {name: tables(CLASSES[name]) for name in {i.market_class for i in universe}}
        pauses = []
        for i in universe:
            c, own_key = CLASSES[i.market_class], key(seed, i.symbol)
            for name, value in parameters(c, own_key, i.tick_size).items():
                self.parameters[i.row][name] = value
            for name, value in opening(c, own_key).items():
                self.state[i.row][name] = value
            self.tables[i.row] = by_class[i.market_class]
            pauses.append(self._pauses(own_key, c.auction > 0, [h[1:] for h in halts if h[0] == i.row]))
        self.pauses = np.zeros((n, max(map(len, pauses))), PAUSE)
        self.pauses["begin"] = NEVER
        for row, own in enumerate(pauses):
            self.pauses[row, : len(own)] = own
        self._shared = parents(), self.pauses, market_tables.quantiles(SHOCK_SIZE), market_tables.exponential(), market_tables.power(), day_shape()
        self._hub = np.zeros(block_ns // GRID, HUB_STEP), np.zeros(block_ns // SECOND, HUB_SECOND)
        self._scratch = tuple(np.zeros(n, np.int64) for _ in range(3))
        self._allocate(FIRST_CAPACITY)

    def _pauses(self, own_key: int, auction: bool, halts: Sequence[tuple[int, int]]) -> list[Pause]:
        """Openings, halts and closes of a symbol in order."""
        out = [(begin, end, HALT) for begin, end in halts]
        for day in range(len(self.opens)):
            begin = day * SESSION_NS
            out.append((begin, begin + mix(own_key ^ day) % LATEST_OPEN_S * SECOND, OPEN))
            if auction and (self.day_ns[day] == SESSION_NS or day in self.early):
                out.append((begin + self.day_ns[day] - SECOND, NEVER, CLOSE))
        return sorted(out)

    def _allocate(self, capacity: int) -> None:
        self._events = np.zeros(capacity, EVENT)
        self.columns: dict[str, Array] = {name: np.zeros(capacity, t) for name, t in COLUMNS.items()}

    @property
    def done(self) -> bool:
        """Whether the last session has ended."""
        return self.day == len(self.opens) - 1 and self.time == self.day * SESSION_NS + self.day_ns[-1]

    def step(self) -> int:
        """Generate the next block into `columns` and return its number of rows. A block ends with its session at the latest."""
        if self.time == self.day * SESSION_NS + self.day_ns[self.day]:
            self.day += 1
            self.time = self.day * SESSION_NS
            self.state["time"] = self.state["grid"] = self.time
            self.state["step"] = self.time // GRID
        start = self.opens[self.day] - self.day * SESSION_NS
        end = min(self.time + self.block_ns, self.day * SESSION_NS + self.day_ns[self.day])
        while True:
            saved = self.hub_state.copy(), self.state.copy()
            n = market.market_update(
                self.hub_state, self.state, self.hub_parameters, self.parameters, self.tables, *self._shared, start, self.time, end,
                *self._hub, self._events, *self._scratch, *self.columns.values(),
            )  # fmt: skip
            if n >= 0:
                self.time = end
                return int(n)
            self.hub_state[...], self.state[...] = saved
            self._allocate(2 * self._events.size)


def seeded_halts(seed: int, universe: Universe, day_ns: Sequence[int], rate: float) -> list[Halt]:
    """Halts of five minutes, `rate` a symbol and hour on average; none in the first minute, and none that would not end in the session."""
    out, chance, last = [], int(rate / 60 * (1 << 32)), [n // SECOND - 2 for n in day_ns]
    for i in universe:
        own_key, free = key(seed, i.symbol), 0
        for minute in (day * SESSION_S + 60 * m for day in range(len(last)) for m in range(1, last[day] // 60) if chance):
            r = mix(own_key ^ mix(8_000_000_000 + minute))
            begin = minute + r % 60
            if r >> 32 < chance and begin >= free and begin % SESSION_S + HALT_S <= last[minute // SESSION_S]:
                free = begin + HALT_S + 60
                out.append((i.row, begin * SECOND, (begin + HALT_S) * SECOND))
    return out


def check_classes(universe: Universe) -> None:
    """ConfigError if a symbol is of a class that the generated market does not know."""
    for i in universe:
        if i.market_class not in CLASSES:
            raise ConfigError(f"universe.classes: the generated market has no class {i.market_class!r} (symbol {i.symbol}). Choose from {', '.join(CLASSES)}.")
