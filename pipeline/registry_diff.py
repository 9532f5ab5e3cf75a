"""tickarrow models diff A B: how two model sets differ in what they are, and with path=TICKS in what they predict for the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table as Grid

from tickarrow.configs.registry import ModelsDiffConf
from tickarrow.pipeline.features_cache import columns_of, features_of
from tickarrow.pipeline.features_input import is_session
from tickarrow.pipeline.models import ModelSet, check_files, load_set, read_set
from tickarrow.pipeline.predict_engines import open_engine
from tickarrow.pipeline.prepare import warm_kernels
from tickarrow.pipeline.registry import Registry, trained_text
from tickarrow.pipeline.registry_show import certificates
from tickarrow.pipeline.session_quality import wide
from tickarrow.pipeline.shadow import Disagreement
from tickarrow.pipeline.swap import check_forecasts, forecast_text, seconds_text


def main(conf: ModelsDiffConf) -> None:
    """Show where the sets differ; with a path also the disagreement of their predictions."""
    registry, console = Registry(conf.models.registry), wide()
    a, b = (read_set(registry.find(name)) for name in (conf.a, conf.b))
    for s in (a, b):
        check_files(s)
    console.print(facts(a, b))
    for text in columns_text(a, b):
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    if conf.path is not None:
        console.print(disagreement(disagree(a, b, conf), a, b))


def facts(a: ModelSet, b: ModelSet) -> Grid:
    """One row a property; those that differ are marked."""
    grid = Grid(title=f"{a.name} and {b.name}", title_justify="left")
    for name in ("", "property", a.name, b.name):
        grid.add_column(name, overflow="fold")
    for name, x, y in [("path", str(a.path), str(b.path)), *((n, f(a), f(b)) for n, f in PROPERTIES)]:
        grid.add_row("" if x == y or name == "path" else "*", name, x, y)
    common = [c for c in a.configurations if c in b.configurations]
    if np.array_equal(a.horizons_ns, b.horizons_ns):
        for c in common:
            for h, ns in enumerate(a.horizons_ns):
                x, y = (s.ic[s.configurations.index(c), h] for s in (a, b))
                grid.add_row("" if x == y else "*", f"IC {c} at {ns / 1e9:g} s", f"{x:.4f}", f"{y:.4f}")
    return grid


PROPERTIES = (
    ("digest", lambda s: s.digest), ("features digest", lambda s: s.feature_digest), ("columns", lambda s: str(len(s.columns))),
    ("horizons", lambda s: seconds_text(s.horizons_ns)), ("configurations", lambda s: ", ".join(s.configurations)),
    ("forecast", forecast_text), ("mean IC", lambda s: f"{s.ic.mean():.4f}"), ("trained on", lambda s: trained_text(s.manifest)),
    ("data digest", lambda s: str((s.manifest.get("training") or {}).get("data_digest", "not said"))),
    ("settings digest", lambda s: str((s.manifest.get("training") or {}).get("config_digest", "not said"))),
    ("certified", lambda s: ", ".join(certificates(s)) or "none"),
)  # fmt: skip


def columns_text(a: ModelSet, b: ModelSet) -> list[str]:
    """Columns that only one set reads."""
    only = [(x.name, [c for c in x.columns if c not in y.columns]) for x, y in ((a, b), (b, a))]
    said = [f"columns of {name} only: {', '.join(columns)}" for name, columns in only if columns]
    if not said and a.columns != b.columns:
        said = ["the columns are the same in another order"]
    elif not said and a.feature_digest != b.feature_digest:
        said = ["the columns have the same names, but their parameters or versions differ"]
    return said


def disagree(a: ModelSet, b: ModelSet, conf: ModelsDiffConf) -> Disagreement:
    """Both sets predict the rows of `conf.path`; ModelError if one does not fit its features or they forecast different things."""
    check_forecasts(a, b)
    assert conf.path is not None
    session = is_session(Path(conf.path))
    rows = features_of(conf.path, None if session else conf.features, None if session else conf.universe)
    columns, digest = columns_of(rows), rows.schema.metadata[b"digest"].decode()
    warm_kernels(Console(stderr=True), conf.features)
    engines = [open_engine(load_set(str(s.path), columns, digest), conf.models) for s in (a, b)]
    found = Disagreement(a, b)
    for batch in rows.to_batches():
        x = matrix(batch, len(columns))
        y = [np.empty((len(x), s.n_models), np.float32) for s in (a, b)]
        for engine, out in zip(engines, y):
            engine.predict(x, 0, len(x), out)
        found.add(*y)
    return found


def matrix(batch: pa.RecordBatch, n: int) -> Any:
    """(rows, n) float32 features of a batch of FEATURES, C-contiguous."""
    return np.ascontiguousarray(batch.column("x").flatten().to_numpy(zero_copy_only=False).reshape(-1, n), np.float32)


def disagreement(found: Disagreement, a: ModelSet, b: ModelSet) -> Grid:
    """One row for each configuration that both have, and for the mean of all, at each horizon."""
    grid = Grid(title=f"predictions of {a.name} and {b.name}, each in the unit of its forecast", title_justify="left")
    for name in ("configuration", "horizon", "rows", "largest |difference|", "mean |difference|", "correlation", "same sign"):
        grid.add_column(name, justify="left" if name == "configuration" else "right")
    for r in found.table():
        values = ["-" if r[k] is None else f"{r[k]:.4f}" for k in ("max_abs", "mean_abs", "correlation")]
        same = "-" if r["sign_agreement"] is None else f"{r['sign_agreement']:.1%}"
        grid.add_row(r["configuration"], f"{r['horizon_s']:g} s", f"{r['rows']:,}", *values, same)
    return grid
