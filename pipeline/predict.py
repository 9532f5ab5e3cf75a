"""FEATURES -> PREDICTIONS: the engine that is configured, held to its certificate (design contract 12), and the stage around it.

An engine serves only if it gave the bits of xgboost on all probe rows when the set was compiled, if its files are still those, and if a
sample of the rows agrees again at load. Otherwise it is disabled with a warning and the next one serves, xgboost last."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from tickarrow.configs.models import ModelsConf
from tickarrow.jit import native, trees
from tickarrow.pipeline import compiler
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.predict_engines import Engine, Float32, PortableEngine, TreeliteEngine, XgboostEngine
from tickarrow.pipeline.stage import Snapshot

__all__ = ["Engine", "EngineWarning", "Predict", "compile_layout", "open_engine"]

ORDER = ("treelite_c", "portable", "xgboost")  # who serves after whom
LAYOUT = "portable.forest"
PROBES = "probes.npz"


class EngineWarning(UserWarning):
    """The engine that was asked for does not serve."""


class Predict:
    """FEATURES -> PREDICTIONS, the same rows."""

    def __init__(self, engine: Engine, table: Table) -> None:
        self.engine = engine
        self._out = table

    def step(self, features: Batch) -> Batch:
        """All models for all rows of the batch."""
        n = len(features)
        out = self._out
        if n == 0:
            return out.empty()
        lo = out.reserve(n)
        for name in ("seq", "ts", "symbol"):
            out.segment.columns[name][lo : lo + n] = features.view(name)
        self.engine.predict(features.x, features.lo, features.hi, out.y[lo : lo + n])
        return out.commit(n)

    def flush(self) -> Batch:
        return self._out.empty()

    def snapshot(self) -> Snapshot:
        return {}

    def restore(self, saved: Snapshot) -> None:
        """A prediction depends on its row alone."""


def open_engine(model_set: ModelSet, conf: ModelsConf) -> Engine:
    """The engine of the configuration, or with a warning the next one whose certificate holds."""
    if conf.engine not in ORDER:
        raise ConfigError(f"models.engine is {conf.engine!r}: expected one of {', '.join(sorted(ORDER))}.")
    if conf.sample_rows < 1:
        raise ConfigError(f"models.sample_rows is {conf.sample_rows}: expected 1 or more. Correct it in conf/models or on the command line.")
    for name, following in pairwise(ORDER[ORDER.index(conf.engine) :]):
        try:
            return _portable(model_set, conf) if name == "portable" else _treelite(model_set, conf)
        except (ModelError, OSError) as e:
            said = f"engine {name!r} is disabled for model set {model_set.name!r}, {following!r} serves: {e}"
            warnings.warn(said, EngineWarning, stacklevel=2)
    return XgboostEngine(model_set)


def compile_layout(model_set: ModelSet) -> Engine:
    """Write the layout of the portable engine, compare it with xgboost on all probe rows, and store the certificate."""
    layout, path = compiler.pack(model_set.forests, model_set.names), model_set.path / LAYOUT
    try:
        compiler.write_layout(layout, path)
    except OSError:  # a set in a read-only folder: whole check at each load
        engine = PortableEngine(layout)
        _compare(model_set, engine, *_make_probes(model_set))
        return engine
    return _certified(model_set, PortableEngine(compiler.read_layout(path)), path)


def _portable(model_set: ModelSet, conf: ModelsConf) -> Engine:
    path = model_set.path / LAYOUT
    certificate = model_set.manifest.get("certificates", {}).get("portable")
    if not path.is_file() or certificate is None:
        return compile_layout(model_set)
    _check_file(certificate, path)
    return _checked(model_set, PortableEngine(compiler.read_layout(path)), certificate, path, conf)


def _treelite(model_set: ModelSet, conf: ModelsConf) -> Engine:
    engine = TreeliteEngine(model_set, conf)
    certificate = model_set.manifest.get("certificates", {}).get("treelite_c")
    if certificate is None or certificate["file"] != engine.library_path.name:  # another compiler or version made another library
        return _certified(model_set, engine, engine.library_path)
    _check_file(certificate, engine.library_path)
    return _checked(model_set, engine, certificate, engine.library_path, conf)


def _check_file(certificate: dict[str, Any], path: Path) -> None:
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


def _checked(model_set: ModelSet, engine: Engine, certificate: dict[str, Any], path: Path, conf: ModelsConf) -> Engine:
    """The engine after the sample; after the whole check if its code, the models or xgboost have changed since."""
    probes = _stored_probes(model_set, certificate.get("probes", ""))
    if probes is None or any(certificate.get(k) != v for k, v in _circumstances(model_set).items()):
        return _certified(model_set, engine, path)
    rows, margins = probes
    pick = np.unique(np.linspace(0, len(rows) - 1, min(conf.sample_rows, len(rows))).astype(np.int64))
    _compare(model_set, engine, rows[pick], margins[pick])
    return engine


def _certified(model_set: ModelSet, engine: Engine, path: Path) -> Engine:
    """The engine after the whole check, whose outcome is stored."""
    rows, margins = _make_probes(model_set)
    _compare(model_set, engine, rows, margins)
    certificate = {"file": path.name, "digest": compiler.file_digest(path), "rows": len(rows), "models": model_set.n_models}
    probes = model_set.path / PROBES
    certificate["probes"] = compiler.file_digest(probes) if probes.is_file() else ""
    model_set.certify(engine.name, certificate | _circumstances(model_set))
    return engine


def _make_probes(model_set: ModelSet) -> tuple[Float32, Float32]:
    """Probe rows of a set and the margins of xgboost; kept in the set, so that the sample at load needs neither models nor xgboost."""
    rows = compiler.probe_rows(model_set.forests)
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
    with np.load(path) as stored:
        return stored["rows"], stored["margins"]


def _compare(model_set: ModelSet, engine: Engine, rows: Float32, margins: Float32) -> None:
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
