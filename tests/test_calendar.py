"""Trading hours and sessions: published opens and closes, holidays, early closes, lunch breaks, changes of the clock, known days."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import pandas as pd
import pytest

from tickarrow.jit import event
from tickarrow.pipeline.calendar import DAY, Hours, sessions
from tickarrow.pipeline.errors import ConfigError


def ns(text, zone="America/New_York"):
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000_000


@pytest.fixture(scope="module")
def new_york():
    return Hours("XNYS", ns("2025-11-20 12:00"))


# Hours of NYSE: 9:30 to 16:00; Thanksgiving 2025-11-27 closed, the day after to 13:00, Christmas Eve to 13:00.
@pytest.mark.parametrize(("when", "open_"), [
    ("2025-11-20 09:29:59", False), ("2025-11-20 09:30:00", True), ("2025-11-20 15:59:59", True), ("2025-11-20 16:00:00", False),
    ("2025-11-22 12:00:00", False), ("2025-11-27 12:00:00", False), ("2025-11-28 12:59:59", True), ("2025-11-28 13:00:00", False),
    ("2025-12-24 12:59:59", True), ("2025-12-24 13:00:00", False), ("2026-03-09 09:30:00", True), ("2026-03-09 09:29:59", False),
])  # fmt: skip
def test_new_york_trades_in_its_regular_hours(new_york, when, open_):
    assert new_york.is_open(ns(when)) is open_


def test_hong_kong_has_a_lunch_break():
    hours = Hours("XHKG", ns("2025-11-20 12:00", "Asia/Hong_Kong"))
    found = [hours.is_open(ns(f"2025-11-20 {t}", "Asia/Hong_Kong")) for t in ("09:30", "11:59", "12:00", "12:59", "13:00", "15:59", "16:00")]
    assert found == [True, True, False, False, True, True, False]


def test_without_a_calendar_the_market_is_always_open():
    assert Hours("", 0).is_open(ns("2025-11-22 12:00"))


def test_an_unknown_exchange_is_told():
    with pytest.raises(ConfigError, match=r"gateway\.calendar is 'NYSE2': no such exchange. Use an ISO code such as XNYS, .* Did you mean NYSE"):
        Hours("NYSE2", ns("2025-11-20 12:00"))


def of_day(rows, day, zone="America/New_York"):
    """Open, close and weekday of the session of a day, as local times of the exchange; None = no session."""
    midnight = ns(f"{day} 00:00", zone)
    found = rows[rows[:, event.MIDNIGHT] == midnight]
    if not len(found):
        return None
    local = [datetime.fromtimestamp(int(t) // 10**9, ZoneInfo(zone)) for t in found[0, [event.OPEN, event.CLOSE]]]
    return *(f"{t:%H:%M}" for t in local), int(found[0, event.WEEKDAY])


# As published by the exchanges. Clocks change in New York on 2025-03-09 and 2025-11-02, in London on 2025-03-30 and 2025-10-26, never in
# Hong Kong, where the half day of Christmas Eve is the morning.
@pytest.mark.parametrize(("name", "zone", "day", "hours"), [
    ("XNYS", "America/New_York", "2025-03-07", ("09:30", "16:00", 4)), ("XNYS", "America/New_York", "2025-03-10", ("09:30", "16:00", 0)),
    ("XNYS", "America/New_York", "2025-10-31", ("09:30", "16:00", 4)), ("XNYS", "America/New_York", "2025-11-03", ("09:30", "16:00", 0)),
    ("XNYS", "America/New_York", "2025-11-27", None), ("XNYS", "America/New_York", "2025-11-28", ("09:30", "13:00", 4)),
    ("XNYS", "America/New_York", "2025-12-24", ("09:30", "13:00", 2)), ("XNYS", "America/New_York", "2025-12-25", None),
    ("XNYS", "America/New_York", "2025-11-22", None), ("XNYS", "America/New_York", "2001-09-12", None),
    ("XLON", "Europe/London", "2025-03-28", ("08:00", "16:30", 4)), ("XLON", "Europe/London", "2025-03-31", ("08:00", "16:30", 0)),
    ("XLON", "Europe/London", "2025-12-24", ("08:00", "12:30", 2)), ("XLON", "Europe/London", "2025-12-26", None),
    ("XHKG", "Asia/Hong_Kong", "2025-11-20", ("09:30", "16:00", 3)), ("XHKG", "Asia/Hong_Kong", "2025-12-24", ("09:30", "12:00", 2)),
    ("XHKG", "Asia/Hong_Kong", "2025-12-25", None),
])  # fmt: skip
def test_a_session_is_the_published_one(name, zone, day, hours):
    first = ns(f"{day} 12:00", zone)
    assert of_day(sessions(name, first - 3 * DAY, first + 3 * DAY), day, zone) == hours


@pytest.mark.parametrize("name", ["XNYS", "XHKG", "XLON", "XTKS", "CMES"])
def test_every_session_of_the_calendar_is_there_and_no_other(name):
    calendar = exchange_calendars.get_calendar(name, start="2022-12-15", end="2026-03-31")
    first, last = pd.Timestamp("2023-01-03 12:00"), pd.Timestamp("2026-03-02 12:00")
    rows = sessions(name, first.value, last.value)
    labels = [s for s in calendar.sessions if calendar.session_close(s).tz_localize(None) > first - pd.Timedelta(days=5)]
    labels = [s for s in labels if s < last + pd.Timedelta(days=3)]
    by_midnight = {int(r[event.MIDNIGHT]): r for r in rows}
    inner = [s for s in labels if first - pd.Timedelta(days=1) < s < last]
    assert len(inner) > 750
    for s in inner:
        row = by_midnight.pop(s.tz_localize(calendar.tz).as_unit("ns").value)
        want = [calendar.session_open(s).as_unit("ns").value, calendar.session_close(s).as_unit("ns").value, s.weekday()]
        assert row[1:].tolist() == want
    assert len(by_midnight) <= 4  # before the first and after the last


def in_session(rows, ts):
    clock = np.zeros(1, event.CLOCK)[0]
    clock.session = -1
    event.clock_step(clock, rows, ts)
    return clock


def test_the_clock_finds_the_session_of_any_tick_of_a_range():
    first, last = ns("2025-11-22 12:00"), ns("2025-12-01 10:00")  # a Saturday to a Monday
    rows = sessions("XNYS", first, last)
    for when, day in [
        ("2025-11-22 12:00", "2025-11-21"), ("2025-11-23 23:59", "2025-11-21"), ("2025-11-24 00:00", "2025-11-24"),
        ("2025-11-27 10:00", "2025-11-26"), ("2025-12-01 10:00", "2025-12-01"), ("2025-12-02 10:00", "2025-12-02"),
    ]:  # fmt: skip
        assert in_session(rows, ns(when)).midnight == ns(f"{day} 00:00")


def test_a_session_that_opens_the_evening_before_begins_then():
    rows = sessions("CMES", ns("2025-11-17 12:00", "America/Chicago"), ns("2025-11-18 12:00", "America/Chicago"))
    monday, tuesday = (ns(f"2025-11-{d} 00:00", "America/Chicago") for d in (17, 18))
    assert in_session(rows, ns("2025-11-17 16:59", "America/Chicago")).midnight == monday
    assert in_session(rows, ns("2025-11-17 17:00", "America/Chicago")).midnight == tuesday


def test_a_market_without_a_calendar_has_days_of_utc():
    # 2025-11-22 is a Saturday, 5 by Monday = 0
    rows = sessions("", ns("2025-11-22 12:00", "UTC"), ns("2025-11-22 13:00", "UTC"))
    clock = in_session(rows, ns("2025-11-22 12:00", "UTC"))
    midnight = ns("2025-11-22 00:00", "UTC")
    assert (clock.midnight, clock.open, clock.close, clock.weekday) == (midnight, midnight, midnight + DAY, 5)
    assert in_session(rows, midnight - 1).weekday == 4
    assert in_session(rows, midnight + DAY).weekday == 6


@pytest.mark.parametrize(("name", "first", "days"), [("XNYS", "1970-01-02", 20_000), ("XNYS", "2026-11-22", 400), ("XHKG", "2026-11-22", 400)])
def test_a_range_may_be_far_from_today(name, first, days):
    begin = datetime.fromisoformat(first)
    rows = sessions(name, ns(first, "UTC"), ns(str(begin + timedelta(days=days)), "UTC"))
    assert 0.6 < len(rows) / days < 0.72
    assert (np.diff(rows[:, event.MIDNIGHT]) > 0).all()
    assert (rows[:, event.OPEN] < rows[:, event.CLOSE]).all()
    assert rows[0, event.MIDNIGHT] <= ns(first, "UTC")
    assert rows[-1, event.MIDNIGHT] >= ns(first, "UTC") + (days - 5) * DAY


def test_days_that_nobody_has_published_are_left_out():
    # Shanghai publishes its holidays a year at a time
    known = exchange_calendars.get_calendar("XSHG").bound_max()
    rows = sessions("XSHG", (known - pd.Timedelta(days=30)).value, (known + pd.Timedelta(days=300)).value)
    assert rows[-1, event.MIDNIGHT] <= known.as_unit("ns").value
    assert len(rows) > 15
    assert not Hours("XSHG", (known - pd.Timedelta(days=30)).value).is_open((known + pd.Timedelta(days=30)).value)
    with pytest.raises(ConfigError, match=r"features\.calendar is 'XSHG': exchange_calendars has no sessions of it from .* Use another exchange"):
        sessions("XSHG", (known + pd.Timedelta(days=800)).value, (known + pd.Timedelta(days=830)).value)


@pytest.mark.parametrize(("name", "near"), [("XNYC", "XNYS"), ("xnys", "XNYS"), ("NASDAX", "NASDAQ"), ("XLOM", "XLON")])
def test_an_unknown_exchange_of_the_features_is_told_with_near_names(name, near):
    with pytest.raises(ConfigError, match=rf"features\.calendar is '{name}': no such exchange. .* Did you mean .*{near}"):
        sessions(name, ns("2025-11-20"), ns("2025-11-21"))


def test_a_second_question_costs_nothing():
    import timeit

    def ask():
        return sessions("XNYS", ns("2025-11-20"), ns("2025-11-21"))

    ask()[:] = 0  # the caller's own copy
    assert ask().all(1).any()
    assert min(timeit.repeat(ask, number=1, repeat=3)) < 0.02
