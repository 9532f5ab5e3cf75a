"""tickarrow import: the rows of a source of another program's files as one Parquet file in the tick-file format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from tickarrow.configs.source import ImportConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline.errors import ConfigError, DataError, listed
from tickarrow.pipeline.prepare import progress_columns
from tickarrow.pipeline.source import IMPORTERS, open_source
from tickarrow.pipeline.source_files import SECOND, TABLE_ROWS, TICK_FILE
from tickarrow.pipeline.source_rows import good_rows
from tickarrow.pipeline.summary import left_out
from tickarrow.pipeline.universe import Universe

GROUP = 16 * TABLE_ROWS  # rows of a row group


class Importable(Protocol):
    """A source that also gives its rows as tables in the tick-file format."""

    universe: Universe
    start_ns: int
    end_ns: int
    key: str  # column that orders the rows
    bad: dict[str, int]

    def tables(self) -> Iterator[pa.Table]:
        """All rows in order, as TICK_FILE says; rows that cannot be read are counted in `bad`."""
        ...


def main(conf: ImportConf) -> dict[str, Any]:
    """The command: write the rows of a source into a Parquet file, say how many and which were left out."""
    if conf.source.kind not in IMPORTERS:
        raise ConfigError(f"source={conf.source.kind} is nothing to import. Choose source={', source='.join(IMPORTERS)}.")
    source = open_source(conf.source, UniverseConf())
    console = Console(stderr=True)
    with Progress(*progress_columns(), console=console, transient=True) as progress:
        bar = progress.add_task(f"writing {Path(conf.out).name}", total=max((source.end_ns - source.start_ns) / SECOND, 1.0))
        rows, bad = write(cast(Importable, source), Path(conf.out), lambda ts: progress.update(bar, completed=(ts - source.start_ns) / SECOND))
    trades, quotes = rows
    symbols = source.universe.symbols
    text = f"{conf.out}: {quotes:,} quotes and {trades:,} trades of {len(symbols)} symbol{'s' if len(symbols) > 1 else ''} ({listed(symbols)})"
    Console().print(text, soft_wrap=True, highlight=False)
    if said := left_out(bad):
        Console().print(said, style="yellow", soft_wrap=True)
    return {"trades": trades, "quotes": quotes, "left_out": bad}


def write(source: Importable, out: Path, progress: Callable[[int], None] | None = None) -> tuple[tuple[int, int], dict[str, int]]:
    """Write all good rows of a source in the tick-file format.

    Returns
    -------
    number of trades and quotes, and the rows left out by reason
    """
    if not out.parent.is_dir():
        raise DataError(f"folder {out.parent} of the output does not exist. Make it, or choose another file (out=...).")
    part = out.with_name(out.name + ".part")
    counts = {"trade": 0, "quote": 0}
    source.bad = {}
    held: list[pa.Table] = []
    try:
        with pq.ParquetWriter(part, TICK_FILE, compression="zstd") as writer:
            for table in source.tables():
                good = good_rows(table, source.key, source.universe.symbols, source.bad)
                trades = pc.sum(pc.equal(good["kind"], "trade")).as_py() or 0
                counts["trade"] += trades
                counts["quote"] += len(good) - trades
                held.append(good)
                if sum(map(len, held)) >= GROUP:
                    writer.write_table(pa.concat_tables(held), row_group_size=GROUP)
                    held = []
                if progress is not None and len(good):
                    progress(good[source.key][-1].as_py())
            if held:
                writer.write_table(pa.concat_tables(held), row_group_size=GROUP)
        if not sum(counts.values()):
            raise DataError(f"no row is left to write into {out}: {sum(source.bad.values()):,} were left out. Look at the files of the source.")
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return (counts["trade"], counts["quote"]), source.bad
