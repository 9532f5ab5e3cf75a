"""Latency histograms: buckets, quantiles, and the window against sorted lists."""

import naive_hist as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import hist

pytestmark = pytest.mark.pure
values = st.one_of(st.integers(-5, 300), st.integers(0, 2**41), st.integers(0, 40).map(lambda k: 2**k))


@given(values)
def test_a_bucket_ends_where_the_next_begins_and_is_no_wider_than_two_percent(ns):
    low, high = naive.edges(ns)
    bucket = hist.bucket_point(ns)
    assert hist.bucket_point(low) == hist.bucket_point(high) == bucket
    assert hist.top_point(bucket) == high
    assert hist.bucket_point(low - 1) == bucket - (low > 0)
    assert high - low <= max(low, 0) / 64


def test_buckets_computed_by_hand():
    # 150 us: 2^17 = 131072 <= 150000, parts of 2048, (150000 - 131072) // 2048 = 9: from 149504 to 151551
    assert hist.top_point(hist.bucket_point(150_000)) == 151_551
    assert hist.bucket_point(0) == 0
    assert hist.bucket_point(127) == 127
    assert hist.bucket_point(128) == hist.bucket_point(129) == 128
    assert hist.bucket_point(2**40) == hist.bucket_point(2**62) == hist.BUCKETS - 1


@given(st.lists(values, max_size=60), st.sampled_from([0.0, 0.5, 0.99, 0.999, 1.0]))
def test_quantiles_are_those_of_the_sorted_values(found, q):
    counts = np.zeros(hist.BUCKETS, np.int64)
    for ns in found:
        counts[hist.bucket_point(ns)] += 1
    assert hist.hist_quantile(counts, q) == naive.quantile(found, q)


def test_quantiles_are_within_a_bucket_of_those_of_numpy():
    ns = np.random.default_rng(3).lognormal(10.5, 1.2, 20_000).astype(np.int64)
    counts = np.bincount([hist.bucket_point(int(x)) for x in ns], minlength=hist.BUCKETS)
    for q in (0.5, 0.9, 0.99, 0.999):
        assert hist.hist_quantile(counts, q) == pytest.approx(np.quantile(ns, q, method="inverted_cdf"), rel=1 / 64)


SLICE, SLICES = 1000, 3


def window(found, limits):
    """What `budget_update` says after each value; its arrays."""
    n = len(limits)
    counts, slices, sums, clock = np.zeros((n, hist.BUCKETS), np.int64), np.zeros((SLICES, n, 3), np.int64), np.zeros((n, 3), np.int64), np.zeros(1, np.int64)
    limit = np.array(limits, np.int64)
    said = [hist.budget_update(ts, SLICE, np.array(ns, np.int64), limit, limit // 2, w, counts, slices, sums, clock) for ts, ns, w in found]
    return said, counts, slices, sums


rows = st.lists(st.tuples(st.integers(0, 9000), st.tuples(st.integers(0, 200), st.integers(0, 200)), st.integers(1, 60)), max_size=30)


@given(rows, st.tuples(st.sampled_from([0, 100, 190]), st.sampled_from([50, 150])))
def test_a_window_says_which_p99_is_over_its_limit(found, limits):
    said, counts, slices, sums = window(found, limits)
    assert said == naive.over(found, limits, SLICE, SLICES)
    np.testing.assert_array_equal(sums, slices.sum(axis=0))
    assert counts.sum(axis=1).tolist() == [sum(w for _, _, w in found)] * 2


def test_one_value_in_a_hundred_may_be_over_the_limit():
    fast, slow = (10, (100,), 1), (10, (101,), 1)
    assert window([fast] * 99 + [slow], [100])[0][-1] == 0
    assert window([fast] * 98 + [slow] * 2, [100])[0][-1] == 1
    late = [(10 + 3 * SLICE, (100,), 1)]
    assert window([slow] * 50 + late, [100])[0] == [1] * 50 + [0]  # what is older than the window is forgotten
