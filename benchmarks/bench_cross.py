"""Family `cross`: a tick into its lane, and passes over the lanes with every mid moved; 1 is a tick or a lane alone."""

from time import perf_counter_ns

import numpy as np

from tickarrow.jit import _kernel, cross
from tickarrow.jit._kernel import kernel
from tickarrow.jit.cross import lane_step, passes
from tickarrow.jit.cross_lanes import BAR_LOG, BAR_RETURN, BARS, CLOSED, F_ROWS, OFI, PUSH, Q_ROWS, SECOND, SEEN, SQUARES, UNITS, VOLUME
from tickarrow.jit.event import CLOCK, EVENT

PASSES = 64  # of one call; one of them with a bar of every lane
START = 1_700_000_000 * SECOND


@kernel("out f8[:,:], out i8[:,:], EVENT[:], i8[:], i8")
def ticks(f, q, events, w, rows):
    """The first `rows` events into their lanes."""
    for i in range(rows):
        lane_step(f, q, events[i], w)


@kernel("out f8[:,:], out i8[:,:], i4[:], CLOCK, i8[:,:], out f8[:,:]")
def seconds(f, q, sector, clock, units, out):
    """A pass for each row of `units`, the mids of the lanes."""
    for k in range(units.shape[0]):
        for i in range(units.shape[1]):
            q[UNITS, i] = units[k, i]
            f[OFI, i] = float(units[k, i] % 7 - 3) * 100.0
            f[PUSH, i] = abs(f[OFI, i])
            f[VOLUME, i] = float(units[k, i] % 5) * 100.0
            f[SQUARES, i] = 1.0
            if k == 0:
                q[CLOSED, i] = 1
                q[BARS, i] = 1
                q[BAR_RETURN, i] = units[k, i]
                q[BAR_LOG, i] += q[BAR_RETURN, i]
        clock.next_pass += SECOND
        passes(f, q, sector, -1, clock, out)


def events(n, seed=7):
    """(n,) EVENT of 100 symbols, three trades to seven quotes."""
    rng, e = np.random.default_rng(seed), np.zeros(n, EVENT)
    e["ts"] = START
    e["symbol"] = rng.integers(0, 100, n)
    e["is_trade"] = rng.random(n) < 0.3
    e["is_quote"] = ~e["is_trade"]
    e["complete"] = True
    e["moved"] = e["is_quote"] & (rng.random(n) < 0.5)
    e["mid"] = 100 + rng.integers(-50, 51, n) * 0.01
    e["bid"], e["ask"] = e["mid"] - 0.01, e["mid"] + 0.01
    e["bid_size"], e["ask_size"] = rng.integers(1, 9, (2, n)) * 100.0
    e["quantity"], e["tick_size"], e["r"] = 100.0, 0.01, e["moved"]
    return e


class Tick:
    """Ticks of 100 symbols into their lanes."""

    params = (1, 16, 256)
    param_names = ("rows",)

    def setup(self, rows):
        _kernel.warm()
        self.f, self.q = np.zeros((F_ROWS, 100)), np.zeros((Q_ROWS, 100), np.int64)
        self.events, self.w = events(256), np.zeros(0, np.int64)

    def time_step(self, rows):
        ticks(self.f, self.q, self.events, self.w, rows)


class Pass:
    """64 passes in one call."""

    params = (1, 16, 100, 256)
    param_names = ("lanes",)

    def setup(self, lanes):
        _kernel.warm()
        rng = np.random.default_rng(7)
        self.f, self.q = np.zeros((F_ROWS, lanes)), np.zeros((Q_ROWS, lanes), np.int64)
        self.q[SEEN] = np.iinfo(np.int64).max // 2  # live for ever
        self.units = 1_000_000 + rng.integers(-5, 6, (PASSES, lanes)).cumsum(axis=0) * 50
        self.sector, self.out = (np.arange(lanes) % 11).astype(np.int32), np.zeros((lanes, len(cross.FAMILY.pass_columns)))
        self.clock = np.zeros(1, CLOCK)[0]
        self.clock.next_pass = START
        for _ in range(1300 // PASSES):  # until all columns are warm
            self.time_passes(lanes)

    def time_passes(self, lanes):
        seconds(self.f, self.q, self.sector, self.clock, self.units, self.out)


def main():
    """Print ns of a tick and of a pass, the best of some calls."""
    for bench, unit in ((Tick(), "tick"), (Pass(), "pass")):
        for size in bench.params:
            bench.setup(size)
            timed = getattr(bench, "time_step" if unit == "tick" else "time_passes")
            calls = 2000 if unit == "tick" else 20
            best = np.inf
            for _ in range(30):
                started = perf_counter_ns()
                for _ in range(calls):
                    timed(size)
                best = min(best, (perf_counter_ns() - started) / calls)
            print(f"{bench.param_names[0]}={size} {best / (size if unit == 'tick' else PASSES):.1f} ns per {unit}")


if __name__ == "__main__":
    main()
