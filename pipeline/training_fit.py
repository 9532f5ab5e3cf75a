"""Models of two libraries from the same rows, on one cut grid.

`Bins` are the rows of one training: the grid is that of xgboost's quantiles, and LightGBM is told to cut where xgboost does, so a
bank of both shares its thresholds (LightGBM adds a bin around zero)."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost

from tickarrow.configs.training import ConfigurationConf, TrainingConf
from tickarrow.pipeline.library import LoadedModel, needed
from tickarrow.pipeline.training_external import BLOCK, Days, Matrix, Stored, blocks

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PREFIX = {"xgboost": "xgb", "lightgbm": "lgb"}
LIGHTGBM_OBJECTIVES = {"squarederror": "regression", "pseudohubererror": "huber", "absoluteerror": "regression_l1"}


@dataclass(frozen=True)
class Target:
    """What a model is to learn: labels and weights of the rows to learn from, and of those that tell when to stop."""

    y: Float32
    weight: Float64 | None
    stop_y: Float32
    stop_weight: Float64 | None


@dataclass(frozen=True)
class Trained:
    """One model."""

    model: Any  # of its library
    trees: int  # that a forecast uses
    importance: Float64  # (n_features,) share of the gain of all splits


def parameters(configuration: ConfigurationConf, conf: TrainingConf) -> dict[str, Any]:
    """One configuration in xgboost's words."""
    c = configuration
    huber = {"huber_slope": c.huber_slope} if c.objective == "pseudohubererror" else {}
    return huber | {
        "tree_method": "hist", "max_bin": conf.max_bin, "nthread": conf.nthread, "objective": f"reg:{c.objective}", "max_depth": c.depth,
        "eta": c.eta, "subsample": c.subsample, "colsample_bytree": c.colsample, "min_child_weight": c.min_child_weight,
        "lambda": c.reg_lambda, "seed": c.seed, "verbosity": 0,
    }  # fmt: skip


def lightgbm_parameters(configuration: ConfigurationConf, conf: TrainingConf) -> dict[str, Any]:
    """One configuration in LightGBM's words; the sum of Hessians of a leaf counts rows for all its objectives here."""
    c = configuration
    return lightgbm_data(conf) | {
        "objective": LIGHTGBM_OBJECTIVES[c.objective], "alpha": c.huber_slope, "num_leaves": c.leaves, "max_depth": c.depth,
        "learning_rate": c.eta, "bagging_fraction": c.subsample, "bagging_freq": int(c.subsample < 1.0), "feature_fraction": c.colsample,
        "min_data_in_leaf": round(c.min_child_weight), "min_sum_hessian_in_leaf": 0.0, "lambda_l2": c.reg_lambda, "seed": c.seed,
        "deterministic": True, "force_row_wise": True,
    }  # fmt: skip


def lightgbm_data(conf: TrainingConf) -> dict[str, Any]:
    """Parameters that bind binned rows: the same for every model of them. Room for the cuts of xgboost and the bins around zero."""
    return {
        "max_bin": conf.max_bin + 4, "min_data_in_bin": 1, "feature_pre_filter": False, "use_missing": True, "zero_as_missing": False,
        "num_threads": conf.nthread, "verbosity": -1, "bin_construct_sample_cnt": 200_000,
    }  # fmt: skip


def forecast(trained: Trained, x: Matrix, rows: Ints | slice) -> Float32:
    """Margins of rows, float32."""
    every = np.arange(len(x), dtype=np.int64)[rows]
    if isinstance(trained.model, xgboost.Booster):
        parts = (
            trained.model.inplace_predict(x[part], iteration_range=(0, trained.trees), predict_type="margin", validate_features=False)
            for part in blocks(every)
        )
    else:
        parts = (trained.model.predict(x[part], num_iteration=trained.trees, raw_score=True, num_threads=1) for part in blocks(every))
    return np.concatenate([np.zeros(0, np.float32), *parts]).astype(np.float32)


def margins(model: LoadedModel, x: Matrix, rows: Ints) -> Float32:
    """Margins of rows of a final model, float32."""
    return np.concatenate([np.zeros(0, np.float32), *(model.margins(x[part[0] : part[-1] + 1]) for part in blocks(rows))])


class Bins:
    """Rows of one training in bins: to learn from and to tell when to stop; of all columns, and of the families of each configuration.

    Parameters
    ----------
    x : rows of all; `learn` and `stop` are those of this training
    ts : (n,) int64 ns, of all rows: stored rows are read day by day
    families : of the columns
    """

    def __init__(self, conf: TrainingConf, x: Matrix, ts: Ints, learn: Ints | slice, stop: Ints | slice, families: Sequence[str]) -> None:
        self.conf, self.x, self.ts, self.families = conf, x, ts, families
        self.parts = learn, stop
        self._pages = tempfile.TemporaryDirectory(prefix="tickarrow-bins-") if isinstance(x, Stored) else None
        self._made: dict[tuple[int, tuple[str, ...]], xgboost.QuantileDMatrix] = {}
        self._sets: dict[tuple[int, tuple[str, ...]], Any] = {}
        self.grid = self._matrix(0, ())

    def __enter__(self) -> Bins:
        return self

    def __exit__(self, *exception: object) -> None:
        self._made.clear()
        self._sets.clear()
        del self.grid  # its pages are files of the folder
        if self._pages is not None:
            self._pages.cleanup()

    def key(self, configuration: ConfigurationConf) -> tuple[str, ...]:
        """Families of a configuration; () = all columns."""
        key = tuple(sorted(set(configuration.families)))
        return () if set(key) == set(self.families) else key

    def masked(self, key: tuple[str, ...]) -> npt.NDArray[np.bool_] | None:
        return np.array([f not in key for f in self.families]) if key else None

    def values(self, part: int, key: tuple[str, ...]) -> Float32:
        """Rows in memory; columns outside the families are missing throughout."""
        x, masked = self.x[self.parts[part]], self.masked(key)
        if masked is not None:
            x = x.copy()
            x[:, masked] = np.nan
        return x

    def _matrix(self, part: int, key: tuple[str, ...]) -> xgboost.QuantileDMatrix:
        """Rows on the common grid, which is that of the rows to learn from."""
        made = self._made.get((part, key))
        if made is None:
            ref = self._matrix(0, key if part else ()) if part or key else None  # xgboost wants what it watches on that of what it trains
            how = {"max_bin": self.conf.max_bin, "nthread": self.conf.nthread, "ref": ref}
            if self._pages is None:
                made = xgboost.QuantileDMatrix(self.values(part, key), **how)
            else:
                rows = np.arange(len(self.x), dtype=np.int64)[self.parts[part]]
                pages = str(Path(self._pages.name) / f"{part}-{len(self._made)}")
                made = xgboost.ExtMemQuantileDMatrix(Days(self.x, rows, self.ts, self.masked(key), pages), **how)  # type: ignore[arg-type]
            self._made[part, key] = made
        return made

    def cuts(self) -> tuple[Ints, Float32]:
        """The grid: first cut of each column, cuts."""
        first, cuts = self.grid.get_quantile_cut()
        return first, cuts

    def grid_digest(self) -> str:
        first, cuts = self.cuts()
        return hashlib.blake2b(np.ascontiguousarray(first).tobytes() + np.ascontiguousarray(cuts).tobytes(), digest_size=16).hexdigest()

    def train(self, configuration: ConfigurationConf, target: Target, trees: int) -> Trained:
        """One model; with rows that tell when to stop, the trees up to the best loss there count."""
        return (self._xgboost if configuration.library == "xgboost" else self._lightgbm)(configuration, target, trees)

    def _xgboost(self, configuration: ConfigurationConf, target: Target, trees: int) -> Trained:
        key = self.key(configuration)
        matrix = self._matrix(0, key)
        matrix.set_info(label=target.y, weight=target.weight)
        early: dict[str, Any] = {}
        if target.stop_y.size:
            watch = self._matrix(1, key)
            watch.set_info(label=target.stop_y, weight=target.stop_weight)
            early = {"evals": [(watch, "stop")], "early_stopping_rounds": self.conf.patience, "verbose_eval": False}
        booster = xgboost.train(parameters(configuration, self.conf), matrix, trees, **early)
        used = booster.best_iteration + 1 if early else trees
        gain = np.zeros(len(self.families))
        for name, value in booster[:used].get_score(importance_type="total_gain").items():
            gain[int(name[1:])] = value
        return Trained(booster, used, shares(gain))

    def _lightgbm(self, configuration: ConfigurationConf, target: Target, trees: int) -> Trained:
        lightgbm, key = needed("lightgbm"), self.key(configuration)
        data = self._dataset(lightgbm, 0, key)
        data.set_label(target.y)
        data.set_weight(target.weight)
        early: dict[str, Any] = {}
        if target.stop_y.size:
            watch = self._dataset(lightgbm, 1, key)
            watch.set_label(target.stop_y)
            watch.set_weight(target.stop_weight)
            early = {"valid_sets": [watch], "callbacks": [lightgbm.early_stopping(self.conf.patience, verbose=False)]}
        booster = lightgbm.train(lightgbm_parameters(configuration, self.conf), data, trees, **early)
        used = booster.best_iteration if early else booster.num_trees()
        return Trained(booster, used, shares(np.asarray(booster.feature_importance("gain", iteration=used), np.float64)))

    def _dataset(self, lightgbm: Any, part: int, key: tuple[str, ...]) -> Any:
        made = self._sets.get((part, key))
        if made is None:
            data, how = self._lightgbm_rows(lightgbm, part, key), lightgbm_data(self.conf)
            if part or key:
                made = lightgbm.Dataset(data, reference=self._dataset(lightgbm, 0, ()), params=how, free_raw_data=True).construct()
            else:
                with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                    json.dump(list(forced_bins(*self.cuts())), file)
                    file.flush()
                    made = lightgbm.Dataset(data, params=how | {"forcedbins_filename": file.name}, free_raw_data=True).construct()
                    made.params.pop("forcedbins_filename")  # it would be written into each model
            self._sets[part, key] = made
        return made

    def _lightgbm_rows(self, lightgbm: Any, part: int, key: tuple[str, ...]) -> Any:
        """Rows in memory, or a sequence that LightGBM reads in blocks."""
        if self._pages is None:
            return self.values(part, key).copy()  # it warns of a view
        x, masked = self.x, self.masked(key)
        rows = np.arange(len(x), dtype=np.int64)[self.parts[part]]

        class Lines(lightgbm.Sequence):  # type: ignore[misc]
            batch_size = BLOCK

            def __len__(self) -> int:
                return int(rows.size)

            def __getitem__(self, which: Any) -> Float64:
                values = x[np.atleast_1d(rows[which])].astype(np.float64)
                if masked is not None:
                    values[:, masked] = np.nan
                return values[0] if np.ndim(rows[which]) == 0 else values

        return Lines()


def forced_bins(first: Ints, cuts: Float32) -> Iterator[dict[str, Any]]:
    """xgboost's cuts as upper bounds of LightGBM's bins: `value >= cut` is `not value <= the float32 just below it`. The last cut of a
    column lies above all its values."""
    below = np.nextafter(cuts, np.float32(-np.inf), dtype=np.float32).astype(np.float64)
    for k in range(first.size - 1):
        yield {"feature": k, "bin_upper_bound": below[int(first[k]) : int(first[k + 1]) - 1].tolist()}


def shares(gain: Float64) -> Float64:
    total = gain.sum()
    return gain / total if total > 0.0 else gain
