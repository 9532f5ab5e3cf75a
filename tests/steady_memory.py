"""Push a generated market through the whole pipeline, all tables recycled, and look at the memory that the system gives the process.

    python tests/steady_memory.py 100000000      # ticks; prints MB each hundredth, and the growth after the first tenth

Decisions are throttled to one in five seconds and symbol, so that most of the time goes into ticks. Orders fill at the next quote."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sets_common import noise_set

from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import compose, warm_kernels
from tickarrow.pipeline.source import open_source

PAGE = resource.getpagesize()


def pages() -> int:
    """Resident pages of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def recycled(schema: Any, *, lazy: bool = False) -> Table:
    """A table of which two segments are used in turn."""
    return Table(schema, lazy=lazy, capacity=16_384)


def blocks(overrides: list[str], ticks: int) -> Iterator[Any]:
    """Blocks of a generated market, days enough for so many ticks."""
    conf = compose("backtest", [*overrides, "source.days=2000", "source.duration_s=23400", "source.max_rows=0"])
    taken = 0
    for rows in open_source(conf.source, conf.universe).blocks():
        yield rows
        taken += len(rows)
        if taken >= ticks:
            return


def run(ticks: int, symbols: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Push so many ticks; (ticks pushed, resident pages) after each block."""
    overrides = [
        f"universe.symbols=[{','.join(f'S{i:03d}' for i in range(symbols))}]", "features.throttle_ns=5000000000", "models=portable",
        "ensemble.min_rows=5", "ensemble.min_outcomes=3", "risk.hurdle=-1",
    ]  # fmt: skip
    conf = compose("backtest", overrides)
    warm_kernels(features=conf.features)
    model_set = noise_set(folder / "set", conf, 10)
    source = open_source(conf.source, conf.universe)
    pipeline = Pipeline(conf, source.universe, model_set, open_engine(model_set, conf.models), recorded=recycled, simulate_fills=True)
    done = 0
    for rows in blocks(overrides, ticks):
        pipeline.push(rows)
        pipeline.tables.prepare()
        done += len(rows)
        yield done, pages()
    assert pipeline.tables.decisions.rows > 0
    assert pipeline.tables.fills.rows > 0


def main() -> None:
    ticks, began = int(sys.argv[1]), time.monotonic()
    settled, told = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for done, now in run(ticks, 100, Path(folder)):
            if not settled and done >= ticks // 10:
                settled = now
            if done >= told:
                told += ticks // 100
                print(f"{done:>12,} ticks  {now * PAGE / 1e6:8.1f} MB  {time.monotonic() - began:8.1f} s", flush=True)
    print(f"growth after the first tenth: {(now - settled) * PAGE / 1e6:+.2f} MB, {done / (time.monotonic() - began):,.0f} ticks/s")


if __name__ == "__main__":
    main()
