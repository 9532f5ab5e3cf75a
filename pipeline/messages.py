"""The table `messages`: one row per frame of the wire, whatever it says. `tickarrow decode` and `tickarrow session export` write it.

A column is null where its message has no such field, where the field was absent, and where IBKR sent a sentinel for "no value"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.jit import wire_message
from tickarrow.jit.wire_fields import OPTION, TICK_BY_TICK, TICK_GENERIC, TICK_PRICE, TICK_SIZE, TICK_STRING
from tickarrow.jit.wire_message import BAR, BID_ASK, DATA_TYPE, DEPTH, EXCHANGE, GREEK, LAST_TIME, LAST_TRADE, MIDPOINT, RT_VOLUME
from tickarrow.pipeline.schemas import Feed

Array = npt.NDArray[Any]

OUTCOMES = ("decoded", "forwarded", "late", "bad", "private")
OPERATIONS = ("insert", "update", "delete")
SIDES = ("bid", "ask")
FEEDS = tuple(f.name.lower() for f in Feed)
TEXT = pa.dictionary(pa.int32(), pa.string())  # few different texts
TIME = pa.timestamp("ns", "UTC")
F8 = pa.float64()


def field(name: str, type_: pa.DataType, unit: str = "") -> pa.Field:
    """A column that may be null, with its unit."""
    return pa.field(name, type_, metadata={"unit": unit} if unit else None)


MESSAGES = pa.schema([
    pa.field("ordinal", pa.uint64(), nullable=False, metadata={"unit": "number of the frame"}),
    field("ts", TIME, "arrival of its chunk; null in a file without times"), field("chunk", pa.uint64(), "piece of received bytes"),
    field("symbol", TEXT), field("feed", TEXT, "what was subscribed"),
    field("outcome", TEXT), field("reason", TEXT, "why it is bad"), field("id", pa.int32(), "message id of IBKR"), field("req_id", pa.int64()),
    field("tick_type", pa.int32(), "the live type also of a delayed tick; of tick-by-tick its kind 1 to 4"), field("delayed", pa.bool_()),
    field("time", TIME, "exchange time, s; of RTVolume ms; a bar's begin"),
    field("price", F8, "currency"), field("size", F8, "shares or contracts"), field("bid", F8, "currency"), field("ask", F8, "currency"),
    field("bid_size", F8, "shares or contracts"), field("ask_size", F8, "shares or contracts"), field("attributes", pa.int32(), "bits as sent"),
    field("exchange", TEXT), field("conditions", TEXT),
    field("value", F8, "of a generic tick, as halted -1 unknown, 0 no, 1 general, 2 volatility; of marketDataType 1 to 4"),
    field("volume", F8, "shares: of the day (RTVolume), of the bar"), field("vwap", F8, "currency: of the day (RTVolume), of the bar"),
    field("position", pa.int32(), "level from the best, 0 first"), field("operation", TEXT), field("side", TEXT), field("market_maker", TEXT),
    field("smart", pa.bool_(), "depth of several exchanges"),
    field("open", F8, "currency"), field("high", F8, "currency"), field("low", F8, "currency"), field("close", F8, "currency"),
    field("count", pa.int32(), "trades"), field("iv", F8, "implied volatility, 1 = 100 % a year"), field("delta", F8), field("gamma", F8),
    field("vega", F8), field("theta", F8), field("opt_price", F8, "currency"), field("und_price", F8, "currency"), field("pv_dividend", F8, "currency"),
    field("text", pa.string(), "value of a text message; all fields of a frame that is not decoded, '|' between them"),
], metadata={"table": "messages"})  # fmt: skip


def column(values: Array, type_: pa.DataType, given: Array | None = None) -> pa.Array:
    """A column whose value is null where it is NaN or not given."""
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    if given is not None:
        missing |= ~given
    if pa.types.is_integer(type_) and values.dtype.kind == "f":
        values = np.where(missing, 0, values)
    if pa.types.is_timestamp(type_):
        return pa.array(values.astype(np.int64), pa.int64(), mask=missing).cast(type_)
    return pa.array(values.astype(type_.to_pandas_dtype()), type_, mask=missing)


def coded(codes: Array, names: Sequence[str], given: Array | None = None) -> pa.Array:
    """A column of few texts from their numbers; an empty name is null."""
    missing = np.array([not n for n in names], bool)[codes]
    if given is not None:
        missing |= ~given
    return pa.DictionaryArray.from_arrays(pa.array(np.where(missing, 0, codes).astype(np.int32), mask=missing), pa.array(names, pa.string()))


def letters(codes: Array, given: Array | None = None, longer: dict[int, str] | None = None) -> pa.Array:
    """A column of texts from their first eight bytes; 0 is null. `longer` has the whole texts of those that are longer."""
    found, place = np.unique(codes, return_inverse=True)
    names = [(longer or {}).get(int(c)) or int(c).to_bytes(8, "little").rstrip(b"\0").decode("utf-8", "replace") for c in found]
    return coded(place.reshape(-1), names, given)


def payload(data: Array, at: int, end: int) -> list[str]:
    """Fields of the frame at an offset."""
    stop = min(at + 4 + int.from_bytes(data[at : at + 4].tobytes(), "big"), end)
    return data[at + 4 : stop].tobytes().decode("utf-8", "replace").split("\0")


def rows(
    data: Array, m: Array, end: int, ordinal: int, ts: Array | None = None, chunk: Array | None = None, symbols: Sequence[str] = ()
) -> pa.RecordBatch:
    """Records of `wire.decode` as rows of `messages`.

    Parameters
    ----------
    data : uint8, the bytes that the offsets `at` of the records refer to
    m : MESSAGE, with `every` not 0
    end : end of the last frame
    ordinal : number of the first frame
    ts, chunk : of each record, ns and number; None = not known
    symbols : of the universe's rows; empty = not known
    """
    n, id_, role, decoded = len(m), m["id"].astype(np.int32), m["role"], m["outcome"] == wire_message.DECODED

    def said(*roles: int) -> Array:
        return np.asarray(decoded & np.isin(role, roles))

    price, sized, tick = decoded & (id_ == TICK_PRICE), decoded & (id_ == TICK_SIZE), decoded & (id_ == TICK_BY_TICK)
    trade, bid_ask, real_time, bar, depth, greek = said(LAST_TRADE), said(BID_ASK), said(RT_VOLUME), said(BAR), said(DEPTH), said(GREEK)
    generic, kind = decoded & (id_ == TICK_GENERIC), said(DATA_TYPE)
    ours = np.isin(m["outcome"], (wire_message.DECODED, wire_message.LATE, wire_message.BAD)) & (len(symbols) > 0)
    text: list[str | None] = [None] * n
    exchange, conditions, maker = list(text), list(text), list(text)
    numbers = id_.astype(object)
    for k in np.flatnonzero(~(price | sized | bid_ask | bar | greek | kind | said(MIDPOINT))):
        fields = payload(data, int(m["at"][k]), end)
        if trade[k]:
            exchange[k], conditions[k] = fields[7] or None, fields[8] or None
        elif depth[k]:
            maker[k] = fields[4] if len(fields) == 11 else None
        elif decoded[k] and id_[k] in (TICK_STRING, TICK_GENERIC):
            text[k] = fields[4]
            exchange[k] = fields[4] if role[k] == EXCHANGE else None
        else:
            text[k] = "|".join(fields)
            numbers[k] = int(fields[0]) if fields[0].isascii() and fields[0].isdigit() and len(fields[0]) < 10 else None
    time = np.where(real_time, m["time"] * 1_000_000, m["time"] * 1_000_000_000)
    more, operation = m["more"], m["attributes"]
    columns = {
        "ordinal": pa.array(np.arange(ordinal, ordinal + n, dtype=np.uint64)),
        "ts": pa.nulls(n, TIME) if ts is None else column(ts, TIME),
        "chunk": pa.nulls(n, pa.uint64()) if chunk is None else column(chunk, pa.uint64()),
        "symbol": coded(np.where(ours, m["symbol"], 0), symbols or [""], ours),
        "feed": coded(np.where(ours, m["feed"], 0), FEEDS, ours),
        "outcome": coded(m["outcome"], OUTCOMES),
        "reason": coded(m["reason"], wire_message.REASONS),
        "id": pa.array(numbers, pa.int32()),
        "req_id": column(m["req_id"], pa.int64(), m["req_id"] >= 0),
        "tick_type": column(m["tick_type"], pa.int32(), decoded & ~(depth | bar | kind)),
        "delayed": column(m["delayed"] == 1, pa.bool_(), decoded & (np.isin(id_, (TICK_PRICE, TICK_SIZE, TICK_GENERIC, TICK_STRING, OPTION)))),
        "time": column(time, TIME, (tick | real_time | bar | said(LAST_TIME)) & (m["time"] > 0)),
        "price": column(m["price"], F8, price | trade | real_time | depth | said(MIDPOINT)),
        "size": column(m["quantity"], F8, price | trade | sized | real_time | depth),
        "bid": column(m["price"], F8, bid_ask),
        "ask": column(m["ask"], F8, bid_ask),
        "bid_size": column(m["quantity"], F8, bid_ask),
        "ask_size": column(m["ask_size"], F8, bid_ask),
        "attributes": column(m["attributes"], pa.int32(), price | trade | bid_ask | greek),
        "exchange": pa.array(exchange, pa.string()).dictionary_encode(),
        "conditions": pa.array(conditions, pa.string()).dictionary_encode(),
        "value": column(np.where(kind, m["tick_type"], m["price"]), F8, generic | kind),
        "volume": column(np.where(bar, more[:, 0], m["mantissa"] / 10.0 ** m["scale"].astype(np.int64)), F8, bar | real_time),
        "vwap": column(np.where(bar, more[:, 1], more[:, 0]), F8, bar | real_time),
        "position": column(m["time"], pa.int32(), depth),
        "operation": coded(np.where(depth, operation & 0xFF, 0), OPERATIONS, depth),
        "side": coded(m["side"], SIDES, depth),
        "market_maker": pa.array(maker, pa.string()).dictionary_encode(),
        "smart": column(operation >> 8 == 1, pa.bool_(), depth),
        **{name: column(m[source], F8, bar) for name, source in zip(("open", "high", "low", "close"), ("price", "quantity", "ask", "ask_size"))},
        "count": column(more[:, 2], pa.int32(), bar),
        **{name: column(m[source], F8, greek) for name, source in zip(("iv", "delta", "gamma", "vega"), ("price", "quantity", "ask", "ask_size"))},
        **{name: column(more[:, k], F8, greek) for k, name in enumerate(("theta", "opt_price", "und_price", "pv_dividend"))},
        "text": pa.array(text, pa.string()),
    }  # fmt: skip
    return pa.RecordBatch.from_arrays([columns[f.name] for f in MESSAGES], schema=MESSAGES)
