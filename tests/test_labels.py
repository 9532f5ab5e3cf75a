"""Labels of training rows against their definition and by hand."""

import naive_models as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import labels

pytestmark = pytest.mark.pure


def label(rows, quotes, horizons_ns, gap_ns):
    columns = [np.array(c) for c in zip(*rows)] if rows else [np.zeros(0)] * 3
    history = [np.array(c) for c in zip(*quotes)] if quotes else [np.zeros(0)] * 3
    y = np.zeros((len(rows), len(horizons_ns)), np.float32)
    labels.forward_return(
        columns[0].astype(np.int64), columns[1].astype(np.int32), columns[2].astype(float), history[0].astype(np.int64),
        history[1].astype(np.int32), history[2].astype(float), np.array(horizons_ns, np.int64), gap_ns, np.zeros(3), y,
    )  # fmt: skip
    return y


def test_forward_return_of_a_hand_computed_history():
    # symbol 0 at 100 goes to 101 at t = 5: 100 bp at horizon 5, 0 bp at horizon 4; symbol 1 has no later quote and keeps its mid
    quotes = [(0, 0, 100.0), (1, 1, 50.0), (5, 0, 101.0), (8, 0, 102.0), (30, 0, 99.0), (35, 0, 99.0)]
    rows = [(0, 0, 100.0), (1, 1, 50.0), (5, 0, 101.0), (30, 0, 99.0)]
    got = label(rows, quotes, [4, 5, 10], 10)
    nan = np.nan
    # t = 5 + 4 = 9 lies behind the last quote (8) before the hole of 22; t = 30 + 10 behind the end
    want = [[0.0, 100.0, nan], [0.0, 0.0, nan], [nan, nan, nan], [0.0, 0.0, nan]]
    np.testing.assert_allclose(got, want, rtol=1e-6)


MID = st.sampled_from([99.5, 100.0, 100.5, np.nan])
EVENTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2), MID), max_size=40)


@given(EVENTS, st.lists(st.booleans(), min_size=40, max_size=40), st.integers(1, 8), st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_forward_return_equals_its_definition(events, chosen, gap, horizons):
    t, quotes = 0, []
    for step, symbol, mid in events:  # steps of 0 repeat a time
        t += step
        quotes.append((t, symbol, mid))
    rows = [q for q, c in zip(quotes, chosen) if c]
    got = label(rows, quotes, horizons, gap)
    want = np.array(naive.forward_return(rows, quotes, horizons, gap), np.float32).reshape(got.shape)
    np.testing.assert_array_equal(got, want)
