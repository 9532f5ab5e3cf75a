"""Which ticks are due, that is make a row of FEATURES: quote changes, throttled per symbol in event time."""

from tickarrow.jit._kernel import kernel, record

QUOTE = 0  # schemas.Kind.QUOTE

DUE_STATE = record([("due_ts", "i8"), ("bid", "f8"), ("bid_size", "f8"), ("ask", "f8"), ("ask_size", "f8"), ("quoted", "?"), ("due", "?")])


@kernel("f8, f8", inline=True)
def differs_point(a, b):
    """Whether two values differ; NaN equals NaN."""
    return a != b and not (a != a and b != b)


@kernel("DUE_STATE[:], u8[:], i8[:], i4[:], u1[:], f8[:], f8[:], f8[:], f8[:], i8, i8, i8, i8, out u8[:], out i8[:], out i4[:]")
def due_update(state, seq, ts, symbol, kind, bid, bid_size, ask, ask_size, lo, hi, throttle_ns, row, row_seq, row_ts, row_symbol):
    """Find the due ticks and write seq, ts and symbol of their rows.

    A tick is due if it is a quote that differs from the symbol's previous quote (or is its first), and the symbol's last
    due tick is at least `throttle_ns` ago. A change inside the throttle is not made up for later.

    Parameters
    ----------
    state : (n_symbols,) DUE_STATE, updated in place
    seq, ts, symbol, kind : (capacity,) uint64, int64 ns, int32 row of `state`, uint8 Kind; the caller guarantees the range of symbol
    bid, bid_size, ask, ask_size : (capacity,) float64, NaN = missing; NaN equals NaN
    lo, hi : int, rows [lo, hi) of the columns
    throttle_ns : int, ns of event time; 0 = every change
    row : int, first row to write
    row_seq, row_ts, row_symbol : (capacity,) uint64, int64, int32, written from `row` on

    Returns
    -------
    int, number of due ticks
    """
    n = 0
    for i in range(lo, hi):
        if kind[i] != QUOTE:
            continue
        s = state[symbol[i]]
        changed = (
            not s.quoted
            or differs_point(bid[i], s.bid)
            or differs_point(bid_size[i], s.bid_size)
            or differs_point(ask[i], s.ask)
            or differs_point(ask_size[i], s.ask_size)
        )
        if not changed:
            continue
        s.bid, s.bid_size = bid[i], bid_size[i]
        s.ask, s.ask_size = ask[i], ask_size[i]
        s.quoted = True
        if s.due and ts[i] - s.due_ts < throttle_ns:
            continue
        s.due_ts = ts[i]
        s.due = True
        row_seq[row + n] = seq[i]
        row_ts[row + n] = ts[i]
        row_symbol[row + n] = symbol[i]
        n += 1
    return n
