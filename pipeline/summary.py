"""What a run says of itself at its end: `summary.json` for programs (keys are only ever added) and a table for people."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from tickarrow.pipeline.decide import pnl
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.schemas import Kind, OrderState, Reason

STAGES = ("decode", "features", "predict", "decide", "tick_to_decision")
QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))


def results(pipeline: Pipeline) -> dict[str, Any]:
    """What was decided and earned, from the tables of a pipeline."""
    t = pipeline.tables
    kinds = pipeline.kinds
    states = t.orders.column("state")
    profit = pnl(t.fills, pipeline.act.mids())
    reasons = np.bincount(t.decisions.column("reason"), minlength=len(Reason))
    return {
        "ticks": t.ticks.rows,
        "quotes": int(kinds[Kind.QUOTE]),
        "trades": int(kinds[Kind.TRADE]),
        "decisions": t.decisions.rows,
        "reasons": {r.name.lower(): int(reasons[r]) for r in Reason if reasons[r]},
        "orders": int((states == OrderState.INTENT).sum()),
        "fills": t.fills.rows,
        "pnl": profit.total,
        "commission": profit.commission,
        "engine": pipeline.engine.name,
        "model_set": pipeline.model_set.digest,
        "model_sets": by_set(pipeline),
        "feature_digest": pipeline.features.digest,
        **pipeline.digests(),
    }


def by_set(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The sets of a session, in the order of its list, and how often each of them decided."""
    decisions = np.bincount(pipeline.tables.decisions.column("model_set"), minlength=len(pipeline.predict.sets))
    return [{"name": s.model_set.name, "digest": s.model_set.digest, "decisions": int(n)} for s, n in zip(pipeline.predict.sets, decisions)]


def latencies(pipeline: Pipeline) -> dict[str, dict[str, float]]:
    """Latency of each stage in microseconds, per decision row."""
    out = {}
    for stage in STAGES:
        ns = pipeline.tables.timing.column(stage)
        out[stage] = {name: round(float(np.quantile(ns, q)) / 1e3, 1) if len(ns) else float("nan") for name, q in QUANTILES}
    return out


def left_out(bad: dict[str, int]) -> str | None:
    """One sentence on the rows of a source that could not be used, or None."""
    if not bad:
        return None
    return f"{sum(bad.values()):,} rows of the source were left out: " + ", ".join(f"{reason} {n:,}" for reason, n in bad.items())


def peak_rss_mb() -> float:
    """Peak resident memory of this process."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def write(path: Path, summary: dict[str, Any]) -> None:
    path.write_text(json.dumps(summary, indent=1) + "\n")


def show(console: Console, summary: dict[str, Any], where: Path) -> None:
    """The table at the end of a run."""
    grid = Grid(title=None, show_header=False, box=None, pad_edge=False)
    grid.add_column(style="bold")
    grid.add_column(justify="right")
    grid.add_column(style="dim")
    for key, unit in (
        ("ticks", ""), ("quotes", ""), ("trades", ""), ("decisions", ""), ("orders", ""), ("fills", ""), ("pnl", "USD after commission, open positions at mid"),
        ("commission", "USD"), ("bad_frames", ""), ("wall_s", "s"), ("rss_mb", "MB peak"),
    ):  # fmt: skip
        if key in summary:
            v = summary[key]
            grid.add_row(key, f"{v:,.2f}" if isinstance(v, float) else f"{v:,}", unit)
    grid.add_row("engine", str(summary["engine"]), "")
    console.print(grid)
    if "latency_us" in summary:
        lat = Grid("latency, us", *[name for name, _ in QUANTILES], box=None, pad_edge=False, header_style="bold")
        for column in lat.columns[1:]:
            column.justify = "right"
        for stage in STAGES:
            lat.add_row(stage, *[f"{summary['latency_us'][stage][name]:,.1f}" for name, _ in QUANTILES])
        console.print(lat)
    if len(summary["model_sets"]) > 1:
        console.print("model sets: " + ", ".join(f"{s['name']} {s['decisions']:,} decisions" for s in summary["model_sets"]), style="dim", soft_wrap=True)
    for s in summary.get("shadows", []):
        for against in s["against"]:
            r = against["horizons"][-1]
            text = f"shadow {s['name']} beside {against['name']}: {r['rows']:,} rows at {s['ns_per_row'] / 1e3:.1f} us"
            if r["correlation"] is not None:
                text += f", at {r['horizon_s']:g} s the mean of all models differs by {r['mean_abs']:.3g} on average, correlation {r['correlation']:.2f}"
            console.print(text, style="dim", soft_wrap=True)
    reasons = ", ".join(f"{k} {v:,}" for k, v in sorted(summary["reasons"].items(), key=lambda kv: -kv[1]))
    console.print(f"reasons: {reasons}", style="dim", soft_wrap=True)
    console.print(f"decision digest {summary['decision_digest']}")
    console.print(f"written to {os.path.relpath(where)}", soft_wrap=True, highlight=False)
