"""Tick to decision as a client lives it: `python benchmarks/live_day.py [FILE] [OVERRIDE ...]`.

`tickarrow run` behind the simulated gateway in real time, 100 symbols. The ticks are those of FILE (Parquet in our format, recorded), its
symbols copied to 100 with their times moved; without a file they are generated. Two feeds: every row as it comes (`spaced`), and sampled
four times a second, which sends what has changed in all symbols at once (`burst`).

`arrival` is from the stamp of the received bytes to the decision, `sent` from the gateway's stamp before its write. The gateway is a
process of its own that never waits for its reader, so in `sent` a decision is late by all that queued before it: nothing is left out by
coordinated omission. Latencies are of each write that led to decisions, to the last of them. Not an asv module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SYMBOLS, SECONDS = 100, 120.0
SHIFT_S = 11.0  # between two copies of a symbol
AT = "10:30"  # local time at the exchange
FEEDS = {"spaced": 0.0, "burst": 250.3}
QUANTILES = (50, 99, 99.9)

Array = Any


@dataclass
class Measured:
    """What one session took."""

    messages: int
    decisions: int
    orders: int
    arrival: Array  # us, a write that led to decisions
    sent: Array
    stages: dict[str, Array]  # us, a decision
    rows: Array  # decisions of a write
    seconds: float  # from the first decision to the last
    cpu: float  # of one core, in that time
    rss_mb: float
    summary: dict[str, Any]


def names(n: int = SYMBOLS) -> list[str]:
    return [f"S{i:03d}" for i in range(n)]


def copies(
    path: Path, out: Path, *, day: str, at: str = AT, seconds: float = SECONDS, symbols: Sequence[str] = ("BAC", "IBM", "SPY"), n: int = SYMBOLS
) -> None:
    """Write `n` symbols made of recorded ones: copy k begins k // len(symbols) x 11 s earlier in the recording, and is moved to one start."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    start = int(datetime.fromisoformat(f"{day}T{at}").replace(tzinfo=ZoneInfo("America/New_York")).timestamp()) * 10**9
    length = int(seconds * 1e9)
    earliest = start - int(n // len(symbols) * SHIFT_S * 1e9)
    table = pq.read_table(path, filters=[("ts_event", ">=", earliest), ("ts_event", "<", start + length), ("symbol", "in", list(symbols))])
    parts = []
    for k, name in enumerate(names(n)):
        shift = int(k // len(symbols) * SHIFT_S * 1e9) + k * 1_717_171  # copies of a symbol do not tick in the same millisecond
        one = table.filter(pc.equal(table["symbol"], symbols[k % len(symbols)]))
        ts = pc.add(one["ts_event"], shift)
        inside = pc.and_(pc.greater_equal(ts, start), pc.less(ts, start + length))
        one = one.set_column(one.schema.get_field_index("ts_event"), "ts_event", ts)
        one = one.set_column(one.schema.get_field_index("symbol"), "symbol", pa.array([name] * len(one)))
        one = one.set_column(one.schema.get_field_index("ts_recv"), "ts_recv", pa.nulls(len(one), pa.int64()))
        parts.append(one.filter(inside))
    pq.write_table(pa.concat_tables(parts).sort_by("ts_event"), out, compression="zstd")


def run(overrides: Sequence[str], feed: str) -> Measured:
    """One session of `tickarrow run` in a process of its own; RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        session, log = Path(folder, "session"), Path(folder, "sent")
        command = [
            str(Path(sys.executable).with_name("tickarrow")), "run", "gateway.speed=1", f"gateway.conflation_ms={FEEDS[feed]}", f"gateway.sent_log={log}",
            f"record.path={session}", f"hydra.run.dir={folder}/out", *overrides,
        ]  # fmt: skip
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        used = _watch(child)
        said = child.communicate()[0]
        if child.returncode:
            raise RuntimeError(f"tickarrow run ended with {child.returncode}: {said.strip()[-500:]}")
        return _measured(session, log, used, json.loads(Path(folder, "out", "summary.json").read_text()))


def _watch(child: subprocess.Popen[str]) -> list[tuple[int, float]]:
    """CPU seconds of the client's process four times a second, with their times (ns)."""
    used = []
    tick = os.sysconf("SC_CLK_TCK")
    while child.poll() is None:
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            used.append((time.time_ns(), (int(fields[11]) + int(fields[12])) / tick))
        except (OSError, IndexError):
            break
        time.sleep(0.25)
    return used


def _measured(session: Path, log: Path, used: list[tuple[int, float]], summary: dict[str, Any]) -> Measured:
    from tickarrow.pipeline.session import read_table
    from tickarrow.pipeline.simulator_sent import read_sent

    ticks, timing = read_table(session, "ticks"), read_table(session, "timing")
    seq = timing["seq"].to_numpy()
    chunk = ticks["chunk"].to_numpy()[seq].astype(np.int64)
    took = timing["tick_to_decision"].to_numpy()
    arrived, end = _ends(session)
    sent, written = read_sent(log)
    sent, written = sent[1:], written[1:] - written[0]  # the answer of the handshake is in no chunk
    at = np.searchsorted(end, written)  # the chunk that completed a write
    known = at < len(end)
    sent, at = sent[known], at[known]
    last = np.zeros(len(end), np.int64)
    np.maximum.at(last, chunk, took)
    rows = np.bincount(chunk, minlength=len(end))
    led = rows[at] > 0
    stages = {name: timing[name].to_numpy() / 1e3 for name in ("decode", "features", "predict", "decide", "tick_to_decision")}
    first_ts, last_ts = int(arrived[chunk.min()]), int(arrived[chunk.max()])
    within = [(t, s) for t, s in used if first_ts <= t <= last_ts]
    return Measured(
        messages=int(summary["messages"]), decisions=len(seq), orders=int(summary["orders"]),
        arrival=last[at[led]] / 1e3, sent=(arrived[at[led]] + last[at[led]] - sent[led]) / 1e3, stages=stages, rows=rows[rows > 0],
        seconds=(last_ts - first_ts) / 1e9, cpu=(within[-1][1] - within[0][1]) / ((within[-1][0] - within[0][0]) / 1e9) if len(within) > 1 else float("nan"),
        rss_mb=float(summary["rss_mb"]), summary=summary,
    )  # fmt: skip


def _ends(session: Path) -> tuple[Array, Array]:
    """Arrival time (ns) of each chunk, and how many bytes had been received with it; the piece of a frame at its end comes again in the next."""
    from tickarrow.pipeline.recorder_read import read_journal

    arrived, ends, whole = [], [], 0
    for _, ts, data in read_journal(session):
        arrived.append(ts)
        ends.append(whole + len(data))
        at = 0
        while at + 4 <= len(data) and at + 4 + (n := int.from_bytes(data[at : at + 4], "big")) <= len(data):
            at += 4 + n
        whole += at
    return np.array(arrived), np.array(ends)


def lines(feed: str, m: Measured) -> Iterator[str]:
    """What a person reads of a session."""
    yield (
        f"{feed}: {m.decisions:,} decisions of {SYMBOLS} symbols in {m.seconds:.0f} s, {len(m.arrival):,} writes led to decisions, "
        f"{np.mean(m.rows):.1f} a write, at most {m.rows.max()}; {100 * m.cpu:.1f} % of a core, {m.rss_mb:.0f} MB"
    )
    for name, us in (("arrival", m.arrival), ("sent", m.sent), *m.stages.items()):
        yield f"  {name:<18}" + "  ".join(f"p{q:g} {np.percentile(us, q):9,.1f}" for q in QUANTILES) + f"  max {us.max():9,.1f} us"


def main(arguments: list[str]) -> int:
    path = Path(arguments.pop(0)) if arguments and "=" not in arguments[0] else None
    own = dict(a.split("=", 1) for a in arguments if a.split("=", 1)[0] in ("day", "at", "seconds"))
    overrides = [a for a in arguments if a.split("=", 1)[0] not in own]
    seconds = float(own.get("seconds", SECONDS))
    with tempfile.TemporaryDirectory() as folder:
        if path is not None:
            made = Path(folder, "ticks.parquet")
            copies(path, made, day=own.get("day", "2013-10-08"), at=own.get("at", AT), seconds=seconds)
            overrides = ["source=parquet", f"source.path={made}", *overrides]
        else:
            overrides = [f"universe.symbols=[{','.join(names())}]", f"source.duration_s={seconds}", "source.max_rows=0", *overrides]
        for feed in FEEDS:
            for line in lines(feed, run(overrides, feed)):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
