"""Source rows and the one mapping from Arrow columns to them; Parquet files and tables of other libraries both come through here.

The rules (design contracts 3 and 9): NaN in a column is a null. Of a quote, a null value is unchanged and not in the mask; both prices
null means that there is no quote: all four values are given and missing. Price 0 or -1 (or none) with size 0 is a side without a quote:
given and missing. A trade without a price is at the latest last price. Rows that mean nothing are left out and counted by reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.schemas import Kind

Array = npt.NDArray[Any]

ROWS = 8192  # of a block, at most
BID, BID_SIZE, ASK, ASK_SIZE = 1, 2, 4, 8  # mask bits of a quote row: given
ALL = BID | BID_SIZE | ASK | ASK_SIZE

VALUES = ("bid", "bid_size", "ask", "ask_size", "price", "size")
NEEDED = ("ts_event", "symbol", "kind", *VALUES)
SCHEMA = "ts_event and ts_recv (optional): int64 ns UTC or timestamp; symbol: string; kind: 'trade' or 'quote'; "
SCHEMA += f"{', '.join(VALUES)}: numbers"


@dataclass(slots=True)
class Rows:
    """A block of at most 8,192 source rows in time order. NaN = missing.

    A quote row gives the values of its mask, the others are unchanged; its price and size are NaN. A trade row has mask 0,
    a size above 0, and NaN in the four quote columns, which mean nothing.
    """

    ts: npt.NDArray[np.int64]  # ns UTC, order key
    symbol: npt.NDArray[np.int32]  # row of the universe
    kind: npt.NDArray[np.uint8]  # Kind
    mask: npt.NDArray[np.uint8]
    bid: npt.NDArray[np.float64]
    bid_size: npt.NDArray[np.float64]
    ask: npt.NDArray[np.float64]
    ask_size: npt.NDArray[np.float64]
    price: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ts)

    def columns(self) -> dict[str, Array]:
        """The columns by name, in order."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def pieces(self, block: int = ROWS) -> Iterator[Rows]:
        """Consecutive windows of at most `block` rows, no copy."""
        for lo in range(0, len(self), block):
            yield Rows(**{name: column[lo : lo + block] for name, column in self.columns().items()})


def check_columns(schema: pa.Schema, name: str) -> None:
    """DataError if a column of the tick table is missing or of a type that it cannot have."""
    for column in NEEDED:
        if column not in schema.names:
            raise DataError(f"{name} has no column {column!r}. A tick table has the columns {SCHEMA}.")
    for column in schema.names:
        t = schema.field(column).type
        t = t.value_type if pa.types.is_dictionary(t) else t
        if pa.types.is_null(t):
            right = column not in ("ts_event", "symbol", "kind")
        elif column in ("ts_event", "ts_recv"):
            right = pa.types.is_integer(t) or pa.types.is_timestamp(t)
        elif column == "symbol":
            right = _is_text(t)
        elif column == "kind":
            right = _is_text(t) or pa.types.is_integer(t)
        elif column in VALUES:
            right = pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t)
        else:
            right = True
        if not right:
            raise DataError(f"{name}: column {column!r} is {t}. A tick table has the columns {SCHEMA}.")


def _is_text(t: pa.DataType) -> bool:
    return bool(pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t))


def order_key(schema: pa.Schema, received: bool) -> str:
    """Column that orders the rows: `ts_recv` if it is there and holds a time, else `ts_event`."""
    return "ts_recv" if received and "ts_recv" in schema.names else "ts_event"


def plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One array without dictionary; text as plain strings."""
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays([plain(c) for c in column.chunks]) if column.num_chunks else plain(pa.array([], column.type))
    if pa.types.is_dictionary(column.type):  # taken by hand: Arrow cannot cast Polars' categories (a dictionary of string views)
        return plain(column.dictionary).take(column.indices)
    return column.cast(pa.string()) if _is_text(column.type) else column


def times(column: pa.ChunkedArray | pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Nanoseconds and whether there is a time."""
    a = plain(column)
    if pa.types.is_timestamp(a.type):
        a = a.cast(pa.timestamp("ns", a.type.tz))
    a = a.cast(pa.int64())
    return a.fill_null(0).to_numpy(zero_copy_only=False), a.is_valid().to_numpy(zero_copy_only=False)


def _codes(a: pa.Array, known: Sequence[str]) -> Array:
    """Index of each string in `known`, -1 = null or not there."""
    return pc.index_in(a, value_set=pa.array(known, pa.string())).fill_null(-1).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _numbers(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.float64]:
    """Writable float64, NaN = null. A float32 is the decimal that it stands for: 14.26, not 14.260000228881836, which no wire carries."""
    a = plain(column)
    if pa.types.is_float16(a.type) or pa.types.is_float32(a.type):
        a = a.cast(pa.float32()).cast(pa.string())
    return np.array(a.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def utc(ns: int) -> str:
    """Time as text with all its digits."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def check_order(ts: npt.NDArray[np.int64], numbers: Array, last: int, key: str, name: str) -> int:
    """DataError if a time is before the one ahead of it. `numbers` are the rows' numbers in the file, `last` is the time before the
    first of them; returns the time of the last."""
    if not ts.size:
        return last
    before = np.concatenate([[last], ts[:-1]])
    wrong = ts < before
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(
            f"{name}: time out of order at row {numbers[i]} (counted from 0): {key} is {utc(int(ts[i]))} after {utc(int(before[i]))}. Sort the rows by {key}."
        )
    return int(ts[-1])


def count(bad: dict[str, int], reason: str, rows: npt.NDArray[np.bool_], keep: npt.NDArray[np.bool_]) -> None:
    """Leave out `rows` that are still kept, and count them under `reason`."""
    if n := int((rows & keep).sum()):
        bad[reason] = bad.get(reason, 0) + n
        keep &= ~rows


def _side(price: Array, size: Array) -> tuple[Array, Array]:
    """Whether price and size of a side are given; sentinels of a side without a quote become NaN in place."""
    none = np.isnan(price) | (price == 0) | (price == -1)
    empty = none & (size == 0) | none & ~np.isnan(price) & np.isnan(size)
    price[empty] = np.nan
    size[empty] = np.nan
    return ~np.isnan(price) | empty, ~np.isnan(size) | empty


def map_rows(table: pa.Table | pa.RecordBatch, key: str, symbols: Sequence[str], bad: dict[str, int]) -> Rows:
    """All rows of an Arrow table of ticks, of any length; parameters as of `good_rows`."""
    columns, keep = _map(table, key, symbols, bad)
    return Rows(**columns if keep.all() else {name: column[keep] for name, column in columns.items()})


def good_rows(table: pa.Table, key: str, symbols: Sequence[str], bad: dict[str, int]) -> pa.Table:
    """The rows of an Arrow table of ticks that mean something, as they are.

    Parameters
    ----------
    table : columns as `check_columns` wants them
    key : column that orders the rows
    symbols : of the universe, in order
    bad : rows left out by reason: no_time, no_symbol, unknown_kind, trade_price, trade_size, quote_price, quote_size; counted up
    """
    _, keep = _map(table, key, symbols, bad)
    return table if keep.all() else table.filter(pa.array(keep))


def _map(table: pa.Table | pa.RecordBatch, key: str, symbols: Sequence[str], bad: dict[str, int]) -> tuple[dict[str, Array], npt.NDArray[np.bool_]]:
    """The columns of `Rows`, vectorised, and which rows are kept."""
    ts, keep = times(table[key])
    keep = keep.copy()
    if missing := int((~keep).sum()):
        bad["no_time"] = bad.get("no_time", 0) + missing
    names = plain(table["symbol"])
    symbol = _codes(names, symbols)
    count(bad, "no_symbol", names.is_null().to_numpy(zero_copy_only=False), keep)
    if (strange := (symbol < 0) & keep).any():
        known = ", ".join(symbols[:10]) + (", ..." if len(symbols) > 10 else "")
        found = names[int(strange.argmax())].as_py()
        raise ConfigError(f"unknown symbol {found!r}: the universe has {known}. Add it to the universe or leave its rows out.")
    kinds = plain(table["kind"])
    kind = _codes(kinds, ("quote", "trade")) if _is_text(kinds.type) else kinds.cast(pa.int64()).fill_null(-1).to_numpy()
    quote, trade = kind == Kind.QUOTE, kind == Kind.TRADE
    count(bad, "unknown_kind", ~quote & ~trade, keep)

    bid, bid_size, ask, ask_size, price, size = (_numbers(table[c]) for c in VALUES)
    count(bad, "trade_size", trade & ~((size > 0) & np.isfinite(size)), keep)
    count(bad, "trade_price", trade & ((price <= 0) | np.isinf(price)), keep)
    no_price = np.isnan(bid) & np.isnan(ask)
    bid_given, bid_size_given = _side(bid, bid_size)
    ask_given, ask_size_given = _side(ask, ask_size)
    count(bad, "quote_price", quote & ((bid <= 0) | np.isinf(bid) | (ask <= 0) | np.isinf(ask)), keep)
    count(bad, "quote_size", quote & ((bid_size < 0) | np.isinf(bid_size) | (ask_size < 0) | np.isinf(ask_size)), keep)
    mask = bid_given * BID | bid_size_given * BID_SIZE | ask_given * ASK | ask_size_given * ASK_SIZE
    mask = np.where(trade, 0, np.where(no_price, ALL, mask))
    for column in (bid, bid_size, ask, ask_size):
        column[trade | no_price] = np.nan
    price[quote] = np.nan
    size[quote] = np.nan
    columns: dict[str, Array] = {
        "ts": ts, "symbol": symbol.astype(np.int32), "kind": kind.astype(np.uint8), "mask": mask.astype(np.uint8),
        "bid": bid, "bid_size": bid_size, "ask": ask, "ask_size": ask_size, "price": price, "size": size,
    }  # fmt: skip
    return columns, keep
