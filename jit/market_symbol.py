"""One symbol of the generated market: its arrivals, its hidden value, and the loop that turns both into events."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.market_event import (
    deplete_update,
    event_point,
    improve_side,
    improve_update,
    lock_update,
    pause_update,
    resize_update,
    resume_update,
    side_update,
    trade_update,
)
from tickarrow.jit.market_state import (
    CLOSE,
    EVENT,
    FRACTION,
    GRID,
    HUB_SECOND,
    HUB_STEP,
    KICK,
    NEVER,
    PARAMETERS,
    PAUSE,
    QUEUE,
    QUOTE,
    ROOM,
    SECOND,
    SESSION_S,
    SHAPE_PARTS,
    SIZE_CHANGE,
    STEPS,
    SYMBOL_STATE,
    TRADE_SIZE,
    VALUE_FLOOR,
    decay_point,
    draw_point,
    mix_point,
    normal_point,
    power_point,
    wait_point,
)

u64 = np.uint64
i64 = np.int64


@kernel("SYMBOL_STATE, PARAMETERS, HUB_STEP[:], i8, i8", inline=True)
def value_update(s, p, hub, first, until):
    """The hidden value takes the steps of the factors before number `until`. It is asked for at events only: a quiet symbol pays little."""
    while s.step < until:
        h = hub[s.step - first]
        s.lag_market += ((h.market - s.lag_market) * p.lag) >> 16
        s.lag_sector += ((h.sector[p.sector] - s.lag_sector) * p.lag) >> 16
        own = normal_point(mix_point(p.key ^ mix_point(u64(2 * s.step + 1))))
        move = (s.lag_market * p.beta_market + s.lag_sector * p.beta_sector + own * p.beta_own) >> 16
        s.value = max(s.value + ((((move * s.volatility) >> 16) * p.value_step) >> 20), VALUE_FLOOR)
        s.step += 1


@kernel("SYMBOL_STATE, PARAMETERS, HUB_SECOND, i8[:], i8[:], i8[:,:]", inline=True)
def second_update(s, p, hub, kick, power, day):
    """The symbol at a whole second: activity, volatility, and the shock if it answers one (half of the symbols do, 0 to 4 ms late)."""
    second = s.time // SECOND
    s.grid = s.time + SECOND
    s.slow -= (s.slow * p.slow_decay) >> 20
    s.own += -((s.own * p.own_decay) >> 20) + ((normal_point(mix_point(p.key ^ mix_point(u64(2 * STEPS * second)))) * p.own_step) >> 16)
    level = ((hub.slow * p.weight_slow) >> 16) + ((hub.fast * p.weight_fast) >> 16)  # log2 of the activity, Q16
    level += ((hub.quick * p.weight_quick) >> 16) + (((s.own >> 8) * p.weight_own) >> 16)

    at = second % SESSION_S * SHAPE_PARTS
    part = at // SESSION_S
    rest = at - part * SESSION_S
    activity = day[0, part] + (day[0, part + 1] - day[0, part]) * rest // SESSION_S
    volatility = day[1, part] + (day[1, part + 1] - day[1, part]) * rest // SESSION_S
    s.rate = max((((p.rate * power_point(level, power)) >> 16) * activity) >> 16, 40)
    s.volatility = (power_point((level * p.value_vol) >> 16, power) * volatility) >> 16

    if hub.shock > 0:
        r = mix_point(p.key ^ mix_point(u64(3_000_000_000) + u64(second)))
        s.shock_time = min(s.time + hub.shock_delay + i64(r & u64(0x3FFFFF)), s.grid - 1)
        s.shock = s.shock_jump = 0
        if (r >> u64(24)) & u64(1):
            s.shock = (((hub.shock * p.shock) >> 8) * kick[i64((r >> u64(32)) & u64(255))]) >> 7  # own size: peaks of symbols fall apart
            s.shock_jump = (hub.shock_jump * p.shock_jump) >> 8


@kernel(
    "SYMBOL_STATE, PARAMETERS, i8[:,:], i8[:,:], PAUSE[:], i8[:], i8[:], i8[:,:], HUB_STEP[:], HUB_SECOND[:], i8, i8, EVENT[:], i8"
)
def symbol_update(s, p, tables, parents, pauses, exponential, power, day, steps, seconds, begin, end, events, n):
    """Events of one symbol from `begin` to `end`, written from event `n` on.

    Parameters
    ----------
    s, p : SYMBOL_STATE (updated in place), PARAMETERS
    tables : (4, 256) int64, quantile tables TRADE_SIZE, SIZE_CHANGE, QUEUE (shares), KICK (Q4)
    parents : (2, 256) int64, lengths of large orders in trades, and their roots, Q4
    pauses : (k,) PAUSE in order of time, none begins before the one before it ends; the first opens the session at 0
    exponential, power : (1024,) int64, Q16, of jit/market_tables.py
    day : (2, 13) int64, Q16, activity and volatility over the session
    steps, seconds : the hub from `begin` on
    begin, end : int, ns of the market's clock, whole seconds
    events : (capacity,) EVENT

    Returns
    -------
    int, next free event; -1 if `events` is full, the state is then useless and the caller goes back to its copy

    References
    ----------
    Hawkes process with exponential kernels by thinning (Ogata 1981); the rest is measured, see the classes in pipeline/market_classes.py.
    """
    first = begin // GRID
    while True:
        if s.time == s.grid:  # blocks end at whole seconds: their length changes nothing
            value_update(s, p, steps, first, s.time // GRID)
            if s.time >= end:
                return n
            if n + ROOM >= events.size:
                return -1
            second_update(s, p, seconds[(s.time - begin) // SECOND], tables[KICK], power, day)
            now = s.time
            if s.pause < pauses.size and now == pauses[s.pause].begin:
                s.paused = 1
                s.fast = s.medium = 0
                n = pause_update(s, p, steps[s.step - first], pauses[s.pause].kind, events, n)
                if pauses[s.pause].kind == CLOSE:  # the next pause opens the next session
                    s.pause += 1
            if s.paused != 0 and s.pause < pauses.size and now == pauses[s.pause].end:
                n = resume_update(s, p, events, n)
                s.paused = 0
                s.pause += 1
            s.shock_time = NEVER if s.paused != 0 else max(s.shock_time, s.time)
        if s.paused != 0:
            s.time = s.grid
            continue
        rate = s.rate + s.fast + s.medium + s.slow
        r = draw_point(s)
        dt = ((wait_point(r, exponential) * SECOND) >> 4) // rate
        bound = min(s.grid, s.shock_time)
        early = s.time + dt < bound
        if not early:
            dt = bound - s.time
        s.fast_rest += dt * p.fast_decay
        s.fast = decay_point(s.fast, s.fast_rest, power)
        s.fast_rest &= FRACTION
        s.medium_rest += dt * p.medium_decay
        s.medium = decay_point(s.medium, s.medium_rest, power)
        s.medium_rest &= FRACTION
        s.time += dt
        if not early:
            if bound == s.shock_time:
                s.shock_time = NEVER
                s.fast = max(s.fast, min(s.shock, p.rate_cap))
                s.medium += (min(s.shock, p.rate_cap) * p.shock_medium) >> 16
                s.value = max(s.value + s.shock_jump, VALUE_FLOOR)
            continue
        if i64((r >> u64(12)) & u64(0xFFFFFF)) * rate > (s.rate + s.fast + s.medium + s.slow) << 24:
            continue  # thinned: the rate fell while waiting
        if n + ROOM >= events.size:
            return -1
        if s.fast < p.rate_cap:
            s.fast += p.fast_add
            s.medium += p.medium_add
            s.slow += p.slow_add

        value_update(s, p, steps, first, s.time // GRID + 1)
        r = draw_point(s)
        spread = s.ask - s.bid
        pressure = ((s.value - ((s.ask + s.bid) << 15)) * p.pull) >> 16  # Q16 gap between the value and the mid
        pressure = min(max(pressure, -p.pull_cap), p.pull_cap)
        u1, u2, u4 = i64(r & u64(0xFFFF)), i64((r >> u64(16)) & u64(0xFFFF)), i64(r >> u64(48))
        if u1 < p.trade and spread > 0:
            inside = spread > 1 and (u4 & 255) < p.inside
            n = trade_update(s, p, r, side_update(s, p, r, pressure, parents), inside, tables[TRADE_SIZE], events, n)
            if inside:
                continue  # a print between the quotes changes none
        elif abs(pressure) == p.pull_cap and spread > 0:  # the value has left the quote behind: it follows with each event
            if spread > p.spread:
                improve_update(s, p, r, 1 if pressure > 0 else -1, tables[QUEUE])
            else:
                s.depleted = 1 if pressure > 0 else -1
        elif spread > 1 and u2 < min((spread - 1) * p.improve, 62_000):
            improve_update(s, p, r, improve_side(s, p, r, pressure), tables[QUEUE])
        elif spread == 1 and u2 < p.lock and abs(pressure) > 58_000:
            lock_update(s, p, r, pressure, tables[QUEUE])
        else:
            resize_update(s, p, r, pressure, tables[SIZE_CHANGE])
        if s.depleted != 0:
            deplete_update(s, p, r, tables[QUEUE], tables[KICK])
        event_point(events[n], s, QUOTE, 0, 0)
        n += 1
