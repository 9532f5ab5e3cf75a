"""Classes of symbols of the generated market in natural units, and their integers.

The figures were fitted to real files: `large` to a one-tick name like BAC 2013, `small` to IBM 2013, `etf` to SPY 2013 (its quote rate is
a guess), `book` to AMZN on one venue 2012, `future` to ES 2013 (its quotes are a guess), `fx` to EURUSD 2014 (no trades; sizes of one).
The integers are made with `decimal`, so that they are the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit import market, market_tables
from tickarrow.jit.market_state import NEVER, SECTORS

Points = Sequence[tuple[float, float]]  # (probability, value) of a quantile function
Array = npt.NDArray[Any]

WORD = (1 << 64) - 1
NORMAL_SD = 37_837  # of `normal_point`
STEP_S = Decimal("0.1")  # between two steps of the factors

# By intervals of 32.5 minutes of a New York session: activity peaks at the close, volatility at the open.
ACTIVITY = (1.0, 1.08, 1.1, 1.0, 0.93, 0.85, 0.8, 0.82, 0.85, 0.95, 1.0, 1.2, 2.6)
VOLATILITY = (2.2, 1.45, 1.15, 1.0, 0.95, 0.85, 0.75, 0.78, 0.82, 0.95, 0.95, 0.95, 1.0)

SLOW_TAU_S, SLOW_SD = 1500.0, 0.45  # log2 volatility of the hub
FAST_TAU_S, FAST_SD = 45.0, 0.4
QUICK_TAU_S, QUICK_SD = 2.0, 0.5
SHOCKS = 0.12  # probability a second
SHOCK_UNIT = Decimal("0.13")  # sd of the value in one second, as a part of that in 60 s
SHOCK_SIZE: Points = [(0, 0.3), (0.6, 1), (0.9, 4), (0.98, 14), (1, 40)]
KICK_SIZE: Points = [(0, 1), (0.5, 2), (0.8, 6), (0.95, 30), (0.99, 120), (1, 400)]
PARENT_SIZE: Points = [(0, 1), (0.5, 3), (0.8, 12), (0.95, 60), (0.99, 250), (1, 800)]  # trades of a large order


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
    weight: tuple[float, float, float, float]  # of slow, fast, quick and own process in log2 activity
    own: tuple[float, float]  # tau s, sd of the own process
    # Trades.
    trade: float  # share of events
    trade_pull: float  # of pressure on the side
    parent: float  # share that belongs to the large order being worked
    parent_jump: float  # of the value when one begins, ticks for each root of its length in trades
    parent_lean: float  # how much larger queues are on its side
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
    spread: int  # ticks after the open
    auction: int  # shares that an auction prints; 0 = no auction
    pull_cap: float = 1.5
    lot: int = 100
    sweep: float = 0.0  # share of aggressors with many times the prints
    cross: float = 0.0  # share of locks that cross
    refill: float = 0.0  # part of what a thin queue lacks that an order brings


def _sizes(p5: float, p50: float, p95: float, p99: float, highest: float) -> Points:
    return [(0, p5 / 2), (0.05, p5), (0.5, p50), (0.95, p95), (0.99, p99), (1, highest)]


CLASSES = {
    "large": MarketClass(
        price=1390, rate=0.62, fast=(0.56, 0.003048), medium=(0.1381, 0.07361), slow=(0.09201, 30.0), kick=2.569, shock=6.0,
        shock_medium=0.02979, shock_jump=0.4, rate_cap=40_000, value_sd=0.42, beta=(0.72, 0.2), lag=0.358, value_vol=0.8,
        weight=(1.0, 0.9, 2.1, 0.35), own=(238.0, 0.2963), trade=0.2, trade_pull=0.99, parent=0.75, parent_jump=0.018, parent_lean=0.3,
        prints=0.47, inside=0.0, outside=0.005, drain=0.1922, pull=1.12, improve=0.85, improve_pull=0.37, improve_step=0.2873,
        follow=-0.35, lock=0.1206, queue=140_000, queue_pull=0.7, revert=0.3588, fleeting=0.5383, cancel_cap=9698, cancel_level=0.003,
        cancel_pull=0.05, gap=0.0, both=0.01326, size_change=_sizes(100, 500, 2600, 15_000, 40_000), refill=0.2,
        queue_size=_sizes(8000, 35_000, 90_000, 130_000, 180_000), spread=1, auction=600_000,
        trade_size=[(0, 20), (0.06, 60), (0.1, 100), (0.5, 100.001), (0.52, 200), (0.7, 300), (0.8, 600), (0.95, 2500), (0.99, 7500), (1, 30_000)],
    ),
    "small": MarketClass(
        price=18_200, rate=0.68, fast=(0.3094, 0.01), medium=(0.1202, 0.05899), slow=(0.09201, 30.0), kick=0.03259, shock=2.4,
        shock_medium=0.03038, shock_jump=0.5, rate_cap=6000, value_sd=5.7, beta=(0.62, 0.1), lag=0.9, value_vol=0.5,
        weight=(1.2, 1.5, 1.3, 0.3), own=(20.39, 1.034), trade=0.25, trade_pull=0.7, parent=0.57, parent_jump=0.05, parent_lean=0.45,
        prints=0.407, inside=0.42, outside=0.06, drain=1.0, pull=0.9, improve=0.06, improve_pull=0.9, improve_step=0.35, follow=-0.05161,
        lock=0.4, cross=0.1, queue=349, queue_pull=1.0, revert=0.4249, fleeting=0.0, cancel_cap=1 << 30, cancel_level=0.02,
        cancel_pull=0.95, gap=0.09, both=0.15, size_change=_sizes(100, 100, 300, 800, 2000), queue_size=_sizes(100, 200, 900, 1500, 4000),
        spread=4, auction=30_000,
        trade_size=[(0, 10), (0.07, 60), (0.09, 100), (0.84, 100.001), (0.85, 200), (0.95, 320), (0.99, 850), (1, 3000)],
    ),
    "book": MarketClass(
        price=22_000, rate=0.34, fast=(0.42, 0.003), medium=(0.1826, 0.1083), slow=(0.0653, 30.0), kick=0.08407, shock=0.5,
        shock_medium=0.01943, shock_jump=0.15, rate_cap=16_000, value_sd=14.33, beta=(0.5, 0.1), lag=0.5, value_vol=0.4887,
        weight=(0.9168, 0.912, 1.5, 0.2433), own=(12.16, 0.6747), trade=0.0917, trade_pull=0.99, parent=0.4416, parent_jump=0.307,
        parent_lean=0.55, prints=0.68, inside=0.2, outside=0.0, drain=0.1329, pull=0.2967, improve=0.01134, improve_pull=0.3445,
        improve_step=0.5, follow=-0.45, lock=0.0, queue=186, queue_pull=0.5253, revert=0.3834, fleeting=0.0, cancel_cap=1 << 30,
        cancel_level=0.3369, cancel_pull=0.5921, gap=0.45, both=0.006543, size_change=_sizes(20, 100, 104, 600, 1500),
        queue_size=_sizes(10, 100, 640, 1500, 4000), spread=10, auction=20_000, lot=1,
        trade_size=[(0, 1), (0.3, 50), (0.5, 66), (0.55, 100), (0.9, 100.001), (0.91, 150), (0.95, 200), (0.99, 400), (1, 2000)],
    ),
    "etf": MarketClass(
        price=16_600, rate=3.1, fast=(0.4999, 0.01001), medium=(0.2, 0.155), slow=(0.04186, 30.0), kick=0.6097, shock=14.32,
        shock_medium=0.01548, shock_jump=0.5, rate_cap=40_000, value_sd=3.263, beta=(0.97, 0.0), lag=0.3815, value_vol=0.7102,
        weight=(0.8319, 0.8406, 1.2, 0.25), own=(177.3, 0.7431), trade=0.1766, trade_pull=0.732, parent=0.75, parent_jump=0.03,
        parent_lean=0.09945, prints=0.5118, inside=0.0, outside=0.003854, drain=0.355, pull=0.7028, improve=0.97, improve_pull=0.3354,
        improve_step=0.7744, follow=0.2712, lock=0.03, queue=9000, queue_pull=0.7593, revert=0.2984, fleeting=0.5871, cancel_cap=1 << 30,
        cancel_level=0.007066, cancel_pull=0.0, gap=0.03, both=0.08151, size_change=_sizes(100, 500, 3000, 9000, 20_000),
        queue_size=_sizes(1000, 5000, 16_000, 30_000, 50_000), spread=1, auction=300_000, refill=0.1,
        trade_size=[(0, 20), (0.06, 60), (0.08, 100), (0.5, 100.001), (0.52, 200), (0.75, 300), (0.95, 1000), (0.99, 3000), (1, 30_000)],
    ),
    "future": MarketClass(
        price=6560, rate=2.9, fast=(0.55, 0.002919), medium=(0.17, 0.2018), slow=(0.06722, 30.0), kick=0.6033, shock=14.0,
        shock_medium=0.03623, shock_jump=0.5, rate_cap=40_000, value_sd=1.9, beta=(0.97, 0.0), lag=0.9, value_vol=0.8485,
        weight=(0.6287, 1.826, 0.3, 0.6), own=(1113.0, 0.5), trade=0.0788, trade_pull=0.99, parent=0.98, parent_jump=0.03,
        parent_lean=0.05, prints=0.8231, sweep=0.004, inside=0.0, outside=0.005, drain=0.7146, pull=1.15, improve=0.85, improve_pull=0.37,
        improve_step=0.3, follow=0.35, lock=0.0, queue=170, queue_pull=0.9, revert=0.4, fleeting=0.5, cancel_cap=1 << 30,
        cancel_level=0.01, cancel_pull=0.0, gap=0.0, both=0.02, size_change=_sizes(1, 1, 5, 12, 40),
        queue_size=_sizes(15, 90, 200, 300, 400), spread=1, auction=0, lot=1,
        trade_size=[(0, 1), (0.6, 1.001), (0.7, 2), (0.85, 4), (0.95, 14), (0.99, 38), (1, 200)],
    ),
    "fx": MarketClass(
        price=139_000, rate=0.45, fast=(0.242, 0.1099), medium=(0.2692, 0.2658), slow=(0.1079, 30.0), kick=0.03178, shock=0.2,
        shock_medium=0.06656, shock_jump=0.1, rate_cap=600, value_sd=7.5, beta=(0.3, 0.3), lag=0.9, value_vol=0.5,
        weight=(0.7067, 1.084, 0.3, 0.4418), own=(1768.0, 0.537), trade=0.0, trade_pull=0.3256, parent=0.0, parent_jump=0.0,
        parent_lean=0.0, prints=0.0, inside=0.0, outside=0.0, drain=0.6914, pull=2.0, improve=0.3643, improve_pull=0.7204,
        improve_step=0.3792, follow=0.3344, lock=0.9, cross=0.5, queue=1, queue_pull=0.956, revert=0.407, fleeting=0.0,
        cancel_cap=1 << 30, cancel_level=0.4129, cancel_pull=0.2466, gap=0.15, both=0.2485,
        size_change=_sizes(1, 1, 1.001, 1.002, 1.003), queue_size=_sizes(1, 1, 2, 3, 4), spread=2, auction=0, lot=1,
        trade_size=[(0, 1), (1, 1.001)],
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
    """Decay (Q20) and innovation of a first-order process in steps of a second, from its time constant and standard deviation."""
    decay = 1 / _decimal(tau_s)
    return _fixed(decay, 1 << 20), _fixed(_decimal(sd) * (2 * decay).sqrt() / NORMAL_SD, 1 << 40)


def hub_parameters(seed: int) -> Array:
    """(1,) HUB_PARAMETERS."""
    out = np.zeros(1, market.HUB_PARAMETERS)
    with localcontext() as context:
        context.prec = market_tables.PRECISION
        out["slow_decay"], out["slow_step"] = _process(SLOW_TAU_S, SLOW_SD)
        out["fast_decay"], out["fast_step"] = _process(FAST_TAU_S, FAST_SD)
        out["quick_decay"], out["quick_step"] = _process(QUICK_TAU_S, QUICK_SD)
    out["key"], out["shock"] = key(seed, "#hub"), _fixed(SHOCKS, 1 << 32)
    return out


# Fields of a class that only need a scale, see PARAMETERS in jit/market_state.py.
SCALES = {
    **dict.fromkeys(("lot", "queue", "cancel_cap", "spread", "auction"), 1), "rate": 1 << 12, "rate_cap": 1 << 12, "trade_pull": 1 << 15,
    "improve_pull": 1 << 15,
    **dict.fromkeys(("shock_medium", "lag", "value_vol", "trade", "pull", "pull_cap", "improve", "follow", "lock"), 1 << 16),
    **dict.fromkeys(("queue_pull", "revert", "refill", "parent_jump", "parent_lean", "sweep"), 1 << 16),
    **dict.fromkeys(("prints", "inside", "outside", "drain", "improve_step", "fleeting", "parent", "cross"), 1 << 8),
    **dict.fromkeys(("cancel_level", "cancel_pull", "gap", "both"), 1 << 8),
}  # fmt: skip


def parameters(c: MarketClass, own_key: int, tick_size: float) -> dict[str, int]:
    """Integers of one symbol, by field of PARAMETERS."""
    out = {name: _fixed(getattr(c, name), scale) for name, scale in SCALES.items()}
    tick = Fraction(str(tick_size))
    out |= {"key": own_key, "sector": (own_key >> 32) % SECTORS}
    out |= {"tick_numerator": tick.numerator, "tick_denominator": tick.denominator}
    with localcontext() as context:
        context.prec = market_tables.PRECISION
        for name, (branching, tau_s) in (("fast", c.fast), ("medium", c.medium), ("slow", c.slow)):
            out[f"{name}_add"] = _fixed(_decimal(branching) / _decimal(tau_s), 1 << 12)
            halvings_per_ns = 1 / (Decimal(2).ln() * _decimal(tau_s) * 10**9)
            out[f"{name}_decay"] = _fixed(1 / _decimal(tau_s), 1 << 20) if name == "slow" else _fixed(halvings_per_ns, 1 << 40)
        for name in ("kick", "shock"):
            out[name] = _fixed(_decimal(getattr(c, name)) / _decimal(c.fast[1]), 1 << 12)
        value_sd, market_part, sector_part = _decimal(c.value_sd), _decimal(c.beta[0]), _decimal(c.beta[1])
        out["shock_jump"] = _fixed(_decimal(c.shock_jump) * value_sd * SHOCK_UNIT, 1 << 16)
        out["value_step"] = _fixed(value_sd / (60 / STEP_S).sqrt() / NORMAL_SD, 1 << 36)
        own_part = max(1 - market_part**2 - sector_part**2, Decimal(0)).sqrt()
        for name, part in (("market", market_part), ("sector", sector_part), ("own", own_part)):
            out[f"beta_{name}"] = _fixed(part, 1 << 16)
        for name, weight in zip(("slow", "fast", "quick", "own"), c.weight):
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


def parents() -> Array:
    """(2, 256) int64: lengths of large orders in trades, and the roots of the lengths, Q4."""
    length = np.maximum(market_tables.quantiles(PARENT_SIZE) // 16, 1)
    return np.stack([length, np.array([isqrt(256 * int(n)) for n in length], np.int64)])


def day_shape() -> Array:
    """(2, 13) int64, Q16: activity and volatility."""
    return np.array([[_fixed(x, 1 << 16) for x in shape] for shape in (ACTIVITY, VOLATILITY)], np.int64)


def opening(c: MarketClass, own_key: int) -> dict[str, int]:
    """State of one symbol before it opens, by field of SYMBOL_STATE: its price, half a tick above a whole one, and its random words."""
    price = c.price * (768 + (own_key >> 40) % 512) // 1024
    seeds = {f"random{i}": mix((own_key + 1 + i) & WORD) for i in range(4)}
    return seeds | {"value": (2 * price + 1) << 15, "shock_time": NEVER}
