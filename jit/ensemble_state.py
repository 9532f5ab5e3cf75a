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
# What `ensemble_update` finds in its control block (memory.py), by place: state, settings, scratch, then columns of the batches. Of the scratch
# only what is said of it has to be there before a call.
(
    AT_SYMBOLS,  # (n_symbols,) ENSEMBLE_STATE
    AT_GROUPS,  # (n_groups,) GROUP_STATE
    AT_HORIZONS,  # (n_symbols, n_horizons) HORIZON_STATE; n_horizons from 1 to 8
    AT_MOMENTS,  # (n_symbols, 3 eights(n_models), 8) float64
    AT_SETTLED,  # (n_groups, n_horizons) int64, ns, time of the last outcome in `tracks`
    AT_TRACKS,  # (n_groups, n_horizons, 7 eights(n_configurations), 8) float64
    AT_FACTORS,  # (n_groups, factor_rows(n_configurations), 8) float64, correlation
    AT_WEIGHTS,  # (n_symbols, 2 n_configurations, 8) float64, weights of the last refresh and weight x IC
    AT_WINDOWS,  # (n_groups, window_rows, n_configurations + 1, 8) float64, see `ensemble_window.observe`; window_rows 0 = correlations decay
    AT_PENDING,  # (n_symbols, places) PENDING, the rings of all horizons behind one another
    AT_PENDING_Z,  # (n_symbols, places, eights(n_configurations), 8) float64, NaN where no configuration is
    AT_PRIOR,  # (n_symbols, n_horizons, eights(n_configurations), 8) float64, validation IC of the set that predicts for the symbol; NaN = none
    AT_START,  # (n_horizons + 1,) int64, first place of each horizon's ring
    AT_HORIZONS_NS,  # (n_horizons,) int64
    AT_PARAMS,  # (1,) ENSEMBLE_PARAMS
    AT_Z,  # (8 eights(n_models),) float64
    AT_Z_ROWS,  # (eights(n_models), 8) float64, the memory of z
    AT_WORK,  # (work_rows(n_configurations, window_rows), 8) float64, the first n_configurations rows NaN in lanes without a horizon
    AT_SAMPLE,  # (window_rows + n_configurations, n_configurations) float64
    AT_TICKS,  # seq, ts, symbol, kind, bid, ask
) = range(20)
AT_PREDICTIONS = AT_TICKS + 6  # seq, ts, symbol, y: (capacity, n_models) float32, index configuration * n_horizons + horizon
AT_FORECASTS = AT_PREDICTIONS + 4  # seq, ts, symbol, alpha, sigma, ic, out: (capacity, n_horizons) float64
PLACES = AT_FORECASTS + 6

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
