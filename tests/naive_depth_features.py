"""Slow twin of family `depth`: every value is computed anew from the whole history of the symbol, by its definition."""

from __future__ import annotations

import math
from itertools import groupby
from typing import NamedTuple

import numpy as np
from naive_depth import Book

NAN = math.nan
UNCERTAIN, GAP, ANEW, ROOM = 128, 4096, 3, 64
SIDES = (0, 1)


class Change(NamedTuple):
    """One change of the depth book; operation 3 = it begins anew."""

    ts: int
    symbol: int
    flags: int
    position: int
    operation: int
    side: int
    price: float
    size: float


class Row(NamedTuple):
    """A row of TICKS, as far as the depth book cares."""

    ts: int
    symbol: int
    flags: int


def levels(rows, tick):
    """Neighbouring rows of one price as one (price in ticks, size)."""
    real = [(round(p / tick, 3), q) for p, q, *_ in rows if q > 0 and not math.isnan(p)]
    return [(p, sum(q for _, q in same)) for p, same in groupby(real, key=lambda x: x[0])][:10]


def snapshots(history, tick):
    """(time, side that changed, levels of both sides or None while the book is uncertain) after every change; time never goes back."""
    book, out, now = Book(ROOM), [], 0
    for item in history:
        if isinstance(item, Row):
            if item.flags & GAP:
                out.append((now, None, None))
            continue
        if item.operation == ANEW:
            book.reset()
            out.append((now, None, None))
            continue
        now = max(now, item.ts)
        _, doubt = book.change(item.side, item.position, item.operation, item.price, item.size, 0)
        doubt = doubt or bool(item.flags & UNCERTAIN)
        out.append((now, item.side, None if doubt else [levels(x, tick) for x in book.sides]))
    return out


def flow_of(side, old, new):
    """Order flow of a level that was `old` and is `new`, each (price, size): that of Xu, Gould and Howison, case by case."""
    gain = (new[0] - old[0]) * (1 if side == 0 else -1)
    amount = new[1] if gain > 0 else -old[1] if gain < 0 else new[1] - old[1]
    return amount if side == 0 else -amount


def flows(shots):
    """Flow vectors of the changes, and the levels that are compared at the end."""
    out, latest, compared = [], ({}, {}), set()
    for _, side, book in shots:
        e = np.zeros(5)
        if book is None:
            latest, compared = ({}, {}), set()
        else:
            fresh = not any(latest)
            for s in SIDES if fresh else (side,):
                for k, level in enumerate(book[s][:5]):
                    if not fresh and k in latest[s]:
                        e[k] += flow_of(s, latest[s][k], level)
                        compared.add(k)
                    latest[s][k] = level
        out.append(e)
    return out, compared


def weighted(times, now, tau):
    return np.array([math.exp(-(now - t) * 1e-9 / tau) for t in times])


def normalised(shots, e, last, now, tau):
    """The five decayed flows after change `last` at time `now`, in mean sizes of a level."""
    begin = max((i for i in range(last + 1) if shots[i][2] is None), default=0)
    total = sum((math.exp(-(now - shots[i][0]) * 1e-9 / tau) * e[i] for i in range(begin, last + 1)), np.zeros(5))
    events = [i for i in range(last + 1) if e[i].any()]
    if not events:
        return np.zeros(5)
    sizes = [np.mean([q for s in SIDES for _, q in shots[i][2][s][:5]]) for i in events]
    w = weighted([shots[i][0] for i in events], shots[events[-1]][0], tau)
    return total / ((w * sizes).sum() / w.sum())


def component(shots, e, tau_s):
    """First principal component: one power step an event, from (1, 1, 1, 1, 1)."""
    events, x, axis = [i for i in range(len(e)) if e[i].any()], [], np.ones(5)
    for n, i in enumerate(events):
        x.append(normalised(shots, e, i, shots[i][0], tau_s[0]))
        if n:
            w = weighted([shots[j][0] for j in events[: n + 1]], shots[i][0], tau_s[1])
            turned = np.cov(np.array(x).T, aweights=w, ddof=0) @ axis
            if np.linalg.norm(turned) > 1e-90:
                axis = turned / np.linalg.norm(turned) * (1 if turned.sum() >= 0 else -1)
    return axis, len(events)


def regression(distance, total):
    if len(distance) < 2:
        return NAN
    return np.polyfit(distance, total, 1)[0]


def depth(history, tick, tau_s):
    """Columns of family `depth` as of the last item of the history of one symbol."""
    shots = snapshots(history, tick)
    if not shots or shots[-1][2] is None or not all(shots[-1][2]):
        return [NAN] * 14
    book, now = shots[-1][2], max(history[-1].ts, shots[-1][0])
    mid = (book[0][0][0] + book[1][0][0]) / 2
    out = []
    for n in (3, 5, 10):
        bids, asks = (sum(q for _, q in book[s][:n]) for s in SIDES)
        out.append((bids - asks) / (bids + asks))
    five = book[0][:5] + book[1][:5]
    out.append(sum(p * q for p, q in five) / sum(q for _, q in five) - mid)
    for s in SIDES:
        out.append(regression([(p - mid) * (1 if s else -1) for p, _ in book[s]], np.cumsum([q for _, q in book[s]])))
    for s in SIDES:
        out.append(sum(q * abs(p - mid) for p, q in book[s]) / sum(q for _, q in book[s]))
    e, compared = flows(shots)
    x = normalised(shots, e, len(shots) - 1, now, tau_s[0])
    out += [x[k] if k in compared else NAN for k in range(5)]
    axis, events = component(shots, e, tau_s)
    out.append(float(axis @ x) / np.abs(axis).sum() if events >= 20 else NAN)
    return out
