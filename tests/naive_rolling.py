"""Slow twin of the rolling statistics: each window anew, in fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def z(window):
    mean = Fraction(sum(window), len(window))
    variance = sum((v - mean) ** 2 for v in window) / len(window)
    return float(window[-1] - mean) / math.sqrt(variance) if variance else math.nan


def place(window):
    return (window[-1] - min(window)) / (max(window) - min(window)) if max(window) > min(window) else math.nan


def rolling(x, windows):
    """(rows, 2 n, series)."""
    out = np.full((len(x), 2 * len(windows), x.shape[1]), np.nan)
    for s in range(x.shape[1]):
        for k, w in enumerate(windows):
            for i in range(w - 1, len(x)):
                last = x[i - w + 1 : i + 1, s].tolist()
                out[i, k, s], out[i, len(windows) + k, s] = z(last), place(last)
    return out
