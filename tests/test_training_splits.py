"""Splits against the definition of a leak, for any labels; scikit-learn takes them; a hand-counted case."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import KFold, cross_val_score

from tickarrow.pipeline.training_splits import Combinatorial, Fold, WalkForward, overlap, stopping


def test_a_hand_counted_walk():
    # 12 rows a second apart, labels of 2 s, an embargo of 1 s: the part that begins at 4 is trained by rows that end before 3
    ts = np.arange(12)
    walk = WalkForward(ts, ts + 2, n_splits=2, embargo_ns=1)
    first, second = walk.folds()
    assert (first.train.tolist(), first.test.tolist()) == ([0], [4, 5, 6, 7])
    assert (first.purged.tolist(), first.embargoed.tolist()) == ([2, 3], [1])
    assert (second.train.tolist(), second.purged.tolist(), second.embargoed.tolist()) == ([0, 1, 2, 3, 4], [6, 7], [5])
    assert [f.train.tolist() for f in WalkForward(ts, ts + 2, 2, 1, window=1).folds()] == [[0], [4]]


def test_a_hand_counted_combination():
    # groups 0-3, 4-7, 8-11; group 1 tested, its labels end at 9: rows 2, 3 and 8, 9 overlap with them, 1 and 10 are within 1 s
    ts = np.arange(12)
    fold = list(Combinatorial(ts, ts + 2, 3, 1, embargo_ns=1).folds())[1]
    assert fold.test.tolist() == [4, 5, 6, 7]
    assert (fold.train.tolist(), fold.purged.tolist(), fold.embargoed.tolist()) == ([0, 11], [2, 3, 8, 9], [1, 10])


LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=12, max_size=60)


def times(labels):
    ts = np.cumsum([step for step, _ in labels])
    return ts, ts + np.array([life for _, life in labels])


@given(LABELS, st.integers(0, 4), st.integers(2, 5), st.integers(1, 2), st.integers(0, 2))
def test_no_training_label_meets_a_tested_one(labels, embargo, parts, together, window):
    ts, end = times(labels)
    for splitter, n in (
        (WalkForward(ts, end, parts, embargo, window), parts), (Combinatorial(ts, end, parts, together, embargo), math.comb(parts, together)),
    ):  # fmt: skip
        folds = list(splitter.folds())
        assert splitter.get_n_splits() == len(folds) == n
        for fold in folds:
            assert overlap(fold, ts, end) is None
            for i in fold.train:
                for j in fold.test:
                    assert end[i] < ts[j] - embargo or ts[i] > end[j] + embargo
            whole = np.concatenate([fold.train, fold.test, fold.purged, fold.embargoed])
            assert np.unique(whole).size == whole.size
            if isinstance(splitter, Combinatorial):
                assert whole.size == ts.size  # nothing else is left out
            for i in fold.purged:  # and nothing is left out for nothing: between the tested rows there is one that it meets
                assert end[i] >= ts[fold.test].min()
                assert ts[i] <= end[fold.test].max()
        if isinstance(splitter, WalkForward):
            assert all((ts[f.train].max(initial=-1) < ts[f.test].min(initial=10**9)) for f in folds)
            assert np.unique(np.concatenate([f.test for f in folds])).size == sum(f.test.size for f in folds)


@given(LABELS, st.floats(0.0, 0.9), st.integers(0, 3))
def test_what_tells_when_to_stop_is_purged_too(labels, share, embargo):
    ts, end = times(labels)
    learn, stop = stopping(np.arange(ts.size), ts, end, share, embargo)
    if stop.size:
        assert (end[learn] < ts[stop].min() - embargo).all()
        assert stop[-1] == ts.size - 1
        assert stop.size >= round(share * ts.size)
    else:
        assert learn.size == ts.size


@given(LABELS, st.lists(st.booleans(), min_size=60, max_size=60))
def test_an_overlap_is_found_wherever_it_is(labels, tested):
    ts, end = times(labels)
    mask = np.array(tested[: ts.size])
    nothing = np.zeros(0, np.int64)
    found = overlap(Fold(np.flatnonzero(~mask), np.flatnonzero(mask), nothing, nothing), ts, end)
    pairs = [(i, j) for i in np.flatnonzero(~mask) for j in np.flatnonzero(mask) if ts[i] <= end[j] and ts[j] <= end[i]]
    assert found in pairs if pairs else found is None


def test_scikit_learn_takes_a_splitter_and_its_own_is_not_clean():
    ts = np.arange(300)
    end, x, y = ts + 10, np.zeros((300, 1)), np.arange(300.0)
    assert cross_val_score(DummyRegressor(), x, y, cv=WalkForward(ts, end, 4)).size == 4
    assert cross_val_score(DummyRegressor(), x, y, cv=Combinatorial(ts, end, 4, 2)).size == 6
    train, test = next(KFold(5, shuffle=True, random_state=1).split(x))
    assert overlap(Fold(train, test, train[:0], train[:0]), ts, end) is not None
    with pytest.raises(ValueError, match="299 rows for 300 times"):
        next(WalkForward(ts, end, 4).split(x[1:]))
