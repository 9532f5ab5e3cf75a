"""Stage `decode`: bytes of the wire, or rows of a file, become TICKS.

`Decode.split` says what of the received bytes is for ib_async and where a clock frame ends a chunk; `Decode.step` turns a chunk into
rows. Both are one kernel call. `FromRows` gives the same rows from a file without a wire between (design contract 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tickarrow.jit import book, wire, wire_fields, wire_frames, wire_message, wire_step
from tickarrow.jit.wire_step import N_ASIDE, NEW_BAD, NO_ROOM, POS, SELDOM, STATUS, step
from tickarrow.pipeline.batch import Batch, Chunk, Segment, Table
from tickarrow.pipeline.decode_tables import Floats, SideTables
from tickarrow.pipeline.errors import DataError
from tickarrow.pipeline.schemas import TICKS, ControlKind, Feed, Flag, Health
from tickarrow.pipeline.stage import Snapshot, copied

if TYPE_CHECKING:
    from tickarrow.pipeline.decide import Control
    from tickarrow.pipeline.source_rows import Rows

Bytes: TypeAlias = npt.NDArray[np.uint8]

MORE, CLOCK, END, LOST = wire.MORE, wire.AT_CLOCK, wire.AT_END, wire.LOST  # why a split stopped

SERVER_VERSION = 178  # the newest that ib_async offers
SMALLEST_FRAME = 14  # bytes of the smallest frame that can make a row: a tickSize with one digit a field
MESSAGES = 256  # records between the two kernels: they stay in the first-level cache
OTHERS = 4 * MESSAGES  # records of other tables than TICKS that are put aside
SAMPLE_BYTES = 64
COLUMNS = [f.name for f in TICKS]


@dataclass(slots=True)
class Split:
    """What a walk over received frames found.

    `forward` holds the byte spans [start, end), prefixes included, of frames that are not ours; it is valid until the next split.
    """

    status: int  # MORE: no complete frame left; CLOCK, END: behind such a frame; LOST: framing is lost at pos, more bytes must come
    pos: int  # behind the last frame walked
    forward: npt.NDArray[np.int64]
    clock_ts: int = 0  # ns, of a CLOCK
    clock_number: int = 0
    end: tuple[int, int, int] = (0, 0, 0)  # of an END: sent messages, updates, trades


def subscription_table(entries: npt.NDArray[Any], n: int = 64) -> npt.NDArray[Any]:
    """Hash table by reqId with a power of two of places, at least `n`, at most half of them taken."""
    while n < 2 * len(entries):
        n *= 2
    table = np.zeros(n, wire_fields.SUBSCRIPTION)
    table["req_id"] = -1
    for entry in entries:
        table[place(table, int(entry["req_id"]))] = entry
    return table


def place(table: npt.NDArray[Any], req_id: int) -> int:
    """Index of a request in a hash table that has free places, or of the free place where it belongs."""
    keys, last = table["req_id"], len(table) - 1
    i = req_id & last
    while keys[i] >= 0 and keys[i] != req_id:
        i = (i + 1) & last
    return i


def counts_of(counted: npt.NDArray[np.int64]) -> dict[str, int]:
    """Counters of `wire.decode` by name; private frames are not messages."""
    n = [int(c) for c in counted]
    decoded, forwarded, late, bad, private = n[: wire.N_OUTCOMES]
    out = {"messages": decoded + forwarded + late + bad, "decoded": decoded, "forwarded": forwarded, "late": late, "bad": bad, "private": private}
    out |= {"resyncs": n[wire.RESYNCS], "skipped_bytes": n[wire.SKIPPED]}
    return out | {f"bad_{r.replace(' ', '_')}": n[wire.N_OUTCOMES + k] for k, r in enumerate(wire_message.REASONS) if r}


class Decode:
    """Bytes -> TICKS. A frame is ours by (message id, reqId); all others are for ib_async.

    Parameters
    ----------
    n_symbols : rows of the universe
    table : TICKS
    depth, bars, greeks : the tables beside it; None = their latest rows are kept in memory
    """

    outputs = TICKS

    def __init__(self, n_symbols: int, table: Table, depth: Table | None = None, bars: Table | None = None, greeks: Table | None = None) -> None:
        self._table = table
        self.side = SideTables(n_symbols, depth, bars, greeks)
        self.step_kernel = step
        self._others = np.zeros(OTHERS, wire_message.MESSAGE)
        self._book = book.new_book(n_symbols)
        self._subscriptions = subscription_table(np.zeros(0, wire_fields.SUBSCRIPTION))
        self._messages = np.zeros(MESSAGES, wire_message.MESSAGE)
        self._counts = np.zeros(wire.N_COUNTS, np.int64)
        self._bad_frames = np.zeros((wire.SAMPLES, 3), np.int64)
        self._samples: list[tuple[str, bytes]] = []
        self._spans = np.zeros((1024, 2), np.int64)
        self._private = np.zeros(3, np.int64)
        self._field_ends = np.zeros(wire_message.MAX_FIELDS, np.int64)
        self._open_ends = np.array([book.NOBODY, book.NOBODY, 0], np.int64)
        self._columns = np.zeros(len(COLUMNS), np.int64)
        self._data: Bytes = np.zeros(0, np.uint8)
        self._segment: Segment | None = None
        control = np.zeros(wire_step.N_WORDS, np.int64)
        control[wire_step.SEQ] = table.rows
        for word, array, n in (
            (wire_step.MESSAGES, self._messages, wire_step.N_MESSAGES), (wire_step.BOOKS, self._book, wire_step.N_BOOKS),
            (wire_step.FIELD_ENDS, self._field_ends, None), (wire_step.COUNTS, self._counts, None),
            (wire_step.BAD_FRAMES, self._bad_frames, None), (wire_step.OPEN_ENDS, self._open_ends, None),
            (wire_step.PRIVATE_NUMBERS, self._private, None), (wire_step.COLUMNS, self._columns, None),
            (wire_step.OTHERS, self._others, wire_step.N_OTHERS),
        ):  # fmt: skip
            control[word] = array.ctypes.data
            if n is not None:
                control[n] = len(array)
        self._control = control
        self._words = control.data  # a word costs 30 ns here and 100 ns as a NumPy scalar
        self._address: int = control.ctypes.data
        self.server_version = SERVER_VERSION
        self._bind_subscriptions()
        self._bind_spans()

    # --- whose frames are ours

    def subscribe(self, req_id: int, symbol: int, feed: Feed) -> None:
        """Frames of this request are ours from now on and say something of the symbol with this row."""
        if not 0 <= symbol < len(self._book) or req_id < 0:
            raise ValueError(f"request {req_id}, symbol row {symbol}: not in a universe of {len(self._book)}")
        self._change(req_id, symbol, feed, wire_fields.LIVE)

    def unsubscribe(self, req_id: int) -> None:
        """Later frames of this request are counted as late and dropped."""
        entry = self._subscriptions[place(self._subscriptions, req_id)]
        if entry["req_id"] == req_id:
            self._change(req_id, int(entry["symbol"]), Feed(int(entry["feed"])), wire_fields.RETIRED)

    def heard(self, req_id: int) -> tuple[int, int]:
        """Time (ns) of the chunk of a request's latest decoded frame, 0 = none yet, and how many such frames there were."""
        entry = self._subscriptions[place(self._subscriptions, req_id)]
        return (int(entry["ts"]), int(entry["frames"])) if entry["req_id"] == req_id else (0, 0)

    def live_requests(self) -> list[int]:
        """Requests whose frames are ours now."""
        table = self._subscriptions
        return sorted(int(i) for i in table["req_id"][(table["req_id"] >= 0) & (table["state"] == wire_fields.LIVE)])

    def first_free(self) -> int:
        """No request had this number or a higher one."""
        return int(self._subscriptions["req_id"].max()) + 1

    def silent(self) -> list[int]:
        """Rows of the symbols whose own data is not live."""
        return [int(i) for i in np.flatnonzero(self._book["silent"] & book.SUBSCRIPTION)]

    @property
    def server_version(self) -> int:
        """Negotiated with the gateway: field tables depend on it."""
        return self._server_version

    @server_version.setter
    def server_version(self, version: int) -> None:
        self._server_version = version
        self._control[wire_step.VERSION] = wire_message.version_row(version)

    def _change(self, req_id: int, symbol: int, feed: Feed, state: int) -> None:
        table = self._subscriptions
        if 2 * (np.count_nonzero(table["req_id"] >= 0) + 1) > len(table):
            self._subscriptions = table = subscription_table(table[table["req_id"] >= 0], 2 * len(table))
        entry = table[place(table, req_id)]
        entry["req_id"], entry["symbol"], entry["feed"], entry["state"] = req_id, symbol, int(feed), state
        self._bind_subscriptions()

    def _bind_subscriptions(self) -> None:
        table = self._subscriptions
        self._control[wire_step.SUBSCRIPTIONS], self._control[wire_step.N_SUBSCRIPTIONS] = table.ctypes.data, len(table)
        last = (table["req_id"] >= 0) & (table["state"] == wire_fields.LIVE) & np.isin(table["feed"], [Feed.TBT_LAST, Feed.TBT_ALL])
        self._book["last_subscribed"] = np.bincount(table["symbol"][last], minlength=len(self._book))

    # --- bytes

    def _bind_data(self, data: Bytes) -> None:
        self._data = data
        self._control[wire_step.DATA], self._control[wire_step.DATA_SIZE] = data.ctypes.data, data.size

    def _bind_spans(self) -> None:
        self._control[wire_step.SPANS], self._control[wire_step.N_SPANS] = self._spans.ctypes.data, len(self._spans)

    def split(self, data: Bytes, lo: int, hi: int) -> Split:
        """Walk the complete frames of data[lo:hi], which is padded by 64 bytes, up to a clock frame or end frame."""
        if data is not self._data:
            self._bind_data(data)
        n = wire_step.split_step(self._address, lo, hi)
        while self._words[wire_step.STATUS] == wire.FULL:
            self._spans = np.zeros((2 * len(self._spans), 2), np.int64)
            self._bind_spans()
            n = wire_step.split_step(self._address, lo, hi)
        split = Split(self._words[wire_step.STATUS], self._words[wire_step.POS], self._spans[:n])
        if split.status == CLOCK:
            split.clock_ts, split.clock_number = int(self._private[0]), int(self._private[1])
        elif split.status == END:
            split.end = (int(self._private[0]), int(self._private[1]), int(self._private[2]))
        return split

    def resync(self, data: Bytes, lo: int, hi: int) -> int:
        """First place behind `lo` where two frames in a row are sound, whatever else may become one with more bytes; -1 = none."""
        return int(wire_frames.search(data, lo, hi, -1, wire_message.version_row(self._server_version), False))

    def step(self, chunk: Chunk) -> Batch:
        """Decode the complete frames of a chunk; `chunk.lo` moves behind the last of them."""
        table, data, words = self._table, chunk.data, self._words
        if data is not self._data:
            self._bind_data(data)
        most = (chunk.hi - chunk.lo) // SMALLEST_FRAME
        if table.size + most > table.capacity:
            table.reserve(self._frames(chunk))
        if table.segment is not self._segment:
            self._bind_table()
        n = self.step_kernel(self._address, chunk.lo, chunk.hi, chunk.ts, chunk.number, table.size)
        if words[SELDOM]:
            n = self._more(chunk, n)
        chunk.lo = words[POS]
        return table.commit(n)

    def _more(self, chunk: Chunk, n: int) -> int:
        """What few chunks need after their `n` rows: rows of other tables, samples of bad frames. Returns the rows of TICKS."""
        words = self._words
        while True:
            if words[NEW_BAD]:
                self._keep_samples()
            self.side.take(self._others, words[N_ASIDE], chunk.ts, chunk.number)
            if words[STATUS] != NO_ROOM:
                return n
            n += self.step_kernel(self._address, words[POS], chunk.hi, chunk.ts, chunk.number, self._table.size + n)

    def in_force(self, symbol: int) -> Flag:
        """Flags that the symbol's next row will carry, whether or not one comes."""
        return Flag(int(self._book["marks"][symbol]) & book.FLAGS)

    def apply(self, event: Control) -> None:
        """Apply a control event between chunks: whose frames are ours, and flags of the rows that follow (design contract 7).

        RESYNC: data of every symbol was lost. HEALTH, of a symbol or of the link (symbol -1): STALE is on until both are LIVE again, and
        data of a LOST or DISPLACED one is missing.
        """
        if event.kind == ControlKind.SUBSCRIBE:
            self.subscribe(event.key, event.symbol, Feed(int(event.value)))
        elif event.kind == ControlKind.UNSUBSCRIBE:
            self.unsubscribe(event.key)
        elif event.kind == ControlKind.DEPTH_RESET:
            self.side.reset(event.symbol)
        elif event.kind == ControlKind.RESYNC:
            self._lost(0, len(self._book))
        elif event.kind == ControlKind.HEALTH:
            self._apply_health(event.symbol, Health(int(event.value)))
        elif event.kind == ControlKind.SERVER_VERSION:
            self.server_version = int(event.value)

    def _apply_health(self, symbol: int, health: Health) -> None:
        why, lo, hi = (book.LINK, 0, len(self._book)) if symbol < 0 else (book.SUBSCRIPTION, symbol, symbol + 1)
        rows = self._book[lo:hi]
        rows["silent"] = rows["silent"] & ~np.uint8(why) if health == Health.LIVE else rows["silent"] | np.uint8(why)
        rows["marks"] = np.where(rows["silent"], rows["marks"] | book.STALE, rows["marks"] & ~np.uint32(book.STALE))
        if health in (Health.LOST, Health.DISPLACED):
            self._lost(lo, hi)

    def _lost(self, lo: int, hi: int) -> None:
        book.book_lost(self._book, lo, hi)
        self.side.lost(lo, hi)

    def _bind_table(self) -> None:
        self._segment = self._table.segment
        for k, name in enumerate(COLUMNS):
            self._columns[k] = self._segment.columns[name].ctypes.data
        self._control[wire_step.CAPACITY] = self._segment.capacity

    def _frames(self, chunk: Chunk) -> int:
        """Frames of ours in a chunk; each makes a row at most."""
        n, pos, status = 0, chunk.lo, CLOCK
        while status in (CLOCK, END, wire.FULL):
            wire_step.split_step(self._address, pos, chunk.hi)
            n, pos, status = n + self._words[wire_step.OURS], self._words[wire_step.POS], self._words[wire_step.STATUS]
        if n > self._table.capacity:
            raise DataError(
                f"chunk {chunk.number} holds {n} messages, more than the {self._table.capacity} rows of a segment of table {self._table.name}. "
                "Read the connection in smaller pieces, or give the table larger segments."
            )
        return n

    def _keep_samples(self) -> None:
        bad = int(self._counts[wire_message.BAD])
        for start, end, reason in self._bad_frames[len(self._samples) : min(bad, wire.SAMPLES)]:
            self._samples.append((wire_message.REASONS[reason], self._data[start : min(end, start + SAMPLE_BYTES)].tobytes()))

    # --- what was seen

    @property
    def lost(self) -> bool:
        """True if framing is lost at the end of the last chunk: more bytes must come to find it again."""
        return self._words[wire_step.STATUS] == LOST

    def counts(self) -> dict[str, int]:
        """Frames by outcome, and bad ones by reason."""
        return counts_of(self._counts)

    def bad_samples(self) -> list[tuple[str, bytes]]:
        """Reason and first bytes of the session's first bad frames."""
        return list(self._samples)

    def depth_book(self, symbol: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Bid prices, bid sizes, ask prices and ask sizes of a symbol's depth book, best first; views, valid until the next step."""
        return self.side.depth_book(symbol)

    def flush(self) -> Batch:
        """No rows: every chunk ends its own updates."""
        return self._table.empty()

    def held(self) -> Snapshot:
        """State of the symbols, depth books, subscriptions, counters, the next row number and the server version."""
        return {
            "book": self._book, "subscriptions": self._subscriptions, "counts": self._counts,
            "seq": self._control[wire_step.SEQ : wire_step.SEQ + 1], "server_version": np.array([self._server_version]),
        } | self.side.held()  # fmt: skip

    def snapshot(self) -> Snapshot:
        return copied(self.held())

    def restore(self, saved: Snapshot) -> None:
        """Back to a snapshot; the samples of bad frames stay."""
        self._book[:] = saved["book"]
        self._subscriptions = saved["subscriptions"].astype(wire_fields.SUBSCRIPTION)  # a copy; a loaded one has lost its record type
        self._counts[:] = saved["counts"]
        self._control[wire_step.SEQ] = saved["seq"][0]
        self.server_version = int(saved["server_version"][0])
        self.side.restore(saved)
        self._bind_subscriptions()


class FromRows:
    """Source rows -> TICKS with no wire between: one row each, feed FILE, chunk = seq."""

    outputs = TICKS

    def __init__(self, n_symbols: int, table: Table) -> None:
        self._table = table
        self._book = book.new_book(n_symbols)
        self._seq, self.kernel = table.rows, book.rows_update

    def step(self, rows: Rows) -> Batch:
        """One row of TICKS for each source row; a block must fit a segment."""
        n, table = len(rows.ts), self._table
        row = table.reserve(n)
        columns = table.segment.columns
        self.kernel(
            self._book, rows.ts, rows.symbol, rows.kind, rows.mask, rows.bid, rows.bid_size, rows.ask, rows.ask_size, rows.price, rows.size,
            0, n, self._seq, row, *(columns[c] for c in COLUMNS),
        )  # fmt: skip
        self._seq += n
        return table.commit(n)

    def flush(self) -> Batch:
        """No rows are ever held back."""
        return self._table.empty()

    def held(self) -> Snapshot:
        """State of the symbols and the next row number."""
        return {"book": self._book, "seq": np.array([self._seq])}

    def snapshot(self) -> Snapshot:
        return copied(self.held())

    def restore(self, saved: Snapshot) -> None:
        """Back to a snapshot."""
        self._book[:] = saved["book"]
        self._seq = int(saved["seq"][0])
