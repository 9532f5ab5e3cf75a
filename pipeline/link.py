"""What the codes of IBKR and the silence of the socket say of the connection: a state machine without a socket.

Two things are kept apart (nautilus#4412): the socket to TWS, which carries orders, and IBKR's data behind it. A code of a data farm never
touches the socket, 1100 keeps it, and the client id is the same at every attempt. Time is an argument, in seconds."""

from __future__ import annotations

import dataclasses
import random
from enum import IntEnum

from tickarrow.configs.gateway import GatewayConf

FARM_BROKEN, FARM_OK = 2103, 2104
LOST_CODES = {1100, 2110}  # IBKR is out of reach, TWS is there: it comes back by itself
SOCKET_CODES = {502, 504, 1300}  # there is no connection, whatever the socket says
CLIENT_ID_IN_USE = 326
LOST_PATIENCE = 12  # so many times longer may an answer take while IBKR is out of reach: 1100 alone is no reason to close the socket
STEADY_S = 60.0  # a session that lasted so long starts the delays of reconnecting anew


class LinkState(IntEnum):
    """Where a connection stands."""

    DOWN = 0  # no socket; waits for the next attempt
    CONNECTING = 1  # an attempt runs, up to orders and positions read again
    UP = 2
    LOST = 3  # the socket is there, IBKR is not behind it


class Action(IntEnum):
    """What is to be done."""

    NOTHING = 0
    CONNECT = 1
    PING = 2  # ask what TWS answers by itself
    DROP = 3  # close the socket: it is dead
    RESUBSCRIBE = 4  # all data
    VERIFY = 5  # data that stay silent from now on
    GIVE_UP = 6


class Link:
    """State of one connection.

    Parameters
    ----------
    conf : delays and patience, seconds
    """

    def __init__(self, conf: GatewayConf) -> None:
        self.conf = conf
        self.state = LinkState.DOWN
        self.since = 0.0  # of the state
        self.reconnects = 0
        self.attempts = 0  # since the last steady session
        self.retry_at = float("inf")
        self.why = ""  # the link is not up
        self.broken_farms: set[str] = set()
        self.lost_at = 0.0  # the last session ended
        self._pinged: float | None = None
        self._unreachable = False  # IBKR, as the session that is being built up was told
        self._random = random.Random(conf.client_id)  # many clients of one TWS must not come back at the same moment

    def _set(self, state: LinkState, now: float) -> None:
        self.state, self.since, self._pinged = state, now, None

    def connecting(self, now: float) -> None:
        """An attempt begins."""
        self._unreachable = False
        self._set(LinkState.CONNECTING, now)

    def up(self, now: float) -> None:
        """The attempt succeeded: orders and positions are read. TWS takes clients while IBKR is out of reach, and says so."""
        self.broken_farms.clear()
        self._set(LinkState.LOST if self._unreachable else LinkState.UP, now)

    def down(self, now: float, why: str) -> None:
        """The socket is gone, or an attempt failed: wait longer each time, with jitter."""
        if self.state in (LinkState.UP, LinkState.LOST):
            self.lost_at = now
            if now - self.since > STEADY_S:
                self.attempts = 0
        self.why = why
        limit = min(self.conf.reconnect_max_s, self.conf.reconnect_min_s * 2.0 ** min(self.attempts, 30))
        self.retry_at = now + limit * self._random.uniform(0.5, 1.0)
        self.attempts += 1
        self._set(LinkState.DOWN, now)

    def code(self, code: int, text: str, now: float) -> Action:
        """A system message of IBKR (its reqId is -1)."""
        if code == FARM_BROKEN:
            self.broken_farms.add(_farm(text))
        elif code == FARM_OK:
            if _farm(text) in self.broken_farms:  # each session begins with one of these: nothing was broken then
                self.broken_farms.discard(_farm(text))
                return Action.VERIFY
        elif code in LOST_CODES:
            self.why = f"{text} (code {code})"
            self._unreachable = self.state in (LinkState.DOWN, LinkState.CONNECTING)
            if self.state == LinkState.UP:
                self._set(LinkState.LOST, now)
        elif code in (1101, 1102):
            self._unreachable = False
            if self.state == LinkState.LOST:
                self._set(LinkState.UP, now)
            return Action.RESUBSCRIBE if code == 1101 else Action.VERIFY  # 1102 says "maintained", which has been wrong (IBC#143)
        elif code in SOCKET_CODES and self.state in (LinkState.UP, LinkState.LOST):
            self.why = f"{text} (code {code})"
            return Action.DROP
        elif code == CLIENT_ID_IN_USE:
            self.why = f"{text} (code {code})"
        return Action.NOTHING

    def look(self, now: float, read_at: float) -> Action:
        """What is due now.

        Parameters
        ----------
        read_at : when the socket gave bytes last
        """
        if self.state == LinkState.DOWN:
            if self.conf.reconnect_give_up_s and now - self.lost_at > self.conf.reconnect_give_up_s:
                return Action.GIVE_UP
            return Action.CONNECT if now >= self.retry_at else Action.NOTHING
        if self.state == LinkState.CONNECTING:
            return Action.NOTHING  # it has a timeout of its own
        if now - max(read_at, self.since) < self.conf.ping_after_s:
            self._pinged = None
            return Action.NOTHING
        if self._pinged is None:
            self._pinged = now
            return Action.PING
        if now - self._pinged > self.conf.ping_timeout_s * (LOST_PATIENCE if self.state == LinkState.LOST else 1):
            self.why = f"no byte came for {now - read_at:.1f} s, and no answer to a question"
            return Action.DROP
        return Action.NOTHING


def patient(conf: GatewayConf) -> GatewayConf:
    """The settings, with more patience for a simulated market that runs faster than the wall: what a busy machine takes, some tenths of a second,
    are many seconds there and no silence."""
    if conf.kind != "simulator" or not conf.speed > 1.0:
        return conf
    return dataclasses.replace(
        conf, ping_after_s=max(conf.ping_after_s, conf.speed), ping_timeout_s=max(conf.ping_timeout_s, 2 * conf.speed),
        silent_s=max(conf.silent_s, conf.speed / 4),
    )  # fmt: skip


def _farm(text: str) -> str:
    """Name of the farm at the end of `Market data farm connection is OK:usfarm`."""
    return text.rpartition(":")[2].strip()
