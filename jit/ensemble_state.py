"""State of the ensemble and what its kernels share: records, rows of arrays, decay by market time."""

from tickarrow.jit import corr, eigen
from tickarrow.jit._kernel import kernel, record
from tickarrow.jit.eight import LANES
from tickarrow.jit.math import exp_point

NEVER = -(2**62)  # ns; before every time
FOREVER = 2**62
# A variance below this (bp^2, or of z) is rounding: after a long gap or in a quiet symbol the values are all equal.
NO_VARIANCE = 1e-12

# One row per symbol; `refreshed` is the interval of its last refresh, see `interval_point`.
ENSEMBLE_STATE = record([("mid", "f8"), ("moments_ts", "i8"), ("refreshed", "i8"), ("next_due", "i8"), ("group", "i8")])
# One row per group, the symbols that share ICs and correlation: when the correlation was observed (ns), interval of its last full solve,
# number of observations.
GROUP_STATE = record([("observed", "i8"), ("audited", "i8"), ("count", "i8")])
# One row per symbol and horizon: the ring of pending outcomes, and decayed sums over settled ones.
HORIZON_STATE = record(
    [
        ("head", "i8"), ("count", "i8"), ("dropped", "i8"), ("entered", "i8"), ("settled", "i8"), ("weight", "f8"), ("squares", "f8"),
        ("sigma", "f8"),
    ]
)  # fmt: skip
# One row per place of a ring.
PENDING = record([("due", "i8"), ("mid", "f8")])
# Times in ns, the rest as in configs/ensemble.py.
ENSEMBLE_PARAMS = record(
    [
        ("moments_tau", "f8"), ("ic_tau", "f8"), ("correlation_tau", "f8"), ("min_rows", "f8"), ("min_outcomes", "f8"),
        ("prior", "f8"), ("z_limit", "f8"), ("equal", "f8"), ("settle_every", "i8"), ("refresh", "i8"), ("audit", "i8"),
        ("shrinkage", "i8"), ("positive", "?"), ("pooled", "?"),
    ]
)  # fmt: skip

# `shrinkage` of the parameters, by place.
SHRINKAGES = ("none", "oas", "ledoit_wolf")
NONE, OAS, LEDOIT_WOLF = 0, 1, 2

# Models, or the configurations of a horizon, lie in rows of eight, the last one filled up; a quantity has all its rows behind one another.
# Of `moments[symbol]`: decayed weight, mean, sum of squared deviations.
W, MEAN, SQUARES = 0, 1, 2
MOMENTS = 3
# Of `tracks[group, horizon]`: decayed weight, independent observations, means and centred sums of z and y.
T_WEIGHT, T_OBSERVATIONS, T_MEAN_Z, T_MEAN_Y, T_ZZ, T_YY, T_ZY = 0, 1, 2, 3, 4, 5, 6
TRACKS = 7
# Rows of `factors[group]` after the packed sums: those of corr.py, then the decayed number of independent observations.
COUNT_ROWS = corr.STATE_ROWS + 1


def factor_rows(n):
    """Rows of `factors[group]` for n configurations: packed sums, counts, four eigenvectors."""
    return n * (n + 1) // 2 + COUNT_ROWS + eigen.TRACKED * n


def work_rows(n, window_rows):
    """Rows of `work` for n configurations: z, ICs, decay and share, packed correlation, eigenvalues, eigenvectors, scratch."""
    return 2 * n + 2 + n * (n + 1) // 2 + n + n * n + eigen.TRACKED + max(eigen.scratch_rows(n), n * eights(window_rows))


def eights(n):
    """Rows of eight for n numbers."""
    return -(-n // LANES)


@kernel("i8, f8", inline=True)
def decay_point(dt, tau):
    """exp(-dt / tau), both in ns; 1 where dt is not positive."""
    if dt <= 0:
        return 1.0
    return exp_point(-float(dt) / tau)


@kernel("i8, i8, i8, i8", inline=True)
def interval_point(ts, length, place, places):
    """Number of the interval of market time that `ts` lies in; each of `places` has its own phase, so that they do not all turn at once.

    Parameters
    ----------
    ts, length : int, ns; length 0: every time is its own
    place, places : int, 0 to places - 1: intervals of `place` begin place / places of a length early
    """
    if length <= 0:
        return ts
    return (ts + length * place // places) // length
