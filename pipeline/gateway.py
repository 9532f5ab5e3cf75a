"""The IBKR session: ib_async with a tap on its socket.

Market data goes through the tap into the pipeline; orders, contracts and any other ib_async code on the same `IB` keep working. Outside
lock step a lost session is built up again: orders and positions are read, then all data asked for under fresh ids (gateway_watch.py)."""

from __future__ import annotations

import asyncio
import contextlib
import time
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import ib_async

from tickarrow.configs.gateway import GatewayConf
from tickarrow.configs.orders import OrdersConf
from tickarrow.pipeline.batch import Batch, Chunk
from tickarrow.pipeline.contracts import look_up
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode import Decode
from tickarrow.pipeline.errors import GatewayError
from tickarrow.pipeline.gateway_watch import PERIOD_S, SHORTEST_S, Status, Watch
from tickarrow.pipeline.kill_switch import KillSwitch
from tickarrow.pipeline.link import LinkState, patient
from tickarrow.pipeline.patience import within
from tickarrow.pipeline.preflight import Known, check_account, preflight
from tickarrow.pipeline.recorder import Journal
from tickarrow.pipeline.router_ib import Orders
from tickarrow.pipeline.router_ledger import Ledger
from tickarrow.pipeline.schemas import ControlKind
from tickarrow.pipeline.subscriptions import Subscriptions
from tickarrow.pipeline.tap import Tap
from tickarrow.pipeline.universe import Universe

ACKNOWLEDGE = 9002
CANCELLED = 202  # an error code that says what was asked for
NOTES = {1101, 1102, 2110}  # codes of the link that the user is told


class Prepared(Protocol):
    """Tables that make their next segments ahead of need."""

    def prepare(self) -> None: ...


class Consumer(Protocol):
    """What a gateway feeds: `Pipeline`, or a recorder without models."""

    decode: Decode
    chunk: int  # number of the last one fed
    ts: int  # its time

    @property
    def tables(self) -> Prepared: ...

    @property
    def intents(self) -> Batch: ...

    def quote(self, row: int) -> tuple[float, float]: ...

    def feed(self, chunk: Chunk, arrival_ns: int) -> Any: ...

    def apply(self, event: Control) -> None: ...


class Gateway:
    """A connected session that feeds a pipeline and sends its orders.

    Parameters
    ----------
    conf : where to connect
    universe : what to subscribe
    pipeline : decides on every chunk
    journal : takes every chunk first; None = not recorded
    lock_step : ask for clock frames (our accelerated simulator only)
    ledger : opens what is known of the orders of an account; None = none are sent
    orders : how they are sent
    known : for the pre-flight, which looks at everything before the first order; None = there is none
    """

    def __init__(
        self, conf: GatewayConf, universe: Universe, pipeline: Consumer, journal: Journal | None, *, lock_step: bool, simulated: bool,
        ledger: Callable[[str], Ledger] | None, orders: OrdersConf | None = None, known: Known | None = None,
    ) -> None:  # fmt: skip
        self.conf = conf = patient(conf)
        self.universe, self.pipeline, self.journal, self.lock_step, self._ledger = universe, pipeline, journal, lock_step, ledger
        self.ib, self._orders_conf, self._known = ib_async.IB(), orders or OrdersConf(), known
        self.watch = Watch(self, Subscriptions(conf, universe))
        client = self.ib.client
        client.conn = self.tap = Tap(
            client.conn, pipeline.decode, self._on_chunk, self._on_read, self._on_end, self._on_lost, lock_step, self.watch.version, self._on_resync
        )
        if lock_step:
            client.MaxRequests = 0  # pacing counts market time there
        if simulated:
            client.setConnectOptions("+LOCKSTEP" if lock_step else "+END")
        self.contracts: list[Any] = [ib_async.Stock(i.symbol, "SMART", "USD") for i in universe]
        self.orders: Orders | None = None
        self.kill: KillSwitch | None = None
        self.sent: tuple[int, int, int] | None = None  # messages, updates, trades, as the simulator says
        self.loop_time: Callable[[], float] = time.monotonic
        self._market_speed = conf.speed if conf.kind == "simulator" and conf.speed > 0 else 1.0
        self._looking: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self.idle = [lambda: pipeline.tables.prepare(), *([journal.prepare] if journal is not None else [])]  # called when nothing waits
        self.first_id = 0  # no id below it is used again: a gateway that restarts rolls its ids back
        self._issue, client.getReqId = client.getReqId, self._next_id  # ib_async takes ids for orders and requests there too
        client.apiStart += lambda: client.updateReqId(self.first_id)
        self._connected = self._ready = False  # ready: subscriptions are answered: clock frames are acknowledged
        self._decided = self._acknowledged = -1
        self._controls: list[Control] = []
        self.host, self.port = conf.host, conf.port
        self._told: set[int] = set()  # codes of order errors that the user has been told
        self._refusal = ""  # the last error of the gateway that is of no request or order
        self._done: asyncio.Event = asyncio.Event()
        self._failure: BaseException | None = None
        self.tap.disconnected += self._on_disconnected
        self.ib.errorEvent += self._on_error

    async def connect(self, host: str, port: int) -> None:
        """Connect, look up the contracts and subscribe; GatewayError says why not."""
        self.host, self.port, self.loop_time = host, port, asyncio.get_running_loop().time
        try:
            await self._or_failure(self.ib.connectAsync(host, port, self.conf.client_id, timeout=self.conf.timeout_s, account=self.conf.account))
        except ConnectionRefusedError:
            raise GatewayError(
                f"{self.where} refused the connection. Is IB Gateway running with the API port open? Try: tickarrow run (the simulated gateway)"
            ) from None
        except (TimeoutError, OSError, ConnectionError) as e:
            raise self._refused(str(e) or "no answer in time") from None
        self._connected = True
        check_account(self.conf, self.port, self.ib.client.getAccounts(), trades=self._ledger is not None)
        try:
            await self._or_failure(self._subscribe())
        except TimeoutError:
            raise GatewayError(
                f"{self.where} did not answer a request within {self.conf.timeout_s:g} s. Is it connected to IBKR? Allow it more time with gateway.timeout_s."
            ) from None
        if not self.lock_step:
            self._looking = asyncio.ensure_future(self._look())

    @property
    def where(self) -> str:
        return f"gateway {self.host}:{self.port}"

    def seconds(self) -> float:
        """Market seconds since some moment: those of the wall, faster where a simulated market runs faster."""
        return self.loop_time() * self._market_speed

    def _next_id(self) -> int:
        request = int(self._issue())
        self.first_id = max(self.first_id, request + 1)
        return request

    def _refused(self, why: str) -> GatewayError:
        """Why there is no session: what the gateway said, or what is likely."""
        if self._refusal:
            return GatewayError(f"{self.where} refused the session: {self._refusal}")
        return GatewayError(f"{self.where} did not complete the handshake ({why}). Is client id {self.conf.client_id} in use, or the port another program's?")

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

    async def _subscribe(self) -> None:
        grids = await look_up(self.ib, self.contracts, self.where, self.conf.timeout_s or None, self._ledger is not None)
        if self._ledger is not None:
            account, tag = self.conf.account or self.ib.client.getAccounts()[0], f"ta{self.conf.client_id}"
            ledger, reports = self._ledger(account), (self._controls.append, self.tell, (lambda: self.pipeline.ts * 1e-9) if self.lock_step else self.seconds)
            self.orders = Orders(self.ib, self.contracts, account, tag, ledger, self._orders_conf, *reports, not self.lock_step, grids, self.pipeline)
            await self.orders.settle(self.conf.timeout_s or None, self._market_speed)
            self._apply_controls()
            if self.kill is not None:
                self.kill.ready()
            if self._known is not None:
                await preflight(self, self._known)
        if left_out := self.watch.table.degraded:
            self.tell(f"tick-by-tick data of {', '.join(left_out)}: the account has {self.conf.tick_by_tick} streams, L1 is asked for in their place.")
        if self.conf.market_data_type != 1:
            self.ib.client.reqMarketDataType(self.conf.market_data_type)
        self.watch.begin(self.seconds())
        while not self.watch.ask(self.seconds(), unpaced=self.lock_step):
            await asyncio.sleep(0.05)
        # Requests are answered in order, so when the time is answered all subscriptions are.
        await within(self.conf.timeout_s or None, self.ib.reqCurrentTimeAsync())
        self._ready = True
        self._acknowledge(self._decided)

    async def wait(self) -> None:
        """Run until the simulator says it has sent everything, or raise what went wrong."""
        await self._done.wait()
        if self._failure is not None:
            raise self._failure

    async def wind_down(self) -> None:
        """Cancel what is working, send nothing new, and wait until the gateway has confirmed it: orders outlive their client."""
        self._apply_controls()
        self.apply(Control(kind=ControlKind.KILL))
        if self.orders is None:
            return
        self.orders.router.cancel_all()
        deadline = time.monotonic() + self.conf.timeout_s
        while self.orders.working and time.monotonic() < deadline and not self._done.is_set():
            await asyncio.sleep(0.02)
        if self.orders.working:
            warnings.warn(f"{self.orders.working} orders are not confirmed as cancelled: look at them in TWS", stacklevel=2)
        self.orders.tell_brackets()

    def apply(self, event: Control) -> None:
        """Apply a control event at once: nothing is being decoded now."""
        self.pipeline.apply(event)

    def _apply_controls(self) -> None:
        for event in self._controls:
            self.pipeline.apply(event)
        self._controls.clear()

    def tell(self, text: str) -> None:
        """One line for the user; the same line twice is two events."""
        warnings.warn_explicit(text, UserWarning, "gateway.py", 1)

    # --- a link that breaks, and comes back

    async def _look(self) -> None:
        """Watch until the end."""
        try:
            while not self._done.is_set():
                await asyncio.sleep(max(PERIOD_S / self._market_speed, SHORTEST_S))
                if not self._done.is_set():
                    self._apply_controls()
                    self.watch.look(self.seconds())
        except Exception as e:
            self.fail(e)

    def reconnect(self) -> None:
        """Try once to build the session up again."""
        self.watch.link.connecting(self.seconds())
        self._reconnecting = asyncio.ensure_future(self._reconnect())

    async def _reconnect(self) -> None:
        timeout = self.conf.timeout_s or GatewayConf.timeout_s
        self._refusal = ""
        try:
            await self.ib.connectAsync(
                self.host, self.port, self.conf.client_id, timeout=timeout, account=self.conf.account, fetchFields=ib_async.StartupFetch(0)
            )
            check_account(self.conf, self.port, self.ib.client.getAccounts(), trades=self._ledger is not None)
            if self.orders is not None:
                await self.orders.settle(timeout, self._market_speed)
        except GatewayError as e:
            self.fail(e)
        except (TimeoutError, OSError, ConnectionError, asyncio.CancelledError) as e:
            self._abort()
            self.watch.down(self.seconds(), self._refusal or str(e) or "no answer in time")
            if isinstance(e, asyncio.CancelledError):
                raise
        except Exception as e:
            self.fail(e)
        else:
            self._apply_controls()
            self.tell(f"{self.where}: connected again after {self.seconds() - self.watch.link.lost_at:.1f} s")
            self.watch.up(self.seconds())

    def look_at_orders(self) -> None:
        """What time brings to orders, and the question for them where one is due."""
        if self.orders is not None:
            self.orders.look()
            if self.orders.router.due():
                self._asking = asyncio.ensure_future(self._ask_for_orders(self.orders))

    async def _ask_for_orders(self, orders: Orders) -> None:
        try:
            await orders.ask(self.conf.timeout_s or GatewayConf.timeout_s)
        except Exception as e:
            if not isinstance(e, TimeoutError | ConnectionError):  # else it is asked again, or read after the reconnect
                self.fail(e)

    def _abort(self) -> None:
        """Close the socket without waiting for the other side: it may be gone."""
        if self.tap.transport is not None:
            self.tap.transport.abort()

    def drop(self, why: str) -> None:
        """The socket is of no use any more."""
        self._refusal = why
        self._abort()

    def give_up(self, why: str) -> None:
        """There was no connection for too long."""
        self.fail(GatewayError(f"{self.where} could not be reached again within {self.conf.reconnect_give_up_s:g} s: {why}"))

    def status(self) -> Status:
        """Link, budgets and every subscription at this moment."""
        return self.watch.status(self.seconds())

    def _on_chunk(self, chunk: Chunk, arrival: int) -> None:
        if self._failure is not None:
            return  # nothing is decided or sent after an error
        try:
            if self.kill is not None:
                self.kill.check()
            self._apply_controls()
            if self.journal is not None:
                self.journal.append(chunk)
            self.pipeline.feed(chunk, arrival)
            if self.orders is not None and (len(self.pipeline.intents) or self.orders.router.busy):
                # Orders count as sent on the first chunk that is not yet acknowledged: acknowledge all before this one.
                self._acknowledge(chunk.number - 1)
                self.orders.send(self.pipeline.intents)
            self._decided = chunk.number
        except BaseException as e:
            self.fail(e)

    def _on_read(self) -> None:
        self._acknowledge(self._decided)
        if self._failure is None:
            try:
                for work in self.idle:
                    work()
            except OSError as e:  # no room for the next segment: the run must end with its own sentence
                self.fail(e)

    def _acknowledge(self, number: int) -> None:
        if self.lock_step and self._ready and number > self._acknowledged:
            self._acknowledged = number
            self.ib.client.send(ACKNOWLEDGE, number - self.tap.first_chunk)

    def _on_end(self, sent: tuple[int, int, int]) -> None:
        if self.orders is not None:
            self.orders.router.refuse_new("the market is over")
        self._apply_controls()  # what came after the last chunk
        self.sent = sent
        self._done.set()

    def _on_resync(self, skipped: int) -> None:
        self._controls.append(Control(kind=ControlKind.RESYNC, value=float(skipped)))
        self.tell(f"{self.where}: {skipped} bytes were no frames and are skipped; quotes are uncertain until they come anew")

    def _on_lost(self, why: str) -> None:
        if self.lock_step or not self._ready:
            self.fail(GatewayError(f"{self.where}: {why}. Reconnect; if it happens again, record the stream and report it."))
        else:
            self.drop(why)

    def _on_error(self, request: int, code: int, text: str, contract: Any) -> None:
        """An error of IBKR. Those of orders reach `orders`; without a word of the others a run waits for ticks that never come."""
        ours = self.watch.error(request, code, text, self.seconds())
        if self.orders is not None and request >= 0 and not ours:
            self.orders.router.error(request, code, text)
        if request >= 0:
            if not ours and self._ready and code not in self._told and code != CANCELLED:
                self._told.add(code)  # once: a refused order may be decided again and again
                self.tell(f"an order: {text} (code {code})")
        elif code in NOTES or not 2100 <= code < 2200:  # the others of 2100 are of data farms, no errors
            if code not in NOTES:
                self._refusal = f"{text} (code {code})"
            if self._ready:
                self.tell(f"gateway: {text} (code {code})")

    def _on_disconnected(self, *_: Any) -> None:
        if self._done.is_set():
            return
        if self.orders is not None:
            self.orders.router.lost()
        if not self._connected:
            self.fail(self._refused("no answer in time, or it closed the connection"))
        elif self.lock_step or not self._ready:
            self.fail(GatewayError(f"{self.where} closed the connection. {self._refusal or 'Restart it and run again.'}"))
        elif self.watch.link.state in (LinkState.UP, LinkState.LOST):  # else an attempt to connect has failed, and says so itself
            why = self._refusal or "it closed the connection"
            self.watch.down(self.seconds(), why)
            self.tell(f"{self.where}: {why}. Reconnecting; no orders until orders and positions are read again.")

    def fail(self, e: BaseException) -> None:
        """End, and let `wait` and `connect` raise `e`; the first one counts."""
        if self._failure is None:
            self._failure = e
        self._done.set()

    def disconnect(self) -> None:
        self._done.set()
        for task in (self._looking, self._reconnecting, self._asking):
            if task is not None:
                task.cancel()
        with contextlib.suppress(ConnectionError):  # the socket may be half gone
            self.ib.disconnect()
        if self.orders is not None:
            self.orders.router.ledger.close()
