"""The generated market from the outside: classes of symbols in natural units, their integers, and the driver of the kernel.

The figures were fitted to real files: `large` to a one-tick name like BAC 2013, `small` to IBM 2013, `etf` to SPY 2013 (its quote rate is a
guess). The integers are made with `decimal`, so that they are the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit import market, market_tables
from tickarrow.jit.market_symbol import EVENT, GRID, HUB_STEP, NEVER, PARAMETERS, SECOND, SECTORS, SYMBOL_STATE
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.universe import Universe

Points = Sequence[tuple[float, float]]  # (probability, value) of a quantile function
Array = npt.NDArray[Any]

WORD = (1 << 64) - 1
NORMAL_SD = 37_837  # of `normal_point`
STEP_S = Decimal("0.1")  # one step of the hub
COLUMNS = {"ts": "i8", "symbol": "i4", "kind": "u1", "mask": "u1"}  # of Rows in pipeline/source.py
COLUMNS |= dict.fromkeys(("bid", "bid_size", "ask", "ask_size", "price", "size"), "f8")
BLOCK_NS = 5 * SECOND  # market time of one kernel call; no result depends on it
FIRST_CAPACITY = 1 << 15  # events of one block; doubled when too small

# By intervals of 32.5 minutes of a New York session: activity peaks at the close, volatility at the open.
ACTIVITY = (1.15, 1.08, 1.1, 1.0, 0.93, 0.85, 0.8, 0.82, 0.85, 0.95, 1.0, 1.1, 1.7)
VOLATILITY = (2.0, 1.35, 1.1, 1.0, 0.95, 0.85, 0.75, 0.78, 0.82, 1.0, 1.0, 1.0, 1.15)

SLOW_TAU_S, SLOW_SD = 1500.0, 0.45  # log2 volatility of the hub
FAST_TAU_S, FAST_SD = 45.0, 0.4
SHOCKS = 0.012  # probability a step
SHOCK_UNIT = Decimal("0.13")  # sd of the value in one second, as a part of that in 60 s
SHOCK_SIZE: Points = [(0, 0.3), (0.6, 1), (0.9, 4), (0.98, 14), (1, 40)]
KICK_SIZE: Points = [(0, 1), (0.5, 2), (0.8, 6), (0.95, 30), (0.99, 120), (1, 400)]


@dataclass(frozen=True)
class MarketClass:
    """How a kind of symbol trades. `pressure` is the gap between the hidden value and the mid in ticks times `pull`."""

    price: int  # ticks at the start; each symbol is moved by up to a quarter
    # Arrivals: a rate of its own and three excitations by each event, mean number of events each brings (branching) and decay time.
    rate: float  # events/s
    fast: tuple[float, float]  # branching, tau s
    medium: tuple[float, float]
    slow: tuple[float, float]
    kick: float  # level that a depletion lifts the fast rate to, in units of 1/tau
    shock: float  # the same for a shock of the hub
    shock_medium: float  # part of a shock that goes to the medium rate
    shock_jump: float  # of the value, in units of value_sd
    rate_cap: int  # events/s, highest level
    # Hidden value: a martingale; its volatility and the activity follow the hub and an own log2 process.
    value_sd: float  # ticks in 60 s
    beta: tuple[float, float]  # weights of market and sector; the own part fills up to variance 1
    lag: float  # weight a step of the average that delays the factors
    value_vol: float  # log2 volatility for each unit of log2 activity
    weight: tuple[float, float, float]  # of slow, fast and own process in log2 activity
    own: tuple[float, float]  # tau s, sd of the own process
    # Trades.
    trade: float  # share of events
    trade_pull: float  # of pressure on the side
    run: tuple[float, int]  # probability of a run of the same side (of 8-bit), mask of its length
    prints: float  # probability of one more print
    inside: float  # share between the quotes
    outside: float  # share one tick outside
    drain: float  # part of a print that is not refilled at once
    trade_size: Points
    # Quotes.
    pull: float
    improve: float  # probability for each tick of spread above one
    improve_pull: float
    improve_step: float  # probability of one more tick
    follow: float  # an improvement goes where the last depletion went
    lock: float
    queue: int  # shares, where sizes tend to
    queue_pull: float
    revert: float
    fleeting: float  # share of size changes that leave again
    cancel_cap: int  # shares
    cancel_level: float  # share of cancels that take the whole level
    cancel_pull: float
    gap: float  # probability of one more tick at a depletion
    both: float  # probability that the other side follows at once
    size_change: Points
    queue_size: Points  # behind a depleted one
    pull_cap: float = 1.5
    lot: int = 100


def _sizes(p5: float, p50: float, p95: float, p99: float, highest: float) -> Points:
    return [(0, p5 / 2), (0.05, p5), (0.5, p50), (0.95, p95), (0.99, p99), (1, highest)]


CLASSES = {
    "large": MarketClass(
        price=1390, rate=0.85, fast=(0.56, 0.003048), medium=(0.1381, 0.07361), slow=(0.09201, 30.0), kick=2.569, shock=6.0,
        shock_medium=0.02979, shock_jump=0.4, rate_cap=40_000, value_sd=0.6, beta=(0.6, 0.25), lag=0.358, value_vol=0.8,
        weight=(0.6772, 0.5729, 0.7505), own=(238.0, 0.2963), trade=0.2, trade_pull=0.99, run=(0.3932, 7), prints=0.47, inside=0.0,
        outside=0.005, drain=0.1922, pull=1.12, improve=0.85, improve_pull=0.37, improve_step=0.2873, follow=-0.1, lock=0.1206,
        queue=140_000, queue_pull=0.8396, revert=0.3588, fleeting=0.5383, cancel_cap=9698, cancel_level=0.0, cancel_pull=0.0,
        gap=0.0, both=0.01326, size_change=_sizes(100, 500, 2600, 15_000, 40_000),
        queue_size=_sizes(8000, 35_000, 90_000, 130_000, 180_000),
        trade_size=[(0, 20), (0.06, 60), (0.1, 100), (0.5, 100.001), (0.52, 200), (0.7, 300), (0.8, 600), (0.95, 2500), (0.99, 7500),
                    (1, 30_000)],
    ),
    "small": MarketClass(
        price=18_200, rate=0.68, fast=(0.3094, 0.01268), medium=(0.1202, 0.05899), slow=(0.09201, 30.0), kick=0.03259, shock=2.4,
        shock_medium=0.03038, shock_jump=0.1, rate_cap=6000, value_sd=6.0, beta=(0.55, 0.1), lag=0.3, value_vol=0.5,
        weight=(1.475, 1.866, 0.5), own=(20.39, 1.034), trade=0.25, trade_pull=0.7, run=(0.2136, 3), prints=0.407, inside=0.42,
        outside=0.06, drain=1.0, pull=0.4067, improve=0.06, improve_pull=0.9, improve_step=0.42, follow=-0.05161, lock=0.0,
        queue=349, queue_pull=1.0, revert=0.4249, fleeting=0.0, cancel_cap=1 << 30, cancel_level=0.09693, cancel_pull=0.95,
        gap=0.19, both=0.02, size_change=_sizes(100, 100, 300, 800, 2000), queue_size=_sizes(100, 200, 900, 1500, 4000),
        trade_size=[(0, 10), (0.07, 60), (0.09, 100), (0.84, 100.001), (0.85, 200), (0.95, 320), (0.99, 850), (1, 3000)],
    ),
    "etf": MarketClass(
        price=16_600, rate=4.147, fast=(0.4999, 0.01001), medium=(0.2, 0.155), slow=(0.04186, 30.0), kick=0.4627, shock=9.028,
        shock_medium=0.01548, shock_jump=0.5, rate_cap=25_000, value_sd=3.96, beta=(0.97, 0.0), lag=0.3815, value_vol=0.815,
        weight=(1.098, 0.8406, 0.456), own=(228.0, 0.7431), trade=0.1766, trade_pull=0.63, run=(0.2, 7), prints=0.6125, inside=0.0,
        outside=0.005, drain=0.355, pull=0.8745, improve=0.85, improve_pull=0.3354, improve_step=0.7744, follow=0.2635, lock=0.1067,
        queue=9000, queue_pull=0.7593, revert=0.2984, fleeting=0.4487, cancel_cap=1 << 30, cancel_level=0.007066, cancel_pull=0.0,
        gap=0.03, both=0.01212, size_change=_sizes(100, 500, 3000, 9000, 20_000), queue_size=_sizes(1000, 5000, 16_000, 30_000, 50_000),
        trade_size=[(0, 20), (0.06, 60), (0.08, 100), (0.5, 100.001), (0.52, 200), (0.75, 300), (0.95, 1000), (0.99, 3000), (1, 30_000)],
    ),
}  # fmt: skip


def mix(x: int) -> int:
    """SplitMix64 output behind state `x`; the kernel's `mix_point`, for keys."""
    x = (x + 0x9E3779B97F4A7C15) & WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def key(seed: int, name: str) -> int:
    """64-bit key of a stream: all its random numbers follow from it."""
    h = mix(seed & WORD)
    for byte in name.encode():
        h = mix(h ^ byte)
    return h


def _decimal(x: float | Decimal) -> Decimal:
    return Decimal(str(x))


def _fixed(x: float | Decimal, scale: int) -> int:
    """`x` times `scale`, rounded half to even, without binary rounding on the way."""
    return int((_decimal(x) * scale).to_integral_value())


def _process(tau_s: float, sd: float) -> tuple[int, int]:
    """Decay (Q20) and innovation of a first-order process on the grid, from its time constant and standard deviation."""
    decay = STEP_S / _decimal(tau_s)
    return _fixed(decay, 1 << 20), _fixed(_decimal(sd) * (2 * decay).sqrt() / NORMAL_SD, 1 << 40)


def hub_parameters(seed: int) -> Array:
    """(1,) HUB_PARAMETERS."""
    out = np.zeros(1, market.HUB_PARAMETERS)
    with localcontext() as context:
        context.prec = market_tables.PRECISION
        out["slow_decay"], out["slow_step"] = _process(SLOW_TAU_S, SLOW_SD)
        out["fast_decay"], out["fast_step"] = _process(FAST_TAU_S, FAST_SD)
    out["key"], out["shock"] = key(seed, "#hub"), _fixed(SHOCKS, 1 << 32)
    return out


# Fields of a class that only need a scale, see PARAMETERS in jit/market_symbol.py.
SCALES = {
    "lot": 1, "queue": 1, "cancel_cap": 1, "rate": 1 << 12, "rate_cap": 1 << 12, "trade_pull": 1 << 15, "improve_pull": 1 << 15,
    **dict.fromkeys(("shock_medium", "lag", "value_vol", "trade", "pull", "pull_cap", "improve", "follow", "lock"), 1 << 16),
    **dict.fromkeys(("queue_pull", "revert"), 1 << 16),
    **dict.fromkeys(("prints", "inside", "outside", "drain", "improve_step", "fleeting"), 1 << 8),
    **dict.fromkeys(("cancel_level", "cancel_pull", "gap", "both"), 1 << 8),
}  # fmt: skip


def parameters(c: MarketClass, own_key: int, tick_size: float) -> dict[str, int]:
    """Integers of one symbol, by field of PARAMETERS."""
    out = {name: _fixed(getattr(c, name), scale) for name, scale in SCALES.items()}
    tick = Fraction(str(tick_size))
    out |= {"key": own_key, "sector": (own_key >> 32) % SECTORS, "run": _fixed(c.run[0], 1 << 8), "run_mask": c.run[1]}
    out |= {"tick_numerator": tick.numerator, "tick_denominator": tick.denominator}
    with localcontext() as context:
        context.prec = market_tables.PRECISION
        for name, (branching, tau_s) in (("fast", c.fast), ("medium", c.medium), ("slow", c.slow)):
            out[f"{name}_add"] = _fixed(_decimal(branching) / _decimal(tau_s), 1 << 12)
            halvings_per_ns = 1 / (Decimal(2).ln() * _decimal(tau_s) * 10**9)
            out[f"{name}_decay"] = _fixed(STEP_S / _decimal(tau_s), 1 << 20) if name == "slow" else _fixed(halvings_per_ns, 1 << 40)
        for name in ("kick", "shock"):
            out[name] = _fixed(_decimal(getattr(c, name)) / _decimal(c.fast[1]), 1 << 12)
        value_sd, market_part, sector_part = _decimal(c.value_sd), _decimal(c.beta[0]), _decimal(c.beta[1])
        out["shock_jump"] = _fixed(_decimal(c.shock_jump) * value_sd * SHOCK_UNIT, 1 << 16)
        out["value_step"] = _fixed(value_sd / Decimal(600).sqrt() / NORMAL_SD, 1 << 36)
        own_part = max(1 - market_part**2 - sector_part**2, Decimal(0)).sqrt()
        for name, part in (("market", market_part), ("sector", sector_part), ("own", own_part)):
            out[f"beta_{name}"] = _fixed(part, 1 << 16)
        for name, weight in zip(("slow", "fast", "own"), c.weight):
            out[f"weight_{name}"] = _fixed(weight, 1 << 16)
        out["own_decay"], out["own_step"] = _process(*c.own)
    return out


def tables(c: MarketClass) -> Array:
    """(4, 256) int64: sizes of trades, changes and queues in whole lots (trades below 150 keep odd lots), and the Q4 kicks."""

    def lots(a: Array) -> Array:
        return np.asarray(np.maximum((a + c.lot // 2) // c.lot * c.lot, c.lot))

    trade, change, queue = (np.maximum(market_tables.quantiles(points) // 16, 1) for points in (c.trade_size, c.size_change, c.queue_size))
    trade = np.where(trade > 150, lots(trade), trade)
    return np.stack([trade, lots(change), lots(queue), market_tables.quantiles(KICK_SIZE)])


def opening(c: MarketClass, own_key: int) -> dict[str, int]:
    """State of one symbol at the start, by field of SYMBOL_STATE: a one-tick spread around its price, half of the usual activity."""
    price = c.price * (768 + (own_key >> 40) % 512) // 1024
    size = c.queue // c.lot * c.lot
    seeds = {f"random{i}": mix((own_key + 1 + i) & WORD) for i in range(4)}
    return seeds | {
        "bid": price, "ask": price + 1, "bid_size": size, "ask_size": size, "value": (2 * price + 1) << 15,
        "rate": 1 << 12, "shock_time": NEVER,
    }  # fmt: skip


class Market:
    """A seeded session of the universe, block by block. `step` fills the columns; a symbol depends on (seed, name, class) alone.

    Parameters
    ----------
    seed : any integer
    universe : symbols with their market class and tick size
    start_ns : ns UTC of the first row; the day shape counts from here
    block_ns : market time of one step, a multiple of 100 ms; changes no row
    """

    def __init__(self, seed: int, universe: Universe, start_ns: int, block_ns: int = BLOCK_NS) -> None:
        check_classes(universe)
        n = len(universe)
        self.start_ns, self.block_ns, self.time = start_ns, block_ns, 0
        self.hub_parameters, self.hub_state = hub_parameters(seed), np.zeros(1, market.HUB_STATE)
        self.parameters, self.state = np.zeros(n, PARAMETERS), np.zeros(n, SYMBOL_STATE)
        self.tables = np.zeros((n, 4, 256), np.int64)
        by_class = {name: tables(CLASSES[name]) for name in {i.market_class for i in universe}}
        for i in universe:
            c, own_key = CLASSES[i.market_class], key(seed, i.symbol)
            for name, value in parameters(c, own_key, i.tick_size).items():
                self.parameters[i.row][name] = value
            for name, value in opening(c, own_key).items():
                self.state[i.row][name] = value
            self.tables[i.row] = by_class[i.market_class]
        day = np.array([[_fixed(x, 1 << 16) for x in shape] for shape in (ACTIVITY, VOLATILITY)], np.int64)
        self._shared = market_tables.quantiles(SHOCK_SIZE), market_tables.exponential(), market_tables.power(), day
        self._hub = np.zeros(block_ns // GRID, HUB_STEP)
        self._scratch = tuple(np.zeros(n, np.int64) for _ in range(3))
        self._allocate(FIRST_CAPACITY)

    def _allocate(self, capacity: int) -> None:
        self._events = np.zeros(capacity, EVENT)
        self.columns: dict[str, Array] = {name: np.zeros(capacity, t) for name, t in COLUMNS.items()}

    def step(self) -> int:
        """Generate the next block into `columns` and return its number of rows; the first begins with an opening quote of each symbol."""
        end = self.time + self.block_ns
        while True:
            saved = self.hub_state.copy(), self.state.copy()
            n = market.market_update(
                self.hub_state, self.state, self.hub_parameters, self.parameters, self.tables, *self._shared, self.start_ns, self.time, end,
                self._hub, self._events, *self._scratch, *self.columns.values(),
            )  # fmt: skip
            if n >= 0:
                self.time = end
                return int(n)
            self.hub_state[...], self.state[...] = saved
            self._allocate(2 * self._events.size)


def check_classes(universe: Universe) -> None:
    """ConfigError if a symbol is of a class that the generated market does not know."""
    for i in universe:
        if i.market_class not in CLASSES:
            raise ConfigError(
                f"universe.classes: the generated market has no class {i.market_class!r} (symbol {i.symbol}). "
                f"Choose from {', '.join(CLASSES)}."
            )
