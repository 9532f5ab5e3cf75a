"""How often the simulated gateway sends L1 messages, and which, beside a recording: `python benchmarks/l1_cadence.py [MINUTES]`.

One stock of each market class, sampled every 250.3 ms; duplicate size messages and ticks of the day are left out, because the
recording (81 minutes of one Hong Kong stock through TWS) does not have them. Not an asv module."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tickarrow.configs.gateway import SimulatorConf
from tickarrow.configs.source import SourceConf
from tickarrow.configs.universe import UniverseConf
from tickarrow.jit import _kernel
from tickarrow.jit.wire_encode import L1
from tickarrow.pipeline.simulator_encoder import Encoder, new_quotes
from tickarrow.pipeline.source import GeneratedSource

SLOT_NS = 250_300_000
TYPES = (0, 1, 2, 3, 4, 5, 8)


@dataclass
class Cadence:
    """What was counted: groups of messages of one slot, the slots between two groups, the share of each tick type."""

    groups_per_s: float
    ticks_per_group: float
    spacing: dict[int, float]
    types: dict[int, float]
    frequent: list[str]

    def line(self, name: str) -> str:
        spacing = " ".join(f"{self.spacing.get(k, 0.0):.2f}" for k in (1, 2, 3, 4))
        types = " ".join(f"{self.types.get(t, 0.0):.2f}" for t in TYPES)
        return f"{name:22} {self.groups_per_s:5.2f} {self.ticks_per_group:5.2f}  {spacing}  {types}  {', '.join(self.frequent[:6])}"


RECORDED = Cadence(
    1.45, 1.98, {1: 0.27, 2: 0.22, 3: 0.36, 4: 0.05}, {0: 0.26, 1: 0.01, 2: 0.01, 3: 0.23, 4: 0.12, 5: 0.14, 8: 0.24},
    ["0", "0-3", "3", "4-5-8", "5-8", "8"],
)  # fmt: skip


def groups(market_class: str, minutes: float, wait: int, seed: int = 1) -> list[tuple[int, list[tuple[int, tuple[str, ...]]]]]:
    """(slot, [(tick type, fields behind it)]) of each slot with messages, of one generated stock after its first minute."""
    source = GeneratedSource(
        SourceConf(seed=seed, duration_s=minutes * 60.0 + 60.0, max_rows=0), UniverseConf(symbols=["A"], classes=[market_class])
    )
    taken = bytearray()
    e = Encoder(new_quotes(1), SimulatorConf(duplicate_sizes=False, quote_slots=wait), True, taken.extend)
    e.add(1, 0, L1, False, 0)
    out, slot = [], 0
    for r in source.blocks():
        columns = (r.ts, r.symbol, r.kind, r.mask, r.bid, r.bid_size, r.ask, r.ask_size, r.price, r.size)
        slots = (r.ts - source.start_ns) // SLOT_NS
        for lo, hi in pairwise([0, *(np.flatnonzero(np.diff(slots)) + 1), len(slots)]):
            while slot < slots[lo]:
                e.slot(slot)
                if taken:
                    out.append((slot, said(bytes(taken))))
                    taken.clear()
                slot += 1
            e.rows(columns, lo, hi, 0)
    first = round(60e9 / SLOT_NS)
    return [g for g in out if g[0] >= first]


def said(data: bytes) -> list[tuple[int, tuple[str, ...]]]:
    """Tick type and values of each frame."""
    out, at = [], 0
    while at < len(data):
        n = int.from_bytes(data[at : at + 4], "big")
        fields = data[at + 4 : at + 4 + n].decode().split("\0")
        out.append((int(fields[3]), tuple(fields[4:-1])))
        at += 4 + n
    return out


def measure(found: list[tuple[int, list[tuple[int, tuple[str, ...]]]]], minutes: float) -> Cadence:
    kinds = Counter(t for _, g in found for t, _ in g)
    gaps = Counter(b[0] - a[0] for a, b in pairwise(found))
    shapes = Counter("-".join(str(t) for t, _ in g) for _, g in found)
    n = kinds.total()
    return Cadence(
        len(found) / (minutes * 60.0), n / max(len(found), 1), {k: v / max(gaps.total(), 1) for k, v in gaps.items()},
        {t: v / max(n, 1) for t, v in kinds.items()}, [s for s, _ in shapes.most_common()],
    )  # fmt: skip


def main(argv: list[str]) -> int:
    minutes = float(argv[0]) if argv else 81.0
    _kernel.warm()
    print(f"{'':22} groups/s ticks/group, spacing of 1 2 3 4 slots, share of types {' '.join(map(str, TYPES))}, most frequent groups")
    print(RECORDED.line("recorded"))
    for market_class in ("large", "small", "etf"):
        for wait in (3, 1):
            print(measure(groups(market_class, minutes, wait), minutes).line(f"{market_class}, quote_slots={wait}"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
