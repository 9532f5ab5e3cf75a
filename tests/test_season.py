"""Family `season` against its twin, hand-computed rows, and the calendars of exchanges."""

import math

import numpy as np
import pytest
import verify_season
from feature_run import named, run, sessions
from feature_ticks import NAN, streams
from hypothesis import given
from naive_features import QUOTE, Tick
from naive_season import season

from tickarrow.jit import event
from tickarrow.jit.season import CIRCLE, FAMILY

pytestmark = pytest.mark.pure
MINUTE = 60_000_000_000
NAMES = [c.name for c in FAMILY.columns(())]


def at(ts, **options):
    return named(FAMILY, [Tick(int(ts), 0, QUOTE, 99.99, 1.0, 100.01, 1.0, NAN, NAN)], **options)


def short(ticks, before=150):
    """A session every four hours, open for the second and the third, and the ticks in a time that runs 200 times as fast."""
    start = ticks[0].ts if ticks else 0
    midnight = start - before * MINUTE + 240 * MINUTE * np.arange(8)
    rows = np.ascontiguousarray(np.stack([midnight, midnight + 60 * MINUTE, midnight + 180 * MINUTE, np.arange(8) % 7], axis=1), np.int64)
    return [t._replace(ts=start + 200 * (t.ts - start)) for t in ticks], rows


@given(streams())
def test_every_row_equals_its_definition(ticks):
    ticks, rows = short(ticks)
    found, v, _ = run(FAMILY, ticks, days=rows)
    want = np.array([list(season(ticks[i].ts, rows).values()) for i in found]).reshape(-1, 5)
    np.testing.assert_allclose(v, want, rtol=1e-15, atol=2e-15)


@pytest.mark.parametrize("check", verify_season.CHECKS, ids=lambda c: f"{c.column} {c.library}")
def test_columns_agree_with_an_independent_implementation(check):
    assert check.largest_error() <= check.rtol


def test_every_column_has_a_check():
    assert {c.column for c in verify_season.CHECKS} == set(NAMES)


# The session of the second row of `sessions()` is open from 9:30 (minute 570) to 16:00 (minute 960).
@pytest.mark.parametrize(("minute", "from_open", "to_close", "phase"), [
    (0, -570, 960, 0), (569.5, -0.5, 390.5, 0), (570, 0, 390, 1), (599.75, 29.75, 360.25, 1), (600, 30, 360, 2),
    (929.5, 359.5, 30.5, 2), (930, 360, 30, 3), (959.5, 389.5, 0.5, 3), (960, 390, 0, 4), (1439, 869, -479, 4),
])  # fmt: skip
def test_hand_computed_minutes_and_phases(minute, from_open, to_close, phase):
    got = at(sessions()[1, event.MIDNIGHT] + minute * MINUTE)
    assert (got.minutes_from_open, got.minutes_to_close, got.session_phase) == (from_open, to_close, phase)


# A quarter of a day is a quarter of the circle; seconds of a minute do not count.
@pytest.mark.parametrize(("minute", "sin", "cos"), [
    (0, 0, 1), (360.9, 1, 0), (720, 0, -1), (1080.5, -1, 0), (120, 0.5, math.sqrt(0.75)), (1320, -0.5, math.sqrt(0.75)),
])  # fmt: skip
def test_hand_computed_times_of_day(minute, sin, cos):
    got = at(sessions()[1, event.MIDNIGHT] + minute * MINUTE)
    assert got.day_sin == pytest.approx(sin, rel=1e-15)
    assert got.day_cos == pytest.approx(cos, rel=2e-16)


def test_the_circle_is_the_nearest_float_to_the_exact_value():
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        angles = [mpmath.mpf(2 * k) / 1440 for k in range(1440)]
        want = np.array([[float(mpmath.sinpi(a)), float(mpmath.cospi(a))] for a in angles])
    np.testing.assert_array_equal(CIRCLE, want)
    assert not np.signbit(CIRCLE[CIRCLE == 0]).any()


def test_a_short_session_has_no_middle():
    rows = sessions(3)
    rows[:, event.CLOSE] = rows[:, event.OPEN] + 45 * MINUTE
    phases = [at(rows[1, event.OPEN] + m * MINUTE, days=rows).session_phase for m in (-1, 0, 29, 30, 44, 45)]
    assert phases == [0, 1, 1, 3, 3, 4]


def test_a_session_that_opens_the_evening_before_has_the_time_of_the_evening():
    rows = sessions(3)
    rows[:, event.OPEN] = rows[:, event.MIDNIGHT] - 420 * MINUTE  # 17:00
    rows[:, event.CLOSE] = rows[:, event.MIDNIGHT] + 1020 * MINUTE
    got = at(rows[1, event.OPEN] + MINUTE, days=rows)
    angle = 2 * math.pi * 1021 / 1440
    assert (got.day_sin, got.day_cos) == pytest.approx((math.sin(angle), math.cos(angle)))
    assert (got.minutes_from_open, got.minutes_to_close, got.session_phase) == (1, 1439, 1)


def test_before_the_first_session_all_is_missing():
    assert all(math.isnan(v) for v in vars(at(sessions()[0, event.MIDNIGHT] - 1)).values())


def test_a_day_without_a_session_goes_on_with_the_one_before():
    rows = np.delete(sessions(5), 2, axis=0)
    got = at(rows[1, event.MIDNIGHT] + (1440 + 600) * MINUTE, days=rows)
    assert (got.minutes_from_open, got.minutes_to_close, got.session_phase) == (1470, -1080, 4)
    assert got.day_sin == pytest.approx(math.sin(2 * math.pi * 600 / 1440))
