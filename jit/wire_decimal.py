"""Decimals of any length and exponent, correctly rounded: what Python's `float` gives for the same text.

Up to 19 significant digits w * 10**q are one or two multiplications with a 128-bit power of five; of longer ones both w and w + 1 are
rounded, and where they differ the text is compared with the middle between the two results in whole numbers.

References
----------
Lemire (2021), Number parsing at a gigabyte per second; Mushtak and Lemire (2023), Fast number parsing without fallback: why 128 bits of
the power are enough for every w below 2**64."""

from __future__ import annotations

import struct

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from tickarrow.jit._kernel import kernel
from tickarrow.jit.wire_fields import EXACT, NOT_A_NUMBER, PLAIN, POWER, POWER_INT, U, UNUSUAL, scan

NOT_FINITE = 11  # beyond the range of binary64, or the text Infinity or NaN; the code is that of the reason
UNSET = -1  # IBKR's "no value": the largest double

LOWEST, HIGHEST = -342, 308  # powers of ten beyond which every w is 0 or infinite
MOST_DIGITS = 128  # significant digits of a text; more are refused
LIMBS = 56  # of 32 bits: 128 digits shifted by 1,075 bits, or 55 bits times 10**451, fit

LARGEST = float(np.finfo(np.float64).max)
LARGEST_MANTISSA = 10**18 - 1


def _five(q: int) -> int:
    """The leading 128 bits of 5**q: cut off, and rounded up where 5**-q fits 64 bits (Lemire 2021, section 5)."""
    if q >= 0:
        p = 5**q
        return p << (128 - p.bit_length()) if p.bit_length() <= 128 else p >> (p.bit_length() - 128)
    p = 5**-q
    z = (p - 1).bit_length()
    if q >= -27:
        return (1 << (z + 127)) // p + 1
    c = (1 << (2 * z + 128)) // p + 1
    return c >> (c.bit_length() - 128)


FIVES = np.array([[_five(q) >> 64, _five(q) & (2**64 - 1)] for q in range(LOWEST, HIGHEST + 1)], np.uint64)

if config.DISABLE_JIT:

    def stack_limbs():
        """Room for two whole numbers that are compared."""
        return np.zeros(2 * LIMBS, np.int64)

    def high_product(a, b):
        """Upper 64 bits of a product."""
        return U((int(a) * int(b)) >> 64)

    def leading(x):
        """Number of leading zero bits; 64 for zero."""
        return 64 - int(x).bit_length()

    def as_float(bits):
        """The binary64 of these bits."""
        return struct.unpack("<d", struct.pack("<Q", int(bits)))[0]

    def as_bits(value):
        """The bits of a binary64."""
        return U(struct.unpack("<Q", struct.pack("<d", float(value)))[0])

else:

    @intrinsic
    def stack_limbs(typingctx):
        """Room for two whole numbers that are compared, on the stack of the calling kernel: it may not leave it."""
        limbs = types.Array(types.int64, 1, "C")

        def codegen(context, builder, signature, args):
            memory = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(64), 2 * LIMBS))
            array = context.make_array(limbs)(context, builder)
            size, item = context.get_constant(types.intp, 2 * LIMBS), context.get_constant(types.intp, 8)
            populate_array(array, data=builder.bitcast(memory, array.data.type), shape=[size], strides=[item], itemsize=item, meminfo=None)
            return array._getvalue()

        return limbs(), codegen

    @intrinsic
    def high_product(typingctx, a, b):
        """Upper 64 bits of a product."""

        def codegen(context, builder, signature, args):
            wide = ir.IntType(128)
            product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
            return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

        return types.uint64(types.uint64, types.uint64), codegen

    @intrinsic
    def leading(typingctx, x):
        """Number of leading zero bits; 64 for zero."""
        word = ir.IntType(64)

        def codegen(context, builder, signature, args):
            f = builder.module.declare_intrinsic("llvm.ctlz", [word], ir.FunctionType(word, [word, ir.IntType(1)]))
            return builder.call(f, [args[0], ir.Constant(ir.IntType(1), 0)])

        return types.int64(types.uint64), codegen

    @intrinsic
    def as_float(typingctx, bits):
        """The binary64 of these bits."""

        def codegen(context, builder, signature, args):
            return builder.bitcast(args[0], ir.DoubleType())

        return types.float64(types.uint64), codegen

    @intrinsic
    def as_bits(typingctx, value):
        """The bits of a binary64."""

        def codegen(context, builder, signature, args):
            return builder.bitcast(args[0], ir.IntType(64))

        return types.uint64(types.float64), codegen


@kernel("u8, i8")
def scaled(w, q):
    """w * 10**q correctly rounded (ties to even); infinite beyond the largest double.

    Parameters
    ----------
    w : uint64
    q : int
    """
    if w == U(0) or q < LOWEST:
        return 0.0
    if q > HIGHEST:
        return np.inf
    lead = leading(w)
    w = w << U(lead)
    five, rest = FIVES[q - LOWEST, 0], FIVES[q - LOWEST, 1]
    low, high = w * five, high_product(w, five)
    if (high & U(0x1FF)) == U(0x1FF):  # the bits that decide could still change: the rest of the power is needed
        more = high_product(w, rest)
        low = low + more
        if low < more:
            high = high + U(1)
    upper = high >> U(63)
    shift = upper + U(9)
    m = high >> shift  # 53 bits and one to round by
    power = ((np.int64(217706) * q) >> np.int64(16)) + np.int64(63 + 1023) + np.int64(upper) - lead  # 217706 / 2**16 = log2(10)
    if power <= 0:  # below the normal range
        if power < -62:
            return 0.0
        m = m >> U(1 - power)
        return as_float((m + (m & U(1))) >> U(1))
    if low <= U(1) and -4 <= q <= 23 and (m & U(3)) == U(1) and (m << shift) == high:
        m = m & ~U(1)  # exactly in the middle: to even
    m = (m + (m & U(1))) >> U(1)
    if m == U(1 << 53):
        m = U(1 << 52)
        power += 1
    if power >= 2047:
        return np.inf
    return as_float((m & U((1 << 52) - 1)) | (U(power) << U(52)))


@kernel("out i8[:], i8, i8, i8, i8")
def _grow(limbs, at, n, factor, carry):
    """The whole number limbs[at:at+n] (base 2**32, lowest first) times factor plus carry; returns its new length."""
    over = U(carry)
    for i in range(at, at + n):
        t = U(limbs[i]) * U(factor) + over
        limbs[i] = np.int64(t & U(0xFFFFFFFF))
        over = t >> U(32)
    if over != U(0):
        limbs[at + n] = np.int64(over)
        n += 1
    return n


@kernel("out i8[:], i8, i8, i8, i8")
def _raise(limbs, at, n, base, power):
    """The whole number limbs[at:at+n] times base**power, base 2 or 10."""
    step = np.int64(9) if base == 10 else np.int64(30)
    while power > 0:
        k = min(power, step)
        n = _grow(limbs, at, n, POWER_INT[k] if base == 10 else np.int64(1) << k, np.int64(0))
        power -= k
    return n


@kernel("out u1[:], i8, i8, i8, f8, f8")
def _nearer(data, start, end, q, low, high):
    """Which of two neighbouring doubles is nearer to the digits of data[start:end] times 10**q, both positive; in the middle the even one."""
    limbs = stack_limbs()
    a, n = np.int64(0), np.int64(0)
    for i in range(start, end):
        c = np.int64(data[i]) - np.int64(48)
        if 0 <= c <= 9:
            n = _grow(limbs, a, n, np.int64(10), c)
        elif data[i] == 69 or data[i] == 101:
            break
    bits = as_bits(low)
    exponent = np.int64(bits >> U(52))
    m = bits & U((1 << 52) - 1)
    if exponent != 0:
        m = m | U(1 << 52)
    else:
        exponent = np.int64(1)
    middle = m + m + U(1)
    b, k = np.int64(LIMBS), np.int64(2)
    limbs[b], limbs[b + 1] = np.int64(middle & U(0xFFFFFFFF)), np.int64(middle >> U(32))
    if limbs[b + 1] == 0:
        k = np.int64(1)
    two = exponent - np.int64(1076)  # the middle is so many powers of two
    n = _raise(limbs, a, n, np.int64(10), q)
    k = _raise(limbs, b, k, np.int64(10), -q)
    n = _raise(limbs, a, n, np.int64(2), -two)
    k = _raise(limbs, b, k, np.int64(2), two)
    if n != k:
        return high if n > k else low
    for i in range(n - 1, -1, -1):
        if limbs[a + i] != limbs[b + i]:
            return high if limbs[a + i] > limbs[b + i] else low
    return low if (m & U(1)) == U(0) else high


@kernel("out u1[:], i8, i8")
def decimal(data, start, end):
    """A number field of any form.

    Parameters
    ----------
    data : (n,) uint8
    start, end : int, the field data[start:end]: `[+-]?[0-9]*[.]?[0-9]*([eE][+-]?[0-9]+)?` with a digit before the exponent

    Returns
    -------
    value : float, correctly rounded; no -0. NaN unless the shape is PLAIN
    mantissa, scale : int, signed; value = mantissa / 10**scale, cut off behind the 18th digit
    shape : int, PLAIN, UNSET, NOT_A_NUMBER, NOT_FINITE, or UNUSUAL: more than 128 significant digits
    """
    w, q, significant, sticky, negative, shape = scan(data, start, end)
    if shape != PLAIN:
        if _is_text(data, start, end):
            shape = np.int64(NOT_FINITE)
        return np.nan, np.int64(0), np.int64(0), shape
    if significant > MOST_DIGITS:
        return np.nan, np.int64(0), np.int64(0), np.int64(UNUSUAL)
    if sticky:
        value, high = scaled(w, q), scaled(w + U(1), q)
        if value != high:
            value = _nearer(data, start, end, q - (significant - np.int64(19)), value, high)
    elif w <= U(EXACT) and -22 <= q <= 0:
        value = np.float64(w) / POWER[-q]
    else:
        value = scaled(w, q)
    if value == LARGEST and not negative:
        return np.nan, np.int64(0), np.int64(0), np.int64(UNSET)
    if value == np.inf:
        return np.nan, np.int64(0), np.int64(0), np.int64(NOT_FINITE)
    scale = -q
    while w != U(0) and scale < 0 and w <= U(LARGEST_MANTISSA // 10):
        w = w * U(10)
        scale += 1
    while scale > 0 and (w > U(LARGEST_MANTISSA) or scale > 18):
        w = w // U(10)
        scale -= 1
    if w == U(0):
        scale = max(scale, np.int64(0))
    if scale < 0 or w > U(LARGEST_MANTISSA):  # at least 10**18: no mantissa
        w, scale = U(0), np.int64(-1)
    mantissa = np.int64(w)
    return (-value if negative and value != 0.0 else value), (-mantissa if negative else mantissa), scale, np.int64(PLAIN)


@kernel("out u1[:], i8, i8")
def _is_text(data, start, end):
    """True for Infinity, -Infinity and NaN, as Java writes them."""
    if end > start and data[start] == 45:
        start += 1
    n = end - start
    if n == 3:
        return data[start] == 78 and data[start + 1] == 97 and data[start + 2] == 78
    if n != 8:
        return False
    word = U(0)
    for i in range(8):
        word |= U(data[start + i]) << U(8 * i)
    return word == U(0x7974696E69666E49)  # "Infinity"
