"""tickarrow decode: a file of wire frames, or the journal of a session, as one Parquet row per message."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from rich.console import Console

from tickarrow.configs.pipeline import DecodeConf
from tickarrow.jit import _kernel, wire, wire_fields, wire_message
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import SERVER_VERSION, counts_of, subscription_table
from tickarrow.pipeline.errors import DataError, SessionError
from tickarrow.pipeline.messages import MESSAGES, rows
from tickarrow.pipeline.recorder_read import read_journal
from tickarrow.pipeline.schemas import ControlKind
from tickarrow.pipeline.session import read_manifest
from tickarrow.pipeline.session_feed import read_control

Array = npt.NDArray[Any]

BLOCK = 4 << 20  # bytes read at a time
RECORDS = 16_384  # messages of a row group
PADDING = 64
HOPELESS = 32 << 20  # bytes without a frame after which a file is given up


def main(conf: DecodeConf) -> dict[str, int]:
    """The command: decode, print the counts that are not zero."""
    _kernel.warm()
    counts = decode_file(conf.path, conf.out)
    said = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    Console().print(f"{conf.out}: {said}", soft_wrap=True, highlight=False)
    return counts


def decode_file(path: str | Path, out: str | Path, req_ids: Iterable[int] | None = None) -> dict[str, int]:
    """Decode frames into a Parquet file with one row per frame.

    Parameters
    ----------
    path : file of length-prefixed frames, or a session directory
    out : Parquet file to write
    req_ids : requests that are ours; None = all. Frames of others, and of other messages, are rows with outcome `forwarded`

    Returns
    -------
    frames by outcome, and bad ones by reason

    Raises
    ------
    DataError
        nothing to read, or no frame in it
    SessionError
        a record of the journal is damaged
    """
    path, out = Path(path), Path(out)
    if not path.exists():
        raise DataError(f"{path} does not exist. Name a file of length-prefixed wire frames, or a session directory (path=...).")
    if not out.parent.is_dir():
        raise DataError(f"folder {out.parent} of the output does not exist. Make it, or choose another file (out=...).")
    part = out.with_name(out.name + ".part")
    walk = _Walk(path, req_ids)
    try:
        with pq.ParquetWriter(part, MESSAGES) as writer:
            for data, hi, whole in _journal(path, walk) if path.is_dir() else _file(path):
                walk.feed(data, hi, whole, writer)
            walk.finish(writer)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return counts_of(walk.counts)


def _file(path: Path) -> Iterator[tuple[Array, int, bool]]:
    try:
        with path.open("rb") as f:
            while block := f.read(BLOCK):
                yield np.frombuffer(block, np.uint8), len(block), False
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}. Name a readable file (path=...).") from None


def _journal(path: Path, walk: _Walk) -> Iterator[tuple[Array, int, bool]]:
    """Chunks of a session, each at its server version. A frame that is torn at the end of a chunk comes again, whole, in the next one."""
    changes: list[Control] = []
    if (path / "manifest.json").is_file():
        walk.version = wire_message.version_row(read_manifest(path).get("server_version", SERVER_VERSION))
        with contextlib.suppress(SessionError):  # its tables may be damaged: the journal is read all the same
            changes = [e for e in read_control(path) if e.kind == ControlKind.SERVER_VERSION]
    for number, _, data in read_journal(path):
        while changes and changes[0].chunk < number:
            walk.version = wire_message.version_row(int(changes.pop(0).value))
        yield np.frombuffer(data, np.uint8), len(data), True


class _Walk:
    """Frames so far, and the start of a frame whose end has not come yet: `rest` where it will come, `end` if nothing follows."""

    def __init__(self, path: Path, req_ids: Iterable[int] | None) -> None:
        entries = [(q, 0, 0, wire_fields.LIVE, 0, 0) for q in req_ids or ()]
        self.subscriptions = subscription_table(np.array(entries, wire_fields.SUBSCRIPTION))
        self.every = 1 if req_ids is None else 2
        self.path = path
        self.counts, self.samples = np.zeros(wire.N_COUNTS, np.int64), np.zeros((wire.SAMPLES, 3), np.int64)
        self.ends = np.zeros(wire_message.MAX_FIELDS, np.int64)
        self.version = wire_message.version_row(SERVER_VERSION)
        self.records = np.zeros(RECORDS, wire_message.MESSAGE)
        self.rest = self.end = np.zeros(0, np.uint8)
        self.ordinal = 0
        self.lost = False

    def feed(self, block: Array, n: int, whole: bool, writer: pq.ParquetWriter) -> None:
        """Decode the complete frames of the rest and the block; `whole` = what is left then is not continued."""
        if len(self.rest) > HOPELESS:
            return
        hi = len(self.rest) + n
        data = np.zeros(hi + PADDING, np.uint8)
        data[: hi - n], data[hi - n : hi] = self.rest, block
        pos, status = 0, wire.FULL
        while status == wire.FULL:
            lo = pos
            pos, n_records, status = wire.decode(
                data, lo, hi, 0, self.subscriptions, self.every, self.version, self.records, self.ends, self.counts, self.samples
            )
            if n_records:
                writer.write_batch(rows(data, self.records[:n_records], pos, self.ordinal))
                self.ordinal += n_records
        self.lost = status == wire.LOST
        self.end = data[pos:hi] if not whole or self.lost else data[:0]
        self.rest = self.end if not whole else data[:0]

    def finish(self, writer: pq.ParquetWriter) -> None:
        """A frame that was cut off, or where the framing was lost, is the last row."""
        if self.ordinal == 0:
            raise DataError(
                f"{self.path} holds no frame: a frame is a 4-byte big-endian length and so many bytes. Name a file of wire frames, or a session directory."
            )
        if not len(self.end):
            return
        reason = wire_message.LOST_FRAMING if self.lost else wire_message.CUT_OFF
        self.counts[wire_message.BAD] += 1
        self.counts[wire.N_OUTCOMES + reason] += 1
        last = np.zeros(1, wire_message.MESSAGE)
        last["outcome"], last["reason"], last["req_id"] = wire_message.BAD, reason, -1
        writer.write_batch(rows(self.end, last, min(len(self.end), PADDING), self.ordinal))
