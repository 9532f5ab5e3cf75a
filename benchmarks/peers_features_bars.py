"""Columns of the bar clock beside indicator libraries: nanoseconds of CPU for one bar of one symbol of 100.

Works: `bars32`, the indicators of our 32 columns that a peer has; `bar30`, 30 outputs that libraries are usually measured by, with windows up to
50 bars. Ours computes its 32 columns in both. `batch`: 5,000 bars of each symbol; TA-Lib makes one call a function and symbol, ours is one call
that walks the bars, all symbols at once. `live`: the next bar of every symbol; peers get it symbol by symbol, TA-Lib's stream functions see
the last 300 bars; ours is one Python call for a bar of all symbols, or one a symbol (`,call`).
Rounds are interleaved and pinned to one core, figures are medians. Values are compared in the same run. Not an asv module: peers are
imported in functions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from tickarrow.jit import technical_bars as kernels
from tickarrow.jit._kernel import kernel, warm
from tickarrow.jit.event import CLOCK

VERSIONS = {"TA-Lib": "0.", "wickra": "2.", "ferro-ta": "1.", "talipp": "2."}
SYMBOLS, TAIL = 100, 300
BASE, UNIT = 1_000_000, 0.0001  # 100.00, ticks of 0.01
NAMES = [c.name for c in kernels.BAR_COLUMNS]


@kernel("out f8[:,:], out i8[:,:], i8[:,:,:], f8[:,:,:], i8[:], f8[:], i8[:,:], i8[:,:], CLOCK, out f8[:,:]")
def walk(f, q, price, flow, base, unit, n, when, clock, out):
    """Bars of all lanes one after the other, as a stage that walks recorded bars."""
    for i in range(price.shape[0]):
        kernels.technical_bars(f, q, price[i], flow[i], base, unit, n[i], when, clock, 0, price.shape[2], i, out)


class Market:
    """Random walks, bar by bar as the kernel wants them and symbol by symbol in whole units, so that equal moves are equal for peers as well."""

    def __init__(self, bars: int, symbols: int = SYMBOLS, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        close = np.cumsum(rng.integers(-300, 301, (bars, symbols)), 0)
        start = np.vstack([np.zeros((1, symbols), np.int64), close[:-1]])
        high, low = np.maximum(start, close) + rng.integers(0, 200, (bars, symbols)), np.minimum(start, close) - rng.integers(0, 200, (bars, symbols))
        self.price = np.ascontiguousarray(np.stack([start, high, low, close], axis=1))
        self.flow = np.zeros((bars, 5, symbols))
        self.flow[:, 0] = rng.integers(1, 5000, (bars, symbols))
        self.flow[:, 1] = self.flow[:, 0] * (BASE + (high + low + close) / 3) * UNIT
        self.n = np.arange(bars)[:, None] + np.zeros(symbols, np.int64)
        units = (BASE + self.price).astype(float)
        self.series = [
            (*(units[:, k, s].copy() for k in range(4)), self.flow[:, 0, s].copy(), self.flow[:, 1, s] / UNIT)
            for s in range(symbols)
        ]


class Ours:
    """State of all lanes and the arguments that do not change."""

    def __init__(self, market: Market) -> None:
        symbols = market.price.shape[2]
        self.f, self.q = np.zeros((kernels.F_ROWS, symbols)), np.zeros((kernels.Q_ROWS, symbols), np.int64)
        self.base, self.unit, self.when = np.full(symbols, BASE), np.full(symbols, UNIT), np.zeros((2, symbols), np.int64)
        self.clock, self.out, self.market, self.symbols = np.zeros(1, CLOCK)[0], np.zeros((symbols, 32)), market, symbols

    def batch(self) -> None:
        m = self.market
        walk(self.f, self.q, m.price, m.flow, self.base, self.unit, m.n, self.when, self.clock, self.out)

    def live(self, lo: int, hi: int, single: bool = False) -> None:
        m, step, s = self.market, kernels.technical_bars, self.symbols
        for i in range(lo, hi):
            price, flow, n = m.price[i], m.flow[i], m.n[i]
            if not single:
                step(self.f, self.q, price, flow, self.base, self.unit, n, self.when, self.clock, 0, s, i, self.out)
                continue
            for k in range(s):
                step(self.f, self.q, price, flow, self.base, self.unit, n, self.when, self.clock, k, k + 1, i, self.out)


def _bars32(t: Any, o: Any, h: Any, low: Any, c: Any, v: Any, money: Any) -> list[Any]:
    """What the 32 columns are made of, of `talib` or `talib.stream`, without the arithmetic between them; other series stand in where a function
    would need the result of another: volume for its running totals, open and close for time and log close."""
    return [
        t.ROC(c, 1), t.ROC(c, 5), t.ROC(c, 10), t.ROC(c, 20), t.ROC(c, 60), t.MACD(c, 12, 26, 9), t.RSI(c, 14), t.BBANDS(c, 20, 2, 2),
        t.ADX(h, low, c, 14), t.PLUS_DI(h, low, c, 14), t.MINUS_DI(h, low, c, 14), t.STOCH(h, low, c, 14, 3, 0, 3, 0), t.CCI(h, low, c, 20),
        t.MFI(h, low, c, v, 14), t.OBV(c, v), t.AD(h, low, c, v), t.LINEARREG_SLOPE(v, 20), t.LINEARREG_SLOPE(v, 20), t.WILLR(h, low, c, 14),
        t.AROONOSC(h, low, 25), t.CMO(c, 14), t.LINEARREG_SLOPE(c, 20), t.CORREL(c, o, 20), t.SMA(c, 60), t.STDDEV(c, 60), t.SMA(c, 240),
        t.STDDEV(c, 240), t.MAX(h, 20), t.MIN(low, 20), t.MAX(h, 60), t.MIN(low, 60), t.MAX(h, 240), t.MIN(low, 240), t.SUM(v, 60), t.SUM(money, 60),
    ]  # fmt: skip


def _bar30(t: Any, o: Any, h: Any, low: Any, c: Any, v: Any, money: Any) -> list[Any]:
    return [
        t.SMA(c, 20), t.SMA(c, 50), t.EMA(c, 12), t.EMA(c, 26), t.MACD(c, 12, 26, 9), t.RSI(c, 14), t.BBANDS(c, 20, 2, 2), t.ATR(h, low, c, 14),
        t.NATR(h, low, c, 14), t.ADX(h, low, c, 14), t.PLUS_DI(h, low, c, 14), t.MINUS_DI(h, low, c, 14), t.STOCH(h, low, c, 14, 3, 0, 3, 0),
        t.CCI(h, low, c, 20), t.MFI(h, low, c, v, 14), t.OBV(c, v), t.WILLR(h, low, c, 14), t.ROC(c, 10), t.STDDEV(c, 20), t.MAX(c, 20), t.MIN(c, 20),
        t.AD(h, low, c, v), t.LINEARREG_SLOPE(c, 20), t.AROONOSC(h, low, 25), t.WMA(c, 20), t.CMO(c, 14),
    ]  # fmt: skip


def _wickra(work: str) -> tuple[list[Any], list[Any]]:
    """Indicators of a close, and of a bar (open, high, low, close, volume, time)."""
    import wickra as w

    of_close = [w.RSI(14), w.MACD(12, 26, 9), w.BollingerBands(20, 2.0), w.CMO(14), w.LinRegSlope(20)]
    of_bar = [w.CCI(20), w.ADX(14), w.MFI(14), w.Stochastic(14, 3), w.OBV(), w.ADL(), w.WilliamsR(14), w.AroonOscillator(25)]
    if work == "bars32":
        of_close += [*(w.ROC(n) for n in (1, 5, 10, 20, 60)), w.LinRegSlope(20), w.LinRegSlope(20), w.RSquared(20), *(w.ZScore(n) for n in (20, 60, 240))]
        of_bar += [*(w.Donchian(n) for n in (20, 60, 240)), w.RollingVWAP(60)]
    else:
        of_close += [w.SMA(20), w.SMA(50), w.EMA(12), w.EMA(26), w.StdDev(20), w.ROC(10), w.WMA(20), w.ROLLINGMINMAX(20)]
        of_bar += [w.ATR(14), w.NATR(14)]
    return [x.update for x in of_close], [x.update for x in of_bar]


def _feed_wickra(peer: Any, bar: Any) -> list[Any]:
    c = bar[3]
    return [u(c) for u in peer[0]] + [u(bar) for u in peer[1]]


def _ferro(work: str) -> tuple[list[Any], list[Any], list[Any], list[Any], list[Any]]:
    """Indicators of close; high, low, close; high, low; high, low, close, volume; close, volume."""
    from ferro_ta import streaming as s

    of_close = [s.StreamingRSI(14), s.StreamingMACD(12, 26, 9), s.StreamingBBands(20, 2.0, 2.0), s.StreamingCmo(14), s.StreamingLinearregSlope(20)]
    bars = [s.StreamingCci(20), s.StreamingDmi(14), s.StreamingStoch(14, 3, 3), s.StreamingWillr(14)]
    ranges, flows, volumes = [s.StreamingAroonosc(25)], [s.StreamingMfi(14), s.StreamingAd()], [s.StreamingObv()]
    if work == "bars32":
        of_close += [*(s.StreamingRoc(n) for n in (1, 5, 10, 20, 60)), *(s.StreamingZscoreSeries(n) for n in (20, 60, 240))]
        of_close += [s.StreamingLinearregSlope(20), s.StreamingLinearregSlope(20)]
        ranges += [s.StreamingDonchian(n) for n in (20, 60, 240)]
        volumes += [s.StreamingVwma(60)]
    else:
        of_close += [s.StreamingSMA(20), s.StreamingSMA(50), s.StreamingEMA(12), s.StreamingEMA(26), s.StreamingStddev(20), s.StreamingRoc(10)]
        of_close += [s.StreamingWma(20), s.StreamingRollingMax(20), s.StreamingRollingMin(20)]
        bars += [s.StreamingATR(14), s.StreamingNatr(14)]
    return tuple([x.update for x in g] for g in (of_close, bars, ranges, flows, volumes))  # type: ignore[return-value]


def _feed_ferro(peer: Any, bar: Any) -> list[Any]:
    _, h, low, c, v, _ = bar
    of_close, bars, ranges, flows, volumes = peer
    said = [u(c) for u in of_close] + [u(h, low, c) for u in bars] + [u(h, low) for u in ranges]
    return said + [u(h, low, c, v) for u in flows] + [u(c, v) for u in volumes]


def _talipp(work: str) -> tuple[list[Any], list[Any]]:
    """Indicators of a close, and of a bar."""
    from talipp import indicators as t

    closes = [t.RSI(14), t.MACD(12, 26, 9), t.BB(20, 2)]
    bars = [t.CCI(20), t.ADX(14, 14), t.Stoch(14, 3), t.OBV(), t.Williams(14), t.AccuDist(), t.Aroon(25)]
    if work == "bars32":
        closes += [*(t.ROC(n) for n in (1, 5, 10, 20, 60)), t.SMA(60), t.SMA(240), t.StdDev(60), t.StdDev(240)]
        bars += [*(t.DonchianChannels(n) for n in (20, 60, 240)), t.VWMA(60)]
    else:
        closes += [t.SMA(20), t.SMA(50), t.EMA(12), t.EMA(26), t.StdDev(20), t.ROC(10), t.WMA(20)]
        bars += [t.ATR(14), t.NATR(14)]
    return [x.add for x in closes], [x.add for x in bars]


def _feed_talipp(peer: Any, bar: Any) -> None:
    c = bar.close
    for u in peer[0]:
        u(c)
    for u in peer[1]:
        u(bar)


def _rows(market: Market, ohlcv: Any = None) -> list[list[Any]]:
    """Bars of each symbol as the peers want them."""
    out = []
    for o, h, low, c, v, _ in market.series:
        bars = zip(o.tolist(), h.tolist(), low.tolist(), c.tolist(), v.tolist())
        out.append([ohlcv(*b) if ohlcv else (*b, 60_000 * i) for i, b in enumerate(bars)])
    return out


def _timed(call: Callable[[], Any], bars: int) -> float:
    t = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - t) / bars


def _same(peer: str, column: str, theirs: Any, ours: Any, rtol: float = 1e-6) -> None:
    if not np.allclose(theirs, ours, rtol=rtol, atol=1e-6):
        raise RuntimeError(f"features: {column} of {peer} {version(peer)} is {theirs} and ours is {ours}")


def _check_batch(market: Market, ours: Ours) -> None:
    """The last bar of every symbol against TA-Lib; ours has just walked all bars."""
    import talib as t

    for s, (_, h, low, c, v, money) in enumerate(market.series):
        upper, middle, lower = (x[-1] for x in t.BBANDS(c, 20, 2, 2))
        slow = t.STOCH(h, low, c, 14, 3, 0, 3, 0)
        theirs = {f"roc_{n}": 100 * t.ROC(c, n)[-1] for n in (1, 5, 10, 20, 60)}
        theirs |= {n: 1e4 * x[-1] / c[-1] for n, x in zip(("macd", "macd_signal", "macd_hist"), t.MACD(c, 12, 26, 9))}
        theirs |= {
            "rsi_14": t.RSI(c, 14)[-1], "bollinger_b_20": (c[-1] - lower) / (upper - lower), "bollinger_width_20": 1e4 * (upper - lower) / middle,
            "adx_14": t.ADX(h, low, c, 14)[-1], "di_plus_14": t.PLUS_DI(h, low, c, 14)[-1], "di_minus_14": t.MINUS_DI(h, low, c, 14)[-1],
            "stoch_k_14": slow[0][-1], "stoch_d_14": slow[1][-1], "cci_20": t.CCI(h, low, c, 20)[-1], "mfi_14": t.MFI(h, low, c, v, 14)[-1],
            "obv_slope_20": t.LINEARREG_SLOPE(t.OBV(c, v), 20)[-1] / t.SMA(v, 20)[-1],
            "ad_slope_20": t.LINEARREG_SLOPE(t.AD(h, low, c, v), 20)[-1] / t.SMA(v, 20)[-1], "williams_r_14": t.WILLR(h, low, c, 14)[-1],
            "aroon_25": t.AROONOSC(h, low, 25)[-1], "cmo_14": t.CMO(c, 14)[-1], "slope_20": 1e4 * t.LINEARREG_SLOPE(np.log(c), 20)[-1],
            "r2_20": t.CORREL(np.log(c), np.arange(float(c.size)), 20)[-1] ** 2, "vwap_dist_60": 1e4 * (c[-1] * v[-60:].sum() / money[-60:].sum() - 1),
        }  # fmt: skip
        for n in (20, 60, 240):
            theirs[f"price_z_{n}"] = (c[-1] - t.SMA(c, n)[-1]) / t.STDDEV(c, n)[-1]
            theirs[f"range_pos_{n}"] = t.STOCHF(h, low, c, n, 1, 0)[0][-1] / 100
        if theirs.keys() != set(NAMES):
            raise RuntimeError(f"features: not compared: {set(NAMES) ^ theirs.keys()}")
        for name, value in theirs.items():
            _same("TA-Lib", name, value, ours.out[s, NAMES.index(name)], 1e-5 if name == "r2_20" else 1e-6)


def _batch(rounds: int, bars: int, symbols: int) -> Iterator[str]:
    import talib

    from benchmarks import common

    market = Market(bars, symbols)
    ours = Ours(market)
    times: dict[str, list[float]] = {"bars32": [], "bar30": [], "ours": []}
    with common.pinned():
        for _ in range(rounds):
            for name, work in (("bars32", _bars32), ("bar30", _bar30)):
                times[name].append(_timed(lambda w=work: [w(talib, *s) for s in market.series], bars * symbols))  # type: ignore[misc]
            times["ours"].append(_timed(ours.batch, bars * symbols))
    _check_batch(market, ours)
    median = {k: statistics.median(v) for k, v in times.items()}
    for name in ("bars32", "bar30"):
        yield f"features TA-Lib {name},batch {median[name]:.0f}ns {median['ours']:.0f}ns {median[name] / median['ours']:.1f}"


def _live(rounds: int, bars: int, symbols: int) -> Iterator[str]:
    import talib.stream
    from talipp.ohlcv import OHLCV

    from benchmarks import common

    slow = max(bars // 10, 1)  # bars a round of those that take their time
    market = Market(TAIL + rounds * bars, symbols)
    rows, objects = _rows(market), _rows(market, OHLCV)
    peers = {"wickra": (_wickra, _feed_wickra), "ferro-ta": (_ferro, _feed_ferro), "talipp": (_talipp, _feed_talipp)}
    works = {"bars32": _bars32, "bar30": _bar30}
    sets: dict[tuple[str, str], list[Any]] = {(name, work): [peers[name][0](work) for _ in range(symbols)] for name in peers for work in works}
    drained, single = Ours(market), Ours(market)
    for ours in (drained, single):
        ours.live(0, TAIL)

    def fed(name: str, work: str, lo: int, hi: int) -> None:
        feed, data = peers[name][1], objects if name == "talipp" else rows
        for i in range(lo, hi):
            for own, bar in zip(sets[name, work], data):
                feed(own, bar[i])

    def streamed(work: str, tails: Any) -> None:
        functions = works[work]
        for tail in tails:
            functions(talib.stream, *tail)

    for name, work in sets:
        fed(name, work, 0, TAIL)
    times: dict[tuple[str, str], list[float]] = {(name, work): [] for name in (*peers, "TA-Lib-stream") for work in works}
    times |= {("drained", ""): [], ("call", ""): []}
    with common.pinned():
        for r in range(rounds):
            lo, lo_slow = TAIL + r * bars, TAIL + r * slow
            tails = [tuple(x[i + 1 - TAIL : i + 1] for x in s) for i in range(lo, lo + slow) for s in market.series]
            for work in works:
                for name in ("wickra", "ferro-ta"):
                    times[name, work].append(_timed(lambda n=name, w=work, lo=lo: fed(n, w, lo, lo + bars), bars * symbols))  # type: ignore[misc]
                times["talipp", work].append(_timed(lambda w=work, lo=lo_slow: fed("talipp", w, lo, lo + slow), slow * symbols))  # type: ignore[misc]
                times["TA-Lib-stream", work].append(_timed(lambda w=work, t=tails: streamed(w, t), len(tails)))  # type: ignore[misc]
            times["drained", ""].append(_timed(lambda lo=lo: drained.live(lo, lo + bars), bars * symbols))  # type: ignore[misc]
            times["call", ""].append(_timed(lambda lo=lo: single.live(lo, lo + bars, single=True), bars * symbols))  # type: ignore[misc]
    if drained.out.tobytes() != single.out.tobytes():
        raise RuntimeError("features: one call a symbol and one call for all symbols differ")
    _check_live(rows, drained)
    median = {k: statistics.median(v) for k, v in times.items()}
    for work in works:
        for name in (*peers, "TA-Lib-stream"):
            theirs = median[name, work]
            for suffix, own in (("", "drained"), (",call", "call")):
                yield f"features {name} {work},live{suffix} {theirs:.0f}ns {median[own, '']:.0f}ns {theirs / median[own, '']:.1f}"


def _check_live(rows: list[list[Any]], ours: Ours) -> None:
    """Fresh indicators of the first symbol after all its bars against ours."""
    from talipp import indicators

    columns = dict(zip(NAMES, ours.out[0].tolist()))
    for name, make, feed, of_close in (("wickra", _wickra, _feed_wickra, 16), ("ferro-ta", _ferro, _feed_ferro, 15)):
        own: Any = make("bars32")
        for bar in rows[0]:
            said = feed(own, bar)
        _same(name, "rsi_14", said[0], columns["rsi_14"])
        _same(name, "macd", 1e4 * said[1][0] / rows[0][-1][3], columns["macd"])
        _same(name, "roc_20", 100 * said[8], columns["roc_20"])
        _same(name, "cci_20", said[of_close], columns["cci_20"])
        _same(name, "adx_14", sorted(said[of_close + 1]), sorted(columns[n] for n in ("adx_14", "di_plus_14", "di_minus_14")))
    rsi = indicators.RSI(14, input_values=[b[3] for b in rows[0]])
    _same("talipp", "rsi_14", rsi[-1], columns["rsi_14"])


def run(rounds: int = 9, bars: int = 5000, live: int = 20, symbols: int = SYMBOLS) -> Iterator[str]:
    """One line a work: `features PEER WORK peer_median ours_median ratio`; RuntimeError if anything is not as it must be."""
    for name, expected in VERSIONS.items():
        if not version(name).startswith(expected):
            raise RuntimeError(f"features: peer {name} is {version(name)}, expected {expected}x. Install that version.")
    warm()
    yield from _batch(rounds, bars, symbols)
    yield from _live(rounds, live, symbols)
