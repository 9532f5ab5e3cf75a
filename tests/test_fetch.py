"""tickarrow fetch: pages without loss or repetition, pacing, interruption, errors; against a gateway written here and against the simulator."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import struct
import subprocess
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import ib_async
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import COMMAND, as_in_foreground
from hypothesis import given
from hypothesis import strategies as st
from test_simulator import NAMES, SECOND, connected, eventually, gateway, walk

from tickarrow.configs.fetch import FetchConf
from tickarrow.configs.gateway import GatewayConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.pipeline import fetch
from tickarrow.pipeline.errors import ConfigError, GatewayError
from tickarrow.pipeline.fetch_pace import Pace
from tickarrow.pipeline.history import HISTORY_SCHEMAS
from tickarrow.pipeline.source import open_source

DAY = "2024-01-09"
NINE_THIRTY = 1_704_810_600  # of that day in New York
SPEED = 1e6  # market seconds a second, so that pacing costs no time


class Fake:
    """A gateway that knows the ticks of its symbols, in whole seconds, and can refuse, stall and hang up.

    Parameters
    ----------
    ticks : by (symbol, kind): sorted seconds
    errors : by symbol: code and text instead of an answer
    whole_seconds : a page that is cut inside a second gives the rest of it, as IBKR does
    die_after, mute_after : after so many requests for ticks or bars it hangs up, or says nothing more
    """

    def __init__(self, ticks, errors=None, whole_seconds=True, die_after=None, mute_after=None):
        self.ticks, self.errors, self.whole_seconds, self.die_after, self.mute_after = ticks, errors or {}, whole_seconds, die_after, mute_after
        self.asked = []  # symbol, kind, start or bar size
        self.ids = {}

    async def serve(self, reader, writer):
        def send(*fields):
            body = b"".join(f"{f}\0".encode() for f in fields)
            writer.write(struct.pack(">I", len(body)) + body)

        async def receive():
            n = struct.unpack(">I", await reader.readexactly(4))[0]
            return (await reader.readexactly(n)).decode().split("\0")

        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(4)
            await receive()
            send(178, "20240109 09:00:00 EST")
            while True:
                f = await receive()
                if f[0] == "71":
                    send(15, 1, "DU1")
                    send(9, 1, 1)
                elif f[0] == "61":
                    send(62, 1)
                elif f[0] == "9":
                    self.details(send, f)
                elif f[0] in ("96", "20"):
                    if self.die_after is not None and len(self.asked) >= self.die_after:
                        writer.close()
                        return
                    self.history(send, f)

    def details(self, send, f):
        symbol, req = f[4], f[2]
        known = {s for s, _ in self.ticks} | set(self.errors)
        if symbol not in known:
            send(4, 2, req, 200, "No security definition has been found for the request", "")
            return
        con_id = 100 + sorted(known).index(symbol)
        self.ids[con_id] = symbol
        d = [10, req, symbol, "STK", "", 0, "", "SMART", "USD", symbol, "", symbol, con_id, 0.01, "", "", "SMART", 1, 0, symbol, "NASDAQ"]
        d += ["", "", "", "", "EST", "", "", "", 0, 0, 1, "", "", 26, "", "COMMON", 1, 1, 100]
        send(*d)
        send(52, 1, req)

    def history(self, send, f):
        req, symbol = f[1], self.ids[int(f[2])]
        kind = f[18] if f[0] == "96" else f[19]
        start = f[15] if f[0] == "96" else f[16]
        self.asked.append((symbol, kind, start))
        if self.mute_after is not None and len(self.asked) > self.mute_after:
            return
        if symbol in self.errors:
            send(4, 2, req, *self.errors[symbol], "")
            return
        if f[0] == "20":
            t = NINE_THIRTY
            send(17, req, "", "", 2, t - 86_400, 1, 1, 1, 1, 1, 1, 1, t, 10, 12, 9, 11, 100, "10.5", 7)
            return
        begin = int(datetime.strptime(start, "%Y%m%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp())
        all_ = self.ticks.get((symbol, kind), np.zeros(0, int))
        lo = int(np.searchsorted(all_, begin))
        hi = min(lo + 1000, len(all_))
        if self.whole_seconds and hi > lo:
            hi = int(np.searchsorted(all_, all_[hi - 1], "right"))
        rows = [(int(all_[k]), k) for k in range(lo, hi)]
        if kind == "TRADES":
            send(98, req, len(rows), *(x for t, k in rows for x in (t, k % 2, 10 + k / 100, k + 1, "NYSE", "I" if k % 3 else "")), 1)
        elif kind == "BID_ASK":
            send(97, req, len(rows), *(x for t, k in rows for x in (t, 0, 10 + k / 100 if k % 5 else 0, 11 + k / 100, k + 1 if k % 5 else 0, k + 2)), 1)
        else:
            send(96, req, len(rows), *(x for t, k in rows for x in (t, 0, 10 + k / 100, 0)), 1)


@contextlib.contextmanager
def served(fake):
    """The fake in a thread of its own, for a command that runs its own loop; yields the port."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    box = SimpleNamespace()

    async def start():
        box.server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
        box.port = box.server.sockets[0].getsockname()[1]
        ready.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(start()), loop.run_forever()))
    thread.start()
    ready.wait()
    try:
        yield box.port
    finally:

        async def stop():
            box.server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()
            await asyncio.sleep(0)
            loop.stop()

        asyncio.run_coroutine_threadsafe(stop(), loop)
        thread.join()
        loop.close()


def conf(port, out, symbols=("AAA",), **more):
    given = {"symbols": list(symbols), "first": DAY, "out": str(out), "answer_s": 5.0} | more
    return FetchConf(gateway=GatewayConf(kind="simulator", port=port, speed=SPEED), **given)


def seconds(n, per_second, seed=1):
    """Sorted seconds of n ticks from the open on, with a rush of one second in the middle."""
    t = np.sort(np.random.default_rng(seed).integers(0, max(n // per_second, 1), n)) + NINE_THIRTY
    t[n // 2 : n // 2 + 400] = t[n // 2]
    return np.sort(t)


def rows(path):
    return pq.read_table(path).to_pylist()


# --- pages


def page(times):
    table = pa.table({"ts": pa.array(np.array(times, np.int64) * 10**9, pa.timestamp("ns", "UTC"))})
    table = table.append_column("price", pa.array(np.arange(len(times), dtype=float))).append_column("size", pa.array(np.ones(len(times))))
    return table.cast(HISTORY_SCHEMAS[96])


@given(st.lists(st.integers(0, 40), max_size=5000), st.booleans())
def test_pages_join_without_loss_or_repetition(times, whole_seconds):
    times = np.sort(np.array(times, np.int64))
    at, got, asked = 0, [], 0
    while at < 30:
        lo = int(np.searchsorted(times, at))
        hi = min(lo + fetch.TICKS, len(times))
        if whole_seconds and hi > lo:
            hi = int(np.searchsorted(times, times[hi - 1], "right"))
        kept, following, torn = fetch.cut(page(times[lo:hi]), at, 30)
        if torn and not whole_seconds:
            return  # more than a page in one second, and a gateway that does not finish it: reported, not repaired
        assert following > at
        got += kept["ts"].cast(pa.int64()).to_pylist()
        at, asked = following, asked + 1
    assert [t // 10**9 for t in got] == times[times < 30].tolist()
    assert asked <= 2 * len(times) / fetch.TICKS + 32


def test_a_page_that_is_one_second_and_just_full_is_reported():
    kept, following, torn = fetch.cut(page([5] * fetch.TICKS), 3, 30)
    assert (len(kept), following, torn) == (fetch.TICKS, 6, True)
    assert fetch.cut(page([5] * (fetch.TICKS + 1)), 3, 30)[1:] == (6, False)
    assert fetch.cut(page([]), 3, 30)[1:] == (30, False)


# --- pacing


class Clock(Pace):
    now = 1000.0

    def seconds(self):
        return self.now


def test_requests_leave_as_ibkr_allows():
    pace, sent = Clock(), []
    for k in range(130):
        of, weight = f"c{k % 3}", 1 + (k % 4 == 0)
        while (wait := pace.wait(of, (of, k // 2), weight)) > 0:
            pace.now += wait
        pace.sent(of, (of, k // 2), weight)
        sent += [(pace.now, of, (of, k // 2))] * weight
        pace.now += 0.01
    times = np.array([t for t, _, _ in sent])
    for t, of, what in sent:
        assert ((times > t - 600) & (times <= t)).sum() <= 60
        assert sum(t - 2 < a <= t for a, o, _ in sent if o == of) <= 5
        assert len({a for a, _, w in sent if w == what and t - 15 < a <= t}) == 1
    assert 1000 < pace.now < 1000 + 600 * 4


def test_the_requests_of_an_earlier_run_count(tmp_path):
    log = tmp_path / "requests.json"
    pace = Pace(log=log)
    for k in range(60):
        pace.sent("c", k)
    assert 590 < Pace(log=log).wait("d", "x") < 601
    log.write_text("torn")
    assert Pace(log=log).wait("d", "x") == 0


# --- the command


@pytest.mark.parametrize("whole_seconds", [True, False])
def test_a_day_is_what_the_gateway_has(tmp_path, whole_seconds, capsys):
    fake = Fake({("AAA", "TRADES"): seconds(3500, 4), ("AAA", "BID_ASK"): seconds(2200, 3, 2), ("AAA", "MIDPOINT"): seconds(5, 1)}, whole_seconds=whole_seconds)
    with served(fake) as port:
        result = fetch.main(conf(port, tmp_path / "h", ticks=["TRADES", "BID_ASK", "MIDPOINT"], bars=["1 min"]))
    (outcome,) = result["outcomes"]
    assert result["errors"] == []
    assert outcome.rows == {"TRADES": 3500, "BID_ASK": 2200, "MIDPOINT": 5, "1 min": 1}
    got = rows(tmp_path / "h/ticks/AAA" / f"{DAY}.parquet")
    for kind, name in (("TRADES", "trade"), ("BID_ASK", "quote")):
        mine = [r for r in got if r["kind"] == name]
        assert [r["ts_event"] // 10**9 for r in mine] == fake.ticks["AAA", kind].tolist()
        assert [r["size"] or r["ask_size"] - 1 for r in mine] == list(range(1, len(mine) + 1))
    trade = next(r for r in got if r["kind"] == "trade" and r["size"] == 2)
    assert (trade["price"], trade["exchange"], trade["conditions"]) == (10.01, "NYSE", "I;past_limit")
    empty = next(r for r in got if r["kind"] == "quote" and r["ask_size"] == 2)
    assert (empty["bid"], empty["bid_size"], empty["ask"]) == (0.0, 0.0, 11.0)
    (bar,) = rows(tmp_path / "h/bars/1_min/AAA" / f"{DAY}.parquet")  # the bar of the day before is not of this day
    assert (bar["ts_event"], bar["open"], bar["high"], bar["low"], bar["close"], bar["volume"]) == (NINE_THIRTY * 10**9, 10, 12, 9, 11, 100)
    assert not (tmp_path / "h/parts/AAA" / DAY).exists()
    assert "3,500" in capsys.readouterr().out
    source = open_source(SourceConf(kind="parquet", path=str(tmp_path / "h/ticks")), UniverseConf())
    assert sum(map(len, source.blocks())) == 5700
    assert source.bad == {}


def test_an_interrupted_run_goes_on_without_asking_again(tmp_path):
    ticks = {(s, k): seconds(2500, 3, i) for i, (s, k) in enumerate((s, k) for s in ("AAA", "BBB") for k in ("TRADES", "BID_ASK"))}
    whole = Fake(ticks)
    with served(whole) as port:
        fetch.main(conf(port, tmp_path / "whole", ["AAA", "BBB"]))
    asked = []
    for die_after in (2, 1, 3):
        fake = Fake(ticks, die_after=die_after)
        with served(fake) as port, pytest.raises(GatewayError, match=r"is gone \(it closed the connection\)\. What was fetched is kept"):
            fetch.main(conf(port, tmp_path / "torn", ["AAA", "BBB"]))
        asked += fake.asked
    last = Fake(ticks)
    with served(last) as port:
        fetch.main(conf(port, tmp_path / "torn", ["AAA", "BBB"]))
    assert asked + last.asked == whole.asked
    for symbol in ("AAA", "BBB"):
        a, b = (pq.read_table(tmp_path / d / "ticks" / symbol / f"{DAY}.parquet") for d in ("whole", "torn"))
        assert a.equals(b)
    again = Fake(ticks)
    with served(again) as port:
        result = fetch.main(conf(port, tmp_path / "torn", ["AAA", "BBB"]))
    assert again.asked == []
    assert sum(result["outcomes"][0].rows.values()) == 5000


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_goes_on_where_it_was(tmp_path, how):
    ticks = {("AAA", "TRADES"): seconds(6000, 3), ("AAA", "BID_ASK"): seconds(500, 3, 2)}
    with served(first := Fake(ticks, mute_after=3)) as port:
        settings = ["gateway.kind=simulator", f"gateway.port={port}", f"gateway.speed={SPEED}", "symbols=[AAA]", f"first={DAY}", f"out={tmp_path / 'h'}"]
        command = subprocess.Popen([COMMAND, "fetch", *settings], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   preexec_fn=as_in_foreground)  # fmt: skip
        deadline = time.monotonic() + 120
        while len(first.asked) < 4 and time.monotonic() < deadline and command.poll() is None:
            time.sleep(0.01)
        command.send_signal(how)
        _, said = command.communicate(timeout=60)
    if how == signal.SIGINT:
        assert command.returncode == 130
        assert "the same command goes on from here" in said
    assert len(first.asked) == 4, said
    with served(fake := Fake(ticks)) as port:
        result = fetch.main(conf(port, tmp_path / "h"))
    assert result["outcomes"][0].rows == {"TRADES": 6000, "BID_ASK": 500}
    assert not set(first.asked[:2]) & set(fake.asked)  # the third answer may still have been on its way to the file
    assert first.asked[3] in fake.asked
    mine = [r["ts_event"] // 10**9 for r in rows(tmp_path / "h/ticks/AAA" / f"{DAY}.parquet") if r["kind"] == "trade"]
    assert mine == ticks["AAA", "TRADES"].tolist()


def test_the_simulated_gateways_past_is_fetched_row_for_row(tmp_path):
    market = walk(4000)

    async def main():
        async with gateway(market, speed=1000.0) as (simulator, port):
            ib, _ = await connected(port, 7)
            ib.client.reqMktData(ib.client.getReqId(), ib_async.Stock("BAC", "SMART", "USD"), "", False, False, [])
            await eventually(lambda: simulator.feed.begun and simulator.feed.market_now() > market[-1][0] + SECOND, 20.0)
            c = conf(port, tmp_path, ["BAC", "IBM"], first="2013-10-08", regular_hours=False, ticks=["TRADES", "BID_ASK", "MIDPOINT"], bars=["1 min"])
            c.gateway.speed = 1000.0
            result = await asyncio.to_thread(fetch.main, c)
            ib.disconnect()
            return result

    result = asyncio.run(main())
    assert result["errors"] == []
    for row, symbol in enumerate(("BAC", "IBM")):
        table = pq.read_table(tmp_path / "ticks" / symbol / "2013-10-08.parquet")
        for kind, names, columns in ((1, "trade", ("price", "size")), (0, "quote", ("bid", "bid_size", "ask", "ask_size"))):
            got = table.filter(pa.array(table["kind"].to_numpy() == names)).select(["ts_event", *columns])
            places = [NAMES.index(c) for c in columns]
            expected = [(r[0] // SECOND * SECOND, *(r[k] for k in places)) for r in market if r[1] == row and r[2] == kind]
            assert [tuple(r.values()) for r in got.to_pylist()] == expected


def test_a_kind_that_is_asked_for_later_joins_the_file(tmp_path):
    fake = Fake({("AAA", "TRADES"): seconds(50, 3), ("AAA", "BID_ASK"): seconds(60, 3, 2)})
    with served(fake) as port:
        fetch.main(conf(port, tmp_path, ticks=["BID_ASK"]))
    with served(fake) as port:
        fetch.main(conf(port, tmp_path))
    got = pq.read_table(tmp_path / "ticks/AAA" / f"{DAY}.parquet")
    assert (len(got), {kind for _, kind, _ in fake.asked[-2:]}) == (110, {"TRADES"})
    assert (np.diff(got["ts_event"].to_numpy()) >= 0).all()


def test_one_symbol_that_fails_does_not_stop_the_others(tmp_path, capsys):
    errors = {
        "BBB": (354, "Requested market data is not subscribed."), "CCC": (162, "Historical Market Data Service error message:HMDS query returned no data: CCC"),
    }  # fmt: skip
    fake = Fake({("AAA", "TRADES"): seconds(10, 3), ("AAA", "BID_ASK"): seconds(10, 3)}, errors)
    with served(fake) as port:
        result = fetch.main(conf(port, tmp_path, ["NONE", "BBB", "CCC", "AAA"]))
    assert result["errors"] == [
        "NONE: no such contract; check the spelling of the symbol (code 200)", "BBB: Requested market data is not subscribed (code 354)",
    ]  # fmt: skip
    notes = {o.symbol: o.notes for o in result["outcomes"]}
    assert notes == {"NONE": ["stopped by an error"], "BBB": ["stopped by an error"], "CCC": ["no data: TRADES, BID_ASK"], "AAA": []}
    assert "BBB: Requested market data is not subscribed (code 354)" in capsys.readouterr().out


def test_a_gateway_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(GatewayError, match=r"^gateway 127\.0\.0\.1:1 refused the connection\. Is IB Gateway running"):
        fetch.main(conf(1, tmp_path))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"ticks": ["LAST"]}, "ticks: there is no kind 'LAST'. Choose of TRADES, BID_ASK, MIDPOINT."),
        ({"ticks": []}, "there is nothing to fetch: ticks and bars are both empty."),
        ({"first": "today"}, "first and last are 'today' and 'today'; a day is written like 2026-01-05."),
        ({"last": "2023-01-01"}, "last (2023-01-01) is before first (2024-01-09). Swap them."),
        ({"first": "2024-01-06"}, "2024-01-06 to 2024-01-06 has no weekday."),
        ({"symbols": []}, "symbols is empty. Name them: 'symbols=[AAPL,MSFT]'."),
        ({"bars_of": "LAST"}, "bars_of is 'LAST'. Choose one of TRADES, MIDPOINT, BID, ASK, BID_ASK."),
        ({"port": 0}, "gateway.port is 0. Name the port of a running gateway"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path, more, text):
    port = more.pop("port", 1)
    with pytest.raises(ConfigError) as e:
        fetch.main(conf(port, tmp_path, **more))
    assert str(e.value).startswith(text)
