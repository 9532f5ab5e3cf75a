"""Rolling statistics of many series at once, for research: what the columns price_z and range_pos are of bars, of any whole numbers. Series
are lanes: each operation is a loop over contiguous memory of one row."""

import numpy as np

from tickarrow.jit._kernel import kernel

ROWS = 256  # of a table of extremes
LEVELS = 8


@kernel("i8[:,:], i8, i8, out i8[:,:], out f8[:,:,:], i8")
def z_row(x, i, window, sums, out, k):
    """Enter row i into the sums of window k and write its z-scores; parameters as `rolling`."""
    series, total, square = x.shape[1], 2 * k, 2 * k + 1
    if i < window:
        for s in range(series):
            v = x[i, s]
            sums[total, s] += v
            sums[square, s] += v * v
    else:
        for s in range(series):
            v, old = x[i, s], x[i - window, s]
            sums[total, s] += v - old
            sums[square, s] += v * v - old * old
    if i < window - 1:
        for s in range(series):
            out[i, k, s] = np.nan
        return
    w = float(window)
    for s in range(series):
        v, t = x[i, s], sums[total, s]
        wv = window * v
        s1 = float(t - wv)
        s2 = float(sums[square, s] - v * (2 * t - wv))
        spread = np.sqrt(max(w * s2 - s1 * s1, 0.0))
        out[i, k, s] = -s1 / spread if spread > 0.0 else np.nan


@kernel("i8[:,:], i8, out i8[:,:]")
def extremes_row(x, i, table):
    """Enter row i into the table of extremes: in row 2**l + i % 2**l the largest of the last 2**l values, `ROWS` rows further the smallest."""
    series = x.shape[1]
    for s in range(series):
        v = x[i, s]
        for level in range(LEVELS):
            row = (1 << level) + (i & ((1 << level) - 1))
            before = table[row, s]
            table[row, s] = v
            v = max(v, before)
    for s in range(series):
        v = x[i, s]
        for level in range(LEVELS):
            row = ROWS + (1 << level) + (i & ((1 << level) - 1))
            before = table[row, s]
            table[row, s] = v
            v = min(v, before)


@kernel("i8[:,:], i8, i8, i8[:,:], out f8[:,:,:], i8")
def place_row(x, i, window, table, out, k):
    """Write the place of row i in the range of its window, two overlapping entries of the table; parameters as `rolling`."""
    level = 0
    while (2 << level) <= window:
        level += 1
    if i < window - 1:
        for s in range(x.shape[1]):
            out[i, k, s] = np.nan
        return
    mask = (1 << level) - 1
    a, b = (1 << level) + (i & mask), (1 << level) + ((i - window) & mask)
    for s in range(x.shape[1]):
        low = min(table[ROWS + a, s], table[ROWS + b, s])
        width = max(table[a, s], table[b, s]) - low
        place = float(x[i, s] - low) / np.float64(width)
        out[i, k, s] = place if width > 0 else np.nan


@kernel("i8[:,:], i8[:], out i8[:,:], out i8[:,:], out f8[:,:,:]")
def rolling(x, windows, sums, table, out):
    """z-score and place in the range of each value among the last ones, itself included.

    Parameters
    ----------
    x : (rows, series) int64; the values of a window lie within 2**27 of one another, so that sums of squares are exact
    windows : (n,) int64, 2 to 255 rows
    sums : (2 n, series) int64, zeros
    table : (2 `ROWS`, series) int64, zeros
    out : (rows, 2 n, series) float64: (x - mean) / population deviation for each window, then (x - lowest) / (highest - lowest) for each.
        NaN before the window is full and where all its values are equal

    Notes
    -----
    Sums of whole numbers are exact, so nothing drifts. A table of extremes needs `LEVELS` comparisons a value for all windows.
    """
    n = windows.size
    for i in range(x.shape[0]):
        extremes_row(x, i, table)
        for k in range(n):
            z_row(x, i, windows[k], sums, out, k)
        for k in range(n):
            place_row(x, i, windows[k], table, out, n + k)
