"""Our own exp and log: the same bits on every machine. libm's differ between machines and versions, and its result would enter the
digests (design contract 9). Only additions, multiplications and one division of float64 in the written order, no fused operations."""

from decimal import Decimal, localcontext

import numpy as np

from tickarrow.jit._kernel import kernel, ufunc


def _powers_of_two() -> np.ndarray:
    """(64, 2): 2**(j/64) rounded to float64, and the relative error of that rounding. `decimal` is the same everywhere."""
    out = np.empty((64, 2))
    with localcontext() as c:
        c.prec = 50
        for j in range(64):
            exact = (Decimal(2).ln() * j / 64).exp()
            out[j, 0] = float(exact)
            out[j, 1] = float(exact / Decimal(float(exact)) - 1)
    return out


POWERS = _powers_of_two()
ROUND = 6755399441055744.0  # 1.5 * 2**52: adding and subtracting it rounds to an integer, ties to even
INV_STEP = float.fromhex("0x1.71547652b82fep+6")  # 64 / ln 2
STEP_HI = float.fromhex("0x1.62e42fefc0000p-7")  # ln 2 / 64, 35 bits, so that k * STEP_HI is exact
STEP_LO = float.fromhex("-0x1.c610ca86c3899p-43")
LN2_HI = float.fromhex("0x1.62e42ff000000p-1")  # 33 bits, so that k * LN2_HI is exact
LN2_LO = float.fromhex("-0x1.718432a1b0e26p-35")

# mpmath.chebyfit of (exp(r) - 1 - r) / r**2 on |r| <= ln 2 / 128: relative error of exp below 2**-57.6
E2 = float.fromhex("0x1.ffffffffff579p-2")
E3 = float.fromhex("0x1.5555555555253p-3")
E4 = float.fromhex("0x1.55556b389e49dp-5")
E5 = float.fromhex("0x1.11111d92f1876p-7")

# mpmath.chebyfit of (2 atanh(s) - 2 s) / s**3 in z = s**2 on [0, 0.0295]: error of z * fit below 2**-63.8
L1 = float.fromhex("0x1.5555555555555p-1")
L2 = float.fromhex("0x1.9999999999a38p-2")
L3 = float.fromhex("0x1.2492492476b73p-2")
L4 = float.fromhex("0x1.c71c72017f306p-3")
L5 = float.fromhex("0x1.745cf8f4a7ec6p-3")
L6 = float.fromhex("0x1.3b1c38bb12df2p-3")
L7 = float.fromhex("0x1.0fbe3b6c6987dp-3")
L8 = float.fromhex("0x1.0c074d9f1dd73p-3")

TINY = 2.2250738585072014e-308  # smallest normal number
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)


@kernel("f8, i8", inline=True)
def scale_point(y, k):
    """y * 2**k for a normal result, -1022 <= k <= 1023; exact."""
    return y * np.int64((np.int64(k) + 1023) << 52).view(np.float64)


@kernel("f8", inline=True)
def exp_point(x):
    """e**x, within 0.56 ulp of the exact value (1.1 ulp where the result is denormal).

    Parameters
    ----------
    x : float64. NaN gives NaN, +inf and x > 709.79 give +inf, -inf and x < -745.14 give 0, 0 gives exactly 1.

    References
    ----------
    Tang (1989), Table-driven implementation of the exponential function: x = k ln 2 / 64 + r, 2**(k/64) from a table.
    """
    if not (-708.0 < x < 709.0):
        if x != x:
            return x
        if x > 709.79:
            return np.inf
        if x < -745.14:
            return 0.0
    n = x * INV_STEP + ROUND - ROUND
    k = np.int64(n)
    r = x - n * STEP_HI - n * STEP_LO
    j = k & 63
    t = POWERS[j, 0]
    rr = r * r
    p = POWERS[j, 1] + r + rr * (E2 + r * E3 + rr * (E4 + r * E5))
    y = t + t * p
    k = k >> 6
    if -1022 <= k <= 1023:
        return scale_point(y, k)
    if k > 1023:
        return scale_point(y, k - 1) * 2.0
    return scale_point(y, k + 1000) * 9.332636185032189e-302  # 2**-1000: rounds once more, in the denormal range only


@kernel("f8", inline=True)
def log_point(x):
    """Natural logarithm, within 0.9 ulp of the exact value (measured 0.84).

    Parameters
    ----------
    x : float64. NaN and x < 0 give NaN, +0 and -0 give -inf, +inf gives +inf, 1 gives exactly 0; denormals are exact inputs.

    References
    ----------
    Method of Ng (fdlibm e_log.c): x = 2**k (1 + f), s = f / (2 + f), log(1 + f) = f - (f**2/2 - s (f**2/2 + R(s**2))); own coefficients.
    """
    k = 0
    if not (x >= TINY):
        if x == 0.0:
            return -np.inf
        if not (x > 0.0):
            return np.nan
        x = x * 18014398509481984.0  # 2**54
        k = -54
    elif x == np.inf:
        return x
    bits = np.float64(x).view(np.int64)
    shift = (bits - SQRT_HALF_BITS) >> 52  # 1 + f in [sqrt(1/2), sqrt(2))
    k = k + shift
    f = np.int64(bits - (shift << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    r = z * ((L1 + z * L2) + w * (L3 + z * L4) + (w * w) * ((L5 + z * L6) + w * (L7 + z * L8)))
    h = 0.5 * f * f
    n = float(k)
    return n * LN2_HI - ((h - (s * (h + r) + n * LN2_LO)) - f)


@kernel("f8", inline=True)
def expm1_point(x):
    """e**x - 1 without cancellation at 0, within 1.6 ulp of the exact value.

    Parameters
    ----------
    x : float64. NaN gives NaN, +inf gives +inf, -inf gives -1, 0 and -0 give themselves.
    """
    if -0.35 < x < 0.41:  # below 0.41 the subtraction of 1 would cost two bits
        # Taylor series to x**15 / 15!: truncation below 2**-64 of the result
        q = x * (1.0 / 1307674368000.0) + 1.0 / 87178291200.0
        q = q * x + 1.0 / 6227020800.0
        q = q * x + 1.0 / 479001600.0
        q = q * x + 1.0 / 39916800.0
        q = q * x + 1.0 / 3628800.0
        q = q * x + 1.0 / 362880.0
        q = q * x + 1.0 / 40320.0
        q = q * x + 1.0 / 5040.0
        q = q * x + 1.0 / 720.0
        q = q * x + 1.0 / 120.0
        q = q * x + 1.0 / 24.0
        q = q * x + 1.0 / 6.0
        q = q * x + 0.5
        return x + x * x * q if x != 0.0 else x
    return exp_point(x) - 1.0


@ufunc("f8")
def exp(x):
    """`exp_point` of every element."""
    return exp_point(x)


@ufunc("f8")
def log(x):
    """`log_point` of every element."""
    return log_point(x)


@ufunc("f8")
def expm1(x):
    """`expm1_point` of every element."""
    return expm1_point(x)
