"""Schemas of the kinds that a session is exported to, and the conversion of live columns to them: codes to texts, NaN to null.

The date and (not of control) `symbol` are in a file's path, as Hive does it. `seq` is the row number in TICKS, or the number of its rows before."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.jit.book import QUOTE, TRADE
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.messages import F8, FEEDS, MESSAGES, OPERATIONS, SIDES, TEXT, TIME, coded, column, field, letters
from tickarrow.pipeline.schemas import Flag
from tickarrow.pipeline.session_export_files import BY_DATE

Array = npt.NDArray[Any]
Rows = tuple[Array, Array, pa.RecordBatch]  # ts (ns) and symbol of each row, and the row

GREEK_KINDS = {10: "bid", 11: "ask", 12: "last", 13: "model"}
FLAGS = "bits: " + ", ".join(f"{f.value} {f.name.lower()}" for f in Flag if f.name)

SEQ = pa.field("seq", pa.uint64(), nullable=False, metadata={"unit": "row number of TICKS"})
BEFORE = pa.field("seq", pa.uint64(), nullable=False, metadata={"unit": "rows of TICKS before it"})
TS = pa.field("ts", TIME, nullable=False, metadata={"unit": "arrival"})
CHUNK = pa.field("chunk", pa.uint64(), metadata={"unit": "piece of received bytes"})
EXCHANGE_TS = field("ts_exch", TIME, "exchange time, whole seconds; of RTVolume ms")
FEED, FLAG = field("feed", TEXT), pa.field("flags", pa.uint16(), metadata={"unit": FLAGS})


def _schema(kind: str, *fields: pa.Field) -> pa.Schema:
    return pa.schema(fields, metadata={"table": kind})


SCHEMAS = {
    "messages": pa.schema([f for f in MESSAGES if f.name != "symbol"], metadata=MESSAGES.metadata),
    "trades": _schema(
        "trades", SEQ, TS, EXCHANGE_TS, CHUNK, FEED, FLAG, field("price", F8, "currency"), field("size", F8, "shares or contracts"),
        field("exchange", TEXT), field("conditions", TEXT), field("cum_volume", F8, "shares of the day so far (L1)"), field("vwap", F8, "currency, of the day"),
    ),
    "quotes": _schema(
        "quotes", SEQ, TS, EXCHANGE_TS, CHUNK, FEED, FLAG, field("bid", F8, "currency"), field("bid_size", F8, "shares or contracts"),
        field("ask", F8, "currency"), field("ask_size", F8, "shares or contracts"), field("bid_exchange", TEXT, "letters of the exchanges"),
        field("ask_exchange", TEXT, "letters of the exchanges"),
    ),
    "depth": _schema(
        "depth", BEFORE, TS, CHUNK, FLAG, field("side", TEXT), field("position", pa.int32(), "level from the best, 0 first"), field("operation", TEXT),
        field("price", F8, "currency"), field("size", F8, "shares or contracts"), field("market_maker", TEXT),
        field("smart", pa.bool_(), "depth of several exchanges: market_maker is the exchange"),
    ),
    "bars": _schema(
        "bars", BEFORE, TS, CHUNK, FLAG, field("ts_open", TIME, "exchange time: begin"), field("ts_close", TIME, "exchange time: end"), field("kind", TEXT),
        *(field(c, F8, "currency") for c in ("open", "high", "low", "close")), field("volume", F8, "shares or contracts"),
        field("wap", F8, "currency, weighted average price"), field("count", pa.int32(), "trades"),
    ),
    "greeks": _schema(
        "greeks", BEFORE, TS, CHUNK, FLAG, field("kind", TEXT, "price it is computed from"), field("price_based", pa.bool_(), "else return-based"),
        field("iv", F8, "implied volatility, 1 = 100 % a year"), *(field(c, F8) for c in ("delta", "gamma", "vega", "theta")),
        *(field(c, F8, "currency") for c in ("opt_price", "und_price", "pv_dividend")),
    ),
    "control": _schema(
        "control", BEFORE, TS, field("chunk", pa.int64(), "last chunk before it, of a frame its own; -1 = before the first"), field("symbol", TEXT),
        field("kind", TEXT),
        field("code", pa.int32(), "IBKR's error code; market data type"), field("req", pa.int64(), "reqId"),
        field("gen", pa.int32(), "generation of the subscription"),
        field("value", F8, "as the kind says"), field("quantity", F8, "shares"), field("price", F8, "currency"), field("key", pa.int64(), "own order key"),
        field("perm_id", pa.int64(), "broker key"), field("text", pa.string()),
    ),
}  # fmt: skip


def _batch(kind: str, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    schema = SCHEMAS[kind]
    return pa.RecordBatch.from_arrays([columns[f.name] for f in schema], schema=schema)


def _plain(table: str, source: dict[str, Array], **columns: pa.Array) -> Rows:
    """The columns that are given, and the others of the same name as they are."""
    for f in SCHEMAS[table]:
        if f.name not in columns:
            columns[f.name] = column(source[f.name], f.type)
    return source["ts"], source["symbol"], _batch(table, columns)


def _ticks(ticks: dict[str, Array], kind: int) -> tuple[dict[str, Array], dict[str, pa.Array]]:
    rows = ticks["kind"] == kind
    source = {name: a[rows] for name, a in ticks.items()}
    return source, {"ts_exch": column(source["ts_exch"], TIME, source["ts_exch"] != 0), "feed": coded(source["feed"], FEEDS)}


def trades_batch(ticks: dict[str, Array], longer: dict[int, str]) -> Rows:
    """Trades of columns of TICKS and their wide ones."""
    source, shared = _ticks(ticks, TRADE)
    return _plain(
        "trades", source, **shared, exchange=letters(source["code"], longer=longer), conditions=letters(source["code2"], longer=longer),
        cum_volume=column(source["volume"], F8),
    )  # fmt: skip


def quotes_batch(ticks: dict[str, Array], longer: dict[int, str]) -> Rows:
    """Quotes of columns of TICKS and their wide ones."""
    source, shared = _ticks(ticks, QUOTE)
    return _plain("quotes", source, **shared, bid_exchange=letters(source["code"], longer=longer), ask_exchange=letters(source["code2"], longer=longer))


def _source(table: Table) -> dict[str, Array]:
    return {name: table.column(name) for name in table.schema.names}


def depth_batch(table: Table, longer: dict[int, str]) -> Rows:
    """Rows of DEPTH."""
    source = _source(table)
    return _plain(
        "depth", source, side=coded(source["side"], SIDES), operation=coded(source["operation"], OPERATIONS),
        market_maker=letters(source["code"], longer=longer), smart=column(source["smart"] == 1, pa.bool_()),
    )  # fmt: skip


def bars_batch(table: Table) -> Rows:
    """Rows of BARS."""
    source = _source(table)
    return _plain("bars", source, kind=coded(np.zeros(len(source["ts"]), np.int32), ["rt5s"]))


def greeks_batch(table: Table) -> Rows:
    """Rows of GREEKS."""
    source = _source(table)
    names = list(GREEK_KINDS.values())
    return _plain("greeks", source, kind=coded(source["kind"].astype(np.int32) - 10, names), price_based=column(source["attributes"] == 1, pa.bool_()))


def control_batch(said: list[dict[str, Any]], symbols: list[str]) -> Rows:
    """Rows of `control`; what a row does not have is null."""
    columns = {}
    said = [row | {"symbol": symbols[row["symbol"]] if row["symbol"] >= 0 else None} for row in said]
    for f in SCHEMAS["control"]:
        values = [row.get(f.name) for row in said]
        if pa.types.is_timestamp(f.type):
            columns[f.name] = pa.array(values, pa.int64()).cast(f.type)
        elif f.type == TEXT:
            columns[f.name] = pa.array(values, pa.string()).dictionary_encode()
        else:
            columns[f.name] = pa.array(values, f.type, from_pandas=True)  # NaN is null
    return np.array([row["ts"] for row in said], np.int64), np.full(len(said), BY_DATE), _batch("control", columns)
