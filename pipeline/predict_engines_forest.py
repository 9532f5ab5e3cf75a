"""Engines made of our own kernels: `simd` and `portable`. Models are sorted by what runs them best with few rows and with many; the layouts
of all stand in one file (forest_file.py), and where few rows become many is measured at load. No choice changes a bit of a margin."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tickarrow.jit import _kernel, simd
from tickarrow.pipeline import certificate, forest_exit, forest_file, forest_jump, forest_lines, forest_lock, forest_mux, forest_walk
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Float32, Forest, Part
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict_engines_library import Predict

FILL = 2.3  # nodes of complete trees for one of the trees as they are: beyond, the kernel for any shape is the faster one


@dataclass(frozen=True)
class Kind:
    """A kernel with its layout."""

    fits: Callable[[Forest], str]  # why it cannot run a model
    pack: Callable[[Sequence[Forest], Sequence[int]], dict[str, Array]]
    make: Callable[[Mapping[str, Array]], Part]


def _fits_mux(forest: Forest) -> str:
    """Filling trees up costs this kernel as much as it makes them larger."""
    reason = forest_mux.fits(forest)
    if not reason and forest_mux.nodes(forest) > FILL * forest.inner.sum():
        reason = f"has {int(forest.inner.sum())} nodes where complete trees have {forest_mux.nodes(forest)}: a kernel for any shape is faster"
    return reason


KINDS = {
    "lines": Kind(forest_lines.fits, forest_lines.pack, forest_lines.Lines),
    "jump": Kind(forest_jump.fits, forest_jump.pack, forest_jump.Jump),
    "lock": Kind(forest_lock.fits, forest_lock.pack, forest_lock.Lock),
    "walk": Kind(forest_walk.fits, forest_walk.pack, forest_walk.Walk),
    "mux": Kind(_fits_mux, forest_mux.pack, forest_mux.Mux),
    "mux_any": Kind(_fits_mux, functools.partial(forest_mux.pack, permutes=False), forest_mux.Mux),
    "exit": Kind(forest_exit.fits, forest_exit.pack, forest_exit.Exit),
    "exit_any": Kind(forest_exit.fits, forest_exit.pack, functools.partial(forest_exit.Exit, permute=False)),
}
FEW = {"simd": ("lines", "jump", "walk"), "portable": ("lock", "walk")}  # with few rows, the fastest first
MANY = {"simd": ("mux", "exit", "walk"), "portable": ("mux_any", "exit_any", "walk")}
NEEDS = {"simd": simd.TURN_NEEDS}  # of the processor
ALWAYS = 1 << 62  # rows from which the part for many rows serves, if it never does
BLOCK = 100  # rows for which kernels have other paths than for many
THREAD_ROWS = 256  # rows of a batch from which a second thread pays


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
        groups: dict[str, list[int]] = {}
        for m in left:
            if reason := KINDS[kind].fits(forests[m]):
                why[m].append(f"{kind}: {reason}")
            else:
                groups.setdefault(forests[m].leaf.dtype.name, []).append(m)
        for models in groups.values():
            try:
                out.append((kind, models, KINDS[kind].pack([forests[m] for m in models], models)))
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


def _with_a_tree(forest: Forest) -> Forest:
    """A model without trees, whose margin is its base, as one of a tree that adds nothing: kernels know no other models."""
    none = np.zeros(1, np.int64)
    return replace(
        forest, root=none, left=none - 1, right=none - 1, feature=none, cut=np.zeros(1, np.float32), default_left=np.zeros(1, bool),
        leaf=np.full(1, -0.0, forest.leaf.dtype),
    )  # fmt: skip


def lay_out(engine: str, forests: Sequence[Forest], names: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Array]]]:
    """What the parts of an engine are, and their arrays.

    Returns
    -------
    plan : "kinds" and "models" of the parts; "groups", pairs of parts for few rows and parts for many that run the same models; "notes", sentences
        on models that no fast kernel takes
    arrays : of each part
    """
    for forest, name in zip(forests, names):
        if forest.n_features != forests[0].n_features:
            both = f"{forest.n_features} features, {names[0]!r} {forests[0].n_features}"
            raise ModelError(f"model {name!r} has {both}: expected the same in one set.")
    forests = [forest if forest.n_trees else _with_a_tree(forest) for forest in forests]
    notes: list[str] = []
    few = _assign(forests, names, FEW[engine], notes if len(FEW[engine]) > 2 else [])  # to walk a few rows is what `portable` is for
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
    plan = {
        "kinds": [kind for kind, _ in parts], "models": [models for _, models in parts], "groups": [[sorted(f), sorted(m)] for _, f, m in groups],
        "notes": list(dict.fromkeys(notes)),
    }  # fmt: skip
    return plan, arrays


def seconds(parts: Sequence[Part], n_features: int, n: int, n_models: int) -> float:
    """Seconds that some parts take for n rows, the best of three."""
    x = np.random.default_rng(0).normal(size=(n, n_features)).astype(np.float32)
    y = np.empty((n, n_models), np.float32)
    best = np.inf
    for _ in range(3):
        started = time.perf_counter()
        for part in parts:
            part.predict(x, 0, n, y)
        best = min(best, time.perf_counter() - started)
    return float(best)


def crossover(few: Sequence[Part], many: Sequence[Part], n_features: int, n_models: int) -> int:
    """Number of rows from which `many` is faster than `few`, measured."""
    row = seconds(few, n_features, 8, n_models) / 8
    least = 1
    for n in (4, 16, 64, 128, 256):
        block = seconds(many, n_features, n, n_models)
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
        self.name, self.plan, self.n_models, self.threads = name, plan, n_models, threads
        runs = [[KINDS[kind].make(a) for kind, a in zip(plan["kinds"], arrays)] for _ in range(threads)]
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
        step = -(-n // (128 * self.threads)) * 128  # whole blocks of the kernels
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
