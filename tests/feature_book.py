"""What the depth book of a symbol held at each row of FEATURES, built anew from the rows of DEPTH alone."""

from __future__ import annotations

from itertools import groupby

import numpy as np

INSERT, UPDATE, DELETE, LOST = range(4)
NEAR, FLOWS, EVENTS = 10, 5, 20
FIELDS = [("seq", "i8"), ("changes", "i8"), ("bid", "i8"), ("ask", "i8"), ("seen", "?", (FLOWS,)), ("events", "i8")]


class Side:
    """Rows of one side, from the best."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float]] = []
        self.doubted: set[int] | None = None  # places that are not known since a change did not fit

    def apply(self, position: int, operation: int, row: tuple[float, float]) -> None:
        n = len(self.rows)
        if position > n or (operation != INSERT and position == n):
            self.doubted = set(range(n))
            if operation != DELETE:  # those between were lost
                self.rows += [(np.nan, 0.0)] * (position - n) + [row]
                self.doubted = set(range(position))
            return
        if operation == UPDATE:
            self.rows[position] = row
        elif operation == INSERT:
            self.rows.insert(position, row)
        else:
            del self.rows[position]
        if self.doubted is not None:
            if operation == UPDATE:
                self.doubted.discard(position)
            else:
                self.doubted = set(range(len(self.rows)))  # they have moved: wait until each is sent once more
            self.doubted = self.doubted or None

    def levels(self) -> list[tuple[float, float]]:
        """Price and size of the first levels: neighbouring rows at one price are one, rows without a size none."""
        held = [r for r in self.rows if r[1] > 0 and np.isfinite(r[0])]
        return [(price, sum(q for _, q in same)) for price, same in groupby(held, key=lambda r: r[0])][:NEAR]


def history(changes: list[tuple]) -> np.ndarray:
    """The book of one symbol after each (seq, side, position, operation, price, size), operation LOST = data was lost.

    `seen`: the level was there before and after a change of its side since the book was certain. `events`: changes by which one of the first
    five levels of a side came to differ. Both at least: a level that is there again later counts in neither.
    """
    sides, out = (Side(), Side()), np.zeros(len(changes), FIELDS)
    held: list[list[tuple[float, float]]] | None = None  # None = the book was uncertain
    seen, events = np.zeros(FLOWS, bool), 0
    for i, (seq, side, position, operation, price, size) in enumerate(changes):
        if operation == LOST:
            held = None
        else:
            sides[side].apply(position, operation, (price, size))
            if any(s.doubted is not None for s in sides):
                held = None
            elif held is None:
                held, seen = [s.levels() for s in sides], np.zeros(FLOWS, bool)
            else:
                before, after = held[side], sides[side].levels()
                both = min(len(before), len(after), FLOWS)
                seen[:both] = True
                events += before[:both] != after[:both]
                held[side] = after
        bid, ask = (len(h) for h in held) if held else (0, 0)
        out[i] = seq, i + 1, bid, ask, seen, events
    return out


def books(depth: dict[str, np.ndarray], lost: list[tuple[int, int]], seq: np.ndarray, symbol: np.ndarray) -> np.ndarray:
    """The state of the book (FIELDS) at ticks `seq` of `symbol`.

    Parameters
    ----------
    depth : columns of DEPTH, in order; a change comes before the tick with its seq
    lost : (seq, symbol) of ticks before which data was lost
    """
    out = np.zeros(len(seq), FIELDS)
    for s in np.unique(depth["symbol"]):
        mine = depth["symbol"] == s
        rows = [depth[name][mine].tolist() for name in ("seq", "side", "position", "operation", "price", "size")]
        changes = list(zip(*rows, strict=True)) + [(at, 0, 0, LOST, np.nan, 0.0) for at, of in lost if of == s]
        told = history(sorted(changes, key=lambda c: c[0]))  # stable: what was lost is lost after the changes before that tick
        here = np.flatnonzero(symbol == s)
        at = np.searchsorted(told["seq"], seq[here], "right") - 1
        out[here] = np.where(at >= 0, told[np.maximum(at, 0)], np.zeros(1, FIELDS))
    return out
