"""NumPy ufuncs of the scalar formulas, for research: broadcasting, `out=`, `where=`. They are what the feature families compute, tick by
tick; `tickarrow.pipeline.points` gives them ready to use. Not for the hot path."""

from tickarrow.jit._kernel import ufunc
from tickarrow.jit.flow import ofi_point
from tickarrow.jit.moments import decay_point, sign_point
from tickarrow.jit.points import (
    age_point, depth_point, effective_spread_point, imbalance_point, impact_point, log_return_point, micro_dev_point, micro_point, mid_point,
    realised_spread_point, return_bp_point, slope_point, spread_bp_point, spread_ticks_point,
)  # fmt: skip


@ufunc("f8, f8")
def mid(bid, ask):
    """(b + a) / 2, currency; NaN without both sides and where it is not positive."""
    return mid_point(bid, ask)


@ufunc("f8, f8, f8")
def spread_ticks(bid, ask, tick_size):
    """(a - b) / tick, to 1/65536 tick; NaN without a mid, negative if crossed."""
    return spread_ticks_point(bid, ask, tick_size)


@ufunc("f8, f8")
def spread_bp(bid, ask):
    """1e4 (a - b) / m, bp; NaN without a mid, negative if crossed."""
    return spread_bp_point(bid, ask)


@ufunc("f8, f8, f8, f8")
def micro(bid, bid_size, ask, ask_size):
    """Microprice (a bs + b as) / (bs + as), currency (Gatheral and Oomen 2010)."""
    return micro_point(bid, bid_size, ask, ask_size)


@ufunc("f8, f8, f8, f8")
def micro_dev(bid, bid_size, ask, ask_size):
    """(microprice - m) / (a - b), -0.5 to 0.5; NaN for a locked quote."""
    return micro_dev_point(bid, bid_size, ask, ask_size)


@ufunc("f8, f8")
def imbalance(bid_size, ask_size):
    """(bs - as) / (bs + as), -1 to 1 (Cao, Hansch and Wang 2009)."""
    return imbalance_point(bid_size, ask_size)


@ufunc("f8, f8")
def depth(bid_size, ask_size):
    """ln(bs + as)."""
    return depth_point(bid_size, ask_size)


@ufunc("f8, f8, f8, f8")
def slope(bid, bid_size, ask, ask_size):
    """Quote slope (ln a - ln b) / (ln bs + ln as) (Hasbrouck and Seppi 2001)."""
    return slope_point(bid, bid_size, ask, ask_size)


@ufunc("f8, f8")
def log_return(price, before):
    """ln(p / p'); NaN unless both are positive."""
    return log_return_point(price, before)


@ufunc("f8, f8")
def return_bp(price, before):
    """1e4 ln(p / p'), bp; NaN unless both are positive."""
    return return_bp_point(price, before)


@ufunc("f8, f8, f8, f8, f8, f8, f8, f8")
def ofi(bid_before, bid_size_before, ask_before, ask_size_before, bid, bid_size, ask, ask_size):
    """Order-flow imbalance of a quote against the one before it, shares (Cont, Kukanov and Stoikov 2014); NaN unless both are complete."""
    known = bid_before + bid_size_before + ask_before + ask_size_before + bid + bid_size + ask + ask_size
    e = ofi_point(bid_before, bid_size_before, ask_before, ask_size_before, bid, bid_size, ask, ask_size)
    return e if known == known else known


@ufunc("f8, f8, f8, f8, f8")
def trade_sign(price, bid, ask, tick_size, tick_sign):
    """+1 bought, -1 sold (Lee and Ready 1991); `tick_sign`, the direction of the last price change, where the quote does not tell."""
    return sign_point(price, bid, ask, tick_size, tick_sign)


@ufunc("f8, f8, f8")
def effective_spread(price, mid, sign):
    """2e4 sign (p - m) / m, bp of the mid at the trade (Huang and Stoll 1996)."""
    return effective_spread_point(price, mid, sign)


@ufunc("f8, f8, f8, f8")
def realised_spread(price, mid, later, sign):
    """2e4 sign (p - m') / m, bp: what is left of the effective spread when the mid is m' (Huang and Stoll 1996)."""
    return realised_spread_point(price, mid, later, sign)


@ufunc("f8, f8, f8")
def impact(mid, later, sign):
    """2e4 sign (m' - m) / m, bp: effective less realised spread."""
    return impact_point(mid, later, sign)


@ufunc("i8")
def age(dt):
    """ln(1 + s) of a time in ns; a negative time counts as none."""
    return age_point(dt)


@ufunc("i8, f8")
def decay(dt, tau_s):
    """exp(-dt / tau) of a time in ns and tau in seconds; 1 for a time of 0 or less."""
    return decay_point(dt, -1e-9 / tau_s)
