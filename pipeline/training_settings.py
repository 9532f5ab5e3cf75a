"""Settings of a training that cannot be, named before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from tickarrow.configs.training import TrainingConf
from tickarrow.pipeline.errors import ConfigError
from tickarrow.pipeline.library import needed
from tickarrow.pipeline.training_data import LABELS
from tickarrow.pipeline.training_fit import PREFIX

OBJECTIVES = ("squarederror", "pseudohubererror", "absoluteerror")  # their link is the identity
SPLITS = ("tail", "walk_forward", "combinatorial")
WEIGHTS = ("none", "uniqueness")


def check(conf: TrainingConf, families: Sequence[str]) -> None:
    """ConfigError for the first setting that cannot be; ModelError for a library that is not installed."""
    if not conf.configurations or not conf.horizons_s:
        raise ConfigError("training: no configurations or no horizons. Name at least one of each (training=default has 16 and 5).")
    for name, value, good, expected in (
        ("horizons_s", conf.horizons_s, all(h > 0 for h in conf.horizons_s), "positive numbers of seconds"),
        ("gap_s", conf.gap_s, conf.gap_s > 0, "a positive number of seconds"),
        ("tail", conf.tail, 0 < conf.tail < 1, "a share above 0 and below 1"),
        ("max_rows", conf.max_rows, conf.max_rows > 0, "a positive number"),
        ("trees", conf.trees, conf.trees > 0, "a positive number"),
        ("max_bin", conf.max_bin, conf.max_bin >= 2, "2 or more"),
        ("nthread", conf.nthread, conf.nthread > 0, "a positive number"),
        ("label", conf.label, conf.label in LABELS, f"one of {', '.join(LABELS)}"),
        ("weights", conf.weights, conf.weights in WEIGHTS, f"one of {', '.join(WEIGHTS)}"),
        ("split", conf.split, conf.split in SPLITS, f"one of {', '.join(SPLITS)}"),
        ("barriers", conf.barriers, len(conf.barriers) == 2 and min(conf.barriers) > 0, "two positive numbers, of the profit and of the stop"),
        ("barrier_side", conf.barrier_side, conf.barrier_side in (-1, 0, 1), "1, -1 or 0"),
        ("folds", conf.folds, conf.folds >= 2, "2 or more"),
        ("test_groups", conf.test_groups, conf.split != "combinatorial" or 0 < conf.test_groups < conf.folds, "a positive number below training.folds"),
        ("window", conf.window, conf.window >= 0, "0 or more"),
        ("embargo_s", conf.embargo_s, conf.embargo_s >= 0, "0 or more seconds"),
        ("stop_share", conf.stop_share, 0 <= conf.stop_share < 1, "a share below 1"),
        ("patience", conf.patience, conf.patience > 0, "a positive number"),
        ("leak_ticks", conf.leak_ticks, conf.leak_ticks >= 0, "0 or more"),
        ("leak_shifts", conf.leak_shifts, conf.leak_shifts >= 0, "0 or more"),
        ("deviation_tau_s", conf.deviation_tau_s, conf.deviation_tau_s > 0, "a positive number of seconds"),
    ):
        if not good:
            raise ConfigError(f"training.{name} is {value}: expected {expected}. Correct it in conf/training or on the command line.")
    for i, c in enumerate(conf.configurations):
        where = f"training.configurations[{i}]"
        for name in ("eta", "subsample", "colsample"):
            if not 0 < getattr(c, name) <= 1:
                raise ConfigError(f"{where}: {name} is {getattr(c, name)}: expected a share above 0, at most 1.")
        if c.library not in PREFIX:
            raise ConfigError(f"{where}: library {c.library!r} is not one of {', '.join(PREFIX)}.")
        if c.objective not in OBJECTIVES:
            raise ConfigError(f"{where}: objective {c.objective!r} is not one of {', '.join(OBJECTIVES)}.")
        unknown = [f for f in c.families if f not in families]
        if unknown:
            known = ", ".join(dict.fromkeys(families))
            raise ConfigError(f"{where} names the feature family {unknown[0]!r}, the features have {known}. Name one of these.")
        if not 1 <= c.depth <= 16:
            raise ConfigError(f"{where}: depth {c.depth} is out of range. Give 1 to 8, more only for models=xgboost.")
        if not 2 <= c.leaves <= 255:
            raise ConfigError(f"{where}: leaves is {c.leaves}: expected 2 to 255.")
    if any(c.library == "lightgbm" for c in conf.configurations):
        needed("lightgbm")
