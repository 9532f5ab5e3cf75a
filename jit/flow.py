"""Feature family `flow`: who pushes the price, from quote changes and signed trades (18 columns with four windows)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.moments import FORGOTTEN, MAX_TAU, ROUNDING, decay_point, moved_point, ofi_point, ratio_point, sign_point, store_point
from tickarrow.jit.trigger import QUOTE

VERSION = 1
TAU_S = (1.0, 5.0, 30.0, 300.0)
INPUTS = ("ts", "symbol", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size")

LOT = 100.0  # shares; a smaller trade is an odd lot
STEP_UP = 1.0460278599087169  # exp(0.9 * 0.05), step of the streaming 0.9 quantile
STEP_DOWN = 0.9950124791926823  # exp(-0.1 * 0.05)
UNIT = 1e8  # exact sums count sizes in 1e-8 shares
MOST = 1e8  # shares; a larger trade counts as that many in the exact sums, so that they cannot overflow
HALVE_AT = 4_000_000_000_000_000_000  # the exact sums are halved above 4e10 shares: older trades count half, nothing overflows
CALIBRATION = 50  # first trades that set the bucket volume
BUCKET_TRADES = 10  # a bucket holds this many mean trades
BUCKETS = 50

FLOW_STATE = record(
    [
        ("ts", "i8"),
        # quotes
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        # trade signs
        ("price", "f8"),  # last known trade price
        ("tick_sign", "f8"),  # direction of the last change of the trade price
        ("sign", "f8"),  # last known Lee-Ready sign
        ("run", "i8"),  # trades in a row with that sign
        # impact: the trade whose effect on the mid is not known yet
        ("mid", "f8"),
        ("flow", "f8"),
        ("root", "f8"),
        # decaying sums, one per window
        ("ofi", "f8", (MAX_TAU,)),
        ("signed", "f8", (MAX_TAU,)),
        ("volume", "f8", (MAX_TAU,)),
        # decaying moments of (signed size, mid change), two slowest windows
        ("kyle_w", "f8", (2,)),
        ("kyle_x", "f8", (2,)),
        ("kyle_y", "f8", (2,)),
        ("kyle_xx", "f8", (2,)),
        ("kyle_xy", "f8", (2,)),
        # decaying sums, slowest window
        ("trades", "f8"),
        ("pairs_w", "f8"),  # pairs of signs that follow each other
        ("pairs_x", "f8"),
        ("pairs_y", "f8"),
        ("pairs_xy", "f8"),
        ("root_xx", "f8"),
        ("root_xy", "f8"),
        ("large", "f8"),
        ("odd", "f8"),
        ("quantile", "f8"),
        # exact sums in 1e-8 shares
        ("total", "i8"),
        ("delta", "i8"),
        ("calibrated", "i8"),  # trades of the calibration seen
        ("bucket", "i8"),  # bucket volume, first the sum of the calibration
        ("filled", "i8"),
        ("tilt", "i8"),  # buys less sells of the open bucket
        ("tilts", "i8"),  # sum of the ring
        ("ring", "i8", (BUCKETS,)),  # |buys less sells| of the last buckets
        ("slot", "i8"),
        ("buckets", "i8"),  # closed buckets, counted to BUCKETS
        ("started", "?"),
        ("quoted", "?"),
        ("priced", "?"),
        ("pending", "?"),  # mid, flow and root are known
    ]
)


def columns(tau_s):
    """Names of the columns in the order of `flow_emit`."""
    names = [f"{t:g}s" for t in tau_s]
    slow = names[-1]
    return [
        *(f"ofi_{n}" for n in names), *(f"signed_volume_{n}" for n in names), "trade_sign", f"sign_autocorr_{slow}", "sign_run", "vpin",
        *(f"kyle_{n}" for n in names[-2:]), f"hasbrouck_{slow}", "volume_delta", f"large_share_{slow}", f"odd_lot_share_{slow}",
    ]  # fmt: skip


@kernel("FLOW_STATE, f8, i8", inline=True)
def bucket_step(s, sign, size):
    """Pour a trade into volume buckets of equal size; a trade that does not fit is split.

    Parameters
    ----------
    s : FLOW_STATE
    sign : float64, +1, -1; 0 counts half as bought and half as sold
    size : int64, 1e-8 shares, at most `MOST` shares

    Notes
    -----
    The bucket volume is fixed per symbol: `BUCKET_TRADES` mean trades of the first `CALIBRATION` trades, which fill no bucket.
    """
    if s.calibrated < CALIBRATION:
        s.bucket += size
        s.calibrated += 1
        if s.calibrated == CALIBRATION:
            s.bucket = max(s.bucket // CALIBRATION * BUCKET_TRADES, 1)
        return
    direction = np.int64(sign)
    room = s.bucket - s.filled
    if size - room > BUCKETS * s.bucket:  # more whole buckets than the ring holds are all alike
        size = room + BUCKETS * s.bucket + (size - room) % s.bucket
    while size > 0:
        part = min(size, s.bucket - s.filled)
        size -= part
        s.filled += part
        s.tilt += direction * part
        if s.filled == s.bucket:
            tilt = abs(s.tilt)
            s.tilts += tilt - s.ring[s.slot]
            s.ring[s.slot] = tilt
            s.slot = (s.slot + 1) % BUCKETS
            s.buckets = min(s.buckets + 1, BUCKETS)
            s.filled = 0
            s.tilt = 0


@kernel("FLOW_STATE, f8[:], f8, i8, u1, f8, f8, f8, f8, f8, f8", inline=True)
def flow_step(s, rate, tick_size, ts, kind, bid, bid_size, ask, ask_size, price, size):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : FLOW_STATE of the symbol, updated in place
    rate : (n_tau,) float64, -1e-9 / tau_s, slowest last
    tick_size : float64, currency
    ts : int64, ns; a time before the last one counts as no time
    kind : uint8, Kind
    bid, bid_size, ask, ask_size : float64, the quote, of a trade the quote in force; NaN = missing
    price, size : float64, of a trade; without a positive size the trade is left out, without a price it has volume only

    Notes
    -----
    A quote that is not complete is not remembered: the next complete one is compared with the last complete one.
    A trade without a known sign counts as volume, adds no signed volume, and is no part of runs, pairs and impact.
    The impact of trade i is the change of the mid in force from trade i to the next one, in bp.
    """
    n = rate.size
    dt = ts - s.ts if s.started else 0
    if dt > 0 or not s.started:
        s.ts = ts
    s.started = True

    e = q = signed = is_trade = before = after = large = odd = 0.0
    y = flow = root = 0.0
    impact = False
    if kind == QUOTE:
        if bid == bid and ask == ask and bid_size == bid_size and ask_size == ask_size:
            if s.quoted:
                e = ofi_point(s.bid, s.bid_size, s.ask, s.ask_size, bid, bid_size, ask, ask_size)
            s.bid, s.bid_size = bid, bid_size
            s.ask, s.ask_size = ask, ask_size
            s.quoted = True
    elif size > 0.0:
        q = size
        is_trade = 1.0
        sign = 0.0
        if price == price:
            if s.priced and price != s.price:
                s.tick_sign = 1.0 if price > s.price else -1.0
            s.price = price
            s.priced = True
            sign = sign_point(price, bid, ask, tick_size, s.tick_sign)
        signed = sign * q
        mid = 0.5 * (bid + ask)
        if s.pending and mid > 0.0:
            impact = True
            y = 1e4 * (mid - s.mid) / s.mid if moved_point(mid, s.mid, tick_size) else 0.0
            flow = s.flow
            root = s.root
        s.pending = mid > 0.0 and sign != 0.0
        if sign != 0.0:
            if s.run > 0:
                before = s.sign
                after = sign
            s.run = s.run + 1 if sign == s.sign else 1
            s.sign = sign
        if s.pending:
            s.mid = mid
            s.flow = signed
            s.root = sign * np.sqrt(max(price, 0.0) * q)
        # streaming quantile in the log of the size (Tierney 1983 with a constant step): one step above it is large
        if s.quantile > 0.0:
            if q > s.quantile * STEP_UP:
                large = q
            s.quantile *= STEP_UP if q > s.quantile else STEP_DOWN
        else:
            s.quantile = q
        if q < LOT:
            odd = q
        exact = np.int64(np.rint(min(q, MOST) * UNIT))
        s.total += exact
        s.delta += np.int64(sign) * exact
        if s.total > HALVE_AT:
            s.total //= 2
            s.delta //= 2
        bucket_step(s, sign, exact)

    d = 1.0
    for k in range(n):
        d = decay_point(dt, rate[k])
        s.ofi[k] = s.ofi[k] * d + e
        s.signed[k] = s.signed[k] * d + signed
        s.volume[k] = s.volume[k] * d + q
        j = k - (n - 2) if n > 1 else 0
        if j >= 0:
            s.kyle_w[j] *= d
            s.kyle_xx[j] *= d
            s.kyle_xy[j] *= d
            if impact:
                w = s.kyle_w[j]
                s.kyle_w[j] += 1.0
                dx = flow - s.kyle_x[j]
                dy = y - s.kyle_y[j]
                s.kyle_x[j] += dx / s.kyle_w[j]
                s.kyle_y[j] += dy / s.kyle_w[j]
                s.kyle_xx[j] += dx * dx * (w / s.kyle_w[j])
                s.kyle_xy[j] += dx * dy * (w / s.kyle_w[j])
    s.trades = s.trades * d + is_trade
    s.pairs_w = s.pairs_w * d + abs(after)
    s.pairs_x = s.pairs_x * d + before
    s.pairs_y = s.pairs_y * d + after
    s.pairs_xy = s.pairs_xy * d + before * after
    s.root_xx = s.root_xx * d + root * root
    s.root_xy = s.root_xy * d + root * y
    s.large = s.large * d + large
    s.odd = s.odd * d + odd


@kernel("FLOW_STATE, i8, i4[:], i8, out f4[:,:]", inline=True)
def flow_emit(s, n, where, row, x):
    """Write the columns of a symbol as of its last tick.

    Parameters
    ----------
    s : FLOW_STATE of the symbol
    n : int64, number of windows
    where : (n_columns of the family,) int32, column of x, -1 = not wanted
    row : int64, row of x
    x : (capacity, n_features) float32

    Notes
    -----
    S(.) is a decaying sum, slow the last of tau_s; q size, g sign, m mid in bp.

    ofi_*            S(e) / (S(q) + mean trade); one mean trade, S_slow(q) / S_slow(1), keeps it finite in a window without trades
    signed_volume_*  S(g q) / S(q)
    trade_sign       g of the last trade with a known sign
    sign_autocorr    correlation of g with the g before it, weighted over the pairs; Lillo and Farmer (2004)
    sign_run         trades in a row with that sign
    vpin             mean |buys - sells| / V of the last 50 closed buckets, of fewer at the start;
                     Easley, Lopez de Prado and O'Hara (2012), trades signed one by one
    kyle_*           cov(dm, g q) / var(g q), bp per share; Kyle (1985)
    hasbrouck        S(dm x) / S(x^2), x = g sqrt(p q), bp per sqrt(currency); Hasbrouck (2009), no intercept
    volume_delta     sum(g q) / sum(q) since the start of the stream, exact in 1e-8 shares
    large_share      S(q of trades above the running 0.9 quantile of sizes) / S(q)
    odd_lot_share    S(q of trades below 100 shares) / S(q)

    NaN: before the first trade that defines it, and where the denominator is 0 (signs all equal, one size only, ...).
    """
    c = 0
    last = n - 1
    mean_trade = ratio_point(s.volume[last], s.trades)
    for k in range(n):
        store_point(x, row, where, c, s.ofi[k] / (s.volume[k] + mean_trade))
        c += 1
    for k in range(n):
        store_point(x, row, where, c, ratio_point(s.signed[k], s.volume[k]))
        c += 1
    store_point(x, row, where, c, s.sign if s.run > 0 else np.nan)
    x_mean = ratio_point(s.pairs_x, s.pairs_w)
    y_mean = ratio_point(s.pairs_y, s.pairs_w)
    variance = (1.0 - x_mean * x_mean) * (1.0 - y_mean * y_mean)
    autocorr = np.nan
    if variance > 1e-12:
        autocorr = (s.pairs_xy / s.pairs_w - x_mean * y_mean) / np.sqrt(variance)
    store_point(x, row, where, c + 1, autocorr)
    store_point(x, row, where, c + 2, float(s.run) if s.run > 0 else np.nan)
    vpin = np.nan
    if s.buckets > 0:
        vpin = float(s.tilts) / (float(s.buckets) * float(s.bucket))
    store_point(x, row, where, c + 3, vpin)
    c += 4
    for j in range(min(n, 2)):
        slope = np.nan
        if s.kyle_w[j] > FORGOTTEN and s.kyle_xx[j] > ROUNDING * s.kyle_w[j] * s.kyle_x[j] * s.kyle_x[j]:
            slope = ratio_point(s.kyle_xy[j], s.kyle_xx[j])
        store_point(x, row, where, c, slope)
        c += 1
    store_point(x, row, where, c, ratio_point(s.root_xy, s.root_xx))
    store_point(x, row, where, c + 1, float(s.delta) / float(s.total) if s.total > 0 else np.nan)
    store_point(x, row, where, c + 2, ratio_point(s.large, s.volume[last]))
    store_point(x, row, where, c + 3, ratio_point(s.odd, s.volume[last]))


@kernel(
    "FLOW_STATE[:], f8[:], i4[:], f8[:], i8[:], i4[:], u1[:], f8[:], f8[:], f8[:], f8[:], f8[:], f8[:], "
    "i8, i8, i8, u8[:], i8, i8, out f4[:,:]"
)
def flow_update(
    state, rate, where, tick_size, ts, symbol, kind, bid, bid_size, ask, ask_size, price, size, lo, hi, first, row_seq, row_lo, row_hi, x
):
    """Walk the ticks and write the family's columns of the due rows.

    Parameters
    ----------
    state : (n_symbols,) FLOW_STATE, updated in place
    rate : (n_tau,) float64, -1e-9 / tau_s, slowest last
    where : (n_columns of the family,) int32, column of x, -1 = not wanted
    tick_size : (n_symbols,) float64, currency
    ts, symbol, kind : (capacity,) int64 ns, int32 row of `state`, uint8 Kind; the caller guarantees the range of symbol
    bid, bid_size, ask, ask_size, price, size : (capacity,) float64, NaN = missing
    lo, hi : int, rows [lo, hi) of the columns
    first : int, seq of row 0 of the columns' segment; row i is tick first + i
    row_seq : (capacity of x,) uint64, seq of the due rows
    row_lo, row_hi : int, due rows [row_lo, row_hi), all of ticks in [lo, hi)
    x : (capacity, n_features) float32
    """
    j = row_lo
    due = np.int64(row_seq[j]) - first if j < row_hi else hi
    for i in range(lo, hi):
        s = state[symbol[i]]
        flow_step(s, rate, tick_size[symbol[i]], ts[i], kind[i], bid[i], bid_size[i], ask[i], ask_size[i], price[i], size[i])
        if i == due:
            flow_emit(s, rate.size, where, j, x)
            j += 1
            due = np.int64(row_seq[j]) - first if j < row_hi else hi
