"""Checks of family `depth` against wickra, scipy, scikit-learn and numpy."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import wickra
from feature_run import run_depth
from feature_ticks import START, TICK
from naive_depth_features import Change
from scipy.stats import linregress
from sklearn.decomposition import PCA
from verify import Check

from tickarrow.jit.depth_features import FAMILY

FAST, SLOW = FAMILY.tau_s
NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]
N, LEVELS = 2_000, 12
Side = list[tuple[int, float]]


def _side(rng: np.random.Generator, best: int, side: int, old: Side) -> Side:
    """Levels behind the best price, one or two ticks apart, with sizes of before unless they change."""
    have = dict(old)
    step = 1 if side else -1
    prices = [p for p in (best + step * k for k in range(40)) if (p * 2654435761 >> 7) % 4]  # some prices are empty
    return [(p, have[p] if p in have and rng.random() < 0.9 else float(rng.integers(1, 40) * 25)) for p in prices[:LEVELS]]


def _operations(old: Side, new: Side) -> list[tuple[int, int, tuple[int, float]]]:
    """(position, operation, level): deletions from behind, then insertions and updates. One level stays in doubt at most, so ten are left."""
    out, book, prices = [], list(old), {p for p, _ in new}
    for k in range(len(book) - 1, -1, -1):
        if book[k][0] not in prices:
            out.append((k, 2, book.pop(k)))
    for k, level in enumerate(new):
        if k >= len(book) or book[k][0] != level[0]:
            out.append((k, 0, level))
            book.insert(k, level)
        elif book[k] != level:
            out.append((k, 1, level))
            book[k] = level
    return out


@cache
def stream() -> tuple[list[Change], list[list[Side]], np.ndarray]:
    """Changes of a book of twelve levels a side that moves by a tick now and then; the book after each; our columns after each."""
    rng = np.random.default_rng(11)
    items: list[Change] = []
    shots: list[list[Side]] = []
    book: list[Side] = [[], []]
    now, best = START, 10_000
    while len(items) < N:
        now += int(rng.exponential(4e8))
        if rng.random() < 0.3:
            best += int(rng.integers(-1, 2))
        for side in (0, 1):
            new = _side(rng, best + 2 * side, side, book[side])  # two ticks apart: never crossed while one side has moved
            for position, operation, (p, q) in _operations(book[side], new):
                items.append(Change(now, 0, 0, position, operation, side, round(p * TICK, 2), q))
                if operation == 2:
                    book[side] = book[side][:position] + book[side][position + 1 :]
                elif operation == 0:
                    book[side] = [*book[side][:position], (p, q), *book[side][position:]]
                else:
                    book[side] = [*book[side][:position], (p, q), *book[side][position + 1 :]]
                shots.append([list(book[0]), list(book[1])])
    return items, shots, run_depth(FAMILY, items, symbols=1)[0]


def ours(column: str) -> np.ndarray:
    return stream()[2][:, NAMES.index(column)]


def both() -> list[list[Side] | None]:
    """Books with ten levels on both sides, None before."""
    return [s if min(len(s[0]), len(s[1])) >= 10 else None for s in stream()[1]]


def columns(book: list[Side], n: int) -> tuple[list[float], list[float], list[float], list[float]]:
    """Prices in ticks and sizes of n levels as wickra takes them."""
    return [p for p, _ in book[0][:n]], [q for _, q in book[0][:n]], [p for p, _ in book[1][:n]], [q for _, q in book[1][:n]]


def of_books(value) -> np.ndarray:
    """One value for each book of ten levels, NaN before."""
    return np.array([np.nan if b is None else value(b) for b in both()], float)


def imbalance(n: int) -> tuple[np.ndarray, np.ndarray]:
    theirs = wickra.OrderBookImbalanceTopN(n)
    return ours(f"depth_imbalance_{n}"), of_books(lambda b: theirs.update(*columns(b, 10)))


def middle(book: list[Side]) -> float:
    return (book[0][0][0] + book[1][0][0]) / 2


def weighted_mid() -> tuple[np.ndarray, np.ndarray]:
    def value(book: list[Side]) -> float:
        p, q = np.array(book[0][:5] + book[1][:5]).T
        return np.average(p, weights=q) - middle(book)

    return ours("depth_mid_5"), of_books(value)


def slope(side: int) -> tuple[np.ndarray, np.ndarray]:
    def value(book: list[Side]) -> float:
        p, q = np.array(book[side][:10]).T
        return linregress(np.abs(p - middle(book)), np.cumsum(q)).slope

    return ours(f"book_slope_{('bid', 'ask')[side]}"), of_books(value)


def mean_slope() -> tuple[np.ndarray, np.ndarray]:
    theirs = wickra.DepthSlope()
    return (ours("book_slope_bid") + ours("book_slope_ask")) / 2, of_books(lambda b: theirs.update(*columns(b, 10)))


def distance(side: int) -> tuple[np.ndarray, np.ndarray]:
    def value(book: list[Side]) -> float:
        p, q = np.array(book[side][:10]).T
        return np.average(np.abs(p - middle(book)), weights=q)

    return ours(f"depth_distance_{('bid', 'ask')[side]}"), of_books(value)


def ages(i: int) -> np.ndarray:
    """Seconds since every change up to i."""
    ts = np.array([x.ts for x in stream()[0][: i + 1]])
    return (ts[-1] - ts) * 1e-9


@cache
def normalised() -> np.ndarray:
    """(n, 6): decayed wickra flows over the decayed mean size, by sums over the whole history; whether a change was an event."""
    shots, n = stream()[1], len(stream()[1])
    e = np.zeros((n, 6))
    for k in range(5):
        theirs = wickra.OrderFlowImbalance(1)  # one change of the book a period
        for i, book in enumerate(shots):
            if min(len(book[0]), len(book[1])) > k:  # while it is built nothing flows
                e[i, k] = theirs.update(*([x] for side in book for x in side[k])) or 0.0
    e[:, 5] = e[:, :5].any(1)
    mean = np.array([np.mean([q for side in b for _, q in side[:5]]) for b in shots])
    out = np.zeros((n, 6))
    for i in range(n):
        w = np.exp(-ages(i) / FAST)
        if e[: i + 1, 5].any():
            wk = w * e[: i + 1, 5]
            out[i, :5] = w @ e[: i + 1, :5] / (wk @ mean[: i + 1] / wk.sum())
    out[:, 5] = e[:, 5]
    return out


def order_flow(k: int) -> tuple[np.ndarray, np.ndarray]:
    theirs = normalised()[:, k].copy()
    theirs[: 2 * LEVELS + 1] = np.nan
    return ours(f"mlofi_{k + 1}_5s"), theirs


def integrated() -> tuple[np.ndarray, np.ndarray]:
    x = normalised()
    theirs = np.full(len(x), np.nan)
    for i in range(400, len(x), 50):
        w = np.sqrt(np.exp(-ages(i) / SLOW) * x[: i + 1, 5])[:, None]
        centred = w * (x[: i + 1, :5] - (w**2 * x[: i + 1, :5]).sum(0) / (w**2).sum())
        axis = PCA(1).fit(np.concatenate([centred, -centred])).components_[0]  # each sample and its mirror image: their mean is 0
        axis *= np.sign(axis.sum())
        theirs[i] = x[i, :5] @ axis / np.abs(axis).sum()
    return ours("ofi_integrated_300s"), theirs


DISTANCE = "prices are multiples of 0.01 rounded to float64: 1e4 ticks of 2e-16 are 2e-12 ticks of distance"
CHECKS = [
    *(Check(f"depth_imbalance_{n}", "wickra OrderBookImbalanceTopN", partial(imbalance, n), 1e-14, 1e-14, "sums of whole sizes are exact") for n in (3, 5, 10)),
    Check("depth_mid_5", "numpy average", weighted_mid, 1e-11, 1e-11, DISTANCE),
    *(Check(f"book_slope_{s}", "scipy linregress", partial(slope, k), 1e-10, 1e-10, DISTANCE) for k, s in enumerate(("bid", "ask"))),
    Check("book_slope_bid", "wickra DepthSlope", mean_slope, 1e-10, 1e-10, f"wickra gives the mean of both sides: compared with ours; {DISTANCE}"),
    *(Check(f"depth_distance_{s}", "numpy average", partial(distance, k), 1e-11, 1e-11, DISTANCE) for k, s in enumerate(("bid", "ask"))),
    *(
        Check(
            f"mlofi_{k + 1}_5s", "wickra OrderFlowImbalance", partial(order_flow, k), 1e-9, 1e-9,
            "wickra on level k alone gives e_k; decayed and divided by numpy over the whole history; ours multiplies decays one by one",
        )
        for k in range(5)
    ),
    Check(
        "ofi_integrated_300s", "scikit-learn PCA", integrated, 5e-3, 5e-3,
        "ours tracks the component with one power step an event, PCA solves for it exactly; the order flow itself agrees to 1e-9",
    ),
]  # fmt: skip
