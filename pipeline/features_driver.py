"""The driver of the configured feature families: one compiled loop over the ticks, generated for them.

A kernel cannot take its step function as an argument without losing its cache, and a call of a kernel from Python costs more than the
arithmetic of a family. So the loop is written out as a module of its own, in the cache folder: it imports the kernels of the families,
and numba compiles it once for each set of families: what runs at each tick into it, the rest is called by address. Its arrays hang on one
control block (jit/memory.py). With the JIT off it is plain Python."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from numba.core.config import DISABLE_JIT

from tickarrow.jit._kernel import DRIVER, JIT_FOLDER, address, cache_home, user_digest
from tickarrow.jit.feature import Family
from tickarrow.jit.memory import SLOT
from tickarrow.pipeline.block import Block

# What the driver finds in its control block, name and type. That of a clock is there if a family needs it.
TICKS = (
    ("seq", "u8[:]"), ("ts", "i8[:]"), ("symbol", "i4[:]"), ("kind", "u1[:]"), ("feed", "u1[:]"), ("flags", "u2[:]"),
    ("bid", "f8[:]"), ("bid_size", "f8[:]"), ("ask", "f8[:]"), ("ask_size", "f8[:]"), ("price", "f8[:]"), ("size", "f8[:]"),
)  # fmt: skip
DEPTH = (
    ("d_seq", "u8[:]"), ("d_ts", "i8[:]"), ("d_symbol", "i4[:]"), ("d_flags", "u2[:]"), ("d_position", "i4[:]"), ("d_operation", "u1[:]"),
    ("d_side", "u1[:]"), ("d_price", "f8[:]"), ("d_size", "f8[:]"),
)  # fmt: skip
FIXED = (
    ("state", "STATE[:]"), ("e", "EVENT"), ("clock", "CLOCK"), ("sessions", "i8[:,:]"), ("rate", "f8[:]"), ("window", "i8[:]"),
    ("tick_size", "f8[:]"), ("pick", "i8[:]"), ("whole", "i8"), ("throttle_ns", "i8"), ("v", "f8[:]"),
)  # fmt: skip
BARS = (
    ("bar", "BAR_STATE[:]"), ("rule", "i8"), ("every_ns", "i8"), ("threshold", "f8[:]"), ("of_mid", "i8"), ("bar_price", "i8[:,:]"),
    ("bar_flow", "f8[:,:]"), ("when", "i8[:,:]"), ("bar_n", "i8[:]"), ("base", "i8[:]"), ("unit", "f8[:]"),
)  # fmt: skip
PASSES = (("pass_ns", "i8"), ("sector", "i4[:]"), ("index", "i8"))
OUT = (("row_seq", "u8[:]"), ("row_ts", "i8[:]"), ("row_symbol", "i4[:]"), ("x", "f4[:,:]"))
HOOKS = ("step", "emit", "lane_step", "change", "bars", "passes")
SELDOM = ("change", "bars", "passes")  # called by address: not at each tick, and large

DTYPES = {"i8": "np.int64", "i4": "np.int32", "u8": "np.uint64", "u2": "np.uint16", "u1": "np.uint8", "f8": "np.float64", "f4": "np.float32"}


@dataclass(frozen=True)
class Part:
    """A family in the driver: where its windows and columns stand."""

    family: Family
    windows: slice  # of those of all families
    columns: int  # of its tick clock


def needs(parts: Sequence[Part]) -> tuple[bool, bool, bool]:
    """Whether a family needs changes of the depth book, bars, passes over the cross-section."""
    families = [p.family for p in parts]
    return any(f.change for f in families), any(f.bars for f in families), any(f.passes for f in families)


def entries(parts: Sequence[Part]) -> list[tuple[str, str]]:
    """Entries of the control block in order: those of the whole stage, those of a segment of TICKS, of FEATURES, of DEPTH."""
    depth, bars, passes = needs(parts)
    out = [*FIXED]
    if depth:
        out.append(("change", "BOOK_CHANGE"))
    if bars:
        out += BARS
    if passes:
        out += PASSES
    for i, p in enumerate(parts):
        if p.family.f_rows or p.family.q_rows:
            out += [(f"f{i}", "f8[:,:]"), (f"q{i}", "i8[:,:]")]
        if p.family.bars:
            out.append((f"bars{i}", "f8[:,:]"))
        if p.family.passes:
            out.append((f"passes{i}", "f8[:,:]"))
        out += [(f"{hook}_{i}", "i8") for hook in SELDOM if getattr(p.family, hook) and not DISABLE_JIT]
    return [*out, *TICKS, *OUT, *(DEPTH if depth else ())]


def put_kernels(block: Block, parts: Sequence[Part]) -> None:
    """Put the addresses of the kernels that are called by address into a control block; they are warmed."""
    if DISABLE_JIT:
        return
    at = {name: k for k, (name, _) in enumerate(entries(parts))}
    for i, p in enumerate(parts):
        for hook in SELDOM:
            if kernel := getattr(p.family, hook):
                block.put(at[f"{hook}_{i}"], address(kernel))


def _read(name: str, kind: str, at: int) -> str:
    """Source that takes an entry out of the control block."""
    base, _, dims = kind.partition("[")
    if dims:
        return f"{name} = array_in(control, {at}, {dims.count(':')}, {DTYPES.get(base, base)})"
    if base in DTYPES:
        return f"{name} = words[{SLOT * at}]"
    return f"{name} = array_in(control, {at}, 1, {base})[0]"


def _name(kernel: Any) -> tuple[str, str]:
    """Module and name of a kernel."""
    function = getattr(kernel, "py_func", kernel)
    return function.__module__, function.__name__


def _windows(part: Part) -> str:
    return f"window[{part.windows.start}:{part.windows.stop}]"


class _Text:
    """Source of the driver of some families."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.depth, self.bars, self.passes = needs(parts)
        self.lines: list[str] = []

    def add(self, indent: int, *lines: str) -> None:
        self.lines += ["    " * indent + line for line in lines]

    def call(self, indent: int, kernel: str, arguments: str) -> None:
        """Call a kernel of `SELDOM`."""
        self.add(indent, f"{kernel}({arguments})" if DISABLE_JIT else f"call_at({kernel}, ({arguments}))")

    def imports(self) -> dict[str, set[str]]:
        """Names by module; kernels and records of the families under names of their own."""
        out = {
            "tickarrow.jit._kernel": {"kernel", "record"},
            "tickarrow.jit.event": {"BOOK_CHANGE", "CLOCK", "EVENT", "EVENT_STATE", "clock_step", "event_step"},
            "tickarrow.jit.trigger": {"DUE_STATE", "due_step"},
            "tickarrow.jit.memory": {"array_at", "array_in"} if DISABLE_JIT else {"array_at", "array_in", "call_at"},
            "tickarrow.jit.moments": {"single_point"},
        }
        if self.bars:
            out["tickarrow.jit.bars"] = {"BAR_STATE", "TIME", "bar_close", "bar_step", "bars_close", "bars_due", "bars_next"}
        for i, p in enumerate(self.parts):
            for hook in HOOKS:
                if (kernel := getattr(p.family, hook)) and (DISABLE_JIT or hook not in SELDOM):
                    module, name = _name(kernel)
                    out.setdefault(module, set()).add(f"{name} as {hook}_{i}")
        return out

    def whole(self) -> str:
        names = ", ".join(p.family.name for p in self.parts)
        self.add(0, f'"""Driver of the feature families {names}. Generated by pipeline/features_driver.py; made again when one of them changes."""', "")
        self.add(0, "import numpy as np", "")
        for module, found in sorted(self.imports().items()):
            self.add(0, f"from {module} import {', '.join(sorted(found))}")
        self.add(0, "", "STATE = record([", '    ("event", EVENT_STATE), ("due", DUE_STATE),')
        for i, p in enumerate(self.parts):
            if p.family.state is not None:
                self.add(1, f'("s{i}", STATE_{i}),')
        self.add(0, "])", "", "")
        listed = entries(self.parts)
        self.add(0, '@kernel("i8, i8, i8, i8, i8, i8")', "def features_update(control, lo, hi, row, d_lo, d_hi):")
        self.add(1, f"words = array_at(control, {SLOT * len(listed)}, np.int64)")
        for at, (name, kind) in enumerate(listed):
            self.add(1, _read(name, kind, at))
        self.body()
        return "\n".join(self.lines) + "\n"

    def body(self) -> None:
        self.add(1, "n = 0")
        if self.depth:
            self.add(1, "j = d_lo")
        if self.bars:
            self.add(1, "lanes = np.int64(bar.size)")
        self.add(1, "for i in range(lo, hi):")
        self.add(2, "now = ts[i]")
        if self.depth:
            self.add(2, "while j < d_hi and d_seq[j] <= seq[i]:")
            self.changes(3)
        if self.bars:
            self.add(2, "if rule == TIME:", "    if bars_due(clock, now):")
            self.add(4, "bars_close(bar, 0, lanes, clock.next_bar - every_ns, clock.next_bar, bar_price, bar_flow, when, bar_n, base)")
            self.bar_kernels(4, "np.int64(0)", "lanes", "clock.bars")
            self.add(3, "bars_next(clock, now, every_ns)")
        if self.passes:
            self.add(2, "if now >= clock.next_pass:", "    if clock.next_pass > 0:")
            for i, p in enumerate(self.parts):
                if p.family.passes:
                    self.call(4, f"passes_{i}", f"f{i}, q{i}, sector, index, clock, passes{i}")
            self.add(4, "clock.passes += 1")
            self.add(3, "clock.next_pass = now - now % pass_ns + pass_ns")
        self.add(2, "clock_step(clock, sessions, now)", "k = np.int64(symbol[i])", "s = state[k]")
        self.add(2, "e.ts, e.symbol, e.kind, e.feed, e.quality = now, k, kind[i], feed[i], flags[i]")
        self.add(2, "e.bid, e.bid_size, e.ask, e.ask_size = bid[i], bid_size[i], ask[i], ask_size[i]")
        self.add(2, "e.price, e.quantity, e.tick_size = price[i], size[i], tick_size[k]")
        self.add(2, "event_step(s.event, e, clock, rate)")
        for i, p in enumerate(self.parts):
            if p.family.step:
                self.add(2, f"step_{i}(s.s{i}, e, {_windows(p)})")
            if p.family.lane_step:
                self.add(2, f"lane_step_{i}(f{i}, q{i}, e, {_windows(p)})")
        if self.bars:
            self.add(2, "if bar_step(bar[k], e, rule, of_mid != 0, threshold[0]):")
            self.add(3, "bar_close(bar[k], k, bar[k].begin, now, bar_price, bar_flow, when, bar_n, base)")
            self.bar_kernels(3, "k", "k + 1", "bar_n[k]")
        self.add(2, "if not due_step(s.due, now, e.kind, e.bid, e.bid_size, e.ask, e.ask_size, throttle_ns):", "    continue")
        self.emit()
        if self.depth:
            self.add(1, "while j < d_hi:")
            self.changes(2)
        self.add(1, "return n")

    def changes(self, indent: int) -> None:
        """Apply row j of DEPTH."""
        self.add(indent, "change.ts, change.symbol, change.quality, change.tick_size = d_ts[j], d_symbol[j], d_flags[j], tick_size[d_symbol[j]]")
        self.add(indent, "change.position, change.operation, change.side = d_position[j], d_operation[j], d_side[j]")
        self.add(indent, "change.price, change.quantity = d_price[j], d_size[j]")
        for i, p in enumerate(self.parts):
            if p.family.change:
                self.call(indent, f"change_{i}", f"state[d_symbol[j]].s{i}, change, rate, {_windows(p)}")
        self.add(indent, "j += 1")

    def bar_kernels(self, indent: int, lo: str, hi: str, pos: str) -> None:
        for i, p in enumerate(self.parts):
            if p.family.bars:
                self.call(indent, f"bars_{i}", f"f{i}, q{i}, bar_price, bar_flow, base, unit, bar_n, when, clock, {lo}, {hi}, {pos}, bars{i}")
        self.add(indent, "clock.bars += 1")

    def emit(self) -> None:
        """Columns of the due tick: those of the tick clock are computed, those of bars and passes are held."""
        at = 0
        for i, p in enumerate(self.parts):
            if p.family.emit:
                self.add(2, f"emit_{i}(s.s{i}, e, {_windows(p)}, v, {at})")
            at += p.columns
            for clock, listed in (("bars", p.family.bar_columns), ("passes", p.family.pass_columns)):
                if listed:
                    self.add(2, f"for c in range({len(listed)}):", f"    v[{at} + c] = {clock}{i}[k, c]")
                at += len(listed)
        self.add(2, "to = row + n", "if whole != 0:", "    for c in range(pick.size):")  # without indices the loop becomes vector instructions
        self.add(4, "x[to, c] = single_point(v[c])")
        self.add(2, "else:", "    for c in range(pick.size):")
        self.add(4, "x[to, c] = single_point(v[pick[c]])")
        self.add(2, "row_seq[to], row_ts[to], row_symbol[to] = seq[i], now, k", "n += 1")


def driver(parts: Sequence[Part]) -> ModuleType:
    """The module with `STATE` and `features_update` for the families; written and imported once."""
    text = _Text(parts).whole()
    h = hashlib.blake2b(text.encode(), digest_size=16)
    for p in parts:
        for hook in HOOKS:
            if kernel := getattr(p.family, hook):
                path = Path(sys.modules[_name(kernel)[0]].__file__ or "")
                h.update(b"" if path.parent == JIT_FOLDER else user_digest(path).encode())
        h.update(f"{p.family.name} {p.family.state.descr if p.family.state is not None else ''}".encode())
    name = f"{DRIVER}{'plain_' if DISABLE_JIT else ''}{h.hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache_home() / "drivers" / f"{name}.py"
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{name}.{os.getpid()}")
        new.write_text(text)
        new.replace(path)  # whole, or not there: several jobs may write it at once
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for i, p in enumerate(parts):
        setattr(module, f"STATE_{i}", p.family.state)  # a record type has no name to import it by
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module
