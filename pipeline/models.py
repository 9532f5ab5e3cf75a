"""Model sets: a folder with one model file per configuration and horizon, a manifest, and the layouts that engines map.

The digest of a set covers its models and what gives their outputs a meaning (columns, horizons, targets, units, links, IC), not where it lies
and not the certificates, which are added when an engine has been compared with the library of each model."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickarrow.jit._kernel import cache_home
from tickarrow.pipeline import library
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import LINKS, Forest
from tickarrow.pipeline.forest_file import file_digest

FORMAT = 2
MANIFEST = "manifest.json"
RESTORE = "Restore the folder or train it again."
DEFINING = ("format", "configurations", "horizons_ns", "columns", "feature_digest", "cut_grid", "models", "ic")


@dataclass(frozen=True)
class ModelEntry:
    """What a manifest says of one model."""

    file: str  # inside the set
    digest: str  # of the file
    library: str
    link: str  # from margin to forecast, one of forest.LINKS
    target: str  # what the forecast is of
    unit: str
    refuses: list[str]  # values for which the library has no forecast: of library.MISSING, library.INFINITE


@dataclass(frozen=True, eq=False)
class ModelSet:
    """A bank of models. Model index = configuration * number of horizons + horizon."""

    path: Path
    name: str
    digest: str
    configurations: list[str]
    horizons_ns: npt.NDArray[np.int64]
    columns: list[str]
    feature_digest: str
    ic: npt.NDArray[np.float64]  # [configuration, horizon], Pearson correlation of forecast and outcome on the untouched tail
    entries: list[ModelEntry]  # by index
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def n_models(self) -> int:
        return len(self.configurations) * self.horizons_ns.size

    @property
    def names(self) -> list[str]:
        """Names of the models by index, `configuration/hK`."""
        return [f"{c}/h{k}" for c in self.configurations for k in range(self.horizons_ns.size)]

    @property
    def targets(self) -> list[str]:
        """What each configuration forecasts."""
        return [e.target for e in self.entries[:: self.horizons_ns.size]]

    @property
    def units(self) -> list[str]:
        """Unit of the forecasts of each configuration."""
        return [e.unit for e in self.entries[:: self.horizons_ns.size]]

    @property
    def files(self) -> list[Path]:
        """Model files by index."""
        return [self.path / e.file for e in self.entries]

    @property
    def model_digests(self) -> list[str]:
        """Digest of each model file by index, as the manifest states it."""
        return [e.digest for e in self.entries]

    @functools.cached_property
    def models(self) -> list[library.LoadedModel]:
        """The models in their libraries, loaded on first use; one thread each."""
        return [library.load(path) for path in self.files]

    @functools.cached_property
    def forests(self) -> list[Forest]:
        """The models as plain arrays, read through treelite on first use."""
        return [m.forest(n) for m, n in zip(self.models, self.names)]

    def trained_on(self, source: Mapping[str, Any]) -> bool:
        """Whether this set saw the data of the source configuration (as plain data): never judge it there."""
        return bool(self.manifest.get("training", {}).get("source") == dict(source))

    def certify(self, engine: str, certificate: Mapping[str, Any]) -> None:
        """Store the outcome of an engine's full parity check; a set in a read-only folder stays without."""
        self.manifest.setdefault("certificates", {})[engine] = dict(certificate)
        try:
            stored = json.loads((self.path / MANIFEST).read_text())  # another process may have added its own
            stored.setdefault("certificates", {})[engine] = dict(certificate)
            _write_json(self.path / MANIFEST, stored)
        except OSError:
            return


def set_digest(manifest: Mapping[str, Any]) -> str:
    """BLAKE2b-128 of what defines a set: the digests of its model files and the meaning of their outputs."""
    defining = {k: manifest[k] for k in DEFINING}
    return hashlib.blake2b(json.dumps(defining, sort_keys=True).encode(), digest_size=16).hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)


def save_set(
    path: Path,
    models: Sequence[Any],
    *,
    configurations: Sequence[str],
    horizons_ns: npt.NDArray[np.int64],
    columns: Sequence[str],
    feature_digest: str,
    ic: npt.NDArray[np.float64],
    targets: Sequence[str] = ("forward mid return",),
    units: Sequence[str] = ("bp",),
    cut_grid: str = "",
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> ModelSet:
    """Write a set into the folder `path`, its manifest last, so that a set is there whole or not at all.

    Parameters
    ----------
    models : by model index, objects of xgboost, LightGBM or scikit-learn (library.wrap)
    ic : (configurations, horizons) out-of-sample information coefficient
    targets, units : of the forecasts of each configuration, or one for all
    cut_grid : digest of the cut grid that all models share; empty = none
    training : data and settings it was made from; never part of the set's digest
    metrics : by model name
    """
    places = [(c, k) for c in range(len(configurations)) for k in range(horizons_ns.size)]
    if len(models) != len(places):
        raise ValueError(f"{len(models)} models for {len(places)} places")
    (path / "models").mkdir(parents=True, exist_ok=True)
    entries = []
    for given, (c, k) in zip(models, places):
        model, name = library.wrap(given), f"{configurations[c]}/h{k}"
        if model.n_outputs != 1:
            raise ModelError(f"model {name!r} has {model.n_outputs} outputs: expected one forecast. Train one model per target.")
        if model.link_name not in LINKS:
            raise ModelError(f"model {name!r} has the link {model.link_name!r}: expected one of {', '.join(LINKS)}. Train it with another objective.")
        if model.n_features != len(columns):
            raise ModelError(f"model {name!r} has {model.n_features} features, the set {len(columns)} columns. Train it on the columns of the set.")
        file = model.save(path / "models" / f"{configurations[c]}_h{k}")
        target, unit = (of[c] if len(of) > 1 else of[0] for of in (targets, units))
        entries.append(ModelEntry(f"models/{file.name}", file_digest(file), model.library, model.link_name, target, unit, list(model.refuses)))
    manifest: dict[str, Any] = {
        "format": FORMAT, "name": path.name, "configurations": list(configurations), "horizons_ns": [int(h) for h in horizons_ns],
        "columns": list(columns), "feature_digest": feature_digest, "cut_grid": cut_grid, "models": [asdict(e) for e in entries],
        "ic": ic.tolist(), "training": dict(training or {}), "metrics": dict(metrics or {}),
        "versions": {name: library.installed(name) for name in dict.fromkeys(e.library for e in entries)}, "certificates": {},
    }  # fmt: skip
    manifest["digest"] = set_digest(manifest)
    _write_json(path / MANIFEST, manifest)
    return read_set(path)


def read_set(path: Path) -> ModelSet:
    """The set in a folder, by its manifest; its model files are not looked at."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            raise ModelError(f"model set {path.name!r} has format {manifest['format']}, this version reads {FORMAT}. Train it again.")
        found = ModelSet(
            path=path, name=path.name, digest=manifest["digest"], configurations=manifest["configurations"],
            horizons_ns=np.array(manifest["horizons_ns"], np.int64), columns=manifest["columns"], feature_digest=manifest["feature_digest"],
            ic=np.array(manifest["ic"], np.float64), entries=[ModelEntry(**e) for e in manifest["models"]], manifest=manifest,
        )  # fmt: skip
        digest = set_digest(manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        what = f"{type(e).__name__}: {e}"
        raise ModelError(f"model set {path.name!r}: {path / MANIFEST} cannot be read ({what}). {RESTORE}") from None
    if digest != found.digest:
        raise ModelError(f"model set {path.name!r} is damaged: its manifest is not the one that was saved. {RESTORE}")
    return found


def resolve(name_or_path: str, home: Path | None = None, *, paths: bool = True) -> Path:
    """Folder of a model set: a path (where `paths` are allowed), or a name in `home`, by default models/ of the cache folder."""
    home = home or cache_home() / "models"
    for path in (*([Path(name_or_path)] if paths else []), home / name_or_path):
        if (path / MANIFEST).is_file():
            return path.resolve()
    there = sorted(p.parent.name for p in home.glob(f"*/{MANIFEST}"))
    known = ", ".join(there) if there else "none"
    raise ModelError(
        f"model set {name_or_path!r} is neither a folder with a {MANIFEST} nor a set in {home} (there: {known}). "
        "Name one of these (model_set=NAME) or train it (tickarrow train)."
    )


def load_set(name_or_path: str, columns: Sequence[str], feature_digest: str) -> ModelSet:
    """A model set that fits the running features and whose files are those that were saved.

    Parameters
    ----------
    name_or_path : name of a set under the cache folder, or path of its folder
    columns, feature_digest : of the running features
    """
    found = read_set(resolve(name_or_path))
    check_files(found)
    _check_features(found, columns, feature_digest)
    return found


def check_files(found: ModelSet) -> None:
    """ModelError names the first model file that is missing or not the one that was saved."""
    for entry in found.entries:
        path = found.path / entry.file
        if not path.is_file():
            raise ModelError(f"model set {found.name!r} is damaged: {entry.file} is missing. {RESTORE}")
        if file_digest(path) != entry.digest:
            raise ModelError(f"model set {found.name!r} is damaged: {entry.file} is not the file that was saved. {RESTORE}")


def _check_features(found: ModelSet, columns: Sequence[str], feature_digest: str) -> None:
    if found.feature_digest == feature_digest and found.columns == list(columns):
        return
    advice = "Choose the feature set it was trained with (features=NAME) or train it again (tickarrow train)."
    start = f"model set {found.name!r} was trained on other features: "
    for i, (there, here) in enumerate(zip(found.columns, columns)):
        if there != here:
            raise ModelError(f"{start}column {i} is {there!r} in its manifest and {here!r} here. {advice}")
    if len(found.columns) != len(columns):
        raise ModelError(f"{start}its manifest has {len(found.columns)} columns, here are {len(columns)}. {advice}")
    raise ModelError(f"{start}the columns have the same names, but their parameters or versions differ (feature digest). {advice}")
