"""What is looked at before orders go to a real gateway, alone and against the simulated one."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import COMMAND, SMALL
from incidents import SYMBOLS, Desk, Disk, market
from incidents import run as in_virtual_time
from rich.console import Console
from test_gateway import start_simulator, stop
from test_simulator import MemorySource

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline import preflight
from tickarrow.pipeline.errors import GatewayError
from tickarrow.pipeline.gateway import Gateway
from tickarrow.pipeline.preflight import OK, REFUSE, WARN, Known
from tickarrow.pipeline.router_ledger import Ledger
from tickarrow.pipeline.simulator import Simulator

PAPER = GatewayConf(kind="ib", speed=1.0, timeout_s=5.0, calendar="")
LIVE = replace(PAPER, account_kind="live", account="U7654321")
OPEN_NS, CLOSED_NS = 1_767_625_200_000_000_000, 1_767_582_000_000_000_000  # Monday 2026-01-05, 10:00 and the night before, 22:00, in New York


@pytest.mark.parametrize(
    ("conf", "port", "accounts", "said"),
    [
        (PAPER, 4002, ["DU1"], ""),
        (PAPER, 7497, ["DU1"], ""),
        (PAPER, 5000, ["DU1"], ""),
        (PAPER, 4001, ["DU1"], "is the port of a live account, and the configuration says paper. Choose gateway=live for real money, or use port 4002"),
        (PAPER, 7496, ["DU1"], "is the port of a live account"),
        (PAPER, 4002, ["U1"], "is logged in to U1, a live account, and the configuration says paper. Choose gateway=live for real money"),
        (PAPER, 4002, ["DU1", "U1"], "is logged in to U1, a live account"),
        (PAPER, 4002, ["DU1", "DU2"], r"say which one orders are for \(gateway.account=DU1\)"),
        (replace(PAPER, account="DU2"), 4002, ["DU1", "DU2"], ""),
        (replace(PAPER, account="DU3"), 4002, ["DU1", "DU2"], "is logged in to DU1, DU2, and gateway.account is DU3"),
        (LIVE, 4001, ["U7654321"], ""),
        (LIVE, 7496, ["U1", "U7654321"], ""),
        (LIVE, 4002, ["U7654321"], "is the port of a paper account, and the configuration says live. Choose gateway=paper for a paper account, or use"),
        (LIVE, 7497, ["U7654321"], "is the port of a paper account"),
        (LIVE, 4001, ["DU1"], "is logged in to DU1, a paper account, and the configuration says live"),
        (LIVE, 4001, ["U1"], "is logged in to U1, and gateway.account is U7654321"),
        (replace(LIVE, account=""), 4001, ["U7654321"], r"say which one orders are for \(gateway.account=U7654321\)"),
        (replace(LIVE, confirm=preflight.word("U1")), 4001, ["U7654321"], "gateway.confirm is not the word of account U7654321"),
        (replace(LIVE, confirm=preflight.word("U7654321")), 4001, ["U7654321"], ""),
        (replace(PAPER, live_ports=[5000]), 5000, ["DU1"], "is the port of a live account"),
        (GatewayConf(kind="simulator"), 4001, ["U1"], ""),
    ],
)  # fmt: skip
def test_a_login_must_be_what_the_configuration_speaks_of(conf, port, accounts, said):
    if not said:
        preflight.check_account(conf, port, accounts, trades=True)
        return
    with pytest.raises(GatewayError, match=f"{said}"):
        preflight.check_account(conf, port, accounts, trades=True)


def test_a_recording_needs_no_word_and_no_name_but_the_right_kind():
    preflight.check_account(replace(LIVE, account="", confirm="wrong"), 4001, ["U1", "U2"], trades=False)
    with pytest.raises(GatewayError, match="a live account, and the configuration says paper"):
        preflight.check_account(PAPER, 4002, ["U1"], trades=False)


def test_the_word_is_of_one_account():
    words = {preflight.word(f"U{n}") for n in range(1000)}
    assert len(words) == 1000
    assert all(re.fullmatch("[a-z2-7]{8}", w) for w in words)


@pytest.mark.parametrize(
    ("told", "asked_at", "now", "verdict", "said"),
    [
        (100.0, 100.2, 100.3, OK, "equal"),  # its second 100 to 101 holds ours
        (100.0, 101.5, 101.6, OK, "the gateway's is 0.5 s behind ours"),
        (100.0, 104.0, 104.1, WARN, "the gateway's is 3.0 s behind ours. Set the time of this machine"),
        (110.0, 100.0, 101.0, WARN, "the gateway's is 9.0 s ahead of ours"),
        (100.0, 400.0, 400.1, REFUSE, "299.0 s behind"),
        (100.0, 99.0, 103.0, OK, "equal"),  # a slow answer proves nothing
    ],
)
def test_the_clocks_are_compared_by_what_whole_seconds_can_prove(told, asked_at, now, verdict, said):
    item = preflight.clock(told, asked_at, now, 2.0)
    assert item.verdict == verdict
    assert said in item.text


def test_each_item_says_what_it_found():
    assert preflight.version(178).verdict == OK
    assert preflight.version(190) == preflight.Item("gateway version", WARN, "190, tested are 157 to 178")
    assert preflight.market_data(1, False, []).verdict == OK
    assert preflight.market_data(3, True, []).verdict == OK
    assert "no order goes out on delayed" in preflight.market_data(3, False, []).text
    assert preflight.market_data(1, False, ["usfarm"]) == preflight.Item("market data", WARN, "live; broken farms: usfarm")
    assert preflight.budget(3, 100, []) == preflight.Item("lines", OK, "3 of 100 lines")
    assert preflight.budget(3, 0, ["AAA"]).text == "3 of any number of lines; L1 in place of tick-by-tick for AAA"
    assert [preflight.disk(free, 5.0).verdict for free in (6.0, 4.0, 0.1)] == [OK, WARN, REFUSE]
    assert preflight.market("", OPEN_NS).verdict == WARN
    assert preflight.market("XNYS", OPEN_NS) == preflight.Item("calendar", OK, "XNYS is open")
    assert preflight.market("XNYS", CLOSED_NS) == preflight.Item("calendar", WARN, "XNYS is closed now")
    assert preflight.left_over("positions", [f"+{n} A" for n in range(7)], "taken over").text == "+0 A, +1 A, +2 A, +3 A, +4 A and 2 more, taken over"


def test_a_set_without_certificate_is_told():
    def of(**certificates):
        return SimpleNamespace(path=Path("sets/one"), manifest={"certificates": certificates})

    assert preflight.model(of(simd={"mismatches": {}, "rows": 1234}), "simd").text == "one, engine simd: equal to its libraries on 1,234 rows"
    assert preflight.model(of(simd={"mismatches": {"m": 1}, "rows": 1}), "simd").verdict == WARN
    assert preflight.model(of(), "portable").verdict == WARN
    assert preflight.model(of(), "xgboost").verdict == OK


def flown(folder, typed=None, before=None, killed="", unguarded="", **conf):
    """Connect to the simulated gateway; what was printed, and the error if any.

    `typed` is what a person types; `before` may change the simulator before the gateway connects."""
    console = Console(file=io.StringIO(), width=180)

    async def main():
        simulator = Simulator(replace(PAPER, kind="simulator", settle_ms=30.0, once=False, pacing=0, account=conf.pop("login", "DU1")))
        port = await simulator.start()
        simulator.open(MemorySource(market(60.0), SYMBOLS))
        loop = asyncio.get_running_loop()
        made = replace(PAPER, port=port, **conf)
        known = Known(SimpleNamespace(path=Path("sets/one"), manifest={}), "xgboost", folder, False, [("order size", "100 shares")], console)
        gateway = Gateway(made, simulator.universe, Desk(now=loop.time), None, lock_step=False, simulated=False, ledger=lambda _: Ledger(Disk()), known=known)
        gateway.kill = SimpleNamespace(why=killed, ready=lambda: None, check=lambda: None, guarded=lambda: asyncio.sleep(0, unguarded))
        try:
            if before is not None:
                await before(simulator, port)
            await gateway.connect("127.0.0.1", port)
        except GatewayError as e:
            return str(e)
        finally:
            gateway.disconnect()
            await simulator.close()
        return ""

    error = in_virtual_time(main())
    return " ".join(console.file.getvalue().split()), error


def test_the_checklist_of_a_paper_account(tmp_path):
    printed, error = flown(tmp_path, disk_gb=0.0)
    assert error == ""
    for line in (
        "account warn DU1, paper; port", "gateway version ok 178, tested", "market data ok live; no farm is broken", "lines ok 3 of 100 lines",
        "model set ok one, engine xgboost: the library itself", "limit order size ok 100 shares", "calendar warn none", "orders of ours ok none",
        "orders of others ok none", "positions ok none", "kill switch ok armed",
    ):  # fmt: skip
        assert line in printed, line


def test_open_orders_of_others_and_a_kill_are_told(tmp_path):
    async def other(simulator, port):
        import ib_async

        ib = ib_async.IB()
        await ib.connectAsync("127.0.0.1", port, 77, timeout=5)
        ib.placeOrder(ib_async.Stock("AAA", "SMART", "USD"), ib_async.LimitOrder("BUY", 7, 1.0))
        await asyncio.sleep(0.5)
        ib.disconnect()

    printed, error = flown(tmp_path, before=other, killed="killed at 10:00 (file): no order goes out")
    assert error == ""
    assert "orders of others warn BUY 7 AAA, in the same login: a kill cancels them too" in printed
    assert "kill switch warn killed at 10:00 (file): no order goes out" in printed


def test_real_money_is_not_traded_without_a_guard_that_is_wanted(tmp_path):
    live = {"account_kind": "live", "account": "U7654321", "login": "U7654321", "confirm": preflight.word("U7654321")}
    assert "guard warn it is not connected: alone" in flown(tmp_path, unguarded="alone")[0]
    assert "guard: it is not connected: alone" in flown(tmp_path, unguarded="alone", **live)[1]


def test_real_money_needs_its_word(tmp_path):
    live = {"account_kind": "live", "account": "U7654321", "login": "U7654321"}
    printed, error = flown(tmp_path, **live)
    assert "account warn U7654321, live; port" in printed
    assert error.endswith(f"say so with gateway.confirm={preflight.word('U7654321')}")
    assert flown(tmp_path, **live, confirm=preflight.word("U7654321"))[1] == ""


@pytest.mark.parametrize("right", [True, False])
def test_the_word_can_be_typed(tmp_path, monkeypatch, right):
    reader, writer = os.pipe()
    os.write(writer, (preflight.word("U7654321") if right else "yes").encode() + b"\n")
    with os.fdopen(reader) as typed:
        monkeypatch.setattr(typed, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, fileno=typed.fileno, readline=typed.readline))
        printed, error = flown(tmp_path, account_kind="live", account="U7654321", login="U7654321")
    os.close(writer)
    assert "Real money in U7654321. Type" in printed
    assert error == ("" if right else "that was not the word of account U7654321: nothing was sent.")


def test_a_refusal_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: SimpleNamespace(free=1e8))
    printed, error = flown(tmp_path)
    assert "disk refuse 0.1 GB free, wanted 5" in printed
    assert re.fullmatch(r"gateway 127.0.0.1:\d+ is not used: disk: 0.1 GB free, wanted 5. Make room, .*\.", error)


def test_the_command_shows_the_checklist_and_the_word(tmp_path):
    child, port = start_simulator(tmp_path, "gateway.account=U1234567")
    args = [COMMAND, "run", "gateway=live", "gateway.account=U1234567", "orders.ledger=orders", f"gateway.port={port}", "universe.symbols=[AAA,BBB]", *SMALL]
    try:
        done = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "200"})
    finally:
        stop(child)
    assert done.returncode == 1
    assert re.search(r"account +warn +U1234567, live; port", done.stderr)
    assert re.search(r"model set +ok", done.stderr)
    assert f"gateway.confirm={preflight.word('U1234567')}" in done.stderr
