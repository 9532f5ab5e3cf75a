"""Feature family `cross`: a symbol among the others, and against the index (17 columns).

A pass is due at the first tick of any symbol at or after each full second of market time. It freezes what every symbol had then, before
that tick, and its columns are held until the next pass: they do not depend on which symbols happened to be read together."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.bars import CLOSE, MOST
from tickarrow.jit.bars import UNITS as GRID
from tickarrow.jit.cross_lanes import (
    ANCHOR_AT, ASK, ASK_SIZE, AT, BAR, BAR_LOG, BAR_N, BAR_RETURN, BAR_SLOT, BAR_X, BAR_YY, BARS, BID, BID_SIZE, CLOSED, COLUMNS, F_ROWS, FAST,
    MISSING, OFI, PUSH, Q_ROWS, QUOTED, RING, SECOND, SEEN, SLOW, SQUARES, UNITS, VOLUME, bars_step, flows_step, index_step, live_step,
    logged_point, moments_step, sectors_step,
)  # fmt: skip
from tickarrow.jit.cross_scores import RANK_BAR, RANK_FAST, RANK_SLOW, betas, flow_scores, ranks, residuals
from tickarrow.jit.event import CLOCK, EVENT
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import decay_point, ofi_point


@kernel("out f8[:,:], out i8[:,:], EVENT, i8[:]")
def lane_step(f, q, e, w):
    """Add a tick to what its lane has gathered since the last pass.

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64, updated in place
    e : EVENT
    w : (0,) int64, not used: everything decays from pass to pass
    """
    i = e.symbol
    if e.mid == e.mid:
        q[SEEN, i] = max(q[SEEN, i], e.ts)
    if e.is_quote:
        if e.moved or q[UNITS, i] == 0:
            units = e.mid / e.tick_size * GRID
            if 0.5 <= units < MOST:
                q[UNITS, i] = np.int64(np.rint(units))
                f[SQUARES, i] += e.r * e.r
        if e.complete:
            if q[QUOTED, i] > 0:
                d = ofi_point(f[BID, i], f[BID_SIZE, i], f[ASK, i], f[ASK_SIZE, i], e.bid, e.bid_size, e.ask, e.ask_size)
                if abs(d) < np.inf:
                    f[OFI, i] += d
                    f[PUSH, i] += abs(d)
            f[BID, i] = e.bid
            f[BID_SIZE, i] = e.bid_size
            f[ASK, i] = e.ask
            f[ASK_SIZE, i] = e.ask_size
            q[QUOTED, i] = 1
    elif e.is_trade and e.quantity < np.inf:
        f[VOLUME, i] += e.quantity


@kernel("out f8[:,:], out i8[:,:], i8[:,:], f8[:,:], i8[:], f8[:], i8[:], i8[:,:], CLOCK, i8, i8, i8, out f8[:,:]")
def bars(f, q, price, flow, base, unit, n, when, clock, lo, hi, pos, out):
    """Record that bars of lanes [lo, hi) have closed; the next pass makes use of it. Writes no column.

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64, updated in place
    price : (4, S) int64, units from `base`
    n : (S,) int64, bars of the lane before this one; 0 = its state starts anew, negative = it has no price
    flow, base, unit, when, clock, pos, out : see `Family`
    """
    for i in range(lo, hi):
        if n[i] < 0:
            continue
        units = base[i] + price[CLOSE, i]
        y = logged_point(units) if units > 0 else np.int64(MISSING)
        if n[i] == 0:
            q[BAR_LOG, i] = MISSING
            q[ANCHOR_AT, i] = 0
            q[BAR_N, i] = 0
            q[BAR_SLOT, i] = 0
            for row in range(BAR_X, BAR_YY + 1):
                q[row, i] = 0
        if y == MISSING or q[BAR_LOG, i] == MISSING:
            q[BAR_RETURN, i] = MISSING
            q[ANCHOR_AT, i] = 0
        else:
            q[BAR_RETURN, i] = y - q[BAR_LOG, i]
        q[BAR_LOG, i] = y
        q[BARS, i] = 1
        q[CLOSED, i] = 1


@kernel("out f8[:,:], out i8[:,:], i4[:], i8, CLOCK, out f8[:,:]")
def passes(f, q, sector, index, clock, out):
    """Compute the columns of all lanes as of the boundary `clock.next_pass`.

    Parameters
    ----------
    f, q : (F_ROWS, S) float64, (Q_ROWS, S) int64, updated in place
    sector : (S,) int32, code of the sector, 0 to S - 1; others = none
    index : int64, lane of the index, negative = mean over the lanes
    clock : CLOCK, before the pass is counted
    out : (S, 17) float64, bp or pure numbers, NaN = missing

    Notes
    -----
    Decay is by the market time between passes. In a silence of the whole market prices stand still; one of more than 300 s ends returns,
    the index, sums of flow and their warm-up, while betas and correlation go on with what decay has left of them. A symbol that has had
    no quote for 300 s is not live: its columns are NaN, and it starts anew when it comes back. Boundaries are full seconds; another one
    within the same second changes nothing.
    """
    second = clock.next_pass // SECOND
    step = second - q[AT, 0]
    if step <= 0:
        return
    whole = step <= RING
    q[AT, 0] = second
    barred = live_step(q, second, step, whole)
    index_step(q, index, second, step, whole)
    slow = decay_point(step * SECOND, -1e-9 / 300.0)
    flows_step(f, q, decay_point(step * SECOND, -1e-9 / 30.0), slow, float(step))
    moments_step(f, q, slow, float(step))
    bars_step(q, second)
    sectors_step(q, sector)
    ranks(f, q, FAST, RANK_FAST)
    ranks(f, q, SLOW, RANK_SLOW)
    if barred:  # else the row holds them
        ranks(f, q, BAR, RANK_BAR)
    flow_scores(f, q)
    betas(f, q)
    residuals(f, q, sector)
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[i, c] = f[COLUMNS + c, i]


def _columns():
    """Metadata of the columns, in the order of the rows of the state."""
    live = "fewer than 3 such symbols; symbol not live"
    index = "without an index (a mean of 3 symbols or more)"
    sample = "index or symbol known for fewer than 20 effective samples"
    vasicek = "Vasicek (1973)"

    def rank(window, long, warm_up):
        return Column(
            f"rank_return_{window}", "1", f"(number of symbols with a smaller return of {long} - with a larger one) / (n - 1), n symbols with one",
            window=long, warm_up=f"{warm_up}; {live}", verifier="scipy rankdata, pandas rank",
        )  # fmt: skip

    def neutral(t):
        return Column(
            f"sector_neutral_{t}s", "bp", f"r - mean of r over the live symbols of the sector, r = 1e4 ln(m(t) / m(t - {t} s))", window=f"{t} s",
            warm_up=f"first {t} s; sector unknown or with one such symbol", verifier="pandas groupby transform",
        )  # fmt: skip

    def residual(t):
        return Column(
            f"residual_{t}s", "bp", f"r - beta_300s r_m, both of {t} s", "Vasicek (1973)", f"{t} s", f"first {t} s, or as beta_300s",
            "statsmodels WLS",
        )  # fmt: skip

    def lag(t):
        return Column(
            f"index_lag_{t}s", "bp", f"return of the index over the {t} s before the last full second", "Lo and MacKinlay (1990)", f"{t} s",
            f"first {t} s, or {index}", "numpy",
        )  # fmt: skip

    return (
        rank("30s", "30 s", "first 30 s"),
        rank("300s", "300 s", "first 300 s"),
        rank("1b", "1 bar", "until the symbol's second bar has closed"),
        Column(
            "z_ofi", "1", "(x - mean over symbols) / deviation over symbols, x = S_30(e) / S_300(|e|), e of each quote change",
            "Cont, Kukanov and Stoikov (2014)", "30 s, 300 s", f"first 30 s, or no change of the quote; {live}; all equal", "pandas",
        ),
        Column(
            "z_relative_volume", "1", "(x - mean over symbols) / deviation over symbols, x = (S_30(q) / T_30) / (S_300(q) / T_300), T = S(seconds)",
            "", "30 s, 300 s", f"first 30 s, or no trade; {live}; all equal", "pandas", "trades",
        ),
        Column(
            "z_volatility", "1", "(x - mean over symbols) / deviation over symbols, x = ln(S_300(r^2) / S_300(seconds)) / 2",
            "", "300 s", f"first 30 s, or no change of the mid; {live}; all equal", "pandas",
        ),
        Column(
            "beta_300s", "1", "b = cov(r, r_m) / var(r_m) of returns between passes, shrunk to 1: (0.25 b + s^2) / (0.25 + s^2), s its standard error",
            vasicek, "300 s", sample, "statsmodels WLS",
        ),
        Column(
            "beta_60b", "1", "as beta_300s, of the last 60 bars, r_m between the full seconds at or after the closes",
            vasicek, "60 bars", "20 bars with an index", "statsmodels RollingOLS, wickra Beta",
        ),
        residual(30),
        residual(300),
        Column("residual_z_300s", "1", "residual_300s / (idio_vol_300s sqrt(300))", "", "300 s", "as residual_300s; idio_vol_300s = 0", "statsmodels WLS"),
        Column(
            "idio_vol_300s", "bp/sqrt(s)", "sqrt(S_300(u^2) / S_300(seconds)), u = residual of the regression behind beta_300s",
            "Ang, Hodrick, Xing and Zhang (2006)", "300 s", sample, "statsmodels WLS",
        ),
        neutral(30),
        neutral(300),
        lag(1),
        lag(5),
        Column(
            "index_corr_300s", "1", "cov(r, r_m) / sqrt(var(r) var(r_m)) of returns between passes", "", "300 s", f"{sample}; r constant",
            "pandas ewm corr",
        ),
    )  # fmt: skip


FAMILY = Family("cross", 1, f_rows=F_ROWS, q_rows=Q_ROWS, lane_step=lane_step, bars=bars, passes=passes, pass_columns=_columns())
