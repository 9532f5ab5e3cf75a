"""Labels of training rows: forward return of the mid price in event time. Nothing is labelled across a hole in the feed, so not across
the end of a session either."""

import numpy as np

from tickarrow.jit._kernel import kernel


@kernel("i8[:], i4[:], f8[:], i8[:], i4[:], f8[:], i8[:], i8, out f8[:], out f4[:,:]")
def forward_return(ts, symbol, mid, quote_ts, quote_symbol, quote_mid, horizon_ns, gap_ns, latest, y):
    """Return from a row's mid to the mid in force one horizon later, in basis points.

    Parameters
    ----------
    ts : (n,) int64, ns UTC, time of each row, ascending
    symbol : (n,) int32
    mid : (n,) float64, mid at the row, contract currency; NaN = missing
    quote_ts : (n_quotes,) int64, ns UTC, ascending; every quote of the feed
    quote_symbol : (n_quotes,) int32
    quote_mid : (n_quotes,) float64; NaN = a side is missing
    horizon_ns : (n_horizons,) int64
    gap_ns : int, the feed has a hole where two neighbouring quotes, of whatever symbol, are further apart
    latest : (n_symbols,) float64, scratch: mid in force
    y : (n, n_horizons) float32, out, bp of mid: 1e4 * (later / mid - 1).
        NaN where a mid is missing, and where the feed has a hole or ends between the row and its horizon.
        A symbol without a quote in between keeps its mid; quotes with the very time of the horizon count.
    """
    n_quotes = quote_ts.shape[0]
    for h in range(horizon_ns.shape[0]):
        latest[:] = np.nan
        k = 0  # next quote to take
        end = 0  # last quote of the unbroken stretch that the row lies in
        for i in range(ts.shape[0]):
            due = ts[i] + horizon_ns[h]
            while k < n_quotes and quote_ts[k] <= due:
                latest[quote_symbol[k]] = quote_mid[k]
                k += 1
            while end + 1 < n_quotes and (quote_ts[end + 1] - quote_ts[end] <= gap_ns or quote_ts[end + 1] <= ts[i]):
                end += 1
            if end < n_quotes and due <= quote_ts[end] and mid[i] > 0.0:
                y[i, h] = np.float32(1e4 * (latest[symbol[i]] / mid[i] - 1.0))
            else:
                y[i, h] = np.nan
