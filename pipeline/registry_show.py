"""tickarrow models list, show, promote, rollback: the registry of model sets on the command line."""

from __future__ import annotations

import datetime
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from tickarrow.configs.registry import ModelsListConf, ModelsPromoteConf, ModelsRollbackConf, ModelsShowConf
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.models import ModelSet, check_files
from tickarrow.pipeline.registry import Promotion, Registry, trained_text
from tickarrow.pipeline.session_quality import wide
from tickarrow.pipeline.swap import forecast_text, seconds_text

SHORT = 12  # digits of a digest in a table


def main(conf: ModelsListConf | ModelsShowConf | ModelsPromoteConf | ModelsRollbackConf) -> None:
    """Any of the commands."""
    if isinstance(conf, ModelsListConf):
        show_list(conf)
    elif isinstance(conf, ModelsShowConf):
        show_one(conf)
    elif isinstance(conf, ModelsPromoteConf):
        promote(conf)
    else:
        rollback(conf)


def show_list(conf: ModelsListConf) -> None:
    """tickarrow models list."""
    registry, console = Registry(conf.models.registry), wide()
    names, now = registry.names(), registry.promoted()
    if not names:
        raise ModelError(f"there is no model set in {registry.folder}. Train one (tickarrow train name=NAME) or name another folder (models.registry=DIR).")
    grid = Grid(title=f"{len(names)} model set{'s' if len(names) > 1 else ''} in {registry.folder}", title_justify="left")
    grid.add_column("", no_wrap=True)
    grid.add_column("name", overflow="fold", min_width=20)
    for name in ("digest", "features", "horizons", "models", "mean IC", "certified", "trained on"):
        grid.add_column(name, overflow="fold", justify="right" if name in ("models", "mean IC") else "left")
    for name in names:
        try:
            s = registry.read(name)
        except ModelError as e:
            grid.add_row("", name, "damaged", style="red")
            console.print(str(e), style="red", soft_wrap=True, highlight=False, markup=False)
            continue
        mark = "*" if now is not None and now.name == name else ""
        if mark and now is not None and now.digest != s.digest:
            mark = "changed"  # the pointer names another content
        grid.add_row(
            mark, name, s.digest[:SHORT], s.feature_digest[:SHORT], seconds_text(s.horizons_ns), str(s.n_models), f"{s.ic.mean():.3f}",
            ", ".join(certificates(s)) or "none", trained_text(s.manifest), style="bold" if mark == "*" else None,
        )  # fmt: skip
    console.print(grid)
    text = f"* {now.name} is promoted since {when(now.at_ns)}" if now is not None else "nothing is promoted (tickarrow models promote NAME)"
    console.print(text, highlight=False, markup=False)


def show_one(conf: ModelsShowConf) -> None:
    """tickarrow models show."""
    registry, console = Registry(conf.models.registry), wide()
    s = registry.read(conf.name)
    check_files(s)
    now, training = registry.promoted(), s.manifest.get("training") or {}
    grid = Grid(show_header=False, box=None, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    here = now is not None and (now.name, now.digest) == (s.name, s.digest)
    for what, text in (
        ("set", s.name), ("path", str(s.path)), ("digest", s.digest), ("promoted", f"since {when(now.at_ns)}" if here and now is not None else "no"),
        ("features", f"{len(s.columns)} columns, digest {s.feature_digest}"), ("horizons", seconds_text(s.horizons_ns)),
        ("models", f"{s.n_models}: {len(s.configurations)} configurations ({', '.join(s.configurations)}) at {s.horizons_ns.size} horizons"),
        ("forecast", forecast_text(s)), ("libraries", ", ".join(dict.fromkeys(e.library for e in s.entries))), ("trained on", trained_text(s.manifest)),
        ("trained from, to", f"{when(training['first_ns'])}, {when(training['last_ns'])}" if "first_ns" in training else "not said"),
        ("data digest", training.get("data_digest", "not said")), ("settings digest", training.get("config_digest", "not said")),
        ("certificates", "\n".join(certificates(s).values()) or "none: an engine is compared with the library when it first serves the set"),
        ("versions", ", ".join(f"{k} {v}" for k, v in s.manifest.get("versions", {}).items())),
    ):  # fmt: skip
        grid.add_row(what, text)
    console.print(grid, highlight=False, markup=False)
    console.print(metrics(s))
    for record in registry.history():
        if record.name == s.name:
            console.print(record_text(record), style="dim", highlight=False)


def promote(conf: ModelsPromoteConf) -> None:
    """tickarrow models promote."""
    registry = Registry(conf.models.registry)
    before = registry.promoted()
    told(registry.promote(conf.name), before)


def rollback(conf: ModelsRollbackConf) -> None:
    """tickarrow models rollback."""
    registry = Registry(conf.models.registry)
    before = registry.promoted()
    told(registry.rollback(), before)


def told(now: Promotion, before: Promotion | None) -> None:
    """What the pointer says now, in a sentence."""
    if before is not None and before.number == now.number:
        text = f"{now.name} is promoted already, since {when(now.at_ns)}"
    else:
        text = f"{now.name} ({now.digest}) is promoted" + (f" in place of {now.before}" if now.before else "")
        text += "; runs with models.follow=true swap to it, model_set=promoted names it"
    Console().print(text, soft_wrap=True, highlight=False, markup=False)


def certificates(s: ModelSet) -> dict[str, str]:
    """Certified engines of a set and what was compared."""
    found: dict[str, dict[str, Any]] = s.manifest.get("certificates") or {}
    return {name: f"{name}: {c.get('rows', 0):,} probe rows, {c.get('models', s.n_models)} models, 0 mismatches" for name, c in found.items()}


def metrics(s: ModelSet) -> Grid:
    """IC by configuration and horizon."""
    grid = Grid(title="IC out of sample", title_justify="left")
    grid.add_column("configuration")
    for h in s.horizons_ns:
        grid.add_column(f"{h / 1e9:g} s", justify="right")
    for name, row in zip(s.configurations, s.ic):
        grid.add_row(name, *[f"{v:.3f}" for v in row])
    return grid


def record_text(r: Promotion) -> str:
    what = "promoted" if r.action == "promote" else "promoted by a rollback"
    return f"{when(r.at_ns)} {what}" + (f", before it {r.before}" if r.before else "")


def when(ns: int) -> str:
    return datetime.datetime.fromtimestamp(ns / 1e9, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


