"""Fields of the wire's text protocol, read in place: where fields end, non-negative integers, exact decimals, and whose a frame is.

A decimal of at most 15 to 16 digits is an integer mantissa divided once by a power of ten that is itself exact, so the quotient is the
correctly rounded value: what Python's `float` gives for the same text. Up to eight characters are read with one unaligned load that
ends at the field's last character and three multiplications; these loads and the 64-byte search for NUL read past the field, so a
buffer is padded by 64 bytes behind, and a field never lies within the first seven bytes of it (length prefix, id, NUL)."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from tickarrow.jit._kernel import kernel, record

U = np.uint64
ALL = U(0xFFFFFFFFFFFFFFFF)
LOW_BITS = U(0x0101010101010101)
HIGH_BITS = U(0x8080808080808080)
ZEROS = U(0x3030303030303030)  # eight characters "0"
DOTS = U(0x1E1E1E1E1E1E1E1E)  # "." ^ "0"
HIGH_NIBBLES = U(0xF0F0F0F0F0F0F0F0)
SIXES = U(0x0606060606060606)

POWER = np.array([10.0**k for k in range(23)])  # exact in binary64
POWER_INT = np.array([10**k for k in range(19)], np.int64)
EXACT = 2**53  # integers up to here are exact in binary64
UNSET_INTEGER = 2**31 - 1  # IBKR's "no value" of a size

# What a number field is.
PLAIN = 0
NOT_A_NUMBER = 3  # the codes are those of the reasons in wire.py
UNUSUAL = 4  # a number, but of another form than the field has

# Message ids that may be ours, and the private ones of our own simulator.
TICK_PRICE, TICK_SIZE, DEPTH_CHANGE, DEPTH_CHANGE_L2, OPTION = 1, 2, 12, 13, 21
TICK_GENERIC, TICK_STRING, REAL_TIME_BAR, MARKET_DATA_TYPE, TICK_BY_TICK = 45, 46, 50, 58, 99
CLOCK, END = 9001, 9003

LIVE, RETIRED = 1, 2
SUBSCRIPTION = record([  # hash table, open addressing; req_id -1 = free
    ("req_id", "i8"), ("symbol", "i4"), ("feed", "u1"), ("state", "u1"),
    ("ts", "i8"), ("frames", "i8"),  # of its decoded frames: time of the latest one's chunk (0 = none yet), and how many
])  # fmt: skip

if config.DISABLE_JIT:  # the same four in plain Python, so that the kernels can be stepped through

    def load8(data, i):
        """Eight bytes from index i, first byte lowest."""
        return U(int.from_bytes(data[i : i + 8].tobytes(), "little"))

    def zeros64(data, i):
        """Bit j is set where byte i + j is zero, for 64 bytes."""
        return U(sum(1 << j for j in range(64) if data[i + j] == 0))

    def trailing(x):
        """Number of trailing zero bits; 64 for zero."""
        return 64 if x == 0 else (int(x) & -int(x)).bit_length() - 1

    def ones(x):
        """Number of one bits."""
        return int(x).bit_count()

else:

    @intrinsic
    def load8(typingctx, data, i):
        """Eight bytes from index i, first byte lowest."""

        def codegen(context, builder, signature, args):
            array = context.make_array(data)(context, builder, args[0])
            at = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
            word = builder.load(at)
            word.align = 1
            return word

        return types.uint64(data, types.int64), codegen

    @intrinsic
    def zeros64(typingctx, data, i):
        """Bit j is set where byte i + j is zero, for 64 bytes."""
        block = ir.VectorType(ir.IntType(8), 64)

        def codegen(context, builder, signature, args):
            array = context.make_array(data)(context, builder, args[0])
            bytes_ = builder.load(builder.bitcast(builder.gep(array.data, [args[1]]), block.as_pointer()))
            bytes_.align = 1
            return builder.bitcast(builder.icmp_unsigned("==", bytes_, ir.Constant(block, None)), ir.IntType(64))

        return types.uint64(data, types.int64), codegen

    @intrinsic
    def trailing(typingctx, x):
        """Number of trailing zero bits; 64 for zero."""
        word = ir.IntType(64)

        def codegen(context, builder, signature, args):
            f = builder.module.declare_intrinsic("llvm.cttz", [word], ir.FunctionType(word, [word, ir.IntType(1)]))
            return builder.call(f, [args[0], ir.Constant(ir.IntType(1), 0)])

        return types.int64(types.uint64), codegen

    @intrinsic
    def ones(typingctx, x):
        """Number of one bits."""
        word = ir.IntType(64)

        def codegen(context, builder, signature, args):
            return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [word], ir.FunctionType(word, [word])), [args[0]])

        return types.int64(types.uint64), codegen


@kernel("u8", inline=True)
def _eight(w):
    """Value of eight digits 0 to 9, the first in the lowest byte."""
    w = ((w * U(10 * 2**8 + 1)) >> U(8)) & U(0x00FF00FF00FF00FF)  # pairs, then fours, then all: ten times the first plus the second
    w = ((w * U(100 * 2**16 + 1)) >> U(16)) & U(0x0000FFFF0000FFFF)
    return np.int64((w * U(10000 * 2**32 + 1)) >> U(32))


@kernel("u8", inline=True)
def _digits(w):
    """True if all eight bytes are 0 to 9."""
    return ((w | (w + SIXES)) & HIGH_NIBBLES) == U(0)


@kernel("out u1[:], i8, i8", inline=True)
def _tail(data, start, end):
    """The last up to eight characters of a field as digit values in the high bytes, zeros below; 1 <= end - start <= 8."""
    shift = U((np.int64(8) - (end - start)) * np.int64(8))
    return ((load8(data, end - np.int64(8)) ^ ZEROS) >> shift) << shift


@kernel("out u1[:], i8, i8", inline=True)
def integer_point(data, start, end):
    """Value of the field data[start:end] of 1 to 16 digits; -1 if it is anything else."""
    n = end - start
    if n < 1 or n > 16:
        return np.int64(-1)
    if n <= 8:
        w = _tail(data, start, end)
        return _eight(w) if _digits(w) else np.int64(-1)
    high, low = _tail(data, start, end - np.int64(8)), _tail(data, end - np.int64(8), end)
    if not (_digits(high) and _digits(low)):
        return np.int64(-1)
    return _eight(high) * np.int64(100_000_000) + _eight(low)


@kernel("out u1[:], i8, i8")
def scan(data, start, end):
    """The digits of a number field of any form, character by character.

    Parameters
    ----------
    data : (n,) uint8
    start, end : int, the field data[start:end]

    Returns
    -------
    w : uint64, its first 19 significant digits; the value is w * 10**q, and a little more if `sticky`
    q : int
    significant : int, number of significant digits
    sticky : bool, digits behind the 19th are not all zero
    negative : bool
    shape : int, PLAIN or NOT_A_NUMBER. Plain is `[+-]?[0-9]*[.]?[0-9]*([eE][+-]?[0-9]+)?` with a digit before the exponent.
    """
    i = start
    negative = False
    if i < end and (data[i] == 45 or data[i] == 43):
        negative = data[i] == 45
        i += 1
    w, q, digits, significant, point, sticky = U(0), np.int64(0), np.int64(0), np.int64(0), False, False
    while i < end:
        c = np.int64(data[i])
        if c == 46 and not point:
            point = True
        elif 48 <= c <= 57:
            digits += 1
            if point:
                q -= 1
            if c != 48 or significant > 0:
                significant += 1
                if significant <= 19:
                    w = w * U(10) + U(c - 48)
                else:
                    q += 1
                    sticky |= c != 48
        else:
            break
        i += 1
    shape = np.int64(PLAIN)
    if digits == 0:
        shape = np.int64(NOT_A_NUMBER)
    elif i < end:
        if data[i] != 69 and data[i] != 101:
            return U(0), np.int64(0), np.int64(0), False, False, np.int64(NOT_A_NUMBER)
        i += 1
        sign = np.int64(1)
        if i < end and (data[i] == 45 or data[i] == 43):
            if data[i] == 45:
                sign = np.int64(-1)
            i += 1
        first, exponent = i, np.int64(0)
        while i < end and 48 <= np.int64(data[i]) <= 57:
            exponent = min(exponent * 10 + (np.int64(data[i]) - 48), np.int64(1_000_000))
            i += 1
        if i < end or i == first:
            shape = np.int64(NOT_A_NUMBER)
        q += sign * exponent
    if shape != PLAIN:
        return U(0), np.int64(0), np.int64(0), False, False, shape
    return w, q, significant, sticky, negative, shape


@kernel("out u1[:], i8, i8", inline=True)
def small_point(data, start, end):
    """As `integer_point`, quickest for one digit."""
    if end - start == 1:
        value = np.int64(data[U(start)]) - np.int64(48)
        return value if 0 <= value <= 9 else np.int64(-1)
    return integer_point(data, start, end)


@kernel("out u1[:], i8, i8", inline=True)
def _short(data, start, end):
    """Mantissa and scale of a decimal without a sign of 1 to 8 characters, and bits that are set unless it is one."""
    w = _tail(data, start, end)
    scale = np.int64(0)
    x = w ^ DOTS
    point = (x - LOW_BITS) & ~x & HIGH_BITS  # the lowest set bit marks the first point; those above may be false
    odd = U(0)
    if point != U(0):
        at = point ^ (point - U(1))  # ones up to the point's byte
        w = (w & ~at) | ((w & (at >> U(8))) << U(8))  # digits before the point move up by one byte
        scale = np.int64(7) - (trailing(point) >> 3)
        odd = U(end - start == 1)
    return _eight(w), scale, odd | ((w | (w + SIXES)) & HIGH_NIBBLES)


@kernel("out u1[:], i8, i8")
def _long(data, start, end):
    """As `_short` for a decimal of any length and sign. What needs more than one exact division, or may be a sentinel, is odd."""
    w, q, _, sticky, negative, shape = scan(data, start, end)
    if shape != PLAIN or sticky or w > U(EXACT) or q > 0 or q < -18 or (w == U(UNSET_INTEGER) and q == 0):
        return np.int64(0), np.int64(0), U(1)
    return (-np.int64(w) if negative else np.int64(w)), -q, U(0)


@kernel("out u1[:], i8, i8", inline=True)
def decimal_point(data, start, end):
    """Signed mantissa and scale of a decimal, and bits that are set unless it is plain and exact."""
    n = end - start
    if n < 1 or n > 8 or data[U(start)] == 45:
        return _long(data, start, end)
    return _short(data, start, end)


@kernel("out u1[:], i8, i8", inline=True)
def size_point(data, start, end):
    """As `decimal_point`; a sign is odd."""
    n = end - start
    if n < 1 or n > 8:
        mantissa, scale, odd = _long(data, start, end)
        return mantissa, scale, odd | U(mantissa < 0)
    return _short(data, start, end)


@kernel("out u1[:], i8, i8", inline=True)
def text_point(data, start, end):
    """The first eight bytes of a text field as they stand, first byte lowest, NUL behind a shorter one."""
    n = end - start
    return load8(data, start) & (ALL >> U(np.int64(64) - n * np.int64(8))) if 0 < n < 8 else (load8(data, start) if n != 0 else U(0))


@kernel("SUBSCRIPTION[:], i8", inline=True)
def subscription_point(subscriptions, req_id):
    """Index of a request in the table, -1 if it is not there. The table has a power of two of entries, some of them free."""
    if req_id < 0:
        return np.int64(-1)
    mask = np.int64(subscriptions.size - 1)
    i = req_id & mask
    while True:
        key = subscriptions[U(i)].req_id
        if key == req_id:
            return i
        if key < 0:
            return np.int64(-1)
        i = (i + 1) & mask


@kernel("u8", inline=True)
def id_point(head):
    """Message id from a frame's first eight bytes, 0 unless it is one that may be ours or a private one."""
    two = head & U(0xFFFF)
    if two == U(0x0031):
        return np.int64(TICK_PRICE)
    if two == U(0x0032):
        return np.int64(TICK_SIZE)
    three = head & U(0xFFFFFF)
    if three == U(0x3939):
        return np.int64(TICK_BY_TICK)
    if three == U(0x3634):
        return np.int64(TICK_STRING)
    if three == U(0x3534):
        return np.int64(TICK_GENERIC)
    if three == U(0x3231):
        return np.int64(DEPTH_CHANGE)
    if three == U(0x3331):
        return np.int64(DEPTH_CHANGE_L2)
    if three == U(0x3132):
        return np.int64(OPTION)
    if three == U(0x3035):
        return np.int64(REAL_TIME_BAR)
    if three == U(0x3835):
        return np.int64(MARKET_DATA_TYPE)
    five = head & U(0xFFFFFFFFFF)
    if five == U(0x31303039):
        return np.int64(CLOCK)
    if five == U(0x33303039):
        return np.int64(END)
    return np.int64(0)
