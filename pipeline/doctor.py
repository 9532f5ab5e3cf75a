"""tickarrow doctor latency: what bounds the latency of a live run on this machine, measured in some seconds, with what can be done about it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from tickarrow.configs.doctor import DoctorLatencyConf
from tickarrow.pipeline import doctor_feed, doctor_machine
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import model_set_of, output_directory, progress_columns, warm_kernels
from tickarrow.pipeline.runtime_mode import check_mode
from tickarrow.pipeline.source import open_source

QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
FEW = 1000  # values below which a p99.9 is an indication only
Floats = npt.NDArray[np.float64]


def main(conf: DoctorLatencyConf) -> dict[str, Any]:
    """Measure, show, write."""
    console, out = Console(stderr=True), output_directory()
    for name in ("seconds", "rate"):
        if not getattr(conf, name) > 0:
            raise ConfigError(f"{name} is {getattr(conf, name)}: expected a number above 0.")
    check_mode(conf.runtime)
    draw = _page_maker() if conf.page is not None else None
    warm_kernels(console, conf.features)
    model_set = model_set_of(conf, console)
    source = open_source(conf.source, conf.universe)
    engine = open_engine(model_set, conf.models)
    n, told = len(source.universe), dict[str, None]()
    feeds = {
        f"sparse, {conf.runtime.mode}": (doctor_feed.sparse(n, conf.rate, conf.seconds), conf.runtime),
        "sparse, never warm": (doctor_feed.sparse(n, conf.rate, conf.seconds), dataclasses.replace(conf.runtime, warm_ms=0.0)),
        f"bursts of {n}": (doctor_feed.bursts(n, conf.rate, conf.seconds), conf.runtime),
    }
    values: dict[str, Floats] = {}
    late: dict[str, dict[str, float]] = {}
    with Progress(*progress_columns(), console=console, transient=True) as progress:
        bar = progress.add_task("timers", total=len(feeds) + 2)
        values["sleep of 1 ms, too long by"] = doctor_machine.slack()
        for name, (due, runtime) in feeds.items():
            progress.update(bar, advance=1, description=name)
            pipeline = Pipeline(conf, source.universe, model_set, engine)
            pipeline.features.prepare(source.start_ns, source.end_ns)
            took = doctor_feed.measure(pipeline, doctor_feed.frames_of(source, due), runtime, lambda text: told.update({text: None}))
            values |= {f"{name}: sent to decision": took.whole, f"{name}: tick to decision": took.decided, f"{name}: wake-up": took.wake}
            late[name] = took.late
        progress.update(bar, advance=1, description="forest")
        values |= {f"forest, one row, {name}": us for name, us in doctor_machine.forest(pipeline).items()}
    found = doctor_machine.machine()
    said = {
        "machine": found, "mode": conf.runtime.mode, "engine": engine.name, "symbols": n, "sender_late_us": late,
        "latency_us": {name: quantiles(us) for name, us in values.items()}, "notes": [*told, *doctor_machine.notes(found)],
    }  # fmt: skip
    show(Console(), said)
    path = Path(conf.out) if conf.out is not None else out / "latency.json"
    path.write_text(json.dumps(said, indent=1) + "\n")
    console.print(f"written to {path}", style="dim", soft_wrap=True, highlight=False)
    if draw is not None and conf.page is not None:
        draw(Path(conf.page), {name: us for name, us in values.items() if len(us)})
    return said


def quantiles(us: Floats) -> dict[str, float | None]:
    """Number of values and their quantiles, us; None = there are none."""
    return {"n": len(us)} | {name: round(float(np.quantile(us, q, method="inverted_cdf")), 1) if len(us) else None for name, q in QUANTILES.items()}


def show(console: Console, said: dict[str, Any]) -> None:
    """What a person reads."""
    grid = Grid("us", "n", "p50", "p99", "p99.9", "max", box=None, pad_edge=False, header_style="bold")
    grid.columns[0].no_wrap = True
    for column in grid.columns[1:]:
        column.justify = "right"
    for name, q in said["latency_us"].items():
        few = "~" if q["n"] < FEW else ""
        cells = ["-" if q[k] is None else f"{few if k == 'p999' else ''}{q[k]:,.1f}" for k in QUANTILES]
        grid.add_row(name, f"{q['n']:,}", *cells)
    console.print(grid)
    found = said["machine"]
    console.print(
        f"{found['cores']} cores, load {found['load']:g}, governor {found['governor'] or 'not told'}, huge pages {found['huge_pages'] or 'not told'}, "
        f"timer slack {found['timer_slack_us']:g} us; {said['symbols']} symbols, engine {said['engine']}, runtime={said['mode']}",
        style="dim", soft_wrap=True, highlight=False,
    )  # fmt: skip
    console.print("`sent` counts from the time an update was to be sent: what queues is in it. ~ = of fewer than 1,000 values.", style="dim", soft_wrap=True)
    for text in said["notes"]:
        console.print(text, style="yellow", soft_wrap=True, highlight=False)


def _page_maker() -> Callable[[Path, dict[str, Floats]], None]:
    """The function that draws. Checked before the work starts: plotly is an extra."""
    try:
        from tickarrow.pipeline.doctor_page import write_page
    except ModuleNotFoundError:
        raise ConfigError("page: tickarrow doctor draws with plotly, which is not installed. Install it: pip install 'tickarrow[report]'") from None
    return write_page
