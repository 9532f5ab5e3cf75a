"""Model sets over the default features, of seeded noise: made in a second, and different from one another."""

from __future__ import annotations

import numpy as np
from models_common import booster

from tickarrow.pipeline import models
from tickarrow.pipeline.features import feature_columns, feature_digest

S = 1_000_000_000


def noise_set(path, conf, seed, configurations=("xgb00", "xgb01"), horizons_s=(1, 5), digest=None):
    """A set of `conf.features` whose models know nothing."""
    columns = feature_columns(conf.features)
    n = len(configurations) * len(horizons_s)
    return models.save_set(
        path, [booster(seed + i, depth=3, n_features=len(columns), rows=300) for i in range(n)], configurations=list(configurations),
        horizons_ns=np.array(horizons_s, np.int64) * S, columns=columns, feature_digest=digest or feature_digest(conf.features),
        ic=np.full((len(configurations), len(horizons_s)), 0.02 + 0.01 * (seed % 7)), training={"source": {"kind": "generated", "seed": seed}},
    )  # fmt: skip
