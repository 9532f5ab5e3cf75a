"""What a run leaves behind."""

from dataclasses import dataclass


@dataclass
class RecordConf:
    """Chunks, TICKS, DECISIONS, ORDERS, FILLS, CONTROL and TIMING are always recorded; a replay rebuilds the others."""

    features: bool = False  # also record FEATURES
    predictions: bool = False  # also record PREDICTIONS
    path: str | None = None  # session directory; none = session/ in the run's output directory
