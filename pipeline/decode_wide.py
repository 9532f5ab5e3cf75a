"""The decode stage for the export of a session: the same rows, with what TICKS has no room for, and every frame as a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit import book, book_wide, wire, wire_message
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.decode import COLUMNS, Bytes, Decode
from tickarrow.pipeline.schemas import BARS, DEPTH, GREEKS, TICKS

Array = npt.NDArray[Any]

RECORDS = 16_384  # frames of a block
WIDE = {"code": np.uint64, "code2": np.uint64, "volume": np.float64, "vwap": np.float64}  # as in jit/book_wide.py


@dataclass(slots=True)
class Block:
    """What some frames said; views and tables that are valid until the next block."""

    data: Bytes  # that `messages.at` refers to
    end: int  # of the frames
    messages: Array  # MESSAGE, one a frame
    message_ts: Array
    message_chunk: Array
    ticks: dict[str, Array]  # columns of TICKS and WIDE
    depth: Table
    bars: Table
    greeks: Table


class DecodeWide(Decode):
    """Bytes -> blocks of messages and rows. Subscriptions and control events as in the decode stage.

    Parameters
    ----------
    n_symbols : rows of the universe
    """

    def __init__(self, n_symbols: int) -> None:
        super().__init__(n_symbols, Table(TICKS, lazy=True))
        self.side.depth, self.side.bars, self.side.greeks = new_tables()
        self.rows = 0  # of TICKS, so far
        self._exchanges = np.zeros(n_symbols, book_wide.EXCHANGES)
        self._records = np.zeros(RECORDS, wire_message.MESSAGE)
        self._aside = np.zeros(RECORDS, wire_message.MESSAGE)
        self._ts, self._chunk = np.zeros(RECORDS, np.int64), np.zeros(RECORDS, np.int64)
        room = RECORDS + n_symbols  # a message makes at most one row; updates may be open when a block ends
        self._ticks = {f.name: np.zeros(room, f.type.to_pandas_dtype()) for f in TICKS} | {name: np.zeros(room, t) for name, t in WIDE.items()}
        self._n = self._row = 0  # records and rows of the block

    def blocks(self, data: Bytes, lo: int, hi: int, ts: int, number: int) -> Iterator[Block]:
        """Decode the chunk data[lo:hi]; gives the blocks that are full."""
        ticks, wide = [self._ticks[c] for c in COLUMNS], [self._ticks[c] for c in WIDE]
        pos, status = lo, wire.FULL
        while status == wire.FULL:
            first = self._n
            pos, n, status = wire.decode(
                data, pos, hi, ts, self._subscriptions, 2, wire_message.version_row(self.server_version), self._records[first:], self._field_ends,
                self._counts, self._bad_frames,
            )  # fmt: skip
            self._ts[first : first + n], self._chunk[first : first + n] = ts, number
            self._n += n
            self._open_ends[2] = 0
            self._moved(book_wide.wide_update(
                self._exchanges, self._book, self._open_ends, self._records, first, self._n, self._aside, ts, number, self.rows, self._row, *ticks, *wide
            ))  # fmt: skip
            if aside := int(self._open_ends[2]):
                self.side.take(self._aside, aside, ts, number)
            if status == wire.FULL:
                yield self.block(data, pos)
        before = self._row
        self._moved(book.chunk_close(self._book, self._open_ends, ts, number, self.rows, self._row, *ticks))
        book_wide.wide_rows(self._exchanges, before, self._row, self._records, -1, self._ticks["symbol"], self._ticks["kind"], *wide)

    def _moved(self, row: int) -> None:
        self.rows += row - self._row
        self._row = row

    def block(self, data: Bytes, end: int) -> Block:
        """What was said since the last block."""
        n, row, side = self._n, self._row, self.side
        out = Block(
            data, end, self._records[:n], self._ts[:n], self._chunk[:n], {c: a[:row] for c, a in self._ticks.items()}, side.depth, side.bars, side.greeks
        )
        self._n = self._row = 0
        side.depth, side.bars, side.greeks = new_tables()
        return out


def new_tables() -> tuple[Table, Table, Table]:
    """DEPTH, BARS and GREEKS in memory."""
    return Table(DEPTH, keep=True, lazy=True), Table(BARS, keep=True, lazy=True), Table(GREEKS, keep=True, lazy=True)
