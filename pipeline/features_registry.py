"""Feature families: the registered ones, how a configuration names their columns, and the digest a model set must match.

A family is declared beside its kernels as data (`jit/feature.py`). The built-in ones are listed here; a user names the file of his own
in `features.files`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from tickarrow.configs.features import BarsConf, FamilyConf, FeaturesConf
from tickarrow.jit import cross, depth_features, flow, intensity, liquidity, quality, quote, season, shape, technical, volatility
from tickarrow.jit.event import MAX_TAU as MAX_WINDOWS
from tickarrow.jit.feature import Column, Family
from tickarrow.jit.moments import MAX_TAU
from tickarrow.pipeline import features_user
from tickarrow.pipeline.errors import ConfigError, near

RULES = ("time", "ticks", "volume", "dollar")  # in the order of jit/bars.py: TIME, TICKS, SHARES, MONEY
BUILT_IN = (
    quote.FAMILY, depth_features.FAMILY, flow.FAMILY, intensity.FAMILY, liquidity.FAMILY, volatility.FAMILY, technical.FAMILY, shape.FAMILY,
    season.FAMILY, cross.FAMILY, quality.FAMILY,
)  # fmt: skip
_families: dict[str, Family] = {f.name: f for f in BUILT_IN}


def register(new: Family) -> Family:
    """Make a family known under its name; a name is registered once."""
    if new.name in _families and _families[new.name] is not new:
        raise ConfigError(f"features: family {new.name!r} is already registered. Choose another name for the new family.")
    _families[new.name] = new
    return new


def families() -> list[Family]:
    """All registered families, the built-in ones first."""
    return list(_families.values())


def family(name: str) -> Family:
    """The registered family of that name."""
    try:
        return _families[name]
    except KeyError:
        meant = near(name, sorted(_families))
        raise ConfigError(f"features: unknown family {name!r} (features.families). {meant} The file of your own goes into features.files.") from None


@dataclass(frozen=True)
class Chosen:
    """A family with its windows and the columns that are wanted."""

    family: Family
    tau_s: tuple[float, ...]
    columns: tuple[Column, ...]  # all of the family, in the order of the driver
    wanted: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]


def _windows(f: Family, conf: FamilyConf) -> tuple[float, ...]:
    tau_s = tuple(float(t) for t in conf.tau_s) or f.tau_s
    listed = ", ".join(f"{t:g}" for t in tau_s)
    for t in tau_s:
        if not 0.0 < t < inf:
            raise ConfigError(f"features: family {f.name!r} has tau_s={t:g}; a window is a positive number of seconds, for example 30.0.")
    if f.windows and len(tau_s) != f.windows:
        raise ConfigError(f"features: family {f.name!r} takes {f.windows} windows and tau_s lists {len(tau_s)} ({listed}). Correct tau_s.")
    if tau_s and not f.tau_s:
        raise ConfigError(f"features: family {f.name!r} takes no windows and tau_s lists {listed}. Leave it out.")
    if len(tau_s) > MAX_TAU:
        raise ConfigError(f"features: family {f.name!r} takes {MAX_TAU} windows at most and tau_s lists {len(tau_s)} ({listed}). Drop some.")
    if any(b <= a for a, b in pairwise(tau_s)):
        raise ConfigError(f"features: windows of family {f.name!r} must rise and tau_s is {listed}. Sort them, each once.")
    return tau_s


def all_columns(f: Family, tau_s: Sequence[float]) -> tuple[Column, ...]:
    """Columns of a family with these windows: tick clock, bars, passes."""
    return (*f.columns(tau_s), *f.bar_columns, *f.pass_columns)


def choose(conf: FeaturesConf) -> list[Chosen]:
    """Families, windows and columns that a configuration names; ConfigError says what is wrong with it."""
    for path in conf.files:
        for new in features_user.load(path):
            register(new)
    out: list[Chosen] = []
    owner: dict[str, str] = {}
    for c in conf.families:
        f = family(c.name)
        tau_s = _windows(f, c)
        columns = all_columns(f, tau_s)
        names = [column.name for column in columns]
        for column in c.columns:
            if column not in names:
                windows = f" with windows of {', '.join(f'{t:g}' for t in tau_s)} s" if tau_s else ""
                raise ConfigError(f"features: family {f.name!r} has no column {column!r}{windows}. {near(column, names)} See: tickarrow features list")
        wanted = tuple(c.columns) or tuple(names)
        for column in wanted:
            if column in owner:
                raise ConfigError(
                    f"features: column {column!r} is listed twice, by {owner[column]!r} and by {f.name!r}. "
                    "Name each column once (columns of features.families)."
                )
            owner[column] = f.name
        out.append(Chosen(f, tau_s, columns, wanted))
    if not owner:
        raise ConfigError("features: no columns. Name at least one family in features.families, or choose features=core.")
    taus = {t for c in out for t in c.tau_s}
    if len(taus) > MAX_WINDOWS:
        raise ConfigError(f"features: {len(taus)} different windows in tau_s of all families, {MAX_WINDOWS} at most. Let families share windows.")
    _check(conf)
    return out


def _check(conf: FeaturesConf) -> None:
    if conf.throttle_ns < 0:
        raise ConfigError(f"features: throttle_ns={conf.throttle_ns} is negative. Give ns of event time; 0 = every quote change.")
    _check_bars(conf.bars)
    if not 1.0 <= conf.cross.every_s <= 300.0 or conf.cross.every_s % 1.0:
        raise ConfigError(f"features.cross.every_s is {conf.cross.every_s:g}. Give whole seconds between two passes, 1 to 300.")


def _check_bars(bars: BarsConf) -> None:
    if bars.rule not in RULES:
        raise ConfigError(f"features.bars.rule is {bars.rule!r}. Choose one of {', '.join(RULES)}.")
    if not 0.0 < bars.every < inf:
        raise ConfigError(f"features.bars.every is {bars.every:g}. Give a positive number: seconds, trades, shares or currency, as the rule says.")
    if bars.price not in ("trade", "mid"):
        raise ConfigError(f"features.bars.price is {bars.price!r}. Choose trade, or mid for symbols without trades.")


def feature_columns(conf: FeaturesConf) -> list[str]:
    """Ordered columns of the matrix `x`."""
    return [column for c in choose(conf) for column in c.wanted]


def _parameters(conf: FeaturesConf, c: Chosen) -> str:
    """What a column of the family depends on beside its formula."""
    out = ["tau_s=" + ",".join(t.hex() for t in c.tau_s), f"calendar={conf.calendar}"]
    if own := features_user.content(c.family):
        out.append(f"file={own}")
    if c.family.bars:
        out.append(f"bars={conf.bars.rule},{float(conf.bars.every).hex()},{conf.bars.price}")
    if c.family.passes:
        sectors = ",".join(f"{symbol}:{sector}" for symbol, sector in sorted(conf.cross.sectors.items()))
        out.append(f"cross={float(conf.cross.every_s).hex()},{conf.cross.index},{sectors}")
    return ";".join(out)


def feature_digest(conf: FeaturesConf) -> str:
    """BLAKE2b-128 over the ordered (column, family, family version, parameters), design contract 8."""
    h = hashlib.blake2b(digest_size=16)
    for c in choose(conf):
        parameters = _parameters(conf, c)
        for column in c.wanted:
            h.update("\0".join((column, c.family.name, str(c.family.version), parameters)).encode() + b"\n")
    return h.hexdigest()
