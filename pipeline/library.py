"""Models in the library that trained them: loading, saving, margins, links. The library is the oracle of every engine and the last to serve.

Margins are float32: those of a library that adds in float64 are rounded once, at the end. One thread each. LightGBM and scikit-learn are
imported where they are needed and nowhere else: a set of their models predicts on our engines without them."""

from __future__ import annotations

import functools
import importlib
import json
from abc import ABC, abstractmethod
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xgboost

from tickarrow.pipeline import forest_read
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Float32, Forest

EXTRAS = {"lightgbm": "lightgbm", "sklearn": "sklearn", "joblib": "sklearn"}  # module -> extra of this package that brings it
MISSING, INFINITE = "missing", "infinite"  # values that a library may refuse

XGBOOST_LINKS = {
    "binary:logistic": "logistic", "reg:logistic": "logistic", "count:poisson": "exponential", "reg:gamma": "exponential",
    "reg:tweedie": "exponential", "survival:cox": "exponential", "survival:aft": "exponential", "binary:hinge": "hinge",
}  # fmt: skip
LIGHTGBM_LINKS = {
    "binary": "logistic", "cross_entropy": "logistic", "poisson": "exponential", "gamma": "exponential", "tweedie": "exponential",
    "cross_entropy_lambda": "log(1 + exp)",
}  # fmt: skip
SKLEARN_LINKS = {"IdentityLink": "identity", "LogitLink": "logistic", "LogLink": "exponential"}


def needed(module: str) -> Any:
    """An optional library; ModelError says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        extra = EXTRAS[module.partition(".")[0]]
        raise ModelError(f"{module.partition('.')[0]} is not installed and a model of this set needs it here. Install tickarrow[{extra}].") from None


class LoadedModel(ABC):
    """One model in its library."""

    library: ClassVar[str]
    refuses: tuple[str, ...] = ()  # values for which the library gives an error: MISSING, INFINITE

    @property
    @abstractmethod
    def n_features(self) -> int: ...

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Margins of a row; a set takes models of one."""

    @property
    @abstractmethod
    def link_name(self) -> str:
        """From margin to forecast: one of `forest.LINKS`, or what else the library does."""

    @abstractmethod
    def margins(self, x: Float32) -> Float32:
        """Margins (n,) of rows `x` (n, n_features), NaN = missing; of rows with a value that the library refuses, NaN."""

    @abstractmethod
    def link(self, margins: Float32) -> Float32:
        """Forecasts (n,) of margins (n,), as the library has them."""

    @abstractmethod
    def forest(self, name: str) -> Forest:
        """The model as plain arrays; ModelError names `name` and what the engines cannot do."""

    @abstractmethod
    def save(self, stem: Path) -> Path:
        """Write the model to `stem` plus the library's suffix."""

    def accepts(self, x: Float32) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(n,) bool, rows without a value that the library refuses."""
        good = np.ones(len(x), bool)
        if MISSING in self.refuses:
            good &= ~np.isnan(x).any(axis=1)
        if INFINITE in self.refuses:
            good &= ~np.isinf(x).any(axis=1)
        return good


class XgboostModel(LoadedModel):
    library = "xgboost"

    def __init__(self, booster: xgboost.Booster) -> None:
        booster.set_param({"nthread": 1})
        self.booster = booster
        kind = self._learner["gradient_booster"]["name"]
        if kind not in ("gbtree", "dart"):
            raise ModelError(f"an xgboost model is a {kind!r} booster: expected trees ('gbtree' or 'dart'). Train it as such.")

    @functools.cached_property
    def _learner(self) -> dict[str, Any]:
        learner: dict[str, Any] = json.loads(self.booster.save_config())["learner"]
        return learner

    @property
    def n_features(self) -> int:
        return int(self.booster.num_features())

    @property
    def n_outputs(self) -> int:
        shape = self._learner["learner_model_param"]
        return max(1, int(shape["num_class"])) * int(shape["num_target"])

    @property
    def link_name(self) -> str:
        return XGBOOST_LINKS.get(self._learner["objective"]["name"], "identity")

    def margins(self, x: Float32) -> Float32:
        out: Float32 = self.booster.inplace_predict(x, predict_type="margin", validate_features=False)
        return out

    def link(self, margins: Float32) -> Float32:
        rows = xgboost.DMatrix(np.zeros((len(margins), self.n_features), np.float32), base_margin=margins, nthread=1)
        out: Float32 = self._silent.predict(rows, validate_features=False)
        return out

    @functools.cached_property
    def _silent(self) -> xgboost.Booster:
        """The model with one tree that adds nothing: its margin is the base score or what it is given, with the bits of the library.
        A model without any tree would give the base score before the link."""
        raw = json.loads(self.booster[0:1].save_raw("json"))
        for tree in raw["learner"]["gradient_booster"]["model"]["trees"]:
            leaf = [child < 0 for child in tree["left_children"]]
            tree["split_conditions"] = [-0.0 if here else cut for here, cut in zip(leaf, tree["split_conditions"])]
            tree["base_weights"] = [-0.0] * len(leaf)
        silent = xgboost.Booster({"nthread": 1})
        silent.load_model(bytearray(json.dumps(raw).encode()))
        silent.set_param({"nthread": 1})
        return silent

    def base(self) -> np.float32:
        """Margin before the first tree."""
        model = self._silent if self.booster.num_boosted_rounds() else self.booster
        return np.float32(model.inplace_predict(np.zeros((1, self.n_features), np.float32), predict_type="margin", validate_features=False)[0])

    def forest(self, name: str) -> Forest:
        if self._learner["gradient_booster"]["name"] == "dart":
            raise ModelError(f"model {name!r} is a 'dart' booster: its trees have weights. Only the library itself runs it (models=xgboost).")
        return forest_read.from_xgboost(self.booster, name, self.base, self.link_name)

    def save(self, stem: Path) -> Path:
        path = stem.with_name(f"{stem.name}.ubj")
        self.booster.save_model(path)
        return path


class LightgbmModel(LoadedModel):
    """The text of the model is enough for its forest; LightGBM itself is loaded for margins."""

    library = "lightgbm"

    def __init__(self, text: str) -> None:
        self.text = text
        head = text.split("\nTree=", 1)[0].splitlines()
        self._head = {k: v for k, _, v in (line.partition("=") for line in head)}
        if "max_feature_idx" not in self._head:
            raise ModelError("the text is no LightGBM model: it has no line max_feature_idx. Save the model again (Booster.save_model).")

    @functools.cached_property
    def booster(self) -> Any:
        return needed("lightgbm").Booster(model_str=self.text)

    @property
    def n_features(self) -> int:
        return int(self._head["max_feature_idx"]) + 1

    @property
    def n_outputs(self) -> int:
        return int(self._head["num_tree_per_iteration"])

    @property
    def averaged(self) -> bool:
        """Boosting `rf`: the library divides the sum for a forecast, but not for a raw score."""
        return "average_output" in self._head

    @property
    def link_name(self) -> str:
        name, *options = self._head.get("objective", "none").split()
        if "sqrt" in options:
            return "signed square"
        slope = [o for o in options if o.startswith("sigmoid:") and o != "sigmoid:1"]
        return slope[0] if slope and name == "binary" else LIGHTGBM_LINKS.get(name, "identity")

    def margins(self, x: Float32) -> Float32:
        total = self.booster.predict(x, raw_score=True, num_iteration=-1, num_threads=1)
        if self.averaged:
            total /= self.booster.current_iteration()
        return np.asarray(total).astype(np.float32)

    def link(self, margins: Float32) -> Float32:
        return _link(self.link_name, margins)

    def forest(self, name: str) -> Forest:
        return forest_read.from_lightgbm(self.text, name, self.link_name)

    def save(self, stem: Path) -> Path:
        path = stem.with_name(f"{stem.name}.txt")
        path.write_text(self.text)
        return path


class SklearnModel(LoadedModel):
    library = "scikit-learn"

    def __init__(self, model: Any) -> None:
        self.model = model
        self.kind = type(model).__name__
        if self.kind not in forest_read.SKLEARN:
            raise ModelError(f"{self.kind} of scikit-learn is not supported: expected one of {', '.join(forest_read.SKLEARN)}.")
        if self.kind.startswith("Random") or self.kind.startswith("Extra"):
            model.set_params(n_jobs=1)
        row = np.zeros((1, self.n_features), np.float32)
        self.refuses = tuple(name for name, value in ((MISSING, np.nan), (INFINITE, np.inf)) if not self._takes(row + np.float32(value)))

    def _takes(self, x: Float32) -> bool:
        try:
            self._margins(x)
        except ValueError:
            return False
        return True

    @property
    def n_features(self) -> int:
        return int(self.model.n_features_in_)

    @property
    def n_outputs(self) -> int:
        classes = len(getattr(self.model, "classes_", ()))
        return classes if classes > 2 else int(getattr(self.model, "n_outputs_", 1))

    @property
    def link_name(self) -> str:
        loss = getattr(self.model, "_loss", None)
        return SKLEARN_LINKS.get(type(loss.link).__name__, type(loss.link).__name__) if loss is not None else "identity"

    def _margins(self, x: Float32) -> Any:
        with np.errstate(invalid="ignore"):  # its test for missing values adds all values: +inf - inf
            if self.kind.startswith("Hist"):
                return self.model._raw_predict(x, n_threads=1)[:, 0]
            return self.model.decision_function(x) if self.kind.endswith("Classifier") else self.model.predict(x)

    def margins(self, x: Float32) -> Float32:
        good = self.accepts(x)
        out = np.full(len(x), np.nan, np.float32)
        if good.any():
            out[good] = self._margins(x if good.all() else np.ascontiguousarray(x[good]))
        return out

    def link(self, margins: Float32) -> Float32:
        return _link(self.link_name, margins)

    def forest(self, name: str) -> Forest:
        return forest_read.from_sklearn(self.model, name, self.link_name)

    def save(self, stem: Path) -> Path:
        path = stem.with_name(f"{stem.name}.joblib")
        needed("joblib").dump(self.model, path)
        return path


def _link(name: str, margins: Float32) -> Float32:
    """The formula of LightGBM and scikit-learn, in their width, rounded once."""
    m = margins.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        out = m if name == "identity" else np.exp(m) if name == "exponential" else 1.0 / (1.0 + np.exp(-m))
        return out.astype(np.float32)


@functools.cache
def installed(name: str) -> str | None:
    """Version of a library; None = it is not installed."""
    try:
        found: str = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    return found


def load(path: Path) -> LoadedModel:
    """The model of a file: .ubj and .json xgboost, .txt LightGBM, .joblib scikit-learn. A .joblib file is a pickle: it can run any code."""
    try:
        if path.suffix in (".ubj", ".json"):
            booster = xgboost.Booster({"nthread": 1})
            booster.load_model(path)
            return XgboostModel(booster)
        if path.suffix == ".txt":
            return LightgbmModel(path.read_text())
        if path.suffix == ".joblib":
            needed("sklearn")
            return SklearnModel(needed("joblib").load(path))
    except (xgboost.core.XGBoostError, UnicodeDecodeError, EOFError, KeyError) as e:
        said = str(e).strip().splitlines() or [type(e).__name__]
        raise ModelError(f"{path} cannot be read as a model: {said[0]}. Save it again.") from None
    raise ModelError(f"{path} is no model file: expected .ubj or .json (xgboost), .txt (LightGBM) or .joblib (scikit-learn).")


def wrap(model: Any) -> LoadedModel:
    """A model object of one of the libraries; one that stopped early is taken at its best iteration where the library predicts with it."""
    if isinstance(model, LoadedModel):
        return model
    module = type(model).__module__.partition(".")[0]
    if module == "xgboost":
        if isinstance(model, xgboost.Booster):
            return XgboostModel(model)
        booster = model.get_booster()
        stopped = getattr(model, "early_stopping_rounds", None) is not None
        return XgboostModel(booster[: model.best_iteration + 1] if stopped else booster)
    if module == "lightgbm":
        return LightgbmModel(getattr(model, "booster_", model).model_to_string())
    if module == "sklearn":
        return SklearnModel(model)
    raise ModelError(f"a model of type {module}.{type(model).__name__} is not supported: expected one of xgboost, lightgbm or scikit-learn.")
