"""The record of one day's fees from a dated table, and what a round trip of a usual order costs by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import tickarrow.conf
from tickarrow.configs.costs import CostsConf, RateConf
from tickarrow.jit import costs as kernels
from tickarrow.jit.costs import FEES, TIERS
from tickarrow.pipeline.errors import ConfigError

WHERE = "Correct it in conf/costs or on the command line."


def fees(conf: CostsConf) -> npt.NDArray[Any]:
    """(1,) FEES of the table on `conf.as_of`.

    Raises
    ------
    ConfigError : a number is out of range, tiers are not in order, or a dated fee has no rate on that day
    """
    _check(conf)
    out = np.zeros(1, FEES)
    f = out[0]
    f.up_to[:] = math.inf
    f.per_share[0] = conf.per_share
    for i, tier in enumerate(conf.tiers):
        f.up_to[i], f.per_share[i + 1] = tier.above, tier.per_share
    f.month, f.minimum, f.max_share = conf.month_volume, conf.minimum, conf.max_share
    f.clearing, f.clearing_most, f.remove, f.add = conf.clearing, conf.clearing_max_share, conf.remove, conf.add
    f.pass_through = conf.nyse_pass_through + conf.finra_pass_through
    f.regulatory, _ = _on("regulatory", conf.regulatory, conf.as_of)
    f.taf, f.taf_most = _on("taf", conf.taf, conf.as_of)
    f.sec, _ = _on("sec", conf.sec, conf.as_of)
    f.multiplier, f.effective = conf.multiplier, conf.effective
    return out


def shipped(name: str, **other: Any) -> CostsConf:
    """A table in conf/costs; `other` replaces its settings, such as `as_of` or `month_volume`."""
    found = {p.stem: p for folder in tickarrow.conf.__path__ for p in sorted((Path(folder) / "costs").glob("*.yaml"))}
    if name not in found:
        raise ConfigError(f"fee_table: there is no table {name!r} in conf/costs: expected one of {', '.join(found)}.")
    loaded = {k: v for k, v in OmegaConf.load(found[name]).items() if k != "defaults"}
    try:
        conf = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(CostsConf), loaded, other))
    except OmegaConfBaseException as e:
        raise ConfigError(f"fee_table: {str(e).splitlines()[0]}. The settings are those of tickarrow.configs.costs.CostsConf.") from None
    assert isinstance(conf, CostsConf)
    return conf


def round_trips(conf: CostsConf, mid: npt.NDArray[np.float64], spread: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) cost in and out of an order worth `conf.usual_value`, without its impact, bp of the mid; NaN where the quote is crossed or missing.

    Parameters
    ----------
    mid, spread : (n,) float64, currency
    """
    out = np.empty(mid.size)
    quantity = conf.usual_value / (mid * conf.multiplier)
    kernels.round_trip(fees(conf), mid - 0.5 * spread, mid + 0.5 * spread, quantity, out)
    return out


def volumes(conf: CostsConf, symbols: Sequence[str]) -> npt.NDArray[np.float64]:
    """(n_symbols,) average daily volume, shares; 0 = not known."""
    if unknown := sorted(set(conf.adv_of) - set(symbols)):
        raise ConfigError(f"costs.adv_of has {unknown[0]!r}, which is not in the universe. {WHERE}")
    return np.array([conf.adv_of.get(s, conf.adv) for s in symbols], np.float64)


def _on(name: str, rates: Sequence[RateConf], as_of: str) -> tuple[float, float]:
    """Rate and cap of a dated fee on a day; nothing where the table has no such fee."""
    if not rates:
        return 0.0, math.inf
    day = _day(f"costs.{name}.since", rates[0].since)
    for before, after in pairwise(rates):
        if not _day(f"costs.{name}.since", before.since) < _day(f"costs.{name}.since", after.since):
            raise ConfigError(f"costs.{name} has {after.since} after {before.since}: expected dates in order. {WHERE}")
    if not as_of:
        return rates[-1].rate, rates[-1].most
    asked = _day("costs.as_of", as_of)
    if asked < day:
        raise ConfigError(f"costs.as_of is {as_of} and costs.{name} begins on {rates[0].since}: expected a rate of that day. {WHERE}")
    there = [r for r in rates if date.fromisoformat(r.since) <= asked][-1]
    return there.rate, there.most


def _day(setting: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{setting} is {text!r}: expected a date like 2026-04-04. {WHERE}") from None


def _check(conf: CostsConf) -> None:
    numbers = {name: getattr(conf, name) for name in ("per_share", "minimum", "max_share", "month_volume", "clearing", "clearing_max_share")}
    numbers |= {name: getattr(conf, name) for name in ("nyse_pass_through", "finra_pass_through", "effective", "impact_eta", "adv")}
    numbers |= {f"adv_of.{symbol}": volume for symbol, volume in conf.adv_of.items()}
    for table in ("regulatory", "taf", "sec"):
        numbers |= {f"{table}.{r.since}.{n}": getattr(r, n) for r in getattr(conf, table) for n in ("rate", "most")}
    numbers |= {f"tiers.{t.above}": t.per_share for t in conf.tiers}
    for name, value in numbers.items():
        if not value >= 0:
            raise ConfigError(f"costs.{name} is {value}: expected zero or more. {WHERE}")
    for name in ("remove", "add", "month_volume"):
        if not math.isfinite(getattr(conf, name)):
            raise ConfigError(f"costs.{name} is {getattr(conf, name)}: expected a number. {WHERE}")
    for name in ("multiplier", "usual_value"):
        if not getattr(conf, name) > 0:
            raise ConfigError(f"costs.{name} is {getattr(conf, name)}: expected a positive number. {WHERE}")
    edges = [0.0, *(t.above for t in conf.tiers)]
    if len(conf.tiers) >= TIERS or not all(a < b for a, b in pairwise(edges)):
        raise ConfigError(f"costs.tiers begin at {edges[1:]}: expected at most {TIERS - 1}, each above the one before. {WHERE}")
    if conf.impact_eta > 0 and not all(v > 0 for v in [conf.adv, *conf.adv_of.values()]):
        raise ConfigError(f"costs.impact_eta is {conf.impact_eta} and a daily volume is 0: expected shares in costs.adv. {WHERE}")
