"""Slow twin of family `cross`: every value from the whole history, by its definition."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise

import numpy as np
from naive_features import QUOTE, TRADE, ofi_step

NAN = math.nan
SECOND = 1_000_000_000
SILENCE = 300  # seconds


def after(ts):
    """The full second behind a tick, s: the pass that it becomes part of."""
    return ts // SECOND + 1


class Market:
    """Ticks of all symbols in time order, bars of time or of a number of trades."""

    def __init__(self, ticks, symbols, tick=0.01, index=-1, sector=None, every=60, trades=0):
        self.ticks, self.symbols, self.tick, self.index = ticks, symbols, tick, index
        self.sector = [0] * symbols if sector is None else list(sector)
        self.passes = sorted({after(t.ts) for t in ticks})[:-1]  # the last one waits for a tick
        self.mids = [self.known_mids(s) for s in range(symbols)]
        quotes = [[(b, math.log(round(m / tick, 2))) for b, _, m in rows if m == m] for rows in self.mids]
        self.logs = [([b for b, _ in rows], [y for _, y in rows]) for rows in quotes]
        self.runs = [self.run(self.seen(s)) for s in range(symbols)]
        self.steps = [[self.step(s, i) for i in range(len(self.passes))] for s in range(symbols)]
        self.moves = [self.move(i) for i in range(len(self.passes))]
        self.closes = self.closed_bars(every, trades)

    def known_mids(self, s):
        """Second of its pass, time, mid of every row with both sides; the mid of a trade is the one of the quote in force."""
        out = []
        for t in self.ticks:
            mid = (t.bid + t.ask) / 2
            if t.symbol == s and mid > 0:
                out.append((after(t.ts), t.ts, mid if t.kind == QUOTE else NAN))
        return out

    def log_mid(self, s, second):
        """ln of the mid that stood at a full second."""
        seconds, logs = self.logs[s]
        return logs[bisect_right(seconds, second) - 1]

    def seen(self, s):
        """Of each pass: there is a mid, and a row with one at most 300 s old."""
        seconds, out = [b for b, _, _ in self.mids[s]], []
        for second in self.passes:
            last = bisect_right(seconds, second) - 1
            out.append(bisect_right(self.logs[s][0], second) > 0 and second * SECOND - self.mids[s][last][1] <= SILENCE * SECOND)
        return out

    def run(self, seen):
        """Of each pass: index of the pass at which the present run began, None = not live."""
        out = []
        for i, live in enumerate(seen):
            going = i > 0 and out[-1] is not None and self.passes[i] - self.passes[i - 1] <= SILENCE
            out.append(None if not live else out[-1] if going else i)
        return out

    def step(self, s, i):
        """Return since the last pass, NAN if the lane has no unbroken past."""
        if self.runs[s][i] is None or self.runs[s][i] == i:
            return NAN
        return self.log_mid(s, self.passes[i]) - self.log_mid(s, self.passes[i - 1])

    def move(self, i):
        """Return of the index since the last pass."""
        if self.index >= 0:
            return self.steps[self.index][i]
        known = [r[i] for r in self.steps if r[i] == r[i]]
        return math.fsum(known) / len(known) if len(known) >= 3 else NAN

    def index_return(self, i, start):
        """Return of the index from the full second `start` to pass i, NAN if it was not known all the time."""
        total = []
        for k in range(i, -1, -1):
            if self.passes[k] <= start:
                return math.fsum(total)
            total.append(self.moves[k])
            if math.isnan(total[-1]):
                return NAN
        return NAN

    def window(self, s, i, seconds):
        """Return of a symbol over a window of market time."""
        start = self.runs[s][i]
        if start is None or self.passes[start] > self.passes[i] - seconds:
            return NAN
        return self.log_mid(s, self.passes[i]) - self.log_mid(s, self.passes[i] - seconds)

    def closed_bars(self, every, trades):
        """Of each symbol: (second of the pass behind, ln close) of its bars in order."""
        out = [[] for _ in range(self.symbols)]
        price, count = {}, dict.fromkeys(range(self.symbols), 0)
        for i, t in enumerate(self.ticks):
            if i and not trades and t.ts // (every * SECOND) > self.ticks[i - 1].ts // (every * SECOND):
                for s, p in price.items():
                    out[s].append((after(self.ticks[i - 1].ts), math.log(p)))
            if t.kind == TRADE and t.price > 0 and t.size > 0:
                price[t.symbol] = t.price
                count[t.symbol] += 1
                if trades and count[t.symbol] % trades == 0:
                    out[t.symbol].append((after(t.ts), math.log(t.price)))
        return out

    def bar_return(self, s, i):
        known = [y for b, y in self.closes[s] if b <= self.passes[i]]
        return known[-1] - known[-2] if self.runs[s][i] is not None and len(known) > 1 else NAN

    def bar_samples(self, s, i):
        """(return of the index, of the symbol) of the last 60 bars; what closes between two passes is one."""
        anchors = dict(self.closes[s])  # the last close of each pass
        known = [(self.passes.index(b), y) for b, y in anchors.items() if b <= self.passes[i]]
        pairs = [(self.index_return(k, self.passes[j]), b - a) for (j, a), (k, b) in pairwise(known)]
        return [p for p in pairs if p[0] == p[0]][-60:]

    def flows(self, s, i):
        """(weight age, e, |e|, shares, r^2, seconds) of the run of a lane."""
        start = self.runs[s][i]
        if start is None:
            return []
        rows = {self.passes[k]: [0.0, 0.0, 0.0, 0.0, self.passes[k] - self.passes[k - 1] if k > start else 1] for k in range(start, i + 1)}
        quote = mid = None
        for t in self.ticks:
            if t.symbol != s:
                continue
            row = rows.get(after(t.ts), [0.0] * 5)
            if t.kind == QUOTE and not math.isnan(sum(t[3:7])):
                e = ofi_step(quote, t) if quote else 0.0
                row[0] += e
                row[1] += abs(e)
                quote = t
            if t.kind == QUOTE and t.bid + t.ask > 0:
                r = math.log((t.bid + t.ask) / mid) if mid else 0.0
                row[3] += (1e4 * r) ** 2 if abs(r) > 1e-9 else 0.0
                mid = t.bid + t.ask
            if t.kind == TRADE and t.size > 0:
                row[2] += t.size
        return [(self.passes[i] - b, *row) for b, row in rows.items()]

    def regression(self, x, y, w):
        """(shrunk beta, sum of squared residuals, correlation), NAN with fewer than 20 effective samples."""
        x, y, w = np.array(x), np.array(y), np.array(w)
        if len(x) == 0 or (n := w.sum() ** 2 / (w**2).sum()) < 20 - 1e-9 or np.ptp(x) < 1e-12:
            return NAN, NAN, NAN
        dx, dy = x - np.average(x, weights=w), y - np.average(y, weights=w)
        b = (w * dx * dy).sum() / (w * dx * dx).sum()
        rest = (w * (dy - b * dx) ** 2).sum()
        error = rest / (n - 2) / (w * dx * dx).sum()
        yy = (w * dy * dy).sum()
        correlation = (w * dx * dy).sum() / math.sqrt((w * dx * dx).sum() * yy) if np.ptp(y) > 1e-12 else NAN
        return (b / error + 1 / 0.25) / (1 / error + 1 / 0.25) if error > 1e-12 else b, rest if rest > 1e-11 * yy else 0.0, correlation

    def rank(self, values):
        known = [round(v * 2**32) for v in values if v == v]
        if len(known) < 3:
            return [NAN] * len(values)
        return [
            NAN if v != v else (sum(round(v * 2**32) > k for k in known) - sum(round(v * 2**32) < k for k in known)) / (len(known) - 1)
            for v in values
        ]

    def score(self, values):
        known = np.array([v for v in values if v == v])
        if len(known) < 3 or np.ptp(known) < 2**-19:
            return [NAN] * len(values)
        return [(v - known.mean()) / known.std() for v in values]

    def columns(self, i):
        """All columns of pass i: (symbols, 17)."""
        lanes = range(self.symbols)
        r30, r300 = ([self.window(s, i, t) for s in lanes] for t in (30, 300))
        m30, m300, m1, m5 = (1e4 * self.index_return(i, self.passes[i] - t) for t in (30, 300, 1, 5))
        ofi, volume, deviation = [], [], []
        for s in lanes:
            rows = self.flows(s, i)
            ofi.append(NAN), volume.append(NAN), deviation.append(NAN)
            if self.runs[s][i] is None or self.passes[i] - self.passes[self.runs[s][i]] < 30:
                continue
            age, e, push, shares, squares, seconds = np.array(rows).T
            fast, slow = np.exp(-age / 30), np.exp(-age / 300)
            if push.any():
                ofi[-1] = (fast * e).sum() / (slow * push).sum()
            if shares.any():
                volume[-1] = (fast * shares).sum() / (fast * seconds).sum() / ((slow * shares).sum() / (slow * seconds).sum())
            if squares.any():
                deviation[-1] = math.log(math.sqrt((slow * squares).sum() / (slow * seconds).sum()))
        out = [self.rank(r30), self.rank(r300), self.rank([self.bar_return(s, i) for s in lanes])]
        out += [self.score(ofi), self.score(volume), self.score(deviation)]
        rest = np.full((11, self.symbols), NAN)
        for s in lanes:
            if self.runs[s][i] is None:
                continue
            known = [k for k in range(i + 1) if self.steps[s][k] == self.steps[s][k] and self.moves[k] == self.moves[k]]
            x, y = [1e4 * self.moves[k] for k in known], [1e4 * self.steps[s][k] for k in known]
            w = [math.exp(-(self.passes[i] - self.passes[k]) / 300) for k in known]
            beta, square, correlation = self.regression(x, y, w)
            seconds = sum(u * (self.passes[k] - self.passes[k - 1]) for u, k in zip(w, known))
            idio = math.sqrt(square / seconds) if known else NAN
            bars = self.bar_samples(s, i)
            beta_bars = self.regression([1e4 * a for a, _ in bars], [1e4 * b for _, b in bars], [1.0] * len(bars))[0]
            mean = []
            for r in (r30, r300):
                peers = [v for v, k in zip(r, self.sector) if k == self.sector[s] and v == v]
                mean.append(sum(peers) / len(peers) if len(peers) > 1 and self.sector[s] >= 0 else NAN)
            fast, slow = 1e4 * r30[s] - beta * m30, 1e4 * r300[s] - beta * m300
            rest[:, s] = (
                beta, beta_bars, fast, slow, slow / (idio * math.sqrt(300)) if idio else NAN, idio, 1e4 * (r30[s] - mean[0]), 1e4 * (r300[s] - mean[1]),
                m1, m5, correlation,
            )  # fmt: skip
        return np.concatenate([np.array(out), rest]).T
