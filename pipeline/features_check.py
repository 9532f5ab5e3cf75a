"""tickarrow features check: does a column or a label know the future?

The columns are computed from ticks that end early or go on otherwise, and through the live path, see `features_leaks.py`; a user's file
is also run again as it would have run earlier, see `features_again.py`. One sentence for each column that leaks, and exit code 1."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from tickarrow.configs.features import FamilyConf, FeaturesConf
from tickarrow.configs.features_check import FeaturesCheckConf
from tickarrow.pipeline import features_registry, features_user
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decode import FromRows
from tickarrow.pipeline.errors import ConfigError, DataError, listed
from tickarrow.pipeline.features import feature_columns
from tickarrow.pipeline.features_again import again, cut_copy
from tickarrow.pipeline.features_leaks import Leak, Rows, Ticks, cut, differences, label_leaks, leaks, of_features
from tickarrow.pipeline.features_user import UserFile
from tickarrow.pipeline.prepare import progress_columns, warm_kernels
from tickarrow.pipeline.schemas import TICKS, Feed, Flag
from tickarrow.pipeline.source import Source, open_source
from tickarrow.pipeline.training_data import horizons_ns, label_function
from tickarrow.pipeline.universe import Universe

BURST = 20  # rows in a row of a market that is thinned
FAULTS = (Flag.GAP, Flag.HALTED, Flag.DELAYED, Flag.STALE, None)  # given to a few rows of it in turn; None = crossed
FAULT_EVERY, FAULT_ROWS = 300, 10


@dataclass
class Report:
    """What a check found."""

    ticks: int
    rows: int
    symbols: list[str]
    columns: list[str]
    leaks: list[Leak]  # one a column at most
    labels: list[str] = field(default_factory=list)  # that were checked
    missing: list[str] = field(default_factory=list)  # columns that are NaN in every row
    constant: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)  # what is wrong with a user's file beside its columns
    read: list[str] = field(default_factory=list)  # files that a user's file reads and that were not cut


def main(conf: FeaturesCheckConf) -> None:
    """Check, tell; DataError if a column or label leaks."""
    found = check(conf, Console(stderr=True))
    console = Console()

    def tell(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    for text in [*map(str, found.leaks), *found.sentences]:
        tell(text)
    what = f"{len(found.columns)} columns" + (f" and {len(found.labels)} labels" if found.labels else "")
    tell(f"{what}, {found.rows:,} rows of {found.ticks:,} ticks of {len(found.symbols)} symbols")
    for what, names in (("missing in every row", found.missing), ("the same in every row", found.constant)):
        if names:
            tell(f"{what}: {', '.join(names)}")
    for name in found.read:
        tell(f"not checked: {name} is read by a file of features; what it says must have been known before the ticks begin")
    if found.leaks or found.sentences:
        names = [x.column for x in found.leaks]
        raise DataError(f"features check: look-ahead in {listed(names) if names else 'a file of features'}. The sentences above name the first row of each.")
    tell("no look-ahead found")


def check(conf: FeaturesCheckConf, console: Console) -> Report:
    """Check columns, labels and user files of a configuration, with progress."""
    if conf.rows < 1 or conf.cuts < 1:
        raise ConfigError(f"features check: rows is {conf.rows} and cuts {conf.cuts}. Give at least 1 of each.")
    if conf.path is not None:
        conf = replace(conf, source=replace(conf.source, kind="parquet", path=conf.path))
    features = chosen(conf.features)
    warm_kernels(console, features)
    source = open_source(conf.source, conf.universe)
    with Progress(*progress_columns(), MofNCompleteColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("reading ticks", total=None)
        ticks = first_ticks(source, conf.rows) if conf.source.kind != "generated" else spread_ticks(source, conf.rows)
        if not len(ticks["ts"]):
            raise DataError("features check: the source has no ticks. Choose another (path=FILE, source=...).")
        progress.update(bar, description="computing again")
        columns, symbols = feature_columns(features), source.universe.symbols
        run = of_features(features, source.universe)
        found, whole = leaks(run, ticks, columns, symbols, conf.cuts, lambda done, total: progress.update(bar, completed=done, total=total))
        report = Report(len(ticks["ts"]), len(whole.seq), symbols, columns, found)
        progress.update(bar, description="running files of features again", completed=0, total=None)
        _check_files(conf, features, source, ticks, whole, report)
        if conf.labels:
            horizon = horizons_ns(conf.training)
            report.labels = [f"{h:g}s" for h in conf.training.horizons_s]
            gap, past = round(conf.training.gap_s * 1e9), conf.training.label != "forward_return"
            report.leaks += label_leaks(ticks, whole, horizon, gap, symbols, label_function(conf.training), conf.cuts, past)
    for k, column in enumerate(columns):
        values = whole.x[:, k][~np.isnan(whole.x[:, k])]
        if not len(values):
            report.missing.append(column)
        elif (values == values[0]).all():
            report.constant.append(column)
    return report


def chosen(conf: FeaturesConf) -> FeaturesConf:
    """The configuration; without families those of its files, without files all."""
    if conf.families:
        return conf
    of_files = [f for path in conf.files for f in features_user.load(path)]
    return replace(conf, families=[FamilyConf(f.name) for f in of_files or features_registry.families()])


def blocks(source: Source) -> Iterator[Ticks]:
    """TICKS of a source, as columns of its blocks."""
    decode = FromRows(len(source.universe), Table(TICKS))
    for block in source.blocks():
        batch = decode.step(block)
        yield {c: batch.view(c) for c in TICKS.names}


def first_ticks(source: Source, rows: int) -> Ticks:
    """The first rows of recorded ticks."""
    parts, n = [], 0
    for block in blocks(source):
        parts.append(cut({c: v.copy() for c, v in block.items()}, rows - n))
        n += len(parts[-1]["ts"])
        if n == rows:
            break
    return {c: np.concatenate([p[c] for p in parts]) if parts else np.zeros(0) for c in TICKS.names}


def spread_ticks(source: Source, rows: int) -> Ticks:
    """Short runs of rows of a generated market, a quarter of them close together at its begin, the others evenly over all of it. Their quotes
    are whole, so they are a market of fewer ticks. A market has no faults, so some of these rows are given some."""
    parts = [{c: v.copy() for c, v in cut(block, BURST).items()} for block in blocks(source)]
    most = max(rows // BURST, 1)
    if len(parts) > most:
        near = most // 4
        parts = parts[:near] + [parts[i] for i in np.linspace(near, len(parts) - 1, most - near).astype(int)]
    out = {c: np.concatenate([p[c] for p in parts]) if parts else np.zeros(0) for c in TICKS.names}
    out["seq"] = np.arange(len(out["ts"]), dtype=np.uint64)
    for i, at in enumerate(range(len(out["ts"]) // 2, len(out["ts"]), FAULT_EVERY)):
        what = slice(at, at + FAULT_ROWS)
        if (flag := FAULTS[i % len(FAULTS)]) is None:
            out["bid"][what], out["ask"][what] = out["ask"][what].copy(), out["bid"][what].copy()
        else:
            out["flags"][what] = flag
            out["feed"][what] = Feed.L1
    return out


def _check_files(conf: FeaturesCheckConf, features: FeaturesConf, source: Source, ticks: Ticks, whole: Rows, report: Report) -> None:
    """Run the files of features again with the file of ticks cut off, and compare what their kernels take in and their columns."""
    path = Path(conf.source.path).resolve() if conf.source.kind == "parquet" and Path(conf.source.path).is_file() else None
    seen: list[Path] = []
    for file in map(features_user.open_file, features.files):
        with again(file, {}) as (_, read):
            seen += read
    report.read = [str(p) for p in dict.fromkeys(seen) if p != path]
    if path not in seen or path is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in map(features_user.open_file, features.files):
            for n in _ends(ticks, whole):
                copy = Path(folder) / f"{n}.parquet"
                if not copy.is_file():
                    cut_copy(path, int(ticks["ts"][n - 1]), copy)
                found = _as_it_was(file, path, copy, features, source.universe, cut(ticks, n), whole, report)
                if found is None:
                    break
                if found:
                    known = {x.column for x in report.leaks}
                    report.leaks += [x for x in found if x.column not in known]
                    break


def _ends(ticks: Ticks, whole: Rows) -> list[int]:
    """Numbers of ticks that end with a due row and with all ticks of its time, of one symbol after the other."""
    n = whole.seq.astype(np.int64) - int(ticks["seq"][0]) + 1
    whole_time = n < len(ticks["ts"])
    whole_time[whole_time] = ticks["ts"][n[whole_time]] > ticks["ts"][n[whole_time] - 1]
    out = []
    for share, symbol in zip((0.9, 0.5, 0.7, 0.3), itertools.cycle(np.unique(whole.symbol).tolist() or [0])):
        at = n[whole_time & (whole.symbol == symbol)]
        if len(at):
            out.append(int(at[int(share * (len(at) - 1))]))
    return out


def _as_it_was(
    file: UserFile, path: Path, copy: Path, features: FeaturesConf, universe: Universe, ticks: Ticks, whole: Rows, report: Report
) -> list[Leak] | None:
    """Leaks of a file's columns where its file of ticks ends with these ticks; None if there is no more to find out."""
    last = int(ticks["seq"][-1])
    how = f"with {path.name} ending after seq {last:,} when {file.path.name} reads it"
    try:
        with again(file, {path: copy}) as (new, _):
            other = [k for k, v in new.constants.items() if features_user.as_bytes(v) != features_user.as_bytes(file.constants.get(k))]
            if not other:
                return None
            names = {f.name for f in file.families}
            own = replace(features, files=[], families=[c for c in features.families if c.name in names])
            columns = feature_columns(own)
            part = of_features(own, universe)(ticks, [len(ticks["ts"])])
            at = [report.columns.index(c) for c in columns]
            mine = Rows(whole.seq, whole.ts, whole.symbol, np.ascontiguousarray(whole.x[:, at]))
            found = list(differences(mine, part, last, columns, universe.symbols, how, f"its constant {listed(sorted(other))} knows what came later"))
    except ConfigError as e:
        report.sentences.append(f"{file.path.name} fails {how}: it takes from there what comes later ({e})")
        return None
    text = f"{file.path.name}: {listed(sorted(other))} is another with an earlier end of {path.name}: it knows what came later."
    if not found and text not in report.sentences:
        report.sentences.append(text)  # no column shows it in these rows
    if found and text in report.sentences:
        report.sentences.remove(text)
    return found
