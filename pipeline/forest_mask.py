"""The mask table of a bank: which test is which row of it. For the batch kernels trees_mux.py and trees_exit.py.

    d = dictionary(forests)          # ModelError if no table holds all tests
    d.arrays                         # of a layout file; `masks(x, lo, hi, words, *inputs(arrays), *room(arrays, words))` fills a table
    d.nodes[i]                       # rows of the nodes of forests[i]: (nodes,) with one digit, (nodes, 2) with two; NEVER at leaves
    d.digits, d.rows, d.cost         # 1 or 2; rows of the table; a sentence for the log

One digit: a node's mask is row k of the table. Two digits, for banks whose models have each their own cuts: the rank among all cuts of a
feature is written as high and low digit, and a node with (h, l) is `table[h + 1] | (table[h] & table[l])`: "the high digit is greater, or it
is not less and the low digit is not less". 600,000 tests are then 17,000 rows, for three loads a node instead of one.

Rows 0 and 1 of every table are 0 and row 2 is 1 in all bits: the test NEVER is row 0 or (0, 0), ALWAYS is row 2 or (1, 0)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tickarrow.jit import trees_mask
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Forest

NEVER, ALWAYS = 0, 2  # rows of every table, one digit
FIXED = 3  # rows before the first test
ROWS = 65_536  # a row number is 16 bits
CODES = 254  # cuts in one byte column; 255 is a missing value that goes right
LOW_BITS = 7  # of a rank with two digits
MERGED = CODES << LOW_BITS  # cuts of one feature with two digits, less what the top digit needs

NAMES = ("mask_feature", "mask_column", "mask_cuts", "mask_code")


@dataclass(frozen=True)
class Dictionary:
    """Tests of a bank and where each node finds its own."""

    arrays: dict[str, Array]
    nodes: list[Array]  # int64, see the head of this module
    digits: int
    rows: int
    tests: int  # different (feature, cut, default direction)

    @property
    def cost(self) -> str:
        """What the table costs, for the log."""
        size = self.rows * 32 / 1e6
        loads = "one row a node" if self.digits == 1 else "three rows a node, for its models have each their own cuts"
        return f"{self.tests} different tests in {self.rows} mask rows ({size:.2f} MB for 256 rows), {loads}"


def dictionary(forests: Sequence[Forest], digits: int = 0) -> Dictionary:
    """Rows of a mask table for all nodes of a bank.

    Parameters
    ----------
    digits : 1 or 2; 0 = one digit if the table then has rows enough, else two
    """
    feature, cut, left = (np.concatenate([getattr(f, k)[f.inner] for f in forests]) for k in ("feature", "cut", "default_left"))
    ranked = [_Ranked(int(f), cut[feature == f], left[feature == f], np.flatnonzero(feature == f)) for f in np.unique(feature)]
    tests = sum(r.tests for r in ranked)
    found = np.zeros((feature.size, 2), np.int64)
    for tried in (digits,) if digits else (1, 2):
        table = _Table()
        for r in ranked:
            r.one_digit(table, found) if tried == 1 else r.two_digits(table, found)
        if table.rows <= ROWS:
            break
    else:
        raise ModelError(
            f"the models have {tests} different tests, {table.rows} mask rows with {tried} digits: expected at most {ROWS} rows. Split the set."
        )
    nodes, at = [], 0
    for forest in forests:
        n = int(forest.inner.sum())
        rows = np.zeros((forest.left.size, 2), np.int64)
        rows[forest.inner] = found[at : at + n]
        nodes.append(rows[:, 0] if tried == 1 else rows)
        at += n
    return Dictionary(table.arrays(), nodes, tried, table.rows, tests)


class _Table:
    """Grows feature by feature into the arrays of `jit.trees_mask.masks`."""

    def __init__(self) -> None:
        self.features: list[list[int]] = []
        self.columns: list[list[int]] = []
        self.cuts: list[Array] = []
        self.codes: list[Array] = []
        self.rows, self._n_cuts, self._n_codes = FIXED, 0, 0

    def feature(self, column: int, cuts: Array) -> None:
        """Begin a feature."""
        levels = max(trees_mask.LEAST_LEVELS, int(cuts.size).bit_length())
        padded = np.full((1 << levels) - 1, np.nan, np.float32)
        padded[: cuts.size] = cuts
        heap = [np.full(1, np.nan, np.float32), *(padded[(1 << levels - 1 - k) - 1 :: 1 << levels - k] for k in range(levels))]
        self.features.append([column, self._n_cuts, levels, len(self.columns), len(self.columns)])
        self.cuts += heap
        self._n_cuts += padded.size + 1

    def column(self, codes: Array, sides: Sequence[int], keep: int = 0xFFFFFFFF, shift: int = 0, less: int = 0) -> list[int]:
        """Add a byte column of the feature that is compared with `codes`; the first of the rows where a missing value goes right, and left.

        `sides`: 0 = right, 1 = left.
        """
        first = [-1, -1]
        for side in sides:
            first[side] = self.rows
            self.rows += codes.size
        self.columns.append([keep, shift, less, self._n_codes, codes.size, *first])
        self.features[-1][trees_mask.END] += 1
        self.codes.append(codes.astype(np.uint8))
        self._n_codes += codes.size
        return first

    def arrays(self) -> dict[str, Array]:
        none: list[Array] = [np.zeros(0)]
        parts = (
            np.array(self.features, np.int64).reshape(-1, 5), np.array(self.columns, np.int64).reshape(-1, 7),
            np.concatenate([*self.cuts, *none]).astype(np.float32), np.concatenate([*self.codes, *none]).astype(np.uint8),
        )  # fmt: skip
        return dict(zip(NAMES, parts))


class _Ranked:
    """The tests of one feature: value >= cuts[code - 1]; the code after the last cut is that of no value (a NaN cut)."""

    def __init__(self, column: int, cut: Array, left: Array, at: Array) -> None:
        self.column, self.left, self.at = column, left, at  # at = places of its nodes
        self.cuts = np.unique(cut[~np.isnan(cut)])
        self.code = np.where(np.isnan(cut), self.cuts.size, np.searchsorted(self.cuts, cut)) + 1
        self.tests = np.unique(self.code * 2 + left).size

    def one_digit(self, table: _Table, found: Array) -> None:
        """A byte column for each 254 cuts: one for both default directions where most codes are tested with both."""
        table.feature(self.column, self.cuts)
        for less in range(0, self.cuts.size + 1, CODES):
            mine = [(self.left == side) & (self.code > less) & (self.code <= less + CODES) for side in (False, True)]
            codes = [np.unique(self.code[m] - less) for m in mine]
            union = np.union1d(*codes)
            if codes[0].size + codes[1].size > 1.5 * union.size:
                wanted, sides = [union, union], [[0, 1]]
            else:
                wanted, sides = codes, [[side] for side in (0, 1) if codes[side].size]
            for some in sides:
                first = table.column(wanted[some[0]], some, less=less)
                for side in some:
                    at = mine[side]
                    found[self.at[at], 0] = first[side] + np.searchsorted(wanted[side], self.code[at] - less)

    def two_digits(self, table: _Table, found: Array) -> None:
        """High digits once for each default direction, low digits once."""
        if self.cuts.size > MERGED - (1 << LOW_BITS):
            raise ModelError(
                f"feature {self.column} has {self.cuts.size} different cuts in all models together: expected at most {MERGED - (1 << LOW_BITS)}. Split the set."
            )
        n = self.cuts.size + 1  # the highest code
        shift = min(max(0, math.ceil(math.log2(n) / 2 + 0.5)), LOW_BITS)
        table.feature(self.column, self.cuts)
        sides = [int(side) for side in np.unique(self.left)]
        first = np.array(table.column(np.arange((n >> shift) + 2), sides, shift=shift))
        found[self.at, 0] = first[self.left.astype(int)] + (self.code >> shift)
        low = (1 << shift) - 1
        found[self.at, 1] = table.column(np.arange(1 << shift), [0], keep=low)[0] + (self.code & low)


def inputs(arrays: Mapping[str, Array]) -> tuple[Array, ...]:
    """Arguments of `masks` after `words`."""
    return tuple(arrays[name] for name in NAMES)


def rows(arrays: Mapping[str, Array]) -> int:
    """Rows of the table of these arrays."""
    column = arrays["mask_column"]
    return FIXED + int((column[:, trees_mask.TESTS] * (column[:, [trees_mask.RIGHT, trees_mask.LEFT]] >= 0).sum(axis=1)).sum())


def room(arrays: Mapping[str, Array], words: int) -> tuple[Array, Array]:
    """Scratch memory of `masks` and a table for blocks of up to 64 * words rows."""
    return aligned(trees_mask.SCRATCH, np.uint8), aligned(rows(arrays) * words, np.uint64)


def aligned(n: int, dtype: type[np.generic]) -> Array:
    """Zeros of a plain type at a multiple of 64 bytes."""
    raw = np.zeros(n * np.dtype(dtype).itemsize + 64, np.uint8)
    at = -raw.ctypes.data % 64
    return raw[at : at + raw.size - 64].view(dtype)
