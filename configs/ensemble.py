"""How predictions become forecasts: memory, prior and outcome tracking of the `ensemble`."""

from dataclasses import dataclass


@dataclass
class EnsembleConf:
    """All decay is by market time, exp(-dt/tau); "effective" counts are sums of decayed weights."""

    moments_tau_s: float = 600.0  # memory of the mean and variance that standardise a prediction, seconds
    ic_tau_s: float = 1800.0  # memory of information coefficients and outcome volatility, seconds
    min_rows: float = 30.0  # effective predictions of a model before its z is used
    min_outcomes: float = 30.0  # effective outcomes before a horizon may decide and before a model's own IC counts
    prior_strength: float = 2000.0  # weight of the validation IC, effective independent observations
    clip: float = 5.0  # largest |z|, standard deviations
    settle_every_ns: int = 1_000_000_000  # at most one outcome per symbol and horizon in this time, ns
    refresh_ns: int = 250_000_000  # weights of a symbol are recomputed at most this often, ns of market time
    max_pending: int = 1024  # outcomes waiting per symbol and horizon; the oldest is dropped and counted beyond
