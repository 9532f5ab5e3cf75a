"""tickarrow market: facts of generated sessions, class by class, beside those of recorded ticks, as a table, files and a page of plots.

A recorded file may hold less than the generator gives: no quotes, one quote a second, coarse time stamps. A generated day is reduced in
the same way before it is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from itertools import combinations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from tickarrow.configs.market import MarketReportConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.jit import _kernel
from tickarrow.jit.market_state import SESSION_S
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.market_facts import FACTS, RATIO, SECOND, SHARE, Array, Day, facts
from tickarrow.pipeline.market_pairs import PAIRS, pair_facts
from tickarrow.pipeline.schemas import Kind
from tickarrow.pipeline.source import GeneratedSource, ParquetSource, Source
from tickarrow.pipeline.source_rows import ASK, ASK_SIZE, BID, BID_SIZE, Rows

FACTOR = 1.5  # a ratio is inside up to this factor beyond the recorded days
DIFFERENCE = 0.1  # a share or a correlation up to this much
CLASSES = {"BAC": "large", "IBM": "small", "SPY": "etf"}  # what is compared when nothing is said
RESOLUTIONS = (SECOND, 1_000_000, 1000)  # of time stamps, ns
MASKED = ((BID, "bid"), (BID_SIZE, "bid_size"), (ASK, "ask"), (ASK_SIZE, "ask_size"))


@dataclass(frozen=True)
class Line:
    """One fact of one symbol or pair. `value` of generated against the nearest recorded day: a ratio or a difference."""

    name: str
    fact: str
    real: tuple[float, float, float]  # lowest, mean, highest over the recorded days; NaN without a file
    generated: tuple[float, float, float]  # over the seeds
    value: float
    inside: bool | None  # None = shown only


def main(conf: MarketReportConf) -> list[Line]:
    """The command."""
    _kernel.warm()
    conf = replace(conf, classes=_classes(conf.classes))
    console = Console()
    page = Path(conf.out)
    make_page = _page_maker()
    with Progress(console=console, transient=True) as progress:
        real = recorded_days(conf, progress) if conf.real else {}
        generated = generated_days(conf, real, progress)
        lines = compare(conf, real, generated, progress)
    show(console, lines, conf)
    table = pa.table({
        "name": [x.name for x in lines], "fact": [x.fact for x in lines],
        **{f"{side}_{part}": [getattr(x, side)[k] for x in lines] for side in ("real", "generated") for k, part in enumerate(("low", "mean", "high"))},
        "value": [x.value for x in lines], "inside": pa.array([x.inside for x in lines], pa.bool_()),
    })  # fmt: skip
    page.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, page.with_suffix(".parquet"))
    pa.csv.write_csv(table, page.with_suffix(".csv"))
    make_page(page, conf, real, generated, lines)
    console.print(f"written to {page} and, the table alone, {page.with_suffix('.parquet')} and {page.with_suffix('.csv')}", soft_wrap=True, highlight=False)
    return lines


def _classes(given: Any) -> dict[str, str]:
    if given is None:
        return CLASSES
    if not isinstance(given, dict) or not given or not all(isinstance(v, str) for v in given.values()):
        raise ConfigError(f"classes is {given!r}. Give a class for each symbol, for example 'classes={{BAC: large, IBM: small}}'.")
    return {str(symbol): kind for symbol, kind in given.items()}


def _page_maker() -> Callable[..., None]:
    """The function that writes the page. Checked before the work starts: plotly is an extra."""
    try:
        from tickarrow.pipeline.market_page import write_page
    except ModuleNotFoundError:
        raise ConfigError("tickarrow market draws with plotly, which is not installed. Install it: pip install 'tickarrow[report]'") from None
    return write_page


def recorded_days(conf: MarketReportConf, progress: Progress) -> dict[str, list[Day]]:
    """The recorded days of each symbol, cut to the hours; a day without rows in them is left out."""
    assert conf.real is not None
    source = ParquetSource(
        SourceConf(kind="parquet", path=conf.real, symbols=list(conf.classes), day=conf.day, timezone=conf.timezone), UniverseConf(tick_size=conf.tick_size)
    )
    parts = _columns(source, progress, f"read {Path(conf.real).name}")
    zone = ZoneInfo(conf.timezone)
    first, last = (datetime.fromtimestamp(t / SECOND, zone).date() for t in (source.start_ns, source.end_ns))
    out = {}
    for row, symbol in enumerate(conf.classes):
        days = [_day(parts, row, *_hours(conf, date.fromordinal(d), zone), conf.tick_size) for d in range(first.toordinal(), last.toordinal() + 1)]
        out[symbol] = [d for d in days if len(d.ts) > 1]
        if not out[symbol]:
            raise DataError(f"{conf.real}: {symbol} has no rows from {conf.hours[0]} to {conf.hours[1]} ({conf.timezone}). Choose other hours.")
    return out


def _hours(conf: MarketReportConf, day: date, zone: ZoneInfo) -> tuple[int, int]:
    """Begin and end of the hours on a date, ns UTC."""
    try:
        begin, end = (time.fromisoformat(h) for h in conf.hours)
    except ValueError:
        raise ConfigError(f"hours is {list(conf.hours)}. Give two local times, for example 'hours=[\"09:30\",\"16:00\"]'.") from None
    a, b = (int(datetime.combine(day, t, zone).astimezone(UTC).timestamp()) * SECOND for t in (begin, end))
    if b <= a:
        raise ConfigError(f"hours is {list(conf.hours)}: the second time must be later than the first.")
    return a, b


def generated_days(conf: MarketReportConf, real: dict[str, list[Day]], progress: Progress) -> dict[str, list[Day]]:
    """One generated day a seed of each symbol, reduced to what the recorded file shows."""
    universe = UniverseConf(symbols=list(conf.classes), classes=list(conf.classes.values()), tick_size=conf.tick_size)
    begin, end = _hours(conf, date(2026, 1, 5), ZoneInfo(conf.timezone))
    seconds = conf.duration_s or min((end - begin) / SECOND, SESSION_S)
    out: dict[str, list[Day]] = {symbol: [] for symbol in conf.classes}
    for seed in conf.seeds:
        start = datetime.fromtimestamp(begin // SECOND, UTC).isoformat()
        source = GeneratedSource(SourceConf(seed=seed, start=start, duration_s=seconds, max_rows=0), universe)
        parts = _columns(source, progress, f"generate seed {seed}")
        for row, symbol in enumerate(conf.classes):
            day = _day(parts, row, source.start_ns, source.end_ns, conf.tick_size)
            out[symbol].append(alike(day, real[symbol]) if symbol in real else day)
    return out


def _columns(source: Source, progress: Progress, what: str) -> dict[str, Array]:
    """All rows of a source as whole columns."""
    task = progress.add_task(what, total=source.end_ns - source.start_ns)
    blocks = []
    for rows in source.blocks():
        blocks.append(rows.columns())
        progress.update(task, completed=int(rows.ts[-1]) - source.start_ns)
    progress.remove_task(task)
    empty = {name: np.zeros(0) for name in Rows.__dataclass_fields__}
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]} if blocks else empty


def _day(columns: dict[str, Array], row: int, begin: int, end: int, tick: float) -> Day:
    """Rows of a symbol in [begin, end); what a quote leaves unchanged is filled in, quotes without a side are left out."""
    mine = (columns["symbol"] == row) & (columns["ts"] >= begin) & (columns["ts"] < end)
    c = {name: column[mine] for name, column in columns.items()}
    quote = c["kind"] == Kind.QUOTE
    for bit, name in MASKED:
        given = quote & ((c["mask"] & bit) > 0)
        latest = np.maximum.accumulate(np.where(given, np.arange(len(given)), 0))
        c[name] = np.where(quote, c[name][latest], np.nan) if given.any() else np.full(len(given), np.nan)
    order = np.argsort(c["ts"], kind="stable")
    keep = order[(~quote | (np.isfinite(c["bid"]) & np.isfinite(c["ask"])))[order]]
    names = ("ts", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size")
    return Day(begin, end, tick, **{name: c[name][keep] for name in names})


def alike(day: Day, real: Sequence[Day]) -> Day:
    """A generated day as the recorded file would have shown it: its kinds of rows, its quotes a second, its resolution of time."""
    if not any(d.quote.any() for d in real):
        day = day.where(~day.quote)
    elif not any((~d.quote).any() for d in real):
        day = day.where(day.quote)
    elif all((d.ts[d.quote] % SECOND == 0).all() for d in real) and not all((d.ts % SECOND == 0).all() for d in real):
        day = closes(day)
    for resolution in RESOLUTIONS:
        if all((d.ts % resolution == 0).all() for d in real):
            return day.where(np.full(len(day.ts), True), ts=day.ts // resolution * resolution)
    return day


def closes(day: Day) -> Day:
    """The day with the last quote of each second only, stamped at the end of the second."""
    quote = day.quote
    rows = np.flatnonzero(quote)
    second = day.ts[rows] // SECOND
    last = rows[np.append(np.diff(second) != 0, True)] if len(rows) else rows
    ts = day.ts.copy()
    ts[last] = (ts[last] // SECOND + 1) * SECOND
    keep = ~quote
    keep[last] = True
    order = np.argsort(ts[keep], kind="stable")
    chosen = np.flatnonzero(keep)[order]
    chosen = chosen[ts[chosen] < day.end]
    return day.where(chosen, ts=ts[chosen])


def compare(conf: MarketReportConf, real: dict[str, list[Day]], generated: dict[str, list[Day]], progress: Progress | None = None) -> list[Line]:
    """Facts of each symbol, then of each pair of symbols."""
    lines = []
    pairs = list(combinations(conf.classes, 2))
    task = progress.add_task("count", total=len(conf.classes) + len(pairs)) if progress else None
    for symbol in conf.classes:
        a, b = ([facts(d) for d in days.get(symbol, [])] for days in (real, generated))
        lines += [judge(symbol, fact, rule, a, b) for fact, (rule, _) in FACTS.items()]
        if progress and task is not None:
            progress.advance(task)
    for x, y in pairs:
        a, b = ([pair_facts(d, e) for d, e in _same_days(days.get(x, []), days.get(y, []))] for days in (real, generated))
        lines += [judge(f"{x}/{y}", fact, rule, a, b) for fact, (rule, _) in PAIRS.items()]
        if progress and task is not None:
            progress.advance(task)
    return [x for x in lines if np.isfinite(x.real[1]) or np.isfinite(x.generated[1])]


def _same_days(a: Iterable[Day], b: Sequence[Day]) -> Iterator[tuple[Day, Day]]:
    if all(d.begin == e.begin for d, e in combinations(b, 2)):  # generated: one day a seed
        yield from zip(a, b)
        return
    for d in a:
        yield from ((d, e) for e in b if e.begin == d.begin)


def judge(name: str, fact: str, rule: str, real: Sequence[dict[str, float]], generated: Sequence[dict[str, float]]) -> Line:
    """Set the generated mean against the nearest recorded day."""
    r, g = (_range([f[fact] for f in days]) for days in (real, generated))
    low, _, high = r
    value, inside = np.nan, None
    nearest = float(np.clip(g[1], low, high))  # NaN if one of the two has no value
    if np.isfinite(nearest) and rule == RATIO:
        value = g[1] / nearest if nearest > 0 else (1.0 if g[1] == nearest else np.inf)
        inside = bool(1 / FACTOR <= value <= FACTOR)
    elif np.isfinite(nearest):
        value = g[1] - nearest
        inside = bool(abs(value) <= DIFFERENCE) if rule == SHARE else None
    return Line(name, fact, r, g, float(value), inside)


def _range(values: Iterable[float]) -> tuple[float, float, float]:
    known = [v for v in values if np.isfinite(v)]
    return (min(known), float(np.mean(known)), max(known)) if known else (np.nan,) * 3


def show(console: Console, lines: Sequence[Line], conf: MarketReportConf) -> None:
    """The table, symbol by symbol, and how many facts are inside."""

    def said(x: tuple[float, float, float]) -> str:
        if not np.isfinite(x[1]):
            return "-"
        return f"{x[1]:.3g}" if f"{x[0]:.3g}" == f"{x[2]:.3g}" else f"{x[1]:.3g}  ({x[0]:.3g} to {x[2]:.3g})"

    for name in dict.fromkeys(x.name for x in lines):
        title = f"{name}: {conf.classes[name]}" if name in conf.classes else name
        grid = Grid("fact", "real", "generated", "beyond real", "", title=title, box=None, pad_edge=False, title_justify="left", title_style="bold")
        for x in (line for line in lines if line.name == name):
            rule = (FACTS | PAIRS)[x.fact][0]
            value = "" if not np.isfinite(x.value) else f"x {x.value:.2f}" if rule == RATIO else f"{x.value:+.3g}"
            verdict = "" if x.inside is None else "inside" if x.inside else "OUTSIDE"
            grid.add_row(x.fact, said(x.real), said(x.generated), value, verdict, style="red" if x.inside is False else None)
        console.print(grid)
    judged = [x for x in lines if x.inside is not None]
    if judged:
        inside = sum(bool(x.inside) for x in judged)
        console.print(f"{inside} of {len(judged)} facts are inside: a factor {FACTOR} or a difference of {DIFFERENCE} beyond the recorded days")
