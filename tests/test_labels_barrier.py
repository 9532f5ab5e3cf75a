"""Triple-barrier labels, the deviation that sets their barriers, and weights by overlap: definitions and hand-computed cases."""

import naive_models as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import labels_barrier, labels_weights

pytestmark = pytest.mark.pure


def columns(rows, *types):
    return [np.array([r[k] for r in rows], t) for k, t in enumerate(types)]


def barrier(rows, quotes, horizons_ns, gap_ns, up, down):
    n, m = len(rows), len(horizons_ns)
    y, first, end = np.zeros((n, m), np.float32), np.zeros((n, m), np.int8), np.zeros((n, m), np.int64)
    types = np.int64, np.int32, np.float64
    labels_barrier.triple_barrier(
        *columns(rows, *types), *columns(quotes, *types), np.array(horizons_ns, np.int64), gap_ns, np.array(up, float).reshape(n, m),
        np.array(down, float).reshape(n, m), np.zeros(3, np.int64), np.zeros(len(quotes), np.int64), y, first, end,
    )  # fmt: skip
    return y, first, end


def test_a_hand_computed_path_touches_the_barrier_that_comes_first():
    # from 100: +40 bp at t = 2, +60 bp at t = 4, -120 bp at t = 6, back at 0 at t = 9
    quotes = [(0, 0, 100.0), (2, 0, 100.4), (4, 0, 100.6), (6, 0, 98.8), (9, 0, 100.0), (12, 1, 50.0)]
    row = (0, 0, 100.0)
    for horizon, up, down, want in (
        (10, 50, 100, (60, 1, 4)),  # the return at the touch, not the barrier
        (10, 40, 100, (40, 1, 2)),
        (10, 61, 100, (-120, -1, 6)),
        (5, 61, 100, (60, 0, 5)),  # neither: the forward return
        (10, 200, 200, (0, 0, 10)),
    ):
        y, first, end = barrier([row], quotes, [horizon], 10, [[up]], [[down]])
        assert (first[0, 0], end[0, 0]) == want[1:]
        assert y[0, 0] == pytest.approx(want[0], abs=1e-3)
    assert np.isnan(barrier([row], quotes, [13], 10, [[50]], [[100]])[0][0, 0])  # the feed ends at 12, although the touch is at 4
    assert np.isnan(barrier([row], quotes, [10], 1, [[50]], [[100]])[0][0, 0])  # a hole
    y, _, end = barrier([row], quotes, [10], 10, [[np.nan]], [[100]])  # no deviation yet
    assert np.isnan(y[0, 0])
    assert end[0, 0] == 0


MID = st.sampled_from([99.5, 99.9, 100.0, 100.1, 100.5, np.nan])
EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), MID), max_size=40)
DISTANCE = st.sampled_from([5.0, 15.0, 45.0, np.nan])


@given(EVENTS, st.lists(st.booleans(), min_size=40, max_size=40), st.integers(1, 8), st.lists(st.integers(1, 30), min_size=1, max_size=3), st.data())
def test_triple_barrier_equals_its_definition(events, chosen, gap, horizons, data):
    t, quotes = 0, []
    for step, symbol, mid in events:
        t += step
        quotes.append((t, symbol, mid))
    rows = [q for q, c in zip(quotes, chosen) if c]
    up, down = ([[data.draw(DISTANCE) for _ in horizons] for _ in rows] for _ in range(2))
    got = barrier(rows, quotes, horizons, gap, up, down)
    want = naive.triple_barrier(rows, quotes, horizons, gap, up, down)
    for k, (array, dtype) in enumerate(zip(got, (np.float32, np.int8, np.int64))):
        np.testing.assert_array_equal(array, np.array([[w[k] for w in line] for line in want], dtype).reshape(array.shape))


def deviation(rows, y, horizons_ns, tau_ns, every_ns, least):
    out = np.zeros((len(rows), len(horizons_ns)))
    labels_barrier.deviation(
        *columns(rows, np.int64, np.int32), np.array(y, np.float32).reshape(out.shape), np.array(horizons_ns, np.int64), tau_ns, every_ns,
        least, np.zeros(3, labels_barrier.DEVIATION_STATE), out,
    )  # fmt: skip
    return out


def test_deviation_of_hand_computed_outcomes():
    # outcomes 3 and 4 bp, equal weight for a long memory: sqrt((9 + 16) / 2); known after their horizon of 2, entered 1 apart
    got = deviation([(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)], [3, 4, 90, 90, 90], [2], 1e30, 1, 1.0)[:, 0]
    np.testing.assert_allclose(got, [np.nan, np.nan, np.nan, 3.0, np.sqrt(12.5)])


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from([np.nan, 0.0, 1.0, -3.0, 7.5])), max_size=30),
    st.lists(st.integers(1, 9), min_size=1, max_size=2), st.integers(0, 5),
)  # fmt: skip
def test_deviation_equals_its_definition(events, horizons, every):
    t, rows, y = 0, [], []
    for step, symbol, outcome in events:
        t += step
        rows.append((t, symbol))
        y.append([outcome] * len(horizons))
    got = deviation(rows, y, horizons, 7.0, every, 1.37)
    np.testing.assert_allclose(got, np.array(naive.deviation(rows, y, horizons, 7.0, every, 1.37)).reshape(got.shape), rtol=1e-12)


def uniqueness(rows):
    ts, symbol, end = columns(rows, np.int64, np.int32, np.int64)
    out = np.zeros(len(rows))
    labels_weights.uniqueness(ts, symbol, end, np.argsort(end, kind="stable"), np.zeros(3, labels_weights.OPEN_STATE), np.zeros(len(rows)), out)
    return out


def test_uniqueness_of_hand_computed_labels():
    # [0, 10) and [5, 15) share half of their lives: (5 + 5 / 2) / 10; another symbol and a row without label count nothing
    np.testing.assert_allclose(uniqueness([(0, 0, 10), (2, 1, 9), (5, 0, 15), (6, 0, 6)]), [0.75, 1.0, 0.75, np.nan])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 12)), max_size=30))
def test_uniqueness_equals_its_definition(events):
    t, rows = 0, []
    for step, symbol, life in events:
        t += step
        rows.append((t, symbol, t + life))
    np.testing.assert_allclose(uniqueness(rows), naive.uniqueness(rows), rtol=1e-12)
