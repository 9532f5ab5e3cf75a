"""tickarrow verify: every engine compared with the library of each model on all probe rows, whatever certificate is stored.

A certificate holds for its set, file, code, processor and versions, so the table names them all, and the JSON file beside the models has
them in full. A difference is an error, an engine that this machine cannot run is not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tickarrow.configs.verify import VerifyConf
from tickarrow.jit import _kernel
from tickarrow.pipeline import certificate
from tickarrow.pipeline.errors import ConfigError, DataError, ModelError, listed
from tickarrow.pipeline.forest import Float32
from tickarrow.pipeline.models import ModelSet, check_files, read_set
from tickarrow.pipeline.predict_engines import FOLLOWING, open_alone
from tickarrow.pipeline.prepare import progress_columns
from tickarrow.pipeline.registry import Registry

LIBRARY = "xgboost"  # the engine that is the library itself


def main(conf: VerifyConf) -> None:
    """Verify, tell, write; ModelError if an engine differs, or if the one that was asked for does not serve."""
    console, said = Console(), Console(stderr=True)
    model_set = read_set(Registry(conf.models.registry).find(conf.model_set))
    check_files(model_set)
    names = chosen(model_set, conf.engine)
    recorded = recorded_rows(Path(conf.rows), model_set.columns) if conf.rows is not None else None
    with Progress(*progress_columns(), console=said, transient=True) as progress:
        bar = progress.add_task("compiling kernels", total=None)
        _kernel.warm(lambda _, done, total: progress.update(bar, completed=done, total=total))
        progress.update(bar, completed=0, total=len(names))
        outcomes = verify(model_set, names, conf, recorded, lambda name, done: progress.update(bar, description=f"verifying {name}", completed=done))
    show(console, model_set, outcomes)
    write(Path(conf.out) if conf.out is not None else model_set.path / "certificates.json", model_set, outcomes, console)
    for name, outcome in outcomes.items():
        if outcome["mismatches"]:
            models = list(outcome["mismatches"])
            raise ModelError(f"verify: engine {name!r} differs from the library in {len(models)} of {model_set.n_models} models: {listed(models)}.")
    if conf.engine is not None and outcomes[conf.engine]["why"]:
        raise ModelError(f"verify: engine {conf.engine!r} does not serve: {outcomes[conf.engine]['why']}")


def chosen(model_set: ModelSet, asked: str | None) -> list[str]:
    """Names of the engines to be compared; the library is not compared with itself."""
    known = sorted(set(FOLLOWING) - {LIBRARY, "auto"})
    if asked is None:
        return [name for name in known if name != "treelite_c" or name in model_set.manifest["certificates"]]
    if asked not in known:
        raise ConfigError(f"engine is {asked!r}: expected one of {', '.join(known)}.")
    return [asked]


def verify(
    model_set: ModelSet, names: list[str], conf: VerifyConf, recorded: Float32 | None, tell: Callable[[str, int], None] = lambda *_: None
) -> dict[str, dict[str, Any]]:
    """The outcome of each engine: its certificate and `why`, which is empty unless the engine does not serve."""
    outcomes = {}
    with contextlib.suppress(OSError):
        (model_set.path / certificate.PROBES).unlink()  # the libraries are asked again
    for done, name in enumerate(names):
        tell(name, done)
        model_set.manifest["certificates"].pop(name, None)  # so that nothing stands for the whole check
        why = ""
        try:
            engine = open_alone(model_set, replace(conf.models, engine=name), name)
        except certificate.CertificateError:
            pass  # the outcome is stored
        except (ModelError, OSError) as e:
            why = str(e)
        else:
            if recorded is not None:
                margins = certificate.oracle_margins(model_set, recorded)
                differ, _ = certificate.mismatches(model_set, engine, recorded, margins)
                found = model_set.manifest["certificates"][name]
                found["recorded_rows"] = len(recorded)
                found["mismatches"] = {model_set.names[m]: int(n) for m, n in enumerate(differ) if n}
                model_set.certify(name, found)
        outcomes[name] = {"why": why, "mismatches": {}} | (model_set.manifest["certificates"].get(name, {}) if not why else {})
    return outcomes


def recorded_rows(path: Path, columns: list[str]) -> Float32:
    """Rows (n, n_features) of a Parquet or Arrow file: the columns of the set by name, or one column `x` of fixed-size lists."""
    try:
        table = pyarrow.dataset.dataset(path, format="parquet" if path.suffix == ".parquet" else "ipc").to_table()
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(f"{path} cannot be read as rows of features: {str(e).splitlines()[0]}. Give a Parquet or Arrow IPC file.") from None
    if "x" in table.column_names and "x" not in columns:
        lists = table["x"].combine_chunks()
        width = lists.type.list_size if pa.types.is_fixed_size_list(lists.type) else 0
        if width != len(columns):
            raise DataError(f"{path}: column x has type {lists.type}, expected lists of {len(columns)}, the columns of the set.")
        return np.ascontiguousarray(lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, width), np.float32)
    if missing := [c for c in columns if c not in table.column_names]:
        there = f"{len(missing)} of the {len(columns)} columns of the set are missing"
        raise DataError(f"{path} has no column {missing[0]!r} ({there}). Give rows of its features.")
    return np.ascontiguousarray(np.stack([table[c].to_numpy().astype(np.float32) for c in columns], axis=1))


def show(console: Console, model_set: ModelSet, outcomes: dict[str, dict[str, Any]]) -> None:
    """A table of the engines, a line of what the certificates depend on."""
    table = Table(title=f"model set {model_set.name}, {model_set.n_models} models", box=None, title_justify="left")
    for head in ("engine", "outcome", "rows", "recorded", "left out", "mismatches", "file", "seconds"):
        table.add_column(head, justify="right" if head in ("rows", "recorded", "left out", "mismatches", "seconds") else "left", no_wrap=head != "outcome")
    for name, o in outcomes.items():
        if o["why"]:
            table.add_row(name, f"does not serve: {o['why']}", *[""] * 6, style="dim")
            continue
        wrong = sum(o["mismatches"].values())
        outcome = "equal, bit for bit" if not wrong else f"differs in {len(o['mismatches'])} models"
        file = f"{o['file']} {o['digest'][:8]}" if o["file"] else "not written"
        numbers = f"{o['rows']:,}", f"{o['recorded_rows']:,}", f"{o['left_out']:,}", f"{wrong:,}"
        table.add_row(name, outcome, *numbers, file, f"{sum(o['seconds'].values()):.1f}", style="red" if wrong else "")
    console.print(table)
    now = certificate.circumstances(model_set)
    libraries = ", ".join(f"{name} {version}" for name, version in now["libraries"].items())
    what = f"set {now['model_set'][:8]}, code {now['code'][:8]}, processor {now['cpu']}, {now['compiler']}, {libraries}"
    console.print(what, highlight=False, soft_wrap=True)


def write(path: Path, model_set: ModelSet, outcomes: dict[str, dict[str, Any]], console: Console) -> None:
    """The outcomes in full, with the digest of each model file."""
    content = {
        "model_set": model_set.name, "digest": model_set.digest, "models": dict(zip(model_set.names, model_set.model_digests)), "engines": outcomes,
    }  # fmt: skip
    try:
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as e:
        console.print(f"{path} was not written: {e.strerror}", style="yellow", soft_wrap=True)
