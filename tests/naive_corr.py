"""Slow twins of the correlation kernels, from their definitions: one matrix at a time, whole histories, textbook formulas, NumPy's solvers."""

import math

import numpy as np


def pack(matrices):
    """(lanes, n, n) -> packed (n (n + 1) / 2, 8); lanes that are not given are the identity."""
    n = len(matrices[0])
    every = [*matrices, *[np.eye(n)] * (8 - len(matrices))]
    return np.array([[m[i][j] for m in every] for i in range(n) for j in range(i + 1)], float)


def unpack(c, lane):
    """One lane of packed matrices as (n, n)."""
    n = math.isqrt(2 * len(c))
    out, rows = np.empty((n, n)), iter(c[:, lane])
    for i in range(n):
        for j in range(i + 1):
            out[i, j] = out[j, i] = next(rows)
    return out


def moments(history, share):
    """(correlation, T_eff) of one lane. history : [(decay from this observation to the end, z)], z with NaN"""
    n = len(history[0][1])
    sums, weight, squares = np.zeros((n, n)), 0.0, 0.0
    for g, z in history:
        known = [0.0 if math.isnan(v) else v for v in z]
        sums += g * np.outer(known, known)
        if not all(math.isnan(v) for v in z):
            weight += g
            squares += g * g
    c = np.eye(n)
    for i in range(n):
        for j in range(n):
            if i != j and min(sums[i, i], sums[j, j]) > 1e-12 * weight:
                c[i, j] = sums[i, j] / math.sqrt(sums[i, i] * sums[j, j])
    return c, share * weight**2 / squares if squares else 0.0


def oas(c, t):
    n = len(c)
    mean, alpha = np.trace(c) / n, (c * c).mean()
    apart = (t + 1) * (alpha - mean**2 / n)
    return min((alpha + mean**2) / apart, 1.0) if apart > 0 else 1.0


def edge(n, t):
    return (1 + math.sqrt(n / t)) ** 2 if t > 0 else math.inf


def cleaned(c, rho, top):
    """Clipped at `top` with its trace kept, then shrunk to the identity."""
    values, vectors = np.linalg.eigh(c)
    low = values <= top
    if low.any():
        values[low] = max((len(c) - values[~low].sum()) / low.sum(), 0.0)
    return (vectors * np.maximum((1 - rho) * values + rho, 1e-8)) @ vectors.T


def weights(c, rho, top, ic, equal=0.0, positive=False):
    """(weights, strength) by solving with the whole cleaned matrix."""
    ic, clean = np.asarray(ic, float), cleaned(c, rho, top)
    d = np.linalg.solve(clean, ic)
    if positive:
        d = np.maximum(d, 0.0)
    if equal:
        u = (ic > 0).astype(float)
        d = (1 - equal) * d + equal * u * (u @ ic / (u @ clean @ u) if u.any() else 0.0)
    square = d @ clean @ d
    w = d * (d @ ic) / square if square > 0 else 0 * d
    return w, w @ ic


def ledoit_wolf(x, independent=None):
    """(covariance, intensity): distance of the outer products from their mean, over that of the mean from its target."""
    x = x - x.mean(0)
    t, n = x.shape
    s = x.T @ x / t
    target = np.trace(s) / n * np.eye(n)
    apart = ((s - target) ** 2).sum()
    noise = sum(((np.outer(row, row) - s) ** 2).sum() for row in x) / t
    rho = 0.0
    if noise > 0 and apart > 0:
        rho = 1.0 if independent == 0 else min(1.0, noise / apart / (independent or t))
    return (1 - rho) * s + rho * target, rho


def of_window(z):
    """(standardised columns, correlation) of a window with NaN: a missing value is at its mean, a column without variance uncorrelated."""
    x = z - np.nan_to_num([np.mean([v for v in col if not math.isnan(v)] or [0.0]) for col in z.T])
    x = np.nan_to_num(x)
    varies = x.std(0) > 1e-6
    x = np.where(varies, x / np.where(varies, np.sqrt((x * x).mean(0)), 1.0), 0.0)
    c = x.T @ x / len(x)
    np.fill_diagonal(c, 1.0)
    return x, c
