"""Which ticks are due, that is make a row of FEATURES: quote changes, throttled per symbol in event time."""

from tickarrow.jit._kernel import kernel, record

QUOTE = 0  # schemas.Kind.QUOTE

DUE_STATE = record([("due_ts", "i8"), ("bid", "f8"), ("bid_size", "f8"), ("ask", "f8"), ("ask_size", "f8"), ("quoted", "?"), ("due", "?")])


@kernel("f8, f8", inline=True)
def differs_point(a, b):
    """Whether two values differ; NaN equals NaN."""
    return a != b and not (a != a and b != b)


@kernel("DUE_STATE, i8, u1, f8, f8, f8, f8, i8", inline=True)
def due_step(s, ts, kind, bid, bid_size, ask, ask_size, throttle_ns):
    """Whether a tick is due.

    It is if it is a quote that differs from the symbol's previous quote (or is its first), and the symbol's last due tick is at least
    `throttle_ns` ago. A change inside the throttle is not made up for later.

    Parameters
    ----------
    s : DUE_STATE of the symbol, updated in place
    ts : int64, ns
    kind : uint8, Kind
    bid, bid_size, ask, ask_size : float64, NaN = missing; NaN equals NaN
    throttle_ns : int64, ns of event time; 0 = every change

    Returns
    -------
    bool
    """
    if kind != QUOTE:
        return False
    changed = (
        not s.quoted
        or differs_point(bid, s.bid)
        or differs_point(bid_size, s.bid_size)
        or differs_point(ask, s.ask)
        or differs_point(ask_size, s.ask_size)
    )
    if not changed:
        return False
    s.bid, s.bid_size = bid, bid_size
    s.ask, s.ask_size = ask, ask_size
    s.quoted = True
    if s.due and ts - s.due_ts < throttle_ns:
        return False
    s.due_ts = ts
    s.due = True
    return True
