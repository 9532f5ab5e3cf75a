"""Latency histograms with log-linear buckets, and the share of a sliding window that is over a limit. Nothing is allocated: the caller owns
the counts.

A value up to 127 ns has a bucket of its own; above, each power of two is cut into 64 buckets, so that a bucket is 1.6 % wide at most: the
layout of HdrHistogram with two significant digits."""

import numpy as np

from tickarrow.jit._kernel import kernel

HALF = 64  # buckets of a power of two
BITS = 40  # values from 2^40 ns (18 minutes) on count in the last bucket
BUCKETS = (BITS - 6) * HALF + HALF
ROWS, OVER, WARM = 0, 1, 2  # counters of a slice
ONE_IN = 100  # a p99 is over a limit if more than one value in 100 is


@kernel("i8", inline=True)
def bucket_point(ns):
    """Bucket of a value in ns; a negative one counts as 0."""
    value, shift = max(ns, 0), 0
    while value >= 2 * HALF:
        value >>= 1
        shift += 1
    return min(shift * HALF + value, BUCKETS - 1)


@kernel("i8", inline=True)
def top_point(bucket):
    """The largest value of a bucket, ns."""
    shift = max(bucket // HALF - 1, 0)
    return ((bucket - shift * HALF + 1) << shift) - 1


@kernel("i8[:], f8")
def hist_quantile(counts, q):
    """The least bucket's largest value that a share `q` of all values is not above.

    Parameters
    ----------
    counts : (BUCKETS,) int64
    q : float64 in [0, 1]

    Returns
    -------
    int64, ns; -1 = there are no values
    """
    n = 0
    for i in range(BUCKETS):
        n += counts[i]
    if n == 0:
        return -1
    rank, seen = np.int64(q * n), 0
    if rank < q * n or rank == 0:
        rank += 1
    for i in range(BUCKETS):
        seen += counts[i]
        if seen >= rank:
            return top_point(i)
    return top_point(BUCKETS - 1)


@kernel("i8, i8, i8[:], i8[:], i8[:], i8, out i8[:,:], out i8[:,:,:], out i8[:,:], out i8[:]")
def budget_update(ts, slice_ns, ns, limit, calm, weight, counts, slices, sums, clock):
    """Count how long each stage took, and say which stages are over their limits.

    Parameters
    ----------
    ts : int64, ns; the time of the loop, by which the window slides
    slice_ns : int64, ns; the window is as many slices as `slices` has
    ns : (n_stages,) int64, how long each stage took
    limit : (n_stages,) int64, ns that one value in 100 may exceed; 0 = no limit
    calm : (n_stages,) int64, ns, the same for saying that a stage is far below its limit
    weight : int64, values that this one stands for
    counts : (n_stages, BUCKETS) int64, histograms of all values
    slices : (n_slices, n_stages, 3) int64, values, those over the limit, those over `calm`, of each slice
    sums : (n_stages, 3) int64, sums of `slices` over the window
    clock : (1,) int64, number of the slice in use

    Returns
    -------
    int64, bit s is set if the p99 of stage s over the window is above its limit, that is if more than one value in 100 is
    """
    n_slices, n_stages = slices.shape[0], slices.shape[1]
    now = ts // slice_ns
    for _ in range(min(max(now - clock[0], 0), n_slices)):
        clock[0] += 1
        old = clock[0] % n_slices
        for s in range(n_stages):
            for k in range(3):
                sums[s, k] -= slices[old, s, k]
                slices[old, s, k] = 0
    clock[0] = max(clock[0], now)
    here, over = clock[0] % n_slices, 0
    for s in range(n_stages):
        counts[s, bucket_point(ns[s])] += weight
        if limit[s] == 0:
            continue
        slices[here, s, ROWS] += weight
        sums[s, ROWS] += weight
        if ns[s] > limit[s]:
            slices[here, s, OVER] += weight
            sums[s, OVER] += weight
        if ns[s] > calm[s]:
            slices[here, s, WARM] += weight
            sums[s, WARM] += weight
        if sums[s, OVER] * ONE_IN > sums[s, ROWS]:
            over |= 1 << s
    return over
