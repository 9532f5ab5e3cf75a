"""A decision and its linear algebra: microseconds of CPU a matrix of 16 configurations, beside NumPy and scikit-learn.

500 correlations of 100 symbols and 5 horizons. Ours works on a symbol a call, its horizons in five of eight lanes (`5lanes`), the Python call
included; `8lanes` has all of them full. `eigen-full`: all pairs. `eigen-tracked`: the leading four from those of the correlation one
observation before; no peer tracks, so it stands beside all pairs and beside the same iteration with NumPy's stacked QR. `weights`: from
the correlation to decorrelated weights (OAS, clip, C^-1 ic); ours tracked, with a full solve for a symbol in 16. `weights,window`: the
same from 256 rows of predictions by Ledoit-Wolf. `chain`: a whole decision of 100 symbols, microseconds a symbol (peers_decision_chain.py).
Rounds are interleaved and pinned to one core, figures are medians; results are compared in the same run. Not an asv module: peers are
imported in functions."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is loaded

import numpy as np

from tickarrow.jit import corr, eigen
from tickarrow.jit._kernel import warm
from tickarrow.pipeline.forest_rank import aligned

VERSIONS = {"numpy": "2.", "scikit-learn": "1."}
SYMBOLS, HORIZONS, N, ROWS, DECAY = 100, 5, 16, 256, 0.99
AUDIT = 16  # a full solve for one symbol in so many
TOLERANCE = 0.2

Array = Any


def run(rounds: int = 15, symbols: int = SYMBOLS) -> Iterator[str]:
    """One line a work: `decision PEER WORK peer_median ours_median ratio`; RuntimeError if anything is not as it must be."""
    for name, expected in VERSIONS.items():
        if not version(name).startswith(expected):
            raise RuntimeError(f"decision: peer {name} is {version(name)}, expected {expected}x. Install that version.")
    warm()
    rng = np.random.default_rng(3)
    load = np.concatenate([0.7 + 0.2 * rng.random((symbols, HORIZONS, N, 1)), 0.25 * rng.standard_normal((symbols, HORIZONS, N, 2))], 3)
    windows = np.einsum("shnf,shtf->shtn", load, rng.standard_normal((symbols, HORIZONS, ROWS, 3)))
    windows += 0.5 * rng.standard_normal(windows.shape)
    before = np.stack([np.corrcoef(x, rowvar=False) for x in windows.reshape(-1, ROWS, N)]).reshape(symbols, HORIZONS, N, N)
    last = rng.standard_normal((symbols, HORIZONS, 1, 3)) @ load.swapaxes(2, 3) + 0.5 * rng.standard_normal((symbols, HORIZONS, 1, N))
    now = DECAY * before + (1 - DECAY) * last.swapaxes(2, 3) * last
    deviation = np.sqrt(np.diagonal(now, axis1=2, axis2=3))
    now /= deviation[..., None] * deviation[..., None, :]
    ic = rng.uniform(0.0, 0.1, (symbols, HORIZONS, N))
    works = [*_full(now), *_tracked(before, now), *_weights(before, now, ic), *_windows(windows, ic), *_chain()]
    yield from _measure(rounds, works)


class _Work:
    """A peer and ours on the same `count` matrices."""

    def __init__(
        self, peer: str, name: str, count: int, theirs: Callable[[], Any], ours: Callable[[], Any], before: Callable[[], Any] = lambda: None
    ) -> None:
        self.peer, self.name, self.count, self.calls, self.before = peer, name, count, (theirs, ours), before
        self.times: tuple[list[float], list[float]] = ([], [])


def _measure(rounds: int, works: list[_Work]) -> Iterator[str]:
    from benchmarks import common

    with common.pinned():
        for _ in range(rounds):
            for work in works:
                for call, times in zip(work.calls, work.times):
                    work.before()
                    call()  # the other works have taken the caches
                    work.before()
                    t = time.thread_time_ns()
                    call()
                    times.append((time.thread_time_ns() - t) / work.count / 1e3)
    for work in works:
        theirs, ours = map(statistics.median, work.times)
        yield f"decision {work.peer} {work.name} {theirs:.2f}us {ours:.3f}us {theirs / ours:.1f}"


class _Groups:
    """Ours: matrices in groups of `lanes`, packed; the other lanes are the identity."""

    def __init__(self, matrices: Array, lanes: int) -> None:
        i, j = np.tril_indices(N)
        flat = matrices.reshape(-1, N, N)
        self.lanes, self.count = lanes, len(flat)
        self.c, self.pairs, self.led = [], [], []
        for first in range(0, len(flat), lanes):
            group = aligned((len(i), 8), float)
            group[:] = (i == j)[:, None]
            group[:, : len(flat[first : first + lanes])] = flat[first : first + lanes][:, i, j].T
            self.c.append(group)
            self.pairs.append((aligned((N, 8), float), aligned((N * N, 8), float)))
            self.led.append((aligned((4, 8), float), aligned((4 * N, 8), float)))
        self.state, self.scratch = aligned((corr.STATE_ROWS, 8), float), aligned((eigen.scratch_rows(N), 8), float)
        self.state[corr.EDGE] = corr.mp_edge_point(1.0, float(N), float(ROWS))

    def full(self) -> None:
        for c, (values, vectors) in zip(self.c, self.pairs):
            if eigen.full(c, values, vectors, self.scratch) != 255:
                raise RuntimeError("decision: a spectrum did not converge")

    def lead_from(self, other: _Groups) -> None:
        other.full()
        for pairs, led in zip(other.pairs, self.led):
            eigen.lead(*pairs, *led)

    def track(self) -> list[int]:
        state, scratch = self.state, self.scratch
        return [eigen.track(c, state, corr.EDGE, TOLERANCE, top, leading, scratch) for c, (top, leading) in zip(self.c, self.led)]


def _full(now: Array) -> Iterator[_Work]:
    flat = now.reshape(-1, N, N)
    exact = np.linalg.eigvalsh(flat)
    for lanes in (HORIZONS, 8):
        ours = _Groups(now, lanes)
        ours.full()
        for k, c in enumerate(flat):
            values, vectors = ours.pairs[k // lanes]
            v, q = values[:, k % lanes], vectors.reshape(N, N, 8)[:, :, k % lanes].T
            if not (np.allclose(v, exact[k], rtol=0, atol=1e-12) and np.allclose(c @ q, q * v, rtol=0, atol=1e-12)):
                raise RuntimeError(f"decision: eigenpairs of matrix {k} differ from those of numpy {version('numpy')}")
        name = f"eigen-full,{lanes}lanes"
        yield _Work("numpy-stacked", name, len(flat), lambda: np.linalg.eigh(flat), ours.full)
        if lanes == HORIZONS:
            yield _Work("numpy-loop", name, len(flat), lambda: [np.linalg.eigh(c) for c in flat], ours.full)


def _tracked(before: Array, now: Array) -> Iterator[_Work]:
    flat = now.reshape(-1, N, N)
    exact = np.linalg.eigvalsh(flat)
    start = np.ascontiguousarray(np.linalg.eigh(before.reshape(-1, N, N))[1][:, :, :-5:-1])

    def iteration() -> tuple[Array, Array]:
        y = flat @ start
        return (start * y).sum(1), np.linalg.qr(y)[0]

    for lanes in (HORIZONS, 8):
        ours = _Groups(now, lanes)
        ours.lead_from(_Groups(before, lanes))
        trusted = ours.track()
        theirs, vectors = iteration()
        edge = ours.state[corr.EDGE, 0]
        for k in range(len(flat)):
            top, leading = ours.led[k // lanes]
            q = leading.reshape(4, N, 8)[:, :, k % lanes]
            same = np.allclose(top[:, k % lanes], theirs[k], rtol=1e-10) and np.allclose(np.abs((q @ vectors[k]).diagonal()), 1, rtol=1e-9)
            near = [np.abs(exact[k] - v).min() <= TOLERANCE * v for v in top[:, k % lanes] if v > edge]
            if not same or (trusted[k // lanes] >> k % lanes & 1 and not all(near)):
                raise RuntimeError(f"decision: tracked pairs of matrix {k} differ from those of numpy {version('numpy')}")
        name = f"eigen-tracked,{lanes}lanes"
        yield _Work("numpy-stacked", name, len(flat), lambda: np.linalg.eigh(flat), ours.track)
        if lanes == HORIZONS:
            yield _Work("numpy-iteration", name, len(flat), iteration, ours.track)


def _numpy_weights(c: Array, ic: Array, rho: Array) -> Array:
    """Clip at the Marchenko-Pastur edge, shrink by rho, C^-1 ic; stacked."""
    values, vectors = np.linalg.eigh(c)
    low = values <= (1 + np.sqrt(N / ROWS)) ** 2
    bulk = np.where(low, values, 0.0).sum(1) / np.maximum(low.sum(1), 1)
    clean = (1 - rho)[:, None] * np.where(low, bulk[:, None], values) + rho[:, None]
    return np.einsum("kin,kn->ki", vectors, np.einsum("kin,ki->kn", vectors, ic) / clean)


def _numpy_oas(c: Array) -> Array:
    alpha = (c * c).mean((1, 2))
    return np.minimum((alpha + 1) / ((ROWS + 1) * (alpha - 1 / N)), 1.0)


def _lanes_of(ic: Array) -> list[Array]:
    """(symbols, horizons, N) -> an (N, 8) array a symbol."""
    out = [aligned((N, 8), float) for _ in ic]
    for group, x in zip(out, ic):
        group[:, :HORIZONS] = x.T
    return out


def _weights(before: Array, now: Array, ic: Array) -> Iterator[_Work]:
    flat, flat_ic, ours = now.reshape(-1, N, N), ic.reshape(-1, N), _Groups(now, HORIZONS)
    ours.lead_from(_Groups(before, HORIZONS))
    rho, ics, outs = _numpy_oas(flat).reshape(ic.shape[:2]), _lanes_of(ic), [aligned((N, 8), float) for _ in ic]
    states = [aligned((corr.STATE_ROWS, 8), float) for _ in ic]
    for state, intensity in zip(states, rho):
        state[corr.INTENSITY, :HORIZONS], state[corr.EDGE] = intensity, ours.state[corr.EDGE]
    turn = 0

    def weigh() -> None:
        nonlocal turn
        turn += 1
        scratch = ours.scratch
        for k, (c, pairs, led, state) in enumerate(zip(ours.c, ours.pairs, ours.led, states)):
            trusted = eigen.track(c, state, corr.EDGE, TOLERANCE, *led, scratch)
            if trusted != 255 or (k + turn) % AUDIT == 0:
                eigen.full(c, *pairs, scratch)
                eigen.lead(*pairs, *led)
                led = pairs
            corr.weights(*led, ics[k], 0.0, False, state, outs[k], scratch)

    for _ in range(200):  # tracked on, so that the pairs are those of the correlation
        weigh()
    expected = _numpy_weights(flat, flat_ic, rho.ravel()).reshape(ic.shape)
    if not all(np.allclose(out[:, :HORIZONS].T, w, rtol=1e-6, atol=1e-8) for out, w in zip(outs, expected)):
        raise RuntimeError(f"decision: weights differ from those of numpy {version('numpy')}")
    yield _Work("numpy-stacked", "weights", len(flat), lambda: _numpy_weights(flat, flat_ic, _numpy_oas(flat)), weigh)


def _chain() -> Iterator[_Work]:
    from benchmarks import peers_decision_chain as whole

    if name := whole.differs():
        raise RuntimeError(f"decision: {name} of the whole chain differs from that of numpy {version('numpy')}")
    both = whole.Decisions(every_pair=False)
    yield _Work("numpy-stacked", "chain", len(both.y), both.theirs, both.ours, both.block)


def _windows(windows: Array, ic: Array) -> Iterator[_Work]:
    from sklearn.covariance import LedoitWolf, ledoit_wolf

    few = min(10, len(windows))  # of them, for the slower side
    ours, ics = _Groups(np.zeros((len(windows), HORIZONS, N, N)), HORIZONS), _lanes_of(ic)
    centred, covariance, out = aligned((N * ROWS // 8, 8), float), np.empty((N, N)), aligned((N, 8), float)
    ours.state[corr.INTENSITY] = 0.0

    def weigh(symbol: int) -> None:
        c, pairs = ours.c[symbol], ours.pairs[symbol]
        for lane in range(HORIZONS):
            corr.shrink(covariance, corr.window(windows[symbol, lane], float(ROWS), centred, covariance))
            corr.place(covariance, lane, c)
        eigen.full(c, *pairs, ours.scratch)
        corr.weights(*pairs, ics[symbol], 0.0, False, ours.state, out, ours.scratch)

    def chain(symbol: int, shrunk: Callable[[Array], Array]) -> Array:
        s = np.stack([shrunk(x) for x in windows[symbol]])
        deviation = np.sqrt(np.diagonal(s, axis1=1, axis2=2))
        return _numpy_weights(s / (deviation[:, :, None] * deviation[:, None, :]), ic[symbol], np.zeros(HORIZONS))

    def fitted(x: Array) -> Array:
        return LedoitWolf().fit(x).covariance_

    for symbol in range(few):
        weigh(symbol)
        if not np.allclose(out[:, :HORIZONS].T, chain(symbol, fitted), rtol=1e-8, atol=1e-11):
            raise RuntimeError(f"decision: weights of a window differ from those of scikit-learn {version('scikit-learn')}")

    def every() -> None:
        for symbol in range(few):
            weigh(symbol)

    def peer(shrunk: Callable[[Array], Array]) -> Callable[[], list[Array]]:
        return lambda: [chain(symbol, shrunk) for symbol in range(few)]

    yield _Work("numpy+scikit-learn", "weights,window", few * HORIZONS, peer(fitted), every)
    x = windows[0, 0]
    yield _Work("scikit-learn", "ledoit-wolf", 1, lambda: ledoit_wolf(x), lambda: corr.shrink(covariance, corr.window(x, float(ROWS), centred, covariance)))
