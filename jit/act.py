"""Forecasts -> decisions and order intents, in event order across symbols: horizon blend, cost gate, size, caps, one working order per
symbol, a reason for every row. Budgets are recomputed from positions and working orders each time, so nothing has to be reset."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.act_order import CANCEL_INTENT, INTENT, limit_point, order_event_point, simulate_point
from tickarrow.jit.act_state import (
    ACT_PARAMS, ACT_STATE, AT_ADV, AT_BOOK, AT_CLOSED, AT_DAYS, AT_DECISIONS, AT_EDGES, AT_EVENTS, AT_FEES, AT_FORECASTS, AT_GRID, AT_HORIZONS_NS,
    AT_LIMITS, AT_LIMITS_BOOK, AT_LIMITS_PARAMS, AT_PARAMS, AT_SECTOR, AT_STATE, AT_TICKS, AT_TIMES, BOOK, EVENT, GRID, gain_point, reach_point
)  # fmt: skip
from tickarrow.jit.barrier import barrier_value_point
from tickarrow.jit.costs import FEES, round_trip_point
from tickarrow.jit.impact import impact_point, sigma_day_point
from tickarrow.jit.limits import (
    LIMITS_BOOK, LIMITS_PARAMS, LIMITS_STATE, NOT_TURNED, ORDER_RATE, count_point, day_point, last_point, limits_point, opens_point, rate_point
)  # fmt: skip
from tickarrow.jit.memory import array_in
from tickarrow.jit.sizing import lots_point, target_point, throttle_point

# Kind, Reason, Gate and a Flag of the schemas; a test compares them.
QUOTE = 0
ORDER, NO_QUOTE, CROSSED, WARMING_UP, EDGE_BELOW_COST, AT_TARGET = range(6)
ORDER_WORKING, NAME_CAP, GROSS_CAP, CANCEL, HORIZON_OVER, KILLED, NOT_LIVE, HALTED = range(6, 14)
NET_CAP, SECTOR_CAP, PARTICIPATION_CAP, DRAWDOWN, BELOW_MINIMUM = range(14, 19)
HALTED_FLAG = 32
GATE_ALIVE, GATE_TRADING, GATE_LIVE, GATE_QUOTED, GATE_FREE, GATE_FORECAST, GATE_DRAWDOWN, GATE_VOLUME = (1 << i for i in range(8))
GATE_EDGE, GATE_SIZE, GATE_BAND, GATE_BOOK, GATE_VALUE, GATE_LIMITS = (1 << i for i in range(8, 14))


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


@kernel("i8, i8, i8, i8, i8, i8")
def act_update(block, tick_lo, tick_hi, lo, hi, to):
    """Walk ticks and forecasts in event order; every forecast row gets a decision, some an order intent.

    Parameters
    ----------
    block : int, address of the control block; act_state.py says what is in it
    tick_lo, tick_hi : int, rows of TICKS
    lo, hi : int, rows of the forecasts
    to : int, first row of DECISIONS, [to, to + hi - lo). edge: basis points, signed; cost: round trip, impact included; value: of the edge where
        barriers end it; NaN and horizon -1 where no horizon could be judged; p_up, p_down: within the horizon; target: shares, the
        position where it is not to change

    Returns
    -------
    int, number of events written

    Notes
    -----
    Per horizon the forecast moves `pool_share` of the way to the pooled drift. The horizon with the largest
    (|edge| - cost) / sigma is chosen, the shorter of equals; its gate is |value| - cost > hurdle x cost. A position is kept until the horizon
    it was opened for is over, and longer while the forecast passes the gate on its side. On data that is halted or not live no order is sent,
    also none that closes a position; cancels always go. A pre-trade limit refuses what would be sent: `limits_point`; of an order that turns
    a position round, what closes it may still pass.
    """
    book = array_in(block, AT_BOOK, 1, BOOK)[0]
    par = array_in(block, AT_PARAMS, 1, ACT_PARAMS)[0]
    limits_book = array_in(block, AT_LIMITS_BOOK, 1, LIMITS_BOOK)[0]
    limits = array_in(block, AT_LIMITS_PARAMS, 1, LIMITS_PARAMS)[0]
    state = array_in(block, AT_STATE, 1, ACT_STATE)
    fees = array_in(block, AT_FEES, 1, FEES)[0]
    grid = array_in(block, AT_GRID, 1, GRID)
    adv = array_in(block, AT_ADV, 1, np.float64)
    sector = array_in(block, AT_SECTOR, 1, np.int32)
    horizons_ns = array_in(block, AT_HORIZONS_NS, 1, np.int64)
    limits_state = array_in(block, AT_LIMITS, 1, LIMITS_STATE)
    times = array_in(block, AT_TIMES, 1, np.int64)
    days = array_in(block, AT_DAYS, 1, np.int64)
    edges = array_in(block, AT_EDGES, 1, np.int64)
    closed = array_in(block, AT_CLOSED, 1, np.uint8)
    events = array_in(block, AT_EVENTS, 1, EVENT)
    tick_seq = array_in(block, AT_TICKS, 1, np.uint64)
    tick_ts = array_in(block, AT_TICKS + 1, 1, np.int64)
    tick_symbol = array_in(block, AT_TICKS + 2, 1, np.int32)
    kind = array_in(block, AT_TICKS + 3, 1, np.uint8)
    bid = array_in(block, AT_TICKS + 4, 1, np.float64)
    ask = array_in(block, AT_TICKS + 5, 1, np.float64)
    flags = array_in(block, AT_TICKS + 6, 1, np.uint16)
    price = array_in(block, AT_TICKS + 7, 1, np.float64)
    seq = array_in(block, AT_FORECASTS, 1, np.uint64)
    ts = array_in(block, AT_FORECASTS + 1, 1, np.int64)
    symbol = array_in(block, AT_FORECASTS + 2, 1, np.int32)
    alpha = array_in(block, AT_FORECASTS + 3, 2, np.float64)
    sigma = array_in(block, AT_FORECASTS + 4, 2, np.float64)
    ic = array_in(block, AT_FORECASTS + 5, 2, np.float64)
    out_seq = array_in(block, AT_DECISIONS, 1, np.uint64)
    out_ts = array_in(block, AT_DECISIONS + 1, 1, np.int64)
    out_symbol = array_in(block, AT_DECISIONS + 2, 1, np.int32)
    edge = array_in(block, AT_DECISIONS + 3, 1, np.float64)
    cost = array_in(block, AT_DECISIONS + 4, 1, np.float64)
    horizon = array_in(block, AT_DECISIONS + 5, 1, np.int8)
    p_up = array_in(block, AT_DECISIONS + 6, 1, np.float64)
    p_down = array_in(block, AT_DECISIONS + 7, 1, np.float64)
    target = array_in(block, AT_DECISIONS + 8, 1, np.float64)
    reason = array_in(block, AT_DECISIONS + 9, 1, np.uint8)
    model_set = array_in(block, AT_DECISIONS + 10, 1, np.uint8)
    verdict = array_in(block, AT_DECISIONS + 11, 1, np.uint16)
    value = array_in(block, AT_DECISIONS + 12, 1, np.float64)

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
                    simulate_point(s, events, book, tick_seq[i], tick_ts[i], tick_symbol[i], fees)
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
                        c = round_trip_point(fees, s.bid, s.ask, quantity)
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
    return book.events
