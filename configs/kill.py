"""What ends trading at once, and who watches."""

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class KillConf:
    """The kill switch of a run."""

    guard: bool = True  # with a real gateway a second process watches: it cancels everything when the main loop is stuck or gone
    client_id: int = -1  # of its own connection; -1 = gateway.client_id + 1000
    stuck_s: float = 10.0  # the main loop is stuck when it gave no sign for so long, seconds; 0 = that is no reason
    flatten: bool = False  # every kill closes the positions too, not only one that says so
    flatten_after_s: float = 5.0  # positions are closed when all cancels are confirmed, or so many seconds after the kill
    collar_bp: float = 50.0  # limits of closing orders lie so far beyond the touch, bp of it
    again_s: float = 3.0  # closing orders that are not filled after so long are cancelled and sent again at the present quote, seconds
    tries: int = 5  # so often


@dataclass
class KillCommandConf:
    """tickarrow kill."""

    session: str = MISSING  # directory
    flatten: bool = False  # close the positions after the cancels
    rearm: bool = False  # let the next run send orders again
    reason: str = ""  # is kept with the kill
    wait_s: float = 5.0  # how long to wait for the run to answer before this command connects by itself, seconds
