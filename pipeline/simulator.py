"""A gateway on loopback that speaks IBKR's wire protocol to unmodified clients: market data from a source, orders to a matching engine.

As a program, `python -m tickarrow.pipeline.simulator CONFIG.json` (keys gateway, costs, source, universe), it prints one JSON object per line:
`listening` with its port, at last `done` with its counts, or `error`. It ends when its client has disconnected, or when its standard
input is closed: the program that started it is gone then."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import math
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tickarrow.configs.costs import CostsConf
from tickarrow.configs.gateway import GatewayConf
from tickarrow.jit import _kernel
from tickarrow.pipeline.costs import fees, shipped
from tickarrow.pipeline.errors import ConfigError, GatewayError, TickarrowError
from tickarrow.pipeline.simulator_faults import Faults
from tickarrow.pipeline.simulator_feed import Feed
from tickarrow.pipeline.simulator_frames import con_id
from tickarrow.pipeline.simulator_rules import Rules
from tickarrow.pipeline.simulator_sent import SentLog
from tickarrow.pipeline.simulator_session import Session
from tickarrow.pipeline.universe import Instrument

if TYPE_CHECKING:
    from tickarrow.pipeline.source import Source

ACCOUNT = "DU0000001"
TABLE = "ibkr_fixed"
LIMITS = ("pacing", "lines", "tick_by_tick", "tick_by_tick_s", "depth", "historical_per_10min", "historical_per_2s", "historical_identical_s",
          "historical_open")  # fmt: skip
CLOSING_S = 5.0  # what is still to be sent at the end may take this long
T = TypeVar("T")


class Simulator:
    """The server. `start` listens; `open` gives it its market, until then clients wait.

    Parameters
    ----------
    conf : address, clock and rules
    costs : what orders are charged; the default table without it
    """

    def __init__(self, conf: GatewayConf, costs: CostsConf | None = None) -> None:
        _check(conf)
        self.conf, self.fees = conf, fees(costs or shipped(TABLE))
        self.account: str = conf.account or ACCOUNT
        self.sessions: set[Session] = set()
        self.rules = Rules(conf, self.sessions)
        self.opened = False
        self.done = asyncio.Event()  # the served client is gone, or something failed
        self.failure: BaseException | None = None
        self.requests = self.bad_frames = self.unknown_requests = self.paced = self.overrun = 0
        self._sent = [0, 0, 0]
        self._clients: dict[int, Counter[str]] = {}  # what connections that are gone have got, by client id
        self._feeds: list[Feed] = []
        self._task: asyncio.Task[None] | None = None
        self._began = time.monotonic()
        self.before: tuple[int, int, dict[int, tuple[float, float]]] = (0, 0, {})  # what earlier runs have left, as `Feed.go_on` takes it
        self.faults = Faults(self) if conf.faults else None
        self.rolled_back: tuple[int, frozenset[tuple[int, int]]] = (1, frozenset())  # first order id, and the orders from before
        self._reopening: asyncio.Task[None] | None = None
        self._sent_log = SentLog(conf.sent_log) if conf.sent_log else None
        self._logged = False  # the first client has it

    def take_sent_log(self) -> SentLog | None:
        """The log of what is sent, for the first connection that asks."""
        log, self._logged = None if self._logged else self._sent_log, True
        return log

    async def start(self) -> int:
        """Listen; the port."""
        await self._listen(self.conf.port)
        port: int = self._server.sockets[0].getsockname()[1]
        self.port = port
        return port

    async def _listen(self, port: int) -> None:
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: Session(self), self.conf.host, port)
        except OSError as e:
            raise GatewayError(
                f"simulated gateway: port {port} of {self.conf.host} cannot be used ({os.strerror(e.errno) if e.errno else e}). "
                "Is another gateway running on it? Choose another port (gateway.port=...), or 0 for any free one."
            ) from None

    def restart(self, seconds: float, first_id: int) -> None:
        """Close every connection and the port, listen again after some seconds. Working orders, positions and executions are kept."""
        self._server.close()
        for s in list(self.sessions):
            s.close()
        self.feed.matching.free_ids()
        self.rolled_back = first_id, frozenset(self.feed.matching.orders)
        if self._reopening is not None:
            self._reopening.cancel()
        self._reopening = asyncio.get_running_loop().create_task(self._reopen(seconds))
        self._reopening.add_done_callback(self._clock_ended)

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listen(self.port)

    def open(self, source: Source) -> None:
        """Serve the market of a source."""
        self._source, self.universe = source, source.universe
        self.start_ns = source.start_ns
        self.instruments: dict[int | str, Instrument] = {}
        for i in self.universe:
            self.instruments[i.symbol] = self.instruments[con_id(i)] = i
        self.feed = self._new_feed()
        self.opened = True
        for s in list(self.sessions):
            self.guard(s.advance)

    def _new_feed(self) -> Feed:
        self._feeds.append(Feed(self._source, self.conf, self.fees, self.faults))
        self._feeds[-1].go_on(*self.before)
        self.rolled_back = 1, frozenset()
        if self.faults is not None:
            self.faults.begin(self._feeds[-1])
        return self._feeds[-1]

    def join(self, session: Session, lock_step: bool) -> Feed:
        """A client is served. The market begins anew for a client in lock step, and when the last market is over and nobody is there."""
        if not self.feed.clients and self.feed.begun and (lock_step or self.feed.lock_step or self.feed.over):
            self._stop_clock()
            self.feed = self._new_feed()
        if lock_step:
            self._stop_clock()
            self.feed.lock_step = self.feed.begun = True
        self.feed.clients[session.client_id] = session
        if not lock_step and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self.feed.run())
            self._task.add_done_callback(self._clock_ended)
        return self.feed

    def _stop_clock(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _clock_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (e := task.exception()) is not None:
            self.fail(e)

    def leave(self, session: Session) -> None:
        """A connection is gone."""
        self.sessions.discard(session)
        if not session.ready:
            return
        session.feed.clients.pop(session.client_id, None)
        self._sent = [a + b for a, b in zip(self._sent, session.encoder.sent)]
        self._clients.setdefault(session.client_id, Counter()).update(_got(session))
        session.feed.changed.set()
        if self.faults is not None:
            self.faults.leave(session)
        elif self.conf.once and not any(s.ready for s in self.sessions):
            self.done.set()

    def guard(self, action: Callable[[], None]) -> None:
        """Do it; what goes wrong ends the gateway, not only the connection."""
        try:
            action()
        except Exception as e:
            self.fail(e)

    def fail(self, e: BaseException) -> None:
        self.failure = self.failure or e
        self.done.set()

    async def close(self) -> None:
        """Stop listening, send what is pending, disconnect everybody."""
        self._stop_clock()
        if self._reopening is not None:
            self._reopening.cancel()
        self._server.close()
        for s in list(self.sessions):
            s.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied(), CLOSING_S)
        for s in list(self.sessions):
            s.transport.abort()
        if self._sent_log is not None:
            self._sent_log.close()

    async def _emptied(self) -> None:
        while self.sessions:
            await asyncio.sleep(0.001)

    @property
    def sent(self) -> list[int]:
        """Market-data messages, quote updates and trades sent to all clients."""
        live = [s.encoder.sent for s in self.sessions if s.ready]
        return [sum(x) for x in zip(self._sent, *live)]

    def _by_client(self) -> dict[str, dict[str, int]]:
        total = {client: counter.copy() for client, counter in self._clients.items()}
        for s in self.sessions:
            if s.ready:
                total.setdefault(s.client_id, Counter()).update(_got(s))
        return {str(client): dict(total[client]) for client in sorted(total)}

    def counts(self) -> dict[str, Any]:
        """What was sent and done, over all clients."""
        sent = self.sent
        orders = [f.matching for f in self._feeds]
        return {
            "sent_messages": sent[0], "sent_updates": sent[1], "sent_trades": sent[2],
            "orders": sum(m.placed for m in orders), "fills": sum(m.fills for m in orders), "cancelled": sum(m.cancelled for m in orders),
            "rejected": sum(m.rejected for m in orders), "requests": self.requests, "unknown_requests": self.unknown_requests,
            "bad_frames": self.bad_frames, "paced": self.paced, "overrun": self.overrun, "seconds": round(time.monotonic() - self._began, 3),
            "clients": self._by_client(),
            "faults": self.faults.counts() if self.faults is not None else {},
        }  # fmt: skip


def _got(s: Session) -> Counter[str]:
    """What a connection was sent, and what faults have kept back from it."""
    sent = dict(zip(("messages", "updates", "trades"), s.encoder.sent))
    kept = {f"withheld_{name}": sum(t[name] for t in s.tally.values()) for name in sent}
    return Counter({"connections": 1, "side_frames": s.side_frames} | sent | kept)


def _check(conf: GatewayConf) -> None:
    try:
        loopback = conf.host == "localhost" or ipaddress.ip_address(conf.host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(f"gateway.host is {conf.host!r}: the simulated gateway listens on this machine only. Use 127.0.0.1.")
    if not 0 <= conf.port <= 65535:
        raise ConfigError(f"gateway.port is {conf.port}: a port is a number from 1 to 65535, or 0 for any free one.")
    limits = {name: getattr(conf, name) for name in LIMITS if getattr(conf, name) < 0}
    if limits or not 0 <= conf.split_packets <= 1:
        name, value = next(iter(limits.items()), ("split_packets", conf.split_packets))
        raise ConfigError(f"gateway.{name} is {value:g}. Use 0 for no limit or a number above it; gateway.split_packets is a share from 0 to 1.")
    if not (0 <= conf.speed < math.inf and 0 <= conf.latency_ms < math.inf):
        raise ConfigError(f"gateway.speed is {conf.speed:g}, gateway.latency_ms {conf.latency_ms:g}: both are numbers from 0 on. 0 = at once.")
    if conf.conflation_ms < 0 or conf.quote_slots < 1:
        raise ConfigError(
            f"gateway.conflation_ms is {conf.conflation_ms:g} and gateway.quote_slots {conf.quote_slots}: "
            "use 0 (every row) or 250 ms, and at least 1 slot."
        )


def _typed(cls: type[T], name: str, values: dict[str, Any]) -> T:
    """The values as the dataclass; a key that it does not have is an error."""
    try:
        found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), values))
    except OmegaConfBaseException as e:
        raise ConfigError(f"{name}: {str(e).splitlines()[0]}. Correct the key or its value.") from None
    assert isinstance(found, cls)
    return found


def say(event: str, **values: Any) -> None:
    """One line for the program that started this one."""
    print(json.dumps({"event": event, **values}), flush=True)


def _watch_stdin(gone: Callable[[], None]) -> None:
    """Wait for the end of standard input. `os.read`, because a reader that holds a lock of `sys.stdin` breaks the interpreter's exit."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):
        gone()


async def _serve(config: dict[str, Any]) -> dict[str, Any]:
    costs = _typed(CostsConf, "costs", config["costs"]) if "costs" in config else None
    simulator = Simulator(_typed(GatewayConf, "gateway", config.get("gateway", {})), costs)
    loop = asyncio.get_running_loop()
    watch = threading.Thread(target=_watch_stdin, args=(lambda: loop.call_soon_threadsafe(simulator.done.set),), daemon=True)
    say("listening", port=await simulator.start())
    watch.start()
    try:
        source = await asyncio.to_thread(_load, config)
        if (before := config.get("before")) is not None:
            simulator.before = before["run"], before["ts"], {row: (shares, price) for row, (shares, price) in enumerate(before["held"]) if shares}
        simulator.open(source)
        await simulator.done.wait()
    finally:
        await simulator.close()
    if simulator.failure is not None:
        raise simulator.failure
    return simulator.counts() | {"left_out": source.bad}


def _load(config: dict[str, Any]) -> Source:
    """Open the source and make the kernels ready while the server already listens."""
    from tickarrow.configs.source import SourceConf
    from tickarrow.configs.universe import UniverseConf
    from tickarrow.pipeline.source import open_source

    source = open_source(
        _typed(SourceConf, "source", config.get("source", {})), _typed(UniverseConf, "universe", config.get("universe", {}))
    )
    _kernel.warm()
    return source


def main(arguments: list[str] | None = None) -> int:
    """Run the gateway as a process of its own."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not os.isatty(0):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started this one; it closes standard input
    try:
        if len(arguments) != 1:
            raise ConfigError("usage: python -m tickarrow.pipeline.simulator CONFIG.json")
        try:
            config = json.loads(Path(arguments[0]).read_text())
        except (OSError, ValueError) as e:
            raise ConfigError(f"{arguments[0]} cannot be read as JSON ({e}). It holds the keys gateway, source and universe.") from None
        counts = asyncio.run(_serve(config))
    except TickarrowError as e:
        say("error", message=str(e))
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as e:
        say("error", message=f"the simulated gateway broke: {type(e).__name__}: {e}. This is a defect: please report it.")
        raise
    say("done", **counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
