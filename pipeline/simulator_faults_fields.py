"""Faults in the fields of market-data frames of the simulated gateway: values that IBKR has sent, and that no client expects."""

from __future__ import annotations

from collections.abc import Callable

from tickarrow.pipeline.simulator_faults_bytes import Piece, Pipe, changed, fields_of, frame_fault, joined
from tickarrow.pipeline.simulator_frames import UNSET

SIZES_AT = {b"1": (5,), b"2": (4,)}  # position of the sizes of L1; of tick-by-tick, by type:
TICK_SIZES_AT = {b"1": (5,), b"2": (5,), b"3": (6, 7)}
TICK_PRICES_AT = {b"1": 4, b"2": 4, b"3": 4, b"4": 4}


def price_at(fields: list[bytes]) -> int:
    """Position of a price that could be damaged, 0 = the message has none."""
    if fields[0] == b"1":
        return 4
    return TICK_PRICES_AT.get(fields[2], 0) if fields[0] == b"99" else 0


def sizes_at(fields: list[bytes]) -> tuple[int, ...]:
    return TICK_SIZES_AT.get(fields[2], ()) if fields[0] == b"99" else SIZES_AT.get(fields[0], ())


def price_replaced(frame: bytes, text: Callable[[bytes], bytes]) -> list[Piece] | None:
    fields = fields_of(frame)
    at = price_at(fields)
    return changed(frame, {at: text(fields[at])}) if at else None


@frame_fault
def unknown_id(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece]:
    """A message whose id nobody knows stands before a frame."""
    return [Piece(joined([b"%d" % pipe.rng.randint(120, 199), b"1", b"7", b"new"]) + frames[k])]


@frame_fault
def unknown_tick(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """A price or size has a tick type that nobody knows."""
    known = fields_of(frames[k])[0] in (b"1", b"2")
    return changed(frames[k], {3: b"%d" % pipe.rng.randint(140, 199)}) if known else None


@frame_fault
def question_mark(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """A price is `?`."""
    return price_replaced(frames[k], lambda text: b"?")


@frame_fault
def empty(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """A price is an empty field."""
    return price_replaced(frames[k], lambda text: b"")


@frame_fault
def exponent(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """A price is written with an exponent."""
    return price_replaced(frames[k], lambda text: b"%.12E" % float(text))


@frame_fault
def unset(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """A price is 1.7976931348623157E308, the value of an unset double."""
    return price_replaced(frames[k], lambda text: UNSET.encode())


@frame_fault
def fractional(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """Sizes have a fraction of a share."""
    fields = fields_of(frames[k])
    at = [i for i in sizes_at(fields) if fields[i]]
    return changed(frames[k], {i: b"%s.%04d" % (fields[i].split(b".")[0], pipe.rng.randint(1, 9999)) for i in at}) if at else None


@frame_fault
def time_back(pipe: Pipe, frames: list[bytes], k: int) -> list[Piece] | None:
    """Exchange times (tick-by-tick, tick 45) go back one hour."""
    fields = fields_of(frames[k])
    at = 3 if fields[0] == b"99" else 4 if fields[0] == b"46" and fields[3] in (b"45", b"88") else 0
    return changed(frames[k], {at: b"%d" % (int(fields[at]) - 3600)}) if at else None
