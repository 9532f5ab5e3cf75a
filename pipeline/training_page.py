"""The page of a training: skill of each model at each horizon, folds on a time axis, importance of columns, calibration, costs."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tickarrow.configs.training import TrainingConf
from tickarrow.pipeline.training_metrics import mean_of

Lines = Sequence[Mapping[str, Any]]

COLOURS = {"learn": "#4c78a8", "stop": "#72b7b2", "purged": "#e45756", "embargoed": "#f2a93b", "test": "#54a24b"}
TOP = 25  # columns that are drawn
STYLE = "font-family: sans-serif; max-width: 1400px; margin: 2em auto; color: #222"


def write_page(path: Path, conf: TrainingConf, tables: Mapping[str, Lines], stable: Mapping[str, float | None]) -> None:
    """Write the page, one file with all that it needs."""
    figures = [(title, text, draw(tables, stable)) for title, (text, draw) in FIGURES.items()]
    if not tables["leaks"]:
        figures.pop()
    parts = [f"<h1>Training</h1><p>{html.escape(f'{conf.label}, {conf.split}, {len(conf.configurations)} configurations, weights: {conf.weights}')}</p>"]
    for k, (title, text, figure) in enumerate(figures):
        figure.update_layout(template="plotly_white", margin={"l": 60, "r": 20, "t": 50, "b": 50})
        parts.append(f"<h2>{title}</h2><p>{text}</p>" + figure.to_html(full_html=False, include_plotlyjs=k == 0))
    body = "\n".join(parts)
    path.write_text(f'<!doctype html><meta charset="utf-8"><title>Training</title><body style="{STYLE}">\n{body}\n</body>\n')


def _names(lines: Lines, key: str) -> list[Any]:
    return list(dict.fromkeys(line[key] for line in lines))


def skill(metrics: Lines) -> go.Figure:
    """Heat maps of model x horizon."""
    rows, horizons = _names(metrics, "configuration"), _names(metrics, "horizon_s")
    figure = make_subplots(1, 2, subplot_titles=("folds", "tail"), shared_yaxes=True)
    for k in (0, 1):
        values = [
            [mean_of([m["ic"] for m in metrics if m["configuration"] == r and m["horizon_s"] == h and (m["fold"] == "tail") == bool(k)]) for h in horizons]
            for r in rows
        ]
        text = [["" if v is None else f"{v:+.3f}" for v in line] for line in values]
        figure.add_trace(
            go.Heatmap(z=values, x=[f"{h:g} s" for h in horizons], y=rows, text=text, texttemplate="%{text}", coloraxis="coloraxis"), 1, k + 1,
        )  # fmt: skip
    figure.update_layout(height=120 + 26 * len(rows), coloraxis={"colorscale": "RdBu", "cmid": 0, "colorbar": {"title": "IC"}})
    return figure.update_yaxes(autorange="reversed")


def _utc(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC)


def folds(lines: Lines) -> go.Figure:
    """A bar for each stretch of each fold."""
    figure = go.Figure()
    for part, colour in COLOURS.items():
        mine = [line for line in lines if line["part"] == part]
        figure.add_trace(
            go.Bar(
                name=part, orientation="h", marker_color=colour, y=[f"fold {line['fold']}" for line in mine], base=[_utc(line["first_ns"]) for line in mine],
                x=[max(1.0, (line["last_ns"] - line["first_ns"]) / 1e6) for line in mine], text=[f"{line['rows']:,}" for line in mine],
                hovertemplate="%{y}, " + part + ": %{text} rows of the fold, from %{base}<extra></extra>", textposition="none",
            )
        )  # fmt: skip
    figure.update_layout(barmode="overlay", height=160 + 34 * len({line["fold"] for line in lines}), xaxis={"type": "date", "title": "UTC"})
    return figure.update_yaxes(autorange="reversed")


def importance(lines: Lines, stable: Mapping[str, float | None]) -> go.Figure:
    """Bars of the columns that matter most, with the deviation between folds; and how much the order of columns is the same in two folds."""
    of_fold: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        of_fold.setdefault(line["column"], {}).setdefault(line["fold"], []).append(line["gain"])
    means = {column: [float(np.mean(v)) for v in by_fold.values()] for column, by_fold in of_fold.items()}
    top = sorted(means, key=lambda c: -float(np.mean(means[c])))[:TOP]
    figure = make_subplots(1, 2, column_widths=[0.65, 0.35], subplot_titles=("share of gain", "rank correlation between folds, of each model"))
    bar = go.Bar(x=[float(np.mean(means[c])) for c in top], y=top, orientation="h", error_x={"array": [float(np.std(means[c])) for c in top]}, showlegend=False)
    figure.add_trace(bar, 1, 1)
    named = {k: v for k, v in stable.items() if v is not None}
    figure.add_trace(go.Scatter(x=list(named.values()), y=list(named), mode="markers", showlegend=False), 1, 2)
    return figure.update_layout(height=200 + 20 * TOP).update_yaxes(autorange="reversed")


def calibration(lines: Lines) -> go.Figure:
    """Mean outcome by forecast at each horizon, of all models and folds; share of ups by their probability."""
    figure = make_subplots(1, 2, subplot_titles=("outcome by forecast", "share of ups by probability of up"))
    colours = list(COLOURS.values())
    for k, h in enumerate(_names(lines, "horizon_s")):
        mine = [line for line in lines if line["horizon_s"] == h and line["fold"] != "tail"]
        bins = [[line for line in mine if line["bin"] == b] for b in sorted({line["bin"] for line in mine})]
        for column, (x, y) in enumerate((("forecast", "outcome"), ("probability_up", "share_up")), 1):
            points = [(mean_of([b[x] for b in some]), mean_of([b[y] for b in some])) for some in bins]
            known = [(a, b) for a, b in points if a is not None and b is not None]
            figure.add_trace(
                go.Scatter(
                    x=[p[0] for p in known], y=[p[1] for p in known], mode="lines+markers", name=f"{h:g} s", legendgroup=str(h), showlegend=column == 1,
                    marker_color=colours[k % len(colours)],
                ), 1, column,
            )  # fmt: skip
    for column in (1, 2):
        values = [v for trace in figure.data for v in trace.x if trace.xaxis == ("x" if column == 1 else "x2")]
        ends = [min(values, default=0.0), max(values, default=1.0)]
        figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line={"dash": "dot", "color": "#888"}, showlegend=False), 1, column)
    return figure.update_layout(height=460)


def costs(metrics: Lines) -> go.Figure:
    """Share of rows that are traded, and what they leave."""
    horizons = _names(metrics, "horizon_s")
    figure = make_subplots(1, 2, subplot_titles=("share of rows traded", "mean of a traded row, bp"))
    for part in ("folds", "tail"):
        of = {h: [m for m in metrics if m["horizon_s"] == h and (m["fold"] == "tail") == (part == "tail")] for h in horizons}
        x = [f"{h:g} s" for h in horizons]
        figure.add_trace(go.Bar(x=x, y=[mean_of([m["trade_share"] for m in of[h]]) for h in horizons], name=f"{part}: share"), 1, 1)
        for what in ("gross_bp", "net_bp"):
            figure.add_trace(go.Bar(x=x, y=[mean_of([m[what] for m in of[h]]) for h in horizons], name=f"{part}: {what[:-3]}"), 1, 2)
    return figure.update_layout(height=400)


def leaks(lines: Lines) -> go.Figure:
    """IC with its standard error."""
    figure = go.Figure()
    for labels in ("true", "shifted"):
        mine = [line for line in lines if line["labels"] == labels]
        figure.add_trace(
            go.Bar(
                name=f"{labels} labels", x=[f"{line['horizon_s']:g} s, {line['rows']}" for line in mine], y=[line["ic"] for line in mine],
                error_y={"array": [line["se"] for line in mine]},
            )
        )  # fmt: skip
    return figure.update_layout(height=400, yaxis={"title": "IC"})


FIGURES: dict[str, tuple[str, Callable[[Mapping[str, Lines], Mapping[str, float | None]], go.Figure]]] = {
    "Skill": (
        "IC on rows that the model did not see. Folds: the mean over folds. Tail: the final model on rows that nothing was chosen by.",
        lambda tables, stable: skill(tables["metrics"]),
    ),
    "Folds": (
        "What each fold learns from, stops by and tests. Purged: its label and a tested one overlap. Embargoed: too near to a tested label.",
        lambda tables, stable: folds(tables["folds"]),
    ),
    "Importance": (
        "Share of the gain of a column: mean over models and folds, and the deviation between folds.",
        lambda tables, stable: importance(tables["importance"], stable),
    ),
    "Calibration": (
        "Mean outcome of the rows of a bin against their mean forecast, all folds; the dotted line is a forecast that has the right size.",
        lambda tables, stable: calibration(tables["calibration"]),
    ),
    "After costs": (
        "Rows whose forecast exceeds the spread and the fees of both orders: gross and net, bp of mid.",
        lambda tables, stable: costs(tables["metrics"]),
    ),
    "Leaks": (
        "IC of small models, true labels and labels of other times, with and without purge and embargo.",
        lambda tables, stable: leaks(tables["leaks"]),
    ),
}
