"""Feature family `liquidity`, tick clock: what it costs to trade, from trades and the quotes around them (6 columns; 2 of bars in
`liquidity_bars`)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.liquidity_bars import BAR_COLUMNS, F_ROWS, Q_ROWS, liquidity_bars
from tickarrow.jit.math import log_point
from tickarrow.jit.moments import FORGOTTEN, moved_point

WINDOWS = 2
HORIZON = 5_000_000_000  # ns from a trade to the mid of its realised spread
RING = 512  # entries of trades that wait for it; a power of two
CROWDED = RING // 2  # from this many on, trades less than GRAIN apart share an entry
GRAIN = 20_000_000  # ns; HORIZON / GRAIN + CROWDED < RING: the ring cannot run over
MILLION = 1e6  # currency
FLAT = 1e-12  # a covariance below this share of the product of the means is their rounding

VOLUME, EFFECTIVE, SLOPE, MID, OFFSET = range(5)  # columns of `entry`

LIQUIDITY_STATE = record(
    [
        ("now", "i8"),  # ns, latest time seen
        # trades, decaying sums as of the last trade with a price; `fade` is the decay since then
        ("fade", "f8", (WINDOWS,)),
        ("volume", "f8", (WINDOWS,)),  # of trades with a sign and a mid
        ("effective", "f8", (WINDOWS,)),  # volume times spread in bp
        ("pair_w", "f8"),  # pairs of price changes in bp that follow each other, x after y, slow window
        ("pair_x", "f8"),
        ("pair_y", "f8"),
        ("pair_xy", "f8"),
        ("change_w", "f8"),  # price changes, slow window
        ("illiquidity", "f8"),
        ("price", "f8"),  # of the last trade that had one
        ("change", "f8"),  # bp, of that price
        ("prices", "i8"),  # of this session, counted to 2
        ("pairs", "i8"),  # counted to 2
        # trades whose mid 5 s later is known, decaying sums as of the last of them; slow window
        ("settled_fade", "f8"),
        ("settled_volume", "f8"),
        ("settled_effective", "f8"),
        ("settled_impact", "f8"),
        # trades that wait, oldest first
        ("oldest", "i8"),
        ("waiting", "i8"),
        ("due", "i8", (RING,)),  # ns
        ("entry", "f8", (RING, 5)),  # sums over the entry's trades, see `wait_step`
    ]
)


@kernel("LIQUIDITY_STATE, i8, f8, f8, f8, f8", inline=True)
def wait_step(s, due, quantity, sign, spread, mid):
    """Let a trade wait for its mid.

    Parameters
    ----------
    s : LIQUIDITY_STATE of the symbol, updated in place
    due : int64, ns, time of that mid
    quantity, sign : float64
    spread : float64, effective spread, bp
    mid : float64, at the trade

    Notes
    -----
    The impact 2e4 g q (m5 - m) / m of the trades of one entry is b (m5 - MID) - OFFSET with b = SLOPE the sum of 2e4 g q / m, MID the
    first of their m, and OFFSET the sum of 2e4 g q (m - MID) / m. So trades of one time share an entry, and nothing is lost by that.
    """
    slope = 2e4 * sign * quantity / mid
    newest = (s.oldest + s.waiting - 1) & (RING - 1)
    gap = due - s.due[newest]
    if s.waiting > 0 and (gap == 0 or (gap < GRAIN and s.waiting >= CROWDED)):
        s.entry[newest, VOLUME] += quantity
        s.entry[newest, EFFECTIVE] += quantity * spread
        s.entry[newest, SLOPE] += slope
        s.entry[newest, OFFSET] += slope * (mid - s.entry[newest, MID])
        return
    i = (s.oldest + s.waiting) & (RING - 1)
    s.waiting += 1
    s.due[i] = due
    s.entry[i, VOLUME] = quantity
    s.entry[i, EFFECTIVE] = quantity * spread
    s.entry[i, SLOPE] = slope
    s.entry[i, MID] = mid
    s.entry[i, OFFSET] = 0.0


@kernel("LIQUIDITY_STATE, f8", inline=True)
def settle_step(s, mid):
    """Take the oldest entry out of the queue, with the mid in force at its time; NaN = there was none, the trades are left out."""
    i = s.oldest
    s.oldest = (i + 1) & (RING - 1)
    s.waiting -= 1
    if mid == mid:
        d = s.settled_fade
        s.settled_fade = 1.0
        s.settled_volume = s.settled_volume * d + s.entry[i, VOLUME]
        s.settled_effective = s.settled_effective * d + s.entry[i, EFFECTIVE]
        s.settled_impact = s.settled_impact * d + (s.entry[i, SLOPE] * (mid - s.entry[i, MID]) - s.entry[i, OFFSET])


@kernel("LIQUIDITY_STATE, EVENT", inline=True)
def trade_step(s, e):
    """Add a trade with a price to the sums."""
    q = spread = 0.0
    if e.sign != 0.0 and e.mid == e.mid:
        q = e.quantity
        if moved_point(e.price, e.mid, e.tick_size):  # at the mid the rounding of the mid is no spread
            spread = 2e4 * e.sign * (e.price - e.mid) / e.mid
        wait_step(s, s.now + HORIZON, q, e.sign, spread, e.mid)
    pair = one = r = before = cost = 0.0
    if s.prices > 0:
        one = 1.0
        if moved_point(e.price, s.price, e.tick_size):
            r = 1e4 * log_point(e.price / s.price)
        cost = MILLION * abs(r) / (e.price * e.quantity)
        if s.prices == 2:
            pair = 1.0
            before = s.change
            s.pairs = min(s.pairs + 1, 2)
    for k in range(WINDOWS):
        d = s.fade[k]
        s.fade[k] = 1.0
        s.volume[k] = s.volume[k] * d + q
        s.effective[k] = s.effective[k] * d + q * spread
    s.pair_w = s.pair_w * d + pair
    s.pair_x = s.pair_x * d + pair * r
    s.pair_y = s.pair_y * d + before
    s.pair_xy = s.pair_xy * d + before * r
    s.change_w = s.change_w * d + one
    s.illiquidity = s.illiquidity * d + cost
    s.price = e.price
    s.change = r
    s.prices = min(s.prices + 1, 2)


@kernel("LIQUIDITY_STATE, EVENT, i8[:]")
def liquidity_step(s, e, w):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : LIQUIDITY_STATE of the symbol, updated in place
    e : EVENT. A trade without a positive price is left out; one without a known sign or mid has no spread, its price counts
    w : (2,) int64, windows in `e.decay`, fast and slow

    Notes
    -----
    A trade is settled by the first row at least 5 s after it, with the last mid that a quote of the session gave before that row, and counts
    from that row on; without such a mid it is left out.
    Neither the change of the price over the night counts, nor trades that are not settled on their day.
    Only in a crowd, 256 times of trades within 5 s, is a trade up to 20 ms later than the first of its entry settled with that one.
    """
    if e.first:
        s.now = e.ts
    s.now += e.dt
    s.fade[0] *= e.decay[w[0]]
    s.fade[1] *= e.decay[w[1]]
    s.settled_fade *= e.decay[w[1]]
    if e.new_session:
        s.prices = 0
        s.waiting = 0
    while s.waiting > 0 and s.due[s.oldest] <= s.now:
        settle_step(s, e.last_mid)
    if e.is_trade and e.price > 0.0:
        trade_step(s, e)


@kernel("LIQUIDITY_STATE, EVENT, i8[:], out f8[:], i8")
def liquidity_emit(s, e, w, v, at):
    """Write the columns of a symbol as of its last tick.

    Parameters
    ----------
    s : LIQUIDITY_STATE of the symbol
    e : EVENT, the due row
    w : (2,) int64, windows in `e.decay`, fast and slow
    v : float64, columns v[at], v[at + 1], ... are written
    at : int64

    Notes
    -----
    S(.) is a decaying sum over trades: g sign, p price, q size, m mid in force at the trade, m5 the mid in force 5 s later,
    r = 1e4 ln(p / p') against the trade before in the session, 0 where the price is the same.

    0, 1   effective spread S(q 2e4 g (p - m) / m) / S(q), bp; Lee and Ready (1991) signs
    2      realised spread S(q 2e4 g (p - m5) / m) / S(q), bp, over settled trades, slow; Huang and Stoll (1996)
    3      price impact S(q 2e4 g (m5 - m) / m) / S(q), bp, over the same trades: effective less realised
    4      Roll spread 2 sqrt(-cov(r, r')), bp, slow, 0 where the covariance is positive; Roll (1984), the zero of Goyenko, Holden
           and Trzcinka (2009)
    5      Amihud illiquidity S(|r| / (p q)) / S(1), bp per million of currency, slow; Amihud (2002)

    NaN: before the first trade that counts, 4 before two pairs of price changes, and after 460 tau without a trade.
    """
    for k in range(WINDOWS):
        v[at + k] = s.effective[k] / s.volume[k] if s.volume[k] * s.fade[k] > FORGOTTEN else np.nan
    realised = impact = roll = amihud = np.nan
    if s.settled_volume * s.settled_fade > FORGOTTEN:
        impact = s.settled_impact / s.settled_volume
        realised = (s.settled_effective - s.settled_impact) / s.settled_volume
    if s.pairs == 2 and s.pair_w * s.fade[1] > FORGOTTEN:
        a = 1.0 / s.pair_w
        product = (s.pair_x * a) * (s.pair_y * a)
        cov = s.pair_xy * a - product
        roll = 2.0 * np.sqrt(-cov) if -cov > FLAT * abs(product) else 0.0
    if s.change_w * s.fade[1] > FORGOTTEN:
        amihud = s.illiquidity / s.change_w
    v[at + 2] = realised
    v[at + 3] = impact
    v[at + 4] = roll
    v[at + 5] = amihud


def columns(tau_s):
    """Columns of the tick clock for two windows."""
    names = [f"{t:g}s" for t in tau_s]
    windows = [f"{t:g} s" for t in tau_s]
    slow, window = names[1], windows[1]
    settled = "NaN before a trade with a sign is 5 s old"
    return [
        *(
            Column(
                f"effective_spread_{n}", "bp", "S(q 2e4 sign (p - m) / m) / S(q) over trades", "Huang and Stoll (1996); sign of Lee and Ready (1991)",
                t, "NaN before the first trade with a sign and a mid", "wickra EffectiveSpread, numpy sums", "trades",
            )
            for n, t in zip(names, windows)
        ),
        Column(
            f"realised_spread_{slow}", "bp", "S(q 2e4 sign (p - m5) / m) / S(q), m5 the mid 5 s after the trade", "Huang and Stoll (1996)", window,
            settled, "wickra RealizedSpread, numpy sums", "trades",
        ),
        Column(
            f"price_impact_{slow}", "bp", "effective less realised spread of the same trades = S(q 2e4 sign (m5 - m) / m) / S(q)",
            "Huang and Stoll (1996)", window, settled, "wickra EffectiveSpread less RealizedSpread, numpy sums", "trades",
        ),
        Column(
            f"roll_spread_{slow}", "bp", "2 sqrt(-cov(r, r')), r = 1e4 ln(p / p') from trade to trade, r' the one before; 0 if cov >= 0",
            "Roll (1984); Goyenko, Holden and Trzcinka (2009) for the zero", window, "NaN before two pairs of price changes in a session",
            "wickra RollMeasure; numpy cov(aweights=)", "every trade",
        ),
        Column(
            f"amihud_{slow}", "bp per million of currency", "1e6 S(|r| / (p q)) / S(1), r = 1e4 ln(p / p') from trade to trade", "Amihud (2002)", window,
            "NaN before the second price of a session", "wickra AmihudIlliquidity; pandas ewm(times=)", "every trade",
        ),
    ]  # fmt: skip


FAMILY = Family(
    "liquidity", 1, columns, (30.0, 300.0), WINDOWS, LIQUIDITY_STATE, liquidity_step, liquidity_emit,
    f_rows=F_ROWS, q_rows=Q_ROWS, bars=liquidity_bars, bar_columns=BAR_COLUMNS,
)  # fmt: skip
