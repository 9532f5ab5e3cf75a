"""Engines made of our own kernels: `simd` and `portable`. Models are sorted by what runs them best with few rows and with many; the layouts
of all stand in one file (forest_file.py), and where few rows become many is measured at load. No choice changes a bit of a margin."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tickarrow.jit import _kernel
from tickarrow.pipeline import certificate, forest_file, forest_lock, forest_walk
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Float32, Forest, Part
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict_engines_library import Predict

# name of a part: why it cannot run a model, its layout, what runs it
KINDS: dict[str, tuple[Callable[[Forest], str], Callable[[Sequence[Forest], Sequence[int]], dict[str, Array]], Callable[[Mapping[str, Array]], Part]]] = {
    "lock": (forest_lock.fits, forest_lock.pack, forest_lock.Lock),
    "walk": (forest_walk.fits, forest_walk.pack, forest_walk.Walk),
}
FEW = {"simd": ("lock", "walk"), "portable": ("lock", "walk")}  # with few rows, the fastest first
MANY = {"simd": ("lock", "walk"), "portable": ("lock", "walk")}
NEEDS = {"simd": "avx512f avx512bw avx512vbmi"}  # of the processor
COMPLETE = ("lock", "lines", "mux")  # they fill every tree up to a complete one
PADDING = 3.0  # leaves that filling up may make of one: beyond, the kernels for any shape are faster
ALWAYS = 1 << 62  # rows from which the part for many rows serves, if it never does
BLOCK = 100  # rows for which kernels have other paths than for many
THREAD_ROWS = 256  # rows of a batch from which a second thread pays


def _dense(forest: Forest) -> bool:
    return bool(forest.n_trees << forest.depth <= PADDING * forest.leaves.sum())


def _assign(forests: Sequence[Forest], names: Sequence[str], kinds: Sequence[str], notes: list[str]) -> list[tuple[str, list[int], dict[str, Array]]]:
    """Each model to the first kind that takes it; the layouts of what came together.

    Returns
    -------
    list of (kind, models, arrays); `notes` gets a sentence for each model that only the last kind takes
    """
    out: list[tuple[str, list[int], dict[str, Array]]] = []
    left = list(range(len(forests)))
    why: dict[int, list[str]] = {m: [] for m in left}
    for kind in kinds:
        fits, pack, _ = KINDS[kind]
        groups: dict[str, list[int]] = {}
        for m in left:
            reason = "is far from complete" if kind in COMPLETE and not _dense(forests[m]) else fits(forests[m])
            if reason:
                why[m].append(f"{kind}: {reason}")
            else:
                groups.setdefault(forests[m].leaf.dtype.name, []).append(m)
        for models in groups.values():
            try:
                out.append((kind, models, pack([forests[m] for m in models], models)))
            except ModelError as e:  # too much for one layout
                for m in models:
                    why[m].append(f"{kind}: {e}")
                continue
            if kind == kinds[-1] and len(kinds) > 1:
                notes += [f"model {names[m]!r} is run by {kind!r} ({'; '.join(why[m])})" for m in models]
            left = [m for m in left if m not in models]
    if left:
        raise ModelError(f"model {names[left[0]]!r} fits no kernel ({'; '.join(why[left[0]])}).")
    return out


def lay_out(engine: str, forests: Sequence[Forest], names: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Array]]]:
    """What the parts of an engine are, and their arrays.

    Returns
    -------
    plan : "kinds" (kind of each part), "groups" (parts for few rows, parts for many, which run the same models), "notes" (sentences)
    arrays : of each part
    """
    for forest, name in zip(forests, names):
        if forest.n_features != forests[0].n_features:
            both = f"{forest.n_features} features, {names[0]!r} {forests[0].n_features}"
            raise ModelError(f"model {name!r} has {both}: expected the same in one set.")
    notes: list[str] = []
    few = _assign(forests, names, FEW[engine], notes)
    parts = [(kind, models) for kind, models, _ in few]
    arrays = [a for _, _, a in few]
    many = []
    for kind, models, a in _assign(forests, names, MANY[engine], notes):
        if (kind, models) not in parts:
            parts.append((kind, models))
            arrays.append(a)
        many.append(parts.index((kind, models)))
    groups: list[tuple[set[int], set[int], set[int]]] = []  # models, parts for few rows, for many: what shares a model stands together
    for part, of_few in [*((i, True) for i in range(len(few))), *((i, False) for i in many)]:
        new = (set(parts[part][1]), {part} if of_few else set(), set() if of_few else {part})
        for g in [g for g in groups if g[0] & new[0]]:
            groups.remove(g)
            for mine, others in zip(new, g):
                mine |= others
        groups.append(new)
    plan = {"kinds": [kind for kind, _ in parts], "groups": [[sorted(f), sorted(m)] for _, f, m in groups], "notes": list(dict.fromkeys(notes))}
    return plan, arrays


def _fastest(parts: Sequence[Part], x: Float32, n: int, y: Float32) -> float:
    """Seconds that some parts take for n rows, the best of three."""
    best = np.inf
    for _ in range(3):
        started = time.perf_counter()
        for part in parts:
            part.predict(x, 0, n, y)
        best = min(best, time.perf_counter() - started)
    return float(best)


def crossover(few: Sequence[Part], many: Sequence[Part], n_features: int, n_models: int) -> int:
    """Number of rows from which `many` is faster than `few`, measured."""
    x = np.random.default_rng(0).normal(size=(256, n_features)).astype(np.float32)
    y = np.empty((256, n_models), np.float32)
    row = _fastest(few, x, 8, y) / 8
    least = 1
    for n in (4, 16, 64, 256):
        block = _fastest(many, x, n, y)
        if block <= row * n:
            return min(max(int(np.ceil(block / row)), least), n)
        least = n + 1
    return ALWAYS


class ForestEngine:
    """Parts that run a bank together: some when there are few rows, some when there are many.

    Parameters
    ----------
    plan, arrays : from `lay_out`
    threads : batches of many rows are cut into as many pieces; each thread has scratch memory of its own
    """

    def __init__(self, name: str, plan: Mapping[str, Any], arrays: Sequence[Mapping[str, Array]], n_features: int, n_models: int, threads: int = 1) -> None:
        self.name = name
        self.kinds: list[str] = plan["kinds"]
        self.notes: list[str] = plan["notes"]
        self.threads = threads
        runs = [[KINDS[kind][2](a) for kind, a in zip(self.kinds, arrays)] for _ in range(threads)]
        self.crossovers = [
            crossover([runs[0][i] for i in few], [runs[0][i] for i in many], n_features, n_models) if few != many else 0 for few, many in plan["groups"]
        ]
        self._groups = [
            [([run[i] for i in few], [run[i] for i in many], rows) for (few, many), rows in zip(plan["groups"], self.crossovers)] for run in runs
        ]
        self._others = ThreadPoolExecutor(threads - 1, f"predict-{name}") if threads > 1 else None

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        n = hi - lo
        if self._others is None or n < THREAD_ROWS:
            if n > 0:
                self._predict(0, x, lo, hi, y)
            return
        step = -(-n // self.threads + 127) // 128 * 128  # whole blocks of the kernels
        later = [
            self._others.submit(self._predict, k, x, lo + k * step, min(lo + (k + 1) * step, hi), y[k * step :])
            for k in range(1, self.threads) if k * step < n
        ]  # fmt: skip
        self._predict(0, x, lo, min(lo + step, hi), y)
        for piece in later:
            piece.result()

    def ways(self) -> Sequence[Predict]:
        """As with few rows, as with many, and in blocks that are neither."""

        def few(x: Float32, lo: int, hi: int, y: Float32) -> None:
            for parts, _, _ in self._groups[0]:
                for part in parts:
                    part.predict(x, lo, hi, y)

        def many(x: Float32, lo: int, hi: int, y: Float32) -> None:
            for _, parts, _ in self._groups[0]:
                for part in parts:
                    part.predict(x, lo, hi, y)

        def blocks(x: Float32, lo: int, hi: int, y: Float32) -> None:
            for at in range(lo, hi, BLOCK):
                many(x, at, min(at + BLOCK, hi), y[at - lo :])

        return [few, many, blocks]

    def _predict(self, thread: int, x: Float32, lo: int, hi: int, y: Float32) -> None:
        for few, many, rows in self._groups[thread]:
            for part in few if hi - lo < rows else many:
                part.predict(x, lo, hi, y)


def eligible(engine: str) -> str:
    """Empty, or why this processor cannot run the engine."""
    needs = NEEDS.get(engine, "")
    if needs and not _kernel.cpu_has(needs):
        return f"this processor has no {' '.join(n for n in needs.split() if not _kernel.cpu_has(n))}"
    return ""


def made_from(engine: str, model_set: ModelSet) -> dict[str, Any]:
    """What a layout must have been made from to serve."""
    return {"engine": engine, "model_set": model_set.digest}


def compile_engine(engine: str, model_set: ModelSet, threads: int, path: Path) -> tuple[ForestEngine, bool]:
    """Lay out the models and write the file.

    Returns
    -------
    the engine, and whether the file could be written: in a read-only folder it is laid out again at each load
    """
    plan, arrays = lay_out(engine, model_set.forests, model_set.names)
    shape = len(model_set.columns), model_set.n_models, threads
    try:
        forest_file.write(path, certificate.code_digest(), made_from(engine, model_set) | plan, arrays)
    except OSError:
        return ForestEngine(engine, plan, arrays, *shape), False
    return load_engine(engine, model_set, threads, path), True


def load_engine(engine: str, model_set: ModelSet, threads: int, path: Path) -> ForestEngine:
    """The engine of a layout file; ModelError if the file does not serve, OSError if it is not there."""
    plan, arrays = forest_file.read(path, certificate.code_digest(), made_from(engine, model_set))
    return ForestEngine(engine, plan, arrays, len(model_set.columns), model_set.n_models, threads)
