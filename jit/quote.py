"""Feature family `quote`: what the best bid and offer look like now, and against their recent past (12 columns)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import FORGOTTEN, ROUNDING
from tickarrow.jit.points import age_point, depth_point, imbalance_point, micro_dev_point, slope_point, spread_bp_point, spread_ticks_point
from tickarrow.jit.trigger import differs_point

TAU_S = (5.0, 300.0)  # fast: smoothed imbalance; slow: level of spread and depth

QUOTE_STATE = record(
    [
        ("changed_ts", "i8"),  # of the last change of the quote
        ("trade_ts", "i8"),
        ("age", "i8"),  # ns for which the quote before this row stood
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        ("imbalance_w", "f8"),  # decaying weight and mean
        ("imbalance_mean", "f8"),
        ("spread_w", "f8"),
        ("spread_mean", "f8"),
        ("spread_m2", "f8"),  # decaying sum of squares about the mean
        ("depth_w", "f8"),
        ("depth_mean", "f8"),
        ("spread", "f8"),  # ticks, of this row
        ("depth", "f8"),  # log shares, of this row
        ("quoted", "?"),
        ("aged", "?"),  # `age` is known
        ("traded", "?"),
    ]
)


@kernel("QUOTE_STATE, EVENT, i8[:]")
def quote_step(s, e, w):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : QUOTE_STATE of the symbol, updated in place
    e : EVENT; a trade only lets time pass and sets the time of the last trade
    w : (2,) int64, windows: fast, slow

    Notes
    -----
    Every quote row is one sample of the decaying means, also a row that repeats the quote; a missing value is no sample.
    Means and squares: West (1979), Updating mean and variance estimates, with decaying weights.
    """
    fast, slow = e.decay[w[0]], e.decay[w[1]]
    s.imbalance_w *= fast
    s.spread_w *= slow
    s.spread_m2 *= slow
    s.depth_w *= slow
    if not e.is_quote:
        s.trade_ts = e.ts
        s.traded = True
        return
    changed = (
        not s.quoted
        or differs_point(e.bid, s.bid)
        or differs_point(e.bid_size, s.bid_size)
        or differs_point(e.ask, s.ask)
        or differs_point(e.ask_size, s.ask_size)
    )
    s.aged = s.quoted
    s.age = max(e.ts - s.changed_ts, 0)
    if changed:
        s.changed_ts = e.ts
    s.quoted = True
    s.bid, s.bid_size = e.bid, e.bid_size
    s.ask, s.ask_size = e.ask, e.ask_size
    s.spread = spread_ticks_point(e.bid, e.ask, e.tick_size)
    s.depth = depth_point(e.bid_size, e.ask_size)
    if not e.mid > 0.0:
        return
    before = s.spread_w
    s.spread_w += 1.0
    delta = s.spread - s.spread_mean
    s.spread_mean += delta / s.spread_w
    s.spread_m2 += delta * delta * (before / s.spread_w)
    if s.depth == s.depth:
        s.imbalance_w += 1.0
        s.imbalance_mean += (imbalance_point(e.bid_size, e.ask_size) - s.imbalance_mean) / s.imbalance_w
        s.depth_w += 1.0
        s.depth_mean += (s.depth - s.depth_mean) / s.depth_w


@kernel("QUOTE_STATE, EVENT, i8[:], out f8[:], i8")
def quote_emit(s, e, w, v, at):
    """Write the columns of a symbol at a quote row, as `columns` names them, to v[at:].

    Parameters
    ----------
    s : QUOTE_STATE of the symbol, after this row
    e : EVENT of the row
    w : (2,) int64, not used
    v : (n_all,) float64
    at : int64

    Notes
    -----
    `imbalance` is that of Cao, Hansch and Wang (2009), `micro_dev` of Gatheral and Oomen (2010), `quote_slope` of Hasbrouck and Seppi
    (2001). `spread_z` uses the moments with this row included. `mid_return` is 0 where the mid is unchanged.

    NaN without both sides or sizes, or with a zero denominator; `mid_return` at the first quote of a session, `quote_age` at the first; the smoothed
    imbalance before the first two-sided quote; `spread_z` while the spread has not varied; `trade_age` before the first trade.
    """
    two_sided = e.mid > 0.0
    z = np.nan
    if two_sided and s.spread_m2 > ROUNDING * s.spread_w * s.spread_mean * s.spread_mean and s.spread_m2 > FORGOTTEN:
        z = (s.spread - s.spread_mean) / np.sqrt(s.spread_m2 / s.spread_w)
    v[at] = s.spread
    v[at + 1] = spread_bp_point(e.bid, e.ask)
    v[at + 2] = e.r * 1e-4 if two_sided and e.last_mid > 0.0 else np.nan
    v[at + 3] = micro_dev_point(e.bid, e.bid_size, e.ask, e.ask_size)
    v[at + 4] = imbalance_point(e.bid_size, e.ask_size) if two_sided else np.nan
    v[at + 5] = s.imbalance_mean if s.imbalance_w > FORGOTTEN else np.nan
    v[at + 6] = z
    v[at + 7] = age_point(s.age) if s.aged else np.nan
    v[at + 8] = age_point(e.ts - s.trade_ts) if s.traded else np.nan
    v[at + 9] = slope_point(e.bid, e.bid_size, e.ask, e.ask_size)
    v[at + 10] = s.depth if two_sided else np.nan
    v[at + 11] = s.depth - s.depth_mean if two_sided else np.nan


def columns(tau_s):
    """Columns in the order of `quote_emit`."""
    fast, slow = (f"{t:g}s" for t in tau_s)
    quick, long = (f"{t:g} s" for t in tau_s)
    two = "NaN without both sides"
    sizes = "NaN without both sides and sizes"
    return [
        Column("spread_ticks", "ticks", "(a - b) / tick", warm_up=two, verifier="wickra QuotedSpread"),
        Column("spread_bp", "bp", "1e4 (a - b) / m", warm_up=two, verifier="wickra QuotedSpread"),
        Column("mid_return", "1", "ln(m / last m)", window="1 row", warm_up="NaN at the first quote of a session", verifier="pandas diff"),
        Column("micro_dev", "1", "(micro - m) / (a - b), micro = (a bs + b as) / (bs + as)", "Gatheral and Oomen (2010)",
               warm_up=sizes, verifier="wickra Microprice"),
        Column("imbalance", "1", "(bs - as) / (bs + as)", "Cao, Hansch and Wang (2009); Gould and Bonart (2016)",
               warm_up=sizes, verifier="wickra OrderBookImbalanceTop1"),
        Column(f"imbalance_{fast}", "1", "decaying mean of imbalance", window=quick, warm_up="NaN before the first two-sided quote",
               verifier="pandas ewm(times=)"),
        Column(f"spread_z_{slow}", "1", "(spread - mean) / deviation, decaying moments", "West (1979)", long,
               "NaN until the spread has varied", "pandas ewm(times=)"),
        Column("quote_age", "1", "ln(1 + seconds for which the quote before this row stood)", warm_up="NaN at the first quote", verifier="pandas groupby"),
        Column("trade_age", "1", "ln(1 + seconds since the last trade)", warm_up="NaN before the first trade", verifier="numpy", feed="trades"),
        Column("quote_slope", "1", "(ln a - ln b) / (ln bs + ln as)", "Hasbrouck and Seppi (2001)", warm_up=sizes, verifier="numpy"),
        Column("depth", "1", "ln(bs + as)", warm_up=sizes, verifier="numpy"),
        Column(f"depth_rel_{slow}", "1", "depth less its decaying mean", window=long, warm_up=sizes, verifier="pandas ewm(times=)"),
    ]  # fmt: skip


FAMILY = Family("quote", 2, columns, TAU_S, 2, QUOTE_STATE, quote_step, quote_emit)
