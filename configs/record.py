"""What a run leaves behind."""

from dataclasses import dataclass


@dataclass
class RecordConf:
    """Chunks, TICKS, DECISIONS, ORDERS, FILLS, CONTROL and TIMING are always recorded; a replay rebuilds the others."""

    features: bool = False  # also record FEATURES
    predictions: bool = False  # also record PREDICTIONS
    path: str | None = None  # session directory; none = session/ in the run's output directory
    segment_mb: int = 64  # of the journal; it also begins a new segment with each UTC day
    sync_s: float = 0.0  # bring the journal to the disk each so many seconds, against a loss of power; 0 = at the end of each segment
    resume: bool = False  # run: go on with the session in record.path, if there is one, where a kill or its end has left it
    state_s: float = 60.0  # run: write the state each so many seconds of market time, for such a restart; 0 = only at the end
    until: str | None = None  # tickarrow record ends then: 16:05 (local time, the next one), or after 90s, 30m, 8h, 2d; none = with its gateway
