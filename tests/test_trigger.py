"""The trigger: which quotes are due, and how the throttle counts."""

import numpy as np
import pytest
from feature_ticks import NAN, START, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick, due

from tickarrow.jit import trigger

pytestmark = pytest.mark.pure
MS = 1_000_000


def due_seqs(ticks, throttle_ns):
    state = np.zeros(2, trigger.DUE_STATE)
    return [i for i, t in enumerate(ticks) if trigger.due_step(state[t.symbol], t.ts, t.kind, *t[3:7], throttle_ns)]


def quote(ms, symbol=0, bid=99.99, bid_size=100.0, ask=100.01, ask_size=100.0):
    return Tick(START + ms * MS, symbol, QUOTE, bid, bid_size, ask, ask_size, NAN, NAN)


@given(streams(), st.sampled_from([0, 1, 3 * MS, 250 * MS, 10_000 * MS]))
def test_due_ticks_are_those_of_the_definition(ticks, throttle_ns):
    assert due_seqs(ticks, throttle_ns) == due(ticks, throttle_ns)


def test_a_long_stream_has_the_due_ticks_of_the_definition():
    ticks = stream(400)
    assert due_seqs(ticks, 250 * MS) == due(ticks, 250 * MS)


def test_the_first_quote_is_due_and_a_repeated_one_is_not():
    assert due_seqs([quote(0), quote(1), quote(2, bid_size=200.0), quote(3, bid_size=200.0)], 0) == [0, 2]


def test_missing_equals_missing():
    assert due_seqs([quote(0, bid=NAN, bid_size=NAN), quote(1, bid=NAN, bid_size=NAN), quote(2)], 0) == [0, 2]


def test_each_of_the_four_values_counts():
    changes = [quote(1, bid=99.98), quote(1, bid_size=NAN), quote(1, ask=100.02), quote(1, ask_size=1.0)]
    for change in changes:
        assert due_seqs([quote(0), change], 0) == [0, 1]


def test_the_throttle_counts_from_the_last_due_tick_of_the_symbol():
    ticks = [quote(ms, bid_size=100.0 + ms) for ms in (0, 249, 250, 400, 499, 500)]
    assert due_seqs(ticks, 250 * MS) == [0, 2, 5]
    other = [quote(0), quote(1, symbol=1), quote(2, bid=99.0), quote(251, symbol=1, bid=99.0)]
    assert due_seqs(other, 250 * MS) == [0, 1, 3]


def test_a_change_inside_the_throttle_is_not_made_up_for():
    # the quote of 100 ms still stands at 300 ms: nothing changed there
    assert due_seqs([quote(0), quote(100, bid=99.98), quote(300, bid=99.98)], 250 * MS) == [0]


def test_a_trade_is_never_due():
    assert due_seqs([quote(0), Tick(START + MS, 0, TRADE, 99.98, 1.0, 100.0, 1.0, 99.98, 5.0), quote(2)], 0) == [0]
