"""From forests to what an engine runs: complete trees in one memory-mappable file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tickarrow.jit import trees
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Forest

LAYOUT_VERSION = 1
LAYOUT_MAGIC = b"tickarrow forest\n"


@dataclass(frozen=True)
class Layout:
    """Arrays of `jit.trees.forest`, see there; `groups` has the fields of `trees.GROUP`."""

    shape: Array  # int64[2]: models, features
    groups: Array
    feature: Array
    threshold: Array
    leaf: Array
    model: Array
    base: Array


def complete(forest: Forest, depth: int, n_trees: int, name: str) -> tuple[Array, Array, Array]:
    """Trees of one model as heaps of `depth` levels, padded to `n_trees`.

    Returns
    -------
    feature (n_trees, 2^depth) uint16, threshold float32, leaf float32
    """
    if forest.leaf.dtype != np.float32 or forest.divisor != 1 or not np.isfinite(forest.cut[forest.inner]).all():
        raise ModelError(f"model {name!r} of {forest.library} adds in {forest.leaf.dtype}: the portable engine takes xgboost's. Use models=xgboost.")
    if forest.depth > trees.MAX_DEPTH:
        raise ModelError(
            f"model {name!r} is {forest.depth} levels deep: the portable engine takes {trees.MAX_DEPTH}. "
            f"Train it with depth <= {trees.MAX_DEPTH}, or use models=xgboost."
        )
    size, n = 1 << depth, forest.root.size
    feature = np.zeros((n_trees, size), np.uint16)
    threshold = np.full((n_trees, size), np.inf, np.float32)  # below a leaf it does not matter where a walk goes
    leaf = np.full((n_trees, size), -0.0, np.float32)  # a tree that only pads: v + (-0.0) is v, bit for bit
    level = forest.root.reshape(n, 1)
    for d in range(depth):
        inner = forest.left[level] >= 0
        slots = slice(1 << d, 2 << d)
        feature[:n, slots] = np.where(inner, forest.feature[level] + np.where(forest.default_left[level], forest.n_features, 0), 0)
        threshold[:n, slots] = np.where(inner, forest.cut[level], np.inf)
        children = np.where(inner, forest.left[level], level), np.where(inner, forest.right[level], level)
        level = np.stack(children, axis=2).reshape(n, -1)
    leaf[:n] = forest.leaf[level]
    return feature, threshold, leaf


def pack(forests: Sequence[Forest], names: Sequence[str]) -> Layout:
    """Layout of a bank: models of like depth and size share a group."""
    n_features = forests[0].n_features
    for forest, name in zip(forests, names):
        if forest.n_features != n_features:
            raise ModelError(f"model {name!r} has {forest.n_features} features, {names[0]!r} {n_features}: expected the same in one set.")
    if n_features > 32_767:
        raise ModelError(f"the model set has {n_features} features: the portable engine takes 32767. Use models=xgboost.")
    order = sorted(range(len(forests)), key=lambda m: (forests[m].depth, forests[m].root.size, m))
    groups, flat = [], ([], [], [])  # type: tuple[list[tuple[int, int, int]], tuple[list[Array], list[Array], list[Array]]]
    model = np.full(-(-len(order) // trees.LANES) * trees.LANES, -1, np.int32)
    base = np.zeros(model.size, np.float32)
    first = 0
    for g in range(0, len(order), trees.LANES):
        members = order[g : g + trees.LANES]
        model[g : g + len(members)] = members
        base[g : g + len(members)] = [forests[m].base for m in members]
        depth = max(forests[m].depth for m in members)
        n_trees = max(forests[m].root.size for m in members)
        lanes = [complete(forests[m], depth, n_trees, names[m]) for m in members]
        for k, parts in enumerate(flat):
            block = np.zeros((n_trees, trees.LANES, 1 << depth), lanes[0][k].dtype)
            for lane, arrays in enumerate(lanes):
                block[:, lane] = arrays[k]
            parts.append(block.reshape(-1))
        groups.append((depth, n_trees, first))
        first += n_trees * trees.LANES << depth
    table = np.zeros(len(groups), trees.GROUP)
    for name, column in zip(("depth", "trees", "first"), zip(*groups)):
        table[name] = column
    feature, threshold, leaf = (np.concatenate(parts) for parts in flat)
    return Layout(np.array([len(order), n_features], np.int64), table, feature, threshold, leaf, model, base)


def write_layout(layout: Layout, path: Path) -> None:
    """One file: magic, a line of JSON with version and place of each array, the arrays at multiples of 64 bytes."""
    header: dict[str, Any] = {"version": LAYOUT_VERSION, "arrays": {}}
    at = 0
    for f in fields(layout):
        a = getattr(layout, f.name)
        raw = a.view(np.int64).reshape(-1, 3) if a.dtype == trees.GROUP else a
        header["arrays"][f.name] = [raw.dtype.newbyteorder("<").str, list(raw.shape), at]
        at += -(-raw.nbytes // 64) * 64
    head = LAYOUT_MAGIC + json.dumps(header).encode() + b"\n"
    head += b" " * (-len(head) % 64)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with temporary.open("wb") as f_out:
        f_out.write(head)
        for f in fields(layout):
            body = getattr(layout, f.name).tobytes()
            f_out.write(body + b"\0" * (-len(body) % 64))
    temporary.replace(path)


def read_layout(path: Path) -> Layout:
    """Map a layout file; its arrays are read-only pages of it. The caller has checked the file's digest."""
    memory = np.memmap(path, np.uint8, "r")
    start = len(LAYOUT_MAGIC)
    if bytes(memory[:start]) != LAYOUT_MAGIC:
        raise ModelError(f"{path} is no forest layout. Remove it: it is made again from the models.")
    end = start + bytes(memory[start : start + 65_536]).index(b"\n") + 1
    header = json.loads(bytes(memory[start:end]))
    if header["version"] != LAYOUT_VERSION:
        version = header["version"]
        raise ModelError(f"{path} has layout version {version}, expected {LAYOUT_VERSION}. Remove it: it is made again from the models.")
    bodies = -(-end // 64) * 64
    arrays: dict[str, Array] = {}
    for name, (dtype, shape, at) in header["arrays"].items():
        count = int(np.prod(shape))
        raw = np.frombuffer(memory, np.dtype(dtype), count, bodies + at).reshape(shape)
        arrays[name] = raw
    arrays["groups"] = arrays["groups"].reshape(-1).view(trees.GROUP).copy()  # records are mutable arguments of a kernel
    return Layout(**arrays)


def file_digest(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
