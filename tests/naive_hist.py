"""Slow twins of jit/hist.py, from the definition: sorted lists, and edges of buckets as fractions of powers of two."""

from __future__ import annotations

import math


def edges(ns):
    """Smallest and largest value that share a bucket with `ns`: whole numbers to 127, then 64 equal parts of each power of two."""
    ns = min(max(ns, 0), 2**40 - 1)
    if ns < 128:
        return ns, ns
    power = math.floor(math.log2(ns))
    width = 2**power // 64
    low = 2**power + (ns - 2**power) // width * width
    return low, low + width - 1


def quantile(values, q):
    """The value of rank ceil(q n), at least 1, as the upper edge of its bucket."""
    if not values:
        return -1
    rank = max(math.ceil(q * len(values)), 1)
    return edges(sorted(values)[rank - 1])[1]


def over(values, limits, slice_ns, n_slices):
    """After each (ts, ns of the stages, weight): the stages whose p99 over the window is above the limit; a window begins with a slice."""
    out = []
    for i in range(len(values)):
        now = max(t // slice_ns for t, _, _ in values[: i + 1])
        bits = 0
        for s, limit in enumerate(limits):
            taken = [(ns[s], w) for k, (t, ns, w) in enumerate(values[: i + 1])
                     if max(u // slice_ns for u, _, _ in values[: k + 1]) > now - n_slices]  # fmt: skip
            every = sorted(x for x, w in taken for _ in range(w))
            p99 = every[math.ceil(0.99 * len(every)) - 1]
            bits |= (limit > 0 and p99 > limit) << s
        out.append(bits)
    return out
