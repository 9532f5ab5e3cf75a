"""tickarrow features list, tickarrow features describe NAME: what the columns are, from the data that the families declare."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.table import Table as Grid

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.configs.features_show import FeaturesDescribeConf, FeaturesListConf
from tickarrow.jit.feature import Column, Family
from tickarrow.pipeline import features_registry, features_user
from tickarrow.pipeline.errors import ConfigError, near
from tickarrow.pipeline.features_registry import Chosen, choose
from tickarrow.pipeline.session_quality import wide

FEEDS = {
    "any": "any feed",
    "trades": "a feed with trades; IBKR's conflated volume will do",
    "every trade": "every single trade (tick-by-tick data)",
    "depth": "market depth",
}


def main(conf: FeaturesListConf | FeaturesDescribeConf) -> None:
    """Either command."""
    console = wide()
    chosen = choose(all_of(conf.features))
    if isinstance(conf, FeaturesDescribeConf):
        describe(console, conf.name, chosen)
    else:
        show(console, chosen)


def all_of(conf: FeaturesConf) -> FeaturesConf:
    """The configuration; without families all that are registered and those of its files."""
    if conf.families:
        return conf
    own = [f.name for path in conf.files for f in features_user.load(path)]
    names = dict.fromkeys([*(f.name for f in features_registry.families()), *own])
    return replace(conf, families=[FamilyConf(n) for n in names])


def module_of(family: Family) -> str:
    """Where the kernels of a family are."""
    kernel = next(k for k in (family.step, family.emit, family.lane_step, family.bars, family.passes, family.change) if k is not None)
    name = str(getattr(family, "module", "") or getattr(kernel, "py_func", kernel).__module__)
    path = next((f.path for f in features_user.files() if f.module.__name__ == name), None)
    return str(path) if path is not None else f"{name.removeprefix('tickarrow.').replace('.', '/')}.py"


def clock_of(chosen: Chosen, column: Column) -> str:
    """When a column is computed."""
    if column in chosen.family.bar_columns:
        return "when a bar closes"
    return "with each pass over the cross-section" if column in chosen.family.pass_columns else "with every tick"


def show(console: Console, chosen: list[Chosen]) -> None:
    """One row a column."""
    grid = Grid(title=f"{sum(len(c.wanted) for c in chosen)} columns of {len(chosen)} families", title_justify="left")
    longest = max(len(name) for c in chosen for name in c.wanted)
    grid.add_column("column", no_wrap=True, min_width=longest)  # a cut name is of no use
    for name in ("family", "unit", "window", "feed", "reference"):
        grid.add_column(name, overflow="fold")
    for c in chosen:
        by_name = {column.name: column for column in c.columns}
        for name in c.wanted:
            column = by_name[name]
            grid.add_row(name, c.family.name, column.unit, column.window, column.feed, column.reference, end_section=name == c.wanted[-1])
    console.print(grid)


def describe(console: Console, name: str, chosen: list[Chosen]) -> None:
    """A column, or a family and its columns; ConfigError with near names if there is neither."""
    columns = {column.name: (c, column) for c in chosen for column in c.columns if column.name in c.wanted}
    families = {c.family.name: c for c in chosen}
    if name not in columns and name not in families:
        raise ConfigError(f"features: there is no column or family {name!r}. {near(name, [*columns, *families])} See all: tickarrow features list")
    grid = Grid(show_header=False, box=None, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(ratio=1)
    if name in families and (name not in columns or len(families[name].columns) > 1):
        c = families[name]
        grid.add_row("family", name)
        grid.add_row("version", str(c.family.version))
        grid.add_row("windows", ", ".join(f"{t:g} s" for t in c.tau_s) or "none to choose")
        grid.add_row("module", module_of(c.family))
        for column in c.columns:
            grid.add_row(f"  {column.name}", f"{column.formula}  [{column.unit}]{f', {column.window}' if column.window else ''}", style=None)
    if name in columns:
        c, column = columns[name]
        for what, text in (
            ("column", column.name), ("formula", column.formula), ("unit", f"{column.unit} (a pure number)" if column.unit == "1" else column.unit),
            ("window", column.window or "none"), ("computed", clock_of(c, column)), ("warm-up", column.warm_up or "not said"),
            ("reference", column.reference or "none"), ("checked against", column.verifier or "not said"), ("feed", FEEDS.get(column.feed, column.feed)),
            ("family", f"{c.family.name}, version {c.family.version}"), ("module", module_of(c.family)),
        ):  # fmt: skip
            grid.add_row(what, text)
    console.print(grid, highlight=False, markup=False)
