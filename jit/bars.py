"""Bars: built tick by tick in the lane of their symbol, closed by time (all symbols at once), ticks, volume or money (each on its own)."""

# The bar that has just closed, as kernels of the bar clock see it: arrays (rows, n_symbols), a lane is a symbol.
OPEN, HIGH, LOW, CLOSE = range(4)  # rows of `price` int64: units from `base`; currency = (base + price) * unit
VOLUME, NOTIONAL, TRADES, SIGNED, VARIANCE = range(5)  # rows of `flow` float64: shares, currency, number, shares, bp^2 of mid changes
BEGIN, END = range(2)  # rows of `when` int64, ns UTC
UNITS = 100  # to a tick: mids and prices between ticks are exact
