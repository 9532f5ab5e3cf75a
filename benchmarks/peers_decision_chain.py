"""A whole decision of 100 symbols that are due at once, beside NumPy's arrays over symbols and horizons: standardise, correlation, OAS,
spectrum, clip, ICs, weights, forecast, blend of the horizons. NumPy stops there, and its ICs are given; ours goes on to the order
(outcomes, costs, size, caps, barriers, verdicts) in the same two calls. Predictions are all there, which is what NumPy's arrays need."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import bench_decide
from tickarrow.configs.risk import RiskConf
from tickarrow.jit import corr, ensemble_state
from tickarrow.pipeline.decide import Ensemble

Array = Any


class Chain:
    """State of an `Ensemble` as plain arrays over (symbols, horizons, configurations), and the same step on all symbols at once."""

    def __init__(self, ensemble: Ensemble) -> None:
        n, horizons = ensemble.configurations, ensemble.horizons_ns.size
        symbols, models = len(ensemble.symbols), n * horizons
        self.params, self.seconds = ensemble.params[0].copy(), ensemble.horizons_ns / 1e9
        self.seen_ns = ensemble.symbols["moments_ts"].copy()
        self.weight, self.mean, self.squares = ensemble.moments.reshape(symbols, 3, -1)[:, :, :models].transpose(1, 0, 2).copy()
        i, j = np.tril_indices(n)
        factors = ensemble.factors[:, :, :horizons].transpose(0, 2, 1)
        self.sums = np.empty((symbols, horizons, n, n))
        self.sums[:, :, i, j] = self.sums[:, :, j, i] = factors[:, :, : i.size]
        self.observed, self.squared, self.independent = (factors[:, :, i.size + k].copy() for k in (corr.WEIGHT, corr.SQUARES, corr.STATE_ROWS))

    def know(self, ensemble: Ensemble) -> None:
        """Outcomes so far: the ICs that weights are made of."""
        symbols, horizons, n = self.sums.shape[:3]
        track = ensemble.tracks.reshape(symbols, horizons, ensemble_state.TRACKS, -1)[..., :n].transpose(2, 0, 1, 3)
        self.track, self.settled, self.outcomes = track.copy(), ensemble.settled.copy(), ensemble.horizons.copy()
        self.prior = ensemble.prior.reshape(symbols, horizons, -1)[..., :n].copy()

    def step(self, y: Array, ts: Array) -> tuple[Array, Array, Array, Array]:
        """alpha, sigma, ic and the blended forecast of each symbol and horizon; y: (symbols, models) in the order of the symbols."""
        par, (symbols, horizons, n) = self.params, self.sums.shape[:3]
        gap = ts - self.seen_ns
        self.seen_ns = ts
        g = np.exp(-gap / par["moments_tau"])[:, None]
        old, squares, d = g * self.weight, g * self.squares, y.astype(float) - self.mean
        z = np.clip(d * np.sqrt(old / squares), -par["z_limit"], par["z_limit"])
        self.weight = old + 1
        self.mean += d / self.weight
        self.squares = squares + old / self.weight * d * d
        z = z.reshape(symbols, n, horizons).swapaxes(1, 2)

        g = np.exp(-gap / par["correlation_tau"])[:, None]
        self.sums = g[:, :, None, None] * self.sums + z[..., None] * z[..., None, :]
        self.observed, self.squared = g * self.observed + 1, g * g * self.squared + 1
        self.independent = g * self.independent + np.minimum(1, gap[:, None] / (1e9 * self.seconds))
        t = self.independent * self.observed / self.squared
        scale = 1 / np.sqrt(np.einsum("shii->shi", self.sums))
        c = self.sums * scale[..., None] * scale[..., None, :]
        alpha = (c * c).mean((2, 3))
        rho = np.minimum((alpha + 1) / ((t + 1) * (alpha - 1 / n)), 1.0)
        values, vectors = np.linalg.eigh(c)
        low = values <= ((1 + np.sqrt(n / t)) ** 2)[..., None]
        clean = np.where(low, (np.where(low, values, 0.0).sum(2) / np.maximum(low.sum(2), 1))[..., None], values)
        clean = np.maximum((1 - rho)[..., None] * clean + rho[..., None], 1e-8)

        ic = self._ics(ts)
        d = np.maximum(self._apply(vectors, ic, 1 / clean), 0.0)
        there = (ic > 0).astype(float)
        even = (there * ic).sum(2) / np.maximum((there * self._apply(vectors, there, clean)).sum(2), 1e-300)
        d = (1 - par["equal"]) * d + par["equal"] * there * even[..., None]
        gain, variance = (d * ic).sum(2), (d * self._apply(vectors, d, clean)).sum(2)
        d *= (gain / variance)[..., None]
        promised, seen = (d * ic).sum(2), (d * (c @ d[..., None])[..., 0]).sum(2)
        d *= np.minimum(1.0, promised / seen)[..., None]
        d *= np.minimum(1.0, 1 / (d * ic).sum(2))[..., None]

        known = self.outcomes["weight"]
        enough = known * np.exp(-np.maximum(ts[:, None] - self.outcomes["settled"], 0) / par["ic_tau"]) >= par["min_outcomes"]
        sigma = np.sqrt(np.where(enough, self.outcomes["squares"], np.nan) / np.where(enough, known, 1.0))
        forecast, skill = sigma * (d * z).sum(2), np.sqrt(np.clip((d * ic).sum(2), 0, 1))
        precision = np.nan_to_num((skill * self.seconds / sigma) ** 2)
        pool = np.nan_to_num(precision * forecast / self.seconds).sum(1) / precision.sum(1)
        share = RiskConf().pool_share
        return forecast, sigma, skill, (1 - share) * forecast + share * pool[:, None] * self.seconds

    def _ics(self, ts: Array) -> Array:
        par = self.params
        weight, observations, _, _, zz, yy, zy = self.track
        g = np.exp(-np.maximum(ts[:, None] - self.settled, 0) / par["ic_tau"])[..., None]
        enough = g * weight >= par["min_outcomes"]
        r, observations = np.where(enough, zy / np.sqrt(np.where(enough, zz * yy, 1.0)), 0.0), np.where(enough, g * observations, 0.0)
        strength = par["prior"] / (1e9 * self.seconds[:, None])
        mean = (observations * r + strength * self.prior) / (observations + strength)
        square = mean * mean
        return np.where(mean > 0, mean * square / (square + (1 - square) / (observations + strength)), 0.0)

    @staticmethod
    def _apply(vectors: Array, x: Array, factor: Array) -> Array:
        """V diag(factor) V'x, stacked."""
        along = vectors.swapaxes(2, 3) @ x[..., None]
        return (vectors @ (factor[..., None] * along))[..., 0]


class Decisions:
    """Both sides on blocks of the same market, a row a symbol each 250 ms: every row refreshes the weights."""

    def __init__(self, every_pair: bool) -> None:
        made = bench_decide.EnsembleAudit() if every_pair else bench_decide.EnsembleStep()
        made.setup(bench_decide.SYMBOLS)
        self.ensemble, self.act, self.market = made.ensemble, made.act, made.market
        self.chain = Chain(self.ensemble)
        self.chain.know(self.ensemble)
        self.block()

    def block(self) -> None:
        """The next 250 ms of the market."""
        self.predictions, self.ticks = self.market.block()
        self.y, self.ts = self.predictions.view("y").copy(), self.predictions.view("ts").copy()

    def ours(self) -> None:
        self.act.step(self.ensemble.step(self.predictions, self.ticks), self.ticks)

    def theirs(self) -> None:
        self.chain.step(self.y, self.ts)


def differs() -> str:
    """What NumPy's forecasts of some blocks differ in from ours, all pairs solved at each refresh on both sides; empty if nothing."""
    both = Decisions(every_pair=True)
    for _ in range(3):
        made = both.ensemble.step(both.predictions, both.ticks)
        decided = both.act.step(made, both.ticks)
        both.chain.know(both.ensemble)  # after what matured with the ticks of this block
        alpha, sigma, ic, blended = both.chain.step(both.y, both.ts)
        for name, theirs in (("alpha", alpha), ("sigma", sigma), ("ic", ic)):
            if not np.allclose(made.view(name), theirs, rtol=1e-6, atol=1e-9, equal_nan=True):
                return name
        rows, horizon = np.arange(len(blended)), decided.view("horizon")
        if (horizon < 0).any() or not np.allclose(decided.view("edge"), blended[rows, horizon], rtol=1e-6, atol=1e-9):
            return "edge"
        both.block()
    return ""
