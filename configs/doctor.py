"""What the machine and the loop can do."""

from dataclasses import dataclass, field

from tickarrow.configs.pipeline import MarketConf
from tickarrow.configs.runtime import RuntimeConf


@dataclass
class DoctorLatencyConf(MarketConf):
    """tickarrow doctor latency."""

    runtime: RuntimeConf = field(default_factory=RuntimeConf, metadata={"digest": False})  # the mode that is measured
    seconds: float = 5.0  # of each of the feeds that are sent through a socket in real time
    rate: float = 4.0  # updates a second of a symbol, as IBKR samples them
    out: str | None = None  # JSON file; none = latency.json in the output directory
    page: str | None = None  # HTML file with the percentiles drawn; none = no page (needs the extra `report`)
