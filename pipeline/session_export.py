"""tickarrow session export: a recorded session as Parquet files for pandas, Polars and DuckDB, rebuilt from its journal.

`OUT/<kind>/date=YYYY-MM-DD/symbol=X/part-00000.parquet`, seven kinds: every message, trades, quotes, depth, bars, greeks and control
(by date only, because not every event is a symbol's). Dates are UTC. Texts are dictionary-encoded, missing is null, units are in the
field metadata. Rows of a file are in the order of `seq`.
The journal is read once and in blocks, so memory does not grow with the session."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from tickarrow.configs.pipeline import SessionExportConf
from tickarrow.jit.wire_message import BAD, DATA_TYPE, DECODED, DEPTH, EXCHANGE, FORWARDED, LAST_TRADE, LATE, RESYNC
from tickarrow.pipeline import messages
from tickarrow.pipeline.batch import PAD
from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.decode_wide import Block, DecodeWide
from tickarrow.pipeline.errors import ConfigError, DataError
from tickarrow.pipeline.prepare import progress_columns, warm_kernels
from tickarrow.pipeline.recorder_read import read_journal
from tickarrow.pipeline.schemas import ControlKind, Feed, Health
from tickarrow.pipeline.session import open_manifest
from tickarrow.pipeline.session_export_files import Files
from tickarrow.pipeline.session_export_tables import SCHEMAS, bars_batch, control_batch, depth_batch, greeks_batch, quotes_batch, trades_batch
from tickarrow.pipeline.session_feed import read_control

Array = npt.NDArray[Any]

KINDS = tuple(SCHEMAS)
BUFFER = 4 << 20  # bytes of chunks that are decoded before their rows are converted
ERROR, TICK_REQ_PARAMS = "4", "81"  # frames of ib_async's that say something of our data
NOBODY = -1  # a row of no symbol


def main(conf: SessionExportConf) -> None:
    """The command: export, print what was written."""
    console = Console(stderr=True)
    warm_kernels(console)
    with Progress(*progress_columns(), console=console, transient=True) as progress:
        bar = progress.add_task("exporting", total=None)
        written = export(Path(conf.session), Path(conf.out), conf.kinds, lambda done, total: progress.update(bar, completed=done, total=total))
    for path in written:
        files = sorted(path.rglob("*.parquet"))
        print(f"{path}  {len(files):,} files, {sum(f.stat().st_size for f in files):,} bytes")
    if missing := [k for k in conf.kinds or KINDS if Path(conf.out) / k not in written]:
        print(f"no rows: {', '.join(missing)}")


def export(directory: Path, out: Path, kinds: Iterable[str] = (), progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Write a session's kinds of rows as Parquet files, partitioned by date and symbol.

    Parameters
    ----------
    directory : session; one that was killed is recovered first
    out : folder to write to, made if it is not there
    kinds : which of KINDS; empty = all
    progress : called with the chunks done and all of them

    Returns
    -------
    list of Path, the folder of each kind that has rows

    Raises
    ------
    ConfigError
        there is no such kind
    DataError
        a kind was exported there before
    SessionError
        what is wrong with the session
    """
    kinds = list(dict.fromkeys(kinds)) or list(KINDS)
    for kind in kinds:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"kinds has {kind!r}, which a session is not exported to.{meant} Kinds: {', '.join(KINDS)}.")
        if (out / kind).exists():
            raise DataError(f"{out / kind} is already there. Remove it, or choose another folder (out=...).")
    manifest = open_manifest(directory)
    walk = _Walk(manifest["universe"], kinds, Files(out, manifest["universe"]))
    walk.decode.server_version = manifest.get("server_version", walk.decode.server_version)
    try:
        events, applied = read_control(directory), 0
        buffer, at = np.zeros(BUFFER + PAD, np.uint8), 0
        for number, ts, data in read_journal(directory):
            while applied < len(events) and events[applied].chunk < number:
                walk.apply(events[applied], ts)
                applied += 1
            if at + len(data) + PAD > len(buffer):
                walk.take(walk.decode.block(buffer, at))
                at = 0
                if len(data) + PAD > len(buffer):
                    buffer = np.zeros(2 * len(data) + PAD, np.uint8)
            buffer[at : at + len(data)] = np.frombuffer(data, np.uint8)
            for block in walk.decode.blocks(buffer, at, at + len(data), ts, number):
                walk.take(block)
            at += len(data)
            if progress is not None and number % 1024 == 0:
                progress(number, manifest["chunks"])
        for event in events[applied:]:
            walk.apply(event, event.ts)
        walk.take(walk.decode.block(buffer, at))
        return walk.files.close()
    finally:
        walk.files.discard()


class _Walk:
    """The decode stage of an export, and where its rows go."""

    def __init__(self, symbols: list[str], kinds: list[str], files: Files) -> None:
        self.symbols, self.kinds, self.files = symbols, kinds, files
        self.decode = DecodeWide(len(symbols))
        self.ordinal = 0
        self.requests: dict[int, tuple[int, int]] = {}  # reqId -> symbol, generation
        self.generations: dict[tuple[int, int], int] = {}  # of a symbol and feed
        self.control: list[dict[str, Any]] = []
        self.longer: dict[int, str] = {}  # texts of more than eight bytes by their first eight

    def apply(self, event: Control, next_ts: int) -> None:
        """A control event: a row of `control`, and what it does to the rows that follow. One before the first chunk has that one's time."""
        if "control" in self.kinds:
            self._note_event(event, event.ts or next_ts)
        self.decode.apply(event)

    def _note_event(self, event: Control, ts: int) -> None:
        kind, request = ControlKind(event.kind), None
        text = None
        if kind in (ControlKind.SUBSCRIBE, ControlKind.UNSUBSCRIBE):
            request = event.key
            if kind == ControlKind.SUBSCRIBE:
                asked = (event.symbol, int(event.value))
                self.generations[asked] = self.generations.get(asked, 0) + 1
                self.requests[request] = event.symbol, self.generations[asked]
                text = Feed(int(event.value)).name.lower()
        elif kind == ControlKind.HEALTH:
            text = Health(int(event.value)).name.lower()
        of_symbol = kind not in (ControlKind.KILL, ControlKind.TIMER, ControlKind.RESYNC, ControlKind.MODEL_SWAP, ControlKind.LIMIT, ControlKind.SERVER_VERSION)
        symbol = self.requests.get(request, (event.symbol, None))[0] if request is not None else event.symbol if of_symbol else NOBODY
        self.control.append({
            "seq": self.decode.rows, "ts": ts, "chunk": event.chunk, "kind": kind.name.lower(), "symbol": symbol, "req": request,
            "gen": None if request is None else self.requests.get(request, (0, None))[1], "value": event.value, "quantity": event.quantity,
            "price": event.price, "key": None if request is not None else event.key or None, "perm_id": event.perm_id or None, "text": text,
        })  # fmt: skip

    def take(self, block: Block) -> None:
        """Convert a block's rows and give them to the files."""
        if "control" in self.kinds:
            self._note_control(block)
        self._note_longer(block)
        for kind in self.kinds:
            ts, symbol, batch = getattr(self, f"_{kind}")(block)
            if len(ts):
                self.files.add(kind, ts, symbol, batch)

    def _messages(self, block: Block) -> tuple[Array, Array, pa.RecordBatch]:
        ours = np.isin(block.messages["outcome"], (DECODED, LATE, BAD)) & (block.messages["req_id"] >= 0)
        m, ts = block.messages[ours], block.message_ts[ours]
        batch = messages.rows(block.data, m, block.end, self.ordinal, ts, block.message_chunk[ours], self.symbols)
        self.ordinal += len(m)
        return ts, m["symbol"], batch.drop_columns(["symbol"])

    def _trades(self, block: Block) -> tuple[Array, Array, pa.RecordBatch]:
        return trades_batch(block.ticks, self.longer)

    def _quotes(self, block: Block) -> tuple[Array, Array, pa.RecordBatch]:
        return quotes_batch(block.ticks, self.longer)

    def _depth(self, block: Block) -> tuple[Array, Array, pa.RecordBatch]:
        return depth_batch(block.depth, self.longer)

    def _bars(self, block: Block) -> tuple[Array, Array, pa.RecordBatch]:
        return bars_batch(block.bars)

    def _greeks(self, block: Block) -> tuple[Array, Array, pa.RecordBatch]:
        return greeks_batch(block.greeks)

    def _control(self, block: Block) -> tuple[Array, Array, pa.RecordBatch]:
        said, self.control = sorted(self.control, key=lambda row: (row["chunk"], row["seq"])), []
        return control_batch(said, self.symbols)

    def _note_control(self, block: Block) -> None:
        """Rows of `control` from frames: IBKR's errors and notices, tick sizes, data types, and where framing was lost and found again."""
        m = block.messages
        resync = (m["outcome"] == BAD) & (m["role"] == RESYNC)
        told = (m["outcome"] == FORWARDED) | ((m["outcome"] == DECODED) & (m["role"] == DATA_TYPE))
        for k in np.flatnonzero(told | resync):
            fields, value = messages.payload(block.data, int(m["at"][k]), block.end), None
            if resync[k]:
                kind, request, code, text, value = "resync", "", "", "bytes skipped inside a chunk", float(m["quantity"][k])
            elif fields[0] == ERROR and len(fields) > 4:
                kind, request, code, text = "error", fields[2], fields[3], fields[4]
            elif fields[0] == TICK_REQ_PARAMS and len(fields) > 4:
                kind, request, code, text = "tick_req_params", fields[1], "", "|".join(fields[2:5])
            elif m["role"][k] == DATA_TYPE and m["outcome"][k] == DECODED:
                kind, request, code, text = "market_data_type", fields[2], fields[3], ""
            else:
                continue
            number = _whole(request)
            symbol, generation = self.requests.get(number if number is not None else -1, (NOBODY, None))
            # Rows of TICKS before it: those of the chunks before its own.
            chunk = int(block.message_chunk[k])
            seq = self.decode.rows - len(block.ticks["chunk"]) + int(np.searchsorted(block.ticks["chunk"], chunk))
            self.control.append({
                "seq": seq, "ts": int(block.message_ts[k]), "chunk": chunk, "kind": kind, "symbol": symbol, "req": number, "gen": generation,
                "code": _whole(code), "value": value, "text": text or None,
            })  # fmt: skip

    def _note_longer(self, block: Block) -> None:
        """Whole texts of codes that fill their eight bytes. Two texts that begin alike stay cut."""
        m = block.messages
        full = (m["code"] >> np.uint64(56) != 0) | (m["code2"] >> np.uint64(56) != 0)
        for k in np.flatnonzero(full & (m["outcome"] == DECODED) & np.isin(m["role"], (LAST_TRADE, EXCHANGE, DEPTH))):
            fields = messages.payload(block.data, int(m["at"][k]), block.end)
            for name, text in (("code", fields[7] if m["role"][k] == LAST_TRADE else fields[4]), ("code2", fields[8] if len(fields) > 8 else "")):
                if len(text.encode()) > 8:
                    code = int(m[name][k])
                    self.longer[code] = text if self.longer.get(code, text) == text else text.encode()[:8].decode("utf-8", "replace")


def _whole(text: str) -> int | None:
    """A whole number, None if it is none."""
    return int(text) if text.lstrip("-").isdigit() and len(text) < 18 else None
