"""Feature family `intensity`: how often a symbol trades and is quoted, now and against its recent past (12 columns)."""

import numpy as np

from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.event import EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.math import exp_point
from tickarrow.jit.moments import FORGOTTEN, ratio_point

WINDOWS = 4
SECOND = 1_000_000_000  # ns, a bin of the Fano factor
BINS = 300.0  # memory of the Fano factor, in bins
FADE = float.fromhex("0x1.fe4bd2199271bp-1")  # exp(-1 / BINS)

INTENSITY_STATE = record(
    [
        ("now", "i8"),  # ns, latest time seen
        ("trades", "f8", (WINDOWS,)),  # decaying counts
        ("quotes", "f8", (WINDOWS,)),
        ("second", "i8"),  # the open bin, seconds since 1970
        ("filled", "f8"),  # trades in it
        ("bin_w", "f8"),  # closed bins of this session: decaying sums of 1, their counts, the squares
        ("bin_x", "f8"),
        ("bin_xx", "f8"),
        ("bins", "i8"),  # closed bins, counted to 2
        ("whole", "?"),  # the session began before the open bin
    ]
)


@kernel("INTENSITY_STATE, i8", inline=True)
def bins_step(s, second):
    """Close the open bin and the empty ones up to `second`, which becomes the open one.

    Parameters
    ----------
    s : INTENSITY_STATE of the symbol, updated in place
    second : int64, later than `s.second`

    Notes
    -----
    Each closed bin lets the older ones fade by exp(-1 / BINS). k empty bins at once: the sums fade by f = exp(-k / BINS) and the
    weight gains 1 + FADE + ... + FADE**(k - 1) = (1 - f) / (1 - FADE), so that a silence of hours costs what one second costs.
    """
    if s.whole:
        s.bin_w = s.bin_w * FADE + 1.0
        s.bin_x = s.bin_x * FADE + s.filled
        s.bin_xx = s.bin_xx * FADE + s.filled * s.filled
        s.bins = min(s.bins + 1, 2)
    empty = second - s.second - 1
    if empty > 0:
        f = exp_point(float(empty) * (-1.0 / BINS))
        s.bin_w = s.bin_w * f + (1.0 - f) / (1.0 - FADE)
        s.bin_x *= f
        s.bin_xx *= f
        s.bins = min(s.bins + min(empty, 2), 2)
    s.filled = 0.0
    s.whole = True
    s.second = second


@kernel("INTENSITY_STATE, EVENT, i8[:]")
def intensity_step(s, e, w):
    """Bring the state of a symbol forward by one tick.

    Parameters
    ----------
    s : INTENSITY_STATE of the symbol, updated in place
    e : EVENT. A quote row counts as a quote also where it repeats the last one; a trade without a positive size does not count
    w : (4,) int64, windows in `e.decay`
    """
    if e.first:
        s.now = e.ts
    s.now += e.dt
    trade = 1.0 if e.is_trade else 0.0
    quote = 1.0 if e.is_quote else 0.0
    for k in range(WINDOWS):
        d = e.decay[w[k]]
        s.trades[k] = s.trades[k] * d + trade
        s.quotes[k] = s.quotes[k] * d + quote
    second = s.now // SECOND
    if e.new_session:  # the night is no bin
        s.bin_w = s.bin_x = s.bin_xx = s.filled = 0.0
        s.bins = 0
        s.whole = False
        s.second = second
    elif second > s.second:
        bins_step(s, second)
    s.filled += trade


@kernel("INTENSITY_STATE, EVENT, i8[:], out f8[:], i8")
def intensity_emit(s, e, w, v, at):
    """Write the columns of a symbol as of its last tick.

    Parameters
    ----------
    s : INTENSITY_STATE of the symbol
    e : EVENT, the due row
    w : (4,) int64, windows in `e.decay`
    v : float64, columns v[at], v[at + 1], ... are written
    at : int64

    Notes
    -----
    S(1) is the sum of exp(-(t - t_i) / tau) over the events so far: the state of a Hawkes process with an exponential kernel, and the
    number of events that the window holds. Divided by tau it is a rate; it starts at 0 and needs about three tau to reach its level.

    0 to 3    S(1) over trades; Bacry, Mastromatteo and Muzy (2015)
    4 to 7    S(1) over quote rows
    8         quotes per trade: third window of 4 to 7 over 1 + that of 0 to 3; one trade keeps it finite in a window without trades
    9, 10     acceleration of trades, quotes: first window over third; tau_1 / tau_3 in a steady flow, at most 1
    11        Fano factor, variance / mean of the trades in whole seconds of market time, decaying by exp(-1/300) a second, over the
              closed seconds of the session; about 1 / (1 - n)**2 for branching ratio n; Hardiman and Bouchaud (2014)

    NaN: 9 and 10 before the first event of the denominator or after 460 tau without one; 11 before two closed seconds and a trade in
    one; the second in which the session's first row falls is left out.
    """
    for k in range(WINDOWS):
        v[at + k] = s.trades[k]
        v[at + WINDOWS + k] = s.quotes[k]
    v[at + 8] = s.quotes[2] / (1.0 + s.trades[2])
    v[at + 9] = ratio_point(s.trades[0], s.trades[2])
    v[at + 10] = ratio_point(s.quotes[0], s.quotes[2])
    fano = np.nan
    if s.bins == 2 and s.bin_x > FORGOTTEN:
        fano = max(s.bin_xx / s.bin_x - s.bin_x / s.bin_w, 0.0)
    v[at + 11] = fano


def columns(tau_s):
    """Columns of the tick clock for four windows."""
    names = [f"{t:g}s" for t in tau_s]
    windows = [f"{t:g} s" for t in tau_s]
    fast, third = names[0], names[2]
    both = f"{windows[0]}, {windows[2]}"
    hawkes = "Bacry, Mastromatteo and Muzy (2015)"
    counted = "numpy sum over all events"
    started = "starts at 0, within 5 % after 3 tau"
    ratio = "NaN before the first {}"
    return [
        *(
            Column(
                f"trade_intensity_{n}", "trades", "S(1) over trades = sum exp(-(t - t_i) / tau); / tau = trades a second", hawkes, t, started,
                counted, "every trade",
            )
            for n, t in zip(names, windows)
        ),
        *(
            Column(
                f"quote_intensity_{n}", "quotes", "S(1) over quote rows = sum exp(-(t - t_i) / tau); / tau = quotes a second", hawkes, t, started,
                counted,
            )
            for n, t in zip(names, windows)
        ),
        Column(
            f"quotes_per_trade_{third}", "1", "S(1) over quote rows / (1 + S(1) over trades)", "", windows[2], started, counted, "every trade",
        ),
        Column(
            f"trade_acceleration_{fast}_{third}", "1", "S(1) over trades, fast / slow; tau_fast / tau_slow in a steady flow", hawkes, both,
            ratio.format("trade"), counted, "every trade",
        ),
        Column(
            f"quote_acceleration_{fast}_{third}", "1", "S(1) over quote rows, fast / slow; tau_fast / tau_slow in a steady flow", hawkes, both,
            ratio.format("quote"), counted,
        ),
        Column(
            "fano_300s", "trades", "var(n) / mean(n), n = trades in each whole second, weights exp(-age / 300 s), this session",
            "Hardiman and Bouchaud (2014)", "300 s", "NaN before two closed seconds with a trade among them",
            "pandas ewm var, mean", "every trade",
        ),
    ]  # fmt: skip


FAMILY = Family(
    "intensity", 1, columns, (1.0, 5.0, 30.0, 300.0), WINDOWS, INTENSITY_STATE, intensity_step, intensity_emit,
)  # fmt: skip
