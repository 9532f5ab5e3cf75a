"""The simulated gateway as a command of its own: clients connect, faults come, Ctrl-C ends it with the counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from types import SimpleNamespace

import ib_async
import pytest
from commands import COMMAND, SMALL, run, tickarrow
from naive_simulator import Client
from test_simulator import connected, eventually

from tickarrow.pipeline.prepare import compose
from tickarrow.pipeline.simulator import Simulator

SMALL_MARKET = ["gateway.port=0", "universe.symbols=[AAA,BBB]", "universe.classes=[large,small]", "source.duration_s=600"]


@contextlib.contextmanager
def simulate(*args, cwd):
    """The command while it listens: `port`; after the block `out`, `err` and `code`."""
    process = subprocess.Popen(
        [COMMAND, "simulate", *SMALL_MARKET, *args], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"}
    )
    said = SimpleNamespace()
    try:
        said.line = process.stderr.readline()
        said.port = int(re.search(r"127\.0\.0\.1:(\d+)", said.line).group(1))
        yield said
        process.send_signal(signal.SIGINT)
        said.out, said.err = process.communicate(timeout=20)
        said.code = process.returncode
    finally:
        process.kill()
        process.wait()


def rows(table):
    """The printed table as a dictionary."""
    return {m.group(1): m.group(2) for m in re.finditer(r"^ (\S.*?)  +(\S.*?) *$", table, re.M)}


def test_ib_async_trades_on_it_until_ctrl_c(tmp_path):
    async def main(port):
        ib, errors = await connected(port)
        (stock,) = await ib.qualifyContractsAsync(ib_async.Stock("AAA", "SMART", "USD"))
        ticker = ib.reqMktData(stock)
        await eventually(lambda: ticker.ask == ticker.ask)
        trade = ib.placeOrder(stock, ib_async.MarketOrder("BUY", 10))
        await eventually(lambda: trade.orderStatus.status == "Filled")
        await eventually(lambda: any(e[1] == 2103 for e in errors))
        ib.disconnect()

    fault = "gateway.faults=[{kind: farm_flap, at_s: 20, for_s: 5}]"
    with simulate("gateway.speed=30", fault, cwd=tmp_path) as said:
        asyncio.run(main(said.port))
    assert said.line == f"listening on 127.0.0.1:{said.port}, paper account DU0000001, 2 symbols, speed 30x, Ctrl-C to end\n"
    assert said.code == 0, said.err
    assert "farm_flap" in said.err
    counts = rows(said.out)
    assert (counts["orders"], counts["fills"]) == ("1", "1")
    assert counts["fault farm_flap"].startswith("1 times")
    assert "Traceback" not in said.err


def test_every_message_is_sent_or_accounted_for(tmp_path):
    async def main(port):
        clients = [await Client.connect(port, "+END", client_id=k) for k in (1, 2)]
        for c in clients:
            c.subscribe(1, "AAA")
            c.subscribe(2, "BBB")
        return [[f for f in await c.until("9003") if f[0] in ("1", "2", "45", "46")] for c in clients]

    faults = "gateway.faults=[{kind: halt, at_s: 60, for_s: 60, symbols: [AAA]}, {kind: lost_1102, at_s: 200, for_s: 30, data: true}]"
    with simulate("gateway.speed=0", "gateway.conflation_ms=0", faults, cwd=tmp_path) as said:
        got = asyncio.run(main(said.port))
    counts = rows(said.out)
    assert got[0] == got[1]
    assert int(counts["sent messages"].replace(",", "")) == len(got[0]) + len(got[1]) > 1000
    for client in ("client 1", "client 2"):
        assert f"{len(got[0]):,} messages" in counts[client]
    withheld = [int(re.search(r"([\d,]+) updates", counts[f"fault {k}"]).group(1).replace(",", "")) for k in ("halt", "lost_1102")]
    assert all(n > 0 for n in withheld)


def test_a_client_that_misbehaves_hurts_nobody(tmp_path):
    async def main(port):
        good = await Client.connect(port, client_id=1)
        good.subscribe(1, "AAA")
        for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"API\0\xff\xff\xff\xff", b"API\0\0\0\0\x09v157..178\0\0\0\x05abc"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(rubbish)
            await writer.drain()
            writer.transport.abort()
        mute = await Client.connect(port, client_id=2)  # never reads
        mute.subscribe(1, "AAA")
        rude = await Client.connect(port, client_id=3)
        rude.send(71, 2, 3, "")
        rude.send("nonsense")
        rude.writer.transport.abort()
        await good.until("1", matching=lambda f: f[3] == "2")
        good.close()

    with simulate("gateway.speed=30", cwd=tmp_path) as said:
        asyncio.run(main(said.port))
    assert said.code == 0, said.err


def fails(*args, cwd):
    done = tickarrow("simulate", *SMALL_MARKET, *args, cwd=cwd)
    assert done.returncode == 1, done
    return done.stderr.splitlines()[-1]


def test_a_port_in_use_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert fails(f"gateway.port={port}", cwd=tmp_path) == (
            f"tickarrow: simulated gateway: port {port} of 127.0.0.1 cannot be used (Address already in use). "
            "Is another gateway running on it? Choose another port (gateway.port=...), or 0 for any free one."
        )


def test_mistakes_are_one_sentence(tmp_path):
    assert fails("gateway.kind=ib", cwd=tmp_path).endswith("gateway.kind is 'ib': tickarrow simulate is a gateway itself. Choose gateway=simulator.")
    assert "gateway.port is 99999: a port is a number from 1 to 65535" in fails("gateway.port=99999", cwd=tmp_path)
    assert "gateway.speed is nan, gateway.latency_ms 50: both are numbers from 0 on" in fails("gateway.speed=nan", cwd=tmp_path)
    assert "cut has at_s, for_s or every_s below 0 or not finite" in fails("gateway.faults=[{kind: cut, at_s: nan}]", cwd=tmp_path)
    assert "there is no fault 'cutt'. Did you mean cut" in fails("gateway.faults=[{kind: cutt}]", cwd=tmp_path)


@pytest.mark.parametrize(("name", "kinds"), [("none", 0), ("flaky", 15), ("night", 2)])
def test_fault_scripts_are_faults(name, kinds):
    conf = compose("simulate", [f"faults={name}"])
    simulator = Simulator(conf.gateway)
    assert conf.gateway.port == 7497
    assert (simulator.faults is None) == (kinds == 0)
    assert len({f.kind for f in conf.gateway.faults}) >= kinds
    assert compose("run", [f"faults={name}"]).gateway.faults == conf.gateway.faults


def test_a_run_in_lock_step_counts_what_a_halt_keeps_back(tmp_path):
    halt = "gateway.faults=[{kind: halt, at_s: 30, for_s: 20, symbols: [AAA,BBB]}]"
    summary, session = run(*SMALL, "source.max_rows=20000", halt, cwd=tmp_path)
    kept = json.loads((session / "manifest.json").read_text())["simulated"]["faults"]["halt"]
    assert kept["times"] == 1
    assert kept["updates"] > 100
    # two quotes in force at the end of the halt, and a trade each of all that was missed
    assert summary["quotes"] + kept["updates"] == 20_000 - summary["trades"] - kept["trades"] + 4 == summary["sent_updates"] + kept["updates"]
    done = tickarrow("replay", f"session={session}", cwd=tmp_path)
    assert done.stdout.startswith("identical"), done
