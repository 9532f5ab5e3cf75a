"""Certificates (design contract 12): an engine is compared with the library of each model on all probe rows when a set is compiled, on a
sample at each load.

The outcome of the whole check stands in the manifest of the set with what it depends on: the engine's file, the models, the code that packs
and runs them, the processor that it was compiled for, the versions of the libraries. What has changed since is checked again as a whole."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite
import numba
import numpy as np
import numpy.typing as npt

from tickarrow.configs.models import ModelsConf
from tickarrow.jit._kernel import JIT_FOLDER, target
from tickarrow.pipeline import library
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Float32, Forest
from tickarrow.pipeline.forest_file import file_digest
from tickarrow.pipeline.models import ModelSet

if TYPE_CHECKING:
    from tickarrow.pipeline.predict_engines import Engine
    from tickarrow.pipeline.predict_engines_library import Predict

Bool = npt.NDArray[np.bool_]

PROBES = "probes.npz"
BLOCK = 4096  # rows that are compared at a time
ALONE = 64  # of them one by one
CODE = (
    (JIT_FOLDER, ("trees*.py", "simd.py", "native.py", "memory.py")),
    (Path(__file__).resolve().parent, ("forest*.py", "library.py", "compiler*.py", "predict_engines*.py")),
)  # fmt: skip


class CertificateError(ModelError):
    """An engine does not give the bits of the library."""


def check(model_set: ModelSet, engine: Engine, path: Path, conf: ModelsConf) -> None:
    """Hold an engine to its certificate: a sample where one is stored that still speaks of this file, code and set, else all probe rows.

    Parameters
    ----------
    path : the file the engine runs: a layout, a library

    Raises
    ------
    ModelError : a bit differs, or the file is not the one that passed
    """
    certificate = stored(model_set, engine.name)
    if certificate is None or certificate["file"] != path.name:  # another compiler or version made another library
        certify(model_set, engine, path)
        return
    check_file(certificate, path)
    probes = _stored_probes(model_set, certificate.get("probes", ""))
    if probes is None or _changed(certificate, circumstances(model_set)):
        certify(model_set, engine, path)
        return
    rows, margins = probes
    pick = np.unique(np.linspace(0, len(rows) - 1, min(conf.sample_rows, len(rows))).astype(np.int64))
    compare(model_set, engine, rows[pick], margins[pick])


def certify(model_set: ModelSet, engine: Engine, path: Path | None, recorded: Float32 | None = None) -> dict[str, Any]:
    """Compare an engine on all probe rows and store the outcome; without a file, as in a read-only folder, it serves this process only.

    Parameters
    ----------
    recorded : (n, n_features) float32, rows of a market to be compared beside those made from the models

    Returns
    -------
    The certificate, see `tickarrow verify`

    Raises
    ------
    CertificateError : a bit differs; the certificate is stored all the same, and says how many
    """
    started = time.perf_counter()
    rows, margins = probes_of(model_set)
    seconds = {"probes": time.perf_counter() - started}
    if recorded is not None and len(recorded):
        rows, margins = np.concatenate([rows, recorded]), np.concatenate([margins, oracle_margins(model_set, recorded)])
    started = time.perf_counter()
    differ, first = mismatches(model_set, engine, rows, margins)
    seconds["engine"] = time.perf_counter() - started
    probes = model_set.path / PROBES
    certificate = {
        "file": path.name if path is not None else "", "digest": file_digest(path) if path is not None else "", "rows": len(rows),
        "recorded_rows": 0 if recorded is None else len(recorded), "left_out": _left_out(model_set, rows), "models": model_set.n_models,
        "mismatches": {model_set.names[m]: int(n) for m, n in enumerate(differ) if n}, "probes": file_digest(probes) if probes.is_file() else "",
        "seconds": {k: round(v, 3) for k, v in seconds.items()}, **circumstances(model_set),
    }  # fmt: skip
    model_set.certify(engine.name, certificate)
    if first is not None:
        raise _differs(model_set, *first, int(np.count_nonzero(differ)), len(rows))
    return certificate


def stored(model_set: ModelSet, name: str) -> dict[str, Any] | None:
    """The certificate that an engine has passed, in the manifest of the set."""
    found: dict[str, Any] | None = model_set.manifest.get("certificates", {}).get(name)
    return found if found is not None and found.get("mismatches") == {} else None


def check_file(certificate: dict[str, Any], path: Path) -> None:
    if file_digest(path) != certificate["digest"]:
        raise ModelError(f"{path} is not the file that passed the parity check. Remove it: it is made again from the models.")


@functools.cache
def code_digest() -> str:
    """Digest of the kernels of the engines and of what packs their layouts."""
    h = hashlib.blake2b(digest_size=16)
    for path in sorted({p for folder, patterns in CODE for pattern in patterns for p in folder.glob(pattern)}):
        h.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return h.hexdigest()


def circumstances(model_set: ModelSet) -> dict[str, Any]:
    """What a certificate depends on beside the engine's file."""
    libraries = {name: library.installed(name) for name in dict.fromkeys(e.library for e in model_set.entries)}
    return {
        "model_set": model_set.digest, "code": code_digest(), "cpu": target(), "libraries": libraries,
        "compiler": f"numba {numba.__version__}, llvmlite {llvmlite.__version__}",
    }  # fmt: skip


def _changed(certificate: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether anything is not what it was; a library that is not installed has not changed."""
    before, installed = certificate.get("libraries", {}), now["libraries"]
    other = any(version not in (None, before.get(name)) for name, version in installed.items())
    return other or any(certificate.get(k) != v for k, v in now.items() if k != "libraries")


def probes_of(model_set: ModelSet) -> tuple[Float32, Float32]:
    """Probe rows of a set and the margins of its libraries, kept in the set: further engines, and the sample at load, need no library."""
    key = json.dumps([model_set.digest, circumstances(model_set)["libraries"], code_digest()], sort_keys=True)
    kept = _read_probes(model_set)
    if kept is not None and kept[2] == key:
        return kept[0], kept[1]
    rows = probe_rows(model_set.forests)
    margins = oracle_margins(model_set, rows)
    path = model_set.path / PROBES
    with contextlib.suppress(OSError):
        temporary = path.with_name(f"{os.getpid()}-{path.name}")
        np.savez(temporary, rows=rows, margins=margins, key=np.array(key))
        temporary.replace(path)
    return rows, margins


def _read_probes(model_set: ModelSet) -> tuple[Float32, Float32, str] | None:
    try:
        with np.load(model_set.path / PROBES) as kept:
            return kept["rows"], kept["margins"], str(kept["key"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or not what was written: made again
        return None


def _stored_probes(model_set: ModelSet, digest: str) -> tuple[Float32, Float32] | None:
    path = model_set.path / PROBES
    if not path.is_file() or file_digest(path) != digest:
        return None
    kept = _read_probes(model_set)
    return None if kept is None else kept[:2]


def oracle_margins(model_set: ModelSet, rows: Float32) -> Float32:
    """Margins (rows, models) as the library of each model gives them; NaN where it refuses the row."""
    out = np.empty((len(rows), model_set.n_models), np.float32)
    for m, model in enumerate(model_set.models):
        out[:, m] = model.margins(rows)
    return out


def accepted(model_set: ModelSet, rows: Float32) -> Bool:
    """(rows, models) bool: the library of the model has a margin for the row."""
    good = {kind: ~bad(rows).any(axis=1) for kind, bad in ((library.MISSING, np.isnan), (library.INFINITE, np.isinf))}
    out = np.ones((len(rows), model_set.n_models), bool)
    for m, entry in enumerate(model_set.entries):
        for kind in entry.refuses:
            out[:, m] &= good[kind]
    return out


def _left_out(model_set: ModelSet, rows: Float32) -> int:
    """Pairs of row and model that the library refuses."""
    return int((~accepted(model_set, rows)).sum()) if any(e.refuses for e in model_set.entries) else 0


def mismatches(model_set: ModelSet, engine: Engine, rows: Float32, margins: Float32) -> tuple[npt.NDArray[np.int64], tuple[int, float, float] | None]:
    """Compare bit for bit, in every way that the engine predicts, and the first rows one by one as a tick has them.

    Returns
    -------
    (models,) rows that differ; and of the first difference model, engine's margin, library's margin
    """
    differ, first = np.zeros(model_set.n_models, np.int64), None
    y = np.empty((BLOCK, model_set.n_models), np.float32)
    rows, margins = np.ascontiguousarray(rows), np.ascontiguousarray(margins)
    for lo in range(0, len(rows), BLOCK):
        hi = min(lo + BLOCK, len(rows))
        part = y[: hi - lo]
        either = np.zeros(part.shape, bool)
        ways: list[Predict] = [*engine.ways(), partial(_one_by_one, engine)]
        for predict in ways:
            part.fill(np.nan)
            predict(rows, lo, hi, part)
            other = (part.view(np.uint32) != margins[lo:hi].view(np.uint32)) & accepted(model_set, rows[lo:hi])
            either |= other
            if first is None and other.any():
                r, m = np.argwhere(other)[0]
                first = int(m), float(part[r, m]), float(margins[lo + r, m])
        differ += either.sum(axis=0)
    return differ, first


def _one_by_one(engine: Engine, rows: Float32, lo: int, hi: int, y: Float32) -> None:
    """The first rows of a block alone, the others together."""
    alone = min(lo + ALONE, hi)
    for i in range(lo, alone):
        engine.predict(rows, i, i + 1, y[i - lo :])
    engine.predict(rows, alone, hi, y[alone - lo :])


def compare(model_set: ModelSet, engine: Engine, rows: Float32, margins: Float32) -> None:
    """CertificateError unless the engine gives these margins for these rows, bit for bit."""
    differ, first = mismatches(model_set, engine, rows, margins)
    if first is not None:
        raise _differs(model_set, *first, int(np.count_nonzero(differ)), len(rows))


def _differs(model_set: ModelSet, model: int, ours: float, theirs: float, models: int, rows: int) -> CertificateError:
    entry = model_set.entries[model]
    return CertificateError(
        f"model {model_set.names[model]!r} gives {np.float32(ours)!s} where {entry.library} gives {np.float32(theirs)!s} "
        f"({models} of {model_set.n_models} models differ on {rows} probe rows)."
    )


def probe_rows(forests: Sequence[Forest], seed: int = 0) -> Float32:
    """Rows that a wrong engine fails on: each cut with both float neighbours, missing values one by one and all, infinities, zeros of
    both signs, denormals, what LightGBM takes as zero, the largest floats, and random mixes of them all.

    Returns
    -------
    (n, n_features) float32, C-contiguous
    """
    rng = np.random.default_rng(seed)
    n = forests[0].n_features
    low, high = np.float32(-np.inf), np.float32(np.inf)
    cuts = []
    for f in range(n):
        found = [forest.cut[forest.inner & (forest.feature == f) & np.isfinite(forest.cut)] for forest in forests]
        cuts.append(np.unique(np.concatenate([*found, np.zeros(1, np.float32)])).astype(np.float32))
    most = max(c.size for c in cuts)
    at = np.stack([np.resize(rng.permutation(c), most) for c in cuts], axis=1)  # each column runs through its cuts, columns out of step
    special = np.array(
        [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 1e-35, -1e-35, 3.4e38, -3.4e38, 3.4028235e38, -3.4028235e38], np.float32
    )
    mixed = at[rng.integers(0, most, (2 * most + 256, n)), np.arange(n)]
    normal = rng.normal(size=(256, n)).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        mixed = np.where(rng.random(mixed.shape) < 0.5, np.nextafter(mixed, np.where(rng.random(mixed.shape) < 0.5, low, high)), mixed)
        below, above = np.nextafter(at, low), np.nextafter(at, high)
    mixed = np.where(rng.random(mixed.shape) < rng.random((mixed.shape[0], 1)) * 0.4, rng.choice(special, mixed.shape), mixed)
    one_missing = np.repeat(at[:1], n, axis=0)
    np.fill_diagonal(one_missing, np.nan)
    rows = [at, below, above, one_missing, np.repeat(special[:, None], n, axis=1), mixed, normal]
    return np.ascontiguousarray(np.concatenate(rows), np.float32)
