"""Certificates (design contract 12): an engine is compared with xgboost on all probe rows when a set is compiled, on a sample at each load.

The outcome of the whole check stands in the manifest of the set with what it depends on: the engine's file, the models, the code of the
kernels and the version of xgboost. What has changed since is checked again as a whole."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost

from tickarrow.configs.models import ModelsConf
from tickarrow.jit import native, trees
from tickarrow.pipeline import compiler
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Forest
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict_engines_library import Float32, XgboostEngine

if TYPE_CHECKING:
    from tickarrow.pipeline.predict_engines import Engine

PROBES = "probes.npz"


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
    if probes is None or any(certificate.get(k) != v for k, v in _circumstances(model_set).items()):
        certify(model_set, engine, path)
        return
    rows, margins = probes
    pick = np.unique(np.linspace(0, len(rows) - 1, min(conf.sample_rows, len(rows))).astype(np.int64))
    compare(model_set, engine, rows[pick], margins[pick])


def certify(model_set: ModelSet, engine: Engine, path: Path | None) -> None:
    """Compare an engine on all probe rows and store the outcome; without a file, as in a read-only folder, nothing is stored."""
    rows, margins = _make_probes(model_set)
    compare(model_set, engine, rows, margins)
    if path is None:
        return
    certificate = {"file": path.name, "digest": compiler.file_digest(path), "rows": len(rows), "models": model_set.n_models}
    probes = model_set.path / PROBES
    certificate["probes"] = compiler.file_digest(probes) if probes.is_file() else ""
    model_set.certify(engine.name, certificate | _circumstances(model_set))


def stored(model_set: ModelSet, name: str) -> dict[str, Any] | None:
    """The certificate of an engine in the manifest of the set."""
    found: dict[str, Any] | None = model_set.manifest.get("certificates", {}).get(name)
    return found


def check_file(certificate: dict[str, Any], path: Path) -> None:
    if compiler.file_digest(path) != certificate["digest"]:
        raise ModelError(f"{path} is not the file that passed the parity check. Remove it: it is made again from the models.")


@functools.cache
def _code_digest() -> str:
    """Digest of the kernels an engine runs."""
    files = [Path(m.__file__) for m in (trees, native) if m.__file__]
    return hashlib.blake2b(b"\0".join(f.read_bytes() for f in files), digest_size=16).hexdigest()


def _circumstances(model_set: ModelSet) -> dict[str, str]:
    """What a certificate depends on beside the engine's file."""
    return {"model_set": model_set.digest, "code": _code_digest(), "xgboost": xgboost.__version__}


def _make_probes(model_set: ModelSet) -> tuple[Float32, Float32]:
    """Probe rows of a set and the margins of xgboost; kept in the set, so that the sample at load needs neither models nor xgboost."""
    rows = probe_rows(model_set.forests)
    margins = np.empty((len(rows), model_set.n_models), np.float32)
    XgboostEngine(model_set).predict(rows, 0, len(rows), margins)
    path = model_set.path / PROBES
    try:
        temporary = path.with_name(f"{os.getpid()}-{path.name}")
        np.savez(temporary, rows=rows, margins=margins)
        temporary.replace(path)
    except OSError:
        pass
    return rows, margins


def _stored_probes(model_set: ModelSet, digest: str) -> tuple[Float32, Float32] | None:
    path = model_set.path / PROBES
    if not path.is_file() or compiler.file_digest(path) != digest:
        return None
    with np.load(path) as kept:
        return kept["rows"], kept["margins"]


def compare(model_set: ModelSet, engine: Engine, rows: Float32, margins: Float32) -> None:
    """ModelError unless the engine gives these margins for these rows, bit for bit."""
    y = np.full(margins.shape, np.nan, np.float32)
    engine.predict(np.ascontiguousarray(rows), 0, len(rows), y)
    differ = y.view(np.uint32) != np.ascontiguousarray(margins).view(np.uint32)
    if differ.any():
        r, m = np.argwhere(differ)[0]
        raise ModelError(
            f"model {model_set.names[m]!r} gives {y[r, m]!s} where xgboost gives {margins[r, m]!s} "
            f"({int(differ.any(axis=0).sum())} of {model_set.n_models} models differ on {len(rows)} probe rows)."
        )


def probe_rows(forests: Sequence[Forest], seed: int = 0) -> Float32:
    """Rows that a wrong engine fails on: each cut with both float neighbours, missing values one by one and all, infinities,
    zeros of both signs, denormals, the largest floats, and random mixes of them all.

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
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 3.4e38, -3.4e38, 3.4028235e38, -3.4028235e38], np.float32)
    mixed = at[rng.integers(0, most, (2 * most + 256, n)), np.arange(n)]
    mixed = np.where(rng.random(mixed.shape) < 0.5, np.nextafter(mixed, np.where(rng.random(mixed.shape) < 0.5, low, high)), mixed)
    mixed = np.where(rng.random(mixed.shape) < rng.random((mixed.shape[0], 1)) * 0.4, rng.choice(special, mixed.shape), mixed)
    one_missing = np.repeat(at[:1], n, axis=0)
    np.fill_diagonal(one_missing, np.nan)
    rows = [at, np.nextafter(at, low), np.nextafter(at, high), one_missing, np.repeat(special[:, None], n, axis=1), mixed]
    return np.ascontiguousarray(np.concatenate(rows), np.float32)
