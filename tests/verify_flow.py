"""Family `flow` against wickra, pandas, statsmodels and numpy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import wickra
from feature_run import run
from feature_ticks import NAN, START, TICK, stream
from naive_features import QUOTE, TRADE
from statsmodels.regression.linear_model import WLS
from statsmodels.stats.weightstats import DescrStatsW
from verify import Check

from tickarrow.jit.flow import FAMILY

NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]
ENDLESS = (1e15, 2e15, 3e15, 4e15)  # s; all weights are 1 to 1e-12
SLOW = 300
EVERY = 11  # a comparison over the whole history is made at every eleventh row
CALIBRATION = 50


@cache
def ticks():
    """Trades at the bid, the ask and the mid; the mid moves by up to two ticks, with quotes between almost all trades."""
    return tuple(stream(1_500, symbols=1, seed=40, mean_gap_s=0.4))


@cache
def ours(tau_s=FAMILY.tau_s):
    return run(FAMILY, list(ticks()), tau_s)[1]


def column(name, tau_s=FAMILY.tau_s):
    return ours(tau_s)[:, NAMES.index(name)]


@cache
def quotes():
    return pd.DataFrame([t for t in ticks() if t.kind == QUOTE])


@cache
def trades():
    """One line a trade with its sign; the tick rule holds at the mid."""
    t = pd.DataFrame([t for t in ticks() if t.kind == TRADE])
    t["mid"] = (t.bid + t.ask) / 2
    rule = np.sign(t.price.diff()).replace(0.0, NAN).ffill()
    side = np.sign(((t.price - t.mid) / TICK).round(3))
    t["sign"] = side.where(side != 0, rule)
    assert t.sign.abs().eq(1.0).all()
    assert side.eq(0).any()
    return t


@cache
def trades_before():
    """Number of trades before each row."""
    return np.cumsum([t.kind == TRADE for t in ticks()])[[i for i, t in enumerate(ticks()) if t.kind == QUOTE]]


def after_trades(values):
    """Values of trades as of the rows."""
    n = trades_before()
    return np.where(n > 0, np.asarray(values, float)[np.maximum(n - 1, 0)], NAN)


def each(indicator, *columns):
    """The indicator after each trade, NaN while it is not ready; price, size and side unless columns are given."""
    t = trades()
    columns = columns or (t.price, t["size"], t.sign > 0)
    return np.array([NAN if (x := indicator.update(*row)) is None else x for row in zip(*(list(c) for c in columns))], float)


def decayed(ts, values, tau):
    """Decaying sum at every EVERY-th row, NaN at the others."""
    at = quotes().ts.to_numpy()
    out = np.full(len(at), NAN)
    for i in range(0, len(at), EVERY):
        known = ts <= at[i]
        out[i] = np.sum(values[known] * np.exp(-(at[i] - ts[known]) * 1e-9 / tau))
    return out


def of_trades(values, tau):
    return decayed(trades().ts.to_numpy(), np.asarray(values, float), tau)


def share(values, tau=SLOW):
    with np.errstate(invalid="ignore"):
        return of_trades(values, tau) / of_trades(trades()["size"], tau)


def ofi(tau):
    q = quotes()
    indicator = wickra.OrderFlowImbalance(1)
    e = [indicator.update([a], [b], [c], [d]) for a, b, c, d in q[["bid", "bid_size", "ask", "ask_size"]].to_numpy().tolist()]
    known = after_trades(trades().ts) > 0
    with np.errstate(invalid="ignore"):
        mean = of_trades(trades()["size"], SLOW) / of_trades(np.ones(len(trades())), SLOW)
    theirs = decayed(q.ts.to_numpy()[1:], np.array(e[1:], float), tau) / (of_trades(trades()["size"], tau) + mean)
    return column(f"ofi_{tau}s"), np.where(known, theirs, NAN)


def signed_volume(tau):
    t = trades()
    ewm = {"halflife": pd.Timedelta(tau * np.log(2), "s"), "times": pd.to_datetime(t.ts - START)}
    signed = pd.Series(each(wickra.SignedVolume()))
    return column(f"signed_volume_{tau}s"), after_trades(signed.ewm(**ewm).mean() / t["size"].ewm(**ewm).mean())


def signed_volume_of_wickra():
    """All trades so far as one window."""
    t, theirs = trades(), np.full(len(trades()), NAN)
    for n in range(25, len(t), 25):
        theirs[n - 1] = each(wickra.TradeImbalance(n), *(c[:n] for c in (t.price, t["size"], t.sign > 0)))[-1]
    return column("signed_volume_300s", ENDLESS), after_trades(theirs)


def autocorr_of_wickra():
    """Mean product of all pairs from wickra, mean signs from numpy."""
    t, theirs = trades(), np.full(len(trades()), NAN)
    for n in range(25, len(t), 25):
        product = each(wickra.TradeSignAutocorrelation(n), *(c[:n] for c in (t.price, t["size"], t.sign > 0)))[-1]
        a, b = t.sign[: n - 1], t.sign[1:n]
        theirs[n - 1] = (product - a.mean() * b.mean()) / np.sqrt(a.var(ddof=0) * b.var(ddof=0))
    return column("sign_autocorr_300s", ENDLESS), after_trades(theirs)


def at_rows(value, least):
    """value(number of trades, time) at every EVERY-th row with enough trades."""
    at, n = quotes().ts.to_numpy(), trades_before()
    return np.array([value(n[i], at[i]) if i % EVERY == 0 and n[i] >= least else NAN for i in range(len(at))])


def autocorr_of_statsmodels():
    ts, sign = trades().ts.to_numpy(), trades().sign.to_numpy()
    pairs = np.column_stack([sign[:-1], sign[1:]])
    theirs = at_rows(lambda n, at: DescrStatsW(pairs[: n - 1], weights=np.exp(-(at - ts[1:n]) * 1e-9 / SLOW)).corrcoef[0, 1], 20)
    return column("sign_autocorr_300s"), theirs


def sign_run():
    sign = trades().sign
    return after_trades(sign.groupby((sign != sign.shift()).cumsum()).cumcount() + 1)


def vpin():
    """Its buckets have the volume that our first trades set, and it sees the trades after them; from the fiftieth bucket on."""
    t = trades()
    size = t["size"][:CALIBRATION].sum() / 5  # ten mean trades
    later = each(wickra.Vpin(size, 50), *(c[CALIBRATION:] for c in (t.price, t["size"], t.sign > 0)))
    return column("vpin"), after_trades(np.r_[np.full(CALIBRATION, NAN), later])


@cache
def impact():
    """Times at which the effect of a trade is known, change of the mid in bp, signed size, signed root of money."""
    t = trades()
    x, root = (t.sign * t["size"]).to_numpy(), (t.sign * np.sqrt(t.price * t["size"])).to_numpy()
    return t.ts.to_numpy()[1:], 1e4 * t.mid.pct_change().to_numpy()[1:], x[:-1], root[:-1]


def kyle(tau):
    ts, y, x, _ = impact()
    design = np.column_stack([np.ones(len(x)), x])
    theirs = at_rows(lambda n, at: WLS(y[: n - 1], design[: n - 1], np.exp(-(at - ts[: n - 1]) * 1e-9 / tau)).fit().params[1], 20)
    return column(f"kyle_{tau}s"), theirs


def kyle_of_wickra(name):
    """All trades so far as one window; each trade is given with the mid at the next one, as the sum of changes in bp."""
    _, y, x, _ = impact()
    mid, theirs = 2e4 + np.cumsum(y), np.full(len(trades()), NAN)
    rows = [np.ones(len(x) + 1), np.r_[1.0, np.abs(x)], np.r_[True, x > 0], np.r_[2e4, mid]]
    for n in range(25, len(x), 25):
        theirs[n] = each(wickra.KylesLambda(n), *(r[: n + 1].tolist() for r in rows))[-1]
    return column(name, ENDLESS), after_trades(theirs)


def hasbrouck():
    ts, y, _, root = impact()
    theirs = at_rows(lambda n, at: WLS(y[: n - 1], root[: n - 1], np.exp(-(at - ts[: n - 1]) * 1e-9 / SLOW)).fit().params[0], 20)
    return column("hasbrouck_300s"), theirs


def volume_delta():
    return after_trades(each(wickra.CumulativeVolumeDelta()) / trades()["size"].cumsum())


def odd():
    size = trades()["size"]
    return size.where(size < 100, 0.0)


def large():
    """log q above the running 0.9 quantile by a step of 0.9 * 0.05: it rises by that where q is above, and falls by 0.1 * 0.05 else."""
    size = trades()["size"].to_numpy()
    level, out = np.log(size[0]), np.zeros(len(size))
    for i in range(1, len(size)):
        y = np.log(size[i])
        out[i] = size[i] * (y > level + 0.045)
        level += 0.045 if y > level else -0.005
    return out


CLOSED = "numpy sums the whole history at the row, we update: rounding of both"
ALL = "windows so long that all weights are equal, its window is all trades; "
WINDOWS = (1, 5, 30, 300)
CHECKS = [
    *(Check(f"ofi_{tau}s", "wickra OrderFlowImbalance", lambda tau=tau: ofi(tau), 1e-9, 1e-12,
            "wickra gives e of each quote, numpy the decaying sums: rounding of both") for tau in WINDOWS),
    *(Check(f"signed_volume_{tau}s", "wickra SignedVolume; pandas ewm(times=)", lambda tau=tau: signed_volume(tau), 1e-6, 1e-8,
            "pandas rounds the half-life to ns, 6e-10 of the shortest: 1e-8 of a weight 15 half-lives old, more where sums cancel") for tau in WINDOWS),
    Check("signed_volume_300s", "wickra TradeImbalance", signed_volume_of_wickra, 1e-9, 1e-11, ALL + "rounding of both"),
    Check("trade_sign", "pandas", lambda: (column("trade_sign"), after_trades(trades().sign)), 1e-15, 1e-15, "exact"),
    Check("sign_autocorr_300s", "wickra TradeSignAutocorrelation", autocorr_of_wickra, 1e-9, 1e-11,
          ALL + "it gives the mean product of the signs, numpy takes out their means: rounding of both"),
    Check("sign_autocorr_300s", "statsmodels DescrStatsW", autocorr_of_statsmodels, 1e-9, 1e-11, "rounding of both"),
    Check("sign_run", "pandas cumcount", lambda: (column("sign_run"), sign_run()), 1e-15, 1e-15, "exact"),
    Check("vpin", "wickra Vpin", vpin, 1e-9, 1e-11, "its sizes are float64, ours count 1e-8 shares: rounding of its buckets"),
    *(Check(f"kyle_{tau}s", "statsmodels WLS", lambda tau=tau: kyle(tau), 1e-7, 1e-12,
            "changes of the mid are 1e-4 of it, known to 1e-12; a slope near 0 is their difference") for tau in WINDOWS[-2:]),
    *(Check(f"kyle_{tau}s", "wickra KylesLambda", lambda tau=tau: kyle_of_wickra(f"kyle_{tau}s"), 1e-7, 1e-12,
            ALL + "fed with the changes in bp") for tau in WINDOWS[-2:]),
    Check("hasbrouck_300s", "statsmodels WLS", hasbrouck, 1e-7, 1e-12, "no constant; as kyle"),
    Check("volume_delta", "wickra CumulativeVolumeDelta", lambda: (column("volume_delta"), volume_delta()), 1e-12, 1e-14,
          "the stream is one session; one division"),
    Check("large_share_300s", "numpy", lambda: (column("large_share_300s"), share(large())), 1e-9, 1e-12,
          "the quantile is worked out in logarithms; " + CLOSED),
    Check("odd_lot_share_300s", "numpy", lambda: (column("odd_lot_share_300s"), share(odd())), 1e-9, 1e-12, CLOSED),
]  # fmt: skip
