"""How the live loop runs. Nothing here is in `config_digest`: what changes a decision of a live run is journalled as a control event."""

from dataclasses import dataclass, field


@dataclass
class CollectConf:
    """Python's garbage collector: off in the loop, run when the feed is silent."""

    every_s: float = 10.0  # between two collections, at least
    gap_ms: float = 20.0  # silence of the feed that is taken as an idle moment
    pause_ms: float = 10.0  # longest pause that is allowed; after half of it what is left is taken as long-lived and not looked at again


@dataclass
class StageBudget:
    """What a stage may take."""

    p99_us: float = 0.0  # of the decisions in the window; 0 = no limit


@dataclass
class BudgetConf:
    """Latency budget per stage, and what is done when it is broken."""

    decode: StageBudget = field(default_factory=StageBudget)
    features: StageBudget = field(default_factory=StageBudget)
    predict: StageBudget = field(default_factory=StageBudget)
    decide: StageBudget = field(default_factory=StageBudget)
    tick_to_decision: StageBudget = field(default_factory=StageBudget)
    window_s: float = 30.0  # market time over which the p99 is taken
    min_rows: int = 200  # decisions in the window before anything is said
    recover_s: float = 60.0  # far below all limits for so long: one step of the plan is taken back
    recover_share: float = 0.7  # of a limit; far below it is a p99 under this share
    plan: list[str] = field(default_factory=lambda: ["shadows", "throttle", "throttle", "symbols"])  # one step after another, while it is broken
    throttle_factor: float = 2.0  # a step `throttle` multiplies the time between two decisions of a symbol
    throttle_least_ms: float = 125.0  # and makes it so long at least
    keep: list[str] = field(default_factory=list)  # symbols that a step `symbols` does not leave out; it leaves out the last half of the others


@dataclass
class RuntimeConf:
    """The live loop: `run` and `record` where the feed is not in lock step."""

    mode: str = "shared"  # shared | realtime: before ordinary processes, pages kept | reserved: a core of its own, never asleep
    warm_ms: float = 5.0  # silence after which forest and state are read again, so that they stay in the caches; 0 = never; below 1: reserved only
    priority: int = 50  # of SCHED_FIFO, in realtime
    cpu: int = -1  # core that the loop stays on; -1 = any, in reserved the last isolated one
    budget: BudgetConf = field(default_factory=BudgetConf)
    collect: CollectConf = field(default_factory=CollectConf)
