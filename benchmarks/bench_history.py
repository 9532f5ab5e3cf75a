"""Frames of history to Arrow tables: a page of trades or quotes, a day of bars; one row shows what a call costs."""

import random

from tickarrow.jit import _kernel
from tickarrow.pipeline.history import decode_history


def payload(kind, n, seed=1):
    """A frame as IBKR sends it: prices around 150, whole sizes."""
    r = random.Random(seed)
    fields = {"trades": [98, 7, n], "quotes": [97, 7, n], "bars": [17, 7, "20260105 09:30:00", "20260105 16:00:00", n]}[kind]
    for k in range(n):
        p, z, t = 150 + r.randrange(-500, 500) / 100, r.randrange(1, 5000), 1_795_353_372 + k // 5
        if kind == "trades":
            fields += [t, 0, f"{p:.2f}", z, r.choice(["NYSE", "ISLAND", "ARCA", "FINRA"]), r.choice(["", " O X", "   I"])]
        elif kind == "quotes":
            fields += [t, 0, f"{p:.2f}", f"{p + 0.01:.2f}", z, z + 100]
        else:
            fields += [1_795_353_360 + 60 * k, f"{p:.2f}", f"{p + 0.1:.2f}", f"{p - 0.1:.2f}", f"{p:.2f}", z, f"{p:.3f}", z // 10]
    fields += [] if kind == "bars" else [1]
    return "".join(f"{f}\0" for f in fields).encode()


class History:
    """One call a frame."""

    params = (["trades", "quotes", "bars"], [1, 1000])
    param_names = ("kind", "rows")

    def setup(self, kind, rows):
        _kernel.warm()
        self.payload = payload(kind, rows)
        self.time_table(kind, rows)

    def time_table(self, kind, rows):
        decode_history(self.payload)
