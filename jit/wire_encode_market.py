"""The simulated gateway's market: source rows -> the quote of each symbol, stopping where a resting order becomes marketable."""

import numpy as np

from tickarrow.jit._kernel import kernel, record

# Quote in force of a symbol, what is left of the displayed sizes, the best limits of resting orders (+-inf = none), the nearest stop
# prices of waiting ones (buy: +inf = none, sell: -inf), and the prices of the day so far. `last_time`: s of the last trade, 0 = none.
QUOTE = record(
    [
        ("bid", "f8"), ("bid_size", "f8"), ("ask", "f8"), ("ask_size", "f8"), ("last", "f8"), ("last_size", "f8"), ("volume", "i8"),
        ("bid_left", "f8"), ("ask_left", "f8"), ("buy_limit", "f8"), ("sell_limit", "f8"), ("buy_stop", "f8"), ("sell_stop", "f8"),
        ("open", "f8"), ("high", "f8"), ("low", "f8"), ("last_time", "i8"),
    ]
)  # fmt: skip

GIVEN_BID, GIVEN_BID_SIZE, GIVEN_ASK, GIVEN_ASK_SIZE = 1, 2, 4, 8  # mask of a quote row
TRADE = 1  # kind of a row

# Slots of the control array of the encoders.
POSITION, STATUS, CLOCK, MESSAGES, UPDATES, TRADES, WAITING, TRIGGER = 0, 1, 2, 3, 4, 5, 6, 7
CONTROL_SLOTS = 8
DONE, FULL, UNKNOWN_NUMBER = 0, 1, 2  # STATUS
NO_CLOCK, EVERY_ROW, ALL_BUT_LAST = 0, 1, 2  # where clock frames go

VOLUME_UNIT = 100_000_000  # units of volume a share
SECOND = 1_000_000_000


@kernel("QUOTE, i8, u1, u1, f8, f8, f8, f8, f8, f8", inline=True)
def row_apply(s, ts, kind, mask, bid, bid_size, ask, ask_size, price, size):
    """Bring the quote of a symbol up to date with one of its rows. A missing price takes its size with it."""
    if kind == TRADE:
        s.volume += np.int64(size * VOLUME_UNIT + 0.5)
        if not np.isnan(price):
            s.last, s.last_size, s.last_time = price, size, ts // SECOND
            if np.isnan(s.open):
                s.open = s.high = s.low = price
            s.high, s.low = max(s.high, price), min(s.low, price)
        return
    if mask & GIVEN_BID:
        s.bid = bid
    if mask & GIVEN_BID_SIZE:
        s.bid_size = bid_size
    if mask & GIVEN_ASK:
        s.ask = ask
    if mask & GIVEN_ASK_SIZE:
        s.ask_size = ask_size
    if mask & GIVEN_BID and np.isnan(bid):
        s.bid_size = np.nan
    if mask & GIVEN_ASK and np.isnan(ask):
        s.ask_size = np.nan
    if mask & (GIVEN_BID | GIVEN_BID_SIZE):
        s.bid_left = s.bid_size
    if mask & (GIVEN_ASK | GIVEN_ASK_SIZE):
        s.ask_left = s.ask_size


@kernel("QUOTE[:], i8[:], i4[:], u1[:], u1[:], f8[:], f8[:], f8[:], f8[:], f8[:], f8[:], i8, i8, i8, out i8[:]")
def market_update(state, ts, symbol, kind, mask, bid, bid_size, ask, ask_size, price, size, lo, hi, until, control):
    """Apply rows to the market until one lets a resting order fill, or reaches a stop price.

    Parameters
    ----------
    state : (n_symbols,) QUOTE, updated in place; the limits and stop prices are the caller's
    ts ... size : columns of source rows; currency and shares, NaN = missing
    lo, hi : int, rows [lo, hi)
    until : int, ns; rows from this time on are left
    control : (CONTROL_SLOTS,) int64; TRIGGER = 1 if the last row applied shows a price that a resting order accepts,
        or is a trade at a price that a stop waits for

    Returns
    -------
    int, row behind the last one applied
    """
    control[TRIGGER] = 0
    i = lo
    while i < hi and ts[i] < until:
        s = state[symbol[i]]
        row_apply(s, ts[i], kind[i], mask[i], bid[i], bid_size[i], ask[i], ask_size[i], price[i], size[i])
        m = mask[i]
        i += 1
        if kind[i - 1] != TRADE:
            if (m & (GIVEN_ASK | GIVEN_ASK_SIZE) and s.ask <= s.buy_limit) or (m & (GIVEN_BID | GIVEN_BID_SIZE) and s.bid >= s.sell_limit):
                control[TRIGGER] = 1
                break
        elif price[i - 1] >= s.buy_stop or price[i - 1] <= s.sell_stop:
            control[TRIGGER] = 1
            break
    return i
