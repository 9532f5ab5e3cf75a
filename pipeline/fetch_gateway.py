"""Historical requests through ib_async: frames of history of our own requests go to the history kernel, all other bytes unchanged to ib_async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

import ib_async
import pyarrow as pa
from ib_async.connection import Connection

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline.errors import DataError, GatewayError
from tickarrow.pipeline.history import BAR_UPDATE, IDS, History, decode_history
from tickarrow.pipeline.patience import within

LONGEST = 16 << 20  # bytes of a frame
TICKS = 1000  # IBKR gives at most so many a request, and the rest of the last second
NO_DATA, NO_CONTRACT = 162, 200


class Refused(GatewayError):
    """The gateway's answer to a request is an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text.strip().rstrip('.')} (code {code})")
        self.code, self.text = code, text

    @property
    def pacing(self) -> bool:
        return self.code == NO_DATA and "pacing" in self.text.lower()

    @property
    def no_data(self) -> bool:
        return self.code == NO_DATA and "no data" in self.text.lower()


class HistoryTap(Connection):  # type: ignore[misc]
    """Takes the place of `ib.client.conn`.

    Parameters
    ----------
    old : the connection it replaces; its two documented events are kept
    on_frame : called with the payload of each frame of history of an open request
    on_lost : called when the length of a frame is impossible
    """

    def __init__(self, old: Connection, on_frame: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self.on_frame, self.on_lost = on_frame, on_lost
        self.open: set[int] = set()
        self.closed: set[int] = set()  # late answers of these are dropped
        super().__init__()
        self.hasData, self.disconnected = old.hasData, old.disconnected

    def reset(self) -> None:
        super().reset()
        self._rest = bytearray()
        self._greeted = False

    def data_received(self, data: bytes) -> None:
        rest = self._rest
        rest += data
        pos, forward = 0, []
        while len(rest) - pos >= 4:
            n = int.from_bytes(rest[pos : pos + 4], "big")
            if n > LONGEST:
                self.on_lost()
                return
            if len(rest) - pos - 4 < n:
                break
            payload = bytes(rest[pos + 4 : pos + 4 + n])
            request = self._request(payload) if self._greeted else None
            if request in self.open:
                self.on_frame(payload)
            elif request not in self.closed:
                forward.append(bytes(rest[pos : pos + 4 + n]))
            self._greeted = True  # the first frame is the handshake's answer
            pos += 4 + n
        del rest[:pos]
        if forward:
            self.hasData.emit(b"".join(forward))

    @staticmethod
    def _request(payload: bytes) -> int | None:
        """reqId of a frame of history."""
        head, _, more = payload[:40].partition(b"\0")
        number = more.partition(b"\0")[0]
        if not (head.isdigit() and number.isdigit()) or int(head) not in IDS:
            return None
        return int(number)


class HistoryGateway:
    """A session for historical requests only: it subscribes to nothing and orders nothing."""

    def __init__(self, conf: GatewayConf, answer_s: float, zone: tzinfo) -> None:
        self.conf, self.answer_s, self.zone = conf, answer_s, zone
        self.where = f"gateway {conf.host}:{conf.port}"
        self.ib = ib_async.IB()
        client = self.ib.client
        client.conn = self.tap = HistoryTap(client.conn, self._on_frame, self._on_lost)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._parts: dict[int, list[History]] = {}
        self._said = ""
        self.tap.disconnected += self._on_disconnected
        self.ib.errorEvent += self._on_error

    async def connect(self) -> None:
        """Connect; GatewayError says why not."""
        c = self.conf
        try:
            await self.ib.connectAsync(c.host, c.port, c.client_id, c.timeout_s, readonly=True, fetchFields=ib_async.StartupFetchNONE)
        except ConnectionRefusedError:
            raise GatewayError(f"{self.where} refused the connection. Is IB Gateway running with the API port open? Name its port: gateway.port=PORT") from None
        except (TimeoutError, OSError) as e:
            why = self._said or str(e) or "no answer in time"
            raise GatewayError(
                f"{self.where} did not complete the handshake ({why}). Is client id {c.client_id} in use, or the port another program's?"
            ) from None

    async def contract(self, symbol: str) -> ib_async.Contract:
        """The contract of a US stock."""
        contract = ib_async.Stock(symbol, "SMART", "USD")
        try:
            found = await within(self.answer_s, self.ib.reqContractDetailsAsync(contract))
        except TimeoutError:
            raise GatewayError(f"no answer to the question for the contract within {self.answer_s:g} s") from None
        if not found:
            raise Refused(NO_CONTRACT, "no such contract; check the spelling of the symbol")
        contract.conId = found[0].contract.conId
        return contract

    async def ticks(self, contract: ib_async.Contract, what: str, begin: int, regular: bool) -> pa.Table:
        """Ticks from a second on, as `HISTORY_SCHEMAS` says: at most 1,000, and the others of the last one's second."""
        start = f"{datetime.fromtimestamp(begin, UTC):%Y%m%d %H:%M:%S} UTC"
        client = self.ib.client
        return await self._answer(lambda req: client.reqHistoricalTicks(req, contract, start, "", TICKS, what, regular, False, []))

    async def bars(self, contract: ib_async.Contract, what: str, end: int, size: str, regular: bool) -> pa.Table:
        """Bars of the day before a second."""
        until = f"{datetime.fromtimestamp(end, UTC):%Y%m%d %H:%M:%S} UTC"
        client = self.ib.client
        return await self._answer(lambda req: client.reqHistoricalData(req, contract, until, "1 D", size, what, regular, 2, False, []))

    async def _answer(self, send: Callable[[int], None]) -> pa.Table:
        if not self.ib.isConnected():
            raise ConnectionError(self._closed())
        req = self.ib.client.getReqId()
        self._waiting[req] = future = asyncio.get_running_loop().create_future()
        self._parts[req] = []
        self.tap.open.add(req)
        try:
            send(req)
            await within(self.answer_s, future)
        finally:
            self.tap.open.discard(req)
            self.tap.closed.add(req)
            del self._waiting[req]
            parts = self._parts.pop(req)
        return pa.concat_tables([h.table.unify_dictionaries() for h in parts])

    def _on_frame(self, payload: bytes) -> None:
        req = int(payload.split(b"\0", 2)[1])
        waiting = self._waiting.get(req)
        if waiting is None or waiting.done():
            return
        try:
            h = decode_history(payload, self.zone)
        except DataError as e:
            waiting.set_exception(e)
            return
        if h.id != BAR_UPDATE:
            self._parts[req].append(h)
            if h.done:
                waiting.set_result(None)

    def _on_error(self, req: int, code: int, text: str, contract: Any) -> None:
        waiting = self._waiting.get(req)
        if waiting is not None and not waiting.done() and not 2100 <= code < 2200:
            waiting.set_exception(Refused(code, text))
        elif req < 0 and not 2100 <= code < 2200:
            self._said = f"{text} (code {code})"

    def _on_lost(self) -> None:
        self._fail("the framing of the stream is lost")
        self.ib.disconnect()

    def _on_disconnected(self, *_: Any) -> None:
        self._fail(self._closed())

    def _closed(self) -> str:
        return self._said or "it closed the connection"

    def _fail(self, why: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError(why))

    def disconnect(self) -> None:
        self.ib.disconnect()
