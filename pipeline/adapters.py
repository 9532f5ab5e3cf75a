"""Ticks held by other libraries as source rows: pandas and Polars data frames, Arrow tables, dicts of NumPy arrays. They hand their
columns over through the Arrow C data interface; neither pandas nor Polars is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tickarrow.pipeline.errors import DataError
from tickarrow.pipeline.source_rows import ROWS, Rows, check_columns, check_order, map_rows, order_key, times
from tickarrow.pipeline.universe import Universe

MAPPED = 8 * ROWS  # rows mapped at a time


def as_arrow(table: Any, name: str = "table") -> pa.Table:
    """The table as an Arrow table, without a copy where its library allows it."""
    try:
        if isinstance(table, pa.Table):
            return table
        if isinstance(table, pa.RecordBatch):
            return pa.Table.from_batches([table])
        if isinstance(table, Mapping):
            return pa.table({column: pa.array(values) for column, values in table.items()})
        if hasattr(table, "__arrow_c_stream__"):
            return pa.table(table)
    except (pa.ArrowException, TypeError, ValueError) as e:
        raise DataError(f"{name} cannot be read as an Arrow table: {str(e).splitlines()[0]}") from None
    kind = type(table).__name__
    raise DataError(f"ticks cannot be read from {kind!r}. Give a pandas or Polars DataFrame, a pyarrow Table, or a dict of NumPy arrays.")


def rows_of(table: Any, universe: Universe, block: int = ROWS, *, bad: dict[str, int] | None = None, name: str = "table") -> Iterator[Rows]:
    """Blocks of source rows from a table of ticks.

    Parameters
    ----------
    table : pandas or Polars DataFrame, pyarrow Table or RecordBatch, dict of NumPy arrays; columns `ts_event` (and `ts_recv`), int64 ns
        UTC or timestamp, `symbol`, `kind` ('trade', 'quote' or Kind), `bid`, `bid_size`, `ask`, `ask_size`, `price`, `size`
    universe : gives each symbol its row; another symbol is a ConfigError
    block : most rows of a block
    bad : counts rows that are left out, by reason
    name : of the table in errors
    """
    arrow = as_arrow(table, name)
    check_columns(arrow.schema, name)
    received = "ts_recv" in arrow.schema.names and arrow["ts_recv"].null_count < len(arrow)
    key = order_key(arrow.schema, received)
    counts: dict[str, int] = {} if bad is None else bad
    last = np.iinfo(np.int64).min
    for lo in range(0, len(arrow), MAPPED):
        part = arrow.slice(lo, MAPPED)
        ts, valid = times(part[key])
        last = check_order(ts[valid], lo + np.flatnonzero(valid), last, key, name)
        yield from map_rows(part, key, universe.symbols, counts).pieces(block)
