"""Slow independent twin of the depth book: lists of levels."""

from __future__ import annotations

import math

NAN = math.nan


class Book:
    """One symbol's book; a level is [price, size, code, known]."""

    def __init__(self, room: int) -> None:
        self.room, self.gaps, self.resets = room, 0, 0
        self.sides: tuple[list, list] = ([], [])
        self.doubtful = [False, False]

    def lose(self, side: int) -> None:
        self.doubtful[side] = True
        for level in self.sides[side]:
            level[3] = False

    def lost(self) -> None:
        self.lose(0)
        self.lose(1)

    def reset(self) -> None:
        self.resets += 1
        self.sides, self.doubtful = ([], []), [False, False]

    def change(self, side: int, position: int, operation: int, price: float, size: float, code: int) -> tuple[bool, bool]:
        """Whether the change is a gap, and whether the book is uncertain after it."""
        levels, new = self.sides[side], [price, size, code, True]
        fits = 0 <= position < self.room and (position <= len(levels) if operation == 0 else position < len(levels))
        if not fits:
            self.gaps += 1
            self.lose(side)
            if operation < 2 and 0 <= position < self.room:
                while len(levels) < position:
                    levels.append([NAN, NAN, 0, False])
                levels.append(new)
        elif operation == 0:
            levels.insert(position, new)
            del levels[self.room :]
        elif operation == 1:
            levels[position] = new
        else:
            del levels[position]
        if fits and levels and all(level[3] for level in levels):
            self.doubtful[side] = False
        return not fits, any(self.doubtful)
