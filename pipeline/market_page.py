"""The page of `tickarrow market`: recorded and generated days of each symbol in the same plots, and the table below them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tickarrow.configs.market import MarketReportConf
from tickarrow.pipeline.market_facts import FACTS, HALF_HOUR_S, SECOND, Array, Day, at, counts, mid, quotes
from tickarrow.pipeline.market_pairs import PAIRS

if TYPE_CHECKING:
    from tickarrow.pipeline.market_report import Line

COLOURS = {"real": "#1f4e79", "generated": "#d95f02"}
PLOTS = ("rows/s by half hour", "s between rows: share above", "spread in ticks: share of quotes", "rows in a second: share above", "mid, first hour, bp")
POINTS = 400  # of a curve
PATH_S = 3600  # of the mid's excerpt

Curve = tuple[int, Array, Array]  # number of the plot, x, y


def write_page(path: Path, conf: MarketReportConf, real: dict[str, list[Day]], generated: dict[str, list[Day]], lines: Sequence[Line]) -> None:
    """One row of plots a symbol, one curve a day, then the table."""
    parts = []
    for k, (symbol, kind) in enumerate(conf.classes.items()):
        figure = make_subplots(1, len(PLOTS), subplot_titles=PLOTS)
        for side, days in (("real", real.get(symbol, [])), ("generated", generated[symbol])):
            for n, day in enumerate(days):
                for plot, x, y in curves(day):
                    figure.add_trace(
                        go.Scatter(x=x, y=y, mode="lines", name=side, legendgroup=side, showlegend=n == 0 and plot == 1,
                                   line={"color": COLOURS[side], "width": 1}), row=1, col=plot,
                    )  # fmt: skip
        figure.update_xaxes(type="log", row=1, col=2)
        figure.update_yaxes(type="log", row=1, col=2)
        figure.update_xaxes(type="log", row=1, col=4)
        figure.update_yaxes(type="log", row=1, col=4)
        figure.update_layout(height=380, title=f"{symbol}: class {kind}", margin={"l": 40, "r": 20, "t": 80, "b": 40}, template="plotly_white")
        parts.append(figure.to_html(full_html=False, include_plotlyjs=k == 0))
    path.write_text(
        "<!doctype html><meta charset='utf-8'><title>generated market</title><body style='font-family:sans-serif;margin:1em'>"
        f"<h1>Generated market{' and ' + escape(Path(conf.real).name) if conf.real else ''}</h1>" + "".join(parts) + "".join(_rows(lines)) + "</body>\n"
    )


def curves(day: Day) -> Iterator[Curve]:
    """The curves of a day, plot by plot; one that the day cannot give is left out."""
    second = counts(day, SECOND)
    half_hours = len(second) // HALF_HOUR_S
    if half_hours:
        yield 1, np.arange(half_hours) / 2, second[: half_hours * HALF_HOUR_S].reshape(half_hours, HALF_HOUR_S).mean(1)
    gap = np.maximum(np.diff(day.ts) / SECOND, 1e-6)
    if len(gap):
        yield 2, *above(gap)
    q = quotes(day)
    if len(q.ts):
        width, n = np.unique(np.round((q.ask - q.bid) / q.tick), return_counts=True)
        yield 3, width, n / n.sum()
    if second.any():
        yield 4, *above(second[second > 0].astype(float))
    if len(q.ts):
        path = at(q.ts, mid(q), np.arange(day.begin + SECOND, min(day.end, day.begin + PATH_S * SECOND), 10 * SECOND))
        path = path[np.isfinite(path)]
        if len(path):
            yield 5, np.arange(len(path)) / 6, (path / path[0] - 1) * 1e4


def above(x: Array) -> tuple[Array, Array]:
    """Points of the share of values above x, thinned out evenly in the share's logarithm."""
    x = np.sort(x)
    rank = np.unique(np.geomspace(1, len(x), POINTS).astype(int))
    return x[len(x) - rank], rank / len(x)


def _rows(lines: Sequence[Line]) -> Iterator[str]:
    yield "<table cellpadding='4' style='border-collapse:collapse'><tr>" + "".join(
        f"<th align='left'>{h}</th>" for h in ("", "fact", "real", "generated", "beyond real", "", "what it is")
    ) + "</tr>"
    for x in lines:
        colour = " style='background:#fbe0d8'" if x.inside is False else ""
        verdict = "" if x.inside is None else "inside" if x.inside else "outside"
        cells = [x.name, x.fact, *(f"{v[1]:.3g}" for v in (x.real, x.generated)), f"{x.value:.3g}", verdict, (FACTS | PAIRS)[x.fact][1]]
        yield f"<tr{colour}>" + "".join(f"<td>{'' if c == 'nan' else escape(c)}</td>" for c in cells) + "</tr>"
    yield "</table>"
