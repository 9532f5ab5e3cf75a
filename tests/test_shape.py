"""Family `shape`, tick clock, against its twin, hand-computed rows, independent libraries, nights and trends."""

import math

import numpy as np
import pytest
from feature_days import bits, forward, with_night
from feature_run import DAY, named, run
from feature_ticks import NAN, START, expected, stream, streams
from hypothesis import given
from hypothesis import strategies as st
from naive_features import QUOTE, Tick
from naive_shape import shape
from verify_shape import CHECKS

from tickarrow.jit.shape import FAMILY

pytestmark = pytest.mark.pure
SECOND = 1_000_000_000
NAMES = [c.name for c in FAMILY.columns(FAMILY.tau_s)]


def q(seconds, mid, half=1):
    """A quote whose mid is `mid` ticks."""
    return Tick(START + round(seconds * SECOND), 0, QUOTE, round((mid - half) / 100, 2), 100.0, round((mid + half) / 100, 2), 100.0, NAN, NAN)


def path(*mids, every=0.0):
    return [q(i * every, m) for i, m in enumerate(mids)]


def columns_of(ticks):
    got = named(FAMILY, ticks)
    return [getattr(got, name) for name in NAMES]


@given(streams(), st.integers(0, 40))
def test_every_row_equals_its_definition(ticks, night):
    ticks = with_night(ticks, night)
    rows, v, _ = run(FAMILY, ticks)
    if rows:
        np.testing.assert_allclose(v, expected(shape, ticks, rows, FAMILY.tau_s), rtol=1e-7, atol=1e-7)


def test_a_long_stream_equals_its_definition():
    ticks = stream(500)
    rows, v, _ = run(FAMILY, ticks)
    np.testing.assert_allclose(v, expected(shape, ticks, rows, FAMILY.tau_s), rtol=1e-8, atol=1e-9)
    assert np.isfinite(v[100:]).all()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.column}-{c.library}")
def test_a_column_agrees_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_a_hand_computed_row():
    # mids 100.00, 100.01, 100.00, 100.01, 100.00, 100.03 at one time: returns a, -a, a, -a, b with a = 1e4 ln(1.0001), b = 1e4 ln(1.0003)
    a, b = 1e4 * math.log(100.01 / 100.00), 1e4 * math.log(100.03 / 100.00)
    got = columns_of(path(10_000, 10_001, 10_000, 10_001, 10_000, 10_003))
    # pairs (r', r): (a, -a), (-a, a), (a, -a), (-a, b); means 0 and (b - a) / 4; cov = (-3 a^2 - a b) / 4,
    # var r' = a^2, var r = (3 a^2 + b^2) / 4 - ((b - a) / 4)^2
    corr = (-3 * a * a - a * b) / 4 / math.sqrt(a * a * ((3 * a * a + b * b) / 4 - ((b - a) / 4) ** 2))
    assert got[0] == pytest.approx(corr, rel=1e-9)
    assert got[1] == pytest.approx(corr, rel=1e-9)
    # mean b / 5; sums of powers of a - b/5 (twice), -a - b/5 (twice), 4 b / 5
    m2, m3, m4 = ((2 * (a - b / 5) ** k + 2 * (-a - b / 5) ** k + (4 * b / 5) ** k) / 5 for k in (2, 3, 4))
    assert got[2] == pytest.approx(m3 / m2**1.5, rel=1e-9)
    assert got[3] == pytest.approx(m4 / m2**2 - 3, rel=1e-9)


def test_older_returns_weigh_less():
    # a bounce of three ticks, then 60 s later one of one tick: with tau 30 s the first weighs exp(-2) in both windows' pairs
    old, new = path(10_000, 10_003, 10_000, 10_003, 10_000), [q(60, m) for m in (10_001, 10_000, 10_001, 10_000, 10_002)]
    ticks = [*old, *new]
    assert columns_of(ticks) == pytest.approx(shape(ticks, 0.01, FAMILY.tau_s), rel=1e-9)
    assert abs(columns_of(ticks)[0] - columns_of(ticks)[1]) > 0.01


@pytest.mark.parametrize(("changes", "known"), [(3, (False, False)), (4, (False, True)), (5, (True, True))])
def test_fewer_than_four_returns_are_not_enough(changes, known):
    got = columns_of(path(10_000, *([10_002, 10_000, 10_001, 10_000, 10_003][:changes])))
    assert [not math.isnan(x) for x in got] == [known[0], known[0], known[1], known[1]]


def test_returns_that_have_faded_are_not_enough():
    bounce = path(*([10_000, 10_001] * 10))
    # one return 300 s after 19 others: with tau 30 s they weigh 18 exp(-10) < 0.001 beside it, with 300 s 7
    got = columns_of([*bounce, q(300, 10_003)])
    assert math.isnan(got[0])
    assert not any(math.isnan(x) for x in got[1:])


def test_a_mid_that_does_not_move_is_no_return():
    got = columns_of(path(*[10_000] * 50))
    assert all(math.isnan(x) for x in got)
    mids = [10_000, 10_001, 10_000, 10_002, 10_000, 10_001]
    assert columns_of(path(*mids)) == columns_of([x for m in mids for x in (q(0, m), q(0, m, 2), q(0, m, 3))])


def test_equal_returns_have_no_shape():
    mid, ticks = 2.0**-7, []  # doubles: every return is 1e4 ln 2 to the bit
    for _ in range(8):
        mid *= 2
        ticks.append(Tick(START, 0, QUOTE, mid, 1.0, mid, 1.0, NAN, NAN))
    assert all(math.isnan(x) for x in columns_of(ticks))


def test_a_trend_is_told_from_noise():
    ticks = path(*range(10_000, 10_040))
    assert columns_of(ticks) == pytest.approx(shape(ticks, 0.01, FAMILY.tau_s), rel=1e-5)


def test_the_night_is_no_return():
    today = [10_000, 10_001, 10_000, 10_002, 10_001]
    tomorrow = [10_500, 10_501, 10_503, 10_500, 10_502, 10_501, 10_502]
    second = [t._replace(ts=t.ts + DAY) for t in path(*tomorrow)]
    assert columns_of([*path(*today), *second]) == pytest.approx(columns_of(second), rel=1e-9)


def test_a_time_that_goes_back_counts_as_the_latest_time():
    mids = [10_000, 10_001, 10_000, 10_002, 10_001, 10_003, 10_000]
    ticks = [q(at, m) for at, m in zip([0, 9, 4, 12, 11, 11, 20], mids)]
    assert bits(FAMILY, ticks) == bits(FAMILY, forward(ticks))
