"""How predictions become forecasts: memory, prior and outcome tracking of the `ensemble`."""

from dataclasses import dataclass


@dataclass
class EnsembleConf:
    """All decay is by market time, exp(-dt/tau); "effective" counts are sums of decayed weights."""

    moments_tau_s: float = 600.0  # memory of the mean and variance that standardise a prediction, seconds
    ic_tau_s: float = 1800.0  # memory of information coefficients and outcome volatility, seconds
    min_rows: float = 30.0  # effective predictions of a model before its z is used
    min_outcomes: float = 30.0  # effective outcomes before a horizon may decide and before a model's own IC counts
    prior_s: float = 500.0  # the validation IC weighs as much as outcomes over this time, seconds: at a horizon of h seconds prior_s / h of them
    clip: float = 5.0  # largest |z|, standard deviations
    settle_every_ns: int = 1_000_000_000  # at most one outcome per symbol and horizon in this time, ns
    refresh_ns: int = 250_000_000  # weights of a symbol are recomputed once in each interval of this length, ns of market time
    correlation_tau_s: float = 1800.0  # memory of the correlation of the predictions, seconds
    shrinkage: str = "oas"  # of the correlation towards the identity: none | oas | ledoit_wolf, the last with window_rows only
    window_rows: int = 0  # research: correlation of so many last refreshes, all of the same weight; 0: it decays
    positive: bool = True  # no negative weights
    equal_share: float = 0.5  # share of the forecast that is the mean of the models with a positive IC, 0 to 1
    audit_ns: int = 60_000_000_000  # all eigenpairs are solved once in each interval of this length, else four are tracked; 0 = always
    pooled: bool = False  # all symbols share their ICs and correlations; else each symbol has its own
    max_pending: int = 1024  # outcomes waiting per symbol and horizon; the oldest is dropped and counted beyond
