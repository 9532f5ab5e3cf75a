"""PREDICTIONS -> forecasts -> DECISIONS, in two parts: `Ensemble` depends on market data only and may run blocks ahead; `Act` knows
positions, budgets and orders and is sequential across symbols. Between them is an internal table of forecasts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tickarrow.configs.ensemble import EnsembleConf
from tickarrow.jit import eight, ensemble, ensemble_state
from tickarrow.pipeline.batch import Batch, Table
from tickarrow.pipeline.block import Block
from tickarrow.pipeline.decide_act import FORECAST_COLUMNS, TICK_COLUMNS, Act, Control
from tickarrow.pipeline.decide_profit import Profit, pnl
from tickarrow.pipeline.errors import ConfigError, ModelError
from tickarrow.pipeline.forest_rank import aligned
from tickarrow.pipeline.schemas import SEQ, SYMBOL, TS
from tickarrow.pipeline.stage import Snapshot, copied

__all__ = ["Act", "Control", "Ensemble", "Profit", "forecasts_schema", "pnl"]


def forecasts_schema(n_horizons: int) -> pa.Schema:
    """The internal table between `Ensemble` and `Act`, one row per row of PREDICTIONS."""
    wide = pa.list_(pa.field("item", pa.float64(), nullable=False), n_horizons)
    fixed = [pa.field(name, kind, nullable=False, metadata={"unit": unit}) for name, kind, unit in (SEQ, TS, SYMBOL)]
    units = {"alpha": "bp, expected mid return", "sigma": "bp, root mean square outcome", "ic": "correlation of the score with the outcome"}
    lists = [pa.field(name, wide, nullable=False, metadata={"unit": unit}) for name, unit in units.items()]
    return pa.schema([*fixed, *lists], metadata={"table": "forecasts"})


class Ensemble:
    """PREDICTIONS and the ticks they come from -> forecasts.

    Parameters
    ----------
    conf : memory, prior, outcome tracking
    n_symbols : rows of the universe
    horizons_ns : (n_horizons,) int64
    ic_prior : (n_configurations, n_horizons) validation IC of the model set; NaN = none
    table : forecasts, schema `forecasts_schema(n_horizons)`
    """

    def __init__(
        self, conf: EnsembleConf, n_symbols: int, horizons_ns: npt.NDArray[np.int64], ic_prior: npt.NDArray[np.float64], table: Table
    ) -> None:
        _check(conf)
        self.horizons_ns = np.ascontiguousarray(horizons_ns, np.int64)
        n_horizons = self.horizons_ns.size
        prior = np.asarray(ic_prior, np.float64)
        if prior.ndim != 2 or prior.shape[1] != n_horizons:
            raise ModelError(
                f"the model set gives validation ICs of shape {prior.shape} for {n_horizons} horizons: "
                "expected one row per configuration and one column per horizon. Train or compile the set again."
            )
        n_configurations = prior.shape[0]
        if n_horizons > eight.LANES or n_configurations > MOST_CONFIGURATIONS:
            raise ModelError(
                f"the model set has {n_configurations} configurations and {n_horizons} horizons: the ensemble takes at most "
                f"{MOST_CONFIGURATIONS} and {eight.LANES}. Train or compile a smaller set."
            )
        self.prior = np.repeat(_by_eight(prior.T)[None], n_symbols, axis=0)
        # Entries younger than the horizon wait, at most one each settle_every_ns, and the one that is entered now.
        places = [int(min(conf.max_pending, h // conf.settle_every_ns + 2)) for h in self.horizons_ns]
        self.start = np.concatenate([[0], np.cumsum(places)]).astype(np.int64)
        n_groups = 1 if conf.pooled else n_symbols
        self.symbols = np.zeros(n_symbols, ensemble_state.ENSEMBLE_STATE)
        self.symbols["mid"] = np.nan
        self.symbols["moments_ts"] = self.symbols["refreshed"] = ensemble_state.NEVER
        self.symbols["next_due"] = ensemble_state.FOREVER
        self.symbols["group"] = 0 if conf.pooled else np.arange(n_symbols)
        self.groups = np.zeros(n_groups, ensemble_state.GROUP_STATE)
        self.groups["observed"] = self.groups["audited"] = ensemble_state.NEVER
        self.windows = np.full((n_groups, conf.window_rows, n_configurations + 1, eight.LANES), np.nan)
        self.horizons = np.zeros((n_symbols, n_horizons), ensemble_state.HORIZON_STATE)
        self.horizons["entered"] = self.horizons["settled"] = ensemble_state.NEVER
        self.horizons["sigma"] = np.nan
        self.settled = np.full((n_groups, n_horizons), ensemble_state.NEVER)
        blocks = ensemble_state.eights(n_configurations)
        n_models = n_configurations * n_horizons
        self.moments = np.zeros((n_symbols, ensemble_state.MOMENTS * ensemble_state.eights(n_models), eight.LANES))
        self.tracks = np.zeros((n_groups, n_horizons, ensemble_state.TRACKS * blocks, eight.LANES))
        self.pending = np.zeros((n_symbols, int(self.start[-1])), ensemble_state.PENDING)
        self.pending_z = np.full((n_symbols, int(self.start[-1]), blocks, eight.LANES), np.nan)
        self._solve_for(n_configurations)
        self.params = np.zeros(1, ensemble_state.ENSEMBLE_PARAMS)
        self.params[0] = (
            conf.moments_tau_s * 1e9, conf.ic_tau_s * 1e9, conf.correlation_tau_s * 1e9, conf.min_rows, conf.min_outcomes,
            conf.prior_s * 1e9, conf.clip, conf.equal_share, conf.settle_every_ns, conf.refresh_ns, conf.audit_ns,
            ensemble_state.SHRINKAGES.index(conf.shrinkage), conf.positive, conf.pooled,
        )  # fmt: skip
        self._out, self.kernel, self._block = table, ensemble.ensemble_update, Block(ensemble_state.PLACES)
        self._bind()

    def _bind(self) -> None:
        """The arrays in the control block, where some have changed their place."""
        for place, array in enumerate((
            self.symbols, self.groups, self.horizons, self.moments, self.settled, self.tracks, self.factors, self.weights, self.windows, self.pending,
            self.pending_z, self.prior, self.start, self.horizons_ns, self.params, self.z, self._z_rows, self.work, self.sample,
        )):  # fmt: skip
            self._block.put(place, array)

    def step(self, predictions: Batch, ticks: Batch) -> Batch:
        """Forecasts of the predictions, row for row; the ticks settle outcomes that have matured."""
        out, block, n = self._out, self._block, predictions.hi - predictions.lo
        to = out.reserve(n)
        block.bind(ensemble_state.AT_TICKS, ticks.segment, TICK_COLUMNS)
        block.bind(ensemble_state.AT_PREDICTIONS, predictions.segment, PREDICTION_COLUMNS)
        block.bind(ensemble_state.AT_FORECASTS, out.segment, FORECAST_COLUMNS)
        self.kernel(block.address, ticks.lo, ticks.hi, predictions.lo, predictions.hi, to)
        return out.commit(n)

    def adopt(self, ic_prior: npt.NDArray[np.float64], kept: npt.NDArray[np.int64], symbol: int = -1) -> None:
        """Another model set predicts from the next step on, for a symbol or (-1) for all.

        Parameters
        ----------
        ic_prior : (n_configurations, n_horizons) validation IC of that set
        kept : (n_configurations,) row of each of its configurations until now, whose means, variances, correlations and tracked ICs go on; -1 = a new
            one, which begins with the set's IC alone. For one symbol: all of them, in their places.
        """
        rows = slice(None) if symbol < 0 else slice(symbol, symbol + 1)
        if not np.array_equal(kept, np.arange(self.configurations)):
            self._rearrange(kept)
        self.prior[rows] = _by_eight(np.asarray(ic_prior, np.float64).T)
        self.symbols["refreshed"][rows] = ensemble_state.NEVER  # the weights are those of the new set from the first row on

    def _solve_for(self, n: int) -> None:
        """Fresh arrays of everything that belongs to the solution for n configurations: correlation, eigenvectors, weights."""
        self.factors = aligned((len(self.groups), ensemble_state.factor_rows(n), eight.LANES), float)
        self.weights = aligned((len(self.symbols), 2 * n, eight.LANES), float)
        self._z_rows = aligned((ensemble_state.eights(n * self.horizons_ns.size), eight.LANES), float)
        self.z = self._z_rows.reshape(-1)  # standardised predictions of the last row, configuration by configuration, and what fills the last eight up
        rows = self.windows.shape[1]
        self.work, self.sample = aligned((ensemble_state.work_rows(n, rows), eight.LANES), float), np.zeros((rows + n, n))
        self.work[:n] = np.nan
        self.groups["audited"] = ensemble_state.NEVER  # no eigenvectors to go on from

    def _rearrange(self, kept: npt.NDArray[np.int64]) -> None:
        """Places for other configurations; state of those that stay moves along."""
        n_horizons, old, n = self.horizons_ns.size, self.configurations, kept.size
        self.prior = np.repeat(_by_eight(np.full((n_horizons, n), np.nan))[None], len(self.symbols), axis=0)
        models = (kept[:, None] * n_horizons + np.arange(n_horizons)).ravel()  # negative where the configuration is new
        self.moments = _moved(self.moments, ensemble_state.MOMENTS, models, 0.0)
        self.tracks = _moved(self.tracks, ensemble_state.TRACKS, kept, 0.0)
        self.pending_z = _moved(self.pending_z, 1, kept, np.nan)
        windows = np.concatenate([self.windows[:, :, kept], self.windows[:, :, -1:]], axis=2)
        windows[:, :, np.flatnonzero(kept < 0)] = np.nan
        self.windows = windows
        before = self.factors
        self._solve_for(n)
        i, j = np.tril_indices(n)
        low, high = np.minimum(kept[i], kept[j]), np.maximum(kept[i], kept[j])
        both = low >= 0
        self.factors[:, np.flatnonzero(both)] = before[:, (high * (high + 1) // 2 + low)[both]]
        counts = slice(old * (old + 1) // 2, old * (old + 1) // 2 + ensemble_state.COUNT_ROWS)
        self.factors[:, i.size : i.size + ensemble_state.COUNT_ROWS] = before[:, counts]
        self._bind()

    def flush(self) -> Batch:
        return self._out.empty()

    @property
    def configurations(self) -> int:
        """Configurations of the model set; each has a model a horizon."""
        return int(self.weights.shape[1]) // 2

    @property
    def dropped(self) -> int:
        """Outcomes lost because a ring was full (`max_pending`)."""
        return int(self.horizons["dropped"].sum())

    def held(self) -> Snapshot:
        return {name: getattr(self, name) for name in _STATE}

    def snapshot(self) -> Snapshot:
        return copied(self.held())

    def restore(self, saved: Snapshot) -> None:
        n = saved["weights"].shape[1] // 2
        if n != self.configurations:  # of a set with other configurations
            self._rearrange(np.full(n, -1))
        for name in _STATE:
            getattr(self, name)[...] = saved[name]


PREDICTION_COLUMNS = ("seq", "ts", "symbol", "y")
_STATE = ("symbols", "groups", "horizons", "moments", "settled", "tracks", "factors", "weights", "windows", "pending", "pending_z", "prior")
MOST_CONFIGURATIONS = 64  # of eigen.py


def _by_eight(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(..., n) -> (..., eights(n), 8); the places without a number are NaN."""
    rows = ensemble_state.eights(values.shape[-1])
    out = np.full((*values.shape[:-1], rows * eight.LANES), np.nan)
    out[..., : values.shape[-1]] = values
    return out.reshape(*values.shape[:-1], rows, eight.LANES)


def _moved(values: npt.NDArray[np.float64], quantities: int, kept: npt.NDArray[np.int64], missing: float) -> npt.NDArray[np.float64]:
    """(..., quantities x rows, 8) with its numbers at other places; new ones (-1) and the places without a number are `missing`."""
    flat = values.reshape(*values.shape[:-2], quantities, -1)
    rows = ensemble_state.eights(kept.size)
    out = np.full((*flat.shape[:-1], rows * eight.LANES), missing)
    out[..., : kept.size] = np.where(kept < 0, missing, np.take(flat, np.maximum(kept, 0), axis=-1))
    return out.reshape(*values.shape[:-2], quantities * rows, eight.LANES)


def _check(conf: EnsembleConf) -> None:
    """ConfigError names the first setting that is out of range."""
    remedy = "Correct it in conf/ensemble or on the command line."
    for name in ("moments_tau_s", "ic_tau_s", "correlation_tau_s", "clip", "settle_every_ns", "max_pending"):
        if not getattr(conf, name) > 0:
            raise ConfigError(f"ensemble.{name} is {getattr(conf, name)}: expected a positive number. {remedy}")
    for name in ("min_rows", "min_outcomes", "prior_s", "refresh_ns", "audit_ns", "window_rows"):
        if not getattr(conf, name) >= 0:
            raise ConfigError(f"ensemble.{name} is {getattr(conf, name)}: expected zero or more. {remedy}")
    if not 0 <= conf.equal_share <= 1:
        raise ConfigError(f"ensemble.equal_share is {conf.equal_share}: expected 0 (decorrelated weights) to 1 (equal weights). {remedy}")
    if conf.shrinkage not in ensemble_state.SHRINKAGES:
        raise ConfigError(f"ensemble.shrinkage is {conf.shrinkage!r}: expected {', '.join(ensemble_state.SHRINKAGES)}. {remedy}")
    if conf.shrinkage == "ledoit_wolf" and not conf.window_rows:
        raise ConfigError(
            "ensemble.shrinkage is 'ledoit_wolf' and ensemble.window_rows is 0: expected a window, from whose rows this intensity is made. "
            "Set ensemble=research, or ensemble.shrinkage=oas."
        )
