"""All families over every file of recorded ticks: counts of missing values per column, each with the reason that the column's metadata gives.

    python tests/feature_data.py [--small] [--write docs/features-data.md]

A value is *owed* where the inputs are there and the warm-up has passed, by rules over `Column.warm_up`, `feed` and `window` and over the ticks
alone (tests/feature_facts.py). A missing value that is owed, and an infinity, are errors."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from conftest import DATA
from feature_facts import FORGOTTEN, SECOND, Facts, every
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from tickarrow.configs.features import BarsConf, FamilyConf, FeaturesConf
from tickarrow.jit.feature import Column
from tickarrow.pipeline.adapters import rows_of
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decode import FromRows
from tickarrow.pipeline.features import Features, features_table
from tickarrow.pipeline.features_registry import BUILT_IN, all_columns
from tickarrow.pipeline.schemas import DEPTH, TICKS
from tickarrow.pipeline.universe import Universe

SMALL = 20_000  # rows of a file
TICK_SIZES = {"fx_ticks_dev": 1e-5, "es_futures_trades_dev": 0.25, "es_futures_mbp1_dev": 0.25}  # others 0.01
BOOKS = {"sse_snapshot_ticks_dev": "sse_depth10_dev"}  # ten levels at the times of these ticks
KEPT = ("ts", "symbol", "kind", "flags", "bid", "bid_size", "ask", "ask_size", "price", "size")
BARRED = {c.name for f in BUILT_IN for c in f.bar_columns}
COLUMNS = [(f.name, c) for f in BUILT_IN for c in all_columns(f, f.tau_s)]


def files() -> list[Path]:
    """The files with one row a tick."""
    return [p for p in sorted(DATA.glob("*.parquet")) if {"kind", "bid", "price"} <= set(pq.read_schema(p).names)]


def window_s(column: Column) -> float:
    """The first window in seconds, 300 if there is none."""
    found = re.search(r"([\d.]+) ?s\b", column.window)
    return float(found[1]) if found else 300.0


def rolling(name, n, how):
    return lambda b: getattr(b[name].rolling(n, min_periods=1), how)()


def moved(name, n):
    return lambda b: b[name].rolling(n).max() > b[name].rolling(n).min()


def traded(n):
    return lambda b: b.volume.rolling(n, min_periods=1).sum() > 0


def ranged(n, last):
    """The range of n bars was above 0 at each of the last bars."""
    return lambda b: (b.high.rolling(n).max() > b.low.rolling(n).min()).rolling(last).min() > 0


def typical(n):
    return lambda b: (x := b.high + b.low + b.close).rolling(n).max() > x.rolling(n).min() * (1 + 1e-12)


def fell_with_volume(n):
    return lambda b: ((b.close.diff() < 0) & (b.volume > 0)).rolling(n, min_periods=1).max() > 0


def moved_with_volume(n):
    return lambda b: (((b.high + b.low + b.close).diff().abs() > 1e-9) & (b.volume > 0)).rolling(n, min_periods=1).max() > 0


def varied(n):
    return lambda b: ((b.close.pct_change().abs().rolling(n).std() > 1e-9) & (b.volume.rolling(n).std() > 0)).fillna(False)


# What a phrase of `warm_up` wants, as (reason, fact of Facts and column). The first phrase that is found in a text wins, after it the next one
# in the rest; a text that has none of them is an error.
BAR = r"before the (\d+)\w\w bar"
PHRASES = {
    r"without both sides and sizes": [("no size on a side", lambda f, c: f.now(f.sized))],
    r"without both sides": [("a side is missing", lambda f, c: f.now(f.two))],
    r"before the first two-sided quote": [("no sizes yet", lambda f, c: f.recent(f.sized, FORGOTTEN * window_s(c)))],
    r"at the first quote of a session": [("first mid of the session", lambda f, c: f.now(f.two) & f.today(f.two, 2))],
    r"at the first quote": [("first quote", lambda f, c: f.count(f.quote) > 1)],
    r"until the spread has varied": [("spread has not varied", lambda f, c: f.now(f.two) & f.recent(f.spread_varied, 20 * window_s(c)))],
    r"before the first trade of a session": [("no trade in the session", lambda f, c: f.today(f.trade))],
    r"before the first trade with a sign and a mid": [("no trade with a sign", lambda f, c: f.recent((f.sign != 0) & (f.mid > 0), FORGOTTEN * window_s(c)))],
    r"before the first trade with a known sign": [("no trade with a sign", lambda f, c: f.count(f.sign != 0) > 0)],
    r"before the first trade": [("no trade", lambda f, c: f.recent(f.trade, FORGOTTEN * window_s(c)))],
    r"before the first quote": [],
    r"until both signs have been seen": [
        ("not both signs", lambda f, c: f.recent(f.sign == 1, 10 * window_s(c), 3) & f.recent(f.sign == -1, 10 * window_s(c), 3))],
    r"before the first bucket closes": [("no bucket of volume is full", lambda f, c: f.vpin_known())],
    r"before two trades that differ": [("no two trades that differ", lambda f, c: f.recent(f.two_flows, 20 * window_s(c)))],
    r"before the second trade": [("no second trade", lambda f, c: f.recent(f.impact, FORGOTTEN * window_s(c)))],
    r"starts at 0": [],
    r"before two closed seconds with a trade": [("no two seconds with a trade", lambda f, c: f.today(f.counted_trade, 1, 3.0))],
    r"before a trade with a sign is 5 s old": [("no trade with a sign 5 s old", lambda f, c: f.today((f.sign != 0) & (f.mid > 0), 1, 6.0))],
    r"before two pairs of price changes": [("fewer than 4 prices in the session", lambda f, c: f.today(f.priced, 4))],
    r"before the second price of a session": [("fewer than 2 prices in the session", lambda f, c: f.today(f.priced, 2))],
    r"before the second two-sided quote": [("first mid of the session", lambda f, c: f.today(f.two, 2))],
    r"before the second change of the mid": [("fewer than 2 changes of the mid", lambda f, c: f.today(f.change != 0, 2))],
    r"before the fifth change of the mid": [("fewer than 5 changes of the mid", lambda f, c: f.today(f.change != 0, 5))],
    r"before the first change of the mid": [("the mid has not changed", lambda f, c: f.recent(f.change != 0, FORGOTTEN * window_s(c)))],
    r"before the second mid": [("first mid of the session", lambda f, c: f.today(f.two, 2))],
    r"fewer than 4 ": [("few returns in the window", lambda f, c: f.recent(f.change > 0, window_s(c) / 2, 5) & f.recent(f.change < 0, window_s(c) / 2, 5))],
    r"before the session's first price": [("no price in the session", lambda f, c: f.today(f.bar_price | f.priced))],
    r"before the open, ": [("no range of the first 15 min", lambda f, c: f.open_range())],
    r"before the session's first regular price": [("one session, or before its open", lambda f, c: f.gapped())],
    r"NaN before one$": [("no gap in the data", lambda f, c: f.count(f.gap) > 0)],
    r"before the first session of the calendar": [("before the first session", lambda f, c: f.session[f.at] >= 0)],
    r"until one earlier day": [("nothing in that minute of an earlier day", lambda f, c: f.usual(usual_of(f, c)))],
    r"both sides have a level": [
        ("no depth", lambda f, c: f.book["changes"] > 0), ("a side of the book is empty or uncertain", lambda f, c: (f.book["bid"] > 0) & (f.book["ask"] > 0))],
    r"of a side with one level": [("one level", lambda f, c: f.book[c.name.rpartition("_")[2]] > 1)],
    r"until the level was compared": [("the level was not there twice", lambda f, c: f.book["seen"][:, int(c.name.split("_")[1]) - 1])],
    r"for the first 19 events": [("fewer than 20 changes of the book", lambda f, c: f.book["events"] >= 20)],
    # bars
    BAR: [],  # its number is in the text
    r"price has stood still": [("price stands still", lambda f, c: f.of_bars(moved("close", 14)))],
    r"where all closes of the window are equal": [("price stands still", lambda f, c: f.of_bars(moved("close", bars_of(c))))],
    r"without volume in the window": [("no volume", lambda f, c: f.of_bars(traded(bars_of(c))) if c.name != "mfi_14" else f.of_bars(moved_with_volume(14)))],
    r"where one of 3 has no range": [("no range", lambda f, c: f.of_bars(ranged(14, 3)))],
    r"where one of 5 has no range": [("no range", lambda f, c: f.of_bars(ranged(14, 5)))],
    r"where the range is 0": [("no range", lambda f, c: f.of_bars(ranged(bars_of(c), 1)))],
    r"where all x are equal": [("price stands still", lambda f, c: f.of_bars(typical(bars_of(c))))],
    r"where (c|c_\d+|the mean|a close) (is |)<= 0": [],
    r"none of the last 20 has volume": [("no volume", lambda f, c: f.of_bars(traded(20)))],
    r"while no volume came with a fall": [("no fall with volume", lambda f, c: f.of_bars(fell_with_volume(20)))],
    r"\|r\| or the volume has not varied": [("no variation", lambda f, c: f.of_bars(varied(60)))],
    r"while the price has not moved": [("price stands still", lambda f, c: f.of_bars(moved("close", 240)))],
    # the cross-section
    r"or no change of the quote.*all equal": [
        ("fewer than 3 symbols with changes of the quote", lambda f, c: f.live(30, 3, f.after(f.quote_flow != 0))),
        ("no such changes both ways lately", lambda f, c: f.recent(f.quote_flow > 0, 300) & f.recent(f.quote_flow < 0, 300))],
    r"or no trade;.*all equal": [
        ("fewer than 3 symbols with trades", lambda f, c: f.live(30, 3, f.after(f.trade))),
        ("no two trades lately", lambda f, c: f.recent(f.trade, 300, 2))],
    r"or no change of the mid;.*all equal": [
        ("fewer than 3 symbols with changes of the mid", lambda f, c: f.live(30, 3, f.after(f.change != 0)))],
    r"^first (\d+) s": [("fewer than 3 live symbols", lambda f, c: cross(f, c))],
    r"until the symbol's second bar has closed": [("fewer than 3 symbols with a bar", lambda f, c: f.live(0, 3, f.bars_since(2)))],
    r"20 bars with an index": [
        ("fewer than 20 bars with an index", lambda f, c: f.samples(20) & f.live(0, 1)),
        ("the price stands still", lambda f, c: f.count(f.change != 0, f.ts - 1200 * SECOND, f.ts - 90 * SECOND) > 1)],
    r"20 effective samples|as (residual|beta)_300s": [("fewer than 20 samples of 3 symbols", lambda f, c: sampled(f))],
}  # fmt: skip


def bars_of(column: Column) -> int:
    return int(re.match(r"\d+", column.window)[0])


def cross(f: Facts, c: Column) -> np.ndarray:
    return f.live(int(re.match(r"first (\d+)", c.warm_up)[1])) & (f.n_symbols >= 3)


def usual_of(f: Facts, c: Column) -> np.ndarray:
    """What the bars of the earlier days must have."""
    return f.priced & (f.t["price"] > 0) if c.name == "volume_profile_20d" else f.change != 0


def sampled(f: Facts) -> np.ndarray:
    return f.live(1300) & f.recent(f.change != 0, 60, 5)


def rules(column: Column) -> list:
    """(reason, fact) that must hold for a value to be owed."""
    text, out, found = column.warm_up, [], not column.warm_up
    if bar := re.search(BAR, text):
        n = int(bar[1])
        out.append((f"fewer than {n} bars", lambda f, c: f.closed(n)))
        text, found = text.replace(bar[0], ""), True
    for phrase, wanted in PHRASES.items():
        if re.search(phrase, text):
            out += wanted
            text, found = re.sub(phrase, "", text), True
    assert found, f"{column.name}: no rule for {column.warm_up!r}"
    return out


@dataclass
class Told:
    """One file."""

    name: str
    ticks: int
    rows: int
    missing: np.ndarray  # per column
    owed: np.ndarray
    wrong: np.ndarray  # missing though owed
    infinite: np.ndarray
    reasons: list[Counter] = field(default_factory=list)


def book_changes(path: Path, universe: Universe, t: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of DEPTH of a file with ten levels: a snapshot sets all twenty before the first tick at its time."""
    table = pq.read_table(path)
    rows = np.array([universe.symbols.index(s) for s in table["symbol"].to_pylist()], np.int32)
    ts = table["ts_event"].to_numpy()
    seen = np.zeros(len(universe), bool)
    first = np.array([not seen[s] and not seen.__setitem__(s, True) for s in rows])
    n = len(ts)
    column = lambda name: np.stack([table[f"{side}{name}_{k}"].to_numpy().astype(float) for side in ("bid", "ask") for k in range(10)], axis=1).ravel()  # noqa: E731
    price, size = column(""), column("_size")
    return {
        "seq": np.repeat(np.searchsorted(t["ts"], ts), 20).astype(np.uint64), "ts": np.repeat(ts, 20), "symbol": np.repeat(rows, 20),
        "position": np.tile(np.arange(20, dtype=np.int32) % 10, n), "operation": np.repeat(np.where(first, 0, 1).astype(np.uint8), 20),
        "side": np.tile(np.repeat(np.array([0, 1], np.uint8), 10), n), "price": price, "size": np.where(price > 0, size, 0.0),
    }  # fmt: skip


def compute(path: Path, small: bool = False, tell=lambda share: None) -> Told:
    """Features of a file in blocks of 8,192 ticks, counted."""
    table = pq.read_table(path)
    table = table.slice(0, SMALL) if small else table
    tick_size = TICK_SIZES.get(path.stem, 0.01)
    universe = Universe.of(sorted(pc.unique(table["symbol"]).to_pylist()), tick_size)
    of_mid = not pc.any(pc.equal(table["kind"], "trade")).as_py()
    conf = FeaturesConf([FamilyConf(f.name) for f in BUILT_IN], 0, BarsConf(price="mid" if of_mid else "trade"))
    columns, names = [c for _, c in COLUMNS], [c.name for _, c in COLUMNS]
    depth = Table(DEPTH, capacity=1 << 20)
    running = Features(conf, universe, features_table(conf), depth)
    assert running.columns == names
    decode, kept, x, at = FromRows(len(universe), Table(TICKS)), {n: [] for n in KEPT}, [], []
    book, taken = None, 0
    if (name := BOOKS.get(path.stem)) and (path.parent / f"{name}.parquet").is_file():
        times = np.sort(table["ts_recv"].to_numpy() if table["ts_recv"].null_count == 0 else table["ts_event"].to_numpy())
        book = book_changes(path.parent / f"{name}.parquet", universe, {"ts": times})
    for rows in rows_of(table, universe):
        ticks = decode.step(rows)
        for n in KEPT:
            kept[n].append(ticks.view(n).copy())
        if book is not None:
            taken = append(depth, book, taken, int(ticks.view("seq")[-1]))
        due = running.step(ticks)
        x.append(due.view("x").copy())
        at.append(due.view("seq").astype(np.int64))
        tell(len(rows) / len(table))
    t, x, at = {n: np.concatenate(v) for n, v in kept.items()}, np.concatenate(x), np.concatenate(at)
    told = Told(path.stem, len(t["ts"]), len(x), *(np.zeros(len(columns), int) for _ in range(4)))
    told.reasons = [Counter() for _ in columns]
    if len(x):
        facts = Facts(t, at, tick_size, of_mid, len(universe), book)
        for i, c in enumerate(columns):
            judge(told, i, c, x[:, i], facts)
    return told


def append(table: Table, book: dict[str, np.ndarray], lo: int, seq: int) -> int:
    """Changes of the books before the ticks up to `seq`."""
    hi = int(np.searchsorted(book["seq"], seq, "right"))
    if hi > lo:
        row = table.reserve(hi - lo)
        for name, values in book.items():
            table.segment.columns[name][row : row + hi - lo] = values[lo:hi]
        table.commit(hi - lo)
    return hi


def judge(told: Told, i: int, c: Column, x: np.ndarray, facts: Facts) -> None:
    missing = np.isnan(x)
    told.missing[i], told.infinite[i] = missing.sum(), np.isinf(x).sum()
    found = [("no bar yet", facts.closed(1))] if c.name in BARRED else []
    for reason, fact in rules(c):
        found.append((reason, fact(facts, c)))
    owed = every([h for _, h in found] + [extra(facts, c)], len(x))
    told.owed[i], told.wrong[i] = owed.sum(), (missing & owed).sum()
    for reason, holds in found:
        if n := int((missing & ~holds).sum()):
            told.reasons[i][reason] += n
        missing = missing & holds
    if n := int((missing & ~owed).sum()):
        told.reasons[i]["denominator 0"] += n


def extra(f: Facts, c: Column) -> np.ndarray:
    """Denominators that the formula has and the warm-up does not name again."""
    t = {n: v[f.at] for n, v in f.t.items()}
    if c.name == "micro_dev":
        return np.abs(t["ask"] - t["bid"]) > 1e-3 * f.tick
    if c.name == "quote_slope":
        return (t["bid"] > 0) & (np.abs(t["bid_size"] * t["ask_size"] - 1) > 1e-9)
    if c.name in ("trade_sign", "sign_run"):
        return f.count(f.sign != 0) > 0
    return np.ones(len(f.at), bool)


def table_of(told: Told) -> Grid:
    grid = Grid("column", "family", "missing", "share", "owed", "reasons", title=f"{told.name}: {told.rows:,} rows of {told.ticks:,} ticks")
    for i, (family, c) in enumerate(COLUMNS):
        why = ", ".join(f"{r} {n:,}" for r, n in told.reasons[i].most_common(3))
        bad = f" [red]{told.wrong[i]:,} unexplained, {told.infinite[i]:,} infinite" if told.wrong[i] or told.infinite[i] else ""
        grid.add_row(c.name, family, f"{told.missing[i]:,}", f"{told.missing[i] / max(told.rows, 1):.2%}", f"{told.owed[i]:,}", why + bad)
    return grid


def errors(told: Told) -> list[str]:
    return [
        f"{told.name}: {c.name}: {told.wrong[i]} of {told.owed[i]} values that are owed are missing, {told.infinite[i]} infinite"
        for i, (_, c) in enumerate(COLUMNS) if told.wrong[i] or told.infinite[i]
    ]  # fmt: skip


def page(all_told: list[Told]) -> str:
    """The summary: counts per file and per column, no row of the data."""
    lines = [
        "# Features of recorded ticks", "",
        "Made by `python tests/feature_data.py --write docs/features-data.md`: all built-in families over files of recorded ticks, throttle 0,",
        "bars of a minute (of mids where a file has no trades). A value is *owed* where the inputs are there and the warm-up has passed; one that is",
        "owed and missing, or infinite, is an error. Files without quotes make no row.", "",
        "| file | ticks | rows | values | missing | owed | owed and missing | infinite |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for t in all_told:
        sums = (t.rows * len(COLUMNS), t.missing.sum(), t.owed.sum(), t.wrong.sum(), t.infinite.sum())
        lines.append(f"| {t.name} | {t.ticks:,} | {t.rows:,} | " + " | ".join(f"{int(v):,}" for v in sums) + " |")
    rows = sum(t.rows for t in all_told)
    lines += ["", f"Columns over all {rows:,} rows.", "", "| family | column | missing | share | owed | commonest reasons |", "|---|---|---|---|---|---|"]
    for i, (family, c) in enumerate(COLUMNS):
        why: Counter = sum((t.reasons[i] for t in all_told), Counter())
        missing, owed = sum(int(t.missing[i]) for t in all_told), sum(int(t.owed[i]) for t in all_told)
        lines.append(f"| {family} | {c.name} | {missing:,} | {missing / rows:.2%} | {owed:,} | {', '.join(r for r, _ in why.most_common(3))} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help=f"the first {SMALL:,} rows of each file")
    parser.add_argument("--only", default="", help="files whose names hold this")
    parser.add_argument("--write", type=Path, help="Markdown file for the summary")
    conf = parser.parse_args(arguments)
    console, told = Console(width=200), []
    if not any(conf.only in p.stem for p in files()):
        console.print("there are no such recorded ticks here (TICKARROW_DATA names their folder)")
        return 1
    with Progress(console=console) as progress:
        for path in (p for p in files() if conf.only in p.stem):
            task = progress.add_task(path.stem, total=1.0)
            told.append(compute(path, conf.small, lambda share, task=task: progress.advance(task, share)))
            progress.update(task, completed=1.0)
    for t in told:
        console.print(table_of(t))
    wrong = [e for t in told for e in errors(t)]
    for e in wrong:
        console.print(e)
    if conf.write:
        conf.write.write_text(page(told))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
