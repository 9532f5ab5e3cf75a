"""Integer tables of the generated market. They are built with `decimal`, which rounds correctly on every machine; libm does not."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import cache

import numpy as np

PRECISION = 40  # digits
HALF = Decimal("0.5")


@cache
def exponential() -> np.ndarray:
    """(1024,) int64, Q16: -ln(1 - u) at the middles u of 1,024 parts of [0, 1/2), an exponential variable below ln 2."""
    with localcontext() as c:
        c.prec = PRECISION
        return np.array([int(-(1 - (i + HALF) / 2048).ln() * 65_536) for i in range(1024)], np.int64)


@cache
def power() -> np.ndarray:
    """(1024,) int64, Q16: 2**-(i / 1024)."""
    with localcontext() as c:
        c.prec = PRECISION
        ln2 = Decimal(2).ln()
        return np.array([int((-ln2 * i / 1024).exp() * 65_536) for i in range(1024)], np.int64)


def quantiles(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """(256,) int64, Q4: quantile function through (probability, value) points, log-linear between them, at the middles of 256 parts."""
    with localcontext() as c:
        c.prec = PRECISION
        p = [Decimal(str(a)) for a, _ in points]
        v = [Decimal(str(b)).ln() for _, b in points]
        out, k = [], 0
        for i in range(256):
            u = (i + HALF) / 256
            while k < len(p) - 2 and u > p[k + 1]:
                k += 1
            out.append(int((v[k] + (v[k + 1] - v[k]) * (u - p[k]) / (p[k + 1] - p[k])).exp() * 16))
        return np.array(out, np.int64)
