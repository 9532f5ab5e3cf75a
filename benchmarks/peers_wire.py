"""The wire beside ib_async: the same bytes in the same packets, from the socket's callback on, nanoseconds of CPU a message.

ib_async: `client.conn.data_received(packet)` with its own decoder, wrapper and tickers, and a callback that counts ticks. Ours: the
decode call, bytes to rows of TICKS with the quote builder, one call a packet; the lines with `,stage` have the whole of `Decode.step`
around it (room in the table, commit, batch). Rounds are interleaved and pinned to one core; every round has bytes that neither side
has seen. Not an asv module: the peer is imported in `run`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

VERSION = "2.1."
ROUNDS = 9
OURS, PEER = 20_000, 3_000  # messages of a round
CHECKED = 3_000
IBAPI = "9.81.1"  # the newest on PyPI; at server version 157
WORKS = {
    "mix,packet=1460": ("mix", 1460), "mix,packet=64KiB": ("mix", 65_536), "mix,packet=1msg": ("mix", 0), "bidask,packet=1460": ("bidask", 1460),
    "bidask,packet=64KiB": ("bidask", 65_536),
}  # fmt: skip


def run(rounds: int = ROUNDS, ours: int = OURS, peer: int = PEER, checked: int = CHECKED) -> Iterator[str]:
    """One line a work: `wire ib_async WORK peer_median ours_median ratio`; RuntimeError if anything is not as it must be."""
    from benchmarks import bench_wire as bench
    from benchmarks import common, peers_wire_load, peers_wire_socket

    _check_version()
    _check_values(bench, checked)
    for work, (kind, packet) in WORKS.items():
        frames = bench.frames(kind, rounds * ours, seed=11)
        times: dict[str, list[float]] = {"peer": [], "ibapi": [], "call": [], "stage": []}
        with common.pinned():
            receive, counted = _peer(bench)
            call, stage = bench.stage(), bench.stage()
            for r in range(rounds):
                block = frames[r * ours : (r + 1) * ours]
                times["peer"].append(_peer_ns(receive, block[:peer], packet))
                times["ibapi"].append(_ibapi_ns(block[: peer // 2], packet))
                times["call"].append(_call_ns(call, bench.padded(b"".join(block)), _ends(block, packet)))
                times["stage"].append(_stage_ns(stage, bench.padded(b"".join(block)), _ends(block, packet)))
        for decode in (call, stage):
            if decode.counts()["decoded"] != rounds * ours:
                raise RuntimeError(f"wire: {decode.counts()['decoded']} of {rounds * ours} messages decoded ({work})")
        if not counted[0]:
            raise RuntimeError(f"wire: ib_async {version('ib_async')} emitted no ticks ({work})")
        median = {name: statistics.median(t) for name, t in times.items()}
        for suffix, name in (("", "call"), (",stage", "stage")):
            yield f"wire ib_async {work}{suffix} {median['peer']:.0f}ns {median[name]:.0f}ns {median['peer'] / median[name]:.0f}"
        yield f"wire ibapi {work} {median['ibapi']:.0f}ns {median['call']:.0f}ns {median['ibapi'] / median['call']:.0f}"
    for name, packet in (("1460", 1460), ("64KiB", 65_536)):
        yield _replay(bench, 2_000_000 if ours == OURS else 10 * ours, name, packet)
    yield from peers_wire_socket.run(bench, _peer)
    yield from peers_wire_load.run(bench)


def _check_version() -> None:
    import ib_async

    found = ib_async.__version__
    if not found.startswith(VERSION) or found != version("ib_async"):
        raise RuntimeError(f"wire: peer ib_async is {found} (installed {version('ib_async')}), expected {VERSION}x. Install that version.")
    if not version("ibapi").startswith(IBAPI):
        raise RuntimeError(f"wire: peer ibapi is {version('ibapi')}, expected {IBAPI}.x. Install that version.")


def _ends(block: list[bytes], packet: int) -> list[int]:
    """Where packets end: after so many bytes, or after each message."""
    if packet == 0:
        return np.cumsum([len(f) for f in block]).tolist()
    n = sum(map(len, block))
    return [*range(packet, n, packet), n]


def _peer(bench: Any) -> tuple[Callable[[bytes], None], list[int]]:
    """ib_async as it is after connecting and subscribing, without a socket, and the ticks that it has emitted."""
    from ib_async import IB, Stock

    ib, counted = IB(), [0]
    for s in range(bench.SYMBOLS):
        contract = Stock(f"S{s}", "SMART", "USD", conId=s + 1)
        for first, kind in ((bench.L1, "mktData"), (bench.LAST, "AllLast"), (bench.BIDASK, "BidAsk")):
            ib.wrapper.startTicker(first + s, contract, kind)
    client = ib.client
    client._serverVersion = client.decoder.serverVersion = 178
    client.connState, client._apiReady = client.CONNECTED, True

    def pending(tickers: Any) -> None:
        for ticker in tickers:
            counted[0] += len(ticker.ticks) + len(ticker.tickByTicks)

    ib.pendingTickersEvent += pending
    client.tickers = [ib.wrapper.reqId2Ticker[bench.L1 + s] for s in range(bench.SYMBOLS)]  # kept alive, and for the check
    receive = client.conn.data_received
    receive.__self__.client = client
    return receive, counted


def _peer_ns(receive: Callable[[bytes], None], block: list[bytes], packet: int) -> float:
    data, begin = b"".join(block), 0
    packets = []
    for end in _ends(block, packet):
        packets.append(data[begin:end])
        begin = end
    t = time.thread_time_ns()
    for p in packets:
        receive(p)
    return (time.thread_time_ns() - t) / len(block)


def _ibapi_ns(block: list[bytes], packet: int) -> float:
    """The official client's own way: length split, queue, field split, decoder, a wrapper that does nothing but count."""
    import queue

    from ibapi import comm
    from ibapi.decoder import Decoder as Peer
    from ibapi.wrapper import EWrapper

    said = [0]

    def count(*args: Any) -> None:
        said[0] += 1

    wrapper = EWrapper()
    for name in ("tickPrice", "tickSize", "tickString", "tickByTickAllLast", "tickByTickBidAsk"):
        setattr(wrapper, name, count)
    peer, messages = Peer(wrapper, 157), queue.Queue[bytes]()
    data, begin, packets = b"".join(block), 0, []
    for end in _ends(block, packet):
        packets.append(data[begin:end])
        begin = end
    rest = b""
    t = time.thread_time_ns()
    for p in packets:
        rest += p
        while rest:
            _, message, rest = comm.read_msg(rest)
            if not message:
                break
            messages.put(message)
        while not messages.empty():
            peer.interpret(comm.read_fields(messages.get()))
    spent = time.thread_time_ns() - t
    if said[0] < len(block):
        raise RuntimeError(f"wire: ibapi {version('ibapi')} said {said[0]} of {len(block)} messages")
    return spent / len(block)


def _replay(bench: Any, n: int, name: str, packet: int) -> str:
    """A journal back into columns, CPU time from the first file read to the last row; no peer replays."""
    import tempfile
    from pathlib import Path

    from benchmarks import common
    from tickarrow.pipeline.batch import Chunk
    from tickarrow.pipeline.recorder import Journal
    from tickarrow.pipeline.recorder_read import read_journal

    block = bench.frames("mix", min(n, 200_000), seed=13)
    data = b"".join(block)
    decode, step_of = bench.stage(), bench.stage()
    with tempfile.TemporaryDirectory() as folder, common.pinned():
        journal, lo, number = Journal(Path(folder)), 0, 0
        padded = bench.padded(data)
        for _ in range(max(n // len(block), 1)):
            lo = 0
            for end in _ends(block, packet):
                chunk = Chunk(padded, lo, end, 1, number)
                journal.append(chunk)
                step_of.step(chunk)  # says where the last whole frame ends
                lo, number = chunk.lo, number + 1
        journal.close()
        t = time.thread_time_ns()
        for number, ts, piece in read_journal(Path(folder)):
            decode.step(Chunk(bench.padded(piece), 0, len(piece), ts, number))
        spent = time.thread_time_ns() - t
    counted = decode.counts()["decoded"]
    if counted != step_of.counts()["decoded"] or counted < len(block):
        raise RuntimeError(f"wire: {counted} messages came back from the journal of {step_of.counts()['decoded']}")
    return f"wire - replay,chunk={name} - {spent / counted:.0f}ns {1e3 * counted / spent:.1f}M/s"


def _call_ns(decode: Any, data: Any, ends: list[int]) -> float:
    """The decode call on one packet after the other; rows go through a whole segment, as they do in a table."""
    from tickarrow.jit.wire_step import POS, step
    from tickarrow.pipeline.batch import Chunk

    decode.step(Chunk(data, 0, 0, 0, 0))  # binds data and table
    address, words, lo, row = decode._address, decode._words, 0, 0
    room = decode._table.capacity - 8192
    t = time.thread_time_ns()
    for end in ends:
        row = (row + step(address, lo, end, 1, 0, row)) % room
        lo = words[POS]
    spent = time.thread_time_ns() - t
    return spent / _messages(data, lo)


def _stage_ns(decode: Any, data: Any, ends: list[int]) -> float:
    from tickarrow.pipeline.batch import Chunk

    chunk, step = Chunk(data, 0, 0, 1, 0), decode.step
    t = time.thread_time_ns()
    for end in ends:
        chunk.hi = end
        chunk.number += 1
        step(chunk)
    spent = time.thread_time_ns() - t
    return spent / _messages(data, chunk.lo)


def _messages(data: Any, hi: int) -> int:
    """Frames of data[:hi]; all of them must have been walked."""
    if hi != data.size - 64:
        raise RuntimeError(f"wire: the walk ended at byte {hi} of {data.size - 64}")
    n, pos, raw = 0, 0, data.tobytes()
    while pos < hi:
        pos += 4 + int.from_bytes(raw[pos : pos + 4], "big")
        n += 1
    return n


def _check_values(bench: Any, n: int) -> None:
    """Both sides read one message after the other; after each the quote of its symbol, or its trade, must be the same."""
    from tickarrow.pipeline.batch import Chunk

    receive, _ = _peer(bench)
    tickers = receive.__self__.client.tickers
    decode, compared = bench.stage(), 0
    for number, f in enumerate(bench.frames("mix", n, seed=5)):
        receive(f)
        batch = decode.step(Chunk(bench.padded(f), 0, len(f), 1, number))
        if len(batch) == 0:
            continue
        row = {c: batch.view(c)[0] for c in ("symbol", "kind", "bid", "bid_size", "ask", "ask_size", "price", "size")}
        ticker = tickers[row["symbol"]]
        pairs = [(row["bid"], ticker.bid), (row["bid_size"], ticker.bidSize), (row["ask"], ticker.ask), (row["ask_size"], ticker.askSize)]
        if row["kind"] == 1:
            tick = ticker.tickByTicks[-1]
            pairs += [(row["price"], tick.price), (row["size"], tick.size)]
        for a, b in pairs:
            if not (a == b or (a != a and b != b)):
                raise RuntimeError(f"wire: after message {number} {f!r} ours says {a} and ib_async {version('ib_async')} says {b}")
        compared += len(pairs)
    if compared < n:
        raise RuntimeError(f"wire: only {compared} values of {n} messages could be compared with ib_async {version('ib_async')}")
