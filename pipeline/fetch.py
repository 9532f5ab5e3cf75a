"""tickarrow fetch: historical ticks and bars of symbols and days through the gateway, paced by IBKR's rules, into Parquet files.

Ticks come in pages of 1,000 from a start time in whole seconds. A page may be cut inside its last second, so that second is left out and asked
for again: no tick is lost and none comes twice. Only a page that is one second throughout and exactly full cannot be checked; it is reported.
A run that was interrupted, however hard, goes on behind its last whole page."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress, TaskID, TimeRemainingColumn
from rich.table import Table as Grid

from tickarrow.configs.fetch import FetchConf
from tickarrow.jit import _kernel
from tickarrow.pipeline.errors import ConfigError, DataError, GatewayError, listed
from tickarrow.pipeline.fetch_files import IDS, Files, write_table
from tickarrow.pipeline.fetch_gateway import TICKS, HistoryGateway, Refused
from tickarrow.pipeline.fetch_pace import Pace
from tickarrow.pipeline.history import HISTORY_SCHEMAS
from tickarrow.pipeline.prepare import progress_columns
from tickarrow.pipeline.source import day_span, zone_of
from tickarrow.pipeline.source_files import SECOND

ATTEMPTS = 5
PENALTY_S = 60.0  # wait after the gateway says that we were too fast
BARS_OF = ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK")


@dataclass
class Outcome:
    """What there is of a symbol and day, and what is odd about it."""

    symbol: str
    day: str
    rows: dict[str, int] = field(default_factory=dict)  # by kind of ticks, or size of bars
    gap_s: float = 0.0  # longest time without a tick
    notes: list[str] = field(default_factory=list)


def main(conf: FetchConf) -> dict[str, Any]:
    """The command: fetch what is not there yet, then say what there is."""
    zone, days = _check(conf)
    _kernel.warm()
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)  # its errors are told here, one sentence each
    console = Console(stderr=True)
    files = Files(Path(conf.out))
    with _alone(files.out), Progress(*progress_columns(), TimeRemainingColumn(), console=console, speed_estimate_period=900) as progress:
        fetch = Fetch(conf, files, zone, days, progress)
        try:
            asyncio.run(fetch.run())
        except KeyboardInterrupt:
            progress.console.print(f"interrupted after {fetch.requests:,} requests; the same command goes on from here", soft_wrap=True)
            raise
    show(Console(), conf, fetch)
    for text in fetch.errors:
        Console().print(text, style="yellow", soft_wrap=True, highlight=False)
    if fetch.errors and not any(sum(o.rows.values()) for o in fetch.outcomes):
        raise GatewayError(f"nothing was fetched: {fetch.errors[0]}")
    return {"outcomes": fetch.outcomes, "errors": fetch.errors, "requests": fetch.requests}


def _check(conf: FetchConf) -> tuple[ZoneInfo, list[str]]:
    """Time zone and days, or ConfigError."""
    if not conf.symbols:
        raise ConfigError("symbols is empty. Name them: 'symbols=[AAPL,MSFT]'.")
    for kind in conf.ticks:
        if kind not in IDS:
            raise ConfigError(f"ticks: there is no kind {kind!r}. Choose of {', '.join(IDS)}.")
    if conf.bars_of not in BARS_OF:
        raise ConfigError(f"bars_of is {conf.bars_of!r}. Choose one of {', '.join(BARS_OF)}.")
    if not conf.ticks and not conf.bars:
        raise ConfigError("there is nothing to fetch: ticks and bars are both empty. Choose ticks=[TRADES,BID_ASK] or 'bars=[1 min]'.")
    if not conf.gateway.port:
        raise ConfigError("gateway.port is 0. Name the port of a running gateway: gateway=paper (4002) or gateway.port=PORT.")
    texts = conf.first, conf.last or conf.first
    try:
        first, last = (date.fromisoformat(str(t)) for t in texts)
    except ValueError:
        raise ConfigError(f"first and last are {texts[0]!r} and {texts[1]!r}; a day is written like 2026-01-05.") from None
    if last < first:
        raise ConfigError(f"last ({last}) is before first ({first}). Swap them.")
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    weekdays = [str(d) for d in days if d.weekday() < 5]
    if not weekdays:
        raise ConfigError(f"{first} to {last} has no weekday. Choose days on which the exchange is open.")
    return zone_of(conf.timezone), weekdays


@contextmanager
def _alone(out: Path) -> Any:
    """Only one run at a time may write into a folder."""
    with (out / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another tickarrow fetch writes into {out}. Wait for it, or choose another folder (out=FOLDER).") from None
        yield


def cut(table: pa.Table, begin: int, end: int) -> tuple[pa.Table, int, bool]:
    """What to keep of a page that was asked for from second `begin` on.

    Returns
    -------
    rows in [begin, next), the second where the next page begins (at most `end`), and whether the last second may be torn
    """
    seconds = table["ts"].cast(pa.int64()).to_numpy() // SECOND
    if not len(seconds) or seconds.max() < begin:
        return table.slice(0, 0), end, False
    last, full = int(seconds.max()), len(seconds) == TICKS
    torn = full and seconds.min() == last  # nothing can be asked for between two seconds
    following = min(last if full and not torn else last + 1, end)
    return table.filter(pa.array((seconds >= begin) & (seconds < following))), following, torn and last < end


class Fetch:
    """One run of the command."""

    def __init__(self, conf: FetchConf, files: Files, zone: ZoneInfo, days: list[str], progress: Progress) -> None:
        self.conf, self.files, self.zone, self.days, self.progress = conf, files, zone, days, progress
        g = conf.gateway
        self.speed = g.speed if g.kind == "simulator" and g.speed > 0 else 1.0
        self.pace = Pace(self.speed, files.out / "requests.json" if self.speed == 1.0 else None)
        self.requests = 0
        self.outcomes: list[Outcome] = []
        self.errors: list[str] = []
        self._bar: TaskID
        self._gateway: HistoryGateway

    async def run(self) -> None:
        """Fetch everything; an error of one symbol is noted, and the others go on."""
        total = len(self.conf.symbols) * len(self.days) * (len(self.conf.ticks) + len(self.conf.bars))
        self._bar = self.progress.add_task("connecting", total=total)
        self._gateway = HistoryGateway(self.conf.gateway, self.conf.answer_s, self.zone)
        await self._gateway.connect()
        try:
            for k, symbol in enumerate(self.conf.symbols):
                try:
                    await self._symbol(symbol)
                except (Refused, DataError, GatewayError) as e:
                    self.errors.append(f"{symbol}: {e}")
                self.progress.update(self._bar, completed=(k + 1) * total / len(self.conf.symbols))
        except ConnectionError as e:
            raise GatewayError(f"{self._gateway.where} is gone ({e}). What was fetched is kept: run the same command again and it goes on.") from None
        finally:
            self._gateway.disconnect()

    async def _symbol(self, symbol: str) -> None:
        contract = None
        try:
            for day in self.days:
                begin, end = (ns // SECOND for ns in day_span(day, self.zone))
                outcome = Outcome(symbol, day)
                self.outcomes.append(outcome)
                have = self.files.kinds(symbol, day)
                kinds = [kind for kind in self.conf.ticks if kind not in have]
                sizes = [size for size in self.conf.bars if not self.files.bars(symbol, day, size).exists()]
                if (kinds or sizes) and self.conf.gateway.kind == "ib" and end > time.time():
                    outcome.notes.append("the day is not over")
                elif kinds or sizes:
                    contract = contract or await self._gateway.contract(symbol)
                    for kind in kinds:
                        await self._ticks(contract, outcome, kind, begin, end)
                    if kinds:
                        self.files.finish(symbol, day, kinds, begin)
                    for size in sizes:
                        await self._bars(contract, outcome, size, begin, end)
                    self.progress.advance(self._bar, len(have & set(self.conf.ticks)) + len(self.conf.bars) - len(sizes))
                else:
                    self.progress.advance(self._bar, len(self.conf.ticks) + len(self.conf.bars))
                look(self.files, self.conf, outcome)
        except (Refused, DataError, GatewayError):
            self.outcomes[-1].notes.append("stopped by an error")
            raise

    async def _ticks(self, contract: Any, outcome: Outcome, kind: str, begin: int, end: int) -> None:
        symbol, day = outcome.symbol, outcome.day
        pages, at = self.files.pages(symbol, day, kind, begin)
        rows = sum(pq.read_metadata(p).num_rows for p in pages)
        share = 1.0 / (end - begin)
        self.progress.advance(self._bar, (at - begin) * share)
        while at < end:
            what = f"{symbol} {day} {kind.lower().replace('_', ' ')}, {rows:,} ticks"
            send = partial(self._gateway.ticks, contract, kind, at, self.conf.regular_hours)
            table = await self._request(contract, kind, ("ticks", at), what, send)
            page, following, torn = cut(table, at, end) if table is not None else (HISTORY_SCHEMAS[IDS[kind]].empty_table(), end, False)
            if torn:
                outcome.notes.append(f"{kind}: {TICKS:,} or more ticks in the second {datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC, perhaps not all")
            self.files.add_page(symbol, day, kind, at, following, page)
            rows += len(page)
            self.progress.advance(self._bar, (following - at) * share)
            at = following

    async def _bars(self, contract: Any, outcome: Outcome, size: str, begin: int, end: int) -> None:
        symbol, day, of = outcome.symbol, outcome.day, self.conf.bars_of
        send = partial(self._gateway.bars, contract, of, end, size, self.conf.regular_hours)
        table = await self._request(contract, of, ("bars", size, end), f"{symbol} {day} bars of {size}", send)
        table = HISTORY_SCHEMAS[17].empty_table() if table is None else table
        ts = table["ts"].cast(pa.int64())
        inside = pc.and_(pc.greater_equal(ts, begin * SECOND), pc.less(ts, end * SECOND))
        names = pa.array([symbol] * len(table), pa.string()), pa.array([size] * len(table), pa.string())
        columns = {"ts_event": ts, "symbol": names[0], "bar": names[1]} | {c: table[c] for c in table.column_names if c != "ts"}
        write_table(self.files.bars(symbol, day, size), pa.table(columns).filter(inside))
        self.progress.advance(self._bar)

    async def _request(self, contract: Any, kind: str, request: tuple[Any, ...], what: str, send: Callable[[], Awaitable[pa.Table]]) -> pa.Table | None:
        """The answer to a request that leaves when it may; None = the gateway has no data."""
        of, weight = (contract.conId, kind), 2 if kind == "BID_ASK" else 1
        for attempt in range(ATTEMPTS):
            while (wait := self.pace.wait(of, (*of, *request), weight)) > 0:
                paused = f", next request in {math.ceil(wait)} s (pacing)" if wait > 2 else ""
                self.progress.update(self._bar, description=what + paused)
                await asyncio.sleep(min(wait, 1.0) / self.speed)
            self.progress.update(self._bar, description=what)
            self.pace.sent(of, (*of, *request), weight)
            self.requests += 1
            try:
                return await send()
            except Refused as e:
                if e.no_data:
                    return None
                if not e.pacing or attempt == ATTEMPTS - 1:
                    raise
                self.progress.update(self._bar, description=f"{what}, the gateway asks to wait {PENALTY_S:g} s (pacing)")
                await asyncio.sleep(PENALTY_S / self.speed)
            except TimeoutError:
                if attempt:
                    break
        raise GatewayError(f"no answer to a request for {kind} within {self.conf.answer_s:g} s. Is the gateway connected to IBKR? See answer_s.")


def look(files: Files, conf: FetchConf, outcome: Outcome) -> None:
    """Count the rows that there are, and find the longest time without one."""
    symbol, day = outcome.symbol, outcome.day
    path = files.day(symbol, day)
    if path.exists():
        table = pq.read_table(path, columns=["ts_event", "kind"])
        for kind, name in (("TRADES", "trade"), ("BID_ASK", "quote")):
            if kind in conf.ticks:
                outcome.rows[kind] = pc.sum(pc.equal(table["kind"], name)).as_py() or 0
        outcome.gap_s = float(np.diff(table["ts_event"].to_numpy()).max(initial=0)) / SECOND
    others = [("MIDPOINT", files.midpoints(symbol, day))] if "MIDPOINT" in conf.ticks else []
    for name, other in [*others, *((size, files.bars(symbol, day, size)) for size in conf.bars)]:
        if other.exists():
            outcome.rows[name] = pq.read_metadata(other).num_rows
    if empty := [name for name, n in outcome.rows.items() if not n]:
        outcome.notes.append(f"no data: {', '.join(empty)}")


def show(console: Console, conf: FetchConf, fetch: Fetch) -> None:
    """The table of what there is."""
    kinds = [*conf.ticks, *conf.bars]
    grid = Grid("symbol", "day", *(k.lower().replace("_", " ") for k in kinds), "longest gap", "", box=None, pad_edge=False)
    for o in fetch.outcomes:
        rows = [f"{o.rows[k]:,}" if k in o.rows else "" for k in kinds]
        grid.add_row(o.symbol, o.day, *rows, f"{o.gap_s:,.0f} s" if o.gap_s else "", "; ".join(o.notes))
    console.print(grid)
    total = sum(sum(o.rows.values()) for o in fetch.outcomes)
    out = fetch.files.out
    text = f"{total:,} rows of {listed(conf.symbols)} in {out}, {fetch.requests:,} requests. To use the ticks: source=parquet source.path={out / 'ticks'}"
    console.print(text, soft_wrap=True, highlight=False)
