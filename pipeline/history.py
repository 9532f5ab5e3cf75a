"""History of IBKR as Arrow tables: the payload of one frame of message 17, 90, 96, 97 or 98, decoded by the kernel of jit/wire_history.py.

Missing is null: an empty price, IBKR's `?`, a side without a quote, -1 for what bars without trades do not have, an empty text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.jit import wire_history as kernels
from tickarrow.jit.wire_history import BAR_UPDATE, BARS, EPOCH, MIDPOINTS, QUOTES, TRADES
from tickarrow.jit.wire_message import REASONS
from tickarrow.pipeline.errors import DataError

__all__ = ["BARS", "BAR_UPDATE", "HISTORY_SCHEMAS", "IDS", "MIDPOINTS", "QUOTES", "TRADES", "History", "decode_history"]

Array = npt.NDArray[Any]

IDS = (BARS, BAR_UPDATE, MIDPOINTS, QUOTES, TRADES)
SECOND = 1_000_000_000
EPOCH_DAY = datetime(1970, 1, 1)

_TS = pa.field("ts", pa.timestamp("ns", "UTC"), nullable=False, metadata={"unit": "exchange time, whole seconds"})
_BEGIN = pa.field("ts", pa.timestamp("ns", "UTC"), nullable=False, metadata={"unit": "begin of the bar"})
_TEXT = pa.dictionary(pa.int32(), pa.string())
_PRICES = [pa.field(name, pa.float64()) for name in ("open", "high", "low", "close", "volume", "wap")]
_BAR = pa.schema([_BEGIN, *_PRICES, pa.field("count", pa.int64(), metadata={"unit": "trades"})])
HISTORY_SCHEMAS = {
    BARS: _BAR, BAR_UPDATE: _BAR,
    MIDPOINTS: pa.schema([_TS, pa.field("price", pa.float64()), pa.field("size", pa.float64())]),
    QUOTES: pa.schema([
        _TS, *(pa.field(name, pa.float64()) for name in ("bid", "ask", "bid_size", "ask_size")),
        pa.field("bid_past_low", pa.bool_(), nullable=False), pa.field("ask_past_high", pa.bool_(), nullable=False),
    ]),
    TRADES: pa.schema([
        _TS, pa.field("price", pa.float64()), pa.field("size", pa.float64()),
        pa.field("past_limit", pa.bool_(), nullable=False), pa.field("unreported", pa.bool_(), nullable=False),
        pa.field("exchange", _TEXT), pa.field("conditions", _TEXT),
    ]),
}  # fmt: skip


@dataclass(slots=True)
class History:
    """What one frame says."""

    id: int  # one of IDS
    req_id: int
    done: bool  # the answer to the request is complete
    table: pa.Table  # as HISTORY_SCHEMAS says for the id
    start: str = ""  # of BARS: texts of the range that was asked for
    end: str = ""


def decode_history(payload: bytes, zone: tzinfo = UTC) -> History:
    """Decode one frame.

    Parameters
    ----------
    payload : the frame without its length; its id is one of IDS
    zone : clock of bars whose time is written without a time zone, and where days begin

    Raises
    ------
    DataError : the frame is malformed; the text says how
    """
    id_ = int(payload[:3].partition(b"\0")[0])
    nuls = payload.count(b"\0")
    data = np.zeros(len(payload) + 64, np.uint8)  # the kernels read past a field
    data[: len(payload)] = np.frombuffer(payload, np.uint8)
    head, ends = np.zeros(1, kernels.HISTORY), np.zeros(nuls, np.int64)
    is_bar = id_ in (BARS, BAR_UPDATE)
    ticks, bars = np.zeros(0 if is_bar else nuls // 4, kernels.HISTORY_TICK), np.zeros(nuls // 8 if is_bar else 0, kernels.HISTORY_BAR)
    reason = kernels.history(data, 0, len(payload), ends, ticks, bars, head)
    h = head[0]
    if reason:
        raise DataError(f"history frame {id_} of request {h['req_id']} is malformed ({REASONS[reason]}): {payload[:60]!r}. Ask for it again.")
    n = int(h["rows"])
    table = _bars(bars[:n], data, zone) if is_bar else _ticks(id_, ticks[:n], data)

    def text(at: str, length: str) -> str:
        return payload[h[at] : h[at] + h[length]].decode("utf-8", "backslashreplace")

    return History(id_, int(h["req_id"]), bool(h["done"]), table, text("start_at", "start_len"), text("end_at", "end_len"))


def _ticks(id_: int, rows: Array, data: Array) -> pa.Table:
    columns = [pa.array(rows["time"] * SECOND, pa.timestamp("ns", "UTC"))]
    names = ("price", "ask", "quantity", "ask_size") if id_ == QUOTES else ("price", "quantity")
    columns += [pa.array(rows[name], pa.float64(), from_pandas=True) for name in names]  # NaN is null
    first, second = ((rows["attributes"] >> bit) & 1 == 1 for bit in (0, 1))
    if id_ == QUOTES:
        columns += [pa.array(second), pa.array(first)]
    elif id_ == TRADES:
        columns += [pa.array(first), pa.array(second)]
        columns += [_texts(data, rows[f"{name}_at"], rows[f"{name}_len"]) for name in ("exchange", "conditions")]
    return pa.Table.from_arrays(columns, schema=HISTORY_SCHEMAS[id_])


def _texts(data: Array, at: Array, length: Array) -> pa.Array:
    """Texts by offset and length as a dictionary column; empty is null. All at once: a page has a thousand rows and few texts."""
    width = max(int(length.max(initial=0)), 1)
    inside = np.arange(width) < length[:, None]
    at_most = len(data) - 1
    letters = np.where(inside, data[np.minimum(at[:, None].astype(np.int64) + np.arange(width), at_most)], 0).astype(np.uint8)
    found, codes = np.unique(letters.view(f"S{width}").ravel(), return_inverse=True)
    texts = pa.array([t.decode("utf-8", "backslashreplace") for t in found.tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=length == 0), texts)


def _bars(rows: Array, data: Array, zone: tzinfo) -> pa.Table:
    seconds = rows["time"].copy()
    zones: dict[bytes, tzinfo] = {}
    for i in np.flatnonzero(rows["form"] != EPOCH):
        name = data[rows["zone_at"][i] :][: rows["zone_len"][i]].tobytes()
        if name not in zones:
            zones[name] = _zone(name) if name else zone
        local = EPOCH_DAY + timedelta(seconds=int(seconds[i]))
        seconds[i] = int(local.replace(tzinfo=zones[name]).timestamp())
    columns = [pa.array(seconds * SECOND, pa.timestamp("ns", "UTC"))]
    columns += [pa.array(rows[f.name], pa.float64(), from_pandas=True) for f in _PRICES]
    columns.append(pa.array(rows["count"], pa.int64(), mask=rows["count"] < 0))
    return pa.Table.from_arrays(columns, schema=_BAR)


def _zone(name: bytes) -> ZoneInfo:
    text = name.decode("utf-8", "backslashreplace")
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise DataError(f"a bar's time is in time zone {text!r}, which this system does not know. Ask for bars with formatDate=2 (epoch seconds).") from None
