"""How the live loop runs. Nothing here is in `config_digest`: what changes a decision of a live run is journalled as a control event."""

from dataclasses import dataclass, field


@dataclass
class CollectConf:
    """Python's garbage collector: off in the loop, run when the feed is silent."""

    every_s: float = 10.0  # between two collections, at least
    gap_ms: float = 20.0  # silence of the feed that is taken as an idle moment
    pause_ms: float = 10.0  # longest pause that is allowed; after half of it what is left is taken as long-lived and not looked at again


@dataclass
class RuntimeConf:
    """The live loop: `run` and `record` where the feed is not in lock step."""

    collect: CollectConf = field(default_factory=CollectConf)
