"""Cut grids of a group of forests: which cuts each feature has, which forests share a grid, and what code a node's cut gets.

    found = grids(forests)                    # Grids; ModelError if a feature has too many cuts, or there are too many features
    slot, code = found.codes(i, forests[i])   # of every node of forest i: place of its feature in the rank tables, uint8 code
    found.of[i]                               # which grid forest i uses: its table is ranks.table[found.of[i]]
    arrays = pack(found)                      # plain arrays for the layout file, their names begin with "rank_"
    ranks = Ranks(arrays)                     # scratch and control block; in a kernel: rank_row(address of the row, ranks.block)
    ranks.table                               # (grids, 128 or 256) uint8, aligned to 64; what rank_row writes

Codes: a node goes right iff `rank >= code`. 0 = always (cut -inf), 255 = never (cut NaN). A missing value has rank 255, so it goes right; a node
with `default_left` has to see to that itself. Forests trained on one grid get one table. Others share one wherever all their cuts together fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tickarrow.jit import trees_rank as jit
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Float32, Forest

MAX_CUTS = 254
MAX_FEATURES = 256
NEVER = 255


@dataclass(frozen=True, eq=False)
class Grids:
    """Cut grids of some forests."""

    column: Array  # int64 (slots,): columns of x that any node tests, ascending; a slot is a place in the rank tables
    of: Array  # int64 (forests,): grid of each forest
    cuts: list[list[Float32]]  # [grid][slot]: ascending cuts, finite or +inf

    @property
    def span(self) -> int:
        """Bytes of a rank table: 128, or 256 where there are more slots."""
        return 128 if self.column.size <= 128 else 256

    def codes(self, index: int, forest: Forest) -> tuple[Array, Array]:
        """Slot (int64) and code (uint8) of every node of forest `index`; 0 for leaves."""
        slot = np.where(forest.inner, np.searchsorted(self.column, forest.feature), 0)
        grid = self.cuts[self.of[index]]
        known = _keys(np.repeat(np.arange(len(grid)), [c.size for c in grid]), np.concatenate([*grid, np.zeros(0, np.float32)]))
        before = np.cumsum([0, *(c.size for c in grid)])
        code = np.searchsorted(known, _keys(slot, forest.cut)) - before[slot] + 1
        code = np.where(np.isnan(forest.cut), NEVER, np.where(forest.cut > -np.inf, code, 0))
        return slot, np.where(forest.inner, code, 0).astype(np.uint8)

    def summary(self) -> str:
        """What was found, for the log."""
        used = sum(c.size for grid in self.cuts for c in grid)
        return f"{len(self.cuts)} cut grid{'s' * (len(self.cuts) > 1)} with {used} cuts of {self.column.size} features"


def _keys(feature: Array, cut: Float32) -> Array:
    """int64 that sort as feature, then cut."""
    bits = (cut + np.float32(0.0)).view(np.int32)  # -0.0 + 0.0 = 0.0
    return feature << 32 | (bits ^ (bits >> 31 & 0x7FFFFFFF)).astype(np.int64) + (1 << 31)


def _cuts(keys: Array, column: Array) -> list[Float32]:
    """Cuts of each column, of sorted keys."""
    bits = ((keys & 0xFFFFFFFF) - (1 << 31)).astype(np.int32)
    cut = (bits ^ (bits >> 31 & 0x7FFFFFFF)).view(np.float32)
    return np.split(cut, np.searchsorted(keys >> 32, column[1:])) if column.size else []


def _own(forest: Forest) -> Array:
    """Keys of a forest's cuts, without those that a code says alone."""
    real = forest.inner & ~np.isnan(forest.cut) & (forest.cut > -np.inf)
    return _distinct(_keys(forest.feature[real], forest.cut[real]))


def _distinct(keys: Array) -> Array:
    """Keys in order, each once; np.unique hashes and is ten times slower here."""
    keys = np.sort(keys)
    return keys[np.append(True, keys[1:] != keys[:-1])] if keys.size else keys


def _most(keys: Array) -> int:
    """Cuts of the feature that has most."""
    return int(np.bincount(keys >> 32).max(initial=0))


def too_many(forest: Forest) -> str:
    """Why a forest has no ranks of one byte, or ""."""
    features = np.unique(forest.feature[forest.inner]).size
    if features > MAX_FEATURES:
        return f"tests {features} features: {MAX_FEATURES} at most"
    most = _most(_own(forest))
    return f"has {most} cuts of one feature: {MAX_CUTS} at most" if most > MAX_CUTS else ""


def grids(forests: Sequence[Forest]) -> Grids:
    """Cut grids of a group of forests, as few as hold all cuts.

    Raises
    ------
    ModelError : more than 256 features in all, or more than 254 cuts of a feature in one forest
    """
    column = np.unique(np.concatenate([f.feature[f.inner] for f in forests]))
    if column.size > MAX_FEATURES:
        raise ModelError(f"the models test {column.size} features together: byte ranks hold {MAX_FEATURES} at most. Serve them in smaller groups.")
    merged: list[Array] = []
    of = np.zeros(len(forests), np.int64)
    for i, forest in enumerate(forests):
        own = _own(forest)
        if _most(own) > MAX_CUTS:
            raise ModelError(f"model {i} of the group {too_many(forest)}. Serve it by another kernel.")
        for g, grid in enumerate(merged):
            both = _distinct(np.concatenate([grid, own]))
            if both.size == grid.size or _most(both) <= MAX_CUTS:
                merged[g], of[i] = both, g
                break
        else:
            merged.append(own)
            of[i] = len(merged) - 1
    return Grids(column, of, [_cuts(keys, column) for keys in merged])


def _cells(of_grids: list[Float32], width: int) -> tuple[Float32, Float32, Array]:
    """Cells of one feature that hold at most one cut of each grid.

    Returns
    -------
    edges : (cells - 1,) float32, ascending: a value is in cell k if it reaches k edges
    cut : (cells, width) float32, each grid's cut in the cell, NaN = none
    base : (cells, width) uint8, each grid's cuts below the cell
    """
    value = np.concatenate(of_grids)
    order = np.argsort(value, kind="stable")
    value, grid = value[order], np.repeat(np.arange(len(of_grids)), [c.size for c in of_grids])[order]
    starts = np.flatnonzero(np.append(True, value[1:] != value[:-1]) if value.size else [])  # equal cuts of several grids stay together
    holds, cell, edges = [-1] * width, 0, []
    cell_of = np.zeros(value.size, np.int64)
    grid_of, ends = grid.tolist(), [*starts[1:].tolist(), value.size]
    for a, z in zip(starts.tolist(), ends, strict=False):
        here = grid_of[a:z]
        if any(holds[g] == cell for g in here):
            cell += 1
            edges.append(a)
        for g in here:
            holds[g] = cell
        cell_of[a:z] = cell
    cut = np.full((cell + 1, width), np.nan, np.float32)
    cut[cell_of, grid] = value
    below = np.cumsum(~np.isnan(cut), axis=0)
    return value[edges], cut, np.vstack([np.zeros((1, width)), below[:-1]]).astype(np.uint8)


def pack(found: Grids) -> dict[str, Array]:
    """Arrays of `rank_row`, by name; every one of a plain type."""
    slots, many = found.column.size, len(found.cuts) > 1
    width = -(-len(found.cuts) // jit.SIDE) * jit.SIDE
    tables = [_cells([grid[s] for grid in found.cuts], width) for s in range(slots)] if many else []
    edges = [t[0] for t in tables] if many else found.cuts[0]
    blocks = [max(1, -(-e.size // jit.SIDE)) for e in edges]
    pivots = max([-(-(n - 1) // jit.SIDE) for n in blocks], default=0)
    record = np.cumsum([0, *((pivots + n) * 64 for n in blocks)])
    table = np.full(record[-1] // 4, np.nan, np.float32)
    for e, n, at in zip(edges, blocks, record // 4, strict=False):
        table[at : at + n - 1] = e[jit.SIDE :: jit.SIDE]
        table[at + pivots * jit.SIDE :][: e.size] = e
    cells = np.cumsum([0, *(t[1].shape[0] for t in tables)]) if many else np.zeros(slots + 1, np.int64)
    arrays = {
        "rank_shape": np.array([slots, len(found.cuts), width, found.span, pivots], np.int64),
        "rank_column": found.column.astype(np.int64),
        "rank_record": record[:-1].astype(np.int64),
        "rank_first": cells[:-1].astype(np.int64),
        "rank_edges": table,
        "rank_cut": np.concatenate([t[1] for t in tables]).ravel() if tables else np.zeros(0, np.float32),
        "rank_base": np.concatenate([t[2] for t in tables]).ravel() if tables else np.zeros(0, np.uint8),
    }
    return {name: at_line(a) for name, a in arrays.items()}


def aligned(shape: tuple[int, ...], dtype: type) -> Array:
    """Zeros that begin at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def at_line(a: Array) -> Array:
    """The same array at the begin of a cache line."""
    out = aligned(a.shape, a.dtype.type)
    out[...] = a
    return out


class Ranks:
    """Rank tables of the current row and the control block that fills them."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        slots, grids_, width, span, _ = (int(n) for n in arrays["rank_shape"])
        self.table = aligned((grids_ if grids_ == 1 else width, span), np.uint8)
        self._square = aligned((jit.SIDE, width), np.uint8)
        self._cell = aligned((slots,), np.uint64)
        self._kept = [arrays[f"rank_{name}"] for name in ("column", "record", "first", "edges", "cut", "base")]
        self._words = np.zeros(jit.WORDS, np.int64)
        self._words[: jit.COLUMN] = arrays["rank_shape"]
        self._words[jit.COLUMN :] = [a.ctypes.data for a in (*self._kept, self._square, self._cell, self.table)]
        self.block = int(self._words.ctypes.data)
