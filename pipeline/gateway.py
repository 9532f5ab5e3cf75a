"""The IBKR session: ib_async with a tap on its socket.

Market data goes through the tap into the pipeline; orders, contracts and any other ib_async code on the same `IB` keep working."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import ib_async

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.batch import Chunk
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.errors import GatewayError
from tickarrow.pipeline.orders import Orders
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.schemas import ControlKind, Feed
from tickarrow.pipeline.tap import Tap
from tickarrow.pipeline.universe import Universe

ACKNOWLEDGE = 9002
CANCELLED = 202  # an error code that says what was asked for
T = TypeVar("T")


class Gateway:
    """A connected session that feeds a pipeline and sends its orders.

    Parameters
    ----------
    conf : where to connect
    universe : what to subscribe
    pipeline : decides on every chunk
    journal : takes every chunk first; None = not recorded
    lock_step : ask for clock frames (our accelerated simulator only)
    tag : first part of each order's `orderRef`
    """

    def __init__(
        self, conf: GatewayConf, universe: Universe, pipeline: Pipeline, journal: Journal | None, *, lock_step: bool, simulated: bool, tag: str
    ) -> None:
        self.conf, self.universe, self.pipeline, self.journal, self.lock_step, self.tag = conf, universe, pipeline, journal, lock_step, tag
        self.ib = ib_async.IB()
        client = self.ib.client
        client.conn = self.tap = Tap(client.conn, pipeline.decode, self._on_chunk, self._on_read, self._on_end, self._on_lost, lock_step)
        if lock_step:
            client.MaxRequests = 0  # pacing counts market time there
        if simulated:
            client.setConnectOptions("+LOCKSTEP" if lock_step else "+END")
        self.orders: Orders | None = None
        self.sent: tuple[int, int, int] | None = None  # messages, updates, trades, as the simulator says
        self.request_ids: dict[int, int] = {}  # reqId -> universe row
        self._connected = False
        self._ready = False  # subscriptions are answered: clock frames are acknowledged
        self._decided = self._acknowledged = -1
        self._controls: list[Control] = []
        self._told: set[int] = set()  # codes of order errors that the user has been told
        self._refusal = ""  # the last error of the gateway that is of no request or order
        self._done: asyncio.Event = asyncio.Event()
        self._failure: BaseException | None = None
        self.tap.disconnected += self._on_disconnected
        self.ib.errorEvent += self._on_error

    async def connect(self, host: str, port: int) -> None:
        """Connect, look up the contracts and subscribe; GatewayError says why not."""
        where = f"gateway {host}:{port}"
        try:
            await self._or_failure(self.ib.connectAsync(host, port, self.conf.client_id, timeout=self.conf.timeout_s, account=self.conf.account))
        except ConnectionRefusedError:
            raise GatewayError(
                f"{where} refused the connection. Is IB Gateway running with the API port open? Try: tickarrow run (the simulated gateway)"
            ) from None
        except (TimeoutError, OSError, ConnectionError) as e:
            raise self._refused(str(e) or "no answer in time") from None
        self._connected = True
        for account in self.ib.client.getAccounts():
            if not account.startswith("D") and account != self.conf.live_account:
                raise GatewayError(
                    f"{where} is logged in to {account}, which is no paper account. Log in to a paper account, or allow it with gateway.live_account={account}"
                )
        try:
            await self._or_failure(self._subscribe(where))
        except TimeoutError:
            raise GatewayError(
                f"{where} did not answer a request within {self.conf.timeout_s:g} s. Is it connected to IBKR? Allow it more time with gateway.timeout_s."
            ) from None

    def _refused(self, why: str) -> GatewayError:
        """Why there is no session: what the gateway said, or what is likely."""
        where = f"gateway {self.ib.client.host}:{self.ib.client.port}"
        if self._refusal:
            return GatewayError(f"{where} refused the session: {self._refusal}")
        return GatewayError(f"{where} did not complete the handshake ({why}). Is client id {self.conf.client_id} in use, or the port another program's?")

    async def _or_failure(self, work: Coroutine[Any, Any, Any]) -> None:
        """Await `work`, or raise what went wrong on the connection meanwhile: it would wait for answers that cannot come."""
        task, failed = asyncio.ensure_future(work), asyncio.ensure_future(self._done.wait())
        try:
            await asyncio.wait({task, failed}, return_when=asyncio.FIRST_COMPLETED)
            if self._failure is not None:
                raise self._failure
            await task
        finally:
            task.cancel()
            failed.cancel()

    async def _subscribe(self, where: str) -> None:
        contracts = [ib_async.Stock(i.symbol, "SMART", "USD") for i in self.universe]
        for instrument, contract in zip(self.universe, contracts):
            found = await self._in_time(self.ib.reqContractDetailsAsync(contract))
            if not found:
                raise GatewayError(f"{where} does not know the symbol {instrument.symbol!r}. Remove it from the universe or check its spelling.")
            contract.conId = found[0].contract.conId
        self.orders = Orders(self.ib, contracts, self.tag, self._controls.append)
        for row, contract in enumerate(contracts):
            request = self.ib.client.getReqId()
            self.request_ids[request] = row
            self.pipeline.apply(Control(kind=ControlKind.SUBSCRIBE, symbol=row, key=request, value=Feed.L1))
            self.ib.client.reqMktData(request, contract, "", False, False, [])
        # Requests are answered in order, so when the time is answered all subscriptions are.
        await self._in_time(self.ib.reqCurrentTimeAsync())
        self._ready = True
        self._acknowledge(self._decided)

    async def _in_time(self, answer: Awaitable[T]) -> T:
        return await asyncio.wait_for(answer, self.conf.timeout_s or None)

    async def wait(self) -> None:
        """Run until the simulator says it has sent everything, or raise what went wrong."""
        await self._done.wait()
        if self._failure is not None:
            raise self._failure

    async def wind_down(self) -> None:
        """Cancel what is working, send nothing new, and wait until the gateway has confirmed it: orders outlive their client."""
        self._controls.append(Control(kind=ControlKind.KILL))
        self._apply_controls()
        if self.orders is None:
            return
        self.orders.send(self.pipeline.intents)
        deadline = time.monotonic() + self.conf.timeout_s
        while self.orders.working and time.monotonic() < deadline and not self._done.is_set():
            await asyncio.sleep(0.02)
        if self.orders.working:
            warnings.warn(f"{self.orders.working} orders are not confirmed as cancelled: look at them in TWS", stacklevel=2)

    def _apply_controls(self) -> None:
        for event in self._controls:
            self.pipeline.apply(event)
        self._controls.clear()

    def _on_chunk(self, chunk: Chunk, arrival: int) -> None:
        if self._failure is not None:
            return  # nothing is decided or sent after an error
        try:
            if self._controls:
                self._apply_controls()
            if self.journal is not None:
                self.journal.append(chunk)
            self.pipeline.feed(chunk, arrival)
            if len(self.pipeline.intents) and self.orders is not None:
                # Orders count as sent on the first chunk that is not yet acknowledged: acknowledge all before this one.
                self._acknowledge(chunk.number - 1)
                self.orders.send(self.pipeline.intents)
            self._decided = chunk.number
        except BaseException as e:
            self._fail(e)

    def _on_read(self) -> None:
        self._acknowledge(self._decided)
        if self._failure is None:
            try:
                self.pipeline.tables.prepare()
                if self.journal is not None:
                    self.journal.prepare()
            except OSError as e:  # no room for the next segment: the run must end with its own sentence
                self._fail(e)

    def _acknowledge(self, number: int) -> None:
        if self.lock_step and self._ready and number > self._acknowledged:
            self._acknowledged = number
            self.ib.client.send(ACKNOWLEDGE, number)

    def _on_end(self, sent: tuple[int, int, int]) -> None:
        self._apply_controls()  # what came after the last chunk
        self.sent = sent
        self._done.set()

    def _on_lost(self, why: str) -> None:
        where = f"gateway {self.ib.client.host}:{self.ib.client.port}"
        self._fail(GatewayError(f"{where}: {why}. Reconnect; if it happens again, record the stream and report it."))

    def _on_error(self, request: int, code: int, text: str, contract: Any) -> None:
        """An error of IBKR. Those of orders reach `orders`; without a word of the others a run waits for ticks that never come."""
        if 2100 <= code < 2200:
            return  # of data farms, not errors
        if request in self.request_ids:
            symbol = self.universe.symbols[self.request_ids[request]]
            warnings.warn(f"market data of {symbol}: {text} (code {code})", stacklevel=2)
        elif request >= 0 and self._ready and code not in self._told and code != CANCELLED:
            self._told.add(code)  # once: a refused order may be decided again and again
            warnings.warn(f"an order: {text} (code {code})", stacklevel=2)
        elif request < 0:
            self._refusal = f"{text} (code {code})"
            if self._ready:
                warnings.warn(f"gateway: {self._refusal}", stacklevel=2)

    def _on_disconnected(self, *_: Any) -> None:
        if not self._connected:
            self._fail(self._refused("no answer in time, or it closed the connection"))
        elif not self._done.is_set():
            why = self._refusal or "Restart it and run again."
            self._fail(GatewayError(f"gateway {self.ib.client.host}:{self.ib.client.port} closed the connection. {why}"))

    def _fail(self, e: BaseException) -> None:
        if self._failure is None:
            self._failure = e
        self._done.set()

    def disconnect(self) -> None:
        self._done.set()
        self.ib.disconnect()
