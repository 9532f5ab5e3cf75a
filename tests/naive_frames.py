"""Slow independent twin of the framing rules: which spans of a stream are frames, by slicing and splitting."""

from __future__ import annotations

import re

KNOWN = {*range(1, 22), 45, 46, 47, *range(49, 60), *range(61, 108)}
LONG = {5, 10, 11, 16, 17, 18, 19, 20, 51, 67, 75, 78, 79, 80, 82, 83, 84, 85, 86, 89, 96, 97, 98, 101, 104, 105, 106}
FIELDS = {
    1: {7}, 2: {5}, 12: {8}, 13: {10}, 21: {12}, 45: {5}, 46: {5}, 50: {11}, 58: {4}, 99: {5, 9},
    9: {3}, 15: {3}, 49: {3}, 52: {3}, 53: {2}, 54: {3}, 55: {3}, 57: {3}, 62: {2}, 81: {5},
}  # fmt: skip
TEXTS = {4, 15, 46}  # may be longer than 512 bytes though their form is fixed


def number(payload: bytes) -> int | None:
    m = re.match(rb"([1-9]\d{0,4})\0", payload)
    return int(m[1]) if m else None


def sound(payload: bytes, version: int) -> bool:
    n = number(payload)
    if n is None:
        return False
    if n >= 9001:
        return re.fullmatch({9001: rb"9001\0\d{1,19}\0\d{1,19}\0", 9003: rb"9003\0(\d{1,19}\0){3}"}.get(n, b"x"), payload) is not None
    if n not in KNOWN or payload[-1] != 0:
        return False
    counts = {5, 6} if n == 4 and version >= 166 else {5} if n == 4 else FIELDS.get(n)
    if counts is None:
        return not re.search(rb"[\x01-\x08\x0e-\x1f]|\0\0\0[\x01-\x1f]", payload)
    return payload.count(0) in counts and (n in TEXTS or len(payload) <= 512)


def payload_at(data: bytes, pos: int) -> bytes | None:
    length = int.from_bytes(data[pos : pos + 4], "big")
    return data[pos + 4 : pos + 4 + length] if len(data) - pos >= 4 + length and 2 <= length <= 16 << 20 else None


def begins(data: bytes, pos: int, version: int, first: bool) -> bool:
    payload = payload_at(data, pos)
    if payload is None or not sound(payload, version):
        return False
    n = number(payload)
    if n < 9001 and len(payload) > (16 << 20 if n in LONG and not first else 65536):
        return False
    return (n not in FIELDS and n != 4) or re.match(rb"\d+\0\d+\0", payload) is not None


def walk(data: bytes, version: int = 178) -> list[tuple[str, bytes]]:
    """(verdict, payload) of all of a stream that ends with sound frames: `sound`, `refused`, or `skipped` bytes."""
    out, pos = [], 0
    while pos < len(data):
        length, payload = int.from_bytes(data[pos : pos + 4], "big"), payload_at(data, pos)
        n = number(data[pos + 4 : pos + 4 + max(length, 0)][:8])
        possible = 2 <= length <= (16 << 20 if n in LONG else 65536)
        if possible and payload is not None and sound(payload, version):
            out.append(("sound", payload))
            pos += 4 + length
            continue
        led = pos + 4 + length if possible else -1
        for q in range(pos + 1, len(data)):
            if not begins(data, q, version, True):
                continue
            first = payload_at(data, q)
            if q == led or number(first) >= 9001 or begins(data, q + 4 + len(first), version, False):
                break
        else:
            return [*out, ("rest", data[pos:])]
        out.append(("refused", payload) if q == led else ("skipped", data[pos:q]))
        pos = q
    return out
