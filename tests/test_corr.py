"""Correlation of predictions, shrinkage, clipping and decorrelated weights: against their definitions, other libraries and by hand."""

import hashlib
import math
import os
import subprocess
import sys

import naive_corr as naive
import numpy as np
import pytest
import test_eigen
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.jit import corr, eigen

pytestmark = pytest.mark.pure
JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT") == "1"
FEW = 15 if JIT_OFF else 60
WEIGHT, SQUARES, T_EFF, INTENSITY, EDGE, STRENGTH = range(6)


class Correlation:
    """The arrays of eight lanes, as a caller keeps them."""

    def __init__(self, n):
        rows = n * (n + 1) // 2
        self.n = n
        self.sums, self.c, self.state = np.zeros((rows, 8)), np.zeros((rows, 8)), np.zeros((corr.STATE_ROWS, 8))
        self.scratch = np.zeros((2 * n, 8))

    def add(self, z, g=1.0, share=1.0):
        par = np.empty((2, 8))
        par[0], par[1] = g, share
        corr.update(np.ascontiguousarray(z, float), par, 0, par, 1, self.sums, self.state, self.c, self.scratch)


def spectrum(c, n):
    values, vectors = np.zeros((n, 8)), np.zeros((n * n, 8))
    assert eigen.full(c, values, vectors, np.zeros((eigen.scratch_rows(n), 8))) == 255
    return values, vectors


def weights(values, vectors, ic, rho, edge, equal=0.0, positive=False):
    """(weights (8, n), strength (8,))"""
    ic = np.ascontiguousarray(ic, float)
    state, out = np.zeros((corr.STATE_ROWS, 8)), np.zeros(ic.shape)
    state[INTENSITY], state[EDGE] = rho, edge
    corr.weights(values, vectors, ic, equal, positive, state, out, np.zeros((2 * len(values), 8)))
    return out.T.copy(), state[STRENGTH].copy()


def lanes(columns):
    """n numbers of one lane, in all eight."""
    return np.repeat(np.array(columns, float)[:, None], 8, 1)


def test_correlation_of_two_hand_computed_observations():
    # (1, 1), then (1, -3) after a decay of 1/2: sums 1.5, 0.5 - 3 = -2.5, 0.5 + 9 = 9.5. W = 1.5, squares 1.25, T_eff 1.8
    kept = Correlation(2)
    kept.add(lanes([1, 1]))
    kept.add(lanes([1, -3]), g=0.5)
    np.testing.assert_array_equal(kept.sums[:, 3], [1.5, -2.5, 9.5])
    np.testing.assert_allclose(kept.c[:, 3], [1, -2.5 / math.sqrt(1.5 * 9.5), 1], rtol=1e-15)
    np.testing.assert_allclose(kept.state[:3, 3], [1.5, 1.25, 1.8], rtol=1e-15)
    assert kept.state[EDGE, 3] == pytest.approx((1 + math.sqrt(2 / 1.8)) ** 2, rel=1e-15)


def test_intensity_and_edge_of_hand_computed_cases():
    # trace 2, squares 2 + 2 x 0.5^2 = 2.5, n 2: alpha 0.625, (0.625 + 1) / (10 x (0.625 - 0.5)) = 1.3: all of it; 100 observations: 0.13
    assert corr.oas_point(2.0, 2.5, 2.0, 9.0) == 1.0
    assert corr.oas_point(2.0, 2.5, 2.0, 99.0) == pytest.approx(0.13, rel=1e-15)
    assert corr.oas_point(16.0, 16.0, 16.0, 1e9) == 1.0  # the identity
    assert corr.mp_edge_point(2.0, 16.0, 64.0) == 2.0 * 1.5**2
    assert corr.mp_edge_point(1.0, 16.0, 0.0) == math.inf


def test_weights_of_a_hand_computed_case():
    # Correlation 0.5 of two: values 1.5 and 0.5. Above an edge of 1 the first is kept, the rest is 0.5 itself: C^-1 = [[4, -2], [-2, 4]] / 3.
    # ic (0.1, 0.2): w = (0, 0.2); strength 0.04.
    c = naive.pack([np.array([[1, 0.5], [0.5, 1]])] * 8)
    w, strength = weights(*spectrum(c, 2), lanes([0.1, 0.2]), 0.0, 1.0)
    np.testing.assert_allclose(w[4], [0, 0.2], atol=1e-16)
    assert strength[4] == pytest.approx(0.04, rel=1e-14)
    # ic (0, 0.3): C^-1 ic = (-0.2, 0.4); without the negative one (0, 0.3)
    w, strength = weights(*spectrum(c, 2), lanes([0.0, 0.3]), 0.0, 1.0, positive=True)
    np.testing.assert_allclose(w[0], [0, 0.3], atol=1e-16)
    # equal weights of both: (0.1 + 0.2) / (2 + 2 x 0.5) = 0.1 each, strength 0.03
    w, strength = weights(*spectrum(c, 2), lanes([0.1, 0.2]), 0.0, 1.0, equal=1.0)
    np.testing.assert_allclose(w[7], [0.1, 0.1], rtol=1e-14)
    assert strength[7] == pytest.approx(0.03, rel=1e-14)
    # everything below the edge: C is the identity, and w the ic
    np.testing.assert_allclose(weights(*spectrum(c, 2), lanes([0.1, 0.2]), 0.0, 9.0)[0][0], [0.1, 0.2], rtol=1e-15)


Z = st.one_of(st.floats(-5, 5), st.just(math.nan), st.sampled_from([0.0, 1.0, -1.0]))


@given(st.data(), st.integers(1, 6), st.integers(1, 8))
@settings(max_examples=FEW)
def test_correlation_equals_its_definition_over_the_whole_history(data, n, rows):
    kept, history = Correlation(n), [[] for _ in range(8)]
    for _ in range(rows):
        z = np.array(data.draw(st.lists(st.lists(Z, min_size=2, max_size=2), min_size=n, max_size=n)))[:, [0, 1] * 4].copy()
        z[:, 1] = np.nan  # a lane that is never observed
        g = data.draw(st.sampled_from([1.0, 0.9, 0.3]))
        kept.add(z, g, 0.5)
        for lane, seen in enumerate(history):
            seen[:] = [(g * w, old) for w, old in seen] + [(1.0, z[:, lane])]
    for lane, seen in enumerate(history):
        c, t = naive.moments(seen, 0.5)
        np.testing.assert_allclose(naive.unpack(kept.c, lane), c, atol=1e-12)
        assert kept.state[T_EFF, lane] == pytest.approx(t, rel=1e-12)
        assert kept.state[INTENSITY, lane] == pytest.approx(naive.oas(c, t), rel=1e-9)
        assert kept.state[EDGE, lane] == pytest.approx(naive.edge(n, t), rel=1e-12)
        assert np.linalg.eigvalsh(naive.unpack(kept.c, lane)).min() > -1e-12


def test_update_has_the_intensity_and_the_edge_of_the_points():
    rng = np.random.default_rng(1)
    kept = Correlation(16)
    for _ in range(40):
        kept.add(rng.standard_normal((1, 8)) + rng.standard_normal((16, 8)), 0.98, np.linspace(0.1, 1, 8))
    for lane in range(8):
        c, t = naive.unpack(kept.c, lane), kept.state[T_EFF, lane]
        assert kept.state[INTENSITY, lane] == pytest.approx(corr.oas_point(16.0, (c * c).sum(), 16.0, t), rel=1e-13)
        assert kept.state[EDGE, lane] == pytest.approx(corr.mp_edge_point(1.0, 16.0, t), rel=1e-15)


def test_a_lane_without_data_and_a_model_without_variance_stand_apart():
    kept = Correlation(3)
    z = lanes([1.0, 0.0, -2.0])
    z[:, 6] = np.nan
    for _ in range(5):
        kept.add(z, 0.9)
    np.testing.assert_array_equal(naive.unpack(kept.c, 6), np.eye(3))
    np.testing.assert_allclose(naive.unpack(kept.c, 0), [[1, 0, -1], [0, 1, 0], [-1, 0, 1]], atol=1e-15)
    assert list(kept.state[[WEIGHT, T_EFF, INTENSITY, EDGE], 6]) == [0.0, 0.0, 1.0, math.inf]
    ic = lanes([0.1, 0.2, 0.0])
    w, strength = weights(*spectrum(kept.c, 3), ic, kept.state[INTENSITY], kept.state[EDGE])
    np.testing.assert_allclose(w[6], [0.1, 0.2, 0.0], rtol=1e-15)
    assert np.isfinite(w).all()
    assert np.isfinite(strength).all()


def test_a_silence_forgets_and_a_missing_model_is_drawn_to_no_correlation():
    kept = Correlation(2)
    for k in range(200):
        kept.add(lanes([1.0 - 2 * (k % 2), np.nan if k % 3 else 1.0 - 2 * (k % 2)]), 0.99)
    assert 0 < kept.c[1, 0] < 0.7  # the two always agree, one is there a third of the time: sqrt(1/3)
    assert kept.c[1, 0] == pytest.approx(math.sqrt(1 / 3), rel=0.02)
    kept.add(lanes([1.0, -1.0]), 0.0)
    np.testing.assert_array_equal(kept.c[:, 0], [1, -1, 1])
    assert kept.state[T_EFF, 0] == 1.0


@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0.2, 4), st.sampled_from([0.0, 0.3, 1.0]), st.booleans())
@settings(max_examples=FEW)
def test_weights_equal_a_solve_with_the_whole_cleaned_matrix(n, seed, rho, edge, equal, positive):
    rng = np.random.default_rng(seed)
    matrices = [np.atleast_2d(np.corrcoef(rng.standard_normal((30, 1)) + rng.standard_normal((30, n)), rowvar=False)) for _ in range(8)]
    rho = 0.01 + 0.99 * rho  # a condition number that leaves digits
    ic = rng.uniform(-0.05, 0.2, (n, 8))
    w, strength = weights(*spectrum(naive.pack(matrices), n), ic, rho, edge, equal, positive)
    for lane, m in enumerate(matrices):
        expected, ir2 = naive.weights(m, rho, edge, ic[:, lane], equal, positive)
        np.testing.assert_allclose(w[lane], expected, rtol=1e-8, atol=1e-10)
        assert strength[lane] == pytest.approx(ir2, rel=1e-8, abs=1e-12)


def test_the_leading_pairs_give_the_weights_of_all():
    rng = np.random.default_rng(4)
    n = 16
    load = 0.8 + 0.1 * rng.standard_normal((n, 1))
    matrices = [np.corrcoef(rng.standard_normal((400, 1)) @ load.T + 0.5 * rng.standard_normal((400, n)), rowvar=False) for _ in range(8)]
    ic, edge = rng.uniform(0, 0.1, (n, 8)), naive.edge(n, 100)
    values, vectors = spectrum(naive.pack(matrices), n)
    top, leading = np.zeros((4, 8)), np.zeros((4 * n, 8))
    eigen.lead(values, vectors, top, leading)
    for equal, positive in ((0.0, False), (0.5, True)):
        for a, b in zip(weights(values, vectors, ic, 0.05, edge, equal, positive), weights(top, leading, ic, 0.05, edge, equal, positive)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


SINGULAR = {
    "all ones": np.ones((6, 6)), "identity": np.eye(6), "1 - 1e-12": np.full((6, 6), 1 - 1e-12) + 1e-12 * np.eye(6),
    "opposed": np.outer([1, 1, 1, -1, -1, -1], [1, 1, 1, -1, -1, -1.0]), "blocks": np.kron(np.eye(2), np.ones((3, 3))),
}  # fmt: skip


@pytest.mark.parametrize("rho", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("edge", [0.0, 1.2, np.inf])
def test_weights_of_singular_correlations_are_finite(rho, edge):
    matrices = list(SINGULAR.values())
    w, strength = weights(*spectrum(naive.pack(matrices), 6), lanes([0.1, 0.1, 0.1, 0.0, 0.05, 0.0]), rho, edge)
    assert np.isfinite(w).all()
    assert (strength >= 0).all()


def test_no_knowledge_is_no_weight():
    w, strength = weights(*spectrum(naive.pack(list(SINGULAR.values())), 6), np.zeros((6, 8)), 0.1, 1.2, 0.5)
    np.testing.assert_array_equal(w, 0.0)
    np.testing.assert_array_equal(strength, 0.0)


def window(x):
    x = np.ascontiguousarray(x)
    t, n = x.shape
    covariance = np.full((n, n), np.nan)
    rho = corr.window(x, float(t), np.full((n * -(-t // 8), 8), np.nan), covariance)
    corr.shrink(covariance, rho)
    return covariance, rho


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(-12, 12))
@settings(max_examples=FEW)
def test_ledoit_wolf_equals_its_definition(n, t, seed, scale):
    rng = np.random.default_rng(seed)
    x = 10.0**scale * (rng.standard_normal(n) + rng.standard_normal((t, 1)) + rng.standard_normal((t, n)))
    covariance, rho = window(x)
    expected, intensity = naive.ledoit_wolf(x)
    assert 0 <= rho <= 1
    if n > 1 and t > 2:
        assert rho == pytest.approx(intensity, rel=1e-7, abs=1e-9)
        np.testing.assert_allclose(covariance, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


def test_ledoit_wolf_of_a_hand_computed_window():
    # (1, 0), (-1, 0), (0, 2), (0, -2): S = diag(0.5, 2), mean 1.25, apart 2 x 0.75^2 = 1.125. Squares of the rows 1, 1, 16, 16:
    # (34 / 4 - 4.25) / 4 = 1.0625; intensity 17 / 18
    covariance, rho = window(np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]]))
    assert rho == pytest.approx(17 / 18, rel=1e-14)
    np.testing.assert_allclose(covariance, np.diag([0.5, 2.0]) / 18 + 1.25 * np.eye(2) * 17 / 18, rtol=1e-14)


def test_fewer_independent_rows_shrink_more():
    # the window above: apart 1.125, mean distance 4.25; of eight independent rows it is 4.25 / 8 / 1.125 = 0.472, of three all
    x = np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    got = [corr.window(x, independent, np.zeros((2, 8)), np.zeros((2, 2))) for independent in (8.0, 3.0, 0.0)]
    np.testing.assert_allclose(got, [4.25 / 9, 1.0, 1.0], rtol=1e-14)


def test_ledoit_wolf_and_oas_are_scikit_learns():
    covariance_module = pytest.importorskip("sklearn.covariance")
    rng = np.random.default_rng(5)
    for t, n in ((256, 16), (30, 16), (100, 3), (16, 64)):
        x = rng.standard_normal((t, 1)) @ rng.standard_normal((1, n)) + rng.standard_normal((t, n))
        covariance, rho = window(x)
        theirs = covariance_module.LedoitWolf().fit(x)
        assert rho == pytest.approx(theirs.shrinkage_, rel=1e-10)
        np.testing.assert_allclose(covariance, theirs.covariance_, rtol=1e-10, atol=1e-12)
        s = np.cov(x, rowvar=False, bias=True)
        assert corr.oas_point(np.trace(s), (s * s).sum(), float(n), float(t)) == pytest.approx(covariance_module.OAS().fit(x).shrinkage_, rel=1e-10)


def minimum_variance(x):
    """Minimum-variance weights of a window by our kernels, nothing clipped: C^-1 1 in units of the deviations."""
    n = x.shape[1]
    covariance, _ = window(x)
    c, deviations = naive.pack([np.eye(n)]), np.sqrt(np.diag(covariance))
    corr.place(covariance, 2, c)
    w = weights(*spectrum(c, n), lanes(1 / deviations), 0.0, 0.0)[0][2] / deviations
    return w / w.sum(), covariance


def test_a_window_in_a_lane_gives_the_minimum_variance_weights():
    rng = np.random.default_rng(6)
    w, covariance = minimum_variance(rng.standard_normal((60, 1)) + rng.standard_normal((60, 10)) * np.linspace(0.5, 2, 10))
    expected = np.linalg.solve(covariance, np.ones(10))
    np.testing.assert_allclose(w, expected / expected.sum(), rtol=1e-11)


def test_minimum_variance_weights_are_skfolios():
    optimization = pytest.importorskip("skfolio.optimization", reason="skfolio is not installed")
    moments, prior = pytest.importorskip("skfolio.moments"), pytest.importorskip("skfolio.prior")
    rng = np.random.default_rng(7)
    x = 0.01 * (0.3 * rng.standard_normal((300, 1)) + rng.standard_normal((300, 8)))
    estimator = prior.EmpiricalPrior(covariance_estimator=moments.LedoitWolf())
    model = optimization.MeanRisk(min_weights=-1, max_weights=1, prior_estimator=estimator).fit(x)
    np.testing.assert_allclose(minimum_variance(x)[0], model.weights_, atol=1e-4)


def test_minimum_variance_weights_are_pyportfolioopts():
    library = pytest.importorskip("pypfopt", reason="PyPortfolioOpt is not installed")
    rng = np.random.default_rng(7)
    x = 0.3 * rng.standard_normal((300, 1)) + rng.standard_normal((300, 8))
    w, covariance = minimum_variance(x)
    frontier = library.EfficientFrontier(None, covariance, weight_bounds=(-1, 1))
    frontier.min_volatility()
    np.testing.assert_allclose(w, frontier.weights, atol=1e-3)


def test_a_covariance_without_variance_is_placed_as_uncorrelated():
    c = np.full((6, 8), np.nan)
    corr.place(np.array([[4.0, 0, 2], [0, 0, 0], [2, 0, 4.0]]), 7, c)
    np.testing.assert_array_equal(naive.unpack(c, 7), [[1, 0, 0.5], [0, 1, 0], [0.5, 0, 1]])
    assert np.isnan(c[:, :7]).all()


DIGEST = """
import sys
sys.path.insert(0, sys.argv[1])
import test_corr
from tickarrow.jit import _kernel
_kernel.warm()
print(test_corr.digest(), test_corr.test_eigen.digest())
"""


def digest():
    rng = np.random.default_rng(14)
    h = hashlib.blake2b()
    for n in (1, 5, 16):
        kept = Correlation(n)
        for _ in range(20):
            kept.add(np.where(rng.random((n, 8)) < 0.1, np.nan, rng.standard_normal((1, 8)) + rng.standard_normal((n, 8))), 0.97, 0.7)
        ic = rng.uniform(0, 0.1, (n, 8))
        made = weights(*spectrum(kept.c, n), ic, kept.state[INTENSITY], kept.state[EDGE], 0.3, True)
        for a in (kept.sums, kept.state, kept.c, *made, window(rng.standard_normal((37, n)))[0]):
            h.update(a.tobytes())
    return h.hexdigest()


TARGETS = [
    {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+popcnt,+lzcnt,+sse4.2"},
    {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""},
    {"NUMBA_DISABLE_JIT": "1"},
]


@pytest.mark.skipif(JIT_OFF, reason="the other targets are compared with the compiled kernels")
@pytest.mark.parametrize("target", TARGETS, ids=["haswell", "x86-64", "no JIT"])
def test_bits_are_those_of_other_targets(target):
    made = subprocess.run([sys.executable, "-c", DIGEST, os.path.dirname(__file__)], env=os.environ | target, capture_output=True, text=True, check=True)
    assert made.stdout.split()[-2:] == [digest(), test_eigen.digest()]
