"""Orders of `act`: their limit price, what is told of them, and how a backtest without a gateway fills them."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.act_state import ACT_STATE, BOOK, EVENT, GRID
from tickarrow.jit.costs import FEES, fees_point

INTENT, CANCEL_INTENT, SENT, SUBMITTED, FILLED, CANCELLED, REJECTED = range(7)  # OrderState of the schemas; a test compares them


@kernel("f8, f8, f8, i8, GRID", inline=True)
def limit_point(bid, ask, offset_ticks, side, grid):
    """Limit price of a marketable order: the other side's price and `offset_ticks` beyond, on the tick grid. Off-grid touches go out.

    Parameters
    ----------
    bid, ask : float64, currency, both there
    offset_ticks : float64, ticks, >= 0
    side : int, +1 buys, -1 sells
    grid : GRID of the symbol

    Returns
    -------
    float64, currency, at least one tick
    """
    if side > 0:
        n = np.ceil(ask * grid.divisor / grid.multiplier - 1e-6) + offset_ticks
    else:
        n = max(np.floor(bid * grid.divisor / grid.multiplier + 1e-6) - offset_ticks, 1.0)
    return n * grid.multiplier / grid.divisor


@kernel("EVENT[:], BOOK, u8, i8, i4, ACT_STATE, u1", inline=True)
def order_event_point(events, book, seq, ts, symbol, s, order_state):
    """Append a row of ORDERS that tells the state of the symbol's last order.

    Parameters
    ----------
    events : EVENT with room, out
    book : BOOK, counts the rows in `events`
    seq, ts, symbol : int, tick of the row, ns UTC, row of the universe
    s : ACT_STATE of the symbol
    order_state : int, OrderState
    """
    e = events[book.events]
    e.seq = seq
    e.ts = ts
    e.key = s.key
    e.quantity = s.ordered
    e.price = s.limit
    e.commission = 0.0
    e.symbol = symbol
    e.side = s.side
    e.state = order_state
    e.is_fill = 0
    book.events += 1


@kernel("ACT_STATE, EVENT[:], BOOK, u8, i8, i4, FEES", inline=True)
def simulate_point(s, events, book, seq, ts, symbol, fees):
    """Fill or cancel a working order at this quote, the first or a later one after its intent; whole, at the touch.

    Parameters
    ----------
    s : ACT_STATE of the symbol, holds the quote; position, cash (currency) and commission (currency) are updated
    events, book : as in `order_event_point`; a fill appends a row of ORDERS and one of FILLS
    seq, ts, symbol : int, the quote's tick, ns UTC, row of the universe
    fees : FEES
    """
    if s.cancelling:
        order_event_point(events, book, seq, ts, symbol, s, CANCELLED)
        s.working = 0
        return
    price = s.ask if s.side > 0 else s.bid
    if not 0.0 < s.bid <= s.ask or (s.limit < price if s.side > 0 else s.limit > price):
        return  # one-sided, crossed or not marketable: keeps working
    commission = fees_point(fees, s.quantity, price, np.int64(s.side), 0)
    order_event_point(events, book, seq, ts, symbol, s, FILLED)
    order_event_point(events, book, seq, ts, symbol, s, FILLED)
    e = events[book.events - 1]
    e.is_fill = 1
    e.quantity = s.quantity
    e.price = price
    e.commission = commission
    signed = float(s.side) * s.quantity
    s.position += signed
    s.cash -= signed * price
    s.commission += commission
    s.hold_until = s.since + s.hold_ns
    s.working = 0
