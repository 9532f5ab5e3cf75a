"""How a bank of models is trained."""

from dataclasses import dataclass, field


@dataclass
class ConfigurationConf:
    """One of the configurations of the bank; each is trained once per horizon."""

    library: str = "xgboost"  # xgboost, lightgbm
    depth: int = 6  # levels of a tree
    leaves: int = 31  # of a tree, lightgbm only
    eta: float = 0.1  # learning rate
    subsample: float = 1.0  # share of the rows of a tree
    colsample: float = 1.0  # share of the columns of a tree
    objective: str = "squarederror"  # squarederror, pseudohubererror, absoluteerror; lightgbm has the Huber loss for the second
    huber_slope: float = 1.0  # unit of the label, pseudohubererror only: beyond it an error counts linearly
    min_child_weight: float = 20.0  # least sum of Hessians in a leaf; rows for squarederror
    reg_lambda: float = 1.0  # L2 penalty of leaf values
    families: list[str] = field(default_factory=list)  # feature families it may use; empty = all
    seed: int = 0


@dataclass
class TrainingConf:
    """Labels, splits and configurations of a bank."""

    horizons_s: list[float] = field(default_factory=lambda: [1.0, 5.0, 30.0, 60.0, 300.0])  # event time
    gap_s: float = 60.0  # a longer silence of the whole feed is a hole: no label across it
    label: str = "forward_return"  # forward_return (bp), scaled_return (of the deviation), barrier_return (bp), barrier_first (1, 0, -1)
    barriers: list[float] = field(default_factory=lambda: [1.5, 1.0])  # barrier labels: profit and stop as in `risk`, deviations of the horizon
    barrier_side: int = 0  # barrier labels of 1 = a long position, -1 = a short one, 0 = the mean of both
    deviation_tau_s: float = 1800.0  # memory of the deviation of a horizon, as ensemble.ic_tau_s
    deviation_least: float = 30.0  # effective outcomes before which it is not known, as ensemble.min_outcomes
    weights: str = "none"  # none, uniqueness: labels that overlap share their weight
    split: str = "tail"  # judged on: tail = the tail alone; walk_forward, combinatorial = folds of the rows before it as well
    folds: int = 5  # walk_forward: parts that are tested; combinatorial: groups
    test_groups: int = 2  # combinatorial: groups that are tested together
    window: int = 0  # walk_forward: parts before a tested one that are trained on; 0 = all
    embargo_s: float = 0.0  # least time between the labels of a training row and those of a tested one, beyond the purge
    stop_share: float = 0.0  # share of a fold's training rows, the latest, purged, that tell when to stop adding trees; 0 = never stop early
    patience: int = 20  # trees without a better loss there
    leak_ticks: int = 0  # of the source, that features and labels are computed from again to find look-ahead; 0 = not looked for
    leak_shifts: int = 0  # times that folds are learned from labels of other times: they must not show skill
    leak_ic: float = 1.0  # an IC above it is held for a leak
    external_rows: int = 0  # from so many rows on, x stays in the feature cache and is read in blocks; 0 = never
    tail: float = 0.25  # share of the rows, the latest, that no model sees: metrics and IC come from it
    max_rows: int = 150_000  # training and tail together; more are thinned evenly
    trees: int = 100  # of each model, at most
    max_bin: int = 128  # cuts per feature of the one grid that all models share
    nthread: int = 2  # part of the result: sums of another thread count may differ in the last bit
    configurations: list[ConfigurationConf] = field(default_factory=list)
