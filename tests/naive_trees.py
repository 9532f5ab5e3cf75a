"""Slow independent twin of the forest kernels: every row walks every tree node by node."""

import math

import numpy as np


def margins(forest, rows):
    """Margins of one forest by its definition (pipeline/forest.py), one addition at a time in the width of the leaves."""
    width = forest.leaf.dtype.type
    out = np.empty(len(rows), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for r, row in enumerate(rows):
            total = width(forest.base)
            for node in forest.root:
                while forest.left[node] != -1:
                    value = row[forest.feature[node]]
                    right = not forest.default_left[node] if np.isnan(value) else value >= forest.cut[node]
                    node = (forest.right if right else forest.left)[node]
                total = width(total + forest.leaf[node])
            if forest.divisor != 1:
                total = width(total / width(forest.divisor))
            out[r] = np.float32(total)
    return out


def bank(forests, rows):
    """Margins (rows, models) of several forests."""
    return np.stack([margins(f, rows) for f in forests], axis=1)


def forecasts(rows, links, refuses, margins):
    """Forecasts of margins: (n, models), float32, by Python's own exp; `refuses` holds the names of the values that the library refuses."""
    out = np.empty(margins.shape, np.float32)
    for r, row in enumerate(rows):
        for m, link in enumerate(links):
            v = float(margins[r, m])
            no = ("missing" in refuses[m] and any(math.isnan(a) for a in row)) or ("infinite" in refuses[m] and any(math.isinf(a) for a in row))
            if no or math.isnan(v):
                out[r, m] = np.nan
            elif link == "identity":
                out[r, m] = v
            elif link == "exponential":
                out[r, m] = math.inf if v > 90 else math.exp(v)
            else:
                out[r, m] = 1 / (1 + math.exp(-v)) if v > -700 else 0.0
    return out
