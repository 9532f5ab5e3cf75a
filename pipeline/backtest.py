"""tickarrow backtest: the same pipeline over a source with no gateway between; orders fill at the next quote of their symbol.

With `-m` every job leaves `result.json`, and the sweep one `results.parquet` with a row per job: its overrides and its figures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from tickarrow.configs.pipeline import BacktestConf
from tickarrow.pipeline import reference, shadow, summary
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import model_set_of, output_directory, progress_columns, warm_kernels
from tickarrow.pipeline.source import open_source
from tickarrow.pipeline.swap import plan

SHOWN = ("ticks", "decisions", "orders", "fills", "pnl", "commission")


def main(conf: BacktestConf) -> dict[str, Any]:
    """Run one backtest; writes `result.json` and the results as Parquet tables into the output directory."""
    if conf.fills.kind != "next_quote":
        raise ConfigError(f"fills.kind is {conf.fills.kind!r}; the only fill model is 'next_quote'.")
    swept = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    console = Console(stderr=True, quiet=swept)
    out = output_directory()
    source = open_source(conf.source, conf.universe)
    warm_kernels(console, conf.features)
    model_set = model_set_of(conf, console)
    pipeline = Pipeline(conf, source.universe, model_set, open_engine(model_set, conf.models), simulate_fills=True)
    plan(pipeline, conf.models, source.start_ns)
    if slow := reference.use(pipeline, conf.reference):
        console.print(slow, style="yellow", soft_wrap=True)
    started = time.perf_counter()
    with Progress(*progress_columns(), console=console, transient=True) as progress:
        bar = progress.add_task("backtesting", total=(source.end_ns - source.start_ns) / 1e9)
        for rows in source.blocks():
            pipeline.push(rows)
            progress.update(bar, completed=(pipeline.ts - source.start_ns) / 1e9)
    wall = time.perf_counter() - started
    result = {
        **summary.results(pipeline), "ticks_per_s": round(pipeline.tables.ticks.rows / wall), "wall_s": round(wall, 3),
        "rss_mb": summary.peak_rss_mb(), "left_out": sum(source.bad.values()),
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for s in pipeline.shadows:
        s.stop()
    if pipeline.shadows:
        result["shadows"] = shadow.write(pipeline.shadows, out)
    summary.write(out / "result.json", result)
    for name in ("decisions", "orders", "fills"):
        pq.write_table(getattr(pipeline.tables, name).arrow(), out / f"{name}.parquet", compression="zstd")
    if not swept:
        summary.show(Console(), result, out)
        if said := summary.left_out(source.bad):
            console.print(said, style="yellow")
    return result


class GatherResults(Callback):
    """At the end of a sweep: `results.parquet`, one row per job, and a table of it."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        rows: list[dict[str, Any]] = []
        overridden: set[str] = set()
        for path in sorted(folder.glob("*/result.json"), key=lambda p: int(p.parent.name)):
            overrides = [str(override) for override in OmegaConf.load(path.parent / ".hydra" / "overrides.yaml")]
            given = dict(override.split("=", 1) for override in overrides if "=" in override)
            overridden |= given.keys()
            result = json.loads(path.read_text())
            reasons = {f"reason_{k}": v for k, v in result.pop("reasons").items()}
            rows.append({"job": int(path.parent.name), **given, **result, **reasons})
        if not rows:
            return
        names = dict.fromkeys(name for row in rows for name in row)
        table = pa.table({name: [row.get(name) for row in rows] for name in names})
        pq.write_table(table, folder / "results.parquet")
        swept = [n for n in names if n in overridden and len({row.get(n) for row in rows}) > 1]
        grid = Grid("job", *swept, *SHOWN, box=None, pad_edge=False)
        for row in rows:
            figures = [f"{row[n]:,.2f}" if isinstance(row[n], float) else f"{row[n]:,}" for n in SHOWN]
            grid.add_row(str(row["job"]), *[str(row.get(n, "")) for n in swept], *figures)
        console = Console()
        console.print(grid)
        console.print(f"written to {folder / 'results.parquet'}", soft_wrap=True)
