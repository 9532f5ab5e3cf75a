"""Feature family `technical`: momentum. Of the tick clock: decaying returns, and where the price stands in its session (7 columns with
four windows). Of the bar clock: 32 columns, see `technical_bars.py`."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.bars import LEAST, MOST, UNITS
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import FORGOTTEN, MAX_TAU
from tickarrow.jit.technical_bars import BAR_COLUMNS, F_ROWS, Q_ROWS, technical_bars

TAU_S = (1.0, 5.0, 30.0, 300.0)
RANGE = 15 * 60_000_000_000  # ns from the open, the opening range

SHARE = 1e8  # exact sums count sizes in 1e-8 shares
MOST_SHARES = 1e8  # a larger trade counts as that many
FAR = 1 << 31  # units: a price further than that from the session's first one enters nothing, so that a product fits
BITS = 24  # of a size are multiplied on their own, so that the sum of price * size has 87 bits
LOW = (1 << BITS) - 1
HALVE_AT = 1 << 61  # the sums of the session are halved above: older trades count half, nothing overflows

TECHNICAL_STATE = record(
    [
        ("returns", "f8", (MAX_TAU,)),  # bp, decaying sum of mid changes, one per window
        # of this session; prices in units, tick / UNITS
        ("anchor", "i8"),  # first price
        ("last", "i8"),
        ("volume", "i8"),  # sum of sizes
        ("money", "i8"),  # sum of (price - anchor) * size, divided by 2**BITS
        ("money_low", "i8"),  # and its rest
        ("high", "i8"),  # of the opening range
        ("low", "i8"),
        ("start", "i8"),  # first price in the regular hours
        ("before", "i8"),  # last price in the regular hours of the session before
        ("regular", "i8"),  # last price in regular hours
        ("seen", "?"),  # two mids are known
        ("traded", "?"),  # there was a trade: prices are those of trades, not mids
        ("priced", "?"),  # `anchor` and `last` are known
        ("ranged", "?"),  # the opening range has a price
        ("started", "?"),  # `start` is known
        ("gapped", "?"),  # `before` is known
        ("closed", "?"),  # `regular` is known
    ]
)


@kernel("TECHNICAL_STATE", inline=True)
def _begin_point(s):
    """A session begins."""
    s.volume = 0
    s.money = 0
    s.money_low = 0
    s.priced = False
    s.ranged = False
    s.started = False
    s.gapped = False


@kernel("TECHNICAL_STATE, EVENT, i8, i8", inline=True)
def _price_point(s, e, units, size):
    """Enter a price.

    Parameters
    ----------
    s : TECHNICAL_STATE
    e : EVENT
    units : int64, price in units
    size : int64, weight in 1e-8 shares; 0 = the price has been weighed
    """
    if not s.priced:
        s.priced = True
        s.anchor = units
    delta = units - s.anchor
    if abs(delta) >= FAR:
        return
    s.last = units
    s.volume += size
    s.money_low += delta * (size & LOW)
    s.money += delta * (size >> BITS) + (s.money_low >> BITS)
    s.money_low &= LOW
    if s.volume > HALVE_AT or abs(s.money) > HALVE_AT:
        s.volume //= 2
        s.money //= 2
        s.money_low = 0
    if e.open <= e.ts < e.close:
        if not s.started:
            s.started = True
            s.start = units
            s.before = s.regular
            s.gapped = s.closed
        s.regular = units
        s.closed = True
        if e.ts - e.open < RANGE:
            s.high = max(s.high, units) if s.ranged else units
            s.low = min(s.low, units) if s.ranged else units
            s.ranged = True


@kernel("TECHNICAL_STATE, EVENT, i8[:]")
def technical_step(s, e, w):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : TECHNICAL_STATE of the symbol, updated in place
    e : EVENT
    w : (n_tau,) int64, `e.decay[w[k]]` is of window k

    Notes
    -----
    Prices are those of the trades. Until a symbol has its first trade, its mids stand in, each change of the mid with the weight of one share,
    so that a symbol that has no trades (currencies) has all columns; the first trade forgets them. A price below half a unit, or
    beyond 2**52 units, or 2**31 units (2e7 ticks) or more from the first of its session, and a trade of infinite size enter nothing.

    The sums of the session are exact: prices in 1/100 tick from the session's first price, sizes in 1e-8 shares (the size of a trade up to
    1e8 shares), price * size in two words. They stay exact to 2.3e10 shares and to 3.8e15 ticks * shares in a session; above that both
    are halved.
    """
    for k in range(w.size):
        x = s.returns[k] * e.decay[w[k]]
        s.returns[k] = (x if abs(x) > FORGOTTEN else 0.0) + e.r
    if e.is_quote and e.mid == e.mid and e.last_mid == e.last_mid:
        s.seen = True
    if e.new_session:
        _begin_point(s)
    if e.is_trade:
        x = e.price * (UNITS / e.tick_size)
        if LEAST < x < MOST and e.quantity < np.inf:
            if not s.traded:
                s.traded = True
                s.closed = False
                _begin_point(s)
            _price_point(s, e, np.int64(np.rint(x)), np.int64(np.rint(min(e.quantity, MOST_SHARES) * SHARE)))
    elif e.is_quote and not s.traded:
        x = e.mid * (UNITS / e.tick_size)
        if LEAST < x < MOST:
            weight = np.int64(SHARE) if e.moved or not s.priced else np.int64(0)
            _price_point(s, e, np.int64(np.rint(x)), weight)


@kernel("TECHNICAL_STATE, EVENT, i8[:], out f8[:], i8")
def technical_emit(s, e, w, v, at):
    """Write the columns of the tick clock.

    Parameters
    ----------
    s : TECHNICAL_STATE of the symbol
    e : EVENT of the row that is due, not read
    w : (n_tau,) int64
    v : (n,) float64, columns are written to v[at] ... v[at + n_tau + 2]
    at : int64

    Notes
    -----
    0 ew_return_1s ...  S(r), sum of exp(-dt / tau) r over the changes of the mid, bp; NaN before the second mid
    n vwap_dist         1e4 (p / VWAP - 1), p the last price; VWAP of all prices since midnight (the start of the session), this one included.
                        Berkowitz, Logue and Noser (1988). NaN before the session's first price
    n + 1 open_range    (p - low) / (high - low) of the prices in the first 15 minutes from the open. While they last, of those so far, so
                        0 to 1; then the range stands until the next session, and 1.5 is half of it above its high. NaN before its first
                        price, if there was none, and where high = low. Of a symbol that starts within them, the range of what it saw
    n + 2 overnight_gap 1e4 (start / before - 1): first price of this session in regular hours, open <= t < close, against the last one in
                        regular hours of an earlier session. NaN before it, and in the first session. Not adjusted for splits and dividends
    """
    n = w.size
    for k in range(n):
        v[at + k] = s.returns[k] if s.seen else np.nan
    distance = position = gap = np.nan
    if s.priced and s.volume > 0:
        offset = (float(s.money) * (LOW + 1.0) + float(s.money_low)) / float(s.volume)
        distance = 1e4 * (float(s.last - s.anchor) - offset) / (float(s.anchor) + offset)
    if s.ranged and s.high > s.low:
        position = float(s.last - s.low) / float(s.high - s.low)
    if s.started and s.gapped:
        gap = 1e4 * float(s.start - s.before) / float(s.before)
    v[at + n] = distance
    v[at + n + 1] = position
    v[at + n + 2] = gap


def columns(tau_s):
    """Columns of `technical_emit`."""
    mids = "mids before the first trade of the symbol"
    return [
        *(
            Column(f"ew_return_{t:g}s", "bp", "S(r): sum of exp(-dt/tau) r, r = 1e4 ln(m / m') where the mid changes", "", f"{t:g} s",
                   "NaN before the second mid", "pandas ewm(times=)")
            for t in tau_s
        ),
        Column("vwap_dist", "bp", f"1e4 (p / VWAP - 1); {mids}", "Berkowitz, Logue and Noser (1988)", "session", "NaN before the session's first price",
               "wickra SessionVwap", "trades"),
        Column("open_range", "1", f"(p - low) / (high - low) of the first 15 min, so far while they last; {mids}", "", "15 min from the open",
               "NaN before the open, without a price in that time, and where high = low", "wickra OpeningRange", "trades"),
        Column("overnight_gap", "bp", f"1e4 (first regular price / last regular price of the session before - 1); {mids}", "", "session",
               "NaN before the session's first regular price, and in the first session", "wickra OvernightGap", "trades"),
    ]  # fmt: skip


FAMILY = Family(
    "technical", 1, columns, TAU_S, state=TECHNICAL_STATE, step=technical_step, emit=technical_emit,
    f_rows=F_ROWS, q_rows=Q_ROWS, bars=technical_bars, bar_columns=BAR_COLUMNS,
)  # fmt: skip
