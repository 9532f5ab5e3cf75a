"""What a training says of itself: tables for programs, a table for people, and a page where plotly is installed.

In `report/` of the model set: `metrics.parquet` (a line for each model and fold, and for the untouched tail), `calibration.parquet`,
`symbols.parquet`, `importance.parquet`, `folds.parquet`, `leaks.parquet`, `training.json` and `training.html`. `pandas.read_parquet` opens each table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as Grid

from tickarrow.configs.training import TrainingConf
from tickarrow.pipeline.training_folds import Judged
from tickarrow.pipeline.training_metrics import mean_of

REPORT = "report"  # folder in the model set
PAGE = "training.html"
SCHEMAS = {
    "metrics": {
        "model": "s", "configuration": "s", "horizon_s": "f", "fold": "s", "trees": "i", "rows": "i", "n": "i", "effective_n": "f", "r2": "f", "ic": "f",
        "ic_se": "f", "rank_ic": "f", "log_loss": "f", "base_log_loss": "f", "slope": "f", "mean_forecast_bp": "f", "cost_bp": "f", "trade_share": "f",
        "trades": "i", "gross_bp": "f", "net_bp": "f",
    },
    "calibration": {
        "model": "s", "configuration": "s", "horizon_s": "f", "fold": "s", "bin": "i", "n": "i", "forecast": "f", "outcome": "f", "outcome_sd": "f",
        "probability_up": "f", "share_up": "f",
    },
    "symbols": {
        "model": "s", "configuration": "s", "horizon_s": "f", "fold": "s", "symbol": "s", "n": "i", "ic": "f", "mean_forecast_bp": "f", "cost_bp": "f",
        "trade_share": "f", "trades": "i", "gross_bp": "f", "net_bp": "f",
    },
    "importance": {"model": "s", "configuration": "s", "horizon_s": "f", "fold": "s", "column": "s", "gain": "f"},
    "folds": {"fold": "i", "part": "s", "rows": "i", "first_ns": "i", "last_ns": "i"},
    "leaks": {"rows": "s", "labels": "s", "horizon_s": "f", "ic": "f", "se": "f", "deviations": "f", "tries": "i"},
}  # fmt: skip
TYPES = {"s": pa.string(), "f": pa.float64(), "i": pa.int64()}


def table(name: str, lines: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Lines as an Arrow table; what is not defined is null."""
    return pa.table({c: pa.array([line[c] for line in lines], TYPES[t]) for c, t in SCHEMAS[name].items()})


def write_report(
    folder: Path, conf: TrainingConf, judged: Judged, leaks: Sequence[Mapping[str, Any]], stable: Mapping[str, float | None], columns: Sequence[str],
    training: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write all files of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    importance = [line | {"column": columns[line["column"]]} for line in judged.importance]
    tables = {
        "metrics": table("metrics", judged.metrics), "calibration": table("calibration", judged.calibration), "symbols": table("symbols", judged.symbols),
        "importance": table("importance", importance), "folds": table("folds", judged.folds), "leaks": table("leaks", leaks),
    }  # fmt: skip
    for name, rows in tables.items():
        pq.write_table(rows, folder / f"{name}.parquet")
    said = {
        "training": dict(training), "columns": list(columns), "importance_stability": dict(stable),
        "horizons": by_horizon(judged.metrics), "leaks": list(leaks),
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(said, indent=1) + "\n")
    try:
        from tickarrow.pipeline.training_page import write_page
    except ModuleNotFoundError:  # plotly is an extra
        return
    write_page(folder / PAGE, conf, {name: rows.to_pylist() for name, rows in tables.items()}, stable)


MEANS = ("ic", "ic_se", "rank_ic", "r2", "log_loss", "base_log_loss", "slope", "mean_forecast_bp", "cost_bp", "trade_share")
AFTER_COSTS = ("gross_bp", "net_bp")  # means over trades
NAMED = 5  # symbols that are printed; all are in the tables


def by_horizon(metrics: Sequence[Mapping[str, Any]], means: Sequence[str] = MEANS) -> list[dict[str, Any]]:
    """Means over configurations: of the folds, and of the tail. What is left after costs is the mean over trades."""
    out = []
    for horizon in dict.fromkeys(line["horizon_s"] for line in metrics):
        for part in ("folds", "tail"):
            mine = [m for m in metrics if m["horizon_s"] == horizon and (m["fold"] == "tail") == (part == "tail")]
            ics = [m["ic"] for m in mine if m["ic"] is not None]
            traded = [m for m in mine if m["trades"]]
            trades = sum(m["trades"] for m in traded)
            line = {"horizon_s": horizon, "part": part, "models": len({m["configuration"] for m in mine}), "folds": len({m["fold"] for m in mine})}
            line |= {k: mean_of([m[k] for m in mine]) for k in means}
            line |= {k: sum(m[k] * m["trades"] for m in traded) / trades if trades else None for k in AFTER_COSTS}
            out.append(line | {"ic_lowest": min(ics, default=None), "ic_highest": max(ics, default=None), "trades": trades})
    return out


def said(value: float | None, form: str = "+.3f", unit: str = "") -> str:
    return "-" if value is None else format(value, form) + unit


def show(console: Console, folder: Path) -> None:
    """Print the tables of a report: IC of each configuration at each horizon, each horizon and symbol after costs, what was looked for."""
    metrics, symbols = (pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("metrics", "symbols"))
    about = json.loads((folder / "training.json").read_text())
    for grid in (_skill(metrics, about), _figures(about["horizons"]), _costs({"all": about["horizons"]}), *_of_symbols(symbols)):
        console.print(grid)
    for line in about["leaks"]:
        if line["labels"] == "shifted" and line["rows"] == "embargoed":
            text = f"labels of other times at {line['horizon_s']:g} s: IC {said(line['ic'])}, standard error {said(line['se'], '.3f')}: no leak"
            console.print(text, soft_wrap=True, highlight=False)
    page = folder / PAGE
    where = f"page {page}" if page.is_file() else f"tables in {folder} (no page: plotly is not installed, pip install 'tickarrow[report]')"
    console.print(where, soft_wrap=True, highlight=False)


def _skill(metrics: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Grid:
    horizons = list(dict.fromkeys(m["horizon_s"] for m in metrics))
    title = "IC on rows not seen: mean of the folds, tail; stable: rank correlation of importance"
    grid = Grid("", *(f"{h:g} s" for h in horizons), "stable", title=title, box=None, padding=(0, 1, 0, 0))
    for name in dict.fromkeys(m["configuration"] for m in metrics):
        cells = []
        for h in horizons:
            mine = [m for m in metrics if m["configuration"] == name and m["horizon_s"] == h]
            tail = next((m["ic"] for m in mine if m["fold"] == "tail"), None)
            cells.append(f"{said(mean_of([m['ic'] for m in mine if m['fold'] != 'tail']), '+.2f')} {said(tail, '+.2f')}")
        stable = mean_of([v for k, v in about["importance_stability"].items() if k.rpartition("/")[0] == name])
        grid.add_row(name, *cells, said(stable, ".2f"))
    return grid


def _figures(lines: Sequence[Mapping[str, Any]]) -> Grid:
    heads = "horizon", "rows", "IC", "its error", "rank IC", "R2", "slope", "log loss", "of base"
    grid = Grid(*heads, title="mean of the models", box=None, padding=(0, 1, 0, 0))
    for line in lines:
        cells = (said(line[k], form) for k, form in (
            ("ic", "+.3f"), ("ic_se", ".3f"), ("rank_ic", "+.3f"), ("r2", "+.4f"), ("slope", "+.2f"), ("log_loss", ".4f"), ("base_log_loss", ".4f"),
        ))  # fmt: skip
        grid.add_row(f"{line['horizon_s']:g} s", line["part"], *cells)
    return grid


def _costs(lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> Grid:
    heads = "symbol", "horizon", "rows", "|forecast|", "cost", "traded", "gross", "net"
    grid = Grid(*heads, title="bp of mid; cost is in and out; gross and net of the rows whose forecast exceeds it", box=None, padding=(0, 1, 0, 0))
    for symbol, some in lines.items():
        for line in some:
            share = None if line["trade_share"] is None else 100 * line["trade_share"]
            cells = said(line["mean_forecast_bp"], ".2f"), said(line["cost_bp"], ".2f"), said(share, ".2f", " %"), *(said(line[k], "+.2f") for k in AFTER_COSTS)
            grid.add_row(symbol, f"{line['horizon_s']:g} s", line["part"], *cells)
    return grid


def _of_symbols(symbols: Sequence[Mapping[str, Any]]) -> list[Grid]:
    """What each symbol leaves; nothing where there is one, or too many to print."""
    names = sorted({line["symbol"] for line in symbols})
    if not 1 < len(names) <= NAMED:
        return []
    means = "mean_forecast_bp", "cost_bp", "trade_share"
    return [_costs({n: [x for x in by_horizon([m for m in symbols if m["symbol"] == n], means) if x["part"] == "tail"] for n in names})]
