"""The quality report of a session: what came of each symbol, what was lost, late or bad, how long it was silent, and how much of the
session's hours it covers. It is made from the chunks and control events alone, so it is the same for any session at any time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as Grid

from tickarrow.pipeline.batch import Batch
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.schemas import ControlKind, Flag, Health, Kind

FRESH_S = 60.0  # a symbol is covered while its last row is not older than this
MINUTE_NS = 60_000_000_000
OpenTime = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]]
PER_SYMBOL = (
    "messages", "quotes", "trades", "gaps", "depth_gaps", "uncertain", "stale", "delayed", "halted", "resubscriptions", "losses", "longest_silence_s",
    "coverage",
)  # fmt: skip
LABELS = ("messages", "quotes", "trades", "gaps", "depth gaps", "unsure", "stale", "delayed", "halted", "asked again", "losses", "silent s", "covered")


class Quality:
    """Counts rows and events as they come.

    Parameters
    ----------
    symbols : names, by row of the universe
    open_time : seconds that the exchange had been open up to each moment (`Hours.open_s`); silence counts in them
    """

    def __init__(self, symbols: list[str], open_time: OpenTime) -> None:
        self.symbols, self._open_time = symbols, open_time
        n = len(symbols)
        self.counts = {name: np.zeros(n, np.int64) for name in PER_SYMBOL[:-2]}
        self.longest, self.missed = np.zeros(n), np.zeros(n)  # seconds of silence; of it, beyond FRESH_S
        self.heard = np.full(n, -1, np.int64)  # ns of the last row
        self.minutes = np.zeros((n, 64), np.int32)
        self.start = self.end = -1  # ns of the first and last chunk
        self.chunks = self.bytes = self.steps_back = 0
        self.requests: dict[int, int] = {}  # every reqId -> symbol
        self._asked: Counter[tuple[int, int]] = Counter()
        self.resyncs = self.skipped_bytes = 0

    def chunk(self, ts: int, n_bytes: int) -> None:
        """One more chunk came."""
        self.start = ts if self.start < 0 else self.start
        self.steps_back += ts < self.end
        self.end = max(self.end, ts)
        self.chunks += 1
        self.bytes += n_bytes

    def rows(self, ticks: Batch) -> None:
        """New rows of TICKS."""
        if not len(ticks):
            return
        symbol, kind, flags, ts = (ticks.view(c) for c in ("symbol", "kind", "flags", "ts"))
        n, count = len(self.symbols), self.counts
        count["quotes"] += np.bincount(symbol[kind == Kind.QUOTE], minlength=n)
        count["trades"] += np.bincount(symbol[kind == Kind.TRADE], minlength=n)
        if flags.any():
            for name, flag in (("gaps", Flag.GAP), ("uncertain", Flag.UNCERTAIN), ("stale", Flag.STALE), ("delayed", Flag.DELAYED), ("halted", Flag.HALTED)):
                count[name] += np.bincount(symbol[flags & flag != 0], minlength=n)
        minute = (ts - self.start) // MINUTE_NS
        while minute.max() >= self.minutes.shape[1]:
            self.minutes = np.concatenate([self.minutes, np.zeros_like(self.minutes)], axis=1)
        np.add.at(self.minutes, (symbol, np.maximum(minute, 0)), 1)
        order = np.argsort(symbol, kind="stable")
        s, t = symbol[order], ts[order]
        first = np.append(True, s[1:] != s[:-1])
        before = np.where(first, self.heard[s], np.append(0, t[:-1]))
        self._silence(s, np.where(before < 0, self.start, before), t)
        last = np.append(first[1:], True)
        self.heard[s[last]] = t[last]

    def _silence(self, symbol: npt.NDArray[np.int32], since: npt.NDArray[np.int64], until: npt.NDArray[np.int64]) -> None:
        silent = self._open_time(until) - self._open_time(since)
        np.maximum.at(self.longest, symbol, silent)
        np.add.at(self.missed, symbol, np.maximum(silent - FRESH_S, 0.0))

    def control(self, event: Control) -> None:
        """A control event."""
        if event.kind == ControlKind.SUBSCRIBE:
            self.requests[event.key] = event.symbol
            self._asked[event.symbol, int(event.value)] += 1
            self.counts["resubscriptions"][event.symbol] += self._asked[event.symbol, int(event.value)] > 1
        elif event.kind == ControlKind.HEALTH and event.value in (Health.LOST, Health.STALE, Health.DISPLACED):
            self.counts["losses"][event.symbol if event.symbol >= 0 else slice(None)] += 1
        elif event.kind == ControlKind.RESYNC:
            self.resyncs += 1
            self.skipped_bytes += int(event.value)

    def report(self, decode: Decode) -> dict[str, Any]:
        """The report, once all has come; plain numbers and names."""
        n = len(self.symbols)
        for request, symbol in self.requests.items():
            self.counts["messages"][symbol] += decode.heard(request)[1]
        self.requests.clear()
        self.counts["depth_gaps"][:] = [decode.side.depth_gaps(symbol) for symbol in range(n)]
        if self.chunks:
            since = np.where(self.heard < 0, self.start, self.heard)
            self._silence(np.arange(n, dtype=np.int32), since, np.full(n, self.end))
            self.heard[:] = self.end
        span = np.array([self.start, self.end])
        length = float(np.diff(self._open_time(span))[0]) if self.chunks else 0.0
        coverage = 1.0 - self.missed / length if length else np.ones(n)
        got = decode.counts()
        each = [
            {"symbol": name, **{k: int(v[i]) for k, v in self.counts.items()}, "longest_silence_s": round(float(self.longest[i]), 3),
             "coverage": round(float(coverage[i]), 6)}
            for i, name in enumerate(self.symbols)
        ]  # fmt: skip
        return {
            "start_ns": self.start, "end_ns": self.end, "open_s": round(length, 3), "chunks": self.chunks, "chunk_bytes": self.bytes,
            "ticks": sum(int(v.sum()) for k, v in self.counts.items() if k in ("quotes", "trades")), "clock_steps_back": self.steps_back,
            **{k: got[k] for k in ("messages", "decoded", "forwarded", "late", "bad")},
            "bad_reasons": {k.removeprefix("bad_"): v for k, v in got.items() if k.startswith("bad_") and v},
            "resyncs": self.resyncs, "skipped_bytes": self.skipped_bytes, "symbols": each,
        }  # fmt: skip


def sent(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """What the simulated gateway says it sent to this session, and which fault kept back how much; None = it was another gateway, or is not known."""
    simulated = manifest.get("simulated", {})
    clients = simulated.get("clients", {})
    if not clients:
        return None
    to_us = clients[str(manifest["config"]["gateway"]["client_id"])]
    withheld = {kind: counts["messages"] for kind, counts in simulated["faults"].items() if counts.get("messages")}
    return {"messages": to_us["messages"] + to_us["side_frames"], "withheld": withheld}


def write(directory: Path, report: dict[str, Any], quality: Quality) -> list[str]:
    """`quality.json`, `quality.parquet` (a row a symbol) and, where plotly is installed, `quality.html`; names of what was written."""
    (directory / "quality.json").write_text(json.dumps(report, indent=1) + "\n")
    pq.write_table(pa.Table.from_pylist(report["symbols"]), directory / "quality.parquet", compression="zstd")
    written = ["quality.json", "quality.parquet"]
    try:
        import plotly.graph_objects as go
    except ModuleNotFoundError:
        return written  # the extra `report` draws it
    used = max(int((quality.end - quality.start) // MINUTE_NS) + 1, 1)
    figure = go.Figure(go.Heatmap(z=quality.minutes[:, :used], y=quality.symbols, colorscale="Viridis", colorbar={"title": "ticks"}))
    figure.update_layout(
        title=f"ticks per minute: {report['ticks']:,} of {len(quality.symbols)} symbols, {report['bad']:,} bad frames", template="plotly_white",
        xaxis_title="minutes since the first chunk", height=max(300, 18 * len(quality.symbols) + 150),
    )  # fmt: skip
    figure.write_html(directory / "quality.html")
    return [*written, "quality.html"]


def wide() -> Console:
    """Standard output, with room for the table where it is a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def show(console: Console, report: dict[str, Any], most: int = 20) -> None:
    """The report as a table: totals, and the symbols of the least coverage."""
    said = ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in report["bad_reasons"].items())
    console.print(
        f"{report['chunks']:,} chunks, {report['chunk_bytes']:,} bytes, {report['messages']:,} messages = {report['decoded']:,} decoded + "
        f"{report['forwarded']:,} forwarded + {report['late']:,} late + {report['bad']:,} bad{f' ({said})' if said else ''}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    if report["sent"] is not None:
        missing = report["sent"]["messages"] - report["decoded"] - report["late"] - report["bad"]
        kept = ", ".join(f"{kind} {n:,}" for kind, n in report["sent"]["withheld"].items())
        console.print(
            f"the simulated gateway sent {report['sent']['messages']:,} messages of market data: {f'{missing:,} more than came' if missing else 'all came'}"
            f"{f'; faults kept back {kept}' if kept else ''}", soft_wrap=True, highlight=False,
        )  # fmt: skip
    if report["clock_steps_back"]:
        console.print(f"the clock stepped back {report['clock_steps_back']} times", style="yellow")
    grid = Grid("symbol", *LABELS, box=None, pad_edge=False, header_style="bold")
    for column in grid.columns[1:]:
        column.justify = "right"
    worst = sorted(report["symbols"], key=lambda s: (s["coverage"], -s["gaps"], -s["longest_silence_s"]))
    for s in worst[:most]:
        grid.add_row(s["symbol"], *(f"{s[k]:.2%}" if k == "coverage" else f"{s[k]:,}" for k in PER_SYMBOL))
    console.print(grid)
    if len(worst) > most:
        console.print(f"and {len(worst) - most} more symbols of better coverage: quality.parquet", style="dim")
