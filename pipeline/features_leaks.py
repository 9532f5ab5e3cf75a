"""Finds look-ahead: in any stage that makes rows of FEATURES of TICKS, and in labels.

Every column is computed again from ticks that end early, from ticks that go on otherwise, tick by tick, in batches of other lengths and
after a restart from a snapshot. A bit that differs in a row of the common past is a leak, named with its column, row and both values.
Labels are checked the other way round: they may depend on the ticks within their horizon and on no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tickarrow.configs.features import FeaturesConf
from tickarrow.jit.labels import forward_return
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.features import Features, features_table
from tickarrow.pipeline.features_registry import choose
from tickarrow.pipeline.schemas import DEPTH, TICKS, Kind
from tickarrow.pipeline.source_rows import utc
from tickarrow.pipeline.stage import Stage
from tickarrow.pipeline.universe import Universe

Array = npt.NDArray[Any]
Ticks = dict[str, Array]  # columns of TICKS

LEVELS = 10  # of the depth book that is made up
LONGEST = 100  # rows of a batch of the live path
FUTURE, CUTS, RESTART = "it knows what came later", "it depends on how the stream is cut into batches", "its state is not all in the snapshot"


@dataclass(frozen=True)
class Rows:
    """Rows of FEATURES."""

    seq: Array
    ts: Array
    symbol: Array
    x: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Leak:
    """A column that is not the same in a row of the past."""

    column: str
    seq: int
    symbol: str
    ts: int
    whole: float
    other: float
    how: str  # "with the ticks after seq 120 cut off"
    why: str

    def __str__(self) -> str:
        row = f"seq {self.seq:,} ({self.symbol}, {utc(self.ts)})"
        return f"{self.column} is {self.whole:.9g} at {row} and {self.other:.9g} {self.how}: {self.why}."


class Run(Protocol):
    """Ticks to rows of FEATURES, from the beginning; the batches have these lengths. After `restart` ticks a new stage goes on from a snapshot."""

    def __call__(self, ticks: Ticks, batches: Sequence[int], restart: int = 0) -> Rows: ...


def of_stage(make: Callable[[Table | None], Stage], depth: bool = False) -> Run:
    """Run a stage as a pipeline does: ticks are written just before they are stepped, so the later ones are not in memory yet.

    Parameters
    ----------
    make : a new stage (given a table of DEPTH if `depth`)
    depth : make up market depth around the quotes
    """

    def run(ticks: Ticks, batches: Sequence[int], restart: int = 0) -> Rows:
        changes = made_up_depth(ticks) if depth else {}
        # Segments have room for more: what lies behind the newest tick is memory that later ticks will use.
        book = Table(DEPTH, capacity=len(changes["seq"]) + 1) if depth else None
        table = Table(TICKS, capacity=len(ticks["ts"]) + 1)
        stage = make(book)
        parts: list[Rows] = []
        lo = given = 0
        for n in batches:
            row = table.reserve(n)
            for name, column in ticks.items():
                table.segment.columns[name][row : row + n] = column[lo : lo + n]
            if book is not None and n:
                end = int(np.searchsorted(changes["seq"], ticks["seq"][lo + n - 1], "right"))
                at = book.reserve(end - given)
                for name, column in changes.items():
                    book.segment.columns[name][at : at + end - given] = column[given:end]
                book.commit(end - given)
                given = end
            rows = stage.step(table.commit(n))
            parts.append(Rows(*(rows.view(c).copy() for c in ("seq", "ts", "symbol", "x"))))
            lo += n
            if restart and lo >= restart:
                saved, restart = stage.snapshot(), 0
                book = Table(DEPTH, capacity=len(changes["seq"]) + 1) if depth else None
                stage = make(book)
                stage.restore(saved)
        return Rows(*(np.concatenate([getattr(p, c) for p in parts]) for c in ("seq", "ts", "symbol", "x")))

    return run


def of_features(conf: FeaturesConf, universe: Universe) -> Run:
    """The stage of a configuration."""
    depth = any(c.family.change is not None for c in choose(conf))

    def make(book: Table | None) -> Stage:
        return Features(conf, universe, features_table(conf), book)

    return of_stage(make, depth)


def made_up_depth(ticks: Ticks) -> Ticks:
    """Changes of ten levels on each side around the quotes; each comes with the tick that has its seq."""
    known = np.flatnonzero((ticks["kind"] == Kind.QUOTE) & (ticks["bid"] > 0) & (ticks["ask"] > 0))
    tick, position, side, operation = [], [], [], []
    seen: dict[int, int] = {}
    for i in known.tolist():
        k = int(ticks["symbol"][i])
        levels = range(LEVELS) if k not in seen else [0, 1 + seen[k] % (LEVELS - 1)]
        for level in levels:
            for s in (0, 1):
                tick.append(i)
                position.append(level)
                side.append(s)
                operation.append(0 if k not in seen else 1)
        seen[k] = seen.get(k, 0) + 1
    at, depth, of = np.array(tick, np.int64), np.array(position, np.int32), np.array(side, np.uint8)
    bid, ask = ticks["bid"][at], ticks["ask"][at]
    away = 0.01 * depth
    size = np.where(of == 0, ticks["bid_size"][at], ticks["ask_size"][at]) + 100.0 * ((7 * depth + at) % 5)
    return {
        "seq": ticks["seq"][at], "ts": ticks["ts"][at], "symbol": ticks["symbol"][at], "position": depth,
        "operation": np.array(operation, np.uint8), "side": of, "price": np.where(of == 0, bid - away, ask + away), "size": size,
    }  # fmt: skip


def cut(ticks: Ticks, n: int) -> Ticks:
    """The first n ticks."""
    return {name: column[:n] for name, column in ticks.items()}


def other_future(ticks: Ticks, n: int) -> Ticks:
    """The same first n ticks; what follows has other prices, sizes, symbols and times."""
    out = {name: column.copy() for name, column in ticks.items()}
    later = slice(n, None)
    for name in ("bid", "ask", "price"):
        out[name][later] *= 1.0 + 0.002 * (1 + np.arange(len(out[name][later])) % 7)
    for name in ("bid_size", "ask_size", "size"):
        out[name][later] = 3.0 * out[name][later] + 100.0
    out["symbol"][later] = (out["symbol"][later] + 1) % (int(ticks["symbol"].max(initial=0)) + 1)
    if n:
        out["ts"][later] = ticks["ts"][n - 1] + 3 * (ticks["ts"][later] - ticks["ts"][n - 1]) + 1_000_003
    return out


def places(rows: Rows, ticks: Ticks, n: int) -> list[int]:
    """Numbers of ticks to keep: up to a due row, up to the tick before one, and up to the last tick of a minute."""
    due = rows.seq.astype(np.int64) - int(ticks["seq"][0])
    minute = ticks["ts"] // 60_000_000_000
    edges = np.flatnonzero(np.diff(minute) > 0)
    found: set[int] = set()
    for at, share in ((due, n // 2), (due - 1, n // 4), (edges, n - n // 2 - n // 4)):
        at = at[at > 0]
        found |= set(at[np.linspace(0, len(at) - 1, min(share, len(at))).astype(int)].tolist()) if len(at) and share else set()
    return [k + 1 for k in sorted(found)]


def differences(whole: Rows, part: Rows, last: int, columns: Sequence[str], symbols: Sequence[str], how: str, why: str) -> Iterator[Leak]:
    """The first row of each column, as far as seq `last`, that is not the same to the bit; NaN equals NaN."""
    n, m = (int(np.searchsorted(r.seq, last, "right")) for r in (whole, part))
    both = min(n, m)
    same = whole.seq[:both] == part.seq[:both]
    if n != m or not same.all():
        i = int(np.argmin(same)) if not same.all() else both
        r = whole if i < n else part
        yield Leak("(which ticks are due)", int(r.seq[i]), symbols[r.symbol[i]], int(r.ts[i]), float(i < n), float(i < m), how, why)
        both = i
    a, b = whole.x[:both], part.x[:both]
    differs = (a.view(np.uint32) != b.view(np.uint32)) & ~(np.isnan(a) & np.isnan(b))
    for c in np.flatnonzero(differs.any(axis=0)).tolist():
        i = int(np.argmax(differs[:, c]))
        yield Leak(columns[c], int(whole.seq[i]), symbols[whole.symbol[i]], int(whole.ts[i]), float(a[i, c]), float(b[i, c]), how, why)


def variants(ticks: Ticks, whole: Rows, cuts: int, seed: int = 1) -> Iterator[tuple[Ticks, list[int], int, int, str, str]]:
    """Every other way to compute the rows: ticks, batches, restart, last seq that must be the same, how, why it matters."""
    n, seq = len(ticks["ts"]), ticks["seq"].astype(np.int64)
    last, kept = int(seq[-1]), places(whole, ticks, cuts)
    for k in kept:
        yield cut(ticks, k), [k], 0, int(seq[k - 1]), f"with the ticks after seq {seq[k - 1]:,} cut off", FUTURE
    for k in kept:
        yield other_future(ticks, k), [n], 0, int(seq[k - 1]), f"with other ticks after seq {seq[k - 1]:,}", FUTURE
    yield ticks, [1] * n, 0, last, "tick by tick", CUTS
    lengths: list[int] = []
    rng = np.random.default_rng(seed)
    while (left := n - sum(lengths)) > 0:
        lengths.append(min(int(rng.integers(0, LONGEST)), left))
    yield ticks, lengths, 0, last, "in batches of other lengths", CUTS
    yield ticks, [n], 0, last, "when the same ticks are run again", "it reads memory that is not its own"
    for k in kept[len(kept) // 3 :: max(len(kept) // 3, 1)]:
        yield ticks, [k, n - k], k, last, f"after a restart at seq {seq[k - 1]:,}", RESTART


def leaks(
    run: Run, ticks: Ticks, columns: Sequence[str], symbols: Sequence[str], cuts: int = 24, tell: Callable[[int, int], None] | None = None
) -> tuple[list[Leak], Rows]:
    """The first leak of each column, and the rows of all ticks.

    Parameters
    ----------
    run : computes rows from ticks; `of_features`, or anything of your own
    tell : called with the number of runs done and of all
    """
    whole = run(ticks, [len(ticks["ts"])])
    found: dict[str, Leak] = {}
    todo = list(variants(ticks, whole, cuts))
    for i, (other, batches, restart, last, how, why) in enumerate(todo):
        for leak in differences(whole, run(other, batches, restart), last, columns, symbols, how, why):
            found.setdefault(leak.column, leak)
        if tell is not None:
            tell(i + 1, len(todo))
    return [found[c] for c in ("(which ticks are due)", *columns) if c in found], whole


# --- labels

# ts, symbol and mid of the rows; ts, symbol and mid of all quotes; horizons and longest gap in ns -> (rows, horizons) float32
Label = Callable[[Array, Array, Array, Array, Array, Array, Array, int], npt.NDArray[np.float32]]


def forward(ts: Array, symbol: Array, mid: Array, quote_ts: Array, quote_symbol: Array, quote_mid: Array, horizon: Array, gap: int) -> npt.NDArray[np.float32]:
    """The label that models are trained on."""
    y = np.empty((len(ts), len(horizon)), np.float32)
    latest = np.empty(int(max(symbol.max(initial=-1), quote_symbol.max(initial=-1))) + 1)
    forward_return(ts, symbol, mid, quote_ts, quote_symbol, quote_mid, horizon, gap, latest, y)
    return y


def label_leaks(
    ticks: Ticks, rows: Rows, horizon_ns: Array, gap_ns: int, symbols: Sequence[str], label: Label = forward, cuts: int = 24, past: bool = False
) -> list[Leak]:
    """The first leak of each horizon: a label that depends on ticks behind its horizon, or before its row unless it may (`past`, for one
    that is measured by the volatility so far), or that is there although the ticks end before its horizon."""
    at = rows.seq.astype(np.int64) - int(ticks["seq"][0])
    mid = 0.5 * (ticks["bid"] + ticks["ask"])
    quote = ticks["kind"] == Kind.QUOTE
    q_ts, q_symbol, q_mid = ticks["ts"][quote], ticks["symbol"][quote], mid[quote]

    def compute(q_ts: Array, q_symbol: Array, q_mid: Array) -> npt.NDArray[np.float32]:
        return label(rows.ts, rows.symbol, mid[at], q_ts, q_symbol, q_mid, horizon_ns, gap_ns)

    names = [f"label_{h / 1e9:g}s" for h in horizon_ns]
    whole, due = compute(q_ts, q_symbol, q_mid), rows.ts[:, None] + horizon_ns
    bent = q_mid * (1.0 + 0.002 * (1 + np.arange(len(q_mid)) % 7))
    found: dict[str, Leak] = {}

    def compare(y: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32], rule: npt.NDArray[np.bool_], how: str, why: str) -> None:
        differs = rule & (y.view(np.uint32) != wanted.view(np.uint32)) & ~(np.isnan(y) & np.isnan(wanted))
        for h in np.flatnonzero(differs.any(axis=0)).tolist():
            i = int(np.argmax(differs[:, h]))
            leak = Leak(names[h], int(rows.seq[i]), symbols[rows.symbol[i]], int(rows.ts[i]), float(whole[i, h]), float(y[i, h]), how, why)
            found.setdefault(names[h], leak)

    missing = np.full_like(whole, np.nan)
    for j in np.unique(np.linspace(0, len(q_ts) - 1, cuts + 2).astype(int)[1:-1]) if len(q_ts) else ():
        last = int(q_ts[j])
        till, early = q_ts <= last, q_ts < last
        ended = compute(q_ts[till], q_symbol[till], q_mid[till])
        compare(ended, whole, due <= last, f"with the quotes after {utc(last)} cut off", "it depends on quotes behind its horizon")
        compare(ended, missing, due > last, f"where the quotes end at {utc(last)}, before its horizon", "it should be missing")
        longer = np.where(till, q_ts, last + 3 * (q_ts - last) + 1_000_003)
        compare(compute(longer, q_symbol, np.where(till, q_mid, bent)), whole, due <= last, f"with other quotes after {utc(last)}",
                "it depends on quotes behind its horizon")  # fmt: skip
        if not past:
            compare(compute(q_ts, q_symbol, np.where(early, bent, q_mid)), whole, (rows.ts >= last)[:, None] & np.ones_like(due, bool),
                    f"with other quotes before {utc(last)}", "it depends on quotes before its row")  # fmt: skip
    return [found[n] for n in names if n in found]
