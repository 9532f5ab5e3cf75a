"""Percentiles of latencies, both axes logarithmic: the page of `tickarrow doctor latency page=FILE.html`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

NINES = (1, 2, 10, 100, 1000, 10_000)


def write_page(path: Path, values: dict[str, npt.NDArray[np.float64]]) -> None:
    """Draw each set of latencies (us) over one in how many values is above it."""
    figure = go.Figure()
    for name, us in values.items():
        n = len(us)
        rank = np.unique(np.round(np.geomspace(1, n, 200)).astype(np.int64))  # from the largest
        figure.add_trace(go.Scatter(x=n / rank[::-1], y=np.sort(us)[n - rank[::-1]], name=name, mode="lines"))
    labels = ["max of 1" if k == 1 else f"p{100 - 100 / k:g}" for k in NINES]
    figure.update_xaxes(type="log", title="one in so many is above", tickvals=NINES, ticktext=labels)
    figure.update_yaxes(type="log", title="microseconds")
    figure.update_layout(title="tickarrow doctor latency", template="plotly_white", height=640)
    figure.write_html(str(path), include_plotlyjs=True)
