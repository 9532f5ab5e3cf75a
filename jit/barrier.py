"""Which of two barriers a drifting price reaches first: the closed form without a time limit."""

from tickarrow.jit._kernel import kernel
from tickarrow.jit.math import expm1_point


@kernel("f8, f8, f8, f8", inline=True)
def barrier_point(drift, variance, up, down):
    """Probability that Brownian motion with drift reaches +up before -down.

    Parameters
    ----------
    drift, variance : float64, mean and variance per unit of time (any unit); variance > 0
    up, down : float64, distances of the barriers, > 0, in the unit of the path

    Returns
    -------
    float64; the lower barrier is first with probability one minus this.

    References
    ----------
    Karlin and Taylor (1975), A First Course in Stochastic Processes, ch. 7: (1 - e^{-k down}) / (1 - e^{-k (up + down)})
    with k = 2 drift / variance.
    """
    k = 2.0 * drift / variance
    if k < 0.0:  # the mirror image, so that no exponential overflows
        whole = expm1_point(k * (up + down))
        if whole == 0.0:
            return down / (up + down)
        return 1.0 - expm1_point(k * up) / whole
    whole = expm1_point(-k * (up + down))
    if whole == 0.0:
        return down / (up + down)
    return expm1_point(-k * down) / whole
