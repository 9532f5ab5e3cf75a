"""One file for all layouts of an engine: mapped, not read, so that loading a bank costs one pass for its digest and no copy.

A line that names the format, a line with the BLAKE2b-128 of everything after it, a line of JSON with what the file was made from and the
place of each array, then the arrays at multiples of 64 bytes, little-endian. It is written beside its place and moved there, so it is
whole or not there. A file that is damaged, of another version or of other models is refused: kernels do not check what they read."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array

VERSION = 2
MAGIC = b"tickarrow forest\n"
ALIGN = 64
START = len(MAGIC) + 33  # where the digest's bytes begin: after the line of 32 hexadecimal digits
AGAIN = "It is made again from the models."

Parts = Sequence[Mapping[str, Array]]


class OutdatedError(ModelError):
    """Another version of the program made the file: no damage."""


def file_digest(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write(path: Path, code: str, made_from: Mapping[str, Any], parts: Parts) -> None:
    """Write the arrays of some parts into one file.

    Parameters
    ----------
    code : digest of the code that lays out and runs the parts
    made_from : plain data; `read` gives it back, and refuses the file where a key that it expects has another value
    parts : arrays of plain types by name, for each part
    """
    table: list[dict[str, Any]] = []
    bodies: list[Array] = []
    at = 0
    for part in parts:
        places = {}
        for name, a in part.items():
            body = np.ascontiguousarray(a, a.dtype.newbyteorder("<"))
            places[name] = [body.dtype.str, list(a.shape), at]
            bodies.append(body)
            at += -(-body.nbytes // ALIGN) * ALIGN
        table.append(places)
    head = json.dumps({"version": VERSION, "code": code, "made_from": dict(made_from), "parts": table, "bytes": at}).encode()
    head += b" " * (-(START + len(head) + 1) % ALIGN) + b"\n"
    digest = hashlib.blake2b(head, digest_size=16)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    with temporary.open("wb") as f:
        f.write(MAGIC + b"0" * 32 + b"\n" + head)
        for body in bodies:
            for piece in (body.reshape(-1).view(np.uint8).data if body.size else b"", b"\0" * (-body.nbytes % ALIGN)):
                f.write(piece)
                digest.update(piece)
        f.seek(len(MAGIC))
        f.write(digest.hexdigest().encode())
    temporary.replace(path)


def read(path: Path, code: str, expected: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Array]]]:
    """Map a file: what it was made from, and the arrays of each part as read-only pages of it.

    Parameters
    ----------
    expected : keys and values that `made_from` must have

    Raises
    ------
    OutdatedError : it is of another version, or other code made it
    ModelError : it is not one of ours, is damaged, or was made from something else
    OSError : it is not there
    """
    with path.open("rb") as f:
        if f.read(len(MAGIC)) != MAGIC:
            raise ModelError(f"{path} is no forest layout. {AGAIN}")
        memory = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    with suppress(OSError, AttributeError):  # a kernel without huge pages for files
        memory.madvise(mmap.MADV_HUGEPAGE)
    everything = np.frombuffer(memory, np.uint8)
    if hashlib.blake2b(everything[START:].data, digest_size=16).hexdigest().encode() != memory[len(MAGIC) : START - 1]:
        version = _version(memory)
        if version != VERSION:
            raise OutdatedError(f"{path} has layout version {version}, this program reads {VERSION}. {AGAIN}")
        raise ModelError(f"{path} is damaged: its content is not what was written. {AGAIN}")
    end = memory.find(b"\n", START) + 1
    head = json.loads(memory[START:end])
    if head["version"] != VERSION or head["code"] != code:
        raise OutdatedError(f"{path} was made by another version of the program. {AGAIN}")
    for key, value in expected.items():
        if head["made_from"].get(key) != value:
            raise ModelError(f"{path} was made from another {key.replace('_', ' ')} ({head['made_from'].get(key)!r}, here it is {value!r}). {AGAIN}")
    parts = []
    for places in head["parts"]:
        arrays = {}
        for name, (dtype, shape, at) in places.items():
            arrays[name] = np.frombuffer(memory, np.dtype(dtype), int(np.prod(shape)), end + at).reshape(shape)
        parts.append(arrays)
    return head["made_from"], parts


def _version(memory: mmap.mmap) -> Any:
    """The version a file states, as far as it can be read: an older one had another place for its digest."""
    try:
        start = memory.find(b"{")
        return json.loads(memory[start : memory.find(b"\n", start)])["version"]
    except (ValueError, KeyError, TypeError):
        return VERSION
