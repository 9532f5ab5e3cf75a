"""What is looked at before orders go to a real gateway: account and port first, the rest when orders and positions are compared.

Each item is fine, to be known, or a refusal. Real money needs more than no refusal: the account's name in the configuration, and a word
that is made from it, typed or given as `gateway.confirm`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

from tickarrow.configs.gateway import GatewayConf
from tickarrow.pipeline import certificate
from tickarrow.pipeline.calendar import Hours
from tickarrow.pipeline.errors import GatewayError
from tickarrow.pipeline.models import ModelSet
from tickarrow.pipeline.patience import within
from tickarrow.pipeline.schemas import Feed
from tickarrow.pipeline.simulator_frames import FIRST_VERSION, SERVER_VERSION

if TYPE_CHECKING:
    from tickarrow.pipeline.gateway import Gateway

OK, WARN, REFUSE = "ok", "warn", "refuse"
STYLE = {OK: "green", WARN: "yellow", REFUSE: "bold red"}
KINDS = ("paper", "live")
USUAL = {"paper": "4002 (TWS: 7497)", "live": "4001 (TWS: 7496)"}
TYPES = {1: "live", 2: "frozen", 3: "delayed where live is not subscribed", 4: "delayed and frozen"}
SKEW_REFUSED = 60.0  # seconds; orders and executions could not be told apart by their times
DISK_REFUSED = 0.2  # GB; a session that cannot be written ends in the middle
SHOWN = 5  # orders or positions in a line


@dataclass(slots=True, frozen=True)
class Item:
    """One line of the checklist."""

    name: str
    verdict: str  # OK, WARN or REFUSE
    text: str


@dataclass(slots=True)
class Known:
    """What a run knows before it connects."""

    model_set: ModelSet
    engine: str  # name of the one that serves
    session: Path  # directory
    allow_delayed: bool  # risk.allow_delayed
    limits: Sequence[tuple[str, str]] = ()  # name, and what it allows
    console: Console = field(default_factory=lambda: Console(stderr=True))


def kind_of(account: str) -> str:
    """IBKR's paper accounts begin with D."""
    return "paper" if account.startswith("D") else "live"


def port_kind(conf: GatewayConf, port: int) -> str:
    """What the port says of the account behind it; "" = nothing."""
    return "paper" if port in conf.paper_ports else "live" if port in conf.live_ports else ""


def word(account: str) -> str:
    """What a person types to trade an account's real money: of this account, so that a word that was left in a config opens no other."""
    return base64.b32encode(hashlib.blake2b(f"tickarrow live {account}".encode(), digest_size=5).digest()).decode().lower()


def check_account(conf: GatewayConf, port: int, accounts: Sequence[str], trades: bool) -> None:
    """Whether this login is what the configuration speaks of; GatewayError says why not. Called at every connect.

    Parameters
    ----------
    port : that the gateway answers on
    accounts : of the login
    trades : orders are to be sent
    """
    if conf.kind == "simulator":
        return
    where, kind = f"gateway {conf.host}:{port}", conf.account_kind
    other = KINDS[1 - KINDS.index(kind)]
    way_out = "Choose gateway=live for real money" if kind == "paper" else "Choose gateway=paper for a paper account"
    if port_kind(conf, port) == other:
        raise GatewayError(f"{where} is the port of a {other} account, and the configuration says {kind}. {way_out}, or use port {USUAL[kind]}.")
    if found := [a for a in accounts if kind_of(a) != kind]:
        raise GatewayError(f"{where} is logged in to {found[0]}, a {other} account, and the configuration says {kind}. {way_out}, or log in to another.")
    if conf.account and conf.account not in accounts:
        raise GatewayError(f"{where} is logged in to {', '.join(accounts)}, and gateway.account is {conf.account}. Correct the one or the other.")
    if not trades or (conf.account and kind == "paper"):
        return
    if not conf.account and (kind == "live" or len(accounts) > 1):
        raise GatewayError(f"{where} is logged in to {', '.join(accounts)}: say which one orders are for (gateway.account={accounts[0]}).")
    if kind == "live" and conf.confirm and conf.confirm != word(conf.account):
        raise GatewayError(f"gateway.confirm is not the word of account {conf.account}. Leave it out to be asked on a terminal.")


async def preflight(gateway: Gateway, known: Known) -> None:
    """Look at everything, print it, and ask for the word where real money is traded; GatewayError where something refuses."""
    found = await items(gateway, known)
    known.console.print(table(found, gateway.where))
    if refused := [i for i in found if i.verdict == REFUSE]:
        raise GatewayError(f"{gateway.where} is not used: {'; '.join(f'{i.name}: {i.text}' for i in refused)}.")
    account = gateway.conf.account
    if gateway.conf.account_kind == "live" and gateway.conf.confirm != word(account):
        if not sys.stdin.isatty():
            raise GatewayError(f"{gateway.where} trades real money in {account}. Without a terminal to ask on, say so with gateway.confirm={word(account)}")
        known.console.print(f"Real money in [bold]{account}[/]. Type [bold]{word(account)}[/] to trade it: ", end="")
        if (await _line()).strip() != word(account):
            raise GatewayError(f"that was not the word of account {account}: nothing was sent.")


async def _line() -> str:
    """A line of standard input, while the session goes on."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        if not typed.done():
            typed.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin.fileno(), read)
    try:
        return await typed
    finally:
        loop.remove_reader(sys.stdin.fileno())


async def items(gateway: Gateway, known: Known) -> list[Item]:
    """The checklist of a gateway whose orders and positions are compared."""
    conf, ib, watch = gateway.conf, gateway.ib, gateway.watch
    asked_at = time.time()
    told = await within(conf.timeout_s or None, ib.reqCurrentTimeAsync())
    now = time.time()
    everybody = await within(conf.timeout_s or None, ib.reqAllOpenOrdersAsync())
    assert gateway.orders is not None
    router, ours = gateway.orders.router, f"{gateway.orders.tag}-"
    foreign = [f"{t.order.action} {t.order.totalQuantity:g} {t.contract.symbol}" for t in everybody if not t.order.orderRef.startswith(ours)]
    rows = router.rows.items()
    held = [f"{shares:+g} {gateway.universe.symbols[row]}" for c, row in rows if (shares := router.ledger.positions.get(c, 0.0))]
    wanted = watch.table
    lines = sum(s.feed != Feed.DEPTH for s in wanted.all)
    killed, unguarded = ("", "") if gateway.kill is None else (gateway.kill.why, await gateway.kill.guarded())
    return [
        account(conf, gateway.port, ib.client.getAccounts()),
        version(ib.client.serverVersion()),
        market_data(conf.market_data_type, known.allow_delayed, sorted(watch.link.broken_farms)),
        budget(lines, conf.lines, wanted.degraded),
        clock(told.timestamp(), asked_at, now, conf.skew_s),
        disk(shutil.disk_usage(known.session).free / 1e9, conf.disk_gb),
        model(known.model_set, known.engine),
        *(Item(f"limit {name}", OK, text) for name, text in known.limits),
        market(conf.calendar, time.time_ns()),
        left_over("orders of ours", [f"{o.side * o.quantity:+g} {router.names[router.rows[o.con_id]]}" for o in router.working if o.con_id in router.rows],
                  "of an earlier run: being cancelled"),
        left_over("orders of others", foreign, "in the same login: a kill cancels them too"),
        left_over("positions", held, "of earlier runs or others: taken over, resized and closed as if this run had bought them"),
        Item("kill switch", WARN, killed) if killed else Item("kill switch", OK, "armed"),
        *([Item("guard", REFUSE if conf.account_kind == "live" else WARN, f"it is not connected: {unguarded} (kill.log, kill.guard)")] if unguarded else []),
    ]  # fmt: skip


def account(conf: GatewayConf, port: int, accounts: Sequence[str]) -> Item:
    """Account and port; a contradiction has refused the connection before."""
    name = conf.account or accounts[0]
    said = port_kind(conf, port)
    if not said:
        return Item("account", WARN, f"{name}, {kind_of(name)}; port {port} says nothing of its kind (gateway.paper_ports, gateway.live_ports)")
    return Item("account", OK, f"{name}, {kind_of(name)}; port {port} is of a {said} account")


def version(spoken: int) -> Item:
    """The server version that is spoken: the decoder and the simulator are tested over these."""
    tested = FIRST_VERSION <= spoken <= SERVER_VERSION
    return Item("gateway version", OK if tested else WARN, f"{spoken}, " + ("tested" if tested else f"tested are {FIRST_VERSION} to {SERVER_VERSION}"))


def market_data(kind: int, allow_delayed: bool, broken: Sequence[str]) -> Item:
    """What data are asked for, and whether IBKR's farms are there."""
    if broken:
        return Item("market data", WARN, f"{TYPES[kind]}; broken farms: {', '.join(broken)}")
    if kind != 1 and not allow_delayed:
        return Item("market data", WARN, f"{TYPES[kind]}: no order goes out on delayed or frozen quotes (risk.allow_delayed)")
    return Item("market data", OK, f"{TYPES[kind]}; no farm is broken")


def budget(used: int, lines: int, degraded: Sequence[str]) -> Item:
    """Market data lines of the account."""
    text = f"{used} of {lines or 'any number of'} lines"
    if degraded:
        return Item("lines", WARN, f"{text}; L1 in place of tick-by-tick for {', '.join(degraded)}")
    return Item("lines", OK, text)


def clock(told: float, asked_at: float, now: float, allowed: float) -> Item:
    """The gateway's time, whole seconds of UTC, against ours: its second may have begun before we asked and ended after the answer."""
    skew = max(asked_at - (told + 1.0), told - now, 0.0)
    ahead = "behind" if asked_at > told else "ahead of"
    if skew == 0.0:
        return Item("clock", OK, "equal to the gateway's within its second")
    verdict = REFUSE if skew > SKEW_REFUSED else WARN if skew > allowed else OK
    return Item("clock", verdict, f"the gateway's is {skew:.1f} s {ahead} ours" + ("" if verdict == OK else ". Set the time of this machine (NTP)"))


def disk(free: float, wanted: float) -> Item:
    """Room for the session, GB."""
    verdict = REFUSE if free < DISK_REFUSED else WARN if free < wanted else OK
    return Item("disk", verdict, f"{free:.1f} GB free" + ("" if verdict == OK else f", wanted {wanted:g}. Make room, or choose another folder (record.path)"))


def model(model_set: ModelSet, engine: str) -> Item:
    """Whether the engine that serves has passed against the libraries of the set."""
    name = f"{model_set.path.name}, engine {engine}"
    passed = certificate.stored(model_set, engine)
    if passed is not None:
        return Item("model set", OK, f"{name}: equal to its libraries on {passed['rows']:,} rows")
    if engine == "xgboost":
        return Item("model set", OK, f"{name}: the library itself")
    return Item("model set", WARN, f"{name}: no certificate is stored. See: tickarrow verify")


def market(calendar: str, now_ns: int) -> Item:
    """Whether the exchange trades."""
    if not calendar:
        return Item("calendar", WARN, "none: every hour counts as open (gateway.calendar)")
    if Hours(calendar, now_ns).is_open(now_ns):
        return Item("calendar", OK, f"{calendar} is open")
    return Item("calendar", WARN, f"{calendar} is closed now")


def left_over(name: str, found: Sequence[str], what: str) -> Item:
    """What reconciliation has found."""
    if not found:
        return Item(name, OK, "none")
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return Item(name, WARN, f"{', '.join(found[:SHOWN])}{more}, {what}")


def table(found: Sequence[Item], where: str) -> Grid:
    """The checklist for a terminal."""
    grid = Grid("", "", "", box=None, show_header=False, pad_edge=False, title=f"pre-flight, {where}", title_justify="left")
    for item in found:
        grid.add_row(item.name, f"[{STYLE[item.verdict]}]{item.verdict}[/]", item.text)
    return grid
