"""IBKR's pacing of historical data, kept on our side: a request waits until the gateway would take it.

The rules are IBKR's (historical data limitations of the TWS API): 60 requests in ten minutes, fewer than six of one contract, exchange and kind
within two seconds, no identical ones within 15 s; a request for bid and ask counts twice. Requests of an earlier run count too, so their
times are on disk."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Hashable
from pathlib import Path

PER_TEN_MINUTES, TEN_MINUTES = 60, 600.0
OF_ONE, TWO_SECONDS = 5, 2.0
IDENTICAL = 15.0
MARGIN = 0.2  # s; the gateway counts when a request arrives, we when it leaves


class Pace:
    """When the next request may leave.

    Parameters
    ----------
    speed : seconds of the gateway's clock in a second of ours; above 1 with an accelerated simulator only
    log : file that keeps the times for the next run; None = none
    """

    def __init__(self, speed: float = 1.0, log: Path | None = None) -> None:
        self.speed, self._log = speed, log
        self._sent: deque[tuple[float, str, str]] = deque()  # second, contract and kind, whole request; twice where it counts twice
        if log is not None and log.exists():
            try:
                self._sent.extend((float(t), str(of), str(what)) for t, of, what in json.loads(log.read_text()))
            except (ValueError, TypeError):
                log.unlink()  # torn by a crash: the next run writes it anew

    def seconds(self) -> float:
        """Now, in seconds of the gateway's clock."""
        return time.time() * self.speed

    def wait(self, of: Hashable, request: Hashable, weight: int = 1) -> float:
        """Seconds of the gateway's clock until a request may leave; 0 = now.

        Parameters
        ----------
        of : contract, exchange and kind of data
        request : everything that makes two requests identical
        weight : 2 for bid and ask
        """
        now, due = self.seconds(), 0.0
        while self._sent and (now - self._sent[0][0] >= TEN_MINUTES + MARGIN or self._sent[0][0] > now + TEN_MINUTES):
            self._sent.popleft()
        if (over := len(self._sent) + weight - PER_TEN_MINUTES) > 0:
            due = self._sent[over - 1][0] + TEN_MINUTES
        same = [t for t, key, _ in self._sent if key == str(of)]
        if (over := len(same) + weight - OF_ONE) > 0:
            due = max(due, same[over - 1] + TWO_SECONDS)
        due = max([due, *(t + IDENTICAL for t, _, what in self._sent if what == str(request))])
        return max(due + MARGIN - now, 0.0) if due else 0.0

    def sent(self, of: Hashable, request: Hashable, weight: int = 1) -> None:
        """A request leaves."""
        self._sent.extend([(self.seconds(), str(of), str(request))] * weight)
        if self._log is not None:
            part = self._log.with_name(self._log.name + ".part")
            part.write_text(json.dumps(list(self._sent)))
            os.replace(part, self._log)
