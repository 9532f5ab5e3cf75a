"""Why a decision of a session is what it is."""

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class ExplainConf:
    """tickarrow explain. Without `decision` and `random`: a table of the last decisions that pass the filters."""

    session: str = MISSING  # directory
    decision: str | None = None  # its seq, or last, or SYMBOL@TIME: the symbol's last one then (ISO 8601, UTC unless it says otherwise, or HH:MM:SS)
    random: int = 0  # check so many decisions instead, drawn by `seed`, or all if there are fewer
    seed: int = 0
    reason: str | None = None  # only decisions of this Reason, such as order or edge_below_cost
    side: str | None = None  # only buy or sell: the side of its order, else that of its forecast
    symbol: str | None = None  # only this symbol
    rows: int = 20  # of the table
    engine: str | None = None  # none = the engine that the session ran with
