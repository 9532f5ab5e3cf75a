"""One decision by plain Python numbers from its forecasts and the state before its tick: horizon blend, costs term by term, sizes and caps,
barriers, gates, reason, order. Written out in the order of the formulas, so that the bits are those of the row; barrier probabilities come
by another series and agree to `BARRIER_ERROR`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from tickarrow.pipeline.explain_barrier import ended, first_passage
from tickarrow.pipeline.explain_limits import Rule, opens, rules, stopped
from tickarrow.pipeline.explain_watch import Moment
from tickarrow.pipeline.schemas import Flag, Gate, Kind, Reason

Array = npt.NDArray[Any]
DAY_S = 23400.0
YEAR_S = 252.0 * DAY_S
BARRIER_ERROR = 1e-12
SENDING = (Reason.ORDER, Reason.HORIZON_OVER)
FEES = ("commission", "clearing", "exchange", "pass-through", "regulatory", "TAF", "SEC")


@dataclass(slots=True)
class Judged:
    """A horizon with its forecast: what it would earn, cost, and how much would be held."""

    horizon: int
    alpha: float  # bp
    sigma: float  # bp
    ic: float
    drift: float  # bp per second
    precision: float  # weight of its drift in the pool
    edge: float  # bp, moved towards the pooled drift
    fraction: dict[str, float]  # of nav, by what limits it
    size: float  # shares, whole lots, after throttle and participation
    quantity: float  # shares that the cost is of
    spread: float  # bp, half of it in and half out
    fees: dict[str, float]  # currency, of one order; TAF and SEC of the sale
    fees_bp: float  # of both orders
    impact: float  # bp, of both orders
    cost: float  # bp
    score: float  # (|edge| - cost) / sigma


@dataclass(slots=True)
class Asked:
    """A gate: its number beside its limit."""

    gate: Gate
    passed: bool
    number: str
    limit: str


@dataclass(slots=True)
class Decided:
    """All that one row of DECISIONS comes from."""

    quoted: bool
    mark: float  # mid of the last uncrossed quote, currency
    gain: float  # of all symbols, currency
    drawdown: float
    throttle: float
    most: float  # shares that participation allows
    pool: float  # bp per second
    judged: list[Judged]
    gates: list[Asked]
    caps: dict[str, tuple[float, float]]  # cap: (room, used), currency; empty if the gate was not asked
    bound: str  # what made the size what it is
    row: dict[str, Any]  # the columns of DECISIONS
    order: dict[str, Any] | None  # side, quantity, limit, key of the order that follows
    best: Judged | None = None
    limits: list[Rule] = field(default_factory=list)  # of the order that would be sent


def bill(fees: Any, quantity: float, price: float) -> dict[str, float]:
    """Commission and fees of a marketable sale, currency; a purchase pays neither of the last two."""
    left, done, commission = quantity, float(fees["month"]), 0.0
    for up_to, rate in zip(fees["up_to"].tolist(), fees["per_share"].tolist()):
        if done < up_to:
            step = min(left, up_to - done)
            commission += rate * step
            left -= step
            done += step
            if left <= 0.0:
                break
    value = quantity * price * float(fees["multiplier"])
    commission = min(max(commission, float(fees["minimum"])), float(fees["max_share"]) * value)
    return {
        "commission": commission, "clearing": min(float(fees["clearing"]) * quantity, float(fees["clearing_most"]) * value),
        "exchange": float(fees["remove"]) * quantity, "pass-through": float(fees["pass_through"]) * commission,
        "regulatory": float(fees["regulatory"]) * quantity,
        "TAF": min(float(fees["taf"]) * quantity, float(fees["taf_most"])), "SEC": float(fees["sec"]) * value,
    }  # fmt: skip


def reach(state: Array, sector: Array, at: int, side: int) -> tuple[float, float, float]:
    """Gross value, net value on `side`, and value in the sector of `at` that the other symbols can reach, currency."""
    gross = net = of_sector = 0.0
    for i, s in enumerate(state):
        if i != at and (s["position"] != 0.0 or s["working"]):
            position, mark = float(s["position"]), float(s["mark"])
            done = position + float(s["side"]) * float(s["quantity"]) if s["working"] else position
            value = max(abs(position), abs(done)) * mark
            gross += value
            net += max(side * position, side * done) * mark
            if sector[at] >= 0 and sector[i] == sector[at]:
                of_sector += value
    return gross, net, of_sector


def gained(state: Array) -> float:
    """Gain of all symbols, currency."""
    gain = 0.0
    for s in state:
        if s["position"] != 0.0:
            gain += float(s["position"]) * float(s["mark"])
        gain += float(s["cash"]) - float(s["commission"])
    return gain


def lots(quantity: float, lot: float) -> float:
    return math.floor(quantity / lot) * lot if math.isfinite(quantity) else quantity


def judge(moment: Moment, s: Any, act: Any, par: Any, throttle: float, most: float) -> tuple[float, list[Judged]]:
    """Every horizon that has a forecast; the pooled drift, bp per second."""
    alpha, sigma, ic = (row.tolist() for row in moment.forecasts)
    seconds = [1e-9 * h for h in act.horizons_ns.tolist()]
    known = [h for h in range(len(seconds)) if alpha[h] == alpha[h] and sigma[h] > 0.0]
    total = pool = 0.0
    precision = {}
    for h in known:
        p = ic[h] * seconds[h] / sigma[h]
        precision[h] = p * p
        total += precision[h]
        pool += precision[h] * (alpha[h] / seconds[h])
    pool = pool / total if total > 0.0 else 0.0
    fees, adv, mark, lot = act.fees[0], float(act.adv[moment.symbol]), float(s["mark"]), float(par["lot"])
    bid, ask, share, nav = float(s["bid"]), float(s["ask"]), float(par["pool_share"]), float(par["nav"])
    out = []
    for h in known:
        edge = (1.0 - share) * alpha[h] + share * pool * seconds[h]
        kelly = math.inf if par["kelly"] == math.inf else float(par["kelly"]) * 1e4 * abs(edge) / (sigma[h] * sigma[h])
        volatility = float(par["vol_target"]) / (1e-4 * sigma[h] * math.sqrt(YEAR_S / seconds[h]))
        fraction = {"Kelly": kelly, "volatility target": volatility, "name cap": float(par["name_cap"])}
        size = lots(min(throttle * min(fraction.values()) * nav / mark, most), lot)
        quantity, price = max(size, lot), 0.5 * (bid + ask)
        paid = bill(fees, quantity, price)
        bought = 0.0
        for term in FEES[:-2]:
            bought += paid[term]
        sold = bought + paid["TAF"] + paid["SEC"]
        spread = 2.0 * (float(fees["effective"]) * 5e3 * (ask - bid) / (0.5 * (bid + ask)))
        fees_bp = 1e4 * (bought + sold) / (quantity * price * float(fees["multiplier"]))
        impact = 0.0
        if par["eta"] != 0.0:
            impact = float(par["eta"]) * (sigma[h] * math.sqrt(DAY_S / seconds[h])) * math.sqrt(quantity / adv) if adv > 0.0 else math.inf
        impact *= 2.0
        cost = spread + fees_bp
        cost += impact
        out.append(Judged(
            h, alpha[h], sigma[h], ic[h], alpha[h] / seconds[h], precision[h], edge, fraction, size, quantity, spread, paid, fees_bp, impact, cost,
            (abs(edge) - cost) / sigma[h],
        ))  # fmt: skip
    return pool, out


def decide(moment: Moment, act: Any) -> Decided:
    """The row again. `act` is the stage, whose settings are read."""
    par, book, at = act.params[0], moment.book, moment.symbol
    state, tick = moment.act.copy(), moment.tick
    s, nav, lot, now = state[at], float(par["nav"]), float(par["lot"]), int(tick["ts"])
    if tick["kind"] == Kind.QUOTE:
        s["bid"], s["ask"], s["quote_flags"] = tick["bid"], tick["ask"], tick["flags"]
        if 0.0 < tick["bid"] <= tick["ask"]:
            s["mark"] = 0.5 * (tick["bid"] + tick["ask"])
    age, bid, ask, mark, position = now - int(s["since"]), float(s["bid"]), float(s["ask"]), float(s["mark"]), float(s["position"])
    working = bool(s["working"]) and not (s["done"] and age > par["ttl"])
    quoted, flags = 0.0 < bid <= ask, int(s["quote_flags"])
    gain = gained(state)
    stop_on = stopped(moment.limits, act, now, gained(moment.act), gain)
    peak = max(float(book["peak"]), gain)
    drawdown, start, stop = (peak - gain) / (nav + peak), float(par["throttle_from"]), float(par["throttle_to"])
    throttle = 1.0 if drawdown <= start else 0.0 if drawdown >= stop else (stop - drawdown) / (stop - start)
    most = float(par["participation"]) * float(act.adv[at]) if act.adv[at] > 0.0 else math.inf
    pool, judged = judge(moment, s, act, par, throttle, most) if quoted else (0.0, [])
    best = max(judged, key=lambda j: j.score, default=None)  # the first, that is the shorter, of equals
    if best is not None and not best.score > -math.inf:
        best = None
    edge, cost = (best.edge, best.cost) if best else (math.nan, math.nan)
    p_up = p_down = value = math.nan
    if best is not None:
        drift = edge / best.sigma
        profit, against = float(par["profit_barrier"]), float(par["stop_barrier"])
        upper, lower = (profit, against) if edge >= 0.0 else (against, profit)
        p_up, p_down = first_passage(drift, upper, lower), first_passage(-drift, lower, upper)
        value = best.sigma * ended(drift, upper, lower)

    not_live = bool(book["link"] or s["health"] or flags & int(par["not_live"]))
    passed = {
        Gate.ALIVE: not book["killed"], Gate.TRADING: not flags & Flag.HALTED, Gate.LIVE: not not_live, Gate.QUOTED: quoted, Gate.FREE: not working,
        Gate.FORECAST: best is not None, Gate.DRAWDOWN: throttle > 0.0, Gate.VOLUME: most >= lot,
    }  # fmt: skip
    numbers = {
        Gate.ALIVE: ("kill switch " + ("on" if book["killed"] else "off"), "off"),
        Gate.TRADING: ("halted" if flags & Flag.HALTED else "trading", "trading"),
        Gate.LIVE: (f"link {int(book['link'])}, data {int(s['health'])}, flags {flags & int(par['not_live'])}", "all 0"),
        Gate.QUOTED: (f"{bid:g} x {ask:g}", "0 < bid <= ask"), Gate.FREE: (f"order {int(s['key'])} works" if working else "none works", "none works"),
        Gate.FORECAST: (f"{len(judged)} horizons", "1 or more"), Gate.DRAWDOWN: (f"drawdown {100 * drawdown:.4g} %", f"below {100 * stop:g} %"),
        Gate.VOLUME: (f"{most:,.10g} shares", f"{lot:g} or more"),
    }  # fmt: skip
    gates = [Asked(g, bool(ok), *numbers[g]) for g, ok in passed.items()]
    why, goal, caps, bound, hold_until = Reason.EDGE_BELOW_COST, position, {}, "", int(s["hold_until"])
    limited: list[Rule] = []
    stopping = book["killed"] or (stop_on and opens(int(s["side"]), float(s["quantity"]), position))
    if working and not s["cancelling"] and not s["done"] and (stopping or age > par["ttl"]):
        why = Reason.CANCEL
    elif book["killed"]:
        why = Reason.KILLED
    elif flags & Flag.HALTED:
        why = Reason.HALTED
    elif not_live:
        why = Reason.NOT_LIVE
    elif not quoted:
        why = Reason.CROSSED if bid > ask else Reason.NO_QUOTE
    elif working:
        why = Reason.ORDER_WORKING
    else:
        if best is None:
            why = Reason.WARMING_UP
        elif throttle <= 0.0:
            why = Reason.DRAWDOWN
        elif most < lot:
            why = Reason.PARTICIPATION_CAP
        else:
            net, hurdle = abs(value) - cost, float(par["hurdle"])
            above = net > hurdle * cost
            gates.append(Asked(Gate.EDGE, above, f"|value| - cost {net:.6g} bp", f"above {hurdle:g} x {cost:.6g} bp"))
            if above:
                side = 1 if edge > 0.0 else -1
                held = side * position
                if held > 0.0:
                    hold_until = max(hold_until, now + int(act.horizons_ns[best.horizon]))
                gross, net, of_sector = reach(state, act.sector, at, side)
                caps = {"gross cap": (float(book["gross_cap"]) * nav - gross, gross), "net cap": (float(par["net_cap"]) * nav - net, net)}
                if act.sector[at] >= 0:
                    caps["sector cap"] = (float(par["sector_cap"]) * nav - of_sector, of_sector)
                cap = min(caps, key=lambda name: caps[name][0])  # the first of equals
                size = min(best.size, lots(max(caps[cap][0], 0.0) / mark, lot))
                band = float(par["resize_band"])
                bound = cap if size < best.size else _bound(best, throttle, most, nav, mark)
                why, goal = _size(best.size, size, held, lot, band, cap, mark, float(par["least_value"]), gates, side, position)
        if why != Reason.ORDER and position != 0.0 and now >= hold_until:
            why, goal = Reason.HORIZON_OVER, 0.0
    if why in SENDING:
        why, goal, limited, asked = _limited(moment, act, why, goal, position, stop_on, state, par, bid, ask)
        gates.append(asked)
    verdict = 0
    for asked in gates:
        verdict |= asked.gate if asked.passed else 0
    row = {
        "seq": moment.seq, "ts": now, "symbol": at, "edge": edge, "cost": cost, "horizon": best.horizon if best else -1, "p_up": p_up, "p_down": p_down,
        "target": goal, "reason": int(why), "model_set": int(s["model_set"]), "verdict": int(verdict), "value": value,
    }  # fmt: skip
    order = _order(why, goal, position, s, book, act.grid[at], par, bid, ask)
    return Decided(quoted, mark, gain, drawdown, throttle, most, pool, judged, gates, caps, bound, row, order, best, limited)


def _bound(best: Judged, throttle: float, most: float, nav: float, mark: float) -> str:
    """What made the size before the book was looked at."""
    name = min(best.fraction, key=lambda n: best.fraction[n])
    return "participation" if most < throttle * best.fraction[name] * nav / mark else name


def _size(
    wanted: float, size: float, held: float, lot: float, band: float, cap: str, mark: float, least: float, gates: list[Asked], side: int, position: float
) -> tuple[Reason, float]:
    """Size, band, book and value gates, each asked if those before it passed; reason and target."""

    def asked(gate: Gate, passed: bool, number: str, limit: str) -> bool:
        gates.append(Asked(gate, passed, number, limit))
        return passed

    if not asked(Gate.SIZE, wanted >= lot, f"{wanted:,.10g} shares", f"{lot:g} or more"):
        return Reason.NAME_CAP, position
    off = abs(wanted - held)
    outside = f"above {band * wanted:,.10g}" if held > 0.0 else "no position on this side"
    if not asked(Gate.BAND, not (held > 0.0 and off <= band * wanted), f"{off:,.10g} shares off", outside):
        return Reason.AT_TARGET, position
    room = not (size < lot or (size < wanted and held > 0.0 and size - held <= band * size))
    if not asked(Gate.BOOK, room, f"{size:,.10g} shares within the {cap}", f"{lot:g} or more, outside the band"):
        return Reason[cap.upper().replace(" ", "_")], position
    value = abs(size - held) * mark
    if not asked(Gate.VALUE, not value < least, f"{value:,.10g} of value", f"{least:g} or more"):
        return Reason.BELOW_MINIMUM, position
    return Reason.ORDER, side * size


def _limited(
    moment: Moment, act: Any, why: Reason, goal: float, position: float, stop_on: bool, state: Array, par: Any, bid: float, ask: float
) -> tuple[Reason, float, list[Rule], Asked]:
    """What the pre-trade limits leave of an order: reason, target, all limits as the whole order meets them, and the gate."""
    at, side = moment.symbol, 1 if goal > position else -1
    gross, net, _ = reach(state, act.sector, at, side)
    price, first = _limit(side, act.grid[at], par, bid, ask), Reason.ORDER
    whole: list[Rule] = []
    for wanted in (goal, 0.0) if goal * position < 0.0 else (goal,):
        found = rules(moment.limits, act, moment.tick, stop_on, side, abs(wanted - position), price, position, gross, net, bid, ask)
        whole = whole or found
        said = next((r.reason for r in found if r.broken), Reason.ORDER)
        first = first or said
        if not said:
            why = Reason.NOT_TURNED if wanted != goal else why
            return why, wanted, whole, Asked(Gate.LIMITS, wanted == goal, first.name if first else "none is broken", "none")
    return said, position, whole, Asked(Gate.LIMITS, False, said.name, "none")


def _limit(side: int, grid: Any, par: Any, bid: float, ask: float) -> float:
    """Limit price of a marketable order, currency."""
    multiplier, divisor, offset = float(grid["multiplier"]), float(grid["divisor"]), float(par["offset_ticks"])
    if side > 0:
        n = math.ceil(ask * divisor / multiplier - 1e-6) + offset
    else:
        n = max(math.floor(bid * divisor / multiplier + 1e-6) - offset, 1.0)
    return n * multiplier / divisor


def _order(why: Reason, goal: float, position: float, s: Any, book: Any, grid: Any, par: Any, bid: float, ask: float) -> dict[str, Any] | None:
    if why == Reason.CANCEL:
        return {"key": int(s["key"]), "side": int(s["side"]), "quantity": float(s["ordered"]), "limit": float(s["limit"])}
    if why not in (*SENDING, Reason.NOT_TURNED):
        return None
    side = 1 if goal > position else -1
    return {"key": int(book["next_key"]), "side": side, "quantity": abs(goal - position), "limit": _limit(side, grid, par, bid, ask)}
