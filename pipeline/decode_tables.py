"""The tables beside TICKS that the decode stage fills: DEPTH, BARS, GREEKS, and the depth books behind the first of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit import book_tables, wire_message
from tickarrow.jit import depth as depth_kernels
from tickarrow.pipeline.batch import Table
from tickarrow.pipeline.schemas import BARS, DEPTH, GREEKS

Floats = npt.NDArray[np.float64]


class SideTables:
    """Messages that say nothing of a quote or trade -> rows of DEPTH, BARS and GREEKS. Most sessions have none: nothing is made before the first.

    Parameters
    ----------
    n_symbols : rows of the universe
    depth, bars, greeks : where the rows go; None = a table of its own in memory, of which the latest rows are kept
    """

    def __init__(self, n_symbols: int, depth: Table | None = None, bars: Table | None = None, greeks: Table | None = None) -> None:
        self.n_symbols, self.tables, self.books = n_symbols, book_tables, depth_kernels
        self.depth = Table(DEPTH, lazy=True) if depth is None else depth
        self.bars = Table(BARS, lazy=True) if bars is None else bars
        self.greeks = Table(GREEKS, lazy=True) if greeks is None else greeks
        self._state: npt.NDArray[Any] | None = None
        self._levels: npt.NDArray[Any] | None = None

    def take(self, messages: npt.NDArray[Any], n: int, ts: int, chunk: int) -> None:
        """Write the rows of messages[:n], which one chunk said."""
        roles = np.bincount(messages["role"][:n], minlength=wire_message.RESYNC + 1)
        if roles[wire_message.RESYNC] or roles[wire_message.DEPTH]:
            if self._state is None and roles[wire_message.DEPTH]:
                self._new_books()
            if self._state is not None:
                self._write(self.depth, int(roles[wire_message.DEPTH]), self.tables.depth_rows, (self._state, self._levels, messages), n, ts, chunk)
        if roles[wire_message.BAR]:
            self._write(self.bars, int(roles[wire_message.BAR]), self.tables.bar_rows, (messages,), n, ts, chunk)
        if roles[wire_message.GREEK]:
            self._write(self.greeks, int(roles[wire_message.GREEK]), self.tables.greek_rows, (messages,), n, ts, chunk)

    @staticmethod
    def _write(table: Table, rows: int, kernel: Any, source: tuple[Any, ...], n: int, ts: int, chunk: int) -> None:
        row = table.reserve(rows)
        kernel(*source, 0, n, ts, chunk, row, *table.segment.columns.values())
        table.commit(rows)

    def _new_books(self) -> None:
        self._state = np.zeros(self.n_symbols, depth_kernels.DEPTH_STATE)
        self._levels = np.zeros((self.n_symbols, 2, depth_kernels.LEVELS), depth_kernels.LEVEL)

    def reset(self, symbol: int) -> None:
        """IBKR's 317: the symbol's depth book begins anew."""
        if self._state is not None:
            self.books.depth_reset(self._state, symbol)

    def lost(self, lo: int, hi: int) -> None:
        """Data of symbols [lo, hi) was lost."""
        if self._state is not None:
            self.books.depth_lost(self._state, self._levels, lo, hi)

    def depth_book(self, symbol: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Bid prices, bid sizes, ask prices and ask sizes of a symbol's depth book from the best on, as views; NaN = a level that was lost."""
        if self._state is None or self._levels is None:
            return (np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
        bids, asks = (self._levels[symbol, side, : self._state[symbol]["levels"][side]] for side in (depth_kernels.BID, depth_kernels.ASK))
        return bids["price"], bids["quantity"], asks["price"], asks["quantity"]

    def depth_gaps(self, symbol: int) -> int:
        """Changes that did not fit the symbol's depth book."""
        return 0 if self._state is None else int(self._state[symbol]["gaps"])

    def held(self) -> dict[str, npt.NDArray[Any]]:
        """The depth books, if there are any; not copied."""
        return {} if self._state is None or self._levels is None else {"depth": self._state, "levels": self._levels}

    def restore(self, saved: dict[str, npt.NDArray[Any]]) -> None:
        """Back to a snapshot."""
        self._state = self._levels = None
        if "depth" in saved:
            self._new_books()
            assert self._state is not None
            assert self._levels is not None
            self._state[:], self._levels[:] = saved["depth"], saved["levels"]
