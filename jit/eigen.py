"""Eigenpairs of eight symmetric matrices at once, one a lane: all of them (Householder, implicit QL), or the leading four from those of
before. A matrix is packed: entry (i, j), j <= i, is row i (i + 1) / 2 + j of a (n (n + 1) / 2, 8) array. Every sum runs in ascending
order of its index, so the bits of a lane depend neither on the other lanes nor on the CPU. Entries from 1e-140 to 1e140.

Left out (docs/decisions/0022): the exact update of all pairs for one more observation (secular equation). Where eigenvalues nearly coincide it
needs deflation, lane by lane; four tracked pairs with a bound on their error and a full solve where it fails do without."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.eight import ALL, LANES, abs8, all8, get8, pick8, put8, sqrt8, word8

TRACKED = 4
EPSILON = 2.220446049250313e-16
LEAST = 1e-290  # squared length of a Householder vector that is none
MOST_ROWS = 0xFFFF
TURNS = 30  # of QL an eigenvalue: two are usual


def scratch_rows(n):
    """Rows of the scratch of `full` (and `track`, which needs less) for matrices of n."""
    return n * (n + 1) // 2 + 4 * n + max(n, TRACKED) * n


@kernel("f8[:,:], i8, out f8[:,:]")
def tridiagonal(c, n, s):
    """Householder: T = Q' C Q, from the last row up.

    Parameters
    ----------
    c : (n (n + 1) / 2, 8) float64, packed
    n : int64
    s : (scratch_rows(n), 8) float64, out. After the packed copy of c, which ends up as Householder vectors: n rows diagonal of T, n rows
        off-diagonal, 2 n rows used, then Q' by rows.

    References
    ----------
    Golub and Van Loan, Matrix Computations, 8.3.1; order of EISPACK tred2 (Martin, Reinsch and Wilkinson 1968).
    """
    zero = all8(0.0)
    diagonal = n * (n + 1) // 2
    beside, inverse, p, z = diagonal + n, diagonal + 2 * n, diagonal + 3 * n, diagonal + 4 * n
    for k in range(diagonal):
        put8(s, k, get8(c, k))
    for i in range(n - 1, 1, -1):
        row = i * (i + 1) // 2
        square = zero
        for k in range(i):
            x = get8(s, row + k)
            square = square + x * x
        f = get8(s, row + i - 1)
        g = sqrt8(square)
        g = pick8(f > zero, -g, g)
        h = square - f * g
        there = h > all8(LEAST)
        inv = pick8(there, all8(1.0) / pick8(there, h, all8(1.0)), zero)
        put8(s, beside + i - 1, g)
        put8(s, row + i - 1, f - g)
        put8(s, inverse + i, inv)
        along = zero
        for j in range(0, i, 2):  # two rows of the block at a time; the second one past it is not used
            at, at1 = j * (j + 1) // 2, (j + 1) * (j + 2) // 2
            total, total1 = zero, zero
            for k in range(j + 1):
                u = get8(s, row + k)
                total, total1 = total + get8(s, at + k) * u, total1 + get8(s, at1 + k) * u
            for k in range(j + 1, i):
                u = get8(s, row + k)
                total, total1 = total + get8(s, at1 + j) * u, total1 + get8(s, at1 + j + 1) * u
                at1 += k + 1
            total, total1 = total * inv, total1 * inv
            put8(s, p + j, total)
            along = along + total * get8(s, row + j)
            if j + 1 < i:
                put8(s, p + j + 1, total1)
                along = along + total1 * get8(s, row + j + 1)
        along = along * all8(0.5) * inv
        for j in range(i):
            u = get8(s, row + j)
            q = get8(s, p + j) - along * u
            put8(s, p + j, q)
            at = j * (j + 1) // 2
            for k in range(j + 1):
                put8(s, at + k, get8(s, at + k) - (u * get8(s, p + k) + q * get8(s, row + k)))
    for i in range(n):
        put8(s, diagonal + i, get8(s, i * (i + 1) // 2 + i))
        for j in range(n):
            put8(s, z + i * n + j, all8(1.0 if i == j else 0.0))
    if n > 1:
        put8(s, beside, get8(s, 1))
    put8(s, beside + n - 1, zero)
    for i in range(2, n):
        row = i * (i + 1) // 2
        inv = get8(s, inverse + i)
        for j in range(0, i, 2):  # two rows of Q' at a time; the second one past the block is 0 there and stays so
            at, at1 = z + j * n, z + j * n + n
            total, total1 = zero, zero
            for k in range(i):
                u = get8(s, row + k)
                total, total1 = total + u * get8(s, at + k), total1 + u * get8(s, at1 + k)
            total, total1 = total * inv, total1 * inv
            for k in range(i):
                u = get8(s, row + k)
                put8(s, at + k, get8(s, at + k) - total * u)
                put8(s, at1 + k, get8(s, at1 + k) - total1 * u)


@kernel("out f8[:,:], i8, i8, i8", inline=True)
def rotate_point(s, at, n, turn):
    """Rotate two neighbouring rows of Q', which begin at row `at` of s, by the sine and cosine in rows turn and turn + 1."""
    sine, cosine = get8(s, turn), get8(s, turn + 1)
    for k in range(at, at + n):
        x, y = get8(s, k + n), get8(s, k)
        put8(s, k + n, sine * y + cosine * x)
        put8(s, k, cosine * y - sine * x)


@kernel("i8, out f8[:,:]")
def ql(n, s):
    """Implicit QL with Wilkinson's shift on what `tridiagonal` left: the diagonal becomes the eigenvalues, unordered, the rows of Q' the
    eigenvectors. Each lane turns a block of its own, the first that has not come apart; a lane that is done waits without changing.

    Returns
    -------
    int64, bits of the lanes that converged

    References
    ----------
    EISPACK tql2 (Bowdler, Martin, Reinsch and Wilkinson 1968); Parlett (1980), The symmetric eigenvalue problem, ch. 8.
    """
    zero, half, one, two, none = all8(0.0), all8(0.5), all8(1.0), all8(2.0), all8(-1.0)
    diagonal = n * (n + 1) // 2
    beside, turned, z = diagonal + n, diagonal + 2 * n, diagonal + 4 * n
    low, done = 0, zero  # rows below `done` are eigenvalues; the least of these
    for turn in range(TURNS * n + 1):
        # The block of each lane: rows first to last of T. Between last and last + 1 T is 0, or last is the end.
        first, last = none, none
        split, end = all8(float(n - 1)), get8(s, diagonal + n - 1)
        top, next_, e, bottom = zero, zero, one, zero
        below = end
        for i in range(n - 2, low - 1, -1):
            d, x = get8(s, diagonal + i), get8(s, beside + i)
            at, size, negligible = all8(float(i)), abs8(x), all8(EPSILON) * (abs8(d) + abs8(below))
            apart, joined = size <= negligible, (size > negligible) & (at >= done)
            first, last = pick8(joined, at, first), pick8(joined, split, last)
            top, next_, e, bottom = pick8(joined, d, top), pick8(joined, below, next_), pick8(joined, x, e), pick8(joined, end, bottom)
            split, end = pick8(apart, at, split), pick8(apart, d, end)
            below = d
        if word8(first >= zero) == 0 or turn == TURNS * n:
            break
        while word8(first == all8(float(low))) == 0:
            low += 1
        done = pick8(first >= zero, first, all8(float(n)))
        g = half * (next_ - top)
        r = sqrt8(g * g + e * e)
        g = g + pick8(g >= zero, r, -r)
        g = bottom - top + e * (e / pick8(r > zero, g, one))
        sine, cosine, back = one, one, zero
        # A rotation is applied to Q' one step late: its long row of products then fills the time that the next square root takes.
        waiting = -1
        for i in range(n - 2, low - 1, -1):
            at = all8(float(i))
            on = (at < last) & (at >= first)
            if word8(on) == 0:
                continue
            e, below, d = get8(s, beside + i), get8(s, diagonal + i + 1), get8(s, diagonal + i)
            f, b = sine * e, cosine * e
            square = f * f + g * g
            root = sqrt8(square)
            whole, broken = on & (square > all8(LEAST)), on & (square <= all8(LEAST))
            inv = one / root
            # The off-diagonal at the end of the block was negligible and becomes 0.
            put8(s, beside + i + 1, pick8(on, pick8(whole & (all8(float(i + 1)) < last), root, zero), get8(s, beside + i + 1)))
            sine, cosine = pick8(whole, f * inv, sine), pick8(whole, g * inv, cosine)
            level = below - back
            t = (d - level) * sine + two * cosine * b
            put8(s, diagonal + i + 1, pick8(whole, level + sine * t, pick8(broken, level, below)))
            back, g = pick8(whole, sine * t, back), pick8(whole, cosine * t - b, g)
            last = pick8(broken, none, last)
            final = whole & (at == first)
            put8(s, diagonal + i, pick8(final, d - back, d))
            put8(s, beside + i, pick8(final, g, e))
            if waiting >= 0:
                rotate_point(s, waiting, n, turned)
            put8(s, turned, pick8(whole, sine, zero))
            put8(s, turned + 1, pick8(whole, cosine, one))
            waiting = z + i * n
        if waiting >= 0:
            rotate_point(s, waiting, n, turned)
    return ALL ^ word8(first >= zero)


@kernel("f8[:,:], out f8[:,:], out f8[:,:], out f8[:,:]")
def full(c, values, vectors, scratch):
    """All eigenpairs of eight matrices.

    Parameters
    ----------
    c : (n (n + 1) / 2, 8) float64, packed; n from 1 to 64
    values : (n, 8) float64, out, ascending
    vectors : (n * n, 8) float64, out; rows k n ... k n + n - 1 are the unit vector of values[k], its component of largest magnitude (the
        first of equal ones) is positive
    scratch : (scratch_rows(n), 8) float64

    Returns
    -------
    int64, bits of the lanes whose pairs are finite and converged; what is written for the others means nothing

    Notes
    -----
    About 1.3 n^3 multiplications for T and as many for Q, then 2 to 3 turns of QL an eigenvalue: as many as its slowest lane needs.
    """
    n = values.shape[0]
    tridiagonal(c, n, scratch)
    good = ql(n, scratch)
    diagonal = n * (n + 1) // 2
    rank, sign, z = diagonal + n, diagonal + 2 * n, diagonal + 4 * n
    zero, one = all8(0.0), all8(1.0)
    total = zero
    for k in range(diagonal, diagonal + n):
        total = total + get8(scratch, k) * zero
    finite = total == zero
    for i in range(n):
        x, place = get8(scratch, diagonal + i), zero
        for j in range(i):
            place = place + pick8(x < get8(scratch, diagonal + j), zero, one)
        for j in range(i + 1, n):
            place = place + pick8(get8(scratch, diagonal + j) < x, one, zero)
        put8(scratch, rank + i, pick8(finite, place, all8(float(i))))
        at = z + i * n
        most = get8(scratch, at)
        for j in range(1, n):
            y = get8(scratch, at + j)
            most = pick8(abs8(y) > abs8(most), y, most)
        put8(scratch, sign + i, pick8(most < zero, -one, one))
    for i in range(n):
        at = (z + i * n) & MOST_ROWS  # changes nothing but LLVM's view: no index is negative, none is wrapped
        for lane in range(LANES):
            k, side = np.int64(scratch[rank + i, lane]), scratch[sign + i, lane]
            values[k, lane] = scratch[diagonal + i, lane]
            to = (k * n) & MOST_ROWS
            for j in range(n):
                vectors[to + j, lane] = side * scratch[at + j, lane]
    return good & word8(finite)


@kernel("f8[:,:], f8[:,:], out f8[:,:], out f8[:,:]")
def lead(values, vectors, top, leading):
    """The last four pairs of `full`, largest first: what `track` goes on from.

    Parameters
    ----------
    values, vectors : (n, 8), (n * n, 8) float64, of `full`
    top, leading : (4, 8), (4 n, 8) float64, out; rows past the n-th, if n is less than 4, are 0
    """
    n = values.shape[0]
    for r in range(TRACKED):
        k = n - 1 - r
        put8(top, r, get8(values, k) if k >= 0 else all8(0.0))
        for j in range(n):
            put8(leading, r * n + j, get8(vectors, k * n + j) if k >= 0 else all8(0.0))


@kernel("f8[:,:], f8[:,:], i8, f8, out f8[:,:], out f8[:,:], out f8[:,:]")
def track(c, edges, edge, tolerance, top, leading, scratch):
    """The leading four eigenpairs from those of a moment ago: one orthogonal iteration of the four vectors.

    Parameters
    ----------
    c : (n (n + 1) / 2, 8) float64, packed, no eigenvalue far below 0
    edges : (rows, 8) float64; row `edge` is the level of each lane above which pairs matter
    tolerance : float64, largest error of an eigenvalue above the edge, as a share of it
    top : (4, 8) float64, out: Rayleigh quotients of the vectors before the step
    leading : (4 n, 8) float64, updated; their direction stays on the side it was
    scratch : (scratch_rows(n), 8) float64

    Returns
    -------
    int64, bits of the lanes that can be trusted: the vectors are finite and independent, at most three values are above the edge (else a
        fifth could be), and near each of these there is an exact eigenvalue: |C q - v q| bounds the distance.

    References
    ----------
    Golub and Van Loan, 8.2.4 (orthogonal iteration); Parlett (1980), theorem 4.5.1 (residual bound).
    """
    n = leading.shape[0] // TRACKED
    n2, n3 = 2 * n, 3 * n
    zero, one = all8(0.0), all8(1.0)
    level = get8(edges, edge)
    for i in range(n):
        a0, a1, a2, a3 = zero, zero, zero, zero
        at = i * (i + 1) // 2
        for j in range(n):
            x = get8(c, at)
            a0, a1 = a0 + x * get8(leading, j), a1 + x * get8(leading, n + j)
            a2, a3 = a2 + x * get8(leading, n2 + j), a3 + x * get8(leading, n3 + j)
            at += 1 if j < i else j + 1
        put8(scratch, i, a0)
        put8(scratch, n + i, a1)
        put8(scratch, n2 + i, a2)
        put8(scratch, n3 + i, a3)
    good = zero == zero
    bound = all8(tolerance * tolerance)
    for r in range(TRACKED):
        v, length = zero, zero
        for j in range(n):
            y = get8(scratch, r * n + j)
            v, length = v + y * get8(leading, r * n + j), length + y * y
        put8(top, r, v)
        square = v * v
        good = good & ((v <= level) | (length - square <= bound * square))
        if r == TRACKED - 1:
            good = good & (v <= level)
    for r in range(TRACKED):
        length = zero
        for j in range(n):
            y = get8(scratch, r * n + j)
            length = length + y * y
        there = length > all8(LEAST)
        good = good & there & (length < all8(1.0 / LEAST))
        inv = one / sqrt8(pick8(there, length, one))
        for j in range(n):
            put8(leading, r * n + j, inv * get8(scratch, r * n + j))
        for q in range(r + 1, TRACKED):
            along = zero
            for j in range(n):
                along = along + get8(leading, r * n + j) * get8(scratch, q * n + j)
            for j in range(n):
                put8(scratch, q * n + j, get8(scratch, q * n + j) - along * get8(leading, r * n + j))
    return word8(good)
