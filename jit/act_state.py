"""What `act` keeps and what it is told: its records, and what the whole book amounts to."""

from tickarrow.jit._kernel import kernel, record

# One row per symbol. `quote_flags`: of its latest quote row. `health`: what the gateway says of its data, 0 = live.
# `mark` values the position: last mid of an uncrossed quote. key, side, limit, ordered: of the last order;
# quantity is what is left of it, and it counts only while `working`. `model_set`: which one decides for it.
ACT_STATE = record(
    [
        ("bid", "f8"), ("ask", "f8"), ("mark", "f8"), ("position", "f8"), ("cash", "f8"), ("commission", "f8"), ("hold_until", "i8"),
        ("key", "i8"), ("ordered", "f8"), ("quantity", "f8"), ("limit", "f8"), ("since", "i8"), ("hold_ns", "i8"),
        ("quote_flags", "u2"), ("health", "u1"), ("side", "i1"), ("working", "u1"), ("cancelling", "u1"), ("done", "u1"),
        ("model_set", "u1"),
    ]
)  # fmt: skip
# One row: what all symbols share; `link`: health of the connection, 0 = live; `peak`: highest gain on nav so far, currency.
BOOK = record([("next_key", "i8"), ("gross_cap", "f8"), ("peak", "f8"), ("seq", "u8"), ("events", "i8"), ("killed", "u1"), ("link", "u1")])
# One row: configs/risk.py and orders.py. `not_live`: a quote with one of these flags is not traded on.
ACT_PARAMS = record(
    [
        ("nav", "f8"), ("vol_target", "f8"), ("name_cap", "f8"), ("hurdle", "f8"), ("pool_share", "f8"), ("resize_band", "f8"),
        ("profit_barrier", "f8"), ("stop_barrier", "f8"), ("lot", "f8"), ("eta", "f8"),
        ("kelly", "f8"), ("participation", "f8"), ("net_cap", "f8"), ("sector_cap", "f8"), ("throttle_from", "f8"), ("throttle_to", "f8"),
        ("least_value", "f8"),
        ("offset_ticks", "f8"), ("ttl", "i8"), ("not_live", "u2"), ("simulate", "u1"),
    ]
)  # fmt: skip
# Prices of a symbol are n * multiplier / divisor: with (1, 100) the nearest double of the decimal, which n * 0.01 is not.
GRID = record([("multiplier", "f8"), ("divisor", "f8")])
# A new row of ORDERS, or of FILLS where `is_fill` is 1; `price` is the limit or the fill's price.
EVENT = record(
    [
        ("seq", "u8"), ("ts", "i8"), ("key", "i8"), ("quantity", "f8"), ("price", "f8"), ("commission", "f8"), ("symbol", "i4"),
        ("side", "i1"), ("state", "u1"), ("is_fill", "u1"),
    ]
)  # fmt: skip
# What `act_update` finds in its control block (memory.py), by place: state, settings, room for events, then columns of the batches.
(
    AT_STATE,  # (n_symbols,) ACT_STATE
    AT_BOOK,  # (1,) BOOK; `events` is set to the number of rows written to the room for events
    AT_PARAMS,  # (1,) ACT_PARAMS
    AT_FEES,  # (1,) FEES
    AT_GRID,  # (n_symbols,) GRID
    AT_ADV,  # (n_symbols,) float64, average daily volume, shares; 0 = not known
    AT_SECTOR,  # (n_symbols,) int32, number of its sector; -1 = none
    AT_HORIZONS_NS,  # (n_horizons,) int64
    AT_LIMITS,  # (n_symbols,) LIMITS_STATE
    AT_LIMITS_BOOK,  # (1,) LIMITS_BOOK
    AT_LIMITS_PARAMS,  # (1,) LIMITS_PARAMS
    AT_TIMES,  # (n,) int64, as in `rate_point`
    AT_DAYS,  # (n_days,) int64, ns, begins of session days
    AT_EDGES,  # (n,) int64, ns: from each edge on nothing is closed, opening is, or everything:
    AT_CLOSED,  # (n,) uint8: FREE, CLOSE_ONLY, NOTHING
    AT_EVENTS,  # EVENT with room for 3 rows a forecast and 2 n_symbols rows
    AT_TICKS,  # seq, ts, symbol, kind, bid, ask, flags, price
) = range(17)
AT_FORECASTS = AT_TICKS + 8  # seq, ts, symbol, alpha, sigma, ic
AT_DECISIONS = AT_FORECASTS + 6  # seq ... value, out, the columns of DECISIONS in their order
PLACES = AT_DECISIONS + 13


@kernel("ACT_STATE[:]", inline=True)
def gain_point(state):
    """Profit of all symbols since the start, currency: cash and positions at their marks, less commission and fees."""
    total = 0.0
    for i in range(state.size):
        s = state[i]
        if s.position != 0.0:
            total += s.position * s.mark
        total += s.cash - s.commission
    return total


@kernel("ACT_STATE[:], i4[:], i8, i8", inline=True)
def reach_point(state, sector, at, side):
    """Value that positions and working orders of the other symbols can reach.

    Parameters
    ----------
    state : (n_symbols,) ACT_STATE
    sector : (n_symbols,) int32, number of its sector; -1 = none
    at : int, symbol that is left out; -1 = none is
    side : int, +1 or -1, the side on which net value is counted

    Returns
    -------
    gross, net, of_sector : float64, currency. Sum of absolute values; sum of values on `side` less those against it, at the end of each
        working order that leaves more; sum of absolute values in the sector of `at`.
    """
    gross = 0.0
    net = 0.0
    of_sector = 0.0
    own = sector[at] if at >= 0 else -1
    for i in range(state.size):
        s = state[i]
        if i != at and (s.position != 0.0 or s.working):
            done = s.position + float(s.side) * s.quantity if s.working else s.position
            value = max(abs(s.position), abs(done)) * s.mark
            gross += value
            net += max(float(side) * s.position, float(side) * done) * s.mark
            if own >= 0 and sector[i] == own:
                of_sector += value
    return gross, net, of_sector
