"""Numbers -> decimal text. A double is written as the shortest text that reads back as the same double; one that has no such text of at
most eight decimals is looked up in a small table, which the caller fills (`ODD`)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record

# Texts of numbers that the kernel cannot write. Entry 0 is the request: the number that is missing.
ODD = record([("value", "f8"), ("length", "i8"), ("text", "u1", (32,))])

_EXACT = 2251799813685248.0  # 2**51: below it different mantissas are different doubles


@kernel("out u1[:], i8, i8", inline=True)
def integer_point(out, pos, value):
    """Write the digits of `value` (>= 0) at `pos`; position behind them."""
    ten = np.uint64(10)
    v = np.uint64(value)
    n, bound = 1, ten
    while v >= bound:
        n += 1
        if n == 20:
            break
        bound = np.uint64(bound * ten)
    for k in range(pos + n - 1, pos - 1, -1):
        q = np.uint64(v // ten)
        out[k] = np.uint8(48 + np.int64(v - np.uint64(q * ten)))
        v = q
    return pos + n


@kernel("out u1[:], i8, i8, i8")
def decimal_point(out, pos, mantissa, decimals):
    """Write `mantissa` / 10**decimals (mantissa >= 0) without trailing zeros; position behind it."""
    while decimals > 0 and mantissa % 10 == 0:
        mantissa //= 10
        decimals -= 1
    whole = mantissa
    for _ in range(decimals):
        whole //= 10
    pos = integer_point(out, pos, whole)
    if decimals > 0:
        out[pos] = 46
        rest = mantissa
        for k in range(pos + decimals, pos, -1):
            q = rest // 10
            out[k] = np.uint8(48 + rest - q * 10)
            rest = q
        pos += decimals + 1
    return pos


@kernel("out u1[:], i8, f8, ODD[:]")
def number_point(out, pos, x, odd):
    """Write the shortest decimal text of `x`; position behind it, or -1 if the kernel has none: then `odd[0]` asks for it.

    Correct because m / 10**d is the double nearest to that decimal (both exact, d <= 22), which is what a reader computes.
    """
    a = abs(x)
    mantissa, decimals = np.int64(-1), 0
    if a < _EXACT:
        if np.float64(np.int64(a)) == a:
            mantissa = np.int64(a)
        else:
            scale = 1.0
            for d in range(2, 9, 2):
                scale *= 100.0
                if a * scale >= _EXACT:
                    break
                m = np.int64(a * scale + 0.5)
                if np.float64(m) / scale == a:
                    mantissa, decimals = m, d
                    break
    if mantissa < 0:
        for i in range(1, odd.size):
            if odd[i].length > 0 and odd[i].value == x:
                for k in range(odd[i].length):
                    out[pos + k] = odd[i].text[k]
                return pos + odd[i].length
        odd[0].value = x
        return -1
    if x < 0.0:
        out[pos] = 45
        pos += 1
    return decimal_point(out, pos, mantissa, decimals)
