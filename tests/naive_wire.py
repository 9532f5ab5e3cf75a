"""Slow independent twins of the wire and book kernels: text splitting, `float`, `Decimal` and dicts."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from decimal import Decimal

NAN = math.nan
ANY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
UNSET = 1.7976931348623157e308
UNSET_SIZES = {2147483647.0, 2.0**63, -(2.0**63)}
IDS = {"1", "2", "12", "13", "21", "45", "46", "50", "58", "99"}
COUNTS = {"1": 7, "2": 5, "12": 8, "13": 10, "21": 12, "45": 5, "46": 5, "50": 11, "58": 4}
PRICE_SIDES, SIZE_SIDES = {1: 0, 2: 1}, {0: 0, 3: 1}
DELAYED = {66: 1, 67: 2, 68: 4, 69: 0, 70: 3, 71: 5, 72: 6, 73: 7, 74: 8, 75: 9, 76: 14, 80: 10, 81: 11, 82: 12, 83: 13, 88: 45, 90: 49, 103: 50, 104: 51}


class Bad(Exception):
    """A frame of ours that is not what it must be; its text is the reason."""


def frame(*fields: object) -> bytes:
    """A frame of the wire."""
    body = "".join(f"{f}\0" for f in fields).encode()
    return struct.pack(">I", len(body)) + body


def number(text: str) -> float | None:
    """What `float` gives, None for IBKR's unset value; Bad if it is no number, not finite, or has more than 128 significant digits."""
    if text in ("Infinity", "-Infinity", "NaN", "-NaN"):
        raise Bad("not finite")
    if not ANY.fullmatch(text):
        raise Bad("not a number")
    if len(re.sub(r"[eE].*|[+\-.]", "", text).lstrip("0")) > 128:
        raise Bad("unusual number")
    value = float(text)
    if math.isinf(value):
        raise Bad("not finite")
    return None if value == UNSET else value + 0.0  # no -0


def price(text: str, strict: bool = True) -> float:
    """Not strict: it may be absent or odd, which is missing."""
    if not text and not strict:
        return NAN
    try:
        value = number(text)
    except Bad as bad:
        if strict or str(bad) == "not a number":
            raise
        value = None
    return NAN if value is None else value


def size(text: str, strict: bool = True, signed: bool = False, whole_sizes: bool = False) -> tuple[float, Decimal]:
    value = price(text, strict)
    if value != value or value in UNSET_SIZES:
        return NAN, Decimal(0)
    exact = Decimal(text)
    if value < 0 and not signed:
        raise Bad("negative size")
    if whole_sizes and strict and exact.as_tuple().exponent < 0:
        raise Bad("unusual number")
    if abs(exact) >= 10**18:
        if strict:
            raise Bad("unusual number")
        exact = Decimal(0)
    return value, cut(exact)


def cut(exact: Decimal) -> Decimal:
    """No more than 18 significant digits and 18 behind the point, no positive exponent."""
    sign, digits, exponent = exact.as_tuple()
    if not any(digits):
        return Decimal((sign, (0,), max(-18, min(exponent, 0))))
    text = "".join(map(str, digits)).lstrip("0")
    w, q = int(text[:19]), exponent + max(len(text) - 19, 0)
    while q > 0:
        w, q = w * 10, q - 1
    while q < 0 and (w >= 10**18 or q < -18):
        w, q = w // 10, q + 1
    return Decimal((sign, tuple(map(int, str(w))), q))


def whole(text: str, most: int = 10**16 - 1) -> int:
    if re.fullmatch(r"\d{1,16}", text, re.ASCII):
        if int(text) > most:
            raise Bad("code out of range")
        return int(text)
    raise Bad("unusual number" if ANY.fullmatch(text) else "not a number")


def seconds(text: str, unit: int = 1) -> int:
    t = whole(text)
    if not 946684800 * unit <= t < 4102444800 * unit:
        raise Bad("time outside 2000 to 2100")
    return t


def no_quote(p: float, s: float) -> tuple[float, float]:
    return (NAN, NAN) if s == 0 and p in (-1, 0) else (p, s)


def code(text: str) -> int:
    """The first eight bytes of a text."""
    return int.from_bytes(text.encode("latin-1")[:8], "little")


@dataclass
class Said:
    """What one message says."""

    req_id: int
    what: str = ""
    type: int = 0
    values: tuple[float, ...] = ()
    side: int = 0
    volume: Decimal = Decimal(0)
    time: int = 0
    attributes: int = 0
    empty: bool = False
    delayed: bool = False
    codes: tuple[int, int] = (0, 0)
    more: tuple[float, ...] = (NAN, NAN, NAN, NAN)


def said(payload: bytes, server_version: int = 178) -> Said:
    """One frame of ours, whose reqId is known to be there."""
    text = payload.decode("latin-1")
    old = server_version < 163
    f = text.split("\0")
    if f.pop() != "":
        raise Bad("no final NUL")
    if len(f) < 4:
        raise Bad("wrong field count")
    if f[0] == "99":
        if not re.fullmatch("0{0,15}[1-4]", f[2]):
            raise Bad("unknown type of tick by tick")
        m = Said(int(f[1]), type=int(f[2]))
        if len(f) != (5 if m.type == 4 else 9):
            raise Bad("wrong field count")
        m.time = seconds(f[3])
        if m.type == 4:
            m.what, m.values = "midpoint", (price(f[4]),)
        elif m.type == 3:
            bid, ask = price(f[4]), price(f[5])
            ask_size, bid_size = size(f[7], whole_sizes=old)[0], size(f[6], whole_sizes=old)[0]
            m.what, m.attributes, m.values = "bidask", whole(f[8], 65535), no_quote(bid, bid_size) + no_quote(ask, ask_size)
        else:
            m.what, m.values, m.attributes = "trade", no_quote(price(f[4]), size(f[5], whole_sizes=old)[0]), whole(f[6], 65535)
            m.codes = code(f[7]), code(f[8])
        return m
    if len(f) != COUNTS[f[0]]:
        raise Bad("wrong field count")
    if f[0] == "21":
        return option(f)
    whole(f[1], 65535)
    m = Said(int(f[2]))
    if f[0] in ("12", "13"):
        m.what, m.time = "depth", whole(f[3], 32767)
        if f[0] == "13":
            m.codes = code(f.pop(4)), 0
        operation, m.side, p = whole(f[4], 2), 1 - whole(f[5], 1), price(f[6])
        m.values = no_quote(p, size(f[7], whole_sizes=old)[0])
        m.attributes = operation | (whole(f[8], 1) << 8 if f[0] == "13" else 0)
        return m
    if f[0] == "50":
        m.what, m.time, m.values = "bar", seconds(f[3]), tuple(price(t) for t in f[4:8])
        without = price(f[8]) == -1  # a bar of anything but trades
        volume, wap = NAN if without else size(f[8], whole_sizes=old)[0], price(f[9], strict=False)
        count = 2**31 - 1 if without and f[10] == "-1" else whole(f[10], 2**31 - 1)
        m.more = volume, NAN if without and wap == -1 else wap, NAN if count == 2**31 - 1 else count, NAN
        return m
    raw = m.type = whole(f[3], 65535)
    if f[0] == "58":
        m.what = "data type"
        if not 1 <= m.type <= 4:
            raise Bad("code out of range")
        return m
    m.delayed, m.type = raw in DELAYED, DELAYED.get(raw, raw)
    if f[0] == "46":
        if m.type in (48, 77):
            return rt_volume(f[4], m, old)
        if m.type == 45 and f[4] not in ("", "0"):
            m.what, m.time = "last time", seconds(f[4])
        elif m.type in (32, 33, 84):
            m.what, m.side, m.codes = "exchange", int(m.type == 33), (code(f[4]), 0)
    elif f[0] == "45":
        m.values = (price(f[4], strict=False),)
        m.what = "halt" if m.type == 49 and m.values[0] == m.values[0] else ""
    elif f[0] == "2":
        m.what = "size" if m.type in SIZE_SIDES else "volume" if m.type == 8 else ""
        m.side = SIZE_SIDES.get(m.type, 0)
        value, m.volume = size(f[4], m.what != "", m.type in (36, 61), old)
        m.values = (value,)
        if value != value and m.what == "volume":
            m.what = ""
    else:
        what = "price" if m.type in PRICE_SIDES else "last" if m.type == 4 else ""
        m.what = what if f[4] else ""
        m.side = PRICE_SIDES.get(m.type, 0)
        p = price(f[4], what != "") if f[4] else NAN
        s = size(f[5], m.what != "", m.type in (36, 61), old)[0] if f[5] else NAN
        m.empty = f[5] == ""
        m.values, m.attributes = no_quote(p, s), whole(f[6], 65535)
    return m


def option(f: list[str]) -> Said:
    """21: -1 and -2 mean not computed."""
    raw = whole(f[2], 65535)
    m = Said(int(f[1]), type=DELAYED.get(raw, raw), delayed=raw in DELAYED, attributes=whole(f[3], 65535))
    values = [price(t, strict=False) for t in f[4:]]
    iv, delta, option_price, dividends, gamma, vega, theta, underlying = (NAN if v == n else v for v, n in zip(values, (-1, -2, -1, -1, -2, -2, -2, -1)))
    m.what = "greek" if 10 <= m.type <= 13 else ""
    m.values, m.more = (iv, delta, gamma, vega), (theta, option_price, underlying, dividends)
    return m


def rt_volume(text: str, m: Said, old: bool) -> Said:
    m.what = "rtvolume"
    p, z, vwap = NAN, NAN, NAN
    for k, part in enumerate(text.split(";")):
        if k == 0 and part:
            p = price(part)
        elif k == 1:
            z = size(part, False)[0]
        elif k == 2 and part:
            m.time = seconds(part, 1000)
        elif k == 3:
            volume, m.volume = size(part, whole_sizes=old)
            if volume != volume:
                m.what = ""
        elif k == 4:
            vwap = price(part, False)
    if len(text.split(";")) != 6:
        raise Bad("wrong field count")
    m.values, m.more = (p, z), (vwap, NAN, NAN, NAN)
    return m


def frames(data: bytes) -> list[bytes]:
    """Payloads of the complete frames."""
    out, pos = [], 0
    while len(data) - pos >= 4:
        n = struct.unpack_from(">I", data, pos)[0]
        if len(data) - pos - 4 < n:
            break
        out.append(data[pos + 4 : pos + 4 + n])
        pos += 4 + n
    return out


def req_id(payload: bytes) -> int | None:
    """reqId of a frame that may be ours, else None."""
    f = payload[:64].split(b"\0")[:-1]
    k = 1 if f[:1] in ([b"99"], [b"21"]) else 2
    if not f or f[0].decode("latin-1") not in IDS or len(f) <= k or not re.fullmatch(rb"\d{1,16}", f[k]):
        return None
    return int(f[k])


def decode(payloads: list[bytes], ours: dict[int, int], server_version: int = 178) -> tuple[list[Said], list[str]]:
    """Messages that are ours, and the outcome of every frame: decoded, forwarded, or the reason why it is bad."""
    messages, outcomes = [], []
    for payload in payloads:
        if req_id(payload) not in ours:
            outcomes.append("forwarded")
            continue
        try:
            messages.append(said(payload, server_version))
            outcomes.append("decoded")
        except Bad as bad:
            outcomes.append(str(bad))
    return messages, outcomes
