"""What a tick means to its symbol, worked out once for all feature families: time passed, decay of every window, mid and its change,
sign of a trade, session. Families read it and never write it."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.math import log_point
from tickarrow.jit.moments import decay_point, moved_point, sign_point
from tickarrow.jit.trigger import QUOTE

MAX_TAU = 16  # different windows of all families together

# Columns of `sessions`, one row a trading day, in order. A row holds from its midnight, or from its open where the exchange opens the evening
# before, until the next row does.
MIDNIGHT, OPEN, CLOSE, WEEKDAY = range(4)  # ns UTC of local midnight, open and close; Monday = 0

CLOCK = record(
    [
        ("session", "i8"),  # row of `sessions` that the last tick is in, -1 = before the first
        ("midnight", "i8"),  # of that session, ns UTC
        ("open", "i8"),
        ("close", "i8"),
        ("weekday", "i8"),
        ("next_bar", "i8"),  # time bars close at the first tick of any symbol at or after this; 0 = no tick yet
        ("next_pass", "i8"),  # the cross-section is computed at the first tick of any symbol at or after this; 0 = no tick yet
        ("bars", "i8"),  # time bars closed
        ("passes", "i8"),
    ]
)

EVENT_STATE = record(
    [
        ("ts", "i8"),  # of the last row
        ("mid", "f8"),  # last known
        ("price", "f8"),  # of the last trade that had one
        ("tick_sign", "f8"),  # direction of its last change
        ("midnight", "i8"),  # of the session of the last row: row numbers of `sessions` differ between runs
        ("rows", "i8"),  # counted to 1
        ("mids", "i8"),  # of this session, counted to 1: the change of the mid over a night is no return
        ("priced", "?"),
    ]
)

EVENT = record(
    [
        # the row of TICKS
        ("ts", "i8"),
        ("symbol", "i8"),
        ("kind", "u1"),
        ("feed", "u1"),
        ("quality", "u2"),  # column `flags`
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        ("price", "f8"),
        ("quantity", "f8"),  # column `size`
        ("tick_size", "f8"),
        # what it means
        ("dt", "i8"),  # ns since the symbol's last row; 0 at the first, and where time goes backwards
        ("first", "?"),  # the symbol's first row
        ("is_quote", "?"),
        ("is_trade", "?"),  # a trade with a positive size; a trade without one means nothing
        ("complete", "?"),  # both sides with their sizes
        ("mid", "f8"),  # of this row, NaN without both sides or where it is not positive
        ("last_mid", "f8"),  # last known mid before this row in this session, NaN = none yet
        ("moved", "?"),  # a quote row whose mid differs from the last known one by more than rounding
        ("r", "f8"),  # bp, 1e4 ln(mid / last_mid) where moved, else 0
        ("sign", "f8"),  # of the trade: +1 bought, -1 sold, 0 not known or no trade
        ("signed", "f8"),  # sign * quantity, 0 if there is none
        ("new_session", "?"),  # the symbol's first row of this session
        ("session", "i8"),  # of the clock, as the next four; -1 = before the first, and they mean nothing
        ("midnight", "i8"),
        ("open", "i8"),
        ("close", "i8"),
        ("weekday", "i8"),
        ("decay", "f8", (MAX_TAU,)),  # exp(-dt / tau) of each window
    ]
)


BOOK_CHANGE = record(
    [
        ("ts", "i8"),
        ("symbol", "i8"),
        ("quality", "u2"),  # column `flags`
        ("position", "i4"),
        ("operation", "u1"),  # 0 insert, 1 update, 2 delete; 3 = the book begins anew (IBKR's 317)
        ("side", "u1"),  # 0 bid, 1 ask
        ("price", "f8"),
        ("quantity", "f8"),
        ("tick_size", "f8"),
    ]
)


@kernel("CLOCK, i8[:,:], i8", inline=True)
def clock_step(c, sessions, ts):
    """Bring the session of the clock forward to a tick; time that goes backwards changes nothing.

    Parameters
    ----------
    c : CLOCK, updated in place
    sessions : (n, 4) int64, columns MIDNIGHT, OPEN, CLOSE, WEEKDAY, in order
    ts : int64, ns UTC
    """
    while c.session + 1 < sessions.shape[0] and ts >= min(sessions[c.session + 1, MIDNIGHT], sessions[c.session + 1, OPEN]):
        c.session += 1
        c.midnight = sessions[c.session, MIDNIGHT]
        c.open = sessions[c.session, OPEN]
        c.close = sessions[c.session, CLOSE]
        c.weekday = sessions[c.session, WEEKDAY]


@kernel("EVENT_STATE, EVENT, CLOCK, f8[:]", inline=True)
def event_step(s, e, clock, rate):
    """Work out what the row in `e` means to its symbol.

    Parameters
    ----------
    s : EVENT_STATE of the symbol, updated in place
    e : EVENT whose fields of the row are filled in; the others are written
    clock : CLOCK, at this tick
    rate : (n_tau,) float64, -1e-9 / tau_s of every window

    References
    ----------
    Sign: Lee and Ready (1991), see `sign_point`.
    """
    e.first = s.rows == 0
    e.dt = 0 if e.first else max(e.ts - s.ts, 0)
    if e.first or e.ts > s.ts:
        s.ts = e.ts
    s.rows = 1
    e.new_session = e.first or s.midnight != clock.midnight
    s.midnight = clock.midnight
    e.session = clock.session
    e.midnight = clock.midnight
    e.open = clock.open
    e.close = clock.close
    e.weekday = clock.weekday
    for k in range(rate.size):
        e.decay[k] = decay_point(e.dt, rate[k])

    e.is_quote = e.kind == QUOTE
    e.is_trade = (not e.is_quote) and e.quantity > 0.0
    e.complete = e.bid == e.bid and e.ask == e.ask and e.bid_size == e.bid_size and e.ask_size == e.ask_size
    mid = 0.5 * (e.bid + e.ask)
    known = mid > 0.0
    e.mid = mid if known else np.nan
    if e.new_session:
        s.mids = 0
    e.last_mid = s.mid if s.mids > 0 else np.nan
    e.moved = False
    e.r = 0.0
    if e.is_quote and known:
        if s.mids == 0:
            s.mid = mid
        elif moved_point(mid, s.mid, e.tick_size):
            e.moved = True
            e.r = 1e4 * log_point(mid / s.mid)
            s.mid = mid
        s.mids = 1

    e.sign = 0.0
    e.signed = 0.0
    if e.is_trade and e.price == e.price:
        if s.priced and e.price != s.price:
            s.tick_sign = 1.0 if e.price > s.price else -1.0
        s.price = e.price
        s.priced = True
        e.sign = sign_point(e.price, e.bid, e.ask, e.tick_size, s.tick_sign)
        e.signed = e.sign * e.quantity
