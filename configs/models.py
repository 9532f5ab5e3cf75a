"""How a bank of models is run, and which sets take its place."""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class SwapConf:
    """One swap: a set that decides for all symbols from a time on."""

    at: str = MISSING  # seconds after the begin of the market ("90"), or a date and time, UTC unless it says otherwise
    set: str = field(default=MISSING, metadata={"digest": False})  # name or path; its content has a digest of its own


@dataclass
class CanaryConf:
    """A second set that decides for some symbols."""

    set: str | None = field(default=None, metadata={"digest": False})  # name or path; none = no canary
    symbols: list[str] = field(default_factory=list)  # that it decides for


@dataclass
class ModelsConf:
    """Engine and its parity check, which change no prediction: every engine gives the bits of xgboost or does not serve. And the sets
    beside or after the one that `model_set` names."""

    # auto (the fastest here), simd, portable, treelite_c or xgboost; if it fails its certificate the next one serves
    engine: str = field(default="auto", metadata={"digest": False})
    # rows of the parity check when a set is loaded; the whole check is made once, when it is compiled
    sample_rows: int = field(default=64, metadata={"digest": False})
    # run: one row in so many is compared with the libraries, by another process; none = 1000 with a real gateway, 0 (no check) with the simulated one
    check_every: int | None = field(default=None, metadata={"digest": False})
    threads: int = field(default=1, metadata={"digest": False})  # of simd and portable, for batches of 256 rows and more
    compiler: str = field(default="", metadata={"digest": False})  # of treelite_c; empty = $CC, else cc
    compile_jobs: int = field(default=2, metadata={"digest": False})  # C compilers at a time
    registry: str = field(default="", metadata={"digest": False})  # folder of model sets; empty = models/ in the cache folder
    follow: bool = field(default=False, metadata={"digest": False})  # run: swap to what is promoted meanwhile (tickarrow models promote)
    follow_s: float = field(default=0.5, metadata={"digest": False})  # seconds between two looks at the promotion
    shadow: list[str] = field(default_factory=list, metadata={"digest": False})  # sets that predict the same rows and decide nothing
    canary: CanaryConf = field(default_factory=CanaryConf)
    swaps: list[SwapConf] = field(default_factory=list)
