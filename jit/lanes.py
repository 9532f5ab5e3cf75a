"""Rings of bars in lanes: the last values of a quantity as rows of an array, one column a symbol, summed across all lanes at once.

A ring is `size` rows of f from row `ring` on; the bar with number `pos` stands in row ring + pos % size. Sums run from the oldest bar to the
newest, so their bits depend neither on `pos` nor on the other lanes. They are made anew from the values at each bar: nothing drifts, and a
lane that begins needs no clearing. A lane that closes alone is summed in a register, with the same bits and in less than half the time.
"""

from tickarrow.jit._kernel import kernel


@kernel("i8, i8, i8", inline=True)
def oldest_point(size, count, pos):
    """Slot of the oldest of the newest `count` bars of a ring, the bar `pos` included."""
    return (pos + size - count + 1) % size


@kernel("out f8[:,:], i8, f8, i8, i8")
def lanes_fill(f, to, value, lo, hi):
    """f[to] = value in lanes [lo, hi)."""
    total = f[to, lo:hi]
    for k in range(total.size):
        total[k] = value


@kernel("out f8[:,:], i8, i8, i8, i8, i8, i8, i8")
def lanes_sum(f, to, ring, size, count, pos, lo, hi):
    """f[to] = sum of x over the newest `count` bars.

    Parameters
    ----------
    f : (rows, n_symbols) float64
    to : int64, row that is written
    ring, size, count : int64, first row and number of rows of the ring, bars to sum
    pos : int64, number of the newest bar
    lo, hi : int64, lanes [lo, hi)
    """
    i = oldest_point(size, count, pos)
    if hi - lo == 1:
        alone = 0.0
        for _ in range(count):
            alone += f[ring + i, lo]
            i += 1
            if i == size:
                i = 0
        f[to, lo] = alone
        return
    lanes_fill(f, to, 0.0, lo, hi)
    total = f[to, lo:hi]
    for _ in range(count):
        x = f[ring + i, lo:hi]
        for k in range(total.size):
            total[k] += x[k]
        i += 1
        if i == size:
            i = 0


@kernel("out f8[:,:], i8, i8, i8, i8, i8, i8, i8, i8")
def lanes_square(f, to, ring, size, count, mean, pos, lo, hi):
    """f[to] = sum of (x - f[mean])^2 over the newest `count` bars; parameters as `lanes_sum`."""
    i = oldest_point(size, count, pos)
    if hi - lo == 1:
        alone = 0.0
        for _ in range(count):
            d = f[ring + i, lo] - f[mean, lo]
            alone += d * d
            i += 1
            if i == size:
                i = 0
        f[to, lo] = alone
        return
    lanes_fill(f, to, 0.0, lo, hi)
    total, m = f[to, lo:hi], f[mean, lo:hi]
    for _ in range(count):
        x = f[ring + i, lo:hi]
        for k in range(total.size):
            d = x[k] - m[k]
            total[k] += d * d
        i += 1
        if i == size:
            i = 0


@kernel("out f8[:,:], i8, i8, i8, i8, i8, i8, i8, i8, i8")
def lanes_step_square(f, to, ring, size, count, apart, drift, pos, lo, hi):
    """f[to] = sum of (x_t - x_{t - apart} - apart f[drift])^2 over the pairs among the newest `count` bars; parameters as `lanes_sum`."""
    j = oldest_point(size, count, pos)
    i = (j + apart) % size
    if hi - lo == 1:
        alone, shift = 0.0, float(apart) * f[drift, lo]
        for _ in range(count - apart):
            d = f[ring + i, lo] - f[ring + j, lo] - shift
            alone += d * d
            i += 1
            if i == size:
                i = 0
            j += 1
            if j == size:
                j = 0
        f[to, lo] = alone
        return
    lanes_fill(f, to, 0.0, lo, hi)
    total, m = f[to, lo:hi], f[drift, lo:hi]
    for _ in range(count - apart):
        x, y = f[ring + j, lo:hi], f[ring + i, lo:hi]
        for k in range(total.size):
            d = y[k] - x[k] - float(apart) * m[k]
            total[k] += d * d
        i += 1
        if i == size:
            i = 0
        j += 1
        if j == size:
            j = 0
