"""Slow independent twins of the wire and book kernels: text splitting, `float`, `Decimal` and dicts."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from decimal import Decimal

NAN = math.nan
PLAIN = re.compile(r"-?(\d+\.?\d*|\.\d+)", re.ASCII)
ANY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
IDS = {"1", "2", "45", "46", "99"}
PRICE_SIDES, SIZE_SIDES = {1: 0, 2: 1}, {0: 0, 3: 1}


class Bad(Exception):
    """A frame of ours that is not what it must be; its text is the reason."""


def frame(*fields: object) -> bytes:
    """A frame of the wire."""
    body = "".join(f"{f}\0" for f in fields).encode()
    return struct.pack(">I", len(body)) + body


def number(text: str) -> tuple[int, int] | None:
    """Mantissa and scale of a plain decimal, None if it is unusual; Bad if it is no number."""
    if PLAIN.fullmatch(text) and sum(c.isdigit() for c in text) <= 18:
        return int(text.replace(".", "")), len(text.partition(".")[2])
    if ANY.fullmatch(text):
        return None
    raise Bad("not a number")


def price(text: str, strict: bool = True) -> float:
    n = number(text)
    if n is None or abs(n[0]) > 2**53:
        if strict:
            raise Bad("unusual number")
        return NAN
    return float(text) + 0.0  # no -0


def size(text: str, strict: bool = True, volume: bool = False) -> tuple[float, Decimal]:
    n = number(text)
    if text.startswith("-") and (n is None or n[0] != 0):
        raise Bad("negative size")
    if n is None or (n[0] > 2**53 and not volume):
        if strict:
            raise Bad("unusual number")
        return NAN, Decimal(0)
    return float(text) + 0.0, Decimal(text)


def whole(text: str, most: int = 10**16 - 1) -> int:
    if re.fullmatch(r"\d{1,16}", text, re.ASCII):
        if int(text) > most:
            raise Bad("unusual number")
        return int(text)
    raise Bad("unusual number" if number(text) is None else "not a number")


def seconds(text: str, unit: int = 1) -> int:
    t = whole(text)
    if not 946684800 * unit <= t < 4102444800 * unit:
        raise Bad("time outside 2000 to 2100")
    return t


def no_quote(p: float, s: float) -> tuple[float, float]:
    return (NAN, NAN) if s == 0 and p in (-1, 0) else (p, s)


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


def said(payload: bytes) -> Said:
    """One frame of ours, whose reqId is known to be there."""
    text = payload.decode("latin-1")
    f = text.split("\0")
    if f.pop() != "":
        raise Bad("no final NUL")
    if len(f) < 4:
        raise Bad("wrong field count")
    if f[0] == "99":
        if f[2] not in {"1", "2", "3", "4"} and not re.fullmatch("0{0,15}[1-4]", f[2]):
            raise Bad("unknown type of tick by tick")
        m = Said(int(f[1]), type=int(f[2]))
        if len(f) != (5 if m.type == 4 else 9):
            raise Bad("wrong field count")
        m.time = seconds(f[3])
        if m.type == 4:
            m.values = (price(f[4]),)
        elif m.type == 3:
            bid, ask = price(f[4]), price(f[5])
            ask_size, bid_size = size(f[7])[0], size(f[6])[0]
            m.what, m.attributes, m.values = "bidask", whole(f[8], 65535), no_quote(bid, bid_size) + no_quote(ask, ask_size)
        else:
            m.what, m.values, m.attributes = "trade", no_quote(price(f[4]), size(f[5])[0]), whole(f[6], 65535)
        return m
    if len(f) != (7 if f[0] == "1" else 5):
        raise Bad("wrong field count")
    whole(f[1])
    m = Said(int(f[2]), type=whole(f[3], 65535))
    if f[0] == "46":
        if m.type in (48, 77):
            return rt_volume(f[4], m)
    elif f[0] == "45":
        if f[4]:
            m.values = (price(f[4], strict=False),)
    elif f[0] == "2":
        m.what = "size" if m.type in SIZE_SIDES else "volume" if m.type == 8 else ""
        m.side = SIZE_SIDES.get(m.type, 0)
        value, m.volume = size(f[4], m.what != "", m.type == 8)
        m.values = (value,)
    else:
        what = "price" if m.type in PRICE_SIDES else "last" if m.type == 4 else ""
        m.what = what if f[4] else ""
        m.side = PRICE_SIDES.get(m.type, 0)
        p = price(f[4], what != "") if f[4] else NAN
        s = size(f[5], m.what != "")[0] if f[5] else NAN
        m.empty = f[5] == ""
        m.values, m.attributes = no_quote(p, s), whole(f[6], 65535)
    return m


def rt_volume(text: str, m: Said) -> Said:
    m.what = "rtvolume"
    parts = text.split(";")
    p = NAN
    for k, (part, read) in enumerate(zip(parts, [price, lambda t: size(t, False, True), lambda t: seconds(t, 1000), None, lambda t: price(t, False)])):
        if k == 3:
            m.volume = size(part, volume=True)[1]
        elif part:
            value = read(part)
            if k == 0:
                p = value
            if k == 2:
                m.time = value
    if len(parts) != 6:
        raise Bad("wrong field count")
    m.values = (p,)
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
    k = 1 if f[:1] == [b"99"] else 2
    if not f or f[0].decode("latin-1") not in IDS or len(f) <= k or not re.fullmatch(rb"\d{1,16}", f[k]):
        return None
    return int(f[k])


def decode(payloads: list[bytes], ours: dict[int, int]) -> tuple[list[Said], list[str]]:
    """Messages that are ours, and the outcome of every frame: decoded, forwarded, or the reason why it is bad."""
    messages, outcomes = [], []
    for payload in payloads:
        if req_id(payload) not in ours:
            outcomes.append("forwarded")
            continue
        try:
            messages.append(said(payload))
            outcomes.append("decoded")
        except Bad as bad:
            outcomes.append(str(bad))
    return messages, outcomes
