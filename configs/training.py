"""How a bank of models is trained."""

from dataclasses import dataclass, field


@dataclass
class ConfigurationConf:
    """One of the configurations of the bank; each is trained once per horizon."""

    depth: int = 6  # levels of a tree
    eta: float = 0.1  # learning rate
    subsample: float = 1.0  # share of the rows of a tree
    colsample: float = 1.0  # share of the columns of a tree
    objective: str = "squarederror"  # squarederror, pseudohubererror, absoluteerror
    huber_slope: float = 1.0  # bp, pseudohubererror only: beyond it an error counts linearly
    min_child_weight: float = 20.0  # least sum of Hessians in a leaf; rows for squarederror
    reg_lambda: float = 1.0  # L2 penalty of leaf values
    families: list[str] = field(default_factory=list)  # feature families it may use; empty = all
    seed: int = 0


@dataclass
class TrainingConf:
    """Labels, split and configurations of a bank."""

    horizons_s: list[float] = field(default_factory=lambda: [1.0, 5.0, 30.0, 60.0, 300.0])  # event time
    gap_s: float = 60.0  # a longer silence of the whole feed is a hole: no label across it
    tail: float = 0.25  # share of the rows, the latest, that no model sees: metrics and IC come from it
    max_rows: int = 150_000  # training and tail together; more are thinned evenly
    trees: int = 100  # of each model
    max_bin: int = 128  # cuts per feature of the one grid that all models share
    nthread: int = 2  # part of the result: sums of another thread count may differ in the last bit
    configurations: list[ConfigurationConf] = field(default_factory=list)
