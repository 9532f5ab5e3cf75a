"""From a trained model to what an engine runs: treelite model -> neutral forest -> complete trees in one memory-mappable file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import treelite
import xgboost

from tickarrow.jit import trees
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Forest

LAYOUT_VERSION = 1
LAYOUT_MAGIC = b"tickarrow forest\n"
LESS_THAN = 2  # treelite: enum Operator, kLT
NUMERICAL = 1  # treelite: enum TreeNodeType, kNumericalTestNode


def read_forest(booster: xgboost.Booster, name: str) -> Forest:
    """Neutral forest of an xgboost model; ModelError names what the engines cannot do.

    `name` is what the model is called in an error, for example 'xgb03/h2'.
    """
    kind = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"]
    if kind != "gbtree":
        raise ModelError(f"model {name!r} is a {kind!r} booster: expected 'gbtree', no dart weights, no linear model. Train it as such.")
    return read_treelite(treelite.frontend.from_xgboost(booster), name)


def read_treelite(model: treelite.Model, name: str) -> Forest:
    """Neutral forest of a treelite model whose margin is base score + sum of leaves."""
    header = model.get_header_accessor()
    shape = [*header.get_field("num_target"), *header.get_field("num_class"), *header.get_field("leaf_vector_shape")]
    if shape != [1, 1, 1, 1]:
        raise ModelError(f"model {name!r} has more than one output: expected one forecast. Train one model per target.")
    if header.get_field("average_tree_output")[0]:
        raise ModelError(f"model {name!r} averages its trees: expected a sum (gradient boosting). Random forests need the engine xgboost.")
    if header.get_field("postprocessor") != "identity":
        link = header.get_field("postprocessor")
        raise ModelError(f"model {name!r} has the link {link!r}: expected 'identity', a forecast in bp. Train a regression.")
    parts: dict[str, list[Array]] = {k: [] for k in ("left", "right", "feature", "cut", "default_left", "leaf")}
    root, nodes = [], 0
    for t in range(model.num_tree):
        tree = model.get_tree_accessor(t)
        left, right = tree.get_field("cleft").astype(np.int64), tree.get_field("cright").astype(np.int64)
        inner = left >= 0
        if tree.get_field("has_categorical_split")[0] or (tree.get_field("node_type")[inner] != NUMERICAL).any():
            raise ModelError(f"model {name!r}, tree {t}, has a categorical split: expected numerical ones. Encode the feature as a number.")
        if (tree.get_field("cmp")[inner] != LESS_THAN).any():
            raise ModelError(f"model {name!r}, tree {t}, compares with another operator than '<'. Only xgboost's convention is supported.")
        threshold, leaf = tree.get_field("threshold"), tree.get_field("leaf_value")
        if threshold.dtype != np.float32 or leaf.dtype != np.float32:
            raise ModelError(f"model {name!r} has {threshold.dtype} thresholds and {leaf.dtype} leaves: expected float32.")
        if not (np.isfinite(threshold[inner]).all() and np.isfinite(leaf[~inner]).all()):
            raise ModelError(f"model {name!r}, tree {t}, has an infinite or missing threshold or leaf. Train it on finite data.")
        parts["left"].append(np.where(inner, left + nodes, -1))
        parts["right"].append(np.where(inner, right + nodes, -1))
        parts["feature"].append(np.where(inner, tree.get_field("split_index"), 0).astype(np.int64))
        parts["cut"].append(threshold + np.float32(0.0))  # -0.0 becomes 0.0
        parts["default_left"].append(tree.get_field("default_left").astype(bool))
        parts["leaf"].append(leaf.copy())
        root.append(nodes)
        nodes += left.size
    columns: dict[str, Any] = {k: np.concatenate(v) if v else np.zeros(0) for k, v in parts.items()}
    base = float(np.float32(header.get_field("base_scores")[0]))
    return Forest(n_features=model.num_feature, base=base, root=np.array(root, np.int64), **columns)


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


def probe_rows(forests: Sequence[Forest], seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows that a wrong engine fails on: each threshold with both float neighbours, missing values one by one and all, infinities,
    zeros of both signs, denormals, the largest floats, and random mixes of them all.

    Returns
    -------
    (n, n_features) float32, C-contiguous
    """
    rng = np.random.default_rng(seed)
    n = forests[0].n_features
    low, high = np.float32(-np.inf), np.float32(np.inf)
    cuts = []
    for f in range(n):
        found = [forest.cut[(forest.left >= 0) & (forest.feature == f)] for forest in forests]
        cuts.append(np.unique(np.concatenate([*found, np.zeros(1, np.float32)])).astype(np.float32))
    most = max(c.size for c in cuts)
    at = np.stack([np.resize(rng.permutation(c), most) for c in cuts], axis=1)  # each column runs through its cuts, columns out of step
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 3.4e38, -3.4e38, 3.4028235e38, -3.4028235e38], np.float32)
    mixed = at[rng.integers(0, most, (2 * most + 256, n)), np.arange(n)]
    mixed = np.where(rng.random(mixed.shape) < 0.5, np.nextafter(mixed, np.where(rng.random(mixed.shape) < 0.5, low, high)), mixed)
    mixed = np.where(rng.random(mixed.shape) < rng.random((mixed.shape[0], 1)) * 0.4, rng.choice(special, mixed.shape), mixed)
    one_missing = np.repeat(at[:1], n, axis=0)
    np.fill_diagonal(one_missing, np.nan)
    rows = [at, np.nextafter(at, low), np.nextafter(at, high), one_missing, np.repeat(special[:, None], n, axis=1), mixed]
    return np.ascontiguousarray(np.concatenate(rows), np.float32)
