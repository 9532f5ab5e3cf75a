"""Accelerated simulation in lock step with one client: clock frames, acknowledgements, and how far the market may run ahead."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tickarrow.pipeline.simulator_feed import FAR, Feed

if TYPE_CHECKING:
    from tickarrow.pipeline.simulator_session import Session


class LockStep:
    """Clock frames and acknowledgements of the one client that paces the market (design contract 6).

    The market may run ahead of the first clock frame that is not acknowledged by less than the order latency, so nothing that is
    sent could have been changed by an order that has not come yet.
    """

    def __init__(self, feed: Feed, session: Session) -> None:
        self.feed, self.session = feed, session
        self.times: deque[int] = deque()  # of the clock frames that are not acknowledged
        self.acknowledged = -1
        self.ended = False

    def start(self) -> None:
        """Clock frame 0: market data follows its acknowledgement."""
        self.clock(self.feed.source.start_ns)

    def clock(self, ts: int) -> None:
        self.session.encoder.clock(ts)
        self.times.append(ts)

    def decision_ts(self) -> int:
        """Market time that the client decides at: the first clock frame that it has not acknowledged."""
        return self.times[0] if self.times else self.feed.now

    def acknowledge(self, number: int) -> bool:
        """Every clock frame up to `number` is decided; False if that cannot be."""
        if not self.acknowledged < number <= self.acknowledged + len(self.times):
            return False
        for _ in range(number - self.acknowledged):
            self.times.popleft()
        self.acknowledged = number
        return True

    def pump(self) -> None:
        """Send all that may be sent now."""
        feed, latency = self.feed, self.feed.latency_ns
        if self.acknowledged < 0:
            return
        while not (self.ended or self.session.stalled):
            ts = feed.peek()
            if ts is None:
                if self.times:
                    break
                if feed.queue:
                    feed.apply_request()
                    continue
                if feed.faults is not None:
                    feed.faults.finish()
                    if self.times:
                        break
                feed.end()
                self.session.send_end()
                self.ended = True
                break
            until = (self.times[0] if self.times else ts) + latency
            if self.times and ts >= until:
                break
            if feed.effect() <= ts:
                feed.apply_next()
                continue
            if feed.fault_ts <= ts:
                feed.fire()
                self.session.flush()
                continue
            until = min(until, feed.fault_ts, feed.effect())
            feed.send_rows(max(until, ts + 1), FAR if latency else 1, self)
            self.session.flush()
