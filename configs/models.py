"""How a bank of models is run."""

from dataclasses import dataclass, field


@dataclass
class ModelsConf:
    """Engine and its parity check. Nothing here changes a prediction: every engine gives the bits of xgboost or does not serve."""

    # portable, xgboost or treelite_c; if it fails its certificate the next one serves
    engine: str = field(default="portable", metadata={"digest": False})
    # rows of the parity check when a set is loaded; the whole check is made once, when it is compiled
    sample_rows: int = field(default=64, metadata={"digest": False})
    compiler: str = field(default="", metadata={"digest": False})  # of treelite_c; empty = $CC, else cc
    compile_jobs: int = field(default=2, metadata={"digest": False})  # C compilers at a time
