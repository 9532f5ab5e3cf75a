"""Depth book per symbol: levels of each side in the order that IBKR gives them, kept sane whatever comes.

A change names a position, not a price, so one lost message makes every later one of its side doubtful. A change that does not fit
the book (behind the end, or the deletion of a level that is not there) is a gap: it is counted, and the side is uncertain until each
level it holds was sent anew, or until the book is reset (IBKR's code 317). Several market makers may share a price, and the books of
several exchanges may cross: neither is a gap."""

from __future__ import annotations

import numpy as np

from tickarrow.jit._kernel import kernel, record

INSERT, UPDATE, DELETE = 0, 1, 2
BID, ASK = 0, 1
UNCERTAIN, GAP = 128, 4096  # of pipeline/schemas.py: Flag

LEVELS = 64  # levels that are kept of a side; IBKR sends fewer

LEVEL = record([
    ("price", "f8"), ("quantity", "f8"),  # NaN = a level that was never sent
    ("code", "u8"),  # market maker or exchange, raw bytes of its text
    ("known", "?"),  # sent since data was last lost
])  # fmt: skip

DEPTH_STATE = record([
    ("gaps", "i8"), ("resets", "i8"),
    ("levels", "i4", (2,)),  # that the side holds
    ("unknown", "i4", (2,)),  # of them, those that are not known
    ("doubtful", "u1", (2,)),  # the side is uncertain
])  # fmt: skip


@kernel("DEPTH_STATE, LEVEL[:,:], i8")
def _doubt(s, levels, side):
    """Every level of a side has to be sent anew."""
    s.doubtful[side] = 1
    s.unknown[side] = s.levels[side]
    for k in range(s.levels[side]):
        levels[side, k].known = False


@kernel("LEVEL[:,:], i8, i8, f8, f8, u8", inline=True)
def _set(levels, side, k, price, quantity, code):
    """Write one level."""
    level = levels[side, k]
    level.price, level.quantity, level.code, level.known = price, quantity, code, True


@kernel("DEPTH_STATE, LEVEL[:,:], i8, i8, i8, f8, f8, u8")
def book_point(s, levels, side, position, operation, price, quantity, code):
    """Apply one change to a depth book.

    Parameters
    ----------
    s : DEPTH_STATE, updated in place
    levels : (2, n_levels) LEVEL, bid and ask from the best; updated in place
    side : int, BID or ASK
    position : int, 0 = best
    operation : int, INSERT moves the levels behind down, DELETE moves them up
    price, quantity : float, currency and shares
    code : int, raw bytes of the market maker's name; 0 = none

    Returns
    -------
    int, flags: GAP if the change does not fit the book, UNCERTAIN if a side of the book is uncertain after it

    References
    ----------
    IBKR TWS API, EWrapper.updateMktDepth and updateMktDepthL2: position, operation 0 insert, 1 update, 2 delete.
    """
    n, room = np.int64(s.levels[side]), np.int64(levels.shape[1])
    gap = position < 0 or position >= room or position > n or (operation != INSERT and position == n)
    if gap:
        s.gaps += 1
        _doubt(s, levels, side)
        if operation != DELETE and 0 <= position < room:
            for k in range(n, position):  # levels that were lost
                _set(levels, side, k, np.nan, np.nan, np.uint64(0))
                levels[side, k].known = False
                s.unknown[side] += 1
            _set(levels, side, position, price, quantity, code)
            s.levels[side] = position + 1
    elif operation == INSERT:
        last = min(n, room - 1)
        if n == room:
            s.unknown[side] -= not levels[side, last].known  # the last level falls out
        for k in range(last, position, -1):
            levels[side, k] = levels[side, k - 1]
        _set(levels, side, position, price, quantity, code)
        s.levels[side] = last + 1
    else:
        s.unknown[side] -= not levels[side, position].known
        if operation == UPDATE:
            _set(levels, side, position, price, quantity, code)
        else:
            for k in range(position, n - 1):
                levels[side, k] = levels[side, k + 1]
            s.levels[side] = n - 1
    if not gap and s.unknown[side] == 0 and s.levels[side] > 0:
        s.doubtful[side] = 0
    return np.int64((GAP if gap else 0) | (UNCERTAIN if s.doubtful[BID] | s.doubtful[ASK] else 0))


@kernel("DEPTH_STATE", inline=True)
def anew_point(s):
    """Empty a depth book: IBKR's code 317 says that it begins anew."""
    s.resets += 1
    for side in range(2):
        s.levels[side] = s.unknown[side] = s.doubtful[side] = 0


@kernel("DEPTH_STATE[:], LEVEL[:,:,:], i8, i8, i8, i8, f8, f8, u8")
def depth_point(state, levels, i, side, position, operation, price, quantity, code):
    """Apply one change to the depth book of symbol i.

    Parameters
    ----------
    state : (n_symbols,) DEPTH_STATE, updated in place
    levels : (n_symbols, 2, n_levels) LEVEL, updated in place
    i : int, row of the universe; the caller guarantees the range
    side, position, operation, price, quantity, code : as in `book_point`, whose flags are returned
    """
    return book_point(state[i], levels[i], side, position, operation, price, quantity, code)


@kernel("DEPTH_STATE[:], i8")
def depth_reset(state, i):
    """Empty the book of symbol i."""
    anew_point(state[i])


@kernel("DEPTH_STATE[:], LEVEL[:,:,:], i8, i8")
def depth_lost(state, levels, lo, hi):
    """Data of symbols [lo, hi) was lost: their books are uncertain until each level was sent anew, or until a reset."""
    for i in range(lo, hi):
        for side in range(2):
            _doubt(state[i], levels[i], side)
