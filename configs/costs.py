"""What a trade costs besides the spread."""

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class CostsConf:
    """Commission of an order: per_share x shares, at least `minimum`, then at most `max_share` of its value."""

    per_share: float = MISSING  # currency per share
    minimum: float = MISSING  # currency per order
    max_share: float = MISSING  # fraction of the order's value; has the last word
