"""Feature family `depth`: shape of the order book and order flow on its levels, for symbols with market depth (14 columns).

A *level* is a price: neighbouring rows of the book at one price (of several market makers or exchanges) are one level with the sum of
their sizes. A level that is not there holds nothing, so the columns of the first 10 levels are of the levels there are: with
5 rows subscribed `depth_imbalance_10` equals `depth_imbalance_5`. Everything is NaN until both sides of the book have a level, and while the
book is uncertain: a change of it did not fit, or data was lost and not each level was sent anew."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.depth import ASK, BID, DEPTH_STATE, GAP, LEVEL, LEVELS, UNCERTAIN, anew_point, book_point
from tickarrow.jit.event import BOOK_CHANGE, EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import FORGOTTEN, decay_point, moved_point

ANEW = 3  # operation of a BOOK_CHANGE: the book begins anew
NEAR = 10  # levels of a side that are looked at
FLOWS = 5  # of them, those whose order flow is summed
WARM = 20  # events before the first principal component is shown
TAU_S = (5.0, 300.0)  # order flow; its covariance

DEPTH_FEATURES_STATE = record(
    [
        ("ts", "i8"),  # time of the decaying sums
        ("rate", "f8"),  # -1e-9 / tau of `flow`
        ("certain", "?"),
        ("compared", "u1", (FLOWS,)),  # 1: the level was compared with itself once
        ("events", "i8"),  # of the covariance, counted to WARM
        ("here", "i8", (2,)),  # levels of each side, to NEAR
        ("known", "i8", (2,)),  # levels of each side whose latest price and size are known; those behind `here` are not there now
        ("price", "f8", (2, NEAR)),
        ("quantity", "f8", (2, NEAR)),
        ("flow", "f8", (FLOWS,)),  # decaying sums, shares
        ("depth_w", "f8"),  # decaying weight and mean of the size of a level, shares
        ("depth_mean", "f8"),
        ("flow_w", "f8"),  # decaying weight, mean and sum of squares about it of the normalised flows; lower triangle
        ("flow_mean", "f8", (FLOWS,)),
        ("square", "f8", (FLOWS, FLOWS)),
        ("axis", "f8", (FLOWS,)),  # first principal component, length 1
        ("turned", "f8", (FLOWS,)),  # scratch
        ("book", DEPTH_STATE),
        ("rows", LEVEL, (2, LEVELS)),
    ]
)


def columns(tau_s):
    """Columns of the family, in the order of `depth_emit`."""
    fast, slow = (f"{t:g} s" for t in tau_s)
    warm_up = "NaN until both sides have a level, and while the book is uncertain"
    flow_warm_up = f"{warm_up}; until the level was compared with itself once since"
    slope = "Naes and Skjeltorp (2006); as a regression, of percentages: Ghysels and Nguyen (2019)"
    mlofi = "Xu, Gould and Howison (2018); divisor: Cont, Cucuringu and Zhang (2023)"
    return [
        *(
            Column(
                f"depth_imbalance_{n}", "1", f"(sum_{n} qb - sum_{n} qa) / (sum_{n} qb + sum_{n} qa)", "Cao, Hansch and Wang (2009)",
                f"{n} levels, or those there are", warm_up, "wickra OrderBookImbalanceTopN", "depth",
            )
            for n in (3, 5, 10)
        ),
        Column(
            "depth_mid_5", "ticks", "(sum_5 p q / sum_5 q - m) / tick, both sides", "Cao, Hansch and Wang (2009)",
            "5 levels, or those there are", warm_up, "numpy", "depth",
        ),
        *(
            Column(
                f"book_slope_{side}", "shares/tick", f"slope of the regression of q_1 + ... + q_k on the distance of p_k behind m in ticks, {side} side", slope,
                "10 levels, or those there are", f"{warm_up}; of a side with one level", "scipy linregress; wickra DepthSlope", "depth",
            )
            for side in ("bid", "ask")
        ),
        *(
            Column(
                f"depth_distance_{side}", "ticks", f"sum_10 q |p - m| / tick / sum_10 q, {side} side", "Cao, Hansch and Wang (2009), of one side",
                "10 levels, or those there are", warm_up, "numpy", "depth",
            )
            for side in ("bid", "ask")
        ),
        *(
            Column(
                f"mlofi_{k}_{tau_s[0]:g}s", "1", f"S(e_{k}) / mean size of the first 5 levels; e_{k} order flow imbalance of level {k}", mlofi,
                fast, flow_warm_up, "wickra OrderFlowImbalance", "depth",
            )
            for k in range(1, FLOWS + 1)
        ),
        Column(
            f"ofi_integrated_{tau_s[1]:g}s", "1", "w . x / sum |w|, x the 5 mlofi columns, w the first principal component of x (one power step an event)",
            "Cont, Cucuringu and Zhang (2023)", slow, f"{warm_up}; for the first {WARM - 1} events", "scikit-learn PCA", "depth",
        ),
    ]  # fmt: skip


@kernel("DEPTH_FEATURES_STATE", inline=True)
def _forget(s):
    """The book is uncertain or empty: what happens to it is not known, so order flow begins anew. The covariance is kept."""
    s.certain = False
    for side in range(2):
        s.here[side] = s.known[side] = 0
    for k in range(FLOWS):
        s.compared[k] = 0
        s.flow[k] = 0.0


@kernel("DEPTH_FEATURES_STATE, i8, i8, f8, f8, f8", inline=True)
def _level(s, side, k, price, quantity, tick_size):
    """Write level k of a side and add its order flow; returns whether it differs from its latest."""
    differs = False
    if k < FLOWS and k < s.known[side]:
        if not moved_point(price, s.price[side, k], tick_size):
            flow = quantity - s.quantity[side, k]
        elif (price > s.price[side, k]) == (side == BID):
            flow = quantity
        else:
            flow = -s.quantity[side, k]
        differs = flow != 0.0
        s.flow[k] += flow if side == BID else -flow
        s.compared[k] = 1
    s.price[side, k] = price
    s.quantity[side, k] = quantity
    return differs


@kernel("DEPTH_FEATURES_STATE, i8, f8")
def _levels(s, side, tick_size):
    """Levels of a side out of the rows of the book, with their order flow; returns whether one of the first five has changed.
    Rows without a price or a positive size are no level."""
    k, price, quantity, differs = 0, np.nan, 0.0, False
    for j in range(s.book.levels[side]):
        row = s.rows[side, j]
        if not (0.0 < row.quantity < np.inf) or not abs(row.price) < np.inf:
            continue
        if quantity > 0.0 and moved_point(row.price, price, tick_size):
            differs |= _level(s, side, k, price, quantity, tick_size)
            k += 1
            quantity = 0.0
            if k == NEAR:
                break
        if quantity == 0.0:
            price = row.price
        quantity += row.quantity
    if quantity > 0.0:
        differs |= _level(s, side, k, price, quantity, tick_size)
        k += 1
    s.here[side] = k
    s.known[side] = max(s.known[side], k)
    return differs


@kernel("DEPTH_FEATURES_STATE")
def _sample(s):
    """An event: one sample of the mean size and of the covariance of the flows, and one power step of its first component."""
    total, n = 0.0, 0
    for side in range(2):
        for k in range(min(s.here[side], FLOWS)):
            total += s.quantity[side, k]
            n += 1
    s.depth_w += 1.0
    s.depth_mean += (total / float(n) - s.depth_mean) / s.depth_w

    share = 1.0 / (s.flow_w + 1.0)
    before = s.flow_w * share
    s.flow_w += 1.0
    level = 1.0 / s.depth_mean
    for i in range(FLOWS):
        x = s.flow[i] * level - s.flow_mean[i]
        s.turned[i] = x
        for j in range(i + 1):
            s.square[i, j] += x * s.turned[j] * before
    for i in range(FLOWS):
        s.flow_mean[i] += s.turned[i] * share
        if s.events == 0:
            s.axis[i] = 1.0
    s.events = min(s.events + 1, WARM)

    length2, direction = 0.0, 0.0
    for i in range(FLOWS):
        y = 0.0
        for j in range(FLOWS):
            y += (s.square[i, j] if j <= i else s.square[j, i]) * s.axis[j]
        s.turned[i] = y
        length2 += y * y
        direction += y
    if length2 > FORGOTTEN:
        unit = (1.0 if direction >= 0.0 else -1.0) / np.sqrt(length2)
        for i in range(FLOWS):
            s.axis[i] = s.turned[i] * unit


@kernel("DEPTH_FEATURES_STATE, BOOK_CHANGE, f8[:], i8[:]")
def depth_change(s, e, rate, w):
    """Bring the state forward by one change of the depth book.

    Parameters
    ----------
    s : DEPTH_FEATURES_STATE of the symbol, updated in place
    e : BOOK_CHANGE; a time before the last one counts as no time. UNCERTAIN in `quality`: the book is uncertain after the change.
        Where the book begins anew only symbol and operation are read
    rate : (n_tau,) float64, -1e-9 / tau_s
    w : (2,) int64, windows of the order flow and of its covariance in `rate`

    Notes
    -----
    Order flow of level k (Xu, Gould and Howison 2018): e_k = dW_k - dV_k, where dW_k = q, q - q' or -q' as the bid of level k rose,
    stayed or fell against its latest q', and dV_k = q, q - q' or -q' as the ask fell, stayed or rose. A level that is not there between two
    changes (a deletion in front, and the insertion behind that fills up) is compared with its latest when it is there again.
    Divisor of all levels (Cont, Cucuringu and Zhang 2023): mean size of the first five levels of both sides, decaying with the flows,
    one sample an event. An event is a change that changes one of the five levels; it is also one sample of the covariance.
    After an uncertain time, and where the book begins anew, the sums begin at 0.
    """
    if e.operation == ANEW:
        anew_point(s.book)
        _forget(s)
        return
    dt = e.ts - s.ts
    if s.ts == 0 or dt > 0:
        s.ts = e.ts
        s.rate = rate[w[0]]
        fast, slow = decay_point(dt, s.rate), decay_point(dt, rate[w[1]])
        s.depth_w *= fast
        s.flow_w *= slow
        for i in range(FLOWS):
            s.flow[i] *= fast
            for j in range(i + 1):
                s.square[i, j] *= slow
    flags = book_point(s.book, s.rows, np.int64(e.side), np.int64(e.position), np.int64(e.operation), e.price, e.quantity, np.uint64(0))
    if (flags | e.quality) & UNCERTAIN != 0:
        _forget(s)
    elif s.certain:
        if _levels(s, e.side, e.tick_size):
            _sample(s)
    else:
        s.certain = True
        _levels(s, BID, e.tick_size)
        _levels(s, ASK, e.tick_size)


@kernel("DEPTH_FEATURES_STATE, EVENT, i8[:]")
def depth_step(s, e, w):
    """Bring the state forward by one tick: after data was lost (GAP in `quality`) the book is uncertain until its next change.

    Parameters
    ----------
    s : DEPTH_FEATURES_STATE of the symbol, updated in place
    e : EVENT
    w : (2,) int64
    """
    if e.quality & GAP != 0:
        _forget(s)


@kernel("DEPTH_FEATURES_STATE, i8, f8, f8", inline=True)
def _slope(s, side, mid, tick_size):
    """Slope of the regression of the cumulated size on the distance behind the mid, shares per tick; NaN with one level."""
    n = float(s.here[side])
    total, far, cumulated = 0.0, 0.0, 0.0
    for k in range(s.here[side]):
        total += s.quantity[side, k]
        far += s.price[side, k] - mid
        cumulated += total
    far, cumulated = far / n, cumulated / n
    total, sxx, sxy = 0.0, 0.0, 0.0
    for k in range(s.here[side]):
        total += s.quantity[side, k]
        x = (s.price[side, k] - mid) - far
        sxx += x * x
        sxy += x * (total - cumulated)
    if not sxx > 0.0:
        return np.nan
    slope = sxy / sxx * tick_size
    return -slope if side == BID else slope


@kernel("DEPTH_FEATURES_STATE, EVENT, i8[:], out f8[:], i8")
def depth_emit(s, e, w, v, at):
    """Write the columns as of a row: the book as it stands, order flow decayed to the time of the row.

    Parameters
    ----------
    s : DEPTH_FEATURES_STATE of the symbol
    e : EVENT, the row that is due
    w : (2,) int64
    v : (capacity,) float64, written from `at`
    at : int64

    Notes
    -----
    0-2 depth_imbalance_3, _5, _10   (sum qb - sum qa) / (sum qb + sum qa) over the first n levels of each side
    3 depth_mid_5                    mean price of the first 5 levels of both sides, weighted with sizes, less the mid; ticks
    4-5 book_slope_bid, _ask         slope of a regression of cumulated size on distance from the mid, 10 levels; shares per tick
    6-7 depth_distance_bid, _ask     mean distance from the mid, weighted with sizes, 10 levels; ticks
    8-12 mlofi_1_5s ... mlofi_5_5s   decaying sum of e_k over the mean size of a level
    13 ofi_integrated_300s           w . x / sum |w| of the five above, w their first principal component, signed so that sum w >= 0

    The mid is that of the depth book, so that books of other exchanges than the quote's mean the same. Books may cross: the
    regression takes a level before the mid at a negative distance, the mean distance is absolute.

    NaN: all while the book is uncertain or a side has no level; 4 and 5 of a side with one level; 8 to 12 until the level was compared
    with itself once; 13 for the first 19 events.
    """
    n_bid, n_ask = s.here[BID], s.here[ASK]
    if not s.certain or n_bid == 0 or n_ask == 0:
        for i in range(9 + FLOWS):
            v[at + i] = np.nan
        return
    tick, mid = e.tick_size, 0.5 * (s.price[BID, 0] + s.price[ASK, 0])
    bids, asks, moment, reach_bid, reach_ask = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(NEAR):
        if k < n_bid:
            q, d = s.quantity[BID, k], s.price[BID, k] - mid
            bids += q
            reach_bid += q * abs(d)
            moment += q * d
        if k < n_ask:
            q, d = s.quantity[ASK, k], s.price[ASK, k] - mid
            asks += q
            reach_ask += q * abs(d)
            moment += q * d
        if k == 2:
            v[at] = (bids - asks) / (bids + asks)
        if k == 4:
            v[at + 1] = (bids - asks) / (bids + asks)
            v[at + 3] = moment / (bids + asks) / tick
    v[at + 2] = (bids - asks) / (bids + asks)
    v[at + 4] = _slope(s, BID, mid, tick)
    v[at + 5] = _slope(s, ASK, mid, tick)
    v[at + 6] = reach_bid / bids / tick
    v[at + 7] = reach_ask / asks / tick

    fade = decay_point(e.ts - s.ts, s.rate)
    together, weight = 0.0, 0.0
    for k in range(FLOWS):
        x = s.flow[k] * fade / s.depth_mean if s.depth_mean > 0.0 else 0.0  # 0: there was no event yet
        v[at + 8 + k] = x if s.compared[k] != 0 else np.nan
        together += s.axis[k] * x
        weight += abs(s.axis[k])
    v[at + 8 + FLOWS] = together / weight if s.events == WARM else np.nan


FAMILY = Family(
    "depth", 1, columns, TAU_S, windows=2, state=DEPTH_FEATURES_STATE, step=depth_step, emit=depth_emit, change=depth_change,
)  # fmt: skip
