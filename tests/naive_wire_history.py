"""Slow independent twin of the history kernel: text splitting, `float`, `strptime`. A field that is not what it must be raises Bad."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

NAN = math.nan
WHOLE = re.compile(r"\d{1,16}", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TIME = re.compile(r"(\d{8})  ?(\d\d:\d\d:\d\d)(?: ([^\0]+))?", re.ASCII)


class Bad(Exception):
    """A frame that is not what it must be."""


def whole(text: str, most: float = math.inf) -> int:
    if not WHOLE.fullmatch(text) or int(text) > most:
        raise Bad(f"no whole number: {text!r}")
    return int(text)


def value(text: str) -> float:
    if text in ("", "?"):
        return NAN
    if not NUMBER.fullmatch(text):
        raise Bad(f"no number: {text!r}")
    v = float(text)
    if math.isinf(v):
        raise Bad(f"not finite: {text!r}")
    return NAN if v >= 1.7976931348623157e308 else v


def amount(text: str, minus_one: bool = False) -> float:
    v = value(text)
    if minus_one and v == -1:
        return NAN
    if v < 0:
        raise Bad(f"negative size: {text!r}")
    return v


def seconds(text: str) -> int:
    t = whole(text)
    if not 946684800 <= t < 4102444800:
        raise Bad(f"time: {text!r}")
    return t


def bar_time(text: str) -> tuple[int, str, str]:
    """Seconds, form, zone."""
    if re.fullmatch(r"\d{8}", text, re.ASCII):
        clock, zone, form = "00:00:00", "", "date"
        day = text
    elif text.isascii() and text.isdigit():
        return seconds(text), "epoch", ""
    else:
        m = TIME.fullmatch(text)
        if not m:
            raise Bad(f"time: {text!r}")
        day, clock, zone = m[1], m[2], m[3] or ""
        form = "local"
    try:
        t = datetime.strptime(f"{day} {clock}", "%Y%m%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise Bad(f"time: {text!r}") from None
    if int(clock[-2:]) > 59 or not 1900 <= t.year <= 2099:
        raise Bad(f"time: {text!r}")
    return round(t.timestamp()), form, zone


def side(price: float, size: float) -> tuple[float, float]:
    return (NAN, NAN) if size == 0 and price in (-1, 0) else (price, size)


def bar(date: str, o: str, h: str, low: str, c: str, volume: str, wap: str, count: str) -> tuple:
    n = -1 if count in ("", "-1") else whole(count)
    average = value(wap)
    return (*bar_time(date), value(o), value(h), value(low), value(c), amount(volume, True), NAN if n < 0 and average == -1 else average, n)


def history(payload: bytes) -> tuple[int, bool, list[tuple]]:
    """reqId, done, rows."""
    f = payload.decode("latin-1").split("\0")
    if f.pop() != "" or len(f) < 4:
        raise Bad("frame")
    kind, req_id = whole(f[0]), whole(f[1])
    if kind == 90:
        if len(f) != 10:
            raise Bad("field count")
        count, date, o, c, h, low, wap, volume = f[2:]
        return req_id, True, [bar(date, o, h, low, c, volume, wap, count)]
    if kind == 17:
        head, width, tail = 5, 8, []
    else:
        head, width, tail = 3, 4 if kind == 96 else 6, f[-1:]
    n = whole(f[head - 1]) if len(f) >= head else -1
    body = f[head : len(f) - len(tail)]
    if n * width != len(body) or len(f) != head + n * width + len(tail):
        raise Bad("field count")
    rows = []
    for r in (body[i : i + width] for i in range(0, len(body), width)):
        if kind == 17:
            rows.append(bar(*r))
        elif kind == 96:
            rows.append((seconds(r[0]), value(r[2]), amount(r[3])))
        elif kind == 97:
            mask, bid, ask = whole(r[1], 65535), value(r[2]), value(r[3])
            (b, bs), (a, s) = side(bid, amount(r[4])), side(ask, amount(r[5]))
            rows.append((seconds(r[0]), b, a, bs, s, bool(mask & 2), bool(mask & 1)))
        else:
            mask = whole(r[1], 65535)
            rows.append((seconds(r[0]), value(r[2]), amount(r[3]), bool(mask & 1), bool(mask & 2), r[4], r[5]))
    return req_id, bool(whole(tail[0])) if tail else True, rows
