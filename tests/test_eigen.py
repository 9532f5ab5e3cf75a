"""Eigenpairs of eight matrices at once: against NumPy, by hand, where matrices are degenerate, and bit by bit over lanes."""

import hashlib
import os

import naive_corr as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.jit import eigen

pytestmark = pytest.mark.pure
JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT") == "1"
SIZES = (1, 2, 3, 4, 5, 8, 16, 17) if JIT_OFF else (1, 2, 3, 4, 5, 8, 16, 17, 31, 64)


def full(matrices):
    """values (8, n), vectors (8, n, n) with vectors as rows, lanes that are good"""
    n = len(matrices[0])
    values, vectors, scratch = np.full((n, 8), np.nan), np.full((n * n, 8), np.nan), np.full((eigen.scratch_rows(n), 8), np.nan)
    good = eigen.full(naive.pack(matrices), values, vectors, scratch)
    return values.T.copy(), vectors.reshape(n, n, 8).transpose(2, 0, 1).copy(), good


def check(matrices, tolerance=1e-14):
    values, vectors, good = full(matrices)
    assert good == 255
    for m, v, q in zip(matrices, values, vectors):
        size, n = max(np.abs(m).max(), 1e-300), len(m)
        assert np.all(np.diff(v) >= 0)
        np.testing.assert_allclose(v / size, np.linalg.eigvalsh(m) / size, atol=n * tolerance)
        np.testing.assert_allclose(q @ q.T, np.eye(n), atol=n * tolerance)
        np.testing.assert_allclose((m / size) @ q.T, q.T * (v / size), atol=n * tolerance)


def random(n, rng, rows=None):
    x = rng.standard_normal((rows or n + 4, n))
    return x.T @ x / len(x)


def correlations(n, rng, rows=256, lanes=8):
    """Predictions of models: one strong common factor, two weak ones."""
    out = []
    for _ in range(lanes):
        load = np.c_[0.7 + 0.2 * rng.random(n), 0.3 * rng.standard_normal(n), 0.2 * rng.standard_normal(n)]
        out.append(np.corrcoef(rng.standard_normal((rows, 3)) @ load.T + 0.5 * rng.standard_normal((rows, n)), rowvar=False))
    return out


def test_pairs_of_hand_computed_matrices():
    # [[2, 1], [1, 2]]: 1 with (1, -1) / sqrt 2 and 3 with (1, 1) / sqrt 2. Diagonal: itself. The largest component is positive, the first of two.
    values, vectors, good = full([np.array([[2.0, 1.0], [1.0, 2.0]]), np.diag([5.0, -1.0])])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(values[:2], [[1, 3], [-1, 5]], rtol=1e-15)
    np.testing.assert_allclose(vectors[0], [[half, -half], [half, half]], rtol=1e-15)
    np.testing.assert_array_equal(vectors[1], [[0, 1], [1, 0]])
    assert good == 255


@pytest.mark.parametrize("n", SIZES)
def test_all_pairs_equal_numpys_for_every_size(n):
    rng = np.random.default_rng(n)
    check([random(n, rng) for _ in range(8)])


DEGENERATE = {
    "identity": np.eye(16),
    "all ones": np.ones((16, 16)),
    "correlation 0.5": np.eye(16) * 0.5 + 0.5,
    "correlation 1 - 1e-12": np.full((16, 16), 1 - 1e-12) + 1e-12 * np.eye(16),
    "zero": np.zeros((16, 16)),
    "diagonal": np.diag(np.arange(16.0)),
    "blocks": np.kron(np.eye(4), np.ones((4, 4))),
    "rank 8": random(16, np.random.default_rng(1), 8),
    "1e-12": 1e-12 * random(16, np.random.default_rng(2)),
    "1e12": 1e12 * random(16, np.random.default_rng(3)),
    "graded": np.diag(10.0 ** np.arange(16)) + 1e-3,
    "graded down": np.diag(10.0 ** -np.arange(16)) + 1e-3,
    "indefinite": random(16, np.random.default_rng(4)) - 2 * np.eye(16),
    "two blocks": np.kron(np.diag([1.0, 1e-9]), np.ones((8, 8))),
    "Wilkinson": np.diag(np.abs(np.arange(16.0) - 7)) + np.eye(16, k=1) + np.eye(16, k=-1),
    "1e-100": 1e-100 * random(16, np.random.default_rng(5)),
}


def test_all_pairs_of_degenerate_matrices_beside_each_other():
    every = list(DEGENERATE.values())
    check(every[:8])
    check(every[8:])


@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(-12, 12), st.integers(1, 14))
@settings(max_examples=20 if JIT_OFF else 100)
def test_all_pairs_of_random_matrices_of_any_rank_and_scale(n, seed, scale, rows):
    rng = np.random.default_rng(seed)
    check([10.0**scale * random(n, rng, rows) for _ in range(8)])


def test_bits_of_a_lane_do_not_depend_on_its_place_or_its_neighbours():
    rng = np.random.default_rng(8)
    m, *others = [random(9, rng) for _ in range(9)]
    alone_values, alone_vectors, _ = full([m])
    for lane in range(8):
        beside = [*others[:lane], m, *others[lane:7]]
        values, vectors, _ = full(beside)
        np.testing.assert_array_equal(values[lane], alone_values[0])
        np.testing.assert_array_equal(vectors[lane], alone_vectors[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_matrix_that_is_not_finite_is_reported_and_harms_no_other_lane(bad):
    rng = np.random.default_rng(9)
    matrices = [random(6, rng) for _ in range(8)]
    before, *_ = full(matrices)
    for place in ((0, 0), (5, 0), (3, 2), (5, 5)):
        spoilt = [m.copy() for m in matrices]
        spoilt[3][place] = spoilt[3][place[::-1]] = bad
        values, _, good = full(spoilt)
        assert good == 255 ^ 8
        np.testing.assert_array_equal(np.delete(values, 3, 0), np.delete(before, 3, 0))


class Tracker:
    """The leading pairs of eight matrices, as a caller keeps them."""

    def __init__(self, n):
        self.n = n
        self.top, self.leading = np.zeros((4, 8)), np.zeros((4 * n, 8))
        self.scratch = np.zeros((eigen.scratch_rows(n), 8))

    def seed(self, c):
        values, vectors = np.zeros((self.n, 8)), np.zeros((self.n**2, 8))
        assert eigen.full(c, values, vectors, self.scratch) == 255
        eigen.lead(values, vectors, self.top, self.leading)

    def step(self, c, edge=1.0, tolerance=0.05):
        return eigen.track(c, np.full((1, 8), edge), 0, tolerance, self.top, self.leading, self.scratch)

    def vectors(self):
        return self.leading.reshape(4, self.n, 8).transpose(2, 0, 1)


def test_an_iteration_of_a_hand_computed_matrix():
    # diag(4, 2, 1, 0.5) from the unit vectors: they stay, with the diagonal as values; from (3, 4) / 5 in the first two:
    # v = (9 x 4 + 16 x 2) / 25 = 2.72, C q = (12, 8) / 5, of length sqrt(208) / 5
    one, other = Tracker(4), Tracker(4)
    c = naive.pack([np.diag([4.0, 2.0, 1.0, 0.5])] * 8)
    one.leading[:] = np.eye(4).reshape(16, 1)
    other.leading[:] = np.array([[0.6, 0.8, 0, 0], [-0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).reshape(16, 1)
    assert one.step(c, 0.7) == 255
    np.testing.assert_array_equal(one.top[:, 0], [4, 2, 1, 0.5])
    np.testing.assert_array_equal(one.vectors()[0], np.eye(4))
    assert other.step(c, 0.7) == 0  # |C q|^2 - v^2 = 8.32 - 7.3984: 35 % of v
    np.testing.assert_allclose(other.top[:2, 5], [2.72, 3.28], rtol=1e-15)
    np.testing.assert_allclose(other.vectors()[5][0], np.array([12, 8, 0, 0]) / np.sqrt(208), rtol=1e-15)
    assert other.step(c, 2.8) == 0
    assert other.step(c, 5.0) == 255  # nothing above the edge: nothing to be wrong


def test_tracked_pairs_follow_a_correlation_that_moves():
    rng = np.random.default_rng(11)
    n = 16
    matrices, tracker = correlations(n, rng), Tracker(n)
    tracker.seed(naive.pack(matrices))
    roots = [np.linalg.cholesky(m) for m in matrices]
    trusted = 0
    for _ in range(256):
        for k, root in enumerate(roots):
            z = root @ rng.standard_normal(n)
            matrices[k] = 0.99 * matrices[k] + 0.01 * np.outer(z, z)
        c = naive.pack(matrices)
        trusted += tracker.step(c, 1.6, 0.2) == 255
    assert trusted > 250
    for m, q, v in zip(matrices, tracker.vectors(), tracker.top.T):
        exact, vectors = np.linalg.eigh(m)
        assert abs(q[0] @ vectors[:, -1]) > 1 - 1e-3
        assert v[0] == pytest.approx(exact[-1], rel=0.02)
        np.testing.assert_allclose(q @ q.T, np.eye(4), atol=1e-12)


def test_a_value_above_the_edge_is_only_trusted_near_an_exact_one():
    rng = np.random.default_rng(12)
    tracker = Tracker(12)
    tracker.seed(naive.pack(correlations(12, rng)))
    fresh = correlations(12, rng, 32)
    for _ in range(40):
        good = tracker.step(naive.pack(fresh), 1.5, 0.02)
        for lane in range(8):
            if good >> lane & 1:
                exact = np.linalg.eigvalsh(fresh[lane])
                for v in tracker.top[:, lane]:
                    assert v <= 1.5 or np.abs(exact - v).min() <= 0.02 * v * (1 + 1e-9)
    assert good != 0


def test_four_values_above_the_edge_are_not_trusted():
    c = naive.pack([np.diag([4.0, 3.0, 2.0, 1.9, 0.1, 0.1])] * 8)
    tracker = Tracker(6)
    tracker.seed(c)
    assert tracker.step(c, 1.5) == 0
    assert tracker.step(c, 1.95) == 255


def test_what_cannot_be_tracked_is_reported_lane_by_lane():
    rng = np.random.default_rng(13)
    matrices = [random(6, rng) for _ in range(8)]
    tracker = Tracker(6)
    tracker.seed(naive.pack(matrices))
    matrices[2] = np.full((6, 6), np.nan)
    matrices[5] = np.zeros((6, 6))
    tracker.leading[:, 7] = 0.0  # never seeded
    tracker.leading[:6, 0] = tracker.leading[6:12, 0] * (1 + 1e-15)  # no longer independent
    assert tracker.step(naive.pack(matrices), 1e9) & 0b10100100 == 0
    assert np.isfinite(tracker.leading[:, [0, 1, 3, 4, 6]]).all()
    assert not Tracker(3).step(naive.pack([np.eye(3)] * 8))  # fewer than four vectors


def digest():
    """Of the bits of many pairs; test_corr.py compares it over CPUs."""
    rng = np.random.default_rng(14)
    h = hashlib.blake2b()
    for n in (2, 7, 16):
        matrices = correlations(n, rng)
        for a in full(matrices)[:2]:
            h.update(a.tobytes())
        if n > 4:
            tracker = Tracker(n)
            tracker.seed(naive.pack(matrices))
            for _ in range(3):
                tracker.step(naive.pack(correlations(n, rng, 64)))
                h.update(tracker.top.tobytes() + tracker.leading.tobytes())
    return h.hexdigest()
