"""Forests and rows for the tests of the engines: any shape, any grid, edge values."""

import numpy as np

from tickarrow.pipeline.forest import Forest

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 1e-35, -1e-35, 3.4e38, -3.4e38, 3.4028235e38, -3.4028235e38], np.float32)


def grid(rng, n_features=6, cuts=20):
    """A cut grid, ascending float32 cuts of each feature; some features have few, one has none but zero."""
    out = [np.unique(rng.normal(size=rng.integers(1, cuts + 1)).astype(np.float32)) for _ in range(n_features)]
    out[0] = np.zeros(1, np.float32)
    return out


def random_forest(rng, n_features=6, n_trees=5, shape="any", depth=4, leaves=31, dtype=np.float32, cuts=None, never=0.02, missing=0.5, divisor=1):
    """A forest of random trees.

    Parameters
    ----------
    shape : "complete" (every leaf at `depth`), "any" (each node splits by chance, at most `depth` levels), "leafwise" (`leaves` leaves, a
        random leaf is split each time, however deep that becomes), "mixed" (each tree one of these, or a lone leaf)
    cuts : grid from `grid`; None = every node has a cut of its own
    never : share of the nodes whose cut is NaN, or -inf, or +inf
    missing : share of the nodes where a missing value goes left
    """
    columns = {k: [] for k in ("left", "right", "feature", "cut", "default_left", "leaf")}
    root = []

    def node():
        for name, value in (("left", -1), ("right", -1), ("feature", 0), ("cut", 0.0), ("default_left", False), ("leaf", 0.0)):
            columns[name].append(value)
        return len(columns["left"]) - 1

    def split(at):
        f = int(rng.integers(n_features))
        c = rng.choice(cuts[f]) if cuts is not None else np.float32(rng.normal())
        if rng.random() < never:
            c = rng.choice(np.array([np.nan, -np.inf, np.inf], np.float32))
        columns["feature"][at], columns["cut"][at], columns["default_left"][at] = f, c, bool(rng.random() < missing)
        columns["left"][at], columns["right"][at] = node(), node()
        return columns["left"][at], columns["right"][at]

    def grow(at, level, chance):
        if level < depth and rng.random() < chance:
            for child in split(at):
                grow(child, level + 1, chance)

    for _ in range(n_trees):
        kind = rng.choice(["complete", "any", "leafwise", "leaf"]) if shape == "mixed" else shape
        first = node()
        root.append(first)
        if kind == "complete":
            grow(first, 0, 1.0)
        elif kind == "any":
            grow(first, 0, 0.8)
        elif kind == "leafwise":
            there = [first]
            for _ in range(leaves - 1):
                there.extend(split(there.pop(int(rng.integers(len(there))))))
    left = np.array(columns["left"], np.int64)
    leaf = np.where(left < 0, rng.choice([1.0, 1e-3, 1e6, 0.0], left.size) * rng.normal(size=left.size), 0.0).astype(dtype)
    return Forest(
        n_features=n_features, base=float(dtype(rng.choice([0.0, -0.0, 0.5, -3.3]))), root=np.array(root, np.int64), left=left,
        right=np.array(columns["right"], np.int64), feature=np.array(columns["feature"], np.int64), cut=np.array(columns["cut"], np.float32),
        default_left=np.array(columns["default_left"], bool), leaf=leaf, divisor=divisor,
    )  # fmt: skip


def rows(rng, forests, n=60, special=0.2):
    """Rows on the cuts of the forests, one float below and above, and special values mixed in; then all-special rows.

    Returns
    -------
    (n + len(SPECIAL), n_features) float32, C-contiguous
    """
    n_features = forests[0].n_features
    x = rng.normal(size=(n, n_features)).astype(np.float32)
    for f in range(n_features):
        found = np.concatenate([forest.cut[forest.inner & (forest.feature == f)] for forest in forests])
        found = found[np.isfinite(found)]
        if found.size:
            c = rng.choice(found, n)
            x[:, f] = np.choose(rng.integers(0, 4, n), [c, np.nextafter(c, np.float32(-np.inf)), np.nextafter(c, np.float32(np.inf)), x[:, f]])
    x = np.where(rng.random(x.shape) < special * rng.random((n, 1)), rng.choice(SPECIAL, x.shape), x)
    return np.ascontiguousarray(np.concatenate([x, np.repeat(SPECIAL[:, None], n_features, axis=1)]), np.float32)
