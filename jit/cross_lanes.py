"""State of the cross-section, and the kernels that bring it forward at a pass. A row is a quantity, a lane (column of the arrays) is a
symbol. Logarithms of prices are int64 in units of 2**-40, so that returns, their sums over symbols and the index are exact: the order of
the symbols cannot matter and nothing drifts."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.math import log_point

SECOND = 1_000_000_000  # ns
RING = 300  # seconds of history; a silence of the whole market longer than this ends it
STALE = RING * SECOND  # ns; a symbol without a quote for longer is not live
LEAST = 3  # symbols that a comparison between them needs
LOG_UNIT = 1099511627776.0  # 2**40
BP = 1e4 / LOG_UNIT
MISSING = -0x8000000000000000  # int64 in place of NaN, inside the state only; below every value
BAR_RING = 60
BAR_SHIFT = 13  # returns of bars are rounded to 2**-27 = 7.5e-5 bp ...
BAR_MOST = 1 << 25  # ... and cut at 0.25, so that sums of 60 products, and 60 times these, are exact in int64

# Rows of q. Written by ticks:
UNITS = 0  # mid in 1/100 tick, 0 = none yet
SEEN = 1  # ns, last row with a mid
QUOTED = 2  # 1 = the rows BID .. ASK_SIZE of f hold a quote
# Written by bars:
BAR_LOG = 3  # of the last close; MISSING where it has none
BAR_RETURN = 4  # of the last bar, MISSING at the first
BARS = 5  # 1 = BAR_RETURN means something
CLOSED = 6  # 1 = a bar has closed since the last pass
# Written by passes:
LOGGED = 7  # UNITS of LOG
LOG = 8
LIVE = 9  # 0 = not live, else 1 + seconds for which the lane has been live without a break
STEP, FAST, SLOW, BAR = range(10, 14)  # returns since the last pass, of 30 s, of 300 s, of the last bar; MISSING
SECTOR_FAST, SECTOR_FAST_N, SECTOR_SLOW, SECTOR_SLOW_N = range(14, 18)  # sums by sector: lane = code of the sector
SCORE = 18  # room for what is compared
ANCHOR, ANCHOR_LEVEL, ANCHOR_AT = range(19, 22)  # last sample of bars: BAR_LOG, level of the index, second (0 = none)
BAR_N, BAR_SLOT, BAR_X, BAR_Y, BAR_XX, BAR_XY, BAR_YY = range(22, 29)  # moments of the ring, exact
SCALARS = 29  # one number for all lanes, in lane 0 of rows from here:
AT, LEVEL, INDEX, INDEX_STEP, INDEX_5, INDEX_FAST, INDEX_SLOW = range(SCALARS, SCALARS + 7)  # second of the last pass; level and LIVE of the index
BAR_XS = SCALARS + 7
BAR_YS = BAR_XS + BAR_RING
LOGS = BAR_YS + BAR_RING  # ring by second
LEVELS = LOGS + RING  # ring by second of the index level, slot i in row i // lanes, lane i % lanes
Q_ROWS = LEVELS + RING

# Rows of f. Written by ticks; sums since the last pass:
BID, BID_SIZE, ASK, ASK_SIZE = range(4)
OFI, PUSH, VOLUME, SQUARES = range(4, 8)  # e_n, |e_n|, shares, bp^2
# Decaying sums, of 30 s and 300 s:
OFI_FAST, VOLUME_FAST, TIME_FAST = range(8, 11)
PUSH_SLOW, VOLUME_SLOW, SQUARES_SLOW, TIME_SLOW = range(11, 15)
# Decaying moments of (return of the index x, of the lane y) in bp, 300 s:
W, W2, MEAN_X, MEAN_Y, XX, XY, YY, SPAN = range(15, 23)  # weight, sum of squared weights, ..., seconds
COLUMNS = 23  # the columns as rows
F_ROWS = COLUMNS + 17


@kernel("i8", inline=True)
def logged_point(units):
    """ln(units) in units of 2**-40; units >= 1."""
    return np.int64(np.rint(log_point(float(units)) * LOG_UNIT))


@kernel("out i8[:,:], i8, i8, ?")
def live_step(q, second, step, whole):
    """Who is live, and the returns of each lane.

    Parameters
    ----------
    q : (Q_ROWS, S) int64
    second : int64, time of the pass, s
    step : int64, seconds since the last pass
    whole : bool, the ring holds the time of the last pass

    Returns
    -------
    bool, the returns of bars are not those of the last pass

    Notes
    -----
    A lane is live if it has a mid and had a row with one in the last 300 s. Seconds without a pass are filled with what stood then.
    """
    lanes = q.shape[1]
    if whole:
        for t in range(second - step + 1, second):
            slot = LOGS + t % RING
            for i in range(lanes):
                q[slot, i] = q[LOG, i]
    for i in range(lanes):
        if q[UNITS, i] != q[LOGGED, i]:
            q[LOGGED, i] = q[UNITS, i]
            q[SCORE, i] = logged_point(q[UNITS, i])
        else:
            q[SCORE, i] = q[LOG, i]
    now = second * SECOND
    for i in range(lanes):
        before = q[LIVE, i] if whole else 0
        live = (before + step if before > 0 else 1) if q[UNITS, i] > 0 and now - q[SEEN, i] <= STALE else 0
        q[LIVE, i] = live
        y = q[SCORE, i]
        q[STEP, i] = y - q[LOG, i] if live > 1 else MISSING
        q[LOG, i] = y
    slow, fast = LOGS + second % RING, LOGS + (second - 30) % RING  # the slot of 300 s ago is the one to write
    for i in range(lanes):
        y = q[LOG, i]
        q[SLOW, i] = y - q[slow, i] if q[LIVE, i] > RING else MISSING
        q[FAST, i] = y - q[fast, i] if q[LIVE, i] > 30 else MISSING
    for i in range(lanes):
        q[slow, i] = q[LOG, i]
    changed = np.int64(0)
    for i in range(lanes):
        r = q[BAR_RETURN, i] if q[LIVE, i] > 0 and q[BARS, i] > 0 else np.int64(MISSING)
        changed |= q[BAR, i] ^ r
        q[BAR, i] = r
    return changed != 0 or not whole


@kernel("out i8[:,:], i8, i8", inline=True)
def level_point(q, second, ago):
    """Return of the index over the last `ago` seconds, MISSING where it is not known for so long."""
    slot = (second - ago) % RING
    lanes = q.shape[1]
    return q[LEVEL, 0] - q[LEVELS + slot // lanes, slot % lanes] if q[INDEX, 0] > ago else MISSING


@kernel("out i8[:,:], i8, i8, i8, ?")
def index_step(q, index, second, step, whole):
    """Level of the index and its returns.

    Parameters
    ----------
    q : (Q_ROWS, S) int64
    index : int64, lane of the index; negative = mean over the lanes
    second, step, whole : as in `live_step`

    Notes
    -----
    The level moves by the return of lane `index`, or by the mean return of the lanes that are live at this pass and the last one,
    if these are 3 or more, rounded to 2**-40. Where neither is known the index starts anew.
    """
    lanes = q.shape[1]
    if whole:
        for t in range(second - step + 1, second):
            slot = t % RING
            q[LEVELS + slot // lanes, slot % lanes] = q[LEVEL, 0]
    move = np.int64(MISSING)
    if index >= 0:
        move = q[STEP, index]
    else:
        total = n = np.int64(0)
        for i in range(lanes):
            known = q[STEP, i] != MISSING
            total += q[STEP, i] if known else 0
            n += 1 if known else 0
        if n >= LEAST:
            move = (2 * total + n) // (2 * n)
    if move == MISSING:
        q[INDEX, 0] = 1
    else:
        q[LEVEL, 0] += move
        q[INDEX, 0] += step
    q[INDEX_STEP, 0] = move
    slot = second % RING
    q[INDEX_5, 0] = level_point(q, second, 5)
    q[INDEX_FAST, 0] = level_point(q, second, 30)
    q[INDEX_SLOW, 0] = level_point(q, second, 300)
    q[LEVELS + slot // lanes, slot % lanes] = q[LEVEL, 0]


@kernel("out f8[:,:], out i8[:,:], f8, f8, f8")
def flows_step(f, q, fast, slow, seconds):
    """Decaying sums of what the ticks since the last pass brought; a lane that has just come alive starts anew.

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64
    fast, slow : float64, decay of 30 s and 300 s
    seconds : float64, since the last pass
    """
    for i in range(q.shape[1]):
        going = q[LIVE, i] > 1
        a = fast if going else 0.0
        b = slow if going else 0.0
        t = seconds if going else 1.0
        f[OFI_FAST, i] = f[OFI_FAST, i] * a + f[OFI, i]
        f[VOLUME_FAST, i] = f[VOLUME_FAST, i] * a + f[VOLUME, i]
        f[TIME_FAST, i] = f[TIME_FAST, i] * a + t
        f[PUSH_SLOW, i] = f[PUSH_SLOW, i] * b + f[PUSH, i]
        f[VOLUME_SLOW, i] = f[VOLUME_SLOW, i] * b + f[VOLUME, i]
        f[SQUARES_SLOW, i] = f[SQUARES_SLOW, i] * b + f[SQUARES, i]
        f[TIME_SLOW, i] = f[TIME_SLOW, i] * b + t
    for row in range(OFI, SQUARES + 1):
        for i in range(q.shape[1]):
            f[row, i] = 0.0


@kernel("out f8[:,:], out i8[:,:], f8, f8")
def moments_step(f, q, slow, seconds):
    """Decaying moments of (return of the index, return of the lane) since the last pass, one sample of weight 1 where both are known.

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64
    slow : float64, decay of 300 s
    seconds : float64, since the last pass

    References
    ----------
    West (1979), Updating mean and variance estimates, with decaying weights.
    """
    index = q[INDEX_STEP, 0]
    x = float(index) * BP
    for i in range(q.shape[1]):
        known = index != MISSING and q[STEP, i] != MISSING
        one = 1.0 if known else 0.0
        before = f[W, i] * slow
        w = before + one
        dx = x - f[MEAN_X, i] if known else 0.0
        dy = float(q[STEP, i]) * BP - f[MEAN_Y, i] if known else 0.0
        share = 1.0 / w if known else 0.0
        left = before * share
        f[W, i] = w
        f[W2, i] = f[W2, i] * slow * slow + one
        f[SPAN, i] = f[SPAN, i] * slow + one * seconds
        f[MEAN_X, i] += dx * share
        f[MEAN_Y, i] += dy * share
        f[XX, i] = f[XX, i] * slow + dx * dx * left
        f[XY, i] = f[XY, i] * slow + dx * dy * left
        f[YY, i] = f[YY, i] * slow + dy * dy * left


@kernel("i8", inline=True)
def bar_unit_point(r):
    """A return in 2**-40 as one in 2**-27, cut at 0.25."""
    return min(max((r + (1 << (BAR_SHIFT - 1))) >> BAR_SHIFT, -BAR_MOST), BAR_MOST)


@kernel("out i8[:,:], i8")
def bars_step(q, second):
    """Samples of the ring of bars, for the lanes of which a bar has closed since the last pass.

    Parameters
    ----------
    q : (Q_ROWS, S) int64
    second : int64, time of the pass, s

    Notes
    -----
    A bar is recorded when it closes and becomes a sample here, where the level of the index is known: a bar of time closes at the very
    time of a pass, other bars within a second of it. Bars of a lane that close between two passes are one sample. Bars over which the
    index is not known throughout are none.
    """
    for i in range(q.shape[1]):
        if q[CLOSED, i] == 0:
            continue
        q[CLOSED, i] = 0
        if q[ANCHOR_AT, i] > 0 and q[INDEX, 0] > second - q[ANCHOR_AT, i]:
            x = bar_unit_point(q[LEVEL, 0] - q[ANCHOR_LEVEL, i])
            y = bar_unit_point(q[BAR_LOG, i] - q[ANCHOR, i])
            slot = q[BAR_SLOT, i]
            if q[BAR_N, i] == BAR_RING:
                x0, y0 = q[BAR_XS + slot, i], q[BAR_YS + slot, i]
            else:
                x0 = y0 = np.int64(0)
                q[BAR_N, i] += 1
            q[BAR_XS + slot, i] = x
            q[BAR_YS + slot, i] = y
            q[BAR_SLOT, i] = slot + 1 if slot + 1 < BAR_RING else 0
            q[BAR_X, i] += x - x0
            q[BAR_Y, i] += y - y0
            q[BAR_XX, i] += x * x - x0 * x0
            q[BAR_XY, i] += x * y - x0 * y0
            q[BAR_YY, i] += y * y - y0 * y0
        q[ANCHOR, i] = q[BAR_LOG, i]
        q[ANCHOR_LEVEL, i] = q[LEVEL, 0]
        q[ANCHOR_AT, i] = second


@kernel("out i8[:,:], i4[:]")
def sectors_step(q, sector):
    """Sums and numbers of the returns of 30 s and 300 s by sector, exact.

    Parameters
    ----------
    q : (Q_ROWS, S) int64
    sector : (S,) int32, 0 to S - 1; others are no sector
    """
    lanes = q.shape[1]
    for row in range(SECTOR_FAST, SECTOR_SLOW_N + 1):
        for i in range(lanes):
            q[row, i] = 0
    for i in range(lanes):
        k = sector[i]
        if 0 <= k < lanes:
            if q[FAST, i] != MISSING:
                q[SECTOR_FAST, k] += q[FAST, i]
                q[SECTOR_FAST_N, k] += 1
            if q[SLOW, i] != MISSING:
                q[SECTOR_SLOW, k] += q[SLOW, i]
                q[SECTOR_SLOW_N, k] += 1
