"""Readers: a treelite model of xgboost, LightGBM or scikit-learn -> Forest, exact for float32 features.

xgboost sends `x < t` left and adds in float32; LightGBM and scikit-learn send `x <= t` left, with float64 thresholds, and add in float64.
For a float32 value x, `x > t` is `x >= c` with c the least float32 above t; that is the cut. What the rule of `Forest` cannot say is
refused by the name of the model, and the library itself serves it.

LightGBM's own rules (src/boosting/gbdt_prediction.cpp, include/LightGBM/tree.h): a value of at most 1e-35 counts as 0; a missing value
counts as 0 where the split knew none; a threshold of +inf sends all but missing left."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import treelite
import xgboost

from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import LINKS, Array, Float32, Forest

NUMERICAL = 1  # treelite: enum TreeNodeType, kNumericalTestNode
LESS, LESS_EQUAL = 2, 3  # treelite: enum Operator, kLT and kLE
UP = np.float32(np.inf)
ZERO = np.float32(1e-35)  # LightGBM: kZeroThreshold
ZERO_IS_MISSING, DEFAULT_LEFT = 1 << 2, 1 << 1  # LightGBM: bits of decision_type
SKLEARN = (
    "RandomForestRegressor", "ExtraTreesRegressor", "GradientBoostingRegressor", "GradientBoostingClassifier", "HistGradientBoostingRegressor",
    "HistGradientBoostingClassifier",
)  # fmt: skip
LIBRARY = "Only the library itself runs it (models=xgboost)."


def from_xgboost(booster: xgboost.Booster, name: str, base: Callable[[], np.float32], link: str) -> Forest:
    """Forest of an xgboost model of trees without weights.

    Parameters
    ----------
    name : what the model is called in an error, for example 'xgb03/h2'
    base : gives the margin before the first tree, to the bit
    """
    model = _import(lambda: treelite.frontend.from_xgboost(booster), name)
    return read(model, name, "xgboost", link, lambda _: float(base()))


def from_lightgbm(text: str, name: str, link: str) -> Forest:
    """Forest of a LightGBM model in its text format; LightGBM need not be there."""
    _refuse_zero_as_missing(text, name)
    with tempfile.TemporaryDirectory() as folder:  # treelite takes a text from a file, or a booster of an installed LightGBM
        path = Path(folder, "model.txt")
        path.write_text(text)
        model = _import(lambda: treelite.frontend.load_lightgbm_model(path), name)
    return read(model, name, "lightgbm", link, lambda header: float(header.get_field("base_scores")[0]))


def from_sklearn(estimator: Any, name: str, link: str) -> Forest:
    """Forest of a regressor or binary classifier of `SKLEARN`."""
    model = _import(lambda: treelite.sklearn.import_model(estimator), name)
    return read(model, name, "scikit-learn", link, lambda header: float(header.get_field("base_scores")[0]))


def _import(load: Callable[[], treelite.Model], name: str) -> treelite.Model:
    try:
        return load()
    except Exception as e:  # treelite, its loaders and scikit-learn's own checks have no error in common
        said = str(e).strip().splitlines() or [type(e).__name__]
        raise ModelError(f"model {name!r} cannot be read by treelite: {said[0].rpartition(': ')[2].rstrip('.')}. {LIBRARY}") from None


def read(model: treelite.Model, name: str, library: str, link: str, base: Callable[[Any], float]) -> Forest:
    """Forest of a treelite model of numerical splits and one output.

    Parameters
    ----------
    base : from treelite's header to where the sum begins
    """
    header = model.get_header_accessor()
    shape = [*header.get_field("num_target"), *header.get_field("num_class"), *header.get_field("leaf_vector_shape")]
    if shape != [1, 1, 1, 1]:
        raise ModelError(f"model {name!r} has more than one output: expected one forecast. Train one model per target.")
    if link not in LINKS:
        raise ModelError(f"model {name!r} has the link {link!r}: expected one of {', '.join(LINKS)}. Train it with another objective.")
    parts: dict[str, list[Array]] = {k: [] for k in ("left", "right", "feature", "cut", "default_left", "leaf")}
    root, nodes = [], 0
    for t in range(model.num_tree):
        tree = model.get_tree_accessor(t)
        left, right = tree.get_field("cleft").astype(np.int64), tree.get_field("cright").astype(np.int64)
        inner = left >= 0
        if tree.get_field("has_categorical_split")[0] or (tree.get_field("node_type")[inner] != NUMERICAL).any():
            raise ModelError(f"model {name!r}, tree {t}, has a categorical split: expected numerical ones. {LIBRARY}")
        leaf = tree.get_field("leaf_value")
        if not np.isfinite(leaf[~inner]).all():
            raise ModelError(f"model {name!r}, tree {t}, has an infinite or missing leaf. Train it on finite data.")
        cut = np.zeros(left.size, np.float32)
        cut[inner] = cuts(tree.get_field("threshold")[inner], tree.get_field("cmp")[inner], library == "lightgbm")
        parts["left"].append(np.where(inner, left + nodes, -1))
        parts["right"].append(np.where(inner, right + nodes, -1))
        parts["feature"].append(np.where(inner, tree.get_field("split_index"), 0).astype(np.int64))
        parts["cut"].append(cut)
        parts["default_left"].append(tree.get_field("default_left").astype(bool))
        parts["leaf"].append(np.where(inner, leaf.dtype.type(0), leaf))
        root.append(nodes)
        nodes += left.size
    if not root:
        raise ModelError(f"model {name!r} has no trees. {LIBRARY}")
    return Forest(
        n_features=model.num_feature, base=base(header), root=np.array(root, np.int64), link=link, library=library,
        divisor=len(root) if header.get_field("average_tree_output")[0] else 1, **{k: np.concatenate(v) for k, v in parts.items()},
    )  # fmt: skip


def cuts(threshold: Array, operator: Array, flushes: bool) -> Float32:
    """Cuts of nodes: the least float32 that goes right.

    Parameters
    ----------
    threshold : (n,) float32 or float64
    operator : (n,) of treelite, LESS or LESS_EQUAL: what sends a value left
    flushes : values of at most 1e-35 count as 0 before they are compared

    Returns
    -------
    (n,) float32; -inf = all go right, NaN = none does
    """
    t = threshold.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        near = t.astype(np.float32)
        below = np.where(operator == LESS, near < t, near <= t)
        cut = np.where(below, np.nextafter(near, UP), near)
    never = np.isposinf(t) & (operator == LESS_EQUAL)
    if flushes:
        cut = np.where((t >= -ZERO) & (t < 0), -ZERO, cut)
        cut = np.where((t >= 0) & (t <= ZERO), np.nextafter(ZERO, UP), cut)
    cut = np.where(np.isnan(t), -UP, np.where(never, np.float32(np.nan), cut))
    return np.asarray(cut + np.float32(0.0), np.float32)  # -0.0 becomes 0.0


def _refuse_zero_as_missing(text: str, name: str) -> None:
    """ModelError where a split sends zeros elsewhere than their value says: that takes more than one cut."""
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for key, values in re.findall(r"^(threshold|decision_type)=(.*)$", text, re.MULTILINE):
        columns[key] = np.array(values.split(), np.float64)
        if key == "decision_type" and values:
            kind = columns[key].astype(np.int64)
            if (((kind & ZERO_IS_MISSING) != 0) & (((kind & DEFAULT_LEFT) != 0) != (columns["threshold"] >= 0.0))).any():
                raise ModelError(f"model {name!r} takes zeros as missing and sends them elsewhere than their value says. {LIBRARY}")
