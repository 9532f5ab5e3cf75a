"""Forecasts -> decisions and order intents, in event order across symbols: horizon blend, cost gate, size, caps, one working order per
symbol, a reason for every row. Budgets are recomputed from positions and working orders each time, so nothing has to be reset."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.act_state import ACT_PARAMS, ACT_STATE, BOOK, EVENT, GRID, gain_point, reach_point
from tickarrow.jit.barrier import barrier_value_point
from tickarrow.jit.costs import FEES, fees_point, round_trip_point
from tickarrow.jit.impact import impact_point, sigma_day_point
from tickarrow.jit.limits import (
    LIMITS_BOOK, LIMITS_PARAMS, LIMITS_STATE, NOT_TURNED, ORDER_RATE, count_point, day_point, last_point, limits_point, opens_point, rate_point
)  # fmt: skip
from tickarrow.jit.sizing import lots_point, target_point, throttle_point

# Kind, Reason, OrderState, Gate and a Flag of the schemas; a test compares them.
QUOTE = 0
ORDER, NO_QUOTE, CROSSED, WARMING_UP, EDGE_BELOW_COST, AT_TARGET = range(6)
ORDER_WORKING, NAME_CAP, GROSS_CAP, CANCEL, HORIZON_OVER, KILLED, NOT_LIVE, HALTED = range(6, 14)
NET_CAP, SECTOR_CAP, PARTICIPATION_CAP, DRAWDOWN, BELOW_MINIMUM = range(14, 19)
INTENT, CANCEL_INTENT, SENT, SUBMITTED, FILLED, CANCELLED, REJECTED = range(7)
HALTED_FLAG = 32
GATE_ALIVE, GATE_TRADING, GATE_LIVE, GATE_QUOTED, GATE_FREE, GATE_FORECAST, GATE_DRAWDOWN, GATE_VOLUME = (1 << i for i in range(8))
GATE_EDGE, GATE_SIZE, GATE_BAND, GATE_BOOK, GATE_VALUE, GATE_LIMITS = (1 << i for i in range(8, 14))

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


@kernel("f8[:], f8[:], f8[:], i8[:]", inline=True)
def pool_point(alpha, sigma, ic, horizons_ns):
    """Drift that all horizons agree on, basis points per second.

    Each alpha / h is an estimate of the drift. Its precision is (h / sigma)^2, the inverse variance of the return's noise per unit of
    time, times ic^2, the share of that variance which the forecast explains: without the second factor a long horizon with no skill
    would pull the pool to zero.

    Parameters
    ----------
    alpha, sigma, ic : (n_horizons,) float64, basis points, basis points, correlation; NaN or sigma 0 = not known, left out
    horizons_ns : (n_horizons,) int64
    """
    total = 0.0
    drift = 0.0
    for h in range(horizons_ns.size):
        if alpha[h] == alpha[h] and sigma[h] > 0.0:
            seconds = 1e-9 * horizons_ns[h]
            precision = ic[h] * seconds / sigma[h]
            precision *= precision
            total += precision
            drift += precision * (alpha[h] / seconds)
    if total > 0.0:
        return drift / total
    return 0.0


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


@kernel(
    "ACT_STATE[:], BOOK[:], EVENT[:], ACT_PARAMS[:], FEES[:], GRID[:], f8[:], i4[:], i8[:],"
    "LIMITS_STATE[:], LIMITS_BOOK[:], LIMITS_PARAMS[:], out i8[:], i8[:], i8[:], u1[:],"
    "u8[:], i8[:], i4[:], u1[:], f8[:], f8[:], u2[:], f8[:], i8, i8, u8[:], i8[:], i4[:], f8[:,:], f8[:,:], f8[:,:], i8, i8,"
    "out u8[:], out i8[:], out i4[:], out f8[:], out f8[:], out i1[:], out f8[:], out f8[:], out f8[:], out u1[:], out u1[:], out u2[:], out f8[:], i8"
)
def act_update(
    state, books, events, params, fees, grid, adv, sector, horizons_ns, limits_state, limits_books, limits_params, times, days, edges, closed,
    tick_seq, tick_ts, tick_symbol, kind, bid, ask, flags, price, tick_lo, tick_hi,
    seq, ts, symbol, alpha, sigma, ic, lo, hi,
    out_seq, out_ts, out_symbol, edge, cost, horizon, p_up, p_down, target, reason, model_set, verdict, value, to,
):  # fmt: skip
    """Walk ticks and forecasts in event order; every forecast row gets a decision, some an order intent.

    Parameters
    ----------
    state : (n_symbols,) ACT_STATE
    books : (1,) BOOK; `events` is set to the number of rows written to `events`
    events : EVENT with room for 3 (hi - lo) + 2 n_symbols rows, out
    params : (1,) ACT_PARAMS
    fees : (1,) FEES
    grid : (n_symbols,) GRID
    adv : (n_symbols,) float64, average daily volume, shares; 0 = not known
    sector : (n_symbols,) int32, number of its sector; -1 = none
    horizons_ns : (n_horizons,) int64
    limits_state : (n_symbols,) LIMITS_STATE
    limits_books, limits_params : (1,) LIMITS_BOOK, LIMITS_PARAMS
    times : (n,) int64, as in `rate_point`
    days : (n_days,) int64, ns, begins of session days
    edges, closed : (n,) int64, uint8, ns: from each edge on nothing is closed, opening is, or everything (FREE, CLOSE_ONLY, NOTHING)
    tick_seq ... price : columns of TICKS, rows [tick_lo, tick_hi)
    seq, ts, symbol, alpha, sigma, ic : columns of the forecasts, rows [lo, hi)
    out_seq ... value : columns of DECISIONS, out, rows [to, to + hi - lo). edge: basis points, signed; cost: round trip, impact included;
        value: of the edge where barriers end it; NaN and horizon -1 where no horizon could be judged; p_up, p_down: within
        the horizon; target: shares, the position where it is not to change

    Notes
    -----
    Per horizon the forecast moves `pool_share` of the way to the pooled drift. The horizon with the largest
    (|edge| - cost) / sigma is chosen, the shorter of equals; its gate is |value| - cost > hurdle x cost. A position is kept until the horizon
    it was opened for is over, and longer while the forecast passes the gate on its side. On data that is halted or not live no order is sent,
    also none that closes a position; cancels always go. A pre-trade limit refuses what would be sent: `limits_point`; of an order that turns
    a position round, what closes it may still pass.
    """
    par = params[0]
    book = books[0]
    limits = limits_params[0]
    limits_book = limits_books[0]
    book.events = 0
    r = lo
    for i in range(tick_lo, tick_hi + 1):
        if i < tick_hi:
            book.seq = tick_seq[i]
            if tick_ts[i] >= limits_book.day_end:
                day_point(limits_book, days, tick_ts[i], gain_point(state))
            if kind[i] != QUOTE:
                limits_state[tick_symbol[i]].trade = price[i]
            else:
                limits_state[tick_symbol[i]].quoted = tick_ts[i]
                s = state[tick_symbol[i]]
                s.bid = bid[i]
                s.ask = ask[i]
                s.quote_flags = flags[i]
                if 0.0 < bid[i] <= ask[i]:
                    s.mark = 0.5 * (bid[i] + ask[i])
                if par.simulate and s.working:
                    simulate_point(s, events, book, tick_seq[i], tick_ts[i], tick_symbol[i], fees[0])
        while r < hi and (i == tick_hi or seq[r] <= tick_seq[i]):
            at = np.int64(symbol[r])
            now = ts[r]
            s = state[at]
            row = to + r - lo
            age = now - s.since
            if s.working and s.done and age > par.ttl:
                s.working = 0  # reported as filled, its executions never came
            position = s.position
            quoted = 0.0 < s.bid <= s.ask
            gain = gain_point(state)
            book.peak = max(book.peak, gain)
            if not gain - limits_book.begin > -limits.daily_loss:
                limits_book.stopped = 1
            throttle = throttle_point((book.peak - gain) / (par.nav + book.peak), par.throttle_from, par.throttle_to)
            most = par.participation * adv[at] if adv[at] > 0.0 else np.inf

            best_h = -1
            best_edge = np.nan
            best_cost = np.nan
            best_size = 0.0
            if quoted:
                best = -np.inf
                pool = pool_point(alpha[r], sigma[r], ic[r], horizons_ns)
                for h in range(horizons_ns.size):
                    if alpha[r, h] == alpha[r, h] and sigma[r, h] > 0.0:
                        seconds = 1e-9 * horizons_ns[h]
                        a = (1.0 - par.pool_share) * alpha[r, h] + par.pool_share * pool * seconds
                        size = target_point(abs(a), sigma[r, h], seconds, par.kelly, par.vol_target, par.name_cap)
                        size = lots_point(min(throttle * size * par.nav / s.mark, most), par.lot)
                        quantity = max(size, par.lot)
                        c = round_trip_point(fees[0], s.bid, s.ask, quantity)
                        c += 2.0 * impact_point(quantity, adv[at], sigma_day_point(sigma[r, h], seconds), par.eta)
                        score = (abs(a) - c) / sigma[r, h]
                        if score > best:
                            best = score
                            best_h = h
                            best_edge = a
                            best_cost = c
                            best_size = size
            first = np.nan
            second = np.nan
            worth = np.nan
            if best_h >= 0:  # in deviations of the horizon, which is the vertical barrier
                upper = par.profit_barrier if best_edge >= 0.0 else par.stop_barrier
                lower = par.stop_barrier if best_edge >= 0.0 else par.profit_barrier
                first, second, worth = barrier_value_point(best_edge / sigma[r, best_h], upper, lower)
                worth *= sigma[r, best_h]

            passed = 0
            if not book.killed:
                passed |= GATE_ALIVE
            if not s.quote_flags & HALTED_FLAG:
                passed |= GATE_TRADING
            if not (book.link or s.health or s.quote_flags & par.not_live):
                passed |= GATE_LIVE
            if quoted:
                passed |= GATE_QUOTED
            if not s.working:
                passed |= GATE_FREE
            if best_h >= 0:
                passed |= GATE_FORECAST
            if throttle > 0.0:
                passed |= GATE_DRAWDOWN
            if most >= par.lot:
                passed |= GATE_VOLUME

            why = EDGE_BELOW_COST
            goal = position
            stopping = book.killed or (limits_book.stopped and opens_point(np.int64(s.side), s.quantity, position))
            if s.working and not s.cancelling and not s.done and (stopping or age > par.ttl):
                why = CANCEL
            elif book.killed:
                why = KILLED
            elif s.quote_flags & HALTED_FLAG:
                why = HALTED
            elif book.link or s.health or s.quote_flags & par.not_live:
                why = NOT_LIVE
            elif not quoted:
                why = CROSSED if s.bid > s.ask else NO_QUOTE
            elif s.working:
                why = ORDER_WORKING
            else:
                if best_h < 0:
                    why = WARMING_UP
                elif throttle <= 0.0:
                    why = DRAWDOWN
                elif most < par.lot:
                    why = PARTICIPATION_CAP
                elif abs(worth) - best_cost > par.hurdle * best_cost:
                    passed |= GATE_EDGE
                    side = 1 if best_edge > 0.0 else -1
                    sign = float(side)
                    held = sign * position  # > 0: on the right side
                    if held > 0.0:
                        s.hold_until = max(s.hold_until, now + horizons_ns[best_h])
                    gross, net, of_sector = reach_point(state, sector, at, side)
                    room = book.gross_cap * par.nav - gross
                    cap = GROSS_CAP
                    if par.net_cap * par.nav - net < room:
                        room = par.net_cap * par.nav - net
                        cap = NET_CAP
                    if sector[at] >= 0 and par.sector_cap * par.nav - of_sector < room:
                        room = par.sector_cap * par.nav - of_sector
                        cap = SECTOR_CAP
                    size = min(best_size, lots_point(max(room, 0.0) / s.mark, par.lot))
                    if best_size < par.lot:
                        why = NAME_CAP
                    elif held > 0.0 and abs(best_size - held) <= par.resize_band * best_size:
                        why = AT_TARGET
                        passed |= GATE_SIZE
                    elif size < par.lot or (size < best_size and held > 0.0 and size - held <= par.resize_band * size):
                        why = cap
                        passed |= GATE_SIZE | GATE_BAND
                    elif abs(size - held) * s.mark < par.least_value:
                        why = BELOW_MINIMUM
                        passed |= GATE_SIZE | GATE_BAND | GATE_BOOK
                    else:
                        why = ORDER
                        passed |= GATE_SIZE | GATE_BAND | GATE_BOOK | GATE_VALUE
                        goal = sign * size
                if why != ORDER and position != 0.0 and now >= s.hold_until:
                    why = HORIZON_OVER
                    goal = 0.0

            if why in (ORDER, HORIZON_OVER):
                side = 1 if goal > position else -1
                limit = limit_point(s.bid, s.ask, par.offset_ticks, side, grid[at])
                gross, net, of_sector = reach_point(state, sector, at, side)
                own = limits_state[at]
                hours = np.int64(closed[max(last_point(edges, now), 0)])
                quantity = abs(goal - position)
                refused = 0
                for _ in range(2):
                    refused = limits_point(
                        limits, side, quantity, limit, position, gross, net, s.bid, s.ask, own.trade, now - own.quoted, own.listed, hours,
                        limits_book.stopped,
                    )  # fmt: skip
                    if refused == 0 and not rate_point(limits_book, times, limits, now):
                        refused = ORDER_RATE
                    if refused == 0 or not goal * position < 0.0:
                        break
                    why = NOT_TURNED
                    goal = 0.0
                    quantity = abs(position)
                if refused:
                    why = refused
                    goal = position
                else:
                    count_point(limits_book, times, now)
                    if why != NOT_TURNED:
                        passed |= GATE_LIMITS
            if why in (ORDER, HORIZON_OVER, NOT_TURNED):
                s.key = book.next_key
                s.side = side
                s.ordered = quantity
                s.quantity = s.ordered
                s.limit = limit
                s.since = now
                s.hold_ns = horizons_ns[best_h] if why == ORDER else 0
                s.working = 1
                s.cancelling = 0
                s.done = 0
                book.next_key += 1
                order_event_point(events, book, seq[r], now, symbol[r], s, INTENT)
            elif why == CANCEL:
                s.cancelling = 1
                order_event_point(events, book, seq[r], now, symbol[r], s, CANCEL_INTENT)

            out_seq[row] = seq[r]
            out_ts[row] = now
            out_symbol[row] = symbol[r]
            edge[row] = best_edge
            cost[row] = best_cost
            horizon[row] = best_h
            p_up[row] = first
            p_down[row] = second
            value[row] = worth
            target[row] = goal
            reason[row] = why
            model_set[row] = s.model_set
            verdict[row] = passed
            r += 1
