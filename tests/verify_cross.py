"""Family `cross` against independent implementations, on a quarter of an hour of six symbols."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import pandas as pd
import statsmodels.api as sm
import wickra
from feature_run import run_cross
from feature_ticks import NAN, START, TICK
from naive_features import QUOTE, TRADE, Tick
from scipy.stats import rankdata
from statsmodels.regression.rolling import RollingOLS
from verify import Check

from tickarrow.jit.cross import FAMILY

SECOND = 1_000_000_000
ZERO = START // SECOND * SECOND  # a full second
SYMBOLS, SECTOR, BAR = 6, (0, 0, 1, 1, 1, 2), 10
NAMES = [c.name for c in FAMILY.pass_columns]


def quote(seconds, symbol, mid, size=100.0, ask_size=100.0):
    return Tick(ZERO + round(seconds * SECOND), symbol, QUOTE, round(mid - TICK, 3), size, round(mid + TICK, 3), ask_size, NAN, NAN)


def market(phases, symbols, seed):
    """Random quotes and trades; phases of (seconds, symbols that are silent, seconds of silence of all that follow)."""
    rng, out, now = np.random.default_rng(seed), [], 0.0
    mid, last = 10_000 + 100 * np.arange(symbols), {}
    for seconds, silent, gap in phases:
        for _ in range(seconds):
            shock = int(rng.integers(-2, 3))
            for t in np.sort(rng.random(symbols)):
                s = int(rng.integers(symbols))
                if s in silent:
                    continue
                mid[s] += shock + rng.integers(-1, 2)
                price = round(mid[s] * TICK, 2)
                if rng.random() < 0.3 and s in last:
                    out.append(Tick(ZERO + round((now + t) * SECOND), s, TRADE, *last[s], price, float(rng.integers(1, 5) * 50)))
                else:
                    out.append(quote(now + t, s, price, float(rng.integers(1, 5) * 100), float(rng.integers(1, 5) * 100)))
                    last[s] = out[-1][3:7]
            now += 1
        now += gap
    return out


@cache
def ticks():
    """A first quote of every symbol in the second before, so that all begin at the same pass."""
    return [quote(0.1 * s - 0.9, s, 100 + s) for s in range(SYMBOLS)] + market([(900, set(), 0)], SYMBOLS, 21)


@cache
def ours():
    """(passes, symbols, columns), a pass at every second."""
    times, out = run_cross(FAMILY, ticks(), SYMBOLS, SECTOR, every_ns=BAR * SECOND)
    assert (np.diff(times) == SECOND).all()
    assert times[0] == ZERO
    return out


@cache
def frame():
    """The ticks, with `second`: row of the pass they become part of."""
    f = pd.DataFrame(ticks())
    f["second"] = (f.ts - ZERO) // SECOND + 1
    f["mid"] = (f.bid + f.ask) / 2
    return f


def by_second(column, rows):
    """Sums of a column by second and symbol."""
    sums = rows.groupby(["second", "symbol"])[column].sum().unstack()
    return sums.reindex(index=range(len(ours())), columns=range(SYMBOLS)).fillna(0.0)


@cache
def logs():
    """ln mid in bp at every full second."""
    quotes = frame()[frame().kind == QUOTE]
    last = quotes.groupby(["second", "symbol"]).mid.last().unstack().ffill()
    return 1e4 * np.log(last.loc[: len(ours()) - 1])


def returns():
    return logs().diff()


def index():
    return returns().mean(axis=1)


def ewm(x, tau):
    return x.ewm(alpha=1 - math.exp(-1 / tau), adjust=True)


def flat(column, theirs, warm=1, every=1):
    """Ours and theirs from pass `warm` on."""
    rows = slice(warm, None, every)
    return ours()[rows, :, NAMES.index(column)].ravel(), np.array(theirs, float)[rows].ravel()


def changes(seconds):
    return logs().diff(seconds).round(9)


@cache
def bar_returns():
    """Returns of the bars and of the index over them, bp; row k: of the bar that ends at second (k + 1) BAR."""
    trades = frame()[frame().kind == TRADE]
    close = trades.groupby([(trades.second - 1) // BAR, "symbol"]).price.last().unstack().ffill()
    level = index().fillna(0.0).cumsum()[BAR::BAR]
    lane = 1e4 * np.log(close).diff()
    return lane.iloc[: len(level)], pd.Series(level.diff().to_numpy(), lane.index[: len(level)])


def by_pass(bars):
    """A row a bar as a row a pass: held from the second at which it ends."""
    out = np.full((len(ours()), bars.shape[1]), NAN)
    for k, row in enumerate(np.asarray(bars)):
        out[(k + 1) * BAR : (k + 2) * BAR] = row
    return out


def rank_bars():
    return pd.DataFrame(by_pass(bar_returns()[0].round(9)))


def scipy_rank(column, values, warm):
    r = rankdata(values().to_numpy(), axis=1)
    return flat(column, (2 * r - SYMBOLS - 1) / (SYMBOLS - 1), warm)


def pandas_rank(column, values, warm):
    r = values().rank(axis=1)
    return flat(column, (2 * r - SYMBOLS - 1) / (SYMBOLS - 1), warm)


def z(column, x):
    return flat(column, x.sub(x.mean(axis=1), axis=0).div(x.std(axis=1, ddof=0), axis=0), 60)


def z_ofi():
    f = frame()[frame().kind == QUOTE].copy()
    old = f.groupby("symbol")[["bid", "bid_size", "ask", "ask_size"]].shift()
    up = f.bid_size * (f.bid >= old.bid) - old.bid_size * (f.bid <= old.bid)
    f["e"] = up - f.ask_size * (f.ask <= old.ask) + old.ask_size * (f.ask >= old.ask)
    f["push"] = f.e.abs()
    fast, slow = ewm(by_second("e", f), 30).mean(), ewm(by_second("push", f), 300).mean()
    n = np.arange(1, len(fast) + 1)[:, None]
    weights = [(1 - np.exp(-n / t)) / (1 - math.exp(-1 / t)) for t in (30, 300)]
    return z("z_ofi", fast * weights[0] / (slow * weights[1]))


def z_volume():
    shares = by_second("size", frame()[frame().kind == TRADE])
    return z("z_relative_volume", ewm(shares, 30).mean() / ewm(shares, 300).mean())


def z_volatility():
    f = frame()[frame().kind == QUOTE].copy()
    f["square"] = (1e4 * np.log(f.mid).groupby(f.symbol).diff()) ** 2
    return z("z_volatility", np.log(ewm(by_second("square", f), 300).mean().clip(lower=1e-300)) / 2)


def shrunk(slope, error):
    """Vasicek (1973): precision-weighted mean of the slope and 1, prior variance 1/4."""
    return (slope / error + 4.0) / (1 / error + 4.0)


@cache
def regressions():
    """statsmodels WLS at every 60th pass from 120 on: (beta, residual deviation) by pass and symbol."""
    beta, idio = np.full((2, len(ours()), SYMBOLS), NAN)
    for i in range(120, len(ours()), 60):
        w = np.exp(-np.arange(i - 1, -1, -1) / 300)
        n = w.sum() ** 2 / (w**2).sum()
        for s in range(SYMBOLS):
            fit = sm.WLS(returns()[s][1 : i + 1].to_numpy(), sm.add_constant(index()[1 : i + 1].to_numpy()), weights=w).fit()
            beta[i, s] = shrunk(fit.params[1], fit.bse[1] ** 2 * (i - 2) / (n - 2))
            idio[i, s] = math.sqrt((w * fit.resid**2).sum() / w.sum())
    return beta, idio


def residual(seconds):
    market = index().fillna(0).cumsum().diff(seconds)
    return logs().diff(seconds).to_numpy() - regressions()[0] * market.to_numpy()[:, None]


def rolling_ols():
    lane, level = bar_returns()
    out = lane * NAN
    for s in range(SYMBOLS):
        fit = RollingOLS(lane[s][2:].to_numpy(), sm.add_constant(level[2:].to_numpy()), window=60).fit()
        out.iloc[2:, s] = shrunk(fit.params[:, 1], fit.bse[:, 1] ** 2)
    return flat("beta_60b", by_pass(out), 630)


def wickra_beta():
    lane, level = bar_returns()
    out = lane * NAN
    for s in range(SYMBOLS):
        kernel = wickra.Beta(60)
        for k in range(2, len(lane)):
            y, x = lane[s].to_numpy()[k - 59 : k + 1], level.to_numpy()[k - 59 : k + 1]
            slope = kernel.update(lane[s].iloc[k], level.iloc[k])
            if slope is not None:
                error = (np.var(y) - slope**2 * np.var(x)) / (58 * np.var(x))
                out.iloc[k, s] = shrunk(slope, error)
    return flat("beta_60b", by_pass(out), 630)


def neutral(column, seconds):
    r = logs().diff(seconds).T
    peers = [SECTOR.count(k) > 1 for k in SECTOR]
    return flat(column, (r - r.groupby(np.array(SECTOR)).transform("mean")).T.where(np.tile(peers, (r.shape[1], 1))), seconds)


def lag(column, seconds):
    return flat(column, np.tile(index().rolling(seconds).sum().to_numpy()[:, None], SYMBOLS), seconds)


def correlation():
    theirs = pd.DataFrame({s: ewm(returns()[s], 300).corr(index()) for s in range(SYMBOLS)})
    return flat("index_corr_300s", theirs, 60)


EXACT = "counts of comparisons; their returns are rounded to 1e-9 bp for ties"
STEPS = "x is rounded to 2**-25 (OFI) or 2**-21 before it is compared: an error of half a step over its deviation across symbols"
LOGS = "returns are multiples of 2**-40 = 9e-9 bp"

CHECKS = [
    Check("rank_return_30s", "scipy rankdata", partial(scipy_rank, "rank_return_30s", partial(changes, 30), 30), 1e-12, 1e-12, EXACT),
    Check("rank_return_300s", "pandas rank", partial(pandas_rank, "rank_return_300s", partial(changes, 300), 300), 1e-12, 1e-12, EXACT),
    Check("rank_return_1b", "scipy rankdata", partial(scipy_rank, "rank_return_1b", rank_bars, 60), 1e-12, 1e-12, EXACT),
    Check("z_ofi", "pandas", z_ofi, 1e-5, 1e-5, STEPS),
    Check("z_relative_volume", "pandas", z_volume, 2e-4, 2e-4, STEPS),
    Check("z_volatility", "pandas", z_volatility, 2e-4, 2e-4, STEPS),
    Check("beta_300s", "statsmodels WLS", lambda: flat("beta_300s", regressions()[0], 120, 60), 1e-7, 1e-7, LOGS),
    Check("beta_60b", "statsmodels RollingOLS", rolling_ols, 1e-5, 1e-5, "returns of bars are rounded to 2**-27 = 7.5e-5 bp"),
    Check("beta_60b", "wickra Beta", wickra_beta, 1e-5, 1e-5, "wickra gives the slope; shrunk by its standard error in numpy; rounding as above"),
    Check("residual_30s", "statsmodels WLS", lambda: flat("residual_30s", residual(30), 120, 60), 1e-6, 1e-6, LOGS),
    Check("residual_300s", "statsmodels WLS", lambda: flat("residual_300s", residual(300), 300, 60), 1e-6, 1e-6, LOGS),
    Check(
        "residual_z_300s", "statsmodels WLS", lambda: flat("residual_z_300s", residual(300) / regressions()[1] / math.sqrt(300), 300, 60), 1e-6,
        1e-6, LOGS,
    ),
    Check("idio_vol_300s", "statsmodels WLS", lambda: flat("idio_vol_300s", regressions()[1], 120, 60), 1e-7, 1e-7, LOGS),
    Check("sector_neutral_30s", "pandas groupby transform", partial(neutral, "sector_neutral_30s", 30), 1e-7, 1e-7, LOGS),
    Check("sector_neutral_300s", "pandas groupby transform", partial(neutral, "sector_neutral_300s", 300), 1e-7, 1e-7, LOGS),
    Check("index_lag_1s", "numpy", partial(lag, "index_lag_1s", 1), 1e-6, 1e-6, LOGS),
    Check("index_lag_5s", "numpy", partial(lag, "index_lag_5s", 5), 1e-6, 1e-6, LOGS),
    Check("index_corr_300s", "pandas ewm corr", correlation, 1e-7, 1e-7, LOGS),
]  # fmt: skip
