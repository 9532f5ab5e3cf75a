"""Family `quality` against its twin and hand-computed rows."""

import math

import numpy as np
import pytest
import verify_quality
from feature_run import named, run
from feature_ticks import NAN, START, TICK, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, TRADE, Tick
from naive_quality import quality
from verify_quality import flagged

from tickarrow.jit import quality as kernels
from tickarrow.pipeline.schemas import Feed, Flag

pytestmark = pytest.mark.pure
FAMILY = kernels.FAMILY
NAMES = [c.name for c in FAMILY.columns(())]
SECOND = 1_000_000_000


def q(seconds, bid, ask, flags=0, kind=QUOTE):
    return flagged(Tick(START + round(seconds * SECOND), 0, kind, bid, 1.0, ask, 1.0, NAN, 5.0 if kind == TRADE else NAN), flags)


@given(streams(), st.data())
def test_every_row_equals_its_definition(ticks, data):
    flags = data.draw(st.lists(st.sampled_from([0, 0, *map(int, Flag), 4096 + 32]), min_size=len(ticks), max_size=len(ticks)))
    ticks = [flagged(t, f) for t, f in zip(ticks, flags)]
    rows, v, _ = run(FAMILY, ticks, feed=3)
    want = [list(quality([t for t in ticks[: i + 1] if t.symbol == ticks[i].symbol], TICK, 3).values()) for i in rows]
    np.testing.assert_allclose(v, np.array(want).reshape(-1, 8), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("check", verify_quality.CHECKS, ids=lambda c: f"{c.column} {c.library}")
def test_columns_agree_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_every_column_has_a_check():
    assert {c.column for c in verify_quality.CHECKS} == set(NAMES) == set(quality([q(0, 1.0, 1.0)], TICK, 0))


def test_the_bits_are_those_of_the_schema():
    assert kernels.DELAYED == Flag.DELAYED | Flag.FROZEN
    assert kernels.HALTED == Flag.HALTED
    assert kernels.STALE == Flag.STALE | Flag.UNCERTAIN
    assert kernels.GAP == Flag.GAP


# 10.13 - 10.13 is 0; 10.12 + 0.01 is not 10.13 to the bit, but the same price
@pytest.mark.parametrize(("bid", "ask", "crossed", "locked"), [
    (10.12, 10.13, 0, 0), (10.13, 10.13, 0, 1), (10.12 + 0.01, 10.13, 0, 1), (10.13 + 1e-9, 10.13, 0, 1), (10.14, 10.13, 1, 0),
    (NAN, 10.13, NAN, NAN), (10.12, NAN, NAN, NAN),
])  # fmt: skip
def test_hand_computed_states_of_the_quote(bid, ask, crossed, locked):
    got = named(FAMILY, [q(0, bid, ask)])
    np.testing.assert_equal((got.is_crossed, got.is_locked), (float(crossed), float(locked)))


@pytest.mark.parametrize(("flags", "on"), [
    (0, ()), (Flag.HALTED, ("is_halted",)), (Flag.DELAYED, ("is_delayed",)), (Flag.FROZEN, ("is_delayed",)), (Flag.STALE, ("is_stale",)),
    (Flag.UNCERTAIN | Flag.HALTED, ("is_stale", "is_halted")), (Flag.GAP, ("has_gap",)), (Flag.CONFLATED | Flag.PRE_OPEN | Flag.AUTO_EXECUTE, ()),
])  # fmt: skip
def test_hand_computed_flags(flags, on):
    got = vars(named(FAMILY, [q(0, 9.99, 10.01, flags)], feed=int(Feed.TBT_BIDASK)))
    assert {k for k in ("is_halted", "is_delayed", "is_stale", "has_gap") if got[k]} == set(on)
    assert got["feed_code"] == Feed.TBT_BIDASK


def test_the_time_since_a_gap_counts_from_a_row_of_any_kind():
    lost = q(1, 9.99, 10.01, Flag.GAP, TRADE)
    assert math.isnan(named(FAMILY, [q(0, 9.99, 10.01)]).since_gap)
    got = named(FAMILY, [q(0, 9.99, 10.01), lost, q(8, 9.99, 10.01)])
    assert got.since_gap == pytest.approx(math.log(8))  # ln(1 + 7 s)
    assert got.has_gap == 0.0
    assert named(FAMILY, [lost, q(0.5, 9.99, 10.01)]).since_gap == 0.0  # a time that goes back counts as no time
