"""An explained decision for people, as tables on the terminal and as a page, and for programs, as `explain.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from tickarrow.pipeline.decide import Control
from tickarrow.pipeline.explain_act import FEES
from tickarrow.pipeline.explain_find import Decisions, moment_text
from tickarrow.pipeline.pipeline import Pipeline
from tickarrow.pipeline.schemas import DECISIONS, PARTS, ControlKind, Feed, Flag, Gate, Health, Kind, OrderState, Reason, Side
from tickarrow.pipeline.session import read_table
from tickarrow.pipeline.session_quality import wide

if TYPE_CHECKING:
    from tickarrow.pipeline.explain import Explained

PART_NAMES = ("", "profit", "stop")  # of a bracket
OF_ALL = (ControlKind.KILL, ControlKind.LIMIT, ControlKind.THROTTLE)  # events without a symbol
EVENTS = 8  # control events shown
WIDE = 160  # characters, where the output is a file
NOTABLE = 12  # features shown; all are in the file


@dataclass(slots=True)
class Step:
    """One step of a decision: what was done, and its numbers."""

    title: str
    text: str
    columns: list[str]
    rows: list[list[Any]]
    shown: int | None = None  # rows on the terminal; None = all


def listing(found: Decisions, rows: npt.NDArray[np.int64], most: int) -> None:
    """The last decisions that pass the filters."""
    c, last = found.columns, rows[-most:]
    grid = Grid(title=f"{len(rows):,} of {len(found):,} decisions of {found.directory}, the last {len(last):,}", title_justify="left")
    for name in ("decision", "time, UTC", "symbol", "reason", "side", "edge, bp", "cost, bp", "horizon", "target", "order"):
        grid.add_column(name, justify="left" if name in ("time, UTC", "symbol", "reason", "side") else "right", no_wrap=True)
    for i in last.tolist():
        grid.add_row(
            str(c["seq"][i]), moment_text(int(c["ts"][i])), found.universe.symbols[c["symbol"][i]], Reason(c["reason"][i]).name.lower(),
            Side(int(found.side[i])).name.lower() if found.side[i] else "", figure(float(c["edge"][i])), figure(float(c["cost"][i])),
            str(c["horizon"][i]) if c["horizon"][i] >= 0 else "", figure(float(c["target"][i])), str(found.key[i]) if found.key[i] else "",
        )  # fmt: skip
    console = wide()
    console.print(grid, highlight=False, markup=False)
    console.print(f"reasons: {found.reasons()}", soft_wrap=True, highlight=False, markup=False)


def flag_names(flags: int) -> str:
    """Flags of a row of TICKS in words."""
    return ", ".join(f.name.lower().replace("_", " ") for f in Flag if flags & f and f.name) or "no flag"


def figure(value: Any) -> str:
    """A cell: numbers to six digits, nothing for what is missing."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:,.6g}"
    return "" if value is None else str(value)


def story(e: Explained, pipeline: Pipeline, found: Decisions, row: int, events: Sequence[Control], begin: int) -> dict[str, Any]:
    """All steps of a decision, as plain data; `begin`: the chunk behind which a saved state stands that it was rebuilt from, -1 = none."""
    m = e.moment
    return {
        "session": str(found.directory), "decision": m.seq, "row": row, "symbol": found.universe.symbols[m.symbol], "ts": m.tick["ts"],
        "time": moment_text(m.tick["ts"]), "reason": Reason(int(found.columns["reason"][row])).name, "equal": e.equal, "state_chunk": begin,
        "steps": [asdict(s) for s in (*_inputs(e, pipeline, events), *_ensemble(e, pipeline), *_act(e, pipeline), *_outcome(e, found, row))],
        "checks": [asdict(c) for c in e.checks],
    }  # fmt: skip


def _inputs(e: Explained, pipeline: Pipeline, events: Sequence[Control]) -> Iterator[Step]:
    m, t, own = e.moment, e.moment.tick, e.moment.act[e.moment.symbol]
    mid = 0.5 * (t["bid"] + t["ask"])
    yield Step(
        "quote", f"{Feed(t['feed']).name} {Kind(t['kind']).name.lower()} of chunk {t['chunk']}; {flag_names(t['flags'])}",
        ["bid", "bid size", "ask", "ask size", "mid", "spread, bp"],
        [[t["bid"], t["bid_size"], t["ask"], t["ask_size"], mid, 1e4 * (t["ask"] - t["bid"]) / mid if mid else math.nan]],
    )  # fmt: skip
    order = f"{int(own['side']) * float(own['quantity']):+g} at {float(own['limit']):g} (key {int(own['key'])})" if own["working"] else "none"
    yield Step(
        "position before", "what the symbol holds and what works, and the health of its data and of the link",
        ["position", "mark", "working order", "hold until", "data", "link", "model set"],
        [[float(own["position"]), float(own["mark"]), order, moment_text(int(own["hold_until"])) if own["hold_until"] else "",
          Health(int(own["health"])).name.lower(), Health(int(m.book["link"])).name.lower(), int(own["model_set"])]],
    )  # fmt: skip
    told = [c for c in events if c.chunk < t["chunk"] and (c.symbol in (-1, m.symbol) or c.kind in OF_ALL)]
    if told:
        rows = [
            [moment_text(c.ts), ControlKind(c.kind).name, c.key or None, OrderState(c.state).name if c.kind == ControlKind.ORDER_STATE else None, c.quantity,
             c.price, c.value] for c in told[-EVENTS:]
        ]  # fmt: skip
        heads = ["time, UTC", "kind", "key", "state", "quantity", "price", "value"]
        yield Step("control events", f"the last of {len(told)} of the symbol or of all, before its chunk", heads, rows)
    order_of = np.argsort(-np.abs(m.unusual), kind="stable") if len(m.unusual) else np.arange(len(m.features))
    names, unusual = pipeline.features.columns, m.unusual if len(m.unusual) else np.full(len(m.features), math.nan)
    yield Step(
        "features", f"{len(names)} columns, {int(np.isnan(m.features).sum())} missing; first those farthest from the symbol's earlier rows",
        ["feature", "value", "deviations off"], [[names[i], float(m.features[i]), float(unusual[i])] for i in order_of.tolist()], NOTABLE,
    )  # fmt: skip


def _by_horizon(pipeline: Pipeline, symbol: int, values: npt.NDArray[Any]) -> list[list[Any]]:
    """Rows of configurations, columns of horizons."""
    served = pipeline.predict.sets[pipeline.predict.route[symbol]].model_set
    n = len(served.horizons_ns)
    return [[name, *values[i * n : (i + 1) * n].tolist()] for i, name in enumerate(served.configurations)]


def _ensemble(e: Explained, pipeline: Pipeline) -> Iterator[Step]:
    m, f = e.moment, e.forecast
    seconds = [f"{h / 1e9:g} s" for h in pipeline.ensemble.horizons_ns.tolist()]
    heads = ["configuration", *seconds]
    yield Step("predictions", "basis points of the mid return, configuration x horizon", heads, _by_horizon(pipeline, m.symbol, m.predictions.astype(float)))
    if f.outcomes:
        yield Step("outcomes", "horizons of earlier predictions that ended before this tick", ["horizon", "bp"], [[seconds[h], y] for h, y in f.outcomes])
    yield Step("standardised", "(prediction - mean) / deviation of the model's own past, clipped", heads, _by_horizon(pipeline, m.symbol, f.z))
    solved, source = e.solving.solved, m if m.refreshed or m.refresh is None else m.refresh
    if solved is not None:
        when = "with this row" if source is m else f"with decision {source.seq} at {moment_text(source.tick['ts'])}"
        cells = np.array([
            [f"{k.pooled[i]:+.4f} ± {k.error[i]:.4f} -> {k.shrunk[i]:.4f}" for k in solved.skill] for i in range(len(m.after.prior))
        ])  # fmt: skip
        text = f"of outcomes and validation, ± standard error -> shrunk by it; computed {when}"
        yield Step("information coefficients", text, heads, _by_horizon(pipeline, m.symbol, cells.ravel()))
        rows = []
        for name, s in zip(seconds, solved.spectrum):
            above = [float(v) for v in np.sort(s.values)[::-1] if v > s.edge]
            exact = [float(v) for v in s.exact[::-1] if v > s.edge]
            rows.append([
                name, s.t_eff, s.intensity, s.edge, ", ".join(f"{v:.4g}" for v in above) or "none", ", ".join(f"{v:.4g}" for v in exact) or "none",
                s.bulk, s.strength,
            ])  # fmt: skip
        how = "four tracked pairs" if solved.spectrum[0].tracked else "all pairs solved"
        yield Step(
            "spectrum", f"correlation of the standardised predictions, shrunk and cut at the Marchenko-Pastur edge ({how})",
            ["horizon", "observations", "shrinkage", "edge", "eigenvalues above it", "exact ones", "mean of the others", "strength, IC²"], rows,
        )  # fmt: skip
    n = len(m.after.prior)
    yield Step("weights", "C⁻¹ IC of the cleaned correlation", heads, _by_horizon(pipeline, m.symbol, m.after.weights[:n, : len(seconds)].ravel()))
    alpha, sigma, ic = m.forecasts
    judged = {j.horizon: j for j in e.decided.judged}
    rows = [
        [name, float(f.score[h]), float(sigma[h]), float(ic[h]), float(alpha[h]), *((j.drift, j.precision, j.edge) if (j := judged.get(h)) else (None,) * 3)]
        for h, name in enumerate(seconds)
    ]
    yield Step(
        "forecast", f"volatility x weights'z; moved to the pooled drift of {figure(e.decided.pool)} bp/s by {pipeline.conf.risk.pool_share:g}",
        ["horizon", "score w'z", "volatility, bp", "IC", "forecast, bp", "drift, bp/s", "weight in the pool", "edge, bp"], rows,
    )  # fmt: skip


def _act(e: Explained, pipeline: Pipeline) -> Iterator[Step]:
    d, risk = e.decided, pipeline.conf.risk
    name = {h: f"{ns / 1e9:g} s" for h, ns in enumerate(pipeline.act.horizons_ns.tolist())}
    of = [name[j.horizon] + (" *" if j is d.best else "") for j in d.judged]
    rows: list[list[Any]]
    if d.judged:
        rows = [[n, j.quantity, j.spread, *j.fees.values(), j.fees_bp, j.impact, j.cost, j.score] for n, j in zip(of, d.judged)]
        yield Step(
            "costs", "round trip: spread + commission and fees of both orders (currency: of the sale) + impact; * has the highest (|edge| - cost) / volatility",
            ["horizon", "shares", "spread, bp", *FEES, "fees, bp", "impact, bp", "cost, bp", "score"], rows,
        )  # fmt: skip
        rows = [[n, *j.fraction.values(), d.throttle, d.most, j.size] for n, j in zip(of, d.judged)]
        yield Step(
            "size", f"least of three fractions of nav x drawdown throttle x nav {risk.nav:,g} / mark {d.mark:g}, at most the participation, in whole lots"
            + (f"; bound by the {d.bound}" if d.bound else ""),
            ["horizon", "Kelly", "volatility target", "name cap", "throttle", "participation, shares", "size, shares"], rows,
        )  # fmt: skip
    if d.best is not None:
        yield Step(
            "barriers", f"{risk.profit_barrier:g} deviations in the forecast's direction, {risk.stop_barrier:g} against it, within {name[d.best.horizon]}",
            ["drift, deviations", "upper first", "lower first", "neither", "value, bp"],
            [[d.best.edge / d.best.sigma, d.row["p_up"], d.row["p_down"], 1.0 - d.row["p_up"] - d.row["p_down"], d.row["value"]]],
        )  # fmt: skip
    if d.caps:
        rows = [[cap, used, room] for cap, (room, used) in d.caps.items()]
        yield Step("book", "currency that the other symbols leave under each cap", ["cap", "used", "room"], rows)
    if d.limits:
        rows = [[r.reason.name, "FAILED" if r.broken else "passed", r.number, r.limit] for r in d.limits]
        yield Step("pre-trade limits", "of the order that would be sent; the first that fails is the reason", ["limit", "verdict", "number", "allowed"], rows)
    asked = {a.gate: a for a in d.gates}
    yield Step(
        "gates", "from the edge on a gate is asked only if those before it passed", ["gate", "verdict", "number", "limit"],
        [[g.name, "passed" if asked[g].passed else "FAILED", asked[g].number, asked[g].limit] if g in asked else [g.name, "not asked", "", ""] for g in Gate],
    )  # fmt: skip


def _outcome(e: Explained, found: Decisions, row: int) -> Iterator[Step]:
    m, recorded = e.moment, {n: c[row].item() for n, c in found.columns.items()}
    rows: list[list[Any]] = [[n, *(repr(row[n]) for row in (recorded, m.decision, e.decided.row))] for n in DECISIONS.names]
    text = f"reason {Reason(recorded['reason']).name}: recorded, rebuilt from the frames, by plain arithmetic"
    yield Step("decision", text, ["column", "recorded", "rebuilt", "plain"], rows)
    key = int(found.key[row])
    if not key:
        return
    orders, fills = read_table(found.directory, "orders"), read_table(found.directory, "fills")
    life, filled = (
        [r | {"part": PART_NAMES[r["key"] // PARTS]} for r in t.filter(pc.field("symbol") == m.symbol).to_pylist() if r["key"] % PARTS == key]
        for t in (orders, fills)
    )
    rows = [
        [moment_text(r["ts"]), r["part"], OrderState(r["state"]).name, Side(r["side"]).name.lower(), r["quantity"], r["limit"], r["perm_id"] or None,
         Reason(r["reason"]).name if r.get("reason") else None] for r in life
    ]  # fmt: skip
    yield Step(f"order {key}", "its life in ORDERS", ["time, UTC", "part", "state", "side", "quantity", "limit", "permId", "refused by us"], rows)
    rows = [
        [moment_text(r["ts"]), r["part"], r["quantity"], r["price"], r["commission"], 1e4 * r["side"] * (r["price"] / e.decided.mark - 1.0)] for r in filled
    ]
    done = sum(r["quantity"] for r in filled if not r["part"])
    text = f"{done:g} of {life[0]['quantity'] if life else 0:g} filled; how much worse than the mid of the decision"
    yield Step(f"fills of order {key}", text, ["time, UTC", "part", "quantity", "price", "commission", "beyond the mid, bp"], rows)


def show(said: dict[str, Any], out: Path) -> Path:
    """Print a story; `explain.json` and `explain.html` in `out`."""
    console = Console(record=True)
    if not console.is_terminal:
        console = Console(record=True, width=WIDE)
    console.print(f"decision {said['decision']}  {said['symbol']}  {said['time']} UTC  {said['reason']}", style="bold", highlight=False)
    begin = f"the saved state behind chunk {said['state_chunk']:,}" if said["state_chunk"] >= 0 else "the begin of the session"
    console.print(f"rebuilt from {begin}", highlight=False)
    for step in said["steps"]:
        grid = Grid(box=None, pad_edge=False, header_style="dim")
        for i, name in enumerate(step["columns"]):
            words = all(isinstance(r[i], str) or r[i] is None for r in step["rows"])
            grid.add_column(name, justify="left" if words else "right", overflow="fold")
        for r in step["rows"][: step["shown"]]:
            grid.add_row(*[figure(v) for v in r], style="red" if "FAILED" in r else None)
        console.print()
        console.print(Text.assemble((step["title"], "bold"), f": {step['text']}"), soft_wrap=True)
        console.print(grid, highlight=False)
    ok, worst = sum(c["ok"] for c in said["checks"]), max((c["apart"] / c["allowed"] for c in said["checks"] if c["allowed"]), default=0.0)
    console.print()
    for c in said["checks"]:
        if not c["ok"]:
            console.print(f"{c['name']}: {c['text']}", style="red", soft_wrap=True, highlight=False, markup=False)
    last = f"{ok} of {len(said['checks'])} checks hold"
    if said["equal"]:
        last += f": the recorded row is the rebuilt one bit for bit, plain arithmetic is within {worst:.2g} of its allowance"
    console.print(last, style="bold", soft_wrap=True, highlight=False)
    path = write(out, said)
    console.save_html(str(out / "explain.html"))
    print(f"written to {path} and explain.html")
    return path


def write(out: Path, said: dict[str, Any]) -> Path:
    """`explain.json`; what is missing or infinite is null."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "explain.json"
    path.write_text(json.dumps(_plain(said), indent=1) + "\n")
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
