"""Feature family `flow`: who pushes the price, from quote changes and signed trades (18 columns with four windows)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import FORGOTTEN, MAX_TAU, ROUNDING, moved_point, ofi_point, ratio_point

TAU_S = (1.0, 5.0, 30.0, 300.0)

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
        # quotes
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        # trade signs
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
        ("quoted", "?"),
        ("pending", "?"),  # mid, flow and root are known
    ]
)


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


@kernel("FLOW_STATE, EVENT, i8[:]")
def flow_step(s, e, w):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : FLOW_STATE of the symbol, updated in place
    e : EVENT; a trade without a positive size is left out, one without a price has volume only
    w : (n_tau,) int64, windows, slowest last

    Notes
    -----
    A quote that is not complete is not remembered: the next complete one is compared with the last complete one.
    A trade without a known sign counts as volume, adds no signed volume, and is no part of runs, pairs and impact.
    The impact of trade i is the change of the mid in force from trade i to the next one, in bp.
    """
    n = w.size
    if e.new_session:
        s.total = 0
        s.delta = 0
    ofi = q = signed = is_trade = before = after = large = odd = 0.0
    y = flow = root = 0.0
    impact = False
    if e.is_quote:
        if e.complete:
            if s.quoted:
                ofi = ofi_point(s.bid, s.bid_size, s.ask, s.ask_size, e.bid, e.bid_size, e.ask, e.ask_size)
            s.bid, s.bid_size = e.bid, e.bid_size
            s.ask, s.ask_size = e.ask, e.ask_size
            s.quoted = True
    elif e.is_trade:
        q = e.quantity
        is_trade = 1.0
        sign = e.sign
        signed = e.signed
        mid = e.mid
        if s.pending and mid > 0.0:
            impact = True
            y = 1e4 * (mid - s.mid) / s.mid if moved_point(mid, s.mid, e.tick_size) else 0.0
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
            s.root = sign * np.sqrt(max(e.price, 0.0) * q)
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
        d = e.decay[w[k]]
        s.ofi[k] = s.ofi[k] * d + ofi
        s.signed[k] = s.signed[k] * d + signed
        s.volume[k] = s.volume[k] * d + q
        j = k - (n - 2) if n > 1 else 0
        if j >= 0:
            s.kyle_w[j] *= d
            s.kyle_xx[j] *= d
            s.kyle_xy[j] *= d
            if impact:
                weight = s.kyle_w[j]
                s.kyle_w[j] += 1.0
                dx = flow - s.kyle_x[j]
                dy = y - s.kyle_y[j]
                s.kyle_x[j] += dx / s.kyle_w[j]
                s.kyle_y[j] += dy / s.kyle_w[j]
                s.kyle_xx[j] += dx * dx * (weight / s.kyle_w[j])
                s.kyle_xy[j] += dx * dy * (weight / s.kyle_w[j])
    s.trades = s.trades * d + is_trade
    s.pairs_w = s.pairs_w * d + abs(after)
    s.pairs_x = s.pairs_x * d + before
    s.pairs_y = s.pairs_y * d + after
    s.pairs_xy = s.pairs_xy * d + before * after
    s.root_xx = s.root_xx * d + root * root
    s.root_xy = s.root_xy * d + root * y
    s.large = s.large * d + large
    s.odd = s.odd * d + odd


@kernel("FLOW_STATE, EVENT, i8[:], out f8[:], i8")
def flow_emit(s, e, w, v, at):
    """Write the columns of a symbol as of its last tick, as `columns` names them, to v[at:].

    Parameters
    ----------
    s : FLOW_STATE of the symbol
    e : EVENT, not used
    w : (n_tau,) int64, windows, slowest last
    v : (n_all,) float64
    at : int64

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
    volume_delta     sum(g q) / sum(q) since the start of the session, exact in 1e-8 shares
    large_share      S(q of trades above the running 0.9 quantile of sizes) / S(q)
    odd_lot_share    S(q of trades below 100 shares) / S(q)

    NaN: before the first trade that defines it, and where the denominator is 0 (signs all equal, one size only, ...).
    """
    n = w.size
    c = at
    last = n - 1
    mean_trade = ratio_point(s.volume[last], s.trades)
    for k in range(n):
        v[c] = s.ofi[k] / (s.volume[k] + mean_trade)
        c += 1
    for k in range(n):
        v[c] = ratio_point(s.signed[k], s.volume[k])
        c += 1
    v[c] = s.sign if s.run > 0 else np.nan
    x_mean = ratio_point(s.pairs_x, s.pairs_w)
    y_mean = ratio_point(s.pairs_y, s.pairs_w)
    variance = (1.0 - x_mean * x_mean) * (1.0 - y_mean * y_mean)
    autocorr = np.nan
    if variance > 1e-12:
        autocorr = (s.pairs_xy / s.pairs_w - x_mean * y_mean) / np.sqrt(variance)
    v[c + 1] = autocorr
    v[c + 2] = float(s.run) if s.run > 0 else np.nan
    vpin = np.nan
    if s.buckets > 0:
        vpin = float(s.tilts) / (float(s.buckets) * float(s.bucket))
    v[c + 3] = vpin
    c += 4
    for j in range(min(n, 2)):
        slope = np.nan
        if s.kyle_w[j] > FORGOTTEN and s.kyle_xx[j] > ROUNDING * s.kyle_w[j] * s.kyle_x[j] * s.kyle_x[j]:
            slope = ratio_point(s.kyle_xy[j], s.kyle_xx[j])
        v[c] = slope
        c += 1
    v[c] = ratio_point(s.root_xy, s.root_xx)
    v[c + 1] = float(s.delta) / float(s.total) if s.total > 0 else np.nan
    v[c + 2] = ratio_point(s.large, s.volume[last])
    v[c + 3] = ratio_point(s.odd, s.volume[last])


def columns(tau_s):
    """Columns in the order of `flow_emit`."""
    names = [f"{t:g}s" for t in tau_s]
    slow = names[-1]
    windows = [f"{w:g} s" for w in tau_s]
    long = windows[-1]
    first, both = "NaN before the first trade", "NaN until both signs have been seen"
    return [
        *(Column(f"ofi_{n}", "1", "S(e) / (S(q) + mean trade), e the order-flow imbalance", "Cont, Kukanov and Stoikov (2014)", w, first,
                 "wickra OrderFlowImbalance", "trades") for n, w in zip(names, windows)),
        *(Column(f"signed_volume_{n}", "1", "S(g q) / S(q), g the sign of the trade", "Lee and Ready (1991)", w, first,
                 "wickra SignedVolume, TradeImbalance; pandas ewm(times=)", "trades")
          for n, w in zip(names, windows)),
        Column("trade_sign", "1", "g of the last trade with a known sign", "Lee and Ready (1991)", "", first, "pandas", "every trade"),
        Column(f"sign_autocorr_{slow}", "1", "corr(g, g before), decaying", "Lillo and Farmer (2004)", long, both,
               "wickra TradeSignAutocorrelation; statsmodels DescrStatsW", "every trade"),
        Column("sign_run", "trades", "trades in a row with the same sign", "", "", first, "pandas cumcount", "every trade"),
        Column("vpin", "1", "mean |buys - sells| / V of closed buckets", "Easley, Lopez de Prado and O'Hara (2012)", "50 volume buckets",
               "NaN before the first bucket closes; V is set by the first 50 trades", "wickra Vpin", "trades"),
        *(Column(f"kyle_{n}", "bp per share", "cov(dm, g q) / var(g q)", "Kyle (1985)", w, "NaN before two trades that differ",
                 "statsmodels WLS; wickra KylesLambda", "trades") for n, w in zip(names[-2:], windows[-2:])),
        Column(f"hasbrouck_{slow}", "bp per sqrt(currency)", "S(dm x) / S(x^2), x = g sqrt(p q)", "Hasbrouck (2009)", long,
               "NaN before the second trade", "statsmodels WLS", "trades"),
        Column("volume_delta", "1", "sum(g q) / sum(q)", "", "session", "NaN before the first trade of a session", "wickra CumulativeVolumeDelta", "trades"),
        Column(f"large_share_{slow}", "1", "S(q of trades above the running 0.9 quantile) / S(q)", "Tierney (1983)", long, first, "numpy",
               "every trade"),
        Column(f"odd_lot_share_{slow}", "1", "S(q of trades below 100 shares) / S(q)", "", long, first, "numpy", "every trade"),
    ]  # fmt: skip


FAMILY = Family("flow", 2, columns, TAU_S, 0, FLOW_STATE, flow_step, flow_emit)
