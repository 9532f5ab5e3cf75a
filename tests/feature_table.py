"""Writes docs/features.md from the registry and the checks of tests/verify_*.py: `python tests/feature_table.py`."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.progress import Progress
from verify import Check

from tickarrow.jit.feature import Column, Family
from tickarrow.pipeline import features_registry

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "features.md"
HEAD = ("column", "unit", "window", "formula", "reference", "feed", "NaN", "checked against", "largest error", "tolerance")
ERROR = HEAD.index("largest error")
CLOCKS = ("every tick", "every bar", "every pass over the cross-section")
INTRO = """\
# Features

Made by `python tests/feature_table.py` from the registry and the checks of `tests/verify_*.py`; `tickarrow features list` prints the same columns.

Symbols: b, a best bid and ask, bs, as their sizes, m mid, p, q price and size of a trade, r mid return in bp, S(.) a sum that decays by
exp(-dt / tau) in event time, o, h, l, c, v a bar. Missing is NaN. *Feed*: what must be subscribed for the column to mean what it says:
`trades` (a conflated L1 feed gives increases of the day's volume), `every trade` (tick by tick), `depth`. *Largest error*: of all values
compared, the largest \\|ours - theirs\\| / (floor + \\|theirs\\|), rounded up to a power of ten, on the machine that made this page;
*tolerance*: what the test allows. *twin* is the slow form of the definition in `tests/naive_*.py`, *numpy* a closed form over the full window.
"""


def families() -> tuple[Family, ...]:
    return features_registry.BUILT_IN


def columns(f: Family) -> Iterator[tuple[str, Sequence[Column]]]:
    """Columns of a family with its own windows, by clock."""
    for clock, listed in zip(CLOCKS, (f.columns(f.tau_s), f.bar_columns, f.pass_columns)):
        if listed:
            yield clock, listed


def checks() -> dict[str, list[Check]]:
    """Checks of all columns, by column."""
    out: dict[str, list[Check]] = {}
    for path in sorted(HERE.glob("verify_*.py")):
        for check in importlib.import_module(path.stem).CHECKS:
            out.setdefault(check.column, []).append(check)
    return out


def power(x: float) -> str:
    """Rounded up to a power of ten."""
    return "0" if x == 0 else f"1e{math.ceil(math.log10(x) - 1e-12)}"


def page(error: Callable[[Check], float]) -> str:
    """Text of the page; `error` gives the largest error of a check."""
    found, lines, total = checks(), [INTRO], 0
    for f in families():
        lines.append(f"## {f.name}\n")
        for clock, listed in columns(f):
            lines += [f"Computed at {clock}, {len(listed)} columns.\n", row(HEAD), row(["---"] * len(HEAD))]
            for c in listed:
                mine = found.get(c.name, [])
                if not mine:
                    raise LookupError(f"column {c.name!r} of family {f.name!r} has no check in tests/verify_*.py")
                by = "; ".join(k.library for k in mine)
                worst, allowed = (power(error(k)) for k in mine), (f"{k.rtol:.0e}".replace("e-0", "e-") for k in mine)
                lines.append(row([f"`{c.name}`", c.unit, c.window, c.formula, c.reference, c.feed, c.warm_up, by, "; ".join(worst), "; ".join(allowed)]))
            lines.append("")
            total += len(listed)
    lines.insert(1, f"{len(families())} families, {total} columns.\n")
    return "\n".join(lines).rstrip() + "\n"


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def without_errors(text: str) -> list[list[str]]:
    """Lines of a page, a row of a table as its cells without the largest error, which differs between machines."""
    out = []
    for line in text.splitlines():
        cells = line.replace("\\|", "\0").split("|")[1:-1] if line.startswith("| ") else [line]
        out.append([c for i, c in enumerate(cells) if len(cells) == 1 or i != ERROR])
    return out


def main() -> int:
    n = sum(map(len, checks().values()))
    with Progress(transient=True) as progress:
        bar = progress.add_task("comparing", total=n)

        def measured(check: Check) -> float:
            progress.update(bar, advance=1, description=f"{check.column}: {check.library}")
            return check.largest_error()

        PAGE.write_text(page(measured))
    print(f"{PAGE}: {n} checks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
