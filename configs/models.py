"""How a bank of models is run."""

from dataclasses import dataclass, field


@dataclass
class ModelsConf:
    """Engine and its parity check. Nothing here changes a prediction: every engine gives the bits of xgboost or does not serve."""

    # simd, portable, treelite_c or xgboost; if it fails its certificate the next one serves
    engine: str = field(default="portable", metadata={"digest": False})
    # rows of the parity check when a set is loaded; the whole check is made once, when it is compiled
    sample_rows: int = field(default=64, metadata={"digest": False})
    threads: int = field(default=1, metadata={"digest": False})  # of simd and portable, for batches of 256 rows and more
    compiler: str = field(default="", metadata={"digest": False})  # of treelite_c; empty = $CC, else cc
    compile_jobs: int = field(default=2, metadata={"digest": False})  # C compilers at a time
